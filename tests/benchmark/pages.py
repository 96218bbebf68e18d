"""The page: how many bytes it is, and how soon Chromium shows something of it."""

from __future__ import annotations

import re
from statistics import median
from urllib.parse import urljoin

from playwright.sync_api import Browser, sync_playwright

from tests.benchmark.peers import Peer
from tests.benchmark.table import Row
from tests.benchmark.web import ours
from tests.conftest import CHROMIUM, QUIET
from tests.viewer import wait_for

ROUNDS = 5
NAMED = r'(?:<link[^>]*? href|<script[^>]*? src)="([^"]+)"|url\("?([^")]+)|^import [^"]*"([^"]+)"'
PAINTED = 'performance.getEntriesByName("first-contentful-paint")[0]?.startTime'  # ms since navigation


def rows() -> list[Row]:
    with ours() as program:
        sizes = parts(program)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            first_paint(browser, program)  # Chromium's own first page is slow
            painted_ms = [first_paint(browser, program) for _ in range(ROUNDS)]
            browser.close()
    what = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    return [
        Row(f"the page, bytes as sent ({what})", sum(sizes.values()) / 1000, "kB", "", None, 60.0),
        Row(
            "first contentful paint, fresh context, median",
            median(painted_ms),
            "ms",
            "",
            None,
            300.0,
            n=ROUNDS,
        ),
        Row("the same, longest", max(painted_ms), "ms", "", None, None, n=ROUNDS),
    ]


def parts(program: Peer) -> dict[str, int]:
    """Bytes of the page and of every file that it names, by name."""
    sizes, wanted = {}, ["/"]
    while wanted:
        name = wanted.pop()
        body = program.get(name)
        sizes[name] = len(body)
        if name == "/" or name.endswith((".css", ".js")):
            found = re.findall(NAMED, body.decode(), re.M)
            files = [urljoin(name, "".join(one)) for one in found]
            wanted += [file for file in files if file.startswith("/page/") and file not in sizes]
    return sizes


def first_paint(browser: Browser, program: Peer) -> float:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{program.port}/", wait_until="domcontentloaded")  # the video never ends
        # Not wait_for_function, which the page's policy forbids: it evaluates text within the page.
        wait_for(lambda: page.evaluate(PAINTED) is not None)
        return float(page.evaluate(PAINTED))
    finally:
        context.close()
