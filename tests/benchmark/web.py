"""What viewers do to the program: slow ones, stalled ones, two hundred, storms of them; and to others.

Every server is a process of its own, and so are the viewers, on the same cores.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.benchmark import peers, process
from tests.benchmark.live import running
from tests.benchmark.peers import QUALITY, Peer
from tests.benchmark.table import Row
from tests.benchmark.viewers import Order, Watched, result, start, stop, watched

LINK_BYTES_PER_S = 125_000  # 1 Mbit/s
RECEIVE_BYTES = 16 * 1024
"""A slow viewer's receive buffer, which the kernel doubles: what lies in it is a quarter of a second old."""
SLOW_FPS, SLOW_S = 15, 20.0
ROUND_S = 18.0  # of the scenes, which weigh differently
WAIT_S = 40.0  # for a stalled viewer's eviction
CROWD, CROWD_FPS, CROWD_S = 200, 5, 8.0
STORMS = 10
ASKED = 600


@contextmanager
def ours(*arguments: object) -> Iterator[Peer]:
    """The program, as one among its peers."""
    with running(*map(str, arguments)) as program:
        yield Peer("Labelcam", program.process.pid, program.port)


def wait_until_watched_by(program: Peer, viewers: int) -> None:
    """And a second more, until things have settled."""
    wait_until(lambda: state(program)["stream"]["viewers"] == viewers)
    time.sleep(1.0)


def state(program: Peer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program.get("/api/state"))
    return found


def percentile(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


# One whose link is slow.


def slow_viewer_rows(folder: Path) -> list[Row]:
    """All servers at once, each with one such viewer: seconds of age are not for want of a processor."""
    with ExitStack() as opened:
        servers = [
            opened.enter_context(server)
            for server in (
                ours("--fps", SLOW_FPS, "--quality", QUALITY),
                peers.flask("waitress", SLOW_FPS, folder),
                peers.flask("werkzeug", SLOW_FPS, folder),
                *([peers.motion(SLOW_FPS, folder)] if peers.has_motion() else []),
            )
        ]
        fast = [start(order(server, 1, ROUND_S)) for server in servers]
        slow = [
            start(order(server, 1, 2.0, SLOW_S, LINK_BYTES_PER_S, RECEIVE_BYTES, all_numbers=True))
            for server in servers
        ]
        offered = {server.name: result(one) for server, one in zip(servers, fast, strict=True)}
        seen = {server.name: result(one) for server, one in zip(servers, slow, strict=True)}
        ages_s = {server.name: median(server.ages_ms(seen[server.name])) / 1000 for server in servers}
    own, *others = servers
    offer = f"{offered[own.name].rates[0]:.0f} fps x {offered[own.name].picture_kb:.0f} kB offered"
    name = f"age of the picture at a 1 Mbit/s viewer after {SLOW_S:g} s, {offer}"
    n = len(seen[own.name].parts[0])
    return [
        Row(
            name, ages_s[own.name], "s", offer_of(other, offered), ages_s[other.name], 1.0, n=n, absolute=True
        )
        for other in others
    ]


def offer_of(server: Peer, offered: dict[str, Watched]) -> str:
    watched = offered[server.name]
    return f"{server.name} ({watched.rates[0]:.0f} fps x {watched.picture_kb:.0f} kB)"


def order(
    server: Peer,
    count: int,
    seconds: float,
    settle_s: float = 2.0,
    bytes_per_s: float | None = None,
    receive_bytes: int | None = None,
    all_numbers: bool = False,
) -> Order:
    every = None if server.camera is None else 1 if all_numbers else 25
    return Order(
        server.port, count, seconds, settle_s, server.target, bytes_per_s, receive_bytes, every, server.pid
    )


# Ones who do not read any more.


def stalled_rows(folder: Path) -> list[Row]:
    """Three of them at each server, at the same time. Motion tells nobody how many watch: for all but the
    program itself it is the kernel that says when the connection is gone."""
    with ExitStack() as opened:
        own = opened.enter_context(ours())
        others = [
            opened.enter_context(server)
            for server in (
                peers.flask("waitress", SLOW_FPS, folder),
                peers.flask("werkzeug", SLOW_FPS, folder),
                *([peers.motion(SLOW_FPS, folder)] if peers.has_motion() else []),
            )
        ]
        counted = evicted(own)
        stalled = {
            server.name: [opened.enter_context(stalled_viewer(server)) for _ in range(3)]
            for server in (own, *others)
        }
        read_for_a_while([viewer for viewers in stalled.values() for viewer in viewers])
        started_s = time.monotonic()
        gone_s = dict.fromkeys(stalled, WAIT_S)

        def note(name: str, happened: bool) -> None:
            if happened and gone_s[name] == WAIT_S:
                gone_s[name] = time.monotonic() - started_s

        while time.monotonic() < started_s + WAIT_S:
            note(own.name, state(own)["stream"]["viewers"] == 0)
            for other in others:
                ports = {viewer.getsockname()[1] for viewer in stalled[other.name]}
                note(other.name, not ports & process.connected_from(other.port))
            time.sleep(0.1)
        counted = evicted(own) - counted
    name = f"3 stalled viewers: until /api/state shows none (it counts {counted} evicted)"
    return [
        Row(
            name,
            gone_s[own.name],
            "s",
            other.name if gone_s[other.name] < WAIT_S else f"{other.name}: still there after {WAIT_S:g} s",
            gone_s[other.name],
            15.0,
            n=3,
            absolute=True,
        )
        for other in others
    ]


def evicted(program: Peer) -> int:
    counted: int = state(program)["stream"].get("evicted", {}).get("stalled", 0)
    return counted


@contextmanager
def stalled_viewer(server: Peer) -> Iterator[socket.socket]:
    """Has asked for the stream, and has not read anything yet."""
    with socket.socket() as viewer:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        viewer.settimeout(0.001)
        viewer.connect(("127.0.0.1", server.port))
        viewer.sendall(f"GET {server.target} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        yield viewer


def read_for_a_while(viewers: list[socket.socket]) -> None:
    """All of them in turn, as fast as it comes. Motion takes its time with the first picture."""
    read_bytes = dict.fromkeys(viewers, 0)
    until_s = time.monotonic() + 3.0
    while time.monotonic() < until_s:
        for viewer in viewers:
            with suppress(TimeoutError):
                read_bytes[viewer] += len(viewer.recv(1 << 16))
    assert min(read_bytes.values()) > 100_000, "a server sent next to nothing"


# Two hundred.


def crowd_rows(folder: Path) -> list[Row]:
    """The servers in turn, each alone."""
    arguments = ("--fps", CROWD_FPS, "--quality", QUALITY, "--max-streams", CROWD + 20)
    with ours(*arguments) as own:
        time.sleep(2)
        before_s, from_s = process.cpu_s(own.pid), time.monotonic()
        time.sleep(CROWD_S / 2)
        idle_percent = 100 * (process.cpu_s(own.pid) - before_s) / (time.monotonic() - from_s)
        one = watched(order(own, 1, CROWD_S / 2)).usage
        crowd = watched(order(own, CROWD, CROWD_S, settle_s=2.5))
    others = {}
    for server in (
        peers.flask("waitress", CROWD_FPS, folder, threads=256),
        peers.flask("werkzeug", CROWD_FPS, folder),
        *([peers.motion(CROWD_FPS, folder)] if peers.has_motion() else []),
    ):
        with server as other:
            seen = watched(order(other, CROWD, CROWD_S, settle_s=2.5))
            others[other.name] = (seen, other.ages_ms(seen))
    usage = crowd.usage
    assert one is not None
    assert usage is not None
    name = f"{CROWD} viewers of {median(crowd.rates):.1f} fps x {crowd.picture_kb:.0f} kB"
    n = len(crowd.ages_ms)
    p50_ms, p99_ms = percentile(crowd.ages_ms, 50), percentile(crowd.ages_ms, 99)
    rows = [
        Row(f"{name}: slowest viewer", min(crowd.rates), "fps", "", None, 0.95 * CROWD_FPS, True, n=CROWD)
    ]
    for other_name, (seen, ages_ms) in others.items():
        served = sum(rate > 0 for rate in seen.rates)
        peer = f"{other_name}, {seen.picture_kb:.0f} kB" + (f", {served} served" if served < CROWD else "")
        theirs = seen.usage
        assert theirs is not None
        rows += [
            Row(f"{name}: age p50", p50_ms, "ms", peer, percentile(ages_ms, 50), None, n=n),
            Row(f"{name}: age p99", p99_ms, "ms", peer, percentile(ages_ms, 99), 25.0, n=n, absolute=True),
            Row(
                f"{name}: server CPU, all it does",
                *(usage.cpu_percent, "%", peer, theirs.cpu_percent, 8.0),
                absolute=True,
            ),
            Row(f"{name}: threads", usage.threads, "", peer, theirs.threads, None),
            Row(f"{name}: resident memory", usage.resident_mb, "MB", peer, theirs.resident_mb, None),
        ]
    serving = usage.cpu_percent - one.cpu_percent
    return [
        *rows,
        Row("its CPU without viewers: draws the demo and classifies it", idle_percent, "%", "", None, None),
        Row("its CPU with one viewer: paints and encodes, too", one.cpu_percent, "%", "", None, None),
        Row(f"its CPU for the other {CROWD - 1} viewers", serving, "%", "", None, 8.0),
    ]


# Health, while all places are taken.


def health_rows(folder: Path) -> list[Row]:
    with ours() as own:
        places = state(own)["stream"]["max"]
        crowd = start(Order(own.port, places, 20.0))
        wait_until_watched_by(own, places)
        refused = sum(answer(own, "/stream") == 503 for _ in range(8))
        assert refused == 8, "there was a place left"
        took_ms = health_ms(own, ASKED)
        stop(crowd)
    rows = []
    for server, viewers, asked in (
        (peers.flask("waitress", SLOW_FPS, folder), 4, 2),
        (peers.flask("werkzeug", SLOW_FPS, folder), places, ASKED),
    ):
        with server as other:
            crowd = start(Order(other.port, viewers, 20.0))
            wait_until(lambda: len(process.connected_from(other.port)) == viewers)  # noqa: B023
            time.sleep(1.0)  # until its threads serve them
            theirs_ms = health_ms(other, asked)
            stop(crowd)
            name = f"{other.name}, {viewers} viewers x {SLOW_FPS} fps"
            if max(theirs_ms) >= 5000:
                name += ": no answer in 5 s"
            rows.append(
                Row(
                    f"/healthz while all {places} places are taken, 30 fps each: p99",
                    percentile(took_ms, 99),
                    "ms",
                    name,
                    percentile(theirs_ms, 99),
                    100.0,
                    n=ASKED,
                    absolute=True,
                )
            )
    return rows


def answer(server: Peer, target: str, timeout_s: float = 5.0) -> int:
    """The status of an answer; its body is left alone. 0: none came in time."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
    try:
        connection.request("GET", target)
        return connection.getresponse().status
    except TimeoutError:
        return 0
    finally:
        connection.close()


def health_ms(server: Peer, asked: int) -> list[float]:
    took_ms = []
    for _ in range(asked):
        started_s = time.perf_counter()
        assert answer(server, "/healthz") in (0, 200)
        took_ms.append(1000 * (time.perf_counter() - started_s))
        time.sleep(0.01)
    return took_ms


def wait_until(happened: Callable[[], bool], timeout_s: float = 20.0, every_s: float = 0.1) -> float:
    """How long it took, in seconds."""
    started_s = time.monotonic()
    while not happened():
        assert time.monotonic() < started_s + timeout_s, "did not happen"
        time.sleep(every_s)
    return time.monotonic() - started_s


# Storms.


def storm_rows(folder: Path) -> list[Row]:
    with ours("--max-streams", CROWD + 20) as own:
        free_s, left = storms(own, lambda: int(state(own)["stream"]["viewers"]))
    rows = []
    for server in (
        peers.flask("waitress", SLOW_FPS, folder, threads=256),
        peers.flask("werkzeug", SLOW_FPS, folder),
    ):
        with server as other:
            theirs_s, theirs_left = storms(other, lambda other=other: int(other.get("/viewers")))  # type: ignore[misc]
        name = f"{STORMS} storms of {CROWD} who connect and reset"
        rows += [
            Row(
                f"{name}: until all places are free, longest",
                max(free_s),
                "s",
                other.name,
                max(theirs_s),
                1.0,
                n=STORMS,
                absolute=True,
            ),
            Row(
                f"{name}: descriptors more than before, 1 s after the last",
                left,
                "",
                other.name,
                theirs_left,
                0,
                absolute=True,
            ),
        ]
    return rows


def storms(server: Peer, viewers: Callable[[], int]) -> tuple[list[float], int]:
    """Seconds from the last reset until nobody is counted, for each storm; descriptors left over."""
    storm(server)
    wait_until(lambda: viewers() == 0)
    time.sleep(1.0)
    base = process.descriptors(server.pid)
    took_s = []
    for _ in range(STORMS):
        storm(server)
        took_s.append(wait_until(lambda: viewers() == 0, every_s=0.01))
    time.sleep(1.0)
    return took_s, process.descriptors(server.pid) - base


def storm(server: Peer) -> None:
    """All are let in, and then all are gone without a word."""
    connections = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(CROWD)]
    for connection in connections:
        connection.sendall(f"GET {server.target} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
    for connection in connections:
        assert connection.recv(12).endswith(b" 200")
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


# The classifier, while many watch.


def throughput_rows() -> list[Row]:
    rows = []
    for classifier, module in (
        ("classifier, 30 fps demo", "run.py"),
        ("classifier that needs more than a frame's time, 30 fps demo", "tests/benchmark/heavy.py"),
    ):
        rates: dict[int, list[float]] = {0: [], 100: []}
        with running("--max-streams", "128", module=module) as program:
            own = Peer("Labelcam", program.process.pid, program.port)
            time.sleep(2)
            for _ in range(2):
                rates[0].append(classified_fps(own, 6.0))
                crowd = start(Order(own.port, 100, 60.0, nice=19))
                wait_until_watched_by(own, 100)
                rates[100].append(classified_fps(own, 6.0))
                stop(crowd)
        rows.append(
            Row(
                f"{classifier}, 100 viewers",
                median(rates[100]),
                "fps",
                "no viewer",
                median(rates[0]),
                0.95,
                True,
                n=2,
            )
        )
    return rows


def classified_fps(program: Peer, seconds: float) -> float:
    """Answers a second, by the program's own count."""
    before, from_s = state(program)["frames"]["classified"], time.monotonic()
    time.sleep(seconds)
    return float((state(program)["frames"]["classified"] - before) / (time.monotonic() - from_s))
