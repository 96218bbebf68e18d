"""From a model's output vector to what is shown: the best few classes and their scores. Arithmetic only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.labels import Labels
from models.recipe import NOT_QUANTISED, Quantisation

ScoreKind = Literal["probabilities", "logits"]
Scores = npt.NDArray[Any]
"""A model's output for one picture: (classes,), integers as the model gives them, or floats."""


class Prediction(NamedTuple):
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    label: str
    score: float  # 0 to 1


@dataclass(frozen=True)
class Reading:
    """How to read a score vector; one for a run, so that the loop has nothing to decide."""

    labels: Labels
    quantisation: Quantisation = NOT_QUANTISED
    kind: ScoreKind = "probabilities"
    top_k: int = 5
    threshold: float = 0.0

    def top(self, scores: Scores) -> tuple[Prediction, ...]:
        """The best classes, best first; equal scores in order of index.

        Scores of zero and the background class are left out: a quantised soft-max has a handful of non-zero
        entries, and what would fill the rest of a top-5 is chance.
        """
        scale, zero_point = 1.0, 0
        if self.kind == "logits":
            scores = softmax(self.real(scores))
        elif self.quantised(scores):
            scale, zero_point = self.quantisation.scale, self.quantisation.zero_point
        order = best_first(scores)
        # NaN is sorted last; it is nobody's best class, and would leave the picture bare.
        if not math.isfinite(scores[order[0]]) or math.isnan(scores[order[-1]]):
            raise ModelError(
                "the model's scores are not numbers (NaN) - its file is broken, or not for this backend:"
                " try another --backend or --model"
            )
        best = order[: self.top_k + 1]  # one more than asked for: the background may be among them
        found = []
        for index, value in zip(best.tolist(), scores[best].tolist(), strict=True):
            score = scale * (value - zero_point)  # Python's integers: uint8 would wrap round
            if score > 0 and score >= self.threshold and index != self.labels.background:
                found.append(Prediction(index, self.labels.names[index], score))
        return tuple(found[: self.top_k])

    def real(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Scores as real numbers."""
        if not self.quantised(scores):
            return scores.astype(np.float64)
        return self.quantisation.scale * (scores.astype(np.float64) - self.quantisation.zero_point)

    def quantised(self, scores: Scores) -> bool:
        return scores.dtype.kind in "iu" and self.quantisation.scale != 0


def best_first(scores: Scores) -> npt.NDArray[np.intp]:
    """All indices, that of the largest score first, ties by index. For bytes this is a radix sort: 6 us."""
    falling = ~scores if scores.dtype.kind in "iu" else -scores  # minus would wrap round
    return np.argsort(falling, kind="stable")


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # infinity becomes NaN, which is refused
        powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


class Smoother:
    """Exponential moving average over score vectors: `weight` 0 is off, 0.9 is slow."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.average: npt.NDArray[np.float64] | None = None

    def __call__(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.average is None:
            self.average = scores
        else:
            self.average = self.weight * self.average + (1 - self.weight) * scores
        return self.average
