"""Which logs lie in the folder that --log writes to, and what each of them is by its own first line."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from stream.log import LogError, Record

MOST = 200
"""Logs that are looked into. The list says how many older ones there are."""
HEAD_BYTES = 1 << 16
"""Of a log's first line, its run record, which takes two thousand."""
LONGEST = 200
"""Characters of a fact that anybody may have written."""

NAMES = r"(.+\.jsonl|{ours})(\.\d+)?"


@dataclass(frozen=True)
class LogFile:
    """A log, by its first run. All but `name` can be shown as it is; escaped in HTML, as ever."""

    name: str  # the file system's: any characters but a slash, and bytes that are none as surrogates
    size_bytes: int
    changed_ns: int
    command: str  # live, bench; the facts are empty where the log does not say
    model: str
    backend: str
    runtime: str
    started_s: float | None
    part_of: str  # the name of the newer file with the same beginning: a comparison reads that with this

    @property
    def key(self) -> str:
        """Its name in ASCII, which no form changes: browsers rewrite newlines, and know no odd bytes."""
        return quote(os.fsencode(self.name), safe="")

    @property
    def title(self) -> str:
        return printable(self.name)


@dataclass(frozen=True)
class LogList:
    logs: tuple[LogFile, ...]  # newest first
    others: tuple[str, ...]  # titles of files that are named like logs and begin with no run record
    older: int  # not looked into


class LogFolder:
    """The folder of the logs that are being written. Links are left out, and folders in it: what is listed
    lies here."""

    def __init__(self, logs: Sequence[Path]) -> None:
        files = [log.resolve() for log in logs]  # a link's log is written, and rotated, where it points to
        self.path = files[0].parent
        self.current = frozenset(file.name for file in files)
        ours = "|".join(map(re.escape, sorted(self.current)))
        self._names = re.compile(NAMES.format(ours=ours), re.DOTALL)

    def list(self) -> LogList:
        """As it is now. Raises LogError."""
        files = sorted(self._files(), key=lambda file: (-file[1].st_mtime_ns, file[0]))
        runs = {name: run_of(head_of(self.path / name)) for name, _ in files[:MOST]}
        logs, others = [], []
        for name, facts in files[:MOST]:
            record = runs[name]
            if record is None:
                others.append(printable(name))
                continue
            newer = name.rpartition(".")[0]
            part_of = newer if same_process(record, runs.get(newer)) else ""
            logs.append(log_of(name, facts, record, part_of))
        return LogList(tuple(logs), tuple(others), len(files[MOST:]))

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if self._names.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        try:
                            yield entry.name, entry.stat(follow_symlinks=False)
                        except FileNotFoundError:  # rotated away meanwhile
                            continue
        except OSError as error:
            raise LogError(f"cannot read the log folder: {error.strerror}") from None


def same_process(record: Record, newer: Record | None) -> bool:
    """Its older part, then: a command begins a file of its own."""
    if newer is None:
        return False
    return all(record.get(field) == newer.get(field) for field in ("host", "pid", "command"))


def open_regular(path: Path) -> int:
    """A descriptor to read from, of a file that is no link, no FIFO, no device. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file")
    return descriptor


def head_of(path: Path) -> bytes:
    """Its first line; empty if it has none, or cannot be read."""
    try:
        descriptor = open_regular(path)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            line, newline, _ = (file.read(HEAD_BYTES) or b"").partition(b"\n")
    except OSError:
        return b""
    return line if newline else b""


def run_of(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # the latter: ten thousand brackets
        return None
    return record if isinstance(record, dict) and record.get("rec") == "run" else None


def log_of(name: str, facts: os.stat_result, run: Record, part_of: str) -> LogFile:
    started_s = run.get("t_utc")
    return LogFile(
        name,
        facts.st_size,
        facts.st_mtime_ns,
        command=told(run, "command"),
        model=told(run, "model"),
        backend=told(run, "backend", "mode"),
        runtime=told(run, "runtime", "runtime_version"),
        started_s=started_s if isinstance(started_s, (int, float)) else None,
        part_of=printable(part_of),
    )


def told(run: Record, *fields: str) -> str:
    """What these fields say, if they are text."""
    values = (run.get(field) for field in fields)
    return printable(" ".join(value for value in values if isinstance(value, str)))[:LONGEST]


def printable(text: str) -> str:
    """Without what would break a line, turn the writing round, or cannot be encoded."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
