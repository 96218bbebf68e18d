"""A clip, every frame classified, painted and encoded: our three loops, a plain loop, and bare invoke()."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2

from models.catalogue import BUILT_IN
from models.recipe import as_image
from stream.classify import Work
from stream.demo import draw
from stream.hub import Hub
from stream.loading import Model, ModelWish, load_model
from stream.overlay import Caption, paint
from stream.pipeline import Pipeline, Policy
from stream.render import encode
from stream.sources import Wish, open_source
from tests.benchmark.table import Row

FRAMES, ROUNDS = 900, 5


def rows(folder: Path) -> list[Row]:
    clip = folder / "clip.mp4"
    write_clip(clip)
    rates: dict[str, list[float]] = {"loops": [], "plain": [], "bare": []}
    for _ in range(ROUNDS):
        for name, run in (("bare", bare), ("loops", loops), ("plain", plain)):
            # Each in a process of its own, so that none inherits another's warm caches or threads.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rates[name].append(process.submit(run, clip).result())
    ours, theirs, alone = (median(rates[name]) for name in ("loops", "plain", "bare"))
    name = f"--every-frame over a 640x480 clip, {BUILT_IN}, all drawn and encoded"
    return [
        Row(name, ours, "fps", "bare invoke()", alone, 0.9, at_least=True, n=FRAMES * ROUNDS),
        Row(
            name, ours, "fps", "plain loop: read, classify, draw, encode", theirs, 1.3, True, FRAMES * ROUNDS
        ),
    ]


def write_clip(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (640, 480))
    start = datetime(2026, 1, 1, 10, 10)
    for seq in range(FRAMES):
        writer.write(draw(seq, start + timedelta(seconds=seq / 30), (640, 480)))
    writer.release()


def prepared() -> Model:
    """The program's own settings, and its own default of threads."""
    sys.setswitchinterval(0.001)
    cv2.setNumThreads(1)
    return load_model(ModelWish(BUILT_IN))


def loops(clip: Path) -> float:
    model, hub = prepared(), Hub(always=True)
    source = open_source(str(clip), Wish())
    pipeline = Pipeline(
        source,
        lambda again: source,
        Work(model.backend, model.reading),
        Policy(every_frame=True),
        hub,
        lambda record: None,
    )
    started_s = time.perf_counter()
    pipeline.start()
    pipeline.join()
    assert pipeline.classify.count == FRAMES
    return FRAMES / (time.perf_counter() - started_s)


def plain(clip: Path) -> float:
    """What one writes first."""
    model = prepared()
    capture = cv2.VideoCapture(str(clip))
    count, started_s = 0, time.perf_counter()
    while True:
        good, read = capture.read()
        if not good:
            break
        image = as_image(read)
        predictions = model.reading.top(model.backend.infer(model.backend.prepare(image)))
        encode(paint(image, Caption(predictions, 30.0, 30.0, 5.0, 5.0, "plain")), 80)
        count += 1
    assert count == FRAMES
    return count / (time.perf_counter() - started_s)


def bare(clip: Path) -> float:
    interpreter = prepared().backend._interpreter  # type: ignore[attr-defined]
    started_s = time.perf_counter()
    for _ in range(FRAMES):
        interpreter.invoke()
    return FRAMES / (time.perf_counter() - started_s)
