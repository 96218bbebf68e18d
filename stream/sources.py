"""Where frames come from. A source is opened by its name and yields shots; closing it frees the camera."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.frames import Broken, Shot

Shots = Generator[Shot | Broken, None, None]


class SourceError(Exception):
    """A source cannot be opened, or ended when it should not. One line: what happened, what to type now."""


@dataclass(frozen=True)
class Wish:
    """What was asked of a source; what it grants is in the Source."""

    size: tuple[int, int] | None = None  # (width, height)
    fps: float | None = None
    ending: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set when the program ends: who waits for a driver stops waiting, and frees the camera."""


@dataclass(frozen=True)
class Source:
    """An open source.

    `shots` is a generator of pictures; its `close` frees the camera, in the thread that reads it. A `live`
    source is tried again when it is lost, another one's end is the end. `paced` sources have no clock of
    their own: whoever reads them waits 1/fps from one to the next, or does not.
    """

    name: str  # without credentials
    kind: str
    size: tuple[int, int]
    fps: float | None
    live: bool
    paced: bool
    shots: Shots
    note: str = ""  # what was granted where it is not what was asked for
    via: str = ""  # who reads it, where there are several: "V4L2", "GStreamer", "FFmpeg"
    again: str = (
        ""  # what to open after a loss, if it is not what was asked for: a name that survives replugging
    )


Opener = Callable[[str, Wish], Source]

NAMED = re.compile(r"([A-Za-z0-9_-]{1,40})=(.*)", re.DOTALL)
"""A camera with its name, which is part of addresses. A file a=b.mp4 is ./a=b.mp4."""

KINDS = {
    "auto": "the first camera that opens, else the demo",
    "demo:": "the built-in moving demo, no camera needed",
    "/dev/video0": "a USB or other V4L2 camera; with ?via=gst&format=mjpeg, raw or h264 through GStreamer",
    "csi:0": "a Jetson's CSI camera; ?flip=rotate-180, mode=, exposure=, gain=",
    "rtsp://HOST/PATH": "an RTSP camera; #transport=tcp or udp, latency=MILLISECONDS, via=gst or ffmpeg",
    "http://HOST/PATH": "an MJPEG stream",
    "clip.mp4": "a video file, or a picture",
    "folder/": "a folder of pictures, in order of name",
    "gst:PIPELINE": "any GStreamer pipeline",
}
"""What may be given, for the help text and for the message when something else was."""


def with_names(given: Sequence[str]) -> dict[str, str]:
    """By each camera's name, its source: NAME=SOURCE, or a source whose name is its number, from 1 on.

    Raises SourceError for a name that two have.
    """
    sources: dict[str, str] = {}
    for number, text in enumerate(given, 1):
        found = NAMED.fullmatch(text)
        name, source = (found[1], found[2]) if found else (str(number), text)
        if name in sources:
            raise SourceError(f"two cameras are called {name} - give each its own NAME=SOURCE")
        sources[name] = source
    return sources


def open_source(name: str, wish: Wish) -> Source:
    """Open what `name` stands for. Raises SourceError."""
    return _opener(name)(name, wish)


def check_name(name: str) -> None:
    """Refuse what can never be opened, whatever is plugged in. Raises SourceError."""
    from stream import pipelines

    _opener(name)
    scheme = name.partition(":")[0].lower()
    if scheme == "csi":
        pipelines.csi(name, Wish())
    elif scheme == "gst":
        pipelines.custom(name)
    elif scheme.startswith("rtsp"):
        pipelines.rtsp(name, ())
    elif "via=gst" in name:
        pipelines.v4l2(name, Wish(), ())
    else:
        split_options(name)


def _opener(name: str) -> Opener:
    from stream import cameras, gstreamer  # which need the names of this file

    if name == "auto" or name.startswith("/dev/"):
        from stream import v4l2  # a tenth of a second, which nobody else is to pay

        if name == "auto":
            return v4l2.open_auto
        return gstreamer.open_v4l2 if split_options(name)[1].get("via") == "gst" else v4l2.open_camera
    if name == "demo:" or name == "demo":
        return cameras.open_demo
    if name.startswith("csi:"):
        return gstreamer.open_csi
    if name.startswith("gst:"):
        return gstreamer.open_custom
    scheme, separator, _ = name.partition("://")
    shown = without_credentials(name)
    if separator and scheme.lower() in ("rtsp", "rtsps", "http", "https"):
        return cameras.open_network
    if Path(name).is_dir():
        return cameras.open_folder
    if Path(name).exists():
        return cameras.open_file
    if separator:
        raise SourceError(f"no source is called {shown} - known: {', '.join(KINDS)}")
    raise SourceError(f"there is no file or folder {shown} - give one of: {', '.join(KINDS)}")


def split_options(name: str) -> tuple[str, dict[str, str]]:
    """A name without its options, and these: `/dev/video0?via=gst&exposure=100`, `csi:0?flip=2`.

    A network address has a query of its own, so its options come after a `#`: `rtsp://HOST/PATH#transport=tcp`.
    Raises SourceError for what is no KEY=VALUE, and for a key given twice.
    """
    if "://" in name:
        bare, _, text = name.rpartition("#") if "#" in name else (name, "", "")
        if "/" in text or "@" in text:  # the address goes on: that was no option, but part of a password
            bare, text = name, ""
    else:
        bare, _, text = name.partition("?")
    options: dict[str, str] = {}
    for option in filter(None, text.split("&")):
        key, equals, value = option.partition("=")
        if not (key and equals and value) or key in options:
            raise SourceError(f"{option} is no option of a camera - write KEY=VALUE, with & between")
        options[key] = value
    return bare, options


ADDRESS = re.compile(
    r"""(?<=")\w+:\\?/\\?/(?:[^"\\]|\\.)* | (?<=')\w+:\\?/\\?/(?:[^'\\]|\\.)* | \w+:\\?/\\?/[^\s"']+""", re.X
)
SECRET = re.compile(
    r"""\b([\w-]*(?:user-id|-pw|pass|passw\w*|passphrase|secret|token|authorization)\s*[=:]\s*)
    ( (?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | \\. | [^\s"'\\] )+ )""",
    re.X | re.I,
)
"""Of a pipeline's text: `user-pw=...` is how rtspsrc is told a password."""


def without_credentials(name: str) -> str:
    """What was asked for, as it may be shown and logged: no user, no password, no query."""
    if name.startswith("gst:"):
        return addresses_without_credentials(name)
    scheme, separator, rest = name.partition("://")
    if not separator:
        return re.sub(r"^[^/@]*:[^@]*@", "", name)  # an address whose rtsp:// was forgotten
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(host) :]:  # a password with a / or # in it: who can say where it ends
        return f"{scheme}://..."
    return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0].rpartition('@')[2]}"


def addresses_without_credentials(text: str) -> str:
    """A pipeline, or what an element says, with each address in it as it may be shown."""
    text = ADDRESS.sub(lambda found: without_credentials(found[0].replace("\\/", "/")), text)
    return SECRET.sub(r"\1...", text)
