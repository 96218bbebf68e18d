"""Sums up durations: percentiles only from as many samples as they need, with n, and how sure they are."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from copy import deepcopy
from statistics import NormalDist
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The smallest n of which, with 99 % confidence, at least two samples lie beyond the percentile: MLPerf's
# early-stopping rule. 64 and 662 are MLPerf's own numbers, 130 follows. The median is always given.
FLOORS = {90: 64, 95: 130, 99: 662}
KEPT = 100_000  # newest samples a percentile is taken over: 55 minutes at 30 a second, 800 kB

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCK = (
    25  # samples, at least: latencies of neighbours are alike (measured: 0.86 at lag 1), for some ten frames
)
MOST_BLOCKS = 1000
FEWEST_BLOCKS = 10
"""Fewer give no interval. Simulated: of intervals that should hold the true median in 95 of 100 cases, those
from 10 blocks do so in 94 (independent samples) or 91 (as dependent as ours), those from 5 blocks in 84."""


class Interval(NamedTuple):
    low: float
    high: float


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


def block_bootstrap_interval(
    samples: ArrayLike, percent: int, segments: ArrayLike | None = None, *, block: int = BLOCK, seed: int = 0
) -> Interval | None:
    """Where the true percentile lies, with 95 % confidence. None from fewer than FEWEST_BLOCKS blocks.

    `segments` numbers for each sample what it was measured in (a process and a picture, a live run): blocks
    end with it.
    """
    resampled = resampled_percentile(samples, percent, segments, block=block, seed=seed)
    return None if resampled is None else resampled.interval


def block_bootstrap_ratio_interval(
    samples: ArrayLike,
    base_samples: ArrayLike,
    percent: int,
    segments: ArrayLike | None = None,
    base_segments: ArrayLike | None = None,
    *,
    block: int = BLOCK,
) -> Interval | None:
    """Of the percentile of one series divided by that of another, measured independently of it. None where
    either has too few blocks, or where the base's percentile may be zero."""
    own = resampled_percentile(samples, percent, segments, block=block, seed=0)
    base = resampled_percentile(base_samples, percent, base_segments, block=block, seed=1)
    return None if own is None or base is None else own.ratio_interval(base)


class Resampled(NamedTuple):
    """What a percentile would have been, had other blocks of the same run been measured."""

    values: Floats  # RESAMPLES of them
    blocks: int  # they were drawn from so many

    @property
    def interval(self) -> Interval:
        return _interval(self.values, self.blocks)

    def ratio_interval(self, base: Resampled) -> Interval | None:
        """Both must have been drawn with different seeds: otherwise their chances are not independent."""
        if not base.values.all():
            return None
        return _interval(self.values / base.values, min(self.blocks, base.blocks))


def resampled_percentile(
    samples: ArrayLike, percent: int, segments: ArrayLike | None = None, *, block: int = BLOCK, seed: int = 0
) -> Resampled | None:
    """A million samples take a quarter of a second: not the blocks are put together, but for each value their
    counts of samples up to it. Exact, but for a thousandth of the spread where FINEST values do not suffice.

    `block` 1 takes the samples for independent, which latencies are not; a million of them would not fit."""
    values: Floats = np.asarray(samples, dtype=np.float64)
    blocks = _block_numbers(values.size, segments, block)
    count = int(blocks.max()) + 1 if values.size else 0
    if count < FEWEST_BLOCKS:
        return None
    drawn = _draws(count, seed)
    rank = (drawn @ np.bincount(blocks).astype(np.float64) - 1) * percent / 100
    coarse = np.unique(np.quantile(values, np.linspace(0, 1, COARSE), method="higher"))
    up_to = drawn @ _counts_up_to(coarse, values, blocks, count)
    first = int(_places(up_to, np.floor(rank)).min())
    last = int(_places(up_to, np.ceil(rank)).max())
    # All resamples have their percentile between these two values; only there a fine scale is needed.
    above = coarse[first - 1] if first else -math.inf
    inside = (values > above) & (values <= coarse[last])
    fine = np.unique(values[inside])
    if fine.size > FINEST:
        fine = np.unique(np.quantile(fine, np.linspace(0, 1, FINEST), method="higher"))
    up_to = drawn @ _counts_up_to(fine, values[inside], blocks[inside], count)
    if first:
        up_to += (drawn @ np.bincount(blocks[values <= above], minlength=count))[:, np.newaxis]
    low, high = fine[_places(up_to, np.floor(rank))], fine[_places(up_to, np.ceil(rank))]
    return Resampled(low + (high - low) * (rank - np.floor(rank)), count)


COARSE = 64
FINEST = 1000


def _block_numbers(n: int, segments: ArrayLike | None, block: int) -> Integers:
    """For each sample, the number of its block: consecutive samples of one segment, as many as the square
    root of n and at least `block`, where the segment has so many. Where segments are so short that far more
    than MOST_BLOCKS come out, whole neighbouring blocks become one."""
    if not n:
        return np.zeros(0, np.int64)
    length = max(block, math.isqrt(n)) if block > 1 else 1
    given: Integers = np.zeros(n, np.int64) if segments is None else np.asarray(segments, dtype=np.int64)
    order = np.argsort(given, kind="stable")  # pictures may take turns
    _, starts, sizes = np.unique(given[order], return_index=True, return_counts=True)
    blocks = np.maximum(1, sizes // length)
    position = np.arange(n) - np.repeat(starts, sizes)
    numbers = np.repeat(np.cumsum(blocks) - blocks, sizes) + position * np.repeat(blocks, sizes) // np.repeat(
        sizes, sizes
    )
    if length > 1 and numbers[-1] >= 2 * MOST_BLOCKS:
        ends = np.cumsum(np.bincount(numbers))
        numbers = np.unique((ends - 1) * MOST_BLOCKS // n, return_inverse=True)[1][numbers]
    placed = np.empty(n, np.int64)
    placed[order] = numbers
    return placed


def _draws(blocks: int, seed: int) -> Floats:
    """How often each block is in each resample: (RESAMPLES, blocks)."""
    picks = np.random.default_rng(seed).integers(0, blocks, (RESAMPLES, blocks))
    picks += np.arange(RESAMPLES)[:, np.newaxis] * blocks
    counts = np.bincount(picks.ravel(), minlength=RESAMPLES * blocks)
    return counts.reshape(RESAMPLES, blocks).astype(np.float64)


def _counts_up_to(edges: Floats, values: Floats, blocks: Integers, count: int) -> Floats:
    """How many samples of each block are not above each edge: (blocks, edges). No value is above the last."""
    cells = blocks * edges.size + np.searchsorted(edges, values)
    histogram = np.bincount(cells, minlength=count * edges.size).reshape(count, edges.size)
    return np.asarray(histogram.cumsum(axis=1), dtype=np.float64)


def _places(up_to: Floats, rank: Floats) -> NDArray[np.intp]:
    """Which edge holds each resample's sample of this rank, counted from zero."""
    return np.asarray((up_to <= rank[:, np.newaxis]).sum(axis=1), dtype=np.intp)


def _interval(values: Floats, blocks: int) -> Interval:
    """The middle 95 % of what was resampled, made wider for few blocks as Student's t is wider than a normal
    distribution (Hesterberg 2015, "expanded percentile interval"): it would hold the truth too seldom."""
    tail = NormalDist().cdf(-_student(blocks - 1) * math.sqrt(blocks / (blocks - 1)))
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _student(freedom: int) -> float:
    """Student's t of CONFIDENCE, from the normal distribution's by the first terms of its series."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


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
