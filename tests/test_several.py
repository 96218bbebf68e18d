"""Several cameras in one program: nobody waits twice, none hurts another, each has its own paths and log."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from backends import Backend, BackendFacts
from backends.base import Tensor
from models.catalogue import BUILT_IN
from models.errors import ModelError
from models.recipe import Image
from models.scores import Scores
from stream.classify import Classify, Work, take_turns
from stream.cli import parse
from stream.frames import Answer, Frame
from stream.hub import Hub
from stream.latest import Latest
from stream.loading import Model, ModelWish, load_model
from stream.log import Record, read_log
from stream.pipeline import Pipeline, Policy, Turns, join
from stream.series import read_series
from stream.sources import SourceError, Wish, open_source, with_names
from tests.network_camera import NetworkCamera, free_port
from tests.page_tools import DESK, PHONE, Scheme, Size, change, opened
from tests.test_page import accessibility
from tests.test_sources import write_clip
from tests.viewer import Address, Labelcam, Viewer, ask, decoded, labelcam, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

DEMOS = ("--port", "0", "--source", "front=demo:", "--source", "yard=demo:")


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    loaded = load_model(ModelWish("digits", threads=1))
    yield loaded
    loaded.backend.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelcam]:
    """A demo, and a camera of other pictures."""
    log = tmp_path_factory.mktemp("logs") / "live.jsonl"
    with NetworkCamera() as camera:
        arguments = ("--source", "front=demo:", "--source", f"yard={camera.url}", "--log", log)
        with labelcam("--port", "0", *arguments) as started:
            wait_for(lambda: ask(started.address, "/readyz").status == 200)
            yield started


def state(address: Address, camera: str) -> Any:
    return ask(address, f"/camera/{camera}/api/state").json


def classifies(running: Labelcam, camera: str) -> None:
    """Ten more frames."""
    wanted = state(running.address, camera)["frames"]["classified"] + 10
    wait_for(lambda: state(running.address, camera)["frames"]["classified"] >= wanted)


class Hooked:
    """A backend that does something else before each inference."""

    def __init__(self, backend: Backend, before: Callable[[], object]) -> None:
        self._backend, self._before = backend, before

    def prepare(self, image: Image) -> Tensor:
        return self._backend.prepare(image)

    def infer(self, tensor: Tensor) -> Scores:
        self._before()
        return self._backend.infer(tensor)

    def facts(self) -> BackendFacts:
        return self._backend.facts()

    def close(self) -> None:
        self._backend.close()


class Lane:
    """One camera's part of the loop, and what comes out of it."""

    def __init__(self, name: str, work: Work, news: threading.Event, served: list[tuple[str, int]]) -> None:
        self.frames: Latest[Frame] = Latest(news)
        self.answers: Latest[Answer] = Latest()
        self.seq = 0

        def sink(record: Record) -> None:
            if record["rec"] == "frame":
                served.append((name, record["seq"]))

        self.loop = Classify(work, None, self.frames, self.answers, False, sink)

    def put(self) -> None:
        now_ns = time.monotonic_ns()
        self.frames.put(Frame(self.seq, np.zeros((8, 8, 3), np.uint8), now_ns, now_ns / 1e9))
        self.seq += 1


# What is no set of cameras.


@pytest.mark.parametrize(
    "sources",
    [("a=demo:", "a=demo:"), ("demo:", "1=demo:"), ("2=demo:", "demo:")],
)
def test_two_cameras_of_one_name_are_refused(
    sources: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse([argument for source in sources for argument in ("--source", source)])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "two cameras are called" in told
    assert told.count("\n") == 1


def test_every_frame_is_for_one_camera(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--source", "demo:", "--source", "demo:", "--every-frame"])
    assert end.value.code == 2
    assert "--every-frame is for one --source" in capsys.readouterr().err


def test_a_source_that_cannot_be_opened_is_named_and_the_others_are_freed() -> None:
    with NetworkCamera() as camera:
        gone = f"gate=http://127.0.0.1:{free_port()}/video"
        with labelcam("--port", "0", "--source", f"front={camera.url}", "--source", gone) as running:
            assert running.ends() == 1
            assert running.errors.startswith("labelcam: gate: no video comes from http://127.0.0.1:")
            assert running.errors.count("\n") == 1
            assert running.out == ""


def test_a_camera_that_is_none_is_404(two: Labelcam) -> None:
    for path in ("stream", "snapshot", "api/state", "log", "readyz"):
        answer = ask(two.address, f"/camera/gate/{path}")
        assert answer.status == 404
        assert answer.json == {"error": "nothing is here"}
    page = ask(two.address, "/camera/gate/")
    assert page.status == 404
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        (["auto"], {"1": "auto"}),
        (["demo:", "/dev/video0"], {"1": "demo:", "2": "/dev/video0"}),
        (["front=demo:", "/dev/video1"], {"front": "demo:", "2": "/dev/video1"}),
        (["a_b-9=rtsp://camera/x?y=z"], {"a_b-9": "rtsp://camera/x?y=z"}),
        (["rtsp://camera/x?y=z"], {"1": "rtsp://camera/x?y=z"}),
        (["gst:v4l2src device=/dev/video0"], {"1": "gst:v4l2src device=/dev/video0"}),
        (["/dev/video0?format=yuyv"], {"1": "/dev/video0?format=yuyv"}),
        (["csi:0?flip=2"], {"1": "csi:0?flip=2"}),
        (["./a=b.mp4"], {"1": "./a=b.mp4"}),
        (["folder/a=b"], {"1": "folder/a=b"}),
        (["front door=demo:"], {"1": "front door=demo:"}),
    ],
)
def test_a_name_is_told_from_a_source(given: list[str], sources: dict[str, str]) -> None:
    assert with_names(given) == sources


def test_a_name_that_two_have_is_no_set() -> None:
    with pytest.raises(SourceError):
        with_names(["x=demo:", "x=auto"])


# Whose turn it is.


def test_nobody_is_served_twice_while_another_waits_and_each_gets_its_newest(model: Model) -> None:
    served: list[tuple[str, int]] = []
    newest: list[tuple[int, ...]] = []  # when each inference began

    def everybody_has_more() -> None:
        newest.append(tuple(lane.seq for lane in lanes))
        for number, lane in enumerate(lanes):
            for _ in range(number + 1):  # some are faster than others
                lane.put()
        if len(newest) == 30:
            for lane in lanes:
                lane.frames.close()

    news = threading.Event()
    work = Work(Hooked(model.backend, everybody_has_more), model.reading)
    lanes = [Lane(name, work, news, served) for name in "ABC"]
    for lane in lanes:
        lane.put()
    take_turns([lane.loop for lane in lanes], news)
    assert "".join(name for name, _ in served[:30]) == "ABC" * 10
    for turn, (name, seq) in enumerate(served[1:30], 1):
        # What was put while the one before was in the model is all there was.
        put_before = newest[turn]["ABC".index(name)]
        assert seq == put_before - 1


def test_who_has_no_frame_is_passed_over_and_who_comes_late_has_the_next_turn(model: Model) -> None:
    served: list[tuple[str, int]] = []

    def before() -> None:
        lanes["A"].put()
        if len(served) in (5, 12):
            lanes["B"].put()
        if len(served) == 20:
            for lane in lanes.values():
                lane.frames.close()

    news = threading.Event()
    work = Work(Hooked(model.backend, before), model.reading)
    lanes = {name: Lane(name, work, news, served) for name in "AB"}
    lanes["A"].put()
    take_turns([lane.loop for lane in lanes.values()], news)
    names = "".join(name for name, _ in served)
    assert names.startswith("AAAAAABAAAAAABAAAAAA")  # right after the answer that was under way


def test_who_ends_leaves_the_round_and_the_others_go_on(model: Model) -> None:
    served: list[tuple[str, int]] = []
    news = threading.Event()
    work = Work(model.backend, model.reading)
    lanes = [Lane(name, work, news, served) for name in "AB"]
    thread = threading.Thread(target=take_turns, args=([lane.loop for lane in lanes], news))
    thread.start()
    lanes[0].put()
    lanes[0].frames.close()
    wait_for(lambda: lanes[0].loop.ended)
    assert lanes[0].answers.closed
    assert ("A", 0) in served
    for _ in range(3):
        lanes[1].put()
        wait_for(lambda: ("B", lanes[1].seq - 1) in served)
    assert thread.is_alive()
    lanes[1].frames.close()
    thread.join(5)
    assert not thread.is_alive()


def test_an_error_in_one_turn_ends_all_and_is_passed_on(model: Model) -> None:
    def fail() -> None:
        raise ModelError("the model broke")

    turns = Turns()
    backend = Hooked(model.backend, fail)
    pipelines = [
        Pipeline(
            open_source("demo:", Wish((320, 240), 30)),
            open_nothing,
            Work(backend, model.reading),
            Policy(),
            Hub(),
            lambda record: None,
            turns=turns,
        )
        for _ in range(2)
    ]
    for pipeline in pipelines:
        pipeline.start()
    turns.start()
    with pytest.raises(ModelError, match="the model broke"):
        join(pipelines, 10)
    wait_for(lambda: all(pipeline.over for pipeline in pipelines))


def open_nothing(again: str) -> Any:
    raise SourceError("there is no camera")


# The whole program.


def test_each_camera_has_its_own_paths_and_the_first_those_at_the_top(two: Labelcam) -> None:
    assert two.url.endswith("/camera/")
    sizes = {"front": (640, 480), "yard": (320, 240)}
    for name, (width, height) in sizes.items():
        assert state(two.address, name)["source"]["size"] == [width, height]
        assert state(two.address, name)["camera"] == name
        assert state(two.address, name)["cameras"] == ["front", "yard"]
        picture = decoded(ask(two.address, f"/camera/{name}/snapshot").body)
        assert picture.shape == (height, width, 3)
        with Viewer(two.address, f"/camera/{name}/stream") as viewer:
            assert decoded(viewer.part().jpeg).shape == (height, width, 3)
            assert state(two.address, name)["stream"]["viewers"] == 1
        assert ask(two.address, f"/camera/{name}/").body == ask(two.address, "/").body
    assert decoded(ask(two.address, "/snapshot").body).shape == (480, 640, 3)
    assert ask(two.address, "/api/state").json["camera"] == "front"


def test_a_path_without_its_last_slash_leads_there(two: Labelcam) -> None:
    for path in ("/camera", "/camera/yard"):
        answer = ask(two.address, path)
        assert answer.status == 308
        assert answer.headers["location"].endswith(f"{path}/")


def test_each_camera_has_figures_of_its_own(two: Labelcam) -> None:
    figures = ask(two.address, "/metrics").body.decode()
    for name in ("front", "yard"):
        assert f'labelcam_source_online{{camera="{name}"}} 1.0' in figures
        assert f'labelcam_stage_duration_seconds_count{{camera="{name}",stage="infer"}}' in figures


def test_each_camera_has_a_log_of_its_own(tmp_path: Path) -> None:
    with labelcam(*DEMOS, "--log", tmp_path / "live.jsonl") as running:
        wait_for(
            lambda: all(
                state(running.address, name)["frames"]["classified"] > 9 for name in ("front", "yard")
            )
        )
        assert state(running.address, "yard")["log"]["name"] == "live-yard.jsonl"
        download = ask(running.address, "/camera/yard/log")
        assert "live-yard.jsonl" in download.headers["content-disposition"]
        listed = ask(running.address, "/compare").body.decode()
        assert listed.count("being written") == 2
        assert running.stop() < 2
        assert running.ends() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live-front.jsonl", "live-yard.jsonl"]
    for name in ("front", "yard"):
        path = tmp_path / f"live-{name}.jsonl"
        records = list(read_log(path))
        assert (records[0]["camera"], records[0]["cameras"]) == (name, 2)
        assert records[-1]["rec"] == "summary"
        (series,) = read_series(path).series
        assert series.n > 9
        assert series.key["cameras"] == 2


def test_places_are_of_all_cameras_together() -> None:
    with labelcam(*DEMOS, "--max-streams", "1") as running:
        with Viewer(running.address, "/camera/front/stream"):
            full = ask(running.address, "/camera/yard/stream")
            assert full.status == 503
            assert full.headers["retry-after"]
        wait_for(lambda: state(running.address, "front")["stream"]["viewers"] == 0)
        with Viewer(running.address, "/camera/yard/stream") as viewer:
            viewer.part()


def test_one_lost_camera_is_told_by_its_name_and_the_others_go_on() -> None:
    port = free_port()
    camera = NetworkCamera(port)
    arguments = ("--source", "front=demo:", "--source", f"yard={camera.url}", "--port", "0")
    try:
        with labelcam(*arguments) as running:
            wait_for(lambda: ask(running.address, "/readyz").status == 200)
            camera.close()
            wait_for(lambda: not state(running.address, "yard")["online"])
            unready = ask(running.address, "/readyz")
            assert unready.status == 503
            assert unready.json["reason"].startswith("yard: ")
            assert ask(running.address, "/camera/yard/readyz").status == 503
            assert ask(running.address, "/camera/front/readyz").status == 200
            assert ask(running.address, "/healthz").status == 200
            classifies(running, "front")
            assert state(running.address, "front")["losses"] == 0
            camera = NetworkCamera(port)
            wait_for(lambda: ask(running.address, "/readyz").status == 200)
            assert state(running.address, "yard")["losses"] == 1
    finally:
        camera.close()


def test_the_program_ends_when_the_last_source_does(tmp_path: Path) -> None:
    short, long = tmp_path / "short.mp4", tmp_path / "long.mp4"
    write_clip(short, frames=5)
    write_clip(long, frames=60)
    with labelcam("--port", "0", "--fps", "10", "--source", f"a={short}", "--source", f"b={long}") as running:
        wait_for(lambda: state(running.address, "a")["fault"] == "the source has ended")
        assert ask(running.address, "/healthz").status == 200
        assert ask(running.address, "/readyz").status == 200
        assert state(running.address, "b")["online"]
        assert ask(running.address, "/camera/a/snapshot").json == {"error": "the source has ended"}
        with Viewer(running.address, "/camera/a/stream") as viewer:
            assert viewer.until_end() == []
        assert running.ends() == 0
        assert running.errors == ""


def test_a_model_is_changed_for_all_and_no_line_stands_under_the_other_one(
    tmp_path: Path,
) -> None:
    with labelcam(*DEMOS, "--log", tmp_path / "live.jsonl") as running:
        wait_for(lambda: ask(running.address, "/readyz").status == 200)
        assert change(running.address, {"model": "digits"}) == 202
        wait_for(lambda: state(running.address, "front")["switch"]["state"] == "done")
        for name in ("front", "yard"):
            now = state(running.address, name)
            assert now["model"] == now["settings"]["model"] == "digits"
            classifies(running, name)
        running.stop(signal.SIGTERM)
    for name in ("front", "yard"):
        models, seen = [], set()
        for record in read_log(tmp_path / f"live-{name}.jsonl"):
            if record["rec"] == "run":
                models.append(record["model"])
            elif record["rec"] == "frame" and record["top"]:
                seen.add((models[-1], record["top"][0][1].isdecimal()))
        assert models == [BUILT_IN, "digits"]
        assert seen == {(BUILT_IN, False), ("digits", True)}


def test_a_server_has_a_request_of_each_camera_under_way(tmp_path: Path) -> None:
    oip_server = pytest.importorskip("tests.oip_server", reason="pip install -r requirements-remote.txt")
    with oip_server.serving("grpc", oip_server.Served(delay_s=0.05)) as server:
        with labelcam(*DEMOS, "--model", server.address()) as running:
            classifies(running, "front")
            classifies(running, "yard")
            running.stop()
        assert server.served.most_under_way == 2


# What people look at.


def moves(image: Locator) -> None:
    """Four pictures, each at an address of its own."""
    seen = set[str]()

    def four() -> bool:
        seen.add(image.get_attribute("src") or "")
        return len(seen) == 4

    wait_for(four)


def test_the_page_of_all_shows_each_and_leads_to_its_own(two: Labelcam, browser: Browser) -> None:
    with opened(browser, two.url) as tab:
        images = tab.page.locator("figure img")
        assert images.count() == 2
        assert tab.page.locator("li p").all_inner_texts() == ["front", "yard"]
        for number in range(2):
            moves(images.nth(number))
            assert images.nth(number).evaluate("image => image.naturalWidth") in (320, 480)
        tab.page.locator("a", has_text="yard").click()
        tab.is_live()
        wait_for(lambda: tab.text("#cameras [aria-current]") == "yard")
        assert tab.page.url.endswith("/camera/yard/")
        assert tab.page.title() == "yard - Labelcam"
        tab.sees_it_move()
        tab.page.locator("#cameras a", has_text="front").click()
        wait_for(lambda: tab.text("#cameras [aria-current]") == "front")
        tab.page.locator("#cameras a", has_text="all cameras").click()
        wait_for(lambda: tab.page.locator("figure img").count() == 2)
        assert tab.troubles == []


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_all_can_be_used_by_everybody(
    two: Labelcam, browser: Browser, size: Size, scheme: Scheme
) -> None:
    with opened(browser, two.url, size, scheme) as tab:
        assert accessibility(tab) == []
        assert not tab.scrolls_sideways()


def test_a_hidden_page_of_all_asks_for_nothing(two: Labelcam, browser: Browser) -> None:
    path = "/camera/front/snapshot"
    with opened(browser, two.url) as tab:
        wait_for(lambda: len(tab.asked(path)) > 2)
        tab.hide()
        time.sleep(0.5)
        asked = len(tab.asked(path))
        time.sleep(1)
        assert len(tab.asked(path)) == asked
        tab.hide(False)
        wait_for(lambda: len(tab.asked(path)) > asked)


def test_the_page_of_all_says_what_is_wrong_and_goes_on_when_it_is_right_again(browser: Browser) -> None:
    port = free_port()
    camera = NetworkCamera(port)
    try:
        with labelcam("--port", "0", "--source", "demo:", "--source", f"yard={camera.url}") as running:
            wait_for(lambda: ask(running.address, "/readyz").status == 200)
            with opened(browser, running.url) as tab:
                yard = tab.page.locator("li", has_text="yard")
                camera.close()
                wait_for(lambda: yard.locator(".stale").count() == 1)
                assert str(port) in yard.locator("figcaption").inner_text()  # the reason
                assert tab.page.locator(".stale").count() == 1
                camera = NetworkCamera(port)
                wait_for(lambda: yard.locator(".stale").count() == 0)
                assert yard.locator("figcaption").inner_text() == ""
    finally:
        camera.close()
