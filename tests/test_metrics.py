"""What Prometheus gets: over a socket from a running Labelcam, read by Prometheus's own readers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from stream.log import Record
from stream.server_metrics import BUCKETS_S, Metrics, add_metrics
from stream.vitals import STAGES
from tests.viewer import PATIENCE_S, ROOT, Address, Answer, Labelcam, Viewer, ask, labelcam, wait_for

TOKEN = "a-token-that-nobody-guesses"
OPEN_METRICS = "application/openmetrics-text"
PROMETHEUS = (
    f"{OPEN_METRICS};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPEN_METRICS};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""The Accept header of Prometheus 3."""

FRAME: Record = {
    **{"rec": "frame", "seq": 7, "sensor_us": 12, "arrived_ns": 1, "skip": 3, "top": [[1, "cat", 0.5]]},
    **{"wait_us": 250, "pre_us": 900, "infer_us": 5_700, "post_us": 60, "age_us": 6_910},
}
VIDEO: Record = {
    **{"rec": "video", "seq": 7, "answer": 6, "viewers": 2},
    **{"draw_us": 1_100, "encode_us": 3_000, "age_us": 11_000_000},
}

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Samples by name and labels."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelcam]:
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with labelcam("--port", "0", "--source", "demo:", "--log", log) as started:
        wait_for(lambda: ask(started.address, "/readyz").status == 200)
        yield started


def scraped(answer: Answer) -> list[Metric]:
    assert answer.status == 200
    read = read_open_metrics if answer.headers["content-type"].startswith(OPEN_METRICS) else read_text
    return list(read(answer.body.decode()))


def series(address: Address, accept: str = "") -> Series:
    return by_labels(scraped(ask(address, "/metrics", {"Accept": accept})))


def by_labels(metrics: list[Metric]) -> Series:
    samples = [sample for metric in metrics for sample in metric.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)  # one value each
    return found


def value(found: Series, name: str, **labels: str) -> float:
    """Of the only camera, or of the whole program."""
    key = f"labelcam_{name}", frozenset({"camera": "1", **labels}.items())
    return found[key if key in found else (key[0], frozenset(labels.items()))]


def stage(found: Series, name: str, stage: str, **labels: str) -> float:
    return value(found, f"stage_duration_seconds_{name}", stage=stage, **labels)


def figures_of(metrics: Metrics) -> Series:
    return by_labels(list(metrics.registry.collect()))


# What is no record, and no state.


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"rec": None},
        {"rec": ["frame"]},
        {"rec": "summary", "infer_us": 5},
        {"rec": "frame"},
        {"rec": "frame", "infer_us": None, "wait_us": "5", "pre_us": [1]},
        {"rec": "event"},
        {"rec": "event", "event": "lost", "detail": "unplugged", "infer_us": 1},
        {"rec": "run", "infer_us": 1},  # a second one tells of another model
    ],
)
def test_a_record_without_durations_passes_by(record: Record) -> None:
    metrics = Metrics()
    sink = metrics.of("1")
    before = figures_of(metrics)
    sink(record)
    after = figures_of(metrics)
    assert {key: count for key, count in after.items() if key[0].startswith("labelcam")} == {
        key: count for key, count in before.items() if key[0].startswith("labelcam")
    }


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=foo",
        "text/plain; version=1.x",
        "text/plain; version=1.0.0; escaping=\xff",
        ",;,=;q=x",
        "\xff",
    ],
)
def test_an_odd_wish_for_a_format_is_answered(running: Labelcam, accept: str) -> None:
    answer = ask(running.address, "/metrics", {"Accept": accept})
    assert "\xff" not in answer.headers["content-type"]
    assert scraped(answer)


def test_without_a_camera_and_a_log_there_are_figures_too() -> None:
    arguments = ("--port", "0", "--wait-for-camera", "--source", "/dev/no-such-camera")
    with labelcam(*arguments) as started:
        found = series(started.address)
    assert value(found, "source_online") == 0
    assert value(found, "frames_captured_total") == 0
    assert stage(found, "count", "infer") == 0
    names = {name for name, _ in found}
    for name in ("answer_age_seconds", "frame_age_seconds", "log_records_dropped_total"):
        assert f"labelcam_{name}" not in names  # unknown is not 0


def test_strangers_get_no_figures() -> None:
    arguments = ("--port", "0", "--source", "demo:", "--token", TOKEN)
    with labelcam(*arguments) as started:
        refused = ask(started.address, "/metrics")
        assert refused.status == 401
        assert b"labelcam" not in refused.body
        assert scraped(ask(started.address, "/metrics", {"Authorization": f"Bearer {TOKEN}"}))


# The sink.


def test_every_stage_has_a_histogram_of_its_own() -> None:
    metrics = Metrics()
    sink = metrics.of("1")
    for _ in range(3):
        sink(FRAME)
    sink(VIDEO)
    found = figures_of(metrics)
    names = [name for kind in STAGES.values() for name in kind]
    assert {name: stage(found, "count", name) for name in names} == {
        **dict.fromkeys(("wait", "pre", "infer", "post", "age"), 3),
        **dict.fromkeys(("draw", "encode", "picture_age"), 1),
    }
    assert stage(found, "sum", "infer") == pytest.approx(0.0171)
    assert stage(found, "sum", "picture_age") == pytest.approx(11)
    assert stage(found, "bucket", "wait", le="0.00025") == 3  # its upper end is in it
    assert stage(found, "bucket", "wait", le="0.0001") == 0
    assert stage(found, "bucket", "picture_age", le="10.0") == 0
    assert stage(found, "bucket", "picture_age", le="+Inf") == 1
    assert len([1 for name, labels in found if ("stage", "infer") in labels]) == len(BUCKETS_S) + 3


def test_no_record_is_lost_between_threads() -> None:
    metrics = Metrics()
    sink = metrics.of("1")

    def write(record: Record) -> None:
        for _ in range(5_000):
            sink(record)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, (FRAME, VIDEO, FRAME, VIDEO)))
    found = figures_of(metrics)
    for name in ("infer", "age", "encode", "picture_age"):
        assert stage(found, "count", name) == 10_000
    assert stage(found, "sum", "encode") == pytest.approx(30)


def test_a_record_costs_microseconds() -> None:
    metrics = Metrics()
    sink = metrics.of("1")
    rounds_us = []
    for _ in range(20):
        started_ns = time.perf_counter_ns()
        for _ in range(200):
            sink(FRAME)
        rounds_us.append((time.perf_counter_ns() - started_ns) / 200 / 1000)
    assert min(rounds_us) < 40  # measured: 5


def test_how_a_change_of_the_model_ended_is_counted() -> None:
    metrics = Metrics()
    sink = metrics.of("1")
    assert value(figures_of(metrics), "model_switches_total", result="done") == 0  # there from the start
    for event in ("switch", "switch_failed", "switch", "connect"):
        sink({"rec": "event", "event": event, "detail": "<b>&"})
    assert value(figures_of(metrics), "model_switches_total", result="done") == 2
    assert value(figures_of(metrics), "model_switches_total", result="failed") == 1


# What is scraped.


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        (OPEN_METRICS, f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"),
        (PROMETHEUS, f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"),
    ],
)
def test_both_formats_say_the_same(running: Labelcam, accept: str, kind: str) -> None:
    answer = ask(running.address, "/metrics", {"Accept": accept})
    assert answer.headers["content-type"].startswith(kind)
    assert "charset=utf-8" in answer.headers["content-type"]
    assert answer.headers["cache-control"] == "no-store"
    assert set(by_labels(scraped(answer))) == set(series(running.address))
    assert ask(running.address, "/metrics", {"Accept": accept}, "HEAD").status == 200


def test_names_and_labels_are_as_prometheus_wants_them(running: Labelcam) -> None:
    metrics = scraped(ask(running.address, "/metrics", {"Accept": OPEN_METRICS}))
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.name.startswith(("labelcam_", "process_")), metric.name
        assert metric.documentation
        assert metric.type in ("counter", "gauge", "histogram", "info"), metric.name
        assert not any(word in metric.name for word in ("_ms", "_us", "fps", "percent", "_created")), metric
        for sample in metric.samples:
            assert (
                set(sample.labels) <= {"camera", "stage", "le", "reason", "result"} or metric.type == "info"
            )
    found = by_labels(metrics)
    assert len(found) < 250


def test_the_manual_names_every_figure(running: Labelcam) -> None:
    manual = (ROOT / "docs" / "api.md").read_text()
    for metric in scraped(ask(running.address, "/metrics")):
        written = "process_" if metric.name.startswith("process_") else f"`{metric.name}"
        assert written in manual, metric.name


def test_the_figures_are_those_of_the_state(running: Labelcam) -> None:
    with Viewer(running.address) as viewer:
        viewer.parts(10)
        before = ask(running.address, "/api/state").json
        found = series(running.address)
        after = ask(running.address, "/api/state").json
    for name in ("captured", "classified"):
        assert before["frames"][name] <= value(found, f"frames_{name}_total") <= after["frames"][name]
    assert value(found, "frames_dropped_total", reason="broken") == 0
    skipped = value(found, "frames_dropped_total", reason="skipped")
    assert before["frames"]["skipped"] <= skipped <= after["frames"]["skipped"]
    assert value(found, "source_online") == 1
    assert value(found, "source_reconnects_total") == 0
    assert value(found, "stream_clients") == 1
    assert value(found, "stream_clients_max") == before["stream"]["max"]
    assert value(found, "stream_sent_bytes_total") >= before["stream"]["sent_bytes"]
    assert value(found, "log_records_dropped_total") == 0
    assert 0 <= value(found, "frame_age_seconds") < 2
    assert 0 < value(found, "answer_age_seconds") < 2
    assert value(found, "start_time_seconds") == pytest.approx(before["started_s"])
    names = ("version", "backend", "runtime", "runtime_version", "mode", "model", "model_sha256")
    assert value(found, "build_info", **{name: before[name] or "" for name in names}) == 1


def test_the_histograms_count_every_classified_frame() -> None:
    arguments = ("--port", "0", "--source", "demo:", "--fps", "2")  # half a second of rest after each
    with labelcam(*arguments) as started:

        def counts() -> tuple[float, ...]:
            found = series(started.address)
            return (
                value(found, "frames_classified_total"),
                *(stage(found, "count", name) for name in STAGES["frame"]),
            )

        wait_for(lambda: counts()[0] >= 3)
        seen = counts()
        if len(set(seen)) != 1:  # a frame came in between
            seen = counts()
    assert len(set(seen)) == 1
    assert seen[0] >= 3


def test_a_counter_never_goes_down(running: Labelcam) -> None:
    def monotonic() -> Series:
        metrics = scraped(ask(running.address, "/metrics"))
        rising = [metric for metric in metrics if metric.type in ("counter", "histogram")]
        return by_labels(rising)

    with Viewer(running.address) as viewer:
        seen = []
        for _ in range(20):
            viewer.parts(2)
            seen.append(monotonic())
    seen.append(monotonic())
    for earlier, later in pairwise(seen):
        assert {key for key in earlier if later[key] < earlier[key]} == set()
    assert value(seen[-1], "frames_captured_total") > value(seen[0], "frames_captured_total")
    assert stage(seen[-1], "count", "encode") > stage(seen[0], "count", "encode")


def test_another_model_is_counted_and_begins_nothing_anew() -> None:
    with labelcam("--port", "0", "--source", "demo:") as started:
        wait_for(lambda: stage(series(started.address), "count", "infer") > 10)
        before = series(started.address)
        change(started.address, {"model": "digits"})
        wait_for(lambda: value(series(started.address), "model_switches_total", result="done") == 1)
        after = series(started.address)
    for name in STAGES["frame"]:
        assert stage(after, "count", name) > stage(before, "count", name)
    for name in ("frames_captured_total", "frames_classified_total"):
        assert value(after, name) > value(before, name)
    assert value(after, "model_switches_total", result="failed") == 0
    [build] = [dict(labels) for name, labels in after if name == "labelcam_build_info"]
    assert build["model"] == "digits"


def change(address: Address, settings: dict[str, Any]) -> None:
    connection = HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/json", "X-Labelcam": "1"}
        connection.request("POST", "/api/settings", json.dumps(settings), headers)
        assert connection.getresponse().status == 202
    finally:
        connection.close()


def test_within_a_histogram_nothing_contradicts(running: Labelcam) -> None:
    for name in STAGES["frame"]:
        found = series(running.address)
        buckets = [
            stage(found, "bucket", name, le=str(bound) if bound < 11 else "+Inf")
            for bound in (*BUCKETS_S, 11)
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == stage(found, "count", name) > 0
        assert 0 < stage(found, "sum", name) < 10 * stage(found, "count", name)


@pytest.mark.parametrize("accept", ["text/plain", OPEN_METRICS])
def test_a_model_of_any_name_leaves_the_format_whole(running: Labelcam, accept: str) -> None:
    name = 'a "b" \\ c\nlabelcam_frames_captured_total 9\n# EOF\n}é'
    state: dict[str, Any] = ask(running.address, "/api/state").json
    app = Flask("labelcam")
    add_metrics(app, Metrics(), lambda: [state | {"model": name}])
    response = app.test_client().get("/metrics", headers={"Accept": accept})
    metrics = scraped(Answer(response.status_code, {"content-type": response.content_type}, response.data))
    [build] = [metric for metric in metrics if metric.name.startswith("labelcam_build")]
    assert [sample.labels["model"] for sample in build.samples] == [name]
    assert value(by_labels(metrics), "frames_captured_total") == state["frames"]["captured"]
