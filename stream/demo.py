"""The built-in demo: three drawn scenes that the built-in model knows, and the frame number as pixels."""

from __future__ import annotations

import math
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import cv2
import numpy as np

from models.recipe import Image, as_image

Size = tuple[int, int]  # (width, height)
Colour = tuple[int, int, int]  # (blue, green, red)
Point = tuple[float, float]  # (x, y), in pixels, fractions count

SCENE_S = 6
"""How long a scene lasts. A day is a whole number of rounds, so midnight is no special case."""

STRIP_PX = 16
"""Height of the strip at the bottom: the time for people, the frame number for tests."""

CELL_PX = 8
CELLS = (24, 2)
"""Black and white cells in the bottom right corner: the frame number's 32 bits, and 16 to check it."""

SUBPIXEL_BITS = 4
INK: Colour = (40, 36, 34)
WHITE: Colour = (255, 255, 255)
HOOD: Colour = (10, 10, 10)


@dataclass(frozen=True)
class Scene:
    """What is on. A model that answers with any of `labels` (ImageNet's first synonyms) is right."""

    name: str
    labels: tuple[str, ...]
    draw: Callable[
        [float, int, datetime, Size], Image
    ]  # seconds into the scene, how manieth round of the day


def draw(seq: int, now: datetime, size: Size) -> Image:
    """The demo's picture for this frame number at this time of day, a new array each time."""
    second = second_of_day(now)
    round_of_day, into_round_s = divmod(second, SCENE_S * len(SCENES))
    image = scene_at(now).draw(into_round_s % SCENE_S, int(round_of_day), now, size)
    paint_strip(image, seq, now)
    return image


def scene_at(now: datetime) -> Scene:
    return SCENES[int(second_of_day(now) // SCENE_S) % len(SCENES)]


def second_of_day(now: datetime) -> float:
    """As the clock on the wall shows it: no time zone, no arithmetic over summer time."""
    return now.hour * 3600 + now.minute * 60 + now.second + now.microsecond / 1e6


# The frame number.


def paint_strip(image: Image, seq: int, now: datetime) -> None:
    """In place. Where the picture is too narrow for both, the number stays and the time goes."""
    height, width = image.shape[:2]
    image[-STRIP_PX:] = INK
    code = code_of(seq)[-height:, -width:]
    image[-code.shape[0] :, -code.shape[1] :] = code
    time_text = f"{now:%H:%M:%S}.{now.microsecond // 1000:03d}"
    text = f"{now:%Y-%m-%d} {time_text}  frame {seq}" if width >= 640 else time_text
    if width >= 300:
        cv2.putText(image, text, (6, height - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, WHITE, 1, cv2.LINE_AA)


def code_of(seq: int) -> Image:
    """The frame number (modulo 2**32) as a picture of black and white cells."""
    number = (seq % 2**32).to_bytes(4, "big")
    bits = np.unpackbits(np.frombuffer(number + check_of(number), np.uint8)).reshape(CELLS[::-1])
    cells = (bits * np.uint8(255)).repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    return as_image(cells[:, :, np.newaxis])


def check_of(number: bytes) -> bytes:
    # Started at a value under which neither a black nor a white picture is a number.
    return crc_hqx(number, 0x1D0F).to_bytes(2, "big")


def read_seq(image: Image) -> int | None:
    """The frame number in the corner, also after JPEG and overlay; None where there is none."""
    columns, rows = CELLS
    corner = image[-rows * CELL_PX :, -columns * CELL_PX :]
    if corner.shape[:2] != (rows * CELL_PX, columns * CELL_PX):
        return None
    # The middle of each cell: JPEG smears the edges.
    middles = corner.reshape(rows, CELL_PX, columns, CELL_PX, -1)[:, 2:-2, :, 2:-2]
    brightness = middles.mean(axis=(1, 3, 4))
    if ((brightness > 80) & (brightness < 175)).any():
        return None
    code = np.packbits(brightness > 127).tobytes()
    return int.from_bytes(code[:4], "big") if check_of(code[:4]) == code[4:] else None


# Shapes with edges between pixels, so that what moves slowly moves smoothly.


def fixed(point: Point) -> tuple[int, int]:
    return round(point[0] * 2**SUBPIXEL_BITS), round(point[1] * 2**SUBPIXEL_BITS)


def disc(image: Image, centre: Point, radius: float, colour: Colour) -> None:
    reach = max(1, round(radius * 2**SUBPIXEL_BITS))
    cv2.circle(image, fixed(centre), reach, colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def polygon(image: Image, corners: list[Point], colour: Colour) -> None:
    """Convex ones only."""
    points = np.array([fixed(corner) for corner in corners], np.int32)
    cv2.fillConvexPoly(image, points, colour, cv2.LINE_AA, SUBPIXEL_BITS)


def stroke(image: Image, start: Point, end: Point, width: float, colour: Colour) -> None:
    thickness = max(1, round(width))
    cv2.line(image, fixed(start), fixed(end), colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def rectangle(image: Image, start: Point, end: Point, colour: Colour, corner: float = 0) -> None:
    (left, top), (right, bottom) = start, end
    if corner < 1:
        whole = (round(left), round(top)), (round(right) - 1, round(bottom) - 1)
        cv2.rectangle(image, *whole, colour, cv2.FILLED)
        return
    rectangle(image, (left + corner, top), (right - corner, bottom), colour)
    rectangle(image, (left, top + corner), (right, bottom - corner), colour)
    for x in (left + corner, right - corner - 1):
        for y in (top + corner, bottom - corner - 1):
            disc(image, (x, y), corner, colour)


def centred_text(
    image: Image, text: str, centre: Point, scale: float, colour: Colour, thickness: int
) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, thickness)
    # The height is the ascender's; digits and capitals are a little lower.
    origin = round(centre[0] - width / 2), round(centre[1] + height * 0.42)
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_DUPLEX, scale, colour, thickness, cv2.LINE_AA)


def small_print(image: Image, text: str, start: Point, scale: float, width: float) -> None:
    origin, thickness = (round(start[0]), round(start[1])), max(1, int(width))
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, thickness, cv2.LINE_AA)


def gradient(size: Size, top: Colour, bottom: Colour, corner_light: float = 1.0) -> Image:
    """From one colour down to the other, the edges left and right darker by `corner_light`."""
    down = np.linspace(0, 1, 32)[:, np.newaxis, np.newaxis]
    across = np.linspace(-1, 1, 32)[np.newaxis, :, np.newaxis]
    colours = np.array(top) * (1 - down) + np.array(bottom) * down
    small = np.clip(colours * (1 - (1 - corner_light) * across**2), 0, 255).astype(np.float32)
    return as_image(cv2.resize(small, size).astype(np.uint8))


def glow(image: Image, centre: Point, radius: float, colour: Colour, strength: float) -> None:
    """Add light that fades with the distance, nothing left of it at `radius`."""
    left, top = max(0, round(centre[0] - radius)), max(0, round(centre[1] - radius))
    patch = image[top : round(centre[1] + radius), left : round(centre[0] + radius)]
    # The light is smooth: worked out small and enlarged, a 4K picture takes a third of the time.
    across = np.linspace(-1, 1, 128, dtype=np.float32)
    small = np.minimum(1, strength * np.clip(1 - np.hypot(across[:, np.newaxis], across), 0, 1) ** 2)
    side = max(1, round(2 * radius))
    light = np.asarray(cv2.resize(small, (side, side)))
    y, x = top - round(centre[1] - radius), left - round(centre[0] - radius)
    light = light[y : y + patch.shape[0], x : x + patch.shape[1], np.newaxis]
    patch = patch[: light.shape[0], : light.shape[1]]
    patch[:] = (patch + light * (np.array(colour, np.float32) - patch)).astype(np.uint8)


def kept(image: Image) -> Image:
    """For the caches: threads may share it because nobody can write to it."""
    image.flags.writeable = False
    return image


# A wall clock with the real time.


def draw_clock(into_s: float, round_of_day: int, now: datetime, size: Size) -> Image:
    image: Image = clock_without_hands(size).copy()
    centre, radius = (size[0] / 2, size[1] / 2), clock_radius(size)
    second = now.second + now.microsecond / 1e6
    minute = now.minute + second / 60
    hour = now.hour % 12 + minute / 60
    shadow: Colour = (205, 208, 210)
    drop = (centre[0] + radius * 0.02, centre[1] + radius * 0.03)
    for middle, hour_colour, second_colour in ((drop, shadow, shadow), (centre, INK, (42, 38, 200))):
        hand(image, middle, radius, hour / 12, (-0.12, 0.50), 0.045, hour_colour)
        hand(image, middle, radius, minute / 60, (-0.14, 0.76), 0.032, hour_colour)
        hand(image, middle, radius, second / 60, (-0.20, 0.80), 0.010, second_colour)
        disc(image, middle, radius * 0.045, second_colour)
    return image


def hand(
    image: Image, centre: Point, radius: float, turn: float, reach: Point, width: float, colour: Colour
) -> None:
    """From `reach[0]` behind the centre to `reach[1]`, in radii; twelve o'clock is turn 0."""
    along = (math.sin(turn * math.tau), -math.cos(turn * math.tau))
    corners = []
    for length, side in (
        (reach[0], width),
        (reach[1], width * 0.6),
        (reach[1], -width * 0.6),
        (reach[0], -width),
    ):
        x = along[0] * length - along[1] * side
        y = along[1] * length + along[0] * side
        corners.append((centre[0] + x * radius, centre[1] + y * radius))
    polygon(image, corners, colour)


def clock_radius(size: Size) -> float:
    return min(size) * 0.38


@lru_cache(maxsize=1)
def clock_without_hands(size: Size) -> Image:
    image = gradient(size, (190, 170, 120), (160, 135, 85), 0.85)
    (x, y), radius = (size[0] / 2, size[1] / 2), clock_radius(size)
    glow(image, (x + radius * 0.06, y + radius * 0.14), radius * 1.35, (88, 72, 42), 2.2)
    disc(image, (x, y), radius, INK)
    disc(image, (x, y), radius * 0.975, (74, 68, 64))
    disc(image, (x, y), radius * 0.93, (30, 27, 26))
    disc(image, (x, y), radius * 0.915, (244, 247, 248))
    for tick in range(60):
        turn = tick / 60
        inner, width = (0.76, 0.013) if tick % 5 == 0 else (0.82, 0.005)
        hand(image, (x, y), radius, turn, (inner, 0.87), width, INK)
    for number in range(1, 13):
        angle = number / 12 * math.tau
        where = (x + math.sin(angle) * radius * 0.63, y - math.cos(angle) * radius * 0.63)
        centred_text(image, str(number), where, radius / 135, INK, max(1, round(radius / 70)))
    return kept(image)


# A street with a traffic light.

RED_S, GREEN_S = 2.2, 2.4  # and amber for what is left of the scene
LAMPS: dict[str, tuple[int, Colour, Colour]] = {  # place from the top, colour when lit, colour when dark
    "red": (0, (50, 45, 250), (24, 20, 48)),
    "amber": (1, (30, 185, 255), (18, 36, 48)),
    "green": (2, (120, 225, 40), (26, 42, 18)),
}


def lamp_at(into_s: float) -> str:
    if into_s < RED_S:
        return "red"
    return "green" if into_s < RED_S + GREEN_S else "amber"


def draw_street(into_s: float, round_of_day: int, now: datetime, size: Size) -> Image:
    street, lit = street_with_lamps(size)
    image: Image = street.copy()
    top, left, patch = lit[lamp_at(into_s)]
    image[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    unit = min(size)
    ground = road_top(size)
    car(image, (car_x(into_s, size), ground + unit * 0.035), unit * 0.30)
    pole_left, pole_right = pole_columns(size)
    image[ground - round(unit * 0.12) :, pole_left:pole_right] = street[
        ground - round(unit * 0.12) :, pole_left:pole_right
    ]
    walker_x = size[0] * (1.0 - 0.98 * into_s / SCENE_S)
    walker(image, (walker_x, size[1] - STRIP_PX - unit * 0.012), unit * 0.15, into_s * 9)
    return image


def road_top(size: Size) -> int:
    return round(size[1] / 2 + min(size) * 0.33)


def pole_columns(size: Size) -> tuple[int, int]:
    half = max(2, round(min(size) * 0.018))
    return size[0] // 2 - half, size[0] // 2 + half


def car_x(into_s: float, size: Size) -> float:
    """The left end of the car: brakes for the red light, leaves at green."""
    length = min(size) * 0.30
    outside, stop, gone = -length, size[0] / 2 - length * 1.25, size[0] * 1.02
    if into_s < RED_S + 0.2:
        left = max(0.0, 1 - into_s / 1.7)
        return stop + (outside - stop) * left**2
    return stop + (gone - stop) * ((into_s - RED_S - 0.2) / (GREEN_S - 0.3)) ** 2


def car(image: Image, left_bottom: Point, length: float) -> None:
    x, y = left_bottom

    def at(across: float, up: float) -> Point:
        return x + across * length, y - up * length

    body: Colour = (150, 92, 30)
    polygon(image, [at(0.20, 0.24), at(0.32, 0.42), at(0.66, 0.42), at(0.80, 0.24)], body)
    polygon(image, [at(0.26, 0.25), at(0.345, 0.385), at(0.47, 0.385), at(0.47, 0.25)], (235, 225, 205))
    polygon(image, [at(0.51, 0.25), at(0.51, 0.385), at(0.64, 0.385), at(0.74, 0.25)], (235, 225, 205))
    polygon(image, [at(0, 0.08), at(0.02, 0.24), at(0.95, 0.25), at(1, 0.19), at(1, 0.08)], body)
    for wheel in (0.21, 0.78):
        disc(image, at(wheel, 0.08), length * 0.09, INK)
        disc(image, at(wheel, 0.08), length * 0.04, (190, 190, 190))


def walker(image: Image, foot: Point, height: float, stride: float) -> None:
    """Somebody on the pavement; `stride` in radians."""
    x, y = foot
    swing = math.sin(stride) * height * 0.20
    hip, neck = (x, y - height * 0.45), (x - height * 0.02, y - height * 0.80)
    width = height * 0.09
    for side in (swing, -swing):
        stroke(image, hip, (x + side, y), width, (70, 48, 40))
        stroke(image, neck, (x - side * 0.7, y - height * 0.45), width * 0.8, (60, 90, 190))
    stroke(image, hip, neck, width * 1.8, (70, 105, 215))
    disc(image, (x - height * 0.03, y - height * 0.91), height * 0.10, (130, 165, 205))


@lru_cache(maxsize=1)
def street_with_lamps(size: Size) -> tuple[Image, dict[str, tuple[int, int, Image]]]:
    """The street, all lamps dark, and for each lamp the patch (top, left, pixels) that lights it."""
    width, height = size
    unit, ground, middle = min(size), road_top(size), width / 2
    image = gradient(size, (226, 178, 122), (238, 226, 208))
    for across, up, much in ((0.12, 0.16, 1.0), (0.80, 0.12, 1.2), (0.95, 0.34, 0.7), (0.30, 0.36, 0.6)):
        for shift, rise, puff in ((-0.07, 0.0, 0.045), (0.0, -0.02, 0.06), (0.07, 0.0, 0.05)):
            spot = (across * width + shift * unit * much, (up + rise * much) * height)
            disc(image, spot, puff * unit * much, (248, 244, 240))
    houses = np.random.default_rng(7)
    left = 0.0
    while left < width:
        house_width, house_top = unit * houses.uniform(0.10, 0.18), ground - unit * houses.uniform(0.08, 0.22)
        shade = int(houses.integers(-12, 12))
        rectangle(
            image, (left, house_top), (left + house_width, ground), (206 + shade, 192 + shade, 180 + shade)
        )
        for floor in np.arange(house_top + unit * 0.03, ground - unit * 0.03, unit * 0.05).tolist():
            for window in np.arange(
                left + unit * 0.02, left + house_width - unit * 0.03, unit * 0.04
            ).tolist():
                pane = (window, floor), (window + unit * 0.018, floor + unit * 0.025)
                rectangle(image, *pane, (222, 214, 204) if houses.random() < 0.6 else (190, 176, 164))
        left += house_width
    rectangle(image, (0, ground), (width, height), (98, 94, 92))
    rectangle(image, (0, ground), (width, ground + unit * 0.008), (150, 148, 146))
    rectangle(image, (0, ground + unit * 0.075), (width, height), (168, 172, 176))
    rectangle(image, (0, ground + unit * 0.075), (width, ground + unit * 0.085), (200, 204, 206))
    pole_left, pole_right = pole_columns(size)
    rectangle(image, (pole_left, height / 2), (pole_right, height), (72, 68, 64))
    rectangle(
        image, (pole_left, height / 2), (pole_left + (pole_right - pole_left) // 3, height), (108, 104, 100)
    )
    top, bottom, half = height / 2 - unit * 0.42, height / 2 + unit * 0.24, unit * 0.135
    rectangle(image, (middle - half, top), (middle + half, bottom), INK, unit * 0.04)
    edge = unit * 0.012
    rectangle(
        image,
        (middle - half + edge, top + edge),
        (middle + half - edge, bottom - edge),
        (26, 26, 26),
        unit * 0.03,
    )
    radius = unit * 0.085
    places = {name: (middle, top + unit * (0.12 + 0.21 * place)) for name, (place, _, _) in LAMPS.items()}
    for name, (_, _, dark) in LAMPS.items():
        x, y = places[name]
        disc(image, (x, y - radius * 0.22), radius * 1.25, HOOD)
        disc(image, (x, y), radius, dark)
    lit = {}
    for name, (_, bright, _) in LAMPS.items():
        x, y = places[name]
        alight, reach = image.copy(), radius * 2.4
        glow(alight, (x, y), reach, bright, 0.55)
        disc(alight, (x, y - radius * 0.22), radius * 1.25, HOOD)
        disc(alight, (x, y), radius, bright)
        glow(alight, (x - radius * 0.1, y - radius * 0.15), radius, WHITE, 0.75)
        box = max(0, round(y - reach)), max(0, round(x - reach))
        lit[name] = (*box, kept(alight[box[0] : round(y + reach), box[1] : round(x + reach)].copy()))
    return kept(image), lit


# A crossword that fills in.

CROSSWORD = (
    "OPENCV.RGB.",
    "B..E.I.U..B",
    "J..W.SENSOR",
    "EDGE.I..T.O",
    "C..SLOT.R.W",
    "TEST.N.LENS",
    "..O.F...A.E",
    "R.CLASS.M.R",
    "E.K.S..T.O.",
    "APERTURE.N.",
    "D.T....AREA",
)
LETTER_S = 0.25
STARTS = (14, 33, 52)  # letters already there when the scene begins, by round; it adds 24 of 77

Cell = tuple[int, int]  # (row, column)


def words_of(grid: tuple[str, ...]) -> list[list[Cell]]:
    """The cells of each word, first those across, then those down."""
    side = range(len(grid))
    lines = [[(row, column) for column in side] for row in side]
    lines += [[(row, column) for row in side] for column in side]
    words = []
    for line in lines:
        text = "".join(grid[row][column] for row, column in line)
        start = 0
        for part in text.split("."):
            if len(part) > 1:
                words.append(line[start : start + len(part)])
            start += len(part) + 1
    return words


WORDS = words_of(CROSSWORD)
WRITTEN = list(dict.fromkeys(cell for word in WORDS for cell in word))
"""Cells in the order in which they are filled in."""


def draw_crossword(into_s: float, round_of_day: int, now: datetime, size: Size) -> Image:
    empty, solved = crossword_pages(size)
    image: Image = empty.copy()
    cell, left, top = crossword_box(size)
    letters = STARTS[round_of_day % len(STARTS)] + into_s / LETTER_S
    done, progress = int(letters), letters % 1
    for row, column in WRITTEN[:done]:
        y, x = row * cell, column * cell
        image[top + y : top + y + cell, left + x : left + x + cell] = solved[y : y + cell, x : x + cell]
    row, column = WRITTEN[done]
    y, x, written = row * cell, column * cell, round(cell * (0.15 + 0.7 * progress))
    image[top + y : top + y + cell, left + x : left + x + written] = solved[y : y + cell, x : x + written]
    for at_row, at_column in next(word for word in WORDS if (row, column) in word):
        y, x = top + at_row * cell, left + at_column * cell
        inside = image[y + 1 : y + cell, x + 1 : x + cell]
        tint: Colour = (120, 225, 255) if (at_row, at_column) == (row, column) else (250, 232, 206)
        np.minimum(inside, np.array(tint, np.uint8), out=inside)
    tip_y = top + (row + 0.5 + 0.25 * math.sin(letters * 2.5 * math.tau)) * cell
    pencil(image, (left + column * cell + written, tip_y), cell * 1.0)
    return image


def pencil(image: Image, tip: Point, unit: float) -> None:
    """Held as a right hand holds it: up and to the right of its tip."""

    def at(along: float, side: float) -> Point:
        return tip[0] + (along * 0.6 + side * 0.8) * unit, tip[1] - (along * 0.8 - side * 0.6) * unit

    polygon(image, [at(0, 0), at(0.6, -0.17), at(0.6, 0.17)], (170, 205, 232))
    polygon(image, [at(0, 0), at(0.22, -0.06), at(0.22, 0.06)], INK)
    polygon(image, [at(0.6, -0.17), at(2.2, -0.17), at(2.2, 0.0), at(0.6, 0.0)], (40, 190, 250))
    polygon(image, [at(0.6, 0.0), at(2.2, 0.0), at(2.2, 0.17), at(0.6, 0.17)], (30, 150, 225))
    polygon(image, [at(2.2, -0.17), at(2.5, -0.17), at(2.5, 0.17), at(2.2, 0.17)], (140, 130, 225))


def crossword_box(size: Size) -> tuple[int, int, int]:
    """(pixels per cell, left, top) of the grid."""
    cell = max(1, int(min(size) * 0.80) // len(CROSSWORD))
    side = cell * len(CROSSWORD)
    return cell, (size[0] - side) // 2, (size[1] - side) // 2


@lru_cache(maxsize=1)
def crossword_pages(size: Size) -> tuple[Image, Image]:
    """The newspaper page with the empty grid, and the solved grid alone."""
    page = gradient(size, (222, 232, 236), (206, 218, 224), 0.93)
    cell, left, top = crossword_box(size)
    side = cell * len(CROSSWORD)
    column_of_clues(page, (left * 0.12, top), (left * 0.88, top + side), "ACROSS")
    column_of_clues(page, (size[0] - left * 0.88, top), (size[0] - left * 0.12, top + side), "DOWN")
    line = max(1, cell // 24)
    rectangle(page, (left - 2 * line, top - 2 * line), (left + side + 3 * line, top + side + 3 * line), INK)
    firsts = sorted({word[0] for word in WORDS})
    for row, text in enumerate(CROSSWORD):
        for column, letter in enumerate(text):
            if letter == ".":
                continue
            x, y = left + column * cell, top + row * cell
            rectangle(page, (x + line, y + line), (x + cell, y + cell), (250, 252, 252))
            if (row, column) in firsts and cell >= 26:
                number = str(firsts.index((row, column)) + 1)
                small_print(page, number, (x + 2 * line + 1, y + cell * 0.33), cell / 105, cell / 60)
    solved = page[top : top + side, left : left + side].copy()
    for row, column in WRITTEN:
        middle = ((column + 0.54) * cell, (row + 0.56) * cell)
        centred_text(solved, CROSSWORD[row][column], middle, cell / 42, (110, 60, 30), max(1, cell // 26))
    return kept(page), kept(solved)


def column_of_clues(page: Image, start: Point, end: Point, title: str) -> None:
    """Lines that look like small print, where there is room for a column."""
    (left, top), (right, bottom) = start, end
    if right - left < 50:
        return
    step = min(right - left, bottom - top) / 14
    small_print(page, title, (left, top + step), step / 20, step / 8)
    lengths = np.random.default_rng(len(title))
    for y in np.arange(top + 2 * step, bottom - step / 2, step).tolist():
        words = left
        while words < right - step:
            word_end = min(right, words + step * lengths.uniform(0.6, 2.2))
            rectangle(page, (words, y), (word_end, y + step * 0.28), (150, 156, 160), step * 0.12)
            words = word_end + step * 0.4


SCENES = (
    Scene("clock", ("analog clock", "wall clock"), draw_clock),
    Scene("street", ("traffic light",), draw_street),
    Scene("crossword", ("crossword puzzle",), draw_crossword),
)
