"""The comparison as a page: in Debian's Chromium, from logs that the program wrote and from worse ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import pytest

from stream.compare import Comparison, compare_logs, read_logs
from stream.compare_html import headline, html, load_drawing, sentences
from stream.published import MACHINE, Published, read_published
from tests.page_tools import DESK, Tab, opened
from tests.viewer import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow  # every page is drawn by matplotlib and opened in a browser

PHONE = (390, 844)  # (width, height)
EVIL = "<script>alert(1)</script>"
LONG = "long" * 50
EVIL_IMAGE = "<img src=http://192.0.2.1/x onerror=alert(1)>"
MODEL = "mobilenet_v1_1.0_224_quant"
HEAD: dict[str, Any] = {
    "rec": "run",
    "schema": 1,
    "command": "live",
    "t_utc": 1795400000.5,
    "host": "board",
    "machine": "aarch64",
    "cpu": "Cortex-A57",
    "cpu_count": 4,
    "affinity": [0, 1],
    "python": "3.11.7",
    "backend": "tflite",
    "runtime": "litert",
    "runtime_version": "2.3.0",
    "threads": 4,
    "device": "cpu",
    "model": MODEL,
    "model_sha256": "0",
    "labels_sha256": "1",
    "source": "demo:",
    "import_us": 9000,
    "load_us": 1000,
    "compile_us": 11000,
    "first_us": 80_000,
}


def lines_of(
    infer_us: Sequence[int],
    step_ns: int = 33_000_000,
    skip: int = 0,
    names: Sequence[str] = (),
    label: str = "cat",
) -> Iterator[dict[str, Any]]:
    for place, one in enumerate(infer_us):
        times = {"wait_us": 300, "pre_us": 200, "infer_us": int(one), "post_us": 40, "age_us": 540 + int(one)}
        image = {"image": names[place % len(names)]} if names else {}
        stamps = {"seq": place * (1 + skip) + skip, "arrived_ns": place * step_ns, "skip": skip}
        yield {"rec": "frame", **stamps, **image, **times, "top": [[place % 3 if names else 0, label, 0.9]]}


def written(path: Path, *runs: Iterator[dict[str, Any]], **head: Any) -> Path:
    """A log of these runs."""
    with path.open("w") as file:
        for run in runs:
            for record in ({**HEAD, **head}, *run, {"rec": "summary", "lost_lines": 0}):
                file.write(json.dumps(record) + "\n")
    return path


def noisy(seed: int, n: int = 400, middle_us: int = 4000) -> list[int]:
    return [int(one) for one in np.random.default_rng(seed).gamma(100, middle_us / 100, n)]


def comparison_of(*paths: Path, published: Sequence[Published] = ()) -> Comparison:
    return compare_logs(read_logs(paths), published, {one.model: MODEL for one in published})


def drawing() -> ModuleType:
    pytest.importorskip("matplotlib", reason="pip install -r requirements-report.txt")
    return load_drawing()


def page_of(folder: Path, comparison: Comparison) -> Path:
    drawing()
    page = folder / "report.html"
    page.write_text(html(comparison), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Live against stills, by the program itself."""
    folder = tmp_path_factory.mktemp("real")
    picture = folder / "picture.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    live, stills = folder / "live.jsonl", folder / "stills.jsonl"
    for arguments in (
        ("--source", "demo:", "--max-frames", "80", "--encode", "always", "--port", "0", "--log", live),
        ("bench", picture, "--runs", "40", "--rounds", "2", "--log", stills),
    ):
        subprocess.run(
            [sys.executable, "run.py", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60
        )
    return comparison_of(live, stills)


@pytest.fixture
def six(tmp_path: Path) -> Comparison:
    """One is twice as fast, one is slower and skips, one was measured in five runs."""
    middles = (4000, 4000, 2000, 70_000, 4000, 4400)
    logs = [
        written(tmp_path / f"{place}.jsonl", lines_of(noisy(place, middle_us=middle), skip=place == 3))
        for place, middle in enumerate(middles[:5])
    ]
    runs = (lines_of(noisy(seed, 150, middles[5])) for seed in range(11, 16))
    return comparison_of(*logs, written(tmp_path / "5.jsonl", *runs))


# What must never happen.


def run_without(module_code: str, tmp_path: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    log = written(tmp_path / "live.jsonl", lines_of(noisy(0)))
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text(module_code)
    program = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]
{before}
from pathlib import Path
from stream.compare import compare
from stream.compare_html import html
from stream.outputs import OutputError
try:
    html(compare([Path({str(log)!r})]))
except OutputError as error:
    print(error)
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )


def test_without_matplotlib_it_is_one_line(tmp_path: Path) -> None:
    ended = run_without("", tmp_path, before="sys.modules['matplotlib'] = None")
    assert ended.stdout == "compare --html needs matplotlib - pip install -r requirements-report.txt\n"
    assert ended.stderr == ""


def test_a_matplotlib_that_does_not_load_says_why(tmp_path: Path) -> None:
    """Debian's, built for NumPy 1, beside pip's NumPy 2."""
    ended = run_without("raise ImportError('numpy.core.multiarray\\nfailed to import')", tmp_path)
    assert ended.stdout.count("\n") == 1
    assert "it does not load (numpy.core.multiarray failed to import) - pip install" in ended.stdout


def test_reading_and_comparing_need_no_matplotlib(tmp_path: Path) -> None:
    """It is imported when a page is wanted, and takes a second."""
    code = "import sys, stream.compare_html; print('matplotlib' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_what_logs_say_stays_text(browser: Browser, tmp_path: Path) -> None:
    """Labels, models and pictures have the names that anybody gave them."""
    evil = {
        "model": EVIL,
        "source": EVIL_IMAGE,
        "host": EVIL,
        "cpu": EVIL_IMAGE,
        "runtime": EVIL,
        "threads": EVIL,
    }
    names = (EVIL, EVIL_IMAGE, "$\\frac{", LONG)
    first = written(
        tmp_path / f"{EVIL.replace('/', '')}.jsonl", lines_of(noisy(0), names=names, label=EVIL), **evil
    )
    other = lines_of(noisy(1), names=names[::-1], label=EVIL_IMAGE)
    second = written(tmp_path / f"$x$ & <b> {LONG}.jsonl", other, **{**evil, "model": LONG, "governor": EVIL})
    second.write_text(second.read_text() + '{"rec":"fra')  # a note
    comparison = comparison_of(first, second)
    assert comparison.notes
    with opened(browser, page_of(tmp_path, comparison).as_uri(), PHONE) as tab:
        tab.page.on("dialog", lambda dialog: tab.troubles.append(dialog.message))
        assert tab.page.locator("script, img, b:not(.badge), [onerror]").count() == 0
        text = tab.text("body")
        for shown in (EVIL, EVIL_IMAGE, "$\\frac{", LONG, first.name, second.name):
            assert shown in text
        assert not tab.scrolls_sideways()
        assert_alone(tab)


def assert_alone(tab: Tab) -> None:
    """It asked for nothing but itself, and the browser has nothing to say."""
    assert len(tab.requests) == 1
    assert tab.requests[0].url.startswith("file:")
    assert tab.troubles == []


@pytest.mark.parametrize(
    "ages",
    [[0], [0, 0, 0], [5], [5] * 400, [1, 60_000_000], [0] * 1999 + [3_600_000_000], list(range(1600))],
    ids=["zero", "zeros", "one", "constant", "a minute", "an hour, in bands", "bands"],
)
def test_odd_numbers_are_drawn(ages: list[int], tmp_path: Path) -> None:
    drawing()
    frames = [
        {**frame, "wait_us": 0, "pre_us": 0, "post_us": 0, "age_us": age}
        for frame, age in zip(lines_of(ages), ages, strict=True)
    ]
    odd = written(tmp_path / "odd.jsonl", iter(frames))
    plain = written(tmp_path / "plain.jsonl", lines_of(noisy(0)), source="clip.mp4", first_us=0)
    for logs in ((odd,), (odd, plain), (plain, odd), (plain, odd, odd)):
        page = html(comparison_of(*logs))
        numbers = re.findall(r' (?:d|x|y|transform)="[^"]*"|<td class="n[^>]*>.*?</td>', page)
        assert not re.search("nan|inf", " ".join(numbers))


@pytest.mark.parametrize("t_utc", [None, "soon", 1e300, float("nan"), True])
def test_a_strange_clock_costs_no_page(t_utc: Any, tmp_path: Path) -> None:
    drawing()
    log = written(tmp_path / "log.jsonl", lines_of([4000]), t_utc=t_utc, threads=None, host=None, source=None)
    assert "The median of 1 frame." in html(comparison_of(log))


def test_nothing_is_capped_in_silence(tmp_path: Path) -> None:
    names = [f"picture {number}.jpg" for number in range(250)]
    logs = [
        written(
            tmp_path / f"{place}.jsonl",
            ({**frame, "top": [[place, f"label {place}", 0.9]]} for frame in lines_of(noisy(0), names=names)),
            command="bench",
        )
        for place in range(2)
    ]
    drawing()
    page = html(comparison_of(*logs))
    assert page.count('<th scope="row" class="value">picture') == 200
    assert "And 50 more, which are in the logs." in page


# What is there.


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_alone_and_fits(
    browser: Browser,
    real: Comparison,
    tmp_path: Path,
    size: tuple[int, int],
    scheme: Literal["light", "dark"],
) -> None:
    with opened(browser, page_of(tmp_path, real).as_uri(), size, scheme, java_script=False) as tab:
        assert tab.text("h1") == headline(real)
        assert "live.jsonl" in tab.text("#compared")
        assert "live frames without names cannot be matched" in tab.text("#labels")
        ground = {"light": "rgb(245, 246, 244)", "dark": "rgb(19, 22, 20)"}[scheme]
        assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        assert not tab.scrolls_sideways()
        boxes = [box.bounding_box() for box in tab.page.locator("svg").all()]
        assert len(boxes) >= 12
        for box in boxes:
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size[0]
            assert box["width"] > 0.8 * min(size[0], 400)
        assert_alone(tab)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(
    browser: Browser, six: Comparison, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    """WCAG AA: text 4.5 to 1, also that on a series' colour."""
    with opened(browser, page_of(tmp_path, six).as_uri(), DESK, scheme) as tab:
        names = ["card", "ground", "tint", "ink", "soft", "accent", *(f"hue{number}" for number in range(7))]
        names += [f"stage{number}" for number in range(4)]
        style = "getComputedStyle(document.documentElement).getPropertyValue"
        colours = {name: tab.page.evaluate(f"{style}('--{name}')").strip() for name in names}
        for name in names[3:]:
            assert contrast(colours[name], colours["card"]) >= 4.5, name
        for ground in ("ground", "tint"):
            assert contrast(colours["soft"], colours[ground]) >= 4.5
        fills = tab.page.evaluate(
            "[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill)"
        )
        assert set(fills) == {css(colours[name]) for name in ("ink", "soft", "card")}


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def css(colour: str) -> str:
    return "rgb({}, {}, {})".format(*(int(colour[at : at + 2], 16) for at in (1, 3, 5)))


def test_every_plot_says_in_words_what_it_shows(browser: Browser, six: Comparison, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, six).as_uri()) as tab:
        plots = tab.page.evaluate(
            """[...document.querySelectorAll("svg")].map(svg => ({
                role: svg.getAttribute("role"),
                said: svg.getAttribute("aria-labelledby").split(" ").map(id => document.getElementById(id)),
            })).map(({role, said}) => ({
                role, tags: said.map(one => one.tagName), texts: said.map(one => one.textContent),
            }))"""
        )
        assert len(plots) == 1 + 1 + 5 + 6 + 5 + 1  # ratios, means, changes, over time, distributions, starts
        for plot in plots:
            assert plot["role"] == "img"
            assert plot["tags"] == ["title", "desc"]
            assert all(plot["texts"])
        ids = tab.page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))
        links = tab.page.evaluate(
            "[...document.querySelectorAll('nav a, use')].map(a => a.getAttribute('href'))"
        )
        assert {link.removeprefix("#") for link in links} <= set(ids)


def test_every_series_is_in_every_plot(six: Comparison) -> None:
    plots = drawing().draw(six)
    letters = {column.name for column in six.columns}
    for plot in (plots.means, plots.starts, *plots.distributions):
        assert letters <= set(re.findall(r">([A-Z])</text>", plot.svg)), plot.name
    assert letters - {"A"} <= set(re.findall(r">([A-Z])</text>", plots.ratios.svg))
    assert [plot.title[0] for plot in plots.over_time] == sorted(letters)
    assert [plot.title for plot in plots.changes] == [
        f"From A's mean age to {letter}'s" for letter in sorted(letters - {"A"})
    ]
    for plot in plots.distributions:  # a line of its own, told apart by its colour
        assert {f"stroke:var(--hue{place})" for place in range(6)} <= set(
            re.findall(r"stroke:var\(--hue\d\)", plot.svg)
        )


def test_no_two_of_twenty_lines_look_alike() -> None:
    looks = [(drawing().hue(place), drawing().stroke(place)) for place in range(20)]
    assert len(set(looks)) == 20


def test_plots_have_no_colour_of_their_own(six: Comparison) -> None:
    plots = drawing().draw(six)
    for plot in (
        plots.ratios,
        plots.means,
        plots.starts,
        *plots.changes,
        *plots.over_time,
        *plots.distributions,
    ):
        assert "#0" not in plot.svg
        assert "#f" not in plot.svg
        assert "currentColor" not in plot.svg
        assert "font-family" not in plot.svg  # the page says which


@pytest.mark.parametrize(
    ("own", "said", "sure"),
    [
        (
            noisy(1, middle_us=6000),
            r"B takes 1\.\d\d times as long as A: 4\.\d\d → 6\.\d\d ms",
            "95 % interval",
        ),
        (
            noisy(1, middle_us=2000),
            r"B takes 0\.\d\d times as long as A: 4\.\d\d → 2\.\d\d ms",
            "95 % interval",
        ),
        (noisy(1), r"No difference shown between A and B: 4\.\d\d and 4\.\d\d ms", "and lies between"),
        (noisy(1, n=20), r"B takes \S+ times as long as A", "too few frames for an interval"),
    ],
    ids=["slower", "faster", "the same", "too few"],
)
def test_the_headline_says_how_they_compare(own: list[int], said: str, sure: str, tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", lines_of(noisy(0)))
    comparison = comparison_of(first, written(tmp_path / "b.jsonl", lines_of(own)))
    assert re.match(said, headline(comparison).replace("\u00a0", " "))
    assert sure in " ".join(sentences(comparison))


def test_the_headline_counts_many_and_finds_the_extremes(six: Comparison) -> None:
    assert headline(six) == "Of 5, 1 is faster and 2 are slower than A from arrival to answer"
    said = " ".join(sentences(six))
    assert re.search(r"C's 2\.\d+ ms is the shortest .* D's 7\d\.\d ms the longest", said)
    assert "No difference shown: B, E." in said


def test_skipped_frames_and_runs_are_seen(six: Comparison, tmp_path: Path) -> None:
    drawn = drawing()
    times = {plot.name: plot.svg for plot in drawn.draw(six).over_time}
    assert "400 skipped" in times["time-D"]
    assert "100 %" not in times["time-D"]  # half of them: the strip reaches to 50 %
    assert "50 %" in times["time-D"]
    dotted = re.compile(r"stroke-dasharray:1\.6,2\.4[^\"]*stroke:var\(--soft\)")
    assert len(dotted.findall(times["time-F"])) == 2 * len(dotted.findall(times["time-A"])) + 8


def test_runs_are_put_end_to_end(six: Comparison) -> None:
    """What lies between them, other models' turns in a benchmark, was not measured."""
    elapsed_s, borders_s = drawing().joined(six.columns[5].series)
    assert len(borders_s) == 4
    assert borders_s == pytest.approx([run * 149 * 0.033 for run in (1, 2, 3, 4)])
    assert elapsed_s[-1] == pytest.approx(5 * 149 * 0.033)
    assert (np.diff(elapsed_s) >= 0).all()


def test_a_pause_is_a_gap(tmp_path: Path) -> None:
    pause = [
        {**frame, "arrived_ns": frame["arrived_ns"] + (frame["seq"] > 2000) * 30_000_000_000}
        for frame in lines_of(noisy(0, 4000))
    ]
    comparison = comparison_of(
        written(tmp_path / "whole.jsonl", lines_of(noisy(0, 4000))),
        written(tmp_path / "pause.jsonl", iter(pause)),
    )
    whole, broken = (plot.svg for plot in drawing().draw(comparison).over_time)
    median = re.compile(r'<path d="([^"]+)"[^>]*stroke-width:1\.5')
    assert [outline.count("M") for outline in median.findall(whole)] == [1]
    assert [outline.count("M") for outline in median.findall(broken)] == [2]


def test_what_lies_between_two_pauses_is_seen(tmp_path: Path) -> None:
    """Two minutes of a day: each is one of the intervals, with nothing on either side."""
    frames = [
        {**frame, "arrived_ns": frame["arrived_ns"] + (frame["seq"] > 1000) * 43_200_000_000_000}
        for frame in lines_of(noisy(0, 2000))
    ]
    svg = drawing().draw(comparison_of(written(tmp_path / "log.jsonl", iter(frames)))).over_time[0].svg
    for look in (r"fill:var\(--hue0\)", r"stroke-width:1\.5"):
        for outline in re.findall(rf'<path d="([^"]+)"[^>]*{look}', svg):
            for piece in outline.split("M")[1:]:
                x = [float(one) for one in re.findall(r"([\d.]+) [\d.]+", piece)]
                assert max(x) - min(x) >= 1


def test_one_slow_frame_of_many_is_not_lost(tmp_path: Path) -> None:
    ages = noisy(0, 20_000)
    ages[12_345] = 900_000
    plot = drawing().draw(comparison_of(written(tmp_path / "log.jsonl", lines_of(ages)))).over_time[0]
    assert "the highest 901 ms after 407.4 s" in plot.svg
    areas = re.findall(r'<path d="([^"]+)"[^>]*fill:var\(--hue0\)', plot.svg)
    top = min(float(y) for area in areas for y in re.findall(r"[ML][\d.]+ ([\d.]+)", area))
    assert top < 25  # of 230: to the upper edge


def test_two_logs_of_ten_minutes_stay_small(tmp_path: Path) -> None:
    drawing()
    logs = [written(tmp_path / f"{seed}.jsonl", lines_of(noisy(seed, 18_000))) for seed in (0, 1)]
    assert len(html(comparison_of(*logs)).encode()) < 200_000


def test_the_same_comparison_gives_the_same_bytes(real: Comparison) -> None:
    drawing()
    assert html(real) == html(real)


def test_a_matplotlibrc_changes_nothing(tmp_path: Path) -> None:
    """It is read from the working folder, too."""
    drawing()
    comparison = comparison_of(written(tmp_path / "log.jsonl", lines_of(noisy(0))))
    (tmp_path / "matplotlibrc").write_text("axes.edgecolor: red\nxtick.labelsize: 30\nfigure.dpi: 30\n")
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom stream.compare import compare\nfrom stream.compare_html import html\n"
        "sys.stdout.buffer.write(html(compare([Path('log.jsonl')])).encode())"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)
    assert ended.stdout.decode() == html(comparison)


def test_a_distribution_has_every_share_and_its_ends() -> None:
    samples_us = np.arange(1, 1001)
    x, y = drawing().curve(samples_us)
    assert (x[0], x[-1]) == (0.001, 1.0)
    for share in (0.5, 0.9, 0.99):
        assert np.interp(drawing().odds(share), y, x) == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (0.5, 20), (0.001, 10_000), (7, 8), (3.9, 18)])
def test_an_axis_has_two_to_six_ticks(low: float, high: float) -> None:
    ticks = drawing().log_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(low <= tick <= high for tick in ticks)


def test_results_of_2020_stand_apart(browser: Browser, tmp_path: Path) -> None:
    ours = written(tmp_path / "ours.jsonl", lines_of(noisy(0)))
    csv = tmp_path / "published_results.csv"
    rows = ["framework,model,image,run,latency_ms,rank,class_index,label,score"]
    measured = [("tflite", "mobilenet", one) for one in ("82", "84", "81.5", "81.7", "83")]
    for number, (framework, model, latency) in enumerate(
        [*measured, ("tflite", "unmeasured", ""), ("tensorflow-2.1", "mobilenet", "9")]
    ):
        rows.append(f"{framework},{model},parrot,{1 if number < 2 else 2},{latency},1,88,macaw,0.9")
    csv.write_text("\n".join(rows) + "\n")
    study = read_published(csv)
    page = page_of(tmp_path, comparison_of(ours, published=study))
    with opened(browser, page.as_uri(), PHONE) as tab:
        section = tab.text("#published")
        assert "another machine" in tab.page.evaluate(
            "getComputedStyle(document.querySelector('#published h2'), '::after').content"
        )
        assert section.count(f"{MACHINE}: tflite") == 2
        assert re.search(r"83\.0\s+2\s+81\.7\s+3", section)
        assert "not measured" in section
        assert "1 more" in section  # the third is of another backend
        border = "getComputedStyle(document.querySelector('{}')).borderTopStyle"
        assert tab.page.evaluate(border.format("#published")) == "dashed"
        assert tab.page.evaluate(border.format("#starts")) == "solid"
        assert MACHINE in tab.text("#published figcaption")
        assert tab.page.locator("#published svg text", has_text="2020").count() == 1
        assert not tab.scrolls_sideways()
        assert_alone(tab)


def test_plots_print_in_the_colours_of_paper(browser: Browser, real: Comparison, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, real).as_uri(), scheme="dark") as tab:
        tab.page.emulate_media(media="print", color_scheme="dark")
        ink = tab.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')")
        assert ink.strip() == "#1c211e"
        assert not tab.page.locator("nav").is_visible()


def test_hues_are_told_apart_by_the_colour_blind(browser: Browser, six: Comparison, tmp_path: Path) -> None:
    """Deuteranopia after Machado 2009; a distance of 10 in CIELAB is seen at a glance."""
    deutan = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    )
    with opened(browser, page_of(tmp_path, six).as_uri()) as tab:
        style = "getComputedStyle(document.documentElement).getPropertyValue"
        hues = [tab.page.evaluate(f"{style}('--hue{number}')").strip() for number in range(7)]
    seen = []
    for hue in hues:
        linear = (np.array([int(hue[at : at + 2], 16) for at in (1, 3, 5)]) / 255) ** 2.2
        rgb = np.clip(deutan @ linear, 0, 1).astype(np.float32)
        seen.append(cv2.cvtColor((rgb ** (1 / 2.2)).reshape(1, 1, 3), cv2.COLOR_RGB2Lab)[0, 0])
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 15
