"""MLServer's runtime for .tflite classifiers. Runs in MLServer's environment, where Labelcam is not.

model-settings.json names the file in `parameters.uri`, and in `parameters.extra` the recipe's `mean` and
`std`, and how many `interpreters` share a batch.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from figures import PICTURES_IN_BATCH
from litert_model import LiteRtModel
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from mlserver.utils import get_model_uri


class LiteRtRuntime(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        extra: dict[str, Any] = self.settings.parameters.extra or {}
        path = await get_model_uri(self.settings)
        self._model = LiteRtModel(path, extra["mean"], extra["std"], int(extra.get("interpreters", 2)))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Of a whole batch, which MLServer has made one request of."""
        pixels = NumpyCodec.decode_input(payload.inputs[0])
        if pixels.shape[1:] != self._model.shape[1:] or pixels.dtype != np.uint8:
            raise ValueError(f"takes uint8 pixels of {list(self._model.shape[1:])}, not {pixels.shape[1:]}")
        PICTURES_IN_BATCH.observe(len(pixels))
        started_ns = time.monotonic_ns()
        scores = await asyncio.to_thread(self._model.scores, pixels)  # meanwhile the next batch is gathered
        compute_us = (time.monotonic_ns() - started_ns) // 1000
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(self.settings.outputs[0].name, scores)],
            parameters=Parameters(compute_us=compute_us),
        )

    async def unload(self) -> bool:
        self._model.close()
        return True
