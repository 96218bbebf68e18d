"""What a Jetson says of itself, in all the forms it was seen in, and what is advised to its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.jetpack import (
    JetPack,
    install_route,
    l4t_of_packages,
    l4t_of_release,
    read_jetpack,
    tensorrt_of_header,
    tensorrt_of_names,
    tensorrt_version,
)

RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan 8 2025\n"
)

PACKAGES = """\
Package: nvidia-l4t-configs
Version: 35.0.0-1

Package: nvidia-l4t-core
Status: install ok installed
Architecture: arm64
Version: 35.3.1-20230319081403

Package: zlib1g
Version: 1:1.2.11
"""


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if path.parent.name == "sbin":
            path.chmod(0o755)
    return root


def test_what_is_no_jetson_is_none(tmp_path: Path) -> None:
    assert read_jetpack(tmp_path) is None
    raspberry = machine(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert read_jetpack(raspberry) is None


def test_this_machine_is_asked_without_a_fault() -> None:
    read_jetpack()
    tensorrt_version()


def test_an_orin_with_jetpack_6_2_is_read_whole(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "etc/nv_tegra_release": RELEASE,
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "usr/lib/aarch64-linux-gnu/libnvinfer.so.10": "",
            "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": "",
            "usr/sbin/nvpmodel": "#!/bin/sh\n[ $1 = -q ] && echo 'NVPM WARN: fan mode is not set!'\n"
            "echo 'NV Power Mode: MODE_15W_6CORE'; echo 2\n",
        },
    )
    assert read_jetpack(root) == JetPack(
        board="NVIDIA Jetson Orin Nano Developer Kit",
        l4t="36.4.3",
        release="6.2",
        power_mode="MODE_15W_6CORE",
        tensorrt="10.3.0",
    )


def test_a_container_gets_the_boards_name_from_a_file_and_the_rest_may_be_missing(tmp_path: Path) -> None:
    root = machine(
        tmp_path, {"var/lib/dpkg/status": PACKAGES, "tmp/nv_jetson_model": "NVIDIA Jetson Xavier NX\n"}
    )
    assert read_jetpack(root) == JetPack("NVIDIA Jetson Xavier NX", "35.3.1", "5.1.1", None, None)


def test_a_release_that_is_not_in_the_table_is_no_guess(tmp_path: Path) -> None:
    found = read_jetpack(machine(tmp_path, {"etc/nv_tegra_release": RELEASE.replace("4.3", "9.9")}))
    assert found is not None
    assert (found.l4t, found.release) == ("36.9.9", None)


def test_a_jetson_of_an_unknown_system_is_still_one(tmp_path: Path) -> None:
    root = machine(
        tmp_path, {"proc/device-tree/model": "NVIDIA Jetson AGX Orin\0", "etc/nv_tegra_release": "?"}
    )
    assert read_jetpack(root) == JetPack(board="NVIDIA Jetson AGX Orin")


@pytest.mark.parametrize("script", ["#!/bin/sh\necho 'NVPM ERROR: not root' >&2; exit 1\n", "no program"])
def test_a_power_mode_that_is_not_told_is_none(script: str, tmp_path: Path) -> None:
    root = machine(tmp_path, {"etc/nv_tegra_release": RELEASE, "usr/sbin/nvpmodel": script})
    found = read_jetpack(root)
    assert found is not None
    assert found.power_mode is None


@pytest.mark.parametrize(
    ("text", "l4t"),
    [
        (RELEASE, "36.4.3"),
        ("# R32 (release), REVISION: 7.1, GCID: 29689809, BOARD: t186ref, EABI: aarch64", "32.7.1"),
        ("# R34 (release), REVISION: 1.1, GCID: 30414990", "34.1.1"),
        ("", None),
        ("R36", None),
    ],
)
def test_l4t_is_in_the_release_files_first_line(text: str, l4t: str | None) -> None:
    assert l4t_of_release(text) == l4t


def test_l4t_is_in_dpkgs_list_under_its_own_package_only() -> None:
    assert l4t_of_packages(PACKAGES) == "35.3.1"
    assert l4t_of_packages(PACKAGES.replace("nvidia-l4t-core", "other")) is None
    assert l4t_of_packages("Package: nvidia-l4t-core\n\nPackage: a\nVersion: 1.0\n") is None


def test_tensorrt_that_is_loaded_counts_more_than_what_lies_about(tmp_path: Path) -> None:
    header = "#define NV_TENSORRT_MAJOR 7\n#define NV_TENSORRT_MINOR 1\n#define NV_TENSORRT_PATCH 3\n"
    root = machine(tmp_path, {"usr/include/x86_64-linux-gnu/NvInferVersion.h": header})
    assert tensorrt_version(root) == "7.1.3"
    machine(root, {"usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.2": ""})
    assert tensorrt_version(root) == "8.6.2"
    mapped = (
        "7f00-7f01 r-xp 0 08:01 42  /opt/libnvinfer.so.10.3.0\n7f02 r 0 /opt/libnvinfer_plugin.so.11.0.0\n"
    )
    machine(root, {"proc/self/maps": mapped})
    assert tensorrt_version(root) == "10.3.0"


def test_the_longest_name_of_a_library_tells_most() -> None:
    assert tensorrt_of_names("libnvinfer.so.8\nlibnvinfer.so.8.6.2\nlibnvinfer.so") == "8.6.2"
    assert tensorrt_of_names("libnvinfer.so.9\nlibnvinfer.so.10.3.0") == "10.3.0"
    assert tensorrt_of_names("libnvinfer_plugin.so.8") is None


def test_newer_headers_have_their_numbers_under_names() -> None:
    header = (
        "#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 13\n#define TRT_PATCH_ENTERPRISE 3\n"
        "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE //!< major\n"
        "#define NV_TENSORRT_MINOR TRT_MINOR_ENTERPRISE\n#define NV_TENSORRT_PATCH TRT_PATCH_ENTERPRISE\n"
    )
    assert tensorrt_of_header(header) == "10.13.3"
    assert tensorrt_of_header("#define NV_TENSORRT_MAJOR 8") is None


@pytest.mark.parametrize(
    ("jetpack", "yes"),
    [
        (JetPack(l4t="36.3.0"), False),
        (JetPack(l4t="36.4.0"), True),
        (JetPack(l4t="38.2.0"), True),
        (JetPack(l4t="36.4.3", tensorrt="8.6.2"), False),  # in a container
        (JetPack(l4t="36.3.0", tensorrt="10.3.0"), True),
        (JetPack(tensorrt="9.3.0"), False),
        (JetPack(), False),
    ],
)
def test_tensorrt_10_is_known_by_its_version_or_else_by_l4t(jetpack: JetPack, yes: bool) -> None:
    assert jetpack.has_tensorrt_10 is yes


@pytest.mark.parametrize(
    ("l4t", "release", "python", "words"),
    [
        ("32.7.1", "4.6.1", (3, 10), ["JetPack 4.6.1", "Python 3.6", "flash JetPack 6.0"]),
        ("35.4.1", "5.1.2", (3, 11), ["JetPack 5.1.2", "Python 3.8", "for 3.11, named in PYTHON_BINDING"]),
        ("36.3.0", "6.0", (3, 10), ["git clone --recursive", "dusty-nv/jetson-inference", "ldconfig"]),
        ("36.3.0", "6.0", (3, 12), ["with the system's python3.10, not 3.12", "git clone"]),
        ("36.4.3", "6.2", (3, 10), ["sudo apt-get install python3-libnvinfer", "FILE.onnx", "JetPack 6.0"]),
        ("38.2.0", "7.0", (3, 12), ["sudo apt-get install python3-libnvinfer", "FILE.onnx"]),
        ("40.1.0", None, (3, 13), ["L4T 40.1.0", "python3-libnvinfer"]),
    ],
)
def test_each_jetpack_has_a_route_of_one_line(
    l4t: str, release: str | None, python: tuple[int, int], words: list[str]
) -> None:
    route = install_route(JetPack(l4t=l4t, release=release), python)
    assert [word for word in words if word not in route] == []
    assert "\n" not in route


def test_a_pc_is_sent_to_tensorrt_itself() -> None:
    route = install_route(None)
    assert "pip install tensorrt" in route
    assert "container 22.06" in route


def test_a_jetson_that_tells_nothing_gets_a_route() -> None:
    assert "git clone" in install_route(JetPack(board="NVIDIA Jetson Nano"))
