"""GStreamer's pipelines as text. Pure: what is asked for goes in, what `gst-launch-1.0` takes comes out."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from fractions import Fraction

from stream.sources import SourceError, Wish, split_options, without_credentials

SINK = "appsink max-buffers=1 drop=true sync=false"
"""Holds the newest picture only, and gives it when it comes, not when its stamp says so. OpenCV finds it by
the name that it gets by itself, appsink0."""
BGR = f"video/x-raw,format=BGR ! {SINK}"

FLIPS = (
    "none",
    "counterclockwise",
    "rotate-180",
    "clockwise",
    "horizontal",
    "upper-right-diagonal",
    "vertical",
    "upper-left-diagonal",
)
"""nvvidconv's flip-method, 0 to 7. None is none: jetson-utils swaps it with rotate-180."""

H264_DECODERS = ("nvv4l2decoder", "omxh264dec", "avdec_h264")  # JetPack 5 and later, JetPack 4, elsewhere

GOOD, JETSON = "gstreamer1.0-plugins-good", "nvidia-l4t-gstreamer"
PACKAGES = {
    "appsink": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "decodebin": "gstreamer1.0-plugins-base",
    "v4l2src": GOOD,
    "jpegdec": GOOD,
    "rtspsrc": GOOD,
    "rtph264depay": GOOD,
    "h264parse": "gstreamer1.0-plugins-bad",
    "avdec_h264": "gstreamer1.0-libav",
    "avdec_h265": "gstreamer1.0-libav",
    "nvarguscamerasrc": JETSON,
    "nvvidconv": JETSON,
    "nvv4l2decoder": JETSON,
    "omxh264dec": JETSON,
}
"""The elements that we use, and the Debian package that has each."""


def csi(name: str, wish: Wish) -> str:
    """`csi:0?flip=rotate-180&mode=2&exposure=100-20000&gain=1-8`: exposure in microseconds."""
    bare, options = split_options(name)
    sensor = bare.removeprefix("csi:") or "0"
    check(options, {"flip", "mode", "exposure", "gain"}, name)
    source = f"nvarguscamerasrc sensor-id={whole(sensor, 'the number of a CSI camera')}"
    if "mode" in options:
        source += f" sensor-mode={whole(options['mode'], 'a sensor mode')}"
    if "exposure" in options:
        low, high = span(options["exposure"])
        source += f' exposuretimerange="{low * 1000:.0f} {high * 1000:.0f}"'  # in nanoseconds
    if "gain" in options:
        low, high = span(options["gain"])
        source += f' gainrange="{low:g} {high:g}"'
    caps = size_and_rate(wish.size or (1280, 720), wish.fps or 30)
    flip = flip_method(options.get("flip", "none"))
    return (
        f"{source} ! video/x-raw(memory:NVMM),{caps},format=NV12 ! nvvidconv flip-method={flip}"
        f" ! video/x-raw,format=BGRx ! videoconvert ! {BGR}"
    )


def v4l2(name: str, wish: Wish, elements: Container[str]) -> str:
    """`/dev/video0?via=gst&format=mjpeg|raw|h264`. GStreamer takes what is asked for exactly, or fails.

    A JPEG stays one: jpegdec and videoconvert take twice cv2.imdecode's time, and hide what is broken.
    """
    device, options = split_options(name)
    check(options, {"via", "format"}, name)
    source = f"v4l2src device={quoted(device)}"
    caps = size_and_rate(wish.size or (640, 480), wish.fps)
    form = options.get("format", "mjpeg")
    if form == "mjpeg":
        return f"{source} ! image/jpeg,{caps} ! {SINK}"
    if form == "raw":
        return f"{source} ! video/x-raw,{caps} ! videoconvert ! {BGR}"
    if form == "h264":
        decoder = next((name for name in H264_DECODERS if name in elements), H264_DECODERS[-1])
        return f"{source} ! video/x-h264,{caps} ! h264parse ! {decoder} ! {to_bgr(elements)}"
    raise SourceError(f"no camera's format is called {form} - known: mjpeg, raw, h264")


def rtsp(name: str, elements: Container[str]) -> str:
    """`rtsp://HOST/PATH#transport=udp&latency=200`.

    TCP, because a lost packet of H.264 smears every picture up to the next key frame. In-order packets do not
    wait for the latency: 100 ms is for those that UDP brings late.
    """
    address, options = split_options(name)
    check(options, {"transport", "latency", "via"}, without_credentials(address))
    transport = options.get("transport", "tcp")
    if transport not in ("tcp", "udp"):
        raise SourceError(f"RTSP has no transport {transport} - known: tcp, udp")
    latency_ms = whole(options.get("latency", "100"), "a latency in milliseconds")
    return (
        f"rtspsrc location={quoted(address)} protocols={transport} latency={latency_ms} drop-on-latency=true"
        f" ! application/x-rtp,media=video ! decodebin ! {to_bgr(elements)}"
    )


def custom(name: str) -> str:
    """`gst:ANY PIPELINE`; one without an appsink gets ours."""
    text = name.removeprefix("gst:").strip()
    if not text:
        raise SourceError("gst: needs a pipeline - for example gst:videotestsrc is-live=true")
    if re.search(r"(^|!)\s*appsink(\s|$)", text):
        return text
    return f"{text} ! videoconvert ! {BGR}"


def to_bgr(elements: Container[str]) -> str:
    """A Jetson's decoders leave pictures in memory that videoconvert cannot read."""
    fetch = "nvvidconv ! video/x-raw,format=BGRx ! " if "nvvidconv" in elements else ""
    return f"{fetch}videoconvert ! {BGR}"


def size_and_rate(size: tuple[int, int], fps: float | None) -> str:
    caps = f"width={size[0]},height={size[1]}"
    if fps is None:
        return caps
    rate = Fraction(fps).limit_denominator(1001)
    return f"{caps},framerate={rate.numerator}/{rate.denominator}"


def flip_method(flip: str) -> int:
    if flip in FLIPS:
        return FLIPS.index(flip)
    if flip in map(str, range(len(FLIPS))):
        return int(flip)
    raise SourceError(f"no flip is called {flip} - known: {', '.join(FLIPS)}, or 0 to 7")


def whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise SourceError(f"{text} is not {what} - give a whole number")
    return int(text)


def span(text: str) -> tuple[float, float]:
    """`100-20000`, or `500`, which is both ends of it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", text, re.ASCII)
    if not match:
        raise SourceError(f"{text} is not a range - write LOW-HIGH, or one number")
    low = float(match[1])
    return low, float(match[2] or low)


def check(options: Iterable[str], known: set[str], shown: str) -> None:
    """Raises SourceError for an option that nobody would look at."""
    for option in options:
        if option not in known:
            raise SourceError(f"{shown} has no option {option} - known: {', '.join(sorted(known))}")


def quoted(value: str) -> str:
    """One word to gst-launch, whatever is in it: an address cannot add elements of its own."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
