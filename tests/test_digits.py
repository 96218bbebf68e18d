"""The digit network, from each of its files, reads digits it never saw: of MNIST, and before a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from backends import Backend, BackendUnavailable, ModelToRun, load_backend
from models.labels import read_labels
from models.recipe import Image, Quantisation, Quantiser, Recipe, as_image
from models.scores import Reading

FOLDER = Path(__file__).resolve().parent.parent / "models" / "digits"
RECIPE = Recipe(size=(24, 24), order="gray", fit="crop", mean=(0.0,), std=(255.0,), invert=True)
LABELS = read_labels(FOLDER / "labels.txt")
FLOAT, INT8, KERAS = "digits_float.tflite", "digits_int8.tflite", "digits.keras"
FILES = {FLOAT: "tflite", INT8: "tflite", KERAS: "tensorflow"}

CENTRE, NINE, CAMERA = 0.985, 0.989, 0.90
"""At least so many of the held-out digits are read: with one look, with nine, before a camera."""

SPLIT_SEED, HELD_OUT = 0, 2_000  # train.py's
CROP_SIDE = 420  # of 640x480, what the centre crop takes
PHOTOGRAPHS = 250

Pixels = npt.NDArray[np.uint8]
Digits = tuple[Pixels, npt.NDArray[np.intp]]
Jpeg = npt.NDArray[np.uint8]
Classify = Callable[[Iterable[Image]], npt.NDArray[np.float64]]
"""Pictures to probabilities (n, 10), by a backend and its own preparation."""


@pytest.fixture(scope="module")
def digits(shared: Path) -> Digits:
    """Pictures (n, 28, 28), light on dark, and their classes: those that train.py holds out."""
    data = np.load(shared / "mnist" / "mnist_10k.npz")
    kept = np.random.default_rng(SPLIT_SEED).permutation(len(data["labels"]))[-HELD_OUT:]
    return data["images"][kept], data["labels"][kept].astype(np.intp)


@pytest.fixture(scope="module", params=FILES)
def classify(request: pytest.FixtureRequest) -> Iterator[Classify]:
    try:
        backend = load_backend(FILES[request.param], ModelToRun(FOLDER / request.param, RECIPE))
    except BackendUnavailable as error:
        pytest.skip(str(error))
    yield classifier(backend)
    backend.close()


def classifier(backend: Backend) -> Classify:
    reading = Reading(LABELS.fitted(backend.facts().outputs), backend.facts().output)

    def classify(pictures: Iterable[Image]) -> npt.NDArray[np.float64]:
        return np.stack([reading.real(backend.infer(backend.prepare(picture))) for picture in pictures])

    return classify


@pytest.fixture(scope="module")
def photographs(digits: Digits) -> list[Jpeg]:
    """Of the first digits held out, each on a paper of its own, by a camera of 640x480 that sends JPEG."""
    random = np.random.default_rng(0)
    return [photograph(strokes(digit, random), random) for digit in digits[0][:PHOTOGRAPHS]]


# The files.


def test_the_names_are_the_ten_digits_in_order() -> None:
    assert LABELS.names == tuple("0123456789")
    assert LABELS.background is None


def test_the_centre_crop_is_the_middle_24_of_28() -> None:
    picture = as_image(np.random.default_rng(0).integers(0, 256, (28, 28, 3)))
    backend = load_backend("tflite", ModelToRun(FOLDER / INT8, RECIPE))
    grey = as_image(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    assert (backend.prepare(picture)[0, :, :, 0] == 255 - grey[2:26, 2:26]).all()
    backend.close()


def test_pixels_go_into_the_integer_file_as_they_are() -> None:
    backend = load_backend("tflite", ModelToRun(FOLDER / INT8, RECIPE))
    ramp = as_image(np.arange(576).reshape(24, 24) % 256)
    tensor = backend.prepare(bgr(enlarged(ramp)))
    assert tensor.dtype == np.uint8
    assert (tensor[0, :, :, 0] == ramp).all()
    assert Quantiser(RECIPE, np.uint8, Quantisation(1 / 255, 0), channels=1).identity
    assert backend.facts().output == Quantisation(1 / 256, 0)
    assert backend.infer(tensor).dtype == np.uint8
    backend.close()


def test_the_files_are_tiny() -> None:
    sizes = {name: (FOLDER / name).stat().st_size for name in (FLOAT, INT8, KERAS)}
    assert sizes[INT8] < sizes[FLOAT] < 30_000
    assert sizes[KERAS] < 60_000


# Digits cut out of MNIST.


def test_it_reads_the_digits_held_out(classify: Classify, digits: Digits) -> None:
    pixels, classes = digits
    assert right(classify([bgr(digit) for digit in pixels]), classes) >= CENTRE


@pytest.mark.slow
def test_nine_looks_read_more_than_one(classify: Classify, digits: Digits) -> None:
    pixels, classes = digits
    scores = np.zeros((len(pixels), 10))
    for window in windows(pixels):
        scores += classify([bgr(enlarged(digit)) for digit in window])
    assert right(scores, classes) >= NINE


# Digits before a camera.


def test_it_reads_a_digit_on_paper_before_a_camera(
    classify: Classify, digits: Digits, photographs: list[Jpeg]
) -> None:
    assert right(classify(map(decoded, photographs)), digits[1][:PHOTOGRAPHS]) >= CAMERA


def test_an_empty_paper_is_no_digit_with_confidence(classify: Classify) -> None:
    random = np.random.default_rng(0)
    nothing = np.zeros((480, 640), np.uint8)
    best = classify(decoded(photograph(nothing, random)) for _ in range(100)).max(axis=1)
    assert np.median(best) < 0.3
    assert np.quantile(best, 0.95) < 0.5


def bgr(digit: Pixels) -> Image:
    """Dark on light, as a camera would deliver it."""
    return as_image(cv2.cvtColor(255 - digit, cv2.COLOR_GRAY2BGR))


def windows(pixels: Pixels) -> Iterator[Pixels]:
    for row in (0, 2, 4):
        for column in (0, 2, 4):
            yield pixels[:, row : row + 24, column : column + 24]


def enlarged(window: Pixels) -> Pixels:
    """A picture of which the centre crop is this window."""
    return np.pad(window, 2)


def right(scores: npt.NDArray[np.float64], classes: npt.NDArray[np.intp]) -> float:
    return float((scores.argmax(axis=1) == classes).mean())


def decoded(picture: Jpeg) -> Image:
    return as_image(cv2.imdecode(picture, cv2.IMREAD_COLOR))


# Made another way than the pictures it was trained on: in the camera's size, with a pen, a lens and a JPEG.


def strokes(digit: Pixels, random: np.random.Generator) -> Pixels:
    """Ink (480, 640), 0 or 1: the digit 35 to 95 % of the crop, turned and shifted, thin or thick."""
    rows, columns = np.flatnonzero(digit.max(axis=1) > 40), np.flatnonzero(digit.max(axis=0) > 40)
    fill = random.uniform(0.35, 0.95)
    scale = float(fill * CROP_SIDE / (max(np.ptp(rows), np.ptp(columns)) + 1))
    room = min((1 - fill) / 2, 0.1) * CROP_SIDE
    middle = float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, random.uniform(-12, 12), scale), np.float64)
    matrix[:, 2] += np.array([320, 240]) - middle + random.uniform(-room, room, 2)
    ink = as_image(cv2.warpAffine(digit, matrix, (640, 480), flags=cv2.INTER_CUBIC) > 110)
    change = random.uniform(-0.7, 0.6) * scale  # MNIST's strokes are 2 to 4 of 20 pixels wide
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (round(abs(change)) | 1,) * 2)
    return as_image(cv2.erode(ink, pen) if change < 0 else cv2.dilate(ink, pen))


def photograph(ink: Pixels, random: np.random.Generator) -> Jpeg:
    """Grey paper, tinted, lit from one side; ink of a darker grey; out of focus, noisy."""
    down, across = np.linspace(-1, 1, 480, dtype=np.float32), np.linspace(-1, 1, 640, dtype=np.float32)
    direction, fall = random.uniform(0, 2 * np.pi), random.uniform(0, 0.25)
    slope = (
        np.float32(fall * np.cos(direction)) * across + np.float32(fall * np.sin(direction)) * down[:, None]
    )
    covered = cv2.GaussianBlur(ink.astype(np.float32), (0, 0), random.uniform(0.8, 5))
    frame = (
        np.float32(random.uniform(110, 235))
        * (1 + slope)
        * (1 - covered * np.float32(random.uniform(0.5, 0.9)))
    )
    frame += random.standard_normal(ink.shape, np.float32) * np.float32(random.uniform(2, 10))
    tint = random.uniform(0.93, 1.05, 3)
    channels = [cv2.convertScaleAbs(np.maximum(frame, 0), alpha=float(share)) for share in tint]
    return as_image(cv2.imencode(".jpg", cv2.merge(channels))[1])
