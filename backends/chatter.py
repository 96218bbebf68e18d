"""Keeps what native libraries print off the terminal, and in our log."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

log = logging.getLogger(__name__)

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Chatter:
    """Where a library's words go meanwhile: memory, not a pipe. A library that holds Python's lock would
    wait for ever for the reader of a full pipe."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._terminal = {descriptor: os.dup(descriptor) for descriptor in descriptors}
        self._memory = os.memfd_create("native-chatter")

    def lines(self) -> list[str]:
        """All there is so far."""
        self._flush()
        said = os.pread(self._memory, os.fstat(self._memory).st_size, 0)
        return said.decode(errors="replace").splitlines()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """The terminal again, for a word of our own."""
        self.show()
        try:
            yield
        finally:
            self.hide()

    def hide(self) -> None:
        self._flush()
        for descriptor in self._terminal:
            os.dup2(self._memory, descriptor)

    def show(self) -> None:
        self._flush()
        for descriptor, terminal in self._terminal.items():
            os.dup2(terminal, descriptor)

    def close(self) -> None:
        for terminal in self._terminal.values():
            os.close(terminal)
        os.close(self._memory)

    def _flush(self) -> None:
        """What was printed goes where printing went then. C keeps back what is not for a terminal."""
        for descriptor in self._terminal:
            (sys.stdout if descriptor == 1 else sys.stderr).flush()
        if 1 in self._terminal:
            libc = ctypes.CDLL(None)
            libc.fflush(ctypes.c_void_p.in_dll(libc, "stdout"))


@contextmanager
def native_chatter_logged(descriptors: Sequence[int] = (2,)) -> Iterator[Chatter]:
    """These file descriptors, 1 or 2 or both, go to memory while inside, and from there to our log at debug.

    They are the process's: use it around a library's loading, not around a loop.
    """
    streams = {1: sys.stdout, 2: sys.stderr}
    open_ones = [descriptor for descriptor in descriptors if streams[descriptor] is not None]  # not 2>&-
    chatter = Chatter(open_ones)
    chatter.hide()
    try:
        yield chatter
    finally:
        chatter.show()
        lines = chatter.lines()
        chatter.close()
        for line in lines:
            log.debug("%s", COLOURS.sub("", line))
