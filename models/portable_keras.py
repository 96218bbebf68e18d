"""Makes a saved .keras file one that older versions of Keras read too, with the same bytes each time.

For the scripts that make our models. Keras's own `save` writes defaults that older versions do not know by
name, addresses in memory, and the time.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Collection
from typing import Any


def portable(
    saved: bytes, told: Collection[str], change_weights: Callable[[bytes], bytes] | None = None
) -> bytes:
    """`told` names what the layers were told: of their configurations nothing else is kept.

    `change_weights` is given the HDF5 file of the weights. Read by Keras 3.4 and newer.
    """
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        version = json.loads(archive.read("metadata.json"))["keras_version"]
        config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    members = {
        "metadata.json": json.dumps({"keras_version": version}).encode(),
        "config.json": json.dumps(with_plain_layers(config, told)).encode(),
        "model.weights.h5": change_weights(weights) if change_weights else weights,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of 1980, as no time is given
    return packed.getvalue()


def with_plain_layers(config: dict[str, Any], told: Collection[str]) -> dict[str, Any]:
    layers = [
        {
            **{key: value for key, value in layer.items() if key != "build_config"},
            "config": {key: value for key, value in layer["config"].items() if key in told},
        }
        for layer in config["config"]["layers"]
    ]
    return {**config, "config": {**config["config"], "layers": layers}}
