"""Where pictures are published and viewers counted: any transport that can subscribe can serve them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stream.frames import Picture
from stream.latest import Latest

BOUNDARY = "frame"


class Hub:
    """The newest picture, and how many watch: pictures are painted only while somebody does, or `always`."""

    def __init__(self, always: bool = False) -> None:
        self._always = always
        self._lock = threading.Lock()
        self._pictures: Latest[Picture] = Latest()
        self.viewers = 0
        self.closed = threading.Event()

    @property
    def watched(self) -> bool:
        return self._always or self.viewers > 0

    def publish(self, picture: Picture) -> None:
        self._pictures.put(picture)

    @contextmanager
    def subscribe(self, repeat_s: float) -> Iterator[Iterator[Picture | None]]:
        """Count as a viewer; inside, iterate over the newest picture, with a None whenever nothing new came
        for `repeat_s` seconds. The iterator ends when the hub closes."""
        with self._lock:
            # A picture left from when somebody last watched may be an hour old.
            seen = 0 if self.watched else self._pictures.version
            self.viewers += 1
        try:
            yield self._pictures.ticks(repeat_s, seen)
        finally:
            with self._lock:
                self.viewers -= 1

    def close(self) -> None:
        """End every subscription. May be called twice."""
        self.closed.set()
        self._pictures.close()


def multipart(jpeg: bytes, captured_s: float) -> bytes:
    """One part of a multipart/x-mixed-replace stream.

    It ends with the next part's boundary: browsers show a part only when they have seen that.
    """
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Timestamp: {captured_s:.6f}\r\n\r\n"
    return b"".join((head.encode(), jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))
