"""The backend tensorrt: which engine runs what; and TensorRT's own, against stand-ins. It ran on no GPU."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from backends import Backend, BackendUnavailable, ModelToRun, load_backend
from backends import tensorrt as engine
from backends.jetpack import install_route
from backends.jetson_inference import NETWORKS
from backends.onnx_file import FLOAT32
from models.catalogue import BUILT_IN, CATALOGUE, find_spec
from models.errors import ModelError
from models.files import find
from models.recipe import Recipe, as_image
from stream.loading import ModelWish, load_model
from tests import jetson_standin
from tests.tensorrt_standin import GENERATIONS, World, installed
from tests.test_backends import (  # noqa: F401  # the contract of every backend
    Subject,
    loaded,
    noise,
    one_line,
    plain,
    test_a_picture_of_any_size_becomes_the_models_tensor,
    test_a_picture_that_may_not_be_written_is_taken,
    test_a_view_that_is_not_contiguous_is_the_same_as_its_copy,
    test_it_may_be_closed_twice,
    test_it_says_who_runs_the_model_and_how,
    test_scores_outlive_the_backend,
    test_the_fit_asked_for_is_the_fit_in_the_facts,
    test_the_thread_that_infers_is_another_than_loaded_it_and_a_third_may_prepare,
    test_there_is_a_score_for_each_class_and_it_is_the_callers_to_keep,
)

ROOT = Path(__file__).resolve().parent.parent
RECIPE = Recipe((6, 4), mean=(127.5,), std=(127.5,))
COLOURS = (plain(0, 0, 255), plain(0, 255, 0), plain(255, 0, 0))
"""Red, green and blue: what the tiny model tells apart."""


def write_colours(
    path: Path,
    shape: tuple[int | str, ...] = (1, 3, 4, 6),
    operator: str = "Softmax",
    outputs: int = 1,
    kind: int = 1,
) -> Path:
    """The mean of each channel, wherever the channels are, then a soft-max."""
    helper = pytest.importorskip("onnx.helper", reason="pip install -r requirements-dev.txt")
    axes = [2, 3] if shape[1] in (1, 3) else [1, 2]
    classes = shape[1] if shape[1] in (1, 3) else shape[3]
    nodes = [
        helper.make_node("Cast", ["picture"], ["floats"], to=FLOAT32),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        helper.make_node(operator, ["means"], ["scores"], **({"axis": 1} if operator == "Softmax" else {})),
        helper.make_node("Identity", ["means"], ["means again"]),
    ]
    entry = helper.make_tensor_value_info("picture", kind, shape)
    ends = [
        helper.make_tensor_value_info(name, FLOAT32, [shape[0], classes])
        for name in ("scores", "means again")
    ]
    graph = helper.make_graph(nodes, "colours", [entry], ends[:outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "colours.onnx")


@pytest.fixture
def world() -> Iterator[World]:
    with installed(World()) as world:
        yield world


def load(path: Path, **options: Any) -> Backend:
    return load_backend("tensorrt", ModelToRun(path, options.pop("recipe", RECIPE), **options))


def refusal(path: Path, **options: Any) -> str:
    """Why this cannot be loaded, in one line."""
    with pytest.raises((ModelError, BackendUnavailable)) as caught:
        load(path, **options)
    assert one_line(caught.value)
    return str(caught.value)


def kept(folder: Path) -> list[Path]:
    """Engines, and what is left of writing them."""
    return [path for path in folder.iterdir() if ".engine" in path.name]


def names_the_colours(backend: Backend) -> bool:
    return [int(backend.infer(backend.prepare(colour)).argmax()) for colour in COLOURS] == [0, 1, 2]


# What every backend promises, by TensorRT of each generation.


@pytest.fixture(scope="module", params=GENERATIONS)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with installed(World(request.param, old_cuda=request.param.startswith("8"))):
        yield Subject("tensorrt")


@pytest.fixture(scope="module")
def wish(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> ModelToRun:
    return ModelToRun(write_colours(tmp_path_factory.mktemp("tiny") / "colours.onnx"), RECIPE)


@pytest.fixture(scope="module")
def backend(subject: Subject, wish: ModelToRun) -> Iterator[Backend]:
    backend = loaded(subject, wish)
    yield backend
    backend.close()


# Nothing, or not all, is installed.


@pytest.mark.parametrize("runtime", [None, "tensorrt"])
def test_without_tensorrt_it_says_how_to_install_it(file: Path, runtime: str | None) -> None:
    with installed(World(), tensorrt_itself=False):
        message = refusal(file, runtime=runtime)
    assert "is not installed" in message
    assert message.endswith(install_route(None))


def test_without_cuda_python_it_says_how_to_install_that(file: Path) -> None:
    with installed(World(), cuda=False):
        assert "pip install cuda-python" in refusal(file)


def test_a_tensorrt_that_does_not_load_is_one_line(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open\\nNo such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert "the runtime tensorrt does not load: libnvinfer.so.10: cannot open No such file - " in refusal(
        file
    )


def test_a_tensorrt_that_is_too_old_is_told(file: Path, world: World) -> None:
    del sys.modules["tensorrt"].IExecutionContext.execute_async_v3
    assert "needs 8.5 - add --runtime jetson-inference" in refusal(file)


def test_without_a_gpu_it_says_so_before_tensorrt_is_asked(file: Path) -> None:
    with installed(World(has_gpu=False)):
        message = refusal(file)
    assert message.startswith("TensorRT finds no GPU: ")
    assert "driver version is insufficient" in message
    assert kept(file.parent) == []


# Which engine.


def with_jetson_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name: what it has is another test's matter."""
    for name in ("jetson_inference", "jetson_utils"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)


def test_an_unknown_runtime_is_refused_and_the_known_ones_named(file: Path, world: World) -> None:
    assert refusal(file, runtime="trt") == "no runtime is called trt - known: tensorrt, jetson-inference"
    assert refusal(file, runtime="litert") == "litert is a runtime of tflite - add --backend tflite"


def test_a_runtime_asked_for_is_never_replaced(
    file: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "jetson-inference is not installed" in refusal(file, runtime="jetson-inference", labels=file)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with_jetson_inference(monkeypatch)
    assert "the runtime tensorrt is not installed" in refusal(file, runtime="tensorrt")


def test_an_onnx_file_takes_tensorrt_itself_and_without_it_jetson_inference(
    file: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_jetson_inference(monkeypatch)
    backend = load(file)
    assert backend.facts().runtime == "tensorrt"
    assert "tensorrt, tensorrt 10.3.0" in str(backend.facts())
    backend.close()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "jetson-inference does not load: it was built without imageNet" in refusal(file, labels=file)


def test_networks_of_jetson_inference_never_go_to_tensorrt_itself(world: World) -> None:
    for name in NETWORKS:
        assert "jetson-inference is not installed" in refusal(Path(name))
    assert "a network of jetson-inference - leave out --runtime" in refusal(
        Path("googlenet"), runtime="tensorrt"
    )


def test_every_network_of_jetson_inference_is_in_the_catalogue_and_no_other() -> None:
    brought = {spec.name for spec in CATALOGUE.values() if spec.comes_with == "tensorrt"}
    assert brought == set(NETWORKS)


@pytest.mark.parametrize("name", jetson_standin.FILES)
def test_a_network_of_jetson_inference_runs_by_its_name_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = tmp_path / "networks"
    networks.mkdir()
    jetson_standin.write_networks(networks, find(name, find_spec(name).labels))
    monkeypatch.chdir(tmp_path)  # where the library looks first
    with jetson_standin.installed(jetson_standin.Library(jetson_standin.G3B, networks)):
        model = load_model(ModelWish(name))
        record = model.record()
        assert (record["backend"], record["runtime"], record["model"]) == (
            "tensorrt",
            "jetson-inference",
            name,
        )
        assert len(str(record["model_sha256"])) == 64
        assert model.size_bytes == len(b"a network")
        assert model.backend.facts().outputs == len(model.reading.labels.names) == 1000
        model.backend.close()


# What is refused before minutes are spent on it.


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((1, 3), {}, "input is [1, 3]"),
        ((2, 3, 4, 6), {}, "input is [2, 4, 6, 3]"),
        ((1, 4, 5, 6), {}, "input is [1, 4, 5, 6]"),
        ((1, 3, "height", "width"), {}, "input is [1, -1, -1, 3]"),
        ((1, 3, 4, 6), {"outputs": 2}, "2 outputs"),
        ((1, 1, 4, 6), {}, "of shape [1, 1]"),
        ((1, 3, 4, 6), {"kind": 10}, "input type float16"),
        ((1, 3, 8, 8), {}, "takes pictures of 8x8"),
    ],
)
def test_what_is_no_image_classifier_is_one_line(
    tmp_path: Path, world: World, shape: Any, options: Any, expected: str
) -> None:
    assert expected in refusal(write_colours(tmp_path / "odd.onnx", shape, **options))
    assert world.calls == [], "the GPU was asked already"


@pytest.mark.parametrize("content", [b"", b"text\n" * 100, bytes(1000)])
def test_what_is_no_onnx_file_is_one_line(tmp_path: Path, world: World, content: bytes) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    assert "foreign.onnx is not an ONNX model" in refusal(path)


def test_a_file_that_is_not_there_is_told_before_what_is_not_installed(tmp_path: Path) -> None:
    with installed(World(), tensorrt_itself=False, cuda=False):
        assert "cannot read the model" in refusal(tmp_path / "nowhere.onnx")


def test_all_that_the_parser_cannot_read_is_in_one_line(tmp_path: Path, world: World) -> None:
    path = write_colours(tmp_path / "odd.onnx", operator="Erf")
    assert refusal(path) == "TensorRT cannot read odd.onnx: No importer registered for op: Erf"


# Running.


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("shape", [(1, 3, 4, 6), ("batch", 3, 4, 6), (1, 4, 6, 3), ("batch", 4, 6, 3)])
def test_channels_go_where_the_file_has_them_and_pictures_one_by_one(
    tmp_path: Path, version: str, shape: Any
) -> None:
    with installed(World(version)):
        backend = load(write_colours(tmp_path / "colours.onnx", shape))
        tensor = backend.prepare(COLOURS[0])
        assert tensor.shape == (1, *shape[1:])
        assert tensor.flags.c_contiguous
        assert names_the_colours(backend)
        backend.close()


def test_the_scores_are_those_of_the_file(tmp_path: Path) -> None:
    with installed(World(fast_fp16=False)):
        backend = load(write_colours(tmp_path / "colours.onnx"))
        assert backend.infer(backend.prepare(COLOURS[1])) == pytest.approx(softmax([-1, 1, -1]), abs=1e-6)
        backend.close()


def softmax(values: list[float]) -> Any:
    powers = np.exp(values)
    return powers / powers.sum()


def test_integers_take_the_pixels_themselves(tmp_path: Path, world: World) -> None:
    backend = load(write_colours(tmp_path / "colours.onnx", kind=2), recipe=None)
    assert backend.prepare(COLOURS[0]).dtype == np.uint8
    assert names_the_colours(backend)
    backend.close()


def test_floats_that_nobody_explains_are_imagenets_and_that_is_said(
    file: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    backend = load(file, recipe=None)
    assert "assuming ImageNet's (see --mean, --std)" in caplog.text
    white = backend.prepare(plain(255, 255, 255))
    assert white[0, :, 0, 0] == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    backend.close()
    caplog.clear()
    backend = load(file, recipe=None, mean=0.0, std=255.0)
    assert "assuming" not in caplog.text
    assert backend.prepare(plain(255, 255, 255)).min() == pytest.approx(1.0)
    backend.close()


@pytest.mark.parametrize(
    ("version", "fast", "device"),
    [
        ("8.6.1", True, "Orin (nvgpu) FP16"),
        ("8.6.1", False, "Orin (nvgpu)"),
        ("10.3.0", True, "Orin (nvgpu) FP16"),
        ("11.4.0", True, "Orin (nvgpu)"),  # has no such choice
    ],
)
def test_it_is_fp16_where_that_is_fast_and_facts_say_so_of_a_kept_engine_too(
    file: Path, version: str, fast: bool, device: str
) -> None:
    for _ in range(2):
        with installed(World(version, fast_fp16=fast)):
            backend = load(file)
            assert backend.facts().device == device
            assert backend.facts().version == version
            backend.close()


def test_the_time_of_the_gpu_is_told_and_infer_waits_for_it(file: Path, world: World) -> None:
    backend = engine.TensorRTBackend(ModelToRun(file, RECIPE))
    assert backend.device_us is None
    backend.infer(backend.prepare(COLOURS[0]))
    assert world.kernels == 1
    assert isinstance(backend.device_us, int)
    backend.close()


@pytest.mark.parametrize("name", ["cudaMemcpyAsync", "cudaEventRecord", "cudaStreamSynchronize"])
def test_a_gpu_that_fails_while_running_is_one_line_and_close_still_works(
    file: Path, world: World, name: str
) -> None:
    backend = load(file)
    tensor = backend.prepare(COLOURS[0])
    world.failing[name] = 700
    with pytest.raises(ModelError, match="an illegal memory access was encountered") as caught:
        backend.infer(tensor)
    assert one_line(caught.value)
    assert name in str(caught.value)
    backend.close()


def test_an_execution_that_is_refused_says_why(file: Path, world: World) -> None:
    backend = load(file)
    world.failing["execute_async_v3"] = 1
    with pytest.raises(ModelError, match="Parameter check failed"):
        backend.infer(backend.prepare(COLOURS[0]))
    backend.close()


@pytest.mark.parametrize("name", ["cudaMalloc", "cudaStreamCreate", "cudaEventCreate"])
def test_what_a_load_opened_before_it_failed_is_freed(file: Path, world: World, name: str) -> None:
    world.failing[name] = 2
    assert "out of memory" in refusal(file)
    gc.collect()
    assert (world.memory, world.handles) == ({}, set())


def test_a_gpu_without_room_for_the_engine_says_so(file: Path, world: World) -> None:
    world.failing["create_execution_context"] = 1
    assert "Requested amount of GPU memory could not be allocated" in refusal(file)


def test_close_frees_everything_once_and_in_order(file: Path, world: World) -> None:
    backend = load(file)
    backend.infer(backend.prepare(COLOURS[0]))
    gc.collect()
    world.freed.clear()
    backend.close()
    assert world.freed == ["context", "engine", "runtime"]
    assert (world.memory, world.handles) == ({}, set())
    backend.close()


def test_a_second_model_says_why_it_failed_though_tensorrt_keeps_the_first_ones_logger(
    tmp_path: Path, file: Path, world: World
) -> None:
    load(file).close()
    gc.collect()
    world.refuses_plans = True
    assert "Serialization assertion failed" in refusal(write_colours(tmp_path / "two.onnx", (1, 4, 6, 3)))


# The kept engine.


def test_the_second_start_builds_nothing(file: Path, world: World, caplog: pytest.LogCaptureFixture) -> None:
    backend = load(file)
    assert "building the TensorRT engine of colours.onnx: this takes minutes the first time" in caplog.text
    backend.close()
    caplog.clear()
    backend = load(file)
    assert names_the_colours(backend)
    backend.close()
    assert (world.builds, caplog.text) == (1, "")
    assert len(kept(file.parent)) == 1


@pytest.mark.parametrize(
    "other",
    [World("10.13.0"), World(gpu="NVIDIA H200"), World(capability=(9, 0))],
    ids=["TensorRT", "GPU", "capability"],
)
def test_the_engine_of_another_tensorrt_or_gpu_is_left_alone(file: Path, world: World, other: World) -> None:
    load(file).close()
    before = kept(file.parent)[0].read_bytes()
    with installed(other):
        load(file).close()
    assert other.builds == 1
    assert len(kept(file.parent)) == 2
    load(file).close()
    assert world.builds == 1
    assert before in [path.read_bytes() for path in kept(file.parent)]


def test_a_changed_model_is_built_again(file: Path, world: World) -> None:
    load(file).close()
    write_colours(file, (1, 4, 6, 3))
    backend = load(file)
    assert names_the_colours(backend)
    backend.close()
    assert world.builds == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "foreign"])
def test_a_damaged_engine_is_built_again_and_that_is_said(
    file: Path, world: World, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    load(file).close()
    (place,) = kept(file.parent)
    whole = place.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[:-10],
        "changed": whole[:-1] + bytes([whole[-1] ^ 1]),
        "foreign": b"\xff\xfe\n" * 100,
    }
    place.write_bytes(damaged[damage])
    backend = load(file)
    assert f"the engine kept in {place} is damaged, it is built again" in caplog.text
    assert names_the_colours(backend)
    backend.close()
    assert place.read_bytes() == whole


def test_an_engine_that_tensorrt_does_not_take_is_built_again_once(
    file: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    load(file).close()
    world.refuses_plans = True
    message = refusal(file)
    assert "TensorRT does not take the engine in" in caplog.text
    assert "TensorRT cannot run colours.onnx: 1: [runtime.cpp" in message
    assert world.builds == 2
    world.refuses_plans = False
    load(file).close()
    assert world.builds == 2


def test_a_folder_that_may_not_be_written_costs_time_and_a_warning(
    file: Path, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:  # root may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fsync", refused)
    backend = load(file)
    assert f"cannot be kept in {file.parent} (Permission denied)" in caplog.text
    assert "built again at every start" in caplog.text
    assert names_the_colours(backend)
    backend.close()
    assert kept(file.parent) == []


def test_a_full_disk_costs_time_and_a_warning(
    small_disk: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_colours(small_disk / "colours.onnx")
    filler = (small_disk / "filler").open("wb", buffering=0)
    with suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    filler.close()
    backend = load(file)
    assert f"cannot be kept in {small_disk} (No space left on device)" in caplog.text
    assert names_the_colours(backend)
    backend.close()
    assert kept(small_disk) == []


# Building takes minutes.


@pytest.mark.parametrize("version", GENERATIONS)
def test_a_build_that_takes_long_says_how_far_it_is(
    file: Path, version: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PROGRESS_S", 0.05)
    with installed(World(version, build_s=0.3)):
        load(file).close()
    said = [record.getMessage() for record in caplog.records if "still building" in record.getMessage()]
    assert len(said) > 1
    assert all(message.startswith("still building the engine of colours.onnx, 0 s") for message in said)
    assert ("Building Engine: step" in said[-1]) == (not version.startswith("8"))


def test_ctrl_c_ends_a_build_and_keeps_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        world = stack.enter_context(installed(World(build_s=20)))
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            load(file)
        timer.join()
        for thread in threading.enumerate():
            if thread.name.startswith("tensorrt-build"):
                thread.join(timeout=10)
                assert not thread.is_alive(), "the build goes on"
    assert world.builds == 1
    assert kept(file.parent) == []


# The built-in model.


def test_the_built_in_model_says_how_its_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(ModelWish(BUILT_IN, backend="tensorrt", models_dir=tmp_path))
    path = tmp_path / "efficientnet_lite0.onnx"
    assert str(caught.value).endswith(f"/models/efficientnet_lite0_onnx/export.py {path}")


def test_the_built_in_model_is_written_to_the_byte_and_names_what_is_in_a_picture(
    tmp_path: Path, shared: Path, world: World
) -> None:
    pytest.importorskip("onnx", reason="pip install -r requirements-dev.txt")
    pytest.importorskip("h5py", reason="pip install -r models/efficientnet_lite0_onnx/requirements.txt")
    spec = find_spec(BUILT_IN)
    script = str(spec.files["tensorrt"].made_by)
    subprocess.run([sys.executable, script, tmp_path / "efficientnet_lite0.onnx"], cwd=ROOT, check=True)
    backend = load(find(BUILT_IN, spec.files["tensorrt"], tmp_path), recipe=spec.recipe)
    scores = backend.infer(backend.prepare(as_image(cv2.imread(str(shared / "images" / "pizza.jpg")))))
    assert scores.argmax() == 963
    assert scores.max() == pytest.approx(0.955, abs=0.002)
    backend.close()
