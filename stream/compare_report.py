"""What a comparison says: for a terminal, as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from stream.bootstrap import BLOCK, FEWEST_BLOCKS, FEWEST_SEGMENTS, Interval
from stream.compare import Against, Agreement, Column, Comparison, Part, Reference, StageRow
from stream.published import MACHINE
from stream.series import STARTS
from stream.tables import markdown_table, megabytes, milliseconds, text_table

WIDTH = 110
FEW = 4
"""With more columns a table has one line for each of them."""
SHOWN_PICTURES = 3  # of those that were taken for something else

STAGE_NAMES = {
    "wait_us": "waiting",
    "pre_us": "preparing",
    "infer_us": "inferring",
    "post_us": "reading scores",
    "age_us": "age of answer",
    "draw_us": "drawing",
    "encode_us": "encoding",
    "video_age_us": "age of picture",
}
START_NAMES = dict(zip(STARTS, ("import", "load", "compile", "first run"), strict=True))

Table = list[list[str]]


def text(comparison: Comparison) -> str:
    """For a terminal, at most WIDTH wide."""
    parts = [wrapped(line) for line in legend(comparison)]
    parts += ["", text_table(table_of(comparison)), *footnote(comparison)]
    for column in comparison.columns[1:]:
        parts += ["", *(wrapped(line) for line in held_against(comparison.base, column))]
    if comparison.references or comparison.other_references:
        parts += ["", wrapped(reference_heading(comparison))]
    if comparison.references:
        parts += [text_table(reference_table(comparison))]
    if comparison.notes:
        parts += ["", *(wrapped(f"note: {note}") for note in comparison.notes)]
    return "\n".join(parts)


def as_markdown(comparison: Comparison) -> str:
    parts = [
        "\n".join(f"- {line.strip()}" for line in legend(comparison)),
        markdown_table(table_of(comparison, whole=True)),
    ]
    parts += footnote(comparison)
    parts += [
        "\n".join(f"- {line.strip()}" for line in held_against(comparison.base, column))
        for column in comparison.columns[1:]
    ]
    if comparison.references or comparison.other_references:
        parts.append(reference_heading(comparison))
    if comparison.references:
        parts.append(markdown_table(reference_table(comparison)))
    if comparison.notes:
        parts.append("\n".join(f"- note: {note}" for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 3)
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


# What was measured


def legend(comparison: Comparison) -> Iterator[str]:
    for column in comparison.columns:
        yield f"{column.name}  {column.series.path.name}: {configuration(column)}"
        yield f"   {extent(column)}; {start(column)}"


def configuration(column: Column) -> str:
    key = column.series.key
    runtime = " ".join(
        str(key[name]) for name in ("backend", "mode", "runtime", "runtime_version") if key[name]
    )
    threads = key["threads"] and f"{key['threads']} thread{'s' if key['threads'] != 1 else ''}"
    what = "live" if column.series.is_live else "stills"
    parts = (what, key["model"], runtime, threads, key["device"], key["host"])
    return ", ".join(str(part) for part in parts if part)


def extent(column: Column) -> str:
    series = column.series
    runs = f"{len(series.runs)} run{'s' if len(series.runs) != 1 else ''}"
    pictures = (
        f", {len(series.images):,} picture{'s' if len(series.images) != 1 else ''}" if series.images else ""
    )
    skipped = f", {skips(column)} skipped" if series.is_live or series.skipped else ""
    return f"{series.n:,} frames in {runs}{pictures}{skipped}"


def skips(column: Column) -> str:
    return f"{column.series.skipped:,} ({100 * column.series.skipped_share:.1f} %)"


def start(column: Column) -> str:
    """What a run costs once, apart from the frames: medians over the runs."""
    series = column.series
    medians = {name: series.starts_us(name) for name in STARTS}
    parts = [
        f"{START_NAMES[name]} {milliseconds(float(np.median(values)))} ms"
        for name, values in medians.items()
        if values
    ]
    if series.peak_bytes:
        parts.append(f"memory up to {megabytes(series.peak_bytes)} MB")
    return ", ".join(parts) or "its start is not in the log"


# Stages


def table_of(comparison: Comparison, whole: bool = False) -> Table:
    """`whole`: every line says its stage."""
    if len(comparison.columns) > FEW:
        return column_table(comparison)
    table = [["ms", "", "n", "p50", "p90", "p99", *ratio_heading(comparison)]]
    for stage in comparison.stages:
        name = STAGE_NAMES[stage]
        for column in comparison.columns:
            row = column.row(stage)
            if row is not None:
                table.append([name, column.name, f"{row.n:,}", *times(row), *ratio_cells(comparison, row)])
                name = name if whole else ""
    return table


def times(row: StageRow) -> list[str]:
    return [milliseconds(value) for value in (row.p50_us, row.p90_us, row.p99_us)]


def ratio_heading(comparison: Comparison) -> list[str]:
    return ["p50 / A's", "95 % interval", ""] if len(comparison.columns) > 1 else []


def ratio_cells(comparison: Comparison, row: StageRow) -> list[str]:
    if len(comparison.columns) == 1:
        return []
    if row.ratio is None:  # the base, or a base's median of zero
        return ["", "", ""]
    return [f"{row.ratio:.3f}", interval(row.ratio_interval), verdict(row)]


def interval(of: Interval | None) -> str:
    return f"{of.low:.3f}–{of.high:.3f}" if of else ""


def verdict(row: StageRow) -> str:
    if row.shows_difference is None:
        return "too few to tell"
    return "" if row.shows_difference else "no difference shown"


def footnote(comparison: Comparison) -> Iterator[str]:
    if any(row.ratio and not row.ratio_interval for column in comparison.columns for row in column.rows):
        yield (
            f"to tell takes {FEWEST_BLOCKS} blocks of {BLOCK} neighbouring frames, or more, of each log,"
            f" of one process or of {FEWEST_SEGMENTS}"
        )


def column_table(comparison: Comparison) -> Table:
    heading = [
        "",
        "n",
        "infer p50",
        "age p50",
        "p90",
        "p99",
        *ratio_heading(comparison),
        "skipped",
        "same top-1",
    ]
    table = [heading]
    for column in comparison.columns:
        infer, age = column.row("infer_us"), column.row("age_us")
        if infer is None or age is None:  # never: a series has frames
            continue
        agreement = column.against.agreement if column.against else None
        same = f"{100 * agreement.share:.1f} %" if agreement else ""
        cells = [column.name, f"{age.n:,}", milliseconds(infer.p50_us), *times(age)]
        skipped = f"{100 * column.series.skipped_share:.1f} %"
        table.append([*cells, *ratio_cells(comparison, age), skipped, same])
    return table


# Against the base


def held_against(base: Column, column: Column) -> Iterator[str]:
    against = column.against
    if against is None:
        return
    yield f"{column.name} against {base.name}"
    yield f"   {unlike(against)}"
    yield f"   labels: {agreement(against, base.name)}"
    age = column.row("age_us")
    sure = f" ({verdict(age)})" if age and not age.shows_difference else ""
    yield f"   mean age {change(against.base_us, against.base_us + against.delta_us)}{sure}: " + ", ".join(
        share(against, part) for part in against.parts
    )
    if against.beside:
        yield (
            "   beside it, means: "
            + ", ".join(
                f"{STAGE_NAMES[part.stage]} {change(part.base_us, part.own_us)}" for part in against.beside
            )
            + only(against.beside, base.name, column.name)
        )


def unlike(against: Against) -> str:
    if not against.differences:
        return "nothing that the logs record differs"
    return "these differ: " + ", ".join(
        f"{one.field} ({one.base} | {one.own})" for one in against.differences
    )


def agreement(against: Against, base: str) -> str:
    if against.agreement is None:
        return f"not compared, {against.no_agreement}"
    of: Agreement = against.agreement
    said = f"the same top-1 for {of.same:,} of {of.pictures:,} pictures ({100 * of.share:.1f} %)"
    if of.others:
        said += f", {base}'s top-1 among the first five for {of.among_five:,}; " + ", ".join(
            f"{image} ({short(theirs)} | {short(own)})" for image, theirs, own in of.others[:SHOWN_PICTURES]
        )
    return said + (" ..." if len(of.others) > SHOWN_PICTURES else "")


def short(label: str) -> str:
    return label.partition(",")[0]


def share(against: Against, part: Part) -> str:
    of_all = against.share(part)
    said = f"{STAGE_NAMES[part.stage]} {signed(part.delta_us)}"
    return said if of_all is None else f"{said} ({round(100 * of_all)} %)"


def change(base_us: float | None, own_us: float | None) -> str:
    if base_us is None or own_us is None:
        return f"{milliseconds(own_us if base_us is None else base_us)} ms"
    return f"{milliseconds(base_us)} → {milliseconds(own_us)} ms, {signed(own_us - base_us)}"


def only(beside: Sequence[Part], base: str, own: str) -> str:
    if all(part.own_us is None for part in beside):
        return f" in {base} alone"
    return f" in {own} alone" if all(part.base_us is None for part in beside) else ""


def signed(delta_us: float) -> str:
    size = milliseconds(abs(delta_us))
    return f"{'-' if delta_us < 0 else '+'}{size}" if size.strip("0.") else "0"


# Published results


def reference_heading(comparison: Comparison) -> str:
    others = comparison.other_references
    more = f"{others} more row has" if others == 1 else f"{others} more rows have"
    left_out = f"; {more} no counterpart in these logs" if others else ""
    shown = "for reference, no ratio can be given" if comparison.references else "none of these models"
    return f"Published: {MACHINE}, {shown}{left_out}"


def reference_table(comparison: Comparison) -> Table:
    table = [["ms", "", "first run", "n", "warm p50", "n"]]
    for reference in comparison.references:
        name = reference.model
        for column in comparison.columns:
            if column.name in reference.columns:
                table.append([name, f"{column.name}, here: inferring", *own_cells(column)])
                name = ""
        table.append([name, f"{MACHINE}: {reference.published.framework}", *published_cells(reference)])
    return table


def own_cells(column: Column) -> list[str]:
    first, row = column.series.starts_us("first_us"), column.row("infer_us")
    warm = [milliseconds(row.p50_us), f"{row.n:,}"] if row else ["–", ""]
    return [median(first), str(len(first) or ""), *warm]


def published_cells(reference: Reference) -> list[str]:
    first, warm = reference.published.first_us, reference.published.warm_us
    if not reference.published.is_measured:
        return ["not measured", "", "not measured", ""]
    return [median(first), str(len(first) or ""), median(warm), str(len(warm) or "one run only")]


def median(values_us: Sequence[float]) -> str:
    return milliseconds(float(np.median(values_us)) if values_us else None)
