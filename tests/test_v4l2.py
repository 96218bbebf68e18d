"""A camera of this machine, as far as that goes without one. With one: test_device_cameras.py."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.recipe import Image, as_image
from stream import jpeg
from stream.devices import Granted, Taken
from stream.frames import Broken, Shot
from stream.sources import SourceError, Wish, open_source
from stream.v4l2 import RAW, bgr, chosen_format, item_of, no_camera, not_opened, not_started, permission

Bytes = NDArray[np.uint8]
SIZE = (64, 48)
COLOURS = [(200, 60, 30), (40, 180, 60), (30, 50, 210), (120, 120, 120)]
"""BGR, each in a quarter of the picture."""


def scene() -> Image:
    image = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    for index, colour in enumerate(COLOURS):
        image[:, index * 16 : (index + 1) * 16] = colour
    return image


def seen(image: Image) -> list[list[int]]:
    """The colours in the middles of the quarters."""
    return [[int(value) for value in image[24, 8 + 16 * index]] for index in range(4)]


def packed(order: str) -> Callable[[], Bytes]:
    """Two pixels in four bytes, which share their colours."""

    def made() -> Bytes:
        yuv = cv2.cvtColor(scene(), cv2.COLOR_BGR2YUV)
        planes = {"Y": yuv[:, :, 0], "U": yuv[:, ::2, 1], "V": yuv[:, ::2, 2]}
        out = np.empty((SIZE[1], SIZE[0] * 2), np.uint8)
        lights = 0
        for at, letter in enumerate(order):
            out[:, at::4] = planes["Y"][:, lights::2] if letter == "Y" else planes[letter]
            lights += letter == "Y"
        return out

    return made


def planar(order: str, woven: bool) -> Callable[[], Bytes]:
    """All the light, then the colours, one of each for four pixels: one after the other, or woven."""

    def made() -> Bytes:
        yuv = cv2.cvtColor(scene(), cv2.COLOR_BGR2YUV)
        first, second = (yuv[::2, ::2, "YUV".index(letter)] for letter in order)
        colours = np.dstack([first, second]) if woven else np.stack([first, second])
        return np.vstack([yuv[:, :, 0], colours.reshape(SIZE[1] // 2, SIZE[0])])

    return made


CAMERAS: dict[str, Callable[[], Bytes]] = {
    "YUYV": packed("YUYV"),
    "UYVY": packed("UYVY"),
    "YVYU": packed("YVYU"),
    "NV12": planar("UV", woven=True),
    "NV21": planar("VU", woven=True),
    "YU12": planar("UV", woven=False),
    "YV12": planar("VU", woven=False),
    "BGR3": lambda: scene().reshape(SIZE[1], -1),
    "RGB3": lambda: scene()[:, :, ::-1].reshape(SIZE[1], -1),
    "GREY": lambda: as_image(cv2.cvtColor(scene(), cv2.COLOR_BGR2GRAY)),
}


def jpeg_of(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1])


def noise() -> Image:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def array(content: bytes) -> Bytes:
    return np.frombuffer(content, np.uint8)


def reason(content: bytes) -> str:
    broken = jpeg.decode(array(content))
    assert isinstance(broken, Broken)
    return broken.reason


# Broken pictures. libjpeg says nothing on the terminal, whatever it is given.


@pytest.mark.parametrize("kept", [3, 300, 1500, -3, -2, -1])
def test_a_jpeg_that_is_cut_off_is_broken(kept: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert reason(jpeg_of(noise())[:kept]) == "a JPEG cut off"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"\xff", bytes(500), b"not a picture\xff\xd9"])
def test_what_is_no_jpeg_is_broken(content: bytes) -> None:
    assert reason(content) == "a picture that is no JPEG"


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xd9", b"\xff\xd8" + bytes(500) + b"\xff\xd9"])
def test_a_jpeg_of_nothing_is_broken(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert reason(content) == "a JPEG that cannot be decoded"
    assert capfd.readouterr().err == ""


def test_a_jpeg_with_a_hole_is_broken_and_not_half_a_picture(capfd: pytest.CaptureFixture[str]) -> None:
    whole = jpeg_of(noise())
    assert reason(whole[:1500] + whole[-600:]).startswith("Corrupt JPEG data: ")
    assert capfd.readouterr().err == ""


def test_damage_anywhere_is_broken_or_a_picture_and_never_on_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    whole, random = jpeg_of(noise()), np.random.default_rng(1)
    broken = 0
    for _ in range(200):
        damaged = array(whole).copy()
        damaged[random.integers(700, damaged.size - 2, 5)] = random.integers(0, 256, 5)
        broken += isinstance(jpeg.decode(damaged), Broken)
    assert broken > 50, "what libjpeg complains of"
    assert capfd.readouterr().err == ""


def test_the_terminal_is_back_after_a_broken_picture(capfd: pytest.CaptureFixture[str]) -> None:
    reason(jpeg_of(noise())[:1500] + b"\xff\xd9")
    cut = array(jpeg_of(noise())[:1500] + b"\xff\xd9")
    cv2.imdecode(cut, cv2.IMREAD_COLOR)
    assert "Corrupt JPEG data" in capfd.readouterr().err, "without ours it says so there"


@pytest.mark.parametrize("tail", [b"", bytes(1), bytes(4096), b"the camera's own data"])
def test_what_a_camera_appends_to_a_jpeg_does_not_matter(tail: bytes) -> None:
    image = jpeg.decode(array(jpeg_of(scene()) + tail))
    assert not isinstance(image, Broken)
    assert np.abs(np.array(seen(image)) - COLOURS).max() < 12


@pytest.mark.parametrize(("extra", "whole"), [(1, True), (8, True), (200, False)])
def test_a_few_bytes_too_much_before_a_marker_are_a_webcams_habit(
    extra: int, whole: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    content = jpeg_of(noise())
    image = jpeg.decode(array(content[:-2] + b"\x55" * extra + content[-2:]))
    assert isinstance(image, Broken) != whole
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", RAW)
def test_a_raw_picture_that_is_cut_off_is_broken(form: str) -> None:
    rows = CAMERAS[form]()
    item = bgr(rows.reshape(-1)[:-1], Granted(form, SIZE, rows.shape[1], 30))
    assert item == Broken("a picture cut off")


def test_a_picture_that_the_driver_calls_damaged_is_broken() -> None:
    taken = Taken(array(jpeg_of(scene())), damaged=True, sensor_ns=5)
    assert isinstance(item_of(taken, Granted("MJPG", SIZE, 0, 30)), Broken)


# Whole pictures.


@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize("form", RAW)
def test_every_raw_format_has_its_colours_also_where_rows_are_padded(form: str, padding: int) -> None:
    rows = np.pad(CAMERAS[form](), ((0, 0), (0, padding)), constant_values=255)
    if form in ("YU12", "YV12") and padding:  # its colours have rows of half the length
        light, colours = CAMERAS[form]()[:48], CAMERAS[form]()[48:].reshape(-1, SIZE[0] // 2)
        halves = np.pad(colours, ((0, 0), (0, padding // 2)), constant_values=255)
        rows = np.vstack([np.pad(light, ((0, 0), (0, padding))), halves.reshape(24, -1)])
    granted = Granted(form, SIZE, rows.shape[1] if padding else 0, 30)
    image = bgr(rows.reshape(-1), granted)
    assert not isinstance(image, Broken)
    assert image.shape == (48, 64, 3)
    assert image.flags["C_CONTIGUOUS"]
    grey = [[110] * 3, [135] * 3, [97] * 3, [120] * 3]
    # A camera's light goes from 16 to 235, the scene's here from 0 to 255: bright becomes a little brighter.
    assert np.abs(np.array(seen(image)) - (grey if form == "GREY" else COLOURS)).max() < 45
    assert {int(np.argmax(colour)) for colour in seen(image)[:3]} == ({0} if form == "GREY" else {0, 1, 2})


@pytest.mark.parametrize("form", RAW)
def test_a_picture_is_ours_when_the_driver_fills_its_buffer_again(form: str) -> None:
    buffer = CAMERAS[form]().reshape(-1).copy()
    image = bgr(buffer, Granted(form, SIZE, 0, 30))
    assert not isinstance(image, Broken)
    before = image.copy()
    buffer[:] = 0
    assert (image == before).all()


def test_a_picture_may_have_another_size_than_the_one_before() -> None:
    item = item_of(Taken(array(jpeg_of(scene())), False, 5), Granted("MJPG", (640, 480), 0, 30))
    assert isinstance(item, Shot)
    assert (item.image.shape, item.sensor_ns) == ((48, 64, 3), 5)


# Which format.


@pytest.mark.parametrize(
    ("offered", "form", "chosen"),
    [
        (["YUYV", "MJPG"], "", "MJPG"),
        (["GREY", "NV12", "YUYV"], "", "YUYV"),
        (["H264", "GREY"], "", "GREY"),
        (["YUYV", "MJPG"], "yuyv", "YUYV"),
        (["YUYV", "MJPG"], "YUY2", "YUYV"),
        (["YUYV", "MJPG"], "mjpeg", "MJPG"),
        (["MJPG", "NV12", "UYVY"], "raw", "UYVY"),
    ],
)
def test_the_format_is_the_one_asked_for_or_the_best(offered: list[str], form: str, chosen: str) -> None:
    assert chosen_format("/dev/video0", offered, form) == chosen


@pytest.mark.parametrize(
    ("offered", "form", "told"),
    [
        (["MJPG", "YUYV"], "nv12", "/dev/video0 has no format nv12 - it has MJPG, YUYV"),
        (["H264"], "h264", "delivers H264, of which none is read here - try /dev/video0?via=gst"),
        (["RG10"], "", "is a bare sensor"),
        ([], "", "delivers no format"),
        (["MJPG"], "raw", "delivers MJPG, of which none is"),
    ],
)
def test_a_format_that_cannot_be_had_is_one_line(offered: list[str], form: str, told: str) -> None:
    with pytest.raises(SourceError) as caught:
        chosen_format("/dev/video0", offered, form)
    assert told in str(caught.value)


# Why a camera does not open.


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/dev/video77", "there is no camera /dev/video77 - cameras here: "),
        ("/dev/v4l/by-id/usb-gone-video-index0", "there is no camera /dev/v4l/by-id/usb-gone"),
        ("/dev/null", "/dev/null is no camera - cameras here: "),
        ("/dev/", "cannot open /dev/: Is a directory"),
        ("/dev/null?exposure", "exposure is no option of a camera"),
    ],
)
def test_what_is_no_camera_is_one_line(path: str, told: str) -> None:
    with pytest.raises(SourceError, match=r"^[^\n]+$") as caught:
        open_source(path, Wish())
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.EPERM, "DeviceAllow=char-video4linux"),
        (errno.ENXIO, "there is no camera"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_camera_that_does_not_open_says_why(code: int, told: str) -> None:
    assert told in not_opened("/dev/video9", OSError(code, os.strerror(code)))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOSPC, "/dev/video9 at 640x480 is too much for its USB"),
        (
            errno.EBUSY,
            "in use by another user's program, which sudo fuser -v /dev/video9 names",
        ),
        (errno.ENODEV, "/dev/video9 was unplugged"),
        (errno.EINVAL, "/dev/video9 refuses 640x480: Invalid argument"),
    ],
)
def test_a_camera_that_does_not_start_says_why(code: int, told: str) -> None:
    assert told in not_started("/dev/video9", "640x480", OSError(code, os.strerror(code)))


@pytest.mark.parametrize(
    ("mode", "told"), [(0o660, "sudo usermod -aG "), (0o600, "its group has none either: sudo chmod g+rw ")]
)
def test_no_permission_says_what_gives_it(tmp_path: Path, mode: int, told: str) -> None:
    node = tmp_path / "video0"
    node.touch()
    node.chmod(mode)
    assert permission(str(node)).startswith(told)


def test_a_container_without_the_group_says_its_number(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root, who can give a file to a group that has no name")
    node = tmp_path / "video0"
    node.touch()
    node.chmod(0o660)
    os.chown(node, 0, 54321)
    assert (
        permission(str(node)) == "its group has the number 54321, which a container gets by --group-add 54321"
    )


def test_who_is_in_the_group_since_this_login_is_told_to_log_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "video0"
    node.touch()
    node.chmod(0o660)
    user = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("video", "x", gid, [user])))
    assert permission(str(node)).endswith("is in the group video since this login: log out and in again")


def test_a_node_that_is_something_else_says_what() -> None:
    assert "GStreamer" in no_camera("/dev/video9", "planes")
    assert "/dev/video9 is a codec" in no_camera("/dev/video9", "codec")
    assert "delivers metadata, no pictures" in no_camera("/dev/video9", "metadata")
