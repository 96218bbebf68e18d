"""A .tflite classifier that takes pixels, uint8, and gives real scores: what a camera node sends and reads.

Knows neither Labelcam nor a server, so that either can be around it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter


class LiteRtModel:
    """Pictures of a batch are shared among `interpreters`, each of one thread: on a CPU quicker than one
    interpreter of many threads. `mean` and `std` are the catalogue's: (pixel - mean) / std is what the model
    was trained to see; scale and zero point are the file's."""

    def __init__(self, path: str, mean: float, std: float, interpreters: int) -> None:
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(interpreters):
            interpreter = Interpreter(model_path=path, num_threads=1)
            interpreter.allocate_tensors()
            self._idle.put(interpreter)
        (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._source, self._sink = source["index"], sink["index"]
        self.shape, self.classes = tuple(map(int, source["shape"])), int(sink["shape"][-1])
        self._output = sink["quantization"]
        self._table = table(mean, std, source["dtype"], *source["quantization"])
        self._pool = ThreadPoolExecutor(interpreters)

    def scores(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(pictures, height, width, channels) to (pictures, classes)."""
        return np.stack(list(self._pool.map(self._of_one, pixels)))

    def close(self) -> None:
        self._pool.shutdown()

    def _of_one(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        interpreter = self._idle.get()
        try:
            interpreter.set_tensor(self._source, self._table[picture][np.newaxis])
            interpreter.invoke()
            found = interpreter.get_tensor(self._sink).reshape(-1).astype(np.float32)
        finally:
            self._idle.put(interpreter)
        scale, zero_point = self._output
        return np.asarray((found - zero_point) * scale if scale else found, np.float32)


def table(mean: float, std: float, dtype: Any, scale: float, zero_point: int) -> npt.NDArray[Any]:
    """What each of the 256 values of a pixel is to the model."""
    real = (np.arange(256) - mean) / std
    if not np.issubdtype(dtype, np.integer):
        return np.asarray(real, dtype)
    limits = np.iinfo(dtype)
    steps = np.round(real / scale) + zero_point if scale else real
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype)
