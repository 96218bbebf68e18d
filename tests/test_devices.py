"""Looking for cameras, as far as that goes without one. With one: test_device_cameras.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from linuxpy.video import raw

from stream.devices import (
    BY_HAND,
    Control,
    Kind,
    cameras,
    code_of,
    holders,
    kind_of,
    look_at,
    same_device,
    set_controls,
    settings,
    stable_link,
    text_of,
)
from stream.sources import SourceError
from tests.test_files import as_nobody

Has = raw.Capability
HOLD = "import sys, time; held = open(sys.argv[1]); print(flush=True); time.sleep(600)"

EXPOSURE, EXPOSURE_AUTO = (int(one) for one in BY_HAND["exposure"][:2])
FOCUS, FOCUS_AUTO = (int(one) for one in BY_HAND["focus"][:2])
GAIN = int(BY_HAND["gain"][0])


def control(
    name: str, id: int, low: int, high: int, default: int, menu: Mapping[int, str] | None = None
) -> Control:
    return Control(name, id, low, high, 1, default, default, menu or {})


WEBCAM = [
    control("brightness", 1, 0, 255, 128),
    control("auto_exposure", EXPOSURE_AUTO, 0, 3, 3, {1: "Manual Mode", 3: "Aperture Priority Mode"}),
    control("exposure_time_absolute", EXPOSURE, 3, 2047, 250),
    control("focus_automatic_continuous", FOCUS_AUTO, 0, 1, 1),
    control("focus_absolute", FOCUS, 0, 250, 0),
    control("gain", GAIN, 0, 100, 10),
    control("power_line_frequency", 2, 0, 2, 2, {0: "Disabled", 1: "50 Hz", 2: "60 Hz"}),
]


def asked(name: str, text: str) -> list[tuple[str, int]]:
    return [(one.name, value) for one, value in settings("/dev/video0", WEBCAM, name, text)]


def refused(name: str, text: str) -> str:
    with pytest.raises(SourceError, match=r"^[^\n]+$") as caught:
        settings("/dev/video0", WEBCAM, name, text)
    return str(caught.value)


# What cannot be set.


def test_an_unknown_control_is_one_line_with_the_known_ones() -> None:
    assert refused("zoom", "2") == (
        "/dev/video0 has no control zoom - it has: auto_exposure, brightness, exposure,"
        " exposure_time_absolute, focus, focus_absolute, focus_automatic_continuous, gain,"
        " power_line_frequency"
    )


def test_a_control_that_this_camera_does_not_have_is_an_unknown_one() -> None:
    assert "has no control white_balance - it has: " in refused("white_balance", "4000")
    assert "has no control white_balance - it has: " in refused("white_balance", "auto")


@pytest.mark.parametrize("text", ["2", "2048", "-1", "long", "1e3", ""])
def test_a_value_out_of_range_is_one_line_with_the_range(text: str) -> None:
    assert refused("exposure", text) == (
        f"/dev/video0 does not take exposure={text} - exposure_time_absolute goes from 3 to 2047"
    )


@pytest.mark.parametrize("text", ["3", "55 Hz", "auto"])
def test_a_choice_that_there_is_not_is_one_line_with_those_there_are(text: str) -> None:
    assert refused("power_line_frequency", text).endswith("is one of 0 (Disabled), 1 (50 Hz), 2 (60 Hz)")


def test_a_gap_in_a_menu_is_no_choice() -> None:
    assert "is one of 1 (Manual Mode), 3 (Aperture Priority Mode)" in refused("auto_exposure", "2")


def test_gain_without_an_automatic_has_none() -> None:
    assert "gain goes from 0 to 100" in refused("gain", "auto")


def test_what_is_no_camera_has_no_controls() -> None:
    with pytest.raises(SourceError, match="/dev/null has no control brightness - it has: none"):
        set_controls("/dev/null", {"brightness": "1"})


# What can.


@pytest.mark.parametrize(
    ("name", "text", "set_to"),
    [
        ("brightness", "7", [("brightness", 7)]),
        ("exposure", "100", [("auto_exposure", 1), ("exposure_time_absolute", 100)]),
        ("exposure", "auto", [("auto_exposure", 3)]),
        ("focus", "30", [("focus_automatic_continuous", 0), ("focus_absolute", 30)]),
        ("focus", "auto", [("focus_automatic_continuous", 1)]),
        ("gain", "20", [("gain", 20)]),
        ("exposure_time_absolute", "100", [("exposure_time_absolute", 100)]),
        ("power_line_frequency", "1", [("power_line_frequency", 1)]),
        ("power_line_frequency", "50 hz", [("power_line_frequency", 1)]),
    ],
)
def test_an_automatic_is_switched_off_before_its_value_is_set(
    name: str, text: str, set_to: list[tuple[str, int]]
) -> None:
    assert asked(name, text) == set_to


def test_a_camera_that_starts_by_hand_has_an_automatic_too() -> None:
    by_hand = control("auto_exposure", EXPOSURE_AUTO, 0, 1, 1, {0: "Auto Mode", 1: "Manual Mode"})
    ((_, value),) = settings("/dev/video0", [by_hand], "exposure", "auto")
    assert value == 0


# What a node is.


@pytest.mark.parametrize(
    ("mine", "kind"),
    [
        (Has.VIDEO_CAPTURE | Has.STREAMING, "camera"),
        (Has.VIDEO_CAPTURE | Has.VIDEO_OUTPUT | Has.STREAMING, "camera"),  # v4l2loopback
        (Has.META_CAPTURE | Has.STREAMING, "metadata"),
        (Has.VIDEO_M2M_MPLANE | Has.STREAMING, "codec"),
        (Has.VIDEO_CAPTURE_MPLANE | Has.VIDEO_OUTPUT_MPLANE | Has.STREAMING, "codec"),  # of old kernels
        (Has.VIDEO_CAPTURE_MPLANE | Has.STREAMING, "planes"),
        (Has.RADIO, "other"),
    ],
)
def test_what_a_node_is_is_told_by_its_own_capabilities(mine: int, kind: Kind) -> None:
    whole = Has.VIDEO_CAPTURE | Has.META_CAPTURE | Has.DEVICE_CAPS
    assert kind_of(raw.v4l2_capability(capabilities=whole, device_caps=mine)) == kind


def test_an_old_driver_has_capabilities_of_the_whole_only() -> None:
    assert kind_of(raw.v4l2_capability(capabilities=Has.VIDEO_CAPTURE)) == "camera"


def test_what_is_no_camera_is_not_listed() -> None:
    assert look_at("/dev/null") is None
    assert {camera.path for camera in cameras()} <= {str(path) for path in Path("/dev").glob("video*")}
    assert (stable_link("/dev/null"), same_device("/dev/null")) == (None, [])


@pytest.mark.parametrize("format", ["MJPG", "YUYV", "Y16"])
def test_a_format_has_the_name_that_v4l2_has_for_it(format: str) -> None:
    assert text_of(code_of(format)) == format


def test_the_code_of_a_format_is_the_drivers() -> None:
    assert code_of("MJPG") == raw.PixelFormat.MJPEG


# Who holds it.


def test_who_holds_a_file_is_named_until_they_close_it(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch()
    link = tmp_path / "by-id"
    link.symlink_to(node)
    assert holders(str(node)) == []
    holder = subprocess.Popen([sys.executable, "-c", HOLD, node], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        holder.stdout.readline()
        (named,) = holders(str(link))
        assert named.startswith("python")
        assert named.endswith(f" (pid {holder.pid})")
        if os.geteuid() == 0:
            with as_nobody():
                assert holders(str(node)) == [], "nobody may look into root's programs"
    finally:
        holder.kill()
        holder.communicate()
    assert holders(str(node)) == []
