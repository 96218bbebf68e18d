"""Many viewers of one stream, in a process of their own, all in one loop: which picture came when, how old.

As a command: watches as it is told in JSON, and prints what came in JSON. `watched` starts it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import cv2
import numpy as np

from stream.demo import read_seq
from tests.benchmark import process

ROOT = Path(__file__).parents[2]
CHUNK = 4096  # what a slow link brings at once
BURST_S = 0.05  # and how much it may make up for of the time in which we were late


@dataclass(frozen=True)
class Order:
    """What to watch. The rates and figures are of `seconds`, after `settle_s`."""

    port: int
    count: int
    seconds: float
    settle_s: float = 2.0
    target: str = "/stream"
    bytes_per_s: float | None = None  # of each viewer's link
    receive_bytes: int | None = None  # of each viewer's receive buffer; the kernel doubles it for its own use
    keep_every: int | None = None  # so many pictures are one whose frame number is read, of servers that do
    # not say how old a picture is
    pid: int | None = None  # of the server: its processor time is taken, too
    nice: int = 0


class Part(NamedTuple):
    came_s: float  # monotonic, its last byte
    age_s: float | None  # by its X-Timestamp
    size: int  # bytes of JPEG


class Numbered(NamedTuple):
    seq: int
    came_s: float  # Unix time


class Usage(NamedTuple):
    """Of the server while it was watched."""

    cpu_percent: float  # of one core
    threads: int
    resident_mb: float


@dataclass(frozen=True)
class Watched:
    parts: list[list[Part]]  # by viewer; none for one who was turned away
    seconds: float
    numbered: list[Numbered] = field(default_factory=list)
    usage: Usage | None = None

    @property
    def rates(self) -> list[float]:
        """Pictures a second that each viewer got."""
        return [len(parts) / self.seconds for parts in self.parts]

    @property
    def ages_ms(self) -> list[float]:
        return [1000 * part.age_s for parts in self.parts for part in parts if part.age_s is not None]

    @property
    def picture_kb(self) -> float:
        return float(np.mean([part.size for parts in self.parts for part in parts])) / 1000


class Viewer:
    """One connection. HTTP/1.0, so that no server sends chunks."""

    def __init__(self, order: Order, number: int) -> None:
        self._order, self._number = order, number
        self.socket = socket.socket()
        if order.receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, order.receive_bytes)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", order.port))
        self.socket.sendall(f"GET {order.target} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self.socket.setblocking(False)
        self.parts: list[Part] = []
        self.kept: list[tuple[bytes, float]] = []
        self.ready_s = 0.0  # when the link brings more
        self._head = b""
        self._body = bytearray()  # of a picture that is kept
        self._left = self._size = 0  # of the picture
        self._captured_s: float | None = None
        self._keeps = False

    def read(self, buffer: bytearray) -> bool:
        """What has come. False: that was all."""
        most = CHUNK if self._order.bytes_per_s else len(buffer)
        try:
            size = self.socket.recv_into(buffer, most)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if not size:
            return False
        if self._order.bytes_per_s:
            now_s = time.monotonic()
            self.ready_s = max(self.ready_s, now_s - BURST_S) + size / self._order.bytes_per_s
        self._take(memoryview(buffer)[:size])
        return True

    def _take(self, data: memoryview) -> None:
        while data:
            if self._left:
                of_picture = data[: self._left]
                if self._keeps:
                    self._body += of_picture
                self._left -= len(of_picture)
                data = data[len(of_picture) :]
                if not self._left:
                    self._whole()
                continue
            seam = len(self._head)
            self._head += bytes(data[:1024])
            head, end, _ = self._head.partition(b"\r\n\r\n")
            if not end:
                data = data[1024:]
                continue
            data = data[len(head) + len(end) - seam :]
            self._head = b""
            self._begin(head)

    def _begin(self, head: bytes) -> None:
        """A part's head, or the answer's own, which has no length."""
        fields = {}
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if fields.get(b"content-type", b"").startswith(b"image/"):
            self._left = self._size = int(fields[b"content-length"])
            stamp = fields.get(b"x-timestamp")
            self._captured_s = float(stamp) if stamp else None
            every = self._order.keep_every
            self._keeps = every is not None and (len(self.parts) + self._number) % every == 0

    def _whole(self) -> None:
        age_s = None if self._captured_s is None else time.time() - self._captured_s
        self.parts.append(Part(time.monotonic(), age_s, self._size))
        if self._keeps:
            self.kept.append((bytes(self._body), time.time()))
            self._body = bytearray()


def watch(order: Order, over: Event | None = None) -> Watched:
    """Ends early when it is `over`."""
    viewers = [Viewer(order, number) for number in range(order.count)]
    over = over or Event()
    selector = selectors.DefaultSelector()
    for viewer in viewers:
        selector.register(viewer.socket, selectors.EVENT_READ, viewer)
    buffer = bytearray(1 << 18)
    resting: list[Viewer] = []

    def read_until(until_s: float) -> None:
        while (now_s := time.monotonic()) < until_s and not over.is_set():
            for viewer in [viewer for viewer in resting if viewer.ready_s <= now_s]:
                resting.remove(viewer)
                selector.register(viewer.socket, selectors.EVENT_READ, viewer)
            next_s = min((viewer.ready_s for viewer in resting), default=until_s)
            for key, _ in selector.select(max(0.0, min(next_s, until_s) - now_s)):
                if not key.data.read(buffer):
                    selector.unregister(key.data.socket)
                elif key.data.ready_s > now_s:
                    selector.unregister(key.data.socket)
                    resting.append(key.data)

    read_until(time.monotonic() + order.settle_s)
    before_cpu_s = process.cpu_s(order.pid) if order.pid else 0.0
    from_s, before = time.monotonic(), [len(viewer.parts) for viewer in viewers]
    kept_before = [len(viewer.kept) for viewer in viewers]
    read_until(from_s + order.seconds)
    took_s = time.monotonic() - from_s
    usage = None
    if order.pid:
        percent = 100 * (process.cpu_s(order.pid) - before_cpu_s) / took_s
        usage = Usage(percent, process.threads(order.pid), process.resident_mb(order.pid))
    for viewer in viewers:
        viewer.socket.close()
    parts = [viewer.parts[had:] for viewer, had in zip(viewers, before, strict=True)]
    kept = [kept for viewer, had in zip(viewers, kept_before, strict=True) for kept in viewer.kept[had:]]
    return Watched(parts, took_s, numbered(kept), usage)


def numbered(kept: list[tuple[bytes, float]]) -> list[Numbered]:
    """The pictures whose frame number can be read."""
    found = []
    for jpeg, came_s in kept:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        seq = None if image is None else read_seq(image.astype(np.uint8))
        if seq is not None:
            found.append(Numbered(seq, came_s))
    return found


def start(order: Order) -> subprocess.Popen[str]:
    """A process of their own that watches; `result` waits for it."""
    command = [sys.executable, "-m", "tests.benchmark.viewers", json.dumps(asdict(order))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(started: subprocess.Popen[str]) -> Watched:
    printed, _ = started.communicate()
    assert started.returncode == 0, "the viewers failed: see above"
    read: dict[str, Any] = json.loads(printed)
    return Watched(
        [[Part(*part) for part in parts] for parts in read["parts"]],
        read["seconds"],
        [Numbered(*one) for one in read["numbered"]],
        Usage(*read["usage"]) if read["usage"] else None,
    )


def stop(started: subprocess.Popen[str]) -> Watched:
    """What came until now, for who did not know how long to watch."""
    started.terminate()
    return result(started)


def watched(order: Order) -> Watched:
    return result(start(order))


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    os.nice(order.nice)
    over = Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    print(json.dumps(vars(watch(order, over))))


if __name__ == "__main__":
    main()
