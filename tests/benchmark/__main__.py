"""Runs the parts asked for, all by default, and prints their table."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from stream.host import host_facts
from tests.benchmark import classify, clip, compare_log, faults, gstreamer, keras_ways, live, stills
from tests.benchmark.table import Row, markdown

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("LABELCAM_SHARED", ROOT.parent / "shared"))
PARTS = (
    "classify",
    "tensorflow",
    "stills",
    "clip",
    "live",
    "slow",
    "crowd",
    "start",
    "faults",
    "gstreamer",
    "compare",
)


def measure(part: str, folder: Path, peers: Path) -> list[Row]:
    if part == "classify":
        rows = []
        for name in ("tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v2_1.0_224_quant"):
            model, photo = SHARED / f"models/{name}.tflite", SHARED / "images/parrot.jpg"
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rows += process.submit(classify.rows, model, photo, peers).result()
        return rows
    if part == "tensorflow":
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(keras_ways.rows, SHARED / "images/parrot.jpg").result()
    if part == "stills":
        return stills.rows(SHARED / "images", folder)
    if part == "clip":
        return clip.rows(folder)
    if part == "compare":
        return compare_log.rows(folder)
    if part == "faults":
        return faults.rows()
    if part == "gstreamer":
        return gstreamer.rows(folder)
    if part == "start":
        return live.start_rows()
    return {"live": live.live_rows, "slow": live.slow_rows, "crowd": live.crowd_rows}[part](folder)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure, side by side with peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [all]")
    parser.add_argument("--peers", type=Path, required=True, help="the virtual environment with MediaPipe")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)} - known: {', '.join(PARTS)}")
    host = host_facts()
    print(f"{date.today()}, {host['cpu']}, {host['cpu_count']} cores, Python {host['python']}", flush=True)
    rows = []
    with TemporaryDirectory() as folder:
        for part in options.parts or PARTS:
            print(f"measuring {part} ...", file=sys.stderr, flush=True)
            rows += measure(part, Path(folder), options.peers)
    print(f"\n{markdown(rows)}")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
