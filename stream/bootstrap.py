"""How sure a percentile is: intervals from a block bootstrap, as the latencies of neighbours are alike."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCK = 25  # samples, at least: neighbours are alike (measured: 0.86 at lag 1) for some ten frames
MOST_BLOCKS = 1000
FEWEST_BLOCKS = 10
"""Fewer give no interval. Simulated: of intervals that should hold the true median in 95 of 100 cases, those
from 10 blocks do so in 94 (independent samples) or 91 (as dependent as ours), those from 5 blocks in 84."""
FEWEST_SEGMENTS = 5
"""Of several processes, fewer give no interval either: how they differ could not be told."""
MOST_SEGMENTS = 100


class Interval(NamedTuple):
    low: float
    high: float


def block_bootstrap_interval(
    samples: ArrayLike, percent: int, segments: ArrayLike | None = None, *, block: int = BLOCK, seed: int = 0
) -> Interval | None:
    """Where the true percentile lies, with 95 % confidence.

    None from fewer than FEWEST_BLOCKS blocks, or from two to four segments. `segments` numbers for each
    sample the process it was measured in: blocks end with it. Of one process the interval tells what that
    process would do again, of several what another would do: processes are drawn, then blocks of them.
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
    blocks: int  # there were so many
    units: int  # and were drawn from so many that are independent: segments, or the blocks of one

    @property
    def interval(self) -> Interval:
        return _interval(self.values, self.units)

    def ratio_interval(self, base: Resampled) -> Interval | None:
        """Both must have been drawn with different seeds: otherwise their chances are not independent."""
        if not base.values.all():
            return None
        return _interval(self.values / base.values, min(self.units, base.units))


def resampled_percentile(
    samples: ArrayLike, percent: int, segments: ArrayLike | None = None, *, block: int = BLOCK, seed: int = 0
) -> Resampled | None:
    """A million samples take a quarter of a second: not the blocks are put together, but for each value their
    counts of samples up to it. Exact, but for a thousandth of the spread where FINEST values do not suffice.

    `block` 1 takes the samples for independent, which latencies are not; a million of them would not fit."""
    values: Floats = np.asarray(samples, dtype=np.float64)
    blocks = _block_numbers(values.size, segments, block)
    count = int(blocks.max()) + 1 if values.size else 0
    owners = np.zeros(count, np.int64)
    if segments is not None and count:
        owners[blocks] = np.unique(np.asarray(segments), return_inverse=True)[1]
    several = int(owners.max()) + 1 if count else 0
    if count < FEWEST_BLOCKS or 1 < several < FEWEST_SEGMENTS:
        return None
    nested = 1 < several <= MOST_SEGMENTS  # of more, the blocks alone differ as much as they do
    drawn = _nested_draws(owners, seed) if nested else _draws(count, seed)
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
    return Resampled(low + (high - low) * (rank - np.floor(rank)), count, several if nested else count)


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


def _nested_draws(owners: Integers, seed: int) -> Floats:
    """The same, where first as many segments are drawn as there are, then of each as many blocks as it has.

    `owners` has the segment of each block.
    """
    chance = np.random.default_rng(seed)
    sizes = np.bincount(owners)
    order = np.argsort(owners, kind="stable")
    first = np.cumsum(sizes) - sizes
    picked = chance.integers(0, sizes.size, (RESAMPLES, sizes.size))
    counts = np.zeros(RESAMPLES * owners.size, np.float64)
    rows = np.arange(RESAMPLES)[:, np.newaxis] * owners.size
    for turn in range(int(sizes.max())):  # each segment's first block drawn, then its second, ...
        drawn = order[first[picked] + (chance.random(picked.shape) * sizes[picked]).astype(np.int64)] + rows
        counts += np.bincount(drawn[sizes[picked] > turn], minlength=counts.size)
    return counts.reshape(RESAMPLES, owners.size)


def _counts_up_to(edges: Floats, values: Floats, blocks: Integers, count: int) -> Floats:
    """How many samples of each block are not above each edge: (blocks, edges). No value is above the last."""
    cells = blocks * edges.size + np.searchsorted(edges, values)
    histogram = np.bincount(cells, minlength=count * edges.size).reshape(count, edges.size)
    return np.asarray(histogram.cumsum(axis=1), dtype=np.float64)


def _places(up_to: Floats, rank: Floats) -> NDArray[np.intp]:
    """Which edge holds each resample's sample of this rank, counted from zero."""
    return np.asarray((up_to <= rank[:, np.newaxis]).sum(axis=1), dtype=np.intp)


def _interval(values: Floats, units: int) -> Interval:
    """The middle 95 % of what was resampled, made wider for few units as Student's t is wider than a normal
    distribution (Hesterberg 2015, "expanded percentile interval"): it would hold the truth too seldom."""
    tail = NormalDist().cdf(-_student(units - 1) * math.sqrt(units / (units - 1)))
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _student(freedom: int) -> float:
    """Student's t of CONFIDENCE, from the normal distribution's by the first terms of its series."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
