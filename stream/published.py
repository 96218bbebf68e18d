"""Reads the published results of 2020: what another machine, a Jetson, took for each model."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stream.log import LogError

MACHINE = "2020, another machine (Jetson)"

FRAMEWORKS: dict[str, tuple[str, str | None]] = {
    "tflite": ("tflite", None),
    "tensorflow-1.15": ("tensorflow", "graph"),
    "tensorflow-2.1": ("tensorflow", "eager"),
    "jetson-inference": ("tensorrt", None),
}
"""What the study calls it; our backend, and its mode where the backend has several."""

COLUMNS = ("framework", "model", "run", "latency_ms")


class PublishedAnswer(NamedTuple):
    label: str
    score: float


@dataclass(frozen=True)
class Published:
    """One model of the study. The first run of each picture is kept apart from the later, warm ones."""

    framework: str
    model: str  # as the study calls it
    first_us: tuple[float, ...]
    warm_us: tuple[float, ...]  # empty with jetson-inference, of which one run is published
    answers: Mapping[str, PublishedAnswer]  # the best, by picture

    @property
    def backend(self) -> str:
        return FRAMEWORKS[self.framework][0]

    @property
    def mode(self) -> str | None:
        return FRAMEWORKS[self.framework][1]

    @property
    def is_measured(self) -> bool:
        return bool(self.first_us or self.warm_us)


def read_published(path: Path) -> tuple[Published, ...]:
    """In the order of the file. Raises LogError."""
    first: dict[tuple[str, str], list[float]] = {}
    warm: dict[tuple[str, str], list[float]] = {}
    answers: dict[tuple[str, str], dict[str, PublishedAnswer]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            for row in rows:
                name = _model_of(row)
                first_us, warm_us = first.setdefault(name, []), warm.setdefault(name, [])
                if row["latency_ms"]:
                    (first_us if int(row["run"]) == 1 else warm_us).append(float(row["latency_ms"]) * 1000)
                if row["rank"] == "1":
                    answers.setdefault(name, {})[row["image"]] = PublishedAnswer(
                        row["label"], float(row["score"])
                    )
    except OSError as error:
        raise LogError(
            f"cannot read {path}: {error.strerror}; name the study's published_results.csv"
        ) from None
    except UnicodeDecodeError:
        raise _not_the_study(path, "it is not text") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise _not_the_study(path, f"line {rows.line_num}: {error}") from None
    if not first:
        raise _not_the_study(path, "it has no rows")
    return tuple(
        Published(*name, tuple(first[name]), tuple(warm[name]), answers.get(name, {})) for name in first
    )


def _model_of(row: dict[str, str]) -> tuple[str, str]:
    if any(row.get(column) is None for column in COLUMNS):
        raise ValueError(f"not all of the columns {', '.join(COLUMNS)} are there")
    if row["framework"] not in FRAMEWORKS:
        raise ValueError(f"no framework is called {row['framework']!r} - known: {', '.join(FRAMEWORKS)}")
    return row["framework"], row["model"]


def _not_the_study(path: Path, why: str) -> LogError:
    return LogError(f"{path} is no table of published results, {why}; name the study's published_results.csv")
