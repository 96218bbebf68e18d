"""Crops, shrinking, colours and quantising, each against the plain way of doing it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recipe import (
    CROP_FRACTION,
    NOT_QUANTISED,
    Fit,
    Image,
    Order,
    Quantisation,
    Quantiser,
    Recipe,
    as_image,
    centre_crop,
    fit_image,
    letterbox,
    recolour,
    shrink,
)

FITS: list[Fit] = ["crop", "stretch", "letterbox"]
SIZE = (224, 224)


def noise(width: int, height: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def scene(width: int, height: int) -> Image:
    """Smooth, with edges and fine grain: closer to a photograph than noise is."""
    across, down = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 7, height))
    waves = np.stack([np.sin(across + k) * np.cos(down * (k + 1)) for k in range(3)], axis=2) * 90 + 128
    waves[(across.astype(int) + down.astype(int)) % 3 == 0] += 35
    return as_image(np.clip(waves + np.random.default_rng(1).normal(0, 8, waves.shape), 0, 255))


def coordinates(width: int, height: int) -> Image:
    """Each pixel says where it is: column in blue, row in green."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, np.newaxis]
    return image


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("width", "height"),
    [
        (1, 1),
        (2, 1),
        (1, 2),
        (640, 1),
        (1, 640),
        (20_000, 3),
        (3, 20_000),
        (223, 225),
        (447, 449),
        (224, 224),
    ],
)
def test_a_picture_of_any_shape_becomes_the_model_s_size(fit: Fit, width: int, height: int) -> None:
    fitted = fit_image(noise(width, height), SIZE, fit)
    assert fitted.shape == (224, 224, 3)
    assert fitted.dtype == np.uint8


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 900), st.integers(1, 900), st.integers(1, 300), st.integers(1, 300), st.sampled_from(FITS)
)
def test_every_picture_fits_every_model(columns: int, rows: int, width: int, height: int, fit: Fit) -> None:
    flat = np.full((rows, columns, 3), 77, np.uint8)
    fitted = fit_image(flat, (width, height), fit)
    assert fitted.shape == (height, width, 3)
    # One colour stays that colour, and only a letterbox adds another.
    assert set(np.unique(fitted)) <= ({0, 77} if fit == "letterbox" else {77})
    assert 77 in fitted


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0.2, 5))
def test_a_crop_is_central_of_the_aspect_asked_for_and_inside(columns: int, rows: int, aspect: float) -> None:
    # No memory behind it: geometry only.
    image = np.broadcast_to(np.uint8(0), (rows, columns, 3))
    crop = centre_crop(image, aspect)
    height, width = crop.shape[:2]
    assert 1 <= width <= columns
    assert 1 <= height <= rows
    expected = min(columns, rows * aspect) * CROP_FRACTION
    assert abs(width - max(expected, 1)) <= 0.5
    assert abs(height - max(expected / aspect, 1)) <= 0.5


def test_a_square_crop_of_a_wide_picture_is_its_middle() -> None:
    crop = centre_crop(coordinates(200, 80), 1.0)
    assert crop.shape == (70, 70, 3)
    assert (crop[0, 0, 0], crop[0, -1, 0]) == (65, 134)  # as much left of it as right
    assert (crop[0, 0, 1], crop[-1, 0, 1]) == (5, 74)


def test_a_crop_is_a_view_and_costs_nothing() -> None:
    image = noise(640, 480)
    assert np.shares_memory(centre_crop(image, 1.0), image)


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = noise(*SIZE)
    assert fit_image(image, SIZE, "stretch") is image


@pytest.mark.parametrize(
    ("width", "height"), [(1920, 1080), (1280, 720), (641, 479), (449, 300), (300, 2000), (225, 224)]
)
def test_shrinking_in_two_steps_is_close_to_area_averaging_all_the_way(width: int, height: int) -> None:
    image = scene(width, height)
    ours = shrink(image, SIZE).astype(int)
    reference = as_image(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)).astype(int)
    assert np.abs(ours - reference).mean() < 2.5
    nearest = as_image(cv2.resize(image, SIZE, interpolation=cv2.INTER_NEAREST)).astype(int)
    assert np.abs(ours - reference).mean() < np.abs(nearest - reference).mean() / 2


def test_shrinking_by_a_whole_number_is_area_averaging() -> None:
    image = noise(672, 448)
    reference = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shrink(image, SIZE), reference)


@pytest.mark.parametrize(("width", "height"), [(223 * 6 + 4, 223 * 4 + 2), (300, 301), (100, 90)])
def test_shrinking_shifts_nothing_a_mirror_image_stays_one(width: int, height: int) -> None:
    image = noise(width, height)
    turned = shrink(np.ascontiguousarray(image[::-1, ::-1]), (223, 223))
    difference = np.abs(turned[::-1, ::-1].astype(int) - shrink(image, (223, 223)))
    assert difference.max() <= 2


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [(640, 320, (0, 56, 224, 112)), (320, 640, (56, 0, 112, 224)), (64, 64, (0, 0, 224, 224))],
)
def test_a_letterbox_shows_the_whole_picture_between_black_bars(
    width: int, height: int, box: tuple[int, int, int, int]
) -> None:
    image = np.maximum(noise(width, height), 1)
    left, top, inner_width, inner_height = box
    boxed = letterbox(image, SIZE)
    inside = boxed[top : top + inner_height, left : left + inner_width]
    np.testing.assert_array_equal(inside, shrink(image, (inner_width, inner_height)))
    assert (inside > 0).all()
    assert np.count_nonzero(boxed) == inside.size


def test_a_stretch_keeps_all_four_corners() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:100, :100], image[:100, -100:], image[-100:, :100], image[-100:, -100:] = 10, 20, 30, 40
    corners = fit_image(image, SIZE, "stretch")[[0, 0, -1, -1], [0, -1, 0, -1], 0]
    assert corners.tolist() == [10, 20, 30, 40]


def test_colours_come_in_the_model_s_order() -> None:
    blue = np.full((2, 3, 3), (250, 20, 5), np.uint8)
    assert recolour(blue, "RGB", invert=False)[0, 0].tolist() == [5, 20, 250]
    assert recolour(blue, "BGR", invert=False)[0, 0].tolist() == [250, 20, 5]
    gray = recolour(blue, "gray", invert=False)
    assert gray.shape == (2, 3, 1)
    assert gray[0, 0, 0] == round(0.114 * 250 + 0.587 * 20 + 0.299 * 5)


@pytest.mark.parametrize("order", ["RGB", "BGR", "gray"])
def test_inverting_turns_dark_on_light_into_light_on_dark(order: Order) -> None:
    image = noise(7, 5)
    before = image.copy()
    inverted = recolour(image, order, invert=True)
    np.testing.assert_array_equal(inverted, 255 - recolour(image, order, invert=False))
    np.testing.assert_array_equal(image, before)  # the frame is painted on and shown later


RECIPES = [
    Recipe(SIZE, mean=(128.0,), std=(128.0,)),
    Recipe(SIZE, mean=(127.0,), std=(128.0,)),
    Recipe(SIZE, mean=(127.5,), std=(127.5,)),
    Recipe(SIZE, mean=(0.0,), std=(255.0,)),
    Recipe(SIZE),
    Recipe(SIZE, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    Recipe(SIZE, order="BGR", mean=(104.007, 116.669, 122.679)),
]
TYPES = [
    (np.uint8, Quantisation(1 / 128, 128)),
    (np.uint8, Quantisation(0.00784314, 127)),
    (np.uint8, Quantisation(0.0186584, 114)),
    (np.int8, Quantisation(1 / 128, -1)),
    (np.int8, Quantisation(0.003921569, -128)),
    (np.int16, Quantisation(1 / 32768, 0)),
    (np.float32, NOT_QUANTISED),
    (np.float16, NOT_QUANTISED),
]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("dtype", "quantisation"), TYPES)
def test_the_table_gives_what_the_formula_gives(
    recipe: Recipe, dtype: type[np.generic], quantisation: Quantisation
) -> None:
    image = noise(64, 48)
    real = (image.astype(np.float64) - np.array(recipe.mean)) / np.array(recipe.std)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(np.dtype(dtype).name)
        steps = np.round(real / quantisation.scale) + quantisation.zero_point
        expected = np.clip(steps, limits.min, limits.max).astype(dtype)
    else:
        expected = real.astype(dtype)
    tensor = Quantiser(recipe, dtype, quantisation, channels=3)(image)
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize(("dtype", "quantisation"), TYPES)
def test_a_gray_picture_keeps_its_one_channel(dtype: type[np.generic], quantisation: Quantisation) -> None:
    image = noise(28, 28)[:, :, :1]  # a view with gaps between the pixels
    recipe = Recipe((28, 28), order="gray", mean=(33.0,), std=(78.0,))
    tensor = Quantiser(recipe, dtype, quantisation, channels=1)(image)
    assert tensor.shape == (28, 28, 1)
    three = Quantiser(recipe, dtype, quantisation, channels=3)(np.repeat(image, 3, axis=2))
    np.testing.assert_array_equal(tensor, three[:, :, :1])


def test_where_the_model_takes_pixels_as_they_are_nothing_is_computed() -> None:
    image = noise(*SIZE)
    for recipe, quantisation in (
        (Recipe(SIZE, mean=(128.0,), std=(128.0,)), Quantisation(0.0078125, 128)),
        (Recipe(SIZE, mean=(127.0,), std=(127.5,)), Quantisation(0.00784314, 127)),  # but for rounding
        (Recipe(SIZE), NOT_QUANTISED),
    ):
        assert np.shares_memory(Quantiser(recipe, np.uint8, quantisation, 3)(image), image)
    shifted = Quantiser(Recipe(SIZE, mean=(127.0,), std=(128.0,)), np.uint8, Quantisation(0.0078125, 128), 3)
    assert not np.shares_memory(shifted(image), image)


def test_values_beyond_the_model_s_integers_are_clipped_and_never_wrap() -> None:
    # (255 - 127) / 128 is 1.0, one step beyond what uint8 with zero point 128 can say.
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    recipe = Recipe((16, 16), mean=(127.0,), std=(128.0,))
    tensor = Quantiser(recipe, np.uint8, Quantisation(1 / 128, 128), 1)(ramp).ravel().astype(int)
    assert tensor[-1] == 255
    assert (np.diff(tensor) >= 0).all()


def test_an_integer_input_without_a_scale_takes_the_values_themselves() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    tensor = Quantiser(Recipe((16, 16), mean=(128.0,)), np.int8, NOT_QUANTISED, 1)(ramp)
    np.testing.assert_array_equal(tensor.ravel(), np.arange(-128, 128))
