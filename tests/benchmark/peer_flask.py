"""The usual way to stream MJPEG with Flask, written with care: one generator per viewer, newest picture only.

    python tests/benchmark/peer_flask.py waitress|werkzeug THREADS PORT FPS FOLDER

THREADS is waitress's alone; 0 leaves its default. The pictures of FOLDER are published FPS times a second,
again and again: nothing is drawn, encoded or classified. The sockets are as the server makes them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import waitress
from flask import Flask, Response, jsonify
from werkzeug.serving import make_server


class Newest:
    """The newest part, and how many wait for the next."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._part, self._version = b"", 0
        self.viewers = 0

    def publish(self, jpeg: bytes) -> None:
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Timestamp: {time.time():.6f}"
        part = head.encode() + b"\r\n\r\n" + jpeg + b"\r\n--frame\r\n"
        with self._condition:
            self._part, self._version = part, self._version + 1
            self._condition.notify_all()

    def _is_newer(self, version: int) -> bool:
        return self._version != version

    def follow(self) -> Iterator[bytes]:
        """Each new part; after a second without one the last again: a dead viewer is noticed by writing."""
        seen = 0
        with self._condition:
            self.viewers += 1
        try:
            yield b"--frame\r\n"
            while True:
                with self._condition:
                    self._condition.wait_for(partial(self._is_newer, seen), 1.0)
                    part, seen = self._part, self._version
                yield part
        finally:
            with self._condition:
                self.viewers -= 1


def main() -> None:
    server, threads, port, fps, folder = sys.argv[1:]
    pictures = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    newest = Newest()

    def publish() -> None:
        due_s = time.monotonic()
        for jpeg in cycle(pictures):
            newest.publish(jpeg)
            due_s += 1 / float(fps)
            time.sleep(max(0.0, due_s - time.monotonic()))

    app = Flask("peer")

    @app.get("/stream")
    def stream() -> Response:
        return Response(newest.follow(), content_type="multipart/x-mixed-replace; boundary=frame")

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(ok=True)

    @app.get("/viewers")
    def viewers() -> Response:
        return jsonify(newest.viewers)

    threading.Thread(target=publish, daemon=True).start()
    if server == "werkzeug":
        make_server("127.0.0.1", int(port), app, threaded=True).serve_forever()
    else:
        more: dict[str, Any] = {"threads": int(threads), "connection_limit": 1000} if int(threads) else {}
        waitress.serve(app, host="127.0.0.1", port=int(port), _quiet=True, **more)


if __name__ == "__main__":
    main()
