"""The second loop: the newest frame through the model. The only thread that infers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backends import Backend, NoAnswer
from models.recipe import Image
from models.scores import Reading, Smoother
from stream.frames import Answer, Frame, Prepared
from stream.latest import Latest
from stream.log import Record, Sink, event_record
from stream.rate import Rate

log = logging.getLogger(__name__)

IDLE_S = 0.25
"""How often to come round although no frame comes: a new model may be waiting."""


@dataclass(frozen=True)
class Work:
    """What frames are classified with. Replaced as a whole, between two frames."""

    backend: Backend
    reading: Reading
    smoothing: float = 0.0
    fallback: Work | None = None  # answers while the backend, elsewhere, gives none


@dataclass(frozen=True)
class Silence:
    """The model runs elsewhere, and no answer comes from there."""

    reason: str
    since_ns: int  # monotonic
    frames: int  # unanswered since then

    def seconds(self, now_ns: int) -> float:
        return (now_ns - self.since_ns) / 1e9


class Classify:
    """One camera's part of the loop. `step` and `end` are for its thread alone."""

    def __init__(
        self,
        work: Work,
        max_frames: int | None,
        frames: Latest[Frame],
        answers: Latest[Answer],
        every_frame: bool,
        sink: Sink,
    ) -> None:
        self.rate = Rate()
        self.count, self.skipped, self.unanswered = 0, 0, 0
        self.silence: Silence | None = None  # while answers come
        self.came_round_ns: int | None = None
        self.ended = False  # nothing waiting is taken any more
        self._work, self._max_frames = work, max_frames
        self._waiting: deque[tuple[Work, Callable[[], object]]] = deque()
        self._frames, self._answers, self._every_frame, self._sink = frames, answers, every_frame, sink
        self.giver = work  # of the newest answer
        self.on_giver: Callable[[Work], object] = lambda giver: None  # called before the answer is told
        self._put = answers.hand if every_frame else answers.put
        self._smoother = smoother_for(work)
        self._seen, self._expected = 0, 0  # versions and numbers of frames
        self._held: Answer | None = None

    @property
    def work(self) -> Work:
        return self._work

    def use(self, work: Work, taken: Callable[[], object]) -> None:
        """From the next frame on. `taken` is called by the loop when it has let go of the work before."""
        self._waiting.append((work, taken))

    def step(self) -> None:
        """Once round: the newest frame, if there is a new one, and what else waits. Waits for neither."""
        self.came_round_ns = time.monotonic_ns()
        self._let_go()
        while self._waiting:
            self._work, taken = self._waiting.popleft()
            self.giver, self._smoother = self._work, smoother_for(self._work)
            taken()
        closed = self._frames.closed  # looked at first: what was put before the close is still answered
        newest = self._frames.take(self._seen)
        if newest is None:
            if closed:
                self.end()
            return
        self._seen, frame = newest
        if frame is not None:
            self._answer(frame)

    def end(self) -> None:
        """May be called twice."""
        self._let_go()
        self.ended = True
        self._frames.close()
        self._answers.close()

    def _answer(self, frame: Frame) -> None:
        skipped, self._expected = frame.seq - self._expected, frame.seq + 1
        self.skipped += skipped
        work = self._work
        try:
            answer = self._ask(work, frame, skipped)
        except NoAnswer as error:
            if self._every_frame:
                raise  # none is left out
            self._unanswered(str(error))
            if work.fallback is None:
                self._smoother = smoother_for(work)  # what was before is no part of what comes after
                return
            work = work.fallback
            answer = self._ask(work, frame, skipped)
        self.rate.mark(answer.done_ns)
        self.count += 1
        self._sink(frame_record(answer))
        # With the next frame there already, wait with waking the render loop until the model is busy
        # with that one: woken now, it would only queue for Python's lock.
        if self._every_frame and self._frames.untaken:
            self._held = answer
        elif not self._put(answer):
            self.end()
            return
        if work is self._work:
            self._answered()
        if self.count == self._max_frames:
            self.end()

    def _ask(self, work: Work, frame: Frame, skipped: int) -> Answer:
        smoother = self._smoother if work is self.giver else smoother_for(work)
        answer = answer_to(frame, work.backend, work.reading, smoother, skipped)
        if work is not self.giver:
            self.giver, self._smoother = work, smoother
            self.on_giver(work)
        return answer

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._put(held)

    def own(self, answer: Answer | None) -> Answer | None:
        """The answer, if it is of the model that gives answers now."""
        return answer if answer and answer.prepared.backend is self.giver.backend else None

    def remarks(self) -> tuple[str, ...]:
        """What is odd although the video goes on. For any thread."""
        silence = self.silence
        if silence is None:
            return ()
        told = "no answer" if self.giver is self._work else "the fallback has answered"
        return (f"{told} for {int(silence.seconds(time.monotonic_ns()))} s: {silence.reason}",)

    def _unanswered(self, reason: str) -> None:
        """The server's answer before this frame is taken back: it must not be shown as if it were of now."""
        if self.giver is self._work:
            self._answers.clear()
        self.unanswered += 1
        if self.silence is None:
            log.warning("no answer: %s", reason)
            self._sink(event_record("unanswered", reason))
            self.silence = Silence(reason, time.monotonic_ns(), 1)
        else:
            self.silence = replace(self.silence, reason=reason, frames=self.silence.frames + 1)

    def _answered(self) -> None:
        silence, self.silence = self.silence, None
        if silence is not None:
            passed_s = silence.seconds(time.monotonic_ns())
            detail = f"after {passed_s:.1f} s, {silence.frames} frames unanswered"
            self._sink(event_record("answered", detail))

    def prepared(self, image: Image) -> Prepared:
        """For a frame that is prepared by another thread, ahead of its turn."""
        return prepare(image, self._work.backend)


def take_turns(loops: Sequence[Classify], news: threading.Event) -> None:
    """Until all have ended. `news` is set when one of them has a frame.

    Each is looked at once in a round: nobody is served twice while another waits, and who is served gets an
    answer to the newest frame there is then.
    """
    try:
        left = list(loops)
        while left:
            news.wait(IDLE_S)
            news.clear()  # before they look: what comes from here on sets it again
            for loop in left:
                loop.step()
            left = [loop for loop in left if not loop.ended]
    finally:
        for loop in loops:
            loop.end()


def smoother_for(work: Work) -> Smoother | None:
    return Smoother(work.smoothing) if work.smoothing else None


def answer_to(
    frame: Frame, backend: Backend, reading: Reading, smoother: Smoother | None = None, skipped: int = 0
) -> Answer:
    """Prepare, infer, read the scores; live frames and stills alike, so that their times can be compared."""
    prepared = frame.prepared
    if prepared is None or prepared.backend is not backend:  # the model was changed meanwhile
        prepared = prepare(frame.image, backend)
    started_ns = time.monotonic_ns()
    scores = backend.infer(prepared.tensor)
    inferred_ns = time.monotonic_ns()
    if smoother is not None:
        scores = smoother(reading.real(scores))
    predictions = reading.top(scores)
    done_ns = time.monotonic_ns()
    device_us: int | None = getattr(backend, "device_us", None)
    net_us: int | None = getattr(backend, "net_us", None)
    return Answer(frame, predictions, skipped, prepared, started_ns, inferred_ns, done_ns, device_us, net_us)


def prepare(image: Image, backend: Backend) -> Prepared:
    started_ns = time.monotonic_ns()
    return Prepared(backend.prepare(image), started_ns, time.monotonic_ns(), backend)


def frame_record(answer: Answer) -> Record:
    """The log's line for one classified frame or still."""
    record: Record = {"rec": "frame", "seq": answer.frame.seq}
    if answer.frame.name is not None:
        record["image"] = answer.frame.name
    if answer.frame.sensor_ns is not None:
        record["sensor_us"] = (answer.frame.arrived_ns - answer.frame.sensor_ns) // 1000
    if answer.device_us is not None:
        record["device_us"] = answer.device_us
    if answer.net_us is not None:
        record["net_us"] = answer.net_us
    return record | {
        "arrived_ns": answer.frame.arrived_ns,
        "skip": answer.skipped,
        "wait_us": answer.wait_us,
        "pre_us": answer.pre_us,
        "infer_us": answer.infer_us,
        "post_us": answer.post_us,
        "age_us": answer.age_us,
        "top": [[index, label, round(score, 5)] for index, label, score in answer.predictions],
    }
