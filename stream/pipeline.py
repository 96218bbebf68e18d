"""The three loops together: who hands what to whom, how they start, and how they end."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from stream.capture import PATIENCE, Capture, Patience
from stream.classify import Classify, Work, take_turns
from stream.frames import Answer, Frame
from stream.hub import Hub
from stream.latest import Latest
from stream.log import Sink
from stream.render import Render, Show
from stream.sources import Source

SLICE_S = 0.05

LONGEST_ROUND_S = {"capture": 15.0, "classify": 60.0, "render": 15.0}
"""What a loop may take to come round before it counts as hanging. A camera is tried again after 10 s at most;
a model may compile something in an inference."""


@dataclass(frozen=True)
class Policy:
    """How frames are treated."""

    show: Show = "live"
    every_frame: bool = False  # none skipped, no pacing: the loops hand over and wait
    max_frames: int | None = None  # classified ones
    smoothing: float = 0.0
    quality: int = 80  # of the JPEG, 1 to 100


class Turns:
    """The classify loops of several cameras as one, which goes round among them in a thread of its own."""

    def __init__(self) -> None:
        self.news = threading.Event()
        self.failure: BaseException | None = None
        self._loops: list[Classify] = []
        self._thread = threading.Thread(target=self._run, name="classify", daemon=True)

    def add(self, loop: Classify) -> None:
        """Before the start."""
        self._loops.append(loop)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            take_turns(self._loops, self.news)
        except BaseException as error:  # noqa: BLE001 - `join` passes it on
            self.failure = error


class Pipeline:
    """One camera, one model, one stream of pictures. `start`, then `join`; `stop` from any thread."""

    def __init__(
        self,
        source: Source | None,
        open_again: Callable[[str], Source],
        work: Work,
        policy: Policy,
        hub: Hub,
        sink: Sink,
        beat: Callable[[], None] = lambda: None,
        patience: Patience = PATIENCE,
        turns: Turns | None = None,
    ) -> None:
        """With `turns`, which its maker starts, it has no classify loop of its own."""
        news = turns.news if turns else threading.Event()
        frames: Latest[Frame] = Latest(news)
        self.answers: Latest[Answer] = Latest()
        self._stopping = threading.Event()
        self._slots = (frames, self.answers, hub)
        self.classify = Classify(work, policy.max_frames, frames, self.answers, policy.every_frame, sink)
        ahead = self.classify.prepared if policy.every_frame else None
        self.capture = Capture(source, open_again, frames, ahead, sink, self._stopping, patience)
        one_by_one = policy.every_frame or (source is not None and source.kind == "stills")
        show: Show = "classified" if one_by_one else policy.show
        self.render = Render(
            show, policy.quality, self.capture, self.classify, frames, self.answers, hub, sink, beat
        )
        loops = {"capture": self.capture.run, "render": self.render.run}
        if turns is None:
            loops["classify"] = partial(take_turns, [self.classify], news)
        else:
            turns.add(self.classify)
        self._turns = turns
        self._ended = [threading.Event() for _ in loops]
        self._threads = [
            threading.Thread(target=self._guard, args=(loop, ended), name=name, daemon=True)
            for (name, loop), ended in zip(loops.items(), self._ended, strict=True)
        ]
        self._failure: BaseException | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the loops to end. They do at once, but for a driver that is blocked in a read."""
        self._stopping.set()
        for slot in self._slots:
            slot.close()

    def join(self, timeout_s: float = math.inf) -> None:
        """Wait until the loops have ended, and raise what ended one of them early."""
        join((self,), timeout_s)

    def wait(self, timeout_s: float) -> None:
        """For the end, or part of it."""
        next((ended for ended in self._ended if not ended.is_set()), self._ended[0]).wait(timeout_s)

    @property
    def failure(self) -> BaseException | None:
        """What has ended a loop early."""
        return self._failure or (self._turns.failure if self._turns else None)

    @property
    def over(self) -> bool:
        """All loops have ended."""
        return self.classify.ended and all(ended.is_set() for ended in self._ended)

    @property
    def alive(self) -> bool:
        """All loops are running."""
        started = all(thread.ident for thread in self._threads)
        return started and not self.classify.ended and not any(ended.is_set() for ended in self._ended)

    def hanging(self) -> str | None:
        """Which loop has not come round for too long, in a line; None while all do."""
        now_ns = time.monotonic_ns()
        for name, loop in (("capture", self.capture), ("classify", self.classify), ("render", self.render)):
            round_s = (now_ns - (loop.came_round_ns or now_ns)) / 1e9
            if round_s > LONGEST_ROUND_S[name]:
                return f"the {name} loop has not come round for {round_s:.0f} s"
        return None

    def _guard(self, loop: Callable[[], None], ended: threading.Event) -> None:
        """The broad catch of the loops: an error in a loop ends the others, and `join` passes it on."""
        try:
            loop()
        except BaseException as error:  # noqa: BLE001
            self._failure = self._failure or error
            self.stop()
        finally:
            self._stopping.set()  # none of the three is of use without the others
            ended.set()


def join(
    pipelines: Sequence[Pipeline], timeout_s: float = math.inf, unless: threading.Event | None = None
) -> None:
    """Wait until all have ended, or `unless` is set, and raise what ended one of them early."""
    until_s = time.monotonic() + timeout_s
    while (left_s := until_s - time.monotonic()) > 0 and not (unless and unless.is_set()):
        going_on = [pipeline for pipeline in pipelines if not pipeline.over]
        if not going_on or any(pipeline.failure for pipeline in pipelines if pipeline.over):
            break
        # Not Thread.join: before Python 3.13 one that a signal interrupts takes the thread for ended. And
        # in slices: a signal that the kernel gives to another thread is seen when this one wakes up.
        (unless or going_on[0]).wait(min(SLICE_S, left_s))  # a signal is to be heard at once
    for pipeline in pipelines:
        if pipeline.failure is not None:
            raise pipeline.failure
