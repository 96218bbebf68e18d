"""The program itself, with a backend that sleeps until each inference has taken 250 ms."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from backends.base import ModelToRun
from backends.table import BACKENDS
from backends.tflite import TFLiteBackend
from models.scores import Scores
from stream.cli import main

INFERENCE_S = 0.25


class SlowBackend(TFLiteBackend):
    def __init__(self, model: ModelToRun) -> None:
        super().__init__(model)

    def infer(self, tensor: object) -> Scores:
        until_s = time.monotonic() + INFERENCE_S
        scores = super().infer(tensor)  # type: ignore[arg-type]
        time.sleep(until_s - time.monotonic())
        return scores


if __name__ == "__main__":
    BACKENDS["tflite"] = "__main__:SlowBackend"
    sys.exit(main())
