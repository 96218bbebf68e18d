"""Every model Labelcam knows by name. The table is the manual: one entry is one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.errors import ModelError
from models.recipe import Recipe
from models.scores import ScoreKind


@dataclass(frozen=True)
class ModelFile:
    """One file of a model. Without a url it is part of Labelcam, and `name` is its path under `models/`; or
    it is made here, by a command."""

    name: str
    size: int | None = None  # bytes; None: its publisher does not say
    digest: str | None = None  # "sha256:...", "md5:..." or "git:...", as published; None: by nobody
    url: str | None = None
    made_by: str | None = None  # the script that makes it, given the path


@dataclass(frozen=True)
class Application:
    """A network of Keras Applications, of which the file holds the weights alone."""

    name: str  # of the function in keras.applications
    alpha: float | None = None  # width multiplier, where it has one


@dataclass(frozen=True)
class ModelSpec:
    """What a model is: a file for each backend that can run it, its labels, its recipe."""

    name: str
    about: str  # its origin; the models of one origin stand together, and `models list` says it once
    licence: str
    files: Mapping[str, ModelFile]  # by backend
    labels: ModelFile
    recipe: Recipe
    outputs: int
    background: bool = False  # the first output means "none of these", and is not among the labels
    scores: ScoreKind = "probabilities"
    application: Application | None = None
    comes_with: str | None = None  # the backend whose library brings the model itself
    study: str | None = None  # what the study of 2020 called it, see docs/results.md

    @property
    def backends(self) -> tuple[str, ...]:
        """Who can run it, the first choice in front."""
        return (*self.files, *((self.comes_with,) if self.comes_with else ()))


IMAGENET_LABELS = ModelFile(
    "imagenet/labels.txt",
    31_675,
    "sha256:c98cf8e050b2f67f824762ebdb5bcf683adc7955382b9ff8b1c0f49548bb449b",
)
"""1,000 classes, no background: a model with 1,001 outputs has it in front, and the offset rule names it."""

BUILT_IN = "efficientnet_lite0"

LIBRARIES = {"tensorrt": "jetson-inference"}
"""By backend, the library that brings models of its own, and downloads them by itself."""


def digits(name: str, **files: ModelFile) -> ModelSpec:
    """The study's network for handwritten digits, ink on paper, trained by models/digits/train.py."""
    return ModelSpec(
        name=name,
        about="handwritten digits, trained here",
        licence="see PROVENANCE.md",
        files=files,
        labels=ModelFile(
            "digits/labels.txt",
            20,
            "sha256:7427877c40fb0361401248f9c96abe6117396bc6ab16811b5b1706274c02443e",
        ),
        recipe=Recipe(size=(24, 24), order="gray", std=(255.0,), invert=True),
        outputs=10,
    )


def coral(
    name: str, recipe: Recipe, digest: str, size: int | None = None, study: str | None = None
) -> ModelSpec:
    """A file of Coral's test data. No checksums are published; git's id of the file is one."""
    file = f"{name}.tflite"
    return ModelSpec(
        name=name,
        about="quantised; from the test data of Coral",
        licence="Apache-2.0",
        files={
            "tflite": ModelFile(
                file, size, digest, f"https://github.com/google-coral/test_data/raw/master/{file}"
            )
        },
        labels=IMAGENET_LABELS,
        recipe=recipe,
        outputs=1001,
        background=True,
        study=study,
    )


def keras(name: str, application: Application, recipe: Recipe, file: ModelFile, study: str) -> ModelSpec:
    """A network of Keras Applications with its published weights: the maintained source.

    The study's files were TensorFlow Hub's: other weights, inputs 0 to 1, logits; for MobileNet 1,001.
    """
    return ModelSpec(
        name=name,
        about="weights of Keras Applications; the study's were of TensorFlow Hub: pixels 0 to 1, logits",
        licence="Apache-2.0",
        files={"tensorflow": file},
        labels=IMAGENET_LABELS,
        recipe=recipe,
        outputs=1000,
        application=application,
        study=study,
    )


def efficientnet(version: str, side: int, md5: str) -> ModelSpec:
    """Its first layers normalise: it takes pixels as they are."""
    file = f"efficientnet{version.lower()}.h5"
    return keras(
        f"efficientnet_{version.lower()}",
        Application(f"EfficientNet{version}"),
        Recipe(size=(side, side)),
        ModelFile(file, digest=f"md5:{md5}", url=f"https://storage.googleapis.com/keras-applications/{file}"),
        f"efficientnet {version.lower()}",
    )


def jetson(name: str, licence: str, recipe: Recipe, study: str | None = None) -> ModelSpec:
    """A model of jetson-inference, by its name there. The recipe is what that library does by itself."""
    return ModelSpec(
        name=name,
        about="trained in Caffe; downloaded by jetson-inference when first used",
        licence=licence,
        files={},
        labels=IMAGENET_LABELS,
        recipe=recipe,
        outputs=1000,
        comes_with="tensorrt",
        study=study,
    )


CAFFE_MEAN = (104.0069879317889, 116.66876761696767, 122.6789143406786)
"""ImageNet's, BGR, as jetson-inference subtracts it (imageNet.cpp)."""

CAFFE = Recipe(size=(224, 224), order="BGR", fit="stretch", mean=CAFFE_MEAN)

CATALOGUE: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name=BUILT_IN,
            about="built in",
            licence="Apache-2.0",
            files={
                "tflite": ModelFile(
                    "efficientnet_lite0/efficientnet_lite0_int8.tflite",
                    5_270_048,
                    "sha256:12efd6309db5f9e0a30a6e707c883b61227a597b14c9d4301d7155406f7f780e",
                ),
                "tensorflow": ModelFile(
                    "efficientnet_lite0/efficientnet_lite0.keras",
                    9_564_535,
                    "sha256:e9809b31233c660f4bb0a63b47ce423d39a6c903b3c3a0fac64bae3c72ed124a",
                ),
                "tensorrt": ModelFile(
                    "efficientnet_lite0.onnx",
                    18_539_708,
                    "sha256:00e9841fc85331900fa2539e412472046d8f7f295f11f55f5dbb589b5a685c08",
                    made_by="models/efficientnet_lite0_onnx/export.py",
                ),
            },
            labels=IMAGENET_LABELS,
            recipe=Recipe(size=(224, 224), mean=(127.0,), std=(128.0,)),
            outputs=1000,
        ),
        digits(
            "digits",
            tflite=ModelFile(
                "digits/digits_int8.tflite",
                10_560,
                "sha256:e63b0d569f0e1e96b21cdf2fb6b9db209fd5a28628b9d9735cd731d8d9458ada",
            ),
            tensorflow=ModelFile(
                "digits/digits.keras",
                51_711,
                "sha256:c28b5c92c0860384b183966506587e9b898e6663c839182563de2851547cc248",
            ),
        ),
        digits(
            "digits_float",
            tflite=ModelFile(
                "digits/digits_float.tflite",
                26_896,
                "sha256:8df8858d781abc1280d6b332c9f84fd03d6e168b54a8b70c9dff913ec09da961",
            ),
        ),
        # What these were trained to see; scale and zero point are the file's. Coral's own tests give
        # 0.012566/131, 0.012089/129 and 0.01246/129 for S, M and L, so there pixels never go in as they are.
        coral(
            "efficientnet-edgetpu-S_quant",
            Recipe(size=(224, 224), mean=(127.0,), std=(128.0,)),
            "git:46b62bf9b5b589ac8d2854c8459316d42c986340",
            study="efficientnet-S_quant.tflite",
        ),
        coral(
            "efficientnet-edgetpu-M_quant",
            Recipe(size=(240, 240), mean=(127.0,), std=(128.0,)),
            "git:dae2c73bbcb2468d3b2f5bd8061887b860389f47",
            study="efficientnet-M_quant.tflite",
        ),
        coral(
            "efficientnet-edgetpu-L_quant",
            Recipe(size=(300, 300), mean=(127.0,), std=(128.0,)),
            "git:12428a989650033e110325af111666781f5e9fca",
            study="efficientnet-L_quant.tflite",
        ),
        coral(
            "inception_v4_299_quant",
            # A guess: nobody here has opened the file. Coral's tests feed it pixels as they are, and that is
            # what this comes to where the file says 1/128 and 128, like its siblings.
            Recipe(size=(299, 299), mean=(128.0,), std=(128.0,)),
            "git:3908260a7c2c31765179df04fe9030da86dfbfd7",
            study="inception_v4_299_quant.tflite",
        ),
        coral(
            "mobilenet_v1_1.0_224_quant",
            Recipe(size=(224, 224), mean=(128.0,), std=(128.0,)),
            "git:ed3753826e390f0ddec8c36a8125d0dc97fd43ef",
            study="mobilenet_v1_1.0_224_quant.tflite",
        ),
        coral(
            "mobilenet_v1_0.75_192_quant",
            Recipe(size=(192, 192), mean=(128.0,), std=(128.0,)),
            "sha256:41daeb22fdcf947e0e5ec32373aa9df7c31f3ef45dbd0ef7b5940fbce3c20f6a",
            2_652_542,
        ),
        coral(
            "mobilenet_v1_0.25_128_quant",
            Recipe(size=(128, 128), mean=(128.0,), std=(128.0,)),
            "sha256:cb273c23ee76374b05b9583177e28aa19744858a7679c56a250e83d0333da785",
            525_598,
        ),
        coral(
            "mobilenet_v2_1.0_224_quant",
            Recipe(size=(224, 224), mean=(128.0,), std=(128.0,)),
            "sha256:7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776",
            3_610_798,
            study="mobilenet_v2_1.0_224_quant.tflite",
        ),
        coral(
            "tf2_mobilenet_v2_1.0_224_ptq",
            Recipe(size=(224, 224), mean=(127.0,), std=(127.5,)),
            "sha256:5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c",
            4_070_174,
        ),
        keras(
            "mobilenet_v1_100_224",
            Application("MobileNet", alpha=1.0),
            Recipe(size=(224, 224), mean=(127.5,), std=(127.5,)),
            ModelFile(
                "mobilenet_1_0_224_tf.h5",
                17_225_924,  # as Keras's own progress bar showed it to others, since 2017
                url="https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf.h5",
            ),
            "mobilenet_v1_100_224",
        ),
        keras(
            "mobilenet_v2_130_224",
            Application("MobileNetV2", alpha=1.3),
            Recipe(size=(224, 224), mean=(127.5,), std=(127.5,)),
            ModelFile(
                "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.3_224.h5",
                url="https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
                "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.3_224.h5",
            ),
            "mobilenet_v2_130_224",
        ),
        efficientnet("B0", 224, md5="902e53a9f72be733fc0bcb005b3ebbac"),
        efficientnet("B4", 380, md5="18c95ad55216b8f92d7e70b3a046e2fc"),
        efficientnet("B7", 600, md5="8c03f828fec3ef71311cd463b6759d99"),
        jetson("googlenet", "unrestricted", CAFFE, study="GoogleNet"),  # says its readme, in BVLC/caffe
        jetson("alexnet", "unrestricted", replace(CAFFE, size=(227, 227)), study="AlexNet"),  # likewise
        jetson(
            "inception-v4",
            "unknown",
            Recipe(size=(299, 299), fit="stretch", mean=(127.5,), std=(127.5,)),
            study="Inception V4",
        ),
        jetson("resnet-152", "unknown", CAFFE, study="ResNet 152"),
        jetson("resnet-101", "unknown", CAFFE),
        jetson("resnet-50", "unknown", CAFFE),
        jetson("resnet-18", "unknown", CAFFE),
        jetson("vgg-19", "unknown", CAFFE),
        jetson("vgg-16", "unknown", CAFFE),
    )
}


def find_spec(name: str) -> ModelSpec:
    """The catalogue's entry of this name. An unknown name lists the known ones."""
    try:
        return CATALOGUE[name]
    except KeyError:
        known = ", ".join(CATALOGUE)
        raise ModelError(f"no model is called {name} - known: {known}, or the path of a model file") from None
