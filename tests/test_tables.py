from __future__ import annotations

from stream.tables import markdown_table, megabytes, milliseconds, number, text_table

ROWS = [["model", "p50"], ["a", "9.50"], ["a longer one", "–"]]


def test_a_table_lines_up_numbers_to_the_right() -> None:
    assert text_table(ROWS).splitlines() == [
        "model          p50",
        "a             9.50",
        "a longer one     –",
    ]


def test_a_table_of_a_heading_alone_is_one_line() -> None:
    assert text_table(ROWS[:1]) == "model  p50"
    assert markdown_table(ROWS[:1]).splitlines() == ["| model | p50 |", "| --- | --- |"]


def test_markdown_keeps_what_would_be_a_border() -> None:
    assert markdown_table([["model"], ["a|b"]]).splitlines()[2] == "| a\\|b |"


def test_durations_keep_three_digits_or_so() -> None:
    shown = [milliseconds(us) for us in (None, 0, 42.4, 4_214, 42_140, 421_400, 4_214_000)]
    assert shown == ["–", "0.000", "0.042", "4.21", "42.1", "421", "4,214"]
    assert (number(None), number(0.91234, 3), megabytes(None), megabytes(96_460_800)) == (
        "–",
        "0.912",
        "–",
        "96",
    )
