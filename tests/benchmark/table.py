"""What a measurement is, and the table of all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, its peer's measured in the same run, and the ratio of the two that is wanted.

    Without a peer, or if `absolute`, the target is a bound of the figure itself. Without a target it is told
    for its own sake.
    """

    figure: str
    ours: float
    unit: str
    peer: str
    theirs: float | None
    target: float | None
    at_least: bool = False  # the target is a floor, not a ceiling
    n: int | None = None
    absolute: bool = False

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        value = self.ours if self.absolute or self.ratio is None else self.ratio
        return value >= self.target if self.at_least else value <= self.target

    def cells(self) -> tuple[str, ...]:
        unit = "" if self.ratio is not None and not self.absolute else f" {self.unit}"
        wanted = "–" if self.target is None else f"{'≥' if self.at_least else '≤'} {self.target:g}{unit}"
        return (
            self.figure,
            f"{self.ours:.4g} {self.unit}",
            self.peer or "–",
            "–" if self.theirs is None else f"{self.theirs:.4g} {self.unit}",
            "–" if self.ratio is None else f"{self.ratio:.3f}",
            wanted,
            "–" if self.target is None else "yes" if self.met else "**no**",
            "–" if self.n is None else f"{self.n:,}",
        )


HEAD = ("figure", "Labelcam", "peer", "the peer's", "ratio", "target", "met", "n")


def markdown(rows: list[Row]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
