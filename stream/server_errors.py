"""What is answered where something is wrong: one line, JSON or a small page, and never what was asked."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from markupsafe import escape
from werkzeug.exceptions import HTTPException

POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' blob:",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""What our pages may load: nothing from elsewhere, nothing written into them."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""How every answer is to be treated, a waitress's own too."""

PAGES = ("", "compare")
MACHINES = ("api", "stream", "stream.mjpg", "snapshot", "snapshot.jpg", "log", "metrics", "healthz", "readyz")
"""The first part of a path, behind a camera's, for whom what is wrong is told: as a page, as JSON; else by
what is asked for."""

REASONS = {
    HTTPStatus.NOT_FOUND: "nothing is here",
    HTTPStatus.METHOD_NOT_ALLOWED: "that cannot be done to this address",
    HTTPStatus.INTERNAL_SERVER_ERROR: "this is a bug of Labelcam: what went wrong is in its log",
}
"""In better words than the standard's."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title} - Labelcam</title>
<h1>{title}</h1>
<p>{reason}</p>
<p><a href="/">Labelcam</a></p>
</html>
"""


def add_errors(app: Flask) -> None:
    """For what is raised, too: Flask writes a bug's traceback into the log, and makes a 500 of it."""

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response | HTTPException:
        if error.response is not None or error.code is None or error.code < 400:
            return error  # all is said
        status = HTTPStatus(error.code)
        response = told(status, REASONS.get(status, status.phrase.lower()))
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After"):
                response.headers[name] = value
        return response


def told(status: HTTPStatus, reason: str) -> Response:
    """One line: a small page for who reads pages, JSON for everybody else."""
    parts = request.path.split("/")[1:]
    if parts[0] == "camera":
        parts = parts[2:]
    first = parts[0] if parts else ""
    pages = first in PAGES or ("text/html" in request.headers.get("Accept", "") and first not in MACHINES)
    return page(status, reason) if pages else refusal(status, reason)


def page(status: HTTPStatus, reason: str) -> Response:
    title = escape(f"{status.value}: {status.phrase}")
    return Response(
        PAGE.format(title=title, reason=escape(reason)), status, content_type="text/html; charset=utf-8"
    )


def refusal(status: HTTPStatus, reason: str) -> Response:
    """One line, as JSON."""
    response = jsonify(error=reason)
    response.status_code = status
    return response
