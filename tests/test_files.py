"""Pulling a model: from a real server that lies, breaks off and goes away, into directories that refuse."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
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
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from models.catalogue import BUILT_IN, CATALOGUE, IMAGENET_LABELS, ModelFile, ModelSpec
from models.errors import ModelError
from models.files import find, find_hashed, place, pull, sha256_of, verify
from models.recipe import Recipe
from models.report import list_rows, list_table, pull_models, pullable, verify_rows, verify_table

ROOT = Path(__file__).parent.parent
NOBODY = 65534
BODY = bytes(range(256)) * 1024
WEIGHTS = b"\x89HDF\r\n\x1a\n" + BODY  # begins like HDF5
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


def weights(request: BaseHTTPRequestHandler) -> None:
    send(request, WEIGHTS, len(WEIGHTS))


def weights_cut_off(request: BaseHTTPRequestHandler) -> None:
    send(request, WEIGHTS[:-1], len(WEIGHTS))


def without_length(request: BaseHTTPRequestHandler) -> None:
    """The body ends where the connection does."""
    request.send_response(200)
    request.end_headers()
    request.wfile.write(BODY)


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
    return ModelFile("tiny.tflite", len(BODY), f"sha256:{hashlib.sha256(BODY).hexdigest()}", url)


def unstated(url: str) -> ModelFile:
    """A file of which its publisher says nothing but where it is."""
    return ModelFile("tiny.h5", url=url)


TINY_RECIPE = Recipe((4, 4))


def model(name: str, file: ModelFile, recipe: Recipe = TINY_RECIPE) -> ModelSpec:
    return ModelSpec(name, "of these tests", "none", {"tflite": file}, IMAGENET_LABELS, recipe, outputs=1000)


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
        (damaged, "its sha256 is"),
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
limit, url, size, digest, directory = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    pull("tiny", ModelFile("tiny.tflite", int(size), digest, url), Path(directory))
except ModelError as error:
    sys.exit(str(error))
"""


def pull_elsewhere(file: ModelFile, models_dir: Path, limit_bytes: int = 0) -> subprocess.Popen[str]:
    """The same pull in a process of its own, which may be killed, or given a small disk."""
    options = [str(limit_bytes), str(file.url), str(file.size), str(file.digest), str(models_dir)]
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


def at_a_terminal(file: ModelFile, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a pull shows on stderr."""
    terminal, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # of no rows, tqdm uses none
    with open(program, "w") as stderr:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", stderr)
        pull("tiny", file, models_dir)
        monkeypatch.undo()
    shown = ""
    with suppress(OSError):  # how Linux says that the other end of a terminal is closed
        while True:
            shown += os.read(terminal, 65536).decode()
    os.close(terminal)
    return shown


@pytest.mark.parametrize(("kind", "answer"), [(tiny, whole), (unstated, weights)])
def test_a_pull_at_a_terminal_shows_a_bar_on_stderr(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[str], ModelFile],
    answer: Answer,
) -> None:
    server.answers = [answer]
    shown = at_a_terminal(kind(server.url), tmp_path, monkeypatch)
    assert "100%" in shown
    assert kind("").name in shown


def test_where_nobody_knows_how_much_will_come_the_bar_counts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [without_length]
    file = ModelFile("tiny.tflite", None, tiny("").digest, server.url)
    last = at_a_terminal(file, tmp_path, monkeypatch).strip().split("\r")[-1]
    assert "262kB [" in last
    assert "%" not in last


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
    [(None, "is missing"), (BODY[:100], "100 bytes instead of 262,144"), (b"x" + BODY[1:], "its sha256 is")],
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
    file = ModelFile("nowhere/tiny.tflite", len(BODY), tiny("").digest)
    assert place(file, tmp_path) == ROOT / "models" / "nowhere" / "tiny.tflite"
    for act in (find, pull):
        with pytest.raises(ModelError, match=r"part of Labelcam, type: git checkout -- .*tiny\.tflite$"):
            act("tiny", file, tmp_path)


def test_a_file_found_is_the_file_described(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(BODY)
    assert find("tiny", tiny("http://nowhere.invalid/tiny"), tmp_path) == path
    assert verify(tiny(""), path).state == "ok"


DIGESTS = {  # what md5sum, sha256sum and git hash-object say
    "md5": hashlib.md5(BODY).hexdigest(),
    "sha256": hashlib.sha256(BODY).hexdigest(),
    "git": hashlib.sha1(b"blob 262144\0" + BODY).hexdigest(),
}


@pytest.mark.parametrize("kind", DIGESTS)
def test_any_digest_that_is_published_will_do(server: Server, tmp_path: Path, kind: str) -> None:
    server.answers = [damaged, page, cut_off, whole]
    file = ModelFile("tiny.tflite", None, f"{kind}:{DIGESTS[kind]}", server.url)
    assert f"its {kind} is" in refusal(file, tmp_path)
    assert f"its {kind} is" in refusal(file, tmp_path)
    assert "broke off" in refusal(file, tmp_path)
    assert pull("tiny", file, tmp_path)
    found = find_hashed("tiny", file, tmp_path)
    assert found == (tmp_path / "tiny.tflite", DIGESTS["sha256"])
    found.path.write_bytes(b"x" + BODY[1:])
    assert verify(file, found.path).state == "wrong"


@pytest.mark.parametrize("name", ["tiny.h5", "tiny.tflite"])
@pytest.mark.parametrize("answer", [page, weights_cut_off, hang_up, damaged])
def test_where_nobody_states_a_digest_pages_and_halves_are_still_refused(
    server: Server, tmp_path: Path, name: str, answer: Answer
) -> None:
    server.answers = [answer]
    message = refusal(ModelFile(name, url=server.url), tmp_path)
    assert f"not that of a {Path(name).suffix} file" in message or "broke off" in message
    assert names(tmp_path) == []


def test_a_file_nobody_states_a_digest_of_is_usable_and_called_unproven(
    server: Server, tmp_path: Path
) -> None:
    server.answers = [weights]
    file = unstated(server.url)
    assert pull("tiny", file, tmp_path)
    assert not pull("tiny", file, tmp_path)
    found = find_hashed("tiny", file, tmp_path)
    assert found.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert verify(file, found.path)[:2] == ("unproven", "its publisher states no digest")


def test_what_lies_there_as_a_page_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "tiny.h5").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(
        ModelError, match=r"wrong .*not that of a .h5 file.* - type: python run.py models pull"
    ):
        find("tiny", unstated("http://nowhere.invalid/tiny"), tmp_path)


def test_a_folder_under_a_files_name_is_wrong_not_a_crash(tmp_path: Path) -> None:
    for file in (unstated(""), ModelFile("tiny.h5", None, tiny("").digest, "")):
        place(file, tmp_path).mkdir(exist_ok=True)
        assert verify(file, place(file, tmp_path)).state == "wrong"


def saved_model(folder: Path) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(BODY[:1000])
    (folder / "variables" / "variables.index").write_bytes(BODY[:50])
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(BODY)
    (folder / "variables-first").write_bytes(b"")  # "-" comes before "/": paths are not sorted by their parts
    return folder


def test_the_digest_of_a_file_is_what_everybody_computes(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_bytes(BODY)
    assert sha256_of(tmp_path / "tiny") == hashlib.sha256(BODY).hexdigest()


def test_a_folders_digest_can_be_made_again_with_sha256sum(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "model")
    command = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert sha256_of(folder) == printed.stdout.split()[0]


def test_a_folders_digest_is_of_names_and_contents_but_not_of_its_place_or_dates(tmp_path: Path) -> None:
    folder, other = saved_model(tmp_path / "model"), saved_model(tmp_path / "elsewhere" / "other")
    os.utime(other / "saved_model.pb", (0, 0))
    assert sha256_of(folder) == sha256_of(other)
    (other / "saved_model.pb").rename(other / "saved_model.pbtxt")
    renamed = sha256_of(other)
    (other / "saved_model.pbtxt").rename(other / "saved_model.pb")
    (other / "variables" / "variables.index").write_bytes(BODY[1:51])
    assert len({sha256_of(folder), renamed, sha256_of(other)}) == 3


def test_every_built_in_file_lies_in_the_checkout() -> None:
    for spec in CATALOGUE.values():
        for file in (*spec.files.values(), spec.labels):
            if file.url is None and file.made_by is None:
                find(spec.name, file)


def test_the_list_tells_what_is_there_damaged_and_still_to_pull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "stated", model("stated", tiny("http://nowhere.invalid")))
    monkeypatch.setitem(CATALOGUE, "unstated", model("unstated", unstated("http://nowhere.invalid")))
    assert row("stated", tmp_path).startswith("stated  tflite  no, 0.3 MB to pull  4x4  1000  none")
    assert row("unstated", tmp_path).startswith("unstated  tflite  no, size not published  4x4")
    (tmp_path / "tiny.tflite").write_bytes(b"half")
    (tmp_path / "tiny.h5").write_bytes(WEIGHTS)
    assert row("stated", tmp_path).startswith("stated  tflite  damaged  4x4")
    assert row("unstated", tmp_path).startswith("unstated  tflite  0.3 MB  4x4")
    (tmp_path / "tiny.tflite").write_bytes(BODY)
    assert row("stated", tmp_path).startswith("stated  tflite  0.3 MB  4x4")


def test_the_list_tells_grey_pictures_the_background_and_whose_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = model("grey", tiny(""), Recipe((28, 28), order="gray"))
    monkeypatch.setitem(CATALOGUE, "grey", grey)
    assert "  28x28 grey  1000  " in row("grey", tmp_path)
    assert "  224x224  1001*  Apache-2.0" in row("mobilenet_v2_1.0_224_quant", tmp_path)
    assert (
        row("googlenet", tmp_path)
        == "googlenet  tensorrt  comes with jetson-inference  224x224  1000  unrestricted"
    )


def row(name: str, models_dir: Path) -> str:
    """The model's line of the list, two blanks between its columns."""
    (line,) = (line for line in list_table(list_rows(models_dir)).splitlines() if line.startswith(f"{name} "))
    return re.sub(r"  +", "  ", line)


def test_the_list_has_every_model_and_backend_once_and_fits_a_terminal(tmp_path: Path) -> None:
    rows = list_rows(tmp_path)
    assert [(row.spec.name, row.backend) for row in rows] == [
        (spec.name, backend) for spec in CATALOGUE.values() for backend in spec.backends
    ]
    lines = list_table(rows).splitlines()
    assert max(len(line) for line in lines) <= 110
    origins = [line for line in lines if line.endswith(":")]
    assert len(set(origins)) == len(origins), "models of one origin stand together"


def test_verify_tells_wrong_from_missing_from_unproven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = [file for spec in CATALOGUE.values() for file in spec.files.values() if file.url]
    states = {row.path: row.state for row in verify_rows(tmp_path)}
    assert {states[place(file, tmp_path)] for file in downloads} == {"missing"}
    monkeypatch.setitem(CATALOGUE, "unstated", model("unstated", unstated("http://nowhere.invalid")))
    (tmp_path / "tiny.h5").write_bytes(WEIGHTS)
    place(downloads[0], tmp_path).write_bytes(b"half")
    rows = verify_rows(tmp_path)
    states = {row.path: row.state for row in rows}
    assert states[place(downloads[0], tmp_path)] == "wrong"
    assert states[tmp_path / "tiny.h5"] == "unproven"
    assert len(states) == len(rows)
    table = verify_table(rows)
    assert "instead of" in table
    assert "its publisher states no digest" in table
    assert "no such file" not in table, "missing says it all"


def test_one_wrong_name_pulls_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="known: "):
        list(pull_models([BUILT_IN, "nonesuch"], tmp_path))
    assert names(tmp_path) == []


def test_where_there_is_nothing_to_pull_a_line_says_why(tmp_path: Path) -> None:
    assert list(pull_models(["googlenet", "digits"], tmp_path)) == [
        "googlenet: comes with jetson-inference, there is nothing to pull",
        "digits: is part of Labelcam, there is nothing to pull",
    ]
    assert names(tmp_path) == []


def test_what_is_made_here_is_told_with_the_command_and_where_it_goes(tmp_path: Path) -> None:
    file = CATALOGUE[BUILT_IN].files["tensorrt"]
    path = tmp_path / file.name
    command = f"/models/efficientnet_lite0_onnx/export.py {path}"
    assert place(file, tmp_path) == path
    with pytest.raises(ModelError) as caught:
        find(BUILT_IN, file, tmp_path)
    assert str(caught.value).endswith(command)
    told, *_ = pull_models([BUILT_IN], tmp_path)
    assert told.startswith(f"{BUILT_IN}: {file.name} is made here, type: ")
    assert told.endswith(command)
    listed = list_table([row for row in list_rows(tmp_path) if row.file == file])
    assert "  tensorrt  no, 18.5 MB to make  224x224" in listed


def test_all_that_can_be_pulled_is_what_lies_elsewhere() -> None:
    assert BUILT_IN not in pullable()
    assert "googlenet" not in pullable()
    assert {"efficientnet_b0", "mobilenet_v2_1.0_224_quant"} < set(pullable())


@pytest.fixture
def three(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three models at the server, of which it does not have the second."""
    server.answers = [whole, status(404), weights]
    files = [
        replace(tiny(server.url), name="one.tflite"),
        replace(tiny(server.url), name="two.tflite"),
        replace(unstated(server.url), name="three.h5"),
    ]
    for file in files:
        name = Path(file.name).stem
        monkeypatch.setitem(CATALOGUE, name, model(name, file))
    return ["one", "two", "three"]


def test_a_pull_of_many_goes_on_after_one_that_failed_and_fails_in_the_end(
    server: Server, three: list[str], tmp_path: Path
) -> None:
    lines: list[str] = []
    with pytest.raises(ModelError) as caught:
        lines.extend(pull_models(three, tmp_path))
    assert str(caught.value) == "not everything could be pulled - type again: python run.py models pull two"
    assert names(tmp_path) == ["one.tflite", "three.h5"]
    assert lines[0] == f"one: {tmp_path / 'one.tflite'} is here now"
    assert lines[1].startswith("two: http://127.0.0.1:")
    assert "404" in lines[1]
    assert lines[2] == f"three: {tmp_path / 'three.h5'} is here now, unproven: its publisher states no digest"
    assert len(lines) == 3
    server.answers = [whole]
    assert list(pull_models(["one", "two", "one"], tmp_path)) == [
        f"one: {tmp_path / 'one.tflite'} was here already",
        f"two: {tmp_path / 'two.tflite'} is here now",
    ]
    assert server.requests == 4


def test_a_damaged_checkout_is_told_among_others_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "gone", model("gone", ModelFile("nowhere/tiny.tflite")))
    lines: list[str] = []
    with pytest.raises(ModelError, match="gone"):
        lines.extend(pull_models(["gone", "googlenet"], tmp_path))
    told, googlenet = lines
    assert "git checkout" in told
    assert "nothing to pull" in googlenet


def test_a_pull_of_one_that_fails_says_why_and_nothing_else(three: list[str], tmp_path: Path) -> None:
    assert len(list(pull_models(["one"], tmp_path))) == 1
    with pytest.raises(ModelError, match="404"):
        list(pull_models(["two", "two"], tmp_path))
