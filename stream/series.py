"""Reads logs back: what each configuration measured, its runs pooled, their borders kept."""

from __future__ import annotations

import json
import mmap
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from stream.bootstrap import Floats, Integers
from stream.log import LogError, Record, read_lines

SCHEMA = 1

KEY = (
    "command",
    "backend",
    "runtime",
    "runtime_version",
    "mode",
    "threads",
    "device",
    "model",
    "model_sha256",
    "labels_sha256",
    "recipe",
    "host",
    "cpu",
    "source",
    "size",
    "fps",
    "policy",
    "rate",
    "cameras",
)
"""Fields of a run record that make a configuration: runs of one log that agree in all of them are pooled."""

CIRCUMSTANCES = (
    "machine",
    "board",
    "governor",
    "affinity",
    "python",
    "app_version",
    "numpy",
    "cv2",
    "scores",
    "top_k",
    "threshold",
    "switch_interval_us",
)
"""Fields that may explain a difference, and that are told where they differ."""

STARTS = ("import_us", "load_us", "compile_us", "first_us")
"""What a run costs once, before its frames."""

STAGES = ("wait_us", "pre_us", "infer_us", "post_us", "age_us")
"""Of a frame; the last is the sum of the others."""

VIDEO_STAGES = ("draw_us", "encode_us", "video_age_us")
"""Of a painted picture; in the log the last is called age_us too."""

TOP = 5
NOTHING = -1  # in place of a class, or of a picture's name


@dataclass(frozen=True)
class Run:
    """One process's start, and how it ended."""

    record: Record
    frames: int
    ended: bool  # it wrote its summary, and had not failed
    peak_bytes: int | None

    def start_us(self, name: str) -> int | None:
        value = self.record.get(name)
        return value if isinstance(value, int) else None


@dataclass(frozen=True, eq=False)
class Series:
    """What one configuration measured, in the order of the log. Arrays are of int64.

    A segment is one run, a process: neighbours in it depend on each other, and all of it on where it ran.
    """

    path: Path
    key: Mapping[str, Any]  # all of KEY; None where the log does not say
    runs: tuple[Run, ...]
    images: tuple[str, ...]
    labels: Mapping[int, str]  # of all classes that were a frame's best
    frames: Mapping[str, Integers]  # FRAME_COLUMNS, each (n,)
    videos: Mapping[str, Integers]  # VIDEO_COLUMNS, each (pictures painted,)

    @property
    def n(self) -> int:
        return int(self.frames["seq"].size)

    @property
    def is_live(self) -> bool:
        return bool(self.key["command"] == "live")

    def stage_us(self, stage: str) -> Integers:
        """Of STAGES, one for each frame, or of VIDEO_STAGES, one for each picture."""
        return self.videos[stage] if stage in VIDEO_STAGES else self.frames[stage]

    def segments(self, stage: str) -> Integers:
        """For each value of `stage_us`, the number of its segment."""
        return self.videos["segment"] if stage in VIDEO_STAGES else self.frames["segment"]

    @property
    def seconds(self) -> Floats:
        """When each frame arrived, from the first on. Between pooled runs others may have run."""
        arrived_ns = self.frames["arrived_ns"]
        return np.asarray((arrived_ns - arrived_ns.min()) / 1e9)

    @property
    def top(self) -> Integers:
        """(n, 5): a frame's best classes, best first, by the model's numbers; NOTHING where it were fewer."""
        return np.stack([self.frames[name] for name in TOP_COLUMNS], axis=1)

    @property
    def first_class(self) -> int:
        """The model's number of the first label: 1 where it has a background class in front, else 0."""
        return int(self.runs[0].record.get("background") == 0)

    @property
    def skipped(self) -> int:
        return int(self.frames["skip"].sum())

    @property
    def skipped_share(self) -> float:
        return self.skipped / (self.skipped + self.n)

    def starts_us(self, name: str) -> list[int]:
        """Of STARTS; a value for each run that has it."""
        values = (run.start_us(name) for run in self.runs)
        return [value for value in values if value is not None]

    @property
    def peak_bytes(self) -> int | None:
        """The most memory any of the processes held."""
        return max((run.peak_bytes for run in self.runs if run.peak_bytes is not None), default=None)

    def circumstances(self, name: str) -> list[Any]:
        """Of CIRCUMSTANCES; the different values its runs have."""
        values = {_text(value): value for value in (run.record.get(name) for run in self.runs)}
        return list(values.values())


@dataclass(frozen=True)
class Log:
    """One log, with its older parts, as `--log` was told it."""

    path: Path
    parts: tuple[Path, ...]  # oldest first; the last is `path`
    series: tuple[Series, ...]  # those with frames, in order of appearance
    notes: tuple[str, ...]  # a line for each thing the reader should know of


TOP_COLUMNS = tuple(f"top{place}" for place in range(1, TOP + 1))
FRAME_COLUMNS = ("seq", "arrived_ns", "skip", *STAGES, "segment", "image", *TOP_COLUMNS)
VIDEO_COLUMNS = ("seq", *VIDEO_STAGES, "segment")

of_frame = itemgetter("seq", "arrived_ns", "skip", *STAGES)
of_video = itemgetter("seq", "draw_us", "encode_us", "age_us")
PADDING = tuple((NOTHING,) * (TOP - count) for count in range(TOP + 1))


def read_series(path: Path) -> Log:
    """Reads FILE and its older parts. Raises LogError: what cannot be read is never left out in silence."""
    parts = parts_of(path)
    reader = _Reader(path)
    for part in parts:
        reader.read(part)
    return reader.log(parts)


def parts_of(path: Path) -> tuple[Path, ...]:
    """FILE and those of FILE.1, FILE.2, ... that belong to it, oldest first. Raises LogError.

    Every part begins with the record of the run it goes on with. So one belongs to its successor if it has
    that line too; an earlier command's file has not.
    """
    parts = [path]
    try:
        while path.is_file() and (older := Path(f"{path}.{len(parts)}")).is_file():
            if not _holds(older, _first_line(parts[0])):
                break
            parts.insert(0, older)
    except OSError as error:
        raise LogError(f"cannot read {path}: {error.strerror}; name a file that --log wrote") from None
    return tuple(parts)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline(1 << 20)


def _holds(path: Path, line: bytes) -> bool:
    if not line.endswith(b"\n") or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(line)
        return place == 0 or (place > 0 and content[place - 1] == ord("\n"))


class _Reader:
    """Takes the records of one log in turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gathered: dict[str, _Gathered] = {}
        self._now: _Gathered | None = None  # the configuration whose run is being read
        self._notes: list[str] = []
        self._lost_lines = 0

    def read(self, part: Path) -> None:
        number = 0
        for number, record in read_lines(part):
            if record is None:
                self._note(f"line {number} of {part.name} is cut off (a crash, or it goes on): left out")
                continue
            kind = record.get("rec")
            if kind == "run":
                self._begin(part, number, record)
            elif self._now is None:
                raise LogError(
                    f"{part}, line {number}: no run record before it, so it is no log or has lost its"
                    " beginning; name a file that --log wrote"
                )
            else:
                try:
                    self._take(self._now, kind, record)
                except (KeyError, TypeError, IndexError, OverflowError) as error:
                    raise LogError(
                        f"{part}, line {number}: this {kind} record lacks a proper {_missing(error, record)};"
                        " log again with this version"
                    ) from None
        if not number:
            raise LogError(f"{part} is empty; name a file that --log wrote")
        if self._now is None:
            raise LogError(f"{part} has no run record: it is cut off; log again")

    def log(self, parts: tuple[Path, ...]) -> Log:
        if len(parts) > 1:
            self._note(f"read in {len(parts)} parts: {', '.join(part.name for part in parts)}")
        if self._lost_lines:
            self._note(
                f"{self._lost_lines} of its lines were lost when it was written (the disk was full or slow)"
            )
        series = []
        for gathered in self._gathered.values():
            for note in gathered.notes():
                self._note(note)
            if gathered.n:
                series.append(gathered.series(self._path))
        return Log(self._path, parts, tuple(series), tuple(self._notes))

    def _begin(self, part: Path, number: int, record: Record) -> None:
        schema = record.get("schema")
        if schema != SCHEMA:
            raise LogError(
                f"{part}, line {number}: a log of schema {schema}, and this version reads {SCHEMA};"
                " log again, or compare with the version that wrote it"
            )
        if number == 1 and self._now is not None and record == self._now.record:
            return  # the head of a further part of the same run
        process = (record.get("pid"), "live")
        before = self._now.record if self._now else {}
        goes_on = bool(before) and process == (before.get("pid"), record.get("command"))
        key = {name: record.get(name) for name in KEY}
        self._now = self._gathered.setdefault(_text(key), _Gathered(key))
        self._now.begin(record, goes_on)

    def _take(self, now: _Gathered, kind: object, record: Record) -> None:
        if kind == "frame":
            now.add_frame(record)
        elif kind == "video":
            now.add_video(record)
        elif kind == "summary":
            now.ended = True
            self._lost_lines = max(self._lost_lines, record.get("lost_lines") or 0)
        elif kind == "event" and record.get("event") == "memory":
            now.peak_bytes = record["peak_bytes"]
        elif kind == "event" and record.get("event") == "failed":
            now.failed = True

    def _note(self, note: str) -> None:
        self._notes.append(f"{self._path.name}: {note}")


class _Gathered:
    """Grows into a Series. Rows lie in one array each: a million frames take 120 MB."""

    def __init__(self, key: Record) -> None:
        self.key = key
        self.record: Record = {}
        self.ended = self.failed = False
        self.peak_bytes: int | None = None
        self._runs: list[Run] = []
        self._frames, self._videos = array("q"), array("q")
        self._images: dict[str, int] = {}
        self._labels: dict[int, str] = {}
        self._image: str | None = None
        self._place = (NOTHING, NOTHING)  # of the newest frame: its segment, its picture
        self._began = 0  # rows there were when the current run began
        self._fresh = True  # no frame has come since
        self._numbered_through = False
        self._late: list[
            int
        ] = []  # for each run that does not begin with its first frame, how many came before

    @property
    def n(self) -> int:
        return len(self._frames) // len(FRAME_COLUMNS)

    def begin(self, record: Record, goes_on: bool = False) -> None:
        """A run that `goes_on` is the same process after a change of its settings: its frames are numbered
        through."""
        self._end()
        self._numbered_through = goes_on
        self.record, self.ended, self.failed, self.peak_bytes = record, False, False, None
        self._began, self._fresh = self.n, True

    def _end(self) -> None:
        if self.record:
            ended = self.ended and not self.failed
            self._runs.append(Run(self.record, self.n - self._began, ended, self.peak_bytes))
        self.record = {}

    def add_frame(self, record: Record) -> None:
        numbers = of_frame(record)
        name = record.get("image")
        if self._fresh:
            self._fresh, self._place = False, self._place_of(name)
            if (before := numbers[0] - numbers[2]) > 0 and not self._numbered_through:
                self._late.append(before)
        elif name != self._image:
            self._place = self._place_of(name)
        self._image = name
        top = record["top"][:TOP]
        best = [entry[0] for entry in top]
        if best and best[0] not in self._labels:
            self._labels[best[0]] = top[0][1]
        self._frames.extend((*numbers, *self._place, *best, *PADDING[len(best)]))

    def add_video(self, record: Record) -> None:
        self._videos.extend((*of_video(record), len(self._runs)))

    def _place_of(self, name: str | None) -> tuple[int, int]:
        image = NOTHING if name is None else self._images.setdefault(name, len(self._images))
        return len(self._runs), image

    def notes(self) -> Iterator[str]:
        self._end()
        name = f"{self.key['model']}, {self.key['backend']}"
        if not self.n:
            yield f"{name}: no frame in it"
            return
        if open_ends := sum(not run.ended for run in self._runs):
            yield f"{name}: {open_ends} of {len(self._runs)} runs without an end: killed, or it goes on"
        if empty := sum(not run.frames for run in self._runs):
            yield f"{name}: {empty} of {len(self._runs)} runs without a frame"
        if self._late:
            yield f"{name}: the first {sum(self._late)} frames are not in it: rotated away, or lost"
        for field in CIRCUMSTANCES:
            values = {_text(run.record.get(field)) for run in self._runs}
            if len(values) > 1:
                yield f"{name}: its runs differ in {field} ({' | '.join(sorted(values))}) and are pooled"

    def series(self, path: Path) -> Series:
        """Raises LogError."""
        frames, videos = columns(self._frames, FRAME_COLUMNS), columns(self._videos, VIDEO_COLUMNS)
        pictures = frames["segment"] * (len(self._images) + 1) + frames["image"] + 1
        if not increases(frames["seq"], pictures):
            raise LogError(
                f"{path}: frames of two runs, or of two pictures of one name, cannot be told apart, because"
                " the record between them was lost; log again, on a disk with room"
            )
        return Series(path, self.key, tuple(self._runs), tuple(self._images), self._labels, frames, videos)


def columns(rows: array[int], names: tuple[str, ...]) -> dict[str, Integers]:
    numbers: Integers = np.frombuffer(rows, np.int64) if rows else np.zeros(0, np.int64)
    table: Integers = numbers.reshape(-1, len(names))
    return {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(names)}


def increases(seq: Integers, group: Integers) -> bool:
    """Whether every group, a picture in a run, counts upwards."""
    order = np.argsort(group, kind="stable")
    same = np.diff(group[order]) == 0
    return bool((np.diff(seq[order])[same] > 0).all())


def _text(value: object) -> str:
    """The same for equal values, whatever the order of their fields."""
    return json.dumps(value, sort_keys=True)


def _missing(error: Exception, record: Record) -> str:
    """Which field is to blame, if it can be said."""
    if isinstance(error, KeyError):
        return str(error.args[0])
    numbers = ((name, value) for name, value in record.items() if name.endswith(("_us", "_ns", "_bytes")))
    wrong = (name for name, value in numbers if not isinstance(value, int) or abs(value) >= 1 << 63)
    return next(wrong, "seq, skip, image or top")
