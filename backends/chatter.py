"""Keeps what native libraries print to stderr off the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def native_chatter_logged() -> Iterator[None]:
    """File descriptor 2 goes to memory while inside, and from there to our log at level debug.

    It is the process's descriptor: use it around a library's loading, not around a loop.
    """
    if sys.stderr is None:  # started with 2>&-
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    memory = os.memfd_create("native-chatter")
    os.dup2(memory, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
        with os.fdopen(memory, "rb") as chatter:
            chatter.seek(0)
            for line in chatter.read().decode(errors="replace").splitlines():
                log.debug("%s", line)
