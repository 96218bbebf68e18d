"""TensorRT through jetson-inference: its own networks by name, or an ONNX file. One of tensorrt's engines.

The library's interface changed over the years and its version did not (1.0.0), so it is asked what it has.
Its options go in as a list of `--key=value`: that works in every release, keyword arguments since 2022 only.
The list must be a list, or it is passed over in silence; and `--key value` reads beyond the string's end.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from glob import escape
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from backends.base import (
    BackendFacts,
    BackendUnavailable,
    Loading,
    ModelToRun,
    Stopwatch,
    Tensor,
    class_count,
    head_of,
    one_line,
)
from backends.chatter import COLOURS, Chatter, native_chatter_logged
from backends.jetpack import JetPack, install_route, numbers, read_jetpack, tensorrt_version
from backends.onnx_file import FLOAT32, onnx_ends
from models.catalogue import CAFFE_MEAN
from models.errors import ModelError
from models.recipe import NOT_QUANTISED, Image, Quantiser, Recipe, fit_image, recolour
from models.scores import Scores

log = logging.getLogger(__name__)

PROGRESS_S = 15.0

NAMES = (("jetson_inference", "jetson_utils"), ("jetson.inference", "jetson.utils"))
"""Since July 2022, and before."""

NUMPY_1 = ("numpy", "_ARRAY_API", "raised unreported exception")
"""What one of these modules says when it was built with NumPy 1, and finds 2."""

OLDER_NUMPY = "pip install 'numpy<2' 'opencv-python-headless<4.12'"  # later ones of the second need NumPy 2

NETWORKS = {
    "alexnet": ("bvlc_alexnet.caffemodel", 227),
    "googlenet": ("bvlc_googlenet.caffemodel", 224),
    "resnet-18": ("ResNet-18.caffemodel", 224),
    "resnet-50": ("ResNet-50.caffemodel", 224),
    "resnet-101": ("ResNet-101.caffemodel", 224),
    "resnet-152": ("ResNet-152.caffemodel", 224),
    "vgg-16": ("VGG-16.caffemodel", 224),
    "vgg-19": ("VGG-19.caffemodel", 224),
    "inception-v4": ("Inception-v4.caffemodel", 299),
}
"""The library's networks for ImageNet's 1,000 classes, without a background: file, and side of the picture,
which the library does not tell."""

ONNX_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
ONNX_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

RED = "\x1b[0;31m"
"""How its log starts an error."""

LOWEST = -3e38
"""A threshold that also lets logits through: ours is applied later, to the scores read."""

BEST_ONLY = "jetson-inference of before May 2023 tells the best class alone: the others' scores are 0"


@dataclass(frozen=True)
class Wanted:
    """What to ask the library for, and what it will do to a picture's pixels, whatever one says."""

    name: str
    file: Path | None  # None: of a network that is yet to be downloaded
    options: tuple[str, ...]
    fed: Recipe


class JetsonInferenceBackend:
    """`model.path` is a name of NETWORKS, or a .onnx file, and then it takes `model.labels`.

    The library would stretch a picture to the network's size by picking the nearest pixels; it gets pictures
    of that size already, so that the recipe is what happens, and `fit` can be chosen.

    `root` is where the machine's own files are looked up.
    """

    def __init__(self, model: ModelToRun, root: Path = Path("/")) -> None:
        self.device_us: int | None = None  # what the GPU's clock says of the last `infer`, where it is told
        wanted = _wanted(model, root)
        self._recipe = _recipe(model, wanted)
        jetpack = read_jetpack(root)
        _refuse_tensorrt_10(wanted, jetpack, tensorrt_version(root))
        watch = Stopwatch()
        with native_chatter_logged((1, 2)) as chatter:
            inference, self._utils = _libraries(jetpack, root)
            import_us = watch.lap_us()
            tensorrt = tensorrt_version(root)  # again: by now it is loaded, and known for sure
            _refuse_tensorrt_10(wanted, jetpack, tensorrt)
            with _patience(wanted, tensorrt, chatter):
                self._network = _network(inference, self._utils, wanted, chatter)
            load_us = watch.lap_us()
        self._tells_all = hasattr(self._network, "SetThreshold")  # of May 2023 or later
        if self._tells_all:
            self._network.SetThreshold(LOWEST)
        self._quantise = _quantiser(self._recipe, wanted.fed)
        self._facts = BackendFacts(
            backend="tensorrt",
            runtime="jetson-inference",
            version=f"{getattr(inference, 'VERSION', '1.0.0')}, TensorRT {tensorrt or 'unknown'}",
            threads=model.threads,
            device="gpu",
            recipe=self._recipe,
            outputs=self._network.GetNumClasses(),
            output=NOT_QUANTISED,
            loading=Loading(import_us, load_us, compile_us=0),  # one call does both
            board=asdict(jetpack or JetPack()) | {"tensorrt": tensorrt},
            note=None if self._tells_all else BEST_ONLY,
        )

    def prepare(self, image: Image) -> Tensor:
        fitted = fit_image(image, self._recipe.size, self._recipe.fit)
        return np.ascontiguousarray(self._quantise(recolour(fitted, "RGB", self._recipe.invert))[np.newaxis])

    def infer(self, tensor: Tensor) -> Scores:
        try:
            picture = self._utils.cudaFromNumpy(tensor[0])  # has a name: it must outlive the call below
            if self._tells_all:
                found = self._network.Classify(picture, topK=0)
            else:
                found = [self._network.Classify(picture)]
        except Exception as error:  # the only kind this library knows
            raise ModelError(f"the model failed while running: {one_line(error)}") from error
        if hasattr(self._network, "GetNetworkTime"):
            self.device_us = round(self._network.GetNetworkTime() * 1000)
        scores = [0.0] * self._facts.outputs  # a list, as setting an array's items one by one is slow
        for index, score in found:
            if index >= 0:  # -1 is none
                scores[index] = score
        return np.array(scores, np.float32)

    def facts(self) -> BackendFacts:
        return self._facts

    def close(self) -> None:
        self._network = None


# What is asked for


def _wanted(model: ModelToRun, root: Path) -> Wanted:
    name = str(model.path)
    if name in NETWORKS:
        options = (f"--network={name}",)
        return Wanted(name, network_file(name, root), options, _fed_to(name))
    if model.path.suffix != ".onnx":
        raise ModelError(
            f"jetson-inference runs no {name} - it knows {', '.join(NETWORKS)}, or give an ONNX file"
        )
    if head_of(model.path) and shlex.quote(name) != name:
        raise ModelError(
            f"jetson-inference hands {name} to a shell unquoted - give it a name of letters, digits and ._-/"
        )
    if model.labels is None:
        raise ModelError(f"jetson-inference does not load {name} without labels - add --labels FILE")
    given, taken, size = _ends(model.path)
    files = (
        f"--model={name}",
        f"--labels={model.labels}",
        f"--input_blob={given}",
        f"--output_blob={taken}",
    )
    return Wanted(model.path.name, model.path, files, Recipe(size, mean=ONNX_MEAN, std=ONNX_STD))


def _ends(path: Path) -> tuple[str, str, tuple[int, int]]:
    """Names of an ONNX file's input and output, and (width, height); a ModelError for what will not load.

    The names are looked up exactly, and shapes must be fixed: the library makes no optimisation profile.
    """
    inputs, outputs = onnx_ends(path)
    shape = inputs[0].shape if inputs and inputs[0].kind == FLOAT32 else []
    if len(inputs) != 1 or len(shape) != 4 or shape[:2] != [1, 3] or min(shape) < 1:
        found = ", ".join(f"{end.name} {end.shape}" for end in inputs) or "none"
        raise ModelError(
            f"{path.name} has these inputs: {found}; jetson-inference takes one of float32,"
            " [1, 3, height, width], all numbers fixed - export it so"
        )
    class_count([output.shape for output in outputs])
    return inputs[0].name, outputs[0].name, (shape[3], shape[2])


def _fed_to(name: str) -> Recipe:
    """What imageNet.cpp does to pixels before a network of its own; the same constants in every release."""
    _, side = NETWORKS[name]
    if name == "inception-v4":
        return Recipe((side, side), "RGB", "stretch", mean=(127.5,), std=(127.5,))
    return Recipe((side, side), "BGR", "stretch", mean=CAFFE_MEAN)


def _recipe(model: ModelToRun, wanted: Wanted) -> Recipe:
    """What the model is to see: for a network of the library's own what it does anyhow."""
    recipe = wanted.fed
    if wanted.name in NETWORKS:
        fit = (model.recipe or recipe).fit
        return replace(recipe, fit=model.fit or fit)
    if model.recipe is not None:
        recipe = model.recipe
    elif model.mean is not None:
        recipe = replace(recipe, mean=(model.mean,), std=(model.std or 127.5,))
    if (recipe.size, recipe.order) != (wanted.fed.size, "RGB"):
        raise ModelError(
            f"{wanted.name} gets RGB of {wanted.fed.size}, the catalogue says {recipe.order} of {recipe.size}"
        )
    return replace(recipe, fit=model.fit or recipe.fit)


def _quantiser(recipe: Recipe, fed: Recipe) -> Quantiser:
    """Pixels of which the library makes what the recipe asks for: bytes if it does so by itself, or else
    floats, of any size, that undo what it does to every ONNX file."""
    if (recipe.mean, recipe.std) == (fed.mean, fed.std):
        return Quantiser(Recipe(recipe.size), np.uint8, NOT_QUANTISED, channels=3)
    ratio = np.array(recipe.std) / np.array(fed.std)
    mean = np.array(recipe.mean) - ratio * np.array(fed.mean)
    undone = Recipe(recipe.size, mean=tuple(mean), std=tuple(ratio))
    return Quantiser(undone, np.float32, NOT_QUANTISED, channels=3)


# Where it is


def network_file(name: str, root: Path = Path("/")) -> Path | None:
    """The file of one of NETWORKS, where the library looks for it; None before it was downloaded."""
    for folder in _networks_folders(root):
        for pattern in ("", "*/"):
            for file in folder.glob(pattern + NETWORKS[name][0]):
                return file
    return None


def _networks_folders(root: Path) -> list[Path]:
    """As locateFile of jetson-utils searches."""
    places = (Path(), Path(sys.executable).parent, root / "usr/local/bin", root / "usr/local", root / "opt")
    return [place / "networks" for place in places if (place / "networks").is_dir()]


def _cached_engine(file: Path, tensorrt: str | None) -> Path | None:
    """bvlc_googlenet.caffemodel.1.1.8602.GPU.FP16.engine: batch, GPU fallback, TensorRT's version."""
    parts = numbers(tensorrt)
    version = f"{parts[0] * 1000 + parts[1] * 100 + parts[2]}" if len(parts) >= 3 else "*"
    return next(file.parent.glob(f"{escape(file.name)}.*.*.{version}.*.engine"), None)


# The library


def _libraries(jetpack: JetPack | None, root: Path) -> tuple[Any, Any]:
    """jetson_inference and jetson_utils, under whichever names they have here."""
    problem = None
    for name, utils_name in NAMES:
        try:
            inference, utils = import_module(name), import_module(utils_name)
        except ModuleNotFoundError as error:
            if error.name not in (name, utils_name, "jetson"):  # of jetson-utils 2, termcolor and others
                problem = problem or one_line(error)
        except (ImportError, OSError, RuntimeError, SystemError, AttributeError) as error:
            problem = problem or one_line(error)  # built for another NumPy, or a library is missing
        else:
            needed = ((inference, "imageNet"), (utils, "cudaImage"), (utils, "cudaFromNumpy"))
            lacking = [what for module, what in needed if not hasattr(module, what)]
            if not lacking:
                return inference, utils
            problem = problem or f"it was built without {lacking[0]}"  # NumPy was missing, or all in C++ is
    if problem is not None:
        numpy_1 = any(sign in problem for sign in NUMPY_1)
        cure = OLDER_NUMPY if numpy_1 else f"build it again: {install_route(jetpack)}"
        raise BackendUnavailable(f"jetson-inference does not load: {problem} - {cure}")
    for found in root.glob("usr/lib/python3.[1-9][0-9]/dist-packages/jetson_inference"):
        python = found.parts[-3]
        raise BackendUnavailable(
            f"jetson-inference is not installed for this Python, but for {python}"
            f" - {python} -m venv --system-site-packages .venv"
        )
    raise BackendUnavailable(f"jetson-inference is not installed - {install_route(jetpack)}")


def _refuse_tensorrt_10(wanted: Wanted, jetpack: JetPack | None, tensorrt: str | None) -> None:
    """Before the library is called: it would not raise, it would take the process down."""
    known = replace(jetpack or JetPack(), tensorrt=tensorrt)
    if known.has_tensorrt_10:
        raise BackendUnavailable(
            f"jetson-inference cannot run {wanted.name} on TensorRT {tensorrt or '10'}, which takes no Caffe"
            f" models and makes it crash on ONNX - {install_route(jetpack and known)}"
        )


@contextmanager
def _patience(wanted: Wanted, tensorrt: str | None, chatter: Chatter) -> Iterator[None]:
    """Says that loading takes long before it does, and from time to time that it still does.

    Releases before July 2022 hold Python's lock meanwhile: of those one hears the first line only.
    """
    done = Event()

    def tell() -> None:
        started = time.monotonic()
        while not done.wait(PROGRESS_S):
            with chatter.lifted():
                log.warning("%s is still being loaded, after %.0f s", wanted.name, time.monotonic() - started)

    if wanted.file is None or _cached_engine(wanted.file, tensorrt) is None:
        with chatter.lifted():
            log.warning("building the TensorRT engine of %s: this takes minutes the first time", wanted.name)
            if wanted.file is not None and not os.access(wanted.file.parent, os.W_OK):
                log.warning(
                    "%s cannot be written, so it will be built again at every start - sudo chown -R $USER %s",
                    *(wanted.file.parent,) * 2,
                )
    teller = Thread(target=tell, name="patience", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _network(inference: Any, utils: Any, wanted: Wanted, chatter: Chatter) -> Any:
    """The library's network, which from here on prints errors only.

    Releases before August 2022 cannot be told so later: they get it as an option, and there is less in our
    log. They would print a line for every picture and class.
    """
    arguments = ["labelcam", *wanted.options]
    if not hasattr(utils, "Log"):
        arguments.append("--log-level=error")
    try:
        network = inference.imageNet(argv=arguments)
    except Exception as error:  # the only kind this library knows, and it never says why
        reason = " / ".join(_errors(chatter.lines())[-3:]) or one_line(error)
        raise ModelError(f"jetson-inference cannot load {wanted.name}: {reason} - see --verbose") from error
    if hasattr(utils, "Log"):
        utils.Log.SetLevel("error")
    return network


def _errors(lines: list[str]) -> list[str]:
    """Those in red."""
    return [COLOURS.sub("", line).strip() for line in lines if RED in line]
