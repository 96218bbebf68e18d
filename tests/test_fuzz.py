"""Ten thousand requests that nobody would send: none ends in a 5xx, a traceback, or something left behind."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.viewer import Address, Labelcam, Viewer, ask, connected, labelcam, wait_for

SEED, COUNT = 5, 10_000
PARALLEL = 8
PATHS = (
    *("/", "/stream", "/stream.mjpg", "/snapshot", "/snapshot.jpg", "/api/state", "/api/events"),
    *("/api/settings", "/api/openapi.json", "/metrics", "/healthz", "/readyz", "/log", "/compare"),
    *("/page/index.html", "/page/page.js", "/page/page.css", "/page/icon.svg", "/page/", "/none", "*"),
)
INTO_PATHS = ("%00", "%0a", "%2e%2e/", "../", "//", "\\", "%ff", "\xff", "?", "#", ";", " ")
BEFORE_PATHS = ("http://localhost", "http://[", "http://evil.example", "//evil.example", "x:", "http://a@b")
QUERIES = ("action", "fps", "width", "extra_headers", "token", "log", "base", "file", "x")
ODD = (
    *("", "0", "-1", "1", "5", "64", "320", "321", "99999", "100000", "1e400", "nan", "inf", "-inf", " 5"),
    *("stream", "snapshot", "page", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "0x10"),
    *("%00", "%ff", "%", "%zz", "%D9%A0", "%0d%0aX-Evil:%201", "a" * 3000, "1" * 5000, "1_000", "<b>"),
    *("{}", "null", "true", "'", '"', "\\", ";"),
)
METHODS = (
    *["GET"] * 40,
    *["POST"] * 30,
    *["HEAD"] * 6,
    "OPTIONS",
    "PUT",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
)
NO_METHODS = ("get", "G\x00T", "GE T", "", "X" * 500, "GET\t", "\xff")
VERSIONS = (*["1.1"] * 40, *["1.0"] * 4, "2.0", "0.9", "x", "11")
HOSTS = (
    *("evil.example", "", "[", "[::", "a@b", "a/b", "localhost, x", "x" * 9000, "localhost:99999", "[::]"),
    *("localhost:-1", "\xe4", "\x00", "%6c", "localhost\x0b", "127.0.0.1:8000", "[::1]"),
)
HEADERS = {
    "X-Labelcam": ("1", ""),
    "Origin": ("http://localhost", "http://[", "null", "http://evil.example", "\xff", "//", "x" * 5000),
    "Sec-Fetch-Site": ("same-origin", "cross-site", "none", ""),
    "Content-Type": (
        *("application/json", "application/json; charset=\xff", "application/json; charset=nonsense"),
        *("application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x"),
        *("text/plain", "/", ";", ""),
    ),
    "Expect": ("100-continue", "x"),
    "Range": (
        *("bytes=0-", "bytes=-1", "bytes=5-2", "bytes=99999999-", "bytes=0-0,1-1", "lines=1-2", "x"),
        "bytes=" + "0-0," * 900,
    ),
    "If-Range": ("x", "Thu, 01 Jan 1970 00:00:00 GMT"),
    "If-None-Match": ("*", '"x"', "W/", '"'),
    "If-Modified-Since": ("Thu, 01 Jan 2099 00:00:00 GMT", "Thu, 99 Foo 0000 99:99:99 GMT", "x", "9" * 400),
    "Cookie": ("labelcam_8000=x", "=", ";;;", "a=b; a=c", 'a="\\777"', "\xff=\xff", "x" * 9000),
    "Authorization": ("Bearer x", "Bearer", "Basic x", "Basic =", "Digest a", "\xff", ""),
    "Accept": ("text/html", "*/*", "application/json", ";q=", "text/html;q=x", "," * 900, "\xff"),
    "Accept-Encoding": ("gzip", "identity;q=0", "*;q=0"),
    "Connection": ("close", "keep-alive", "upgrade", "Host", "\xff"),
    "Upgrade": ("h2c", "websocket"),
    "X-Forwarded-Host": ("evil.example", "["),
    "X-Forwarded-For": ("1.2.3.4", "\xff"),
    "X-HTTP-Method-Override": ("POST",),
    "Content-Encoding": ("gzip",),
    "User-Agent": ("x\x1b[2J", ""),
}
NO_HEADERS = {
    "Content-Length": (
        *("0", "-1", "1", "5", "65535", "65536", "9" * 20, "9" * 5000, "0x5", "5, 5", " 5", "+5", "", "1e3"),
    ),
    "Transfer-Encoding": ("chunked", "gzip", "chunked, chunked", "identity", "\x0bchunked", ", chunked", ""),
    "": ("x",),
    "X Y": ("x",),
    "X": ("\x00", "\x7f", "a\rb", "a\r\n b", "x" * 20_000),
}
BODIES = (
    *(b"", b"{}", b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b"\x00", b'{"top_k": 0}', b'{"top_k": 1e400}'),
    *(b'{"top_k": true}', b'{"top_k": "5"}', b'{"top_k": [5]}', b'{"top_k": NaN}', b'{"top_k": 2.5}'),
    *(
        b'{"top_k": -5}',
        b'{"top_k": ' + b"9" * 5000 + b"}",
        b'{"threshold": NaN}',
        b'{"threshold": Infinity}',
    ),
    *(b'{"threshold": 1.5}', b'{"threshold": null}', b'{"smoothing": 1}', b'{"quality": 0}'),
    *(b'{"quality": 101}', b'{"quality": {}}', b'{"model": "none"}', b'{"model": 5}', b'{"model": null}'),
    *(b'{"model": "../../etc/passwd"}', b'{"model": "\\ud800"}', b'{"model": "' + b"x" * 60_000 + b'"}'),
    *(b'{"backend": "none"}', b'{"backend": []}', b'{"mode": "none"}', b'{"mode": 5}', b'{"none": 1}'),
    *(b'{"\\u0000": 1}', b'{"": ""}', b'{"settings": {"top_k": 1}}', b'{"top_k": 5, "quality": 500}'),
    *(b"[" * 60_000, b'{"a":' * 10_000, b"log=../../etc/passwd", b"log=x&log=y&log=%00", b"log="),
    *(b"log=" + b"a" * 60_000, b"&" * 60_000, b"a=b&" * 10_000, b"--x\r\n" * 2000, b"zz\r\n", b"-1\r\n"),
    b'--x\r\nContent-Disposition: form-data; name="log"\r\n\r\nx\r\n--x--',
    *(b"5\r\nhello\r\n0\r\n\r\n", b"fffffffff\r\nx", b"GET / HTTP/1.1\r\n\r\n"),
)
"""None of them is a change of settings that is to be made."""
KINDS = ("application/json", "application/json", "application/x-www-form-urlencoded")


class Told(NamedTuple):
    status: int  # 0: nothing
    head: bytes
    body: bytes


def made_up(number: int) -> bytes:
    """The request of this number: always the same."""
    chance = random.Random(f"{SEED} {number}")
    if chance.random() < 0.02:
        return chance.randbytes(chance.randrange(1, 3000)) + b"\r\n\r\n" * chance.randrange(2)
    method, body = chance.choice(METHODS if chance.random() < 0.95 else NO_METHODS), b""
    lines = [f"{method} {target(chance)} HTTP/{chance.choice(VERSIONS)}"]
    if chance.random() < 0.98:
        lines.append(f"Host: {'localhost' if chance.random() < 0.9 else chance.choice(HOSTS)}")
    names = chance.sample(sorted(HEADERS), chance.choice((0, 0, 1, 1, 2, 3, 8)))
    lines += [f"{name}: {chance.choice(HEADERS[name])}" for name in names]
    if chance.random() < 0.1:
        name = chance.choice(sorted(NO_HEADERS))
        lines.append(f"{name}: {chance.choice(NO_HEADERS[name])}")
    elif method == "POST" and chance.random() < 0.9:
        body = chance.choice(BODIES)
        lines.append(f"Content-Length: {len(body)}")
        if "Content-Type" not in names:
            lines.append(f"Content-Type: {chance.choice(KINDS)}")
        if "X-Labelcam" not in names and chance.random() < 0.9:
            lines.append("X-Labelcam: 1")
    whole = bytearray("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    if chance.random() < 0.08:
        for _ in range(chance.randrange(1, 6)):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
    if chance.random() < 0.03:
        del whole[chance.randrange(len(whole)) :]
    return bytes(whole)


def target(chance: random.Random) -> str:
    path, how = chance.choice(PATHS), chance.random()
    if how < 0.1:
        cut = chance.randrange(len(path) + 1)
        path = path[:cut] + chance.choice(INTO_PATHS) + path[cut:]
    elif how < 0.15:
        path = chance.choice(BEFORE_PATHS) + path
    elif how < 0.18:
        path += "/" + "a/" * chance.randrange(1, 4000)
    elif how < 0.2:
        path = "/" + chance.randbytes(chance.randrange(40)).decode("latin-1")
    if chance.random() < 0.4:
        names = chance.choices(QUERIES, k=chance.randrange(1, 4))
        path += "?" + "&".join(f"{name}={chance.choice(ODD)}" for name in names)
    return path


def told(address: Address, request: bytes) -> Told:
    """What comes of it; a stream is left as soon as it begins."""
    answer = b""
    with closing(connected(address)) as one:
        try:
            one.sendall(request)
            one.shutdown(socket.SHUT_WR)  # no more will come: half a request is to be ended now
            while more := one.recv(1 << 16):
                answer += more
                if b"\r\nConnection: close\r\n\r\n" in answer and b"\r\nContent-Length: " not in answer:
                    break
        except ConnectionError:
            pass
    final = re.sub(rb"^HTTP/1.1 100 Continue\r\n\r\n", b"", answer)
    head, _, body = final.partition(b"\r\n\r\n")
    return Told(int(head[9:12] or 0), head, body)


def is_documented(answer: Told) -> bool:
    """A 503 that says why: the places are taken, there is no picture."""
    if answer.status != 503 or b"Content-Type: application/json" not in answer.head:
        return False
    reason = json.loads(answer.body or b'{"error": "HEAD"}').get("error", "")
    return b"\r\nRetry-After: " in answer.head or "picture" in reason or reason == "HEAD"


def left(running: Labelcam) -> tuple[int, int]:
    """How many threads it has, and how many files are open."""
    process = Path(f"/proc/{running.process.pid}")
    return len(os.listdir(process / "task")), len(os.listdir(process / "fd"))  # noqa: PTH208


@pytest.mark.parametrize("count", [2_000, pytest.param(COUNT, marks=pytest.mark.slow)])
def test_ten_thousand_requests_nobody_would_send_break_nothing(tmp_path: Path, count: int) -> None:
    log = tmp_path / "log.jsonl"
    with labelcam("--port", "0", "--source", "demo:", "--log", log, "--verbose") as running:
        address = running.address
        wait_for(lambda: ask(address, "/readyz").status == 200)
        for path in PATHS[1:9]:
            told(address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(lambda: ask(address, "/api/state").json["stream"]["viewers"] == 0)
        settings = ask(address, "/api/settings").json
        time.sleep(1)
        base, said = left(running), running.errors
        with ThreadPoolExecutor(PARALLEL) as threads:
            answers = list(threads.map(lambda number: told(address, made_up(number)), range(count)))
        for number, answer in enumerate(answers):
            assert answer.status < 500 or is_documented(answer), (
                number,
                made_up(number)[:2000],
                answer,
            )
            assert b"Traceback" not in answer.body
            assert b"\r\nX-Evil" not in answer.head
        statuses = [answer.status for answer in answers]
        assert statuses.count(0) < 0.2 * count
        assert {200, 400, 403, 404, 405} <= set(statuses)
        assert running.errors == said
        wait_for(lambda: left(running) <= base or left(running) == base, 30)
        threads_now, files_now = left(running)
        assert threads_now <= base[0]
        assert files_now <= base[1]
        now = ask(address, "/api/state").json
        assert now["stream"]["viewers"] == 0
        assert ask(address, "/api/settings").json == settings
        wait_for(
            lambda: ask(address, "/api/state").json["frames"]["classified"] > now["frames"]["classified"] + 5
        )
        assert ask(address, "/healthz").status == ask(address, "/readyz").status == 200
        with Viewer(address) as viewer:
            assert viewer.part().jpeg
        running.stop()
        assert running.process.returncode == 0
