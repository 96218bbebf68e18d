"""The overlay: readable on any picture, never beyond its edge, never on what the classifier is reading."""

from __future__ import annotations

import numpy as np
import pytest

from models.recipe import Image
from models.scores import Prediction
from stream.overlay import (
    FREE_ROWS,
    Caption,
    ascii_only,
    first_name,
    paint,
    paint_no_signal,
    shortened,
    spoken,
    status_parts,
    text_size,
    warm_up,
    wrapped,
)

SIZES = [(320, 240), (640, 480), (480, 640), (1920, 1080), (3840, 2160)]
TINY = [(1, 1), (1, 300), (300, 1), (16, 16), (39, 39), (41, 41), (64, 48), (100, 60), (160, 120), (2000, 42)]
LONG = "a label that nobody has ever seen the end of because it goes on " * 4


def caption_of(*labels: str, runtime: str = "LiteRT 2.1.0") -> Caption:
    predictions = tuple(Prediction(place, label, 0.9 / 3**place) for place, label in enumerate(labels))
    return Caption(predictions, 30.0, 12.3, 81.2, 126.4, runtime)


def plain(size: tuple[int, int], brightness: int) -> Image:
    return np.full((size[1], size[0], 3), brightness, np.uint8)


UNKNOWN = Caption((), None, None, None, None, "")
NOTHING = Caption((), 30.0, 12.3, 81.2, 126.4, "LiteRT 2.1.0")
FULL = caption_of("analog clock", "wall clock", "stopwatch, stop watch", "barometer", "magnetic compass")


@pytest.mark.parametrize("size", [*TINY, *SIZES[:3]])
@pytest.mark.parametrize("caption", [UNKNOWN, NOTHING, FULL], ids=["unknown", "nothing", "full"])
def test_any_size_can_be_painted(size: tuple[int, int], caption: Caption) -> None:
    assert paint(plain(size, 90), caption).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("size", [*TINY, *SIZES])
@pytest.mark.parametrize("reason", ["", "no camera", LONG, "x" * 500, "käse " * 30])
def test_no_signal_can_be_painted_at_any_size(size: tuple[int, int], reason: str) -> None:
    image = paint_no_signal(size, reason, 1e7)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("caption", [UNKNOWN, NOTHING, FULL], ids=["unknown", "nothing", "full"])
def test_painting_never_writes_to_its_argument(caption: Caption) -> None:
    image = plain((640, 480), 90)
    image.flags.writeable = False
    painted = paint(image, caption)
    assert (image == 90).all()
    assert not np.shares_memory(painted, image)
    painted[:] = 0  # the copy is the caller's


def test_no_signal_is_a_new_picture_each_time() -> None:
    clean = paint_no_signal((320, 240), "no camera", 3)
    paint_no_signal((320, 240), "no camera", 3)[:] = 255
    assert (paint_no_signal((320, 240), "no camera", 3) == clean).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("brightness", [0, 128, 255])
def test_the_text_is_readable_on_black_and_on_white(size: tuple[int, int], brightness: int) -> None:
    painted = paint(plain(size, brightness), FULL)
    width, height = size
    answer = painted[: height // 4, : width // 4]
    status = painted[-FREE_ROWS - max(12, height // 40) : -FREE_ROWS, : width // 2]
    for panel in (answer, status):
        assert panel.max() >= 215
        assert panel.min() <= 75  # WCAG asks 4.5 to 1 for text; 215 on 75 is 6 to 1


@pytest.mark.parametrize("size", [*TINY, (320, 240), (640, 480), (3840, 2160)])
@pytest.mark.parametrize("caption", [UNKNOWN, NOTHING, FULL], ids=["unknown", "nothing", "full"])
def test_the_bottom_rows_stay_as_they_are(size: tuple[int, int], caption: Caption) -> None:
    painted = paint(plain(size, 90), caption)
    assert (painted[-FREE_ROWS:] == 90).all()
    assert size in TINY or (painted[: -FREE_ROWS - 4] != 90).any()


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (3840, 2160)])
def test_long_labels_stay_inside_the_picture(size: tuple[int, int]) -> None:
    painted = paint(plain(size, 0), caption_of(LONG, LONG, LONG, runtime=LONG))
    # The panels are black here, so what is bright is text or bar.
    bright = painted.max(axis=2) > 150
    assert bright.any()
    assert not bright[:, -3:].any()
    assert not bright[:, :3].any()
    assert not bright[:3].any()


def test_the_score_stays_visible_beside_a_long_label() -> None:
    short = paint(plain((320, 240), 0), caption_of("cat"))
    long = paint(plain((320, 240), 0), caption_of(LONG))
    percent = slice(4, 22), slice(150, 192)
    assert (short[percent] == long[percent]).all()
    assert short[percent].max() > 200


def test_a_waiting_picture_and_an_empty_answer_look_different() -> None:
    image = plain((640, 480), 90)
    waiting = Caption((), 30.0, None, None, None, "LiteRT")
    empty = Caption((), 30.0, 12.0, 80.0, 99.0, "LiteRT")
    assert (paint(image, waiting)[:100] != paint(image, empty)[:100]).any()


def test_larger_pictures_get_larger_text() -> None:
    heights = []
    for size in SIZES[:2] + SIZES[3:]:
        painted = paint(plain(size, 0), caption_of("HHH"))
        rows = painted[: size[1] // 2, : size[0] // 8].max(axis=(1, 2)) > 200
        heights.append(int(rows.sum()))
    assert heights == sorted(set(heights))


def test_what_is_not_known_is_a_dash() -> None:
    assert status_parts(UNKNOWN) == ["camera - fps", "model - fps", "infer - ms", "age - ms", "-"]
    assert status_parts(NOTHING)[:4] == ["camera 30.0 fps", "model 12.3 fps", "infer 81 ms", "age 126 ms"]


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("traffic light, traffic signal, stoplight", "traffic light"),
        ("crème brûlée", "creme brulee"),
        ("Straße", "Strasse"),
        ("smørrebrød", "smorrebrod"),
        ("猫", "?"),
        ("猫 と cat", "? ? cat"),
        ("a\ttab\nand a line", "a tab and a line"),
        ("", "?"),
        ("\x00\x1b[31m", "?[31m"),
    ],
)
def test_a_label_is_shown_by_its_first_name_in_letters_the_font_has(label: str, shown: str) -> None:
    assert first_name(label) == shown
    assert shown.isascii()
    paint(plain((320, 240), 0), caption_of(label))


def test_shortened_text_fits_and_says_that_it_is_shortened() -> None:
    for width in (40, 100, 300):
        text = shortened(LONG, 0.5, width)
        assert text.endswith("...")
        assert text_size(text, 0.5)[0] <= width
    assert shortened("cat", 0.5, 300) == "cat"
    assert shortened("cat", 0.5, 1) == ""


def test_a_reason_is_wrapped_without_losing_a_word() -> None:
    reason = "cannot open /dev/video0 - choose another camera with --source"
    lines = wrapped(reason, 0.5, 200)
    assert len(lines) > 1
    assert " ".join(lines) == reason
    assert all(text_size(line, 0.5)[0] <= 200 for line in lines)


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (200, 100)])
def test_a_reason_without_end_stays_inside_the_picture(size: tuple[int, int]) -> None:
    bright = paint_no_signal(size, LONG * 5, 12).max(axis=2) > 120
    assert bright.any()
    assert not bright[:2].any()
    assert not bright[-2:].any()
    assert not bright[:, :2].any()
    assert not bright[:, -2:].any()


def test_no_signal_says_its_reason() -> None:
    busy = paint_no_signal((640, 480), "device busy", 5)
    gone = paint_no_signal((640, 480), "cable pulled", 5)
    assert (busy != gone).any()
    assert busy.max() > 200
    assert busy.mean() < 60


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (95.9, "95 s"), (180, "3 min"), (7260, "2 h 1 min")]
)
def test_time_is_spoken_as_people_do(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


@pytest.mark.parametrize("score", [-0.1, 0.0, 0.001, 1.0, 1.2, float("nan")])
def test_an_odd_score_cannot_break_the_picture(score: float) -> None:
    caption = Caption((Prediction(0, "cat", score),), 30.0, 12.3, 81.2, 126.4, "LiteRT")
    assert paint(plain((640, 480), 0), caption).shape == (480, 640, 3)


def test_warming_up_leaves_nothing_behind() -> None:
    warm_up()
    assert ascii_only("after") == "after"
