"""A thread that opens one source and reads it, and that can be left behind when a driver never returns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from stream.sources import Source, SourceError


class Reader:
    """`read` is called with the open source, and returns once it is left behind; then the source is closed.

    All of it happens in one daemon thread: a driver may block for ever in any call, and what it holds only
    the thread that is blocked can free. If it ever comes back, it does.
    """

    def __init__(self, open_source: Callable[[], Source], read: Callable[[Reader, Source], None]) -> None:
        self.source: Source | None = None  # once it is open
        self.failure: BaseException | None = None
        self.left_ns: int | None = None  # since when nobody waits for it any more
        self.started_ns = time.monotonic_ns()
        self._open_source, self._read = open_source, read
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def leave(self) -> None:
        self.left_ns = time.monotonic_ns()

    def ended_within(self, timeout_s: float | None) -> bool:
        self._thread.join(timeout_s)
        return not self.alive

    def _run(self) -> None:
        try:
            self.source = self._open_source()
            try:
                if not self.left_ns:
                    self._read(self, self.source)
            finally:
                self.source.shots.close()
        except SourceError as error:
            # Another: from this one, and from what it came of, a traceback leads back here, in a circle that
            # would keep the last picture.
            self.failure = SourceError(str(error))
        except BaseException as error:  # noqa: BLE001 - raised by whoever looks after the reader
            self.failure = error
