"""What every backend can do, what it needs to be told, and how it reads what a file tells."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.catalogue import Application
from models.errors import ModelError
from models.recipe import (
    NOT_QUANTISED,
    Fit,
    Image,
    Order,
    Quantisation,
    Quantiser,
    Recipe,
    fit_image,
    recolour,
)
from models.scores import Scores

log = logging.getLogger(__name__)

Tensor = npt.NDArray[Any]
"""A model's input for one picture: (1, height, width, channels) in the model's own dtype."""


class BackendUnavailable(Exception):
    """The backend's library is missing or does not work. One line: what happened, what to type now."""


class NoAnswer(BackendUnavailable):
    """Of `infer`, of one picture: it could not be asked, or did not answer in time. Weather, and no mistake:
    the next picture may have its answer. Raised by a backend whose model runs elsewhere. One line."""


@dataclass(frozen=True)
class ModelToRun:
    """A model's file and how it wants to be fed. `recipe` is None for a file the catalogue does not know:
    then the backend derives it from the file."""

    path: Path
    recipe: Recipe | None = None
    fit: Fit | None = None  # None: the recipe's
    threads: int = 1
    runtime: str | None = None  # the one to use, where a backend has several
    mode: str | None = None  # the way to run it, where a backend has several
    application: Application | None = None  # the network, where the file holds weights alone
    mean: float | None = None  # of a float input, where neither catalogue nor file knows
    std: float | None = None
    labels: Path | None = None  # for a library that will not load a file without
    address: str | None = None  # of a model on a server; then `path` is but its name


@dataclass(frozen=True)
class Loading:
    """What loading a model took, step by step. What is left to the first run is in that run's own time."""

    import_us: int  # the backend's library, the first time in a process
    load_us: int  # reading the file
    compile_us: int  # making it ready to run


class Stopwatch:
    """Laps, in microseconds: each from the end of the one before."""

    def __init__(self) -> None:
        self._since_ns = time.monotonic_ns()

    def lap_us(self) -> int:
        since_ns, self._since_ns = self._since_ns, time.monotonic_ns()
        return (self._since_ns - since_ns) // 1000


@dataclass(frozen=True)
class BackendFacts:
    """Who runs the model, and how: for the log, the state and the overlay."""

    backend: str
    runtime: str
    version: str
    threads: int
    device: str
    recipe: Recipe
    outputs: int  # classes
    output: Quantisation
    loading: Loading
    mode: str | None = None
    board: Mapping[str, str | None] = field(default_factory=dict)  # of a Jetson: L4T, power mode and so on
    note: str | None = None  # what to know before trusting the scores

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        mode = f", mode {self.mode}" if self.mode else ""
        return f"{self.backend}, {self.runtime} {self.version}{mode}, {threads}"


class Backend(Protocol):
    """One loaded model. One thread infers; another may prepare the next picture meanwhile. Whoever made it
    closes it."""

    def prepare(self, image: Image) -> Tensor:
        """A picture (height, width, 3) BGR, of any size, as the model wants it. Leaves the model alone."""

    def infer(self, tensor: Tensor) -> Scores:
        """(classes,) as the model gives them: `facts().output` says how integers stand for scores.

        Blocks until the device is done. The array is the caller's to keep. May raise NoAnswer.
        """

    def facts(self) -> BackendFacts: ...

    def close(self) -> None: ...


# What a file tells of its model. A shape is of any length, and has -1 where the file leaves it open.


def head_of(path: Path) -> bytes:
    """The first eight bytes, by which a file is known; a ModelError if there are none to read."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    if not head:
        raise ModelError(f"{path} is empty - download it again")
    return head


def image_shape(inputs: Sequence[tuple[Sequence[int], npt.DTypeLike]]) -> tuple[int, int, int]:
    """(height, width, channels) of a model that takes one picture; a ModelError for any other model."""
    if len(inputs) != 1:
        raise ModelError(f"the model has {len(inputs)} inputs; an image classifier has one")
    shape, dtype = list(inputs[0][0]), np.dtype(inputs[0][1])
    if len(shape) != 4 or shape[0] not in (1, -1) or shape[3] not in (1, 3) or min(shape[1:]) < 1:
        raise ModelError(
            f"the model's input is {shape}; an image classifier takes [1, height, width, 3 or 1]"
        )
    if dtype not in (np.uint8, np.int8, np.float32):
        raise ModelError(f"the model's input type {dtype} is not uint8, int8 or float32")
    height, width, channels = shape[1:]
    return height, width, channels


def class_count(outputs: Sequence[Sequence[int]]) -> int:
    """How many classes a model with these outputs tells apart; a ModelError for what is no classifier."""
    shape = list(outputs[0]) if outputs else []
    count = math.prod(shape)
    if len(outputs) != 1 or count != max(shape, default=0) or count < 2:
        raise ModelError(
            f"the model has {len(outputs)} outputs, the first of shape {shape};"
            " an image classifier has one, with a score for each class"
        )
    return count


def recipe_for(
    model: ModelToRun,
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike,
    quantisation: Quantisation = NOT_QUANTISED,
) -> Recipe:
    """The catalogue's recipe, if it fits the file's (height, width, channels), or else the file's own."""
    height, width, channels = shape
    recipe = model.recipe or recipe_of_file((width, height), channels, dtype, quantisation, model)
    if recipe.size != (width, height):
        raise ModelError(
            f"{model.path.name} takes pictures of {width}x{height}, the catalogue says {recipe.size}"
        )
    return recipe


def recipe_of_file(
    size: tuple[int, int], channels: int, dtype: npt.DTypeLike, quantisation: Quantisation, model: ModelToRun
) -> Recipe:
    """What the file itself tells of its input.

    Integer inputs take the 256 values of a pixel as their own 256 values, whatever the scale: feeding them
    pixels "normalised" to 0..1 gives one and the same answer to every picture. A float input tells nothing;
    -1..1 is what most TensorFlow classifiers were trained with.
    """
    order: Order = "gray" if channels == 1 else "RGB"
    if np.issubdtype(dtype, np.floating):
        if model.mean is None or model.std is None:
            log.warning("the model takes floats and does not say which: assuming -1 to 1 (see --mean, --std)")
        mean = 127.5 if model.mean is None else model.mean
        return Recipe(size, order, mean=(mean,), std=(model.std or 127.5,))
    offset = -int(np.iinfo(np.dtype(dtype)).min)  # int8: pixel 0 is -128
    scale = quantisation.scale or 1.0  # 0: not quantised, the model wants the pixels themselves
    return Recipe(size, order, mean=(float(quantisation.zero_point + offset),), std=(1 / scale,))


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def tensor_of(image: Image, recipe: Recipe, quantise: Quantiser) -> Tensor:
    """A picture as the model wants it: cut to size, in its colours, in its numbers."""
    fitted = fit_image(image, recipe.size, recipe.fit)
    return quantise(recolour(fitted, recipe.order, recipe.invert))[np.newaxis]
