"""Pulling a model: from a real server that lies, breaks off and goes away, into directories that refuse."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from models.catalogue import BUILT_IN, CATALOGUE, ModelFile
from models.errors import ModelError
from models.files import find, place, pull, sha256_of, verify
from models.report import list_rows, list_table, pull_models, verify_rows, verify_table

ROOT = Path(__file__).parent.parent
NOBODY = 65534
BODY = bytes(range(256)) * 1024
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each request with the next of `answers`; the last one stays."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests = 0
        self.release = threading.Event()  # ends the answers that stall
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: stderr is what the tests look at."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/tiny.tflite"

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def stall(self, request: BaseHTTPRequestHandler) -> None:
        """Half the body, then silence."""
        send(request, BODY[: len(BODY) // 2], len(BODY))
        self.wait()

    def wait(self) -> None:
        self.release.wait(30)


def send(request: BaseHTTPRequestHandler, body: bytes, length: int) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(length))
    request.end_headers()
    request.wfile.write(body)
    request.wfile.flush()


def whole(request: BaseHTTPRequestHandler) -> None:
    send(request, BODY, len(BODY))


def cut_off(request: BaseHTTPRequestHandler) -> None:
    send(request, BODY[:1000], len(BODY))


def page(request: BaseHTTPRequestHandler) -> None:
    send(request, b"<html>Please log in</html>", 26)


def damaged(request: BaseHTTPRequestHandler) -> None:
    send(request, b"x" + BODY[1:], len(BODY))


def slow(request: BaseHTTPRequestHandler) -> None:
    time.sleep(0.3)
    whole(request)


def status(code: int) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_error(code)

    return answer


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """Reset the connection in the middle of the body."""
    send(request, BODY[:1000], len(BODY))
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    request.connection.close()
    request.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    try:
        yield server
    finally:
        server.close()


def tiny(url: str) -> ModelFile:
    return ModelFile("tiny.tflite", len(BODY), hashlib.sha256(BODY).hexdigest(), url)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def refusal(file: ModelFile, models_dir: Path, timeout_s: float = 5.0) -> str:
    """The message of the pull that must fail: one line, and it says what to type."""
    with pytest.raises(ModelError) as caught:
        pull("tiny", file, models_dir, timeout_s)
    message = str(caught.value)
    assert "\n" not in message
    assert "python run.py models " in message
    return message


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (cut_off, "broke off"),
        (hang_up, "broke off"),
        (page, "26 bytes instead of 262,144"),
        (damaged, "SHA-256"),
        (status(404), "404"),
        (status(503), "503"),
    ],
)
def test_a_failed_pull_says_so_in_one_line_and_leaves_nothing_behind(
    server: Server, tmp_path: Path, answer: Answer, expected: str
) -> None:
    server.answers = [answer]
    assert expected in refusal(tiny(server.url), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("answer", [cut_off, hang_up, page, damaged, status(404)])
def test_a_failed_pull_replaces_nothing(server: Server, tmp_path: Path, answer: Answer) -> None:
    server.answers = [answer]
    (tmp_path / "tiny.tflite").write_bytes(b"an older file")
    refusal(tiny(server.url), tmp_path)
    assert names(tmp_path) == ["tiny.tflite"]
    assert (tmp_path / "tiny.tflite").read_bytes() == b"an older file"


def test_a_server_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert f"no connection to 127.0.0.1:{port}" in refusal(tiny(f"http://127.0.0.1:{port}/tiny"), tmp_path)
    assert names(tmp_path) == []


def test_a_host_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    assert "no connection to nowhere.invalid" in refusal(tiny("http://nowhere.invalid/tiny"), tmp_path)


def test_a_server_that_falls_silent_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answers = [server.stall]
    begun = time.monotonic()
    assert "no connection" in refusal(tiny(server.url), tmp_path, timeout_s=0.3)
    assert time.monotonic() - begun < 5
    assert names(tmp_path) == []


def test_a_server_that_never_answers_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda request: server.wait()]
    assert "did not answer for 0.3 s" in refusal(tiny(server.url), tmp_path, timeout_s=0.3)


def test_a_directory_that_cannot_be_made_is_one_line(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    (tmp_path / "occupied").write_text("a file, not a directory")
    message = refusal(tiny(server.url), tmp_path / "occupied")
    assert "cannot write" in message
    assert server.requests == 0


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: while inside, root is somebody else."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_directory_that_cannot_be_written_is_one_line(server: Server) -> None:
    server.answers = [whole]
    import_module("requests")  # the message needs it, and nobody may be unable to read it
    with TemporaryDirectory() as folder:  # not tmp_path: that lies where only its owner may look
        sealed = Path(folder) / "sealed"
        sealed.mkdir()
        Path(folder).chmod(0o755)
        sealed.chmod(0o555)
        with as_nobody():
            message = refusal(tiny(server.url), sealed)
        sealed.chmod(0o755)
    assert "Permission denied" in message
    assert server.requests == 0


PULL = """
import resource, signal, sys
from pathlib import Path
from models.catalogue import ModelFile
from models.errors import ModelError
from models.files import pull
limit, url, size, sha256, directory = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    pull("tiny", ModelFile("tiny.tflite", int(size), sha256, url), Path(directory))
except ModelError as error:
    sys.exit(str(error))
"""


def pull_elsewhere(file: ModelFile, models_dir: Path, limit_bytes: int = 0) -> subprocess.Popen[str]:
    """The same pull in a process of its own, which may be killed, or given a small disk."""
    assert file.url is not None
    options = [str(limit_bytes), file.url, str(file.size), file.sha256, str(models_dir)]
    command = [sys.executable, "-c", PULL, *options]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    with pull_elsewhere(tiny(server.url), tmp_path, limit_bytes=100_000) as process:
        _, stderr = process.communicate(timeout=60)
    last = stderr.splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith("tiny: cannot write")
    assert "python run.py models pull tiny" in last
    assert names(tmp_path) == []


def test_a_killed_pull_leaves_no_file_of_that_name_and_the_next_one_cleans_up(
    server: Server, tmp_path: Path
) -> None:
    server.answers = [server.stall, whole]
    with pull_elsewhere(tiny(server.url), tmp_path) as process:
        while process.poll() is None and not any(path.stat().st_size for path in tmp_path.glob(".pull/*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "tiny.tflite").exists()
    assert pull("tiny", tiny(server.url), tmp_path)
    assert names(tmp_path) == ["tiny.tflite"]


@pytest.mark.parametrize("answer", [cut_off, hang_up])
def test_a_pull_that_broke_off_succeeds_the_second_time(
    server: Server, tmp_path: Path, answer: Answer
) -> None:
    server.answers = [answer, whole]
    refusal(tiny(server.url), tmp_path)
    assert pull("tiny", tiny(server.url), tmp_path)
    assert find("tiny", tiny(server.url), tmp_path).read_bytes() == BODY


def test_a_good_pull_leaves_one_file_all_may_read_and_no_bar_where_nobody_looks(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answers = [whole]
    assert pull("tiny", tiny(server.url), tmp_path / "made" / "on the way")
    path = tmp_path / "made" / "on the way" / "tiny.tflite"
    assert names(path.parent) == ["tiny.tflite"]
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()  # 0600 would shut out the service's user
    assert capfd.readouterr() == ("", "")


def test_a_pull_at_a_terminal_shows_a_bar_on_stderr(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [whole]
    terminal, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # of no rows, tqdm uses none
    with open(program, "w") as stderr:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", stderr)
        pull("tiny", tiny(server.url), tmp_path)
        monkeypatch.undo()
    shown = ""
    with suppress(OSError):  # how Linux says that the other end of a terminal is closed
        while True:
            shown += os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "100%" in shown
    assert "tiny.tflite" in shown


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_there_and_right_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes(BODY)
    before = tmp_path.stat().st_mtime_ns
    assert not pull("tiny", tiny(server.url), tmp_path)
    assert server.requests == 0
    assert tmp_path.stat().st_mtime_ns == before  # so the directory may be read-only


def test_a_wrong_file_is_replaced_by_a_good_one(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    (tmp_path / "tiny.tflite").write_bytes(BODY[:-1])
    assert pull("tiny", tiny(server.url), tmp_path)
    assert (tmp_path / "tiny.tflite").read_bytes() == BODY


def test_two_pulls_at_once_download_once(server: Server, tmp_path: Path) -> None:
    server.answers = [slow]
    results: list[bool] = []
    pulls = [
        threading.Thread(target=lambda: results.append(pull("tiny", tiny(server.url), tmp_path)))
        for _ in range(2)
    ]
    for thread in pulls:
        thread.start()
    for thread in pulls:
        thread.join()
    assert sorted(results) == [False, True]
    assert server.requests == 1
    assert names(tmp_path) == ["tiny.tflite"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "is missing"), (BODY[:100], "100 bytes instead of 262,144"), (b"x" + BODY[1:], "SHA-256")],
)
def test_a_missing_or_damaged_file_is_one_line_ending_in_what_to_type(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "tiny.tflite").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        find("tiny", tiny("http://nowhere.invalid/tiny"), tmp_path)
    assert expected in str(caught.value)
    assert str(caught.value).endswith("python run.py models pull tiny")
    assert "\n" not in str(caught.value)


def test_a_built_in_file_is_never_pulled_but_comes_with_the_checkout(tmp_path: Path) -> None:
    file = ModelFile("nowhere/tiny.tflite", len(BODY), hashlib.sha256(BODY).hexdigest())
    assert place(file, tmp_path) == ROOT / "models" / "nowhere" / "tiny.tflite"
    for act in (find, pull):
        with pytest.raises(ModelError, match=r"part of Labelcam, type: git checkout -- .*tiny\.tflite$"):
            act("tiny", file, tmp_path)


def test_a_file_found_is_the_file_described(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(BODY)
    assert find("tiny", tiny("http://nowhere.invalid/tiny"), tmp_path) == path
    assert sha256_of(path) == tiny("").sha256
    assert verify(tiny(""), path).state == "ok"


def test_every_file_in_the_catalogue_has_its_size_and_digest() -> None:
    for spec in CATALOGUE.values():
        for file in (*spec.files.values(), spec.labels):
            assert file.size > 0, file.name
            assert len(bytes.fromhex(file.sha256)) == 32, file.name
            assert file.url is None or file.url.startswith("https://")


def test_every_built_in_file_lies_in_the_checkout() -> None:
    for spec in CATALOGUE.values():
        for file in (*spec.files.values(), spec.labels):
            if file.url is None:
                find(spec.name, file)


def test_the_list_tells_what_is_there_damaged_and_still_to_pull(tmp_path: Path) -> None:
    downloads = [row for row in list_rows(tmp_path) if CATALOGUE[row.name].files[row.backend].url]
    assert downloads
    assert all(row.size_bytes is None and row.to_pull_bytes > 0 for row in downloads)
    assert "to pull" in list_table(downloads)
    row = downloads[0]
    place(CATALOGUE[row.name].files[row.backend], tmp_path).write_bytes(b"half")
    assert "damaged" in list_table(list_rows(tmp_path))
    table = list_table(list_rows(tmp_path)).splitlines()
    assert len(table) == 1 + sum(len(spec.files) for spec in CATALOGUE.values())
    assert all(spec.name in "\n".join(table) for spec in CATALOGUE.values())


def test_verify_tells_wrong_from_missing(tmp_path: Path) -> None:
    downloads = [file for spec in CATALOGUE.values() for file in spec.files.values() if file.url]
    states = {row.path: row.state for row in verify_rows(tmp_path)}
    assert {states[place(file, tmp_path)] for file in downloads} == {"missing"}
    place(downloads[0], tmp_path).write_bytes(b"half")
    rows = verify_rows(tmp_path)
    assert {row.path: row.state for row in rows}[place(downloads[0], tmp_path)] == "wrong"
    assert len({row.path for row in rows}) == len(rows)
    assert "4 bytes instead of" in verify_table(rows)


def test_one_wrong_name_pulls_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="known: "):
        list(pull_models([BUILT_IN, "nonesuch"], tmp_path))
    assert names(tmp_path) == []
