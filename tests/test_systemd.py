"""The units, by systemd's own judgement, and the installer, run for real below a folder of its own."""

from __future__ import annotations

import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.cli import parse
from tests.viewer import ROOT

UNITS = ROOT / "systemd"
VENV = Path(sys.prefix)
MOST_EXPOSURE = 30  # tenths

Tree = dict[str, bytes | str | None]


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} - type: apt install systemd")
    return path


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool("systemctl")
    command = ["sh", str(UNITS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def install(root: Path, *arguments: str) -> None:
    done = script("install.sh", "--root", root, "--venv", VENV, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def uninstall(root: Path, *arguments: str) -> None:
    done = script("uninstall.sh", "--root", root, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def tree(root: Path) -> Tree:
    """What is there: folders, links, and files with their content."""
    found: Tree = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        found[name] = (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
    return found


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A machine's disk with things of others on it."""
    for folder in ("etc/systemd/system", "etc/labelcam", "opt/other", "var/lib"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("etc/systemd/system/other@.service", "etc/labelcam/notes.txt", "opt/other/run.py"):
        (tmp_path / name).write_text("not ours\n")
    yield tmp_path
    shutil.rmtree(tmp_path / "opt")  # the weights of the models, each time


# The units.


@pytest.fixture
def as_installed(tmp_path: Path) -> Path:
    """The units in a folder where what they start exists."""
    for unit in UNITS.glob("labelcam@.*"):
        text = unit.read_text().replace("/opt/labelcam/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_systemd_has_nothing_to_say_against_a_unit(kind: str, as_installed: Path) -> None:
    verify = [tool("systemd-analyze"), "verify", "--man=no", str(as_installed / f"labelcam@.{kind}")]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_nor_against_the_unit_of_a_jetson(as_installed: Path) -> None:
    (as_installed / "labelcam@.service.d").mkdir()
    shutil.copy(UNITS / "nvidia.conf", as_installed / "labelcam@.service.d")
    test_systemd_has_nothing_to_say_against_a_unit("service", as_installed)


def test_a_unit_with_a_mistake_would_be_told(as_installed: Path) -> None:
    with (as_installed / "labelcam@.service").open("a") as unit:
        unit.write("[Service]\nWatchdog=30\n")
    with pytest.raises(AssertionError):
        test_systemd_has_nothing_to_say_against_a_unit("service", as_installed)


def test_the_service_is_exposed_to_little() -> None:
    command = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSURE}"]
    done = subprocess.run(
        [*command, str(UNITS / "labelcam@.service")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_the_service_starts_with_options_that_exist() -> None:
    (line,) = (
        line
        for line in (UNITS / "labelcam@.service").read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    _, _, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert arguments[-1] == "@${CREDENTIALS_DIRECTORY}/%i.args"
    options = parse([*arguments[:-1], "--port", "8001"])
    assert options.wait_for_camera
    assert options.models_dir == Path("models")


# The installer.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "a name"),
        (("a b",), "a name"),
        (("../front",), "a name"),
        (("--purge", "front"), "--purge"),
        (("--venv", "/nowhere", "front"), "/nowhere/bin/python"),
    ],
)
def test_an_installer_that_cannot_says_so_in_one_line(
    root: Path, arguments: tuple[str, ...], told: str
) -> None:
    before = tree(root)
    done = script("install.sh", "--root", root, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("install.sh: ")
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr
    assert tree(root) == before


def test_wrong_options_are_told_before_anything_starts_and_can_be_mended(root: Path) -> None:
    done = script("install.sh", "--root", root, "--venv", VENV, "front", "--port", "x")
    assert done.returncode == 1
    assert "argument --port" in done.stderr
    assert not (root / "etc/systemd/system/labelcam@.service").exists()
    install(root, "front", "--port", "8001")
    assert "--port 8001" in (root / "etc/labelcam/front.args").read_text()


def test_without_packages_it_says_where_to_get_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", "false")
    done = script("install.sh", "--root", root, "front")
    assert done.returncode == 1
    assert done.stderr == "install.sh: cannot make an environment - type: apt install python3-venv\n"


def test_what_is_installed_runs(root: Path) -> None:
    install(root, "front")
    app = root / "opt/labelcam"
    listing = subprocess.run(
        [app / ".venv/bin/python", app / "run.py", "models"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "efficientnet_lite0" in listing.stdout


def test_installing_twice_is_installing_once(root: Path) -> None:
    install(root, "front", "--port", "8001")
    once = tree(root)
    install(root, "front", "--port", "8001")
    assert tree(root) == once


def test_other_options_the_second_time_are_not_taken_and_that_is_said(root: Path) -> None:
    install(root, "front", "--port", "8001", "--source", "demo:")
    once = tree(root)
    done = script("install.sh", "--root", root, "--venv", VENV, "front", "--port", "8002")
    assert done.returncode == 0
    assert "front.args is there and stays as it is - edit it" in done.stderr
    assert tree(root) == once


@pytest.mark.parametrize("options", [["/dev/video0"], ["doctor"], ["--version"], ["--source", "csi:x"]])
def test_options_that_start_no_camera_install_nothing(root: Path, options: list[str]) -> None:
    done = script("install.sh", "--root", root, "--venv", VENV, "front", *options)
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1] == "install.sh: these options of front do not work - see the line above"
    )
    assert not (root / "etc/systemd/system/labelcam@.service").exists()
    assert not (root / "etc/labelcam/front.args").exists()


def test_an_option_and_its_value_in_one_word_stay_together(root: Path) -> None:
    given = ["--source=gst:videotestsrc is-live=true ! identity", "--token=a#b"]
    install(root, "front", *given)
    assert shlex.split((root / "etc/labelcam/front.args").read_text(), comments=True) == given


def test_the_options_are_kept_word_for_word_and_from_others(root: Path) -> None:
    given = [
        "--source",
        'rtsp://me:it\'s "$HOME" #1@host/a?b&c',
        "--mean",
        "-1.5",
        "--labels",
        "",
        "--top-k",
        "2",
    ]
    install(root, "front", *given)
    args = root / "etc/labelcam/front.args"
    assert shlex.split(args.read_text(), comments=True) == given
    assert stat.S_IMODE(args.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ((), "127.0.0.1:8000"),
        (("--port=8001",), "127.0.0.1:8001"),
        (("--host", "localhost"), "127.0.0.1:8000"),
        (("--host", "::1"), "[::1]:8000"),
        (("--host", "0.0.0.0", "--token", "secret"), "0.0.0.0:8000"),
    ],
)
def test_the_socket_unit_listens_where_the_options_say(
    root: Path, options: tuple[str, ...], address: str
) -> None:
    install(root, "--on-demand", "front", *options)
    unit = root / "etc/systemd/system/labelcam@front.socket.d/address.conf"
    assert unit.read_text().splitlines()[-1] == f"ListenStream={address}"


def test_a_camera_for_others_gets_a_token_that_stays(root: Path) -> None:
    install(root, "front", "--host", "0.0.0.0")
    token = parse([f"@{root / 'etc/labelcam/front.args'}"]).token
    assert len(token) == 24
    install(root, "front")
    assert parse([f"@{root / 'etc/labelcam/front.args'}"]).token == token


def test_one_for_this_machine_alone_gets_none(root: Path) -> None:
    install(root, "front")
    assert parse([f"@{root / 'etc/labelcam/front.args'}"]).token is None


def test_on_demand_and_always_replace_each_other(root: Path) -> None:
    always = root / "etc/systemd/system/multi-user.target.wants/labelcam@front.service"
    demand = root / "etc/systemd/system/sockets.target.wants/labelcam@front.socket"
    install(root, "front")
    assert (always.is_symlink(), demand.is_symlink()) == (True, False)
    install(root, "--on-demand", "front")
    assert (always.is_symlink(), demand.is_symlink()) == (False, True)
    install(root, "front")
    assert (always.is_symlink(), demand.is_symlink()) == (True, False)


def test_a_jetson_gets_its_own_settings_and_others_do_not(root: Path) -> None:
    settings = root / "etc/systemd/system/labelcam@.service.d/nvidia.conf"
    install(root, "front")
    assert not settings.exists()
    (root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")
    install(root, "front")
    assert settings.exists()


def test_uninstalling_twice_leaves_nothing_but_what_is_others(root: Path) -> None:
    before = tree(root)
    install(root, "front")
    (root / "var/lib/labelcam/front").mkdir(parents=True)
    uninstall(root, "--purge", "front")
    assert tree(root) == before
    uninstall(root, "--purge", "front")
    assert tree(root) == before


def test_uninstalling_keeps_options_and_logs_unless_told(root: Path) -> None:
    before = tree(root)
    log = root / "var/lib/labelcam/front/frames.jsonl"
    install(root, "front")
    log.parent.mkdir(parents=True)
    log.write_text("{}\n")
    uninstall(root, "front")
    left = {
        "etc/labelcam/front.args",
        *(f"var/lib/labelcam{rest}" for rest in ("", "/front", "/front/frames.jsonl")),
    }
    assert tree(root).keys() - before.keys() == left


def test_one_camera_goes_and_the_other_stays(root: Path) -> None:
    install(root, "back")
    other = tree(root)
    install(root, "--on-demand", "front")
    uninstall(root, "--purge", "front")
    assert tree(root) == other


def test_settings_that_somebody_has_made_are_not_taken_away(root: Path) -> None:
    install(root, "front")
    override = root / "etc/systemd/system/labelcam@.service.d/mine.conf"
    override.parent.mkdir()
    override.write_text("[Service]\nNice=5\n")
    (root / "opt/labelcam/notes.txt").write_text("mine\n")
    uninstall(root, "--purge", "front")
    assert override.exists()
    assert (root / "opt/labelcam/notes.txt").exists()
