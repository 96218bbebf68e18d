from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.statistics import FLOORS, Stage, Statistics, describe, percentile


def frame(**fields: Any) -> dict[str, Any]:
    return {"rec": "frame", "seq": 1, "skip": 0, **fields}


@pytest.mark.parametrize(("percent", "floor"), FLOORS.items())
def test_a_percentile_is_not_given_below_its_floor(percent: int, floor: int) -> None:
    assert percentile(range(floor - 1), percent) is None
    assert percentile(range(floor), percent) == pytest.approx(np.percentile(range(floor), percent))


@pytest.mark.parametrize(("percent", "floor"), FLOORS.items())
def test_a_floor_is_the_first_n_that_leaves_two_samples_beyond_with_99_percent_confidence(
    percent: int, floor: int
) -> None:
    def doubt(n: int) -> float:
        """How likely none or one of n samples lies beyond the percentile."""
        below = percent / 100
        return below**n + n * (1 - below) * below ** (n - 1)

    assert doubt(floor) <= 0.01 < doubt(floor - 1)


def test_no_sample_has_no_numbers_but_an_n() -> None:
    assert describe([]) == {"n": 0} | dict.fromkeys(("min", "p50", "p90", "p95", "p99", "max", "mean", "sd"))


def test_one_sample_has_no_spread() -> None:
    assert describe([7]) | {"sd": None} == describe([7])
    assert describe([7])["p50"] == describe([7])["mean"] == 7


def test_a_description_agrees_with_numpy() -> None:
    samples = np.random.default_rng(1).gamma(2, 3000, size=5000)
    described = describe(samples)
    assert described["n"] == 5000
    assert described["mean"] == pytest.approx(samples.mean())
    assert described["sd"] == pytest.approx(samples.std(ddof=1))
    for percent in (50, 90, 95, 99):
        assert described[f"p{percent}"] == pytest.approx(np.percentile(samples, percent))


def test_a_stage_forgets_old_samples_in_its_percentiles_only() -> None:
    samples = np.random.default_rng(2).integers(0, 10**6, size=5000)
    stage = Stage(kept=1000)
    for sample in samples.tolist():
        stage.add(sample)
    described = stage.describe()
    assert described["n"] == 5000
    assert (described["min"], described["max"]) == (int(samples.min()), int(samples.max()))
    assert described["mean"] == pytest.approx(samples.mean())
    assert described["sd"] == pytest.approx(samples.std(ddof=1))
    for percent in (50, 90, 95, 99):
        assert described[f"p{percent}"] == pytest.approx(np.percentile(samples[-1000:], percent))


def test_small_differences_far_from_zero_keep_their_spread() -> None:
    stage = Stage(kept=1)
    for value in (10**15, 10**15 + 1, 10**15 + 2):
        stage.add(value)
    assert stage.describe()["sd"] == pytest.approx(1.0)


def test_what_is_no_whole_number_of_microseconds_is_left_out() -> None:
    statistics = Statistics()
    statistics.add(frame(skip=None, pre_us=None, infer_us="12", post_us=1.5, viewers=3))
    assert statistics.summary()["stages"] == {}
    assert statistics.summary()["frames"] == 1


def test_load_and_first_run_of_the_run_record_are_kept_apart() -> None:
    statistics = Statistics()
    statistics.add({"rec": "run", "load_us": 5, "first_us": 6})
    statistics.add({"rec": "event", "event": "lost", "after_us": 7})
    assert statistics.summary()["stages"] == {}


def test_the_age_of_a_picture_is_not_the_age_of_an_answer() -> None:
    statistics = Statistics()
    statistics.add(frame(age_us=100))
    statistics.add({"rec": "video", "age_us": 30, "draw_us": 1})
    stages = statistics.summary()["stages"]
    assert (stages["age_us"]["max"], stages["video_age_us"]["max"]) == (100, 30)
    assert stages["draw_us"]["n"] == 1


def test_a_summary_counts_frames_and_what_they_skipped_and_rounds_to_a_tenth() -> None:
    statistics = Statistics()
    for skip, infer_us in ((0, 10), (2, 11), (3, 11)):
        statistics.add(frame(skip=skip, infer_us=infer_us))
    summary = statistics.summary(lost_lines=4)
    assert list(summary) == ["rec", "frames", "skipped", "lost_lines", "stages"]
    assert (summary["rec"], summary["frames"], summary["skipped"], summary["lost_lines"]) == (
        "summary",
        3,
        5,
        4,
    )
    spread = {"min": 10, "p50": 11, "p90": None, "p95": None, "p99": None, "max": 11, "mean": 10.7, "sd": 0.6}
    assert summary["stages"]["infer_us"] == {"n": 3, **spread}
