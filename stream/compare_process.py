"""Makes a comparison's page in a process of its own: reading a million lines holds Python's lock for seconds,
and the video never waits."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from stream.log_folder import LogFile

log = logging.getLogger(__name__)

RUN = Path(__file__).resolve().parent.parent / "run.py"
LIMIT_S = 120.0
LOOK_S = 0.05  # how often it is looked at
RETRY_S = 5
END_S = 0.5  # how long close() waits for a killed process to be gone
PREFIX = "labelcam: "
"""What the line begins with that a command ends with, if it failed as expected."""
NO_DRAWING = "compare --html needs matplotlib"


class NoReport(Exception):
    """There is no page. One line: why, and what to type now."""

    def __init__(self, status: HTTPStatus, reason: str, retry_s: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.retry_s = status, retry_s


class Comparer:
    """Compares logs, one comparison at a time; the newest page is kept. `close` ends it, wherever it is."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._busy = threading.Lock()
        self._ending = threading.Event()
        self._kept: tuple[object, bytes] = None, b""

    def page(self, folder: Path, logs: Sequence[LogFile]) -> bytes:
        """Of logs in one folder; the first is the base. Raises NoReport."""
        key = tuple((one.name, one.size_bytes, one.changed_ns) for one in logs)
        kept, page = self._kept
        if kept == key:
            return page
        if not self._busy.acquire(blocking=False):
            reason = "Another comparison is being made; try again in a few seconds."
            raise NoReport(HTTPStatus.SERVICE_UNAVAILABLE, reason, RETRY_S)
        try:
            page = self._made(folder, [one.name for one in logs])
            self._kept = key, page
        except OSError as error:
            reason = f"The comparison cannot be made here: {error.strerror}."
            raise NoReport(HTTPStatus.SERVICE_UNAVAILABLE, reason) from error
        finally:
            self._busy.release()
        return page

    def close(self) -> None:
        """Kills a comparison that is being made. There will be none any more."""
        self._ending.set()
        if self._busy.acquire(timeout=END_S):
            self._busy.release()

    def _made(self, folder: Path, names: Sequence[str]) -> bytes:
        with tempfile.TemporaryDirectory(prefix="labelcam-compare-") as own:
            page, errors = Path(own, "report.html"), Path(own, "errors")
            with errors.open("wb") as written:
                status = self._run([*command(names), "--html", str(page)], folder, written.fileno())
            if status == 0:
                return page.read_bytes()
            lines = errors.read_text(errors="replace").splitlines()
        if self._ending.is_set():
            raise NoReport(HTTPStatus.SERVICE_UNAVAILABLE, "Labelcam is ending.")
        if status is None:
            typed = shlex.join(["python", "run.py", "compare", *names, "--html", "report.html"])
            reason = f"This takes more than {self._limit_s:g} s. In the logs' folder, type: {typed}"
            raise NoReport(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        raise failure(status, lines)

    def _run(self, words: Sequence[str], folder: Path, errors: int) -> int | None:
        """Its exit status; None if it was killed, for it took too long or there is no more time."""
        process = subprocess.Popen(
            words,
            cwd=folder,  # so that what it says names logs, and not where they lie
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        make_least(process.pid)
        until_s = time.monotonic() + self._limit_s
        while process.poll() is None:
            if self._ending.wait(LOOK_S) or time.monotonic() > until_s:
                os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
                process.wait()
                return None
        return process.returncode


def command(names: Sequence[str]) -> list[str]:
    """`./` keeps names from being options or, with @, files of options."""
    return [sys.executable, str(RUN), "compare", *(f"./{name}" for name in names)]


def make_least(pid: int) -> None:
    """Last when processor time is shared, first when memory is short."""
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    # A session is a scheduling group where the kernel makes such, and nice counts within a group only.
    for name, value in (("autogroup", "19"), ("oom_score_adj", "1000")):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/{name}").write_text(value)


def failure(status: int, lines: Sequence[str]) -> NoReport:
    """Of a failed command, from what it said last."""
    told = [place for place, line in enumerate(lines) if line.startswith(PREFIX)]
    if status == 1 and told:
        reason = " ".join(lines[told[-1] :]).removeprefix(PREFIX)  # more than one only by a log's odd name
        wrong = HTTPStatus.NOT_IMPLEMENTED if reason.startswith(NO_DRAWING) else HTTPStatus.BAD_REQUEST
        return NoReport(wrong, reason)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    log.error("a comparison failed, %s: %s", how, lines[-1] if lines else "it said nothing")
    return NoReport(HTTPStatus.INTERNAL_SERVER_ERROR, f"The comparison failed ({how}).")
