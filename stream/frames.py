"""What travels the road: a shot from the source, the frame, the answer to it, the picture of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from backends.base import Backend, Tensor
from models.recipe import Image
from models.scores import Prediction
from stream.multipart import multipart


@dataclass(frozen=True)
class Shot:
    """What a source yields: one picture, and what only the source can know of it."""

    image: Image
    name: str | None = None  # of a still: its file's name
    sensor_ns: int | None = None  # monotonic, where the driver says


@dataclass(frozen=True)
class Broken:
    """What a source yields when something came that is no picture: a JPEG cut off, say. One line why."""

    reason: str


@dataclass(frozen=True)
class Prepared:
    """A picture as the model wants it, and when it was made so."""

    tensor: Tensor
    started_ns: int
    done_ns: int
    backend: Backend  # whose model it is for


@dataclass(frozen=True)
class Frame:
    """A shot with its number. Gaps between two frames' `seq` are the frames skipped."""

    seq: int
    image: Image
    arrived_ns: int  # monotonic
    arrived_s: float  # Unix time, a label for people
    name: str | None = None
    sensor_ns: int | None = None
    prepared: Prepared | None = None  # by the capture loop already, with --every-frame


@dataclass(frozen=True)
class Answer:
    """What the model said of one frame. Stamps are monotonic nanoseconds; durations are derived from them."""

    frame: Frame
    predictions: tuple[Prediction, ...]
    skipped: int  # frames overwritten since the last classified one
    prepared: Prepared
    started_ns: int
    inferred_ns: int
    done_ns: int
    device_us: int | None = None  # of the inference, by the device's own clock, where it has one
    net_us: int | None = None  # the rest of the inference, where a server says its own time

    @property
    def wait_us(self) -> int:
        """Between its arrival and its inference the frame was prepared; the rest of that time it waited."""
        return (self.started_ns - self.frame.arrived_ns) // 1000 - self.pre_us

    @property
    def pre_us(self) -> int:
        return (self.prepared.done_ns - self.prepared.started_ns) // 1000

    @property
    def infer_us(self) -> int:
        return (self.inferred_ns - self.started_ns) // 1000

    @property
    def post_us(self) -> int:
        return (self.done_ns - self.inferred_ns) // 1000

    @property
    def age_us(self) -> int:
        """How old the frame was when its answer was there."""
        return (self.done_ns - self.frame.arrived_ns) // 1000


@dataclass(frozen=True)
class Picture:
    """A frame, or the want of one, painted and encoded once for all who watch it in this width."""

    seq: int | None  # of the frame; None: no signal
    answer_seq: int | None
    jpeg: bytes
    captured_s: float  # Unix time of capture
    best: Prediction | None = None  # what is painted on it
    age_s: float = 0.0  # from capture to here

    @cached_property
    def part(self) -> bytes:
        """Of a multipart stream, made once for all viewers."""
        return multipart(self.jpeg, self.captured_s)

    @cached_property
    def part_with_facts(self) -> bytes:
        """The same, with headers that say what is on it."""
        facts = {"Online": "false" if self.seq is None else "true", "Age": f"{self.age_s:.6f}"}
        if self.seq is not None:
            facts["Seq"] = str(self.seq)
        if self.answer_seq is not None:
            facts["Answer-Seq"] = str(self.answer_seq)
        if self.best is not None:
            facts["Label"] = quote(self.best.label, safe=" ,'()&/")  # a header is ASCII, in one line
            facts["Score"] = f"{self.best.score:.4f}"
        return multipart(self.jpeg, self.captured_s, facts)
