"""What the tests of the page look with: a tab of Chromium that keeps count of its requests and troubles."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from stream import demo
from tests.viewer import PATIENCE_S, Address, decoded, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Size = tuple[int, int]  # (width, height)
Scheme = Literal["light", "dark"]

PHONE, DESK = (360, 740), (1280, 800)
GRAB = """(id) => {
    const picture = document.getElementById(id);
    const [width, height] = [picture.naturalWidth ?? picture.width, picture.naturalHeight ?? picture.height];
    if (!width || picture.hidden) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL("image/jpeg", 0.95).split(",")[1];
}"""
HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    const state = hidden ? "hidden" : "visible";
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""A headless browser shows all its tabs at once: this one is told that it is behind another, or no more."""


class Request(NamedTuple):
    url: str
    came_s: float  # monotonic

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


@dataclass(frozen=True)
class Tab:
    page: Page
    troubles: list[str] = field(default_factory=list)  # of the console, uncaught, and failed
    requests: list[Request] = field(
        default_factory=list
    )  # known of when the browser was last asked something

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def seq(self, picture: str = "video") -> int | None:
        """Of the frame that is on show there."""
        shown = self.page.evaluate(GRAB, picture)
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

    def is_live(self) -> None:
        wait_for(lambda: self.text("#lamp") == "live")

    def has_settings(self) -> None:
        """They can be set: until the server has told its limits, none takes the focus."""
        wait_for(lambda: not self.page.locator("#threshold").is_disabled())

    def hide(self, hidden: bool = True) -> None:
        self.page.evaluate(HIDE, hidden)

    def asked(self, path: str) -> list[Request]:
        """The requests so far."""
        self.page.evaluate("0")
        return [request for request in self.requests if request.path == path]

    def slide(self, name: str, value: float) -> None:
        """As a hand does: the slider goes there, and says so."""
        self.page.locator(f"#{name}").fill(str(value))

    def scrolls_sideways(self) -> bool:
        # Not the window's own width: a phone zooms out until what is too wide fits.
        size = self.page.viewport_size
        assert size
        return int(self.page.evaluate("document.documentElement.scrollWidth")) > size["width"]


@contextmanager
def opened(
    browser: Browser,
    url: str,
    size: Size = DESK,
    scheme: Scheme = "light",
    java_script: bool = True,
) -> Iterator[Tab]:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        has_touch=size == PHONE,
        is_mobile=size == PHONE,
        color_scheme=scheme,
        java_script_enabled=java_script,
    )
    page = context.new_page()
    tab = Tab(page)
    page.on("console", lambda said: tab.troubles.append(said.text) if said.type != "log" else None)
    page.on("pageerror", lambda error: tab.troubles.append(str(error)))
    page.on("request", lambda request: tab.requests.append(Request(request.url, time.monotonic())))
    page.on("response", lambda got: tab.troubles.append(got.url) if got.status >= 400 else None)
    try:
        page.goto(url, wait_until="domcontentloaded")  # not "load": the video never ends
        yield tab
    finally:
        context.close()


def change(address: Address, settings: dict[str, object]) -> int:
    """As somebody else does, elsewhere; the status."""
    connection = HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/json", "X-Labelcam": "1"}
        connection.request("POST", "/api/settings", json.dumps(settings), headers)
        return connection.getresponse().status
    finally:
        connection.close()
