"""What there is to know about the running program, for the page and for machines."""

from __future__ import annotations

import time
from typing import Any

from stream.broadcast import Broadcast
from stream.loading import Model
from stream.pipeline import Pipeline
from stream.version import __version__


class Status:
    """Reads the pipeline from outside; holds nothing that changes."""

    def __init__(self, pipeline: Pipeline, broadcast: Broadcast, model: Model) -> None:
        self._pipeline, self._broadcast = pipeline, broadcast
        self._model, self._facts = model, model.backend.facts()
        self._started_ns, self._started_s = time.monotonic_ns(), time.time()

    def alive(self) -> bool:
        return self._pipeline.alive and self._broadcast.alive

    def fault(self) -> str | None:
        """Why there is no fresh frame; None if there is one."""
        return self._pipeline.capture.fault()

    def answered(self) -> bool:
        return self._pipeline.answers.peek() is not None

    def state(self) -> dict[str, Any]:
        now_ns = time.monotonic_ns()
        capture, classify, source = (
            self._pipeline.capture,
            self._pipeline.classify,
            self._pipeline.capture.source,
        )
        answer, facts, fault = self._pipeline.answers.peek(), self._facts, self.fault()
        return {
            "version": __version__,
            "started_s": self._started_s,
            "uptime_s": (now_ns - self._started_ns) / 1e9,
            "online": fault is None,
            "fault": fault,
            "source": source
            and {
                "name": source.name,
                "kind": source.kind,
                "via": source.via,
                "size": source.size,
                "fps": source.fps,
                "note": source.note,
            },
            "remarks": capture.remarks(),
            "losses": capture.losses,
            "broken_pictures": capture.broken,
            "stuck_reads": capture.stuck,
            "camera_fps": capture.rate.per_second(now_ns),
            "model_fps": classify.rate.per_second(now_ns),
            "frames": {"captured": capture.count, "classified": classify.count, "skipped": classify.skipped},
            "backend": facts.backend,
            "runtime": facts.runtime,
            "runtime_version": facts.version,
            "threads": facts.threads,
            "device": facts.device,
            "jetpack": dict(facts.board) or None,
            "note": facts.note,
            "model": self._model.name,
            "model_sha256": self._model.sha256,
            "answer": answer
            and {
                "seq": answer.frame.seq,
                "age_s": (now_ns - answer.frame.arrived_ns) / 1e9,
                "infer_ms": answer.infer_us / 1000,
                "top": [prediction._asdict() for prediction in answer.predictions],
            },
        }
