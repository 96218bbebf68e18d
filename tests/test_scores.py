"""The best few classes of a score vector: ties, zeroes, integers that would wrap, numbers that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.labels import Labels, numbered
from models.recipe import NOT_QUANTISED, Quantisation
from models.scores import Reading, Smoother, best_first, softmax

PROBABILITY = Quantisation(1 / 256, 0)


def vector(dtype: npt.DTypeLike, rest: float, classes: int = 1000, **scores: float) -> npt.NDArray[Any]:
    """`rest` everywhere but at the indices named: `c7=200` is class 7."""
    filled = np.full(classes, rest, dtype)
    for name, score in scores.items():
        filled[int(name[1:])] = score
    return filled


def close_to(pairs: list[tuple[int, float]]) -> object:
    return [(index, pytest.approx(score)) for index, score in pairs]


def shown(reading: Reading, scores: npt.NDArray[Any]) -> list[tuple[int, float]]:
    return [(prediction.index, prediction.score) for prediction in reading.top(scores)]


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_numbers_are_refused_and_never_shown(kind: Any, bad: float) -> None:
    reading = Reading(numbered(1000), kind=kind)
    for scores in (vector(np.float32, 0.001, c3=bad), vector(np.float32, bad)):
        with pytest.raises(ModelError, match="not numbers"):
            reading.top(scores)


def test_one_class_ruled_out_by_minus_infinity_is_no_error() -> None:
    assert shown(Reading(numbered(2), kind="logits"), np.array([-math.inf, 3.0])) == [(1, 1.0)]


@pytest.mark.parametrize(
    ("dtype", "rest", "quantisation"),
    [
        (np.uint8, 0, PROBABILITY),
        (np.uint8, 128, Quantisation(1 / 128, 128)),
        (np.int8, -128, Quantisation(1 / 256, -128)),
        (np.float32, 0, NOT_QUANTISED),
    ],
)
def test_a_vector_of_zeroes_shows_nothing(dtype: Any, rest: int, quantisation: Quantisation) -> None:
    assert shown(Reading(numbered(1000), quantisation), vector(dtype, rest)) == []


def test_zeroes_do_not_fill_up_the_top_five() -> None:
    scores = vector(np.uint8, 0, c700=128, c20=64)
    assert shown(Reading(numbered(1000), PROBABILITY), scores) == [(700, 0.5), (20, 0.25)]


def test_uint8_below_its_zero_point_does_not_wrap_round_to_the_top() -> None:
    scores = vector(np.uint8, 0, c4=129, c5=130, c6=128)
    assert shown(Reading(numbered(1000), Quantisation(0.5, 128)), scores) == [(5, 1.0), (4, 0.5)]


def test_int8_counts_from_its_zero_point() -> None:
    scores = vector(np.int8, -128, c9=127, c8=-127)
    expected = [(9, 255 / 256), (8, 1 / 256)]
    assert shown(Reading(numbered(1000), Quantisation(1 / 256, -128)), scores) == expected


def test_equal_scores_come_in_order_of_index_also_across_the_cut() -> None:
    scores = vector(np.uint8, 1, c500=9)
    indices = [index for index, _ in shown(Reading(numbered(1000), PROBABILITY, top_k=4), scores)]
    assert indices == [500, 0, 1, 2]


def test_the_background_is_never_shown_and_takes_no_place() -> None:
    labels = Labels(("background", *numbered(1000).names), 0)
    scores = vector(np.uint8, 0, 1001, c0=200, c1=20, c2=10, c3=5)
    reading = Reading(labels, PROBABILITY, top_k=3)
    assert [prediction.label for prediction in reading.top(scores)] == ["class 0", "class 1", "class 2"]


def test_a_threshold_is_met_by_what_equals_it() -> None:
    scores = vector(np.uint8, 0, c1=128, c2=127)
    assert shown(Reading(numbered(1000), PROBABILITY, threshold=0.5), scores) == [(1, 0.5)]


@pytest.mark.parametrize("top_k", [3, 4, 100])
def test_more_asked_for_than_there_are_gives_all(top_k: int) -> None:
    reading = Reading(numbered(3), top_k=top_k)
    assert [index for index, _ in shown(reading, np.array([0.2, 0.5, 0.3], np.float32))] == [1, 2, 0]


def test_none_asked_for_gives_none() -> None:
    assert Reading(numbered(3), top_k=0).top(np.array([0.2, 0.5, 0.3])) == ()


def test_a_model_with_one_class_can_be_read() -> None:
    assert shown(Reading(numbered(1)), np.array([0.5], np.float32)) == [(0, 0.5)]


def test_float_scores_are_shown_as_they_are_also_for_a_model_with_quantised_input() -> None:
    scores = np.array([0.25, -0.5, 0.75], np.float32)
    assert shown(Reading(numbered(3), PROBABILITY), scores) == [(2, 0.75), (0, 0.25)]


def test_logits_become_probabilities_whatever_their_size() -> None:
    for shift in (0.0, -1000.0, 1000.0):
        scores = np.array([0.0, math.log(3), -math.inf]) + shift
        assert shown(Reading(numbered(3), kind="logits"), scores) == close_to([(1, 0.75), (0, 0.25)])


def test_quantised_logits_are_scaled_before_the_softmax() -> None:
    reading = Reading(numbered(2), Quantisation(math.log(3) / 10, 128), "logits")
    assert shown(reading, np.array([128, 138], np.uint8)) == close_to([(1, 0.75), (0, 0.25)])


def test_every_prediction_has_the_label_of_its_index() -> None:
    scores = np.random.default_rng(0).permutation(1000).astype(np.float32) / 1000
    for prediction in Reading(numbered(1000), top_k=20).top(scores):
        assert prediction.label == f"class {prediction.index}"
        assert prediction.score == pytest.approx(float(scores[prediction.index]))


@settings(deadline=None)
@given(
    st.sampled_from([(np.uint8, 0), (np.uint8, 128), (np.int8, -128), (np.int8, 0), (np.float32, 0)]),
    st.lists(st.integers(-128, 127), min_size=1, max_size=40),
    st.integers(1, 8),
    st.booleans(),
)
def test_the_best_are_what_sorting_everything_would_give(
    kind: tuple[type[np.generic], int], values: list[int], top_k: int, background: bool
) -> None:
    dtype, zero_point = kind
    scores = (np.array(values) + (128 if dtype is np.uint8 else 0)).astype(dtype)
    names = numbered(len(values)).names
    reading = Reading(Labels(names, 0 if background else None), Quantisation(0.01, zero_point), top_k=top_k)
    plain = sorted((-float(score), index) for index, score in enumerate(reading.real(scores)))
    expected = [(i, -s) for s, i in plain if -s > 0 and not (background and i == 0)][:top_k]
    assert shown(reading, scores) == close_to(expected)


def test_the_best_first_of_the_smallest_int8_come_last() -> None:
    assert best_first(np.array([-128, 127, 0], np.int8)).tolist() == [1, 2, 0]


def test_reading_does_not_change_the_vector() -> None:
    scores = vector(np.uint8, 3, c7=9)
    before = scores.copy()
    Reading(numbered(1000), PROBABILITY, "logits").top(scores)
    np.testing.assert_array_equal(scores, before)


def test_a_softmax_sums_to_one() -> None:
    assert softmax(np.linspace(-700, 700, 50, dtype=np.float64)).sum() == pytest.approx(1)


def test_smoothing_starts_at_the_first_vector_and_follows_slowly() -> None:
    smooth = Smoother(0.9)
    np.testing.assert_allclose(smooth(np.array([1.0, 0.0])), [1, 0])
    np.testing.assert_allclose(smooth(np.array([0.0, 1.0])), [0.9, 0.1])
    for _ in range(200):
        last = smooth(np.array([0.0, 1.0]))
    np.testing.assert_allclose(last, [0, 1], atol=1e-6)


def test_smoothing_by_zero_is_off() -> None:
    smooth = Smoother(0.0)
    smooth(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(smooth(np.array([0.25, 0.5])), [0.25, 0.5])
