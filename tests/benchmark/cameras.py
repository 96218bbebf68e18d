"""Several cameras that share one model: what each of them gets, and what all get of what the model can do."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy as np

from stream.log import Record, read_log
from tests.benchmark.live import bare_invoke_ms
from tests.benchmark.table import Row
from tests.viewer import labelcam

NAMES = ("a", "b", "c", "d")
RATES_FPS = (15, 75)
"""What people have, and four times that which is more than the model can answer."""
SETTLING_S, SECONDS, ROUNDS = 2.0, 10.0, 3


def rows(folder: Path) -> list[Row]:
    return [row for fps in RATES_FPS for row in of_rate(folder, fps)]


def of_rate(folder: Path, fps: int) -> list[Row]:
    """Rounds of the program and of bare invoke(), in turn."""
    counts = np.zeros(len(NAMES))
    bare_fps, ages_ms = [1000 / bare_invoke_ms()], list[float]()
    for number in range(ROUNDS):
        answered = answers(folder / f"cameras-{fps}-{number}.jsonl", fps)
        counts += [len(records) for records in answered]
        ages_ms += [record["age_us"] / 1000 for records in answered for record in records]
        bare_fps.append(1000 / bare_invoke_ms())
    most_fps = min(median(bare_fps), len(NAMES) * fps)
    asked = most_fps == len(NAMES) * fps
    peer = f"what comes: 4 x {fps} (bare invoke(): {median(bare_fps):.0f})" if asked else "bare invoke()"
    name = f"4 cameras, 640x480 at {fps} fps, built-in model"
    share = 100 * float(np.abs(counts / counts.mean() - 1).max())
    n = int(counts.sum())
    return [
        Row(
            f"{name}: the camera furthest from a quarter of the answers, off by", share, "%", "", None, 5, n=n
        ),
        Row(f"{name}: answers a second, all", n / (ROUNDS * SECONDS), "fps", peer, most_fps, 0.9, True, n),
        Row(f"{name}: age of an answer, p50", median(ages_ms), "ms", "", None, None, n=n),
        Row(f"{name}: the same, p99", float(np.percentile(ages_ms, 99)), "ms", "", None, None, n=n),
    ]


def answers(log: Path, fps: int) -> list[list[Record]]:
    """Each camera's, of the same SECONDS, with nobody watching."""
    sources = [argument for name in NAMES for argument in ("--source", f"{name}=demo:")]
    with labelcam("--port", "0", *sources, "--fps", str(fps), "--log", log) as running:
        assert running.greeting
        time.sleep(SETTLING_S + SECONDS + 1)
        running.stop()
    frames = [
        [record for record in read_log(log.with_name(f"{log.stem}-{name}.jsonl")) if record["rec"] == "frame"]
        for name in NAMES
    ]
    start_ns = max(records[0]["arrived_ns"] for records in frames) + SETTLING_S * 1e9
    end_ns = start_ns + SECONDS * 1e9
    return [[record for record in records if start_ns <= record["arrived_ns"] < end_ns] for records in frames]
