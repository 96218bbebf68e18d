"""What a benchmark's log says: a row for each combination, for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import ModelError
from stream.bootstrap import BLOCK, FEWEST_BLOCKS, FEWEST_SEGMENTS, Interval, block_bootstrap_interval
from stream.log import Record, read_log
from stream.series import STARTS, Log, Series
from stream.statistics import describe
from stream.tables import markdown_table, megabytes, milliseconds, number, text_table

SHOWN_PICTURES = 8
"""With more of them, what each was taken for is left to the log."""

KEEPS_UP = 0.95
"""Of the rate asked for: the last answer comes a little after the last start."""

Classes = Mapping[str, int]
"""The class each picture shows, by the picture's name; counted without a background class."""

Top = Sequence[tuple[int, str, float]]
"""Index, label, score; best first."""

Tops = Mapping[str, Mapping[str, Top]]
"""By combination, then by picture, what it was taken for."""


@dataclass(frozen=True)
class Row:
    """One combination. Durations are microseconds; `starts` are medians over the processes."""

    series: Series
    starts: Mapping[str, float | None]
    prepare: float
    times: Mapping[str, float | None]  # of `describe`
    interval: Interval | None  # of the median
    top_1: float | None  # shares of the pictures whose class is known
    top_5: float | None
    labelled: int

    @property
    def name(self) -> str:
        return combination_name(self.series.key)


def read_classes(path: Path) -> Classes:
    """From a comma-separated table with the columns `file` and `class_index`. Raises ModelError."""
    advice = "give a table with the columns file,class_index"
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            classes = {row["file"]: int(row["class_index"]) for row in csv.DictReader(lines)}
        if min(classes.values(), default=-1) < 0:
            raise ValueError("no class, or a negative one")
        return classes
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror} - {advice}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ModelError(f"{path} does not say what the pictures show ({error}) - {advice}") from error


def rows_of(log: Log, classes: Classes) -> list[Row]:
    return [row_of(series, classes) for series in log.series]


def row_of(series: Series, classes: Classes) -> Row:
    stage = timed_stage(series)
    starts = {name: series.starts_us(name) for name in STARTS}
    top_1, top_5 = hit_shares(series, classes)
    return Row(
        series,
        {name: float(np.median(values)) if values else None for name, values in starts.items()},
        float(np.median(series.stage_us("pre_us"))),
        describe(series.stage_us(stage)),
        block_bootstrap_interval(series.stage_us(stage), 50, series.segments(stage)),
        top_1,
        top_5,
        sum(image in classes for image in series.images),
    )


def timed_stage(series: Series) -> str:
    """At a rate what counts is the time from the start that was meant; else what the model alone takes."""
    return "infer_us" if series.key["rate"] is None else "age_us"


def hit_shares(series: Series, classes: Classes) -> tuple[float | None, float | None]:
    """Of the pictures whose class is known, how many had it first, and among the first five."""
    known = np.array([classes.get(image, -1) for image in series.images])
    truth = known[series.frames["image"]]
    counted = truth >= 0
    if not counted.any():
        return None, None
    hits = series.top[counted] - series.first_class == truth[counted, np.newaxis]
    return float(hits[:, 0].mean()), float(hits.any(axis=1).mean())


def combination_name(key: Mapping[str, object]) -> str:
    return " ".join(str(key[field]) for field in ("model", "backend", "mode") if key[field] is not None)


def last_tops(path: Path) -> Tops:
    """What each combination took each picture for in the end."""
    tops: dict[str, dict[str, Top]] = {}
    for record in read_log(path):
        if record["rec"] == "run":
            now = tops.setdefault(combination_name(record), {})
        elif record["rec"] == "frame":
            now[record["image"]] = record["top"]
    return tops


def top_text(top: Top) -> str:
    return ", ".join(f"{label.partition(',')[0]} {score:.3f}" for _, label, score in top) or "nothing"


# For people


def text(log: Log, rows: Sequence[Row], tops: Tops) -> str:
    first = log.series[0]
    run = first.runs[0].record
    count = len(first.images)
    said = [
        f"{run['cpu'] or run['machine']}, {len(run['affinity'])} cores, Python {run['python']};"
        f" {count} picture{'s' if count > 1 else ''}; times in milliseconds, 95 % intervals",
        "",
        text_table(start_table(rows)),
        "",
        text_table(warm_table(rows)),
    ]
    if len(first.images) <= SHOWN_PICTURES:
        said += ["", text_table(picture_table(tops))]
    return "\n".join([*said, *notes(rows), *log.notes])


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """What the tables do not show, and a reader should know."""
    if any(row.interval is None for row in rows):
        yield (
            f"an interval takes {FEWEST_BLOCKS} blocks of {BLOCK} neighbouring runs in all, or more,"
            f" of one process or of {FEWEST_SEGMENTS}"
        )
    for row in rows:
        unsettled = sum(not run.record.get("settled", True) for run in row.series.runs)
        if unsettled:
            yield f"{row.name}: {unsettled} of {len(row.series.runs)} processes had not settled when measured"
        if row.labelled and row.labelled < len(row.series.images):
            yield f"{row.name}: of {len(row.series.images)} pictures the class of {row.labelled} is known"
        reached, asked = reached_rate(row.series), row.series.key["rate"]
        if reached is not None and reached < KEEPS_UP * asked:
            yield f"{row.name}: does not keep up with {asked:g} a second, it reaches {reached:.0f}"


def reached_rate(series: Series) -> float | None:
    """Answers a second, from the first start that was meant to the last answer; None without a rate."""
    if series.key["rate"] is None:
        return None
    spans: list[float] = []
    for segment in np.unique(series.frames["segment"]):
        own = series.frames["segment"] == segment
        arrived_ns = series.frames["arrived_ns"][own]
        done_ns = arrived_ns + 1000 * series.stage_us("age_us")[own]
        spans.append(float(done_ns.max() - arrived_ns.min()) / 1e9)
    return series.n / sum(spans)


def markdown(rows: Sequence[Row]) -> str:
    return f"{markdown_table(start_table(rows))}\n\n{markdown_table(warm_table(rows))}\n"


def start_table(rows: Sequence[Row]) -> list[list[str]]:
    """What one start takes, apart from the warm runs."""
    heading = ["start: median", "import", "load", "compile", "first run", "MB", "processes", "runtime"]
    return [heading] + [
        [
            row.name,
            *(milliseconds(row.starts[name]) for name in STARTS),
            megabytes(row.series.peak_bytes),
            str(len(row.series.runs)),
            f"{row.series.key['runtime']} {row.series.key['runtime_version']}",
        ]
        for row in rows
    ]


def warm_table(rows: Sequence[Row]) -> list[list[str]]:
    rated = any(timed_stage(row.series) == "age_us" for row in rows)
    labelled = any(row.labelled for row in rows)
    what = "warm runs: age" if rated else "warm runs: infer"
    heading = [what, "p50", "interval", "p90", "p95", "p99", "min", "max", "sd", "n", "prepare"]
    table = [[*heading, "top-1", "top-5"] if labelled else heading]
    for row in rows:
        low_high = row.interval and f"{milliseconds(row.interval.low)}–{milliseconds(row.interval.high)}"
        cells = [
            row.name,
            milliseconds(row.times["p50"]),
            low_high or "–",
            *(milliseconds(row.times[name]) for name in ("p90", "p95", "p99", "min", "max", "sd")),
            f"{row.series.n:,}",
            milliseconds(row.prepare),
        ]
        table.append([*cells, number(row.top_1, 3), number(row.top_5, 3)] if labelled else cells)
    return table


def picture_table(tops: Tops) -> list[list[str]]:
    table = [["picture", "combination", "taken for"]]
    for picture in dict.fromkeys(picture for seen in tops.values() for picture in seen):
        table += [[picture, name, top_text(seen[picture])] for name, seen in tops.items() if picture in seen]
    return table


# For programs


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each combination; the unit is in the column's name."""
    lines = io.StringIO()
    records = [csv_record(row) for row in rows]
    writer = csv.DictWriter(lines, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return lines.getvalue()


def csv_record(row: Row) -> Record:
    key, timed = row.series.key, timed_stage(row.series)
    low, high = row.interval or (None, None)
    return {
        **{name: key[name] for name in ("model", "model_sha256", "backend", "runtime", "runtime_version")},
        **{name: key[name] for name in ("mode", "threads", "device", "rate")},
        "processes": len(row.series.runs),
        **row.starts,
        "peak_bytes": row.series.peak_bytes,
        "pictures": len(row.series.images),
        "prepare_p50_us": row.prepare,
        "timed": timed,
        **{name if name == "n" else f"{name}_us": value for name, value in row.times.items()},
        "p50_low_us": low,
        "p50_high_us": high,
        "top_1": row.top_1,
        "top_5": row.top_5,
        "labelled": row.labelled,
    }
