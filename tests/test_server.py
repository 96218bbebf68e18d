"""The HTTP side, over real sockets: whoever asks, however slowly, is answered and holds nobody else up."""

from __future__ import annotations

import gc
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from models.catalogue import BUILT_IN
from stream.compare_process import Comparer
from stream.demo import SCENES, read_seq
from stream.frames import Frame, Shot
from stream.hub import Hub, Places
from stream.listening import ListenError, is_loopback, listen
from stream.loading import Model, ModelWish, load_model
from stream.log import Record
from stream.pipeline import Pipeline, Policy
from stream.server import ServerOptions, create_app
from stream.server_metrics import Metrics
from stream.server_waitress import Server
from stream.sources import Source, SourceError, Wish, open_source
from stream.station import Station
from stream.switch import Switch
from tests.viewer import Address, Viewer, ask, connected, crowd, decoded, wait_for

TOKEN = "a-token-that-nobody-guesses"
ROUTES = {
    "/": "text/html; charset=utf-8",
    "/page/page.css": "text/css; charset=utf-8",
    "/page/page.js": "text/javascript; charset=utf-8",
    "/page/icon.svg": "image/svg+xml; charset=utf-8",
    "/snapshot": "image/jpeg",
    "/snapshot.jpg": "image/jpeg",
    "/?action=snapshot": "image/jpeg",
    "/api/state": "application/json",
    "/healthz": "application/json",
    "/readyz": "application/json",
}
STREAMS = ("/stream", "/stream.mjpg", "/?action=stream")


class Site(NamedTuple):
    address: Address
    station: Station
    server: Server
    records: list[Record]

    @property
    def pipeline(self) -> Pipeline:
        return self.station.pipeline

    @property
    def hub(self) -> Hub:
        return self.station.status.hub

    def close(self) -> None:
        """May be called twice."""
        until_s = time.monotonic() + 1
        self.station.stop(until_s)
        self.server.close(until_s)
        self.pipeline.join(10)

    def viewers(self) -> int:
        count: int = ask(self.address, "/api/state").json["stream"]["viewers"]
        return count


Sites = Callable[..., AbstractContextManager[Site]]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    loaded = load_model(ModelWish(BUILT_IN))
    yield loaded
    loaded.backend.close()


@pytest.fixture
def site(model: Model) -> Sites:
    """Makes the whole program but for its command line; of a source, or of a camera that may come later."""

    @contextmanager
    def make(
        source: Source | None = None,
        open_again: Callable[[str], Source] | None = None,
        token: str | None = None,
        max_streams: int = 8,
        host: str = "127.0.0.1",
    ) -> Iterator[Site]:
        if source is None and open_again is None:
            source = open_source("demo:", Wish())
        records, listening = list[Record](), listen(host, 0)
        station = Station(
            source,
            open_again or no_camera,
            Switch([model], ModelWish(BUILT_IN), 0.0, 80),
            Policy(),
            lambda model, policy, source: {"rec": "run", **model.record()},
            places=Places(max_streams, "viewers"),
            sinks=(records.append,),
        )
        server = Server(create_app([station.status], ServerOptions(token), Metrics(), Comparer()), listening)
        made = Site(listening.getsockname()[:2], station, server, records)
        station.start()
        server.start()
        try:
            yield made
        finally:
            made.close()

    return make


@pytest.fixture
def demo(site: Sites) -> Iterator[Site]:
    with site() as made:
        wait_for(lambda: ask(made.address, "/readyz").status == 200)
        yield made


def no_camera(again: str) -> Source:
    raise SourceError("there is no camera <b>here</b>")


def stalling(go_on: threading.Event) -> Source:
    """Delivers one picture, then says nothing and raises nothing."""

    def shots() -> Generator[Shot, None, None]:
        yield Shot(np.full((240, 320, 3), 90, np.uint8))
        go_on.wait(60)

    return Source("stalling", "test", (320, 240), 30, live=True, paced=False, shots=shots())


def speed(parts: list[float]) -> float:
    return (len(parts) - 1) / (parts[-1] - parts[0])


# What cannot be had.


def test_a_taken_port_is_one_line_with_the_next_one() -> None:
    with closing(listen("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError, match=rf"^port {port} on 127\.0\.0\.1 is taken.*--port {port + 1}$"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1", "", "127.0.0.1:8000", "http://127.0.0.1"])
def test_an_address_that_is_not_ours_is_one_line(host: str) -> None:
    with pytest.raises(ListenError) as error:
        listen(host, 0)
    assert "\n" not in str(error.value)


def test_only_loopback_is_loopback() -> None:
    for host, alone in (("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("0.0.0.0", False)):
        with closing(listen(host, 0)) as listening:
            assert is_loopback(listening) is alone, host


def test_ipv6_is_served_too(site: Sites) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with closing(listen("::1", 0)) as listening:
        assert is_loopback(listening)
    with site(host="::1") as made, Viewer(made.address) as viewer:
        assert viewer.part().jpeg


@pytest.mark.parametrize("path", ["/none", "/page/none.js", "/page/../server.py", "/page/%2e%2e/server.py"])
def test_what_is_not_there_is_404(demo: Site, path: str) -> None:
    answer = ask(demo.address, f"{path}?<script>x</script>")
    assert answer.status == 404
    assert b"<script" not in answer.body
    assert len(answer.body) < 500


def test_nothing_can_be_posted(demo: Site) -> None:
    for path in (*ROUTES, *STREAMS):
        assert ask(demo.address, path, method="POST").status == 403, path
        assert ask(demo.address, path, {"X-Labelcam": "1"}, method="POST").status == 405, path


@pytest.mark.parametrize("fps", ["junk", "", "0", "-0", "-1", "nan", "inf", "-inf", "1e400"])
def test_a_frame_rate_that_is_none_is_400(demo: Site, fps: str) -> None:
    with Viewer(demo.address, f"/stream?fps={fps}") as viewer:
        assert viewer.status == 400
        assert "fps" in viewer.exactly(int(viewer.headers["content-length"])).decode()
    wait_for(lambda: demo.viewers() == 0)


# No signal.


def test_without_a_signal_the_answers_say_why_and_do_not_hang(site: Sites) -> None:
    with site(open_again=no_camera) as made:
        wait_for(lambda: "no camera" in ask(made.address, "/readyz").json["reason"])
        started_s = time.monotonic()
        snapshot = ask(made.address, "/snapshot")
        assert time.monotonic() - started_s < 2.5  # promised: about one second
        assert snapshot.status == 503
        assert snapshot.json == {"error": "there is no camera <b>here</b>"}
        assert snapshot.headers["content-type"] == "application/json"
        assert ask(made.address, "/readyz").status == 503
        assert ask(made.address, "/healthz").status == 200
        now = ask(made.address, "/api/state").json
        assert now["online"] is False
        assert now["fault"] == "there is no camera <b>here</b>"
        assert now["source"] is None
        with Viewer(made.address) as viewer:
            for part in viewer.parts(3):  # a picture that says so, again and again
                assert read_seq(decoded(part.jpeg)) is None


def test_a_camera_that_comes_makes_it_ready(site: Sites) -> None:
    here = threading.Event()

    def later(again: str) -> Source:
        return open_source("demo:", Wish()) if here.is_set() else no_camera(again)

    with site(open_again=later) as made:
        assert ask(made.address, "/readyz").status == 503
        here.set()
        wait_for(lambda: ask(made.address, "/readyz").status == 200)
        assert ask(made.address, "/snapshot").status == 200


def test_a_camera_that_stalls_is_found(site: Sites) -> None:
    go_on = threading.Event()
    with site(source=stalling(go_on)) as made:
        try:
            wait_for(lambda: ask(made.address, "/readyz").status == 200)
            wait_for(lambda: ask(made.address, "/readyz").status == 503, 10)
            assert "nothing for" in ask(made.address, "/readyz").json["reason"]
            assert ask(made.address, "/snapshot").status == 503
            assert ask(made.address, "/healthz").status == 200
        finally:
            go_on.set()


def test_the_process_is_not_healthy_when_a_loop_has_ended(demo: Site) -> None:
    demo.pipeline.stop()
    demo.pipeline.join(10)
    dead = ask(demo.address, "/healthz")
    assert dead.status == 503
    assert dead.json["reason"]
    with Viewer(demo.address) as viewer:
        assert viewer.until_end() == []
    assert ask(demo.address, "/snapshot").status == 503


# Every path.


@pytest.mark.parametrize(("path", "kind"), ROUTES.items())
def test_every_path_answers_get_and_head(demo: Site, path: str, kind: str) -> None:
    got, head = ask(demo.address, path), ask(demo.address, path, method="HEAD")
    assert (got.status, head.status) == (200, 200)
    assert got.headers["content-type"] == head.headers["content-type"] == kind
    assert got.body
    assert head.body == b""
    assert int(got.headers["content-length"]) == len(got.body)


@pytest.mark.parametrize("path", STREAMS)
def test_every_name_of_the_stream_streams(demo: Site, path: str) -> None:
    with Viewer(demo.address, path) as viewer:
        assert viewer.status == 200
        seqs = [part.seq for part in viewer.parts(4)]
        assert seqs == sorted(set(seqs))
        for name, value in (
            ("pragma", "no-cache"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ):
            assert viewer.headers[name] == value
        assert "etag" not in viewer.headers


def test_head_of_the_stream_takes_no_place(demo: Site) -> None:
    for _ in range(20):  # more than there are places
        head = ask(demo.address, "/stream", method="HEAD")
        assert head.status == 200
        assert head.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        assert head.body == b""
    with Viewer(demo.address) as viewer:
        assert viewer.part().jpeg


def test_a_snapshot_is_of_now(demo: Site) -> None:
    assert ask(demo.address, "/snapshot").status == 200
    time.sleep(1)  # nobody watches, nothing is painted: that picture is still the newest there is
    before = ask(demo.address, "/api/state").json["frames"]["captured"]
    asked_s = time.time()
    snapshot = ask(demo.address, "/snapshot")
    seq = read_seq(decoded(snapshot.body))
    assert seq is not None
    assert seq >= before - 1
    assert asked_s - 0.5 < float(snapshot.headers["x-timestamp"]) < time.time()


def test_the_state_tells_what_runs(demo: Site, model: Model) -> None:
    wait_for(lambda: ask(demo.address, "/api/state").json["model_fps"] is not None)
    now = ask(demo.address, "/api/state").json
    assert now["online"] is True
    assert now["fault"] is None
    assert now["source"] == {
        "name": "demo:",
        "kind": "demo",
        "via": "",
        "size": [640, 480],
        "fps": 30.0,
        "note": "",
    }
    facts = model.backend.facts()
    assert (now["backend"], now["runtime"]) == (facts.backend, facts.runtime)
    assert (now["model"], now["model_sha256"]) == (BUILT_IN, model.sha256)
    assert now["frames"]["classified"] + now["frames"]["skipped"] <= now["frames"]["captured"]
    assert set(now["answer"]["top"][0]) == {"index", "label", "score"}
    names = [label for scene in SCENES for label in scene.labels]
    assert now["answer"]["top"][0]["label"].partition(",")[0] in names
    evicted = {"stalled": 0, "error": 0}
    assert now["stream"] == {
        "viewers": 0,
        "max": 8,
        "rejected": 0,
        "evicted": evicted,
        "pictures": 0,
        "sent_bytes": 0,
    }
    assert now["uptime_s"] > 0


def test_every_answer_says_how_to_treat_it(site: Sites) -> None:
    with site(token=TOKEN, max_streams=1) as made:
        with Viewer(made.address, f"/stream?token={TOKEN}") as viewer:
            headers: list[Mapping[str, str]] = [viewer.headers]
            for path in (*ROUTES, "/none", "/stream", "/stream?fps=junk"):
                both = "&" if "?" in path else "?"
                headers.append(ask(made.address, f"{path}{both}token={TOKEN}").headers)
                headers.append(ask(made.address, path).headers)  # 401
        for one in headers:
            assert one["x-content-type-options"] == "nosniff"
            assert one["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in one["content-security-policy"]
            assert "frame-ancestors 'none'" in one["content-security-policy"]
            assert one["cache-control"] in ("no-store", "no-cache")
            assert "server" not in one


# The token.


def test_without_the_token_nothing_is_told(site: Sites) -> None:
    wrong: tuple[tuple[str, dict[str, str]], ...] = (
        ("", {}),
        ("?token=", {}),
        ("?token=wrong", {}),
        (f"?token={TOKEN}x", {}),
        (f"?token={TOKEN.upper()}", {}),
        ("?token=%ff%00", {}),
        ("", {"Authorization": "Bearer wrong"}),
        ("", {"Authorization": "Bearer \xff"}),
        ("", {"Cookie": "labelcam_token=wrong"}),
        ("", {"Cookie": "labelcam_token=\xff"}),
    )
    with site(token=TOKEN) as made:
        for path in ("/", "/stream", "/snapshot", "/api/state", "/page/page.js", "/none"):
            for query, headers in wrong:
                answer = ask(made.address, path + query, headers)
                assert answer.status == 401, (path, query, headers)
                assert "set-cookie" not in answer.headers
                assert b"wrong" not in answer.body
                assert TOKEN not in answer.body.decode() + str(answer.headers)
        assert ask(made.address, f"/?token={TOKEN}").status == 200
        assert made.hub.viewers == 0


def test_the_token_opens_by_address_header_and_cookie(site: Sites) -> None:
    with site(token=TOKEN) as made:
        for path in ("/", "/api/state", "/snapshot", "/page/page.js", "/healthz"):
            assert ask(made.address, path, {"Authorization": f"bearer {TOKEN}"}).status == 200
            by_header = ask(made.address, path, {"Authorization": f"Bearer {TOKEN}"})
            assert by_header.status == 200
            assert "set-cookie" not in by_header.headers
            by_address = ask(made.address, f"{path}?token={TOKEN}")
            assert by_address.status == 200
            cookie, _, how = by_address.headers["set-cookie"].partition("; ")
            assert {"HttpOnly", "SameSite=Strict", "Max-Age=2592000"} <= set(how.split("; "))
            by_cookie = ask(made.address, path, {"Cookie": cookie})
            assert by_cookie.status == 200
            assert TOKEN.encode() not in by_address.body + by_cookie.body + by_header.body
            with Viewer(made.address, "/stream", {"Cookie": cookie}) as viewer:
                assert viewer.part().jpeg


# Many viewers, and strange ones.


def test_all_viewers_get_the_same_bytes_encoded_once(demo: Site) -> None:
    with crowd(3, demo.address) as viewers, ThreadPoolExecutor(3) as threads:
        watched = list(threads.map(lambda viewer: viewer.parts(30), viewers))
    one, other, third = ({part.captured_s: part.jpeg for part in parts} for parts in watched)
    shared = set(one) & set(other) & set(third)
    assert len(shared) >= 10
    assert all(one[stamp] == other[stamp] == third[stamp] for stamp in shared)
    encoded = [record["seq"] for record in demo.records if record["rec"] == "video"]
    assert len(encoded) == len(set(encoded))


def test_nothing_is_painted_when_nobody_watches(demo: Site) -> None:
    with Viewer(demo.address) as viewer:
        viewer.parts(3)
    wait_for(lambda: demo.hub.viewers == 0)
    time.sleep(0.2)
    painted = sum(record["rec"] == "video" for record in demo.records)
    time.sleep(0.5)
    assert sum(record["rec"] == "video" for record in demo.records) == painted > 0


def test_one_viewer_more_than_there_are_places_is_told_to_come_again(site: Sites) -> None:
    with site(max_streams=2) as made, Viewer(made.address) as first, Viewer(made.address) as second:
        assert (first.status, second.status) == (200, 200)
        with Viewer(made.address) as third:
            assert third.status == 503
            assert int(third.headers["retry-after"]) > 0
        for path in ("/healthz", "/snapshot", "/api/state"):
            started_s = time.monotonic()
            assert ask(made.address, path).status == 200
            assert time.monotonic() - started_s < 2
        now = ask(made.address, "/api/state").json["stream"]
        assert (now["max"], now["rejected"], now["viewers"]) == (2, 1, 2)
        first.reset()

        def a_place_is_free() -> bool:
            with Viewer(made.address) as again:
                return again.status == 200

        wait_for(a_place_is_free, 10)
        assert second.part().jpeg


@pytest.mark.parametrize("how", ["/stream", "/stream?fps=0.1"])
def test_the_place_of_a_viewer_who_vanishes_is_free_again(demo: Site, how: str) -> None:
    with crowd(8, demo.address, how) as viewers:
        wait_for(lambda: demo.viewers() == 8)
        for viewer in viewers[::2]:
            viewer.reset()
    wait_for(lambda: demo.viewers() == 0, 10)


def test_a_hundred_resets_leave_nothing_behind(demo: Site) -> None:
    ask(demo.address, "/healthz")
    threads, files = threading.active_count(), open_files()
    for count in range(100):
        made = connected(demo.address)
        with closing(made.makefile("rb")) as answer:
            made.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if count % 2:  # half of them before they are answered, half in the middle of the stream
                answer.read(100)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            made.close()
    wait_for(lambda: demo.hub.viewers == 0 and open_files() <= files, 10)
    assert threading.active_count() <= threads
    with crowd(8, demo.address) as viewers:  # all the places there are
        assert [viewer.status for viewer in viewers] == [200] * 8


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.slow
def test_viewers_who_do_not_read_cost_the_others_nothing(demo: Site) -> None:
    with crowd(5, demo.address, receive_bytes=4096), Viewer(demo.address) as viewer:
        time.sleep(1.5)  # whatever buffers there are, they are full
        viewer.part()
        reading_s = time.monotonic()
        while viewer.part().captured_s < time.time() - 0.3:
            assert time.monotonic() < reading_s + 10  # through what we did not read while we slept
        parts = viewer.parts(45)
        started_s = time.monotonic()
        assert ask(demo.address, "/healthz").status == 200
        assert time.monotonic() - started_s < 1
    assert speed([part.came_s for part in parts]) > 20  # of 30, on a machine that may be busy
    seqs = [part.seq for part in parts]
    assert seqs == sorted(set(seqs))
    wait_for(lambda: demo.viewers() == 0, 10)


@pytest.mark.slow
def test_a_viewer_who_was_slow_goes_on_with_the_newest_picture(demo: Site) -> None:
    with Viewer(demo.address, receive_bytes=4096) as viewer:
        viewer.parts(2)
        time.sleep(3)  # 90 pictures
        ages = [time.time() - viewer.part().captured_s for _ in range(12)]
    assert ages[0] > 1  # it was in the buffers
    assert min(ages) < 0.5  # and those hold few


@pytest.mark.slow
def test_a_viewer_who_never_reads_is_put_out(demo: Site) -> None:
    with Viewer(demo.address, receive_bytes=4096):
        wait_for(lambda: demo.viewers() == 1)
        took_s = wait_for(lambda: demo.viewers() == 0, 40)
    assert 5 < took_s < 20  # promised: about 15 seconds, and not at a first hiccup


def test_a_viewer_gets_the_frame_rate_he_asks_for(demo: Site) -> None:
    with Viewer(demo.address, "/stream?fps=2") as viewer, Viewer(demo.address) as other:
        slow = viewer.parts(5)
        assert other.part().jpeg
    assert 1.5 < speed([part.came_s for part in slow]) < 2.5
    for earlier, later in pairwise(slow):
        assert 0.3 < later.captured_s - earlier.captured_s < 1.5  # the newest each time, not the next
    # A browser shows a picture when it has seen the boundary behind it.
    assert max(part.boundary_after_s for part in slow) < 0.25


def test_half_a_request_holds_nobody_up(demo: Site) -> None:
    with ExitStack() as stack:
        for _ in range(50):  # more than there are threads
            half = stack.enter_context(closing(connected(demo.address)))
            half.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        started_s = time.monotonic()
        assert ask(demo.address, "/healthz").status == 200
        with Viewer(demo.address) as viewer:
            assert len(viewer.parts(10)) == 10
        assert time.monotonic() - started_s < 5


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a browser that wants https\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nxxx",
    ],
)
def test_nonsense_is_refused_or_cut_and_the_others_go_on(
    demo: Site, request_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(connected(demo.address)) as odd:
        try:
            odd.sendall(request_bytes)
            odd.shutdown(socket.SHUT_WR)
            answer = odd.recv(1 << 16)
        except OSError:  # cut, at whatever point
            answer = b""
        assert re.match(rb"HTTP/1\.[01] 4\d\d |$", answer), answer[:200]
        assert b"Traceback" not in answer
    assert ask(demo.address, "/healthz").status == 200
    assert capfd.readouterr() == ("", "")


# The end.


def test_closing_ends_every_answer_and_leaves_nothing_open(site: Sites) -> None:
    gc.collect()
    threads_before, files_before = threading.active_count(), open_files()
    with (
        site() as made,
        crowd(5, made.address) as viewers,
        Viewer(made.address, receive_bytes=4096),
        ThreadPoolExecutor(5) as threads,
    ):
        for viewer in viewers:
            viewer.parts(3)
        ends = [threads.submit(viewer.until_end) for viewer in viewers]
        started_s = time.monotonic()
        made.close()
        assert time.monotonic() - started_s < 2
        for end in ends:
            end.result(10)  # raises if the answer was cut
        wait_for(lambda: not accepts(made.address), 5)
    wait_for(lambda: threading.active_count() <= threads_before, 5)
    gc.collect()
    wait_for(lambda: open_files() <= files_before, 5)


def accepts(address: Address) -> bool:
    try:
        connected(address).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_a_foreign_name_that_points_here_sees_nothing(demo: Site, host: str) -> None:
    for path in ("/", "/snapshot", "/api/state", "/stream"):
        assert ask(demo.address, path, {"Host": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.1.2.3:80", "[::1]:8000"])
def test_the_names_of_this_machine_are_answered(demo: Site, host: str) -> None:
    assert ask(demo.address, "/healthz", {"Host": host}).status == 200


@pytest.mark.parametrize(("asked", "least", "most"), [(25, 21, 27), (20, 17, 22), (15, 13, 17)])
def test_a_rate_that_does_not_divide_the_camera_s_is_kept(
    demo: Site, asked: int, least: float, most: float
) -> None:
    with Viewer(demo.address, f"/stream?fps={asked}") as viewer:
        viewer.parts(5)
        started_s = time.monotonic()
        viewer.parts(2 * asked)
        assert least <= 2 * asked / (time.monotonic() - started_s) <= most


def test_before_its_first_answer_the_model_is_not_ready(model: Model) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    switch = Switch([model], ModelWish(BUILT_IN), 0.0, 80)
    station = Station(open_source("demo:", Wish()), no_camera, switch, Policy(), lambda *_: {})
    station.pipeline.capture._frames.put(Frame(0, image, time.monotonic_ns(), time.time()))
    app = create_app([station.status], ServerOptions(), Metrics(), Comparer())
    refused = app.test_client().get("/readyz")
    assert refused.status_code == 503
    assert refused.get_json()["reason"] == "the model has not answered yet"
