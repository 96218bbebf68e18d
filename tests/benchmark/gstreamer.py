"""A camera's MJPEG read by GStreamer and by OpenCV: processor time for a picture, all threads counted."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from itertools import islice, takewhile
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from stream.demo import draw
from stream.process import set_up_process
from stream.sources import Wish, open_source
from tests.benchmark.table import Row

FRAMES, ROUNDS = 600, 7
DEVICE = Path("/dev/video0")
SIZE = (640, 480)


def rows(folder: Path) -> list[Row]:
    clip = folder / "clip.avi"
    write_clip(clip)
    ours = f'gst:filesrc location="{clip}" ! avidemux ! image/jpeg ! appsink'
    found = per_picture(
        {"ours": (by_us, ours), "file": (by_opencv, str(clip)), "jpeg": (by_imdecode, str(clip))}
    )
    name, n = "CPU for a picture of 640x480 MJPEG, by GStreamer's appsink", FRAMES * ROUNDS
    result = [
        Row(name, found["ours"], "us", "cv2.VideoCapture, the same file", found["file"], 1.0, n=n),
        Row(name, found["ours"], "us", "cv2.imdecode, as of a V4L2 camera", found["jpeg"], 1.0, n=n),
    ]
    if DEVICE.exists():
        found = per_picture({"ours": (by_us, f"{DEVICE}?via=gst"), "device": (by_opencv, str(DEVICE))})
        name = f"CPU for a picture of {DEVICE}, by GStreamer's appsink"
        result.append(Row(name, found["ours"], "us", "cv2, same device", found["device"], 1.0, n=n))
    return result


def per_picture(readers: dict[str, tuple[Callable[[str], float], str]]) -> dict[str, float]:
    """The median of rounds in which they take turns, each in a process of its own."""
    spent: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(ROUNDS):
        for name, (read, what) in readers.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                spent[name].append(process.submit(read, what).result())
    return {name: median(values) for name, values in spent.items()}


def write_clip(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, SIZE)
    start = datetime(2026, 1, 1, 10, 10)
    for seq in range(FRAMES):
        writer.write(draw(seq, start + timedelta(seconds=seq / 30), SIZE))
    writer.release()


def cpu_us(pictures: Iterator[object]) -> float:
    """Of each but the first, which paid for the opening. As in a real program, each lives until the next."""
    newest, count = next(pictures), 0
    started_s = time.process_time()
    for newest in pictures:  # noqa: B007
        count += 1
    assert newest is not None
    assert count > FRAMES // 2
    return (time.process_time() - started_s) / count * 1e6


def by_us(name: str) -> float:
    set_up_process(logging.WARNING)
    source = open_source(name, Wish(SIZE))
    try:
        return cpu_us(islice(source.shots, FRAMES))
    finally:
        source.shots.close()


def by_opencv(name: str) -> float:
    """What one writes first."""
    mjpg = [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
    device = name.startswith("/dev/")
    capture = cv2.VideoCapture(name, cv2.CAP_V4L2, mjpg) if device else cv2.VideoCapture(name)
    pictures = (capture.read()[1] for _ in range(FRAMES))
    return cpu_us(takewhile(lambda image: image is not None, pictures))


def by_imdecode(clip: str) -> float:
    content = Path(clip).read_bytes()
    jpegs = [
        np.frombuffer(found[0], np.uint8) for found in re.finditer(b"\xff\xd8\xff.*?\xff\xd9", content, re.S)
    ]
    return cpu_us(cv2.imdecode(jpeg, cv2.IMREAD_COLOR) for jpeg in jpegs)
