"""The V4L2 cameras of this machine: what they are, what they offer, who holds them; frames from their driver.

The only file that knows linuxpy.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from linuxpy.video import device as v4l2
from linuxpy.video import raw
from linuxpy.video.raw import ControlFlag, ControlID, CtrlType
from numpy.typing import NDArray

from stream.sources import SourceError

Used = TypeVar("Used")
Size = tuple[int, int]  # (width, height)
Kind = Literal["camera", "planes", "metadata", "codec", "other"]
"""What a node is. A camera of several planes has each colour in a buffer of its own."""

STABLE = ("/dev/v4l/by-id", "/dev/v4l/by-path")
"""Links that udev keeps: to this very camera; to whatever camera is in this socket."""
USUAL_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))
"""Listed of a camera that scales to any size."""
SETTABLE = (CtrlType.INTEGER, CtrlType.BOOLEAN, CtrlType.MENU, CtrlType.INTEGER_MENU)
BY_HAND = {
    "exposure": (ControlID.EXPOSURE_ABSOLUTE, ControlID.EXPOSURE_AUTO, raw.ExposureAutoType.MANUAL),
    "focus": (ControlID.FOCUS_ABSOLUTE, ControlID.FOCUS_AUTO, 0),
    "white_balance": (ControlID.WHITE_BALANCE_TEMPERATURE, ControlID.AUTO_WHITE_BALANCE, 0),
    "gain": (ControlID.GAIN, ControlID.AUTOGAIN, 0),
}
"""What has an automatic: the value, its automatic, and what of that is none. Their names differ by kernel."""
CODEC = raw.Capability.VIDEO_M2M | raw.Capability.VIDEO_M2M_MPLANE | raw.Capability.VIDEO_OUTPUT_MPLANE
CAPTURE = raw.BufType.VIDEO_CAPTURE
BUFFERS = 4
"""One is being filled, one decoded; the others give time to be late."""
TIMESTAMP_KIND = 0xE000


@dataclass(frozen=True)
class Mode:
    format: str  # as V4L2 has it: "MJPG", "YUYV"
    size: Size
    rates: tuple[float, ...]  # a second, fastest first; none where the driver does not say


@dataclass(frozen=True)
class Control:
    name: str  # as v4l2-ctl has it
    id: int
    minimum: int
    maximum: int
    step: int
    default: int
    value: int | None  # None: it can only be written
    menu: Mapping[int, str]


@dataclass(frozen=True)
class Camera:
    path: str
    name: str
    driver: str = ""
    by_id: str | None = None  # a name that survives replugging
    modes: tuple[Mode, ...] = ()
    controls: tuple[Control, ...] = ()
    fault: str = ""  # why no more is known of it

    def __str__(self) -> str:
        return f"{self.path} ({self.name})" if self.name else self.path


# Looking.


def cameras() -> list[Camera]:
    """Those that deliver pictures, in order of number: no metadata nodes, no codecs."""
    nodes = sorted(Path("/dev").glob("video*"), key=lambda path: (len(path.name), path.name))
    return [camera for node in nodes if (camera := look_at(str(node))) is not None]


def look_at(path: str) -> Camera | None:
    """None if it delivers no pictures."""
    name, link = sysfs(path, "name"), stable_link(path)
    try:
        with opened(path) as fd:
            about = v4l2.read_capabilities(fd)
            if kind_of(about) not in ("camera", "planes"):
                return None
            return Camera(
                path=path,
                name=about.card.decode(errors="replace"),
                driver=about.driver.decode(errors="replace"),
                by_id=link,
                modes=tuple(modes(fd)),
                controls=tuple(controls(fd)),
            )
    except (
        ZeroDivisionError
    ):  # linuxpy's, of a driver that says "no time at all" for the interval of its frames
        return Camera(path, name, by_id=link, fault="its driver tells no frame rates")
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL) or sysfs(path, "index") not in ("", "0"):
            return None  # no V4L2 at all, or the second node of a webcam, which has no pictures
        return Camera(path, name, by_id=link, fault=error.strerror or str(error))


@contextmanager
def opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def kind_of(about: raw.v4l2_capability) -> Kind:
    """`capabilities` are those of the whole device: a webcam's metadata node claims its pictures there."""
    whole = raw.Capability(about.capabilities)
    mine = raw.Capability(about.device_caps) if whole & raw.Capability.DEVICE_CAPS else whole
    if mine & CODEC:
        return "codec"
    if mine & raw.Capability.VIDEO_CAPTURE:
        return "camera"
    if mine & raw.Capability.VIDEO_CAPTURE_MPLANE:
        return "planes"
    return "metadata" if mine & raw.Capability.META_CAPTURE else "other"


def formats(fd: int) -> list[str]:
    """In the driver's order."""
    wanted = raw.v4l2_fmtdesc(type=CAPTURE)
    return [text_of(found.pixelformat) for found in v4l2.iter_read(fd, raw.IOC.ENUM_FMT, wanted)]


def modes(fd: int) -> Iterator[Mode]:
    for format in formats(fd):
        for size in sizes(fd, code_of(format)):
            intervals = v4l2.iter_read_frame_intervals(fd, code_of(format), *size)
            # Where a camera takes any interval, linuxpy's names for the ends are the wrong way round.
            rates = {round(float(max(one.min_fps, one.max_fps)), 2) for one in intervals} - {0.0}
            yield Mode(format, size, tuple(sorted(rates, reverse=True)))


def sizes(fd: int, code: int) -> Iterator[Size]:
    for found in v4l2.iter_read(fd, raw.IOC.ENUM_FRAMESIZES, raw.v4l2_frmsizeenum(pixel_format=code)):
        if found.type == raw.Frmsizetypes.DISCRETE:
            yield found.m1.discrete.width, found.m1.discrete.height
            continue
        span = found.m1.stepwise
        largest = span.max_width, span.max_height
        for width, height in sorted({*USUAL_SIZES, largest}):
            fits = span.min_width <= width <= largest[0] and span.min_height <= height <= largest[1]
            if fits:
                yield width, height
        return


def text_of(code: int) -> str:
    return code.to_bytes(4, "little").decode("latin-1").strip()


def code_of(format: str) -> int:
    return int.from_bytes(format.ljust(4).encode("latin-1"), "little")


def sysfs(path: str, what: str) -> str:
    """What may be read without permission to open it."""
    with suppress(OSError):
        return Path("/sys/class/video4linux", Path(os.path.realpath(path)).name, what).read_text().strip()
    return ""


def same_device(path: str) -> list[str]:
    """All nodes of the device that this one is of, itself included."""
    siblings = Path("/sys/class/video4linux", Path(os.path.realpath(path)).name, "device/video4linux")
    with suppress(OSError):
        return sorted(f"/dev/{node.name}" for node in siblings.iterdir())
    return []


def stable_link(path: str) -> str | None:
    """None if there is none. One that was asked for stays: cameras without serial numbers share a by-id."""
    if path.startswith(STABLE):
        return path
    for folder in map(Path, STABLE):
        with suppress(OSError):
            for link in sorted(folder.iterdir()):
                if os.path.realpath(link) == os.path.realpath(path):
                    return str(link)
    return None


def holders(path: str) -> list[str]:
    """The programs that have it open: "python3 (pid 4711)". Only those that we may look into."""
    node, found = os.path.realpath(path), []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda process: int(process.name)):
        with suppress(OSError):  # ended meanwhile; somebody else's
            if any(target_of(descriptor) == node for descriptor in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
    return found


def target_of(link: Path) -> str:
    with suppress(OSError):  # closed meanwhile
        return str(link.readlink())
    return ""


# Controls.


def controls(fd: int) -> Iterator[Control]:
    """Those that are a number, a switch or a choice."""
    for found in v4l2.iter_read_controls(fd):
        if found.type not in SETTABLE or found.flags & (ControlFlag.DISABLED | ControlFlag.READ_ONLY):
            continue
        value = None
        with suppress(OSError):  # it can only be written
            value = v4l2.get_control(fd, found.id)
        yield Control(
            name=re.sub(r"\W+", "_", found.name.decode(errors="replace").lower()).strip("_"),
            id=found.id,
            minimum=found.minimum,
            maximum=found.maximum,
            step=found.step,
            default=found.default_value,
            value=value,
            menu=dict(menu(fd, found)),
        )


def menu(fd: int, control: raw.v4l2_query_ext_ctrl) -> Iterator[tuple[int, str]]:
    """What may be chosen, by number; there may be gaps."""
    if control.type not in (CtrlType.MENU, CtrlType.INTEGER_MENU):
        return
    entry = raw.v4l2_querymenu(id=control.id)
    choices = (control.minimum, control.maximum + 1)
    for found in v4l2.iter_read(fd, raw.IOC.QUERYMENU, entry, *choices, ignore_einval=True):
        numeric = control.type == CtrlType.INTEGER_MENU
        yield found.index, str(found.value) if numeric else found.name.decode(errors="replace")


def set_controls(path: str, wishes: Mapping[str, str]) -> None:
    """By the names of BY_HAND, where a number also switches the automatic off and "auto" switches it on, or
    by the camera's own. Raises SourceError for what the camera does not have or does not take."""
    with opened(path) as fd:
        there = list(controls(fd))
        for name, text in wishes.items():
            for control, value in settings(path, there, name, text):
                try:
                    v4l2.set_control(fd, control.id, value)
                except OSError as error:
                    raise SourceError(
                        f"{path} does not take {name}={text}: {error.strerror} - {described(control)}"
                    ) from error


def settings(path: str, there: list[Control], name: str, text: str) -> list[tuple[Control, int]]:
    """What to set for it, in this order: a value is refused while its automatic is on."""
    by_id = {control.id: control for control in there}
    by_name = {control.name: control for control in there}
    value_id, automatic_id, manual = BY_HAND.get(name, (0, 0, 0))
    control, automatic = by_id.get(value_id) or by_name.get(name), by_id.get(automatic_id)
    if text == "auto" and automatic:
        return [(automatic, on_value(path, automatic, manual))]
    if control is None:
        names = [friendly for friendly, (id, _, _) in BY_HAND.items() if id in by_id]
        known = ", ".join(sorted({*names, *by_name})) or "none"
        raise SourceError(f"{path} has no control {name} - it has: {known}")
    wanted = (control, number(path, name, text, control))
    return [(automatic, manual), wanted] if automatic else [wanted]


def on_value(path: str, automatic: Control, manual: int) -> int:
    """An exposure's automatic is a menu of several, of which a camera has some."""
    for value in (automatic.default, *automatic.menu, automatic.maximum):
        if value != manual:
            return value
    raise SourceError(f"{path} has no automatic for that - {described(automatic)}")


def number(path: str, name: str, text: str, control: Control) -> int:
    named = {label.lower(): value for value, label in control.menu.items()}
    try:
        value = named[text.lower()] if text.lower() in named else int(text)
    except ValueError:
        raise SourceError(f"{path} does not take {name}={text} - {described(control)}") from None
    if not control.minimum <= value <= control.maximum or (control.menu and value not in control.menu):
        raise SourceError(f"{path} does not take {name}={text} - {described(control)}")
    return value


def described(control: Control) -> str:
    if control.menu:
        choices = ", ".join(f"{value} ({label})" for value, label in control.menu.items())
        return f"{control.name} is one of {choices}"
    step = f" in steps of {control.step}" if control.step > 1 else ""
    return f"{control.name} goes from {control.minimum} to {control.maximum}{step}"


# Frames.


@dataclass(frozen=True)
class Granted:
    """The mode that a driver gives when asked for one."""

    format: str
    size: Size
    row_bytes: int  # padding included; 0 for a JPEG
    fps: float | None


@dataclass(frozen=True)
class Taken:
    """One of the driver's buffers, ours until it is handed back."""

    data: NDArray[np.uint8]  # to be read, not kept
    damaged: bool  # says the driver
    sensor_ns: int | None  # monotonic


class Driver:
    """A camera that is open. From `start` to `close` it delivers. One thread; every failure is an OSError.

    cv2.VideoCapture was tried beside it: its `read` waits 10 s for a camera that says nothing, and no program
    may shorten that; it does not tell a damaged JPEG from a whole one; it drops what clock a stamp is of.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._maps: list[mmap.mmap] = []
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def kind(self) -> Kind:
        return kind_of(v4l2.read_capabilities(self._fd))

    def formats(self) -> list[str]:
        return formats(self._fd)

    def set_mode(self, format: str, size: Size, fps: float) -> Granted:
        given = v4l2.set_format(self._fd, CAPTURE, *size, pixel_format=code_of(format)).fmt.pix
        rate = None
        with suppress(OSError):  # it has no rate to be set
            period = v4l2.set_fps(self._fd, CAPTURE, fps).parm.capture.timeperframe
            if period.numerator and period.denominator:
                rate = period.denominator / period.numerator
        return Granted(text_of(given.pixelformat), (given.width, given.height), given.bytesperline, rate)

    def start(self) -> None:
        made = v4l2.request_buffers(self._fd, CAPTURE, raw.Memory.MMAP, BUFFERS).count
        for index in range(made):
            buffer = v4l2.query_buffer(self._fd, CAPTURE, raw.Memory.MMAP, index)
            self._maps.append(v4l2.mmap_from_buffer(self._fd, buffer))
            v4l2.enqueue_buffer(self._fd, CAPTURE, raw.Memory.MMAP, 0, index)
        v4l2.stream_on(self._fd, CAPTURE)

    def newest(self, within_s: float, use: Callable[[Taken], Used]) -> Used | None:
        """What `use` makes of the newest frame, or of the next one; None if none comes in time. Older
        ones are skipped. `use` must not keep the data: the buffer goes back, and is unmapped at the end."""
        if not self._poll.poll(within_s * 1000):
            return None
        buffer = self._dequeue()  # after an error, which wakes the poll too, this says which
        while True:
            try:
                newer = self._dequeue()
            except BlockingIOError:
                break
            v4l2.enqueue_buffer_raw(self._fd, buffer)
            buffer = newer
        stamp = buffer.timestamp.secs * 1_000_000_000 + buffer.timestamp.usecs * 1000
        monotonic = buffer.flags & TIMESTAMP_KIND == raw.BufferFlag.TIMESTAMP_MONOTONIC
        used = use(
            Taken(
                np.frombuffer(self._maps[buffer.index], np.uint8, buffer.bytesused),
                bool(buffer.flags & raw.BufferFlag.ERROR),
                stamp if monotonic and stamp else None,
            )
        )
        v4l2.enqueue_buffer_raw(self._fd, buffer)
        return used

    def _dequeue(self) -> raw.v4l2_buffer:
        return v4l2.dequeue_buffer(self._fd, CAPTURE, raw.Memory.MMAP)

    def close(self) -> None:
        """A mapped buffer keeps the camera taken as well as a descriptor does."""
        for buffer in self._maps:
            with suppress(
                BufferError
            ):  # an error in `use` still shows it: it is unmapped when that is forgotten
                buffer.close()
        self._maps = []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
