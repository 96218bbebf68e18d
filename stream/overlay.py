"""Writes the answer on the picture: label, score, speeds, age. On a copy, and never beyond its edge."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from models.recipe import Image, as_image, size_of
from models.scores import Prediction

Size = tuple[int, int]  # (width, height)
Colour = tuple[int, int, int]  # (blue, green, red)

FREE_ROWS = 16
"""Rows at the bottom that nothing is painted on: the demo's frame number is read there."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
PANEL_LIGHT = 0.28
"""What is left of the picture under a panel: white text on a white picture keeps a contrast of 9 to 1."""

WHITE: Colour = (255, 255, 255)
SOFT: Colour = (225, 225, 225)
ACCENT: Colour = (110, 225, 120)
BAR: Colour = (205, 185, 120)
TRACK: Colour = (70, 70, 70)

MOST_ROWS = 4
SMALLEST_TEXT = 0.42
REPLACED = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "đ": "d", "ł": "l", "Ł": "L"}
    | {"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "·": "-", "×": "x", "µ": "u"}
)


@dataclass(frozen=True)
class Caption:
    """What is written. None is what is not known yet, and shown as "-"."""

    predictions: tuple[Prediction, ...]
    camera_fps: float | None
    model_fps: float | None
    infer_ms: float | None
    age_ms: float | None
    runtime: str
    remarks: tuple[str, ...] = ()  # what is odd about the camera
    silent_s: float | None = None  # since the model, elsewhere, has ceased to answer


@dataclass(frozen=True)
class Text:
    """A line at its place, measured once: the origin is the left end of the base line."""

    text: str
    origin: tuple[int, int]
    scale: float
    colour: Colour = WHITE


def paint(image: Image, caption: Caption) -> Image:
    """A painted copy: the classifier may be reading `image` at this moment."""
    painted: Image = image.copy()
    top = paint_status(painted, status_parts(caption))
    paint_answer(painted, caption, top)
    return painted


def paint_no_signal(size: Size, reason: str, since_s: float) -> Image:
    """What viewers see while there is no camera: the reason, and for how long already."""
    width, height = size
    image: Image = dark_picture(size).copy()
    unit = scale_of(size)
    lines = [(line, 0.55 * unit) for line in wrapped(ascii_only(reason), 0.55 * unit, width * 0.86)]
    lines = [("No signal", 1.1 * unit), *lines, (f"for {spoken(since_s)}", 0.45 * unit)]
    heights = [sum(letter_height(scale)) * 1.45 for _, scale in lines]
    room = height - FREE_ROWS
    while len(lines) > 2 and sum(heights) > room:
        lines.pop(-2)
        heights.pop(-2)
    y = (room - sum(heights)) / 2
    for number, ((line, scale), line_height) in enumerate(zip(lines, heights, strict=True)):
        y += line_height
        text = shortened(line, scale, int(width * 0.94))
        x = (width - text_size(text, scale)[0]) // 2
        last = number == len(lines) - 1
        put(image, Text(text, (x, round(y - line_height * 0.3)), scale, (150, 150, 150) if last else WHITE))
    return image


def warm_up() -> None:
    """The first text costs OpenCV 5 about 70 ms, each new weight some more: not in the first frame."""
    two = (Prediction(0, "label", 0.9), Prediction(1, "other", 0.1))
    for size in ((320, 240), (1920, 1080)):
        paint(paint_no_signal(size, "starting", 0), Caption(two, 30, 30, 1, 1, "runtime"))
    dark_picture.cache_clear()


# What is written.


def status_parts(caption: Caption) -> list[str]:
    return [
        *(ascii_only(remark) for remark in caption.remarks),
        f"camera {known(caption.camera_fps, '.1f')} fps",
        f"model {known(caption.model_fps, '.1f')} fps",
        f"infer {known(caption.infer_ms, '.1f' if (caption.infer_ms or 0) < 9.95 else '.0f')} ms",
        f"age {known(caption.age_ms, '.0f')} ms",
        ascii_only(caption.runtime) or "-",
    ]


def known(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


def spoken(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"


def first_name(label: str) -> str:
    """ImageNet's labels are synonyms: "analog clock, ..." """
    return ascii_only(label.partition(",")[0]) or "?"


@lru_cache(maxsize=1024)
def ascii_only(text: str) -> str:
    """OpenCV 4 draws ASCII only: accents go, the rest becomes "?", one for a run of them."""
    plain = unicodedata.normalize("NFKD", text.translate(REPLACED))
    letters: list[str] = []
    for letter in plain:
        if unicodedata.combining(letter):
            continue
        if letter.isspace():
            letters.append(" ")
        elif " " <= letter <= "~":
            letters.append(letter)
        elif not letters or letters[-1] != "?":
            letters.append("?")
    return " ".join("".join(letters).split())


# Measures. Text sizes are cached: a label is measured when it first appears, not on every frame.


def scale_of(size: Size) -> float:
    """1 at 640x480. Small pictures get relatively larger text, or it could not be read."""
    return max(0.62, min(size[0] / 640, size[1] / 480))


def thickness_of(scale: float) -> int:
    return max(1, round(1.9 * scale))


@lru_cache(maxsize=4096)
def text_size(text: str, scale: float) -> Size:
    (width, height), _ = cv2.getTextSize(text, FONT, scale, thickness_of(scale))
    return width, height


@lru_cache(maxsize=64)
def letter_height(scale: float) -> tuple[int, int]:
    """(above the base line, below it)."""
    (_, above), below = cv2.getTextSize("Ag", FONT, scale, thickness_of(scale))
    return above, below


@lru_cache(maxsize=1024)
def shortened(text: str, scale: float, width: int) -> str:
    """The longest beginning that fits, with an ellipsis; nothing where not even that fits."""
    if text_size(text, scale)[0] <= width:
        return text
    for end in range(min(len(text), 200) - 1, 0, -1):
        cut = text[:end].rstrip(" ,-") + "..."
        if text_size(cut, scale)[0] <= width:
            return cut
    return ""


def wrapped(text: str, scale: float, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(longer, scale)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, scale, int(width)))
    return lines


def put(image: Image, text: Text) -> None:
    thickness = thickness_of(text.scale)
    cv2.putText(image, text.text, text.origin, FONT, text.scale, text.colour, thickness, cv2.LINE_AA)


def darken(image: Image, left: int, top: int, right: int, bottom: int) -> None:
    """In place, and only there: blending the whole picture would cost more than all the text."""
    panel = image[top:bottom, left:right]
    panel[:] = as_image(cv2.convertScaleAbs(panel, alpha=PANEL_LIGHT))


# The two panels.


def paint_status(image: Image, parts: list[str]) -> int:
    """Speeds and age, just above the free rows, in as many lines as it takes. Returns the panel's top."""
    width, height = size_of(image)
    scale = max(SMALLEST_TEXT, 0.5 * scale_of((width, height)))
    above, below = letter_height(scale)
    margin, gap = above // 2 + 2, round(above * 1.2)
    lines: list[list[tuple[str, int]]] = [[]]  # each part with its left end
    x = margin
    for part in parts:
        text = shortened(part, scale, width - 2 * margin)
        # Room is kept for wide digits, else the parts would jump about as the numbers change.
        part_width = text_size(widest(text), scale)[0]
        if lines[-1] and x + part_width > width - margin:
            lines.append([])
            x = margin
        lines[-1].append((text, x))
        x += part_width + gap
    step = above + below + max(2, above // 6)
    bottom = height - FREE_ROWS
    while len(lines) > 1 and len(lines) * step + margin > bottom // 2:
        lines.pop()
    top = bottom - len(lines) * step - margin // 2
    if top < 0:
        return bottom
    darken(image, 0, top, width, bottom)
    for number, line in enumerate(lines):
        base = top + margin // 4 + number * step + above
        for text, left in line:
            put(image, Text(text, (left, base), scale, SOFT))
    return top


@lru_cache(maxsize=1024)
def widest(text: str) -> str:
    return "".join("0" if letter.isdigit() else letter for letter in text)


def paint_answer(image: Image, caption: Caption, bottom: int) -> None:
    """Top left: the best label large with its score, the next ones smaller, a bar under each."""
    width, height = size_of(image)
    unit = scale_of((width, height))
    margin = max(4, round(8 * unit))
    panel_width = min(width - 2 * margin, round(310 * unit))
    room = min(bottom - 2 * margin, round(height * 0.40))
    inside = panel_width - 2 * margin
    if not caption.predictions:
        unknown = caption.infer_ms is None
        message = "waiting for the model" if unknown else "nothing above the threshold"
        if caption.silent_s is not None:
            message = f"no answer for {spoken(caption.silent_s)}"
        scale = max(SMALLEST_TEXT, 0.55 * unit)
        row = row_height(scale, unit)
        if inside > 0 and row <= room:
            darken(image, margin, margin, margin + panel_width, margin + row + margin)
            base = margin + (row + margin + letter_height(scale)[0]) // 2
            put(image, Text(shortened(message, scale, inside), (2 * margin, base), scale, SOFT))
        return
    rows: list[tuple[Prediction, float, int]] = []  # with scale and height
    used = margin
    for place, prediction in enumerate(caption.predictions[:MOST_ROWS]):
        scale = max(0.55, 0.9 * unit) if place == 0 else max(SMALLEST_TEXT, 0.5 * unit)
        row = row_height(scale, unit)
        if used + row > room:
            break
        rows.append((prediction, scale, row))
        used += row
    if not rows or inside <= 0:
        return
    darken(image, margin, margin, margin + panel_width, margin + used)
    top = margin + margin // 2
    for place, (prediction, scale, row) in enumerate(rows):
        paint_row(image, prediction, (2 * margin, top), (inside, row), scale, ACCENT if place == 0 else BAR)
        top += row


def row_height(scale: float, unit: float) -> int:
    above, below = letter_height(scale)
    return above + below + bar_height(scale) + round(6 * unit)


def bar_height(scale: float) -> int:
    return max(2, round(6 * scale))


def paint_row(
    image: Image, prediction: Prediction, start: tuple[int, int], size: Size, scale: float, colour: Colour
) -> None:
    (left, top), (width, _) = start, size
    above, below = letter_height(scale)
    base = top + above
    score = max(0.0, min(prediction.score, 1.0))  # in this order a broken model's NaN becomes 0
    percent = "<1 %" if 0 < score < 0.005 else f"{score * 100:.0f} %"
    percent_width = text_size("100 %", scale)[0]
    label = shortened(first_name(prediction.label), scale, width - percent_width - above // 2)
    put(image, Text(label, (left, base), scale))
    if percent_width <= width:
        put(image, Text(percent, (left + width - text_size(percent, scale)[0], base), scale))
    bar_top = base + below + 1
    bar_bottom = bar_top + bar_height(scale)
    filled = round(width * score)
    image[bar_top:bar_bottom, left : left + width] = TRACK
    image[bar_top:bar_bottom, left : left + filled] = colour


@lru_cache(maxsize=1)
def dark_picture(size: Size) -> Image:
    """Dark, a little lighter in the middle, thin slanted lines: seen at once not to be a camera's picture."""
    width, height = size
    across, down = np.linspace(-1, 1, 32)[np.newaxis, :], np.linspace(-1, 1, 32)[:, np.newaxis]
    light = np.clip(52 - 22 * np.hypot(across, down), 0, 255).astype(np.float32)
    picture = np.asarray(cv2.resize(light, (max(1, width), max(1, height)))).astype(np.uint8)
    step = max(12, min(size) // 16)
    for start in range(-height, width, step):
        cv2.line(picture, (start, height), (start + height, 0), 36, max(1, step // 16), cv2.LINE_AA)
    tinted = as_image(cv2.merge([cv2.convertScaleAbs(picture, alpha=1.15), picture, picture]))
    tinted.flags.writeable = False
    return tinted
