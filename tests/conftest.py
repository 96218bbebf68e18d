"""What the tests share, and `--no-skips`, with which CI lets nothing pass by."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A shell's background jobs, and what CI may start, ignore Ctrl-C and pass that on to the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
QUIET = (  # no calls home: the page's own requests are what is looked at
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Photographs and models that are not in the repository: LABELCAM_SHARED, or beside the checkout."""
    folder = Path(os.environ.get("LABELCAM_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip("the shared photographs are not here: name their folder in LABELCAM_SHARED")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "labelcam-test", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk takes a mount: {mounted.stderr.splitlines()[0]}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r requirements-dev.txt")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def camera(request: pytest.FixtureRequest) -> str:
    """A name of the real camera's that survives replugging, where there is one."""
    named = request.config.getoption("--camera")
    links = sorted(Path("/dev/v4l/by-id").glob("*-video-index0"))
    if not named and not links:
        pytest.skip("no camera is here: plug one in, or name one with --camera")
    return str(named or links[0])


@pytest.fixture
def camera_control(request: pytest.FixtureRequest, camera: str) -> Iterator[Callable[[str], None]]:
    """Does to the camera what its word says: unplug, plug, stall, go, corrupt N. Undone at the end."""
    command = request.config.getoption("--camera-control")
    port = None if command else usb_port(camera)
    done = []

    def control(word: str) -> None:
        if command:
            subprocess.run([*shlex.split(command), *word.split()], check=True, capture_output=True)
        elif port and word in ("unplug", "plug"):
            (port / "authorized").write_text("1" if word == "plug" else "0")
        else:
            pytest.skip(
                f"nothing here does {word} to the camera: give --camera-control, or be root for its USB port"
            )
        done.append(word)

    yield control
    for word, cure in {"stall": "go", "unplug": "plug"}.items():
        if word in done:
            control(cure)
    until_s = time.monotonic() + 60
    while not Path(camera).exists() and time.monotonic() < until_s:
        time.sleep(0.1)


def usb_port(camera: str) -> Path | None:
    """Where the kernel lets root switch its port off and on."""
    node = Path(os.path.realpath(camera)).name
    device = Path(os.path.realpath(f"/sys/class/video4linux/{node}/device"))
    for folder in (device, *device.parents):
        if (folder / "idVendor").exists():  # an interface has an `authorized` too
            return folder if os.access(folder / "authorized", os.W_OK) else None
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed run")
    parser.addoption("--camera", help="for make test-device: /dev/video0 or a name in /dev/v4l/by-id")
    parser.addoption(
        "--camera-control",
        help="for make test-device: a command that takes unplug, plug, stall, go, corrupt N; without one the"
        " camera's USB port is switched off and on, and the other faults are skipped",
    )
    parser.addoption(
        "--mlserver",
        help="an environment with tests/serving/requirements.txt; without one it is made and kept",
    )
    parser.addoption("--unplugs", type=int, default=20, help="for make test-device: rounds of unplugging")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("\nskipped tests, and --no-skips was given")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
