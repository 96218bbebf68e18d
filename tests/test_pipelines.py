"""What is asked for, and the very pipeline that comes of it."""

from __future__ import annotations

import pytest

from stream import pipelines
from stream.sources import SourceError, Wish, split_options, without_credentials

ANY = Wish()
SINK = "appsink max-buffers=1 drop=true sync=false"
BGR = f"videoconvert ! video/x-raw,format=BGR ! {SINK}"
FETCHED = f"nvvidconv ! video/x-raw,format=BGRx ! {BGR}"
DESKTOP = {"avdec_h264", "videoconvert"}
JETPACK_4, JETPACK_5 = {"omxh264dec", "nvvidconv", "avdec_h264"}, {"nvv4l2decoder", "nvvidconv", "avdec_h264"}


def argus(source: str, caps: str, flip: int = 0) -> str:
    memory = f"video/x-raw(memory:NVMM),{caps},format=NV12"
    turn = f"nvvidconv flip-method={flip}"
    return f"nvarguscamerasrc {source} ! {memory} ! {turn} ! video/x-raw,format=BGRx ! {BGR}"


# What is refused.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("csi:front", "front is not the number of a CSI camera"),
        ("csi:9:9", "9:9 is not the number"),
        ("csi:-1", "-1 is not the number"),
        ("csi:0 ! fakesink", "0 ! fakesink is not the number"),
        ("csi:0?flip=8", "no flip is called 8 - known: none, counterclockwise, rotate-180"),
        ("csi:0?flip=upside", "no flip is called upside"),
        ("csi:0?mode=fast", "fast is not a sensor mode"),
        ("csi:0?exposure=1-2-3", "1-2-3 is not a range - write LOW-HIGH"),
        ('csi:0?gain=1" ! fakesink', "is not a range"),
        ("csi:0?via=gst", "csi:0?via=gst has no option via - known: exposure, flip, gain, mode"),
    ],
)
def test_what_a_csi_camera_cannot_be_told_is_one_line(name: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        pipelines.csi(name, ANY)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("format=yuv", "no camera's format is called yuv - known: mjpeg, raw, h264"),
        ("via=gst&exposure=100", "has no option exposure - known: format, via"),
    ],
)
def test_what_gstreamer_cannot_do_with_a_camera_is_one_line(options: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        pipelines.v4l2(f"/dev/video0?{options}", ANY, DESKTOP)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("transport=http", "RTSP has no transport http - known: tcp, udp"),
        ("latency=fast", "fast is not a latency in milliseconds"),
        ("latency=-1", "-1 is not a latency"),
        ("latenzy=1", "rtsp://host/live has no option latenzy - known: latency, transport, via"),
    ],
)
def test_what_an_rtsp_camera_cannot_be_told_is_one_line_without_its_password(options: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        pipelines.rtsp(f"rtsp://me:secret@host/live#{options}", DESKTOP)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["gst:", "gst:  "])
def test_no_pipeline_is_one_line_with_an_example(name: str) -> None:
    with pytest.raises(SourceError, match="gst: needs a pipeline - for example gst:videotestsrc"):
        pipelines.custom(name)


# What comes of the rest.


@pytest.mark.parametrize(
    ("name", "wish", "text"),
    [
        ("csi:0", ANY, argus("sensor-id=0", "width=1280,height=720,framerate=30/1")),
        ("csi:", ANY, argus("sensor-id=0", "width=1280,height=720,framerate=30/1")),
        ("csi:1", Wish((640, 480), 60), argus("sensor-id=1", "width=640,height=480,framerate=60/1")),
        ("csi:0", Wish(fps=29.97), argus("sensor-id=0", "width=1280,height=720,framerate=2997/100")),
        ("csi:0", Wish(fps=7.5), argus("sensor-id=0", "width=1280,height=720,framerate=15/2")),
        ("csi:0?flip=none", ANY, argus("sensor-id=0", "width=1280,height=720,framerate=30/1", 0)),
        ("csi:0?flip=rotate-180", ANY, argus("sensor-id=0", "width=1280,height=720,framerate=30/1", 2)),
        ("csi:0?flip=2", ANY, argus("sensor-id=0", "width=1280,height=720,framerate=30/1", 2)),
        ("csi:0?flip=vertical", ANY, argus("sensor-id=0", "width=1280,height=720,framerate=30/1", 6)),
        (
            "csi:0?mode=2&exposure=100-20000&gain=1-8.5",
            ANY,
            argus(
                'sensor-id=0 sensor-mode=2 exposuretimerange="100000 20000000" gainrange="1 8.5"',
                "width=1280,height=720,framerate=30/1",
            ),
        ),
        (
            "csi:0?exposure=500",
            ANY,
            argus(
                'sensor-id=0 exposuretimerange="500000 500000"',
                "width=1280,height=720,framerate=30/1",
            ),
        ),
    ],
)
def test_a_csi_camera(name: str, wish: Wish, text: str) -> None:
    assert pipelines.csi(name, wish) == text


@pytest.mark.parametrize(
    ("name", "wish", "elements", "text"),
    [
        (
            "/dev/video0?via=gst",
            ANY,
            DESKTOP,
            f'v4l2src device="/dev/video0" ! image/jpeg,width=640,height=480 ! {SINK}',
        ),
        (
            "/dev/v4l/by-id/usb-a b?via=gst&format=mjpeg",
            Wish((1280, 720), 30),
            JETPACK_5,
            'v4l2src device="/dev/v4l/by-id/usb-a b" ! image/jpeg,width=1280,height=720,framerate=30/1'
            f" ! {SINK}",
        ),
        (
            "/dev/video1?format=raw&via=gst",
            Wish(fps=15),
            JETPACK_5,
            f'v4l2src device="/dev/video1" ! video/x-raw,width=640,height=480,framerate=15/1 ! {BGR}',
        ),
        *(
            (
                "/dev/video0?via=gst&format=h264",
                ANY,
                elements,
                f'v4l2src device="/dev/video0" ! video/x-h264,width=640,height=480 ! h264parse ! {decoder}',
            )
            for elements, decoder in (
                (DESKTOP, f"avdec_h264 ! {BGR}"),
                (set(), f"avdec_h264 ! {BGR}"),  # so that its want is what is told
                (JETPACK_4, f"omxh264dec ! {FETCHED}"),
                (JETPACK_5, f"nvv4l2decoder ! {FETCHED}"),
            )
        ),
    ],
)
def test_a_v4l2_camera(name: str, wish: Wish, elements: set[str], text: str) -> None:
    assert pipelines.v4l2(name, wish, elements) == text


@pytest.mark.parametrize(
    ("name", "elements", "text"),
    [
        (
            "rtsp://me:secret@host:554/live?stream=1",
            DESKTOP,
            'rtspsrc location="rtsp://me:secret@host:554/live?stream=1" protocols=tcp latency=100'
            f" drop-on-latency=true ! application/x-rtp,media=video ! decodebin ! {BGR}",
        ),
        (
            "rtsp://host/live#transport=udp&latency=20&via=gst",
            JETPACK_5,
            'rtspsrc location="rtsp://host/live" protocols=udp latency=20'
            f" drop-on-latency=true ! application/x-rtp,media=video ! decodebin ! {FETCHED}",
        ),
        (
            'rtsp://host/a" ! filesrc location="\\ ! ',
            DESKTOP,
            'rtspsrc location="rtsp://host/a\\" ! filesrc location=\\"\\\\ ! " protocols=tcp latency=100'
            f" drop-on-latency=true ! application/x-rtp,media=video ! decodebin ! {BGR}",
        ),
    ],
)
def test_an_rtsp_camera(name: str, elements: set[str], text: str) -> None:
    assert pipelines.rtsp(name, elements) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gst:videotestsrc", f"videotestsrc ! {BGR}"),
        ("gst: videotestsrc pattern=red ", f"videotestsrc pattern=red ! {BGR}"),
        ("gst:filesrc location=my-appsink.avi", f"filesrc location=my-appsink.avi ! {BGR}"),
        ("gst:videotestsrc ! appsink", "videotestsrc ! appsink"),
        ("gst:videotestsrc !appsink name=mine drop=false", "videotestsrc !appsink name=mine drop=false"),
        ("gst:videotestsrc ! appsinkish", f"videotestsrc ! appsinkish ! {BGR}"),
    ],
)
def test_any_pipeline_gets_an_appsink_unless_it_has_one(name: str, text: str) -> None:
    assert pipelines.custom(name) == text


# Names, their options and their secrets.


@pytest.mark.parametrize(
    ("name", "bare", "options"),
    [
        ("csi:0?flip=2&mode=1", "csi:0", {"flip": "2", "mode": "1"}),
        ("rtsp://host/live?a=b", "rtsp://host/live?a=b", {}),
        ("rtsp://host/live?a=b#latency=5", "rtsp://host/live?a=b", {"latency": "5"}),
        ("rtsp://me:sec#ret@host/live", "rtsp://me:sec#ret@host/live", {}),
        ("rtsp://me:sec#ret@host/live#via=gst", "rtsp://me:sec#ret@host/live", {"via": "gst"}),
    ],
)
def test_options_follow_a_name_and_a_password_is_none(name: str, bare: str, options: dict[str, str]) -> None:
    assert split_options(name) == (bare, options)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("gst:videotestsrc sensor-id=1 ! identity", "gst:videotestsrc sensor-id=1 ! identity"),
        (
            "gst:rtspsrc location=rtsp://me:secret@host/live latency=0 ! decodebin",
            "gst:rtspsrc location=rtsp://host/live latency=0 ! decodebin",
        ),
        (
            'gst:rtspsrc location="rtsp://me:my secret@host/a b?key=secret" ! decodebin',
            'gst:rtspsrc location="rtsp://host/a b" ! decodebin',
        ),
        (
            'gst:rtspsrc location="rtsp://me:secret\\" secret@host/" ! x',
            'gst:rtspsrc location="rtsp://host/" ! x',
        ),
        ("gst:rtspsrc location = rtsp://me:sec/ret@host/ ! x", "gst:rtspsrc location = rtsp://... ! x"),
        (
            'gst:rtspsrc user-id=secret user-pw="a secret" location=rtsp://host/ ! x',
            "gst:rtspsrc user-id=... user-pw=... location=rtsp://host/ ! x",
        ),
        ("gst:srtsrc passphrase=secret proxy-pw=secret ! x", "gst:srtsrc passphrase=... proxy-pw=... ! x"),
        ("rtsp://me:secret@host/live#transport=tcp&latency=5", "rtsp://host/live"),
    ],
)
def test_what_is_shown_of_a_pipeline_has_no_credentials(name: str, shown: str) -> None:
    assert without_credentials(name) == shown
