"""Figures for Prometheus, and the description of every route: what machines read beside the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stream.log import Record, Sink
from stream.vitals import STAGES

DESCRIPTION = Path(__file__).parent / "openapi.json"

BUCKETS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a small model's share of a millisecond to a camera across a bad line."""

SWITCHES = {"switch": "done", "switch_failed": "failed"}
"""The log's event, and how a change of the model ended."""

OPEN_METRICS = "application/openmetrics-text"


class Metrics:
    """Sorts the stages' durations into buckets, each camera's into its own."""

    def __init__(self) -> None:
        # Without the times at which the series were made: one more of each, and the process has one for all.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._stages = Histogram(
            "labelcam_stage_duration_seconds",
            "Durations of the stages of the classified frames and of the painted pictures.",
            ["camera", "stage"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._switches = Counter(
            "labelcam_model_switches",
            "Changes of the model, backend or mode while running.",
            ["camera", "result"],
            registry=self.registry,
        )

    def of(self, camera: str) -> Sink:
        """Calling it takes a few microseconds and never waits or raises, in any thread."""
        observe = {
            kind: {field: self._stages.labels(camera, stage).observe for stage, field in fields.items()}
            for kind, fields in STAGES.items()
        }
        count = {event: self._switches.labels(camera, result).inc for event, result in SWITCHES.items()}

        def sink(record: Record) -> None:
            kind = record.get("rec")
            if kind == "event" and (event := record.get("event")) in count:
                count[event]()
            for field, seen in observe.get(str(kind), {}).items():
                duration_us = record.get(field)
                if isinstance(duration_us, int):
                    seen(duration_us / 1e6)

        return sink


States = Callable[[], Sequence[Mapping[str, Any]]]
"""Of each camera, as `/api/state` tells it; stages and events are not needed."""

Value = float | None
"""Without a value there is no sample."""


class Figure(NamedTuple):
    """One of each camera."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    read: Callable[[Mapping[str, Any]], Value | Mapping[str, int]]
    """From the state: a value, or one for each reason."""


Count, Gauge = CounterMetricFamily, GaugeMetricFamily
FIGURES = (
    Figure(Count, "frames_captured", "Frames that came from the source.", lambda s: s["frames"]["captured"]),
    Figure(
        Count, "frames_classified", "Frames that the model has answered.", lambda s: s["frames"]["classified"]
    ),
    Figure(
        Count,
        "frames_dropped",
        "Frames without an answer: the model was busy, they could not be used, or no server answered.",
        lambda s: {
            "skipped": s["frames"]["skipped"],
            "broken": s["broken_pictures"],
            "unanswered": s["frames"]["unanswered"],
        },
    ),
    Figure(Gauge, "frame_age_seconds", "Since the newest frame came.", lambda s: s["frame_age_s"]),
    Figure(
        Gauge,
        "answer_age_seconds",
        "Since the frame of the newest answer came.",
        lambda s: s["answer"] and s["answer"]["age_s"],
    ),
    Figure(Gauge, "source_online", "1 while there are fresh frames.", lambda s: float(s["online"])),
    Figure(
        Count,
        "source_reconnects",
        "How often the source was lost, to be opened again.",
        lambda s: s["losses"],
    ),
    Figure(
        Gauge, "source_stuck_reads", "Reads that a driver blocks, left behind.", lambda s: s["stuck_reads"]
    ),
    Figure(Gauge, "stream_clients", "Who watches the stream.", lambda s: s["stream"]["viewers"]),
    Figure(Count, "stream_clients_evicted", "Put out.", lambda s: s["stream"]["evicted"]),
    Figure(Count, "stream_sent_bytes", "Bytes sent to those who watch.", lambda s: s["stream"]["sent_bytes"]),
    Figure(Gauge, "event_listeners", "Who reads the server-sent events.", lambda s: s["listeners"]),
    Figure(
        Count, "log_records_dropped", "Lines the log has lost.", lambda s: s["log"] and s["log"]["lost_lines"]
    ),
    Figure(
        Gauge,
        "mqtt_connected",
        "1 while the broker has us.",
        lambda s: s["mqtt"] and float(s["mqtt"]["connected"]),
    ),
)


class StateCollector(Collector):
    """The states in Prometheus's words, read when they are asked for."""

    def __init__(self, states: States) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        states = self._states()
        for figure in FIGURES:
            yield family_of(figure, {state["camera"]: figure.read(state) for state in states})
        # What all cameras share.
        state = states[0]
        yield Gauge(
            "labelcam_stream_clients_max", "How many may watch, of all cameras.", state["stream"]["max"]
        )
        yield Count(
            "labelcam_stream_clients_rejected",
            "Turned away: no place was free.",
            state["stream"]["rejected"],
        )
        yield Gauge("labelcam_start_time_seconds", "Unix time of the start.", state["started_s"])
        names = ("version", "backend", "runtime", "runtime_version", "mode", "model", "model_sha256")
        build = InfoMetricFamily("labelcam_build", "What runs.")
        build.add_metric([], {name: state[name] or "" for name in names})
        yield build


def family_of(figure: Figure, values: Mapping[str, Value | Mapping[str, int]]) -> Metric:
    reasons = any(isinstance(value, Mapping) for value in values.values())
    family = figure.family(
        f"labelcam_{figure.name}", figure.text, labels=["camera", "reason"] if reasons else ["camera"]
    )
    for camera, value in values.items():
        if isinstance(value, Mapping):
            for reason, count in value.items():
                family.add_metric([camera, reason], count)
        elif value is not None:
            family.add_metric([camera], value)
    return family


def add_metrics(app: Flask, metrics: Metrics, states: States) -> None:
    """Add the routes /metrics and /api/openapi.json."""
    metrics.registry.register(StateCollector(states))
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
