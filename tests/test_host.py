from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stream.host import host_facts
from stream.version import __version__


def board(root: Path, files: dict[str, str]) -> Path:
    """A root directory that holds just these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_board_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    facts = host_facts(tmp_path)
    assert (facts["board"], facts["cpu"], facts["governor"]) == (None, None, None)


def test_files_that_are_empty_or_strange_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "proc/cpuinfo").mkdir(parents=True)
    (tmp_path / "proc/device-tree").mkdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"\xff\0")
    facts = host_facts(tmp_path)
    assert facts["cpu"] is None
    json.dumps(facts)


def test_a_system_that_knows_no_load_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise OSError("Load averages are unobtainable")

    monkeypatch.setattr(os, "getloadavg", unknown)
    assert host_facts()["load"] is None


def test_a_jetson_is_known_by_its_board_and_its_governor(tmp_path: Path) -> None:
    cpu = f"sys/devices/system/cpu/cpu{min(os.sched_getaffinity(0))}/cpufreq/scaling_governor"
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nBogoMIPS\t: 62.50\n",
        cpu: "schedutil\n",
    }
    facts = host_facts(board(tmp_path, files))
    assert facts["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert facts["cpu"] == "ARMv8 Processor rev 1 (v8l)"
    assert facts["governor"] == "schedutil"


def test_a_cv2_that_belongs_to_no_distribution_still_tells_its_version() -> None:
    import cv2  # JetPack's is one

    assert host_facts()["cv2"] == cv2.__version__


def test_this_host_is_described_in_json() -> None:
    facts = host_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["host"] == os.uname().nodename
    assert facts["affinity"] == sorted(os.sched_getaffinity(0))
    assert facts["app_version"] == __version__
    assert facts["numpy"]
    assert facts["switch_interval_us"] > 0
