"""Makes Keras models: a tiny one whose answers can be worked out by hand, and files like published ones."""

from __future__ import annotations

import gc
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

REASON = "TensorFlow is not installed - pip install -r requirements-tensorflow.txt"


class Libraries(NamedTuple):
    tf: Any
    keras: Any


def threads() -> int:
    """What TensorFlow runs with in this process, where it already does: it cannot change it any more."""
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.config.threading.get_intra_op_parallelism_threads() if tensorflow else 0) or 1


@cache
def libraries() -> Libraries:
    """TensorFlow, started as the backend starts it, and Keras; the test is skipped without them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf = pytest.importorskip("tensorflow", reason=REASON)
        keras = pytest.importorskip("keras", reason=REASON)
    tf.config.threading.set_intra_op_parallelism_threads(threads())
    tf.config.threading.set_inter_op_parallelism_threads(1)
    gc.freeze()  # each load collects garbage, and need not search these two for it
    return Libraries(tf, keras)


def tiny_keras(shape: tuple[int | None, int | None, int] = (4, 6, 3), dtype: str = "float32") -> Any:
    """A classifier of colours: the mean of each channel, a matrix that changes nothing, a soft-max."""
    layers = libraries().keras.layers
    picture = layers.Input(shape, dtype=dtype, name="picture")
    floats = layers.Rescaling(1 / 32)(picture) if dtype != "float32" else picture
    means = layers.GlobalAveragePooling2D()(floats)
    dense = layers.Dense(shape[-1], use_bias=False, name="same")
    scores = layers.Softmax(name="colours")(dense(means))
    dense.set_weights([np.eye(shape[-1], dtype=np.float32)])
    return libraries().keras.Model(picture, scores)


def write_tiny_keras(path: Path, **options: Any) -> Path:
    return save(tiny_keras(**options), path)


def save(network: Any, path: Path) -> Path:
    """In the format that the name says: .keras, .h5, .pb, or the folder of a SavedModel."""
    tf = libraries().tf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .h5 is old, says Keras
        if path.suffix == ".pb":
            shape = [None, *network.inputs[0].shape[1:]]
            path.write_bytes(frozen(tf, network, tf.TensorSpec(shape, network.inputs[0].dtype)))
        elif path.suffix:
            network.save(path)
        else:
            network.export(path, verbose=False)
    return path


def frozen(tf: Any, function: Any, *inputs: Any) -> bytes:
    """The function's graph with its variables as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = tf.function(lambda *tensors: function(*tensors)).get_concrete_function(*inputs)
    graph = convert_variables_to_constants_v2(traced).graph.as_graph_def()
    return bytes(graph.SerializeToString())


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's colours, from 0 to 1. In the published EfficientNets the second is in place of a variance."""


def randomise(network: Any, pictures: Any) -> None:
    """Other weights than the fresh ones, under which the scores depend on the picture, and not wildly:
    the batch norms are fitted to `pictures`, as (or as if) seen under the name "imagenet"."""
    random = np.random.default_rng(0)
    for layer in network.layers:
        values = layer.get_weights()
        match type(layer).__name__:
            case "Normalization":
                values = [MEAN, STD, np.array(0)]
                pictures = 255 * (MEAN + (pictures / 255 - MEAN) / np.sqrt(STD))
            case "BatchNormalization":
                values[0] = random.uniform(0.5, 1.5, values[0].shape)
                values[1] = random.normal(0, 0.5, values[1].shape)
                layer.momentum = 0.0
            case "Dropout":
                layer.rate = 0.0
            case _:
                values = [random.normal(0, max(0.05, np.std(value)), value.shape) for value in values]
        if values:
            layer.set_weights(values)
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies
            layer.finalize_state()
    network(pictures, training=True)


def write_published(network: Any, path: Path) -> Path:
    """The weights alone, laid out like the files of Keras Applications, which are older than Keras 3."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.4.0"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value
    return path
