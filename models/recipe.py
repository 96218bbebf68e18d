"""How a picture becomes a model's input: crop, shrink, colour order, value range. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""A picture as OpenCV keeps it: (height, width, 3), BGR, uint8."""

Order = Literal["RGB", "BGR", "gray"]
Fit = Literal["crop", "stretch", "letterbox"]

CROP_FRACTION = 0.875
"""Side of the centre square over the picture's short side: 224/256, as ImageNet is evaluated."""


@dataclass(frozen=True)
class Recipe:
    """What a model wants to see. `mean` and `std` are per channel, in the model's channel order:
    the real value of a pixel is (pixel - mean) / std."""

    size: tuple[int, int]  # (width, height)
    order: Order = "RGB"
    fit: Fit = "crop"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    invert: bool = False  # dark on light becomes light on dark


@dataclass(frozen=True)
class Quantisation:
    """How integers stand for real values: real = scale * (integer - zero_point).

    Scale 0 means: not quantised, the integer is the value.
    """

    scale: float = 0.0
    zero_point: int = 0


NOT_QUANTISED = Quantisation()


def fit_image(image: Image, size: tuple[int, int], fit: Fit) -> Image:
    """What the model sees of `image`, at `size`, channels untouched. May share memory with `image`."""
    width, height = size
    if fit == "stretch":
        return shrink(image, size)
    if fit == "crop":
        return shrink(centre_crop(image, width / height), size)
    return letterbox(image, size)


def centre_crop(image: Image, aspect: float) -> Image:
    """The middle: `CROP_FRACTION` of the largest box of this aspect (width / height). A view."""
    rows, columns = image.shape[:2]
    width = min(columns, rows * aspect) * CROP_FRACTION
    crop_width, crop_height = max(1, round(width)), max(1, round(width / aspect))
    left, top = (columns - crop_width) // 2, (rows - crop_height) // 2
    return image[top : top + crop_height, left : left + crop_width]


def shrink(image: Image, size: tuple[int, int]) -> Image:
    """Resize in two steps: whole-number area averaging while the picture is twice too large, then bilinear.

    On 1,000 photographs as accurate as area averaging all the way, and three to four times cheaper.
    """
    width, height = size
    rows, columns = image.shape[:2]
    across, down = max(1, columns // width), max(1, rows // height)
    if across * down > 1:
        left, top = columns % across // 2, rows % down // 2
        whole = image[top : top + rows // down * down, left : left + columns // across * across]
        image = as_image(cv2.resize(whole, (columns // across, rows // down), interpolation=cv2.INTER_AREA))
    if size_of(image) == size:
        return image
    return as_image(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def letterbox(image: Image, size: tuple[int, int]) -> Image:
    """The whole picture, shrunk to fit, black bars around."""
    width, height = size
    rows, columns = image.shape[:2]
    factor = min(width / columns, height / rows)
    inner = max(1, round(columns * factor)), max(1, round(rows * factor))
    canvas = np.zeros((height, width, *image.shape[2:]), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = shrink(image, inner)
    return canvas


def recolour(image: Image, order: Order, invert: bool) -> Image:
    """Channels in the model's order: (height, width, 3), or (height, width, 1) for gray."""
    if order == "RGB":
        image = as_image(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    elif order == "gray":
        image = as_image(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[:, :, np.newaxis]
    return as_image(cv2.bitwise_not(image)).reshape(image.shape) if invert else image


BITS = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}
"""By bytes, a type that `cv2.LUT` takes: it copies entries whatever they mean, but knows no float16."""


class Quantiser:
    """Pixels to a model's numbers by table: each of the 256 values of a channel has one answer.

    q = clip(round((pixel - mean) / std / scale) + zero_point). Where that is the identity, as in most uint8
    models, the pixels go in as they are.
    """

    def __init__(
        self, recipe: Recipe, dtype: npt.DTypeLike, quantisation: Quantisation, channels: int
    ) -> None:
        self.dtype = np.dtype(dtype)
        pixels = np.arange(256, dtype=np.float64)[:, np.newaxis]
        real = (pixels - np.array(recipe.mean)) / np.array(recipe.std)
        if np.issubdtype(self.dtype, np.integer):
            limits = np.iinfo(self.dtype)
            if quantisation.scale == 0:
                quantisation = Quantisation(1.0, 0)
            steps = np.round(real / quantisation.scale) + quantisation.zero_point
            table = np.clip(steps, limits.min, limits.max).astype(self.dtype)
        else:
            table = real.astype(self.dtype)
        self.table = np.ascontiguousarray(np.broadcast_to(table, (256, channels)))
        columns = 1 if (self.table == self.table[:, :1]).all() else channels  # one for all is quicker
        bits = np.ascontiguousarray(self.table[:, :columns]).view(BITS[self.dtype.itemsize])
        self.bits = bits.reshape(256, 1, columns)
        self.identity = self.dtype == np.uint8 and bool((self.table == pixels).all())

    def __call__(self, image: Image) -> npt.NDArray[Any]:
        """(height, width, channels) uint8 to the same shape in the model's dtype."""
        if self.identity:
            return image
        return np.asarray(cv2.LUT(image, self.bits)).reshape(image.shape).view(self.dtype)


def size_of(image: Image) -> tuple[int, int]:
    """(width, height)."""
    return image.shape[1], image.shape[0]


def as_image(array: Any) -> Image:
    """What OpenCV returned, under its real type: its stubs say only that it is some array."""
    return np.asarray(array, np.uint8)
