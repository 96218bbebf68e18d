"""Behind TLS, by the recipes of docs/proxy: the real nginx and the real Caddy, with those very files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPResponse, HTTPSConnection
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from stream.demo import read_seq
from tests.conftest import CHROMIUM, QUIET
from tests.network_camera import free_port
from tests.test_guard import FROM_ELSEWHERE, stranger
from tests.viewer import ROOT, Answer, Labelcam, ask, decoded, labelcam, wait_for

pytestmark = pytest.mark.slow  # two proxies are started, and watched

NAME, TOKEN = "camera.example", "a-token-that-nobody-guesses"
RECIPES = ("nginx", "caddy")


class Proxy(NamedTuple):
    port: int
    trust: ssl.SSLContext
    behind: Labelcam
    folder: Path  # what it wrote

    def connected(self) -> ssl.SSLSocket:
        made = socket.create_connection(("127.0.0.1", self.port), 10)
        return self.trust.wrap_socket(made, server_hostname=NAME)

    def ask(
        self,
        target: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """With the token and the name, if `headers` says nothing else."""
        connection = HTTPSConnection(NAME, self.port)
        connection.sock = self.connected()
        with closing(connection):
            usual = {"Host": f"{NAME}:{self.port}", "Authorization": f"Bearer {TOKEN}"}
            connection.request(method, target, body, {**usual, **(headers or {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    @contextmanager
    def answering(self, target: str) -> Iterator[HTTPResponse]:
        """What never ends, read as it comes."""
        connection = HTTPSConnection(NAME, self.port)
        connection.sock = self.connected()
        with closing(connection):
            connection.request("GET", target, headers={"Authorization": f"Bearer {TOKEN}"})
            response = connection.getresponse()
            assert response.status == 200
            yield response
            response.close()

    def written(self) -> str:
        """Its logs."""
        files = [
            path for path in self.folder.rglob("*") if path.is_file() and path.suffix in (".log", ".txt")
        ]
        return "".join(path.read_text() for path in files)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of a name nobody has, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl: apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificate")
    names = f"subjectAltName=DNS:{NAME}"
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext", names]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(["openssl", "req", *made, *files], check=True, capture_output=True)
    return folder


def nginx(recipe: str, port: int, folder: Path) -> list[str]:
    """The command; what the packages' own files have around a site is made here."""
    site, main = folder / "site.conf", folder / "nginx.conf"
    site.write_text(
        recipe.replace("listen 443", f"listen 127.0.0.1:{port}").replace("/var/log/nginx", str(folder))
    )
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main.write_text(
        f"daemon off; master_process off; pid {folder / 'pid'}; error_log {folder / 'main.log'};"
        f" events {{}} http {{ {temporary} include {site}; }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(main), "-e", str(folder / "main.log")]


def caddy(recipe: str, port: int, folder: Path) -> list[str]:
    file = folder / "Caddyfile"
    file.write_text(recipe.replace(f"https://{NAME} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1"))
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


COMMANDS: dict[str, Callable[[str, int, Path], list[str]]] = {"nginx": nginx, "caddy": caddy}
FILES = {"nginx": "nginx.conf", "caddy": "Caddyfile"}


@contextmanager
def running(kind: str, certificate: Path, folder: Path, more: str = "") -> Iterator[Proxy]:
    """By its recipe, with `more` lines about what is passed on."""
    if not shutil.which(kind):
        pytest.skip(f"no {kind}: apt-get install {'nginx-light' if kind == 'nginx' else kind}")
    options = folder / "options"
    options.write_text(f"--token {TOKEN} --allow-host {NAME}")
    with labelcam("--port", "0", "--source", "demo:", f"@{options}") as behind:
        port, recipe = free_port(), (ROOT / "docs" / "proxy" / FILES[kind]).read_text()
        recipe = recipe.replace("127.0.0.1:8000", f"127.0.0.1:{behind.address[1]}")
        recipe = recipe.replace("/etc/ssl/camera.example", str(certificate))
        for line in ("proxy_buffering off;", "flush_interval -1"):
            recipe = recipe.replace(line, f"{more}\n{line}")
        command = COMMANDS[kind](recipe, port, folder)
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with (folder / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                command, env={**os.environ, **home}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        try:
            trust = ssl.create_default_context(cafile=certificate / "fullchain.pem")
            proxy = Proxy(port, trust, behind, folder)
            wait_for(lambda: listens(port) or process.poll() is not None)
            assert process.poll() is None, proxy.written()
            wait_for(lambda: proxy.ask("/readyz").status == 200)
            yield proxy
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionError:
        return False
    return True


@pytest.fixture(scope="module", params=RECIPES)
def proxy(
    request: pytest.FixtureRequest, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(request.param, certificate, tmp_path_factory.mktemp(request.param)) as made:
        yield made


def test_without_the_token_nothing_is_told_through_a_proxy(proxy: Proxy) -> None:
    for target in ("/", "/stream", "/snapshot", "/api/state", "/api/events", "/api/settings", "/none"):
        for header in ("", "Bearer wrong"):
            assert proxy.ask(target, {"Authorization": header}).status == 401, target


@pytest.mark.parametrize("host", ["evil.example", "camera.example.evil.example", "x"])
def test_a_foreign_name_is_refused_through_a_proxy(proxy: Proxy, host: str) -> None:
    for target in ("/", "/stream", "/api/state"):
        answer = proxy.ask(target, {"Host": host})
        # Caddy has nothing for other names than its own, and says so with an empty 200.
        assert answer.status == 403 or (answer.status, answer.body) == (200, b""), target


def test_the_page_comes_over_https_with_all_its_headers(proxy: Proxy) -> None:
    first = proxy.ask(f"/?token={TOKEN}", {"Authorization": ""})
    assert first.status == 200
    assert b"<html" in first.body
    cookie, _, how = first.headers["set-cookie"].partition("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(how.split("; "))
    for target in ("/", "/page/page.js", "/page/page.css", "/api/state"):
        answer = proxy.ask(target, {"Authorization": "", "Cookie": cookie})
        assert answer.status == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_the_stream_comes_at_the_cameras_rate(proxy: Proxy) -> None:
    """Nothing is held back: neither the first picture, nor the boundary behind each."""
    asked_s, came_s, seqs = time.monotonic(), list[float](), list[int | None]()
    with proxy.answering("/stream") as response:
        assert response.readline() == b"--frame\r\n"
        for _ in range(60):
            part = dict(line.split(": ") for line in iter(lambda: response.readline().decode().strip(), ""))
            jpeg = response.read(int(part["Content-Length"]))
            assert response.readline() + response.readline() == b"\r\n--frame\r\n"
            came_s.append(time.monotonic())
            seqs.append(read_seq(decoded(jpeg)))
    assert came_s[0] - asked_s < 1
    assert 20 < (len(came_s) - 1) / (came_s[-1] - came_s[0]) < 40  # of 30
    assert max(later - earlier for earlier, later in pairwise(came_s)) < 0.5
    assert None not in seqs
    assert seqs == sorted(set(seqs), key=lambda seq: seq or 0)
    wait_for(lambda: viewers(proxy) == 0, 10)  # the proxy tells that he has left


def viewers(proxy: Proxy) -> int:
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    count: int = ask(proxy.behind.address, "/api/state", authorization).json["stream"]["viewers"]
    return count


def test_events_flow_as_they_happen(proxy: Proxy) -> None:
    asked_s, states_s, events = time.monotonic(), list[float](), set[bytes]()
    with proxy.answering("/api/events") as response:
        while len(states_s) < 4:
            line = response.readline()
            assert line
            if line.startswith(b"event: "):
                events.add(line.strip())
                states_s += [time.monotonic()] * (line == b"event: state\n")
    assert {b"event: history", b"event: state", b"event: answer"} == events
    assert states_s[0] - asked_s < 1
    assert all(0.3 < later - earlier < 2 for earlier, later in pairwise(states_s[1:]))


def test_settings_can_be_changed_through_a_proxy_by_its_own_page_only(proxy: Proxy) -> None:
    def post(origin: str, host: str, more: Mapping[str, str] | None = None) -> int:
        headers = {"Content-Type": "application/json", "Origin": origin, "Host": host}
        body = json.dumps({"quality": 71}).encode()
        return proxy.ask("/api/settings", {**headers, **(more or {})}, "POST", body).status

    assert post("https://evil.example", NAME) == 403
    assert post(f"https://{NAME}.evil.example", NAME) == 403
    assert post(f"https://{NAME}", NAME, {"Sec-Fetch-Site": "cross-site"}) == 403
    assert proxy.ask("/api/settings").json["settings"]["quality"] == 80
    assert post(f"https://{NAME}", NAME) == 200
    assert post(f"https://{NAME}:{proxy.port}", f"{NAME}:{proxy.port}") == 200
    assert post(f"https://{NAME}", NAME, {"Sec-Fetch-Site": "same-origin"}) == 200
    assert proxy.ask("/api/settings").json["settings"]["quality"] == 71


def test_what_is_too_large_is_refused_at_the_proxy(proxy: Proxy) -> None:
    answer = proxy.ask("/api/settings", {"X-Labelcam": "1"}, "POST", bytes(1 << 20))
    assert answer.status in (413, 502)  # Caddy 2.6 says it so


TOLD_BY_THE_PROXY = {
    "nginx": f'proxy_set_header Authorization "Bearer {TOKEN}";',
    "caddy": f'header_up Authorization "Bearer {TOKEN}"',
}


@pytest.mark.parametrize("kind", RECIPES)
def test_the_token_may_be_left_to_a_proxy(kind: str, certificate: Path, tmp_path: Path) -> None:
    with running(kind, certificate, tmp_path, TOLD_BY_THE_PROXY[kind]) as proxy:
        page = proxy.ask("/", {"Authorization": ""})
        assert page.status == 200
        assert TOKEN not in f"{page.headers}"
        assert ask(proxy.behind.address, "/").status == 401


IN_THE_PAGE = """async () => {
    const told = {};
    const reader = (await fetch("/stream")).body.getReader();
    for (told.bytes = 0; told.bytes < 300000;) told.bytes += (await reader.read()).value.length;
    await reader.cancel();
    told.event = await new Promise((done) => {
        const source = new EventSource("/api/events");
        source.addEventListener("state", () => { source.close(); done("state"); });
    });
    const change = (quality) => ({method: "POST", headers: {"Content-Type": "application/json"},
        body: JSON.stringify({quality})});
    told.changed = (await fetch("/api/settings", change(62))).status;
    return told;
}"""
"""What the page does, and what no header of ours may forbid it."""


def test_behind_a_proxy_our_page_may_do_what_it_does_and_a_strangers_nothing(
    proxy: Proxy,
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r requirements-dev.txt")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium: apt-get install chromium")
    address = f"https://{NAME}:{proxy.port}"
    names = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP stranger.example 127.0.0.1"
    with playwright.sync_playwright() as driver, stranger() as port:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, names])
        tab = chromium.new_context(ignore_https_errors=True).new_page()
        troubles: list[str] = []
        tab.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        tab.goto(f"{address}/?token={TOKEN}")
        told = tab.evaluate(IN_THE_PAGE)
        assert (told["event"], told["changed"]) == ("state", 200)
        assert troubles == []
        tab.goto(f"http://stranger.example:{port}/")
        assert tab.evaluate(FROM_ELSEWHERE, address) == ["refused", "refused", "refused"]
        chromium.close()
    assert proxy.ask("/api/settings").json["settings"]["quality"] == 62
    wait_for(lambda: viewers(proxy) == 0, 10)


@pytest.mark.parametrize("kind", RECIPES)
def test_the_token_is_in_no_log_of_a_proxy(kind: str, certificate: Path, tmp_path: Path) -> None:
    with running(kind, certificate, tmp_path) as proxy:
        cookie = f"labelcam_{proxy.behind.address[1]}={TOKEN}"
        for target in (f"/?token={TOKEN}", f"/none?x=1&token={TOKEN}", f"/api/state?token={TOKEN}"):
            proxy.ask(target, {"Cookie": cookie})
        proxy.behind.stop()
        for target in (f"/?token={TOKEN}", f"/none?x=1&token={TOKEN}&y"):
            assert proxy.ask(target, {"Cookie": cookie}).status in (502, 503)
    assert TOKEN not in proxy.written()
