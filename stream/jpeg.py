"""A camera's JPEG: the picture, or what is wrong with it."""

from __future__ import annotations

import ctypes
import platform
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from models.recipe import Image, as_image
from stream.frames import Broken

START, END = b"\xff\xd8", b"\xff\xd9"
TAIL = 65536
"""Some cameras append zeros, or data of their own."""
FILLED_IN = re.compile(r"Corrupt JPEG data: (?!\d extraneous)|Premature end")
"""Of what libjpeg says. Many webcams put a few bytes too much before a marker: their pictures are whole."""


def is_cut_off(content: bytes) -> bool:
    """Of a JPEG, or of its last TAIL bytes: whether its end is missing."""
    return END not in content[-TAIL:]


def decode(jpeg: NDArray[np.uint8]) -> Image | Broken:
    """libjpeg makes up what is missing of a picture, and says so on C's stderr, never to its caller."""
    if jpeg[:2].tobytes() != START:
        return Broken("a picture that is no JPEG")
    if is_cut_off(jpeg[-TAIL:].tobytes()):
        return Broken("a JPEG cut off")
    with COMPLAINTS.taken() as complaints:
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if image is None:
        return Broken("a JPEG that cannot be decoded")
    if complaints and FILLED_IN.match(complaints[0]):
        return Broken(complaints[0])
    return as_image(image)


class Complaints:
    """What libraries write to C's `stderr`, which is a variable: meanwhile it names a file in memory.

    Python's stderr, file descriptor 2 and child processes never notice, so this may be done for every frame.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._possible = platform.libc_ver()[0] == "glibc"  # elsewhere it is a constant
        if self._possible:
            self._libc = ctypes.CDLL(None)
            self._stderr = ctypes.c_void_p.in_dll(self._libc, "stderr")
            self._text, self._size = ctypes.c_char_p(), ctypes.c_size_t()
            self._libc.open_memstream.restype = ctypes.c_void_p
            memory = self._libc.open_memstream(ctypes.byref(self._text), ctypes.byref(self._size))
            self._memory = ctypes.c_void_p(memory)

    @contextmanager
    def taken(self) -> Iterator[list[str]]:
        """Its lines are there when this is left."""
        lines: list[str] = []
        if not self._possible:
            yield lines
            return
        with self._lock:
            terminal, self._stderr.value = self._stderr.value, self._memory.value
            try:
                yield lines
            finally:
                self._stderr.value = terminal
                self._libc.fflush(self._memory)
                lines += (self._text.value or b"")[: self._size.value].decode(errors="replace").splitlines()
                self._libc.rewind(self._memory)


COMPLAINTS = Complaints()
