"""The HTTP side: Flask's routes, served by waitress from inside the camera's own process."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from waitress.server import create_server
from waitress.wasyncore import close_all

from stream.hub import BOUNDARY, Hub
from stream.state import Status

REPEAT_S = 1.0
"""Without a new picture the last one is sent again: a vanished viewer is only noticed by writing to it."""
SNAPSHOT_S = 1.0
RESERVED_THREADS = 8
"""Threads beyond those that streams may take, so that health checks are answered however many watch."""
COOKIE = "labelcam_token"


@dataclass(frozen=True)
class ServerOptions:
    token: str | None = None  # None: whoever can connect may watch
    max_streams: int = 128


class Server:
    """Serves `app` on `listening` in a thread of its own. `close` ends it, whoever is still connected."""

    def __init__(self, app: Flask, listening: socket.socket, max_streams: int) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}  # waitress's: what its loop listens to
        self._server = create_server(
            app,
            map=self._map,
            sockets=[listening],
            threads=max_streams + RESERVED_THREADS,
            connection_limit=max_streams + 200,
            asyncore_use_poll=True,
            channel_timeout=30,
            channel_request_lookahead=0,  # CVE-2024-49768 needs it above 0
            max_request_body_size=64 * 1024,
            max_request_header_size=16 * 1024,
            # A part is handed to the kernel at once, and the next one waits until it is gone.
            send_bytes=1,
            outbuf_high_watermark=1,
            outbuf_overflow=64 * 1024 * 1024,
            log_socket_errors=False,
            ident=None,
        )
        self._thread = threading.Thread(target=self._server.run, name="server", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, patience_s: float) -> None:
        """Take no new viewers, let the responses that are ending end, then cut."""
        self._server.close()
        until_s = time.monotonic() + patience_s
        while self._map and time.monotonic() < until_s:
            time.sleep(0.01)
        close_all(self._map)


class Slots:
    """A fixed number of places, taken without waiting."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)
        self.rejected = 0

    def take(self) -> bool:
        taken = self._free.acquire(blocking=False)
        self.rejected += not taken
        return taken

    def give_back(self) -> None:
        self._free.release()


def create_app(hub: Hub, status: Status, options: ServerOptions) -> Flask:
    app = Flask(
        "labelcam", root_path=__file__.rpartition("/")[0], static_folder="page", static_url_path="/page"
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    slots = Slots(options.max_streams)

    @app.before_request
    def refuse_strangers() -> Response | None:
        if options.token is None or known(options.token):
            return None
        return refusal(
            HTTPStatus.UNAUTHORIZED, "this camera needs its token: open the address printed at its start"
        )

    @app.after_request
    def say_how_to_treat_it(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        response.headers["Referrer-Policy"] = "no-referrer"
        if options.token is not None and request.args.get("token") and known(options.token):
            response.set_cookie(COOKIE, options.token, httponly=True, samesite="Strict")
        return response

    @app.get("/")
    def index() -> Response:
        actions = {"stream": stream, "snapshot": snapshot}  # as mjpg-streamer's clients ask
        return actions.get(request.args.get("action", ""), page)()

    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/stream")
    @app.get("/stream.mjpg")
    def stream() -> Response:
        try:
            interval_s = 1 / float(request.args["fps"]) if "fps" in request.args else 0.0
        except (ValueError, ZeroDivisionError):
            return refusal(HTTPStatus.BAD_REQUEST, "fps is a number above 0, such as /stream?fps=5")
        if not slots.take():
            response = refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{options.max_streams} viewers watch already")
            response.headers["Retry-After"] = "5"
            return response
        response = Response(
            parts(hub, interval_s),
            content_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}",
            headers={"Pragma": "no-cache", "X-Accel-Buffering": "no"},
        )
        response.call_on_close(slots.give_back)
        return response

    @app.get("/snapshot")
    @app.get("/snapshot.jpg")
    def snapshot() -> Response:
        with hub.subscribe(SNAPSHOT_S) as pictures:
            picture = next(pictures, None)
        if picture is None or picture.seq is None:
            return refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, status.fault() or "no picture came within a second"
            )
        return Response(
            picture.jpeg, content_type="image/jpeg", headers={"X-Timestamp": f"{picture.captured_s:.6f}"}
        )

    @app.get("/api/state")
    def state() -> Response:
        now = status.state()
        now["stream"] = {"viewers": hub.viewers, "max": options.max_streams, "rejected": slots.rejected}
        return jsonify(now)

    @app.get("/healthz")
    def healthz() -> Response:
        return verdict(None if status.alive() else "a loop has ended")

    @app.get("/readyz")
    def readyz() -> Response:
        return verdict(status.fault() or (None if status.answered() else "the model has not answered yet"))

    return app


def parts(hub: Hub, interval_s: float) -> Iterator[bytes]:
    """The body of one viewer's stream: each time a picture is through, the newest one, never an older one."""
    yield f"--{BOUNDARY}\r\n".encode()
    last: bytes | None = None
    with hub.subscribe(REPEAT_S) as pictures:
        for picture in pictures:
            last = picture.part if picture else last
            if last is not None:
                yield last
            if interval_s and hub.closed.wait(interval_s):
                return


def known(token: str) -> bool:
    """The request carries the token: in its address (for <img>), its Authorization header or our cookie."""
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    given = (request.args.get("token", ""), bearer, request.cookies.get(COOKIE, ""))
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)


def refusal(status: HTTPStatus, reason: str) -> Response:
    response = jsonify(error=reason)
    response.status_code = status
    return response


def verdict(fault: str | None) -> Response:
    if fault is None:
        return jsonify(ok=True)
    answer: dict[str, Any] = {"ok": False, "reason": fault}
    response = jsonify(answer)
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return response
