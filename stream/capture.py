"""The first loop: from the source's shots to numbered frames, at the source's pace, and on to the next source
when a live one is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from models.recipe import Image
from stream.frames import Frame, Prepared, Shot
from stream.latest import Latest
from stream.log import Sink
from stream.rate import Rate
from stream.sources import Shots, Source, SourceError

log = logging.getLogger(__name__)

STALE_S = 2.0
"""A camera that has delivered nothing for so long is shown as lost, whatever its driver says."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 10.0
"""Wait before a lost camera is tried again; it doubles in between."""


class Capture:
    """Reads one source after the other into `frames`. `open_again` is called when a live source is lost, and
    also, if `source` is None, until there is one at all.

    With `prepare` every frame counts: none is skipped, none is held back, and each is prepared here, while
    the classify loop is busy with the one before.
    """

    def __init__(
        self,
        source: Source | None,
        open_again: Callable[[], Source],
        frames: Latest[Frame],
        prepare: Callable[[Image], Prepared] | None,
        sink: Sink,
        stopping: threading.Event,
    ) -> None:
        self.source = source
        self.rate = Rate()
        self.count = 0
        self._fault = "" if source else "waiting for the camera"
        self._open_again, self._frames, self._sink, self._stopping = open_again, frames, sink, stopping
        self._prepare = prepare
        self._asked_ns: int | None = None  # since when the source owes the next frame; None: it does not
        self._connected_ns = 0
        self._stalled = False

    def run(self) -> None:
        put = self._frames.hand if self._prepare else self._frames.put
        shots = self._paced(self._shots())
        try:
            whole = (shot for shot in shots if isinstance(shot, Shot))
            for seq, shot in enumerate(whole):
                arrived_ns, arrived_s = time.monotonic_ns(), time.time()
                self.count = seq + 1
                self.rate.mark(arrived_ns)
                self._asked_ns = None  # a classifier that takes its time is not the camera's fault
                prepared = self._prepare(shot.image) if self._prepare else None
                frame = Frame(seq, shot.image, arrived_ns, arrived_s, shot.name, shot.sensor_ns, prepared)
                if not put(frame):
                    break
                self._asked_ns = time.monotonic_ns()
        finally:
            self._asked_ns = None
            shots.close()
            self._frames.close()

    def fault(self) -> str | None:
        """Why there is no fresh frame; None if there is one. For any thread."""
        if self._frames.peek() is None:
            return self._fault or "waiting for the first frame"
        asked_ns, source = self._asked_ns, self.source
        if asked_ns is None or not is_stale(asked_ns, source):
            return None
        return self._fault or silence(asked_ns)

    def watch(self) -> None:
        """Record once that a source has fallen silent without an error, and once that it goes on. To be
        called by one thread, every now and then."""
        asked_ns, source = self._asked_ns, self.source
        since_ns = max(asked_ns or 0, self._connected_ns)
        stalled = asked_ns is not None and source is not None and is_stale(since_ns, source)
        if stalled and not self._stalled:
            self._event("stall", silence(since_ns))
        elif self._stalled and not stalled and source is not None:  # None: lost, which is recorded already
            self._event("resume", source.name)
        self._stalled = stalled

    def _paced(self, shots: Shots) -> Shots:
        """Hold back each shot of a source without a clock of its own until its time has come."""
        try:
            due_s = time.monotonic()
            for shot in shots:
                if self.source and self.source.paced and self.source.fps and not self._prepare:
                    self._stopping.wait(max(0.0, due_s - time.monotonic()))
                    # Late by more than a frame: go on from here instead of rushing after the lost time.
                    due_s = max(due_s + 1 / self.source.fps, time.monotonic())
                if self._stopping.is_set():
                    return
                yield shot
            if self.source and self.source.paced and not self._prepare:
                self._stopping.wait(max(0.0, due_s - time.monotonic()))  # the last has its time too
        finally:
            shots.close()

    def _shots(self) -> Shots:
        """All shots of the source, and of those that replace it while it is a live one."""
        while not self._stopping.is_set():
            source = self.source or self._reopened()
            if source is None:
                return
            self._connected_ns = time.monotonic_ns()
            self.source, self._fault = source, ""
            self._event("connect", f"{source.name} {source.note}".strip())
            try:
                yield from source.shots
                reason = f"{source.name} ended"
            except SourceError as error:
                if not source.live:
                    raise
                reason = str(error)
            finally:
                source.shots.close()
            if not source.live:
                return
            self.source, self._fault = None, reason
            self._event("lost", reason)
            log.warning("%s - trying again", reason)

    def _reopened(self) -> Source | None:
        """Try until the source opens; None when asked to stop."""
        wait_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                return self._open_again()
            except SourceError as error:
                self._fault = str(error)
            self._stopping.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)
        return None

    def _event(self, event: str, detail: str) -> None:
        now_ns = time.monotonic_ns()
        self._sink({"rec": "event", "event": event, "detail": detail, "t_ns": now_ns, "t_utc": time.time()})


def is_stale(since_ns: int, source: Source | None) -> bool:
    """Longer ago than a source of this rate may be silent."""
    period_s = 1 / source.fps if source and source.fps else 0.0
    return time.monotonic_ns() - since_ns > max(STALE_S, 3 * period_s) * 1e9


def silence(since_ns: int) -> str:
    return f"the camera has delivered nothing for {(time.monotonic_ns() - since_ns) / 1e9:.0f} s"
