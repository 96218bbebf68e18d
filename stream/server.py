"""The HTTP side: Flask's routes."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, request

from stream.broadcast import Broadcast
from stream.hub import BOUNDARY, Hub
from stream.server_guard import add_guard, refusal
from stream.server_waitress import TAKE_OVER
from stream.state import Status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SNAPSHOT_S = 1.0


@dataclass(frozen=True)
class ServerOptions:
    token: str | None = None  # None: whoever can connect may watch
    max_streams: int = 128
    hosts: tuple[str, ...] = ()  # names besides this machine's under which we are asked, by a proxy


class StreamResponse(Response):
    """An endless response: its head goes out like any other's, and then the broadcast has the connection."""

    automatically_set_content_length = False

    def __init__(self, broadcast: Broadcast, interval_s: float) -> None:
        headers = {"Pragma": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, content_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self._broadcast, self._interval_s = broadcast, interval_s

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers)]
        head = "\r\n".join([*lines, "Connection: close", "", f"--{BOUNDARY}", ""])
        try:
            connection = environ[TAKE_OVER]()
        except OSError:  # no more files may be open
            self.close()
            raise
        self._broadcast.add(connection, head.encode("latin-1"), self._interval_s, self.close)
        start_response(self.status, [])
        return []


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


def create_app(hub: Hub, broadcast: Broadcast, status: Status, options: ServerOptions) -> Flask:
    app = Flask(
        "labelcam", root_path=__file__.rpartition("/")[0], static_folder="page", static_url_path="/page"
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    slots = Slots(options.max_streams)
    add_guard(app, options.token, options.hosts)

    @app.get("/")
    def index() -> Response:
        actions = {"stream": stream, "snapshot": snapshot}  # as mjpg-streamer's clients ask
        return actions.get(request.args.get("action", ""), page)()

    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/stream")
    @app.get("/stream.mjpg")
    def stream() -> Response:
        interval_s = interval(request.args.get("fps"))
        if interval_s is None:
            return refusal(HTTPStatus.BAD_REQUEST, "fps is a number above 0, such as /stream?fps=5")
        if not slots.take():
            response = refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{options.max_streams} viewers watch already")
            response.headers["Retry-After"] = "5"
            return response
        response = StreamResponse(broadcast, interval_s)
        response.call_on_close(slots.give_back)
        return response

    @app.get("/snapshot")
    @app.get("/snapshot.jpg")
    def snapshot() -> Response:
        picture = hub.snapshot(SNAPSHOT_S)
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


def interval(fps: str | None) -> float | None:
    """Seconds between two pictures at least: 0 without a limit, None if it is none."""
    if fps is None:
        return 0.0
    try:
        interval_s = 1 / float(fps)
    except (ValueError, ZeroDivisionError):
        return None
    return interval_s if 0 < interval_s < math.inf else None


def verdict(fault: str | None) -> Response:
    if fault is None:
        return jsonify(ok=True)
    answer: dict[str, Any] = {"ok": False, "reason": fault}
    response = jsonify(answer)
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return response
