"""From what was asked for on the command line to a loaded, warmed-up model."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backends import Backend, BackendUnavailable, ModelToRun, load_backend
from backends.jetson_inference import NETWORKS, network_file
from backends.remote import EXAMPLE, read_address
from backends.table import SUFFIXES
from models.catalogue import CATALOGUE, ModelSpec, find_spec
from models.errors import ModelError
from models.files import find, find_hashed, sha256_of
from models.labels import numbered, read_labels
from models.recipe import Fit
from models.scores import Reading, ScoreKind
from stream.log import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelWish:
    """What was asked for."""

    model: str  # a name of the catalogue, a file, or the address of one on a server
    backend: str | None = None  # None: the first that can run the model
    labels: Path | None = None
    runtime: str | None = None
    mode: str | None = None
    threads: int | None = None
    fit: Fit | None = None
    mean: float | None = None
    std: float | None = None
    scores: ScoreKind | None = None
    top_k: int = 5
    threshold: float = 0.0
    models_dir: Path | None = None
    fallback: str | None = None  # a name of the catalogue or a file, for a model on a server


@dataclass(frozen=True)
class Model:
    """A loaded model. Whoever loaded it closes its backend."""

    name: str
    backend: Backend
    reading: Reading
    sha256: str
    size_bytes: int
    first_us: int  # the first run; what loading took is in the backend's facts
    fallback: Model | None = None  # gives answers while this one, on a server, gives none

    def record(self) -> Record:
        """The model's part of a log's run record."""
        facts = self.backend.facts()
        return {
            "backend": facts.backend,
            "runtime": facts.runtime,
            "runtime_version": facts.version,
            "mode": facts.mode,
            "threads": facts.threads,
            "device": facts.device,
            "jetpack": dict(facts.board) or None,
            "note": facts.note,
            "model": self.name,
            "model_sha256": self.sha256,
            "model_bytes": self.size_bytes,
            "labels_sha256": self.reading.labels.sha256,
            "background": self.reading.labels.background,
            "scores": self.reading.kind,
            "top_k": self.reading.top_k,
            "threshold": self.reading.threshold,
            "recipe": asdict(facts.recipe),
            **asdict(facts.loading),
            "first_us": self.first_us,
        }


@dataclass(frozen=True)
class Resolved:
    """What a wish comes to, before anything is loaded."""

    name: str
    backend: str
    model: ModelToRun
    labels: Path | None
    scores: ScoreKind
    sha256: str | None = None  # of the model's file, where looking it up took that


def resolve(wish: ModelWish) -> Resolved:
    """Look up and check the model's files. Raises ModelError."""
    wanted = partial(
        ModelToRun,
        fit=wish.fit,
        threads=wish.threads or max(1, cores() // 2),  # the other half paints, encodes and serves
        runtime=wish.runtime,
        mode=wish.mode,
        mean=wish.mean,
        std=wish.std,
    )
    if is_remote(wish.model, wish.backend):
        return resolve_remote(wish, wanted)
    if not is_known(wish.model):
        path = Path(wish.model)
        backend = wish.backend or backend_of_file(path)
        model = wanted(path, labels=wish.labels)
        return Resolved(path.name, backend, model, wish.labels, wish.scores or "probabilities")
    spec = find_spec(wish.model)
    backend = backend_of(spec, wish.backend)
    labels = wish.labels or find(spec.name, spec.labels, wish.models_dir)
    if backend not in spec.files:  # its library knows the model by name, and where its file is
        model = wanted(Path(spec.name), spec.recipe, labels=labels)
        return Resolved(spec.name, backend, model, labels, wish.scores or spec.scores)
    path, sha256 = find_hashed(spec.name, spec.files[backend], wish.models_dir)
    model = wanted(path, spec.recipe, labels=labels, application=spec.application)
    return Resolved(spec.name, backend, model, labels, wish.scores or spec.scores, sha256)


def resolve_remote(wish: ModelWish, wanted: Callable[..., ModelToRun]) -> Resolved:
    """A model on a server. What is the catalogue's by its name has the catalogue's recipe and labels."""
    if "://" not in wish.model:
        raise ModelError(f"remote runs a model on a server - write --model {EXAMPLE}")
    address = read_address(wish.model)
    if wish.backend not in (None, "remote"):
        raise ModelError(f"a model on a server is run by remote, not by {wish.backend}")
    spec = find_spec(address.recipe) if address.recipe != address.name else CATALOGUE.get(address.name)
    labels = wish.labels or (find(spec.name, spec.labels, wish.models_dir) if spec else None)
    scores: ScoreKind = wish.scores or (spec.scores if spec else "probabilities")
    recipe = spec.recipe if spec else None
    model = wanted(Path(address.name), recipe, threads=1, labels=labels, address=wish.model)
    return Resolved(address.name, "remote", model, labels, scores)


def load_model(wish: ModelWish) -> Model:
    """Load it, and its fallback, and run them twice: neither the first frame nor the first viewer is to wait.

    Raises ModelError or BackendUnavailable.
    """
    model = load_alone(wish)
    if wish.fallback is None:
        return model
    other = ModelWish(
        wish.fallback,
        threads=wish.threads,
        fit=wish.fit,
        top_k=wish.top_k,
        threshold=wish.threshold,
        models_dir=wish.models_dir,
    )
    try:
        return replace(model, fallback=load_alone(other))
    except (ModelError, BackendUnavailable):
        model.backend.close()
        raise


def load_alone(wish: ModelWish) -> Model:
    found = resolve(wish)
    backend = load_backend(found.backend, found.model)
    try:
        facts = backend.facts()
        labels = read_labels(found.labels).fitted(facts.outputs) if found.labels else numbered(facts.outputs)
        reading = Reading(labels, facts.output, found.scores, wish.top_k, wish.threshold)
        file = None if found.model.address else found.model.path
        if file and found.name in NETWORKS:
            file = network_file(found.name)
        sha256 = found.sha256 or (sha256_of(file) if file else "unknown")
        size = size_on_disk(file) if file else 0
        return Model(found.name, backend, reading, sha256, size, warm_up(backend, reading))
    except (ModelError, BackendUnavailable):
        backend.close()
        raise


def is_remote(model: str, backend: str | None) -> bool:
    """It is on a server, which serves several at the same time."""
    return backend == "remote" or "://" in model


def load_models(wish: ModelWish, cameras: int, each: bool) -> list[Model]:
    """One for each camera: the same for all, which is then used in turns, or `each` has its own.

    Raises ModelError or BackendUnavailable.
    """
    loaded = [load_model(wish)]
    try:
        while each and len(loaded) < cameras:
            loaded.append(load_model(wish))
    except (ModelError, BackendUnavailable):
        close_models(loaded)
        raise
    return loaded if each else loaded * cameras


def close_models(models: Sequence[Model]) -> None:
    """Once each, where several are the same."""
    for model in {id(model.backend): model for model in models}.values():
        model.backend.close()
        if model.fallback:
            model.fallback.backend.close()


def is_known(model: str) -> bool:
    """Whether this is a name of the catalogue, or a misspelt one, rather than a file."""
    path = Path(model)
    return model in CATALOGUE or not (os.sep in model or path.suffix in SUFFIXES or path.exists())


def backend_of(spec: ModelSpec, backend: str | None) -> str:
    """Who runs the model. Another backend than the one asked for is never taken."""
    if backend is None:
        return spec.backends[0]
    if backend in spec.backends:
        return backend
    raise ModelError(f"{spec.name} has no file for {backend} - it runs on: {', '.join(spec.backends)}")


def backend_of_file(path: Path) -> str:
    """By its name, as its content is the backend's to judge."""
    if path.is_dir():
        return "tensorflow"
    if not path.exists():
        raise ModelError(f"cannot read the model {path}: No such file or directory")
    if path.suffix not in SUFFIXES:
        raise ModelError(
            f"{path} is of no kind that is known ({', '.join(SUFFIXES)}, a SavedModel folder)"
            " - say who runs it with --backend"
        )
    return SUFFIXES[path.suffix]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def size_on_disk(path: Path) -> int:
    """In bytes, of a file or of all in a folder."""
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def warm_up(backend: Backend, reading: Reading) -> int:
    """Two runs on noise; how long the first took, in microseconds."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    tensor = backend.prepare(noise)
    started_ns = time.monotonic_ns()
    scores = backend.infer(tensor)
    first_us = (time.monotonic_ns() - started_ns) // 1000
    real = reading.real(backend.infer(tensor))
    if reading.kind == "probabilities" and (real.min() < -0.01 or real.sum() > 1.5):
        log.warning("the model's scores are no probabilities - if they are logits, add --scores logits")
    reading.top(scores)
    return first_us
