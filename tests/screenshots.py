"""Takes the pictures of the page that are in docs/img: python -m tests.screenshots [FOLDER]"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import cv2
from playwright.sync_api import sync_playwright

from stream import demo
from tests.conftest import CHROMIUM, QUIET
from tests.page_tools import DESK, PHONE, Scheme, Tab, opened
from tests.viewer import ROOT, decoded, labelcam, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZES = {"desktop": DESK, "phone": PHONE}
MOST_BYTES = 200_000  # the largest has half of that


def take(browser: Browser, url: str, folder: Path) -> list[Path]:
    """Of each size in each colour scheme; and page.webp, the one that README shows."""
    taken = []
    for scheme in get_args(Scheme):
        for name, size in SIZES.items():
            with opened(browser, url, size, scheme) as tab:
                is_worth_a_picture(tab)
                taken.append(written(tab.page.screenshot(), folder / f"page-{name}-{scheme}.webp"))
                if name == "desktop" and scheme == "light":
                    taken.append(written(tab.page.screenshot(full_page=True), folder / "page.webp"))
    return taken


def written(png: bytes, path: Path) -> Path:
    """As WebP, whose letters stay sharp: a third of the bytes."""
    cv2.imwrite(str(path), decoded(png), (cv2.IMWRITE_WEBP_QUALITY, 90))
    return path


def is_worth_a_picture(tab: Tab) -> None:
    """All figures are there, and the traffic light is on, which fills the list of answers."""
    scene = next(scene.labels for scene in demo.SCENES if scene.name == "street")
    wait_for(lambda: "–" not in tab.text("#latency"), timeout_s=60)
    line = tab.page.locator("#latency path.line").first
    wait_for(lambda: (line.get_attribute("d") or "").count(" ") >= 50, timeout_s=90)  # seconds
    wait_for(lambda: tab.text("#top li:first-child .name").startswith(scene))
    wait_for(lambda: tab.page.locator("#top .score").count() == 5)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ("--port", "0", "--source", "demo:", "--log", folder / "live.jsonl")
    try:
        with labelcam(*arguments) as running, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            taken = take(browser, running.url, folder)
    finally:
        (folder / "live.jsonl").unlink(missing_ok=True)
    for path in taken:
        assert path.stat().st_size < MOST_BYTES, f"{path} is too large for a repository"


if __name__ == "__main__":
    main()
