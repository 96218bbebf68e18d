"""A network camera on loopback: MJPEG over HTTP, with everything a real one does wrong."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import cv2

from stream import demo


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class NetworkCamera:
    """Sends demo pictures, numbered through for all connections, as fast as `period_s` allows."""

    def __init__(
        self,
        port: int = 0,
        period_s: float = 0.02,
        frames: int | None = None,
        login: str | None = None,
        size: tuple[int, int] = (320, 240),
    ) -> None:
        self.requests = 0
        self.leaving = threading.Event()
        self.silent = threading.Event()  # the connection stays, nothing comes
        numbers = count()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                if (
                    login
                    and self.headers.get("Authorization") != f"Basic {b64encode(login.encode()).decode()}"
                ):
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    self.wfile.write(b"--frame\r\n")
                    for _ in range(frames) if frames is not None else count():
                        while outer.silent.is_set() and not outer.leaving.wait(0.02):
                            pass
                        if outer.leaving.wait(period_s):
                            return
                        self.wfile.write(outer.part(next(numbers), size))
                except OSError:
                    return  # the viewer has gone

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = False  # `close` waits for them
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> NetworkCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def close(self) -> None:
        """Somebody pulls its plug. May be called twice."""
        self.leaving.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @staticmethod
    def part(number: int, size: tuple[int, int]) -> bytes:
        jpeg = cv2.imencode(".jpg", demo.draw(number, datetime.now(), size))[1].tobytes()
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        return head + jpeg + b"\r\n--frame\r\n"
