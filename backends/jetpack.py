"""Which Jetson this is: board, L4T, JetPack, power mode, TensorRT; and how it gets jetson-inference."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RELEASES = {
    "38.2.2": "7.0",
    "38.2.0": "7.0",
    "36.4.7": "6.2.1",
    "36.4.4": "6.2.1",
    "36.4.3": "6.2",
    "36.4.2": "6.1.1",
    "36.4.0": "6.1",
    "36.3.0": "6.0",
    "36.2.0": "6.0 DP",
    "35.6.2": "5.1.5",
    "35.6.1": "5.1.5",
    "35.6.0": "5.1.4",
    "35.5.0": "5.1.3",
    "35.4.1": "5.1.2",
    "35.3.1": "5.1.1",
    "35.2.1": "5.1",
    "35.1.0": "5.0.2",
    "34.1.1": "5.0.1",
    "34.1.0": "5.0 DP",
    "32.7.6": "4.6.6",
    "32.7.5": "4.6.5",
    "32.7.4": "4.6.4",
    "32.7.3": "4.6.3",
    "32.7.2": "4.6.2",
    "32.7.1": "4.6.1",
    "32.6.1": "4.6",
    "32.5.2": "4.5.1",
    "32.5.1": "4.5.1",
    "32.5.0": "4.5",
    "32.4.4": "4.4.1",
    "32.4.3": "4.4",
}
"""JetPack by L4T."""

PYTHONS = {32: (3, 6), 34: (3, 8), 35: (3, 8), 36: (3, 10), 38: (3, 12), 39: (3, 12)}
"""By L4T, the system's Python, for which alone jetson-inference and TensorRT are built."""

BUILD = (
    "sudo apt-get install git cmake libpython3-dev python3-numpy"
    " && git clone --recursive --depth=1 https://github.com/dusty-nv/jetson-inference"
    " && mkdir jetson-inference/build && cd jetson-inference/build"
    " && cmake .. && make -j4 && sudo make install && sudo ldconfig"
)
"""As jetson-inference's own page on building has it."""


@dataclass(frozen=True)
class JetPack:
    """What a Jetson says of itself. None is what it does not say."""

    board: str | None = None
    l4t: str | None = None  # "36.4.3"
    release: str | None = None  # of JetPack: "6.2"
    power_mode: str | None = None
    tensorrt: str | None = None

    def __str__(self) -> str:
        return f"JetPack {self.release}" if self.release else f"L4T {self.l4t or 'unknown'}"

    @property
    def has_tensorrt_10(self) -> bool:
        """Or later, for which jetson-inference is too old. R36.4 was the first to have it."""
        return numbers(self.tensorrt) >= (10,) if self.tensorrt else numbers(self.l4t) >= (36, 4)


def read_jetpack(root: Path = Path("/")) -> JetPack | None:
    """None on what is no Jetson. Asks `nvpmodel`, else reads only; imports nothing."""
    board = _text(root / "proc/device-tree/model") or _text(root / "tmp/nv_jetson_model")  # in a container
    l4t = l4t_of_release(_text(root / "etc/nv_tegra_release")) or l4t_of_packages(
        _text(root / "var/lib/dpkg/status")
    )
    if l4t is None and "jetson" not in board.lower():
        return None
    return JetPack(
        board=board or None,
        l4t=l4t,
        release=RELEASES.get(l4t or ""),
        power_mode=power_mode(root),
        tensorrt=tensorrt_version(root),
    )


def l4t_of_release(text: str) -> str | None:
    """Of /etc/nv_tegra_release: `# R36 (release), REVISION: 4.3, GCID: ...`."""
    found = re.match(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def l4t_of_packages(status: str) -> str | None:
    """Of dpkg's list of what is installed, where nvidia-l4t-core has a version like 36.4.3-20250107174145."""
    found = re.search(r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: ([\d.]+)", status, re.MULTILINE)
    return found[1] if found else None


def power_mode(root: Path = Path("/")) -> str | None:
    """What `nvpmodel -q` calls it: "MAXN", "15W". None where it is missing, or asks for root."""
    try:
        asked = subprocess.run(
            [root / "usr/sbin/nvpmodel", "-q"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^NV Power Mode:\s*(\S.*)", asked.stdout, re.MULTILINE)
    return found[1].strip() if found else None


def tensorrt_version(root: Path = Path("/")) -> str | None:
    """Of the library that this process has loaded; else of the one installed; else of its header."""
    installed = [path.name for path in root.glob("usr/lib/*-linux-gnu/libnvinfer.so.*")]
    loaded = _text(root / "proc/self/maps")
    return tensorrt_of_names(loaded) or tensorrt_of_names("\n".join(installed)) or _of_headers(root)


def tensorrt_of_names(text: str) -> str | None:
    """Of names of libraries, libnvinfer.so.8.6.2 and libnvinfer.so.8 among them: the longest tells most."""
    return max(re.findall(r"libnvinfer\.so\.(\d+(?:\.\d+)*)", text), key=len, default=None)


def tensorrt_of_header(text: str) -> str | None:
    """Of NvInferVersion.h. From 10.8 on the numbers are in names of their own, TRT_MAJOR_ENTERPRISE."""
    parts = []
    for part in ("MAJOR", "MINOR", "PATCH"):
        found = re.search(rf"#define (?:NV_TENSORRT_{part}|TRT_{part}_ENTERPRISE)\s+(\d+)", text)
        if found is None:
            return None
        parts.append(found[1])
    return ".".join(parts)


def _of_headers(root: Path) -> str | None:
    headers = root.glob("usr/include/*-linux-gnu/NvInferVersion.h")
    return next(filter(None, map(tensorrt_of_header, map(_text, headers))), None)


def install_route(jetpack: JetPack | None, python: tuple[int, int] = sys.version_info[:2]) -> str:
    """What to type to run models on this machine's GPU, in one line."""
    if jetpack is None:
        return (
            "pip install tensorrt cuda-python, where there is an NVIDIA GPU, for ONNX files (off a Jetson"
            " jetson-inference is only in its container 22.06, whose Python 3.8 is too old for Labelcam)"
        )
    theirs = PYTHONS.get(next(iter(numbers(jetpack.l4t)), 0), python)
    if theirs < (3, 10):
        return (
            f"flash JetPack 6.0: jetson-inference for {jetpack} is built for Python {_dotted(theirs)}, and"
            f" Labelcam needs 3.10; or build it for {_dotted(python)}, named in PYTHON_BINDING_VERSIONS of"
            " its python/CMakeLists.txt and utils/python/CMakeLists.txt"
        )
    start = f"with the system's python{_dotted(theirs)}, not {_dotted(python)}: " if theirs != python else ""
    if jetpack.has_tensorrt_10:
        return (
            f"{start}sudo apt-get install python3-libnvinfer, python3 -m venv --system-site-packages .venv,"
            f" and give an ONNX file: --model FILE.onnx ({jetpack} has TensorRT 10; jetson-inference needs"
            " JetPack 6.0)"
        )
    return f"{start}{BUILD}, and python3 -m venv --system-site-packages .venv"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def numbers(version: str | None) -> tuple[int, ...]:
    """(36, 4, 3) of "36.4.3"; nothing of None."""
    return tuple(int(part) for part in re.findall(r"\d+", version or ""))


def _text(path: Path) -> str:
    """A file's text without the NULs that a device tree ends it with; nothing of what cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
