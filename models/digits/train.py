"""Trains the digit network, the study's of 5,994 weights, and writes it for TensorFlow and TensorFlow Lite.

    python models/digits/train.py [--data NPZ] [--output FOLDER]
    python models/digits/train.py [--data NPZ] --table [FILE]

NPZ has `images` (n, 28, 28), uint8, light on dark, and `labels` (n,). Of its digits HELD_OUT are kept for the
figures that are printed: nothing is trained on them, chosen by them or stopped by them.

Digits cut out of MNIST are black and white; a camera sees grey ink on a grey, unevenly lit paper, larger,
smaller, thinner and askew. The recipe does not mend that, so camera-like pictures are drawn anew for every
epoch, two for five digits. Blank papers are among them, with all ten digits as equally right answers: there
is no class for "none", and so a low score says it.

With --table the study's experiments are repeated instead, and their table is written to docs/digits.md. What
this needs is in the requirements.txt beside it, where the digits come from in PROVENANCE.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from models.labels import numbered
from models.portable_keras import portable
from models.recipe import NOT_QUANTISED, Fit, Image, Quantisation, Quantiser, Recipe, fit_image, recolour
from models.scores import Reading

CONFIG_KEPT = {"name", "batch_shape", "filters", "kernel_size", "padding", "activation", "pool_size", "units"}
"""What a layer of ours is told."""

Pixels = npt.NDArray[np.uint8]
"""Digits as the network sees them, (n, height, width), light on dark."""

Floats = npt.NDArray[np.float32]
Classifier = Callable[[list[Image]], npt.NDArray[np.float64]]
"""Pictures, prepared but for their numbers, to probabilities (n, 10)."""

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Recipe(size=(24, 24), order="gray", fit="crop", mean=(0.0,), std=(255.0,), invert=True)
SIDE, CLASSES = RECIPE.size[0], 10
SPLIT_SEED = 0
HELD_OUT = 2_000
SEED = 0
"""Of the first weights and of all that is drawn. Of 0 to 7 it did best after 25 epochs, judged by 1,500 of
the digits to train on, which were left out for that; the seeds differ by half a per cent."""

RATE = 3e-3  # of Adam at the start; it falls to 0 along a cosine
OFFSETS = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)]
"""Of the nine windows of 24x24 in 28x28."""

FINE = 3  # camera-like digits are drawn so much larger, then shrunk by area, as `fit_image` does
BLANK_SHARE = 0.02  # of the camera-like pictures


@dataclass(frozen=True)
class Plan:
    """A network, and how it is trained. The defaults are the study's network on random crops alone."""

    name: str = "the network"
    changed: str = "–"
    filters: tuple[int, ...] = (8, 16)
    kernels: tuple[int, ...] = (5, 5)
    pools: tuple[int, ...] = (2, 3)  # 1: none
    batch: int = 50
    epochs: int = 40
    bent: float = (
        0.0  # share of the digits that are turned, sheared and scaled a little before they are cropped
    )
    camera: float = 0.0  # camera-like pictures of an epoch, over its digits


EXPERIMENTS = (
    Plan(),
    Plan("more filters", "16 and 32 filters for 8 and 16", filters=(16, 32)),
    Plan("smaller second kernel", "3x3 for 5x5", kernels=(5, 3)),
    Plan("no pooling", "both max-pools left out", pools=(1, 1)),
    Plan(
        "a third convolution",
        "5x5x16 and ReLU once more, before the second max-pool",
        filters=(8, 16, 16),
        kernels=(5, 5, 5),
        pools=(2, 1, 3),
    ),
    Plan("batches of 20", "20 digits a step for 50", batch=20),
    Plan("batches of 30", "30 digits a step for 50", batch=30),
)
COMMITTED = Plan(
    "the weights of this repository",
    "120 epochs; four in five digits are bent a little before they are cropped; two camera-like pictures"
    " for five digits on top",
    epochs=120,
    bent=0.8,
    camera=0.4,
)


class Digits(NamedTuple):
    pixels: Pixels  # (n, 28, 28)
    classes: npt.NDArray[np.intp]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digit network, or measure its variants.")
    parser.add_argument("--data", type=Path, default=Path("../shared/mnist/mnist_10k.npz"), metavar="NPZ")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    parser.add_argument(
        "--table",
        type=Path,
        nargs="?",
        const=ROOT / "docs" / "digits.md",
        metavar="FILE",
        help="measure the study's experiments and write their table",
    )
    options = parser.parse_args()

    tf.config.experimental.enable_op_determinism()
    training, held_out = read_digits(options.data)
    if options.table:
        rows = [measured(plan, training, held_out) for plan in (*EXPERIMENTS, COMMITTED)]
        options.table.write_text(page(rows, len(training.classes)), encoding="utf-8")
        return

    print(f"{date()}, {machine()}, TensorFlow {tf.__version__}, Keras {keras.__version__}")
    print(f"{len(training.classes)} digits to train on, {HELD_OUT} held out; seeds {SPLIT_SEED} and {SEED}")
    began = time.monotonic()
    network = train(COMMITTED, training, progress=True)
    print(f"{network.count_params()} weights, trained in {time.monotonic() - began:.0f} s")
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder, "digits.keras"))
        saved = Path(folder, "digits.keras").read_bytes()
    (options.output / "digits.keras").write_bytes(portable(saved, CONFIG_KEPT))
    whole, integer = convert(network, None), convert(network, calibration(training))
    (options.output / "digits_float.tflite").write_bytes(whole)
    (options.output / "digits_int8.tflite").write_bytes(integer)
    for name in ("digits.keras", "digits_float.tflite", "digits_int8.tflite"):
        content = (options.output / name).read_bytes()
        print(f"{name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    print_figures(
        {"Keras": by_keras(network), "float": by_tflite(whole), "int8": by_tflite(integer)}, held_out
    )


# The digits


def read_digits(path: Path) -> tuple[Digits, Digits]:
    """To train on, and held out; the file is in order of class, so it is shuffled first."""
    try:
        data = np.load(path)
    except OSError as error:
        raise SystemExit(f"cannot read {path} - name a file of digits with --data: {error}") from error
    order = np.random.default_rng(SPLIT_SEED).permutation(len(data["labels"]))
    pixels, classes = data["images"][order], data["labels"][order].astype(np.intp)
    return Digits(pixels[:-HELD_OUT], classes[:-HELD_OUT]), Digits(pixels[-HELD_OUT:], classes[-HELD_OUT:])


def epoch_of(plan: Plan, digits: Digits, random: np.random.Generator) -> tuple[Pixels, Floats]:
    """Pictures (n, 24, 24) and what is right about them (n, 10), in random order."""
    right = np.eye(CLASSES, dtype=np.float32)[digits.classes]
    drawn = random.permutation(len(right))[: round(plan.camera * len(right))]
    blanks = round(BLANK_SHARE * len(drawn))
    ink = strokes(digits.pixels[drawn], random)
    ink[:blanks] = 0
    pixels = np.concatenate(
        [cropped(bent(digits.pixels, plan.bent, random), random), photographed(ink, random)]
    )
    right = np.concatenate(
        [right, np.full((blanks, CLASSES), 1 / CLASSES, np.float32), right[drawn[blanks:]]]
    )
    order = random.permutation(len(right))
    return pixels[order], right[order]


def cropped(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """A window of 24x24 anywhere in each digit."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE), axis=(1, 2))
    top, left = random.integers(0, pixels.shape[1] - SIDE + 1, (2, len(pixels)))
    return np.asarray(windows[np.arange(len(pixels)), top, left])


def bent(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """Some of the digits turned by 7 degrees or so, sheared, and 7 % larger or smaller each way."""
    pixels = pixels.copy()
    middle = (np.array(pixels.shape[2:0:-1]) - 1) / 2
    for index in np.flatnonzero(random.random(len(pixels)) < share):
        matrix = turned(random.normal(0, 0.12), random.normal(0, 0.08)) * np.exp(random.normal(0, 0.07, 2))
        shift = middle - matrix @ middle + random.uniform(-0.5, 0.5, 2)
        size = pixels.shape[2], pixels.shape[1]
        pixels[index] = cv2.warpAffine(pixels[index], np.column_stack([matrix, shift]), size)
    return pixels


def turned(angle: float, shear: float) -> npt.NDArray[np.float64]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, shear - sine], [sine, cosine]])


# Camera-like pictures


def strokes(pixels: Pixels, random: np.random.Generator) -> Floats:
    """Ink (n, 24, 24), 0 to 1: each digit's longer side 32 to 98 % of the picture's, near the middle,
    askew by up to 18 degrees, with a pen of any width."""
    count, side = len(pixels), SIDE * FINE
    fill = random.uniform(0.32, 0.98, count)
    angle = np.deg2rad(random.normal(0, 7, count).clip(-18, 18))
    shear, stretch = random.normal(0, 0.08, count), np.exp(random.normal(0, 0.06, count))
    room = np.minimum(np.maximum(1 - fill, 0.06) / 2, 0.12) * side
    shift = random.uniform(-1, 1, (count, 2)) * room[:, np.newaxis]
    edge, softness = random.uniform(0.22, 0.6, count), random.uniform(0.2, 0.6, count)
    ink = np.empty((count, SIDE, SIDE), np.float32)
    for index in range(count):
        middle, longer = box(pixels[index])
        matrix = turned(angle[index], shear[index]) * [stretch[index], 1 / stretch[index]]
        matrix *= fill[index] * side / longer
        offset = (side - 1) / 2 + shift[index] - matrix @ middle
        drawn = cv2.warpAffine(pixels[index], np.column_stack([matrix, offset]), (side, side))
        width = np.clip((np.arange(256) / 255 - edge[index]) / softness[index] + 0.5, 0, 1) * 255
        drawn = cv2.LUT(drawn, width.astype(np.uint8))
        ink[index] = cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return ink / np.float32(255)


def box(pixels: Pixels) -> tuple[npt.NDArray[np.float64], float]:
    """Middle (x, y) and longer side of what is drawn."""
    rows = np.flatnonzero(pixels.max(axis=1) > 40)
    columns = np.flatnonzero(pixels.max(axis=0) > 40)
    middle = np.array([columns[0] + columns[-1], rows[0] + rows[-1]]) / 2
    return middle, float(max(np.ptp(columns), np.ptp(rows)) + 1)


def photographed(ink: Floats, random: np.random.Generator) -> Pixels:
    """Ink on paper as a camera sees it: grey, lit from one side, out of focus, noisy. Inverted, as the recipe
    has it: ink is light."""
    count = len(ink)
    ink = ink.copy()
    for index in np.flatnonzero(random.random(count) < 0.3):
        ink[index] = cv2.GaussianBlur(ink[index], (0, 0), random.uniform(0.3, 0.8))

    def each(low: float, high: float) -> npt.NDArray[np.float64]:
        return random.uniform(low, high, count)[:, np.newaxis, np.newaxis]

    paper, darkest = each(0.38, 1.0), each(0.05, 0.55)  # the ink's darkest reflects so much of the light
    direction, fall = each(0, 2 * np.pi), each(0, 0.3) * (each(0, 1) < 0.8)
    down, across = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    light = paper * (1 + fall * (np.cos(direction) * across + np.sin(direction) * down))
    picture = light * (1 - ink * (1 - darkest))
    picture += random.normal(0, 1, picture.shape) * each(0, 0.02)
    return np.asarray(255 - np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))


# The network


def build(plan: Plan) -> keras.Model:
    layers = keras.layers
    picture = keras.Input((SIDE, SIDE, 1), name="picture")
    x: Any = picture
    for filters, kernel, pool in zip(plan.filters, plan.kernels, plan.pools, strict=True):
        x = layers.Conv2D(filters, kernel, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(pool)(x) if pool > 1 else x
    logits = layers.Dense(CLASSES, name="logits")(layers.Flatten()(x))
    return keras.Model(picture, layers.Softmax(name="probabilities")(logits), name="digits")


def train(plan: Plan, digits: Digits, *, progress: bool = False) -> keras.Model:
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    network = build(plan)
    to_logits = keras.Model(network.input, network.get_layer("logits").output)
    steps = -(-len(epoch_of(plan, digits, random)[1]) // plan.batch)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps * plan.epochs))
    optimizer.build(network.trainable_variables)
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)

    @tf.function
    def run_epoch(pixels: Any, right: Any) -> Any:
        total = 0.0
        for start in tf.range(0, tf.shape(pixels)[0], plan.batch):
            pictures = tf.cast(pixels[start : start + plan.batch], tf.float32)[..., tf.newaxis] / 255
            with tf.GradientTape() as tape:
                loss = loss_of(right[start : start + plan.batch], to_logits(pictures, training=True))
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply(gradients, network.trainable_variables)
            total += loss
        return total / steps

    with ThreadPoolExecutor(
        max_workers=1
    ) as drawer:  # the next epoch's pictures, while this one's are learned
        coming = drawer.submit(epoch_of, plan, digits, random)
        for epoch in range(1, plan.epochs + 1):
            pictures = coming.result()
            coming = drawer.submit(epoch_of, plan, digits, random)
            loss = run_epoch(*map(tf.constant, pictures))
            if progress and epoch % 20 == 0:
                print(f"  epoch {epoch}: loss {float(loss):.4f}", flush=True)
    return network


# The files


def convert(network: keras.Model, pictures: Pixels | None) -> bytes:
    """As floats; or, calibrated on pictures, everything in integers, uint8 in and out."""

    def examples() -> Iterator[list[Floats]]:
        for picture in pictures if pictures is not None else ():
            yield [picture[np.newaxis, :, :, np.newaxis].astype(np.float32) / 255]

    one = [keras.InputSpec(dtype="float32", shape=(1, SIDE, SIDE, 1), name="picture")]
    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, format="tf_saved_model", verbose=False, input_signature=one)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if pictures is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = examples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
        return bytes(converter.convert())


def calibration(digits: Digits) -> Pixels:
    """Of the digits trained on, 500 crops and 500 camera-like pictures."""
    random = np.random.default_rng(SEED)
    some = digits.pixels[:500]
    return np.concatenate([cropped(some, random), photographed(strokes(some, random), random)])


# The figures, by the very functions that the live program prepares a picture with


def by_keras(network: keras.Model) -> Classifier:
    quantise = Quantiser(RECIPE, np.float32, NOT_QUANTISED, channels=1)

    def classify(pictures: list[Image]) -> npt.NDArray[np.float64]:
        return network(np.stack([quantise(picture) for picture in pictures]), training=False).numpy()

    return classify


def by_tflite(content: bytes) -> Classifier:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for name, details in (("input", entry), ("output", result)):
        scale, zero_point = details["quantization"]
        print(f"  {name}: {details['dtype'].__name__}, scale {scale}, zero point {zero_point}")
    quantise = Quantiser(RECIPE, entry["dtype"], Quantisation(*entry["quantization"]), channels=1)
    if entry["dtype"] == np.uint8 and not quantise.identity:
        raise SystemExit(
            "pixels no longer go in as they are - calibrate on pictures with black and white in them"
        )
    reading = Reading(numbered(CLASSES), Quantisation(*result["quantization"]))

    def classify(pictures: list[Image]) -> npt.NDArray[np.float64]:
        scores = np.empty((len(pictures), CLASSES))
        for index, picture in enumerate(pictures):
            interpreter.set_tensor(entry["index"], quantise(picture)[np.newaxis])
            interpreter.invoke()
            scores[index] = reading.real(interpreter.get_tensor(result["index"])[0])
        return scores

    return classify


def prepared(pixels: Pixels, fit: Fit = RECIPE.fit) -> list[Image]:
    """Digits as a camera would deliver them, dark on light, BGR, and then as the network gets them."""
    pictures = [cv2.cvtColor(255 - digit, cv2.COLOR_GRAY2BGR) for digit in pixels]
    return [
        recolour(fit_image(picture, RECIPE.size, fit), RECIPE.order, RECIPE.invert) for picture in pictures
    ]


class Accuracy(NamedTuple):
    centre: float
    nine: float
    camera: float


def accuracy(classify: Classifier, digits: Digits) -> Accuracy:
    def hits(scores: npt.NDArray[np.float64]) -> float:
        return float((scores.argmax(axis=1) == digits.classes).mean())

    windows = [
        digits.pixels[:, row : row + SIDE, column : column + SIDE] for row, column in OFFSETS
    ]  # of the size the network takes: nothing is left to crop or to shrink
    return Accuracy(
        hits(classify(prepared(digits.pixels))),
        hits(np.mean([classify(prepared(window, "stretch")) for window in windows], axis=0)),
        hits(classify(prepared(camera_like(digits), "stretch"))),
    )


def camera_like(digits: Digits) -> Pixels:
    """The same pictures every time, and not those of any epoch."""
    random = np.random.default_rng([SEED, 1])
    return photographed(strokes(digits.pixels, random), random)


def print_figures(classifiers: dict[str, Classifier], digits: Digits) -> None:
    print(f"right of {len(digits.classes)} held-out digits: centre crop, nine crops, camera-like")
    for name, classify in classifiers.items():
        print(f"  {name:6}" + "".join(f" {part:8.2%}" for part in accuracy(classify, digits)))
    classify = classifiers["int8"]
    for name, pictures in (
        ("centre crop", prepared(digits.pixels)),
        ("camera-like", prepared(camera_like(digits), "stretch")),
    ):
        print(f"int8, {name}: digits (rows) read as (columns)")
        matrix = np.zeros((CLASSES, CLASSES), np.intp)
        np.add.at(matrix, (digits.classes, classify(pictures).argmax(axis=1)), 1)
        for row in matrix:
            print("  " + "".join(f"{count:5}" for count in row))
    random = np.random.default_rng([SEED, 1])
    blank = classify(prepared(photographed(np.zeros((1_000, SIDE, SIDE), np.float32), random), "stretch"))
    top, named = blank.max(axis=1), np.bincount(blank.argmax(axis=1), minlength=CLASSES)
    print(
        f"int8, 1,000 blank papers: best score {np.median(top):.2f} in the middle,"
        f" {np.quantile(top, 0.95):.2f} at most in 95 of 100, {top.max():.2f} in all;"
        f" named {named.tolist()} times"
    )
    sure = classify(prepared(camera_like(digits), "stretch")).max(axis=1)
    print(
        f"int8, camera-like digits: best score {np.median(sure):.2f} in the middle,"
        f" {np.quantile(sure, 0.05):.2f} at least in 95 of 100"
    )


# The table


class Row(NamedTuple):
    plan: Plan
    weights: int
    accuracy: Accuracy
    seconds: float


def measured(plan: Plan, training: Digits, held_out: Digits) -> Row:
    began = time.monotonic()
    network = train(plan, training)
    seconds = time.monotonic() - began
    row = Row(plan, network.count_params(), accuracy(by_keras(network), held_out), seconds)
    print(line(row), flush=True)
    return row


def line(row: Row) -> str:
    figures = (*(f"{part:.2%}" for part in row.accuracy), f"{row.seconds:.0f}")
    return f"| {row.plan.name} | {row.plan.changed} | {row.weights:,} | {' | '.join(figures)} |"


def page(rows: list[Row], digits: int) -> str:
    base = rows[0].plan
    centre = rows[0].accuracy.centre
    error = (centre * (1 - centre) / HELD_OUT) ** 0.5
    lines = "\n".join(map(line, rows))
    return f"""# The digit network

The smallest model of Labelcam. It takes a picture of 24x24 in grey; then come a convolution of 8 filters 5x5
with ReLU, the largest of each 2x2, a convolution of 16 filters 5x5 with ReLU, the largest of each 3x3, and a
soft-max over the ten digits. It is the network of the 2020 study, which read 97 % of its digits with it. This
page repeats the study's experiments.

Written by `python models/digits/train.py --table`, from the root of the repository, on {date()}:
{machine()}, TensorFlow {tf.__version__}, Keras {keras.__version__}.
Do not edit it; run the command again.

| network | changed | weights | centre crop | nine crops | camera-like | seconds |
|---|---|---|---|---|---|---|
{lines}

- All rows but the last are trained alike: {digits:,} digits, a random window of 24x24 in each digit's 28x28,
  {base.epochs} epochs, Adam with a rate that falls from {RATE} to 0 along a cosine, one seed, and steps
  of {base.batch} digits where nothing else is said.
- The accuracies are of {HELD_OUT:,} digits that nothing was trained on or chosen by. *Centre crop*: one look
  at the middle 24x24, by the program's own preparation. *Nine crops*: the probabilities of nine windows (0, 2
  or 4 pixels from the top and from the left), averaged. *Camera-like*: the same digits drawn as grey ink on
  grey, unevenly lit paper, 32 to 98 % of the picture high or wide, askew, with thick and thin pens, blurred,
  noisy.
- The standard error of the centre crop's figure is about {error:.2%}. Differences below twice that may be
  chance, as they are between most of the rows; another seed moves each.
- *Seconds* are of training, with the drawing of the pictures; the machine is shared, they move by a quarter.
- What has only seen black and white digits cannot read a camera's: compare the first row with the last.
"""


def date() -> str:
    return datetime.now(timezone.utc).date().isoformat()


def machine() -> str:
    cpu = platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        names = [
            fact.partition(":")[2].strip() for fact in facts.read_text().splitlines() if "model name" in fact
        ]
        cpu = names[0] if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
