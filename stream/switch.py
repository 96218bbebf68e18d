"""Changes model and settings of a running pipeline: what is new is loaded aside, and the video goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from backends.base import BackendUnavailable
from backends.jetson_inference import network_file
from backends.table import MODES, RUNTIMES, installed
from models.catalogue import CATALOGUE, ModelSpec
from models.errors import ModelError
from models.files import place
from stream.classify import Work
from stream.hub import Hub
from stream.loading import Model, ModelWish, load_model
from stream.log import Record, Sink
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


class Switch:
    """Owns the model that runs. `change` is for any thread; `close` ends it, when the pipeline has ended."""

    def __init__(self, model: Model, wish: ModelWish, smoothing: float, quality: int) -> None:
        facts = model.backend.facts()
        self.model = model
        self.progress = Progress()
        self.settings = Settings(
            model.name, facts.backend, facts.mode, wish.top_k, wish.threshold, smoothing, quality
        )
        self._first, self._wish = self.settings, wish
        self._changing = threading.Lock()  # held while something is changed, however long it takes
        self._on_change: Callable[[], object] = lambda: None

    def attach(
        self,
        pipeline: Pipeline,
        hub: Hub,
        sink: Sink,
        describe: Callable[[Model, Settings], Record],
        on_change: Callable[[], object],
    ) -> None:
        """What is switched. `describe` makes the log's `run` record, with which a change begins."""
        self._pipeline, self._hub, self._sink = pipeline, hub, sink
        self._describe, self._on_change = describe, on_change

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
            elif wanted != before and not self._taken(self._apply(self.model, wanted)):
                raise Busy("the program ends")
        finally:
            if not loads:
                self._changing.release()  # else the thread does
        self._on_change()
        return loads

    def close(self) -> None:
        """Frees the model, when the pipeline has ended. One that is still being loaded frees itself."""
        self.model.backend.close()

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

    def _apply(self, model: Model, wanted: Settings) -> threading.Event:
        """From the next frame on; the event is set when the loop has let go of what was before."""
        reading = replace(model.reading, top_k=wanted.top_k, threshold=wanted.threshold)
        model, taken = replace(model, reading=reading), threading.Event()
        record = self._describe(model, wanted)

        def begin() -> None:
            # Together: nobody is to see the figures of one model under the name of another.
            self.model, self.settings = model, wanted
            self._pipeline.render.quality = wanted.quality
            self._sink(record)
            taken.set()

        self._pipeline.classify.use(Work(model.backend, reading, wanted.smoothing), begin)
        return taken

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
        started_ns, before = time.monotonic_ns(), self.model
        self._hub.measure_gap()
        loaded = load_model(self._wish_for(wanted))
        load_ms = (time.monotonic_ns() - started_ns) / 1e6
        if not self._taken(self._apply(loaded, wanted)):
            loaded.backend.close()
            raise ModelError("the program ends")
        before.backend.close()
        gap_ms = self._gap_ms()
        self.progress = replace(self.progress, state="done", load_ms=load_ms, gap_ms=gap_ms)
        gap = "" if gap_ms is None else f", longest gap in the video {gap_ms:.0f} ms"
        how = f"{wanted.backend}, mode {wanted.mode}" if wanted.mode else wanted.backend
        self._event("switch", f"{wanted.model} on {how}, loaded in {load_ms / 1000:.3g} s{gap}")

    def _taken(self, taken: threading.Event) -> bool:
        """Wait for it. Not if the classify loop has ended: then nobody takes anything any more."""
        while not taken.wait(0.05):
            if self._pipeline.classify.ended:
                return taken.is_set()
        return True

    def _gap_ms(self) -> float | None:
        """The video's longest pause; None if nobody watched, or if the source rests for longer by itself."""
        source = self._pipeline.capture.source
        slow = source is not None and source.fps is not None and 1 / source.fps > GAP_ENDS_S
        return None if slow else self._hub.longest_gap_ms(GAP_ENDS_S)

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
        stamps = {"t_ns": time.monotonic_ns(), "t_utc": time.time()}
        self._sink({"rec": "event", "event": event, "detail": detail, **stamps})
        self._on_change()


def number(name: str, value: object) -> float:
    """A setting's value, within its limits. Raises SettingError."""
    low, high = LIMITS[name]
    whole = name in WHOLE
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        value = float("nan")
    if not low <= value <= high or (whole and value % 1):  # 72.0 is as whole as 72
        raise SettingError(f"{name} is a {'whole ' if whole else ''}number from {low:g} to {high:g}")
    return int(value) if whole else float(value)
