"""GStreamer's sources, for real: test pictures, files, and an RTSP camera that the tests start."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.recipe import Image
from stream import demo, gstreamer, pipelines
from stream.frames import Broken
from stream.sources import SourceError, Wish
from tests.network_camera import free_port
from tests.rtsp_server import RtspServer
from tests.test_sources import ANY, numbers, open_files, opened, refusal, whole, write_clip, write_picture
from tests.viewer import ROOT

needs_gstreamer = pytest.mark.skipif(
    gstreamer.gst() is None, reason=f"no GStreamer here: {gstreamer.INSTALL}"
)
RED = "gst:videotestsrc is-live=true pattern=red"


@pytest.fixture(autouse=True)
def _nothing_left_of_the_test_before() -> None:
    """What an exception that pytest showed has held: a pipeline has sockets to talk to itself."""
    gc.collect()


@pytest.fixture
def _without_pygobject(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "gi", None)  # what import makes of one that is not installed
    gstreamer.gst.cache_clear()
    gstreamer.elements.cache_clear()
    yield
    gstreamer.gst.cache_clear()
    gstreamer.elements.cache_clear()


def is_red(image: Image) -> bool:
    """BGR, and a codec may be off by a little."""
    return bool((np.abs(image.astype(int) - (0, 0, 255)) < 25).all())


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


# Without GStreamer.


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has it")
@pytest.mark.usefixtures("_without_pygobject")
@pytest.mark.parametrize("name", ["csi:0", "gst:videotestsrc", "/dev/video0?via=gst", "rtsp://h/#via=gst"])
def test_without_gstreamer_one_line_says_what_to_install(name: str) -> None:
    message = refusal(name)
    assert "sudo apt-get install libgirepository1.0-dev" in message
    assert "pip install -r requirements-gstreamer.txt" in message


@pytest.mark.usefixtures("_without_pygobject")
def test_without_pygobject_an_rtsp_camera_is_read_by_ffmpeg(capfd: pytest.CaptureFixture[str]) -> None:
    assert not gstreamer.reads_rtsp()
    assert "rtspsrc" not in refusal(f"rtsp://127.0.0.1:{free_port()}/")
    assert "[tcp @" in capfd.readouterr().err  # that is FFmpeg's voice


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has it")
@pytest.mark.usefixtures("_without_pygobject")
def test_the_facts_without_gstreamer_are_what_to_install() -> None:
    facts = gstreamer.gstreamer_facts()
    assert (facts.version, facts.via, facts.here) == ("", "", ())
    assert gstreamer.INSTALL in facts.advice


@needs_gstreamer
def test_the_facts_name_the_version_the_reader_and_the_package_of_what_is_missing() -> None:
    facts = gstreamer.gstreamer_facts()
    assert facts.version.startswith("GStreamer 1.")
    assert facts.via == "GStreamer"
    assert {"appsink", "videoconvert", "rtspsrc"} <= set(facts.here)
    assert set(facts.missing).isdisjoint(facts.here)
    assert set(facts.missing) | set(facts.here) == set(pipelines.PACKAGES)
    if "nvarguscamerasrc" in facts.missing:
        assert facts.missing["nvarguscamerasrc"] == pipelines.JETSON
        assert pipelines.JETSON not in facts.advice, "apt-get has it on a Jetson only"


# What cannot be opened.


@needs_gstreamer
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gst:nosuchelement ! videoconvert", "GStreamer has no element nosuchelement"),
        ("gst:videotestsrc pattern=nosuch", 'could not set property "pattern"'),
        ("gst:videotestsrc nosuch=1", 'no property "nosuch"'),
        ("gst:videotestsrc ! ! x", "syntax error"),
        ("gst:audiotestsrc", "could not link audiotestsrc"),
        ("gst:appsink", "has no appsink"),
        (
            "gst:filesrc location=/nowhere ! decodebin",
            'filesrc0: Resource not found. No such file "/nowhere"',
        ),
        ("gst:videotestsrc ! video/x-raw,format=I420 ! appsink", "not-negotiated"),
        ("gst:videotestsrc num-buffers=0", "ended before its first picture"),
    ],
)
def test_a_pipeline_that_cannot_play_is_one_line_with_the_reason(name: str, said: str) -> None:
    message = refusal(name)
    assert message.startswith(f"{name} delivers no picture: it ")
    said = said.replace("filesrc0: ", "")  # elements are numbered through the life of the process
    assert said in message
    assert ".c(" not in message, "nobody wants to know the line of GStreamer's source"


@needs_gstreamer
def test_a_pipeline_that_never_delivers_is_one_line_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "FIRST_S", 1.0)
    message = refusal("gst:videotestsrc is-live=true ! valve drop=true")
    assert "it has delivered nothing for 1 s - gst-launch-1.0 tries it alone" in message


@needs_gstreamer
@pytest.mark.skipif(Path("/etc/nv_tegra_release").exists(), reason="this is a Jetson")
def test_a_csi_camera_needs_a_jetson() -> None:
    message = refusal("csi:0")
    assert message.startswith("csi:0 needs a Jetson: GStreamer has no element nvarguscamerasrc")


@needs_gstreamer
def test_a_camera_that_is_not_there_is_one_line_by_gstreamer_too() -> None:
    message = refusal("/dev/video77?via=gst")
    assert "v4l2src" in message
    assert "Cannot identify device '/dev/video77'" in message


def test_each_missing_element_is_told_with_its_package() -> None:
    assert "sudo apt-get install gstreamer1.0-libav" in gstreamer.missing("avdec_h264")
    assert "only JetPack's package nvidia-l4t-gstreamer" in gstreamer.missing("nvvidconv")


@needs_gstreamer
@pytest.mark.parametrize(
    "device", ["/dev/video0", "/dev/v4l/by-id/a b", '/dev/a" ! fakesink x="', "/dev/a\\"]
)
def test_every_pipeline_that_we_write_is_one_to_gstreamer(device: str) -> None:
    texts = [pipelines.v4l2(f"{device}?format={form}", ANY, set()) for form in ("mjpeg", "raw", "h264")]
    for text in texts:
        pipeline = gstreamer.gst().parse_launch(text)
        cameras = [element for element in pipeline.children if element.get_factory().get_name() == "v4l2src"]
        assert [camera.get_property("device") for camera in cameras] == [device]
        assert gstreamer.appsink_of(pipeline)


@needs_gstreamer
def test_an_address_stays_an_address_whatever_is_in_it() -> None:
    address = 'rtsp://me:a "b" \\c@host/x ! filesrc location="/etc/passwd"'
    pipeline = gstreamer.gst().parse_launch(pipelines.rtsp(address, set()))
    assert "filesrc" not in [element.get_factory().get_name() for element in pipeline.children]
    (camera,) = (element for element in pipeline.children if element.get_factory().get_name() == "rtspsrc")
    assert camera.get_property("location") == address


# Pictures.


@needs_gstreamer
@pytest.mark.parametrize("size", [(322, 242), (641, 479), (323, 1), (1, 3), (640, 480)])
def test_pictures_are_bgr_whatever_their_rows_are_padded_to(size: tuple[int, int]) -> None:
    width, height = size
    caps = f"video/x-raw,format=RGB,width={width},height={height}"
    with opened(f"gst:videotestsrc num-buffers=3 pattern=red ! {caps}") as source:
        assert (source.size, source.kind, source.via) == (size, "pipeline", "GStreamer")
        images = [shot.image for shot in whole(source)]
    assert len(images) == 3
    for image in images:
        assert image.shape == (height, width, 3)
        assert image.flags.c_contiguous
        assert (image == (0, 0, 255)).all()


@needs_gstreamer
def test_a_live_pipeline_is_live_and_says_its_rate() -> None:
    with opened(f"{RED} ! video/x-raw,framerate=50/1") as source:
        assert (source.live, source.paced, source.fps) == (True, False, 50)
        assert all(is_red(shot.image) for shot in islice(whole(source), 3))


@needs_gstreamer
def test_a_live_picture_is_the_newest_and_stamped_shortly_before_it_came() -> None:
    with opened(f"{RED} ! video/x-raw,framerate=100/1") as source:
        next(whole(source))
        stamps = []
        for shot in islice(whole(source), 5):
            assert shot.sensor_ns is not None
            assert 0 <= time.monotonic_ns() - shot.sensor_ns < 1e9
            stamps.append(shot.sensor_ns)
            time.sleep(0.05)  # five pictures pass by meanwhile
    assert all(later - earlier > 35e6 for earlier, later in pairwise(stamps[1:]))


@needs_gstreamer
def test_a_file_gives_each_of_its_pictures_in_order_and_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", 23, fps=12.5, size=(322, 240))
    with opened(f'gst:filesrc location="{clip}" ! decodebin') as source:
        assert (source.live, source.paced, source.size) == (False, True, (322, 240))
        assert source.fps == pytest.approx(12.5)
        assert numbers(source) == list(range(23))
    with opened(f'gst:filesrc location="{clip}" ! decodebin', Wish(fps=3)) as source:
        assert source.fps == 3
        assert next(whole(source)).sensor_ns is None, "a file's stamps are no times of this machine"


@needs_gstreamer
def test_a_users_own_appsink_is_taken_and_gets_bgr() -> None:
    with opened("gst:videotestsrc num-buffers=2 pattern=red ! appsink name=mine max-buffers=9") as source:
        assert [is_red(shot.image) for shot in whole(source)] == [True, True]


@needs_gstreamer
def test_pictures_may_change_their_size_midway(tmp_path: Path) -> None:
    sizes = [(320, 240), (641, 479), (322, 242)]
    for number, size in enumerate(sizes):
        write_picture(tmp_path / f"{number}.jpg", number, size)
    files = f'gst:multifilesrc location="{tmp_path}/%d.jpg" caps="image/jpeg,framerate=5/1"'
    for decoder in ("jpegdec ! videoconvert ! appsink", "image/jpeg ! appsink"):
        with opened(f"{files} ! {decoder}") as source:
            shots = list(whole(source))
        assert [(shot.image.shape[1], shot.image.shape[0]) for shot in shots] == sizes
        assert [demo.read_seq(shot.image) for shot in shots] == [0, 1, 2]


@needs_gstreamer
@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 not a picture \xff\xd9", b"\xff\xd8\xff\xe0 cut off"])
def test_a_broken_jpeg_is_told_as_one_and_the_next_one_comes(tmp_path: Path, content: bytes) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.jpg", number)
    (tmp_path / "1.jpg").write_bytes(content)
    files = f'gst:multifilesrc location="{tmp_path}/%d.jpg" caps="image/jpeg,framerate=5/1"'
    with opened(f"{files} ! image/jpeg ! appsink") as source:
        shots = list(source.shots)
    broken = [shot for shot in shots if isinstance(shot, Broken)]
    seen = [demo.read_seq(shot.image) for shot in shots if not isinstance(shot, Broken)]
    assert len(broken) == 1
    assert "\n" not in broken[0].reason
    assert seen == [0, 2]


@needs_gstreamer
def test_pictures_do_not_change_when_the_next_ones_are_made() -> None:
    with opened("gst:videotestsrc num-buffers=8 pattern=ball") as source:
        images = [shot.image for shot in whole(source)]
    assert len({image.tobytes() for image in images}) == 8


# How it ends.


@needs_gstreamer
def test_an_error_midway_is_one_line_with_the_elements_name() -> None:
    with opened(f"{RED} ! identity name=fuse error-after=10") as source:
        with pytest.raises(SourceError) as caught:
            list(source.shots)
        assert str(caught.value) == f"{source.name} failed in fuse: Failed after iterations as requested."


@needs_gstreamer
def test_a_live_pipeline_that_ends_is_a_lost_one() -> None:
    with opened(f"{RED} num-buffers=5") as source, pytest.raises(SourceError, match=r"stopped delivering$"):
        list(source.shots)


@needs_gstreamer
def test_what_is_opened_is_freed_again_twenty_times_over() -> None:
    with opened(RED):
        pass  # what GStreamer keeps for itself it takes now
    files, before = open_files(), threads()
    for read in range(20):
        with opened(f"{RED} ! video/x-raw,framerate=100/1") as source:
            assert len(list(islice(whole(source), read % 3))) == read % 3
    until_s = time.monotonic() + 5
    while threads() > before and time.monotonic() < until_s:
        time.sleep(0.05)
    gc.collect()
    assert threads() <= before
    assert open_files() == files


# RTSP.


@needs_gstreamer
@pytest.mark.parametrize(("codec", "transport"), [("h264", "tcp"), ("h264", "udp"), ("jpeg", "tcp")])
def test_an_rtsp_camera_is_gstreamers(codec: str, transport: str) -> None:
    with RtspServer(codec, transport) as camera, opened(f"{camera.url}#transport={transport}") as source:
        assert (source.name, source.kind, source.via) == (camera.url, "network", "GStreamer")
        assert (source.size, source.live, source.paced) == ((320, 240), True, False)
        for shot in islice(whole(source), 5):
            assert is_red(shot.image)
            assert 0 <= time.monotonic_ns() - (shot.sensor_ns or 0) < 1e9


@needs_gstreamer
def test_ffmpeg_reads_an_rtsp_camera_when_it_is_told_to() -> None:
    with RtspServer() as camera, opened(f"{camera.url}#via=ffmpeg") as source:
        assert (source.name, source.via) == (camera.url, "FFmpeg")
        assert is_red(next(whole(source)).image)


@needs_gstreamer
def test_a_camera_that_sends_sound_first_is_seen_all_the_same() -> None:
    with RtspServer(sound=True) as camera, opened(camera.url) as source:
        assert is_red(next(whole(source)).image)


@needs_gstreamer
def test_a_password_reaches_an_rtsp_camera_and_nobody_else() -> None:
    with RtspServer(login="me:secret") as camera:
        wrong = refusal(camera.url.replace("//", "//me:wrong@"))
        assert wrong.startswith(f"no video comes from {camera.url}: it failed in rtspsrc")
        assert "401" in wrong
        assert "wrong@" not in wrong
        with opened(camera.url.replace("//", "//me:secret@")) as source:
            assert source.name == camera.url
            assert is_red(next(whole(source)).image)
            assert "secret" not in repr(source)
            camera.kill()
            with pytest.raises(SourceError) as caught:
                list(source.shots)
    assert str(caught.value).startswith(camera.url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@needs_gstreamer
def test_a_transport_that_a_camera_does_not_have_is_one_line_with_the_other() -> None:
    with RtspServer(transport="udp") as camera:
        assert "takes #transport=udp" in refusal(camera.url)


@needs_gstreamer
def test_an_address_that_a_camera_does_not_have_is_one_line() -> None:
    with RtspServer() as camera:
        assert "(404)" in refusal(f"{camera.url}/nowhere")


@needs_gstreamer
def test_a_camera_that_holds_still_is_one_line_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "SILENCE_S", 1.0)
    with RtspServer() as camera, opened(camera.url) as source:
        next(whole(source))
        camera.hold()
        with pytest.raises(SourceError, match=f"{camera.url} has delivered nothing for 1 s"):
            list(source.shots)


@needs_gstreamer
def test_a_camera_that_accepts_and_says_nothing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "FIRST_S", 1.0)
    with RtspServer() as camera:
        camera.hold()
        assert "it has delivered nothing for 1 s" in refusal(camera.url)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rtsp://h/#via=vlc", "nothing called vlc reads rtsp://h/ - known: gst, ffmpeg"),
        ("rtsp://h/#via=ffmpeg&transport=udp", "FFmpeg reads rtsp://h/, and has no transport=udp here"),
        ("rtsp://h/#via=ffmpeg&latency=5", "has no latency=5"),
        ("http://h/#via=gst", "FFmpeg reads http://h/, and has no via=gst"),
        ("http://h/#latency=5", "has no latency=5"),
    ],
)
def test_an_option_that_the_reader_does_not_have_is_one_line(name: str, said: str) -> None:
    assert said in refusal(name)


@needs_gstreamer
def test_other_libraries_may_throw_exceptions_when_gstreamer_is_loaded(tmp_path: Path) -> None:
    """The program was ended by TFLite's exception of a bad model."""
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(bytes(4) + b"TFL3" + bytes(100))
    command = [sys.executable, "-c", LOADED, str(bad)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "refused\n"), run.stderr


LOADED = """
import sys
from pathlib import Path
from backends import ModelToRun, load_backend
from models.errors import ModelError
from stream.gstreamer import gst
assert gst()
try:
    load_backend("tflite", ModelToRun(Path(sys.argv[1])))
except ModelError:
    print("refused")
"""


@needs_gstreamer
@pytest.mark.parametrize(
    "pipeline",
    [
        "videotestsrc is-live=true",
        "videotestsrc is-live=true ! videorate ! video/x-raw,framerate=1/60",
        "videotestsrc is-live=true ! valve drop=true",
    ],
    ids=["playing", "between two pictures", "before the first"],
)
@pytest.mark.parametrize("more", [[], ["--wait-for-camera"]], ids=["", "waited for"])
def test_a_signal_frees_the_camera_before_the_end(pipeline: str, more: list[str]) -> None:
    """Argus keeps a camera that is not given back, until somebody restarts it."""
    command = [sys.executable, "-c", FREED, "--source", f"gst:{pipeline}", "--port", "0", *more]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    while "playing" not in run.stdout.readline():
        assert run.poll() is None, run.communicate()
    time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    out, errors = run.communicate(timeout=30)
    assert (run.returncode, errors) == (0, "")
    assert "freed" in out


FREED = """
import os, sys
import run
from stream import gstreamer
from stream.cli import main

def told(method, word):
    def both(self, *arguments):
        method(self, *arguments)
        print(word, flush=True)
    return both

gstreamer.Appsink.__init__ = told(gstreamer.Appsink.__init__, "playing")
gstreamer.Appsink.close = told(gstreamer.Appsink.close, "freed")
os._exit(main(sys.argv[1:]))
"""
