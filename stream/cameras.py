"""The sources that OpenCV reads, and the demo."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from models.recipe import Image, as_image, size_of
from stream import demo, gstreamer, jpeg
from stream.frames import Shot
from stream.sources import Shots, Source, SourceError, Wish, split_options, without_credentials

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
DEFAULT_SIZE = (640, 480)
DEFAULT_FPS = 30.0
NETWORK_TIMEOUT_MS = 5000
"""OpenCV's own default is 30 s, which looks like a hang."""
FFMPEG_OPTIONS = {("via", "ffmpeg"), ("transport", "tcp")}
"""What may be asked of it without OpenCV's having a way to pass it on."""
TEXT = cv2.VideoWriter.fourcc(*"ansi")
"""ffmpeg plays a .txt as a film of a terminal. Nobody means that."""


def open_demo(_: str, wish: Wish) -> Source:
    size, fps = wish.size or DEFAULT_SIZE, wish.fps or DEFAULT_FPS

    def shots() -> Shots:
        seq = 0
        while True:
            yield Shot(demo.draw(seq, datetime.now(), size))
            seq += 1

    return Source("demo:", "demo", size, fps, live=False, paced=True, shots=shots())


def granted_note(wish: Wish, size: tuple[int, int], fps: float | None) -> str:
    """What was asked for, where the camera gives something else."""
    notes = []
    if wish.size and size != wish.size:
        notes.append(f"{wish.size[0]}x{wish.size[1]}")
    if wish.fps and fps and abs(fps - wish.fps) > 0.5:
        notes.append(f"{wish.fps:g} fps")
    return f"asked for {' and '.join(notes)}" if notes else ""


def open_network(name: str, wish: Wish) -> Source:
    """An RTSP camera by GStreamer where that is here, all others by FFmpeg."""
    address, options = split_options(name)
    shown = without_credentials(address)
    if name.lower().startswith("rtsp"):
        via = options.get("via") or ("gst" if gstreamer.reads_rtsp() else "ffmpeg")
        if via == "gst":
            return gstreamer.open_rtsp(name, wish)
        if via != "ffmpeg":
            raise SourceError(f"nothing called {via} reads {shown} - known: gst, ffmpeg")
    for option, value in options.items():
        if (option, value) not in FFMPEG_OPTIONS:
            raise SourceError(f"FFmpeg reads {shown}, and has no {option}={value} here - leave it out")
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS),
    ]
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
    first = first_picture(capture, f"no video comes from {shown} - is the address right and the camera on?")
    # MJPEG over HTTP has no rate of its own: ffmpeg says 25, whatever comes.
    fps = 0.0 if name.lower().startswith("http") else capture.get(cv2.CAP_PROP_FPS)
    return Source(
        *(shown, "network", size_of(first), sane_fps(fps)),
        live=True,
        paced=False,
        shots=started(read_on(capture, first, f"{shown} stopped delivering")),
        via="FFmpeg",
    )


def open_file(name: str, wish: Wish) -> Source:
    """A video at its own pace, or one picture."""
    if Path(name).suffix.lower() in PICTURES:
        return stills(name, [Path(name)], wish)
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    if capture.get(cv2.CAP_PROP_FOURCC) == TEXT:
        capture.release()
    first = first_picture(
        capture, f"{name} is not a video that can be read - give a video file, a picture or a folder"
    )
    fps = wish.fps or sane_fps(capture.get(cv2.CAP_PROP_FPS)) or DEFAULT_FPS
    shots = started(read_on(capture, first, None))
    return Source(name, "file", size_of(first), fps, live=False, paced=True, shots=shots)


def open_folder(name: str, wish: Wish) -> Source:
    return stills(name, pictures_in(Path(name)), wish)


def pictures_in(folder: Path) -> list[Path]:
    """In order of name. Raises SourceError if there are none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        raise SourceError(f"cannot look into {folder}: {error.strerror}") from error
    if not paths:
        raise SourceError(f"there are no pictures in {folder} - known are {', '.join(sorted(PICTURES))}")
    return paths


def stills(name: str, paths: list[Path], wish: Wish) -> Source:
    """Pictures in the order given, one a second unless asked otherwise."""

    def shots() -> Shots:
        yield Shot(first, paths[0].name)
        for path in paths[1:]:
            yield Shot(read_picture(path), path.name)

    first = read_picture(paths[0])
    fps = wish.fps or 1.0
    return Source(name, "stills", size_of(first), fps, live=False, paced=True, shots=shots())


def read_picture(path: Path) -> Image:
    """(height, width, 3) BGR, turned as its EXIF says. Raises SourceError."""
    kinds = ", ".join(sorted(PICTURES))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror} - give a {kinds} file") from error
    if content.startswith(jpeg.START) and jpeg.is_cut_off(content):
        raise SourceError(f"the picture {path} is cut off - copy it again")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise SourceError(f"{path} is not a picture that can be read - give a {kinds} file")
    return as_image(image)


def first_picture(capture: cv2.VideoCapture, failure: str) -> Image:
    """The proof that a source works; frees it and raises SourceError(failure) if it does not."""
    if capture.isOpened():
        good, image = capture.read()
        if good:
            return as_image(image)
    capture.release()
    raise SourceError(failure)


def started(shots: Shots) -> Shots:
    """Past its first `yield`, which is thrown away: closing a generator that never ran frees nothing."""
    next(shots)
    return shots


def read_on(capture: cv2.VideoCapture, first: Image, lost: str | None) -> Shots:
    """The first picture, then all that follow. At the end SourceError(lost), or, if None, just the end."""
    try:
        yield Shot(first)  # for `started`
        yield Shot(first)
        while True:
            good, image = capture.read()
            if not good:
                break
            yield Shot(as_image(image))
    finally:
        capture.release()
    if lost is not None:
        raise SourceError(lost)


def sane_fps(fps: float) -> float | None:
    """Containers without a rate report 0, 90000 or not a number."""
    return fps if 0 < fps <= 1000 else None
