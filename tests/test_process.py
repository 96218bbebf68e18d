"""What the process asks of its C library."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.viewer import ROOT

PEAK = """
import logging
import numpy as np
from stream.process import give_memory_back, set_up_process

def resident_mb():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024

set_up_process(logging.WARNING)
pictures = [np.ones((480, 640, 3), np.uint8) for _ in range(200)]
kept = pictures[1::2]  # between those that go
peak_mb = resident_mb()
del pictures
freed_mb = resident_mb()
give_memory_back()
print(peak_mb, freed_mb, resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other habits")
def test_freed_memory_is_kept_for_the_next_picture_and_given_back_when_it_is_told_to() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    peak_mb, freed_mb, tidied_mb = map(float, done.stdout.split())
    assert peak_mb - freed_mb < 10
    assert freed_mb - tidied_mb > 60  # of 88
