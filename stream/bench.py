"""The bench command: still pictures through the same steps, into the same log, as live frames."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from models.recipe import Image
from models.scores import Prediction
from stream.cameras import PICTURES, read_picture
from stream.classify import answer_to, frame_record
from stream.frames import Answer, Frame
from stream.host import host_facts
from stream.loading import Model, ModelWish, load_model
from stream.log import JsonLog
from stream.sources import SourceError
from stream.statistics import describe

WARM_UP = 5
"""Runs of each picture that are not counted: caches and clocks settle in the first few."""


@dataclass(frozen=True)
class Still:
    """What the warm runs of one picture gave."""

    name: str
    infer_us: tuple[int, ...]
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Bench:
    model: Model
    stills: tuple[Still, ...]


def bench(images: Iterable[Path], wish: ModelWish, runs: int, log: Path | None) -> Bench:
    """Every picture `runs` times, warm, after one load. Raises what loading, reading and logging raise."""
    pictures = [(path, read_picture(path)) for path in picture_paths(images)]
    model = load_model(wish)
    run = {"rec": "run", "schema": 1, "command": "bench", **host_facts(), **model.record(), "runs": runs}
    stills = []
    with JsonLog(log, run, queue_size=1 << 20) if log else nullcontext() as sink:
        for path, image in pictures:
            for _ in range(WARM_UP):
                answer_to(still(0, path, image), model.backend, model.reading)
            answers: list[Answer] = []
            for seq in range(runs):
                answer = answer_to(still(seq, path, image), model.backend, model.reading)
                answers.append(answer)
                if sink is not None:
                    sink(frame_record(answer))
            infer_us = tuple(answer.infer_us for answer in answers)
            stills.append(Still(path.name, infer_us, answers[-1].predictions))
    return Bench(model, tuple(stills))


def still(seq: int, path: Path, image: Image) -> Frame:
    """A picture as a frame that has just arrived."""
    return Frame(seq, image, time.monotonic_ns(), time.time(), path.name)


def picture_paths(images: Iterable[Path]) -> list[Path]:
    """Files as given, folders as the pictures in them, in order of name."""
    paths = []
    for path in images:
        try:
            inside = (
                sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES)
                if path.is_dir()
                else [path]
            )
        except OSError as error:
            raise SourceError(f"cannot look into {path}: {error.strerror}") from error
        if not inside:
            raise SourceError(f"there are no pictures in {path} - known are {', '.join(sorted(PICTURES))}")
        paths += inside
    return paths


def report(done: Bench) -> str:
    """What the terminal shows."""
    facts = done.model.backend.facts()
    threads = f"{facts.threads} thread{'s' if facts.threads > 1 else ''}"
    lines = [
        f"{done.model.name}, {facts.backend}, {facts.runtime} {facts.version}, {threads}",
        f"load {milliseconds(done.model.load_us)}, first run {milliseconds(done.model.first_us)}",
        "",
        f"{'picture':32} {'n':>5} {'warm p50':>10} {'p90':>10}  top {done.model.reading.top_k}",
    ]
    for one in done.stills:
        times = describe(one.infer_us)
        lines.append(
            f"{one.name[:32]:32} {len(one.infer_us):5} {milliseconds(times['p50']):>10}"
            f" {milliseconds(times['p90']):>10}  {top(one.predictions)}"
        )
    return "\n".join(lines)


def milliseconds(duration_us: float | None) -> str:
    return "-" if duration_us is None else f"{duration_us / 1000:.2f} ms"


def top(predictions: Sequence[Prediction]) -> str:
    return ", ".join(f"{label.partition(',')[0]} {score:.3f}" for _, label, score in predictions)
