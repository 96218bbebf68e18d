from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.bootstrap import (
    MOST_BLOCKS,
    RESAMPLES,
    Interval,
    block_bootstrap_interval,
    block_bootstrap_ratio_interval,
    resampled_percentile,
)


def dependent(n: int, seed: int, likeness: float = 0.86) -> NDArray[np.float64]:
    """Latencies around 7 ms, each `likeness` like the one before."""
    noise = np.random.default_rng(seed).standard_normal(n) * np.sqrt(1 - likeness**2)
    values = np.empty(n)
    values[0] = noise[0] / np.sqrt(1 - likeness**2)
    for place in range(1, n):
        values[place] = likeness * values[place - 1] + noise[place]
    return 7000 + 500 * values


def holds(interval: Interval | None, value: float) -> bool:
    assert interval is not None
    return interval.low <= value <= interval.high


@pytest.mark.parametrize("n", [0, 1, 249])
def test_fewer_than_ten_blocks_give_no_interval(n: int) -> None:
    assert block_bootstrap_interval(dependent(250, 0)[:n], 50) is None
    assert block_bootstrap_ratio_interval(dependent(250, 0), dependent(250, 1)[:n], 50) is None
    assert block_bootstrap_interval(dependent(250, 0), 50) is not None


def test_a_base_that_may_be_zero_has_no_ratio() -> None:
    often_zero = np.arange(500) // 10 % 2
    assert block_bootstrap_interval(often_zero, 50) == (0, 1)
    assert block_bootstrap_ratio_interval(dependent(500, 0), often_zero, 50) is None


@pytest.mark.slow
def test_the_interval_of_dependent_latencies_holds_the_truth_which_that_of_single_samples_does_not() -> None:
    runs = [dependent(600, seed) for seed in range(60)]
    in_blocks = np.mean([holds(block_bootstrap_interval(run, 50), 7000) for run in runs])
    one_by_one = np.mean([holds(block_bootstrap_interval(run, 50, block=1), 7000) for run in runs[:30]])
    assert in_blocks > 0.82  # expected: 0.91, with a standard error of 0.04
    assert one_by_one < 0.7  # expected: 0.5


@pytest.mark.parametrize("n", [250, 1000])
def test_the_interval_of_independent_samples_holds_the_truth_in_19_of_20_cases(n: int) -> None:
    runs = [dependent(n, seed, likeness=0) for seed in range(100)]
    assert 0.89 < np.mean([holds(block_bootstrap_interval(run, 50), 7000) for run in runs]) < 0.99


@pytest.mark.slow
def test_the_interval_of_several_processes_holds_what_another_process_would_do() -> None:
    """Each process is slower or faster by its own: blocks alone would be far too sure of these five."""
    chance, held, without = np.random.default_rng(0), 0, 0
    for case in range(100):
        processes = [dependent(140, 5 * case + number) + chance.normal(0, 500) for number in range(5)]
        samples = np.concatenate(processes)
        held += holds(block_bootstrap_interval(samples, 50, np.repeat(range(5), 140)), 7000)
        without += holds(block_bootstrap_interval(samples, 50), 7000)
    assert held >= 88
    assert without < 80


@pytest.mark.parametrize("count", [2, 4])
def test_a_few_processes_have_no_interval(count: int) -> None:
    samples = dependent(1000, 0)
    assert block_bootstrap_interval(samples, 50, np.arange(1000) * count // 1000) is None
    assert block_bootstrap_interval(samples, 50, np.arange(1000) * 5 // 1000) is not None


def test_pictures_that_follow_each_other_in_a_process_are_no_independent_blocks() -> None:
    """A hundred pictures, once each, in five processes: with a block for each picture, 46 of 100 held it."""
    held = sum(
        holds(
            block_bootstrap_interval(
                np.concatenate([dependent(100, 5 * case + number) for number in range(5)]),
                50,
                np.repeat(range(5), 100),
            ),
            7000,
        )
        for case in range(100)
    )
    assert held >= 88


def test_the_interval_of_a_ratio_holds_the_true_ratio() -> None:
    pairs = [(1.2 * dependent(1000, seed), dependent(800, 1000 + seed)) for seed in range(40)]
    found = [block_bootstrap_ratio_interval(own, base, 50) for own, base in pairs]
    assert np.mean([holds(one, 1.2) for one in found]) > 0.82
    assert not any(holds(one, 1.0) for one in found)


def test_a_series_held_against_itself_is_as_uncertain_as_against_another() -> None:
    run = dependent(1500, 0)
    interval = block_bootstrap_ratio_interval(run, run, 50)
    assert interval is not None
    assert interval.low < 0.995
    assert interval.high > 1.005


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_a_resampled_percentile_is_that_of_the_blocks_put_together(percent: int) -> None:
    samples = np.random.default_rng(3).integers(0, 400, 503)
    resampled = resampled_percentile(samples, percent, seed=4)
    assert resampled is not None
    blocks = [samples[np.arange(503) * 20 // 503 == number] for number in range(20)]
    assert resampled.blocks == resampled.units == len(blocks)
    picks = np.random.default_rng(4).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    for value, picked in zip(resampled.values[:200], picks, strict=False):
        together = np.concatenate([blocks[pick] for pick in picked])
        assert value == pytest.approx(np.percentile(together, percent))


def test_more_values_than_fit_cost_next_to_no_accuracy() -> None:
    samples = np.random.default_rng(5).gamma(2, 3000, 200_000)
    interval = block_bootstrap_interval(samples, 50)
    rough = block_bootstrap_interval(np.round(samples), 50)
    assert interval == pytest.approx(rough, abs=1)


def test_samples_that_took_turns_are_put_back_into_their_segments() -> None:
    calm, busy = dependent(500, 6), 3 * dependent(500, 7)
    in_turn = np.stack([calm, busy], axis=1).ravel()
    one_after_the_other = np.concatenate([calm, busy])
    assert block_bootstrap_interval(in_turn, 50, np.arange(1000) % 2) == block_bootstrap_interval(
        one_after_the_other, 50, np.arange(1000) // 500
    )


@pytest.mark.parametrize("each", [1, 40, 100_000])
def test_there_are_never_so_many_blocks_that_it_takes_long(each: int) -> None:
    samples = np.random.default_rng(8).integers(0, 9000, 100_000)
    resampled = resampled_percentile(samples, 50, np.arange(100_000) // each)
    assert resampled is not None
    assert 300 < resampled.blocks <= 2 * MOST_BLOCKS


def test_a_long_segment_keeps_its_blocks_among_thousands_of_short_ones() -> None:
    samples = np.random.default_rng(9).integers(0, 9000, 110_000)
    segments = np.maximum(np.arange(110_000) - 100_000, 0) // 2
    resampled = resampled_percentile(samples, 50, segments)
    assert resampled is not None
    assert resampled.blocks > 300
