"""The running program, as its viewers and its log see it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from models.catalogue import BUILT_IN
from stream.loading import ModelWish, load_model
from stream.log import read_log
from tests.benchmark.table import Row
from tests.benchmark.viewers import Order, watched

ROOT = Path(__file__).parents[2]
SECONDS = 20.0


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    port: int


@contextmanager
def running(*arguments: str, module: str = "run.py") -> Iterator[Running]:
    """The program on a free port, ended at the end."""
    process = subprocess.Popen(
        [sys.executable, module, "--port", "0", "--source", "demo:", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found is not None
        yield Running(process, int(found[1]))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def viewers(port: int, count: int, seconds: float) -> list[float]:
    """Frames a second of each, counted by another process."""
    return watched(Order(port, count, seconds)).rates


def column(records: list[dict[str, Any]], kind: str, name: str) -> list[float]:
    return [record[name] for record in records if record["rec"] == kind]


def live_rows(folder: Path) -> list[Row]:
    """One viewer at 30 fps."""
    rows = []
    for show in ("live", "classified"):
        log = folder / f"{show}.jsonl"
        bare_ms = bare_invoke_ms()
        with running("--log", str(log), "--show", show) as program:
            viewers(program.port, 1, SECONDS)
        records = list(read_log(log))
        classified = column(records, "frame", "seq")
        share = 100 * len(classified) / (classified[-1] + 1)
        ages_ms = np.array(column(records, "video", "age_us")) / 1000
        n = len(ages_ms)
        name = f"live 640x480 at 30 fps, one viewer, --show {show}"
        rows += [
            Row(f"{name}: frames classified", share, "%", "", None, 99.0, at_least=True, n=len(classified)),
            Row(
                f"{name}: capture to JPEG ready, p50 (target: bare invoke() p50 of {bare_ms:.1f} ms + 12)",
                float(np.percentile(ages_ms, 50)),
                "ms",
                "",
                None,
                round(bare_ms + 12, 1),
                n=n,
            ),
            Row(f"{name}: the same, p99", float(np.percentile(ages_ms, 99)), "ms", "", None, 33.0, n=n),
        ]
    return rows


def bare_invoke_ms() -> float:
    interpreter = load_model(ModelWish(BUILT_IN)).backend._interpreter  # type: ignore[attr-defined]
    durations = []
    for _ in range(200):
        started_s = time.perf_counter()
        interpreter.invoke()
        durations.append(time.perf_counter() - started_s)
    return 1000 * median(durations)


def slow_rows(folder: Path) -> list[Row]:
    """A model of 250 ms: the video must not notice."""
    log = folder / "slow.jsonl"
    with running("--log", str(log), module="tests/benchmark/slow.py") as program:
        [rate] = viewers(program.port, 1, SECONDS)
    ages_ms = [age_us / 1000 for age_us in column(list(read_log(log)), "frame", "age_us")]
    return [
        Row("a 250 ms classifier, 30 fps source: video at the viewer", rate, "fps", "", None, 29.0, True),
        Row("the same: age of an answer, p50", median(ages_ms), "ms", "", None, 300.0, n=len(ages_ms)),
    ]


def crowd_rows(folder: Path) -> list[Row]:
    """A hundred viewers, against none, in turn."""
    log = folder / "crowd.jsonl"
    spans = {0: [], 100: []}  # type: dict[int, list[tuple[int, int]]]
    rates: list[float] = []
    with running("--log", str(log)) as program:
        for _ in range(3):
            time.sleep(1)
            started_ns = time.monotonic_ns()
            time.sleep(SECONDS / 2)
            spans[0].append((started_ns, time.monotonic_ns()))
            started_ns = time.monotonic_ns() + 3_000_000_000  # their time to connect and settle
            rates += viewers(program.port, 100, SECONDS / 2)
            spans[100].append((started_ns, time.monotonic_ns() - 500_000_000))
    records = [record for record in read_log(log) if record["rec"] == "frame"]

    def infer_ms(count: int) -> list[float]:
        return [
            record["infer_us"] / 1000
            for record in records
            if any(start <= record["arrived_ns"] <= end for start, end in spans[count])
        ]

    busy, idle = infer_ms(100), infer_ms(0)
    return [
        Row(
            "100 viewers of 640x480 at 30 fps: median viewer", median(rates), "fps", "", None, 29.0, True, 300
        ),
        Row("the same: slowest viewer", min(rates), "fps", "", None, 0.0, True, 300),
        Row("the same: infer p50", median(busy), "ms", "no viewer", median(idle), 1.25, n=len(busy)),
    ]


def start_rows() -> list[Row]:
    """From the command to the first JPEG in a viewer's hands, and what it holds of memory then and later."""
    starts, resident = [], []
    for _ in range(5):
        started_s = time.perf_counter()
        with running() as program:
            while True:
                try:
                    with urllib.request.urlopen(
                        f"http://127.0.0.1:{program.port}/snapshot", timeout=5
                    ) as answer:
                        assert answer.read(2) == b"\xff\xd8"
                    break
                except urllib.error.HTTPError:
                    time.sleep(0.01)
            starts.append(time.perf_counter() - started_s)
            viewers(program.port, 1, 3)
            status = Path(f"/proc/{program.process.pid}/status").read_text()
            found = re.search(r"VmRSS:\s+(\d+) kB", status)
            assert found is not None
            resident.append(int(found[1]) * 1024 / 1e6)
    return [
        Row("start to first JPEG, median of 5", median(starts), "s", "", None, 1.5, n=5),
        Row("resident memory after 5 s with a viewer", max(resident), "MB", "", None, 200.0, n=5),
    ]
