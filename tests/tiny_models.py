"""Writes TensorFlow Lite files of a few hundred bytes: the mean of each channel, then a soft-max.

A real classifier of colours, so that every number it gives can be worked out by hand. Needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Tiny:
    """What the file shall be."""

    dtype: str = "FLOAT32"
    scale: float | None = None  # of the input and the mean
    zero_point: int = 0
    out_scale: float | None = 1 / 256  # of the scores, where there are integers
    out_zero_point: int = 0
    shape: Sequence[int] = (1, 4, 6, 3)
    axes: Sequence[int] | None = None  # over which the mean is taken; None: all but the last
    softmax: bool = True
    inputs: int = 1
    outputs: int = 1


FLOAT32 = Tiny()
LOGITS = Tiny(softmax=False)
INT8 = Tiny("INT8", 1 / 32, -128, 1 / 256, -128)
UINT8 = Tiny("UINT8", 1 / 32, 0, 1 / 256, 0)
RAW_UINT8 = Tiny("UINT8", None, softmax=False, out_scale=None)


def write_tiny(path: Path, tiny: Tiny = FLOAT32) -> Path:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="pip install ai-edge-litert")
    flatbuffers = pytest.importorskip("flatbuffers", reason="pip install ai-edge-litert")

    dtype = getattr(schema.TensorType, tiny.dtype)
    axes = np.array(tiny.axes or range(1, max(2, len(tiny.shape) - 1)), np.int32)
    classes = [size for axis, size in enumerate(tiny.shape) if axis not in axes]
    inner, scores = (tiny.scale, tiny.zero_point), (tiny.out_scale, tiny.out_zero_point)
    if tiny.dtype == "FLOAT32":
        inner = scores = (None, 0)

    def tensor(name: str, shape: Sequence[int], kind: int, buffer: int, quantisation: Any = (None, 0)) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), kind, buffer
        scale, zero_point = quantisation
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
        return made

    def operator(code: int, inputs: Sequence[int], output: int, kind: int, options: Any) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, list(inputs), [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        return made

    model = schema.ModelT()
    model.version, model.operatorCodes = 3, []
    for code in (schema.BuiltinOperator.MEAN, schema.BuiltinOperator.SOFTMAX):
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, code, 2
        model.operatorCodes.append(made)
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(axes.tobytes(), np.uint8)

    graph = schema.SubGraphT()
    graph.name = b"main"
    graph.tensors = [
        tensor("image", tiny.shape, dtype, 0, inner),
        tensor("axes", axes.shape, schema.TensorType.INT32, 1),
        tensor("mean", classes, dtype, 0, inner),
        tensor("scores", classes, dtype, 0, scores),
        tensor("unused", (1, 4), schema.TensorType.FLOAT32, 0),
    ]
    mean, softmax = schema.ReducerOptionsT(), schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.operators = [operator(0, (0, 1), 2, schema.BuiltinOptions.ReducerOptions, mean)]
    if tiny.softmax:
        graph.operators.append(operator(1, (2,), 3, schema.BuiltinOptions.SoftmaxOptions, softmax))
    graph.inputs = [0, 4][: tiny.inputs]
    graph.outputs = [3 if tiny.softmax else 2, 2][: tiny.outputs]
    model.subgraphs = [graph]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
