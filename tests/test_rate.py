"""Frames a second: right from the second mark on, and honest about silence. Time is made up here."""

from __future__ import annotations

import threading

import pytest

from stream.rate import WINDOW_NS, Rate

SECOND_NS = 1_000_000_000
START_NS = 5_000 * SECOND_NS


def marked(*at_s: float) -> Rate:
    rate = Rate()
    for second in at_s:
        rate.mark(at(second))
    return rate


def at(second: float) -> int:
    return START_NS + round(second * SECOND_NS)


def steady(fps: float, from_s: float, to_s: float) -> list[float]:
    return [from_s + number / fps for number in range(round((to_s - from_s) * fps) + 1)]


def test_before_two_marks_it_does_not_pretend_to_know() -> None:
    assert Rate().per_second(at(0)) is None
    assert marked(0).per_second(at(0)) is None
    assert marked(0).per_second(at(100)) is None


def test_two_marks_at_the_same_moment_are_no_division_by_zero() -> None:
    assert marked(1, 1).per_second(at(1)) is None
    assert marked(1, 1).per_second(at(3)) is not None


def test_a_source_that_stalls_sinks_steadily_towards_zero() -> None:
    rate = marked(*steady(30, 0, 10))
    seen = [rate.per_second(at(10 + silence)) for silence in (0, 0.2, 0.5, 1, 1.5, 1.99, 3, 10, 100)]
    numbers = [number for number in seen if number is not None]
    assert len(numbers) == len(seen)
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] == pytest.approx(30)
    assert numbers[3] == pytest.approx(15, rel=0.1)
    assert numbers[5] < 1.5
    assert numbers[6] == pytest.approx(1 / 3)
    assert numbers[-1] == pytest.approx(0.01)


def test_after_a_stall_it_is_right_again_from_the_third_mark() -> None:
    rate = marked(*steady(30, 0, 5), *steady(30, 20, 20 + 2 / 30))
    assert rate.per_second(at(20 + 2 / 30)) == pytest.approx(30)


@pytest.mark.parametrize("fps", [0.1, 1, 5, 29.97, 240])
def test_it_is_right_from_the_second_mark(fps: float) -> None:
    assert marked(0, 1 / fps).per_second(at(1 / fps)) == pytest.approx(fps)


@pytest.mark.parametrize("fps", [0.05, 0.4, 0.7, 1, 25, 60])
def test_it_stays_right(fps: float) -> None:
    rate, time_s = Rate(), 0.0
    for number in range(round(max(5, 10 * fps))):
        time_s = number / fps
        rate.mark(at(time_s))
        if number:
            assert rate.per_second(at(time_s)) == pytest.approx(fps)
            assert rate.per_second(at(time_s + 0.9 / fps)) == pytest.approx(fps), "the next is not due yet"


def test_a_change_of_rate_is_through_after_one_window() -> None:
    rate = marked(*steady(30, 0, 10), *steady(10, 10.1, 10.1 + WINDOW_NS / 1e9))
    assert rate.per_second(at(12.1)) == pytest.approx(10)


def test_frames_that_come_in_bursts_are_counted_not_guessed_from_the_last_two() -> None:
    rate = marked(*(burst / 5 + place / 1000 for burst in range(50) for place in range(6)))
    assert rate.per_second(at(9.805)) == pytest.approx(30, rel=0.1)


def test_it_keeps_no_more_than_the_window() -> None:
    rate = marked(*steady(100, 0, 60))
    assert len(rate._marks) <= 2 * 100 + 2


def test_it_may_be_read_while_it_is_marked() -> None:
    rate = Rate()
    errors: list[object] = []

    def read() -> None:
        try:
            for second in range(3000):
                rate.per_second(at(second))
        except RuntimeError as error:  # a deque changed while it was read
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(20_000):
        rate.mark(at(number / 1000))
    for reader in readers:
        reader.join()
    assert not errors
