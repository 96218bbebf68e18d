"""Files that a command writes when it is done: looked at before it begins, and never half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


class OutputError(Exception):
    """A file cannot be written. One line: what happened, what to type now."""


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path] = ()) -> None:
    """Raise OutputError now rather than when an hour's work is to be written, or written over."""
    taken = {path.resolve() for path in inputs}
    for path in filter(None, outputs):
        if path.resolve() in taken:
            raise OutputError(f"{path} is given twice - name another file to write")
        taken.add(path.resolve())
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OutputError(f"{path} is not a regular file - name one")
        if not path.parent.is_dir():
            raise OutputError(f"there is no folder {path.parent} - type: mkdir -p {path.parent}")
        if path.is_dir():
            raise OutputError(f"{path} is a folder - name a file in it")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"no permission to write into {path.parent} - name another file")


def write_whole(path: Path, text: str) -> None:
    """The file bears its name when all of it is there. Raises OutputError."""
    try:
        path = path.resolve()  # a link stays one
        mask = os.umask(0)
        os.umask(mask)
        with tempfile.NamedTemporaryFile(
            "w",
            encoding="utf-8",
            errors="backslashreplace",  # a log's name may be no text
            dir=path.parent,
            prefix=f".{path.name}.",
            delete=False,
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~mask)
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror} - name another file") from error
