"""Sources that GStreamer reads: by PyGObject, or where that is not, by an OpenCV that was built with it."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from functools import cache
from threading import Event
from typing import Any, Protocol

import cv2
import numpy as np

from models.recipe import Image, as_image, size_of
from stream import jpeg, pipelines
from stream.devices import stable_link
from stream.frames import Broken, Shot
from stream.pipelines import JETSON, PACKAGES
from stream.sources import (
    Shots,
    Source,
    SourceError,
    Wish,
    addresses_without_credentials,
    split_options,
    without_credentials,
)

FIRST_S = 10.0
"""Argus and an RTSP camera that waits for a key frame take seconds to begin."""
SILENCE_S = 4.0
STEP_NS = 200_000_000
"""A pull waits so long, then looks whether the pipeline has said something."""
TAKEN = "video/x-raw,format=BGR; image/jpeg"
NO_STAMP = 2**64 - 1
INSTALL = (
    "sudo apt-get install libgirepository1.0-dev libcairo2-dev pkg-config gstreamer1.0-tools"
    " gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"
    " gir1.2-gst-plugins-base-1.0, then pip install -r requirements-gstreamer.txt"
)


class Fault(Exception):
    """What a pipeline did instead of delivering. Goes on from its name: "failed in v4l2src0: ..."."""


class Player(Protocol):
    """A pipeline that plays, in one thread at a time."""

    via: str
    live: bool
    fps: float | None

    def pull(self, within_s: float) -> Shot | Broken | None:
        """The newest picture not seen yet, None at the end. Raises Fault, also when none comes in time."""

    def close(self) -> None:
        """Free all that it holds."""


# What may be opened.


def open_csi(name: str, wish: Wish) -> Source:
    text = pipelines.csi(name, wish)
    if "nvarguscamerasrc" not in elements():
        raise SourceError(
            f"{name} needs a Jetson: {missing('nvarguscamerasrc')}; for a USB camera give /dev/video0"
        )
    advice = "is its cable in? If so: sudo systemctl restart nvargus-daemon"
    return opened(text, wish, name, "camera", f"the camera {name} delivers no picture", advice)


def open_v4l2(name: str, wish: Wish) -> Source:
    text = pipelines.v4l2(name, wish, elements())
    advice = "python run.py doctor lists what the cameras here can deliver"
    source = opened(text, wish, name, "camera", f"the camera {name} delivers no picture", advice)
    device = split_options(name)[0]
    return replace(source, again=name.replace(device, stable_link(device) or device, 1))


def open_rtsp(name: str, wish: Wish) -> Source:
    text = pipelines.rtsp(name, elements())
    shown = without_credentials(split_options(name)[0])
    advice = "is the address right and the camera on? One without TCP takes #transport=udp"
    return opened(text, wish, shown, "network", f"no video comes from {shown}", advice)


def open_custom(name: str, wish: Wish) -> Source:
    text, shown = pipelines.custom(name), without_credentials(name)
    elements()  # raises if nothing here reads GStreamer
    return opened(
        text, wish, shown, "pipeline", f"{shown} delivers no picture", "gst-launch-1.0 tries it alone"
    )


def opened(text: str, wish: Wish, shown: str, kind: str, failure: str, advice: str) -> Source:
    """Play it until the first picture, which is the proof that it works."""
    try:
        player = play(text, wish.ending)
        first = first_shot(player)
    except Fault as fault:
        known = fault if " - " in str(fault) else f"{fault} - {advice}"
        raise SourceError(addresses_without_credentials(f"{failure}: it {known}")) from None
    shots = read_on(player, first, shown)
    next(shots)  # a generator that never ran frees nothing when it is closed
    return Source(
        name=shown,
        kind=kind,
        size=size_of(first.image),
        fps=player.fps if player.live else wish.fps or player.fps,
        live=player.live,
        paced=not player.live,
        shots=shots,
        via=player.via,
    )


def play(text: str, ending: Event) -> Player:
    return Appsink(text, ending) if gst() else OpenCVPlayer(text)


def first_shot(player: Player) -> Shot:
    """Closes the player when none comes."""
    until_s = time.monotonic() + FIRST_S
    broken = ""
    try:
        while (left_s := until_s - time.monotonic()) > 0:
            match player.pull(left_s):
                case Shot() as shot:
                    return shot
                case Broken(reason):
                    broken = f"has delivered nothing but broken pictures ({reason})"
                case None:
                    raise Fault("ended before its first picture")
        raise Fault(broken)
    except Fault as fault:
        player.close()
        raise Fault(broken or str(fault)) from None


def read_on(player: Player, first: Shot, shown: str) -> Shots:
    """The first picture, then all that follow. A live source that ends is a lost one."""
    silence_s = max(SILENCE_S, 3 / player.fps if player.fps else 0)
    try:
        yield first  # for whoever starts the generator
        yield first
        while (shot := player.pull(silence_s)) is not None:
            yield shot
    except Fault as fault:
        raise SourceError(addresses_without_credentials(f"{shown} {fault}")) from None
    finally:
        player.close()
    if player.live:
        raise SourceError(f"{shown} stopped delivering")


# By PyGObject.


@cache
def gst() -> Any:
    """The library, started, or None. PyGObject warns when it is not told a version."""
    try:
        # GStreamer brings libunwind for all to see: a C++ exception that any module throws after that ends
        # the program ("terminate called"): TFLite's of a bad model did. First come, first found.
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)
        import gi

        for namespace in ("Gst", "GstApp"):
            gi.require_version(namespace, "1.0")
        from gi.repository import Gst, GstApp  # noqa: F401  # GstApp gives appsink its methods
    except (ImportError, ValueError, OSError):  # no PyGObject; no typelib
        return None
    Gst.init(None)
    return Gst


class Appsink:
    """A pipeline whose appsink is asked, without GLib's main loop. While it waits, other threads run.

    A picture that GStreamer's own decoders find broken they drop without a word, unlike ours.
    """

    via = "GStreamer"

    def __init__(self, text: str, ending: Event) -> None:
        Gst = gst()  # noqa: N806
        try:
            # Without the flag half a pipeline comes with the error, and PyGObject never frees it.
            self._pipeline = Gst.parse_launch_full(text, None, Gst.ParseFlags.FATAL_ERRORS)
        except gst_error() as error:
            raise Fault(parse_fault(error.message)) from None
        self._ending = ending
        self._sink = appsink_of(self._pipeline)
        self._bus = self._pipeline.get_bus()
        self.fps: float | None = None
        # A live pipeline has no picture before it plays. Another one waits for us, so nothing is dropped.
        self.live = self._pipeline.set_state(Gst.State.PAUSED) == Gst.StateChangeReturn.NO_PREROLL
        self._sink.set_property("drop", self.live)
        self._pipeline.set_state(Gst.State.PLAYING)

    def pull(self, within_s: float) -> Shot | Broken | None:
        Gst = gst()  # noqa: N806
        until_s = time.monotonic() + within_s
        while True:
            ended = self._sink.is_eos()
            while (message := self._bus.pop()) is not None:
                if message.type == Gst.MessageType.ERROR:
                    raise Fault(f"failed in {said(message)}")
            sample = self._sink.try_pull_sample(STEP_NS)
            if sample is not None:
                return self._shot(sample)
            if ended:
                return None
            if self._ending.is_set():
                raise Fault("is not waited for any longer")
            if time.monotonic() > until_s:
                raise Fault(f"has delivered nothing for {within_s:.0f} s")

    def close(self) -> None:
        self._pipeline.set_state(gst().State.NULL)

    def _shot(self, sample: Any) -> Shot | Broken:
        buffer, structure = sample.get_buffer(), sample.get_caps().get_structure(0)
        good, mapped = buffer.map(gst().MapFlags.READ)
        if not good:
            return Broken("GStreamer cannot read a picture that it made")
        try:
            content = bytes(mapped.data)  # PyGObject has copied already: this is that copy
        finally:
            buffer.unmap(mapped)
        known, numerator, denominator = structure.get_fraction("framerate")
        self.fps = numerator / denominator if known and numerator else None  # 0/1: as they come
        if structure.get_name() == "image/jpeg":
            image = jpeg.decode(np.frombuffer(content, np.uint8))
        else:
            image = unpadded(content, structure.get_value("width"), structure.get_value("height"))
        return image if isinstance(image, Broken) else Shot(image, sensor_ns=self._sensor_ns(sample, buffer))

    def _sensor_ns(self, sample: Any, buffer: Any) -> int | None:
        """The buffer's stamp, which counts from when the pipeline began to play, on the monotonic clock."""
        Gst = gst()  # noqa: N806
        clock = self._pipeline.get_clock()
        if not self.live or not isinstance(clock, Gst.SystemClock) or buffer.pts == NO_STAMP:
            return None
        if clock.get_property("clock-type") != Gst.ClockType.MONOTONIC:
            return None
        running_ns = sample.get_segment().to_running_time(Gst.Format.TIME, buffer.pts)
        if running_ns == NO_STAMP:
            return None
        # What smooths the stamps of a network camera may set one a little ahead of its arrival.
        return min(int(running_ns + self._pipeline.get_base_time()), time.monotonic_ns())


def gst_error() -> Any:
    from gi.repository import GLib

    return GLib.Error


def appsink_of(pipeline: Any) -> Any:
    """The user's own or ours, set up as ours. Raises Fault where there is none."""
    Gst = gst()  # noqa: N806
    iterator = pipeline.iterate_recurse() if isinstance(pipeline, Gst.Bin) else None
    while iterator:
        result, element = iterator.next()
        if result != Gst.IteratorResult.OK:
            break
        if element.get_factory() and element.get_factory().get_name() == "appsink":
            for name, value in (("max-buffers", 1), ("sync", False), ("emit-signals", False)):
                element.set_property(name, value)
            element.set_property("caps", Gst.Caps.from_string(TAKEN))
            return element
    raise Fault("has no appsink")


def parse_fault(message: str) -> str:
    element = re.search(r'no element "([^"]+)"', message)
    return f"cannot be made: {missing(element[1]) if element else message}"


def said(message: Any) -> str:
    """One line: the element, what it says, and what more it knows, without the place in its source."""
    error, debug = message.parse_error()
    detail = (debug or "").partition("\n")[2]
    words = detail if error.message in detail else f"{error.message} {detail}"
    name = message.src.get_name().rstrip("0123456789")  # the same at the next attempt
    return " ".join(f"{name}: {words}".split())


def unpadded(content: bytes, width: int, height: int) -> Image | Broken:
    """BGR (height, width, 3): GStreamer's rows begin at multiples of four bytes.

    Other paddings exist, but elements use them only for a sink that says it can read them, which appsink
    does not.
    """
    row = (width * 3 + 3) // 4 * 4
    if len(content) < row * height:
        return Broken(f"a picture of {width}x{height} has {len(content)} bytes")
    rows = np.frombuffer(content, np.uint8, row * height).reshape(height, row)
    return np.ascontiguousarray(rows[:, : width * 3]).reshape(height, width, 3)


# By OpenCV.


class OpenCVPlayer:
    """JetPack's OpenCV. It tells neither what failed nor when, and waits as long as the pipeline does."""

    via, live = "OpenCV's GStreamer", True

    def __init__(self, text: str) -> None:
        self._capture = cv2.VideoCapture(text, cv2.CAP_GSTREAMER)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else None

    def pull(self, within_s: float) -> Shot | Broken | None:
        good, image = self._capture.read()
        if not good:
            raise Fault("failed, and OpenCV does not say why")
        if image.shape[0] == 1:  # a JPEG as it came
            found = jpeg.decode(as_image(image).reshape(-1))
            return found if isinstance(found, Broken) else Shot(found)
        return Shot(as_image(image))

    def close(self) -> None:
        self._capture.release()


# What is here.


@dataclass(frozen=True)
class GStreamerFacts:
    """What `doctor` tells. `missing` are the elements that we use, each with what has it."""

    version: str  # "" without GStreamer
    via: str  # who reads its pictures; "" if nobody can
    here: tuple[str, ...]
    missing: dict[str, str]
    advice: str  # what to type now; "" if nothing


def gstreamer_facts() -> GStreamerFacts:
    try:
        here = elements()
    except SourceError as error:
        return GStreamerFacts("", "", (), {}, str(error))
    missing = {name: package for name, package in PACKAGES.items() if name not in here}
    packages = sorted({package for package in missing.values() if package != JETSON})
    return GStreamerFacts(
        version=gst().version_string() if gst() else "",
        via=Appsink.via if gst() else OpenCVPlayer.via,
        here=tuple(name for name in PACKAGES if name in here),
        missing=missing,
        advice=f"sudo apt-get install {' '.join(packages)}" if packages else "",
    )


def reads_rtsp() -> bool:
    """Whether an RTSP camera is GStreamer's, where nobody chose."""
    return bool(gst()) and {"rtspsrc", "decodebin", "videoconvert", "appsink"} <= elements()


@cache
def elements() -> frozenset[str]:
    """Those of PACKAGES that are here. Raises SourceError if nothing reads GStreamer."""
    if gst():
        return frozenset(name for name in PACKAGES if gst().ElementFactory.find(name))
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(f"GStreamer cannot be read: neither PyGObject nor OpenCV has it - {INSTALL}")
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        raise SourceError("gst-inspect-1.0 is not here - sudo apt-get install gstreamer1.0-tools")
    return frozenset(
        name for name in PACKAGES if subprocess.run([inspect, "--exists", name], check=False).returncode == 0
    )


def missing(element: str) -> str:
    package = PACKAGES.get(element)
    if package is None:
        return f"GStreamer has no element {element} - gst-inspect-1.0 lists those it has"
    if package == JETSON:
        return f"GStreamer has no element {element}, which only JetPack's package {JETSON} brings"
    return f"GStreamer has no element {element} - sudo apt-get install {package}"
