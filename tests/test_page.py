"""The page as a person has it: Debian's Chromium, by Playwright, on a Labelcam that runs as a process."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest

from models.catalogue import BUILT_IN, CATALOGUE
from stream import demo
from tests.viewer import ROOT, Labelcam, Viewer, ask, decoded, labelcam, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESK = (360, 740), (1280, 800)  # (width, height)
GRAB = """() => {
    const picture = document.getElementById("video");
    if (!picture.naturalWidth) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL("image/jpeg", 0.95).split(",")[1];
}"""


class Tab(NamedTuple):
    page: Page
    troubles: list[str]  # of the console, uncaught, and failed
    requests: list[str]

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def seq(self) -> int | None:
        """Of the frame that is on show."""
        shown = self.page.evaluate(GRAB)
        return demo.read_seq(decoded(base64.b64decode(shown))) if shown else None

    def sees_it_move(self) -> None:
        """Six frames, each later than the one before."""
        seen: list[int] = []

        def later() -> bool:
            seq = self.seq()
            if seq is not None and (not seen or seq > seen[-1]):
                seen.append(seq)
            return len(seen) == 6

        wait_for(later)

    def scrolls_sideways(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@contextmanager
def opened(
    browser: Browser,
    url: str,
    size: tuple[int, int] = DESK,
    scheme: Literal["light", "dark"] = "light",
    java_script: bool = True,
) -> Iterator[Tab]:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=java_script
    )
    page = context.new_page()
    tab = Tab(page, [], [])
    page.on("console", lambda said: tab.troubles.append(said.text) if said.type != "log" else None)
    page.on("pageerror", lambda error: tab.troubles.append(str(error)))
    page.on("request", lambda request: tab.requests.append(request.url))
    page.on("response", lambda got: tab.troubles.append(got.url) if got.status >= 400 else None)
    try:
        page.goto(url, wait_until="domcontentloaded")  # not "load": the video never ends
        yield tab
    finally:
        context.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Labelcam]:
    with labelcam("--port", "0", "--source", "demo:") as started:
        yield started


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
        opened(browser, started.url) as tab,
    ):
        wait_for(lambda: evil in tab.text("#top"))
        assert "<b>mine.tflite" in tab.text("#setup")
        assert tab.page.locator("#top img, #setup b").count() == 0
        assert tab.page.title() == "Labelcam"
        assert not tab.scrolls_sideways()
        tab.sees_it_move()
        assert tab.troubles == []


def test_the_picture_comes_back_with_the_server(browser: Browser) -> None:
    with labelcam("--port", "0", "--source", "demo:") as first, opened(browser, first.url) as tab:
        url, port = first.url, str(first.address[1])
        tab.sees_it_move()
        first.stop()
        wait_for(lambda: "does not answer" in tab.text("#lamp"))
        with labelcam("--port", port, "--source", "demo:") as second:
            assert second.url == url
            wait_for(lambda: tab.text("#lamp") == "live")
            tab.sees_it_move()
            assert ask(second.address, "/api/state").json["stream"]["viewers"] == 1


def test_the_picture_comes_back_after_the_shortest_break(browser: Browser) -> None:
    """Shorter than the page's look at the state takes to come round again: it never sees the server gone."""
    with labelcam("--port", "0", "--source", "demo:") as first, opened(browser, first.url) as tab:
        port = str(first.address[1])
        tab.sees_it_move()
        # What the page asks now waits until we look at it again: as if it had not asked in between.
        tab.page.route("**/api/state", lambda route: route.continue_())
        first.stop()
        with labelcam("--port", port, "--source", "demo:") as second:
            assert second.url
            tab.sees_it_move()


def test_a_viewer_who_was_turned_away_gets_in_when_another_leaves(browser: Browser) -> None:
    with (
        labelcam("--port", "0", "--source", "demo:", "--max-streams", "1") as started,
        Viewer(started.address) as viewer,
        opened(browser, started.url) as tab,
    ):
        wait_for(lambda: tab.text("#lamp") == "live")
        assert tab.page.evaluate(GRAB) is None
        viewer.close()
        tab.sees_it_move()


def test_without_a_camera_the_page_says_why(browser: Browser) -> None:
    arguments = ("--wait-for-camera", "--source", "rtsp://127.0.0.1:1/street")
    with labelcam("--port", "0", *arguments) as started, opened(browser, started.url, PHONE) as tab:
        wait_for(lambda: "no video comes from rtsp://127.0.0.1:1/street" in tab.text("#lamp"))
        wait_for(lambda: bool(tab.page.evaluate(GRAB)))  # the picture that says so
        assert tab.text("#top") == "no picture yet"
        assert not tab.scrolls_sideways()
        assert tab.troubles == []


# What is there.


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_demo_and_its_label(
    browser: Browser, running: Labelcam, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    labels = [label for scene in demo.SCENES for label in scene.labels]
    with opened(browser, running.url, size, scheme) as tab:
        tab.sees_it_move()
        wait_for(lambda: tab.text("#lamp") == "live")
        wait_for(lambda: tab.text("#top li:first-child .name").startswith(tuple(labels)))
        score = tab.text("#top li:first-child .score")
        assert 10 < float(score.removesuffix(" %")) <= 100
        assert re.search(r"camera\s+[\d.]+ fps\s+model\s+[\d.]+ fps", tab.text("#speed"))
        for fact in ("demo:", "640 × 480", BUILT_IN, "tflite, litert"):
            assert fact in tab.text("#setup")
        assert not tab.scrolls_sideways()
        picture = tab.page.locator("#video").bounding_box()
        assert picture
        assert picture["width"] > 0.6 * size[0]
        assert picture["y"] + picture["height"] <= size[1]  # on the first screen, whole
        ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(245, 246, 244)", "dark": "rgb(19, 22, 20)"}[scheme]
        assert tab.troubles == []
        assert tab.requests
        assert [url for url in tab.requests if not url.startswith(running.url)] == []


def test_the_video_needs_no_java_script(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url, java_script=False) as tab:
        box = tab.page.locator("#video")
        wait_for(lambda: (box.bounding_box() or {"height": 0})["height"] > 300)
        first = box.screenshot()
        wait_for(lambda: box.screenshot() != first)
        assert "The video needs no JavaScript" in tab.text("noscript")


def test_a_closed_tab_is_no_viewer_any_more(browser: Browser, running: Labelcam) -> None:
    def viewers() -> int:
        count: int = ask(running.address, "/api/state").json["stream"]["viewers"]
        return count

    wait_for(lambda: viewers() == 0)
    with opened(browser, running.url) as tab:
        tab.sees_it_move()
        assert viewers() == 1
    wait_for(lambda: viewers() == 0)


def test_the_address_with_the_token_is_all_a_viewer_needs(browser: Browser) -> None:
    with labelcam("--port", "0", "--source", "demo:", "--token", "let-me-in") as started:
        assert "let-me-in" not in started.url  # whoever gave it knows it; a journal need not
        with opened(browser, started.url + "?token=let-me-in") as tab:
            tab.sees_it_move()
            wait_for(lambda: tab.text("#lamp") == "live")
            assert tab.troubles == []
            assert [url for url in tab.requests[1:] if "let-me-in" in url] == []


def test_the_figures_are_fresh(browser: Browser, running: Labelcam) -> None:
    with opened(browser, running.url) as tab:
        wait_for(lambda: "running for" in tab.text("#setup"))
        before = tab.text("#speed")
        started_s = time.monotonic()
        wait_for(lambda: tab.text("#speed") != before)
        assert time.monotonic() - started_s < 5
