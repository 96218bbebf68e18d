"""Tells which computer a run was made on: numbers mean little without it."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from stream.version import __version__


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
        "load": _load_average(),
        "python": platform.python_version(),
        "switch_interval_us": round(sys.getswitchinterval() * 1e6),
        "app_version": __version__,
        "numpy": _version("numpy", "numpy"),
        "cv2": _version("cv2", "opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    }


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
