"""A million-line log, read back and compared by a process of its own: the time it takes, what it holds.

As a command: compares the two logs it is told, and prints seconds and bytes.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

from stream.compare import compare
from stream.compare_report import text
from stream.log import run_record
from tests.benchmark.table import Row

ROOT = Path(__file__).parents[2]
LINES = 1_000_000
LABELS = ("analog clock", "wall clock", "magnetic compass", "odometer, hodometer, mileometer", "stopwatch")


def rows(folder: Path) -> list[Row]:
    logs = [folder / "million.jsonl", folder / "another.jsonl"]
    write_log(logs[0], LINES, seed=0)
    write_log(logs[1], LINES // 100, seed=1)
    command = [sys.executable, "-m", "tests.benchmark.compare_log", *map(str, logs)]
    seconds, size_bytes = json.loads(
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    )
    size_mb = logs[0].stat().st_size / 1e6
    name = f"compare: a log of {LINES:,} lines ({size_mb:.0f} MB) and one of {LINES // 100:,}"
    return [
        Row(f"{name}: time", seconds, "s", "", None, 20.0, n=1),
        Row(f"{name}: peak memory", size_bytes / 1e6, "MB", "", None, 1000.0, n=1),
    ]


def write_log(path: Path, lines: int, seed: int) -> None:
    """A live run of as many frames, about 300 bytes each, that depend on each other."""
    chance = random.Random(seed)
    run = {
        **run_record("live"),
        "backend": "tflite",
        "model": "written",
        "threads": seed + 1,
        "source": "demo:",
    }
    drift, seq = 0.0, -1
    with path.open("w") as file:
        file.write(json.dumps(run) + "\n")
        for _ in range(lines):
            drift = 0.86 * drift + chance.gauss(0, 300)
            skip = int(chance.random() < 0.01)
            seq += 1 + skip
            steps = {
                "wait_us": chance.randrange(150, 900),
                "pre_us": chance.randrange(270, 900),
                "infer_us": max(1, int(6000 + drift)),
                "post_us": chance.randrange(60, 180),
            }
            top = [[chance.randrange(1000), label, round(chance.random(), 5)] for label in LABELS]
            record = {"rec": "frame", "seq": seq, "arrived_ns": 33_333_333 * seq, "skip": skip, **steps}
            record |= {"age_us": sum(steps.values()), "top": top}
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    started_s = time.perf_counter()
    written = text(compare([Path(name) for name in sys.argv[1:]]))
    took_s = time.perf_counter() - started_s
    assert "infer" in written
    print(json.dumps([took_s, peak_bytes()]))


if __name__ == "__main__":
    main()
