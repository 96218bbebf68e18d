"""One camera, its model, and all who watch: the parts made, started and ended together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from stream.broadcast import Broadcast
from stream.bulletin import Bulletin
from stream.hub import Hub, Places
from stream.loading import Model
from stream.log import JsonLog, Record, Sink
from stream.mqtt import Publisher
from stream.pipeline import Pipeline, Policy, Turns
from stream.sources import Source
from stream.state import Status
from stream.switch import Camera, Settings, Switch, work_of
from stream.vitals import Vitals

Describe = Callable[[Model, Policy, Source | None], Record]
"""Makes the log's `run` record, with which it begins, and goes on when a setting was changed."""


class Station:
    """`start`, then `pipeline.join`; `stop` from any thread. Whoever made the switch closes it afterwards."""

    def __init__(
        self,
        source: Source | None,
        open_again: Callable[[str], Source],
        switch: Switch,
        policy: Policy,
        describe: Describe,
        *,
        name: str = "1",
        cameras: tuple[str, ...] = (),
        turns: Turns | None = None,
        places: Places | None = None,
        encode_always: bool = False,
        log: JsonLog | None = None,
        mqtt: Publisher | None = None,
        asked: str = "",
        sinks: tuple[Sink, ...] = (),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`turns` and `places` are those of all cameras; `cameras` are the names of all."""
        model = switch.next_model()
        vitals = Vitals(model.record())
        sink = partial(tell, (vitals, *([log] if log else []), *([mqtt] if mqtt else []), *sinks))
        hub, broadcast, bulletin = Hub(encode_always, places), Broadcast(), Bulletin()
        hub.on_publish = bulletin.on_publish = broadcast.nudge
        work = work_of(model, policy.smoothing)
        pipeline = Pipeline(source, open_again, work, policy, hub, sink, beat, turns=turns)

        def describe_now(model: Model, settings: Settings) -> Record:
            now = replace(policy, smoothing=settings.smoothing, quality=settings.quality)
            return describe(model, now, pipeline.capture.source)

        camera = Camera(model, model, pipeline, hub, sink, describe_now, bulletin.hurry)
        switch.attach(camera)
        self.pipeline = pipeline
        self.status = Status(
            pipeline,
            hub,
            broadcast,
            bulletin,
            switch,
            camera,
            vitals,
            log,
            mqtt,
            asked,
            name,
            cameras or (name,),
        )

    def start(self) -> None:
        self.pipeline.start()
        self.status.broadcast.start()
        self.status.bulletin.start(self.status.state, self.status.answer, self.status.vitals.history)
        if self.status.mqtt:
            self.status.mqtt.start(self.status.camera)

    def stop(self, until_s: float) -> None:
        """End the loops and the streams; what is still being sent at this monotonic time is cut."""
        if self.status.mqtt:
            self.status.mqtt.stop()
        self.pipeline.stop()
        self.status.bulletin.close()
        self.status.broadcast.close(until_s)


def tell(sinks: tuple[Sink, ...], record: Record) -> None:
    for sink in sinks:
        sink(record)
