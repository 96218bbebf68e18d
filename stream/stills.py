"""One process of a benchmark: one model, loaded, warmed up, and timed on still pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.recipe import Image
from stream.cameras import read_picture
from stream.classify import answer_to, frame_record
from stream.frames import Answer, Frame
from stream.host import condition, peak_memory_bytes
from stream.loading import Model, ModelWish, load_model
from stream.log import Record, run_record

WARM_UP_RUNS = 10
WARM_UP_S = 1.0
SETTLED = 1.05
"""Largest ratio between the medians of the five parts of the newest half of the warm-up's runs."""
PATIENCE_S = 10.0
"""Then it is measured all the same, and said that it had not settled."""


@dataclass(frozen=True)
class Task:
    """What one process measures."""

    wish: ModelWish
    pictures: tuple[tuple[str, Path], ...]  # name in the log, file
    runs: int  # of each picture
    round: int = 0
    rate: float | None = None  # starts a second; None: each when the one before has ended

    @property
    def name(self) -> str:
        parts = (self.wish.model, self.wish.backend, self.wish.mode)
        return " ".join(part for part in parts if part is not None)


def measure(task: Task) -> Iterator[list[Record]]:
    """The log's records: of the run, of each picture, of the end. Raises what loading and reading raise."""
    first = read_picture(task.pictures[0][1])  # before a model is loaded for nothing
    model = load_model(task.wish)
    try:
        warm_up = run_until_settled(lambda: time_one(model, first))
        yield [
            {
                **run_record("bench"),
                **model.record(),
                "round": task.round,
                "runs": task.runs,
                "rate": task.rate,
                "warm_up_runs": len(warm_up),
                "settled": settled(warm_up),
            }
        ]
        overhead_us = []
        for name, path in task.pictures:
            image = read_picture(path)
            started_ns = time.monotonic_ns()
            answers = list(answers_to(image, name, model, task.runs, task.rate))
            wall_us = (time.monotonic_ns() - started_ns) / 1000
            overhead_us.append((wall_us - sum(answer.age_us for answer in answers)) / task.runs)
            yield [frame_record(answer) for answer in answers]
        end: Record = {"rec": "event", "event": "memory", "peak_bytes": peak_memory_bytes(), **condition()}
        if task.rate is None:  # with a rate, what lies between two runs is meant to
            end["overhead_us"] = round(float(np.median(overhead_us)), 1)
        yield [end]
    finally:
        model.backend.close()


def answers_to(image: Image, name: str, model: Model, runs: int, rate: float | None) -> Iterator[Answer]:
    """The picture, again and again, as a frame that has just arrived.

    With a rate a frame arrives when it was meant to, whether the model is free or not: a stall then shows in
    the wait and the age of all the frames behind it, as it would with a camera.
    """
    started_ns = time.monotonic_ns()
    for seq in range(runs):
        arrived_ns = time.monotonic_ns()
        if rate is not None:
            meant_ns = started_ns + round(seq * 1e9 / rate)
            time.sleep(max(0, meant_ns - arrived_ns) / 1e9)
            arrived_ns = meant_ns
        yield answer_to(Frame(seq, image, arrived_ns, time.time(), name), model.backend, model.reading)


def time_one(model: Model, image: Image) -> int:
    frame = Frame(0, image, time.monotonic_ns(), time.time())
    return answer_to(frame, model.backend, model.reading).age_us


def run_until_settled(run: Callable[[], int]) -> list[int]:
    """Warm-up: caches fill, clocks rise. At least 10 runs and a second, then until the times settle."""
    times_us: list[int] = []
    started_s = time.monotonic()
    while True:
        times_us.append(run())
        elapsed_s = time.monotonic() - started_s
        enough = len(times_us) >= WARM_UP_RUNS and elapsed_s >= WARM_UP_S
        if enough and (settled(times_us) or elapsed_s >= PATIENCE_S):
            return times_us


def settled(times_us: Sequence[int]) -> bool:
    """Whether the last five medians agree within 5 %: of the newest half of the times, in five parts."""
    newest = times_us[len(times_us) // 2 :]
    if len(newest) < 5:
        return False
    medians = [float(np.median(part)) for part in np.array_split(np.array(newest), 5)]
    return max(medians) <= SETTLED * min(medians)
