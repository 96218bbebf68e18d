"""Files that a command writes when it is done: looked at before it begins, and never half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


class OutputError(Exception):
    """A file cannot be written. One line: what happened, what to type now."""


def check_outputs(paths: Iterable[Path | None]) -> None:
    """Raise OutputError now rather than when an hour's work is to be written."""
    for path in paths:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise OutputError(f"there is no folder {path.parent} - type: mkdir -p {path.parent}")
        if path.is_dir():
            raise OutputError(f"{path} is a folder - name a file in it")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"no permission to write into {path.parent} - name another file")


def write_whole(path: Path, text: str) -> None:
    """The file bears its name when all of it is there. Raises OutputError."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror} - name another file") from error
