"""What travels the road: a shot from the source, the frame, the answer to it, the picture of both."""

from __future__ import annotations

from dataclasses import dataclass

from models.recipe import Image
from models.scores import Prediction


@dataclass(frozen=True)
class Shot:
    """What a source yields: one picture, and what only the source can know of it."""

    image: Image
    name: str | None = None  # of a still: its file's name
    sensor_ns: int | None = None  # monotonic, where the driver says


@dataclass(frozen=True)
class Frame:
    """A shot with its number. Gaps between two frames' `seq` are the frames skipped."""

    seq: int
    image: Image
    arrived_ns: int  # monotonic
    arrived_wall_s: float  # Unix time, for people
    name: str | None = None
    sensor_ns: int | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said of one frame. Stamps are monotonic nanoseconds, durations are derived from them."""

    frame: Frame
    predictions: tuple[Prediction, ...]
    skipped: int  # frames overwritten since the last classified one
    taken_ns: int
    prepared_ns: int
    inferred_ns: int
    done_ns: int

    @property
    def infer_us(self) -> int:
        return (self.inferred_ns - self.prepared_ns) // 1000

    def age_us(self, now_ns: int) -> int:
        """Since the frame arrived: how old what is shown really is."""
        return (now_ns - self.frame.arrived_ns) // 1000


@dataclass(frozen=True)
class Picture:
    """A frame painted and encoded, once for all who watch."""

    seq: int  # of the frame
    answer_seq: int | None
    jpeg: bytes
    captured_wall_s: float
    arrived_ns: int
    done_ns: int
