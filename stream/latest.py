"""Holds the newest item only: a slow reader skips, it never queues."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """One item, one condition, a version number. How things pass from one thread to another."""

    def __init__(self, news: threading.Event | None = None) -> None:
        """`news` is set by each item, and by the close: for a thread that waits for several slots."""
        self._news = news
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
                taken = self.take(seen)
                if taken is None and self._closed:
                    return
            if taken is not None:
                seen, _ = taken
            yield taken and taken[1]

    def take(self, seen: int) -> tuple[int, T | None] | None:
        """The newest item with its version, for a reader that has had version `seen`: None if that is the
        newest. Never waits."""
        with self._changed:
            if self._version == seen:
                return None
            if self._version > self._taken:
                self._taken = self._version
                self._changed.notify_all()  # a producer may wait in `hand`
            return self._version, self._item

    @property
    def version(self) -> int:
        """Of the newest item; 0 before the first."""
        return self._version

    @property
    def closed(self) -> bool:
        return self._closed

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
            self._notify()

    def _replace(self, item: T) -> bool:
        if self._closed:
            return False
        self._item = item
        self._version += 1
        self._notify()
        return True

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._news is not None:
            self._news.set()
