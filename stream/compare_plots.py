"""Draws a comparison: small panels of SVG, whose colours are the page's, so that they suit light and dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from stream.bootstrap import Floats, Integers
from stream.compare import PARTS, Column, Comparison, StageRow
from stream.compare_report import STAGE_NAMES, interval, signed
from stream.published import MACHINE
from stream.series import Series
from stream.statistics import FLOORS
from stream.tables import milliseconds

WIDTH = 380
"""Of every panel, in the units of its viewBox: a phone shows one at about this size, a desk two abreast."""
HEIGHT = 230
ROW = 21  # of panels that have a row for each column
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 16, 34  # margins

DOTS = 1500
"""A series of more frames is drawn as bands: the fastest, median and slowest of each of so many intervals."""
BANDS = 300
SKIP_BARS = 60
STRIP = 34  # what their strip adds to a panel's lower margin
STRIP_STEPS = (0, 0.05, 0.1, 0.25, 0.5, 1)  # what it may reach to; 0: there is none
UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))
MOST_BORDERS = 60  # between runs; more would be a grey area
CURVE = 240  # points of a distribution's curve
LOGARITHMIC_FROM = 12  # times the smallest median, the largest value

INK, SOFT, LINE, CARD = "#000001", "#000002", "#000003", "#000004"
SLOWER, FASTER = "#000005", "#000006"
STAGE = {"wait_us": "#000020", "pre_us": "#000021", "infer_us": "#000022", "post_us": "#000023"}
STAGE |= {"draw_us": "#000021", "encode_us": "#000022"}
HUES = 7
COLOURS = {
    **{INK: "ink", SOFT: "soft", LINE: "line", CARD: "card", SLOWER: "slower", FASTER: "faster"},
    **{f"#0000{0x20 + place:02x}": f"stage{place}" for place in range(4)},
    **{f"#0000{0x40 + place:02x}": f"hue{place}" for place in range(HUES)},
}
"""What matplotlib is told, and the page's property that stands for it."""
STROKES = ("solid", "dashed", "dotted")

STYLE = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
    "svg.hashsalt": "labelcam",  # the same comparison gives the same bytes
    "font.size": 11,
    "font.family": "DejaVu Sans",  # matplotlib's own, and wider than what the page uses: labels fit
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 5,
    "ytick.major.pad": 6,
    "lines.solid_capstyle": "round",
    "lines.dash_capstyle": "butt",
}


@dataclass(frozen=True)
class Plot:
    """One panel. `svg` is an element with a title and a text alternative; its ids begin with `name`."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class Plots:
    ratios: Plot | None  # None: two columns need no picture of it
    means: Plot
    beside: Plot | None  # drawing and encoding; None: nowhere
    changes: tuple[Plot, ...]  # for each column but the base
    over_time: tuple[Plot, ...]  # for each column
    distributions: tuple[Plot, ...]  # for each stage
    starts: Plot | None
    published: Plot | None


def draw(comparison: Comparison) -> Plots:
    with rc_context():
        rcdefaults()  # a matplotlibrc in the working folder may say anything
        rcParams.update(STYLE)
        columns = comparison.columns
        return Plots(
            ratios(columns) if len(columns) > 2 else None,
            means(columns, "means", "What the mean age of an answer is made of", PARTS),
            means(columns, "beside", "Drawing and encoding, means", ("draw_us", "encode_us"))
            if {"draw_us", "encode_us"} & set(comparison.stages)
            else None,
            tuple(change(comparison.base, column, place) for place, column in enumerate(columns) if place),
            tuple(over_time(columns)),
            tuple(distributions(comparison)),
            starts(columns),
            published(comparison),
        )


def hue(place: int) -> str:
    return f"#0000{0x40 + place % HUES:02x}"


def stroke(place: int) -> str:
    """Another kind of line where the hues begin again."""
    return STROKES[place // HUES % len(STROKES)]


# One row for each column


def ratios(columns: Sequence[Column]) -> Plot:
    """Medians of the age, divided by the base's, with their intervals."""
    found = [(place, column.row("age_us")) for place, column in enumerate(columns)][1:]
    rows = [(place, row) for place, row in found if row is not None and row.ratio is not None]
    ends = [1.0]
    for _, row in rows:
        ends += [row.ratio or 1.0, *(row.ratio_interval or ())]
    ends = [end for end in ends if end > 0]
    figure, axes = row_panel(len(rows), right=128, unit="")
    scale(axes.xaxis, min(ends) / 1.08, max(ends) * 1.08, logarithmic=True)
    axes.axvline(1, color=SOFT, linewidth=1)
    said = []
    for at, (place, row) in enumerate(rows):
        letter(axes, -16, at, columns[place].name, place)
        if row.ratio_interval is not None:
            low, high = row.ratio_interval
            axes.plot([low, high], [at, at], color=hue(place), linewidth=2.2)
        sure = row.shows_difference is not False
        axes.plot(
            [row.ratio], [at], "o", color=hue(place), markersize=7, fillstyle="full" if sure else "none"
        )
        note(axes, 1, 8, at, ratio_text(row))
        said.append(f"{columns[place].name} {ratio_text(row)}")
    return finished(
        figure,
        "ratios",
        f"Median age of an answer, times {columns[0].name}'s, with 95 % intervals",
        "; ".join(said),
    )


def ratio_text(row: StageRow) -> str:
    sure = f" ({interval(row.ratio_interval)})" if row.ratio_interval else ""
    return f"{row.ratio or 0:.3f}{sure}"


def means(columns: Sequence[Column], name: str, title: str, stages: Sequence[str]) -> Plot:
    """Stacked: means add up, medians do not."""
    rows = [(place, column) for place, column in enumerate(columns) if any(map(column.row, stages))]
    parts = {column.name: mean_parts(column, stages) for _, column in rows}
    longest = max(sum(mean for _, mean in parts[column.name]) for _, column in rows)
    figure, axes = row_panel(len(rows), right=62)
    scale(axes.xaxis, 0, longest / 1000 * 1.02 or 1)
    said = []
    for at, (place, column) in enumerate(rows):
        letter(axes, -16, at, column.name, place)
        start_us = 0.0
        for stage, mean_us in parts[column.name]:
            axes.barh(
                at, mean_us / 1000, 0.62, start_us / 1000, color=STAGE[stage], edgecolor=CARD, linewidth=0.8
            )
            if mean_us > 0.11 * longest:
                middle = (start_us + mean_us / 2) / 1000
                axes.text(
                    middle, at, milliseconds(mean_us), color=CARD, ha="center", va="center_baseline", size=10
                )
            start_us += mean_us
        note(axes, 1, 8, at, f"{milliseconds(start_us)} ms")
        split = ", ".join(f"{STAGE_NAMES[stage]} {milliseconds(mean)}" for stage, mean in parts[column.name])
        said.append(f"{column.name} {milliseconds(start_us)} ms: {split}")
    return finished(figure, name, title, "; ".join(said))


def mean_parts(column: Column, stages: Iterable[str]) -> list[tuple[str, float]]:
    rows = ((stage, column.row(stage)) for stage in stages)
    return [(stage, row.mean_us) for stage, row in rows if row is not None]


def change(base: Column, column: Column, place: int) -> Plot:
    """From the base's mean age, stage by stage, to the column's."""
    assert column.against is not None, "only the base is held against nothing"
    parts = column.against.parts
    base_us, own_us = column.against.base_us, column.against.base_us + column.against.delta_us
    figure, axes = row_panel(len(parts) + 2, left=98, right=52)
    axes.grid(visible=False, axis="y")
    reached_us, ends = base_us, [base_us, own_us]
    steps = []
    for part in parts:
        steps.append((part, reached_us))
        reached_us += part.delta_us
        ends.append(reached_us)
    scale(axes.xaxis, min(0.0, *ends) / 1000, max(ends) / 1000 * 1.06 or 1)
    for at, end_us, name, own in ((0, base_us, base.name, 0), (len(parts) + 1, own_us, column.name, place)):
        letter(axes, -16, at, name, own)
        axes.barh(at, end_us / 1000, 0.56, color=SOFT)
        note(axes, 1, 6, at, milliseconds(end_us), weight="bold")
    for at, (part, start_us) in enumerate(steps, start=1):
        note(axes, 0, -8, at, STAGE_NAMES[part.stage], ha="right", color=SOFT)
        colour = SLOWER if part.delta_us > 0 else FASTER
        axes.barh(
            at, part.delta_us / 1000, 0.56, start_us / 1000, color=colour, edgecolor=colour, linewidth=1
        )
        note(axes, 1, 6, at, signed(part.delta_us))
    for at, (_, start_us) in enumerate([*steps, (None, own_us)]):
        axes.plot([start_us / 1000] * 2, [at + 0.28, at + 0.72], color=SOFT, linewidth=0.8)
    split = ", ".join(f"{STAGE_NAMES[part.stage]} {signed(part.delta_us)}" for part in parts)
    return finished(
        figure,
        f"change-{column.name}",
        f"From {base.name}'s mean age to {column.name}'s",
        f"{milliseconds(base_us)} to {milliseconds(own_us)} ms: {split}",
    )


@dataclass(frozen=True)
class Timed:
    """What is drawn in a row: first runs, and the median of the warm ones."""

    name: str
    place: int | None  # None: not a column, but a result of 2020
    first_us: Sequence[float]
    warm_us: float | None


def starts(columns: Sequence[Column]) -> Plot | None:
    rows = [own_times(column, place) for place, column in enumerate(columns)]
    rows = [row for row in rows if row.first_us]
    return first_and_warm(rows, "starts", "First runs, and the median of the warm ones") if rows else None


def published(comparison: Comparison) -> Plot | None:
    """For each model ours, then that of 2020."""
    rows = []
    for reference in comparison.references:
        theirs = reference.published
        if theirs.is_measured:
            rows += [
                own_times(column, place)
                for place, column in enumerate(comparison.columns)
                if column.name in reference.columns
            ]
            warm_us = float(np.median(theirs.warm_us)) if theirs.warm_us else None
            rows.append(Timed("2020", None, theirs.first_us, warm_us))
    title = f"Inferring here, and as published: {MACHINE}"
    return first_and_warm(rows, "published", title) if rows else None


def own_times(column: Column, place: int) -> Timed:
    row = column.row("infer_us")
    return Timed(column.name, place, column.series.starts_us("first_us"), row.p50_us if row else None)


def first_and_warm(rows: Sequence[Timed], name: str, title: str) -> Plot:
    every = [shown_ms(one) for row in rows for one in (*row.first_us, row.warm_us) if one is not None]
    figure, axes = row_panel(len(rows), left=56)
    scale(axes.xaxis, min(every) / 1.25, max(every) * 1.25, logarithmic=True)
    said = []
    for at, row in enumerate(rows):
        first_ms = [shown_ms(one) for one in row.first_us]
        warm_ms = [] if row.warm_us is None else [shown_ms(row.warm_us)]
        if row.place is None:
            note(axes, 0, -8, at, row.name, ha="right", color=SOFT, style="italic")
            axes.axhspan(at - 0.5, at + 0.5, facecolor=SOFT, alpha=0.12)
            colour = SOFT
        else:
            letter(axes, -16, at, row.name, row.place)
            colour = hue(row.place)
        ends = sorted((*first_ms, *warm_ms))
        axes.plot([ends[0], ends[-1]], [at, at], color=LINE, linewidth=2)
        axes.plot(first_ms, [at] * len(first_ms), "o", color=colour, fillstyle="none", markersize=6)
        axes.plot(warm_ms, [at] * len(warm_ms), "D", color=colour, markersize=6)
        middle_us = float(np.median(row.first_us)) if row.first_us else None
        said.append(f"{row.name}: first {milliseconds(middle_us)}, warm {milliseconds(row.warm_us)} ms")
    return finished(figure, name, title, "; ".join(said))


def shown_ms(duration_us: float) -> float:
    """On a logarithmic axis there is no 0, which a clock of whole microseconds writes for less than one."""
    return max(duration_us, 0.5) / 1000


# Over time


def over_time(columns: Sequence[Column]) -> Iterator[Plot]:
    """The age of every answer, all panels on one scale."""
    ages = [np.maximum(column.series.stage_us("age_us"), 1) / 1000 for column in columns]
    low, high = min(float(age.min()) for age in ages), max(float(age.max()) for age in ages)
    logarithmic = high > LOGARITHMIC_FROM * min(float(np.median(age)) for age in ages)
    times = [joined(column.series) for column in columns]
    shares = [skipped_shares(column.series, time) for column, (time, _) in zip(columns, times, strict=True)]
    most_skipped = max(float(share.max()) for share in shares)
    strip = next(step for step in STRIP_STEPS if most_skipped <= step)
    for place, column in enumerate(columns):
        series, age_ms, (elapsed_s, borders_s) = column.series, ages[place], times[place]
        end_s = float(elapsed_s.max()) or 1.0
        unit, unit_s = next((name, size) for name, size in UNITS if end_s >= 3 * size or size == 1)
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = add_axes(figure, bottom=BOTTOM + STRIP if strip else BOTTOM)
        panels = [axes, add_axes(figure, bottom=BOTTOM, height=22)] if strip else [axes]
        for panel in panels:
            scale(panel.xaxis, 0, end_s / unit_s)
            panel.tick_params(labelbottom=panel is panels[-1])
            for border_s in borders_s if len(borders_s) <= MOST_BORDERS else ():
                panel.axvline(border_s / unit_s, color=SOFT, linewidth=0.8, dashes=(2, 3))
        panels[-1].set_xlabel(unit, labelpad=1, size=10)
        if logarithmic:
            scale(axes.yaxis, low / 1.2, high * 1.2, logarithmic=True)
        else:
            scale(axes.yaxis, 0, high * 1.04)
        note_unit(axes, "ms")
        (bands if series.n > DOTS else dots)(axes, elapsed_s / unit_s, age_ms, hue(place))
        median_ms = float(np.median(age_ms))
        axes.axhline(median_ms, color=INK, linewidth=1, linestyle=(0, (5, 3)))
        if strip:
            skip_bars(panels[-1], shares[place], end_s / unit_s, strip, series.is_live or series.skipped > 0)
        highest = int(age_ms.argmax())
        yield finished(
            figure,
            f"time-{column.name}",
            f"{column.name}: age of the answers over time",
            f"{series.n:,} frames in {end_s:,.1f} s, median {milliseconds(median_ms * 1000)} ms, the highest"
            f" {milliseconds(float(age_ms[highest]) * 1000)} ms after {float(elapsed_s[highest]):,.1f} s;"
            f" {series.skipped:,} skipped",
        )


def joined(series: Series) -> tuple[Floats, list[float]]:
    """Seconds since the beginning, the runs put end to end: what lies between them was not measured. And
    where each but the first begins."""
    arrived_ns = series.frames["arrived_ns"]
    elapsed_s = np.zeros(arrived_ns.size)
    borders_s: list[float] = []
    first, begin_s = 0, 0.0
    for run in series.runs:
        if not run.frames:
            continue
        own = slice(first, first + run.frames)
        if first:
            borders_s.append(begin_s)
        elapsed_s[own] = begin_s + (arrived_ns[own] - arrived_ns[own].min()) / 1e9
        begin_s = float(elapsed_s[own].max())
        first += run.frames
    return elapsed_s, borders_s


def dots(axes: Any, x: Floats, y: Floats, colour: str) -> None:
    """One path of strokes without length, which a round pen makes dots: a tenth of the size of markers."""
    outline = Outline(
        np.repeat(np.column_stack([x, y]), 2, axis=0), [Outline.MOVETO, Outline.LINETO] * x.size
    )
    outline.should_simplify = False
    axes.add_patch(
        PathPatch(outline, fill=False, edgecolor=colour, linewidth=2.6, capstyle="round", alpha=0.75)
    )


def bands(axes: Any, elapsed: Floats, age_ms: Floats, colour: str) -> None:
    end = float(elapsed.max()) or 1.0
    places = intervals(elapsed, end, BANDS)
    age_ms = age_ms[np.lexsort((age_ms, places))]
    counts = np.bincount(places, minlength=BANDS)
    first = np.cumsum(counts) - counts
    low, tenth, median, ninetieth, high = (
        np.where(counts > 0, age_ms[np.minimum(first + (counts - 1) * share // 100, age_ms.size - 1)], np.nan)
        for share in (0, 10, 50, 90, 100)
    )
    edges = np.linspace(0, end, BANDS + 1)  # steps, because a point between two gaps would not be seen
    axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.4)
    enough = counts >= FLOORS[90]
    if enough.any():
        tenth, ninetieth = (np.where(enough, one, np.nan) for one in (tenth, ninetieth))
        axes.stairs(ninetieth, edges, baseline=tenth, fill=True, color=colour, alpha=0.5)
    axes.stairs(median, edges, baseline=None, color=colour, linewidth=1.5)


def skipped_shares(series: Series, elapsed_s: Floats) -> Floats:
    """Of the camera's frames, those that were passed over."""
    places = intervals(elapsed_s, float(elapsed_s.max()) or 1.0, SKIP_BARS)
    skipped = np.bincount(places, series.frames["skip"], SKIP_BARS)
    whole = skipped + np.bincount(places, minlength=SKIP_BARS)
    return np.asarray(skipped / np.maximum(whole, 1))


def intervals(elapsed: Floats, end: float, count: int) -> Integers:
    """In which of so many each lies."""
    return np.minimum((elapsed / end * count).astype(np.int64), count - 1)


def skip_bars(axes: Any, shares: Floats, end: float, top: float, can_skip: bool) -> None:
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(FixedLocator([0, top] if can_skip else []))
    axes.yaxis.set_major_formatter(FixedFormatter(["0", f"{100 * top:.0f} %"] if can_skip else []))
    axes.tick_params(axis="y", labelsize=9)
    axes.stairs(shares, np.linspace(0, end, SKIP_BARS + 1), fill=True, facecolor=SOFT)


# Distributions


def distributions(comparison: Comparison) -> Iterator[Plot]:
    """For each stage all columns in one panel: which share of the frames took no longer."""
    columns = comparison.columns
    most = max(row.n for column in columns for row in column.rows)
    top = max(2.3, math.log10(2 * most))
    spread = min(
        0.4 * (len(columns) - 1), top + 1.4
    )  # of the letters on their curves, each at its own height
    middle = max(0.0, spread / 2 - 1.6)
    letters = np.linspace(middle + spread / 2, middle - spread / 2, len(columns))
    for stage in comparison.stages:
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = add_axes(figure, left=54 if top < 5 else 68)
        rows = [(place, column) for place, column in enumerate(columns) if column.row(stage) is not None]
        curves = [curve(column.series.stage_us(stage)) for _, column in rows]
        low = min(float(np.interp(-2, y, x)) for x, y in curves)
        high = max(float(x[-1]) for x, _ in curves)
        scale(axes.xaxis, low / 1.15, high * 1.15, logarithmic=True)
        axes.set_ylim(-2, top + 0.15)
        shares = [0.01, 0.1, 0.5, 0.9, *(1 - 10.0**-nines for nines in range(2, int(top) + 1))]
        axes.yaxis.set_major_locator(FixedLocator([odds(share) for share in shares]))
        axes.yaxis.set_major_formatter(FixedFormatter([f"{100 * share:.8g} %" for share in shares]))
        axes.set_xlabel("ms", labelpad=1, size=10)
        said = []
        for (place, column), (x, y) in zip(rows, curves, strict=True):
            axes.plot(x, y, color=hue(place), linewidth=1.8, linestyle=stroke(place))
            row = column.row(stage)
            assert row is not None, "it was looked for above"
            marks = [(row.p50_us, 0.5), (row.p90_us, 0.9), (row.p99_us, 0.99)]
            points = [(shown_ms(us), odds(share)) for us, share in marks if us is not None]
            axes.plot(*zip(*points, strict=True), "o", color=hue(place), markersize=4.5)
            said.append(
                f"{column.name}: median {milliseconds(row.p50_us)}, p90 {milliseconds(row.p90_us)},"
                f" p99 {milliseconds(row.p99_us)} ms"
            )
        for (place, column), (x, y) in zip(rows, curves, strict=True):
            at = letters[place]
            badge(axes, float(np.interp(at, y, x)), at, column.name, place, axes.transData, size=8)
        yield finished(
            figure, f"distribution-{stage}", f"{STAGE_NAMES[stage]}: distribution", "; ".join(said)
        )


def curve(samples_us: Integers) -> tuple[Floats, Floats]:
    """Milliseconds, and the odds that a frame took no longer."""
    ordered = np.sort(samples_us)
    n = ordered.size
    wanted = np.linspace(odds(0.5 / n), odds(1 - 0.5 / n), CURVE)
    places = np.unique(np.clip(np.rint(n / (1 + 10.0**-wanted) - 0.5), 0, n - 1).astype(np.int64))
    share = (places + 0.5) / n
    return np.maximum(ordered[places], 0.5) / 1000, np.log10(share / (1 - share))


def odds(share: float) -> float:
    """On this scale a tail has room: 90, 99 and 99.9 % are equally far apart."""
    return math.log10(share / (1 - share))


# Panels


def add_axes(
    figure: Any, left: float = LEFT, right: float = RIGHT, bottom: float = BOTTOM, height: float | None = None
) -> Any:
    """Margins and height in the panel's units, so that panels in a row are in line."""
    width_of_all, height_of_all = figure.get_size_inches() * 72
    if height is None:
        height = height_of_all - TOP - bottom
    return figure.add_axes(
        (
            left / width_of_all,
            bottom / height_of_all,
            (width_of_all - left - right) / width_of_all,
            height / height_of_all,
        )
    )


def row_panel(rows: int, left: float = 38, right: float = RIGHT, unit: str = "ms") -> tuple[Any, Any]:
    """Rows are numbered from the top."""
    figure = Figure(figsize=(WIDTH / 72, (TOP + BOTTOM + ROW * rows) / 72))
    axes = add_axes(figure, left, right)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    axes.set_xlabel(unit, labelpad=1, size=10)
    return figure, axes


def scale(axis: Any, low: float, high: float, logarithmic: bool = False) -> None:
    axes = axis.axes
    of_x = axis.axis_name == "x"
    if logarithmic:
        (axes.set_xscale if of_x else axes.set_yscale)("log")
    ticks = log_ticks(low, high) if logarithmic else linear_ticks(low, high)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:,.10g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    (axes.set_xlim if of_x else axes.set_ylim)(low, high)


def log_ticks(low: float, high: float) -> list[float]:
    """At most six; where not even a doubling lies between low and high, equally far apart."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps, every in (
        ((1, 1.5, 2, 3, 4, 5, 6, 8), 1),
        ((1, 2, 5), 1),
        ((1, 3), 1),
        ((1,), 1),
        ((1,), 2),
        ((1,), 3),
    ):
        ticks = [float(f"{step}e{decade}") for decade in decades if decade % every == 0 for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 6:
            break
    return ticks if len(ticks) > 1 else linear_ticks(low, high)


def linear_ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [round(float(tick), 9) + 0.0 for tick in ticks if low <= tick <= high]


def badge(axes: Any, x: float, y: float, name: str, place: int, transform: Any, size: float = 10) -> None:
    shape = {"boxstyle": "round,pad=0.22,rounding_size=0.25", "facecolor": hue(place), "edgecolor": CARD}
    axes.text(
        x,
        y,
        name,
        size=size,
        weight="bold",
        color=CARD,
        ha="center",
        va="center_baseline",
        transform=transform,
        bbox={**shape, "linewidth": 1},
        zorder=5,
    )


def letter(axes: Any, offset: float, row: float, name: str, place: int) -> None:
    """A row's label, so far beside the axes."""
    width = axes.get_position().width * WIDTH
    badge(axes, offset / width, row, name, place, axes.get_yaxis_transform())


def note(axes: Any, edge: float, offset: float, row: float, text: str, ha: str = "left", **look: Any) -> None:
    """Text beside the axes' left (0) or right (1) edge."""
    width = axes.get_position().width * WIDTH
    axes.text(
        edge + offset / width,
        row,
        text,
        ha=ha,
        va="center_baseline",
        transform=axes.get_yaxis_transform(),
        **{"size": 10, **look},
    )


def note_unit(axes: Any, text: str) -> None:
    """Above the vertical axis' numbers."""
    axes.annotate(
        text,
        (0, 1),
        (-6, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        color=SOFT,
        size=10,
    )


# From matplotlib's file to an element of the page

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
DOT = re.compile(r"M(\S+ \S+)L\1(?=M|$)")
FONT = re.compile(r"(font-weight|font-style): (\w+)|(\d+(?:\.\d+)?)px|(bold|italic)\b")


def finished(figure: Any, name: str, title: str, description: str) -> Plot:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    drawn = ElementTree.fromstring(file.getvalue())
    root = ElementTree.Element(
        "svg",
        {
            "viewBox": drawn.get("viewBox", ""),
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
        },
    )
    ElementTree.SubElement(root, "title", id=f"{name}-title").text = title
    ElementTree.SubElement(root, "desc", id=f"{name}-desc").text = description
    used = {link.lstrip("#") for node in drawn.iter() if (link := node.get(LINK))}
    used |= {one for node in drawn.iter() for one in re.findall(r"url\(#(\w+)\)", node.get("clip-path", ""))}
    for child in drawn:
        root.extend(cleaned(child, name, used))
    return Plot(name, title, ElementTree.tostring(root, encoding="unicode"))


def cleaned(node: ElementTree.Element, name: str, used: set[str]) -> Iterator[ElementTree.Element]:
    """Without matplotlib's own description and style sheet, whose rule would hold for the whole page; groups
    that group nothing are dissolved."""
    tag = node.tag.removeprefix(SVG)
    if tag in ("metadata", "style") or (tag == "path" and node.get("style") == "fill: none"):
        return
    attributes = {key: value for key, value in node.items() if key not in ("id", "style", LINK)}
    if node.get("id") in used:
        attributes["id"] = f"{name}-{node.get('id')}"
    if link := node.get(LINK):
        attributes["href"] = f"#{name}-{link.lstrip('#')}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("#", f"#{name}-")
    if "rotate(-0 " in attributes.get("transform", ""):
        del attributes["transform"]
    for key in ("d", "x", "y", "width", "height", "transform"):
        if key in attributes:
            attributes[key] = NUMBER.sub(rounded, attributes[key])
    if "d" in attributes:
        attributes["d"] = shortened(attributes["d"])
    if style := node.get("style"):
        attributes["style"] = text_style(style) if tag == "text" else themed(style)
    children = [grown for child in node for grown in cleaned(child, name, used)]
    if tag in ("g", "defs") and not children:
        return
    if tag == "g" and not attributes:
        yield from children
        return
    kept = ElementTree.Element(tag, attributes)
    kept.text = node.text.strip() if node.text and node.text.strip() else None
    kept.extend(children)
    yield kept


def rounded(match: re.Match[str]) -> str:
    return f"{float(match.group()):.1f}".removesuffix(".0").replace("-0.0", "0")


def shortened(outline: str) -> str:
    return DOT.sub(r"M\1h0", re.sub(r"\s*([MLCQzZ])\s*", r"\1", outline))


def themed(style: str) -> str:
    """The page's colours for ours. A colour that is not ours is a mistake: KeyError."""
    return (
        re.sub("#[0-9a-f]{6}", lambda match: f"var(--{COLOURS[match.group()]})", style)
        .replace("; ", ";")
        .replace(": ", ":")
    )


def text_style(style: str) -> str:
    """The page says which font; size, weight and place are ours."""
    kept = []
    for part in style.split("; "):
        key, _, value = part.partition(": ")
        if key in ("font", "font-size", "font-weight", "font-style"):
            kept += [font_part(found) for found in FONT.finditer(part) if "'" not in part[: found.start()]]
        elif key != "font-family":
            kept.append(f"{key}:{value}")
    return themed(";".join(kept))


def font_part(found: re.Match[str]) -> str:
    key, value, size, look = found.groups()
    if size:
        return f"font-size:{size}px"
    if look:
        return f"{'font-weight' if look == 'bold' else 'font-style'}:{look}"
    return f"{key}:{value}"
