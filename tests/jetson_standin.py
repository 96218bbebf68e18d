"""Stand-ins for jetson_inference and jetson_utils, one for each generation of their interface.

Written from what their sources say, and as strict: wrong types, formats and order of colours are refused or
give wrong answers, old pictures are overwritten, and what would end the process raises Segfault. The network
in it is small but looks at every plane of the picture that it is given.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

LIBC = ctypes.PyDLL(None)  # keeps Python's lock, as a C extension does unless it lets go
LEVELS = ("silent", "error", "warning", "success", "info", "verbose", "debug")
IMAGENET_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
IMAGENET_STD = np.array((0.229, 0.224, 0.225), np.float32)
CAFFE_MEAN_BGR = np.array((104.0069879317889, 116.66876761696767, 122.6789143406786), np.float32)
RGB_FORMATS = ("rgb8", "rgba8", "rgb32f", "rgba32f")


class Segfault(BaseException):
    """Here the real library takes the process down."""


@dataclass(frozen=True)
class Generation:
    name: str
    new_names: bool = True  # jetson_inference and jetson_utils, since July 2022
    keywords: bool = True  # model, labels, input_blob, output_blob; Log; Python's lock let go
    top_k: bool = True  # and thresholds, since May 2023
    streams: bool = True  # Capture(stream=), since 2024
    split: bool = False  # jetson-utils 2: half of it Python, which hides two functions of the other half

    def __str__(self) -> str:
        return self.name


G1 = Generation("G1", new_names=False, keywords=False, top_k=False, streams=False)
G2 = Generation("G2", top_k=False, streams=False)
G3 = Generation("G3", streams=False)
G3B = Generation("G3b")
G4 = Generation("G4", split=True)
GENERATIONS = (G1, G2, G3, G3B, G4)

SIZES = {"alexnet": 227, "inception-v4": 299}
FILES = {
    "alexnet": "AlexNet/bvlc_alexnet.caffemodel",
    "googlenet": "Googlenet/bvlc_googlenet.caffemodel",
    "resnet-18": "ResNet-18/ResNet-18.caffemodel",
    "resnet-152": "ResNet-152/ResNet-152.caffemodel",
    "inception-v4": "Inception-v4/Inception-v4.caffemodel",
}
OLD_NAMES = {"googlenet": "GoogleNet", "alexnet": "AlexNet", "resnet-18": "ResNet-18"}


# A picture's memory


class CudaMemory:
    """What is not a picture: cudaFromNumpy makes it of an array of an odd shape."""


class CudaImage:
    """`pixels` is the device's memory; None once freed."""

    def __init__(self, pixels: npt.NDArray[Any] | None, format: str, free_on_delete: bool = True) -> None:
        self.pixels, self.format, self.freeOnDelete, self.mapped = pixels, format, free_on_delete, True
        self.timestamp = 0

    def memory(self) -> npt.NDArray[Any]:
        if self.pixels is None:
            raise Segfault("this picture's memory was freed")
        return self.pixels

    @property
    def height(self) -> int:
        return int(self.memory().shape[0])

    @property
    def width(self) -> int:
        return int(self.memory().shape[1])

    @property
    def channels(self) -> int:
        return int(self.memory().shape[2])

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self.memory().__array_interface__)


CudaImage.__name__, CudaImage.__module__ = "cudaImage", "jetson.utils"


# The network


def weights(classes: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(classes).normal(size=(classes, 12))


def run_network(
    planes: npt.NDArray[Any], classes: int, unit: float, softmax: bool = True
) -> npt.NDArray[Any]:
    """Scores of (3, height, width): what matters is the mean of each quarter of each plane."""
    height, width = planes.shape[1] // 2 * 2, planes.shape[2] // 2 * 2
    quarters = planes[:, :height, :width].reshape(3, 2, height // 2, 2, width // 2).mean((2, 4), np.float64)
    logits = weights(classes) @ (quarters.reshape(12) / unit)
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum() if softmax else logits, np.float32)


def nearest(pixels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """src[int(y*H/h)][int(x*W/w)], alpha left out: (height, width, 3)."""
    rows = (np.arange(size[1]) * (pixels.shape[0] / size[1])).astype(int)
    columns = (np.arange(size[0]) * (pixels.shape[1] / size[0])).astype(int)
    return np.asarray(pixels[rows][:, columns, :3], np.float32)


# C's idea of arguments


def parsed(
    names: dict[str, tuple[str, Any]], args: tuple[Any, ...], keywords: dict[str, Any]
) -> dict[str, Any]:
    """As PyArg_ParseTupleAndKeywords: s is str, i is int, f a number, O anything; ... is no default."""
    if len(args) > len(names):
        raise TypeError(f"function takes at most {len(names)} arguments ({len(args)} given)")
    given = dict(zip(names, args, strict=False))
    for name, value in keywords.items():
        if name not in names:
            raise TypeError(f"'{name}' is an invalid keyword argument for this function")
        if name in given:
            raise TypeError(f"argument for function given by name ('{name}') and position")
        given[name] = value
    for position, (name, (code, default)) in enumerate(names.items(), 1):
        if name not in given:
            if default is ...:
                raise TypeError(f"function missing required argument '{name}' (pos {position})")
            given[name] = default
            continue
        value = given[name]
        good = {
            "s": isinstance(value, str),
            "i": hasattr(value, "__index__"),
            "f": isinstance(value, int | float | np.floating),
            "O": True,
        }[code]
        if not good:
            wanted = {"s": "str", "i": "int", "f": "float"}[code]
            raise TypeError(f"argument {position} must be {wanted}, not {type(value).__name__}")
    return given


def option(argv: Sequence[str], key: str) -> str | None:
    """The first that begins like the key. Its value is taken to stand one character behind the key."""
    for item in argv:
        body = item.lstrip("-")
        if item.startswith("-") and body.lower().replace("_", "-").startswith(key.replace("_", "-")):
            if len(body) < len(key) + 1:
                raise Segfault(f"{item}: its value is read beyond the string's end")
            return body[len(key) + 1 :]
    return None


# The library


@dataclass
class Library:
    """One installation. Its networks and the engines built from them are in `networks`."""

    generation: Generation
    networks: Path
    tensorrt: str = "8.6.2"
    build_s: float = 0.0  # what making an engine takes
    build_chatter: int = 0  # bytes printed meanwhile
    broken: dict[str, Exception] = field(default_factory=dict)  # raised by importing that module
    without: tuple[str, ...] = ()  # what it was built without
    level: int = LEVELS.index("verbose")
    made: list[list[str]] = field(default_factory=list)  # argv of each network
    fail_classify: bool = False
    maps: Path | None = None  # this process's /proc/self/maps, into which importing brings TensorRT

    def say(self, level: str, text: str) -> None:
        """To C's stdout, which keeps it until there is much of it or somebody flushes."""
        if LEVELS.index(level) <= self.level:
            colour = {"error": b"\x1b[0;31m", "warning": b"\x1b[0;33m", "success": b"\x1b[0;32m"}.get(
                level, b""
            )
            end = b"\x1b[0m" if colour else b""
            LIBC.printf(b"%s", colour + b"[TRT]    " + text.encode() + end + b"\n")

    # Modules, by name

    def modules(self) -> dict[str, Callable[[ModuleType], None]]:
        old: dict[str, Callable[[ModuleType], None]] = {
            "jetson": lambda module: None,
            "jetson.inference": self._inference,
            "jetson.utils": self._utils,
        }
        new: dict[str, Callable[[ModuleType], None]] = {
            "jetson_inference": self._inference,
            "jetson_utils": self._utils,
            "jetson_inference_python": self._inference,
            "jetson_utils_python": self._utils,
        }
        if self.generation.split:
            return new  # jetson.inference is there, and fails to import jetson.utils
        return old | new if self.generation.new_names else old

    def fill(self, module: ModuleType) -> None:
        name = module.__name__
        if name in self.broken:
            raise self.broken[name]
        if self.maps is not None:
            self.maps.write_text(f"7f00-7f01 r-xp 0 08:01 42 /usr/lib/libnvinfer.so.{self.tensorrt}\n")
        if self.generation.new_names and name.startswith("jetson."):
            new = name.replace(".", "_")
            sys.stdout.write(f"warning:  importing {name} is deprecated.  please 'import {new}' instead.\n")
        self.modules()[name](module)
        for lacking in self.without:
            vars(module).pop(lacking, None)

    def _inference(self, module: ModuleType) -> None:
        vars(module).update(VERSION="1.0.0", imageNet=self._image_net())

    def _utils(self, module: ModuleType) -> None:
        vars(module).update(
            VERSION="1.0.0",
            cudaImage=CudaImage,
            cudaFromNumpy=self._from_numpy,
            cudaToNumpy=self._to_numpy,
            cudaDeviceSynchronize=lambda: None,
            videoSource=self._video_source(),
        )
        if self.generation.keywords:
            vars(module)["Log"] = self._log()
        if self.generation.split and module.__name__ == "jetson_utils":
            vars(module).update(
                __version__="2.0.0", cudaToNumpy=_shadowing_to_numpy, HAS_JETSON_UTILS_EXT=True
            )

    def _log(self) -> type:
        library = self

        class Log:
            @staticmethod
            def SetLevel(level: str) -> None:  # noqa: N802
                library.level = LEVELS.index(parsed({"level": ("s", ...)}, (level,), {})["level"])

            @staticmethod
            def GetLevel() -> str:  # noqa: N802
                return LEVELS[library.level]

        return Log

    # NumPy

    def _from_numpy(self, *args: Any, **keywords: Any) -> CudaImage | CudaMemory:
        names = {"array": ("O", ...), "isBGR": ("i", 0)}
        if self.generation.keywords:
            names["timestamp"] = ("i", 0)
        given = parsed(names, args, keywords)
        array = given["array"]
        if not isinstance(array, np.ndarray):
            raise _error("utils", "Object passed to cudaFromNumpy() wasn't a numpy ndarray")
        if array.nbytes == 0:
            raise _error("utils", "cudaFromNumpy() array has data size of 0 bytes")
        kind = array.dtype if array.dtype == np.uint8 else np.dtype(np.float32)
        pixels = np.array(array, kind, order="C")
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        names_by_channels = {
            1: "gray",
            3: "bgr" if given["isBGR"] else "rgb",
            4: "bgra" if given["isBGR"] else "rgba",
        }
        if pixels.ndim != 3 or pixels.shape[2] not in names_by_channels:
            return CudaMemory()
        return CudaImage(pixels, names_by_channels[pixels.shape[2]] + ("8" if kind == np.uint8 else "32f"))

    def _to_numpy(self, image: Any, width: int = 0, height: int = 1, depth: int = 1) -> npt.NDArray[Any]:
        if not isinstance(image, CudaImage):
            raise _error("utils", "cudaToNumpy() failed to get pointer")
        return image.memory()  # a view

    # Cameras

    def _video_source(self) -> type:
        library, generation = self, self.generation

        class videoSource:  # noqa: N801
            """Shows one even gray after another. A camera does so in a ring of four buffers; from files there
            are four pictures at a time, and older ones are freed."""

            def __init__(self, *args: Any, **keywords: Any) -> None:
                names = {"uri": ("s", ""), "argv": ("O", None), "positionArg": ("i", -1)}
                if generation.top_k:
                    names["options"] = ("O", None)
                given = parsed(names, args, keywords)
                if given["uri"].startswith("http"):
                    library.say("error", "videoSource -- unsupported protocol (http)")
                    raise _error("utils", "failed to create videoSource device")
                self._ring = [np.zeros((48, 64, 3), np.uint8) for _ in range(4)]
                self._loaded: list[CudaImage] | None = [] if given["uri"].endswith(".jpg") else None
                self._count, self.silent = 0, False

            def IsStreaming(self) -> bool:  # noqa: N802
                return self._count > 0

            def Capture(self, *args: Any, **keywords: Any) -> CudaImage | None:  # noqa: N802
                names = {"format": ("s", "rgb8"), "timeout": ("i", 1000 if generation.top_k else -1)}
                if generation.streams:
                    names["stream"] = ("i", 0)
                given = parsed(names, args, keywords)
                if self.silent:
                    if generation.top_k:
                        return None
                    if given["timeout"] < 0:
                        raise Segfault("waits for ever")
                    raise _error("utils", "videoSource failed to capture image")
                slot = self._ring[self._count % 4]
                slot[:] = self._count % 256
                self._count += 1
                if self._loaded is None:
                    return CudaImage(slot, "rgb8", free_on_delete=False)
                self._loaded.append(CudaImage(slot.copy(), "rgb8", free_on_delete=False))
                if len(self._loaded) > 4:
                    self._loaded.pop(0).pixels = None
                return self._loaded[-1]

            def Close(self) -> None:  # noqa: N802
                self._count = 0

        return videoSource

    # Networks

    def _image_net(self) -> type:
        library, generation = self, self.generation

        class imageNet:  # noqa: N801
            def __init__(self, *args: Any, **keywords: Any) -> None:
                names: dict[str, tuple[str, Any]] = {"network": ("s", "googlenet"), "argv": ("O", None)}
                if generation.keywords:
                    names |= {"model": ("s", ""), "labels": ("s", "")}
                    names |= {"input_blob": ("s", "data"), "output_blob": ("s", "prob")}
                given = self._parsed("__init()__", names, args, keywords)
                argv = given["argv"]
                if type(argv) is list and argv:  # anything else is passed over
                    if not all(isinstance(item, str) for item in argv):
                        raise _error("inference", "imageNet.__init()__ failed to parse argv list")
                    level = option(argv, "log-level")
                    library.level = LEVELS.index(level) if level else library.level
                    model = option(argv, "network") or option(argv, "model") or "googlenet"
                    labels = option(argv, "labels")
                    blobs = option(argv, "input_blob") or "data", option(argv, "output_blob") or "prob"
                    self._threshold = float(option(argv, "threshold") or 0.01)
                else:
                    model, labels = given.get("model") or given["network"], given.get("labels")
                    blobs = given.get("input_blob", "data"), given.get("output_blob", "prob")
                    self._threshold = 0.01
                library.made.append(list(argv or []))
                if not self._create(model, labels, blobs):
                    library.say("error", "imageNet -- failed to initialize.")
                    raise _error("inference", "imageNet failed to load network")
                self._time_ms, self._smoothing = 0.0, 0.0

            def _parsed(self, method: str, names: Any, args: Any, keywords: Any) -> dict[str, Any]:
                try:
                    return parsed(names, args, keywords)
                except TypeError as error:
                    if generation.top_k:
                        raise
                    raise _error("inference", f"imageNet.{method} failed to parse args tuple") from error

            def _create(self, model: str, labels: str | None, blobs: tuple[str, str]) -> bool:
                self._name = next((name for name in FILES if name == model.lower()), None)
                if self._name is not None:
                    path = library.networks / FILES[self._name]
                    side = SIZES.get(self._name, 224)
                    self._size, self._classes, self._unit = (side, side), 1000, 40.0
                    self._kind, self._softmax = "inception" if self._name == "inception-v4" else "caffe", True
                    if self._kind == "inception":
                        self._unit = 0.3
                    label_file = library.networks / "ilsvrc12_synset_words.txt"
                else:
                    path = Path(model)
                    if not path.suffix:
                        library.say("error", f"couldn't find built-in classification model '{model}'")
                        return False
                    if path.suffix != ".onnx":
                        library.say("error", "model format 'custom' not supported by jetson-inference")
                        return False
                    if not labels:
                        return False
                    label_file = Path(labels)
                if int(library.tensorrt.split(".")[0]) >= 10:
                    raise Segfault("mContext is NULL")
                if not path.exists() and self._name and generation.top_k:  # older ones download nothing
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"downloaded")
                if not path.exists():
                    library.say("error", f"failed to find model file {path}")
                    return False
                if self._name is None and not self._read_onnx(path, blobs):
                    return False
                self._path = path
                self._build(path)
                return self._read_labels(label_file)

            def _read_onnx(self, path: Path, blobs: tuple[str, str]) -> bool:
                truth = json.loads(path.with_suffix(".json").read_text())
                for wanted, name, end in (
                    (blobs[0], truth["input"], "input"),
                    (blobs[1], truth["output"], "output"),
                ):
                    if wanted != name:
                        library.say("error", f"failed to find requested {end} layer {wanted} in network")
                        return False
                self._size, self._classes = tuple(truth["size"]), truth["classes"]
                self._kind, self._unit, self._softmax = "onnx", 1.0, truth["softmax"]
                return True

            def _build(self, path: Path) -> None:
                major, minor, patch = map(int, library.tensorrt.split("."))
                engine = Path(f"{path}.1.1.{major * 1000 + minor * 100 + patch}.GPU.FP16.engine")
                digest = Path(f"{path}.sha256sum")
                if engine.exists() and (digest.exists() or not generation.keywords):
                    library.say("info", f"loading network plan from engine cache... {engine}")
                    return
                library.say("info", "device GPU, building CUDA engine (this may take a few minutes)")
                LIBC.write(1, b"." * library.build_chatter, library.build_chatter)
                LIBC.write(2, b"NvMapMemAllocInternalTagged: 1075072515 error 12\n", 49)
                if generation.keywords:
                    time.sleep(library.build_s)
                else:
                    LIBC.usleep(int(library.build_s * 1e6))
                if os.access(path.parent, os.W_OK):
                    engine.write_bytes(b"engine")
                    digest.write_text("digest")
                else:
                    library.say("error", f"failed to open engine cache file for writing {engine}")

            def _read_labels(self, path: Path) -> bool:
                if not path.exists():
                    library.say("error", f"imageNet -- failed to find {path}")
                    if not generation.top_k:
                        return False
                lines = path.read_text().split("\n")[:-1] if path.exists() else []
                self._labels = [
                    line[10:] if line[:1] == "n" and line[9:10] == " " else line for line in lines
                ]
                self._labels += [f"Class #{index}" for index in range(len(lines), self._classes)]
                if len(self._labels) != self._classes:
                    count = len(self._labels)
                    told = f"({count} / {count} of {self._classes})"
                    library.say("error", f"imageNet -- failed to load synset class descriptions  {told}")
                    return False
                return True

            def _scores(self, image: Any) -> npt.NDArray[np.float32]:
                if not isinstance(image, CudaImage):
                    raise _error("utils", "function wasn't passed a valid cudaImage or cudaMemory object")
                if image.format not in RGB_FORMATS or library.fail_classify:
                    library.say("error", f"imageNet::Classify() -- unsupported image format ({image.format})")
                    raise _error(
                        "inference", "imageNet.Classify() encountered an error classifying the image"
                    )
                rgb = nearest(image.memory(), self._size)
                if self._kind == "inception":
                    ready = rgb * np.float32(2 / 255) - 1
                elif self._kind == "onnx":
                    ready = (rgb / 255 - IMAGENET_MEAN) / IMAGENET_STD
                else:
                    ready = rgb[:, :, ::-1] - CAFFE_MEAN_BGR
                self._time_ms = 3.25
                return run_network(ready.transpose(2, 0, 1), self._classes, self._unit, self._softmax)

            def Classify(self, *args: Any, **keywords: Any) -> Any:  # noqa: N802
                names: dict[str, tuple[str, Any]] = {
                    "image": ("O", ...),
                    "width": ("i", 0),
                    "height": ("i", 0),
                }
                names["format"] = ("s", "rgba32f")
                if generation.top_k:
                    names["topK"] = ("i", -1)
                given = self._parsed("Classify()", names, args, keywords)
                scores = self._scores(given["image"])
                if not generation.top_k:
                    for index in np.flatnonzero(scores >= 0.01):
                        library.say(
                            "verbose", f"class {index:04d} - {scores[index]:f}  ({self._labels[index]})"
                        )
                    best = int(scores.argmax())
                    return best, float(scores[best])
                found = [
                    (int(index), float(scores[index])) for index in np.flatnonzero(scores >= self._threshold)
                ]
                found.sort(key=lambda pair: -pair[1])
                if given["topK"] < 0:
                    return found[0] if found and found[0][1] > 0 else (-1, 0.0)
                return found[: given["topK"]] if given["topK"] else found

            def GetNumClasses(self) -> int:  # noqa: N802
                return int(self._classes)

            def GetClassDesc(self, *args: Any) -> str:  # noqa: N802
                if len(args) != 1 or not isinstance(args[0], int):
                    raise _error("inference", "imageNet failed to parse arguments")
                if args[0] < 0 and generation.top_k:
                    return "none"
                if not 0 <= args[0] < self._classes:
                    raise _error("inference", "imageNet requested class index is out of bounds")
                return self._labels[args[0]]

            def GetNetworkName(self) -> str:  # noqa: N802
                return self._path.name if generation.top_k else OLD_NAMES.get(self._name or "", "Custom")

            def GetNetworkTime(self) -> float:  # noqa: N802
                return self._time_ms

            def GetNetworkFPS(self) -> float:  # noqa: N802
                return 1000 / self._time_ms if self._time_ms else float("inf")

            if generation.top_k:

                def GetThreshold(self) -> float:  # noqa: N802
                    return float(np.float32(self._threshold))

                def SetThreshold(self, *args: Any) -> None:  # noqa: N802
                    self._threshold = float(
                        np.float32(parsed({"threshold": ("f", ...)}, args, {})["threshold"])
                    )

                def GetClassLabel(self, *args: Any) -> str:  # noqa: N802
                    return self.GetClassDesc(*args)

        imageNet.__module__ = "jetson.inference"
        return imageNet


def _shadowing_to_numpy(ptr: int, shape: Any, dtype: Any) -> Any:
    """Of jetson-utils 2: another function of the same name."""
    raise TypeError("expected a pointer, a shape and a type")


def _error(module: str, text: str) -> Exception:
    return Exception(f"jetson.{module} -- {text}")


# Installing


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, library: Library) -> None:
        self.library = library

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname in self.library.modules():
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.library.fill(module)


@contextmanager
def installed(library: Library) -> Iterator[Library]:
    """Its modules can be imported while inside."""
    finder = _Finder(library)
    sys.meta_path.insert(0, finder)
    try:
        yield library
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0].startswith("jetson")]:
            del sys.modules[name]


def write_networks(folder: Path, synsets: Path) -> Path:
    """The library's networks, as if downloaded before; and its labels, of `synsets` with tabs."""
    for file in FILES.values():
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_bytes(b"a network")
    (folder / "ilsvrc12_synset_words.txt").write_text(synsets.read_text().replace("\t", " "))
    return folder


def write_onnx(
    path: Path,
    shape: Sequence[int | str] = (1, 3, 32, 48),
    classes: int = 10,
    names: tuple[str, str] = ("input_0", "output_0"),
    kind: int = 1,
    softmax: bool = True,
) -> Path:
    """As much of an ONNX file as says what goes in and out; with a weight that, as in old files, is listed as
    an input; and for the stand-in the same beside it. A length that is text is an open one."""

    def end(name: str, lengths: Sequence[int | str]) -> bytes:
        dimensions = b"".join(
            _part(1, _part(1, length) if isinstance(length, int) else _part(2, length.encode()))
            for length in lengths
        )
        return _part(1, name.encode()) + _part(2, _part(1, _part(1, kind) + _part(2, dimensions)))

    weight = _part(1, 8) + _part(8, b"weight") + _part(9, struct.pack("<2f", 1, 2))
    graph = _part(2, b"a graph") + _part(5, weight)
    graph += (
        _part(11, end(names[0], shape))
        + _part(11, end("weight", [2]))
        + _part(12, end(names[1], [1, classes]))
    )
    path.write_bytes(_part(1, 8) + _part(7, graph) + _part(8, _part(2, 13)))
    size = [length for length in (shape[3], shape[2]) if isinstance(length, int)]
    truth = {"input": names[0], "output": names[1], "size": size, "classes": classes, "softmax": softmax}
    path.with_suffix(".json").write_text(json.dumps(truth))
    return path


def _part(number: int, value: int | bytes) -> bytes:
    """A field of Protocol Buffers."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
