"""Writes the built-in model as ONNX, for TensorRT, from the .keras file in the repository.

    pip install -r models/efficientnet_lite0_onnx/requirements.txt
    python models/efficientnet_lite0_onnx/export.py FILE

It needs neither Keras nor TensorFlow. The file's SHA-256 is in models/catalogue.py: the same bytes each time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.catalogue import BUILT_IN, find_spec
from models.files import find

INSTALL = "pip install -r models/efficientnet_lite0_onnx/requirements.txt"

try:
    import h5py
    from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
except ImportError as error:
    raise SystemExit(f"{error} - type: {INSTALL}") from None

FILES = find_spec(BUILT_IN).files

INPUT, OUTPUT = "input_0", "output_0"  # what jetson-inference's own training calls them
OPSET, IR_VERSION = 13, 7  # of 2020: TensorRT 8.0 and newer read it

GROUPS = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "Dense": "dense"}
"""By a layer's class, what Keras calls its weights; those of the second layer of a class end in _1."""


class Layer(NamedTuple):
    kind: str
    name: str
    told: dict[str, Any]
    inputs: list[str]  # names of layers
    weights: list[npt.NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the built-in model as ONNX.")
    parser.add_argument("file", type=Path, help="where to; Labelcam looks in models/downloads")
    options = parser.parse_args()
    network = onnx_of(read_keras(find(BUILT_IN, FILES["tensorflow"])))
    content = network.SerializeToString(deterministic=True)
    digest = hashlib.sha256(content).hexdigest()
    if f"sha256:{digest}" != FILES["tensorrt"].digest:
        raise SystemExit(f"this is another file than the known one, sha256 {digest} - type: {INSTALL}")
    try:
        options.file.parent.mkdir(exist_ok=True)  # models/downloads, the first time
        options.file.write_bytes(content)
    except OSError as error:
        raise SystemExit(f"cannot write {options.file}: {error.strerror} - name another file") from None
    print(f"{options.file}: {len(content)} bytes, sha256 {digest}")


def read_keras(path: Path) -> list[Layer]:
    """In the order in which they are run."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))["config"]
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    count: Counter[str] = Counter()
    layers = []
    for layer in config["layers"]:
        kind, arrays = layer["class_name"], []
        if kind in GROUPS:
            group = f"{GROUPS[kind]}_{count[kind]}" if count[kind] else GROUPS[kind]
            arrays = [weights[f"layers/{group}/vars/{index}"][()].astype(np.float32) for index in range(2)]
            count[kind] += 1
        layers.append(Layer(kind, layer["name"], layer["config"], inputs_of(layer), arrays))
    return layers


def inputs_of(layer: dict[str, Any]) -> list[str]:
    if not layer["inbound_nodes"]:
        return []
    (tensors,) = layer["inbound_nodes"][0]["args"]
    return [tensor["config"]["keras_history"][0] for tensor in np.ravel(tensors)]


def onnx_of(layers: list[Layer]) -> ModelProto:
    """Keras has channels last, ONNX first: pictures are turned by who gives them, kernels here."""
    first, *rest = layers
    _, height, width, channels = first.told["batch_shape"]
    values, sizes = {first.name: INPUT}, {first.name: (height, width)}
    nodes: list[Any] = []
    constants = [numpy_helper.from_array(np.array(limit, np.float32), f"{limit}") for limit in (0, 6)]
    for layer in rest:
        given = [values[name] for name in layer.inputs]
        value = values[layer.name] = OUTPUT if layer is rest[-1] else layer.name
        sizes[layer.name] = sizes[layer.inputs[0]]
        if layer.weights:
            kernel, bias = layer.weights
            if kernel.ndim == 4:  # (rows, columns, in, out); each channel alone: (rows, columns, channels, 1)
                kernel = kernel.transpose((2, 3, 0, 1) if layer.kind == "DepthwiseConv2D" else (3, 2, 0, 1))
            for name, array in (("kernel", kernel), ("bias", bias)):
                constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{layer.name}.{name}"))
                given.append(f"{layer.name}.{name}")
        match layer.kind:
            case "Conv2D" | "DepthwiseConv2D":
                options, sizes[layer.name] = convolution(layer, kernel, sizes[layer.name])
                nodes.append(helper.make_node("Conv", given, [value], **options))
            case "ReLU":
                assert layer.told["max_value"] == 6
                nodes.append(helper.make_node("Clip", [*given, "0", "6"], [value]))
            case "Add":
                nodes.append(helper.make_node("Add", given, [value]))
            case "GlobalAveragePooling2D":
                nodes.append(helper.make_node("GlobalAveragePool", given, [f"{value}.mean"]))
                nodes.append(helper.make_node("Flatten", [f"{value}.mean"], [value], axis=1))
            case "Dense":
                nodes.append(helper.make_node("Gemm", given, [value]))
            case "Softmax":
                nodes.append(helper.make_node("Softmax", given, [value], axis=1))
            case other:
                raise SystemExit(f"{other} is no layer that this script knows")
    classes = next(layer.told["units"] for layer in rest if layer.kind == "Dense")
    picture = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, channels, height, width])
    scores = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, classes])
    graph = helper.make_graph(nodes, BUILT_IN, [picture], [scores], constants)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="labelcam",
    )
    checker.check_model(model, full_check=True)
    return model


def convolution(
    layer: Layer, kernel: npt.NDArray[np.float32], size: tuple[int, int]
) -> tuple[dict[str, Any], tuple[int, int]]:
    """What ONNX is told, and (height, width) of what comes out. Of an odd padding the more goes behind."""
    strides = layer.told.get("strides", [1, 1])
    out = tuple(-(-length // stride) for length, stride in zip(size, strides, strict=True))
    before, behind = [], []
    for length, stride, reach, steps in zip(size, strides, kernel.shape[2:], out, strict=True):
        total = max((steps - 1) * stride + reach - length, 0)
        before.append(total // 2)
        behind.append(total - total // 2)
    group = kernel.shape[0] if layer.kind == "DepthwiseConv2D" else 1
    options = {"kernel_shape": kernel.shape[2:], "strides": strides, "pads": before + behind, "group": group}
    return options, out


if __name__ == "__main__":
    main()
