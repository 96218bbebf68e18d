"""Every kind of source, first with what is wrong about it: one line, and nothing stays open."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest

from stream import demo
from stream.cameras import granted_note
from stream.frames import Shot
from stream.sources import KINDS, Source, SourceError, Wish, open_source, without_credentials
from tests.network_camera import NetworkCamera, free_port
from tests.test_files import as_nobody
from tests.viewer import wait_for

ANY = Wish()
CAMERAS = sorted(Path("/dev").glob("video*"))
NOON = datetime(2024, 2, 29, 12)


def refusal(name: str | Path, wish: Wish = ANY) -> str:
    """Why it cannot be opened: one line, soon, and nothing is left open."""
    before = open_files()
    started_s = time.monotonic()
    with pytest.raises(SourceError) as caught:
        open_source(str(name), wish)
    assert time.monotonic() - started_s < 20
    message = str(caught.value)
    assert message == " ".join(message.split())
    del caught
    gc.collect()
    wait_for(lambda: open_files() == before, 5)  # the camera at the other end may be of this process
    return message


def open_files() -> list[str]:
    """What this process has open on disk, and its connections to others."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the one that lists them
            continue
        if not target.startswith(("anon_inode:", "pipe:", "/proc/", "/memfd:")):
            found.append(target)
    return sorted(found)


@contextmanager
def opened(name: str | Path, wish: Wish = ANY) -> Iterator[Source]:
    source = open_source(str(name), wish)
    try:
        yield source
    finally:
        source.shots.close()


def write_clip(path: Path, frames: int, fps: float = 25, size: tuple[int, int] = (320, 240)) -> Path:
    code = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "FFV1"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(demo.draw(number, NOON, size))
    writer.release()
    return path


def write_picture(path: Path, number: int = 0, size: tuple[int, int] = (320, 240)) -> Path:
    assert cv2.imwrite(str(path), demo.draw(number, NOON, size))
    return path


def whole(source: Source) -> Iterator[Shot]:
    """All shots of a source, of which none may be broken."""
    for shot in source.shots:
        assert isinstance(shot, Shot)
        yield shot


def numbers(source: Source) -> list[int | None]:
    return [demo.read_seq(shot.image) for shot in whole(source)]


# What cannot be opened.


@pytest.mark.parametrize(
    "name", ["nowhere.mp4", "nowhere.jpg", "nowhere/", "no such thing", "demo.", "video0"]
)
def test_what_does_not_exist_is_one_line_with_what_may_be_given(name: str) -> None:
    message = refusal(name)
    assert name in message
    assert all(kind in message for kind in KINDS)


@pytest.mark.parametrize("name", ["rtmp://host/live", "ftp://host/clip.mp4", "gopher://"])
def test_an_unknown_kind_is_one_line_with_the_known_ones(name: str) -> None:
    message = refusal(name)
    assert name in message
    assert all(kind in message for kind in KINDS)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".txt", ".nfo", ""])
def test_a_text_file_is_no_video_whatever_it_is_called(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    path.write_text("this is not a video\n" * 1000)
    assert f"{path} is not a video that can be read" in refusal(path)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "photo.jpg"])
def test_an_empty_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "that can be read" in refusal(tmp_path / name)


def test_a_video_that_was_cut_off_before_its_index_is_one_line(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 30)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "is not a video that can be read" in refusal(path)


def test_a_video_without_a_frame_is_one_line(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", 0)
    assert "is not a video that can be read" in refusal(path)


def test_a_text_file_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_text("this is not a picture\n" * 1000)
    assert f"{path} is not a picture that can be read" in refusal(path)


@pytest.mark.parametrize("names", [[], ["readme.txt", "clip.mp4"]])
def test_a_folder_without_pictures_is_one_line(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("something")
    message = refusal(tmp_path)
    assert f"there are no pictures in {tmp_path}" in message
    assert ".jpg" in message


def test_a_folder_that_may_not_be_read_is_one_line() -> None:
    open_source("demo:", ANY)  # what is imported only then may be out of nobody's reach
    with TemporaryDirectory() as sealed:
        Path(sealed).chmod(0o000)
        with as_nobody():
            assert f"cannot look into {sealed}: Permission denied" in refusal(sealed)
        Path(sealed).chmod(0o700)


def test_a_corrupt_picture_in_a_folder_is_one_line_when_its_turn_comes(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 1)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture \xff\xd9")
    write_picture(tmp_path / "c.png", 2)
    with opened(tmp_path) as source:
        assert next(whole(source)).name == "a.png"
        with pytest.raises(SourceError, match=r"b\.jpg is not a picture that can be read") as caught:
            next(whole(source))
        assert "\n" not in str(caught.value)


def test_a_picture_cut_off_is_one_line_and_libjpeg_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])
    assert "is cut off" in refusal(path)
    assert capfd.readouterr().err == ""


def test_a_picture_deleted_meanwhile_is_one_line(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png").rename(tmp_path / "b.jpg")
    with opened(tmp_path) as source:
        (tmp_path / "b.jpg").unlink()
        next(whole(source))
        with pytest.raises(SourceError, match=r"b\.jpg: No such file"):
            next(whole(source))


def test_a_camera_that_is_not_there_is_one_line_with_those_that_are() -> None:
    message = refusal("/dev/video77")
    assert "there is no camera /dev/video77 - cameras here: " in message
    assert (str(CAMERAS[0]) if CAMERAS else "none") in message
    assert "--source demo:" in message


@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero", "/dev/"])
def test_a_device_that_is_no_camera_is_one_line(name: str) -> None:
    assert name in refusal(name)


@pytest.mark.parametrize("scheme", ["http", "rtsp", "HTTP", "Rtsp"])
def test_a_refused_connection_is_one_line(scheme: str) -> None:
    name = f"{scheme}://127.0.0.1:{free_port()}/video"
    assert f"no video comes from {name}" in refusal(name)


@pytest.mark.parametrize(
    "name", ["http://[::1", "http://", "rtsp://:/", "http://host with spaces/", "http://a:b:c/"]
)
def test_an_address_that_is_none_is_one_line(name: str) -> None:
    assert "no video comes from" in refusal(name)


def test_a_server_that_sends_something_else_is_one_line() -> None:
    with NetworkCamera(frames=0) as camera:
        refusal(camera.url)


def test_a_wrong_password_is_one_line_that_does_not_tell_it() -> None:
    with NetworkCamera(login="me:right") as camera:
        message = refusal(camera.url.replace("//", "//me:wrong@"))
    assert f"no video comes from {camera.url}" in message
    assert "wrong" not in message


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rtsp://10.0.0.7:554/h264", "rtsp://10.0.0.7:554/h264"),
        ("rtsp://me:secret@10.0.0.7:554/h264", "rtsp://10.0.0.7:554/h264"),
        ("rtsp://secret@10.0.0.7", "rtsp://10.0.0.7"),
        ("http://10.0.0.7/video?user=me&password=secret", "http://10.0.0.7/video"),
        ("http://10.0.0.7/video#secret", "http://10.0.0.7/video"),
        ("http://10.0.0.7?secret", "http://10.0.0.7"),
        ("http://[fe80::1]:80/video", "http://[fe80::1]:80/video"),
        ("http://me:secret@[fe80::1]/video", "http://[fe80::1]/video"),
        ("http://me:secret@[fe80::1", "http://[fe80::1"),
        ("rtsp://me:sec#ret@host/video", "rtsp://..."),
        ("rtsp://me:sec/ret@host/video", "rtsp://..."),
        ("rtsp://me:sec?ret@host/video", "rtsp://..."),
        ("rtsp://m@e:sec/ret@host/video", "rtsp://..."),
        ("rtsp://me:sec@ret@host/video", "rtsp://host/video"),
        ("http://host/video?mail=secret@home", "http://..."),
        ("me:secret@10.0.0.7/video", "10.0.0.7/video"),
        ("clip.mp4", "clip.mp4"),
        ("photos/icon@2x.png", "photos/icon@2x.png"),
        ("photos/12:00@home.png", "photos/12:00@home.png"),
        ("demo:", "demo:"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_name_has_no_credentials(name: str, shown: str) -> None:
    assert without_credentials(name) == shown


@pytest.mark.parametrize(
    "name",
    [
        "rtmp://me:secret@host/live",
        "me:secret@host/video",
        "rtsp://me:sec/ret@127.0.0.1:1/",
        "http://me:secret@[::1",
    ],
)
def test_no_message_tells_credentials(name: str) -> None:
    message = refusal(name)
    assert "secret" not in message
    assert "sec/ret" not in message


# Files.


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_every_frame_of_a_clip_comes_once_and_in_order(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", 47, fps=12.5, size=(322, 240))
    before = open_files()
    with opened(path) as source:
        assert (source.name, source.kind) == (str(path), "file")
        assert source.size == (322, 240)
        assert source.fps == pytest.approx(12.5)
        assert source.paced
        assert not source.live
        assert numbers(source) == list(range(47))
        assert open_files() == before, "a clip that has been read is closed"


def test_a_clip_goes_at_the_pace_asked_for(tmp_path: Path) -> None:
    with opened(write_clip(tmp_path / "clip.avi", 2), Wish(fps=3)) as source:
        assert source.fps == 3


def test_a_clip_that_was_cut_off_gives_what_there_is_of_it(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with opened(path) as source:
        there = numbers(source)
    assert 5 < len(there) < 30
    assert there[:-1] == list(range(len(there) - 1))


@pytest.mark.parametrize("read", [0, 1, 5])
def test_a_clip_left_early_is_closed(tmp_path: Path, read: int) -> None:
    path = write_clip(tmp_path / "clip.avi", 10)
    before = open_files()
    source = open_source(str(path), ANY)
    assert str(path) in open_files()
    assert len(list(islice(whole(source), read))) == read
    source.shots.close()
    gc.collect()
    until_s = time.monotonic() + 5  # ffmpeg's own threads may take a moment
    while open_files() != before and time.monotonic() < until_s:
        time.sleep(0.05)
    assert open_files() == before


def test_pictures_do_not_change_when_the_next_one_is_read(tmp_path: Path) -> None:
    with opened(write_clip(tmp_path / "clip.mkv", 8)) as source:
        shots = list(whole(source))
    assert [demo.read_seq(shot.image) for shot in shots] == list(range(8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPG", ".bmp", ".webp", ".tiff"])
def test_a_single_picture_is_a_source_of_one(tmp_path: Path, suffix: str) -> None:
    path = write_picture(tmp_path / f"photo{suffix}", 7)
    with opened(path) as source:
        assert (source.kind, source.size, source.live) == ("stills", (320, 240), False)
        (shot,) = whole(source)
    assert shot.name == path.name
    assert demo.read_seq(shot.image) == 7


def test_pictures_of_a_folder_come_in_order_of_name_with_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(["c.png", "b.JPG", "a2.png", "a10.png", "B.bmp"]):
        write_picture(tmp_path / name, number)
    (tmp_path / "labels.csv").write_text("file,label\n")
    with opened(tmp_path, Wish(fps=50)) as source:
        assert (source.kind, source.fps, source.paced, source.live) == ("stills", 50, True, False)
        shots = list(whole(source))
    assert [shot.name for shot in shots] == ["B.bmp", "a10.png", "a2.png", "b.JPG", "c.png"]
    assert [demo.read_seq(shot.image) for shot in shots] == [4, 3, 2, 1, 0]


def test_pictures_of_a_folder_may_differ_in_size_and_kind(tmp_path: Path) -> None:
    images: dict[str, tuple[int, ...]] = {"a.png": (30, 40, 3), "b.png": (50, 20, 4), "c.png": (7, 9)}
    for name, shape in images.items():
        cv2.imwrite(str(tmp_path / name), np.full(shape, 99, np.uint8))
    with opened(tmp_path) as source:
        shots = list(whole(source))
    assert [shot.image.shape for shot in shots] == [(30, 40, 3), (50, 20, 3), (7, 9, 3)]
    assert all(shot.image.dtype == np.uint8 for shot in shots)


def test_one_folder_of_stills_is_one_a_second(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    with opened(tmp_path) as source:
        assert source.fps == 1


# The demo, and no camera.


@pytest.mark.parametrize("name", ["demo:", "demo"])
def test_the_demo_needs_nothing_and_numbers_its_frames(name: str) -> None:
    with opened(name) as source:
        assert (source.name, source.kind, source.live, source.paced) == ("demo:", "demo", False, True)
        assert (source.size, source.fps) == ((640, 480), 30)
        assert [demo.read_seq(shot.image) for shot in islice(whole(source), 5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [(192, 16), (321, 241), (33, 1000), (1000, 33), (480, 640), (3840, 2160)])
def test_the_demo_has_the_size_asked_for(size: tuple[int, int]) -> None:
    with opened("demo:", Wish(size, 7.5)) as source:
        assert (source.size, source.fps) == (size, 7.5)
        assert next(whole(source)).image.shape == (size[1], size[0], 3)


@pytest.mark.skipif(bool(CAMERAS), reason="there is a camera here")
def test_without_a_camera_auto_is_the_demo_and_says_so() -> None:
    with opened("auto", Wish((320, 240), 10)) as source:
        assert (source.name, source.kind) == ("demo:", "demo")
        assert source.note == "no camera opens"
        assert (source.size, source.fps) == ((320, 240), 10)


# Network cameras. Pictures from a real RTSP server: see the tests of the guest with a camera.


def test_an_mjpeg_camera_delivers_its_pictures_in_order() -> None:
    with NetworkCamera() as camera, opened(camera.url) as source:
        assert (source.name, source.kind, source.size) == (camera.url, "network", (320, 240))
        assert source.live
        assert not source.paced
        seen = [demo.read_seq(shot.image) for shot in islice(whole(source), 20)]
    assert seen == list(range(20))


def test_an_mjpeg_camera_that_ends_is_lost_in_one_line() -> None:
    with NetworkCamera(frames=10) as camera, opened(camera.url) as source:
        assert [demo.read_seq(shot.image) for shot in islice(whole(source), 10)] == list(range(10))
        with pytest.raises(SourceError) as caught:
            next(whole(source))
    assert str(caught.value) == f"{camera.url} stopped delivering"


def test_the_password_reaches_the_camera_and_nobody_else() -> None:
    with (
        NetworkCamera(login="me:secret") as camera,
        opened(camera.url.replace("//", "//me:secret@") + "?token=hidden") as source,
    ):
        assert source.name == camera.url
        assert demo.read_seq(next(whole(source)).image) == 0
        assert "secret" not in repr(source)
        assert "hidden" not in repr(source)
        camera.close()
        with pytest.raises(SourceError) as caught:
            list(whole(source))
    assert str(caught.value) == f"{camera.url} stopped delivering"


def test_leaving_a_network_camera_ends_its_connection() -> None:
    with NetworkCamera() as camera:
        before = open_files()
        source = open_source(camera.url, ANY)
        next(whole(source))
        assert len(open_files()) > len(before)
        source.shots.close()
        until_s = time.monotonic() + 10
        while len(open_files()) > len(before) and time.monotonic() < until_s:
            time.sleep(0.02)  # the camera's own end of it, in this process too
        assert open_files() == before


def test_what_a_camera_grants_is_said_where_it_is_not_what_was_asked_for() -> None:
    asked = Wish((1280, 720), 60)
    assert granted_note(asked, (640, 480), 30.0) == "asked for 1280x720 and 60 fps"
    assert granted_note(asked, (1280, 720), 30.0) == "asked for 60 fps"
    assert granted_note(asked, (1280, 720), 60.2) == ""
    assert granted_note(asked, (1280, 720), None) == ""
    assert granted_note(Wish(), (640, 480), 30.0) == ""
