"""Changes model and settings of a running pipeline: what is new is loaded aside, and the video goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from backends.base import BackendUnavailable
from backends.jetson_inference import network_file
from backends.table import MODES, RUNTIMES, installed
from models.catalogue import CATALOGUE, ModelSpec
from models.errors import ModelError
from models.files import place
from stream.classify import Work
from stream.hub import Hub
from stream.loading import Model, ModelWish, close_models, load_models
from stream.log import Record, Sink, event_record
from stream.pipeline import Pipeline

log = logging.getLogger(__name__)

LIMITS: dict[str, tuple[float, float]] = {
    "top_k": (1, 20),
    "threshold": (0.0, 1.0),
    "smoothing": (0.0, 0.99),
    "quality": (1, 100),
}
"""Lowest and highest value of what may be changed at run time."""

WHOLE = {"top_k", "quality"}

PATIENCE_S = 2.0
"""How long a change waits for another one that loads nothing."""
GAP_ENDS_S = 1.0
"""How long to wait for the picture that ends the gap of a change."""


class SettingError(Exception):
    """What was asked for is no setting. One line."""


class Busy(Exception):
    """A model is being loaded already."""


@dataclass(frozen=True)
class Settings:
    """What may be changed at run time."""

    model: str
    backend: str
    mode: str | None
    top_k: int
    threshold: float
    smoothing: float
    quality: int


@dataclass(frozen=True)
class Choice:
    """A model that is here, and a backend that can run it here."""

    model: str
    backend: str
    modes: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """Of the newest change of model."""

    state: Literal["idle", "loading", "done", "failed"] = "idle"
    model: str | None = None
    backend: str | None = None
    mode: str | None = None
    load_ms: float | None = None
    gap_ms: float | None = None  # the longest time between two pictures meanwhile, if somebody watched
    error: str | None = None


@dataclass
class Camera:
    """What is switched of one camera. The classify loop sets `model`, who answers now, and `wanted`."""

    model: Model
    wanted: Model
    pipeline: Pipeline
    hub: Hub
    sink: Sink
    describe: Callable[[Model, Settings], Record]
    """Makes the log's `run` record, with which a change begins."""
    on_change: Callable[[], object]


class Switch:
    """Owns the models that run, one for each camera, or one for all. `change` is for any thread; `close` ends
    it, when the pipelines have ended."""

    def __init__(self, models: Sequence[Model], wish: ModelWish, smoothing: float, quality: int) -> None:
        """The same model for all, or for each its own."""
        model = models[0]
        facts = model.backend.facts()
        self.models = models
        self.progress = Progress()
        self.settings = Settings(
            model.name, facts.backend, facts.mode, wish.top_k, wish.threshold, smoothing, quality
        )
        self._first, self._wish = self.settings, wish
        self._cameras: list[Camera] = []
        self._changing = threading.Lock()  # held while something is changed, however long it takes

    def next_model(self) -> Model:
        """Of the camera that is attached next."""
        return self.models[len(self._cameras)]

    def attach(self, camera: Camera) -> None:
        self._cameras.append(camera)
        camera.pipeline.classify.on_giver = partial(self._given, camera)

    def _given(self, camera: Camera, giver: Work) -> None:
        """Answers come from the fallback, or from the server again: what follows stands under that name."""
        fallback = camera.wanted.fallback
        camera.model = fallback if fallback and fallback.backend is giver.backend else camera.wanted
        camera.sink(camera.describe(camera.model, self.settings))

    def choices(self) -> list[Choice]:
        """What is really here: a file of the right size, and a library to run it. The first is what the
        program was started with."""
        first = (self._first.model, self._first.backend)
        found = [Choice(*first, MODES.get(first[1], ()))]
        for spec in CATALOGUE.values():
            for backend in spec.backends:
                if (spec.name, backend) != first and self._is_here(spec, backend):
                    found.append(Choice(spec.name, backend, MODES.get(backend, ())))
        return found

    def _is_here(self, spec: ModelSpec, backend: str) -> bool:
        if not installed(backend):
            return False
        if backend not in spec.files:  # its library knows the model by name
            return network_file(spec.name) is not None
        file = spec.files[backend]
        path = place(file, self._wish.models_dir)
        return path.is_file() and file.size in (None, path.stat().st_size)

    def change(self, asked: Mapping[str, object]) -> bool:
        """Apply some of the settings; whether a model is being loaded for it. Otherwise they hold on return,
        which takes as long as the inference that is going on.

        Raises SettingError, with nothing changed, and Busy.
        """
        self._checked(asked)
        # A change without loading is over soon, and the next one waits for it.
        if self.progress.state == "loading" or not self._changing.acquire(timeout=PATIENCE_S):
            raise Busy("another change is going on - wait until that has ended")
        loads = False
        try:
            wanted, before = self._checked(asked), self.settings  # anew: another change may have come first
            loads = (wanted.model, wanted.backend, wanted.mode) != (before.model, before.backend, before.mode)
            if loads:
                self.progress = Progress("loading", wanted.model, wanted.backend, wanted.mode)
                threading.Thread(target=self._load, args=(wanted,), name="switch", daemon=True).start()
            elif wanted != before and not self._taken(self._apply(self.models, wanted)):
                raise Busy("the program ends")
        finally:
            if not loads:
                self._changing.release()  # else the thread does
        self._tell_change()
        return loads

    def close(self) -> None:
        """Frees the models, when the pipelines have ended. One that is still being loaded frees itself."""
        close_models(self.models)

    def _checked(self, asked: Mapping[str, object]) -> Settings:
        changes: dict[str, Any] = {}
        for name, value in asked.items():
            if name in LIMITS:
                changes[name] = number(name, value)
            elif name in ("model", "backend", "mode"):
                if not (isinstance(value, str) or (name == "mode" and value is None)):
                    raise SettingError(f"{name} is a name")
                changes[name] = value
            else:
                raise SettingError(f"there is no such setting - known: {', '.join(asdict(self.settings))}")
        choices = self.choices()
        if "model" in changes and "backend" not in changes:
            backends = [choice.backend for choice in choices if choice.model == changes["model"]]
            kept = self.settings.backend
            changes["backend"] = kept if kept in backends else (backends or [kept])[0]
        wanted = replace(self.settings, **changes)
        choice = next((c for c in choices if (c.model, c.backend) == (wanted.model, wanted.backend)), None)
        if choice is None:
            here = ", ".join(f"{choice.model} on {choice.backend}" for choice in choices)
            raise SettingError(f"that model is not here for that backend - here are: {here}")
        if "mode" not in changes and wanted.backend != self.settings.backend:
            wanted = replace(wanted, mode=choice.modes[0] if choice.modes else None)
        if wanted.mode not in (choice.modes or (None,)):
            raise SettingError(f"{wanted.backend} has the modes: {', '.join(choice.modes) or 'none'}")
        return wanted

    def _apply(self, models: Sequence[Model], wanted: Settings) -> list[threading.Event]:
        """From each camera's next frame on; its event is set when the loop has let go of what was before."""
        models = [with_settings(model, wanted) for model in models]

        def hand(camera: Camera, model: Model) -> threading.Event:
            taken, record = threading.Event(), camera.describe(model, wanted)

            def begin() -> None:
                # Together: nobody is to see the figures of one model under the name of another.
                camera.model = camera.wanted = model
                self.models, self.settings = models, wanted
                camera.pipeline.render.quality = wanted.quality
                camera.sink(record)
                taken.set()

            camera.pipeline.classify.use(work_of(model, wanted.smoothing), begin)
            return taken

        return [hand(camera, model) for camera, model in zip(self._cameras, models, strict=True)]

    def _load(self, wanted: Settings) -> None:
        try:
            self._load_and_apply(wanted)
        except (ModelError, BackendUnavailable) as error:
            self._failed(str(error))
        finally:
            if self.progress.state == "loading":
                self._failed("this is a bug - see what the program has printed")
            self._changing.release()

    def _load_and_apply(self, wanted: Settings) -> None:
        started_ns, before = time.monotonic_ns(), self.models
        for camera in self._cameras:
            camera.hub.measure_gap()
        loaded = load_models(self._wish_for(wanted), len(before), each=before[0] is not before[-1])
        load_ms = (time.monotonic_ns() - started_ns) / 1e6
        if not self._taken(self._apply(loaded, wanted)):
            close_models(loaded)
            raise ModelError("the program ends")
        close_models(before)
        gap_ms = self._gap_ms()
        self.progress = replace(self.progress, state="done", load_ms=load_ms, gap_ms=gap_ms)
        gap = "" if gap_ms is None else f", longest gap in the video {gap_ms:.0f} ms"
        how = f"{wanted.backend}, mode {wanted.mode}" if wanted.mode else wanted.backend
        self._event("switch", f"{wanted.model} on {how}, loaded in {load_ms / 1000:.3g} s{gap}")

    def _taken(self, events: Sequence[threading.Event]) -> bool:
        """Wait until all have; whether any has. A loop that has ended takes nothing any more."""
        for camera, taken in zip(self._cameras, events, strict=True):
            while not taken.wait(0.05) and not camera.pipeline.classify.ended:
                pass
        return any(taken.is_set() for taken in events)

    def _gap_ms(self) -> float | None:
        """The videos' longest pause; None if nobody watched, or if the source rests for longer by itself."""
        gaps_ms = []
        for camera in self._cameras:
            source = camera.pipeline.capture.source
            slow = source is not None and source.fps is not None and 1 / source.fps > GAP_ENDS_S
            gaps_ms.append(None if slow else camera.hub.longest_gap_ms(GAP_ENDS_S))
        return max((gap_ms for gap_ms in gaps_ms if gap_ms is not None), default=None)

    def _failed(self, reason: str) -> None:
        log.warning("%s stays: %s", self.settings.model, reason)
        self.progress = replace(self.progress, state="failed", error=reason)
        self._event("switch_failed", reason)

    def _wish_for(self, wanted: Settings) -> ModelWish:
        """What was said of the first model at the start holds for that one only."""
        if wanted.model == self._first.model and wanted.backend == self._first.backend:
            return replace(self._wish, backend=wanted.backend, mode=wanted.mode)
        keeps_runtime = self._wish.runtime in RUNTIMES.get(wanted.backend, ())
        return ModelWish(
            wanted.model,
            wanted.backend,
            runtime=self._wish.runtime if keeps_runtime else None,
            mode=wanted.mode,
            threads=self._wish.threads,
            fit=self._wish.fit,
            models_dir=self._wish.models_dir,
        )

    def _event(self, event: str, detail: str) -> None:
        for camera in self._cameras:
            camera.sink(event_record(event, detail))
        self._tell_change()

    def _tell_change(self) -> None:
        for camera in self._cameras:
            camera.on_change()


def work_of(model: Model, smoothing: float) -> Work:
    fallback = work_of(model.fallback, smoothing) if model.fallback else None
    return Work(model.backend, model.reading, smoothing, fallback)


def with_settings(model: Model, wanted: Settings) -> Model:
    reading = replace(model.reading, top_k=wanted.top_k, threshold=wanted.threshold)
    fallback = with_settings(model.fallback, wanted) if model.fallback else None
    return replace(model, reading=reading, fallback=fallback)


def number(name: str, value: object) -> float:
    """A setting's value, within its limits. Raises SettingError."""
    low, high = LIMITS[name]
    whole = name in WHOLE
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        value = float("nan")
    if not low <= value <= high or (whole and value % 1):  # 72.0 is as whole as 72
        raise SettingError(f"{name} is a {'whole ' if whole else ''}number from {low:g} to {high:g}")
    return int(value) if whole else float(value)
