"""The demo: its labels are true for the built-in model, it moves, and it carries its frame number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from backends import Backend, ModelToRun, load_backend
from models.catalogue import BUILT_IN, find_spec
from models.files import find
from models.labels import read_labels
from models.recipe import Image, as_image
from models.scores import Prediction, Reading
from stream import demo, overlay

SIZES = [(320, 240), (640, 480), (1280, 720), (1920, 1080)]
ODD_SIZES = [(854, 480), (322, 241), (480, 640), (1000, 323)]
NOON = datetime(2024, 2, 29, 12, 0, 0)
SCENE = timedelta(seconds=demo.SCENE_S)


def through_jpeg(image: Image, quality: int = 80) -> Image:
    coded, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert coded
    return as_image(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))


def moments(count: int) -> list[datetime]:
    """Spread over each scene, and over the day, so that the clock's hands stand everywhere."""
    rounds = timedelta(seconds=demo.SCENE_S * len(demo.SCENES))
    found = []
    for scene in range(len(demo.SCENES)):
        for number in range(count):
            far = rounds * (number * 1709 % 4800)
            found.append(datetime(2024, 2, 29) + far + SCENE * scene + SCENE * ((number + 0.5) / count))
    return found


def test_a_picture_without_a_number_gives_none() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        assert demo.read_seq(random.integers(0, 256, (240, 320, 3), np.uint8)) is None
        cells = random.choice(np.array([0, 255], np.uint8), (30, 40, 1))
        assert demo.read_seq(np.tile(cells.repeat(8, axis=0).repeat(8, axis=1), (1, 1, 3))) is None


@pytest.mark.parametrize("brightness", [0, 64, 127, 255])
def test_a_plain_picture_has_no_number(brightness: int) -> None:
    assert demo.read_seq(np.full((480, 640, 3), brightness, np.uint8)) is None


def test_a_number_with_one_wrong_cell_is_no_number() -> None:
    image = demo.draw(77, NOON, (640, 480))
    image[-8:, -8:] = 255 - image[-8:, -8:]
    assert demo.read_seq(image) is None


@pytest.mark.parametrize("size", [(1, 1), (191, 16), (192, 15), (192, 16)])
def test_reading_a_tiny_picture_gives_none(size: tuple[int, int]) -> None:
    assert demo.read_seq(np.zeros((size[1], size[0], 3), np.uint8)) is None


@pytest.mark.parametrize("size", SIZES + ODD_SIZES)
@pytest.mark.parametrize("seq", [0, 1, 4711, 2**24 + 5, 2**32 - 1])
def test_the_number_survives_overlay_and_jpeg(size: tuple[int, int], seq: int) -> None:
    predictions = tuple(Prediction(place, "wall clock", 0.9 / 2**place) for place in range(5))
    caption = overlay.Caption(predictions, 30.0, 12.0, 80.0, 120.0, "LiteRT " * 10)
    for scene in range(len(demo.SCENES)):
        image = demo.draw(seq, NOON + SCENE * scene, size)
        assert image.shape == (size[1], size[0], 3)
        assert demo.read_seq(through_jpeg(image)) == seq
        assert demo.read_seq(through_jpeg(overlay.paint(image, caption))) == seq


def test_the_overlay_leaves_the_strip_free() -> None:
    assert demo.STRIP_PX <= overlay.FREE_ROWS


@pytest.fixture(scope="module")
def built_in() -> Iterator[tuple[Backend, Reading]]:
    spec = find_spec(BUILT_IN)
    path = find(spec.name, spec.files["tflite"])
    backend = load_backend("tflite", ModelToRun(path, spec.recipe))
    facts = backend.facts()
    labels = read_labels(find(spec.name, spec.labels)).fitted(facts.outputs)
    yield backend, Reading(labels, facts.output, spec.scores)
    backend.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_built_in_model_recognises_every_scene(
    size: tuple[int, int], built_in: tuple[Backend, Reading]
) -> None:
    backend, reading = built_in
    wrong = []
    for seq, now in enumerate(moments(12)):
        best = reading.top(backend.infer(backend.prepare(demo.draw(seq, now, size))))[0]
        scene = demo.scene_at(now)
        if best.label.partition(",")[0] not in scene.labels or best.score < 0.5:
            wrong.append(f"{now:%H:%M:%S.%f} {scene.name}: {best.label} {best.score:.2f}")
    assert not wrong


@pytest.mark.parametrize("scene", demo.SCENES, ids=lambda scene: str(scene.name))
@pytest.mark.parametrize("size", [(320, 240), (640, 480)])
def test_every_frame_differs_from_the_one_before(scene: demo.Scene, size: tuple[int, int]) -> None:
    start = NOON + SCENE * demo.SCENES.index(scene)
    before = None
    for number in range(demo.SCENE_S * 30):
        now = start + timedelta(seconds=number / 30)
        assert demo.scene_at(now) is scene
        image = demo.draw(0, now, size)[: -demo.STRIP_PX]
        if before is not None:
            changed = (np.abs(image.astype(np.int16) - before) > 20).any(axis=2).sum()
            assert changed >= 5, f"{changed} pixels move at {now}"
        before = image


def test_the_same_arguments_give_the_same_picture() -> None:
    for now in moments(3):
        first = demo.draw(5, now, (320, 240))
        demo.draw(6, now + SCENE * 1.3, (640, 480))
        assert (demo.draw(5, now, (320, 240)) == first).all()


def test_painting_on_a_picture_leaves_the_next_one_clean() -> None:
    for now in moments(1):
        clean = demo.draw(5, now, (320, 240))
        demo.draw(5, now, (320, 240))[:] = 255
        assert (demo.draw(5, now, (320, 240)) == clean).all()


def test_every_scene_comes_and_each_stays_for_its_time() -> None:
    seen = [demo.scene_at(NOON + timedelta(seconds=second)).name for second in range(180)]
    assert seen == [name for name in ("clock", "street", "crossword") * 10 for _ in range(6)]


def test_midnight_does_not_cut_a_scene_short() -> None:
    assert 24 * 3600 % (demo.SCENE_S * len(demo.SCENES)) == 0


def test_the_light_is_red_then_green_then_amber() -> None:
    street = NOON + SCENE
    colours = []
    for into_s in (1.0, 3.5, 5.3):
        image = demo.draw(0, street + timedelta(seconds=into_s), (640, 480))
        middle = image[:400, 270:370].astype(np.int16)
        bright = middle[(middle.max(axis=2) > 170) & (np.ptp(middle, axis=2) > 150)].mean(axis=0)
        blue, green, red = bright
        colours.append("red" if red > 2 * green else "green" if green > 1.5 * red else "amber")
        assert blue < max(green, red)
    assert colours == ["red", "green", "amber"]


def test_the_clock_shows_the_real_time() -> None:
    three = demo.draw(0, datetime(2024, 2, 29, 3, 0, 0), (640, 480)).astype(np.int16)
    nine = demo.draw(0, datetime(2024, 2, 29, 9, 0, 0), (640, 480)).astype(np.int16)
    # Between centre and figures only the hour hand differs: right of the centre at three, left at nine.
    assert three[240, 365:385].mean() < 100 < 200 < nine[240, 365:385].mean()
    assert nine[240, 255:275].mean() < 100 < 200 < three[240, 255:275].mean()


def test_every_word_of_the_crossword_begins_and_ends_at_a_black_cell_or_the_edge() -> None:
    words = ["".join(demo.CROSSWORD[row][column] for row, column in word) for word in demo.WORDS]
    assert len(words) == 21
    assert {"OPENCV", "APERTURE", "BROWSER", "STREAM"} < set(words)
    assert max(demo.STARTS) + demo.SCENE_S / demo.LETTER_S < len(demo.WRITTEN)
