"""What every process of Labelcam sets for itself before it works, and which errors end it in one line."""

from __future__ import annotations

import ctypes
import faulthandler
import io
import logging
import platform
import signal
import sys
from collections.abc import Callable

import cv2

from backends.base import BackendUnavailable
from models.errors import ModelError
from stream.listening import ListenError
from stream.log import LogError
from stream.mqtt import MqttError
from stream.outputs import OutputError
from stream.service import JournalLines
from stream.sources import SourceError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # in malloc.h
ARENAS = 2
"""Heaps that threads share. With one for each, every model that a thread of its own loads stays in its heap
for good: 14 MB for a change of the model."""

EXPECTED = (SourceError, BackendUnavailable, ModelError, LogError, ListenError, OutputError, MqttError)
"""Mistakes and circumstances, not bugs: one line, exit status 1."""


def set_up_process(verbosity: int, journal: bool = False) -> None:
    """Once, in the main thread. With `journal`, what is logged is written for systemd's."""
    if journal:
        verbosity = min(verbosity, logging.INFO)
        faulthandler.enable()  # systemd ends what hangs with SIGABRT: where it hung is in the journal then
        sys.excepthook = lambda *failure: logging.critical("this is a bug", exc_info=failure)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=verbosity)
    if journal:
        logging.getLogger().handlers[0].setFormatter(JournalLines())
    # OpenCV writes to the terminal by itself. It has read its variable OPENCV_LOG_LEVEL by now: it was
    # imported with the models.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A log's name may be no text, and a terminal may not know every character.
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    # A busy Python thread keeps the interpreter's lock for so long when another wants it. With the default of
    # 5 ms an inference of 6.8 ms was measured to take 16, with 1 ms it takes 8.
    sys.setswitchinterval(0.001)


def on_signals(act: Callable[[], object]) -> None:
    """What Ctrl-C, and systemd's way to say it, do from now on. Who ignores them from birth goes on to."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: act())


def interrupt() -> None:
    raise KeyboardInterrupt


def keep_freed_memory() -> None:
    """glibc gives the memory of a dropped picture back at once, and the next one pays for it, page by page:
    0.2 ms of the 1.1 that one of 640x480 took by GStreamer."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)
        libc.mallopt(M_ARENA_MAX, ARENAS)


def give_memory_back() -> None:
    """What is free in glibc's heaps goes to the kernel: of each peak, of loading, losing, a busy moment, some
    would stay at another place, and these add up."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
