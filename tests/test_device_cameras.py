"""A real camera: what it offers, and all that can happen to it. `make test-device` says how to name one."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from stream import v4l2
from stream.devices import Camera, cameras, holders, look_at, same_device
from stream.frames import Broken, Shot
from stream.sources import Source, SourceError, Wish, open_source
from tests.test_files import as_nobody
from tests.test_sources import open_files
from tests.viewer import ROOT, Labelcam, Viewer, ask, labelcam, wait_for

pytestmark = [pytest.mark.device, pytest.mark.timeout(300)]

SMALL = Wish((320, 240), 15)
SLOW_S = 60.0
"""An emulated guest is ten times slower than a board."""

Control = Callable[[str], None]


@contextmanager
def opened(name: str, wish: Wish = SMALL) -> Iterator[Source]:
    source = open_source(name, wish)
    try:
        yield source
    finally:
        source.shots.close()


def refusal(name: str, wish: Wish = SMALL) -> str:
    """Why it cannot be opened: one line, and nothing is left open."""
    before = open_files()
    with pytest.raises(SourceError) as caught:
        open_source(name, wish)
    message = str(caught.value)
    assert message == " ".join(message.split())
    del caught
    gc.collect()
    assert open_files() == before
    return message


def shots(source: Source, count: int) -> list[Shot]:
    return [shot for shot in islice(source.shots, count) if isinstance(shot, Shot)]


def lost(source: Source, within_s: float) -> str:
    """What the source says when it ends, which it has to within this time."""
    until_s = time.monotonic() + within_s

    def read_on() -> None:
        for _ in source.shots:
            assert time.monotonic() < until_s

    with pytest.raises(SourceError) as caught:
        read_on()
    assert time.monotonic() < until_s
    return str(caught.value)


def there(camera: str) -> Camera:
    found = look_at(os.path.realpath(camera))
    assert found
    return found


def plugged(camera: str, control: Control) -> None:
    """Again, and usable."""
    control("plug")
    wait_for(lambda: Path(camera).exists() and os.access(camera, os.W_OK), SLOW_S)


# What it is.


def test_the_camera_is_listed_with_all_that_it_offers(camera: str) -> None:
    found = there(camera)
    assert found in cameras()
    assert found.name
    assert found.driver
    assert found.fault == ""
    assert all(mode.rates == tuple(sorted(mode.rates, reverse=True)) for mode in found.modes)
    assert {len(mode.format) for mode in found.modes} <= {3, 4}


def test_it_opens_in_its_best_format_and_in_the_mode_asked_for(camera: str) -> None:
    found = there(camera)
    offered = [mode.format for mode in found.modes]
    best = next(known for known in (*v4l2.JPEGS, *v4l2.RAW) if known in offered)
    mode = next(mode for mode in found.modes if mode.format == best)
    rate = mode.rates[-1]
    with opened(camera, Wish(mode.size, rate)) as source:
        assert (source.name, source.kind, source.via) == (camera, "camera", f"V4L2 {best}")
        assert (source.size, source.note) == (mode.size, "")
        assert source.fps == pytest.approx(rate, abs=0.5)
        assert source.live
        assert shots(source, 3)[-1].image.shape == (mode.size[1], mode.size[0], 3)


def test_every_format_that_can_be_read_shows_the_same_scene(camera: str) -> None:
    readable = {mode.format for mode in there(camera).modes} & {*v4l2.JPEGS, *v4l2.RAW}
    colours = []
    for form in sorted(readable):
        with opened(f"{camera}?format={form.lower()}") as source:
            assert source.via == f"V4L2 {form}"
            colours.append(shots(source, 5)[-1].image.mean(axis=(0, 1)))
    assert all(abs(colour - colours[0]).max() < 40 for colour in colours), colours


def test_a_size_that_it_does_not_have_is_granted_otherwise_and_said(camera: str) -> None:
    with opened(camera, Wish((100, 7000))) as source:
        assert source.note.startswith("asked for 100x7000")


def test_the_driver_says_when_a_picture_was_taken(camera: str) -> None:
    with opened(camera) as source:
        shots(source, 3)
        stamps_ns = []
        for _ in range(20):
            (shot,) = shots(source, 1)
            assert shot.sensor_ns
            assert 0 <= time.monotonic_ns() - shot.sensor_ns < 1e9
            stamps_ns.append(shot.sensor_ns)
    assert stamps_ns == sorted(set(stamps_ns))


def test_a_reader_that_was_away_gets_the_newest_picture(camera: str) -> None:
    with opened(camera) as source:
        shots(source, 3)
        time.sleep(2)
        shots(source, 1)  # from a buffer that was full all the time
        (shot,) = shots(source, 1)
        assert shot.sensor_ns
        assert time.monotonic_ns() - shot.sensor_ns < 1e9


# Its controls.


def test_controls_are_set_and_read_back(camera: str) -> None:
    control = next((one for one in there(camera).controls if one.name == "brightness"), None)
    if control is None:
        pytest.skip(f"{camera} has no brightness to set")
    wanted = control.default + 2 * max(1, control.step)
    try:
        with opened(f"{camera}?brightness={wanted}") as source:
            assert f"?brightness={wanted}" in source.again
            assert brightness(camera) == wanted
    finally:
        with opened(f"{camera}?brightness={control.default}"):
            assert brightness(camera) == control.default


def brightness(camera: str) -> int | None:
    return next(one.value for one in there(camera).controls if one.name == "brightness")


def test_a_control_that_it_does_not_have_is_one_line_with_those_that_it_has(camera: str) -> None:
    message = refusal(f"{camera}?no_such_control=1")
    assert "has no control no_such_control - it has: " in message
    assert all(control.name in message for control in there(camera).controls)


def test_a_value_out_of_range_is_one_line_with_the_range(camera: str) -> None:
    control = next((one for one in there(camera).controls if not one.menu), None)
    if control is None:
        pytest.skip(f"{camera} has no control to set")
    for value in (str(control.maximum + 1), "much"):
        message = refusal(f"{camera}?{control.name}={value}")
        assert f"{control.name} goes from {control.minimum} to {control.maximum}" in message


# What is refused.


def test_a_format_that_it_does_not_have_is_one_line_with_those_that_it_has(camera: str) -> None:
    assert "has no format bgr9 - it has " in refusal(f"{camera}?format=bgr9")


def test_a_busy_camera_says_who_holds_it(camera: str) -> None:
    hold = f"""
import time
from stream.sources import Wish, open_source
source = open_source({camera!r}, Wish())
print(next(source.shots).image.shape, flush=True)
time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline()
        (held,) = holders(camera)
        assert held.endswith(f" (pid {holder.pid})")
        assert f"{camera} is in use by {held} - end that first" in refusal(camera)
        with opened("auto") as source:
            assert source.kind == "demo" or source.name != os.path.realpath(camera)
            assert source.kind != "demo" or held in source.note
    finally:
        holder.kill()
        holder.communicate()
    with opened(camera) as source:
        assert shots(source, 1), "free again"


def test_no_permission_says_which_group_gives_it(camera: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root, who can be somebody else")
    group = Path(os.path.realpath(camera)).group()
    with opened(camera):
        pass  # what is imported only then may be out of nobody's reach
    with as_nobody():
        assert f"sudo usermod -aG {group} nobody, then log in again" in refusal(camera)
        listed = next(one for one in cameras() if one.path == os.path.realpath(camera))
    assert listed.fault == "Permission denied"
    assert listed.name


def test_a_metadata_node_is_refused_and_auto_does_not_pick_it(camera: str) -> None:
    path = os.path.realpath(camera)
    others = [node for node in same_device(path) if node != path and look_at(node) is None]
    if not others:
        pytest.skip(f"{camera} has no second node")
    message = refusal(others[0])
    assert "metadata" in message
    assert path in message
    assert others[0] not in [one.path for one in cameras()]
    with opened("auto") as source:
        assert source.kind == "camera"
        assert source.name not in others
        assert source.again != "auto"


# What happens to it.


def test_the_camera_is_free_after_every_kind_of_end(camera: str) -> None:
    before = open_files()
    for count in (0, 1, 5):
        source = open_source(camera, SMALL)
        assert holders(camera)
        shots(source, count)
        source.shots.close()
        assert holders(camera) == []
    assert open_files() == before


def test_an_unplugged_camera_is_told_at_once_and_found_again_by_its_name(
    camera: str, camera_control: Control
) -> None:
    with opened(camera) as source:
        shots(source, 3)
        camera_control("unplug")
        assert "was unplugged" in lost(source, 5)
        again = source.again
    assert "there is no camera" in refusal(camera)
    plugged(camera, camera_control)
    with opened(again) as source:
        assert shots(source, 3)


def test_a_camera_that_comes_back_under_another_number_is_found(camera: str, camera_control: Control) -> None:
    before = os.path.realpath(camera)
    with opened(before) as source, ExitStack() as stack:
        if source.again == before:
            pytest.skip(f"{camera} has no name that survives replugging")
        shots(source, 3)
        held = os.open(before, os.O_RDWR)  # so its number stays taken
        stack.callback(os.close, held)
        camera_control("unplug")
        lost(source, 5)
        plugged(source.again, camera_control)
        assert os.path.realpath(source.again) != before
        with opened(source.again) as found:
            assert shots(found, 3)


def test_a_stalled_camera_is_told_before_anybody_gives_up(camera: str, camera_control: Control) -> None:
    with opened(camera) as source:
        shots(source, 3)
        camera_control("stall")
        message = lost(source, 8)
        assert "has delivered nothing for 4 s" in message
    camera_control("go")
    with opened(camera) as source:
        assert shots(source, 3)


def test_damaged_pictures_are_broken_or_missing_and_never_a_picture(
    camera: str, camera_control: Control, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(camera) as source:
        shots(source, 3)
        camera_control("corrupt 30")
        until_s = time.monotonic() + 5
        items, came_s = [], [time.monotonic()]
        for item in source.shots:
            items.append(item)
            if isinstance(item, Shot):
                came_s.append(time.monotonic())
            if time.monotonic() > until_s:
                break
    broken = [item for item in items if isinstance(item, Broken)]
    assert all("\n" not in item.reason for item in broken)
    assert broken or max(np.diff(came_s)) > 0.5, "thirty pictures do not come, or are told"
    assert isinstance(items[-1], Shot), "and then it goes on"
    assert capfd.readouterr().err == ""


# The whole program.


@contextmanager
def live(camera: str) -> Iterator[tuple[Labelcam, Viewer]]:
    """With somebody who watches."""
    options = ["--width", "320", "--height", "240", "--model", "digits", "--port", "0"]
    with labelcam("--source", camera, *options) as running:
        wait_for(lambda: "\n" in running.out or running.process.poll() is not None, SLOW_S)
        with Viewer(running.address) as viewer:
            yield running, viewer


def until(running: Labelcam, viewer: Viewer, online: bool, within_s: float = SLOW_S) -> dict[str, Any]:
    """What the state says once it says so; the viewer gets pictures all the while."""
    started_s = time.monotonic()
    while True:
        viewer.part()
        state: dict[str, Any] = ask(running.address, "/api/state").json
        if state["online"] == online:
            return state
        assert time.monotonic() < started_s + within_s, state


def test_who_watches_sees_an_unplugged_camera_go_and_come_back(camera: str, camera_control: Control) -> None:
    with live(camera) as (running, viewer):
        until(running, viewer, online=True)
        camera_control("unplug")
        fault = until(running, viewer, online=False, within_s=10)["fault"]
        assert "was unplugged" in fault or "there is no camera" in fault
        plugged(camera, camera_control)
        assert until(running, viewer, online=True)["fault"] is None
        assert viewer.part().jpeg, "the same viewer, on the same connection"
        assert holders(camera) == [f"{comm(running)} (pid {running.process.pid})"]
        running.stop()
        assert holders(camera) == []


def test_who_watches_sees_that_a_camera_stalls_and_goes_on(camera: str, camera_control: Control) -> None:
    with live(camera) as (running, viewer):
        until(running, viewer, online=True)
        camera_control("stall")
        assert "nothing for" in until(running, viewer, online=False, within_s=15)["fault"]
        camera_control("go")
        until(running, viewer, online=True)


def test_a_program_that_is_killed_leaves_the_camera_free(camera: str) -> None:
    with live(camera) as (running, viewer):
        until(running, viewer, online=True)
        running.process.kill()
        running.process.wait()
        wait_for(lambda: holders(camera) == [])
        with opened(camera) as source:
            assert shots(source, 1)


def comm(running: Labelcam) -> str:
    return Path(f"/proc/{running.process.pid}/comm").read_text().strip()


@pytest.mark.timeout(7200)
def test_two_hundred_unplugs_leave_nothing_behind(
    camera: str, camera_control: Control, request: pytest.FixtureRequest
) -> None:
    """Twenty, unless --unplugs says otherwise; one viewer sees them all."""
    seen = []
    with live(camera) as (running, viewer):
        for _ in range(request.config.getoption("--unplugs")):
            until(running, viewer, online=True)
            seen.append(held_by(running))
            camera_control("unplug")
            until(running, viewer, online=False)
            plugged(camera, camera_control)
        until(running, viewer, online=True)
        assert len(running.errors.splitlines()) <= 3 * len(seen), "a line for each reason"
        assert running.stop() < SLOW_S
        assert running.process.returncode == 0
    early, late = seen[len(seen) // 4 : len(seen) // 2], seen[-len(seen) // 4 :]
    for what, before, after in zip(("threads", "kB", "files"), medians(early), medians(late), strict=True):
        assert after - before <= {"threads": 0.5, "kB": 3000, "files": 1}[what], (what, seen)


def medians(rows: list[tuple[int, int, int]]) -> list[float]:
    """Of each column: a request may be open while one looks."""
    return [median(column) for column in zip(*rows, strict=True)]


def held_by(running: Labelcam) -> tuple[int, int, int]:
    """Threads, memory in kB, open files."""
    process = Path(f"/proc/{running.process.pid}")
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(lines["Threads"]), int(lines["VmRSS"].split()[0]), len(list((process / "fd").iterdir()))
