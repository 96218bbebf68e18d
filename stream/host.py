"""Tells which computer a run was made on: numbers mean little without it."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from stream.version import __version__

THROTTLED_NOW = 0b1111
"""Of a Raspberry Pi's flags: under-voltage, capped, throttled, at its soft limit of heat."""


def host_facts(root: Path = Path("/")) -> dict[str, Any]:
    """For the log's `run` record. What a board does not tell is None."""
    system = os.uname()
    affinity = sorted(os.sched_getaffinity(0))
    cpu = f"sys/devices/system/cpu/cpu{affinity[0]}"
    return {
        "host": system.nodename,
        "machine": system.machine,
        "board": _text(root / "proc/device-tree/model"),
        "cpu": _cpu_model(root / "proc/cpuinfo"),
        "cpu_count": os.cpu_count(),
        "governor": _text(root / cpu / "cpufreq/scaling_governor"),
        "affinity": affinity,
        **condition(root),
        "python": platform.python_version(),
        "switch_interval_us": round(sys.getswitchinterval() * 1e6),
        "app_version": __version__,
        "numpy": _version("numpy", "numpy"),
        "cv2": _version("cv2", "opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    }


def condition(root: Path = Path("/")) -> dict[str, Any]:
    """What changes while a benchmark runs. What a machine does not tell is None."""
    zones = [_number(zone) for zone in root.glob("sys/class/thermal/thermal_zone*/temp")]
    heat = [millidegrees / 1000 for millidegrees in zones if millidegrees is not None]
    cpus = "sys/devices/system/cpu/cpu[0-9]*"
    throttles = [_number(core) for core in root.glob(f"{cpus}/thermal_throttle/core_throttle_count")]
    return {
        "load": _load_average(),
        "temperature_c": max(heat, default=None),
        "cpu_khz": _number(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "throttles": sum(filter(None, throttles)) if throttles else None,
        "undervolted": _bits(root / "sys/devices/platform/soc/soc:firmware/get_throttled"),
    }


def doubts(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Why the figures measured between two conditions of this machine may not be its best, a line each."""
    found = []
    governor, load, cores = before.get("governor"), before.get("load"), len(before["affinity"])
    if governor not in (None, "performance"):
        found.append(f"the CPU's governor is {governor} - sudo cpupower frequency-set -g performance")
    if load and load[0] > cores / 2:
        found.append(f"the machine was busy in the minute before: a load of {load[0]:.1f} on {cores} cores")
    if (after.get("throttles") or 0) > (before.get("throttles") or 0):
        found.append(f"the CPU was throttled for heat ({after['temperature_c']} °C) - see to its cooling")
    if (after.get("undervolted") or 0) & THROTTLED_NOW:
        found.append("the board is throttled, for heat or for want of power - see to its cooling and supply")
    return found


def peak_memory_bytes(root: Path = Path("/")) -> int | None:
    """The most this process ever had resident. `getrusage` would count what its parent had when it forked."""
    for line in (_text(root / "proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "VmHWM":
            return int(value.split()[0]) * 1024
    return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _bits(path: Path) -> int | None:
    """Raspberry Pi OS writes hexadecimal."""
    text = _text(path)
    try:
        return None if text is None else int(text, 16)
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _cpu_model(cpuinfo: Path) -> str | None:
    """The first CPU's name. Reads no further: the kernel makes the file up as it is read, for every core."""
    try:
        with cpuinfo.open(errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Hardware", "cpu model", "uarch"):
                    return value.strip() or None
    except OSError:
        pass
    return None


def _load_average() -> list[float] | None:
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except OSError:
        return None


def _version(module: str, *distributions: str) -> str | None:
    """Of the module if it is loaded (JetPack's cv2 belongs to no distribution), else of what is installed."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__version__", None)
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
