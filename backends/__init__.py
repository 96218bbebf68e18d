"""How a model is run. One file is one backend; only it imports its library, and only when it is chosen."""

from __future__ import annotations

from backends.base import Backend, BackendFacts, BackendUnavailable, Loading, ModelToRun, NoAnswer
from backends.table import BACKENDS, load_backend

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendFacts",
    "BackendUnavailable",
    "Loading",
    "ModelToRun",
    "NoAnswer",
    "load_backend",
]
