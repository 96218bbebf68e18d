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
        if task.rate is None:
            yield from closed_loop(task, model)
        else:
            yield [*open_loop(task, model, task.rate)]
        yield [{"rec": "event", "event": "memory", "peak_bytes": peak_memory_bytes(), **condition()}]
    finally:
        model.backend.close()


def closed_loop(task: Task, model: Model) -> Iterator[list[Record]]:
    """Each run begins when the one before has ended. Answers become records at once: their tensors would pile
    up, and a fresh one for each run takes longer to fill than the last one's memory."""
    for name, path in task.pictures:
        image = read_picture(path)
        records: list[Record] = []
        age_us, started_ns = 0, time.monotonic_ns()
        for seq in range(task.runs):
            answer = answer_to_still(image, name, seq, time.monotonic_ns(), model)
            records.append(frame_record(answer))
            age_us += answer.age_us
        overhead_us = ((time.monotonic_ns() - started_ns) / 1000 - age_us) / task.runs
        yield [*records, {"rec": "event", "event": "overhead", "overhead_us": round(overhead_us, 1)}]


def open_loop(task: Task, model: Model, rate: float) -> Iterator[Record]:
    """A frame arrives when it was meant to, whether the model is free or not: a stall shows in the wait and
    the age of all the frames behind it, as it would with a camera. One schedule for all pictures."""
    images = [(name, read_picture(path)) for name, path in task.pictures]  # reading them is no part of it
    started_ns = time.monotonic_ns()
    for number in range(task.runs * len(images)):
        name, image = images[number % len(images)]
        meant_ns = started_ns + round(number * 1e9 / rate)
        time.sleep(max(0, meant_ns - time.monotonic_ns()) / 1e9)
        yield frame_record(answer_to_still(image, name, number // len(images), meant_ns, model))


def answer_to_still(image: Image, name: str, seq: int, arrived_ns: int, model: Model) -> Answer:
    return answer_to(Frame(seq, image, arrived_ns, time.time(), name), model.backend, model.reading)


def time_one(model: Model, image: Image) -> int:
    return answer_to_still(image, "", 0, time.monotonic_ns(), model).age_us


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
