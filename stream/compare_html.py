"""Makes a comparison one page that needs nothing else: in words, tables and plots what the logs say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stream.bootstrap import CONFIDENCE, FEWEST_BLOCKS, RESAMPLES
from stream.compare import PARTS, Column, Comparison, StageRow
from stream.compare_report import FEW, STAGE_NAMES, START_NAMES, interval, signed, verdict
from stream.outputs import OutputError
from stream.published import MACHINE
from stream.statistics import FLOORS
from stream.tables import megabytes, milliseconds, minute_utc

SHOWN_PICTURES = 200
"""Of those that a column took for something else. The page says how many more there are."""

MACHINE_FACTS = {
    "host": "host",
    "machine": "architecture",
    "board": "board",
    "cpu": "processor",
    "cpu_count": "cores",
    "affinity": "of these used",
    "governor": "governor",
    "python": "Python",
    "numpy": "NumPy",
    "cv2": "OpenCV",
    "app_version": "Labelcam",
}
"""Fields of a run's record, and what the page calls them."""


def html(comparison: Comparison) -> str:
    """The whole page. Raises OutputError without matplotlib."""
    drawing = load_drawing()
    own, common = compared(comparison.columns)
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,  # labels, names and notes are from files that anybody may have written
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("compare.html")
    return page.render(
        comparison=comparison,
        plots=drawing.draw(comparison),
        few=FEW,
        hues=drawing.HUES,
        dots=drawing.DOTS,
        bands=drawing.BANDS,
        borders=drawing.MOST_BORDERS,
        headline=headline(comparison),
        sentences=list(sentences(comparison)),
        compared=own,
        common=common,
        differences=list(differences(comparison)),
        machines=list(machines(comparison.columns)),
        machine_facts=MACHINE_FACTS,
        stage_names=STAGE_NAMES,
        start_names=START_NAMES,
        part_stages=PARTS,
        reference_machine=MACHINE,
        shown_pictures=SHOWN_PICTURES,
        floors=FLOORS,
        resamples=RESAMPLES,
        confidence=CONFIDENCE,
        fewest_blocks=FEWEST_BLOCKS,
        drawn=lambda plot: Markup(plot.svg),  # made by us, and ElementTree escapes what is in it
        ms=milliseconds,
        megabytes=megabytes,
        signed=signed,
        interval=interval,
        verdict=verdict,
        median=median,
        percent=percent,
    )


def load_drawing() -> ModuleType:
    """Takes a second, so only when it is wanted. Raises OutputError: ask before the logs are read."""
    try:
        from stream import compare_plots
    except ModuleNotFoundError as error:
        raise OutputError(
            "compare --html needs matplotlib - pip install -r requirements-report.txt"
        ) from error
    except ImportError as error:  # of another NumPy than ours, for example: Debian's beside pip's
        raise OutputError(
            f"compare --html needs matplotlib, and it does not load ({' '.join(str(error).split())})"
            " - pip install --force-reinstall -r requirements-report.txt"
        ) from error
    return compare_plots


# In words


def headline(comparison: Comparison) -> str:
    base, *others = comparison.columns
    if not others:
        return f"{base.name}: {milliseconds(age_of(base).p50_us)} ms from arrival to answer"
    if len(others) > 1:
        return f"{counted(others)} than {base.name} from arrival to answer"
    own, row = others[0], age_of(others[0])
    base_ms, own_ms = milliseconds(age_of(base).p50_us), milliseconds(row.p50_us)
    if row.shows_difference is False:
        return (
            f"No difference shown between {base.name} and {own.name}:"
            f" {base_ms} and {own_ms} ms from arrival to answer"
        )
    if row.ratio is None:
        return f"{base_ms}\u00a0→\u00a0{own_ms} ms from arrival to answer"
    return (
        f"{own.name} takes {times(row.ratio)} times as long as {base.name}:"
        f" {base_ms}\u00a0→\u00a0{own_ms} ms from arrival to answer"
    )


def counted(others: Sequence[Column]) -> str:
    """Of the columns beside the base: 2 are faster, 1 is slower."""
    rows = [age_of(column) for column in others]
    slower = sum(bool(row.shows_difference and (row.ratio or 0) > 1) for row in rows)
    faster = sum(bool(row.shows_difference and (row.ratio or 0) < 1) for row in rows)
    parts = [
        f"{count} {'is' if count == 1 else 'are'} {what}"
        for count, what in ((faster, "faster"), (slower, "slower"))
        if count
    ]
    return (
        f"Of {len(others)}, {' and '.join(parts)}"
        if parts
        else f"None of {len(others)} is shown to be faster or slower"
    )


def sentences(comparison: Comparison) -> Iterator[str]:
    """What the headline leaves out: how sure it is, and what was counted."""
    base, *others = comparison.columns
    if not others:
        frames = "frame" if base.series.n == 1 else "frames"
        yield f"The median of {base.series.n:,} {frames}. Give a second log to compare it with."
    elif len(others) == 1:
        yield how_sure(age_of(others[0]))
        yield f"Medians of {base.series.n:,} and {others[0].series.n:,} frames."
    else:
        yield extremes(base, others)
        for wanted, words in ((False, "No difference shown"), (None, "Too few frames for an interval")):
            names = [column.name for column in others if age_of(column).shows_difference is wanted]
            if names:
                yield f"{words}: {', '.join(names)}."


def how_sure(row: StageRow) -> str:
    if row.ratio_interval is None:
        return "There are too few frames for an interval: this may be chance."
    ends = f"between {times(row.ratio_interval.low)} and {times(row.ratio_interval.high)} (95 % interval)"
    if row.shows_difference:
        return f"The ratio of the medians lies {ends}."
    return f"The ratio of the medians is {times(row.ratio)}, and lies {ends}."


def extremes(base: Column, others: Sequence[Column]) -> str:
    rows = [(age_of(column), column.name) for column in others]
    (least, fastest), (most, slowest) = (choose(rows, key=lambda row: row[0].p50_us) for choose in (min, max))
    return (
        f"Medians: {fastest}'s {milliseconds(least.p50_us)} ms is the shortest ({times(least.ratio)} times"
        f" {base.name}'s {milliseconds(age_of(base).p50_us)}), {slowest}'s {milliseconds(most.p50_us)} ms the"
        f" longest ({times(most.ratio)} times)."
    )


def age_of(column: Column) -> StageRow:
    row = column.row("age_us")
    assert row is not None, "a series has frames, and each has an age"
    return row


def times(ratio: float | None) -> str:
    """More digits near 1, where they decide."""
    if ratio is None:
        return "–"
    digits = 3 if abs(ratio - 1) < 0.05 or ratio < 0.1 else 2 if ratio < 10 else 1
    return f"{ratio:,.{digits}f}"


# For the tables


class Line(NamedTuple):
    """A field, and what it is in each column. None: as in the base, or not to be compared."""

    field: str
    values: tuple[str | None, ...]


def compared(columns: Sequence[Column]) -> tuple[list[Line], list[Line]]:
    """What each column is. Apart, with many columns: what is the same in all. Empty fields are left out."""
    lines = [
        Line(field, tuple(value or "–" for value in values))
        for field, told in TOLD.items()
        if any(values := [told(column) for column in columns])
    ]
    if len(columns) <= FEW:
        return lines, []
    common = [line for line in lines if len(set(line.values)) == 1]
    return [line for line in lines if line not in common], common


def of_key(*names: str) -> Callable[[Column], str]:
    return lambda column: " ".join(
        str(value) for name in names if (value := column.series.key[name]) is not None
    )


def kind(column: Column) -> str:
    series = column.series
    if series.is_live:
        return f"live, {series.key['source']}" if series.key["source"] else "live"
    return f"stills, {len(series.images):,} picture{'s' if len(series.images) != 1 else ''}"


def skips(column: Column) -> str:
    series = column.series
    if not series.is_live and not series.skipped:
        return ""
    return f"{series.skipped:,} ({100 * series.skipped_share:.1f} %)"


def measured_at(column: Column) -> str:
    """When the first run began, by its machine's clock."""
    return minute_utc(column.series.runs[0].record.get("t_utc"))


TOLD: dict[str, Callable[[Column], str]] = {
    "log": lambda column: column.series.path.name,
    "what": kind,
    "model": of_key("model"),
    "backend": of_key("backend", "mode"),
    "runtime": of_key("runtime", "runtime_version"),
    "threads": of_key("threads"),
    "device": of_key("device"),
    "machine": of_key("host"),
    "frames": lambda column: f"{column.series.n:,}",
    "skipped": skips,
    "runs": lambda column: f"{len(column.series.runs):,}",
    "measured": measured_at,
}


def differences(comparison: Comparison) -> Iterator[Line]:
    """Fields in the order of the first column that has them."""
    found: dict[str, dict[str, str]] = {}
    for column in comparison.columns[1:]:
        for one in column.against.differences if column.against else ():
            values = found.setdefault(one.field, {comparison.base.name: one.base})
            values[column.name] = one.own
    for field, values in found.items():
        yield Line(field, tuple(values.get(column.name) for column in comparison.columns))


class Machine(NamedTuple):
    columns: tuple[str, ...]
    facts: tuple[str, ...]  # of MACHINE_FACTS


def machines(columns: Sequence[Column]) -> Iterator[Machine]:
    """One for all columns that were measured on the same, with the same versions."""
    found: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        facts = tuple(
            " and ".join(shown(one) for one in column.series.circumstances(field)) for field in MACHINE_FACTS
        )
        found.setdefault(facts, []).append(column.name)
    return (Machine(tuple(names), facts) for facts, names in found.items())


def shown(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def percent(share: float) -> str:
    return f"{round(100 * share):,} %"


def median(values_us: Sequence[float]) -> float | None:
    return float(np.median(values_us)) if len(values_us) else None
