"""What the tests share, and `--no-skips`, with which CI lets nothing pass by."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell's background jobs, and what CI may start, ignore Ctrl-C and pass that on to the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed run")
    parser.addoption("--camera", help="for make test-device: /dev/video0 or a name in /dev/v4l/by-id")
    parser.addoption(
        "--camera-control",
        help="for make test-device: a command that takes unplug, plug, stall, go, corrupt N; without one the"
        " camera's USB port is switched off and on, and the other faults are skipped",
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("\nskipped tests, and --no-skips was given")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
