"""TensorFlow models, whole ones and the weights of Keras Applications, run in one of four ways."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backends.base import (
    BackendFacts,
    BackendUnavailable,
    Loading,
    ModelToRun,
    Stopwatch,
    Tensor,
    class_count,
    head_of,
    image_shape,
    one_line,
    recipe_for,
    tensor_of,
)
from backends.chatter import native_chatter_logged
from models.catalogue import Application
from models.errors import ModelError
from models.recipe import NOT_QUANTISED, Image, Quantiser
from models.scores import Scores

DEFAULT_MODE = "graph"
"""The fastest that is correct. EfficientNet-Lite0 and -B0, one thread of an AMD EPYC, medians in ms: graph
12.2 and 18.4, function 13.1 and 18.5, eager 88 and 246, xla 208 and 219; with two threads graph leads too."""

REQUIREMENTS = "requirements-tensorflow.txt"

IMAGENET_STD = np.array((0.229, 0.224, 0.225), np.float32)  # of red, green and blue, from 0 to 1

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Keras, h5py and zipfile raise over a file they cannot make sense of."""


class Libraries(NamedTuple):
    tf: Any
    keras: Any


@dataclass(frozen=True)
class Network:
    """What a file holds: a function from a picture's tensor to that of its scores, and both ends of it."""

    call: Callable[[Any], Any]
    inputs: Sequence[tuple[list[int], npt.DTypeLike]]  # shape and type
    outputs: Sequence[list[int]]  # shapes
    in_steps: bool = False  # `call` runs one operation after the other, unless it is traced


class Runner(NamedTuple):
    run: Callable[[Tensor], Any]  # a picture's tensor to its scores, as an array of any kind
    close: Callable[[], None] = lambda: None


class TensorFlowBackend:
    """Reads .keras, .h5, a frozen .pb, the folder of a SavedModel, and, for an application, weights alone.

    The mode is how it is run. `graph`: a frozen graph in a session, as in TensorFlow 1. `function`: the same
    graph as a concrete function. `eager`: one operation after the other, TensorFlow 2's default. `xla`:
    compiled for this processor, in the first run.

    TensorFlow has one pool of threads in a process, made for the first model; another number is refused.
    """

    def __init__(self, model: ModelToRun) -> None:
        read, mode = _reader(model), model.mode or DEFAULT_MODE
        watch = Stopwatch()
        with native_chatter_logged(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' words to their own developers
            libraries = _libraries()
            tf = libraries.tf
            import_us = watch.lap_us()
            device = _set_up(tf, model.threads)
            with _refusing(model.path, tf):
                network = read(libraries, model)
            load_us = watch.lap_us()
            inputs = _with_size(network.inputs, model)
            shape, dtype, outputs = image_shape(inputs), np.dtype(inputs[0][1]), class_count(network.outputs)
            recipe = recipe_for(model, shape, dtype)
            with _refusing(model.path, tf):
                self._runner = RUNNERS[mode](tf, network, tf.TensorSpec((1, *shape), dtype))
            compile_us = watch.lap_us()
            del network
            gc.collect()  # Keras's networks are circles: 350 MB less in the first run of EfficientNet-B4
        self._failure = tf.errors.OpError
        self._recipe = replace(recipe, fit=model.fit or recipe.fit)
        self._quantise = Quantiser(self._recipe, dtype, NOT_QUANTISED, channels=shape[2])
        self._facts = BackendFacts(
            backend="tensorflow",
            runtime="tensorflow",
            version=tf.__version__,
            threads=model.threads,
            device=device,
            recipe=self._recipe,
            outputs=outputs,
            output=NOT_QUANTISED,
            loading=Loading(import_us, load_us, compile_us),
            mode=mode,
        )

    def prepare(self, image: Image) -> Tensor:
        return tensor_of(image, self._recipe, self._quantise)

    def infer(self, tensor: Tensor) -> Scores:
        try:
            scores = self._runner.run(tensor)
        except self._failure as error:
            raise ModelError(f"the model failed while running: {_gist(error)}") from error
        return np.asarray(scores, np.float32).reshape(-1)

    def facts(self) -> BackendFacts:
        return self._facts

    def close(self) -> None:
        self._runner.close()
        self._runner = Runner(_closed)


def _closed(tensor: Tensor) -> Scores:
    raise ModelError("the model is closed")


# The library


def _libraries() -> Libraries:
    if find_spec("tensorflow") is None:
        raise BackendUnavailable(f"TensorFlow is not installed - pip install -r {REQUIREMENTS}")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # ~/.keras/keras.json may name another
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # a first run tells of MLIR and XLA otherwise
    _map_library()
    try:
        with _without_collections():
            tf, keras = import_module("tensorflow"), import_module("keras")
    except (ImportError, AttributeError, TypeError) as error:  # the latter two of a NumPy that does not fit
        raise BackendUnavailable(
            f"TensorFlow does not load: {_gist(error)} - pip install --force-reinstall -r {REQUIREMENTS}"
        ) from error
    keras.config.set_image_data_format("channels_last")  # that file again
    keras.config.set_floatx("float32")
    return Libraries(tf, keras)


def _map_library() -> None:
    """Have the system load TensorFlow's largest library, before Python does.

    Python holds its lock meanwhile, for 0.3 to 0.7 s: every other thread stands still, and a live video with
    them. A call into C does not.
    """
    spec = find_spec("tensorflow")
    folders = (spec.submodule_search_locations if spec else None) or []
    for library in [path for folder in folders for path in Path(folder).glob("libtensorflow_cc.so*")]:
        system = ctypes.CDLL(None)
        system.dlopen.restype = ctypes.c_void_p
        system.dlopen(os.fsencode(library), os.RTLD_NOW)  # never closed, as Python never would


@contextmanager
def _without_collections() -> Iterator[None]:
    """What comes with a library stays for ever. Looking for garbage in it stops every thread for 0.15 s, each
    time; from now on nobody looks."""
    if "tensorflow" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _set_up(tf: Any, threads: int) -> str:
    """Start TensorFlow, unless it runs, and say on which device.

    A session may ask for another number of threads than the first one got, and is not told that it does not
    get it: what counts is what TensorFlow started with.
    """
    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        running = threading.get_intra_op_parallelism_threads() or "all its"
        raise BackendUnavailable(
            f"TensorFlow runs with {running} threads in this process since its first model, and cannot change"
            f" to {threads} - ask for the same number, or for one model at a time"
        ) from error
    threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # on a Jetson it is everybody's memory
    return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"


@contextmanager
def _refusing(path: Path, tf: Any) -> Iterator[None]:
    broken = import_module("google.protobuf.message").DecodeError
    try:
        yield
    except (*UNREADABLE, tf.errors.OpError, broken) as error:
        raise ModelError(f"{path.name} cannot be loaded: {_gist(error)}") from error


def _gist(error: Exception) -> str:
    """Keras explains itself over pages, with what went wrong behind what it was doing."""
    line = one_line(error).rpartition("Exception encountered: ")[2] or type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]}..."


# Files to networks


def _reader(model: ModelToRun) -> Callable[[Libraries, ModelToRun], Network]:
    """Who reads the file, by its name and its first bytes."""
    path = model.path
    if path.is_dir():
        if not (path / "saved_model.pb").exists():
            raise ModelError(f"{path} is a folder without a saved_model.pb - give a SavedModel or a file")
        return _read_saved_model
    head = head_of(path)
    if path.name == "saved_model.pb":
        raise ModelError(f"{path} is one file of a SavedModel - give the whole folder, {path.parent}")
    if path.suffix not in READERS:
        raise ModelError(
            f"{path} is of no kind that TensorFlow runs ({', '.join(READERS)}, the folder of a SavedModel)"
        )
    mark, read = READERS[path.suffix]
    if not head.startswith(mark):
        raise ModelError(f"{path} is not what its name says, a {path.suffix} file - download it again")
    return read


def _read_keras(libraries: Libraries, model: ModelToRun) -> Network:
    if not zipfile.is_zipfile(model.path):  # its end is missing; Keras would say that there is no such file
        raise ModelError(f"{model.path} is not a whole .keras file - download it again")
    return _load(libraries, model)


def _load(libraries: Libraries, model: ModelToRun) -> Network:
    return _of_keras(libraries.tf, libraries.keras.saving.load_model(model.path, compile=False), model.path)


def _read_h5(libraries: Libraries, model: ModelToRun) -> Network:
    """A whole model, or the weights of an application."""
    if model.application is not None:
        network = _build(libraries.keras, model.application)
        network.load_weights(model.path)
        if model.application.name.startswith("EfficientNetB"):
            _divide_by_std_again(network)
        return _of_keras(libraries.tf, network, model.path)
    with import_module("h5py").File(model.path) as file:
        whole = "model_config" in file.attrs
    if not whole:
        raise ModelError(
            f"{model.path.name} holds weights and not the network they belong to"
            " - save the whole model (model.save), or choose one of: python run.py models list"
        )
    return _load(libraries, model)


def _build(keras: Any, application: Application) -> Any:
    options = {} if application.alpha is None else {"alpha": application.alpha}
    return getattr(keras.applications, application.name)(weights=None, **options)


def _divide_by_std_again(network: Any) -> None:
    """What Keras does to these weights under the name "imagenet", and only then.

    The published files have the standard deviation where the layer takes a variance, so that it divides by
    its root only. Keras mends that with one more layer behind it; here the first convolution takes it in.
    Without, the answers are wrong and look right. (keras/src/applications/efficientnet.py, TensorFlow's
    issue 49930)
    """
    stem = network.get_layer("stem_conv")
    (kernel,) = stem.get_weights()  # (rows, columns, colours, filters)
    stem.set_weights([kernel / np.sqrt(IMAGENET_STD)[:, np.newaxis]])


def _of_keras(tf: Any, network: Any, path: Path) -> Network:
    if not getattr(network, "inputs", None):
        raise ModelError(f"{path.name} does not say what its input is - call the model once, then save it")
    return Network(
        call=lambda picture: _only(tf, network(picture, training=False)),
        inputs=[_end(tf, tensor) for tensor in network.inputs],
        outputs=[_end(tf, tensor)[0] for tensor in network.outputs],
        in_steps=True,
    )


def _read_saved_model(libraries: Libraries, model: ModelToRun) -> Network:
    tf = libraries.tf
    loaded = tf.saved_model.load(str(model.path))
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        found = ", ".join(loaded.signatures) or "none"
        raise ModelError(f"{model.path.name} has no signature serving_default; it has: {found}")
    named = signature.structured_input_signature[1]

    def call(picture: Any, _owner: Any = loaded) -> Any:  # a signature does not keep its variables alive
        return _only(tf, signature(**dict.fromkeys(named, picture)))

    return Network(
        call,
        inputs=[_end(tf, tensor) for tensor in named.values()],
        outputs=[_end(tf, tensor)[0] for tensor in tf.nest.flatten(signature.structured_outputs)],
    )


def _read_frozen(libraries: Libraries, model: ModelToRun) -> Network:
    tf = libraries.tf
    graph = tf.compat.v1.GraphDef.FromString(model.path.read_bytes())
    if any(node.op in ("Variable", "VariableV2", "VarHandleOp") for node in graph.node):
        raise ModelError(f"{model.path.name} is not frozen, its variables' values are in other files")
    used = {name.lstrip("^").partition(":")[0] for node in graph.node for name in node.input}
    starts = [node for node in graph.node if node.op == "Placeholder"]
    idle = ("NoOp", "Placeholder")
    ends = [node.name for node in graph.node if node.name not in used and node.op not in idle]
    if len(starts) != 1 or len(ends) != 1:
        raise ModelError(
            f"{model.path.name} begins at {_some([node.name for node in starts])} and ends at {_some(ends)};"
            " an image classifier has one input and one output"
        )
    start = starts[0]
    shape, dtype = _end(tf, tf.TensorSpec(start.attr["shape"].shape, start.attr["dtype"].type))

    def imported(picture: Any) -> Any:
        names = {f"{start.name}:0": picture}
        (scores,) = tf.graph_util.import_graph_def(graph, names, return_elements=[f"{ends[0]}:0"], name="")
        return scores

    open_shape = [None if length == -1 else length for length in shape]
    function = tf.compat.v1.wrap_function(imported, [tf.TensorSpec(open_shape, dtype)])
    return Network(function, [(shape, dtype)], [_end(tf, function.outputs[0])[0]])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def _end(tf: Any, tensor: Any) -> tuple[list[int], npt.DTypeLike]:
    """Shape and type of an input or output. Pictures come one at a time, where the file takes any number."""
    shape = tf.TensorShape(tensor.shape)
    lengths = [-1 if length is None else length for length in shape.as_list()] if shape.rank else []
    if lengths[:1] == [-1]:
        lengths[0] = 1
    return lengths, tf.as_dtype(tensor.dtype).as_numpy_dtype


def _only(tf: Any, outputs: Any) -> Any:
    """The one tensor of a list, a dictionary, or by itself."""
    (tensor,) = tf.nest.flatten(outputs)
    return tensor


def _with_size(
    inputs: Sequence[tuple[list[int], npt.DTypeLike]], model: ModelToRun
) -> list[tuple[list[int], npt.DTypeLike]]:
    """A network that takes any size gets that of the recipe."""
    sized = []
    for shape, dtype in inputs:
        if len(shape) == 4 and -1 in shape[1:3]:
            if model.recipe is None:
                raise ModelError(
                    f"{model.path.name} takes pictures of any size and does not say which is best"
                    " - export it with the size it was trained with"
                )
            width, height = model.recipe.size
            shape = [shape[0], height, width, shape[3]]
        sized.append((shape, dtype))
    return sized


READERS = {".keras": (b"PK", _read_keras), ".h5": (b"\x89HDF", _read_h5), ".pb": (b"", _read_frozen)}
"""By the end of a file's name: its first bytes, and who reads it."""


# Networks to runners


def _frozen(tf: Any, network: Network, picture: Any) -> Any:
    """The network as a concrete function whose variables have become constants."""
    freeze = import_module("tensorflow.python.framework.convert_to_constants")
    traced = tf.function(network.call).get_concrete_function(picture)
    return freeze.convert_variables_to_constants_v2(traced)


def _graph(tf: Any, network: Network, picture: Any) -> Runner:
    function = _frozen(tf, network, picture)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(function.graph.as_graph_def(), name="")
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=tf.config.threading.get_intra_op_parallelism_threads(),
        inter_op_parallelism_threads=1,
        use_per_session_threads=True,
    )
    config.gpu_options.allow_growth = True
    session = tf.compat.v1.Session(graph=graph, config=config)
    run = session.make_callable(function.outputs[0].name, feed_list=[function.inputs[0].name])
    return Runner(run, session.close)


def _function(tf: Any, network: Network, picture: Any) -> Runner:
    function = _frozen(tf, network, picture)
    return Runner(lambda tensor: _only(tf, function(tf.constant(tensor))).numpy())


def _eager(tf: Any, network: Network, picture: Any) -> Runner:
    if not network.in_steps:
        raise ModelError(
            "a SavedModel and a frozen graph have no operations to run one by one"
            f" - take --mode {DEFAULT_MODE}, or give a .keras or .h5 file"
        )
    return Runner(lambda tensor: network.call(tf.constant(tensor)).numpy())


def _xla(tf: Any, network: Network, picture: Any) -> Runner:
    function = tf.function(network.call, input_signature=[picture], jit_compile=True)
    return Runner(lambda tensor: function(tf.constant(tensor)).numpy())


RUNNERS = {"graph": _graph, "function": _function, "eager": _eager, "xla": _xla}
"""By mode. `picture` is the shape and type of what will come."""
