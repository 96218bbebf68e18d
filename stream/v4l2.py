"""A camera of this machine: opened in the best mode it has, read from its driver, or why not."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.recipe import Image, as_image, size_of
from stream import jpeg
from stream.cameras import DEFAULT_FPS, DEFAULT_SIZE, granted_note, open_demo, started
from stream.devices import (
    Driver,
    Granted,
    Kind,
    Taken,
    cameras,
    holders,
    same_device,
    set_controls,
    stable_link,
)
from stream.frames import Broken, Shot
from stream.sources import Shots, Source, SourceError, Wish, split_options

FIRST_S = 5.0
"""What a camera may take for its first picture. Some measure the light first."""
SILENCE_S = 4.0
GONE = (errno.ENODEV, errno.ENXIO)

JPEGS = ("MJPG", "JPEG")
RAW = {
    "YUYV": (2, cv2.COLOR_YUV2BGR_YUYV),
    "UYVY": (2, cv2.COLOR_YUV2BGR_UYVY),
    "YVYU": (2, cv2.COLOR_YUV2BGR_YVYU),
    "NV12": (1.5, cv2.COLOR_YUV2BGR_NV12),
    "NV21": (1.5, cv2.COLOR_YUV2BGR_NV21),
    "YU12": (1.5, cv2.COLOR_YUV2BGR_I420),
    "YV12": (1.5, cv2.COLOR_YUV2BGR_YV12),
    "RGB3": (3, cv2.COLOR_RGB2BGR),
    "BGR3": (3, None),
    "GREY": (1, cv2.COLOR_GRAY2BGR),
}
"""What can be read, best first: bytes in a pixel, and how OpenCV makes BGR of it. A JPEG comes before all of
them, for above 640x480 a raw picture does not fit through USB 2 at 30 fps."""
BAYER = re.compile("(RG|BG|GR|GB|BA|pR|pB|pG|pg)")
"""How the formats of a sensor begin whose pictures nobody has processed yet."""
OTHER_NAMES = {"MJPEG": "MJPG", "JPG": "MJPG", "YUY2": "YUYV", "I420": "YU12", "GRAY": "GREY", "RGB": "RGB3"}


def open_auto(_: str, wish: Wish) -> Source:
    """The first camera that opens and delivers, else the demo."""
    failures = []
    for camera in cameras():
        try:
            return open_camera(camera.path, wish)
        except SourceError as error:
            failures.append(str(error))
    return replace(open_demo("demo:", wish), note=": ".join(["no camera opens", *failures[:1]]))


def open_camera(name: str, wish: Wish) -> Source:
    """`/dev/video0?format=yuyv&exposure=100`: all but the format is a control of the camera's."""
    path, options = split_options(name)
    if options.get("via", "v4l2") != "v4l2":
        raise SourceError(f"nothing that is called {options['via']} reads {path} - known: v4l2, gst")
    controls = {key: value for key, value in options.items() if key not in ("format", "via")}
    try:
        driver = Driver(path)
    except OSError as error:
        raise SourceError(not_opened(path, error)) from error
    try:
        granted = start(path, driver, options.get("format", ""), wish, controls)
        first = first_shot(path, driver, granted)
    except BaseException:
        driver.close()
        raise
    size = size_of(first.image)
    return Source(
        name=path,
        kind="camera",
        size=size,
        fps=granted.fps,
        live=True,
        paced=False,
        shots=started(read_on(path, driver, granted, first)),
        note=granted_note(wish, size, granted.fps),
        via=f"V4L2 {granted.format}",
        again=name.replace(path, stable_link(path) or path, 1),
    )


def start(path: str, driver: Driver, form: str, wish: Wish, controls: Mapping[str, str]) -> Granted:
    """In the best mode there is of what is wished for. Raises SourceError."""
    try:
        kind = driver.kind()
    except OSError:
        kind = "other"  # /dev/null
    if kind != "camera":
        raise SourceError(no_camera(path, kind))
    size = wish.size or DEFAULT_SIZE
    try:
        wanted = chosen_format(path, driver.formats(), form)
        granted = driver.set_mode(wanted, size, wish.fps or DEFAULT_FPS)
        if granted.format != wanted:
            raise OSError(errno.EINVAL, f"asked for {wanted}, it gives {granted.format}")
        if controls:
            set_controls(path, controls)
        driver.start()
    except OSError as error:
        raise SourceError(not_started(path, f"{size[0]}x{size[1]}", error)) from error
    return granted


def chosen_format(path: str, offered: Sequence[str], form: str) -> str:
    """The one asked for, or the best. Raises SourceError for one that the camera does not have."""
    readable = [known for known in (*JPEGS, *RAW) if known in offered]
    wanted = OTHER_NAMES.get(form.upper(), form.upper())
    if wanted == "RAW":
        readable = [known for known in RAW if known in offered]
    elif wanted:
        readable = [known for known in readable if known == wanted]
    if readable:
        return readable[0]
    if offered and all(BAYER.match(format) for format in offered):
        raise SourceError(f"{path} is a bare sensor, with no colours yet - on a Jetson: --source csi:0")
    if not form or wanted in offered or wanted == "RAW":
        raise SourceError(
            f"{path} delivers {', '.join(offered) or 'no format'}, of which none is read here"
            f" - try {path}?via=gst"
        )
    raise SourceError(f"{path} has no format {form} - it has {', '.join(offered) or 'none'}")


def first_shot(path: str, driver: Driver, granted: Granted) -> Shot:
    """The proof that it works."""
    until_s, why = time.monotonic() + FIRST_S, "no picture"
    while (left_s := until_s - time.monotonic()) > 0:
        item = next_item(path, driver, granted, left_s)
        if isinstance(item, Shot):
            return item
        why = f"nothing but broken pictures ({item.reason})" if item else "no picture"
    raise SourceError(f"{path} opens but delivers {why} - try another cable or USB port")


def read_on(path: str, driver: Driver, granted: Granted, first: Shot) -> Shots:
    silence_s = max(SILENCE_S, 3 / granted.fps if granted.fps else 0)
    try:
        yield first  # for `started`
        yield first
        while (item := next_item(path, driver, granted, silence_s)) is not None:
            yield item
    finally:
        driver.close()
    raise SourceError(f"{path} has delivered nothing for {silence_s:.0f} s")


def next_item(path: str, driver: Driver, granted: Granted, within_s: float) -> Shot | Broken | None:
    """None if none came."""
    try:
        return driver.newest(within_s, lambda taken: item_of(taken, granted))
    except OSError as error:
        if error.errno in GONE:
            raise SourceError(f"{path} was unplugged") from None
        raise SourceError(f"{path} failed: {error.strerror} - is its cable in?") from None


def item_of(taken: Taken, granted: Granted) -> Shot | Broken:
    if taken.damaged:
        return Broken("a picture damaged on its way")
    image = jpeg.decode(taken.data) if granted.format in JPEGS else bgr(taken.data, granted)
    return image if isinstance(image, Broken) else Shot(image, sensor_ns=taken.sensor_ns)


def bgr(data: NDArray[np.uint8], granted: Granted) -> Image | Broken:
    """Of a raw picture. What pads its rows is converted too, then cut off."""
    (width, height), (pixel_bytes, conversion) = granted.size, RAW[granted.format]
    rows = height * 3 // 2 if pixel_bytes == 1.5 else height  # half as many rows of colours
    channels = int(pixel_bytes)
    row_bytes = granted.row_bytes or width * channels
    if data.size < rows * row_bytes:
        return Broken("a picture cut off")
    pixels = row_bytes // channels
    padded = data[: rows * row_bytes].reshape(rows, row_bytes)[:, : pixels * channels]
    picture = padded.reshape(rows, pixels, channels)
    image = picture.copy() if conversion is None else cv2.cvtColor(picture, conversion)
    return np.ascontiguousarray(as_image(image)[:, :width])


# Why not.


def not_opened(path: str, error: OSError) -> str:
    if error.errno in (errno.ENOENT, *GONE):
        return f"there is no camera {path} - {cameras_here()}; python run.py --source demo: needs none"
    if error.errno == errno.EACCES:
        return f"no permission to open {path} - {permission(path)}"
    if error.errno == errno.EPERM:
        return f"this service may not open {path} - its unit needs DeviceAllow=char-video4linux rw"
    if error.errno == errno.EBUSY:
        return held(path)
    return f"cannot open {path}: {error.strerror} - {cameras_here()}"


def no_camera(path: str, kind: Kind) -> str:
    if kind == "planes":
        return f"{path} delivers its colours apart, which GStreamer can read - {path}?via=gst"
    if kind == "codec":
        return f"{path} is a codec, no camera - {cameras_here()}"
    if kind == "metadata":
        theirs = [f"{camera}" for camera in cameras() if camera.path in same_device(path)]
        return (
            f"{path} delivers metadata, no pictures - those come from {', '.join(theirs) or 'no node here'}"
        )
    return f"{path} is no camera - {cameras_here()}"


def not_started(path: str, mode: str, error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return held(path)
    if error.errno == errno.ENOSPC:
        return f"{path} at {mode} is too much for its USB - another port, or less --width, --height or --fps"
    if error.errno in GONE:
        return f"{path} was unplugged"
    return f"{path} refuses {mode}: {error.strerror} - python run.py doctor lists what it can"


def cameras_here() -> str:
    return f"cameras here: {', '.join(map(str, cameras())) or 'none'}"


def held(path: str) -> str:
    """Another user's programs only root may look into."""
    others = [holder for holder in holders(path) if not holder.endswith(f"(pid {os.getpid()})")]
    known = ", ".join(others) or f"another user's program, which sudo fuser -v {path} names"
    return f"{path} is in use by {known} - end that first"


def permission(path: str) -> str:
    """What gives it: a group, as a rule `video`."""
    try:
        node = Path(path).stat()
    except OSError:  # gone meanwhile
        return cameras_here()
    if not node.st_mode & stat.S_IRGRP:
        return f"its group has none either: sudo chmod g+rw {path}"
    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(node.st_gid)
    except KeyError:
        return f"its group has the number {node.st_gid}, which a container gets by --group-add {node.st_gid}"
    if user in group.gr_mem:
        return f"the user {user} is in the group {group.gr_name} since this login: log out and in again"
    return f"sudo usermod -aG {group.gr_name} {user}, then log in again"
