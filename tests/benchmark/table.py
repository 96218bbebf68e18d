"""What a measurement is, and the table of all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, its peer's measured in the same run, and the ratio of the two that is wanted.

    Without a peer the target is a bound of the figure itself.
    """

    figure: str
    ours: float
    unit: str
    peer: str
    theirs: float | None
    target: float
    at_least: bool = False  # the target is a floor, not a ceiling
    n: int | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else self.ours / self.theirs

    @property
    def met(self) -> bool:
        value = self.ours if self.ratio is None else self.ratio
        return value >= self.target if self.at_least else value <= self.target

    def cells(self) -> tuple[str, ...]:
        sign, unit = "≥" if self.at_least else "≤", "" if self.ratio is not None else f" {self.unit}"
        return (
            self.figure,
            f"{self.ours:.4g} {self.unit}",
            self.peer or "–",
            "–" if self.theirs is None else f"{self.theirs:.4g} {self.unit}",
            "–" if self.ratio is None else f"{self.ratio:.3f}",
            f"{sign} {self.target:g}{unit}",
            "yes" if self.met else "**no**",
            "–" if self.n is None else f"{self.n:,}",
        )


HEAD = ("figure", "Labelcam", "peer", "the peer's", "ratio", "target", "met", "n")


def markdown(rows: list[Row]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
