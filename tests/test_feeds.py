"""What viewers and listeners may ask for, over real sockets: a width, headers, events; and who is put out."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from models.scores import Prediction
from stream.broadcast import Broadcast, reason_of
from stream.broadcast import Viewer as Seat
from stream.bulletin import PLACES
from stream.frames import Picture
from stream.hub import MOST_WIDTHS, OWN, Full, Hub
from tests.test_server import Site, Sites, demo, model, no_camera, site
from tests.viewer import Address, Viewer, ask, connected, crowd, decoded, wait_for

__all__ = ["demo", "model", "site"]  # fixtures


class Event(NamedTuple):
    name: str
    data: Any
    came_s: float


class Listener:
    """A connection to /api/events, read as a browser reads it."""

    def __init__(self, address: Address, headers: str = "") -> None:
        self.socket = connected(address)
        self.file = self.socket.makefile("rb")
        self.socket.sendall(f"GET /api/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        self.status = int(self.file.readline().split()[1])
        self.headers = dict(self._head())
        assert self.status != 200 or self.headers["content-type"].startswith("text/event-stream")

    def _head(self) -> Iterator[tuple[str, str]]:
        while line := self.file.readline().decode().strip():
            name, _, value = line.partition(": ")
            yield name.lower(), value

    def events(self) -> Iterator[Event]:
        """Until the server ends it."""
        name, data = "", ""
        for raw in self.file:
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
            elif not line and name:
                yield Event(name, json.loads(data), time.monotonic())
                name, data = "", ""
        assert not name, "it ends in the middle of an event"

    def until(self, name: str) -> Event:
        return next(event for event in self.events() if event.name == name)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def listening(address: Address) -> Iterator[Listener]:
    with closing(Listener(address)) as listener:
        yield listener


# Widths.


@pytest.mark.parametrize("width", ["", "0", "63", "-320", "320.5", "1e3", "junk", "٣٢٠", "999999", "%20320"])
def test_a_width_that_is_none_is_400(demo: Site, width: str) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in width.encode()) if not width.isascii() else width
    for path in ("/stream", "/snapshot"):
        assert ask(demo.address, f"{path}?width={quoted}").status == 400, width
    wait_for(lambda: demo.viewers() == 0)


@pytest.mark.parametrize(("asked", "size"), [(320, (320, 240)), (321, (320, 240)), (64, (64, 48))])
def test_a_viewer_gets_the_width_he_asks_for(demo: Site, asked: int, size: tuple[int, int]) -> None:
    with Viewer(demo.address, f"/stream?width={asked}") as viewer:
        parts = viewer.parts(3)
    assert {decoded(part.jpeg).shape[1::-1] for part in parts} == {size}
    height, width = decoded(ask(demo.address, f"/snapshot?width={asked}").body).shape[:2]
    assert (width, height) == size


@pytest.mark.parametrize("asked", [640, 641, 1920])
def test_no_picture_is_made_wider_than_it_is(demo: Site, asked: int) -> None:
    with Viewer(demo.address, f"/stream?width={asked}") as viewer, Viewer(demo.address) as other:
        assert decoded(viewer.parts(3)[-1].jpeg).shape == decoded(other.part().jpeg).shape == (480, 640, 3)


def test_a_width_is_encoded_once_for_all_who_watch_it(demo: Site) -> None:
    with crowd(3, demo.address, "/stream?width=320") as viewers:
        seen = [{part.captured_s: part.jpeg for part in viewer.parts(20)} for viewer in viewers]
        assert demo.hub.widths == (320,)  # and the camera's own not at all
    shared = set.intersection(*map(set, seen))
    assert shared
    assert all(len({pictures[stamp] for pictures in seen}) == 1 for stamp in shared)
    wait_for(lambda: demo.hub.widths == ())


def test_one_width_too_many_is_told_to_come_again(site: Sites) -> None:
    with site(max_streams=20) as made:
        viewers = [Viewer(made.address, f"/stream?width={100 + 20 * n}") for n in range(MOST_WIDTHS)]
        try:
            for path in ("/stream?width=600", "/snapshot?width=600"):
                refused = ask(made.address, path)
                assert refused.status == 503
                assert int(refused.headers["retry-after"]) > 0
                assert "100, 120, 140, 160" in refused.json["error"]
            with Viewer(made.address, "/stream?width=120") as again, Viewer(made.address) as own:
                assert again.part().jpeg
                assert own.part().jpeg
        finally:
            for viewer in viewers:
                viewer.close()
        wait_for(lambda: made.viewers() == 0)
        with Viewer(made.address, "/stream?width=600") as viewer:
            assert viewer.part().jpeg
        free = made.hub.places
        wait_for(lambda: made.viewers() == 0)
        for _ in range(20):  # no refusal has kept a place
            free.take()
        with pytest.raises(Full):
            free.take()


def test_without_a_signal_every_width_says_so(site: Sites) -> None:
    with site(open_again=no_camera) as made, Viewer(made.address, "/stream?width=320&extra_headers=1") as one:
        assert facts_of(one)["online"] == "false"


# Headers.


def facts_of(viewer: Viewer) -> dict[str, str]:
    """The X-Labelcam headers of the next part."""
    if viewer._first:
        viewer._expect(b"--frame\r\n")
        viewer._first = False
    head = dict(viewer._head())
    viewer.exactly(int(head["content-length"]))
    viewer._expect(b"\r\n--frame\r\n")
    prefix = "x-labelcam-"
    return {name.removeprefix(prefix): value for name, value in head.items() if name.startswith(prefix)}


def test_a_part_says_what_is_on_it_when_asked_to(demo: Site) -> None:
    with Viewer(demo.address, "/stream?extra_headers=1") as viewer:
        facts = [facts_of(viewer) for _ in range(10)][-1]
    assert set(facts) == {"online", "age", "seq", "answer-seq", "label", "score"}
    assert facts["online"] == "true"
    assert 0 <= int(facts["seq"]) - int(facts["answer-seq"]) < 30
    answer = ask(demo.address, "/api/state").json["answer"]
    assert unquote(facts["label"]) == answer["top"][0]["label"]
    assert 0 < float(facts["score"]) <= 1
    assert 0 < float(facts["age"]) < 1


def test_a_header_is_one_line_whatever_a_label_is() -> None:
    evil = Prediction(0, "Käse\r\nX-Evil: 1\r\n\r\n<b>", 0.5)
    picture = Picture(1, 1, b"jpeg", 0.0, evil)
    head = picture.part_with_facts.partition(b"\r\n\r\n")[0]
    assert b"X-Labelcam-Label: K%C3%A4se%0D%0AX-Evil%3A 1%0D%0A%0D%0A%3Cb%3E" in head.split(b"\r\n")


@pytest.mark.parametrize("asked", ["", "?extra_headers=0", "?extra_headers="])
def test_nobody_gets_headers_unasked(demo: Site, asked: str) -> None:
    with Viewer(demo.address, f"/stream{asked}") as viewer:
        assert viewer.parts(2)  # which forgives no other header


# Events.


def test_a_listener_is_told_the_past_the_state_and_each_answer(demo: Site) -> None:
    with listening(demo.address) as listener:
        events = listener.events()
        first = next(events)
        assert first.name == "history"
        rest = [next(events) for _ in range(12)]
    states = [event for event in rest if event.name == "state"]
    answers = [event for event in rest if event.name == "answer"]
    assert states[0].data.keys() == ask(demo.address, "/api/state").json.keys()
    assert len(answers) > len(states) >= 2
    seqs = [answer.data["seq"] for answer in answers]
    assert seqs == sorted(set(seqs))
    spacing = [later.came_s - earlier.came_s for earlier, later in pairwise(answers)]
    assert sum(spacing) / len(spacing) > 0.15  # not at the camera's rate
    for name in ("cache-control", "content-security-policy", "x-content-type-options"):
        assert name in listener.headers


def test_what_was_changed_is_told_at_once(demo: Site) -> None:
    with listening(demo.address) as listener:
        events = listener.events()
        next(event for event in events if event.name == "state")
        started_s = time.monotonic()
        demo.station.status.switch.change({"top_k": 2})
        changed = next(
            event for event in events if event.name == "state" and event.data["settings"]["top_k"] == 2
        )
        assert changed.came_s - started_s < 0.5
    demo.station.status.switch.change({"top_k": 5})


def test_a_listener_is_counted_and_forgotten(demo: Site) -> None:
    with listening(demo.address) as listener:
        assert listener.until("state").data["listeners"] == 1
        assert ask(demo.address, "/api/state").json["stream"]["viewers"] == 0  # and nothing is painted for it
    wait_for(lambda: ask(demo.address, "/api/state").json["listeners"] == 0)


def test_too_many_listeners_are_told_to_come_again(demo: Site) -> None:
    listeners = [Listener(demo.address) for _ in range(PLACES)]
    try:
        refused = ask(demo.address, "/api/events")
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        assert ask(demo.address, "/healthz").status == 200
        with Viewer(demo.address) as viewer:
            assert viewer.part().jpeg
    finally:
        for listener in listeners:
            listener.close()
    wait_for(lambda: ask(demo.address, "/api/state").json["listeners"] == 0)


def test_head_of_the_events_takes_no_place(demo: Site) -> None:
    for _ in range(PLACES + 5):
        assert ask(demo.address, "/api/events", method="HEAD").status == 200
    with listening(demo.address) as listener:
        assert listener.until("state").data["listeners"] == 1


def test_a_listener_s_end_is_a_proper_one(site: Sites) -> None:
    with site() as made, listening(made.address) as listener:
        assert listener.until("answer").data["seq"] >= 0
        made.close()
        assert [event for event in listener.events() if event.name not in ("state", "answer")] == []


def test_a_newcomer_is_not_told_what_was_new_when_somebody_last_listened(demo: Site) -> None:
    with listening(demo.address) as listener:
        listener.until("answer")
    wait_for(lambda: demo.station.status.bulletin.listeners == 0)
    for _ in range(10):
        time.sleep(0.3)
        captured = demo.pipeline.capture.count
        with listening(demo.address) as listener:
            assert listener.until("answer").data["seq"] >= captured - 3


def test_nobody_listens_and_nothing_is_made(demo: Site) -> None:
    bulletin = demo.station.status.bulletin
    with listening(demo.address) as listener:
        listener.until("answer")
    wait_for(lambda: bulletin.listeners == 0)
    time.sleep(0.4)
    before = bulletin.newest
    time.sleep(0.6)
    assert bulletin.newest is before


# Who is put out.


class OneFeed:
    """The same part for ever."""

    stale, closed = None, False
    newest = object()

    def __init__(self, size: int) -> None:
        self._part = b"x" * size

    def part(self, item: object) -> bytes:
        return self._part


@contextmanager
def broadcasting(monkeypatch: pytest.MonkeyPatch, stalled_s: float) -> Iterator[Broadcast]:
    monkeypatch.setattr("stream.broadcast.STALLED_S", stalled_s)
    made = Broadcast()
    made.start()
    try:
        yield made
    finally:
        made.close(time.monotonic() + 0.2)


def test_who_takes_nothing_is_put_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()
    ours, theirs = socket.socketpair()
    with broadcasting(monkeypatch, 0.5) as made, closing(theirs):
        started_s = time.monotonic()
        made.add(ours, b"", OneFeed(4_000_000), 0.0, left.set)
        assert left.wait(10)
        assert 0.9 < time.monotonic() - started_s < 3
        assert made.evicted == {"stalled": 1, "error": 0}


@pytest.mark.slow
def test_who_takes_little_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel holds much, and takes more of us only seldom; what matters is what the peer takes of it."""
    left = threading.Event()
    with (
        broadcasting(monkeypatch, 0.5) as made,
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.create_connection(server.getsockname())) as theirs,
    ):
        made.add(server.accept()[0], b"", OneFeed(20_000_000), 0.0, left.set)
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:
            theirs.recv(60_000)
            time.sleep(0.1)
        assert not left.is_set()
        assert made.sent_bytes > 0
        assert left.wait(10)  # and now he takes nothing
        assert made.evicted["stalled"] == 1


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ETIMEDOUT, "stalled"),
        (errno.ECONNRESET, None),
        (errno.EPIPE, None),
        (errno.EHOSTUNREACH, "error"),
    ],
)
def test_the_kernel_s_reason_for_an_end_is_told(number: int, reason: str | None) -> None:
    assert reason_of(OSError(number, "")) == reason


def test_who_leaves_is_no_eviction(demo: Site) -> None:
    with crowd(4, demo.address) as viewers:
        for viewer in viewers:
            viewer.part()
        for viewer in viewers[:2]:
            viewer.reset()
    wait_for(lambda: demo.viewers() == 0)
    state = ask(demo.address, "/api/state").json["stream"]
    assert state["evicted"] == {"stalled": 0, "error": 0}
    assert state["sent_bytes"] > 50_000


# The hub.


def picture(seq: int) -> Picture:
    return Picture(seq, None, b"", 0.0)


def test_the_longest_gap_is_none_when_nobody_watched() -> None:
    hub = Hub()
    hub.measure_gap()
    assert hub.longest_gap_ms() is None
    hub.publish({OWN: picture(1)})
    assert hub.longest_gap_ms() is None


def test_the_longest_gap_is_between_pictures_while_somebody_watched() -> None:
    hub = Hub()
    hub.publish({OWN: picture(1)})
    time.sleep(1.5)  # nobody watches
    viewing = hub.watch()
    hub.measure_gap()
    for seq, pause_s in ((2, 0.02), (3, 0.15), (4, 0.0)):
        hub.publish({OWN: picture(seq)})
        time.sleep(pause_s)
    gap_ms = hub.longest_gap_ms()
    viewing.leave()
    assert gap_ms is not None
    assert 140 < gap_ms < 1400


def test_a_gap_that_goes_on_counts() -> None:
    hub = Hub()
    viewing = hub.watch()
    hub.measure_gap()
    hub.publish({OWN: picture(1)})
    time.sleep(0.01)
    hub.publish({OWN: picture(2)})
    time.sleep(0.1)
    gap_ms = hub.longest_gap_ms()
    viewing.leave()
    assert gap_ms is not None
    assert gap_ms > 90


# Health.


def test_a_part_that_has_ended_is_no_health(demo: Site) -> None:
    demo.station.status.bulletin.close()
    wait_for(lambda: ask(demo.address, "/healthz").status == 503)
    assert "bulletin has ended" in ask(demo.address, "/healthz").json["reason"]


def test_a_slow_rate_does_not_drift_while_nothing_new_comes() -> None:
    feed = OneFeed(1)
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        viewer = Seat(ours, feed, 20.0, lambda: None)
        sent = [second for second in range(100) if viewer.next_part(float(second)) is not None]
        assert sent == list(range(0, 100, 10))  # the same one, again and again
        feed.newest = object()
        assert viewer.next_part(100.0) is not None


def test_a_loop_that_hangs_is_no_health(demo: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(demo.address, "/healthz").status == 200
    gate = threading.Event()
    backend = demo.pipeline.classify.work.backend
    infer = backend.infer

    def hang(tensor: Any) -> Any:
        gate.wait(30)
        return infer(tensor)

    monkeypatch.setattr("stream.pipeline.LONGEST_ROUND_S", {"capture": 15.0, "classify": 1.0, "render": 15.0})
    monkeypatch.setattr(backend, "infer", hang)
    try:
        wait_for(lambda: ask(demo.address, "/healthz").status == 503)
        assert "classify loop has not come round" in ask(demo.address, "/healthz").json["reason"]
        with Viewer(demo.address) as viewer:
            assert len({part.seq for part in viewer.parts(5)}) == 5  # the video goes on
    finally:
        gate.set()
    wait_for(lambda: ask(demo.address, "/healthz").status == 200)
