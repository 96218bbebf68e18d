"""The page as a person has it: Debian's Chromium, by Playwright, on a Labelcam that runs as a process."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from operator import sub
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from models.catalogue import BUILT_IN, CATALOGUE
from stream import demo
from tests.network_camera import NetworkCamera
from tests.page_tools import DESK, PHONE, Scheme, Size, Tab, change, opened
from tests.viewer import ROOT, Labelcam, Viewer, ask, decoded, labelcam, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

PAGE = ROOT / "stream" / "page"
BROKEN = CATALOGUE["mobilenet_v1_0.25_128_quant"]
"""A model that lies there, as long as it should be and full of zeros."""
SCENES = tuple(label for scene in demo.SCENES for label in scene.labels)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelcam]:
    folder = tmp_path_factory.mktemp("page")
    models = folder / "models"
    file = BROKEN.files["tflite"]
    (models / file.name).parent.mkdir(parents=True)
    (models / file.name).write_bytes(bytes(file.size or 0))
    log = folder / "live.jsonl"
    with labelcam("--port", "0", "--source", "demo:", "--log", log, "--models-dir", models) as started:
        yield started


@pytest.fixture(scope="module")
def blind() -> Iterator[Labelcam]:
    """Without a camera, and without a log."""
    source = "rtsp://127.0.0.1:1/street"
    with labelcam("--port", "0", "--wait-for-camera", "--source", source) as started:
        wait_for(lambda: source in ask(started.address, "/api/state").json["fault"])  # tried once
        yield started


@pytest.fixture
def settled(running: Labelcam) -> Iterator[Labelcam]:
    """The settings are afterwards as they were."""
    before = state_of(running)["settings"]
    yield running
    wait_for(lambda: state_of(running)["switch"]["state"] != "loading")
    assert change(running.address, before) in (200, 202)
    wait_for(lambda: state_of(running)["settings"] == before)


def state_of(running: Labelcam) -> dict[str, Any]:
    state: dict[str, Any] = ask(running.address, "/api/state").json
    return state


def watched(running: Labelcam) -> tuple[int, int]:
    """How many pull video, and how many events."""
    state = state_of(running)
    return state["stream"]["viewers"], state["listeners"]


# What must never happen.


def test_a_label_is_never_html(browser: Browser, tmp_path: Path) -> None:
    """A model's file comes from anywhere, and its labels with it."""
    evil = "<img src=x onerror=\"document.title='owned'\">"
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{evil} {index}\n" for index in range(1000)))
    model = tmp_path / "<b>mine.tflite"
    model.write_bytes((ROOT / "models" / CATALOGUE[BUILT_IN].files["tflite"].name).read_bytes())
    arguments = ("--model", model, "--labels", labels, "--mean", "127", "--std", "128")
    with (
        labelcam("--port", "0", "--source", "demo:", *arguments) as started,
        opened(browser, started.url, PHONE) as tab,
    ):
        wait_for(lambda: evil in tab.text("#top"))
        wait_for(lambda: "<b>mine.tflite" in tab.text("#setup"))
        assert "<b>mine.tflite" in tab.text("#model")
        assert tab.page.locator("#top img, #setup b, #model b").count() == 0
        assert tab.page.title() == "Labelcam"
        assert not tab.scrolls_sideways()
        tab.sees_it_move()
        assert tab.troubles == []


def test_answers_and_figures_come_by_events_and_nothing_is_polled(
    browser: Browser, running: Labelcam
) -> None:
    with opened(browser, running.url) as tab:
        tab.is_live()
        tab.has_settings()
        tab.sees_it_move()
        before = tab.text("#uptime")
        at_first = len(tab.requests)
        seen: set[str] = set()

        def another_scene() -> bool:
            name = tab.text("#top li:first-child .name")
            seen.update(scene.name for scene in demo.SCENES if name.startswith(scene.labels))
            return len(seen) >= 2

        wait_for(another_scene)
        wait_for(lambda: tab.text("#uptime") != before)
        assert [request.url for request in tab.requests[at_first:]] == []
        for path in ("/stream", "/api/events", "/api/settings"):
            assert len(tab.asked(path)) == 1
        # And none leaves the host.
        assert [request.url for request in tab.requests if not request.url.startswith(running.url)] == []
        assert tab.troubles == []


def test_a_tab_that_is_hidden_pulls_nothing(browser: Browser, running: Labelcam) -> None:
    wait_for(lambda: watched(running) == (0, 0))
    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        wait_for(lambda: watched(running) == (1, 1))
        tab.hide()
        wait_for(lambda: watched(running) == (0, 0), timeout_s=3)
        assert tab.seq("still") is not None  # what was there last
        at_first = len(tab.requests)
        time.sleep(1)
        assert tab.seq("still") is not None
        assert len(tab.requests) == at_first
        assert watched(running) == (0, 0)
        tab.hide(False)
        tab.sees_it_move()
        wait_for(lambda: watched(running) == (1, 1))
        tab.is_live()
        assert tab.troubles == []


def test_a_paused_view_stays_paused_when_its_tab_is_shown_again(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        tab.page.click("#pause")
        shown = tab.seq("still")
        tab.hide()
        tab.hide(False)
        wait_for(lambda: watched(running) == (0, 1))
        assert tab.seq("still") == shown


@pytest.mark.slow
def test_the_page_heals_when_the_server_comes_back_and_asks_less_and_less_until_then(
    browser: Browser,
) -> None:
    with labelcam("--port", "0", "--source", "demo:") as first, opened(browser, first.url) as tab:
        url, port = first.url, str(first.address[1])
        tab.sees_it_move()
        tab.is_live()
        first.stop()
        with labelcam("--port", port, "--source", "demo:") as second:  # the shortest break
            assert second.url == url
            wait_for(lambda: len(tab.asked("/stream")) == 2 and watched(second) == (1, 1))
            tab.sees_it_move()
            tab.is_live()
            late_s = tab.asked("/stream")[-1].came_s - tab.asked("/api/events")[-1].came_s
            assert (
                late_s < 2
            )  # the video is asked for with the first state, not when it is seen to stand still
            asked = len(tab.asked("/api/events"))
            second.stop()
        wait_for(lambda: "does not answer" in tab.text("#lamp"))
        assert tab.page.locator("#figure.stale").count() == 1
        age_s = float(tab.text("#age"))
        wait_for(lambda: float(tab.text("#age")) > age_s + 1)  # it gets older, also when nothing comes
        wait_for(lambda: len(tab.asked("/api/events")) >= asked + 3)
        times_s = [request.came_s for request in tab.asked("/api/events")][asked:]
        for gap_s, expected_s in zip(map(sub, times_s[1:], times_s), (1, 2), strict=False):
            assert 0.75 * expected_s < gap_s < 1.25 * expected_s + 0.5  # a fifth more or less, and a moment
        with labelcam("--port", port, "--source", "demo:") as third:
            wait_for(lambda: watched(third) == (1, 1))
            tab.is_live()
            tab.sees_it_move()
            assert tab.page.locator("#figure.stale").count() == 0


@pytest.mark.slow
def test_video_that_ended_alone_is_asked_for_again(browser: Browser, running: Labelcam) -> None:
    """A browser ends a broken multipart picture without saying so, and the events go on."""
    with Viewer(running.address) as viewer:
        jpeg = viewer.part().jpeg
    part = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n--frame--\r\n"
    with opened(browser, "about:blank") as tab:
        kind = "multipart/x-mixed-replace; boundary=frame"
        tab.page.route("**/stream", lambda route: route.fulfill(body=part, content_type=kind))
        tab.page.goto(running.url, wait_until="domcontentloaded")
        wait_for(lambda: tab.seq() is not None)
        tab.sees_it_move()
        assert len(tab.asked("/api/events")) == 1


def test_a_line_that_has_died_silently_is_given_up(browser: Browser, running: Labelcam) -> None:
    """As after a laptop's sleep: the browser believes in a connection whose other end is gone."""
    with opened(browser, "about:blank") as tab:
        silent: list[Route] = []  # and is never answered

        def first_silent(route: Route) -> None:
            if silent:
                route.continue_()
            else:
                silent.append(route)

        tab.page.route("**/api/events", first_silent)
        tab.page.clock.install()
        tab.page.goto(running.url, wait_until="domcontentloaded")
        wait_for(lambda: bool(tab.asked("/api/events") and silent))
        tab.page.clock.fast_forward(4000)
        assert tab.text("#lamp") == "connecting"
        tab.page.clock.fast_forward(2000)
        tab.is_live()


def test_a_viewer_who_was_turned_away_gets_in_when_another_leaves(browser: Browser) -> None:
    with (
        labelcam("--port", "0", "--source", "demo:", "--max-streams", "1") as started,
        Viewer(started.address) as viewer,
        opened(browser, started.url) as tab,
    ):
        tab.is_live()
        wait_for(lambda: tab.text("#notice") == "No place is left (1) – trying again")
        assert tab.seq() is None
        viewer.close()
        tab.sees_it_move()
        assert tab.text("#notice") == ""


def test_without_a_camera_the_page_says_why(browser: Browser, blind: Labelcam) -> None:
    with opened(browser, blind.url, PHONE) as tab:
        wait_for(lambda: "no video comes from rtsp://127.0.0.1:1/street" in tab.text("#lamp"))
        wait_for(lambda: bool(tab.page.evaluate("document.getElementById('video').naturalWidth")))
        assert tab.text("#top") == "no picture yet"
        assert tab.text("#age") == "–"
        assert not tab.scrolls_sideways()
        assert accessibility(tab) == []
        assert tab.troubles == []


@pytest.mark.slow
def test_a_camera_that_is_lost_and_comes_back_is_told(browser: Browser) -> None:
    with (
        ExitStack() as stack,
        NetworkCamera() as first,
        labelcam("--port", "0", "--source", f"http://127.0.0.1:{first.port}/") as started,
        opened(browser, started.url) as tab,
    ):
        tab.is_live()
        tab.sees_it_move()
        first.close()
        wait_for(lambda: tab.page.locator("#lamp.off").count() == 1)
        wait_for(lambda: "lost" in tab.text("#events"))
        stack.enter_context(NetworkCamera(first.port))
        tab.is_live()
        wait_for(lambda: re.match(r"\d\d:\d\d:\d\d\s+back\b", tab.text("#events")) is not None)
        tab.sees_it_move()
        assert len(tab.asked("/stream")) == 1  # the server has told in pictures, too
        assert tab.troubles == []


# What is there.


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_demo_and_its_label(
    browser: Browser, running: Labelcam, size: Size, scheme: Scheme
) -> None:
    with opened(browser, running.url, size, scheme) as tab:
        tab.sees_it_move()
        tab.is_live()
        wait_for(lambda: tab.text("#top li:first-child .name").startswith(SCENES))
        score = tab.text("#top li:first-child .score")
        assert 10 < float(score.removesuffix(" %")) <= 100
        for fact in ("demo:", "640 × 480", BUILT_IN, "tflite", "litert", "live.jsonl"):
            assert fact in tab.text("#setup")
        assert "connected" in tab.text("#events")
        assert not tab.scrolls_sideways()
        picture = tab.page.locator("#video").bounding_box()
        assert picture
        assert picture["width"] > 0.6 * size[0]
        assert picture["y"] + picture["height"] <= size[1]  # on the first screen, whole
        ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(245, 246, 244)", "dark": "rgb(19, 22, 20)"}[scheme]
        wait_for(lambda: not tab.page.locator("#model").is_disabled())
        assert accessibility(tab) == []
        assert tab.troubles == []


def accessibility(tab: Tab) -> list[str]:
    """What axe-core finds wrong, a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(tab.page).response["violations"]
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def test_the_figures_are_fresh(browser: Browser, running: Labelcam) -> None:
    def number(selector: str) -> float:
        return float(tab.text(selector).replace("\u202f", ""))

    with opened(browser, running.url) as tab:
        tab.is_live()
        wait_for(lambda: number("#camera-fps") > 25 and number("#model-fps") > 5)
        assert 0 <= number("#age") < 2
        assert number("#viewers") == 1
        frames = {tab.text("#answer-frame")}
        wait_for(lambda: len(frames.add(tab.text("#answer-frame")) or frames) >= 4)  # type: ignore[func-returns-value]
        row = "#latency tr[data-stage=infer]"
        wait_for(lambda: "–" not in tab.text(f"{row} td:nth-child(3)"))
        p50, p90 = number(f"{row} td:nth-child(3)"), number(f"{row} td:nth-child(4)")
        assert 0 < p50 <= p90
        stages = [str(row.get_attribute("data-stage")) for row in tab.page.locator("#latency tr").all()]
        assert stages == ["wait", "pre", "infer", "post", "age", "draw", "encode", "picture_age"]
        told = tab.page.locator(f"{row} svg").get_attribute("aria-label") or ""
        assert re.fullmatch(r"infer: [\d.]+ to [\d.]+ ms within the last minute", told)
        line = tab.page.locator(f"{row} path.line").get_attribute("d")
        wait_for(lambda: tab.page.locator(f"{row} path.line").get_attribute("d") != line, timeout_s=5)


def test_the_video_needs_no_java_script(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url, java_script=False) as tab:
        box = tab.page.locator("#video")
        wait_for(lambda: (box.bounding_box() or {"height": 0})["height"] > 300)
        first = box.screenshot()
        wait_for(lambda: box.screenshot() != first)
        assert "The video needs no JavaScript" in tab.text("noscript")
        assert not tab.page.locator("#settings").is_visible()


def test_a_closed_tab_is_no_viewer_any_more(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        wait_for(lambda: watched(running) == (1, 1))
    wait_for(lambda: watched(running) == (0, 0))


def test_the_address_with_the_token_is_all_a_viewer_needs_and_is_not_left_in_the_bar(
    browser: Browser,
) -> None:
    with labelcam("--port", "0", "--source", "demo:", "--token", "let-me-in") as started:
        assert "let-me-in" not in started.url  # whoever gave it knows it; a journal need not
        with opened(browser, started.url + "?token=let-me-in") as tab:
            tab.sees_it_move()
            tab.is_live()
            assert tab.page.url == started.url
            tab.page.reload(wait_until="domcontentloaded")
            tab.is_live()
            assert tab.troubles == []
            assert [request for request in tab.requests[1:] if "let-me-in" in request.url] == []
            tab.hide()
            tab.page.context.clear_cookies()
            tab.hide(False)
            wait_for(lambda: "needs its token" in tab.text("#lamp"))


def test_the_page_is_small() -> None:
    assert sum(file.stat().st_size for file in PAGE.iterdir() if file.stem != "compare") < 48_000


# What can be done with it.


def test_pause_keeps_the_picture_and_drops_the_video(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        tab.page.click("#pause")
        assert re.fullmatch(r"Paused at \d\d:\d\d:\d\d", tab.text("#notice"))
        assert tab.text("#pause span") == "Go on"
        shown = tab.seq("still")
        assert shown is not None
        wait_for(lambda: watched(running) == (0, 1))  # the figures go on
        assert tab.seq("still") == shown
        tab.page.click("#pause")
        tab.sees_it_move()
        assert tab.text("#pause span") == "Pause"
        assert tab.text("#notice") == ""
        assert tab.page.locator("#still").is_hidden()
        assert tab.troubles == []


def test_a_frozen_answer_stands_still_and_says_which(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        wait_for(lambda: "frame" in tab.text("#answer-frame"))
        tab.page.click("#freeze")
        told = tab.text("#answer-frame")
        assert re.fullmatch(r"frame \d+, frozen at \d\d:\d\d:\d\d", told)
        before = tab.text("#top")
        time.sleep(1.5)
        assert (tab.text("#answer-frame"), tab.text("#top")) == (told, before)
        assert float(tab.text("#age")) < 1  # that of the newest
        tab.page.click("#freeze")
        assert "frozen" not in tab.text("#answer-frame")
        wait_for(lambda: tab.text("#answer-frame") != told)


def test_keys_do_what_their_buttons_say(browser: Browser, running: Labelcam) -> None:
    def word(button: str) -> str:
        return tab.text(f"#{button} span")

    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        tab.has_settings()
        keyboard = tab.page.keyboard
        keyboard.press("Space")
        assert word("pause") == "Go on"
        assert tab.page.evaluate("scrollY") == 0
        keyboard.press("a")
        assert word("freeze") == "Go on"
        for modified in ("Control+a", "Alt+a", "Shift+a", "Meta+a"):
            keyboard.press(modified)
            assert word("freeze") == "Go on"
        tab.page.focus("#threshold")
        for key in ("a", "Space"):
            keyboard.press(key)
        assert (word("pause"), word("freeze")) == ("Go on", "Go on")
        tab.page.focus("#freeze")
        keyboard.press("Space")  # the button's own, and no other's
        assert (word("pause"), word("freeze")) == ("Go on", "Freeze")
        tab.page.focus("body")
        keyboard.press("f")
        wait_for(lambda: bool(tab.page.evaluate("document.fullscreenElement?.id === 'figure'")))
        keyboard.press("F")
        with tab.page.expect_download() as download:
            keyboard.press("s")
        assert download.value.suggested_filename.startswith("labelcam-")
        tab.page.uncheck("#keys")
        tab.page.focus("#pause")
        keyboard.press("a")
        assert word("freeze") == "Freeze"


def test_everything_is_reached_by_tab_and_seen_to_have_the_focus(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        tab.is_live()
        tab.has_settings()
        reached: list[str] = []
        for _ in range(20):
            tab.page.keyboard.press("Tab")
            name, outline = tab.page.evaluate(
                "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
            )
            reached.append(name)
            assert name in ("", "video") or outline == "solid"
        wanted = ["pause", "snapshot", "fullscreen", "log", "freeze", "model"]
        sliders = ["threshold", "top_k", "smoothing", "quality", "keys"]
        assert [name for name in reached if name in (*wanted, *sliders)][:11] == [*wanted, *sliders]


def test_full_screen_is_the_picture_alone(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        tab.page.click("#fullscreen")
        wait_for(lambda: bool(tab.page.evaluate("document.fullscreenElement?.id === 'figure'")))
        tab.sees_it_move()


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_a_paused_picture_fills_the_screen_and_no_more(
    browser: Browser, running: Labelcam, size: Size
) -> None:
    with opened(browser, running.url, size) as tab:
        tab.sees_it_move()
        tab.page.keyboard.press("f")
        wait_for(lambda: bool(tab.page.evaluate("document.fullscreenElement?.id === 'figure'")))
        tab.page.keyboard.press("Space")
        wait_for(lambda: tab.page.locator("#still").is_visible())
        box = tab.page.locator("#still").bounding_box()
        screen = tab.page.evaluate("[innerWidth, innerHeight]")
        assert box
        assert box["width"] <= screen[0]
        assert box["height"] <= screen[1]


def test_a_snapshot_is_downloaded_under_the_time_it_was_taken(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        with tab.page.expect_download() as download:
            tab.page.click("#snapshot")
        assert re.fullmatch(r"labelcam-[\d-]{10}T[\d-]{8}Z\.jpg", download.value.suggested_filename)
        assert demo.read_seq(decoded(Path(download.value.path()).read_bytes())) is not None
        assert tab.troubles == []


def test_a_snapshot_that_cannot_be_had_is_told(browser: Browser, blind: Labelcam) -> None:
    with opened(browser, blind.url) as tab:
        tab.page.click("#snapshot")
        wait_for(lambda: tab.text("#notice").startswith("No snapshot: "))
        assert "rtsp://127.0.0.1:1/street" in tab.text("#notice")
        assert tab.page.locator("#log").is_hidden()
        wait_for(lambda: "none – start with --log FILE" in tab.text("#setup"))


def test_the_log_is_downloaded(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        tab.is_live()
        with tab.page.expect_download() as download:
            tab.page.click("#log")
        assert Path(download.value.path()).read_bytes().startswith(b'{"rec":"run"')


# The settings.


def test_threshold_and_labels_are_changed_at_once(browser: Browser, settled: Labelcam) -> None:
    with opened(browser, settled.url) as tab:
        wait_for(lambda: tab.page.locator("#top .score").count() > 1)
        tab.has_settings()
        tab.slide("top_k", 1)
        wait_for(lambda: tab.page.locator("#top .score").count() == 1)
        assert tab.text("output[for=top_k]") == "1"
        tab.slide("threshold", 0.99)
        assert tab.text("output[for=threshold]") == "99 %"
        wait_for(lambda: state_of(settled)["settings"]["threshold"] == 0.99)
        scores = tab.page.locator("#top .score")
        wait_for(lambda: all(float(score.rstrip(" %")) >= 99 for score in scores.all_inner_texts()))
        for value in range(50, 60):  # a hand does not let go at each
            tab.slide("quality", value)
        wait_for(lambda: state_of(settled)["settings"]["quality"] == 59)
        assert len(tab.asked("/api/settings")) <= 6
        assert tab.troubles == []


def test_what_another_browser_sets_is_shown_and_a_hand_is_not_fought(
    browser: Browser, settled: Labelcam
) -> None:
    with opened(browser, settled.url) as tab:
        tab.has_settings()
        change(settled.address, {"quality": 33, "smoothing": 0.5})
        wait_for(lambda: tab.text("output[for=quality]") == "33")
        assert tab.text("output[for=smoothing]") == "0.50"
        tab.page.focus("#quality")
        tab.page.keyboard.press("ArrowRight")
        change(settled.address, {"quality": 50})  # is told to all at once
        tab.page.keyboard.press("ArrowRight")
        time.sleep(0.1)
        tab.page.keyboard.press("ArrowRight")
        assert tab.text("output[for=quality]") == "36"
        wait_for(lambda: state_of(settled)["settings"]["quality"] == 36)


def test_the_model_is_switched_while_the_video_goes_on(browser: Browser, settled: Labelcam) -> None:
    with opened(browser, settled.url) as tab:
        tab.sees_it_move()
        wait_for(lambda: tab.page.locator("#model option[value=digits]").count() == 1)
        tab.page.select_option("#model", "digits")
        wait_for(lambda: "loaded in" in tab.text("#settings-said"))
        gap_ms = state_of(settled)["switch"]["gap_ms"]
        gap = ""
        if gap_ms is not None:
            gap = ", longest gap in the video "
            gap += f"{gap_ms:.0f} ms" if gap_ms < 1000 else f"{gap_ms / 1000:.1f} s"
        said = rf"digits, tflite: loaded in [\d.]+ m?s{gap}"
        assert re.fullmatch(said, tab.text("#settings-said")), tab.text("#settings-said")
        assert state_of(settled)["model"] == "digits"
        assert tab.page.locator("#model").input_value() == "digits"
        wait_for(lambda: re.match(r"digits\b", tab.text("#setup dt:has-text('model') + dd")) is not None)
        wait_for(lambda: "model switched" in tab.text("#events"))
        wait_for(lambda: bool(re.fullmatch(r"\d", tab.text("#top li:first-child .name"))))
        assert len(tab.asked("/stream")) == 1
        assert tab.troubles == []


def test_a_switch_that_fails_is_told_and_the_model_stays(browser: Browser, settled: Labelcam) -> None:
    with opened(browser, settled.url) as tab:
        wait_for(lambda: tab.page.locator(f"#model option[value='{BROKEN.name}']").count() == 1)
        tab.page.select_option("#model", BROKEN.name)
        wait_for(lambda: tab.text("#settings-said").startswith(f"{BROKEN.name}: "))
        wait_for(lambda: "bad" in (tab.page.locator("#settings-said").get_attribute("class") or ""))
        wait_for(lambda: tab.page.locator("#model").input_value() == BUILT_IN)
        wait_for(lambda: "model not switched" in tab.text("#events"))
        tab.is_live()
        assert accessibility(tab) == []
        assert tab.troubles == []
