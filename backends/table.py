"""Which backends there are. The table is the manual."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from backends.base import Backend, BackendUnavailable, ModelToRun

BACKENDS = {
    "tflite": "backends.tflite:TFLiteBackend",  # pip install ai-edge-litert
    "tensorflow": "backends.tensorflow:TensorFlowBackend",  # pip install -r requirements-tensorflow.txt
    "tensorrt": "backends.tensorrt:TensorRTBackend",  # a GPU of NVIDIA; `doctor` says how to install it
    "remote": "backends.remote:RemoteBackend",  # pip install -r requirements-remote.txt; docs/serving.md
}

SUFFIXES = {
    ".tflite": "tflite",
    ".keras": "tensorflow",
    ".h5": "tensorflow",
    ".pb": "tensorflow",
    ".onnx": "tensorrt",
}
"""Who runs a file that the catalogue does not know. A folder is a SavedModel, TensorFlow's."""

MODES = {"tensorflow": ("graph", "function", "eager", "xla")}
"""The ways of a backend that has several."""


RUNTIMES = {
    "tflite": ("litert", "tflite_runtime", "tensorflow"),
    "tensorrt": ("tensorrt", "jetson-inference"),
}
"""What `--runtime` may force, of a backend that has several."""


LIBRARIES = {
    "tflite": ("ai_edge_litert", "tflite_runtime", "tensorflow"),
    "tensorflow": ("tensorflow",),
    "tensorrt": ("tensorrt", "jetson_inference", "jetson"),
    "remote": ("tritonclient",),
}
"""Modules of which a backend needs one."""


def installed(name: str) -> bool:
    """Whether one of the backend's libraries is there; nothing is imported."""
    return any(map(find_spec, LIBRARIES[name]))


def load_backend(name: str, model: ModelToRun) -> Backend:
    """Import the backend and load the model into it. Never another one than was asked for.

    Raises BackendUnavailable (its library is missing) or ModelError (this file cannot be run).
    """
    if name not in BACKENDS:
        raise BackendUnavailable(f"no backend is called {name} - known: {', '.join(BACKENDS)}")
    modes = MODES.get(name, ())
    if model.mode is not None and model.mode not in modes:
        raise BackendUnavailable(f"{name} has no mode {model.mode} - known: {', '.join(modes) or 'none'}")
    owner = next((owner for owner, names in RUNTIMES.items() if model.runtime in names), name)
    if owner != name:
        raise BackendUnavailable(f"{model.runtime} is a runtime of {owner} - add --backend {owner}")
    module, _, attribute = BACKENDS[name].partition(":")
    return cast(Backend, getattr(import_module(module), attribute)(model))
