"""Writes the log, JSON Lines, from its own thread: a full disk or a slow card costs lines, never frames.

    {"rec":"run",...}      first in every file, so that each can be read alone
    {"rec":"frame",...}    and "video" and "event", as they are handed over
    {"rec":"summary",...}  last

A benchmark's file holds many runs, one after the other.

FILE is the newest. When it is full it becomes FILE.1, FILE.1 becomes FILE.2, and so on. So does the FILE of
an earlier command when a new one starts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stream.host import host_facts
from stream.statistics import Statistics

log = logging.getLogger(__name__)

Record = dict[str, Any]
Sink = Callable[[Record], None]

WEATHER = (errno.ENOSPC, errno.EDQUOT)  # at start a full disk is to be waited for, anything else is a mistake
DRAIN_S = 0.5  # what close() gives the lines that still wait
END_S = 0.4  # and the summary and the disk

NO_FILE = -1  # a descriptor that every call refuses with an OSError


class LogError(Exception):
    """A log that cannot be written or read. One line: what happened, what to type now."""


def run_record(command: str) -> Record:
    """The beginning of a log's first record: which machine, when, by which command."""
    return {"rec": "run", "schema": 1, "command": command, "pid": os.getpid(), **_now(), **host_facts()}


def event_record(event: str, detail: str) -> Record:
    """What happened now."""
    return {"rec": "event", "event": event, "detail": detail, **_now()}


def _now() -> Record:
    return {"t_ns": time.monotonic_ns(), "t_utc": time.time()}


class JsonLog:
    """A Sink that writes to a file. Calling it never waits or raises, in any thread: a line is lost instead.

    A record handed over belongs to the log. A `run` record, if not given at once, ends the run before it.
    Scores come rounded; NaN, which JSON lacks, becomes null.
    """

    def __init__(
        self,
        path: Path,
        run: Record | None,
        *,
        max_bytes: int = 64 << 20,  # about 1.5 hours at 30 frames a second
        keep: int = 5,  # older files, at least one
        queue_size: int = 4096,  # about a minute of a card that does not answer
        retry_s: float = 5.0,  # after a failure
        drain_s: float = DRAIN_S,
    ) -> None:
        self.statistics = Statistics()
        self.path = path
        self._running = run is not None
        self._file = _Files(path, _line(run) if run else b"", max_bytes, keep)
        self._queue_size = queue_size
        self._retry_s = retry_s
        self._drain_s = drain_s

        self._change = threading.Condition()  # guards the next four
        self._waiting: deque[Record] = deque()
        self._lost = 0
        self._closed = False
        self._give_up_at = math.inf

        self._told = 0  # of the lost lines, those an event in the log tells of
        self._tell_at = self._retry_at = -math.inf
        self._failing = False

        try:
            self._file.begin()
        except OSError as error:
            if error.errno not in WEATHER:
                advice = _advice(error, path)
                raise LogError(f"cannot write the log {path}: {error.strerror}; {advice}") from None
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def __call__(self, record: Record) -> None:
        with self._change:
            full = len(self._waiting) >= self._queue_size and record.get("rec") != "run"
            if self._closed or full:
                self._lost += 1
                return
            self._waiting.append(record)
            self._change.notify()

    def __enter__(self) -> JsonLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lost_lines(self) -> int:
        with self._change:
            return self._lost

    @property
    def size_bytes(self) -> int:
        """Of the newest file."""
        return self._file.size_bytes

    def close(self) -> None:
        """Takes little longer than `drain_s` whatever the disk does: a writer that hangs is left behind."""
        with self._change:
            self._closed = True
            self._give_up_at = min(self._give_up_at, time.monotonic() + self._drain_s)
            self._change.notify()
        self._thread.join(self._drain_s + END_S)
        if self._thread.is_alive():
            log.warning("the log %s has no end: the disk did not take its last lines in time", self.path)
            while (record := self._next()) is not None:
                self.statistics.add(record)
                self._lose()

    def _work(self) -> None:
        while (record := self._next()) is not None:
            begins = record.get("rec") == "run"
            if begins:
                self._end_run()
                self.statistics, self._running = Statistics(), True
            self.statistics.add(record)
            due = self._retry_at <= time.monotonic() < self._give_up_at
            written = due and self._write(record)
            if not due:
                self._lose()
            if begins:
                self._file.head = _line(record)
                if not written:
                    self._file.renew()  # what follows is not to stand behind the run before
        self._end_run()
        self._file.close()

    def _end_run(self) -> None:
        if self._running:
            self._write(self.statistics.summary(self.lost_lines))

    def _next(self) -> Record | None:
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None

    def _write(self, record: Record) -> bool:
        """Whether it is in the file; if not, it counts as lost."""
        lost = self.lost_lines
        tells = lost > self._told and time.monotonic() >= self._tell_at
        try:
            lines = (_line(_loss(lost - self._told)) if tells else b"") + _line(record)
        except (TypeError, ValueError, RuntimeError) as error:  # the last: changed meanwhile, or without end
            self._lose()
            log.warning("the log %s lost a record that is not JSON: %s", self.path, error)
            return False
        try:
            self._file.append(lines)
        except OSError as error:
            self._lose()
            self._retry_at = time.monotonic() + self._retry_s
            if not self._failing:
                log.warning("the log %s loses lines: %s; all else goes on", self.path, error.strerror)
            self._failing = True
            return False
        if tells:
            self._told = lost
            self._tell_at = time.monotonic() + self._retry_s
        if self._failing:
            log.info("the log %s is written again; %d lines are lost so far", self.path, lost)
        self._failing = False
        return True

    def _lose(self) -> None:
        with self._change:
            self._lost += 1


class _Files:
    """FILE, FILE.1, ..., each beginning with `head`. An OSError leaves no part of the lines in the file."""

    def __init__(self, path: Path, head: bytes, max_bytes: int, keep: int) -> None:
        self._path = path.resolve()  # renaming a link would leave the disk it points to
        self.head = head
        self._max_bytes = max_bytes
        self._keep = keep
        self._fd = NO_FILE
        self._size = 0  # of whole lines
        self._begun = False  # `head` is in it
        self._torn = False  # a failed write has left something behind them

    @property
    def size_bytes(self) -> int:
        return self._size

    def append(self, lines: bytes) -> None:
        full = self._size + len(lines) > self._max_bytes and self._size > len(self.head)
        if full or not self._is_ours():
            self.begin()
        self._write(lines)

    def renew(self) -> None:
        """What comes next stands in a fresh FILE, behind `head`."""
        self._begun = False

    def begin(self) -> None:
        """Starts a fresh FILE. One with something in it makes room first."""
        self._release()
        self._fd = self._open()
        if os.fstat(self._fd).st_size:
            self._release()
            self._shift()
            self._fd = self._open()
        self._write(self.head)
        self._begun = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        self._release()

    def _is_ours(self) -> bool:
        """Whether FILE is still what we write, with our head: not deleted, renamed or emptied by others."""
        if not self._begun:
            return False
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd)) and there.st_size >= self._size

    def _open(self) -> int:
        # O_NONBLOCK: opening a FIFO that nobody reads would wait for ever.
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file")
            _lock(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _release(self) -> None:
        fd, self._fd, self._size = self._fd, NO_FILE, 0
        self._begun = self._torn = False
        with contextlib.suppress(OSError):  # NFS and FUSE tell of an earlier write's failure here
            os.close(fd)

    def _shift(self) -> None:
        """FILE becomes FILE.1, FILE.1 FILE.2, up to the first free number; with none free the oldest goes."""
        names = [self._path] + [Path(f"{self._path}.{number}") for number in range(1, self._keep + 1)]
        free = next((number for number, name in enumerate(names) if not name.exists()), self._keep)
        for number in range(free, 0, -1):
            names[number - 1].replace(names[number])

    def _write(self, lines: bytes) -> None:
        if self._torn:
            self._take_back()
        self._torn = True
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            self._take_back()
            raise
        self._size += len(lines)
        self._torn = False

    def _take_back(self) -> None:
        os.ftruncate(self._fd, self._size)
        self._torn = False


def read_log(path: Path) -> Iterator[Record]:
    """The records of one file. A last line that was cut off is left out; a bad one elsewhere: LogError."""
    return (record for _, record in read_lines(path) if record is not None)


def read_lines(path: Path) -> Iterator[tuple[int, Record | None]]:
    """The same with the lines' numbers, from 1; None for a last line that was cut off."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise LogError(f"cannot read {path}: {error.strerror}; name a file that --log wrote") from None
    with file:
        for number, line in enumerate(file, start=1):
            record = _parsed(line)
            if isinstance(record, dict):
                yield number, record
            elif line.endswith(b"\n"):
                raise LogError(f"{path}, line {number}: not a record of a log; name a file that --log wrote")
            else:
                yield number, None


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # the latter: ten thousand brackets
        return None


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), default=_plain)
    if "NaN" in text or "Infinity" in text:  # a broken model's scores: a line wanted more than any other
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":"))
    return text.encode() + b"\n"


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's; anything else (a path) as its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _loss(lines: int) -> Record:
    return {"rec": "event", "event": "log_lost", "lost_lines": lines, **_now()}


def _lock(fd: int) -> None:
    """Two runs on one file would rename it away under each other."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "another run is writing it") from None
    except OSError:
        pass  # a file system without locks


def _advice(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOENT:
        return f"make its folder first: mkdir -p {path.parent}"
    if error.errno == errno.EISDIR:
        return f"name a file in it: --log {path / 'labelcam.jsonl'}"
    return "name another file: --log FILE.jsonl"
