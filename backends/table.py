"""Which backends there are. The table is the manual."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from backends.base import Backend, BackendUnavailable, ModelToRun

BACKENDS = {
    "tflite": "backends.tflite:TFLiteBackend",  # pip install ai-edge-litert
}


def load_backend(name: str, model: ModelToRun) -> Backend:
    """Import the backend and load the model into it. Never another one than was asked for.

    Raises BackendUnavailable (its library is missing) or ModelError (this file cannot be run).
    """
    if name not in BACKENDS:
        raise BackendUnavailable(f"no backend is called {name} - known: {', '.join(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    return cast(Backend, getattr(import_module(module), attribute)(model))
