"""Where pictures are published and viewers counted: any transport can serve what is here."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stream.frames import Picture
from stream.latest import Latest

BOUNDARY = "frame"


class Hub:
    """The newest picture, and how many watch: pictures are painted only while somebody does, or `always`.

    `on_publish` is called for each picture and at the close, by whoever publishes or closes; it must not
    wait.
    """

    def __init__(self, always: bool = False) -> None:
        self._always = always
        self._lock = threading.Lock()
        self._pictures: Latest[Picture] = Latest()
        self._stale: Picture | None = None  # the last one from before somebody watched again
        self._stale_version = 0
        self.viewers = 0
        self.entered = 0  # how many ever were: a new one needs a picture, also if no new frame comes
        self.closed = False
        self.on_publish: Callable[[], object] = lambda: None

    @property
    def watched(self) -> bool:
        return self._always or self.viewers > 0

    @property
    def newest(self) -> Picture | None:
        return self._pictures.peek()

    def publish(self, picture: Picture) -> None:
        self._pictures.put(picture)
        self.on_publish()

    def enter(self) -> Picture | None:
        """One viewer more. Returns the picture not to show them: it may be an hour old, from when somebody
        last watched."""
        with self._lock:
            if not self.watched:
                self._stale, self._stale_version = self.newest, self._pictures.version
            self.viewers += 1
            self.entered += 1
            return self._stale

    def leave(self) -> None:
        with self._lock:
            self.viewers -= 1

    def snapshot(self, timeout_s: float) -> Picture | None:
        """A picture of now, as any viewer would see it next; None if there is none in time."""
        self.enter()
        try:
            return next(self._pictures.ticks(timeout_s, self._stale_version), None)
        finally:
            self.leave()

    def close(self) -> None:
        """No more pictures: every viewer's stream ends. May be called twice."""
        self.closed = True
        self._pictures.close()
        self.on_publish()


def multipart(jpeg: bytes, captured_s: float) -> bytes:
    """One part of a multipart/x-mixed-replace stream.

    It ends with the next part's boundary: browsers show a part only when they have seen that.
    """
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Timestamp: {captured_s:.6f}\r\n\r\n"
    return b"".join((head.encode(), jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))
