"""What a service manager sees: datagrams on its socket, our answers on a socket of its own, its journal."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.cli import parse
from stream.listening import ListenError, inherited
from stream.service import JournalLines, Service, Supervisor, take_service
from tests.viewer import PATIENCE_S, ROOT, ask, labelcam, wait_for


class Manager:
    """The end of systemd: where it listens, and what it was told."""

    def __init__(self, address: str) -> None:
        self.address = address.replace("\0", "@", 1)
        self.told: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def hears(self, word: str, timeout_s: float = PATIENCE_S) -> bool:
        """Whether it comes within that time, from now on."""
        self.socket.settimeout(timeout_s)
        until_s = time.monotonic() + timeout_s
        try:
            while time.monotonic() < until_s:
                self.told += self.socket.recv(4096).decode().splitlines()
                if word in self.told[-2:]:
                    return True
        except TimeoutError:
            pass
        return False

    def drain(self) -> list[str]:
        """All that has come by now."""
        self.socket.setblocking(False)
        while True:
            try:
                self.told += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"\0labelcam-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    manager = Manager(name)
    yield manager
    manager.socket.close()


DEMO = ("--source", "demo:", "--port", "0")


# The datagrams.


def test_without_a_service_manager_nothing_is_said_and_nothing_fails() -> None:
    supervisor = Supervisor(Service())
    supervisor.ready("here")
    supervisor.beat(1, None)
    supervisor.stopping()


@pytest.mark.parametrize("notify", ["/nowhere/notify", "@nobody-listens", "x" * 200])
def test_a_service_manager_that_does_not_listen_ends_nothing(notify: str) -> None:
    Supervisor(Service(notify, watchdog_s=1.0)).beat(1, None)
    Supervisor(Service(notify)).ready("here")


def test_a_service_manager_that_does_not_read_holds_up_nothing(manager: Manager) -> None:
    supervisor = Supervisor(Service(manager.address))
    for _ in range(10_000):
        supervisor.ready("here")  # returns, which is the test
    assert 0 < manager.drain().count("READY=1") < 10_000


def test_a_beat_without_new_frames_and_without_a_reason_is_none(manager: Manager) -> None:
    supervisor = Supervisor(Service(manager.address, watchdog_s=1e-6))
    supervisor.beat(1, None)
    supervisor.beat(1, None)
    assert manager.drain().count("WATCHDOG=1") == 1
    supervisor.beat(2, None)
    supervisor.beat(2, "unplugged")
    supervisor.beat(2, None, resting=True)
    assert manager.drain().count("WATCHDOG=1") == 4


def test_beats_are_told_no_more_often_than_needed(manager: Manager) -> None:
    supervisor = Supervisor(Service(manager.address, watchdog_s=1000.0))
    for frames in range(1, 100):
        supervisor.beat(frames, None)
    assert manager.drain().count("WATCHDOG=1") == 1


def test_how_all_are_is_looked_at_now_and_then_and_only_if_somebody_is_to_be_told(manager: Manager) -> None:
    assert not Supervisor(Service(watchdog_s=1.0)).due()
    supervisor = Supervisor(Service(manager.address))
    assert supervisor.due()
    assert not supervisor.due()
    wait_for(supervisor.due)


def test_without_a_watchdog_nobody_is_fed(manager: Manager) -> None:
    Supervisor(Service(manager.address)).beat(1, None)
    assert manager.drain() == []


def test_the_status_is_the_fault_and_then_the_address_again(manager: Manager) -> None:
    supervisor = Supervisor(Service(manager.address, watchdog_s=1e-6))
    supervisor.ready("http://127.0.0.1:8000/")
    supervisor.beat(1, "unplugged")
    supervisor.beat(2, None)
    statuses = [line for line in manager.drain() if line.startswith("STATUS=")]
    assert statuses == ["STATUS=http://127.0.0.1:8000/", "STATUS=unplugged", "STATUS=http://127.0.0.1:8000/"]


# What is in the environment.


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    service = take_service(
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1", "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    )
    assert service == Service()
    assert take_service({"LISTEN_FDS": "1"}) == Service()  # whose?


@pytest.mark.parametrize("nonsense", ["", "x", "-1", "1.5"])
def test_nonsense_in_the_environment_is_as_good_as_nothing(nonsense: str) -> None:
    environment = {"WATCHDOG_USEC": nonsense, "LISTEN_FDS": nonsense, "LISTEN_PID": str(os.getpid())}
    assert take_service(environment) == Service()


def test_the_environment_is_read_once_and_left_to_no_child() -> None:
    own = str(os.getpid())
    environment = {
        **{"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": own},
        **{"LISTEN_FDS": "1", "LISTEN_PID": own, "LISTEN_FDNAMES": "http", "JOURNAL_STREAM": "1:2", "A": "b"},
    }
    assert take_service(environment) == Service("/run/notify", 30.0, 1)
    assert environment == {"A": "b"}


# The whole program.


@pytest.mark.parametrize("manager", ["file"], indirect=True)
def test_it_is_ready_when_it_answers_fed_while_it_runs_and_says_when_it_stops(manager: Manager) -> None:
    with labelcam(*DEMO, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000") as running:
        assert manager.hears("READY=1")
        assert ask(running.address, "/healthz").status == 200
        assert f"STATUS={running.url}" in manager.told
        assert manager.hears("WATCHDOG=1")
        assert manager.hears("WATCHDOG=1")

        running.process.send_signal(signal.SIGSTOP)  # hangs
        time.sleep(0.2)
        manager.drain()
        assert not manager.hears("WATCHDOG=1", 1.0)
        running.process.send_signal(signal.SIGCONT)
        assert manager.hears("WATCHDOG=1")

        assert running.stop() < 2.0
        assert running.ends() == 0, running.errors
        assert "STOPPING=1" in manager.drain()


@pytest.mark.parametrize("manager", ["file"], indirect=True)
@pytest.mark.parametrize("source", ["auto", "/dev/video-none"])
def test_it_is_ready_and_fed_without_a_camera(manager: Manager, source: str) -> None:
    if source == "auto" and list(Path("/dev").glob("video*")):
        pytest.skip("this machine has a camera")
    arguments = ("--wait-for-camera", "--source", source, "--port", "0")
    with labelcam(*arguments, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000") as running:
        assert manager.hears("READY=1")
        assert manager.hears("WATCHDOG=1")
        assert manager.hears("WATCHDOG=1")
        state = ask(running.address, "/api/state").json
        assert not state["online"]
        assert state["source"] is None  # and not the demo
        assert any("camera" in line for line in manager.told if line.startswith("STATUS="))


def test_wrong_options_in_a_file_name_the_file(tmp_path: Path) -> None:
    options = tmp_path / "front.args"
    options.write_text("--port x\n")
    with labelcam(f"@{options}") as running:
        assert running.ends() == 2
        assert "argument --port" in running.errors
        assert running.errors.splitlines()[-1] == f"labelcam: see the line above, and {options}"


@pytest.mark.parametrize("content", [None, "--labels 'no end\n", b"\xff\xfe"])
def test_a_file_of_options_that_cannot_be_read_is_a_mistake_of_usage(
    tmp_path: Path, content: str | bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tmp_path / "front.args"
    if content is not None:
        options.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SystemExit) as end:
        parse([f"@{options}"])
    assert end.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("run.py: ")
    assert str(options) in line


def test_options_come_from_a_file_as_from_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "front.args"
    file.write_text("# the street\n--source 'a b.mp4'  # quoted\n--mean -1\n\n--port\n8001\n")
    options = parse(["--port", "8000", f"@{file}", "--quality", "50"])
    assert (options.sources, options.mean, options.port, options.quality) == (
        {"1": "a b.mp4"},
        -1.0,
        8001,
        50,
    )


# As systemd starts it: with a socket that is open already, and the journal behind stderr.

AS_SYSTEMD = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())  # known only now
if "GIVEN" in os.environ:
    os.dup2(int(os.environ.pop("GIVEN")), 3)
errors = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{errors.st_dev}:{errors.st_ino}"
os.execv(sys.executable, [sys.executable, "run.py", *sys.argv[1:]])
"""


class Activated:
    """`python run.py ...` as systemd starts it."""

    def __init__(self, folder: Path, *arguments: str, given: socket.socket | None = None) -> None:
        self.out, self.journal = folder / "out", folder / "journal"
        environment = {**os.environ, "LISTEN_FDS": "0"}
        if given:
            environment |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "GIVEN": str(given.fileno())}
        with self.out.open("wb") as out, self.journal.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AS_SYSTEMD, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                pass_fds=[given.fileno()] if given else [],
            )

    def __enter__(self) -> Activated:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def opened() -> Iterator[socket.socket]:
    """What a socket unit opens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_socket_that_is_open_already_is_served_and_stays_open(
    opened: socket.socket, tmp_path: Path
) -> None:
    address = opened.getsockname()
    with Activated(tmp_path, "--source", "demo:", "--port", "1", given=opened) as running:
        assert ask(address, "/healthz").status == 200  # was waiting for its answer since before the start
        greeting = running.out.read_text()
        assert greeting.startswith(f"Labelcam: http://127.0.0.1:{address[1]}/")  # not --port
        running.process.terminate()
        assert running.process.wait(2.0) == 0
    socket.create_connection(address, 1.0).close()  # still systemd's: this one would start it again


def test_connections_of_a_given_socket_hold_as_little_as_those_of_our_own(
    opened: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.listening.FIRST_DESCRIPTOR", os.dup(opened.fileno()))  # pytest has its own 3
    with inherited(Service(sockets=1)) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16 * 1024
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


def test_two_sockets_are_one_too_many() -> None:
    with pytest.raises(ListenError, match="one ListenStream="):
        inherited(Service(sockets=2))


@pytest.mark.parametrize("kind", ["datagrams", "a file's name", "not listening"])
def test_a_socket_that_is_no_port_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    family = socket.AF_UNIX if kind == "a file's name" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM) as given:
        if family == socket.AF_UNIX:
            given.bind(str(tmp_path / "socket"))
            given.listen()
        with Activated(tmp_path, "--source", "demo:", given=given) as running:
            assert running.process.wait(PATIENCE_S) == 1
        assert "ListenStream=127.0.0.1:8000" in running.journal.read_text()


def test_every_line_for_the_journal_has_its_level(tmp_path: Path) -> None:
    with Activated(tmp_path, "--source", "/dev/video-none", "--port", "0") as running:
        assert running.process.wait(PATIENCE_S) == 1
    assert running.journal.read_text().startswith("<3>labelcam: there is no camera /dev/video-none")


def test_where_it_hangs_is_in_the_journal(tmp_path: Path) -> None:
    """systemd ends what its watchdog has given up with SIGABRT."""
    with Activated(tmp_path, "--source", "demo:", "--port", "0") as running:
        wait_for(lambda: "Labelcam" in running.out.read_text())
        running.process.send_signal(signal.SIGABRT)
        assert running.process.wait(PATIENCE_S) == -signal.SIGABRT
    assert "stream/render.py" in running.journal.read_text()


def test_a_traceback_has_a_level_on_each_line() -> None:
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError as error:
        failure = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.CRITICAL, "x.py", 1, "a bug", (), failure)
    lines = JournalLines().format(record).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<2>") for line in lines)


@pytest.mark.parametrize(
    ("level", "number"), [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)]
)
def test_a_level_has_the_journals_number(level: str, number: int) -> None:
    record = logging.LogRecord("x", getattr(logging, level), "x.py", 1, "lost %s", ("it",), None)
    assert JournalLines("%(message)s").format(record) == f"<{number}>lost it"


def test_a_terminal_gets_no_levels() -> None:
    with labelcam("--source", "/dev/video-none", JOURNAL_STREAM="1:2") as running:
        assert running.ends() == 1
        assert running.errors.startswith("labelcam: ")
