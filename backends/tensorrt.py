"""TensorRT, by one of two engines: its own Python API, for ONNX files, or jetson-inference."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from backends.base import (
    Backend,
    BackendFacts,
    BackendUnavailable,
    Loading,
    ModelToRun,
    Stopwatch,
    Tensor,
    class_count,
    image_shape,
    one_line,
    recipe_for,
    tensor_of,
)
from backends.chatter import native_chatter_logged
from backends.jetpack import install_route, read_jetpack
from backends.jetson_inference import NETWORKS, ONNX_MEAN, ONNX_STD, PROGRESS_S, JetsonInferenceBackend
from backends.onnx_file import onnx_ends
from models.errors import ModelError
from models.recipe import NOT_QUANTISED, Image, Quantiser, Recipe
from models.scores import Scores

log = logging.getLogger(__name__)

INPUTS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
"""By ONNX's number for a type of numbers."""

SCORES = (1, 10)
"""FLOAT and FLOAT16, of TensorProto.DataType."""
OUTPUTS = {"FLOAT": "float32", "HALF": "float16"}
"""By TensorRT's name for one."""


class Picture(NamedTuple):
    """What a file takes: one picture."""

    shape: tuple[int, ...]  # in the file's order
    kind: str  # of the numbers
    channels_first: bool
    batch_is_open: bool  # it would take several

    @property
    def size(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, *rest = self.shape
        return (rest[1], rest[2], rest[0]) if self.channels_first else (rest[0], rest[1], rest[2])

    @property
    def length_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.kind).itemsize


class Plan(NamedTuple):
    """A built engine, as TensorRT writes it."""

    engine: bytes
    precision: str  # "FP16", or nothing: the file's own


class Engine(Backend, Protocol):
    device_us: int | None
    """What the network took in the last `infer`, by the GPU's own clock, where it is told."""


class TensorRTBackend:
    """By the engine that `runtime` names, or else the one that can run the model. Facts tell which it is."""

    def __init__(self, model: ModelToRun) -> None:
        self._engine: Engine = ENGINES[_runtime(model)](model)

    def prepare(self, image: Image) -> Tensor:
        return self._engine.prepare(image)

    def infer(self, tensor: Tensor) -> Scores:
        return self._engine.infer(tensor)

    def facts(self) -> BackendFacts:
        return self._engine.facts()

    def close(self) -> None:
        self._engine.close()

    @property
    def device_us(self) -> int | None:
        return self._engine.device_us


class OnnxEngine:
    """An ONNX file through TensorRT's own Python API, 8.5 or newer; in FP16 where that is fast.

    TensorRT 11 has no such choice any more: it takes the precision of the file. What is built is kept beside
    the file, under a name that says for which TensorRT, GPU and content.
    """

    device_us: int | None = None

    def __init__(self, model: ModelToRun) -> None:
        if str(model.path) in NETWORKS:
            raise ModelError(
                f"{model.path} is a network of jetson-inference - leave out --runtime, or give an ONNX file"
            )
        picture = _picture(model.path)
        recipe = _recipe(model, picture)
        self._recipe = replace(recipe, fit=model.fit or recipe.fit)
        self._quantise = Quantiser(self._recipe, picture.kind, NOT_QUANTISED, picture.size[2])
        self._channels_first = picture.channels_first
        watch = Stopwatch()
        with native_chatter_logged():
            trt, self._cuda = _libraries()
        import_us = watch.lap_us()
        self._said = _listener(trt)
        self._context: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        try:
            plan, load_us = self._load(trt, model.path, picture, watch)
            outputs = self._connect(trt, picture)
        except BaseException:
            self.close()
            raise
        jetpack = read_jetpack()
        self._facts = BackendFacts(
            backend="tensorrt",
            runtime="tensorrt",
            version=trt.__version__,
            threads=model.threads,
            device=" ".join(filter(None, (self._cuda.gpu, plan.precision))),
            recipe=self._recipe,
            outputs=outputs,
            output=NOT_QUANTISED,
            loading=Loading(import_us, load_us, compile_us=watch.lap_us()),
            board=asdict(jetpack) | {"tensorrt": trt.__version__} if jetpack else {},
        )

    def prepare(self, image: Image) -> Tensor:
        tensor = tensor_of(image, self._recipe, self._quantise)
        return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2) if self._channels_first else tensor)

    def infer(self, tensor: Tensor) -> Scores:
        cuda, scores = self._cuda, np.empty_like(self._scores)
        cuda.call("cudaMemcpyAsync", self._given, tensor.ctypes.data, tensor.nbytes, cuda.there, self._stream)
        cuda.call("cudaEventRecord", self._started, self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise ModelError(f"the model failed while running: {_why(self._said)}")
        cuda.call("cudaEventRecord", self._ended, self._stream)
        cuda.call("cudaMemcpyAsync", scores.ctypes.data, self._taken, scores.nbytes, cuda.back, self._stream)
        cuda.call("cudaStreamSynchronize", self._stream)
        self.device_us = round(cuda.call("cudaEventElapsedTime", self._started, self._ended) * 1000)
        return scores.astype(np.float32, copy=False)

    def facts(self) -> BackendFacts:
        return self._facts

    def close(self) -> None:
        """The context first: it works with the engine, on the GPU's memory."""
        self._context = self._engine = self._runtime = None
        self._cuda.close()

    def _load(self, trt: Any, path: Path, picture: Picture, watch: Stopwatch) -> tuple[Plan, int]:
        """The engine that was kept, or a new one; and how long reading took."""
        content = path.read_bytes()
        place = path.with_name(f"{path.name}.{_key(trt.__version__, self._cuda, content)}.engine")
        self._runtime = _made(self._said, path.name, lambda: trt.Runtime(self._said))
        plan = _read(place)
        self._engine = self._runtime.deserialize_cuda_engine(plan.engine) if plan else None
        load_us = watch.lap_us()
        if plan is None or self._engine is None:
            if plan is not None:
                log.warning("TensorRT does not take the engine in %s, it is built again", place)
            plan = built = _build(trt, self._said, path.name, content, picture)
            _keep(plan, place)
            self._engine = _made(
                self._said, path.name, lambda: self._runtime.deserialize_cuda_engine(built.engine)
            )
        return plan, load_us

    def _connect(self, trt: Any, picture: Picture) -> int:
        """Give the engine memory for both ends, and a stream; how many classes it tells apart."""
        engine, cuda = self._engine, self._cuda
        self._context = context = _made(self._said, "the engine", engine.create_execution_context)
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        entry, result = sorted(names, key=lambda name: engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT)
        context.set_input_shape(entry, picture.shape)
        outputs = class_count([tuple(context.get_tensor_shape(result))])
        self._scores = np.empty(outputs, OUTPUTS[engine.get_tensor_dtype(result).name])
        self._stream = cuda.open("cudaStreamCreate", "cudaStreamDestroy")
        self._started, self._ended = (cuda.open("cudaEventCreate", "cudaEventDestroy") for _ in range(2))
        self._given = cuda.open("cudaMalloc", "cudaFree", picture.length_bytes)
        self._taken = cuda.open("cudaMalloc", "cudaFree", self._scores.nbytes)
        context.set_tensor_address(entry, int(self._given))
        context.set_tensor_address(result, int(self._taken))
        return outputs


class Cuda:
    """The GPU's memory and clock, by cuda-python. Every answer is checked."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self._opened = runtime, ExitStack()
        self.there = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.back = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        properties = self.call("cudaGetDeviceProperties", self.call("cudaGetDevice"))
        self.gpu = properties.name.decode().strip("\0 ")
        self.capability = f"{properties.major}.{properties.minor}"

    def call(self, name: str, *arguments: Any) -> Any:
        """A ModelError for what fails. Most failures are for good: the process can use the GPU no more."""
        code, *results = getattr(self._runtime, name)(*arguments)
        if code != self._runtime.cudaError_t.cudaSuccess:
            _, text = self._runtime.cudaGetErrorString(code)
            raise ModelError(f"the GPU failed: {text.decode()} ({name}) - free it of other work, start again")
        return results[0] if results else None

    def open(self, make: str, free: str, *arguments: Any) -> Any:
        handle = self.call(make, *arguments)
        self._opened.callback(self._free, free, handle)
        return handle

    def close(self) -> None:
        """All that was opened, the last first; once."""
        self._opened.close()

    def _free(self, name: str, handle: Any) -> None:
        try:
            self.call(name, handle)
        except ModelError as error:  # the one that led here was told already
            log.debug("%s", error)


# Which engine


def _runtime(model: ModelToRun) -> str:
    if model.runtime is not None:
        if model.runtime not in ENGINES:
            raise BackendUnavailable(f"no runtime is called {model.runtime} - known: {', '.join(ENGINES)}")
        return model.runtime
    if str(model.path) in NETWORKS:
        return "jetson-inference"
    onnx_ends(model.path)  # names what is wrong with the file, whatever is installed
    for runtime, modules in MODULES.items():
        if any(find_spec(module) for module in modules):
            return runtime
    raise BackendUnavailable(f"TensorRT is not installed - {install_route(read_jetpack())}")


def _libraries() -> tuple[Any, Cuda]:
    if find_spec("tensorrt") is None:
        raise BackendUnavailable(f"the runtime tensorrt is not installed - {install_route(read_jetpack())}")
    try:
        trt = import_module("tensorrt")
    except (ImportError, OSError, AttributeError) as error:
        raise BackendUnavailable(
            f"the runtime tensorrt does not load: {one_line(error)} - {install_route(read_jetpack())}"
        ) from error
    if not hasattr(trt.IExecutionContext, "execute_async_v3"):
        raise BackendUnavailable(
            f"TensorRT {trt.__version__} is too old for Labelcam, which needs 8.5"
            " - add --runtime jetson-inference"
        )
    try:
        runtime = _cuda_runtime()
    except ImportError as error:
        raise BackendUnavailable(
            f"TensorRT needs cuda-python: {one_line(error)}"
            " - pip install cuda-python, or with CUDA 12, as on JetPack 6: pip install 'cuda-python<13'"
        ) from error
    try:
        return trt, Cuda(runtime)
    except ModelError as error:
        reason, _, _ = str(error).partition(" - ")
        raise BackendUnavailable(f"TensorRT finds no GPU: {reason} - see what nvidia-smi says") from error


def _cuda_runtime() -> Any:
    try:
        return import_module("cuda.bindings.runtime")
    except ModuleNotFoundError:
        return import_module("cuda.cudart")  # its name before 12.6


# What the file says


def _picture(path: Path) -> Picture:
    """A ModelError for what is no image classifier, before minutes are spent on it."""
    inputs, outputs = onnx_ends(path)
    shapes = [_of_one_picture(end.shape) for end in inputs]
    first = [len(shape) == 4 and shape[1] in (1, 3) for shape in shapes]
    turned = [
        [shape[0], *shape[2:], shape[1]] if channels_first else shape
        for shape, channels_first in zip(shapes, first, strict=True)
    ]
    kinds = [INPUTS.get(end.kind, "object") for end in inputs]
    image_shape(list(zip(turned, kinds, strict=True)))
    if any(end.kind not in SCORES for end in outputs):
        raise ModelError(f"{path.name} gives its scores as no float32 or float16 - export it so")
    scores = [_of_one_picture(end.shape) for end in outputs]
    if len(scores) != 1 or min(scores[0], default=0) > 0:  # else the engine tells, once it is built
        class_count(scores)
    return Picture(tuple(shapes[0]), kinds[0], first[0], batch_is_open=-1 in inputs[0].shape)


def _of_one_picture(shape: list[int]) -> list[int]:
    return [1, *shape[1:]] if shape[:1] == [-1] else shape


def _recipe(model: ModelToRun, picture: Picture) -> Recipe:
    """The catalogue's, or the numbers asked for, or what PyTorch's models take and jetson-inference gives."""
    height, width, channels = picture.size
    silent = (model.recipe, model.mean, model.std) == (None, None, None)
    if silent and picture.kind == "float32" and channels == 3:
        log.warning("the model takes floats and does not say which: assuming ImageNet's (see --mean, --std)")
        model = replace(model, recipe=Recipe((width, height), mean=ONNX_MEAN, std=ONNX_STD))
    return recipe_for(model, picture.size, picture.kind)


# What TensorRT says


@cache
def _listener(trt: Any) -> Any:
    """One for the whole process: TensorRT stays with the first it was given, whatever it is given later."""
    severity = trt.ILogger.Severity

    class Listener(trt.ILogger):  # type: ignore[misc]  # TensorRT has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
            if level != severity.VERBOSE:  # a hundred thousand lines
                log.debug("%s", message)

    return Listener()


def _why(said: Any) -> str:
    return "; ".join(said.errors) or "TensorRT does not say why"


def _made(said: Any, name: str, make: Callable[[], Any]) -> Any:
    """What TensorRT makes. It refuses by None, or by a TypeError that says nothing."""
    said.errors.clear()
    try:
        made = make()
    except TypeError:
        made = None
    if made is None:
        raise ModelError(f"TensorRT cannot run {name}: {_why(said)}")
    return made


# Building


def _build(trt: Any, said: Any, name: str, content: bytes, picture: Picture) -> Plan:
    log.warning("building the TensorRT engine of %s: this takes minutes the first time", name)
    builder = _made(said, name, lambda: trt.Builder(said))
    flag = getattr(
        trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None
    )  # before 10 one has to ask for it
    network = _made(said, name, lambda: builder.create_network(0 if flag is None else 1 << int(flag)))
    parser = trt.OnnxParser(network, said)
    if not parser.parse(content):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise ModelError(f"TensorRT cannot read {name}: {' '.join('; '.join(errors).split())}")
    config = builder.create_builder_config()
    precision = ""
    if getattr(builder, "platform_has_fast_fp16", False):
        config.set_flag(trt.BuilderFlag.FP16)
        precision = "FP16"
    if picture.batch_is_open:
        profile = builder.create_optimization_profile()
        profile.set_shape(network.get_input(0).name, picture.shape, picture.shape, picture.shape)
        config.add_optimization_profile(profile)
    monitor = _monitor(trt)
    if monitor is not None:
        config.progress_monitor = monitor
    build = partial(builder.build_serialized_network, network, config)
    engine = _made(said, name, lambda: _patiently(build, name, monitor))
    return Plan(bytes(engine), precision)


def _patiently(build: Callable[[], Any], name: str, monitor: Any) -> Any:
    """In a thread of its own, so that Ctrl-C is heard; and with a word from time to time."""
    started = time.monotonic()
    pool = ThreadPoolExecutor(1, "tensorrt-build")
    try:
        building = pool.submit(build)
        while not wait([building], PROGRESS_S).done:
            step = f", {monitor.step()}" if monitor is not None else ""
            log.warning("still building the engine of %s, %.0f s%s", name, time.monotonic() - started, step)
        return building.result()
    finally:
        if monitor is not None:
            monitor.stopped = True
        pool.shutdown(wait=False)


def _monitor(trt: Any) -> Any:
    """Hears from TensorRT, 9 or newer, how far it is, and tells it to stop. None: it does not tell."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # TensorRT has no types
        """Called by several threads. Phases are nested, the outermost was there first."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped = False
            self.phases: dict[str, tuple[int, int]] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.phases[name] = (0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            _, steps = self.phases.get(name, (0, 0))
            self.phases[name] = (step + 1, steps)
            return not self.stopped

        def phase_finish(self, name: str) -> None:
            self.phases.pop(name, None)

        def step(self) -> str:
            phases = list(self.phases.items())
            return "{0}: step {1[0]} of {1[1]}".format(*phases[0]) if phases else "starting"

    return Monitor()


# Keeping what was built


def _key(version: str, cuda: Cuda, content: bytes) -> str:
    """For what an engine was built. Its precision follows from TensorRT and GPU, and is in the file."""
    gpu = re.sub(r"\W+", "-", cuda.gpu)
    return f"trt{version}.{gpu}.sm{cuda.capability}.{hashlib.sha256(content).hexdigest()[:16]}"


def _read(place: Path) -> Plan | None:
    """TensorRT itself is not to be trusted with a file that is cut off or changed."""
    try:
        head, _, engine = place.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("cannot read the engine kept in %s (%s), it is built again", place, error.strerror)
        return None
    digest, _, precision = head.decode("ascii", "replace").partition(" ")
    if digest == hashlib.sha256(engine).hexdigest():
        return Plan(engine, precision)
    log.warning("the engine kept in %s is damaged, it is built again", place)
    return None


def _keep(plan: Plan, place: Path) -> None:
    """Whole or not at all. Without room for it Labelcam still runs, and builds it again at the next start."""
    part = place.with_name(f".{place.name}.part")
    head = f"{hashlib.sha256(plan.engine).hexdigest()} {plan.precision}\n".encode()
    try:
        with part.open("wb") as file:
            file.write(head + plan.engine)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    except OSError as error:
        log.warning(
            "the engine cannot be kept in %s (%s): it will be built again at every start",
            place.parent,
            error.strerror,
        )
        with suppress(OSError):
            part.unlink()


ENGINES: Mapping[str, Callable[[ModelToRun], Engine]] = {
    "tensorrt": OnnxEngine,
    "jetson-inference": JetsonInferenceBackend,
}
"""By runtime; for ONNX files the first that is installed."""

MODULES = {"tensorrt": ("tensorrt",), "jetson-inference": ("jetson_inference", "jetson")}
"""By runtime, names it is installed under."""
