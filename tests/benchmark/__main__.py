"""Runs the parts asked for, all by default, and prints their table."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from stream.host import host_facts
from tests.benchmark import (
    cameras,
    classify,
    clip,
    compare_log,
    faults,
    fuzz,
    gstreamer,
    keras_ways,
    live,
    pages,
    serving,
    stills,
    switching,
    web,
)
from tests.benchmark.table import Row, markdown

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("LABELCAM_SHARED", ROOT.parent / "shared"))
CLASSIFIED = ("tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v2_1.0_224_quant")
PARROT = SHARED / "images/parrot.jpg"
Part = Callable[[Path, Path], list[Row]]  # given a folder for its files, and where the peers are installed


def alone(measure: Callable[..., list[Row]], *arguments: Path) -> list[Row]:
    """In a process of its own, which inherits no other part's threads or caches."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def classify_rows(_: Path, peers: Path) -> list[Row]:
    models = [SHARED / f"models/{name}.tflite" for name in CLASSIFIED]
    return [row for model in models for row in alone(classify.rows, model, PARROT, peers)]


PARTS: dict[str, Part] = {
    "classify": classify_rows,
    "tensorflow": lambda folder, peers: alone(keras_ways.rows, PARROT),
    "stills": lambda folder, peers: stills.rows(SHARED / "images", folder),
    "clip": lambda folder, peers: clip.rows(folder),
    "live": lambda folder, peers: live.live_rows(folder),
    "slow": lambda folder, peers: live.slow_rows(folder),
    "cameras": lambda folder, peers: cameras.rows(folder),
    "serving": lambda folder, peers: serving.rows(folder),
    "crowd": lambda folder, peers: live.crowd_rows(folder),
    "start": lambda folder, peers: live.start_rows(),
    "faults": lambda folder, peers: faults.rows(),
    "gstreamer": lambda folder, peers: gstreamer.rows(folder),
    "compare": lambda folder, peers: compare_log.rows(folder),
    "slowviewer": lambda folder, peers: web.slow_viewer_rows(folder),
    "stalled": lambda folder, peers: web.stalled_rows(folder),
    "crowd200": lambda folder, peers: web.crowd_rows(folder),
    "healthz": lambda folder, peers: web.health_rows(folder),
    "storm": lambda folder, peers: web.storm_rows(folder),
    "throughput": lambda folder, peers: web.throughput_rows(),
    "switch": lambda folder, peers: switching.rows(SHARED / "models"),
    "page": lambda folder, peers: pages.rows(),
    "fuzz": lambda folder, peers: fuzz.rows(),
}


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
            rows += PARTS[part](Path(folder), options.peers)
    print(f"\n{markdown(rows)}")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
