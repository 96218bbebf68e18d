"""What the kernel says of a process: processor time, threads, memory, descriptors."""

from __future__ import annotations

import os
import re
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """All its threads', those that have ended too, in user code and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def threads(pid: int) -> int:
    return number(pid, "Threads")


def resident_mb(pid: int) -> float:
    return number(pid, "VmRSS") * 1024 / 1e6


def number(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - nothing but their number is wanted


def connected_from(port: int) -> set[int]:
    """Of connections to a port of 127.0.0.1 whose server's end is open, whoever it is: the viewers' ports."""
    own = rf"0100007F:{port:04X} 0100007F:([0-9A-F]{{4}}) 01 "
    return {int(found, 16) for found in re.findall(own, Path("/proc/net/tcp").read_text())}
