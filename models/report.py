"""What the commands `models list`, `models pull` and `models verify` tell. The caller prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from models.catalogue import CATALOGUE, LIBRARIES, ModelFile, ModelSpec, find_spec
from models.errors import ModelError
from models.files import State, make_command, place, pull, pull_command, verify


class ListRow(NamedTuple):
    """A model and one backend that can run it."""

    spec: ModelSpec
    backend: str
    size_bytes: int | None  # on disk; None: not there

    @property
    def file(self) -> ModelFile | None:
        """None: the backend's library brings the model."""
        return self.spec.files.get(self.backend)


class VerifyRow(NamedTuple):
    name: str
    path: Path
    state: State
    reason: str


def list_rows(models_dir: Path | None = None) -> list[ListRow]:
    """The whole catalogue. Looks at sizes only, so it is quick; `verify_rows` reads."""
    rows = []
    for spec in CATALOGUE.values():
        for backend in spec.backends:
            file = spec.files.get(backend)
            rows.append(ListRow(spec, backend, size_of(place(file, models_dir)) if file else None))
    return rows


def verify_rows(models_dir: Path | None = None) -> list[VerifyRow]:
    """Every file of every model, each once, read and compared."""
    rows: dict[Path, VerifyRow] = {}
    for spec in CATALOGUE.values():
        for file in files_of(spec):
            path = place(file, models_dir)
            if path not in rows:
                check = verify(file, path)
                rows[path] = VerifyRow(spec.name, path, check.state, check.reason)
    return list(rows.values())


def pullable() -> list[str]:
    """The names of all models that have something to download."""
    return [spec.name for spec in CATALOGUE.values() if is_pulled(spec)]


def pull_models(names: Iterable[str], models_dir: Path | None = None) -> Iterator[str]:
    """Pull what these models need, and say so, a line for each file. A wrong name pulls nothing.

    Of several models, those after one that failed are still pulled; the ModelError comes in the end.
    """
    specs = [find_spec(name) for name in dict.fromkeys(names)]
    failed: list[str] = []
    for spec in specs:
        for file in files_of(spec):
            path = place(file, models_dir)
            if file.made_by is not None:
                if size_of(path) is None:
                    yield f"{spec.name}: {file.name} is made here, type: {make_command(file.made_by, path)}"
                continue
            try:
                fetched = pull(spec.name, file, models_dir)
            except ModelError as error:
                if len(specs) == 1:
                    raise
                failed.append(spec.name)
                yield str(error)
                continue
            if file.url:
                state = "is here now" if fetched else "was here already"
                unproven = "" if file.digest else ", unproven: its publisher states no digest"
                yield f"{spec.name}: {path} {state}{unproven}"
        if not is_pulled(spec) and spec.name not in failed:
            origin = f"comes with {LIBRARIES[spec.comes_with]}" if spec.comes_with else "is part of Labelcam"
            yield f"{spec.name}: {origin}, there is nothing to pull"
    if failed:
        again = pull_command(" ".join(dict.fromkeys(failed)))
        raise ModelError(f"not everything could be pulled - type again: {again}")


def is_pulled(spec: ModelSpec) -> bool:
    """Whether some of it is to be downloaded here."""
    return any(file.url for file in files_of(spec))


def list_table(rows: list[ListRow]) -> str:
    """A line for each row, and above those of one origin a line about it."""
    cells: list[tuple[str, ...]] = [("model", "backend", "on disk", "input", "outputs", "licence")]
    for row in rows:
        spec, (width, height) = row.spec, row.spec.recipe.size
        grey = " grey" if spec.recipe.order == "gray" else ""
        outputs = f"{spec.outputs}*" if spec.background else f"{spec.outputs}"
        size = f"{width}x{height}{grey}"
        cells.append((spec.name, row.backend, on_disk(row), size, outputs, spec.licence))
    head, *lines = table(cells).splitlines()
    shown, about = [head], ""
    for row, line in zip(rows, lines, strict=True):
        if row.spec.about != about:
            about = row.spec.about
            shown += ["", f"{about}:"]
        shown.append(line)
    return "\n".join([*shown, "", "* with the background, the first of them, which is never shown"])


def on_disk(row: ListRow) -> str:
    file = row.file
    if file is None:
        return f"comes with {LIBRARIES[row.backend]}"
    if row.size_bytes is None:
        what = "make" if file.made_by else "pull"
        return f"no, {megabytes(file.size)} to {what}" if file.size else "no, size not published"
    return "damaged" if file.size not in (None, row.size_bytes) else megabytes(row.size_bytes)


def verify_table(rows: list[VerifyRow]) -> str:
    cells: list[tuple[str, ...]] = [("model", "state", "file", "reason")]
    for row in rows:
        reason = "" if row.state == "missing" else row.reason
        cells.append((row.name, row.state, str(row.path), reason))
    return table(cells)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.0f} kB"


def files_of(spec: ModelSpec) -> list[ModelFile]:
    """What running the model needs, each file once: a backend may share another's."""
    return list(dict.fromkeys((*spec.files.values(), spec.labels)))


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
