"""Serves the application by waitress, from inside the camera's own process."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import WSGITask
from waitress.wasyncore import close_all

if TYPE_CHECKING:
    from flask import Flask

THREADS = 8
"""For pages, figures and snapshots. Streams take none, so health checks are answered however many watch."""
TAKE_OVER = "labelcam.take_over"
"""In a request's environment: gives the application the connection itself."""


class Server:
    """Serves `app` on `listening` in a thread of its own. `close` ends it, whoever is still connected."""

    def __init__(self, app: Flask, listening: socket.socket) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}  # waitress's: what its loop listens to
        self._server = create_server(
            app,
            map=self._map,
            sockets=[listening],
            threads=THREADS,
            connection_limit=200,
            asyncore_use_poll=True,
            channel_timeout=30,
            channel_request_lookahead=0,  # CVE-2024-49768 needs it above 0
            max_request_body_size=64 * 1024,
            max_request_header_size=16 * 1024,
            log_socket_errors=False,
            ident=None,
        )
        assert isinstance(self._server, BaseWSGIServer)
        self._server.channel_class = Channel
        self._thread = threading.Thread(target=self._server.run, name="server", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, until_s: float) -> None:
        """Let responses end until this monotonic time; cut the others, stop the threads."""
        while any(channel.requests for channel in self._channels()) and time.monotonic() < until_s:
            time.sleep(0.01)
        for channel in self._channels():
            channel.handle_close()  # wakes a thread that waits for somebody who does not read
        left_s = max(0.1, until_s - time.monotonic())
        self._server.task_dispatcher.shutdown(timeout=left_s)  # type: ignore[arg-type]
        self._server.close()
        close_all(self._map)

    def _channels(self) -> list[HTTPChannel]:
        return [channel for channel in list(self._map.values()) if isinstance(channel, HTTPChannel)]


class Task(WSGITask):
    """A request whose application may keep the connection for itself."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[TAKE_OVER] = self.take_over
        return environ

    def take_over(self) -> socket.socket:
        """The connection, now the caller's: waitress closes only its own copy, and writes nothing more."""
        assert self.channel.socket is not None
        connection = self.channel.socket.dup()
        self.channel.connected = False
        return connection


class Channel(HTTPChannel):
    task_class = Task
