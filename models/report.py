"""What the commands `models list`, `models pull` and `models verify` tell. The caller prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from models.catalogue import CATALOGUE, ModelFile, ModelSpec, find_spec
from models.files import State, place, pull, verify


class ListRow(NamedTuple):
    """A model and one backend that can run it."""

    name: str
    backend: str
    size_bytes: int | None  # on disk; None: not there
    to_pull_bytes: int  # 0 when it is there
    input_size: tuple[int, int]  # (width, height)
    licence: str
    about: str


class VerifyRow(NamedTuple):
    name: str
    path: Path
    state: State
    reason: str


def list_rows(models_dir: Path | None = None) -> list[ListRow]:
    """The whole catalogue. Looks at sizes only, so it is quick; `verify_rows` reads."""
    rows = []
    for spec in CATALOGUE.values():
        for backend, file in spec.files.items():
            size = size_of(place(file, models_dir))
            missing = 0 if size == file.size else file.size
            rows.append(
                ListRow(spec.name, backend, size, missing, spec.recipe.size, spec.licence, spec.about)
            )
    return rows


def verify_rows(models_dir: Path | None = None) -> list[VerifyRow]:
    """Every file of every model, each once, read and compared."""
    rows: dict[Path, VerifyRow] = {}
    for spec in CATALOGUE.values():
        for file in files_of(spec):
            path = place(file, models_dir)
            if path not in rows:
                rows[path] = VerifyRow(spec.name, path, *verify(file, path))
    return list(rows.values())


def pull_models(names: Iterable[str], models_dir: Path | None = None) -> Iterator[str]:
    """Pull all files of these models; a line for each file, when it is there. A wrong name pulls nothing."""
    for spec in [find_spec(name) for name in names]:
        for file in files_of(spec):
            fetched = pull(spec.name, file, models_dir)
            yield f"{spec.name}: {place(file, models_dir)} {'is here now' if fetched else 'was here already'}"


def list_table(rows: list[ListRow]) -> str:
    cells: list[tuple[str, ...]] = [("model", "backend", "on disk", "input", "licence", "about")]
    for row in rows:
        if row.size_bytes is None:
            disk = f"no, {megabytes(row.to_pull_bytes)} to pull"
        else:
            disk = "damaged" if row.to_pull_bytes else megabytes(row.size_bytes)
        width, height = row.input_size
        cells.append((row.name, row.backend, disk, f"{width}x{height}", row.licence, row.about))
    return table(cells)


def verify_table(rows: list[VerifyRow]) -> str:
    cells: list[tuple[str, ...]] = [("model", "state", "file", "reason")]
    for row in rows:
        cells.append((row.name, row.state, str(row.path), row.reason if row.state == "wrong" else ""))
    return table(cells)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def files_of(spec: ModelSpec) -> list[ModelFile]:
    """What running the model needs, each file once: a backend may share another's."""
    return list(dict.fromkeys((*spec.files.values(), spec.labels)))


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
