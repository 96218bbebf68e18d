"""Nodes of one server with the model, beside bare clients of the same server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from stream.log import read_log
from tests.benchmark.table import Row
from tests.reference_server import MlServer, environment, wrong_labels
from tests.viewer import ROOT, Labelcam, ask, labelcam, wait_for

NODES, NODE_FPS = 8, 15
"""More than the server has answers for, and little enough for two cores to draw."""
SETTLING_S, SECONDS, ROUNDS = 3.0, 10.0, 3
DEATHS, DEADLINE_S = 20, 0.5


def rows(folder: Path) -> list[Row]:
    server = MlServer(environment(None), folder / "mlserver.txt")
    try:
        server.start()
        server.wait()
        return [*crowd_rows(server), *one_node_rows(server, folder), *death_rows(server, folder)]
    finally:
        server.kill()


class Served(NamedTuple):
    """By the server's own figures."""

    per_second: float
    batch: float  # pictures, on average


def crowd_rows(server: MlServer) -> list[Row]:
    """Eight nodes, and eight bare clients in processes of their own, in turn."""
    nodes, clients = list[Served](), list[Served]()
    for _ in range(ROUNDS):
        nodes.append(served(server, crowd_of_nodes))
        clients.append(served(server, crowd_of_clients))
    ours, theirs = (median(one.per_second for one in of) for of in (nodes, clients))
    batches = [median(one.batch for one in of) for of in (nodes, clients)]
    name = f"{NODES} nodes, {NODE_FPS} fps each, on one MLServer"
    peer = f"{NODES} bare tritonclients, a process each"
    return [
        Row(f"{name}: answers a second", ours, "", peer, theirs, 0.9, True, ROUNDS),
        Row("the same: pictures in a batch, on average", batches[0], "", "", None, 2.0, True, ROUNDS),
        Row("the bare clients' batches", batches[1], "", "", None, None),
    ]


def served(server: MlServer, crowd: Callable[[MlServer], ExitStack]) -> Served:
    with crowd(server):
        time.sleep(SETTLING_S)
        (pictures, times), started_s = server.batches(), time.monotonic()
        time.sleep(SECONDS)
        (more, often), seconds = server.batches(), time.monotonic() - started_s
    return Served((more - pictures) / seconds, (more - pictures) / (often - times))


def crowd_of_nodes(server: MlServer) -> ExitStack:
    with ExitStack() as stack:
        nodes = [stack.enter_context(node(server, "--fps", str(NODE_FPS))) for _ in range(NODES)]
        for running in nodes:
            wait_for(lambda: ask(running.address, "/readyz").status == 200)  # noqa: B023
        return stack.pop_all()


def crowd_of_clients(server: MlServer) -> ExitStack:
    with ExitStack() as stack:
        for _ in range(NODES):
            stack.enter_context(bare_client(server, SETTLING_S + SECONDS + 5))
        return stack.pop_all()


def node(server: MlServer, *arguments: str | Path) -> AbstractContextManager[Labelcam]:
    return labelcam("--port", "0", "--source", "demo:", "--model", server.address("grpc"), *arguments)


@contextmanager
def bare_client(server: MlServer, seconds: float) -> Iterator[subprocess.Popen[str]]:
    address = f"127.0.0.1:{server.grpc_port}"
    command = [sys.executable, "-m", "tests.benchmark.bare_client", address, str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def one_node_rows(server: MlServer, folder: Path) -> list[Row]:
    infer_us, whole_us, trips_us = list[int](), list[int](), list[int]()
    for number in range(ROUNDS):
        log = folder / f"node-{number}.jsonl"
        with node(server, "--log", log) as running:
            wait_for(lambda: ask(running.address, "/readyz").status == 200)
            time.sleep(SECONDS)
            running.stop()
        frames = [record for record in read_log(log) if record["rec"] == "frame"][10:]
        infer_us += [record["infer_us"] for record in frames]
        whole_us += [record["pre_us"] + record["infer_us"] + record["post_us"] for record in frames]
        with bare_client(server, SECONDS) as client:
            trips_us += list(map(int, client.communicate()[0].split()))[10:]
    peer, theirs = "a bare tritonclient's round trip, p50", median(trips_us) / 1000
    n = len(infer_us)
    return [
        Row("one node: prepared, asked, read, p50", median(whole_us) / 1000, "ms", peer, theirs, 1.15, n=n),
        Row("the same: asked alone", median(infer_us) / 1000, "ms", peer, theirs, 1.15, n=n),
    ]


def death_rows(server: MlServer, folder: Path) -> list[Row]:
    """Killed and started again, under a node."""
    log = folder / "deaths.jsonl"
    back_s, ages_s = list[float](), list[float]()
    arguments = ("--port", "0", "--source", "demo:", "--log", log)
    model = server.address("grpc", f"?deadline={DEADLINE_S}")
    with labelcam(*arguments, "--model", model) as running:

        def answered() -> bool:
            answer = ask(running.address, "/api/state").json["answer"]
            if answer is not None:
                ages_s.append(answer["age_s"])
            return answer is not None

        wait_for(answered)
        for _ in range(DEATHS):
            server.kill()
            wait_for(lambda: not answered())
            server.start()
            server.wait()
            back_s.append(wait_for(answered))
            for _ in range(10):
                time.sleep(0.03)
                answered()
        running.stop()
        crashed = running.ends() != 0 or "Traceback" in running.errors
    records = list(read_log(log))
    frames = [record for record in records if record["rec"] == "frame"]
    away_s = records[0]["t_utc"] - records[0]["t_ns"] / 1e9
    name = f"MLServer killed and started again, {DEATHS} times, under a node"
    return [
        Row(f"{name}: from ready to the next answer, median", median(back_s), "s", "", None, 2.0, n=DEATHS),
        Row("the same, longest", max(back_s), "s", "", None, 2.0, n=DEATHS),
        Row("oldest answer shown", max(ages_s), "s", "", None, DEADLINE_S, n=len(ages_s)),
        Row("wrong labels", len(wrong_labels(frames, away_s)), "", "", None, 0, n=len(frames)),
        Row("crashes", float(crashed), "", "", None, 0),
    ]
