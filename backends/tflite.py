"""TensorFlow Lite models on the CPU, by whichever of three packages with their interpreter is there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.base import BackendFacts, BackendUnavailable, ModelToRun, Tensor
from backends.chatter import native_chatter_logged
from models.errors import ModelError
from models.recipe import Image, Order, Quantisation, Quantiser, Recipe, fit_image, recolour
from models.scores import Scores

log = logging.getLogger(__name__)

RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),  # maintained; the fastest on x86
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime"),  # up to Python 3.11, NumPy 1
    "tensorflow": ("tensorflow.lite", "tensorflow"),
}
"""Module and package, in the order of preference."""


class TFLiteBackend:
    def __init__(self, model: ModelToRun) -> None:
        self._check_file(model)
        runtime, self._interpreter = _interpreter(model)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        height, width, channels = _image_shape(inputs)
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        dtype, quantisation = inputs[0]["dtype"], _quantisation(inputs[0])
        recipe = model.recipe or recipe_of_file((width, height), channels, dtype, quantisation, model)
        if recipe.size != (width, height):
            raise ModelError(
                f"{model.path.name} takes pictures of {width}x{height}, the catalogue says {recipe.size}"
            )
        self._recipe = replace(recipe, fit=model.fit or recipe.fit)
        self._quantise = Quantiser(self._recipe, dtype, quantisation, channels)
        self._facts = BackendFacts(
            backend="tflite",
            runtime=runtime,
            version=_version(RUNTIMES[runtime][1]),
            threads=model.threads,
            device="cpu",
            recipe=self._recipe,
            outputs=_class_count(outputs),
            output=_quantisation(outputs[0]),
        )

    def prepare(self, image: Image) -> Tensor:
        fitted = fit_image(image, self._recipe.size, self._recipe.fit)
        return self._quantise(recolour(fitted, self._recipe.order, self._recipe.invert))[np.newaxis]

    def infer(self, tensor: Tensor) -> Scores:
        self._interpreter.set_tensor(self._input, tensor)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise ModelError(f"the model failed while running: {_one_line(error)}") from error
        scores: Scores = self._interpreter.get_tensor(self._output)
        return scores.reshape(-1)

    def facts(self) -> BackendFacts:
        return self._facts

    def close(self) -> None:
        self._interpreter = None

    @staticmethod
    def _check_file(model: ModelToRun) -> None:
        """Name what is wrong with the file better than an interpreter would."""
        if model.path.name.endswith("_edgetpu.tflite"):
            raise ModelError(
                f"{model.path.name} is compiled for the Edge TPU and runs nowhere else"
                f" - use {model.path.name.replace('_edgetpu', '')}"
            )
        try:
            with model.path.open("rb") as file:
                head = file.read(8)
        except OSError as error:
            raise ModelError(f"cannot read the model {model.path}: {error.strerror}") from error
        if not head:
            raise ModelError(f"{model.path} is empty - download it again")
        if head[4:8] != b"TFL3":
            raise ModelError(f"{model.path} is not a TensorFlow Lite model - give a .tflite file")


def recipe_of_file(
    size: tuple[int, int], channels: int, dtype: npt.DTypeLike, quantisation: Quantisation, model: ModelToRun
) -> Recipe:
    """What the file itself tells of its input.

    Integer inputs take the 256 values of a pixel as their own 256 values, whatever the scale: feeding them
    pixels "normalised" to 0..1 gives one and the same answer to every picture. A float input tells nothing;
    -1..1 is what most TensorFlow Lite classifiers were trained with.
    """
    order: Order = "gray" if channels == 1 else "RGB"
    if np.issubdtype(dtype, np.floating):
        if model.mean is None or model.std is None:
            log.warning("the model takes floats and does not say which: assuming -1 to 1 (see --mean, --std)")
        mean = 127.5 if model.mean is None else model.mean
        return Recipe(size, order, mean=(mean,), std=(model.std or 127.5,))
    offset = -int(np.iinfo(np.dtype(dtype)).min)  # int8: pixel 0 is -128
    scale = quantisation.scale or 1.0  # 0: not quantised, the model wants the pixels themselves
    return Recipe(size, order, mean=(float(quantisation.zero_point + offset),), std=(1 / scale,))


def _interpreter(model: ModelToRun) -> tuple[str, Any]:
    """The runtime's name and its interpreter with the model loaded."""
    runtime = model.runtime or next((name for name in RUNTIMES if _installed(name)), None)
    if runtime is None:
        raise BackendUnavailable("no TensorFlow Lite runtime is installed - pip install ai-edge-litert")
    if runtime not in RUNTIMES:
        raise BackendUnavailable(f"no runtime is called {runtime} - known: {', '.join(RUNTIMES)}")
    module, package = RUNTIMES[runtime]
    if not _installed(runtime):
        raise BackendUnavailable(f"the runtime {runtime} is not installed - pip install {package}")
    if runtime == "tflite_runtime" and int(np.__version__.split(".")[0]) >= 2:
        # It imports, and then dies in the constructor with "_ARRAY_API not found".
        raise BackendUnavailable(
            "tflite-runtime needs NumPy 1 - pip install 'numpy<2', or use ai-edge-litert"
        )
    with native_chatter_logged(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite announces its own removal
        try:
            library = import_module(module)
        except ImportError as error:
            raise BackendUnavailable(
                f"the runtime {runtime} does not load: {_one_line(error)}"
                f" - pip install --force-reinstall {package}"
            ) from error
        try:
            interpreter = library.Interpreter(model_path=str(model.path), num_threads=model.threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model.path.name} cannot be loaded: {_one_line(error)}") from error
    return runtime, interpreter


def _installed(runtime: str) -> bool:
    return find_spec(RUNTIMES[runtime][0].partition(".")[0]) is not None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # tensorflow-cpu and others bring the module under another name
        return "unknown"


def _image_shape(inputs: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """(height, width, channels) of a model that takes one picture; a ModelError for any other model."""
    if len(inputs) != 1:
        raise ModelError(f"the model has {len(inputs)} inputs; an image classifier has one")
    shape = inputs[0].get("shape_signature", inputs[0]["shape"]).tolist()
    if len(shape) != 4 or shape[0] not in (1, -1) or shape[3] not in (1, 3) or min(shape[1:]) < 1:
        raise ModelError(
            f"the model's input is {shape}; an image classifier takes [1, height, width, 3 or 1]"
        )
    if np.dtype(inputs[0]["dtype"]) not in (np.uint8, np.int8, np.float32):
        raise ModelError(
            f"the model's input type {inputs[0]['dtype'].__name__} is not uint8, int8 or float32"
        )
    height, width, channels = shape[1:]
    return height, width, channels


def _class_count(outputs: Sequence[dict[str, Any]]) -> int:
    shape = outputs[0]["shape"].tolist()
    count = int(np.prod(shape))
    if len(outputs) != 1 or count != max(shape, default=0) or count < 2:
        raise ModelError(
            f"the model has {len(outputs)} outputs, the first of shape {shape};"
            " an image classifier has one, with a score for each class"
        )
    if np.issubdtype(outputs[0]["dtype"], np.integer) and not outputs[0]["quantization"][0]:
        raise ModelError(
            "the model's scores are integers of unknown scale; export it with a quantised soft-max"
        )
    return count


def _quantisation(tensor: dict[str, Any]) -> Quantisation:
    scale, zero_point = tensor["quantization"]
    return Quantisation(float(scale), int(zero_point))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
