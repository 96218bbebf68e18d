"""Serves the application by waitress, from inside the camera's own process, and waits for nobody for long."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.wasyncore import close_all

from stream.server_errors import HEADERS

if TYPE_CHECKING:
    from flask import Flask

THREADS = 8
"""For pages, figures and snapshots. Streams take none, so health checks are answered however many watch."""
TAKE_OVER = "labelcam.take_over"
"""In a request's environment: gives the application the connection itself."""
LOOK_S = 1.0
"""How often to look who has been waited for too long."""
LEAST_BYTES = 10_000
"""Who takes fewer of an answer in `Limits.request_s` does not read it."""


@dataclass(frozen=True)
class Limits:
    connections: int = 256  # at once, streams not counted; one more ends the one waited for longest
    request_s: float = 10.0  # from a request's first byte to its last
    idle_s: float = 20.0  # between requests, and before the first
    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024


class Server:
    """Serves `app` on `listening` in a thread of its own. `close` ends it, whoever is still connected."""

    def __init__(self, app: Flask, listening: socket.socket, limits: Limits = Limits()) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self.app = app
        self._map: dict[int, Any] = {}  # waitress's: what its loop listens to
        self._server = Listener(app, listening, self._map, limits)
        self._thread = threading.Thread(target=self._server.run, name="server", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, until_s: float) -> None:
        """Let responses end until this monotonic time; cut the others, stop the threads."""
        while any(channel.requests for channel in self._server.channels()) and time.monotonic() < until_s:
            time.sleep(0.01)
        for channel in self._server.channels():
            channel.handle_close()  # wakes a thread that waits for somebody who does not read
        left_s = max(0.1, until_s - time.monotonic())
        self._server.task_dispatcher.shutdown(timeout=left_s)  # type: ignore[arg-type]
        self._server.close()
        close_all(self._map)


class Parser(HTTPRequestParser):
    """Refuses what waitress stumbles over, or what a proxy in front of us might read in another way."""

    headers: dict[str, str]
    path: str
    proxy_netloc: str

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # of urlsplit, for http://[; of int, for thousands of digits
            raise ParsingError("no address, or no number") from error
        except TransferEncodingNotImplemented as error:  # which would be a 501, as if it were our fault
            raise ParsingError("nobody compresses what is that short") from error
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("two lengths")
        if not self.path.isprintable() and any(character < " " for character in self.path):
            raise ParsingError("a control character")  # it would go into a log
        if self.proxy_netloc:  # GET http://name/ means name, whatever Host says
            self.headers["HOST"] = self.proxy_netloc


class Task(WSGITask):
    """A request whose application may keep the connection for itself."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ.pop("HTTP_RANGE", None)  # a part of a file is written by a thread, the whole by the loop
        environ[TAKE_OVER] = self.take_over
        return environ

    def take_over(self) -> socket.socket:
        """The connection, now the caller's: waitress closes only its own copy, and writes nothing more."""
        assert self.channel.socket is not None
        connection = self.channel.socket.dup()
        self.channel.connected = False
        return connection


class Refusal(ErrorTask):
    """The answer to what is no request, and to a bug: a line, without who we are and what was sent."""

    request: Any  # stands in for a parsed request; the stubs say it is an error
    response_headers: list[tuple[str, str]]

    def execute(self) -> None:
        error = self.request.error
        body = f"{error.reason}\n".encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "text/plain; charset=utf-8"), *HEADERS.items()]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """A connection that is waited for only so long."""

    task_class = Task
    error_task_class = Refusal
    parser_class = Parser
    requests: list[HTTPRequestParser]
    requests_lock: threading.Lock

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.since_s = time.monotonic()  # it has been idle, sent a request, or read an answer too slowly
        self.sent_bytes = self.seen_bytes = 0
        super().__init__(*arguments, **options)

    @property
    def serving(self) -> bool:
        """It has asked, and a thread answers or will."""
        return bool(self.requests)

    @property
    def sending(self) -> bool:
        return self.total_outbufs_len > 0

    def overdue(self, now_s: float, limits: Limits) -> bool:
        waited_s = now_s - self.since_s
        if self.sending:
            if self.sent_bytes - self.seen_bytes >= LEAST_BYTES:
                self.seen_bytes, self.since_s = self.sent_bytes, now_s
                return False
            return waited_s > limits.request_s
        if self.serving:
            return False
        return waited_s > (limits.idle_s if self.request is None else limits.request_s)

    def received(self, data: bytes) -> bool:
        begins = self.request is None
        taken = super().received(data)
        if begins and self.request is not None:
            self.since_s = time.monotonic()
        return taken

    def service(self) -> None:
        self._answer_one()
        super().service()
        self.since_s = time.monotonic()

    def _answer_one(self) -> None:
        """Requests sent without waiting for answers are not answered: 200 fit into what is read at once, each
        for the log file, and nobody who means well sends them."""
        with self.requests_lock:
            for request in self.requests[1:]:
                request.close()
                self.requests[0].headers["CONNECTION"] = "close"  # type: ignore[index]
            del self.requests[1:]

    def write_soon(self, data: bytes) -> int:
        if not self.sending:
            self.since_s = time.monotonic()
        return super().write_soon(data)

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = super().send(data, do_close)
        self.sent_bytes += sent
        return sent

    def readable(self) -> bool:
        return self.socket is not None and super().readable()

    def writable(self) -> bool:
        return self.socket is not None and bool(super().writable())


class Listener(TcpWSGIServer):
    """Takes connections. Where there are too many, the one that has been waited for longest has to go."""

    channel_class = Channel

    def __init__(self, app: Flask, listening: socket.socket, map: dict[int, Any], limits: Limits) -> None:
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(THREADS)
        self._limits, self._look_s = limits, 0.0
        super().__init__(
            app,
            map,
            _sock=listening,
            dispatcher=dispatcher,
            adj=Adjustments(
                sockets=[listening],
                threads=THREADS,
                connection_limit=limits.connections + 100,  # never: we have a better way
                asyncore_use_poll=True,
                channel_request_lookahead=0,  # CVE-2024-49768 needs it above 0
                max_request_body_size=limits.body_bytes,
                max_request_header_size=limits.header_bytes,
                log_socket_errors=False,
                ident=None,
            ),
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )

    def channels(self) -> list[Channel]:
        return list(self.active_channels.values())  # type: ignore[attr-defined]

    def readable(self) -> bool:
        """Asked before each wait of waitress's loop, which lasts a second at most."""
        now_s = time.monotonic()
        if now_s > self._look_s:
            self._look_s = now_s + LOOK_S
            for channel in self.channels():
                if channel.overdue(now_s, self._limits):
                    channel.handle_close()  # not will_close: that waits until it reads
        return super().readable() and (self._room() or next(self._idle(), None) is not None)

    def maintenance(self, now: float) -> None:
        """By the wall clock, which may jump: ours is in `readable`."""

    def handle_accept(self) -> None:
        if not self._room():
            self._end_one()
        super().handle_accept()

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and not self._end_one():
                time.sleep(LOOK_S / 10)  # else the loop would come back at once
            raise

    def _room(self) -> bool:
        return len(self.channels()) < self._limits.connections

    def _idle(self) -> Iterator[Channel]:
        return (channel for channel in self.channels() if not channel.serving)

    def _end_one(self) -> bool:
        """End the connection that has been waited for longest, rather one that has not asked than one that
        reads slowly. False if there is none."""
        longest = min(self._idle(), key=lambda channel: (channel.sending, channel.since_s), default=None)
        if longest is not None:
            longest.handle_close()
        return longest is not None
