"""The bench command on the four pictures: what it costs itself, and what preparing costs beside inferring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

from stream.log import read_log
from tests.benchmark.table import Row

ROOT = Path(__file__).parents[2]


def rows(images: Path, folder: Path) -> list[Row]:
    log = folder / "stills.jsonl"
    pictures = sorted(map(str, images.glob("*.jpg")))
    command = [sys.executable, "run.py", "bench", *pictures, "--runs", "200", "--log", str(log)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    records = list(read_log(log))
    frames = [record for record in records if record["rec"] == "frame"]
    prepare_ms, infer_ms = (median(frame[name] for frame in frames) / 1000 for name in ("pre_us", "infer_us"))
    overhead_ms = [record["overhead_us"] / 1000 for record in records if "overhead_us" in record]
    n = len(frames)
    return [
        Row("bench: its own time between two runs", median(overhead_ms), "ms", "", None, 0.2, n=n),
        Row("bench, built-in model: prepare p50", prepare_ms, "ms", "infer p50", infer_ms, 0.25, n=n),
    ]
