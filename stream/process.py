"""What every process of Labelcam sets for itself before it works, and which errors end it in one line."""

from __future__ import annotations

import logging
import sys

import cv2

from backends.base import BackendUnavailable
from models.errors import ModelError
from stream.listening import ListenError
from stream.log import LogError
from stream.outputs import OutputError
from stream.sources import SourceError

EXPECTED = (SourceError, BackendUnavailable, ModelError, LogError, ListenError, OutputError)
"""Mistakes and circumstances, not bugs: one line, exit status 1."""


def set_up_process(verbosity: int) -> None:
    """Once, in the main thread."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=verbosity)
    # OpenCV writes to the terminal by itself. It has read its variable OPENCV_LOG_LEVEL by now: it was
    # imported with the models.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # A busy Python thread keeps the interpreter's lock for so long when another wants it. With the default of
    # 5 ms an inference of 6.8 ms was measured to take 16, with 1 ms it takes 8.
    sys.setswitchinterval(0.001)
