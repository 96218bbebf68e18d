"""What there is to know about the running program, for the page and for machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stream.broadcast import Broadcast
from stream.bulletin import Bulletin
from stream.hub import Hub
from stream.log import JsonLog
from stream.mqtt import Publisher
from stream.pipeline import Pipeline
from stream.switch import Camera, Switch
from stream.version import __version__
from stream.vitals import Vitals

HANGS_S = 15.0
"""A broadcast that has not come round for so long hangs."""


@dataclass(frozen=True)
class Status:
    """Reads the parts of the running program from outside; holds nothing that changes."""

    pipeline: Pipeline
    hub: Hub
    broadcast: Broadcast
    bulletin: Bulletin
    switch: Switch
    switched: Camera
    vitals: Vitals
    log: JsonLog | None = None
    mqtt: Publisher | None = None
    asked: str = ""  # which source, without credentials
    name: str = "1"
    cameras: tuple[str, ...] = ("1",)  # of the program, in the order of the command line
    started_ns: int = field(default_factory=time.monotonic_ns)
    started_s: float = field(default_factory=time.time)

    def sickness(self) -> str | None:
        """Which part does not work any more, in a line; None while all do."""
        if not self.pipeline.alive:
            return "a loop has ended"
        if not (self.broadcast.alive and self.bulletin.alive):
            return "the broadcast or the bulletin has ended"
        round_s = (time.monotonic_ns() - (self.broadcast.came_round_ns or time.monotonic_ns())) / 1e9
        if round_s > HANGS_S:
            return f"the broadcast has not come round for {round_s:.0f} s"
        return self.pipeline.hanging()

    def fault(self) -> str | None:
        """Why there is no fresh frame; None if there is one."""
        return "the source has ended" if self.pipeline.over else self.pipeline.capture.fault()

    def unready(self) -> str | None:
        """Why nobody can use it yet, in a line; None once somebody can."""
        why = next(iter(self.pipeline.classify.remarks()), "the model has not answered yet")
        return self.fault() or (None if self.answer() else why)

    def answer(self) -> dict[str, Any] | None:
        answer, model = self.pipeline.answers.peek(), self.switched.model
        if answer is None or answer.prepared.backend is not model.backend:
            return None
        return {
            "seq": answer.frame.seq,
            "age_s": (time.monotonic_ns() - answer.frame.arrived_ns) / 1e9,
            "infer_ms": answer.infer_us / 1000,
            "model": model.name,
            "backend": model.backend.facts().backend,
            "top": [prediction._asdict() for prediction in answer.predictions],
        }

    def camera(self) -> dict[str, Any]:
        """How it is, and how fast everything goes."""
        now_ns, fault = time.monotonic_ns(), self.fault()
        return {
            "online": fault is None,
            "fault": fault,
            "camera_fps": self.pipeline.capture.rate.per_second(now_ns),
            "model_fps": self.pipeline.classify.rate.per_second(now_ns),
        }

    def state(self) -> dict[str, Any]:
        """What `/api/state` answers; docs/api.md says what each field means."""
        return {**self.figures(), "stages": self.vitals.stages(), "events": self.vitals.events()}

    def figures(self) -> dict[str, Any]:
        """All of it that costs nothing to find out."""
        now_ns = time.monotonic_ns()
        capture, classify = self.pipeline.capture, self.pipeline.classify
        source, model, newest_ns = capture.source, self.switched.model, capture.newest_ns
        facts = model.backend.facts()
        return {
            "version": __version__,
            "camera": self.name,
            "cameras": self.cameras,
            "started_s": self.started_s,
            "uptime_s": (now_ns - self.started_ns) / 1e9,
            **self.camera(),
            "asked": self.asked,
            "source": source
            and {
                "name": source.name,
                "kind": source.kind,
                "via": source.via,
                "size": source.size,
                "fps": source.fps,
                "note": source.note,
            },
            "remarks": (*capture.remarks(), *classify.remarks()),
            "losses": capture.losses,
            "broken_pictures": capture.broken,
            "stuck_reads": capture.stuck,
            "frame_age_s": (now_ns - newest_ns) / 1e9 if newest_ns else None,
            "frames": {
                "captured": capture.count,
                "classified": classify.count,
                "skipped": classify.skipped,
                "unanswered": classify.unanswered,
            },
            "backend": facts.backend,
            "runtime": facts.runtime,
            "runtime_version": facts.version,
            "mode": facts.mode,
            "threads": facts.threads,
            "device": facts.device,
            "jetpack": dict(facts.board) or None,
            "note": facts.note,
            "model": model.name,
            "model_sha256": model.sha256,
            "answer": self.answer(),
            "stream": {
                "viewers": self.hub.viewers,
                "max": self.hub.places.count,
                "rejected": self.hub.places.rejected,
                "evicted": dict(self.broadcast.evicted),
                "pictures": self.hub.published,
                "sent_bytes": self.broadcast.sent_bytes,
            },
            "listeners": self.bulletin.listeners,
            "settings": asdict(self.switch.settings),
            "switch": asdict(self.switch.progress),
            "log": self.log
            and {
                "name": self.log.path.name,
                "bytes": self.log.size_bytes,
                "lost_lines": self.log.lost_lines,
            },
            "mqtt": self.mqtt and self.mqtt.status(),
        }


def working(cameras: Sequence[Status]) -> Sequence[Status]:
    """Those whose source has not come to its end, if any."""
    return [camera for camera in cameras if not camera.pipeline.over] or cameras


def sickness(cameras: Sequence[Status]) -> str | None:
    """What does not work any more in the whole program, in a line."""
    return first(cameras, Status.sickness)


def unready(cameras: Sequence[Status]) -> str | None:
    """Why nobody can use it yet."""
    return first(cameras, Status.unready)


def first(cameras: Sequence[Status], ask: Callable[[Status], str | None]) -> str | None:
    """What the first has to say that has anything to, with its name where there are several."""
    told = ((camera.name, ask(camera)) for camera in working(cameras))
    name, reason = next(((name, reason) for name, reason in told if reason), ("", None))
    return f"{name}: {reason}" if reason and len(cameras) > 1 else reason
