"""The longest gap between two pictures at a viewer while the model is switched, and while it is not."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from models.catalogue import BUILT_IN
from tests.benchmark.peers import Peer
from tests.benchmark.table import Row
from tests.benchmark.viewers import Order, start, stop
from tests.benchmark.web import ours, state, wait_until

ROUNDS = 8
SETTLE_S = 0.5  # after the program says that it is done
LONGEST_QUIET_S = 6.0
GAP_MS = 200.0
Choice = tuple[str, str]  # (model, backend)


@dataclass
class Kind:
    """Switches of one kind."""

    name: str
    spans: list[tuple[float, float]] = field(default_factory=list)  # monotonic seconds, from the request
    quiet: list[tuple[float, float]] = field(default_factory=list)
    load_ms: list[float] = field(default_factory=list)
    own_gap_ms: list[float] = field(default_factory=list)

    def rows(self, came_s: list[float]) -> list[Row]:
        name = f"model switched, {self.name}"
        loading = f"loading takes {median(self.load_ms):.0f} ms"
        gap_ms = max(longest_gap_ms(came_s, span) for span in self.spans)
        quiet_ms = max(longest_gap_ms(came_s, span) for span in self.quiet)
        peer, n = "as long without", len(self.spans)
        rows = [
            Row(
                f"{name} ({loading}): longest gap at a viewer",
                *(gap_ms, "ms", peer, quiet_ms, GAP_MS),
                n=n,
                absolute=True,
            )
        ]
        if self.own_gap_ms:
            rows.append(
                Row("the same, as the program says", max(self.own_gap_ms), "ms", "", None, GAP_MS, n=n)
            )
        return rows


def rows(models: Path) -> list[Row]:
    """`models`: a folder with more of the catalogue's models, if there is one."""
    arguments = ("--models-dir", models) if models.is_dir() else ()
    within, first, back, again = (
        Kind("tflite to tflite"),
        Kind("tflite to tensorflow, which is imported for it"),
        Kind("tensorflow to tflite"),
        Kind("tflite to tensorflow, which is there"),
    )
    with ours(*arguments) as program:
        choices = choices_of(program)
        viewer = start(Order(program.port, 1, 600.0, settle_s=0.0))
        wait_until(lambda: state(program)["stream"]["viewers"] == 1)
        time.sleep(2.0)
        tflite = [model for model, backend in choices if backend == "tflite" and model != BUILT_IN]
        for model in islice(cycle([*tflite, BUILT_IN]), ROUNDS // (len(tflite) + 1) * (len(tflite) + 1)):
            switch(program, (model, "tflite"), within)
        if (BUILT_IN, "tensorflow") in choices:
            for kind in (first, again, again):
                switch(program, (BUILT_IN, "tensorflow"), kind)
                switch(program, (BUILT_IN, "tflite"), back)
        [parts] = stop(viewer).parts
    came_s = [part.came_s for part in parts]
    return [row for kind in (within, first, again, back) if kind.spans for row in kind.rows(came_s)]


def choices_of(program: Peer) -> list[Choice]:
    found = json.loads(program.get("/api/settings"))["choices"]
    return [(choice["model"], choice["backend"]) for choice in found]


def switch(program: Peer, choice: Choice, kind: Kind) -> None:
    started_s = time.monotonic()
    model, backend = choice
    status, answer = post(program.port, {"model": model, "backend": backend})
    assert status in (200, 202), answer
    wait_until(lambda: state(program)["switch"]["state"] != "loading", 60.0)
    told = state(program)["switch"]
    assert (told["state"], told["model"], told["backend"]) == ("done", model, backend), told
    time.sleep(SETTLE_S)
    ended_s = time.monotonic()
    kind.spans.append((started_s, ended_s))
    kind.load_ms.append(told["load_ms"])
    if told["gap_ms"] is not None:
        kind.own_gap_ms.append(told["gap_ms"])
    time.sleep(min(ended_s - started_s, LONGEST_QUIET_S))
    kind.quiet.append((ended_s, time.monotonic()))


def post(port: int, settings: dict[str, Any]) -> tuple[int, Any]:
    """The status and what was answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "application/json", "X-Labelcam": "1"}
        connection.request("POST", "/api/settings", json.dumps(settings), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def longest_gap_ms(came_s: list[float], span: tuple[float, float]) -> float:
    """Between two pictures, of the gaps that end in the span."""
    begins_s, ends_s = span
    return 1000 * max(after - before for before, after in pairwise(came_s) if begins_s < after <= ends_s)
