"""The second loop: the newest frame through the model. The only thread that infers."""

from __future__ import annotations

import time

from backends import Backend
from models.recipe import Image
from models.scores import Reading, Smoother
from stream.frames import Answer, Frame, Prepared
from stream.latest import Latest
from stream.log import Record, Sink
from stream.rate import Rate


class Classify:
    def __init__(
        self,
        backend: Backend,
        reading: Reading,
        smoothing: float,
        max_frames: int | None,
        frames: Latest[Frame],
        answers: Latest[Answer],
        every_frame: bool,
        sink: Sink,
    ) -> None:
        self.rate = Rate()
        self.count, self.skipped = 0, 0
        self._backend, self._reading, self._max_frames = backend, reading, max_frames
        self._smoother = Smoother(smoothing) if smoothing else None
        self._frames, self._answers, self._every_frame, self._sink = frames, answers, every_frame, sink

    def run(self) -> None:
        put = self._answers.hand if self._every_frame else self._answers.put
        expected = 0
        held: Answer | None = None
        try:
            for frame in self._frames.follow():
                if held is not None:
                    put(held)
                skipped, expected = frame.seq - expected, frame.seq + 1
                answer = answer_to(frame, self._backend, self._reading, self._smoother, skipped)
                self.rate.mark(answer.done_ns)
                self.count += 1
                self.skipped += skipped
                self._sink(frame_record(answer))
                # With the next frame there already, wait with waking the render loop until the model is busy
                # with that one: woken now, it would only queue for Python's lock.
                held = answer if self._every_frame and self._frames.untaken else None
                if held is None and not put(answer):
                    break
                if self.count == self._max_frames:
                    break
            if held is not None:
                put(held)
        finally:
            self._frames.close()
            self._answers.close()


def answer_to(
    frame: Frame, backend: Backend, reading: Reading, smoother: Smoother | None = None, skipped: int = 0
) -> Answer:
    """Prepare, infer, read the scores; live frames and stills alike, so that their times can be compared."""
    prepared = frame.prepared or prepare(frame.image, backend)
    started_ns = time.monotonic_ns()
    scores = backend.infer(prepared.tensor)
    inferred_ns = time.monotonic_ns()
    if smoother is not None:
        scores = smoother(reading.real(scores))
    predictions = reading.top(scores)
    done_ns = time.monotonic_ns()
    device_us: int | None = getattr(backend, "device_us", None)
    return Answer(frame, predictions, skipped, prepared, started_ns, inferred_ns, done_ns, device_us)


def prepare(image: Image, backend: Backend) -> Prepared:
    started_ns = time.monotonic_ns()
    return Prepared(backend.prepare(image), started_ns, time.monotonic_ns())


def frame_record(answer: Answer) -> Record:
    """The log's line for one classified frame or still."""
    record: Record = {"rec": "frame", "seq": answer.frame.seq}
    if answer.frame.name is not None:
        record["image"] = answer.frame.name
    if answer.frame.sensor_ns is not None:
        record["sensor_us"] = (answer.frame.arrived_ns - answer.frame.sensor_ns) // 1000
    if answer.device_us is not None:
        record["device_us"] = answer.device_us
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
