"""From what was asked for on the command line to a loaded, warmed-up model."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from backends import Backend, ModelToRun, load_backend
from models.catalogue import CATALOGUE, find_spec
from models.errors import ModelError
from models.files import find, sha256_of
from models.labels import numbered, read_labels
from models.recipe import Fit
from models.scores import Reading, ScoreKind
from stream.log import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelWish:
    """What was asked for."""

    model: str  # a name of the catalogue, or a file
    backend: str = "tflite"
    labels: Path | None = None
    runtime: str | None = None
    threads: int | None = None
    fit: Fit | None = None
    mean: float | None = None
    std: float | None = None
    scores: ScoreKind | None = None
    top_k: int = 5
    threshold: float = 0.0
    models_dir: Path | None = None


@dataclass(frozen=True)
class Model:
    """A loaded model, and what it took. Whoever loaded it closes its backend."""

    name: str
    backend: Backend
    reading: Reading
    sha256: str
    load_us: int
    first_us: int

    def record(self) -> Record:
        """The model's part of a log's run record."""
        facts = self.backend.facts()
        return {
            "backend": facts.backend,
            "runtime": facts.runtime,
            "runtime_version": facts.version,
            "threads": facts.threads,
            "device": facts.device,
            "model": self.name,
            "model_sha256": self.sha256,
            "labels_sha256": self.reading.labels.sha256,
            "scores": self.reading.kind,
            "top_k": self.reading.top_k,
            "threshold": self.reading.threshold,
            "recipe": asdict(facts.recipe),
            "load_us": self.load_us,
            "first_us": self.first_us,
        }


def load_model(wish: ModelWish) -> Model:
    """Load it and run it twice, so that neither the first frame nor the first viewer waits.

    Raises ModelError or BackendUnavailable.
    """
    if wish.model in CATALOGUE or not looks_like_a_file(wish.model):
        spec = find_spec(wish.model)
        if wish.backend not in spec.files:
            raise ModelError(
                f"{wish.model} has no file for {wish.backend} - it runs on: {', '.join(spec.files)}"
            )
        path = find(spec.name, spec.files[wish.backend], wish.models_dir)
        sha256 = spec.files[wish.backend].sha256  # which `find` has just compared
        labels_path: Path | None = wish.labels or find(spec.name, spec.labels, wish.models_dir)
        recipe, kind, name = spec.recipe, spec.scores, spec.name
    else:
        path, recipe, kind, name = Path(wish.model), None, "probabilities", Path(wish.model).name
        sha256, labels_path = "", wish.labels
    threads = wish.threads or max(
        1, len(os.sched_getaffinity(0)) // 2
    )  # the other half paints, encodes and serves
    started_ns = time.monotonic_ns()
    backend = load_backend(
        wish.backend, ModelToRun(path, recipe, wish.fit, threads, wish.runtime, wish.mean, wish.std)
    )
    load_us = (time.monotonic_ns() - started_ns) // 1000
    try:
        facts = backend.facts()
        labels = read_labels(labels_path).fitted(facts.outputs) if labels_path else numbered(facts.outputs)
        reading = Reading(labels, facts.output, wish.scores or kind, wish.top_k, wish.threshold)
        return Model(name, backend, reading, sha256 or sha256_of(path), load_us, warm_up(backend, reading))
    except ModelError:
        backend.close()
        raise


def looks_like_a_file(model: str) -> bool:
    return (
        os.sep in model
        or Path(model).suffix in (".tflite", ".h5", ".keras", ".pb", ".onnx")
        or Path(model).exists()
    )


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
