"""Where pictures are published and viewers counted: any transport can serve what is here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from stream.frames import Picture
from stream.latest import Latest

OWN = 0
"""The width that stands for the source's own."""
PLACES = 128
MOST_WIDTHS = 4
"""Others at the same time: each is encoded once more for every picture."""


class Full(Exception):
    """Nobody more is let in just now. One line why."""


class Places:
    """A fixed number of places, taken without waiting."""

    def __init__(self, count: int, who: str) -> None:
        self.count, self.rejected = count, 0
        self._who = who
        self._free = threading.BoundedSemaphore(count)

    def take(self) -> None:
        if not self._free.acquire(blocking=False):
            self.rejected += 1
            raise Full(f"no place is left for {self._who} ({self.count})")

    def give_back(self) -> None:
        self._free.release()


class Rendition:
    """The pictures of one width, and how many watch them."""

    def __init__(self) -> None:
        self.pictures: Latest[Picture] = Latest()
        self.viewers = 0
        self.stale: Picture | None = None  # the last one from before somebody watched again
        self.stale_version = 0


class Viewing:
    """What one viewer follows; whoever asked for it calls `leave` once, in the end."""

    def __init__(self, hub: Hub, width: int, rendition: Rendition, facts: bool) -> None:
        self._hub, self._width, self._rendition, self._facts = hub, width, rendition, facts
        self.stale = rendition.stale
        """Not to be shown: it may be an hour old, from when somebody last watched."""

    @property
    def newest(self) -> Picture | None:
        return self._rendition.pictures.peek()

    @property
    def closed(self) -> bool:
        return self._hub.closed

    def part(self, picture: Picture) -> bytes:
        return picture.part_with_facts if self._facts else picture.part

    def wait(self, timeout_s: float) -> Picture | None:
        """A picture of now; None if there is none in time."""
        return next(self._rendition.pictures.ticks(timeout_s, self._rendition.stale_version), None)

    def leave(self) -> None:
        self._hub.leave(self._width, self._rendition)


class Hub:
    """The newest picture in each width that is watched. Pictures are painted only while somebody does watch,
    or `always`.

    `on_publish` is called for each picture and at the close, by whoever publishes or closes; it must not
    wait.
    """

    def __init__(self, always: bool = False, places: Places | None = None) -> None:
        """Places may be shared with other hubs."""
        self.places = places or Places(PLACES, "viewers")
        self.entered = 0  # how many ever were: a new one needs a picture, also if no new frame comes
        self.published = 0
        self.closed = False
        self.on_publish: Callable[[], object] = lambda: None
        self._always = always
        self._changed = threading.Condition()
        self._own = Rendition()
        self._others: dict[int, Rendition] = {}
        self._published_ns: int | None = None  # None: nobody has watched since
        self._longest_gap_ns: int | None = None

    @property
    def viewers(self) -> int:
        with self._changed:
            return self._count()

    @property
    def watched(self) -> bool:
        with self._changed:
            return self._is_watched

    @property
    def widths(self) -> tuple[int, ...]:
        """Those that are watched, OWN among them."""
        with self._changed:
            return (*((OWN,) if self._always or self._own.viewers else ()), *self._others)

    def publish(self, pictures: Mapping[int, Picture]) -> None:
        """The same picture in several widths."""
        now_ns = time.monotonic_ns()
        with self._changed:
            if self._published_ns is not None and self._longest_gap_ns is not None:
                self._longest_gap_ns = max(self._longest_gap_ns, now_ns - self._published_ns)
            self._published_ns = now_ns
            self.published += 1
            self._changed.notify_all()
            renditions = {OWN: self._own, **self._others}
        for width, picture in pictures.items():
            if width in renditions:
                renditions[width].pictures.put(picture)
        self.on_publish()

    def watch(self, width: int = OWN, facts: bool = False) -> Viewing:
        """One viewer more. Raises Full when there are too many widths."""
        with self._changed:
            rendition = self._own if width == OWN else self._others.get(width)
            if rendition is None:
                if len(self._others) == MOST_WIDTHS:
                    watched = ", ".join(map(str, sorted(self._others)))
                    raise Full(f"{MOST_WIDTHS} other widths are watched already: {watched}")
                rendition = self._others[width] = Rendition()
            if not self._always and not rendition.viewers:
                rendition.stale, rendition.stale_version = (
                    rendition.pictures.peek(),
                    rendition.pictures.version,
                )
                if not self._is_watched:
                    self._published_ns = None  # what went by while nobody watched is no gap
            rendition.viewers += 1
            self.entered += 1
            if self.closed:
                rendition.pictures.close()
            return Viewing(self, width, rendition, facts)

    def leave(self, width: int, rendition: Rendition) -> None:
        with self._changed:
            rendition.viewers -= 1
            if width != OWN and not rendition.viewers:
                self._others.pop(width, None)

    def snapshot(self, timeout_s: float, width: int = OWN) -> Picture | None:
        """A picture of now, as any viewer would see it next; None if there is none in time. Raises Full."""
        viewing = self.watch(width)
        try:
            return viewing.wait(timeout_s)
        finally:
            viewing.leave()

    def measure_gap(self) -> None:
        """From now on, the longest time between two pictures; `longest_gap_ms` has it."""
        with self._changed:
            self._longest_gap_ns = 0

    def longest_gap_ms(self, timeout_s: float = 0.0) -> float | None:
        """None if nobody watched. What is going on counts too: the picture that ends it is waited for."""
        with self._changed:
            began_ns = self._published_ns
            self._changed.wait_for(lambda: self._published_ns != began_ns or not self._is_watched, timeout_s)
            if self._published_ns is None or self._longest_gap_ns is None or not self._is_watched:
                return None
            going_on_ns = time.monotonic_ns() - self._published_ns
            return max(self._longest_gap_ns, going_on_ns) / 1e6

    def close(self) -> None:
        """No more pictures: every viewer's stream ends. May be called twice."""
        with self._changed:
            self.closed = True
            renditions = [self._own, *self._others.values()]
        for rendition in renditions:
            rendition.pictures.close()
        self.on_publish()

    # With the condition held.

    def _count(self) -> int:
        return self._own.viewers + sum(other.viewers for other in self._others.values())

    @property
    def _is_watched(self) -> bool:
        return self._always or self._count() > 0
