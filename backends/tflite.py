"""TensorFlow Lite models on the CPU, by whichever of three packages with their interpreter is there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module, metadata
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

import numpy as np

from backends.base import (
    BackendFacts,
    BackendUnavailable,
    Loading,
    ModelToRun,
    Stopwatch,
    Tensor,
    class_count,
    head_of,
    image_shape,
    one_line,
    recipe_for,
    tensor_of,
)
from backends.chatter import native_chatter_logged
from models.errors import ModelError
from models.recipe import Image, Quantisation, Quantiser
from models.scores import Scores

RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "Interpreter", "ai-edge-litert"),  # maintained; fastest on x86
    "tflite_runtime": ("tflite_runtime.interpreter", "Interpreter", "tflite-runtime"),  # Python 3.11, NumPy 1
    "tensorflow": ("tensorflow", "lite.Interpreter", "tensorflow"),  # tensorflow.lite cannot be imported
}
"""Module, what to take from it, and package, in the order of preference."""


class TFLiteBackend:
    def __init__(self, model: ModelToRun) -> None:
        self._check_file(model)
        runtime, self._interpreter, loading = _interpreter(model)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shape = image_shape([(details["shape_signature"].tolist(), details["dtype"]) for details in inputs])
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        dtype, quantisation = inputs[0]["dtype"], _quantisation(inputs[0])
        recipe = recipe_for(model, shape, dtype, quantisation)
        self._recipe = replace(recipe, fit=model.fit or recipe.fit)
        self._quantise = Quantiser(self._recipe, dtype, quantisation, channels=shape[2])
        self._facts = BackendFacts(
            backend="tflite",
            runtime=runtime,
            version=_version(RUNTIMES[runtime][2]),
            threads=model.threads,
            device="cpu",
            recipe=self._recipe,
            outputs=_class_count(outputs),
            output=_quantisation(outputs[0]),
            loading=loading,
        )

    def prepare(self, image: Image) -> Tensor:
        return tensor_of(image, self._recipe, self._quantise)

    def infer(self, tensor: Tensor) -> Scores:
        self._interpreter.set_tensor(self._input, tensor)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise ModelError(f"the model failed while running: {one_line(error)}") from error
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
        if head_of(model.path)[4:8] != b"TFL3":
            raise ModelError(f"{model.path} is not a TensorFlow Lite model - give a .tflite file")


def _interpreter(model: ModelToRun) -> tuple[str, Any, Loading]:
    """The runtime's name, its interpreter with the model loaded, and what that took."""
    runtime = model.runtime or next((name for name in RUNTIMES if _installed(name)), None)
    if runtime is None:
        raise BackendUnavailable("no TensorFlow Lite runtime is installed - pip install ai-edge-litert")
    if runtime not in RUNTIMES:
        raise BackendUnavailable(f"no runtime is called {runtime} - known: {', '.join(RUNTIMES)}")
    module, attribute, package = RUNTIMES[runtime]
    if not _installed(runtime):
        raise BackendUnavailable(f"the runtime {runtime} is not installed - pip install {package}")
    if runtime == "tflite_runtime" and int(np.__version__.split(".")[0]) >= 2:
        # It imports, and then dies in the constructor with "_ARRAY_API not found".
        raise BackendUnavailable(
            "tflite-runtime needs NumPy 1 - pip install 'numpy<2', or use ai-edge-litert"
        )
    watch = Stopwatch()
    with native_chatter_logged(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite announces its own removal
        try:
            make_interpreter = attrgetter(attribute)(import_module(module))
        except ImportError as error:
            raise BackendUnavailable(
                f"the runtime {runtime} does not load: {one_line(error)}"
                f" - pip install --force-reinstall {package}"
            ) from error
        import_us = watch.lap_us()
        try:
            interpreter = make_interpreter(model_path=str(model.path), num_threads=model.threads)
            load_us = watch.lap_us()
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model.path.name} cannot be loaded: {one_line(error)}") from error
    return runtime, interpreter, Loading(import_us, load_us, compile_us=watch.lap_us())


def _installed(runtime: str) -> bool:
    return find_spec(RUNTIMES[runtime][0].partition(".")[0]) is not None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # tensorflow-cpu and others bring the module under another name
        return "unknown"


def _class_count(outputs: Sequence[dict[str, Any]]) -> int:
    count = class_count([details["shape"].tolist() for details in outputs])
    if np.issubdtype(outputs[0]["dtype"], np.integer) and not outputs[0]["quantization"][0]:
        raise ModelError(
            "the model's scores are integers of unknown scale; export it with a quantised soft-max"
        )
    return count


def _quantisation(tensor: dict[str, Any]) -> Quantisation:
    scale, zero_point = tensor["quantization"]
    return Quantisation(float(scale), int(zero_point))
