"""Every model Labelcam knows by name. The table is the manual: one entry is one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ModelError
from models.recipe import Recipe
from models.scores import ScoreKind


@dataclass(frozen=True)
class ModelFile:
    """One file of a model. Without a url it is part of Labelcam, and `name` is its path under `models/`."""

    name: str
    size: int  # bytes
    sha256: str
    url: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """What a model is: a file for each backend that can run it, its labels, its recipe."""

    name: str
    about: str
    licence: str
    files: Mapping[str, ModelFile]  # by backend
    labels: ModelFile
    recipe: Recipe
    scores: ScoreKind = "probabilities"


IMAGENET_LABELS = ModelFile(
    "imagenet/labels.txt",
    31_675,
    "c98cf8e050b2f67f824762ebdb5bcf683adc7955382b9ff8b1c0f49548bb449b",
)
"""1,000 classes, no background: a model with 1,001 outputs has it in front, and the offset rule names it."""

BUILT_IN = "efficientnet_lite0"

CATALOGUE: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name=BUILT_IN,
            about="EfficientNet-Lite0, ImageNet-1k, full-integer; built in",
            licence="Apache-2.0",
            files={
                "tflite": ModelFile(
                    "efficientnet_lite0/efficientnet_lite0_int8.tflite",
                    5_270_048,
                    "12efd6309db5f9e0a30a6e707c883b61227a597b14c9d4301d7155406f7f780e",
                )
            },
            labels=IMAGENET_LABELS,
            recipe=Recipe(size=(224, 224), mean=(127.0,), std=(128.0,)),
        ),
        ModelSpec(
            name="mobilenet_v2_1.0_224_quant",
            about="MobileNet v2 1.0, ImageNet-1k, quantisation-aware; the Coral file of the 2020 study",
            licence="Apache-2.0",
            files={
                "tflite": ModelFile(
                    "mobilenet_v2_1.0_224_quant.tflite",
                    3_610_798,
                    "7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776",
                    "https://github.com/google-coral/test_data/raw/master/mobilenet_v2_1.0_224_quant.tflite",
                )
            },
            labels=IMAGENET_LABELS,
            recipe=Recipe(size=(224, 224), mean=(128.0,), std=(128.0,)),
        ),
    )
}


def find_spec(name: str) -> ModelSpec:
    """The catalogue's entry of this name. An unknown name lists the known ones."""
    try:
        return CATALOGUE[name]
    except KeyError:
        known = ", ".join(CATALOGUE)
        raise ModelError(f"no model is called {name} - known: {known}, or the path of a model file") from None
