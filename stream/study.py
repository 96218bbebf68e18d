"""The tables of the study of 2020, made again from our own logs, and what answers its ten questions.

The words are in templates/study.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import gmtime, strftime
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stream.bench_report import Classes, Top, hit_shares, last_tops
from stream.bootstrap import block_bootstrap_interval, block_bootstrap_ratio_interval
from stream.compare import read_logs
from stream.log import LogError, Record
from stream.published import Published, read_published
from stream.series import Series
from stream.tables import markdown_table, milliseconds

TEMPLATES = Path(__file__).parent / "templates"

PICTURES = {
    "parrot": "parrot.jpg",
    "terrier": "wheaten_terrier.jpg",
    "pizza": "pizza.jpg",
    "chipmunk": "marmot.jpg",
}
"""The study's name of a picture, and ours. Its chipmunk is a marmot."""

NONE = "–"
INFER = "infer_us"


class Name(NamedTuple):
    """A combination. As text it is what a log's tables call it."""

    model: str
    backend: str
    mode: str | None = None

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


LITE = Name("efficientnet_lite0", "tflite")
GRAPH, FUNCTION, EAGER = (
    Name("efficientnet_lite0", "tensorflow", mode) for mode in ("graph", "function", "eager")
)
TRASH = "mobilenet_v2_1.0_224_quant.tflite"


@dataclass(frozen=True)
class Measured:
    """What the logs hold of one combination."""

    stills: Series | None = None  # of the four pictures
    photos: Series | None = None  # of pictures whose class is known
    live: Series | None = None
    tops: Mapping[str, Top] | None = None  # of the four pictures, by their names

    @property
    def infer_us(self) -> float | None:
        return None if self.stills is None else float(median(self.stills.stage_us(INFER).tolist()))

    @property
    def run(self) -> Record:
        """The record of one of its runs."""
        series = self.stills or self.photos or self.live
        return series.runs[0].record if series is not None else {}


@dataclass(frozen=True)
class Study:
    """All there is to answer from."""

    measured: Mapping[Name, Measured]
    published: Sequence[Published]
    names: Mapping[str, str]  # by the study's name of a model, ours
    classes: Classes

    def name_of(self, one: Published) -> Name:
        return Name(self.names.get(one.model, one.model), one.backend, one.mode)

    def of(self, name: Name) -> Measured:
        return self.measured.get(name, Measured())

    def others(self) -> list[Name]:
        """What was measured here and not in 2020."""
        theirs = {self.name_of(one) for one in self.published}
        return [name for name in self.measured if name not in theirs]

    def jetson(self) -> list[Published]:
        return [one for one in self.published if one.framework == "jetson-inference"]

    def top_1(self, name: Name) -> float | None:
        photos = self.of(name).photos
        return None if photos is None else hit_shares(photos, self.classes)[0]


def read_study(logs: Iterable[Path], published: Path, classes: Classes, names: Mapping[str, str]) -> Study:
    """Raises LogError, also where one thing was measured twice: it would be chance which of them is shown."""
    measured: dict[Name, Measured] = {}
    for log in read_logs(logs):
        tops = {} if all(series.is_live for series in log.series) else last_tops(log.path)
        for series in log.series:
            name = Name(series.key["model"], series.key["backend"], series.key["mode"])
            before = measured.get(name, Measured())
            if series.is_live:
                taken, now = before.live, replace(before, live=series)
            elif classes.keys() & set(series.images):
                taken, now = before.photos, replace(before, photos=series)
            else:
                taken, now = before.stills, replace(before, stills=series, tops=tops[str(name)])
            if taken is not None:
                raise LogError(f"{log.path} has {name} again, which {taken.path} has - give one of them")
            measured[name] = now
    if all(one.stills is None for one in measured.values()):
        raise LogError("no log is of the four pictures - log them first: run.py bench PICTURE ... --log FILE")
    return Study(measured, read_published(published), names, classes)


def as_markdown(study: Study) -> str:
    """docs/results.md."""
    pages = Environment(  # escapes nothing: this is Markdown, not HTML
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return pages.get_template("study.md").render(
        **figures(study),
        ms=milliseconds,
        speeds=markdown_table([*speed_rows(study)]),
        answers=markdown_table([*answer_rows(study)]),
    )


def figures(study: Study) -> Record:
    """What the words of templates/study.md are filled with. None is what was not measured."""
    one = next(measured for measured in study.measured.values() if measured.stills is not None)
    timed = sorted((time, name) for name, found in study.measured.items() if (time := found.infer_us))
    rated = [
        (share, time, name.model)
        for name, found in study.measured.items()
        if name.backend == "tflite" and (share := study.top_1(name)) and (time := found.infer_us)
    ]
    trash = next((theirs for theirs in study.published if theirs.model == TRASH), None)
    return {
        "run": one.run,
        "day": strftime("%d %B %Y", gmtime(one.run["t_utc"])).lstrip("0"),
        "fastest": timed[0],
        "slowest": timed[-1],
        "best": max(rated, default=None, key=lambda row: (row[0], -row[1])),
        "quickest": min(rated, default=None, key=lambda row: row[1]),
        "seen": [short(top[0]) for top in (study.of(GRAPH).tops or {}).values() if top],
        "sizes": sorted(
            {(name.model, name.backend, found.run["model_bytes"]) for name, found in study.measured.items()}
        ),
        "lite": study.of(LITE).infer_us,
        "graph": study.of(GRAPH).infer_us,
        "function": study.of(FUNCTION).infer_us,
        "eager": study.of(EAGER).infer_us,
        "lite_top_1": study.top_1(LITE),
        "graph_top_1": study.top_1(GRAPH),
        "eager_ratio": published_ratio(study.published),
        "jetson": [(one.model, median(one.first_us)) for one in study.jetson() if one.first_us],
        "trash": trash.answers["parrot"].score if trash and "parrot" in trash.answers else None,
        "no_trash": parrot(study, study.name_of(trash)) if trash else None,
        "lite_parrot": parrot(study, LITE),
    }


def published_ratio(published: Iterable[Published]) -> float | None:
    """How many times longer TensorFlow 2.1 took than 1.15 in 2020: the median over the models of both."""
    warm = {(one.framework, one.model): median(one.warm_us) for one in published if one.warm_us}
    ratios = [
        time / warm["tensorflow-1.15", model]
        for (framework, model), time in warm.items()
        if framework == "tensorflow-2.1" and ("tensorflow-1.15", model) in warm
    ]
    return median(ratios) if ratios else None


def parrot(study: Study, name: Name) -> str | None:
    top = (study.of(name).tops or {}).get(PICTURES["parrot"])
    return short(top[0]) if top else None


# The tables


def speed_rows(study: Study) -> Iterator[list[str]]:
    yield ["2020", "model", "2020 first", "2020 warm", "here", "first", "still", "live", "live / still"]
    for one in study.published:
        first, warm = (milliseconds(median(us) if us else None) for us in (one.first_us, one.warm_us))
        yield [one.framework, one.model, first, warm, *speed_cells(study, study.name_of(one))]
    for name in study.others():
        yield [NONE] * 4 + speed_cells(study, name)


def speed_cells(study: Study, name: Name) -> list[str]:
    if name not in study.measured:
        return [NONE] * 5
    still, live = study.of(name).stills, study.of(name).live
    first = milliseconds(median(still.starts_us("first_us")) if still else None)
    return [str(name), first, shown_median(still), shown_median(live), shown_ratio(live, still)]


def shown_median(series: Series | None) -> str:
    if series is None:
        return NONE
    times = series.stage_us(INFER)
    interval = block_bootstrap_interval(times, 50, series.segments(INFER))
    ends = interval and f" ({milliseconds(interval.low)}–{milliseconds(interval.high)})"
    return milliseconds(median(times.tolist())) + (ends or "")


def shown_ratio(live: Series | None, still: Series | None) -> str:
    if live is None or still is None:
        return NONE
    ours, base = live.stage_us(INFER), still.stage_us(INFER)
    interval = block_bootstrap_ratio_interval(ours, base, 50, live.segments(INFER), still.segments(INFER))
    ends = interval and f" ({interval.low:.2f}–{interval.high:.2f})"
    return f"{median(ours.tolist()) / median(base.tolist()):.2f}" + (ends or "")


def answer_rows(study: Study) -> Iterator[list[str]]:
    yield ["where", "model", *PICTURES, "top-1"]
    for one in study.published:
        theirs = (one.answers.get(picture) for picture in PICTURES)
        cells = [short((0, answer.label, answer.score)) if answer else NONE for answer in theirs]
        yield [f"2020, {one.framework}", one.model, *cells, NONE]
        if study.name_of(one) in study.measured:
            yield our_answers(study, study.name_of(one))
    for name in study.others():
        yield our_answers(study, name)


def our_answers(study: Study, name: Name) -> list[str]:
    tops, share = study.of(name).tops or {}, study.top_1(name)
    cells = [short(tops[picture][0]) if tops.get(picture) else NONE for picture in PICTURES.values()]
    return ["here", str(name), *cells, NONE if share is None else f"{share:.2f}"]


def short(answer: tuple[int, str, float]) -> str:
    _, label, score = answer
    return f"{label.partition(',')[0]} {score:.3f}"
