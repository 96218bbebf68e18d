"""Tables of text: for a terminal, for Markdown. Cells are text already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

NUMERIC = frozenset("0123456789.,-–%")


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the heading. Columns are as wide as their widest cell; numbers stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [is_numeric(column[1:]) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    heading, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    marks = ["---:" if is_numeric(column) else "---" for column in zip(*body, strict=True)] or ["---"] * len(
        heading
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, marks, *body))


def is_numeric(cells: Sequence[str]) -> bool:
    return all(cell[:1] in NUMERIC for cell in cells if cell) and any(cells)


def number(value: float | None, digits: int = 2) -> str:
    """A dash for what there is none of."""
    return "–" if value is None else f"{value:,.{digits}f}"


def milliseconds(duration_us: float | None) -> str:
    """Three digits or so that mean something: 0.042, 4.21, 42.1, 421."""
    if duration_us is None:
        return "–"
    value = duration_us / 1000
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def megabytes(size_bytes: float | None) -> str:
    return "–" if size_bytes is None else f"{size_bytes / 1e6:,.0f}"


def minute_utc(seconds: object) -> str:
    """A log's clock time; empty for what is none."""
    if not isinstance(seconds, (int, float)):
        return ""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return ""
