"""Figures for Prometheus, and the description of every route: what machines read beside the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stream.log import Record
from stream.vitals import STAGES

DESCRIPTION = Path(__file__).parent / "openapi.json"

BUCKETS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a small model's share of a millisecond to a camera across a bad line."""

SWITCHES = {"switch": "done", "switch_failed": "failed"}
"""The log's event, and how a change of the model ended."""

OPEN_METRICS = "application/openmetrics-text"


class Metrics:
    """A Sink that sorts the stages' durations into buckets. Calling it takes a few microseconds and never
    waits or raises, in any thread."""

    def __init__(self) -> None:
        # Without the times at which the series were made: one more of each, and the process has one for all.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        stages = Histogram(
            "labelcam_stage_duration_seconds",
            "Durations of the stages of the classified frames and of the painted pictures.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._observe = {
            kind: {field: stages.labels(stage).observe for stage, field in fields.items()}
            for kind, fields in STAGES.items()
        }
        switches = Counter(
            "labelcam_model_switches",
            "Changes of the model, backend or mode while running.",
            ["result"],
            registry=self.registry,
        )
        self._count = {event: switches.labels(result).inc for event, result in SWITCHES.items()}

    def __call__(self, record: Record) -> None:
        kind = record.get("rec")
        if kind == "event" and (event := record.get("event")) in self._count:
            self._count[event]()
        for field, observe in self._observe.get(str(kind), {}).items():
            duration_us = record.get(field)
            if isinstance(duration_us, int):
                observe(duration_us / 1e6)


class StateCollector(Collector):
    """The state in Prometheus's words, read when it is asked for."""

    def __init__(self, state: Callable[[], Mapping[str, Any]]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        frames, stream, log, mqtt = state["frames"], state["stream"], state["log"], state["mqtt"]
        yield counter("frames_captured", "Frames that came from the source.", frames["captured"])
        yield counter("frames_classified", "Frames that the model has answered.", frames["classified"])
        yield by_reason(
            "frames_dropped",
            "Frames without an answer: the model was busy, they could not be used, or no server answered.",
            {
                "skipped": frames["skipped"],
                "broken": state["broken_pictures"],
                "unanswered": frames["unanswered"],
            },
        )
        yield gauge("frame_age_seconds", "Since the newest frame came.", state["frame_age_s"])
        answer = state["answer"]
        yield gauge(
            "answer_age_seconds", "Since the frame of the newest answer came.", answer and answer["age_s"]
        )
        yield gauge("source_online", "1 while there are fresh frames.", float(state["online"]))
        yield counter(
            "source_reconnects", "How often the source was lost, to be opened again.", state["losses"]
        )
        yield gauge("source_stuck_reads", "Reads that a driver blocks, left behind.", state["stuck_reads"])
        yield gauge("stream_clients", "Who watches the stream.", stream["viewers"])
        yield gauge("stream_clients_max", "How many may.", stream["max"])
        yield counter("stream_clients_rejected", "Turned away: no place was free.", stream["rejected"])
        yield by_reason("stream_clients_evicted", "Put out.", stream["evicted"])
        yield counter("stream_sent_bytes", "Bytes sent to those who watch.", stream["sent_bytes"])
        yield gauge("event_listeners", "Who reads the server-sent events.", state["listeners"])
        yield counter("log_records_dropped", "Lines the log has lost.", log and log["lost_lines"])
        yield gauge("mqtt_connected", "1 while the broker has us.", mqtt and float(mqtt["connected"]))
        yield gauge("start_time_seconds", "Unix time of the start.", state["started_s"])
        names = ("version", "backend", "runtime", "runtime_version", "mode", "model", "model_sha256")
        build = InfoMetricFamily("labelcam_build", "What runs.")
        build.add_metric([], {name: state[name] or "" for name in names})
        yield build


def counter(name: str, text: str, value: float | None) -> Metric:
    """Without a value there is no sample."""
    return CounterMetricFamily(f"labelcam_{name}", text, value)


def gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"labelcam_{name}", text, value)


def by_reason(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"labelcam_{name}", text, labels=["reason"])
    for reason, count in counts.items():
        family.add_metric([reason], count)
    return family


def add_metrics(app: Flask, metrics: Metrics, state: Callable[[], Mapping[str, Any]]) -> None:
    """Add the routes /metrics and /api/openapi.json. `state` is what /api/state answers."""
    metrics.registry.register(StateCollector(state))
    description = DESCRIPTION.read_bytes()

    @app.get("/metrics")
    def figures() -> Response:
        # Not the whole header: of a version that is no number the library makes an exception.
        accepted = request.headers.get("Accept", "")
        encode, content_type = choose_encoder(OPEN_METRICS if OPEN_METRICS in accepted else "")
        return Response(encode(metrics.registry), content_type=content_type)

    @app.get("/api/openapi.json")
    def openapi() -> Response:
        return Response(description, content_type="application/json")
