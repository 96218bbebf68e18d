"""Sums up durations: percentiles only from as many samples as they need, always with n."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from copy import deepcopy
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The smallest n of which, with 99 % confidence, at least two samples lie beyond the percentile: MLPerf's
# early-stopping rule. 64 and 662 are MLPerf's own numbers, 130 follows. The median is always given.
FLOORS = {90: 64, 95: 130, 99: 662}
KEPT = 100_000  # newest samples a percentile is taken over: 55 minutes at 30 a second, 800 kB


def percentile(samples: ArrayLike, percent: int) -> float | None:
    """Linear between neighbours; None below the percentile's floor."""
    values = np.asarray(samples)
    if values.size < FLOORS.get(percent, 1):
        return None
    return float(np.percentile(values, percent))


def describe(samples: ArrayLike) -> dict[str, float | None]:
    """In the samples' own unit, unrounded. `sd` is the sample's (n - 1)."""
    values: NDArray[np.float64] = np.asarray(samples, dtype=np.float64)
    n = values.size
    return {
        "n": n,
        "min": float(values.min()) if n else None,
        **{f"p{percent}": percentile(values, percent) for percent in (50, *FLOORS)},
        "max": float(values.max()) if n else None,
        "mean": float(values.mean()) if n else None,
        "sd": float(values.std(ddof=1)) if n > 1 else None,
    }


class Stage:
    """One stage's durations: n, min, max, mean and sd over all, percentiles over the newest `kept`."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._newest = array("q")
        self._n = 0
        self._min = self._max = 0
        self._mean = self._squares = 0.0  # Welford: the mean, and the squared distances from it

    def add(self, value: int) -> None:
        if self._n < self._kept:
            self._newest.append(value)
        else:
            self._newest[self._n % self._kept] = value
        self._min = min(self._min, value) if self._n else value
        self._max = max(self._max, value) if self._n else value
        self._n += 1
        distance = value - self._mean
        self._mean += distance / self._n
        self._squares += distance * (value - self._mean)

    def describe(self) -> dict[str, float | None]:
        if self._n <= self._kept:
            return describe(self._newest)
        over_all = {"n": self._n, "min": self._min, "max": self._max, "mean": self._mean}
        return {**describe(self._newest), **over_all, "sd": math.sqrt(self._squares / (self._n - 1))}


class Statistics:
    """Gathers a run's summary from its records, from any thread. `add` is the Sink of a run without a log."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = Lock()
        self._stages: dict[str, Stage] = {}
        self._frames = 0
        self._skipped = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes every integer `*_us` of a `frame` or `video` record; other records pass by."""
        kind = record.get("rec")
        if kind not in ("frame", "video"):
            return
        with self._lock:
            if kind == "frame":
                self._frames += 1
                self._skipped += record.get("skip") or 0
            for name, value in record.items():
                if name.endswith("_us") and isinstance(value, int):
                    # Both kinds have an age: of an answer, and of a picture.
                    name = "video_age_us" if (kind, name) == ("video", "age_us") else name
                    self._stages.setdefault(name, Stage(self._kept)).add(value)

    def summary(self, lost_lines: int = 0) -> dict[str, Any]:
        with self._lock:
            stages = deepcopy(self._stages)
            frames, skipped = self._frames, self._skipped
        return {
            "rec": "summary",
            "frames": frames,
            "skipped": skipped,
            "lost_lines": lost_lines,
            "stages": {name: _rounded(stage.describe()) for name, stage in stages.items()},
        }


def _rounded(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """To a tenth of a microsecond; what is whole is written whole."""
    return {name: None if number is None else _short(number) for name, number in numbers.items()}


def _short(number: float) -> float:
    number = round(float(number), 1)
    return int(number) if number.is_integer() else number
