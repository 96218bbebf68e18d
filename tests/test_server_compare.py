"""Logs in the browser: whatever lies in the log folder, only logs are shown, compared and sent."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from html import unescape
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote, urlencode

import cv2
import numpy as np
import pytest
from flask import Flask

from stream import server_compare
from stream.compare_process import LIMIT_S, Comparer, NoReport
from stream.listening import listen
from stream.log import JsonLog
from stream.log_folder import HEAD_BYTES, MOST, LogFile, LogFolder, printable
from stream.server_compare import MOST_COMPARED, REPORT_POLICY, add_compare
from stream.server_guard import add_guard
from stream.server_waitress import Server
from tests.page_tools import DESK, PHONE, opened
from tests.viewer import ROOT, Address, Answer, ask, connected, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = "<script>alert(1)</script>"
FORM = "application/x-www-form-urlencoded"


class Site(NamedTuple):
    address: Address
    comparer: Comparer

    def compare(self, base: str | None, *others: str) -> Answer:
        fields = [("base", base)] if base is not None else []
        return self.post([*fields, *(("log", other) for other in others)])

    def post(self, fields: Sequence[tuple[str, str]]) -> Answer:
        return self.send(urlencode(fields).encode(), FORM)

    def send(self, body: bytes, kind: str) -> Answer:
        connection = HTTPConnection(*self.address, timeout=60)
        with closing(connection):
            connection.request("POST", "/compare", body, {"Content-Type": kind, "X-Labelcam": "1"})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def listed(self) -> str:
        answer = ask(self.address, "/compare")
        assert answer.status == 200
        return answer.body.decode()


Sites = Callable[[Path | None], AbstractContextManager[Site]]


@contextmanager
def served(log: Path | None, limit_s: float = LIMIT_S) -> Iterator[Site]:
    """The routes as the program has them, without a camera."""
    folder = Path(server_compare.__file__).parent
    app = Flask("labelcam", root_path=str(folder), static_folder="page", static_url_path="/page")
    add_guard(app, None, ())
    comparer = Comparer(limit_s)
    add_compare(app, [log] if log else [], comparer)
    written = log and log.resolve()
    app.get("/log")(lambda: server_compare.download(written))
    listening = listen("127.0.0.1", 0)
    server = Server(app, listening)
    server.start()
    try:
        yield Site(listening.getsockname()[:2], comparer)
    finally:
        comparer.close()
        server.close(time.monotonic() + 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a live run's log and a benchmark's, by the program itself."""
    folder = tmp_path_factory.mktemp("made")
    picture = folder / "picture.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    live = ("live", "--source", "demo:", "--max-frames", "70", "--encode", "always", "--port", "0")
    bench = ("bench", picture, "--runs", "40", "--rounds", "2")
    for arguments in ((*live, "--log", folder / "live.jsonl"), (*bench, "--log", folder / "stills.jsonl")):
        subprocess.run(
            [sys.executable, "run.py", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60
        )
    return folder


@pytest.fixture
def logs(made: Path, tmp_path: Path) -> Path:
    """A copy of it, with a secret beside it."""
    (tmp_path / "secret.jsonl").write_bytes((made / "live.jsonl").read_bytes())
    return Path(shutil.copytree(made, tmp_path / "logs"))


@pytest.fixture
def site(logs: Path) -> Iterator[Site]:
    with served(logs / "live.jsonl") as one:
        yield one


def needs_drawing() -> None:
    pytest.importorskip("matplotlib", reason="pip install -r requirements-report.txt")


def comparisons() -> list[int]:
    """Of this process, those that are being made."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if parent == os.getpid() and b"compare" in words:
            found.append(int(entry.name))
    return found


def text_of(answer: Answer) -> str:
    return unescape(re.sub("<[^>]+>", " ", answer.body.decode()))


# No log, no logs.


def test_without_a_log_the_pages_say_what_to_type() -> None:
    with served(None) as site:
        for answer in (ask(site.address, "/compare"), site.compare("live.jsonl")):
            assert answer.status == 404
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "python run.py --log live.jsonl" in text_of(answer)
        download = ask(site.address, "/log")
        assert download.status == 404
        assert "--log" in download.json["error"]


def test_a_folder_without_logs_says_so(tmp_path: Path) -> None:
    with served(tmp_path / "live.jsonl") as site:
        assert "There is no log" in site.listed()
        assert "<form" not in site.listed()
        tmp_path.rename(tmp_path.with_name("moved"))
        gone = ask(site.address, "/compare")
        assert gone.status == 404
        assert "No such file or directory" in text_of(gone)
        assert site.compare("live.jsonl").status == 400
        assert ask(site.address, "/log").status == 404


# Nothing but logs of this folder.


@pytest.fixture
def traps(logs: Path, site: Site) -> Site:
    (logs / "link.jsonl").symlink_to(logs.parent / "secret.jsonl")
    (logs / "inner.jsonl").symlink_to("live.jsonl")
    (logs / "folder.jsonl").mkdir()
    (logs / "folder.jsonl" / "deep.jsonl").write_bytes((logs / "live.jsonl").read_bytes())
    os.mkfifo(logs / "fifo.jsonl")
    (logs / "notes.jsonl").write_text('{"rec":"frame"}\n')
    (logs / "live.json").write_bytes((logs / "live.jsonl").read_bytes())
    return site


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jsonl",
        "..%2Fsecret.jsonl",
        "%2e%2e/secret.jsonl",
        "{logs}/live.jsonl",
        "{logs}/../secret.jsonl",
        "./live.jsonl",
        "live.jsonl/",
        "live.jsonl\0",
        "live.jsonl%00",
        "LIVE.jsonl",
        "link.jsonl",
        "inner.jsonl",
        "folder.jsonl",
        "folder.jsonl/deep.jsonl",
        "fifo.jsonl",
        "notes.jsonl",
        "live.json",
        "picture.png",
        "--html",
        "@/etc/passwd",
        "",
        "/dev/stdin",
        "/etc/passwd",
    ],
)
def test_no_name_leads_to_anything_else(traps: Site, logs: Path, name: str) -> None:
    name = name.format(logs=logs)
    for answer in (traps.compare(name), traps.compare("live.jsonl", name), traps.compare(name, "live.jsonl")):
        assert answer.status == 400
        assert "is not there any more" in text_of(answer)
        assert 'href="/compare"' in answer.body.decode()
    assert comparisons() == []


def test_only_logs_are_listed(traps: Site) -> None:
    page = traps.listed()
    assert re.findall('name="base" value="([^"]+)"', page) == ["stills.jsonl", "live.jsonl"]  # newest first
    assert "Left out, because it does not begin with a run: notes.jsonl." in page
    assert page.count(">live<") == page.count(">bench<") == 1
    assert page.count("efficientnet") == page.count("tflite, litert") == 2
    assert re.search(r">\d{4}-\d\d-\d\d \d\d:\d\d UTC<.*>\d\d\.\d kB<.*>being written<", page, re.DOTALL)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM),
        (b"\xff\xfe\0=&&==;", FORM),
        (b"base=%FF%00%zz&log=live.jsonl", FORM),
        (b"&".join([b"log=live.jsonl"] * 4000), FORM),
        (b'{"base":"live.jsonl"}', "application/json"),
        (b"--x\r\nContent-Disposition: form-data; name=base\r\n\r\nl", "multipart/form-data; boundary=x"),
        (b"base=live.jsonl", "multipart/form-data"),
    ],
    ids=["empty", "bytes", "escapes", "thousands", "JSON", "cut", "no boundary"],
)
def test_what_is_no_form_of_ours_is_400(site: Site, body: bytes, kind: str) -> None:
    answer = site.send(body, kind)
    assert answer.status == 400
    assert 'href="/compare"' in answer.body.decode()
    assert comparisons() == []


def test_one_base_and_no_more_logs_than_fit(site: Site, logs: Path) -> None:
    assert "Choose the log that is the base" in text_of(site.compare(None))
    assert site.compare(None, "live.jsonl").status == 400
    assert site.post([("base", "live.jsonl"), ("base", "stills.jsonl")]).status == 400
    names = [f"{number}.jsonl" for number in range(MOST_COMPARED)]
    for name in names:
        shutil.copy(logs / "live.jsonl", logs / name)
    assert f"{MOST_COMPARED} logs at most" in text_of(site.compare("live.jsonl", *names))
    assert comparisons() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        b'{"rec":"run"',
        b'{"rec":"run"}',
        b"[" * 50_000 + b"\n",
        b'{"rec":"run","model":"' + b"x" * HEAD_BYTES + b'"}\n',
        b'"run"\n',
        b"\xff\xfe\n",
    ],
    ids=["empty", "zeros", "cut", "no newline", "brackets", "long", "text", "bytes"],
)
def test_what_is_no_log_is_left_out(site: Site, logs: Path, content: bytes) -> None:
    (logs / "odd.jsonl").write_bytes(content)
    assert "not begin with a run: odd.jsonl." in site.listed()
    assert site.compare("odd.jsonl").status == 400


def test_strange_facts_are_left_out_or_escaped(site: Site, logs: Path) -> None:
    odd = '{"rec":"run","command":7,"model":%s,"backend":null,"runtime":[1],"t_utc":%s}\n'
    for place, (model, t_utc) in enumerate(
        ((f'"{EVIL}"', "NaN"), (r'"\ud800 \n \u202e"', "1e300"), ('"' + "long" * 90 + '"', '"soon"'))
    ):
        (logs / f"{place}.jsonl").write_text(odd % (model, t_utc))
    page = site.listed()
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert r"\ud800 \n \u202e" in page
    assert max(map(len, re.findall(r"(?:long)+", page))) == 200
    assert page.count("UTC") == 2


def test_names_may_be_anything(site: Site, logs: Path) -> None:
    needs_drawing()
    compared = (b"line\nbreak.jsonl", b"\xff<b>.jsonl", b"@options.jsonl", b"--html.jsonl")
    for name in (*compared, b"quote\"'&.jsonl", "ä \u202e.jsonl.7".encode(), b"<script>.jsonl"):
        shutil.copy(os.fsencode(logs / "stills.jsonl"), os.fsencode(logs) + b"/" + name)
    page = site.listed()
    assert "<script" not in page
    assert "<b>" not in page
    for shown in ("line\\nbreak.jsonl", "\\udcff<b>.jsonl", "quote\"'&.jsonl", "ä \\u202e.jsonl.7"):
        assert f"<legend>{shown}</legend>" in unescape(page)
    keys = re.findall('name="base" value="([^"]+)"', page)
    assert {quote(name) for name in compared} < set(keys)
    answer = site.compare(*(quote(name) for name in compared))
    assert answer.status == 200, text_of(answer)
    for shown in ("line\nbreak.jsonl", "\\udcff<b>.jsonl", "@options.jsonl", "--html.jsonl"):
        assert shown in text_of(answer)


def test_the_command_prints_odd_names_on_any_terminal(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = logs / "\udcff ä.jsonl"
    (logs / "stills.jsonl").rename(odd)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    words: list[str | Path] = [sys.executable, "run.py", "compare", odd]
    ended = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("A  \\udcff \\xe4.jsonl: stills")


def test_an_older_part_is_told_from_an_earlier_run(site: Site, logs: Path) -> None:
    content = (logs / "live.jsonl").read_bytes()
    (logs / "live.jsonl.1").write_bytes(content)
    (logs / "live.jsonl.2").write_bytes((logs / "stills.jsonl").read_bytes())
    page = site.listed()
    assert page.count("older part of live.jsonl, which is read with it") == 1
    assert 'value="live.jsonl.2"' in page


def test_of_hundreds_the_newest_are_listed_at_once(site: Site, logs: Path) -> None:
    head = (logs / "live.jsonl").read_bytes().splitlines(keepends=True)[0]
    for number in range(500):
        (logs / f"many {number}.jsonl").write_bytes(head)
        os.utime(logs / f"many {number}.jsonl", (number, number))
    started_s = time.monotonic()
    page = site.listed()
    assert time.monotonic() - started_s < 1
    names = re.findall("<legend>([^<]+)</legend>", page)
    assert len(names) == MOST
    assert names[2:4] == ["many 499.jsonl", "many 498.jsonl"]
    assert "302 older files are not listed." in page
    assert site.compare("many%200.jsonl").status == 400


def test_a_log_of_another_ending_and_behind_a_link_is_found(logs: Path, tmp_path: Path) -> None:
    (logs / "live.jsonl").rename(logs / "labelcam.log")
    (tmp_path / "here.jsonl").symlink_to(logs / "labelcam.log")
    listed = LogFolder([tmp_path / "here.jsonl"]).list()
    assert {one.name for one in listed.logs} == {"labelcam.log", "stills.jsonl"}


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Größe 1 · 中文") == "Größe 1 · 中文"


# The comparison: one at a time, never in the way, and gone when it shall be.


@pytest.fixture
def long(logs: Path) -> LogFile:
    """A log that takes a while to read, and no kept page fits."""
    lines = (logs / "live.jsonl").read_bytes().splitlines(keepends=True)
    head, frame = lines[0], json.loads(next(line for line in lines if b'"frame"' in line))
    with (logs / "long.jsonl").open("wb") as file:
        file.write(head)
        for seq in range(15_000):
            file.write(json.dumps({**frame, "seq": seq, "skip": 0}).encode() + b"\n")
    return next(one for one in LogFolder([logs / "live.jsonl"]).list().logs if one.name == "long.jsonl")


@contextmanager
def being_compared(site: Site, name: str) -> Iterator[tuple[Future[Answer], int]]:
    """The answer to come, and the process it comes from."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.compare, name)
        wait_for(lambda: len(comparisons()) == 1)
        yield answer, comparisons()[0]


def nothing_is_left() -> bool:
    """No process and no folder of a comparison's."""
    return not comparisons() and not [*Path(tempfile.gettempdir()).glob("labelcam-compare-*")]


@pytest.mark.usefixtures("long")
def test_a_second_comparison_is_told_to_wait(site: Site) -> None:
    needs_drawing()
    with being_compared(site, "long.jsonl") as (first, process):
        second = site.compare("live.jsonl")
        assert second.status == 503
        assert int(second.headers["retry-after"]) > 0
        assert "Another comparison" in text_of(second)
        assert site.listed()
        assert ask(site.address, "/log").status == 200
        assert os.getpriority(os.PRIO_PROCESS, process) == 19
        assert Path(f"/proc/{process}/oom_score_adj").read_text() == "1000\n"
        groups = Path(f"/proc/{process}/autogroup")
        assert not groups.exists() or groups.read_text().endswith("nice 19\n")
        assert first.result().status == 200
    assert nothing_is_left()


@pytest.mark.usefixtures("long")
def test_a_killed_comparison_is_one_page_and_the_next_is_made(site: Site, logs: Path) -> None:
    needs_drawing()
    with being_compared(site, "long.jsonl") as (answer, process):
        os.kill(process, signal.SIGKILL)
        assert answer.result().status == 500
        assert "The comparison failed (SIGKILL)" in text_of(answer.result())
        assert "Traceback" not in text_of(answer.result())
    (logs / "begun.jsonl").write_bytes((logs / "live.jsonl").read_bytes().splitlines(keepends=True)[0])
    assert "no frame in it" in text_of(site.compare("begun.jsonl"))
    assert nothing_is_left()


def test_a_comparison_without_end_is_killed(logs: Path, long: LogFile) -> None:
    started_s = time.monotonic()
    with pytest.raises(
        NoReport, match=r"more than 0\.3 s.*: python run\.py compare long\.jsonl --html"
    ) as ended:
        Comparer(limit_s=0.3).page(logs, [long])
    assert ended.value.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert time.monotonic() - started_s < 2
    assert nothing_is_left()


def test_a_page_about_an_odd_name_is_a_page(logs: Path, long: LogFile) -> None:
    odd = b"\xff\n.jsonl"
    (logs / long.name).rename(logs / os.fsdecode(odd))
    with served(logs / "live.jsonl", limit_s=0.2) as site:
        answer = site.compare(quote(odd))
        assert answer.status == 503
        assert "\\udcff\\n.jsonl" in text_of(answer)


@pytest.mark.usefixtures("long")
def test_the_program_ends_without_waiting_for_a_comparison(site: Site) -> None:
    with being_compared(site, "long.jsonl") as (answer, _):
        started_s = time.monotonic()
        site.comparer.close()
        assert time.monotonic() - started_s < 0.4
        assert comparisons() == []
        assert answer.result().status == 503
    site.comparer.close()
    assert site.compare("live.jsonl").status == 503
    assert nothing_is_left()


def test_what_is_wrong_with_a_log_is_its_own_one_line(site: Site, logs: Path) -> None:
    needs_drawing()
    lines = (logs / "live.jsonl").read_bytes().splitlines(keepends=True)
    (logs / "bad.jsonl").write_bytes(lines[0] + b"<b>junk</b>\n" + lines[1])
    (logs / "begun.jsonl").write_bytes(lines[0])
    (logs / "odd\n\udcff.jsonl").write_bytes((logs / "bad.jsonl").read_bytes())
    bad, begun = site.compare("live.jsonl", "bad.jsonl"), site.compare("begun.jsonl")
    odd = site.compare("odd%0A%FF.jsonl")
    assert (bad.status, begun.status, odd.status) == (400, 400, 400)
    assert "odd \\udcff.jsonl, line 2: not a record of a log" in text_of(odd)
    assert "bad.jsonl, line 2: not a record of a log" in text_of(bad)
    assert "no frame in it" in text_of(begun)
    for answer in (bad, begun, odd):
        assert str(logs) not in text_of(answer)
        assert "Traceback" not in text_of(answer)


@pytest.mark.parametrize(
    "fault", ["raise ModuleNotFoundError(name='matplotlib')", "raise ImportError('old')"]
)
def test_without_matplotlib_the_page_says_what_to_install(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text(fault)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the comparison's, whose first imports are from there
    answer = site.compare("live.jsonl")
    assert answer.status == 501
    assert "-r requirements-report.txt" in text_of(answer)


def test_the_report_is_the_commands_and_is_kept(site: Site, logs: Path, tmp_path: Path) -> None:
    needs_drawing()
    with (logs / "live.jsonl").open("ab") as file:
        file.write(b'{"rec":"fra')  # as if it were being written
    answer = site.compare("live.jsonl", "stills.jsonl", "live.jsonl")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == REPORT_POLICY
    assert "is cut off (a crash, or it goes on)" in text_of(answer)
    words: list[str | Path] = [
        "run.py",
        "compare",
        logs / "live.jsonl",
        logs / "stills.jsonl",
        "--html",
        tmp_path / "own.html",
    ]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    assert answer.body == (tmp_path / "own.html").read_bytes()
    started_s = time.monotonic()
    assert site.compare("live.jsonl", "stills.jsonl").body == answer.body
    assert time.monotonic() - started_s < 0.3  # numpy alone takes longer to import
    (logs / "live.jsonl").write_bytes((logs / "live.jsonl").read_bytes().splitlines(keepends=True)[0])
    assert site.compare("live.jsonl").status == 400


# The download.


@contextmanager
def download(site: Site, receive_bytes: int | None = None) -> Iterator[HTTPResponse]:
    """Its head has been read."""
    with closing(connected(site.address, receive_bytes)) as connection:
        connection.sendall(b"GET /log HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = HTTPResponse(connection)
        with closing(response):
            response.begin()
            yield response


def filled(path: Path, size_bytes: int) -> bytes:
    """A log of that size, more or less."""
    line = b'{"rec":"frame","seq":1}\n'
    path.write_bytes(line * (size_bytes // len(line)))
    return path.read_bytes()


def test_the_log_is_sent_whole(site: Site, logs: Path) -> None:
    content = (logs / "live.jsonl").read_bytes()
    got, head = ask(site.address, "/log"), ask(site.address, "/log", method="HEAD")
    assert (got.status, head.status) == (200, 200)
    assert (got.body, head.body) == (content, b"")
    for answer in (got, head):
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["content-disposition"] == "attachment; filename=live.jsonl"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] != REPORT_POLICY


def test_a_log_that_is_being_written_is_sent_up_to_now(site: Site, logs: Path) -> None:
    before = filled(logs / "live.jsonl", 20 << 20)
    half = b'{"rec":"frame","seq":'
    stop = threading.Event()

    def write_on() -> None:
        with (logs / "live.jsonl").open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b'2}\n{"rec":"frame","seq":' * 100)

    with (logs / "live.jsonl").open("ab") as file:
        file.write(half)
    with download(site, receive_bytes=65536) as slow:
        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            assert slow.headers["Content-Length"] == str(len(before))  # not the half line
            assert slow.read() == before
            for _ in range(20):
                got = ask(site.address, "/log")
                assert len(got.body) == int(got.headers["content-length"])
                assert got.body.endswith(b"}\n")
        finally:
            stop.set()
            writer.join()


def test_slow_downloads_hold_nobody_up(site: Site, logs: Path) -> None:
    content = filled(logs / "live.jsonl", 20 << 20)
    with ExitStack() as stack:
        slow = [stack.enter_context(download(site, receive_bytes=4096)) for _ in range(20)]
        started_s = time.monotonic()
        assert site.listed()
        assert time.monotonic() - started_s < 1
        (logs / "live.jsonl").rename(logs / "live.jsonl.1")  # it is rotated, and goes
        (logs / "live.jsonl.1").unlink()
        assert slow[7].read() == content
    wait_for(lambda: not any(leads_to(one, "live.jsonl") for one in Path("/proc/self/fd").iterdir()))


def leads_to(descriptor: Path, name: str) -> bool:
    try:
        return name in str(descriptor.readlink())
    except OSError:  # closed meanwhile
        return False


def test_a_log_that_is_shortened_meanwhile_cuts_the_connection(site: Site, logs: Path) -> None:
    filled(logs / "live.jsonl", 20 << 20)
    with download(site, receive_bytes=4096) as slow:
        assert len(slow.read(1000)) == 1000
        os.truncate(logs / "live.jsonl", 100)
        with pytest.raises((IncompleteRead, ConnectionResetError)):
            slow.read()
        used_s = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - used_s < 0.25  # it does not go on trying
    assert ask(site.address, "/log").status == 200


@pytest.mark.parametrize("fate", ["deleted", "a folder", "a link", "a FIFO"])
def test_a_log_that_is_not_there_is_404(site: Site, logs: Path, fate: str) -> None:
    log = logs / "live.jsonl"
    content = log.read_bytes()
    log.unlink()
    if fate == "a folder":
        log.mkdir()
    elif fate == "a link":
        log.symlink_to(logs.parent / "secret.jsonl")
    elif fate == "a FIFO":
        os.mkfifo(log)
    for method in ("GET", "HEAD"):
        answer = ask(site.address, "/log", method=method)
        assert answer.status == 404
    assert ask(site.address, "/log").json["error"].startswith("the log cannot be read now: ")
    log.rmdir() if fate == "a folder" else log.unlink(missing_ok=True)
    log.write_bytes(content)
    assert ask(site.address, "/log").body == content


@pytest.mark.parametrize("content", [b"", b"no whole line", b"x" * 200_000])
def test_a_log_without_a_whole_line_is_sent_empty(site: Site, logs: Path, content: bytes) -> None:
    (logs / "live.jsonl").write_bytes(content)
    answer = ask(site.address, "/log")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("name", ['a"b\r\nX: y.jsonl', "\udcff.jsonl", "ä b;c.jsonl"])
def test_the_downloads_name_is_a_plain_one(tmp_path: Path, name: str) -> None:
    with JsonLog(tmp_path / name, {"rec": "run"}), served(tmp_path / name) as site:
        answer = ask(site.address, "/log")
        assert answer.status == 200
        assert "x" not in answer.headers
        assert re.fullmatch(
            r"attachment; filename\S*=[\w.%'-]+(; filename\S*=[\w.%'-]+)?", disposition(answer)
        )


def disposition(answer: Answer) -> str:
    return answer.headers["content-disposition"]


# In a browser.


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_two_logs_are_picked_and_the_report_is_seen(
    browser: Browser, site: Site, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    """By keyboard, and without JavaScript."""
    needs_drawing()
    url = f"http://127.0.0.1:{site.address[1]}"
    with opened(browser, f"{url}/compare", size, scheme, java_script=False) as tab:
        assert tab.text("h1") == "Compare logs"
        assert not tab.scrolls_sideways()
        base = tab.page.get_by_role("radio", name="base live.jsonl", exact=True)
        base.focus()
        tab.page.keyboard.press("Space")
        assert base.is_checked()
        tab.page.get_by_role("checkbox", name="against it stills.jsonl", exact=True).check()
        tab.page.get_by_role("button", name="Compare").focus()
        with tab.page.expect_navigation(), tab.page.expect_request("**/compare") as posted:
            tab.page.keyboard.press("Enter")
        # By this the guard knows the form for ours where the browser says nothing else: over plain HTTP.
        assert posted.value.headers["origin"] == url
        assert "from arrival to answer" in tab.text("h1")
        assert re.search(r"A\s+live\.jsonl.*B\s+stills\.jsonl", tab.text("header"), re.DOTALL)
        assert tab.page.locator("svg").count() >= 10
        ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(245, 246, 244)", "dark": "rgb(19, 22, 20)"}[scheme]
        assert not tab.scrolls_sideways()
        assert tab.troubles == []
        assert [one.url for one in tab.requests if not one.url.startswith(url)] == []


def test_nothing_can_be_sent_without_a_base(browser: Browser, site: Site) -> None:
    with opened(browser, f"http://127.0.0.1:{site.address[1]}/compare") as tab:
        tab.page.get_by_role("button", name="Compare").click()
        assert tab.page.evaluate("document.querySelectorAll(':invalid').length") > 0
        assert tab.page.url.endswith("/compare")
        assert len([one.url for one in tab.requests if one.url.endswith("/compare")]) == 1
        assert tab.troubles == []
