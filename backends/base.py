"""What every backend can do, and what it needs to be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from models.recipe import Fit, Image, Quantisation, Recipe
from models.scores import Scores

Tensor = npt.NDArray[Any]
"""A model's input for one picture: (1, height, width, channels) in the model's own dtype."""


class BackendUnavailable(Exception):
    """The backend's library is missing or does not work. One line: what happened, what to type now."""


@dataclass(frozen=True)
class ModelToRun:
    """A model's file and how it wants to be fed. `recipe` is None for a file the catalogue does not know:
    then the backend derives it from the file."""

    path: Path
    recipe: Recipe | None = None
    fit: Fit | None = None  # None: the recipe's
    threads: int = 1
    runtime: str | None = None  # the one to use, where a backend has several
    mean: float | None = None  # of a float input, where neither catalogue nor file knows
    std: float | None = None


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

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.backend}, {self.runtime} {self.version}, {threads}"


class Backend(Protocol):
    """One loaded model. One thread infers; another may prepare the next picture meanwhile. Whoever made it
    closes it."""

    def prepare(self, image: Image) -> Tensor:
        """A picture (height, width, 3) BGR, of any size, as the model wants it. Leaves the model alone."""

    def infer(self, tensor: Tensor) -> Scores:
        """(classes,) as the model gives them: `facts().output` says how integers stand for scores.

        Blocks until the device is done. The array is the caller's to keep.
        """

    def facts(self) -> BackendFacts: ...

    def close(self) -> None: ...
