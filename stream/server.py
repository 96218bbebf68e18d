"""The HTTP side: Flask's routes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, current_app, jsonify, render_template, request

from stream.broadcast import Broadcast, Feed
from stream.compare_process import Comparer
from stream.hub import OWN, Full
from stream.multipart import BOUNDARY
from stream.server_compare import add_compare, download
from stream.server_control import add_control
from stream.server_errors import refusal
from stream.server_guard import add_guard
from stream.server_metrics import Metrics, add_metrics
from stream.server_waitress import TAKE_OVER
from stream.state import Status, sickness, unready

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SNAPSHOT_S = 1.0
NARROWEST = 64
NO_WIDTH = f"width is a whole number of pixels from {NARROWEST} up, such as /stream?width=320"


@dataclass(frozen=True)
class ServerOptions:
    token: str | None = None  # None: whoever can connect may watch
    hosts: tuple[str, ...] = ()  # names besides this machine's under which we are asked, by a proxy


class EndlessResponse(Response):
    """Its head goes out like any other's, with `beginning`, and then the broadcast has the connection."""

    automatically_set_content_length = False

    def __init__(
        self, broadcast: Broadcast, feed: Feed, kind: str, beginning: bytes, interval_s: float = 0.0
    ) -> None:
        super().__init__(headers={"Pragma": "no-cache", "X-Accel-Buffering": "no"}, content_type=kind)
        self._broadcast, self._feed, self._interval_s = broadcast, feed, interval_s
        self._beginning = beginning

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers)]
        head = "\r\n".join([*lines, "Connection: close", "", ""])
        try:
            connection = environ[TAKE_OVER]()
        except OSError:  # no more files may be open
            self.close()
            raise
        whole = head.encode("latin-1") + self._beginning
        self._broadcast.add(connection, whole, self._feed, self._interval_s, self.close)
        start_response(self.status, [])
        return []


def create_app(
    cameras: Sequence[Status], options: ServerOptions, metrics: Metrics, comparer: Comparer
) -> Flask:
    """Each camera's routes are under /camera/NAME, those of the first at the top, too."""
    app = Flask(
        "labelcam", root_path=__file__.rpartition("/")[0], static_folder="page", static_url_path="/page"
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    add_guard(app, options.token, options.hosts)
    add_control(app, cameras[0].switch)
    add_metrics(app, metrics, lambda: [camera.figures() for camera in cameras])
    add_compare(app, [camera.log.path for camera in cameras if camera.log], comparer)

    @app.get("/camera/")
    def overview() -> Response:
        return Response(render_template("cameras.html", names=cameras[0].cameras))

    @app.get("/healthz")
    def healthz() -> Response:
        return verdict(sickness(cameras))

    @app.get("/readyz")
    def readyz() -> Response:
        return verdict(unready(cameras))

    app.register_blueprint(camera_routes("first", cameras[0]))
    for camera in cameras:
        routes = camera_routes(f"camera {camera.name}", camera)
        app.register_blueprint(routes, url_prefix=f"/camera/{camera.name}")
    return app


def camera_routes(name: str, status: Status) -> Blueprint:
    routes = Blueprint(name, "labelcam")
    hub, broadcast, bulletin = status.hub, status.broadcast, status.bulletin
    written = status.log.path.resolve() if status.log else None  # where a link led at the start

    @routes.get("/")
    def index() -> Response:
        actions = {"stream": stream, "snapshot": snapshot}  # as mjpg-streamer's clients ask
        return actions.get(request.args.get("action", ""), page)()

    def page() -> Response:
        return current_app.send_static_file("index.html")

    @routes.get("/stream")
    @routes.get("/stream.mjpg")
    def stream() -> Response:
        interval_s, width = interval(request.args.get("fps")), width_of(request.args.get("width"))
        if interval_s is None:
            return refusal(HTTPStatus.BAD_REQUEST, "fps is a number above 0, such as /stream?fps=5")
        if width is None:
            return refusal(HTTPStatus.BAD_REQUEST, NO_WIDTH)
        try:
            hub.places.take()
        except Full as full:
            return come_again(full)
        try:
            viewing = hub.watch(width, facts=request.args.get("extra_headers", "0") not in ("", "0"))
        except Full as full:
            hub.places.give_back()
            return come_again(full)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        response = EndlessResponse(broadcast, viewing, kind, f"--{BOUNDARY}\r\n".encode(), interval_s)
        response.call_on_close(viewing.leave)
        response.call_on_close(hub.places.give_back)
        return response

    @routes.get("/snapshot")
    @routes.get("/snapshot.jpg")
    def snapshot() -> Response:
        width = width_of(request.args.get("width"))
        if width is None:
            return refusal(HTTPStatus.BAD_REQUEST, NO_WIDTH)
        try:
            picture = hub.snapshot(SNAPSHOT_S, width)
        except Full as full:
            return come_again(full)
        if picture is None or picture.seq is None:
            return refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, status.fault() or "no picture came within a second"
            )
        return Response(
            picture.jpeg, content_type="image/jpeg", headers={"X-Timestamp": f"{picture.captured_s:.6f}"}
        )

    @routes.get("/api/state")
    def state() -> Response:
        return jsonify(status.state())

    @routes.get("/api/events")
    def events() -> Response:
        try:
            listening = bulletin.listen()
        except Full as full:
            return come_again(full)
        response = EndlessResponse(broadcast, listening, "text/event-stream", bulletin.beginning())
        response.call_on_close(listening.leave)
        return response

    @routes.get("/readyz")
    def readyz() -> Response:
        return verdict(status.unready())

    @routes.get("/log")
    def log() -> Response:
        return download(written)

    return routes


def interval(fps: str | None) -> float | None:
    """Seconds between two pictures at least: 0 without a limit, None if it is none."""
    if fps is None:
        return 0.0
    try:
        interval_s = 1 / float(fps)
    except (ValueError, ZeroDivisionError):
        return None
    return interval_s if 0 < interval_s < math.inf else None


def width_of(text: str | None) -> int | None:
    """In pixels: OWN for the source's own, None if it is none."""
    if text is None:
        return OWN
    if not text.isascii() or not text.isdecimal() or len(text) > 5:
        return None
    width = int(text) & ~1  # JPEG halves the colours' resolution
    return width if width >= NARROWEST else None


def come_again(full: Full) -> Response:
    response = refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(full))
    response.headers["Retry-After"] = "5"
    return response


def verdict(fault: str | None) -> Response:
    if fault is None:
        return jsonify(ok=True)
    answer: dict[str, Any] = {"ok": False, "reason": fault}
    response = jsonify(answer)
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return response
