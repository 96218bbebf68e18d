"""The service under this machine's systemd, with its camera. In this order: the last takes it away again."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.devices import holders
from tests.viewer import ROOT, Answer, ask

pytestmark = [pytest.mark.device, pytest.mark.timeout(400)]

NAME = "labelcam_test"
UNIT = f"labelcam@{NAME}.service"
SOCKET = f"labelcam@{NAME}.socket"
ARGS = Path(f"/etc/labelcam/{NAME}.args")
UNITS = Path("/etc/systemd/system")
SLOW_S = 60.0
"""An emulated guest is ten times slower than a board."""

Control = Callable[[str], None]


def run(*command: str | Path, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def script(name: str, *arguments: str) -> None:
    run("sh", ROOT / "systemd" / name, *arguments)


def show(attribute: str, unit: str = UNIT) -> str:
    return run("systemctl", "show", "--value", "-p", attribute, unit)


def journal(after: str = "") -> list[dict[str, Any]]:
    """The program's and systemd's lines about it."""
    command = [
        "journalctl",
        "-u",
        UNIT,
        "-o",
        "json",
        "--no-pager",
        *([f"--after-cursor={after}"] if after else []),
    ]
    return [json.loads(line) for line in run(*command).splitlines()]


def now_in_journal() -> str:
    lines = journal()
    return str(lines[-1]["__CURSOR"]) if lines else ""


def said(after: str = "") -> str:
    return "\n".join(str(line["MESSAGE"]) for line in journal(after))


def restarted_since(pid: str) -> bool:
    return show("MainPID") not in ("0", pid)


class Address:
    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str) -> Answer | None:
        """None if nobody answers."""
        try:
            return ask(("127.0.0.1", self.port), path, timeout_s=10.0)
        except OSError:
            return None

    def ready(self) -> bool:
        answer = self.ask("/readyz")
        return answer is not None and answer.status == 200

    def answers(self) -> bool:
        return self.ask("/healthz") is not None

    def online(self) -> bool | None:
        answer = self.ask("/api/state")
        return answer and answer.json["online"]


def until(happened: Callable[[], object], what: str, timeout_s: float = SLOW_S) -> float:
    """How long it took, in seconds."""
    started_s = time.monotonic()
    while not happened():
        assert time.monotonic() < started_s + timeout_s, (
            f"not within {timeout_s:g} s: {what}\n{said()[-3000:]}"
        )
        time.sleep(0.2)
    return time.monotonic() - started_s


@pytest.fixture(scope="module")
def camera_name(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--camera") or "/dev/video0")


@pytest.fixture(scope="module")
def control(request: pytest.FixtureRequest) -> Iterator[Control]:
    command = request.config.getoption("--camera-control")
    if not command:
        pytest.skip("name what unplugs the camera with --camera-control")

    def say(word: str) -> None:
        run(*shlex.split(command), word)

    yield say
    say("plug")


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def options(port: int, camera_name: str) -> tuple[str, ...]:
    little = (
        "--model",
        "digits",
        "--width",
        "320",
        "--height",
        "240",
    )  # an emulated processor has more to do
    return ("--source", camera_name, "--port", str(port), "--log", "frames.jsonl", *little)


@pytest.fixture(scope="module")
def service(port: int, options: tuple[str, ...]) -> Iterator[Address]:
    """Installed, and taken away whatever happens."""
    if not Path("/run/systemd/system").is_dir() or os.geteuid() != 0:
        pytest.skip("needs systemd, and root")
    if Path("/opt/labelcam").exists():
        pytest.skip("Labelcam is installed here, and these tests would take it away")
    script("install.sh", "--venv", sys.prefix, NAME, *options)
    yield Address(port)
    script("uninstall.sh", "--purge", NAME)


def test_without_a_camera_it_is_active_at_once_and_shows_why(service: Address, control: Control) -> None:
    control("unplug")
    run("systemctl", "restart", UNIT)  # returns when it is ready
    assert show("ActiveState") == "active"
    ready = service.ask("/readyz")
    assert ready is not None
    assert ready.status == 503
    assert "camera" in ready.json["reason"]
    assert service.online() is False
    assert "camera" in show("StatusText") or "http://" in show("StatusText")


def test_a_camera_that_comes_after_the_start_is_opened(
    service: Address, control: Control, camera_name: str
) -> None:
    """DeviceAllow=char-video4linux is looked up at the start, when the kernel may not know the word yet."""
    control("unplug")
    run("systemctl", "stop", UNIT)
    until(lambda: not Path(camera_name).exists(), "it is gone")
    for module in ("uvcvideo", "videobuf2_memops", "videodev"):  # and what each needs, if nothing else does
        run("modprobe", "-r", module, check=False)
    known = "video4linux" in Path("/proc/devices").read_text()
    run("systemctl", "start", UNIT)
    control("plug")
    until(service.ready, "the camera is opened")
    if known:
        pytest.skip("the camera is opened; but videodev cannot be unloaded here, so this was the easy case")


def test_killed_it_streams_again_by_itself(service: Address, control: Control) -> None:
    for _ in range(3):
        until(service.ready, "it streams")
        killed = show("MainPID")
        run("kill", "-9", killed)
        until(lambda: restarted_since(killed) and service.ready(), "it streams again")  # noqa: B023 - at once
    assert int(show("NRestarts")) >= 3


def test_hung_it_is_started_again_by_the_watchdog(service: Address) -> None:
    until(service.ready, "it streams")
    before, hung = now_in_journal(), show("MainPID")
    run("kill", "-STOP", hung)
    until(lambda: restarted_since(hung) and service.ready(), "it streams again", 3 * SLOW_S)
    assert "Watchdog timeout" in said(before)


def test_it_is_fed_while_the_camera_is_away(service: Address, control: Control) -> None:
    until(service.ready, "it streams")
    pid = show("MainPID")
    control("unplug")
    until(lambda: service.online() is False, "it notices")
    time.sleep(40)  # more than WatchdogSec
    assert show("MainPID") == pid
    control("plug")
    until(service.ready, "it streams again")
    assert show("MainPID") == pid


def test_its_lines_in_the_journal_have_levels_and_no_colour(service: Address, control: Control) -> None:
    until(service.ready, "it streams")
    before = now_in_journal()
    control("unplug")
    until(lambda: any(line["PRIORITY"] == "4" for line in journal(before)), "a warning")
    control("plug")
    until(service.ready, "it streams again")
    for line in journal():
        message = line["MESSAGE"]  # a list of numbers, if it holds what no text does
        assert isinstance(message, str), bytes(message)
        assert "\x1b" not in message
        assert not message.startswith(("<", "WARNING", "ERROR"))


def test_it_runs_as_nobody_who_was_there_before_and_keeps_its_log(service: Address) -> None:
    until(service.ready, "it streams")
    assert Path(f"/proc/{show('MainPID')}").stat().st_uid >= 61184  # systemd's own range
    log = Path(f"/var/lib/labelcam/{NAME}/frames.jsonl")
    assert '"rec":"frame"' in log.read_text()
    assert f"/etc/labelcam/{NAME}.args" not in run("systemctl", "show", "-p", "ExecStart", UNIT)


def test_stopped_it_frees_port_and_camera_in_time(service: Address, camera_name: str) -> None:
    until(service.ready, "it streams")
    assert holders(camera_name)
    started_s = time.monotonic()
    run("systemctl", "stop", UNIT)
    assert time.monotonic() - started_s < 9.0  # TimeoutStopSec=10 would kill it
    assert (show("Result"), show("ExecMainStatus")) == ("success", "0")
    assert not holders(camera_name)
    assert not service.answers()
    with socket.create_server(("127.0.0.1", service.port)):
        pass  # the port is free
    run("systemctl", "start", UNIT)


def test_wrong_options_are_told_once(service: Address) -> None:
    good, before = ARGS.read_text(), now_in_journal()
    ARGS.write_text("--port x\n")
    try:
        run("systemctl", "restart", UNIT, check=False)
        until(lambda: show("ActiveState") == "failed", "it gives up")
        time.sleep(6)  # three times RestartSec
        assert (show("ActiveState"), show("ExecMainStatus"), show("NRestarts")) == ("failed", "2", "0")
        told = [line["MESSAGE"] for line in journal(before) if line["PRIORITY"] == "3"]
        assert any(f"{NAME}.args" in line for line in told)
        assert "argument --port" in said(before)
    finally:
        ARGS.write_text(good)
        run("systemctl", "restart", UNIT)


def test_installed_again_it_runs_once_and_nothing_else_has_changed(
    service: Address, options: tuple[str, ...]
) -> None:
    before = sorted(map(str, [*UNITS.rglob("*"), *Path("/etc/labelcam").iterdir()])), ARGS.read_text()
    script("install.sh", "--venv", sys.prefix, NAME, *options)
    assert before == (
        sorted(map(str, [*UNITS.rglob("*"), *Path("/etc/labelcam").iterdir()])),
        ARGS.read_text(),
    )
    assert run("systemctl", "is-enabled", UNIT) == "enabled"
    until(service.ready, "it streams")


def test_on_demand_the_first_viewer_starts_it(
    service: Address, options: tuple[str, ...], camera_name: str
) -> None:
    script("install.sh", "--on-demand", "--venv", sys.prefix, NAME, *options)
    assert (show("ActiveState"), show("ActiveState", SOCKET)) == ("inactive", "active")
    assert not holders(camera_name)
    answer = ask(("127.0.0.1", service.port), "/healthz", timeout_s=SLOW_S)
    assert answer.status == 200  # the request that woke it
    until(service.ready, "it streams")
    run("systemctl", "stop", UNIT)
    assert show("Result") == "success"
    until(service.ready, "it streams again")
    run("systemctl", "stop", SOCKET, UNIT)
    assert not service.answers()


def test_uninstalled_twice_it_has_never_been_there(service: Address) -> None:
    script("uninstall.sh", NAME)
    assert ARGS.exists()
    script("uninstall.sh", "--purge", NAME)
    script("uninstall.sh", "--purge", NAME)
    left = [path for folder in ("/etc", "/opt", "/var/lib") for path in Path(folder).rglob("*labelcam*")]
    assert left == []
    assert show("LoadState") == "not-found"
    assert not service.answers()
