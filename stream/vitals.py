"""What the newest records say, for whoever looks now: how long each stage takes, and what has happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np

from stream.log import Record
from stream.statistics import FLOORS

STAGES = {
    "frame": {"wait": "wait_us", "pre": "pre_us", "infer": "infer_us", "post": "post_us", "age": "age_us"},
    "video": {"draw": "draw_us", "encode": "encode_us", "picture_age": "age_us"},
}
"""By the kind of record: what a stage is called, and which field has its time."""

NEWEST = 2000
"""Samples that percentiles are taken over: a minute at 30 a second."""
SECONDS = 60
EVENTS = 20


class Window:
    """One stage's newest times, in microseconds, and the median of each of the last seconds."""

    def __init__(self, second: int) -> None:
        self.newest: deque[int] = deque(maxlen=NEWEST)
        self._medians: deque[float | None] = deque(maxlen=SECONDS)
        self._second, self._this_second = second, list[int]()

    def add(self, value_us: int, second: int) -> None:
        self._turn(second)
        self.newest.append(value_us)
        self._this_second.append(value_us)

    def medians_ms(self, second: int) -> list[float | None]:
        """Of the last whole seconds, oldest first; None for one without a sample."""
        self._turn(second)
        return list(self._medians)

    def _turn(self, second: int) -> None:
        passed = min(second - self._second, SECONDS)
        if passed <= 0:
            return
        first = float(np.median(self._this_second)) / 1000 if self._this_second else None
        self._medians.extend([first, *[None] * (passed - 1)])
        self._second, self._this_second = second, []


class Vitals:
    """A sink, for any thread. With another model it begins anew: figures of two are never mixed."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        """`model` is in its own words: those of a `run` record."""
        self._lock = Lock()
        self._model = identity(model)
        self._windows: dict[str, Window] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)

    def __call__(self, record: Record) -> None:
        kind = record.get("rec", "")
        second = int(time.monotonic())
        with self._lock:
            if kind == "run":
                model = identity(record)
                if model != self._model:
                    self._windows.clear()
                self._model = model
            elif kind == "event":
                self._events.append(
                    {"event": record["event"], "detail": record["detail"], "t_s": record["t_utc"]}
                )
            for stage, field in STAGES.get(kind, {}).items():
                window = self._windows.get(stage) or self._windows.setdefault(stage, Window(second))
                window.add(record[field], second)

    def stages(self) -> dict[str, dict[str, float | None]]:
        """In milliseconds, of each stage that has samples. A percentile has its least number of samples."""
        with self._lock:
            found = {
                stage: (list(window.newest), window.medians_ms(int(time.monotonic())))
                for stage, window in self._windows.items()
            }
        return {stage: figures(samples, medians) for stage, (samples, medians) in found.items()}

    def history(self) -> dict[str, list[float | None]]:
        """The medians of the last minute, second by second, in milliseconds."""
        with self._lock:
            return {
                stage: window.medians_ms(int(time.monotonic())) for stage, window in self._windows.items()
            }

    def events(self) -> list[dict[str, Any]]:
        """The newest, oldest first."""
        with self._lock:
            return list(self._events)


def identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record[field] for field in ("model", "backend", "mode"))


def figures(samples_us: list[int], medians_ms: list[float | None]) -> dict[str, float | None]:
    wanted = (50, 90, 99)
    found = np.percentile(samples_us, wanted) / 1000
    return {
        "n": len(samples_us),
        **{
            f"p{percent}_ms": round(float(value), 3) if len(samples_us) >= FLOORS.get(percent, 1) else None
            for percent, value in zip(wanted, found, strict=True)
        },
        "last_ms": medians_ms[-1] if medians_ms else None,
    }
