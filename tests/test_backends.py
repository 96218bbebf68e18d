"""One contract for every backend, and how the TensorFlow Lite one refuses what it cannot run."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec as find_module
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest

from backends import BACKENDS, Backend, BackendUnavailable, ModelToRun, load_backend
from backends.table import MODES
from models.catalogue import BUILT_IN, CATALOGUE, ModelSpec, find_spec
from models.errors import ModelError
from models.files import find
from models.labels import read_labels
from models.recipe import Image, Recipe, as_image
from models.scores import Prediction, Reading
from tests.keras_models import threads, write_tiny_keras
from tests.tiny_models import FLOAT32, INT8, LOGITS, RAW_UINT8, UINT8, Tiny, write_tiny

ROOT = Path(__file__).resolve().parent.parent
MODEL = find(BUILT_IN, find_spec(BUILT_IN).files["tflite"])


# What every backend promises.


@dataclass(frozen=True)
class Subject:
    """A backend, one way of running it, and a model that it runs."""

    backend: str
    mode: str | None = None
    built_in: bool = True  # else a tiny one, which is quicker to load
    scheme: str | None = None  # of a server's address

    def __str__(self) -> str:
        parts = (self.backend, self.mode, self.scheme, "" if self.built_in else "tiny")
        return "-".join(filter(None, parts))


SUBJECTS = [
    # TensorRT needs a GPU: test_tensorrt.py holds stand-ins of it to this contract.
    *(Subject(name, MODES.get(name, (None,))[0]) for name in BACKENDS if name not in ("tensorrt", "remote")),
    *(Subject("remote", scheme=scheme) for scheme in ("grpc", "http")),
    *(Subject("tensorflow", mode, built_in=False) for mode in MODES["tensorflow"]),
]


@pytest.fixture(scope="module", params=SUBJECTS, ids=str)
def subject(request: pytest.FixtureRequest) -> Subject:
    return cast(Subject, request.param)


@pytest.fixture(scope="module")
def wish(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelToRun]:
    if subject.scheme:
        with built_in_served(subject.scheme) as address:
            recipe = find_spec(BUILT_IN).recipe
            yield ModelToRun(Path(BUILT_IN), recipe, threads=threads(), address=address)
        return
    if not subject.built_in:
        path = write_tiny_keras(tmp_path_factory.mktemp("tiny") / "tiny.keras")
        recipe = Recipe((6, 4), mean=(127.5,), std=(127.5,))
        yield ModelToRun(path, recipe, mode=subject.mode, threads=threads())
        return
    spec = spec_for(subject.backend)
    path = find(spec.name, spec.files[subject.backend])
    yield ModelToRun(path, spec.recipe, mode=subject.mode, threads=threads())


@contextmanager
def built_in_served(scheme: str) -> Iterator[str]:
    """Its address. Skips without what the server and the backend need."""
    from tests.oip_server import Served, serving
    from tests.serving.litert_model import LiteRtModel

    model = LiteRtModel(str(MODEL), 127, 128, interpreters=1)
    inputs, outputs = [("image", "UINT8", [-1, 224, 224, 3])], [("scores", "FP32", [-1, 1000])]
    with serving(scheme, Served(BUILT_IN, inputs, outputs, model.scores)) as server:
        yield server.address()
    model.close()


def spec_for(backend: str) -> ModelSpec:
    """The first model of the catalogue that this backend runs; the first of all is built in."""
    for spec in CATALOGUE.values():
        if backend in spec.files:
            return spec
    pytest.skip(f"the catalogue has no model for {backend}")


def loaded(subject: Subject, wish: ModelToRun) -> Backend:
    try:
        return load_backend(subject.backend, wish)
    except BackendUnavailable as error:
        if "is not installed" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def backend(subject: Subject, wish: ModelToRun) -> Iterator[Backend]:
    backend = loaded(subject, wish)
    yield backend
    backend.close()


def noise(width: int, height: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def plain(blue: int, green: int, red: int, size: tuple[int, int] = (64, 48)) -> Image:
    return np.full((size[1], size[0], 3), (blue, green, red), np.uint8)


def test_an_unknown_backend_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(BackendUnavailable, match="tflite") as caught:
        load_backend("caffe", ModelToRun(MODEL))
    assert one_line(caught.value)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_refuses_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.model") as caught:
        load_backend(name, ModelToRun(tmp_path / "nowhere.model"))
    assert one_line(caught.value)


@pytest.mark.parametrize(
    "size",
    [
        (1, 1),
        (2, 1),
        (1, 700),
        (3, 5),
        (223, 225),
        (224, 224),
        (640, 480),
        (480, 640),
        (1000, 10),
        (3840, 2160),
    ],
)
def test_a_picture_of_any_size_becomes_the_models_tensor(backend: Backend, size: tuple[int, int]) -> None:
    width, height = backend.facts().recipe.size
    picture = noise(*size)
    before = picture.copy()
    tensor = backend.prepare(picture)
    expected = backend.prepare(noise(640, 480))
    assert tensor.shape == expected.shape
    assert tensor.shape[0] == 1
    assert {height, width} <= set(tensor.shape)
    assert tensor.dtype == expected.dtype
    assert (picture == before).all(), "the picture is still to be painted on"
    assert backend.infer(tensor).shape == (backend.facts().outputs,)


def test_a_view_that_is_not_contiguous_is_the_same_as_its_copy(backend: Backend) -> None:
    large = noise(700, 900)
    for view in (
        large[::2, ::3],
        large[:, ::-1],
        large[::-1],
        large[100:500, 50:400],
        large.transpose(1, 0, 2),
    ):
        assert not view.flags.c_contiguous
        assert (backend.prepare(view) == backend.prepare(view.copy())).all()


def test_a_picture_that_may_not_be_written_is_taken(backend: Backend) -> None:
    picture = noise(320, 240)
    picture.flags.writeable = False
    backend.infer(backend.prepare(picture))


def test_there_is_a_score_for_each_class_and_it_is_the_callers_to_keep(backend: Backend) -> None:
    one, other = backend.prepare(noise(64, 64)), backend.prepare(plain(0, 0, 255))
    first = backend.infer(one)
    kept = first.copy()
    second = backend.infer(other)
    assert first.shape == second.shape == (backend.facts().outputs,)
    assert (first == kept).all()
    assert (first != second).any(), "two pictures, one answer: the input is wrong"
    assert (backend.infer(one) == kept).all(), "the same picture, another answer"


def test_scores_outlive_the_backend(subject: Subject, wish: ModelToRun) -> None:
    backend = loaded(subject, wish)
    scores = backend.infer(backend.prepare(noise(64, 64)))
    kept = scores.copy()
    backend.close()
    del backend
    gc.collect()
    assert (scores == kept).all()


def test_it_says_who_runs_the_model_and_how(subject: Subject, wish: ModelToRun, backend: Backend) -> None:
    facts = backend.facts()
    assert facts.backend == subject.backend
    assert facts.mode == subject.mode
    assert facts.runtime
    assert facts.version[0].isdigit()
    assert facts.device
    assert facts.threads == wish.threads
    assert facts.recipe == wish.recipe
    assert facts.outputs > 1
    assert facts.loading.load_us > 0
    assert facts.loading.import_us >= 0
    assert facts.loading.compile_us >= 0


def test_the_fit_asked_for_is_the_fit_in_the_facts(subject: Subject, wish: ModelToRun) -> None:
    backend = loaded(subject, replace(wish, fit="letterbox"))
    assert wish.recipe is not None
    assert backend.facts().recipe == replace(wish.recipe, fit="letterbox")
    backend.close()


def test_it_may_be_closed_twice(subject: Subject, wish: ModelToRun) -> None:
    backend = loaded(subject, wish)
    backend.close()
    backend.close()


def test_the_thread_that_infers_is_another_than_loaded_it_and_a_third_may_prepare(backend: Backend) -> None:
    pictures = [noise(64, 48, seed) for seed in range(4)]
    expected = [backend.infer(backend.prepare(picture)) for picture in pictures]
    with ThreadPoolExecutor(1) as preparing, ThreadPoolExecutor(1) as inferring:
        tensors = [preparing.submit(backend.prepare, picture) for picture in pictures]
        found = [inferring.submit(backend.infer, tensor.result()) for tensor in tensors]
        for one, other in zip(found, expected, strict=True):
            assert one.result(timeout=60) == pytest.approx(other, abs=1e-6)


# TensorFlow Lite: what is refused, and how.


def test_the_threads_asked_for_are_the_threads_in_the_facts() -> None:
    backend = load_backend("tflite", ModelToRun(MODEL, threads=2))
    assert backend.facts().threads == 2
    backend.close()


def refusal(path: Path, wish: ModelToRun | None = None) -> str:
    with pytest.raises((ModelError, BackendUnavailable)) as caught:
        load_backend("tflite", wish or ModelToRun(path))
    assert one_line(caught.value)
    return str(caught.value)


def one_line(error: Exception) -> bool:
    message = str(error)
    return bool(message) and message == " ".join(message.split())


@pytest.mark.parametrize("length", [1, 4, 7, 8, 9, 20, 100, 1000, 65_536, 1_000_000, 5_000_000])
def test_a_truncated_model_is_one_line(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(MODEL.read_bytes()[:length])
    assert "cut.tflite" in refusal(path)


def test_an_empty_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "empty.tflite"
    path.touch()
    assert "is empty - download it again" in refusal(path)


@pytest.mark.parametrize("what", ["text", "png", "page", "zeros", "onnx"])
def test_a_foreign_file_is_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "foreign.tflite"
    content = {
        "text": b"this is not a model\n" * 100,
        "png": cv2.imencode(".png", noise(30, 30))[1].tobytes(),
        "page": b"<!DOCTYPE html><html>404</html>",
        "zeros": bytes(10_000),
        "onnx": b"\x08\x07\x12\x07pytorch\x1a\x051.9.0" * 10,
    }
    path.write_bytes(content[what])
    assert "is not a TensorFlow Lite model - give a .tflite file" in refusal(path)


def test_only_the_mark_of_a_model_and_rubbish_behind_it_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rubbish.tflite"
    for seed in range(20):
        path.write_bytes(b"\x1c\0\0\0TFL3" + np.random.default_rng(seed).bytes(2000))
        assert "rubbish.tflite cannot be loaded" in refusal(path)


def test_a_folder_is_one_line(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tiny", "expected"),
    [
        (Tiny(shape=(1, 12)), "input is [1, 12]"),
        (Tiny(shape=(1, 4, 3)), "input is [1, 4, 3]"),
        (Tiny(shape=(1, 2, 4, 6, 3)), "input is [1, 2, 4, 6, 3]"),
        (Tiny(shape=(2, 4, 6, 3)), "input is [2, 4, 6, 3]"),
        (Tiny(shape=(1, 4, 6, 4)), "input is [1, 4, 6, 4]"),
        (Tiny(shape=(1, 3, 224, 224)), "input is [1, 3, 224, 224]"),
        (Tiny(inputs=2), "2 inputs"),
        (Tiny(outputs=2), "2 outputs"),
        (Tiny(shape=(1, 4, 6, 1)), "of shape [1, 1]"),
        (Tiny("INT32", softmax=False), "input type int32"),
        (RAW_UINT8, "integers of unknown scale"),
    ],
    ids=str,
)
def test_what_is_no_image_classifier_is_one_line(tmp_path: Path, tiny: Tiny, expected: str) -> None:
    assert expected in refusal(write_tiny(tmp_path / "odd.tflite", tiny))


def test_a_model_for_the_edge_tpu_is_refused_and_the_plain_one_named(tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_v2_1.0_224_quant_edgetpu.tflite"
    path.write_bytes(MODEL.read_bytes())
    message = refusal(path)
    assert "Edge TPU" in message
    assert "use mobilenet_v2_1.0_224_quant.tflite" in message


def test_a_model_with_an_unknown_operation_is_one_line(shared: Path) -> None:
    path = shared / "models" / "model_invoking_error.tflite"
    message = refusal(path)
    assert message.startswith("model_invoking_error.tflite cannot be loaded")
    assert "fake-op-double" in message


def test_a_recipe_of_another_size_than_the_file_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.tflite")
    assert "takes pictures of 6x4" in refusal(path, ModelToRun(path, find_spec(BUILT_IN).recipe))


def test_an_unknown_runtime_is_refused_and_the_known_ones_named() -> None:
    message = refusal(MODEL, ModelToRun(MODEL, runtime="caffe"))
    assert all(name in message for name in ("litert", "tflite_runtime", "tensorflow"))


@pytest.mark.parametrize(
    ("runtime", "module", "command"),
    [
        ("litert", "ai_edge_litert", "pip install ai-edge-litert"),
        ("tflite_runtime", "tflite_runtime", "pip install tflite-runtime"),
        ("tensorflow", "tensorflow", "pip install tensorflow"),
    ],
)
def test_a_runtime_asked_for_runs_or_says_what_to_type_and_is_never_replaced(
    runtime: str, module: str, command: str
) -> None:
    wish = ModelToRun(MODEL, find_spec(BUILT_IN).recipe, runtime=runtime)
    if find_module(module) is None:
        assert command in refusal(MODEL, wish)
        return
    backend = load_backend("tflite", wish)
    assert backend.facts().runtime == runtime
    backend.close()


def environment_without_runtime(folder: Path) -> Path:
    """All packages that are installed here, but for those with an interpreter."""
    folder.mkdir()
    for package in Path(np.__file__).parent.parent.iterdir():
        if not package.name.startswith(("ai_edge_litert", "tflite_runtime", "tensorflow")):
            (folder / package.name).symlink_to(package)
    return folder


def test_without_any_runtime_it_says_what_to_install(tmp_path: Path) -> None:
    done = elsewhere(LOAD, MODEL, packages=environment_without_runtime(tmp_path / "packages"))
    assert done.stdout == "no TensorFlow Lite runtime is installed - pip install ai-edge-litert\n"


def test_a_runtime_that_is_installed_and_does_not_load_is_one_line(tmp_path: Path) -> None:
    packages = environment_without_runtime(tmp_path / "packages")
    (packages / "ai_edge_litert").mkdir()
    broken = "raise ImportError('libcudart.so.12: cannot open shared object file:\\nNo such file')"
    (packages / "ai_edge_litert" / "interpreter.py").write_text(broken)
    done = elsewhere(LOAD, MODEL, packages=packages)
    assert done.stdout == (
        "the runtime litert does not load: libcudart.so.12: cannot open shared object file: No such file"
        " - pip install --force-reinstall ai-edge-litert\n"
    )


@pytest.mark.skipif(np.__version__.startswith("1."), reason="that works with NumPy 1")
def test_the_old_runtime_is_refused_before_it_dies_of_numpy_2(tmp_path: Path) -> None:
    packages = environment_without_runtime(tmp_path / "packages")
    (packages / "tflite_runtime").mkdir()
    done = elsewhere(LOAD, MODEL, packages=packages)
    assert done.stdout == "tflite-runtime needs NumPy 1 - pip install 'numpy<2', or use ai-edge-litert\n"


LOAD = """
import sys
from pathlib import Path
import numpy as np
from backends import BackendUnavailable, ModelToRun, load_backend
from models.errors import ModelError
try:
    backend = load_backend("tflite", ModelToRun(Path(sys.argv[1])))
    backend.infer(backend.prepare(np.zeros((48, 64, 3), np.uint8)))
except (BackendUnavailable, ModelError) as error:
    print(error)
"""


def elsewhere(code: str, *arguments: Path, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which finds `packages` only, if given."""
    options = ["-S"] if packages else []
    command = [sys.executable, *options, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(packages or "")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )


def test_what_the_native_library_prints_stays_off_the_terminal(tmp_path: Path) -> None:
    done = elsewhere(LOAD, MODEL)
    assert (done.stdout, done.stderr) == ("", "")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(MODEL.read_bytes()[:1000])
    done = elsewhere(LOAD, cut)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_what_it_prints_about_an_unknown_operation_stays_off_the_terminal(shared: Path) -> None:
    done = elsewhere(LOAD, shared / "models" / "model_invoking_error.tflite")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_our_own_words_reach_the_terminal_after_loading(capfd: pytest.CaptureFixture[str]) -> None:
    load_backend("tflite", ModelToRun(MODEL)).close()
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_loading_again_and_again_leaves_no_file_open(tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(MODEL.read_bytes()[:1000])
    refusal(cut)
    load_backend("tflite", ModelToRun(MODEL)).close()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        refusal(cut)
        load_backend("tflite", ModelToRun(MODEL)).close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


# TensorFlow Lite: a user's own file.


@pytest.mark.parametrize("tiny", [FLOAT32, INT8, UINT8], ids=lambda tiny: str(tiny.dtype))
def test_a_file_of_any_type_names_the_colour_of_the_picture(tmp_path: Path, tiny: Tiny) -> None:
    backend = load_backend("tflite", ModelToRun(write_tiny(tmp_path / "colours.tflite", tiny)))
    facts = backend.facts()
    assert facts.recipe.size == (6, 4)
    assert facts.outputs == 3
    for place, picture in enumerate((plain(0, 0, 255), plain(0, 255, 0), plain(255, 0, 0))):
        tensor = backend.prepare(picture)
        assert tensor.shape == (1, 4, 6, 3)
        assert tensor.dtype == np.dtype(tiny.dtype.lower())
        scores = backend.infer(tensor)
        assert scores.argmax() == place, "red, green, blue"
        assert scores.dtype == tensor.dtype
    backend.close()


def test_an_integer_model_gets_the_pixels_themselves(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    for tiny, shift in ((INT8, 128), (UINT8, 0), (replace(RAW_UINT8, softmax=True, out_scale=1 / 256), 0)):
        tiny = replace(tiny, shape=(1, 1, 256, 3))
        backend = load_backend(
            "tflite", ModelToRun(write_tiny(tmp_path / "ramp.tflite", tiny), fit="stretch")
        )
        tensor = backend.prepare(ramp)
        assert (tensor[0, 0, :, 0].astype(int) + shift == np.arange(256)).all()
        backend.close()


def test_a_float_model_gets_minus_one_to_one_unless_told_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiny(tmp_path / "colours.tflite")
    white, black = plain(255, 255, 255), plain(0, 0, 0)
    backend = load_backend("tflite", ModelToRun(path))
    assert "assuming -1 to 1 (see --mean, --std)" in caplog.text
    assert backend.prepare(white).max() == backend.prepare(white).min() == pytest.approx(1.0)
    assert backend.prepare(black).max() == backend.prepare(black).min() == pytest.approx(-1.0)
    backend.close()
    caplog.clear()
    backend = load_backend("tflite", ModelToRun(path, mean=0.0, std=255.0))
    assert not caplog.text
    assert backend.prepare(white).min() == pytest.approx(1.0)
    assert backend.prepare(black).max() == pytest.approx(0.0)
    backend.close()


def test_a_gray_model_gets_one_channel_of_brightness(tmp_path: Path) -> None:
    columns = replace(FLOAT32, shape=(1, 4, 6, 1), axes=(1, 3))  # its classes are the six columns
    backend = load_backend("tflite", ModelToRun(write_tiny(tmp_path / "gray.tflite", columns), fit="stretch"))
    assert backend.facts().recipe.order == "gray"
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:, 1], picture[:, 4] = (255, 0, 0), (0, 255, 0)  # blue is darker than green
    tensor = backend.prepare(picture)
    assert tensor.shape == (1, 4, 6, 1)
    assert backend.infer(tensor).argsort()[-2:].tolist() == [1, 4]
    backend.close()


def test_scores_that_are_no_probabilities_come_as_they_are(tmp_path: Path) -> None:
    backend = load_backend("tflite", ModelToRun(write_tiny(tmp_path / "logits.tflite", LOGITS)))
    assert backend.infer(backend.prepare(plain(0, 128, 255))).tolist() == pytest.approx(
        [1.0, 0.5 / 127.5, -1.0]
    )
    backend.close()


# TensorFlow Lite: the true answers of models found in the wild.

ANSWERS = {
    "parrot": "macaw",
    "pizza": "pizza",
    "marmot": "marmot",
    "wheaten_terrier": "soft-coated wheaten terrier",
}


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        ("mobilenet_v2_1.0_224_quant", list(ANSWERS)),
        ("tf2_mobilenet_v2_1.0_224_ptq", list(ANSWERS)),
        ("mobilenet_v1_0.75_192_quant", list(ANSWERS)),
        ("mobilenet_v1_0.25_128_quant", ["parrot", "pizza", "marmot"]),
    ],
)
def test_a_shared_model_names_what_is_in_the_pictures(shared: Path, model: str, pictures: list[str]) -> None:
    backend = load_backend("tflite", ModelToRun(shared / "models" / f"{model}.tflite"))
    facts = backend.facts()
    labels = read_labels(shared / "models" / "imagenet_labels.txt").fitted(facts.outputs)
    reading = Reading(labels, facts.output)
    best = {name: top(backend, reading, shared / "images" / f"{name}.jpg") for name in pictures}
    assert {name: first.label.partition(",")[0] for name, (first, *_) in best.items()} == {
        name: ANSWERS[name] for name in pictures
    }
    assert all(1 > first.score > 0.2 for first, *_ in best.values())
    backend.close()


def top(backend: Backend, reading: Reading, path: Path) -> tuple[Prediction, ...]:
    return reading.top(backend.infer(backend.prepare(as_image(cv2.imread(str(path))))))
