"""What the newest records say: never of two models together, never more than there is to say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stream import vitals
from stream.vitals import EVENTS, NEWEST, SECONDS, Vitals


def frame(infer_us: int = 5000, **fields: Any) -> dict[str, Any]:
    times = {"wait_us": 1, "pre_us": 2, "infer_us": infer_us, "post_us": 3, "age_us": infer_us + 6}
    return {"rec": "frame", "seq": 0, **times, **fields}


def run(model: str) -> dict[str, Any]:
    return {"rec": "run", "model": model, "backend": "tflite", "mode": None}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(vitals, "time", made)
    return made


def test_without_a_record_there_is_nothing_to_say() -> None:
    assert Vitals(run("one")).stages() == {}
    assert Vitals(run("one")).history() == {}
    assert Vitals(run("one")).events() == []


def test_records_of_other_kinds_pass_by() -> None:
    watched = Vitals(run("one"))
    for record in ({"rec": "summary"}, {"rec": "video_like"}, {}):
        watched(record)
    assert watched.stages() == {}


def test_a_percentile_waits_until_there_are_enough_samples() -> None:
    watched = Vitals(run("one"))
    for count, p90, p99 in ((1, False, False), (62, False, False), (1, True, False), (598, True, True)):
        for _ in range(count):
            watched(frame())
        infer = watched.stages()["infer"]
        assert infer["p50_ms"] == 5.0
        assert (infer["p90_ms"] is not None, infer["p99_ms"] is not None) == (p90, p99), infer["n"]


def test_only_the_newest_samples_count() -> None:
    watched = Vitals(run("one"))
    for _ in range(NEWEST):
        watched(frame(9000))
    for _ in range(NEWEST):
        watched(frame(2000))
    infer = watched.stages()["infer"]
    assert (infer["n"], infer["p99_ms"]) == (NEWEST, 2.0)


def test_another_model_begins_anew_and_another_setting_does_not() -> None:
    watched = Vitals(run("one"))
    watched(frame(9000))
    watched(run("one"))
    assert watched.stages()["infer"]["n"] == 1
    watched(run("two"))
    assert watched.stages() == {}
    watched(frame(2000))
    assert watched.stages()["infer"]["p50_ms"] == 2.0


def test_a_frame_and_its_picture_have_an_age_each() -> None:
    watched = Vitals(run("one"))
    watched(frame(5000))
    watched({"rec": "video", "seq": 0, "draw_us": 400, "encode_us": 600, "age_us": 1500, "viewers": 1})
    stages = watched.stages()
    assert set(stages) == {"wait", "pre", "infer", "post", "age", "draw", "encode", "picture_age"}
    assert stages["age"]["p50_ms"] == 5.006
    assert stages["picture_age"]["p50_ms"] == 1.5


def test_each_second_has_its_median_and_a_silent_one_has_none(clock: Clock) -> None:
    watched = Vitals(run("one"))
    for infer_us in (1000, 2000, 9000):
        watched(frame(infer_us))
    assert watched.stages()["infer"]["last_ms"] is None  # that second is not over
    clock.now_s += 1
    watched(frame(4000))
    assert watched.stages()["infer"]["last_ms"] == 2.0
    clock.now_s += 3
    assert watched.history()["infer"] == [2.0, 4.0, None, None]
    assert watched.stages()["infer"]["last_ms"] is None


def test_a_minute_is_remembered_and_a_silent_hour_forgotten(clock: Clock) -> None:
    watched = Vitals(run("one"))
    for _ in range(2 * SECONDS):
        watched(frame())
        clock.now_s += 1
    assert watched.history()["infer"] == [5.0] * SECONDS
    clock.now_s += 3600
    assert watched.history()["infer"] == [None] * SECONDS


def test_the_last_events_are_kept_in_order() -> None:
    watched = Vitals(run("one"))
    for number in range(EVENTS + 5):
        stamps = {"t_ns": time.monotonic_ns(), "t_utc": float(number)}
        watched({"rec": "event", "event": "lost", "detail": f"for the {number}th time", **stamps})
    events = watched.events()
    assert [event["t_s"] for event in events] == [float(number) for number in range(5, EVENTS + 5)]
    assert events[-1]["detail"] == f"for the {EVENTS + 4}th time"
