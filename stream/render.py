"""The third loop: the newest answer painted on the frame, and encoded once for all who watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Literal

import cv2

from models.recipe import Image, as_image, size_of
from stream.capture import Capture
from stream.classify import Classify
from stream.frames import Answer, Frame, Picture
from stream.hub import Hub
from stream.latest import Latest
from stream.log import Sink
from stream.overlay import Caption, paint, paint_no_signal, warm_up
from stream.sources import SourceError

Show = Literal["live", "classified"]

IDLE_S = 0.25
"""How often to look up although nothing has come: for a new viewer of a slow camera, and for a lost one."""


class Render:
    def __init__(
        self,
        show: Show,
        quality: int,
        capture: Capture,
        classify: Classify,
        frames: Latest[Frame],
        answers: Latest[Answer],
        hub: Hub,
        sink: Sink,
        beat: Callable[[], None],
    ) -> None:
        self._beat = beat  # called each time round: a supervisor's watchdog is fed with it
        self.quality = quality
        self.came_round_ns: int | None = None
        self._show = show
        self._capture, self._classify = capture, classify
        self._frames, self._answers, self._hub, self._sink = frames, answers, hub, sink

    def run(self) -> None:
        warm_up()
        painted, told, entered = None, None, 0
        try:
            for frame, answer in self._shown():
                self.came_round_ns = time.monotonic_ns()
                self._beat()
                if not self._hub.watched:
                    continue
                fault = self._capture.fault()
                if fault is not None:
                    self._publish_no_signal(frame, fault)
                    continue
                # A frame that stays, of a slow camera, is painted again when its own answer has come.
                its_own = answer is not told and answer is not None and answer.frame is frame
                if frame is not None and (frame is not painted or its_own or entered != self._hub.entered):
                    painted, told, entered = frame, answer, self._hub.entered
                    self._publish(frame, answer)
        finally:
            self._hub.close()

    def _shown(self) -> Iterator[tuple[Frame | None, Answer | None]]:
        """What to show: the newest frame and the newest answer, or a classified frame with its own. Each time
        there is something new, and every IDLE_S seconds."""
        if self._show == "live":
            for _ in self._frames.ticks(IDLE_S):
                yield self._frames.peek(), self._answers.peek()
            return
        answer = None
        for fresh in self._answers.ticks(IDLE_S):
            # Not `peek`: with --every-frame the next answer may be there already, and this one would be lost.
            answer = fresh or answer
            if self._classify.silence and self._answers.peek() is None:  # the video goes on, slowly
                yield self._frames.peek(), None
            else:
                yield (answer.frame if answer else None), answer

    def _publish(self, frame: Frame, answer: Answer | None) -> None:
        started_ns = time.monotonic_ns()
        answer = self._classify.own(answer)
        painted = paint(frame.image, self._caption(answer, started_ns))
        drawn_ns = time.monotonic_ns()
        jpegs = self._encoded(painted)
        done_ns = time.monotonic_ns()
        answer_seq = answer.frame.seq if answer else None
        best = answer.predictions[0] if answer and answer.predictions else None
        age_s = (done_ns - frame.arrived_ns) / 1e9
        self._hub.publish(
            {
                width: Picture(frame.seq, answer_seq, jpeg, frame.arrived_s, best, age_s)
                for width, jpeg in jpegs.items()
            }
        )
        self._sink(
            {
                "rec": "video",
                "seq": frame.seq,
                "answer": answer_seq,
                "draw_us": (drawn_ns - started_ns) // 1000,
                "encode_us": (done_ns - drawn_ns) // 1000,
                "age_us": (done_ns - frame.arrived_ns) // 1000,
                "viewers": self._hub.viewers,
            }
        )

    def _publish_no_signal(self, frame: Frame | None, fault: str) -> None:
        source = self._capture.source
        size = size_of(frame.image) if frame else source.size if source else (640, 480)
        since_ns = frame.arrived_ns if frame else self._capture.started_ns
        since_s = (time.monotonic_ns() - since_ns) / 1e9
        jpegs = self._encoded(paint_no_signal(size, fault, since_s))
        now_s = time.time()
        self._hub.publish({width: Picture(None, None, jpeg, now_s) for width, jpeg in jpegs.items()})

    def _encoded(self, painted: Image) -> dict[int, bytes]:
        """As JPEG, once for each width that is watched. None is wider than the picture itself."""
        own_width = painted.shape[1]
        shown = {width: min(width or own_width, own_width) for width in self._hub.widths}
        jpegs = {width: encode(narrowed(painted, width), self.quality) for width in set(shown.values())}
        return {width: jpegs[shown_width] for width, shown_width in shown.items()}

    def _caption(self, answer: Answer | None, now_ns: int) -> Caption:
        facts, silence = self._classify.giver.backend.facts(), self._classify.silence
        return Caption(
            predictions=answer.predictions if answer else (),
            camera_fps=self._capture.rate.per_second(now_ns),
            model_fps=self._classify.rate.per_second(now_ns),
            infer_ms=answer.infer_us / 1000 if answer else None,
            age_ms=(now_ns - answer.frame.arrived_ns) / 1e6 if answer else None,
            runtime=f"{facts.runtime} {facts.version}",
            remarks=(*self._capture.remarks(), *self._classify.remarks()),
            silent_s=silence.seconds(now_ns) if silence else None,
        )


def encode(image: Image, quality: int) -> bytes:
    """As JPEG."""
    good, buffer = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not good:
        raise SourceError(
            f"a picture of {image.shape[1]}x{image.shape[0]} is too large for JPEG - shrink it to 65500"
        )
    return buffer.tobytes()


def narrowed(image: Image, width: int) -> Image:
    """At its own aspect ratio."""
    own_width, own_height = size_of(image)
    if width == own_width:
        return image
    height = max(1, round(own_height * width / own_width))
    return as_image(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
