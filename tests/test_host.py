from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream.host import condition, doubts, host_facts
from stream.version import __version__
from tests.viewer import ROOT


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


# What may spoil a measurement.

CALM = {"affinity": [0, 1], "governor": "performance", "load": [0.2, 0.1, 0.1], "throttles": 3}


def test_a_calm_machine_raises_no_doubts() -> None:
    assert doubts(CALM, {**CALM, "load": [2.0, 1.0, 0.5]}) == []  # the load at the end is our own
    assert doubts({"affinity": [0]}, {}) == []  # one that tells nothing


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"governor": "powersave"}, {}, "governor is powersave - sudo cpupower"),
        ({"load": [1.7, 0.5, 0.1]}, {}, "a load of 1.7 on 2 cores"),
        ({}, {"throttles": 4, "temperature_c": 96.0}, r"throttled for heat \(96.0 °C\)"),
        ({}, {"undervolted": 0b0001}, "want of power"),
    ],
)
def test_what_may_spoil_a_measurement_is_told(
    before: dict[str, object], after: dict[str, object], told: str
) -> None:
    (doubt,) = doubts(CALM | before, CALM | after)
    assert re.search(told, doubt)


def test_a_board_tells_its_heat_and_its_throttling(tmp_path: Path) -> None:
    facts = condition(
        board(
            tmp_path,
            {
                "sys/class/thermal/thermal_zone0/temp": "48200\n",
                "sys/class/thermal/thermal_zone1/temp": "51500\n",
                "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
                "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "5\n",
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1400000\n",
                "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            },
        )
    )
    assert (facts["temperature_c"], facts["throttles"], facts["cpu_khz"]) == (51.5, 7, 1_400_000)
    assert facts["undervolted"] == 0x50005


def test_peak_memory_is_this_process_s_own() -> None:
    """In a fresh one: in this, the ballast may fit into what earlier tests have left free."""
    program = "; ".join(
        (
            "from stream.host import peak_memory_bytes as peak",
            "before = peak()",
            "ballast = bytearray(64 << 20)",
            "print(peak() - before)",
        )
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    assert int(ran.stdout) > 60 << 20
