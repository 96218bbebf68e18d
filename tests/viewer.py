"""What the end-to-end tests look with: a raw viewer that forgives nothing, and Labelcam as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from models.recipe import Image, as_image
from stream.demo import read_seq

ROOT = Path(__file__).parent.parent
PATIENCE_S = 30.0
"""For what must happen on a busy machine too; nothing waits so long when all is well."""

Address = tuple[str, int]


class Part(NamedTuple):
    jpeg: bytes
    captured_s: float
    came_s: float  # monotonic, when its last byte had been read
    boundary_after_s: float  # how much later the next boundary was there

    @property
    def seq(self) -> int:
        seq = read_seq(decoded(self.jpeg))
        assert seq is not None, "a picture without a frame number"
        return seq


class Viewer:
    """One request on a socket of its own, its answer taken apart byte by byte."""

    def __init__(
        self,
        address: Address,
        target: str = "/stream",
        headers: Mapping[str, str] | None = None,
        receive_bytes: int | None = None,
    ) -> None:
        self._socket = connected(address, receive_bytes)
        self._file = self._socket.makefile("rb")
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
        self._left = 0  # of the chunk
        self._chunked = self._over = False
        version, status, _ = self.line().split(" ", 2)
        assert version == "HTTP/1.1"
        self.status = int(status)
        self.headers = dict(self._head())
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        if self.status == 200:
            kind, _, self.boundary = self.headers["content-type"].partition("; boundary=")
            assert kind == "multipart/x-mixed-replace"
            assert self.boundary
            assert not self.boundary.startswith("-")
            # Either way its end is told from a cut: by the last chunk, or by FIN instead of RST.
            assert self._chunked or self.headers["connection"] == "close"
            self._first = True

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def reset(self) -> None:
        """As a viewer whose machine falls over: no FIN, an RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def part(self) -> Part:
        """The next part, and with it the boundary that ends it. EOFError where the answer ends instead."""
        if self._first:
            self._expect(f"--{self.boundary}\r\n".encode())
            self._first = False
        first = self.line()
        try:
            return self._part_from(first)
        except EOFError:
            raise AssertionError("the answer ends in the middle of a part") from None

    def _part_from(self, first: str) -> Part:
        head = dict(self._head(first))
        assert set(head) == {"content-type", "content-length", "x-timestamp"}
        assert head["content-type"] == "image/jpeg"
        jpeg = self.exactly(int(head["content-length"]))
        came_s = time.monotonic()
        assert jpeg.startswith(b"\xff\xd8")
        assert jpeg.endswith(b"\xff\xd9")
        self._expect(f"\r\n--{self.boundary}\r\n".encode())
        assert re.fullmatch(r"\d+\.\d{6}", head["x-timestamp"])
        return Part(jpeg, float(head["x-timestamp"]), came_s, time.monotonic() - came_s)

    def parts(self, count: int) -> list[Part]:
        return [self.part() for _ in range(count)]

    def until_end(self) -> list[Part]:
        """Whole parts up to the answer's proper end. Anything else than the last chunk there is an error."""
        parts = []
        while True:
            try:
                parts.append(self.part())
            except EOFError:
                return parts

    def line(self) -> str:
        line = self.exactly(1)
        while not line.endswith(b"\r\n"):
            try:
                line += self.exactly(1)
            except EOFError:
                raise AssertionError(f"the answer ends after {line!r}") from None
        return line[:-2].decode("latin-1")

    def exactly(self, count: int) -> bytes:
        """Of the body, chunks taken off. EOFError at its end; AssertionError if that is in the middle."""
        if not self._chunked:
            return self._raw(count, may_end=True)
        taken = b""
        while len(taken) < count:
            if not self._left and not self._next_chunk():
                if taken:
                    raise AssertionError(f"the answer ends after {taken[:60]!r}")
                raise EOFError
            piece = self._raw(min(self._left, count - len(taken)))
            taken += piece
            self._left -= len(piece)
            if not self._left:
                assert self._raw(2) == b"\r\n"
        return taken

    def _next_chunk(self) -> bool:
        if self._over:
            return False
        size = b""
        while not size.endswith(b"\r\n"):
            size += self._raw(1)
        self._left = int(size, 16)
        if not self._left:
            assert self._raw(2) == b"\r\n"
            self._over = True
        return self._left > 0

    def _raw(self, count: int, may_end: bool = False) -> bytes:
        taken = self._file.read(count)
        if may_end and count and not taken:
            raise EOFError
        assert len(taken) == count, "the connection was cut without the answer's end"
        return taken

    def _head(self, first: str | None = None) -> Iterator[tuple[str, str]]:
        line = self.line() if first is None else first
        while line:
            name, _, value = line.partition(": ")
            yield name.lower(), value
            line = self.line()

    def _expect(self, wanted: bytes) -> None:
        got = self.exactly(len(wanted))
        assert got == wanted


@contextmanager
def crowd(
    count: int, address: Address, target: str = "/stream", receive_bytes: int | None = None
) -> Iterator[list[Viewer]]:
    """So many viewers, each of whom has been let in or turned away."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(Viewer(address, target, receive_bytes=receive_bytes)) for _ in range(count)
        ]


def connected(address: Address, receive_bytes: int | None = None) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    if receive_bytes is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(PATIENCE_S)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    address: Address,
    target: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    timeout_s: float = PATIENCE_S,
) -> Answer:
    """One short request; not for what never ends."""
    connection = HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request(method, target, headers=dict(headers or {}))
        response: HTTPResponse = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def decoded(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return as_image(image)


def wait_for(happened: Callable[[], bool], timeout_s: float = PATIENCE_S) -> float:
    """How long it took, in seconds."""
    started_s = time.monotonic()
    while not happened():
        assert time.monotonic() < started_s + timeout_s, "did not happen"
        time.sleep(0.02)
    return time.monotonic() - started_s


class Labelcam:
    """`python run.py ...`, its first line read. Both its outputs are files: no pipe can fill and stop it."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        self._out = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self._errors = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        command = [sys.executable, "run.py", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._errors,
        )

    @property
    def out(self) -> str:
        return whole(self._out.fileno())

    @property
    def errors(self) -> str:
        return whole(self._errors.fileno())

    @property
    def greeting(self) -> str:
        """The line it prints when it serves."""
        wait_for(lambda: "\n" in self.out or self.process.poll() is not None)
        assert self.out.startswith("Labelcam: http://"), self.errors
        return self.out.splitlines()[0]

    @property
    def url(self) -> str:
        return self.greeting.split()[1]

    @property
    def address(self) -> Address:
        found = re.fullmatch(r"http://(\[::1\]|127\.0\.0\.1):(\d+)/(camera/)?", self.url)
        assert found
        return found[1].strip("[]"), int(found[2])

    def ends(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status, once it has ended by itself."""
        return self.process.wait(timeout_s)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """How long it took to end, in seconds."""
        started_s = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - started_s

    def catches(self, number: signal.Signals) -> bool:
        """Whether it has a handler for that signal."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
        assert found
        return bool(int(found[1], 16) >> (number - 1) & 1)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._errors.close()


def whole(descriptor: int) -> str:
    """What is in a file that another process is writing; the place it writes at stays."""
    return os.pread(descriptor, 1 << 24, 0).decode()


@contextmanager
def labelcam(*arguments: str | Path, **environment: str) -> Iterator[Labelcam]:
    """Ended whatever happens."""
    running = Labelcam(*arguments, **environment)
    try:
        yield running
    finally:
        running.close()
