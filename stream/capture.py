"""The first loop: keeps a source open, numbers its pictures, and says what is the matter with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from models.recipe import Image, size_of
from stream.frames import Broken, Frame, Prepared, Shot
from stream.latest import Latest
from stream.log import Sink, event_record
from stream.rate import Rate
from stream.reader import Reader
from stream.sources import Source, SourceError

log = logging.getLogger(__name__)

TICK_S = 0.1
"""How often the loop looks after the reader."""
SLOW = 0.75
"""Of the rate that was granted: below it a camera is slow. Webcams halve theirs in dim light."""
SAMPLE = 8
"""Every so many rows and columns are compared to see whether a picture is the one before."""


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, a camera may take for what."""

    stale_s: float = 2.0  # nothing new for so long is shown, whatever the driver says; for a slow one longer
    reopen_s: float = 5.0  # then it is opened again
    open_s: float = 20.0  # a camera on Argus takes ten
    repeat_s: float = 3.0  # of one and the same picture, or of a rate far below its own, is remarked on
    stuck_s: float = 60.0  # a driver that blocks for so long will not come back
    most_stuck: int = 5  # reads that block at the same time
    first_retry_s: float = 0.25  # it doubles
    longest_retry_s: float = 1.0  # while it cannot be opened
    longest_relapse_s: float = 10.0  # while it opens and is lost again at once
    steady_s: float = 5.0  # not "at once"


PATIENCE = Patience()


class Capture:
    """Reads one source after the other into `frames`. `open_again` is called when a live source is lost, with
    the name it can be found by, and with "" until there is one at all, if `source` is None.

    The source is read by a thread of its own: a driver that blocks is left behind. With `prepare` every frame
    counts: none is skipped, none is held back, and each is prepared by the reader, while the classify loop is
    busy with the one before.
    """

    def __init__(
        self,
        source: Source | None,
        open_again: Callable[[str], Source],
        frames: Latest[Frame],
        prepare: Callable[[Image], Prepared] | None,
        sink: Sink,
        stopping: threading.Event,
        patience: Patience,
    ) -> None:
        self.source = source  # None: there is none just now
        self.rate = Rate()
        self.started_ns = time.monotonic_ns()
        self.broken = 0  # pictures that could not be used
        self.losses = 0
        self.came_round_ns: int | None = None
        self._frames, self._prepare, self._sink = frames, prepare, sink
        self._open_again, self._stopping, self._patience = open_again, stopping, patience
        self._seqs = count()
        self.count = 0
        self._fault = "" if source else "waiting for the camera"  # until the next picture
        self._owed_since_ns: int | None = None  # the next picture; None: none is, one is being handed on
        self._broken_why = ""  # since the last whole picture
        self._sample: bytes | None = None
        self._size: tuple[int, int] | None = None
        self._repeats_since_ns = 0
        self._slow_since_ns: int | None = None
        self._stuck: list[Reader] = []
        self._logged = ""  # why it cannot be opened
        self._delivering_s = 0.0  # from the opening to the newest picture
        self._period_s = 0.0  # between two pictures: as promised, or longer
        self._told: dict[str, str] = {}  # what is the matter, as of the last tick

    @property
    def newest_ns(self) -> int | None:
        """When the newest frame came; None before the first."""
        frame = self._frames.peek()
        return frame.arrived_ns if frame else None

    @property
    def stuck(self) -> int:
        """Reads that a driver blocks, left behind."""
        return sum(reader.alive for reader in self._stuck)

    def run(self) -> None:
        again, source, wait_s = "", self.source, self._patience.first_retry_s
        reader: Reader | None = None
        try:
            while not self._stopping.is_set():
                self.came_round_ns = time.monotonic_ns()
                reader = Reader(self._opener(source, again), self._read)
                lost = self._look_after(reader)
                if lost is None:
                    return
                source, found = None, reader.source
                again = found.again or again if found else again
                self._lost(lost, found)
                self._give_up_if_stuck(lost)
                if found and self._delivering_s > self._patience.steady_s:
                    wait_s = self._patience.first_retry_s
                longest_s = self._patience.longest_relapse_s if found else self._patience.longest_retry_s
                self._stopping.wait(min(wait_s, longest_s))
                wait_s = min(2 * wait_s, longest_s)
        finally:
            self._owed_since_ns = None
            self._frames.close()
            if reader is not None and not reader.left_ns:
                reader.leave()
                reader.ended_within(None)  # this loop ends when the camera is free

    def fault(self) -> str | None:
        """Why there is no fresh picture; None if there is one. For any thread."""
        if self._fault:
            return self._fault
        if self._frames.peek() is None:
            return "waiting for the first picture"
        return self._told.get("broken") or self._told.get("stall")

    def remarks(self) -> tuple[str, ...]:
        """What is odd although pictures come. For any thread."""
        return tuple(text for kind, text in self._told.items() if kind in ("repeat", "slow"))

    # In the reader's thread.

    def _opener(self, source: Source | None, again: str) -> Callable[[], Source]:
        return (lambda: source) if source else (lambda: self._open_again(again))

    def _read(self, reader: Reader, source: Source) -> None:
        self.source, self._owed_since_ns = source, time.monotonic_ns()
        self._sample, self._slow_since_ns = None, None
        self._event("connect", described(source))
        log.info("%s", described(source))
        began_ns, self._delivering_s = time.monotonic_ns(), 0.0
        period_s = self._period_s = 1 / source.fps if source.fps else 0.0
        put = self._frames.hand if self._prepare else self._frames.put
        for shot in self._paced(source):
            if reader.left_ns:
                return
            if isinstance(shot, Broken):
                self.broken += 1
                self._broken_why = shot.reason
                continue
            arrived_ns, arrived_s = time.monotonic_ns(), time.time()
            seq = next(self._seqs)
            self.count = seq + 1
            self.rate.mark(arrived_ns)
            self._owed_since_ns = None  # a classifier that takes its time is not the camera's fault
            self._fault = self._broken_why = ""
            delivering_s = (arrived_ns - began_ns) / 1e9
            self._period_s = max(period_s, delivering_s - self._delivering_s)
            self._delivering_s = delivering_s
            if source.live:
                self._compare(shot.image, arrived_ns)
            prepared = self._prepare(shot.image) if self._prepare else None
            if not put(Frame(seq, shot.image, arrived_ns, arrived_s, shot.name, shot.sensor_ns, prepared)):
                return
            self._owed_since_ns = time.monotonic_ns()

    def _paced(self, source: Source) -> Iterator[Shot | Broken]:
        """Hold back each shot of a source without a clock of its own until its time has come."""
        period_s = 1 / source.fps if source.paced and source.fps and not self._prepare else 0.0
        due_s = time.monotonic()
        for shot in source.shots:
            if period_s:
                self._stopping.wait(max(0.0, due_s - time.monotonic()))
                # Late by more than a frame: go on from here instead of rushing after the lost time.
                due_s = max(due_s + period_s, time.monotonic())
            if self._stopping.is_set():
                return
            yield shot
        if period_s:
            self._stopping.wait(max(0.0, due_s - time.monotonic()))  # the last has its time too

    def _compare(self, image: Image, now_ns: int) -> None:
        """Notice a picture that is the one before, and one of another size."""
        sample = image[::SAMPLE, ::SAMPLE].tobytes()
        if sample != self._sample:
            self._repeats_since_ns = now_ns
        self._sample = sample
        size = size_of(image)
        if self._size not in (None, size):
            self._event("size", f"{size[0]}x{size[1]}")
        self._size = size

    # In the loop's own thread.

    def _look_after(self, reader: Reader) -> str | None:
        """Until the reader has ended or is left behind. Why the source is to be opened again, None if it is
        not; raises what ends the program."""
        while not reader.ended_within(TICK_S):
            if self._stopping.is_set():
                return None
            self.came_round_ns = time.monotonic_ns()
            self._record_trouble()
            silent_s = self._silent_s(reader)
            if silent_s is not None:
                reader.leave()
                if not reader.ended_within(TICK_S):
                    self._stuck.append(reader)
                return self._broken_text() or silence(silent_s)
        live = reader.source is None or reader.source.live
        if isinstance(reader.failure, SourceError) and live:
            return None if self._stopping.is_set() else str(reader.failure)
        if reader.failure is not None:
            raise reader.failure
        if reader.source is None or not live or self._stopping.is_set():
            return None
        return f"{reader.source.name} ended"

    def _silent_s(self, reader: Reader) -> float | None:
        """For how long the reader waits for a driver, when that is longer than it may take."""
        now_ns = time.monotonic_ns()
        if reader.source is None:
            silent_s = (now_ns - reader.started_ns) / 1e9
            return silent_s if silent_s > self._patience.open_s else None
        if not reader.source.live or self._owed_since_ns is None:
            return None
        silent_s = (now_ns - self._owed_since_ns) / 1e9
        return silent_s if silent_s > max(self._patience.reopen_s, 6 * self._period_s) else None

    def _lost(self, reason: str, found: Source | None) -> None:
        self._fault, self.source, self._owed_since_ns = reason, None, None
        self._told = {}
        if found is None:  # it was not there, and it still is not
            if reason != self._logged:
                log.warning("%s - trying again", reason)
            self._logged = reason
            return
        self._logged = ""
        self.losses += 1
        self._event("lost", reason)
        log.warning("%s - trying again", reason)

    def _give_up_if_stuck(self, reason: str) -> None:
        """A process cannot end its own threads. What started it can end the process, and start it again."""
        self._stuck = [reader for reader in self._stuck if reader.alive]
        now_ns = time.monotonic_ns()
        blocked_s = max(((now_ns - (reader.left_ns or now_ns)) / 1e9 for reader in self._stuck), default=0.0)
        if len(self._stuck) >= self._patience.most_stuck or blocked_s > self._patience.stuck_s:
            raise SourceError(
                f"{reason}, and its driver does not come back - start again; if that does not help, unplug it"
            )

    def _trouble(self, now_ns: int) -> dict[str, str]:
        """What is the matter with a source that is open, by the kind of event."""
        owed_ns, source = self._owed_since_ns, self.source
        if source is None:
            return {}
        trouble = {}
        silent_s = (now_ns - owed_ns) / 1e9 if owed_ns is not None else 0.0
        if silent_s > max(self._patience.stale_s, 3 * self._period_s):
            broken = self._broken_text()
            trouble["broken" if broken else "stall"] = broken or silence(silent_s)
        elif source.live and self._sample is not None:
            repeats_s = (now_ns - self._repeats_since_ns) / 1e9
            if repeats_s > max(self._patience.repeat_s, 6 * self._period_s):
                trouble["repeat"] = f"the same picture for {repeats_s:.0f} s"
            slow_ns = self._slow_since_ns
            if slow_ns is not None and (now_ns - slow_ns) / 1e9 > self._patience.repeat_s:
                measured = self.rate.per_second(now_ns) or 0.0
                trouble["slow"] = f"the camera delivers {measured:.1f} of {source.fps:g} fps"
        return trouble

    def _record_trouble(self) -> None:
        """Once when it begins, and once when it is over."""
        now_ns, source = time.monotonic_ns(), self.source
        measured = self.rate.per_second(now_ns)
        wanted = source.fps if source and source.live and not self._prepare else None
        slow = wanted and measured and measured < SLOW * wanted
        self._slow_since_ns = (self._slow_since_ns or now_ns) if slow else None
        trouble = self._trouble(now_ns)
        for kind in trouble.keys() - self._told.keys():
            self._event(kind, trouble[kind])
        for kind in self._told.keys() - trouble.keys():
            self._event("resume", self._told[kind])
        self._told = trouble

    def _broken_text(self) -> str:
        return f"the camera delivers broken pictures: {self._broken_why}" if self._broken_why else ""

    def _event(self, event: str, detail: str) -> None:
        self._sink(event_record(event, detail))


def described(source: Source) -> str:
    """In a line: what is read, and in which mode."""
    width, height = source.size
    rate = f" at {source.fps:g} fps" if source.fps else ""
    via = f" by {source.via}" if source.via else ""
    return f"{source.name} {width}x{height}{rate}{via}" + (f" ({source.note})" if source.note else "")


def silence(silent_s: float) -> str:
    return f"the camera has delivered nothing for {silent_s:.0f} s"
