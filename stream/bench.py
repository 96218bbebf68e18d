"""The bench command: still pictures through the same steps, into the same log, as live frames."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from models.recipe import Image
from models.scores import Prediction
from stream.cameras import pictures_in, read_picture
from stream.classify import answer_to, frame_record
from stream.frames import Answer, Frame
from stream.loading import Model, ModelWish, load_model
from stream.log import JsonLog, run_record
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
    paths = picture_paths(images)
    read_picture(paths[0])  # before the model is loaded for nothing
    model = load_model(wish)
    run = {**run_record("bench"), **model.record(), "runs": runs}
    stills = []
    with JsonLog(log, run, queue_size=1 << 20) if log else nullcontext() as sink:
        for path in paths:
            image = read_picture(path)
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
    return [path for image in images for path in (pictures_in(image) if image.is_dir() else [image])]


def report(done: Bench) -> str:
    """What the terminal shows."""
    lines = [
        f"{done.model.name}, {done.model.backend.facts()}",
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
