"""Nobody gets in who should not: every route, every name, every method; and nobody keeps the others out."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request, send_file

from stream.cli import parse
from stream.hosts import Hosts, read_host
from stream.listening import listen
from stream.redaction import redact_logs
from stream.server_guard import add_guard
from stream.server_waitress import Limits, Server
from tests.conftest import CHROMIUM, QUIET
from tests.network_camera import NetworkCamera
from tests.test_server import Site, Sites, demo, model, open_files, site  # noqa: F401 - pytest's way to share them
from tests.viewer import PATIENCE_S, ROOT, Address, Viewer, ask, connected, labelcam, wait_for

TOKEN = "a-token-that-nobody-guesses"
CHANGING = ("POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "ANYTHING")


def answer_to(address: Address, request_bytes: bytes, timeout_s: float = PATIENCE_S) -> bytes:
    """Its head, and all of its body if it says how long that is; less if the connection ends before."""
    answer = b""
    with closing(connected(address)) as one:
        one.settimeout(timeout_s)
        try:
            one.sendall(request_bytes)
            while more := one.recv(1 << 16):
                answer += more
                head, end, body = answer.partition(b"\r\n\r\n")
                length = re.search(rb"\r\nContent-Length: (\d+)", head)
                left = int(length[1]) - len(body) if length and not request_bytes.startswith(b"HEAD ") else 0
                if end and left <= 0:
                    break
        except ConnectionError:
            pass
    return answer


def status_of(address: Address, method: str, target: str, **headers: str) -> int:
    """Also of what never ends."""
    lines = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    answer = answer_to(address, f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


@contextmanager
def served(app: Flask, limits: Limits | None = None) -> Iterator[Address]:
    listening = listen("127.0.0.1", 0)
    server = Server(app, listening, limits or Limits())
    server.start()
    try:
        yield listening.getsockname()[:2]
    finally:
        server.close(time.monotonic() + 1)


@pytest.fixture
def small() -> Flask:
    """An application with the guard, and nothing but what a test adds."""
    app = Flask("small", static_folder=None)
    add_guard(app, None, ())
    app.add_url_rule("/", "index", lambda: "hello")
    app.add_url_rule("/healthz", "healthz", lambda: "well")
    return app


# Every route.


def targets(app: Flask) -> list[str]:
    """An address for every rule of the application, and those that have none."""
    rules = [re.sub(r"<[^>]*>", "x", rule.rule) for rule in app.url_map.iter_rules()]
    return [*rules, "/?action=stream", "/?action=snapshot", "/none", "/page/none", "//x", "/api/none"]


def let_in(app: Flask, address: Address, token: str | None) -> list[str]:
    """What is answered though it should be refused."""
    found = []
    methods = sorted({method for rule in app.url_map.iter_rules() for method in rule.methods or ()})
    for target in targets(app):
        for method in sorted({"GET", "HEAD", "OPTIONS", *methods, *CHANGING}):
            good = {"Authorization": f"Bearer {token}"} if token else {}
            said = {"X_Labelcam": "1"}
            cases = [(403, {**good, **said, "Host": "evil.example"})]
            cases += [(401, said), (401, {**said, "Authorization": "Bearer x"})] if token else []
            if method not in ("GET", "HEAD", "OPTIONS"):
                cases += [(403, good), (403, {**good, "Origin": "http://evil.example"})]
                cases += [(403, {**good, **said, "Sec_Fetch_Site": site}) for site in ("same-site", "none")]
            for wanted, headers in cases:
                status = status_of(address, method, target, **headers)
                if status != wanted:
                    found.append(f"{method} {target} with {headers}: {status}, not {wanted}")
    return found


@pytest.mark.parametrize("token", [None, TOKEN])
def test_every_route_refuses_strangers_foreign_names_and_foreign_pages(
    site: Sites,  # noqa: F811
    token: str | None,
) -> None:
    with site(token=token) as made:
        app = made.server.app
        assert {"/", "/stream", "/snapshot", "/api/state", "/healthz", "/page/x"} <= set(targets(app))
        assert let_in(app, made.address, token) == []
        assert made.hub.entered == 0  # no picture was made for any of them
        good = {"Authorization": f"Bearer {token}"} if token else {}
        for target in targets(app):  # and with all that is asked for, none of them is refused
            for method in ("GET", "POST"):
                status = status_of(made.address, method, target, X_Labelcam="1", **good)
                assert status not in (401, 403), (method, target)


def test_a_route_that_goes_round_the_guard_is_found(small: Flask) -> None:
    guard: Any = small.before_request_funcs[None].pop()
    small.add_url_rule("/open", "open", lambda: "secret")

    @small.before_request
    def too_kind() -> Any:
        return None if request.endpoint == "open" else guard()

    with served(small) as address:
        assert any("/open" in line for line in let_in(small, address, None))


def test_nothing_comes_before_the_guard(site: Sites) -> None:  # noqa: F811
    """The walk finds a route without the guard. This finds what is no route."""
    with site() as made:
        app = made.server.app
        assert type(app) is Flask
        assert type(app).wsgi_app is Flask.wsgi_app
        assert "wsgi_app" not in vars(app)  # nothing is wrapped around it
        first = app.before_request_funcs[None][0]
        assert first.__module__ == "stream.server_guard"
        assert not app.url_value_preprocessors
        assert set(app.before_request_funcs) == {None}  # a camera's routes have none of their own


def test_a_debugger_is_never_on(site: Sites) -> None:  # noqa: F811
    with site() as made:
        assert not made.server.app.debug
        assert not made.server.app.testing
        assert made.server.app.secret_key is None


def test_each_promise_names_a_test_that_there_is() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    tests = {path.name: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    files = re.findall(r"`(test_\w+\.py)`", text)
    assert len(files) > 10
    assert set(files) <= set(tests)
    parts = re.findall(r"`…(\w+)…?`", text)
    assert len(parts) > 20
    named = re.findall(r"\ndef (test_\w+)\(", "".join(tests[name] for name in set(files)))
    assert [part for part in parts if not any(part in name for name in named)] == []


# Names.


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost@evil",
        "[",
        "]",
        "[]",
        "[::1",
        "[v1.x]",
        "[::1]x",
        "[::1%25lo]",
        "a@b",
        "a/b",
        "a b",
        "localhost localhost",
        "localhost:",
        "localhost:x",
        "localhost:0",
        "localhost:99999",
        "localhost:123456789",
        ":80",
        ".",
        "..",
        ".localhost",
        "localhost..",
        "0.0.0.0",
        "0",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "::1",
        "[::]",
        "[::ffff:10.0.0.1]",
        "<script>alert(1)</script>",
        "loc\xe4lhost",
        "\xff\xfe",
        "x" * 300,
        "x" * 15_000,
        "localhost:80:80",
        "",
    ],
)
@pytest.mark.parametrize("target", ["/", "/api/state", "/none"])
def test_a_foreign_or_broken_name_is_refused_and_not_repeated(small: Flask, host: str, target: str) -> None:
    with served(small) as address:
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n".encode("latin-1")
        answer = answer_to(address, head)
        assert re.match(rb"HTTP/1.1 403 ", answer), answer[:60]
        assert b"<script" not in answer
        assert b"xxxx" not in answer


def test_the_refusal_says_what_to_type(small: Flask) -> None:
    with served(small) as address:
        said = ask(address, "/api/x", {"Host": "Camera.Example:8443"}).json["error"]
        assert said.endswith("start with --allow-host camera.example:8443")
        page = ask(address, "/", {"Host": "camera.example"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b"--allow-host camera.example<" in page.body


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nX_Host: localhost\r\nX-Forwarded-Host: localhost\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_whom_a_request_asks_is_said_in_one_way(small: Flask, request_bytes: bytes) -> None:
    with served(small) as address:
        answer = answer_to(address, request_bytes)
        assert re.match(rb"HTTP/1.[01] 40[03] ", answer), answer[:60]


def test_an_absolute_address_of_ours_is_answered(small: Flask) -> None:
    with served(small) as address:
        answer = answer_to(address, b"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("host", "without_token", "with_token"),
    [
        ("localhost", True, True),
        ("LocalHost.:8000", True, True),
        ("127.0.0.1", True, True),
        ("127.9.9.9:1", True, True),
        ("[::1]:8000", True, True),
        ("192.168.1.7:8000", False, True),
        ("[fd00::7]", False, True),
        ("kitchen", False, True),
        ("kitchen:8000", False, True),
        ("KITCHEN.local", False, True),
        ("kitchen.lan", False, True),  # what the machine calls itself
        ("kitchen.example", False, False),
        ("local", False, False),
        ("evil.example", False, False),
        ("camera.example", True, True),
        ("Camera.Example.:1234", True, True),
        ("cameras.example", False, False),
        ("x.camera.example", False, False),
        ("other.example", False, False),
        ("other.example:8443", True, True),
        ("other.example:8444", False, False),
    ],
)
def test_which_names_are_answered(host: str, without_token: bool, with_token: bool) -> None:
    allowed = ("camera.example", "OTHER.example:8443")
    read = read_host(host)
    assert read is not None
    assert Hosts("kitchen.lan", allowed, with_token=False).answers(read) is without_token
    assert Hosts("kitchen.lan", allowed, with_token=True).answers(read) is with_token


@pytest.mark.parametrize(
    "name", ["", "a b", "http://camera.example", "*", "*.example", "a/b", "x:0", "[::", "ä.de"]
)
def test_an_allowed_name_that_is_none_is_refused_at_start(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--allow-host", name])
    assert end.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "is no name - write camera.example or camera.example:8443" in line


@pytest.mark.parametrize("token", ["", " ", "a b", "ü", 'a"b', "a;b", "a\x00b"])
def test_a_token_that_is_none_is_refused_at_start(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty one, of a variable that is not set, would let everybody in."""
    with pytest.raises(SystemExit) as end:
        parse(["--token", token])
    assert end.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--token: ... is no token - take letters, digits" in line
    assert not token.strip() or repr(token) not in line


def test_allowed_names_are_answered(tmp_path: Path) -> None:
    names = ("--allow-host", "camera.example", "--allow-host", "Other.Example:8443")
    with labelcam("--port", "0", "--source", "demo:", *names) as running:
        for host, status in (
            ("camera.example", 200),
            ("CAMERA.example:99", 200),
            ("other.example:8443", 200),
            ("other.example", 403),
            ("localhost", 200),
        ):
            assert ask(running.address, "/healthz", {"Host": host}).status == status, host


def test_with_a_token_this_machines_names_are_answered_and_no_others(site: Sites) -> None:  # noqa: F811
    with site(token=TOKEN) as made:
        for host, status in (
            (socket.gethostname(), 200),
            (f"{socket.gethostname().partition('.')[0]}.local:8000", 200),
            ("192.0.2.1", 200),
            ("evil.example", 403),
        ):
            for query, cookies in ((f"?token={TOKEN}", status == 200), ("?token=wrong", False)):
                answer = ask(made.address, f"/healthz{query}", {"Host": host})
                assert answer.status == (status if "wrong" not in query else {200: 401, 403: 403}[status]), (
                    host
                )
                assert ("set-cookie" in answer.headers) is cookies  # no cookie under a stranger's name


# Who may change something.


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        ({"X-Labelcam": "1"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        (
            {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
            True,
        ),  # browsers do not send that
        ({"Sec-Fetch-Site": "same-site", "X-Labelcam": "1"}, False),
        ({"Sec-Fetch-Site": "cross-site", "X-Labelcam": "1"}, False),
        ({"Sec-Fetch-Site": "none", "X-Labelcam": "1"}, False),
        ({"Sec-Fetch-Site": "", "X-Labelcam": "1"}, False),
        ({"Origin": "http://localhost:8000"}, True),
        ({"Origin": "https://localhost:8000"}, True),  # a proxy speaks https for us
        ({"Origin": "http://LOCALHOST:8000"}, True),
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "http://localhost:8001", "X-Labelcam": "1"}, False),
        ({"Origin": "http://evil.example", "X-Labelcam": "1"}, False),
        ({"Origin": "http://localhost:8000@evil.example"}, False),
        ({"Origin": "http://localhost:8000.evil.example"}, False),
        ({"Origin": "null", "X-Labelcam": "1"}, False),
        ({"Origin": "", "X-Labelcam": "1"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": "file://localhost:8000"}, False),
        ({"Origin": "http://localhost:8000, http://localhost:8000"}, False),
        ({"Origin": "localhost:8000"}, False),
    ],
)
def test_only_our_own_page_or_a_script_that_says_so_may_change_something(
    small: Flask, headers: dict[str, str], allowed: bool
) -> None:
    changed = []

    @small.post("/change")
    def change() -> str:
        changed.append(1)
        return ""

    with served(small) as address:
        answer = ask(address, "/change", {"Host": "localhost:8000", **headers}, method="POST")
        assert (answer.status, len(changed)) == ((200, 1) if allowed else (403, 0))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 200),
    ],
)
def test_another_sites_page_takes_no_viewers_place(
    demo: Site,  # noqa: F811
    headers: dict[str, str],
    status: int,
) -> None:
    with Viewer(demo.address, "/stream", headers) as viewer:
        assert viewer.status == status


@pytest.mark.parametrize(
    ("headers", "policy"),
    [
        ({}, "same-site"),
        ({"Sec-Fetch-Site": "same-site"}, "cross-origin"),
        ({"Sec-Fetch-Site": "none", "Referer": "http://192.168.1.5/"}, "same-site"),
        ({"Referer": "http://192.168.1.5/"}, "cross-origin"),
        ({"Referer": "http://192.168.1.5:5000/files/x"}, "cross-origin"),
        ({"Referer": "http://192.168.1.6/"}, "same-site"),
        ({"Referer": "http://192.168.1.5.evil.example/"}, "same-site"),
        ({"Referer": "http://192.168.1.5@evil.example/"}, "same-site"),
        ({"Referer": "http://["}, "same-site"),
    ],
)
def test_pictures_may_be_shown_beside_others_of_the_same_machine(
    site: Sites,  # noqa: F811
    headers: dict[str, str],
    policy: str,
) -> None:
    with site(token=TOKEN) as made:
        usual = {"Host": "192.168.1.5:8000", "Authorization": f"Bearer {TOKEN}"}
        wait_for(lambda: ask(made.address, "/readyz", usual).status == 200)
        picture = ask(made.address, "/snapshot", {**usual, **headers})
        assert picture.headers["cross-origin-resource-policy"] == policy
        state = ask(made.address, "/api/state", {**usual, **headers})
        assert state.headers["cross-origin-resource-policy"] == "same-origin"


# What browsers make of it.

FROM_ELSEWHERE = """async (address) => {
    const simple = {method: "POST", mode: "no-cors", credentials: "include", body: '{"quality": 1}'};
    await fetch(address + "/api/settings", simple).catch(() => null);
    const picture = (path) => new Promise((done) => {
        const image = new Image();
        image.onload = () => done("shown");
        image.onerror = () => done("refused");
        image.src = address + path;
    });
    const asked = fetch(address + "/api/state", {credentials: "include"});
    const read = await asked.then(() => "read", () => "refused");
    return [await picture("/snapshot"), await picture("/stream"), read];
}"""
"""What a stranger's page tries."""


def test_a_browser_shows_it_to_this_machines_pages_and_to_no_strangers(demo: Site) -> None:  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r requirements-dev.txt")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium: apt-get install chromium")
    address = f"http://127.0.0.1:{demo.address[1]}"
    names = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with playwright.sync_playwright() as driver, stranger() as port:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, names])
        tab = chromium.new_page()
        tab.goto(f"http://stranger.example:{port}/")
        assert tab.evaluate(FROM_ELSEWHERE, address) == ["refused", "refused", "refused"]
        # A stranger's name that its owner lets point here, and what he would read.
        for path in ("/", "/snapshot", "/api/state"):
            answer = tab.goto(f"http://rebound.example:{demo.address[1]}{path}")
            assert answer is not None
            assert answer.status == 403
        # As OctoPrint's page, at another port of the same machine: pictures, and no more.
        for name in ("127.0.0.1", "localhost"):
            tab.goto(f"http://{name}:{port}/")
            beside = address.replace("127.0.0.1", name)
            assert tab.evaluate(FROM_ELSEWHERE, beside) == ["shown", "shown", "refused"], name
        chromium.close()
    assert ask(demo.address, "/api/settings").json["settings"]["quality"] == 80


@contextmanager
def stranger() -> Iterator[int]:
    """The port of a site that is not ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "15")
            self.end_headers()
            self.wfile.write(b"<!doctype html>")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# Every answer.


def test_every_answer_says_how_it_is_to_be_treated(site: Sites) -> None:  # noqa: F811
    with site(token=TOKEN) as made:
        for target in (*targets(made.server.app), "/page/page.js", "/page/"):
            for query in (f"token={TOKEN}", "token=wrong"):
                for method in ("GET", "HEAD", "OPTIONS", "POST"):
                    both = "&" if "?" in target else "?"
                    head = f"{method} {target}{both}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    check_headers(answer_to(made.address, head.encode()))


def check_headers(answer: bytes) -> None:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    head = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert head["x-content-type-options"] == "nosniff", lines
    assert head["referrer-policy"] == "no-referrer"
    assert head["x-frame-options"] == "DENY"
    assert head["cross-origin-opener-policy"] == "same-origin"
    assert head["permissions-policy"] == "camera=(), geolocation=(), microphone=()"
    assert head["content-security-policy"].startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in head["content-security-policy"]
    assert head["cache-control"] in ("no-store", "no-cache")
    picture = head.get("content-type", "").startswith(("image/jpeg", "multipart/x-mixed-replace"))
    assert head["cross-origin-resource-policy"] == ("same-site" if picture else "same-origin")
    assert not [name for name in head if name.startswith("access-control-")]
    assert "server" not in head
    assert "waitress" not in answer.decode("latin-1").lower()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /%0a HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /%1b[2J HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 6000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n", 413),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 16_384 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 16_384 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_told_so_in_one_line(
    small: Flask, request_bytes: bytes, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(small) as address:
        answer = answer_to(address, request_bytes)
        assert int(answer[9:12]) == status
        check_headers(answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"\r\nContent-Type: text/plain; charset=utf-8" in head
        assert b"\r\nConnection: close" in head
        assert re.fullmatch(rb"[A-Za-z ]+\n", body)
        assert ask(address, "/healthz").status == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("target", "accept", "kind"),
    [
        ("/", None, "text/html"),
        ("/?action=stream", None, "text/html"),
        ("/compare", None, "text/html"),
        ("/none", "text/html", "text/html"),
        ("/none", "*/*", "application/json"),
        ("/none", None, "application/json"),
        ("/api/none", "text/html", "application/json"),
        ("/stream", "text/html", "application/json"),
        ("/snapshot.jpg", "text/html", "application/json"),
        ("/log", "text/html", "application/json"),
        ("/healthz", "text/html", "application/json"),
        ("/metrics", "text/html", "application/json"),
    ],
)
def test_people_get_a_page_and_programs_json(
    small: Flask, target: str, accept: str | None, kind: str
) -> None:
    with served(small) as address:
        headers = {"Host": "evil.example", **({"Accept": accept} if accept else {})}
        answer = ask(address, target, headers)
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert len(answer.body) < 1000
        if kind == "application/json":
            assert set(json.loads(answer.body)) == {"error"}
        else:
            assert b"<script" not in answer.body
            assert b" style=" not in answer.body


@pytest.mark.parametrize("target", ["/none/%3Cscript%3E", "/none?<script>", "/api/<b>x</b>"])
def test_an_address_that_is_not_there_is_not_repeated(small: Flask, target: str) -> None:
    with served(small) as address:
        for accept in ("text/html", "application/json"):
            answer = ask(address, target, {"Accept": accept})
            assert answer.status == 404
            assert b"script" not in answer.body
            assert b"<b>" not in answer.body


def test_what_cannot_be_done_names_what_can(small: Flask) -> None:
    with served(small) as address:
        answer = ask(address, "/", {"X-Labelcam": "1"}, method="DELETE")
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_a_bug_is_one_plain_line_and_in_the_log_once(small: Flask, caplog: pytest.LogCaptureFixture) -> None:
    def bug() -> str:
        raise RuntimeError("the innermost secret")

    small.add_url_rule("/api/bug", "bug", bug)
    small.add_url_rule("/compare", "page_bug", bug)
    with served(small) as address:
        for target in ("/api/bug", "/compare"):
            caplog.clear()
            answer = ask(address, target)
            assert answer.status == 500
            for told in (b"Traceback", b"secret", b"RuntimeError", b".py"):
                assert told not in answer.body
            assert caplog.text.count("Traceback") == 1
            assert "the innermost secret" in caplog.text


def test_a_bug_where_no_answer_can_be_made_is_one_plain_line_too(
    small: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Response):
        def __call__(self, environ: Any, start_response: Any) -> Any:
            raise RuntimeError("the innermost secret")

    small.add_url_rule("/bug", "bug", Broken)
    with served(small) as address:
        answer = answer_to(address, b"GET /bug HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b"\r\n\r\nInternal Server Error\n")
        check_headers(answer)
        assert caplog.text.count("Traceback") == 1


# What is secret.


@contextmanager
def logged(token: str) -> Iterator[io.StringIO]:
    """What the program's log would have, set up as for a run with --verbose."""
    root, out = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    root.handlers, root.level = [logging.StreamHandler(out)], logging.DEBUG
    root.handlers[0].setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    try:
        redact_logs(token)
        yield out
    finally:
        root.handlers, root.level = handlers, level


def test_not_even_a_bug_that_names_it_brings_the_token_into_the_log() -> None:
    token, quoted = "to/ken+that-nobody&guesses", "to%2Fken%2Bthat-nobody%26guesses"
    app = Flask("small", static_folder=None)
    add_guard(app, token, ())

    def bug() -> str:
        raise RuntimeError(f"{request.url} {request.environ} {request.args} rtsp://me:hunter2@camera/x")

    app.add_url_rule("/api/bug", "bug", bug)
    with logged(token) as out, served(app) as address:
        assert ask(address, f"/api/bug?token={quoted}").status == 500
        assert ask(address, "/api/bug", {"Authorization": f"Bearer {token}"}).status == 500
    text = out.getvalue()
    assert text.count("RuntimeError: ") == 2
    assert "guesses" not in text
    assert "hunter2" not in text
    assert "rtsp://camera/x" in text


def everything_told(address: Address, query: str) -> str:
    """By all that answers and ends, and by the beginning of what does not."""
    told = ""
    for target in (
        "/", "/api/state", "/api/settings", "/api/openapi.json", "/metrics", "/healthz", "/readyz", "/log",
        "/compare", "/none", "/api/none", "/snapshot", "/page/page.js",
    ):  # fmt: skip
        answer = ask(address, target + query)
        told += f"{answer.headers}" * (target != "/") + answer.body.decode("latin-1")
    with closing(connected(address)) as one:
        one.sendall(f"GET /api/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        one.settimeout(1.5)
        until_s = time.monotonic() + 2.5
        try:
            while time.monotonic() < until_s and (more := one.recv(1 << 16)):
                told += more.decode("latin-1")
        except TimeoutError:
            pass
    return told


def test_the_token_is_told_once_and_never_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    arguments = ("--port", "0", "--source", "demo:", "--host", "0.0.0.0", "--log", log, "--verbose")
    with labelcam(*arguments) as running:
        found = re.fullmatch(r"http://[^:/]+:(\d+)/\?token=([\w-]{16,})", running.url)
        assert found
        address, token = ("127.0.0.1", int(found[1])), found[2]
        told = everything_told(address, f"?token={token}")
        assert token not in told.replace(f"labelcam_{address[1]}={token};", "")  # its cookie
        for odd in (f"GET /%0a?token={token} HTTP/1.1", f"NONE http://[?token={token}", f"GET /x{token}\x01"):
            answer_to(address, f"{odd}\r\nHost: localhost\r\nX-Broken {token}\r\n\r\n".encode())
            assert token.encode() not in answer_to(address, f"{odd}\r\nHost: localhost\r\n\r\n".encode())
        ask(address, f"/{token}?token={token}")
        running.stop()
        assert token not in running.errors + log.read_text()
        assert running.out.count(token) == 1


def test_a_given_token_is_never_told(tmp_path: Path) -> None:
    options = tmp_path / "options"
    options.write_text("--token let-me-in-please")
    with labelcam("--port", "0", "--source", "demo:", "--verbose", f"@{options}") as running:
        everything_told(running.address, "?token=let-me-in-please")
        command = Path(f"/proc/{running.process.pid}/cmdline").read_text()
        running.stop()
        assert "let-me-in" not in running.out + running.errors + command


def test_a_run_logs_without_its_token(tmp_path: Path) -> None:
    """Whatever else has that name: here the pictures' folder, which --verbose tells."""
    pictures = tmp_path / "let-me-in-please"
    pictures.mkdir()
    shutil.copy(ROOT / "docs" / "img" / "page.webp", pictures)
    with labelcam(
        *("--port", "0", "--source", pictures, "--token", "let-me-in-please", "--verbose", "--duration", "2")
    ) as running:
        assert running.ends() == 0
        assert "let-me-in" not in running.errors
        assert re.search(r"^INFO: .*\.\.\.", running.errors, re.M)


@pytest.mark.parametrize("here", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_cameras_password_is_told_nowhere(tmp_path: Path, here: bool) -> None:
    log = tmp_path / "log.jsonl"
    with NetworkCamera(login="me:hunter2") as camera:
        url = camera.url.replace("//", "//me:hunter2@") + "?key=sub-rosa"
        if not here:
            url = url.replace("http://", "rtsp://")
        arguments = ("--port", "0", "--wait-for-camera", "--source", url, "--log", log, "--verbose")
        with labelcam(*arguments) as running:
            if here:
                wait_for(lambda: ask(running.address, "/readyz").status == 200)
            else:
                wait_for(lambda: ask(running.address, "/readyz").json["reason"] != "")
                time.sleep(1)
            told = everything_told(running.address, "")
            running.stop()
            told += running.out + running.errors + log.read_text()
    assert "hunter2" not in told
    assert "sub-rosa" not in told


# Nobody keeps the others out.


def is_gone(one: socket.socket) -> bool:
    """Its peer has ended the connection."""
    one.setblocking(False)
    try:
        while one.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def dripping(address: Address, count: int, begin: bytes, drip: bytes, during: Callable[[], None]) -> float:
    """So many connections that send `begin` and then `drip` again and again. How long the last one lasted,
    in seconds; `during` is called all the time."""
    with ExitStack() as stack:
        slow = {stack.enter_context(closing(connected(address))) for _ in range(count)}
        started_s = time.monotonic()
        for one in slow:
            one.sendall(begin)
        drips_s = started_s
        while slow:
            assert time.monotonic() < started_s + PATIENCE_S, f"{len(slow)} are still there"
            during()
            if drips_s < time.monotonic():
                drips_s = time.monotonic() + 0.2
                for one in list(slow):
                    try:
                        one.setblocking(True)
                        one.sendall(drip)
                    except OSError:
                        slow.discard(one)
            slow -= {one for one in slow if is_gone(one)}
            time.sleep(0.02)
        return time.monotonic() - started_s


def prompt(address: Address) -> Callable[[], None]:
    def check() -> None:
        started_s = time.monotonic()
        assert ask(address, "/healthz").status == 200
        assert time.monotonic() - started_s < 1

    return check


HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
SLOW = {
    "header": (HALF + b"X-Slow: ", b"x"),
    "lines": (HALF, b"X: x\r\n"),
    "body": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n", b"x"),
    "chunks": (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "continue": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 90\r\n\r\n", b""),
    "nothing": (b"", b""),
    "blank lines": (b"", b"\r\n\r\n"),
}


@pytest.mark.parametrize(("begin", "drip"), SLOW.values(), ids=SLOW)
def test_who_sends_too_slowly_is_cut(small: Flask, begin: bytes, drip: bytes) -> None:
    with served(small, Limits(request_s=1, idle_s=1)) as address:
        took_s = dripping(address, 20, begin, drip, prompt(address))
        assert 0.9 < took_s < 4  # looked for once a second


@pytest.mark.slow
@pytest.mark.parametrize("how", ["header", "body"])
def test_three_hundred_dripping_connections_are_gone_in_time(demo: Site, how: str) -> None:  # noqa: F811
    with Viewer(demo.address) as viewer:
        took_s = dripping(demo.address, 300, *SLOW[how], prompt(demo.address))
        assert took_s < 15
        assert viewer.part().jpeg


def test_more_connections_than_there_may_be_end_the_one_waited_for_longest(small: Flask) -> None:
    with served(small, Limits(connections=10)) as address, ExitStack() as stack:
        slow = [stack.enter_context(closing(connected(address))) for _ in range(25)]
        for one in slow:
            one.sendall(HALF)
            prompt(address)()
        wait_for(lambda: sum(map(is_gone, slow)) >= 15, 5)
        assert not is_gone(slow[-1])  # it may still finish
        slow[-1].setblocking(True)
        slow[-1].sendall(b"\r\n")
        assert slow[-1].recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_connection_between_two_requests_ends(small: Flask) -> None:
    with served(small, Limits(idle_s=1)) as address, closing(connected(address)) as one:
        for _ in range(8):  # each within the time, all of them longer
            one.setblocking(True)
            one.sendall(HALF + b"\r\n")
            answer = one.recv(1 << 16)
            while not answer.endswith(b"hello"):
                answer += one.recv(1 << 16)
            time.sleep(0.2)
        assert not is_gone(one)
        assert 0.5 < wait_for(lambda: is_gone(one), 5) < 4


LARGE = 24 << 20


@pytest.fixture
def large(small: Flask, tmp_path: Path) -> Flask:
    """Two answers larger than what waitress holds: a file, and what is made as it goes."""
    path = tmp_path / "large"
    path.write_bytes(bytes(LARGE))
    small.add_url_rule("/file", "file", lambda: send_file(path, conditional=True))
    small.add_url_rule("/made", "made", lambda: Response(bytes(1 << 20) for _ in range(LARGE >> 20)))
    return small


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers", [pytest.param(b"", marks=pytest.mark.slow), b"Range: bytes=0-\r\n"], ids=["whole", "range"]
)
def test_who_does_not_read_a_file_holds_no_thread(large: Flask, headers: bytes) -> None:
    before = open_files()
    with served(large, Limits(request_s=3)) as address, ExitStack() as stack:
        lazy = [stack.enter_context(closing(connected(address, receive_bytes=4096))) for _ in range(20)]
        for one in lazy:
            one.sendall(b"GET /file HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")
        for _ in range(10):
            prompt(address)()
            time.sleep(0.1)
        assert open_files() >= before + 3 * len(lazy)  # both ends, and the file
        wait_for(lambda: open_files() <= before + len(lazy) + 10, 10)


@pytest.mark.slow
def test_who_does_not_read_what_a_thread_writes_holds_it_for_a_while_only(large: Flask) -> None:
    with served(large, Limits(request_s=1)) as address, ExitStack() as stack:
        for _ in range(20):
            one = stack.enter_context(closing(connected(address, receive_bytes=4096)))
            one.sendall(b"GET /made HTTP/1.1\r\nHost: localhost\r\n\r\n")
        started_s = time.monotonic()
        assert ask(address, "/healthz").status == 200
        assert time.monotonic() - started_s < 12


@pytest.mark.slow
def test_who_reads_slowly_but_reads_gets_all_of_it(large: Flask) -> None:
    with (
        served(large, Limits(request_s=1)) as address,
        closing(connected(address, receive_bytes=65_536)) as one,
    ):
        one.sendall(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until_s, taken = time.monotonic() + 3, 0
        while time.monotonic() < until_s:
            taken += len(one.recv(20_000))
            time.sleep(0.1)
        while taken < LARGE:
            more = one.recv(1 << 20)
            assert more
            taken += len(more)


def test_requests_sent_without_waiting_for_answers_are_not_all_answered(small: Flask) -> None:
    with served(small) as address, closing(connected(address)) as one:
        one.sendall((HALF + b"\r\n") * 100)
        answers = b""
        while more := one.recv(1 << 16):
            answers += more
        assert answers.count(b"HTTP/1.1 200 ") == 1
        assert b"\r\nConnection: close" in answers


def test_where_no_more_files_may_be_open_the_health_is_still_told() -> None:
    with labelcam("--port", "0", "--source", "demo:") as running, ExitStack() as stack:
        assert ask(running.address, "/healthz").status == 200
        used = len(os.listdir(f"/proc/{running.process.pid}/fd"))  # noqa: PTH208
        _, most = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (used + 20, most))
        for _ in range(50):
            stack.enter_context(closing(connected(running.address))).sendall(HALF)
        for _ in range(5):
            prompt(running.address)()
        assert running.errors == ""
