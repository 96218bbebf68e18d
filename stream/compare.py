"""Holds what logs measured against the first of them: how much slower or faster, how sure, and where from.

Nothing is averaged across configurations: each is a column of its own, and what differs is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.bootstrap import Interval, Resampled, resampled_percentile
from stream.log import LogError
from stream.published import Published, read_published
from stream.series import (
    CIRCUMSTANCES,
    KEY,
    NOTHING,
    STAGES,
    VIDEO_STAGES,
    Log,
    Series,
    parts_of,
    read_series,
)
from stream.statistics import describe

PARTS = STAGES[:-1]
"""What the age of an answer is the sum of."""
OF_ONE_COMMAND = ("source", "size", "fps", "policy", "rate", "cameras")
"""Fields that say nothing when a live run is held against stills: only one of the two can have them."""

NO_LABEL = "nothing"


@dataclass(frozen=True)
class StageRow:
    """One stage of one column. Microseconds; percentiles are None below their floors."""

    stage: str  # of STAGES or VIDEO_STAGES
    n: int
    mean_us: float
    p50_us: float
    p90_us: float | None
    p99_us: float | None
    p50_interval_us: Interval | None  # None: too few blocks
    ratio: float | None  # of the medians, to the base's; None in the base, and where the base's is zero
    ratio_interval: Interval | None

    @property
    def shows_difference(self) -> bool | None:
        """Whether the interval leaves 1 out; None without an interval."""
        if self.ratio_interval is None:
            return None
        return not self.ratio_interval.low <= 1 <= self.ratio_interval.high


@dataclass(frozen=True)
class Difference:
    """A field of the logs' run records in which a column is unlike the base."""

    field: str
    base: str
    own: str


@dataclass(frozen=True)
class Agreement:
    """On pictures that both have, by name; for each the answer given most often."""

    pictures: int
    same: int  # with the same best class
    among_five: int  # whose best class in the base is among the column's first five
    others: tuple[
        tuple[str, str, str], ...
    ]  # picture, the base's label, the column's, where they are not the same

    @property
    def share(self) -> float:
        return self.same / self.pictures


@dataclass(frozen=True)
class Part:
    """A stage's mean in the base and in the column. Means add up to the mean age, medians do not."""

    stage: str
    base_us: float | None  # None: not in its log
    own_us: float | None

    @property
    def delta_us(self) -> float:
        return (self.own_us or 0.0) - (self.base_us or 0.0)


@dataclass(frozen=True)
class Against:
    """A column held against the base."""

    differences: tuple[Difference, ...]
    agreement: Agreement | None
    no_agreement: str  # why there is none
    parts: tuple[Part, ...]  # of PARTS
    beside: tuple[
        Part, ...
    ]  # drawing and encoding, which no answer waits for; empty where neither log has them

    @property
    def base_us(self) -> float:
        """The base's mean age."""
        return sum(part.base_us or 0.0 for part in self.parts)

    @property
    def delta_us(self) -> float:
        """Of the mean ages: exactly the sum of its parts."""
        return sum(part.delta_us for part in self.parts)

    def share(self, part: Part) -> float | None:
        """Of the difference; None where there is next to none to have a share in."""
        if abs(self.delta_us) < 0.005 * self.base_us or not self.delta_us:
            return None
        return part.delta_us / self.delta_us


@dataclass(frozen=True)
class Column:
    """One series. `name` is a letter."""

    name: str
    series: Series
    rows: tuple[StageRow, ...]  # of the stages it has
    against: Against | None  # None: it is the base

    def row(self, stage: str) -> StageRow | None:
        return next((row for row in self.rows if row.stage == stage), None)


@dataclass(frozen=True)
class Reference:
    """A published result beside the columns that are of the same model, backend and mode."""

    published: Published
    model: str  # our name of it
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    columns: tuple[Column, ...]  # at least one; the first is the base
    references: tuple[Reference, ...]
    other_references: int  # published results that no column has a counterpart of
    notes: tuple[str, ...]

    @property
    def base(self) -> Column:
        return self.columns[0]

    @property
    def stages(self) -> tuple[str, ...]:
        """Those that any column has, in the order of the road."""
        return tuple(
            stage
            for stage in (*STAGES, *VIDEO_STAGES)
            if any(column.row(stage) is not None for column in self.columns)
        )


def compare(
    paths: Iterable[Path], published: Path | None = None, study_names: Mapping[str, str] | None = None
) -> Comparison:
    """Reads logs and compares them. `study_names`: by the study's name of a model, ours. Raises LogError."""
    reference = read_published(published) if published else ()
    return compare_logs(read_logs(paths), reference, study_names or {})


def read_logs(paths: Iterable[Path]) -> list[Log]:
    """A file that is an older part of another one given is read with that one only: `compare live.jsonl*`."""
    paths = list(paths)
    older = {part.resolve() for path in paths for part in parts_of(path)[:-1]}
    return [read_series(path) for path in paths if path.resolve() not in older]


def compare_logs(
    logs: Sequence[Log], published: Sequence[Published] = (), study_names: Mapping[str, str] | None = None
) -> Comparison:
    notes = tuple(note for log in logs for note in log.notes)
    series = [one for log in logs for one in log.series]
    if not series:
        raise LogError("; ".join((*notes, "log some frames first: run.py --log FILE.jsonl")))
    sampled = [resampled_medians(one, seed) for seed, one in enumerate(series)]
    base_rows = stage_rows(series[0], sampled[0], {})
    beside = {row.stage: (row, sampled[0][row.stage]) for row in base_rows}
    columns = (
        Column(column_name(0), series[0], base_rows, None),
        *(
            Column(
                column_name(place),
                series[place],
                stage_rows(series[place], sampled[place], beside),
                held_against(series[0], series[place]),
            )
            for place in range(1, len(series))
        ),
    )
    references = references_to(columns, published, study_names or {})
    return Comparison(columns, references, len(published) - len(references), notes)


def column_name(place: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    before, letter = divmod(place, 26)
    return (column_name(before - 1) if before else "") + chr(ord("A") + letter)


# Stages


def resampled_medians(series: Series, seed: int) -> dict[str, Resampled | None]:
    """By stage. Each series with a seed of its own: their chances must be independent."""
    return {
        stage: resampled_percentile(series.stage_us(stage), 50, series.segments(stage), seed=seed)
        for stage in (*STAGES, *VIDEO_STAGES)
    }


Base = tuple[StageRow, Resampled | None]


def stage_rows(
    series: Series, sampled: Mapping[str, Resampled | None], base: Mapping[str, Base]
) -> tuple[StageRow, ...]:
    """Of the stages it has; `base` is empty for the base itself."""
    return tuple(
        stage_row(series, stage, sampled[stage], base.get(stage))
        for stage in (*STAGES, *VIDEO_STAGES)
        if series.stage_us(stage).size
    )


def stage_row(series: Series, stage: str, sampled: Resampled | None, base: Base | None) -> StageRow:
    numbers = describe(series.stage_us(stage))
    median_us, mean_us = numbers["p50"] or 0.0, numbers["mean"] or 0.0
    base_us = base[0].p50_us if base else 0.0
    of_base = base[1] if base and base_us else None
    return StageRow(
        stage,
        int(series.stage_us(stage).size),
        mean_us,
        median_us,
        numbers["p90"],
        numbers["p99"],
        sampled.interval if sampled else None,
        median_us / base_us if base_us else None,
        sampled.ratio_interval(of_base) if sampled and of_base else None,
    )


# Against the base


def held_against(base: Series, own: Series) -> Against:
    agreement, reason = agreement_of(base, own)
    beside = [part_of(base, own, stage) for stage in ("draw_us", "encode_us")]
    return Against(
        tuple(differences_of(base, own)),
        agreement,
        reason,
        tuple(part_of(base, own, stage) for stage in PARTS),
        tuple(part for part in beside if (part.base_us, part.own_us) != (None, None)),
    )


def part_of(base: Series, own: Series, stage: str) -> Part:
    base_us, own_us = base.stage_us(stage), own.stage_us(stage)
    return Part(
        stage,
        float(base_us.mean()) if base_us.size else None,
        float(own_us.mean()) if own_us.size else None,
    )


def differences_of(base: Series, own: Series) -> Iterable[Difference]:
    same_command = base.key["command"] == own.key["command"]
    for field in KEY:
        if same_command or field not in OF_ONE_COMMAND or None not in (base.key[field], own.key[field]):
            yield from unlike(field, base.key[field], own.key[field])
    if base.images and own.images and set(base.images) != set(own.images):
        yield Difference("pictures", str(len(base.images)), f"{len(own.images)}, others")
    for field in CIRCUMSTANCES:
        values = [sorted(shown(field, value) for value in one.circumstances(field)) for one in (base, own)]
        if values[0] != values[1]:
            yield Difference(field, " and ".join(values[0]), " and ".join(values[1]))


def unlike(field: str, base: Any, own: Any) -> Iterable[Difference]:
    """Of two recipes, or two policies, only the fields that differ."""
    if isinstance(base, dict) and isinstance(own, dict):
        for name in {**base, **own}:
            yield from unlike(f"{field}.{name}", base.get(name), own.get(name))
    elif base != own:
        digits = 12 if field.endswith("sha256") else None
        yield Difference(field, shown(field, base)[:digits], shown(field, own)[:digits])


def shown(field: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return "x".join(shown(field, one) for one in value) if field == "size" else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


# Labels


def agreement_of(base: Series, own: Series) -> tuple[Agreement | None, str]:
    """None with the reason, where answers cannot be set beside each other."""
    if base.key["labels_sha256"] != own.key["labels_sha256"]:
        return None, "their label files differ"
    if not base.images or not own.images:
        return None, "live frames without names cannot be matched"
    theirs, ours = usual_answers(base), usual_answers(own)
    both = [image for image in theirs if image in ours]
    if not both:
        return None, "no picture is in both"
    return Agreement(
        len(both),
        sum(theirs[image][0] == ours[image][0] for image in both),
        sum(theirs[image][0] in ours[image] for image in both),
        tuple(
            (image, label_of(base, theirs[image][0]), label_of(own, ours[image][0]))
            for image in both
            if theirs[image][0] != ours[image][0]
        ),
    ), ""


def usual_answers(series: Series) -> dict[str, list[int]]:
    """For each picture, the five classes of the answer it got most often, or NOTHING.

    Classes are counted from the first label, so that models with and without a background class agree.
    """
    image, first = series.frames["image"], series.frames["top1"]
    _, places, counts = np.unique(
        image * (first.max() + 2) + first + 1, return_index=True, return_counts=True
    )
    usual: dict[int, tuple[int, int]] = {}  # by picture: how often, and where for example
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        number = int(image[place])
        if number != NOTHING and count > usual.get(number, (0, 0))[0]:
            usual[number] = count, place
    shift, top = series.first_class, series.top
    return {
        series.images[number]: [one - shift for one in top[place].tolist() if one != NOTHING] or [NOTHING]
        for number, (_, place) in usual.items()
    }


def label_of(series: Series, number: int) -> str:
    return NO_LABEL if number == NOTHING else series.labels[number + series.first_class]


# Published results


def references_to(
    columns: Sequence[Column], published: Iterable[Published], study_names: Mapping[str, str]
) -> tuple[Reference, ...]:
    """Those with a counterpart."""
    found = []
    for one in published:
        model = study_names.get(one.model)
        names = tuple(column.name for column in columns if model and is_of(column.series.key, one, model))
        if model and names:
            found.append(Reference(one, model, names))
    return tuple(found)


def is_of(key: Mapping[str, Any], published: Published, model: str) -> bool:
    same = (key["backend"], key["model"]) == (published.backend, model)
    return same and published.mode in (None, key["mode"])
