"""Holds the newest item only: a slow reader skips, it never queues."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """One item, one condition, a version number. How things pass from one thread to another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._version = 0  # of the item; 0 is none yet
        self._taken = 0  # the newest version that any follower has had
        self._closed = False

    def put(self, item: T) -> bool:
        """Replace the item, read or not. False once closed."""
        with self._changed:
            return self._replace(item)

    def hand(self, item: T) -> bool:
        """Like `put`, but wait first until a follower has taken the item before: nothing is skipped.

        With several followers it is enough that one has taken it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._taken == self._version)
            return self._replace(item)

    def follow(self) -> Iterator[T]:
        """The newest item, then each time the newest again, until closed. An item put before the close is
        still delivered."""
        return (item for item in self.ticks(None) if item is not None)

    def ticks(self, idle_s: float | None, seen: int = 0) -> Iterator[T | None]:
        """Like `follow`, with a None whenever nothing new came for `idle_s` seconds, and only what is newer
        than version `seen`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._version != seen, idle_s)  # noqa: B023
                if self._version == seen and self._closed:
                    return
                fresh = self._version != seen
                seen, item = self._version, self._item
                if fresh and seen > self._taken:
                    self._taken = seen
                    self._changed.notify_all()  # a producer may wait in `hand`
            yield item if fresh else None

    @property
    def version(self) -> int:
        """Of the newest item; 0 before the first."""
        return self._version

    @property
    def untaken(self) -> bool:
        """There is an item that no follower has had yet."""
        return self._version != self._taken

    def peek(self) -> T | None:
        """The newest item, None before the first and after `clear`; never waits."""
        return self._item

    def clear(self) -> None:
        """Take the item back. Followers are told of the next one only."""
        with self._changed:
            self._item = None

    def close(self) -> None:
        """End every follower, let every waiting producer go. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _replace(self, item: T) -> bool:
        if self._closed:
            return False
        self._item = item
        self._version += 1
        self._changed.notify_all()
        return True
