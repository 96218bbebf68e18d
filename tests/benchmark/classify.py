"""One 640x480 frame to its top-5: ours, MediaPipe's and bare invoke(), in turn on one core."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from models.labels import numbered
from models.recipe import as_image
from models.scores import Reading
from stream.cameras import read_picture
from stream.loading import ModelWish, load_model
from tests.benchmark.table import Row

ROUNDS, RUNS = 20, 25


def rows(model: Path, photo: Path, peers: Path) -> list[Row]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the peer inherits it
    frame = as_image(cv2.resize(read_picture(photo), (640, 480), interpolation=cv2.INTER_AREA))
    picture = Path(os.environ.get("TMPDIR", "/tmp")) / f"labelcam-frame-{os.getpid()}.npy"
    np.save(picture, frame[:, :, ::-1])
    loaded = load_model(ModelWish(str(model), threads=1))
    backend = loaded.backend
    facts = backend.facts()
    reading = Reading(numbered(facts.outputs), facts.output)
    peer = subprocess.Popen(
        [
            str(peers / "bin/python"),
            str(Path(__file__).parent / "peer_mediapipe.py"),
            str(model),
            str(picture),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    try:
        version = json.loads(peer.stdout.readline())
        ours: list[float] = []
        bare: list[float] = []
        theirs: list[float] = []
        for round_ in range(ROUNDS + 1):
            print(RUNS, file=peer.stdin, flush=True)
            mediapipe = json.loads(peer.stdout.readline())
            labelcam = timed(lambda: reading.top(backend.infer(backend.prepare(frame))))
            invoke = timed(backend._interpreter.invoke)  # type: ignore[attr-defined]
            if round_:  # the first warms up
                theirs += mediapipe
                ours += labelcam
                bare += invoke
    finally:
        peer.stdin.close()
        peer.wait(10)
        picture.unlink()
    name = f"640x480 frame to top-5, {model.stem}, 1 thread"
    n = len(ours)
    return [
        Row(name, median(ours) / 1000, "ms", f"MediaPipe {version}", median(theirs) / 1000, 0.95, n=n),
        Row(name, median(ours) / 1000, "ms", "bare invoke()", median(bare) / 1000, 1.15, n=n),
    ]


def timed(call: Callable[[], object]) -> list[float]:
    """Microseconds per run."""
    durations = []
    for _ in range(RUNS):
        started_ns = time.perf_counter_ns()
        call()
        durations.append((time.perf_counter_ns() - started_ns) / 1000)
    return durations
