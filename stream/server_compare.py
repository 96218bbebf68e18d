"""The routes of logs: one to download the current one, one to pick some and see them compared."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

from flask import Flask, Response, render_template, request, send_file

from stream.compare_process import Comparer, NoReport
from stream.log import LogError
from stream.log_folder import LogFile, LogFolder, open_regular, printable
from stream.server_errors import refusal
from stream.tables import minute_utc

MOST_COMPARED = 20
NAMED = 5
"""Files that are no logs are named up to so many."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
"""What the report may do: it brings its style with it, and needs nothing else."""
NO_LOG = "Labelcam is not writing a log."


def add_compare(app: Flask, logs: Sequence[Path], comparer: Comparer) -> None:
    """`logs` are being written, in one folder. Who made the comparer closes it: a comparison may be in the
    making then."""
    folder = LogFolder(logs) if logs else None

    @app.get("/compare")
    def pick() -> Response:
        if folder is None:
            return told(HTTPStatus.NOT_FOUND, "No log folder", NO_LOG, "python run.py --log live.jsonl")
        try:
            listed = folder.list()
        except LogError as error:
            return told(HTTPStatus.NOT_FOUND, "No log folder", f"{error}.")
        return Response(
            render_template(
                "compare_pick.html",
                logs=listed.logs,
                older=listed.older,
                others=listed.others[:NAMED],
                more=len(listed.others[NAMED:]),
                current=folder.current,
                most=MOST_COMPARED,
                moment=minute_utc,
                size=size,
                drawing=find_spec("matplotlib") is not None,
            )
        )

    @app.post("/compare")
    def report() -> Response:
        if folder is None:
            return told(HTTPStatus.NOT_FOUND, "No log folder", NO_LOG, "python run.py --log live.jsonl")
        try:
            logs = chosen(folder)
            page = comparer.page(folder.path, logs)
        except LogError as error:
            return told(HTTPStatus.BAD_REQUEST, "Nothing to compare", str(error))
        except NoReport as error:
            response = told(error.status, "No comparison", str(error))
            if error.retry_s:
                response.headers["Retry-After"] = str(error.retry_s)
            return response
        return Response(
            page, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": REPORT_POLICY}
        )


def download(log: Path | None) -> Response:
    """The log that is being written; its path is resolved, as a link may lead elsewhere by now."""
    if log is None:
        return refusal(HTTPStatus.NOT_FOUND, "no log is written: start with --log FILE.jsonl")
    try:
        return attachment(log)
    except OSError as error:
        return refusal(HTTPStatus.NOT_FOUND, f"the log cannot be read now: {error.strerror}")


def chosen(folder: LogFolder) -> list[LogFile]:
    """The base, then the others: what is listed now under the names that were sent. Raises LogError."""
    listed = {one.key: one for one in folder.list().logs}
    base, others = request.form.getlist("base"), request.form.getlist("log")
    if not base:
        raise LogError("Choose the log that is the base.")
    keys = list(dict.fromkeys([*base, *others]))
    if len(base) > 1 or not set(keys) <= set(listed):
        raise LogError("A log that was chosen is not there any more.")
    if len(keys) > MOST_COMPARED:
        raise LogError(f"Choose {MOST_COMPARED} logs at most.")
    return [listed[key] for key in keys]


class Steady(io.FileIO):
    """A file that may be shortened while it is sent: then the connection is cut. waitress would ask it again
    and again for what is gone."""

    def read(self, size: int | None = -1, /) -> bytes:
        taken = super().read(-1 if size is None else size) or b""
        if size and not taken:
            raise OSError(errno.ENODATA, "it is shorter than it was")
        return taken


def attachment(path: Path) -> Response:
    """The whole lines that are in the file now; waitress sends them while it grows. Raises OSError."""
    file = Steady(open_regular(path))
    try:
        length = whole_lines(file.fileno())
    except OSError:
        file.close()
        raise
    if not length:
        file.close()
    response = send_file(
        file if length else io.BytesIO(),
        "application/x-ndjson",
        as_attachment=True,
        download_name=re.sub(r"[^\w.-]", "_", path.name),
        conditional=False,
    )
    response.headers["Cache-Control"] = "no-store"
    response.content_length = length
    return response


def whole_lines(descriptor: int) -> int:
    """How many bytes they are: the last line may be half written, or taken back again on a full disk."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - (1 << 16))
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def told(status: HTTPStatus, headline: str, reason: str, typed: str = "") -> Response:
    """A small page that says so, with the way back."""
    back = request.method == "POST"
    page = render_template(
        "compare_told.html", headline=headline, reason=printable(reason), typed=typed, back=back
    )
    return Response(page, status)


def size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
