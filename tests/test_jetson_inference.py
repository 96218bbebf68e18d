"""The engine jetson-inference against stand-ins of each generation of it. It ran on no board."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backends import BackendUnavailable, ModelToRun
from backends import jetson_inference as engine
from backends.chatter import native_chatter_logged
from backends.jetson_inference import BEST_ONLY, NETWORKS, JetsonInferenceBackend, network_file
from backends.onnx_file import FLOAT32, onnx_ends
from models.catalogue import CATALOGUE, IMAGENET_LABELS, find_spec
from models.errors import ModelError
from models.files import find
from models.labels import read_labels
from models.recipe import Fit, Image, Recipe, as_image, fit_image, recolour
from models.scores import Reading
from tests.jetson_standin import (
    G1,
    G2,
    G3,
    G3B,
    G4,
    GENERATIONS,
    Generation,
    Library,
    Segfault,
    installed,
    run_network,
    write_networks,
    write_onnx,
)

LABELS = find("googlenet", IMAGENET_LABELS)
WITH_TOP_K = (G3, G3B, G4)
GOOGLENET = ModelToRun(Path("googlenet"), find_spec("googlenet").recipe)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The root of a Jetson with JetPack 6.0 and all networks."""
    root = tmp_path / "board"
    networks = root / "usr/local/bin/networks"
    networks.mkdir(parents=True)
    write_networks(networks, LABELS)
    (root / "etc").mkdir()
    (root / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 3.0, GCID: 36191598, BOARD: generic"
    )
    with_tensorrt(root, "8.6.2")
    return root


def with_tensorrt(root: Path, version: str) -> Path:
    folder = root / "usr/lib/aarch64-linux-gnu"
    folder.mkdir(parents=True, exist_ok=True)
    for library in folder.glob("libnvinfer.so.*"):
        library.unlink()
    (folder / f"libnvinfer.so.{version}").touch()
    return root


def library_of(board: Path, generation: Generation = G3) -> Library:
    return Library(generation, board / "usr/local/bin/networks")


@pytest.fixture(params=GENERATIONS, ids=str)
def library(request: pytest.FixtureRequest, board: Path) -> Iterator[Library]:
    with installed(library_of(board, request.param)) as library:
        yield library


@pytest.fixture
def newest(board: Path) -> Iterator[Library]:
    with installed(library_of(board)) as library:
        yield library


@pytest.fixture
def custom(tmp_path: Path) -> ModelToRun:
    """A model of one's own: 48 x 32, ten classes."""
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"thing {number}\n" for number in range(10)))
    return ModelToRun(write_onnx(tmp_path / "own.onnx"), labels=labels)


def noise(width: int = 640, height: int = 480, seed: int = 0) -> Image:
    """Rough, and of another colour in each quarter, so that order and place tell."""
    random = np.random.default_rng(seed)
    quarters = random.integers(0, 256, (2, 2, 3)).repeat(height // 2, 0).repeat(width // 2, 1)
    return as_image(np.clip(quarters + random.integers(-40, 40, quarters.shape), 0, 255))


def as_it_says(picture: Image, recipe: Recipe, classes: int, unit: float) -> npt.NDArray[np.float32]:
    """What the stand-in's network makes of a picture that was prepared by the book: by the recipe told."""
    seen = recolour(fit_image(picture, recipe.size, recipe.fit), recipe.order, recipe.invert)
    planes = (seen - np.array(recipe.mean)) / np.array(recipe.std)
    return run_network(planes.transpose(2, 0, 1), classes, unit)


def on_one_line(error: BaseException) -> bool:
    return "\n" not in str(error)


# What cannot work is said in a line, and before anything is called that would crash.


def test_without_the_modules_the_line_is_this_boards_route(board: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"is not installed.*git clone .*jetson-inference") as caught:
        JetsonInferenceBackend(GOOGLENET, board)
    assert on_one_line(caught.value)


def test_on_a_pc_the_line_is_the_pcs_route(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"is not installed.*pip install tensorrt"):
        JetsonInferenceBackend(GOOGLENET, tmp_path)


def test_modules_of_another_python_are_found_and_the_way_to_them_is_said(board: Path) -> None:
    (board / "usr/lib/python3.10/dist-packages/jetson_inference").mkdir(parents=True)
    with pytest.raises(BackendUnavailable, match=r"but for python3\.10 - python3\.10 -m venv --system-site"):
        JetsonInferenceBackend(GOOGLENET, board)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("libnvinfer.so.8: cannot open shared object file"), "libnvinfer.*build it again"),
        (ImportError("numpy.core.multiarray failed to import"), r"numpy<2"),
        (SystemError("initialization of jetson_utils_python raised unreported exception"), "numpy<2"),
        (ModuleNotFoundError("No module named 'termcolor'", name="termcolor"), "termcolor"),
    ],
)
def test_modules_that_do_not_load_are_told_from_modules_that_are_missing(
    error: Exception, words: str, board: Path
) -> None:
    library = library_of(board)
    library.broken = {"jetson_utils": error, "jetson.utils": error}
    with installed(library), pytest.raises(BackendUnavailable, match="does not load.*" + words) as caught:
        JetsonInferenceBackend(GOOGLENET, board)
    assert on_one_line(caught.value)


@pytest.mark.parametrize("lacking", ["cudaFromNumpy", "cudaImage", "imageNet"])
def test_modules_that_are_half_there_are_refused(lacking: str, board: Path) -> None:
    """jetson-utils 2 without its C++ part imports; and without NumPy there is no way in for a picture."""
    library = library_of(board, G4)
    library.without = (lacking,)
    with installed(library), pytest.raises(BackendUnavailable, match=f"built without {lacking}"):
        JetsonInferenceBackend(GOOGLENET, board)


@pytest.mark.parametrize("version", ["10.3.0", "10.13.3", "11.0.0"])
def test_tensorrt_10_is_refused_before_the_library_is_called(
    version: str, library: Library, board: Path, custom: ModelToRun
) -> None:
    library.tensorrt = version
    with_tensorrt(board, version)
    for model in (GOOGLENET, custom):
        with pytest.raises(BackendUnavailable, match=rf"TensorRT {version}.*FILE\.onnx") as caught:
            JetsonInferenceBackend(model, board)
        assert on_one_line(caught.value)
    assert library.made == []
    assert "jetson_inference" not in sys.modules


def test_jetpack_6_1_is_refused_where_only_l4t_tells(newest: Library, board: Path) -> None:
    newest.tensorrt = "10.3.0"
    (board / "usr/lib/aarch64-linux-gnu/libnvinfer.so.8.6.2").unlink()
    (board / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.0, GCID: 1")
    with pytest.raises(BackendUnavailable, match=r"TensorRT 10.*JetPack 6\.1"):
        JetsonInferenceBackend(GOOGLENET, board)
    assert newest.made == []


def test_tensorrt_10_that_only_the_loaded_library_betrays_is_refused(newest: Library, board: Path) -> None:
    newest.tensorrt = "10.3.0"
    (board / "proc/self").mkdir(parents=True)
    newest.maps = board / "proc/self/maps"
    with pytest.raises(BackendUnavailable, match=r"TensorRT 10\.3\.0"):
        JetsonInferenceBackend(GOOGLENET, board)
    assert newest.made == []


@pytest.mark.parametrize("name", ["squeezenet", "nowhere/googlenet", "model.engine", "model.caffemodel"])
def test_what_it_cannot_run_is_refused_and_what_it_can_is_named(
    name: str, newest: Library, board: Path
) -> None:
    with pytest.raises(ModelError, match=r"googlenet, .*inception-v4, or give an ONNX file"):
        JetsonInferenceBackend(ModelToRun(Path(name)), board)
    assert newest.made == []


def test_a_model_that_is_not_there_is_named_without_the_library(board: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the model .*nowhere\.onnx"):
        JetsonInferenceBackend(ModelToRun(tmp_path / "nowhere.onnx"), board)


def test_a_model_of_ones_own_needs_labels(newest: Library, board: Path, custom: ModelToRun) -> None:
    with pytest.raises(ModelError, match="--labels FILE"):
        JetsonInferenceBackend(replace(custom, labels=None), board)


@pytest.mark.parametrize("name", ["my model.onnx", "a;reboot.onnx", "$HOME.onnx"])
def test_a_name_that_a_shell_would_read_as_something_else_is_refused(
    name: str, newest: Library, board: Path, custom: ModelToRun
) -> None:
    with pytest.raises(ModelError, match="to a shell unquoted"):
        JetsonInferenceBackend(replace(custom, path=custom.path.rename(custom.path.parent / name)), board)
    assert newest.made == []


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (("batch", 3, 32, 48), 1),
        ((1, 3, "height", "width"), 1),
        ((1, 32, 48, 3), 1),
        ((4, 3, 32, 48), 1),
        ((1, 1, 32, 48), 1),
        ((1, 3, 32, 48), 2),  # uint8
    ],
)
def test_an_input_that_it_would_fail_on_is_refused_before(
    shape: tuple[int | str, ...], kind: int, newest: Library, board: Path, custom: ModelToRun
) -> None:
    write_onnx(custom.path, shape, kind=kind)
    with pytest.raises(ModelError, match=r"input_0 .*export it so"):
        JetsonInferenceBackend(custom, board)
    assert newest.made == []


@pytest.mark.parametrize(
    "content", [b"\x08\x08", b"not a model", b"<html>" * 50, b"\x3a\xff\xff\x03\x00", b"\x00" * 9]
)
def test_a_file_that_is_no_onnx_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        onnx_ends(path)


def test_an_onnx_files_ends_are_read_and_its_weights_are_none_of_them(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "open.onnx", (2**64 - 1, 3, "height", 48), names=("images", "scores"))
    (given,), (taken,) = onnx_ends(path)
    assert given == ("images", FLOAT32, [-1, 3, -1, 48])
    assert taken == ("scores", FLOAT32, [1, 10])


def test_a_model_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = write_onnx(tmp_path / "whole.onnx").read_bytes()
    part = tmp_path / "part.onnx"
    for length in range(1, whole.index(b"output_0") + 8):
        part.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            onnx_ends(part)


def test_a_failed_load_says_what_the_library_said_of_it(
    library: Library, board: Path, custom: ModelToRun, capfd: pytest.CaptureFixture[str]
) -> None:
    assert custom.labels is not None
    with custom.labels.open("a") as file:
        file.write("one\ntoo many\n")
    with pytest.raises(ModelError, match=r"own\.onnx: .*failed to load synset.*\(12 / 12 of 10\)") as caught:
        JetsonInferenceBackend(custom, board)
    assert on_one_line(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "NvMap" not in str(caught.value), "what it says at any time is not the reason"
    assert terminal(capfd) == ""


@pytest.mark.parametrize("generation", [G1, G2], ids=str)
def test_old_releases_do_not_download_and_that_is_what_one_reads(generation: Generation, board: Path) -> None:
    file = network_file("googlenet", board)
    assert file is not None
    file.unlink()
    refused = pytest.raises(ModelError, match=r"failed to find model file .*bvlc_googlenet")
    with installed(library_of(board, generation)), refused:
        JetsonInferenceBackend(GOOGLENET, board)


def test_a_picture_it_fails_on_is_a_model_error(library: Library, board: Path) -> None:
    backend = JetsonInferenceBackend(GOOGLENET, board)
    library.fail_classify = True
    with pytest.raises(ModelError, match=r"while running: jetson\.inference -- imageNet\.Classify\(\)"):
        backend.infer(backend.prepare(noise()))


# What works in every generation.


@pytest.mark.parametrize("name", ["googlenet", "alexnet", "inception-v4", "resnet-152"])
def test_the_recipe_told_is_what_happens(name: str, library: Library, board: Path) -> None:
    """Order of colours, range, size and fit at once: the answer is that of a picture prepared by it."""
    backend = JetsonInferenceBackend(ModelToRun(Path(name), find_spec(name).recipe), board)
    recipe = backend.facts().recipe
    assert recipe == find_spec(name).recipe
    for seed in range(3):
        tensor = backend.prepare(noise(seed=seed))
        assert tensor.shape == (1, recipe.size[1], recipe.size[0], 3)
        assert tensor.dtype == np.uint8
        assert tensor.flags.c_contiguous
        expected = as_it_says(noise(seed=seed), recipe, 1000, 0.3 if name == "inception-v4" else 40.0)
        found = backend.infer(tensor)
        assert found.argmax() == expected.argmax()
        assert found.max() == pytest.approx(expected.max(), rel=1e-3)
        if library.generation.top_k:
            assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
def test_the_fit_asked_for_is_what_happens(fit: Fit, newest: Library, board: Path) -> None:
    backend = JetsonInferenceBackend(replace(GOOGLENET, fit=fit), board)
    recipe = backend.facts().recipe
    assert recipe.fit == fit
    assert backend.infer(backend.prepare(noise())) == pytest.approx(
        as_it_says(noise(), recipe, 1000, 40.0), abs=1e-4
    )


@pytest.mark.parametrize(
    "recipe",
    [
        None,
        Recipe((48, 32), mean=(127.0,), std=(128.0,)),
        Recipe((48, 32), mean=(0.0,), std=(255.0,), fit="stretch"),
        Recipe((48, 32), mean=(1.0, 2.0, 3.0), std=(60.0, 70.0, 80.0), invert=True),
    ],
)
def test_an_onnx_file_gets_what_its_recipe_says_whatever_the_library_does_to_it(
    recipe: Recipe | None, library: Library, board: Path, custom: ModelToRun
) -> None:
    backend = JetsonInferenceBackend(replace(custom, recipe=recipe), board)
    told = backend.facts().recipe
    assert told == (recipe or Recipe((48, 32), mean=engine.ONNX_MEAN, std=engine.ONNX_STD))
    found = backend.infer(backend.prepare(noise()))
    expected = as_it_says(noise(), told, 10, 1.0)
    assert found.argmax() == expected.argmax()
    assert found.max() == pytest.approx(expected.max(), rel=1e-3)


def test_mean_and_std_asked_for_are_what_an_onnx_file_gets(
    newest: Library, board: Path, custom: ModelToRun
) -> None:
    backend = JetsonInferenceBackend(replace(custom, mean=127.5, std=127.5), board)
    assert backend.facts().recipe == Recipe((48, 32), mean=(127.5,), std=(127.5,))


def test_names_of_an_onnx_files_ends_are_read_from_it(
    library: Library, board: Path, custom: ModelToRun
) -> None:
    write_onnx(custom.path, names=("images:0", "Softmax"))
    backend = JetsonInferenceBackend(custom, board)
    assert backend.facts().outputs == 10
    assert {"--input_blob=images:0", "--output_blob=Softmax"} < set(library.made[0])


@pytest.mark.parametrize("generation", WITH_TOP_K, ids=str)
def test_logits_come_through_whole(generation: Generation, board: Path, custom: ModelToRun) -> None:
    """The library leaves out what is below its threshold, and half of all logits are below zero."""
    write_onnx(custom.path, softmax=False)
    with installed(library_of(board, generation)):
        backend = JetsonInferenceBackend(custom, board)
        scores = backend.infer(backend.prepare(noise()))
    assert (scores != 0).all()
    assert scores.min() < 0


@pytest.mark.parametrize("generation", WITH_TOP_K, ids=str)
def test_there_is_a_score_for_every_class(generation: Generation, board: Path) -> None:
    with installed(library_of(board, generation)):
        backend = JetsonInferenceBackend(GOOGLENET, board)
        scores = backend.infer(backend.prepare(noise()))
        assert scores.dtype == np.float32
        assert scores.shape == (backend.facts().outputs,) == (1000,)
        assert (scores > 0).all()
        assert scores.sum() == pytest.approx(1.0, abs=1e-4)
        assert backend.facts().note is None


@pytest.mark.parametrize("generation", [G1, G2], ids=str)
def test_where_the_library_tells_the_best_class_alone_the_facts_say_so(
    generation: Generation, board: Path
) -> None:
    with installed(library_of(board, generation)):
        backend = JetsonInferenceBackend(GOOGLENET, board)
        scores = backend.infer(backend.prepare(noise()))
    assert np.count_nonzero(scores) == 1
    assert backend.facts().note == BEST_ONLY


@pytest.mark.parametrize("answer", [[], [(-1, 0.0)], [(-1, -1.0)]])
def test_no_class_at_all_is_no_score_at_all(
    answer: list[tuple[int, float]], newest: Library, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = JetsonInferenceBackend(GOOGLENET, board)
    monkeypatch.setattr(type(backend._network), "Classify", lambda *_, **__: answer)
    assert not backend.infer(backend.prepare(noise())).any()


def test_class_numbers_are_the_line_numbers_of_our_labels(library: Library, board: Path) -> None:
    """The library's file has no background class in front, and neither has ours."""
    labels = read_labels(LABELS)
    backend = JetsonInferenceBackend(GOOGLENET, board)
    assert labels.fitted(backend.facts().outputs) == labels
    assert labels.background is None
    described = [backend._network.GetClassDesc(index) for index in range(1000)]
    assert list(labels.names) == described
    for index, name in (
        (0, "tench"),
        (134, "crane"),
        (281, "tabby"),
        (296, "ice bear"),
        (948, "Granny Smith"),
    ):
        assert described[index].startswith(name)
    assert described[999].startswith("toilet tissue")
    scores = backend.infer(backend.prepare(noise()))
    (best,) = Reading(labels, top_k=1).top(scores)
    assert best.label == described[int(scores.argmax())]


def test_the_catalogue_agrees_with_what_the_library_does() -> None:
    for spec in CATALOGUE.values():
        if spec.name in NETWORKS:
            assert spec.recipe == engine._fed_to(spec.name), spec.name


def test_it_says_what_it_runs_on(library: Library, board: Path) -> None:
    facts = JetsonInferenceBackend(replace(GOOGLENET, threads=3), board).facts()
    assert (facts.backend, facts.runtime, facts.device, facts.threads) == (
        "tensorrt",
        "jetson-inference",
        "gpu",
        3,
    )
    assert "TensorRT 8.6.2" in facts.version
    assert facts.loading.load_us > 0
    assert dict(facts.board) == {
        "board": None,
        "l4t": "36.3.0",
        "release": "6.0",
        "power_mode": None,
        "tensorrt": "8.6.2",
    }


def test_the_gpus_own_time_is_told_after_a_picture(library: Library, board: Path) -> None:
    backend = JetsonInferenceBackend(GOOGLENET, board)
    assert backend.device_us is None
    backend.infer(backend.prepare(noise()))
    assert backend.device_us == 3250


def test_options_go_in_as_a_list_of_pairs(library: Library, board: Path, custom: ModelToRun) -> None:
    JetsonInferenceBackend(GOOGLENET, board)
    JetsonInferenceBackend(custom, board)
    for argv in library.made:
        assert all(item.startswith("--") and "=" in item for item in argv[1:])


def test_scores_are_the_callers_and_the_same_picture_gives_the_same(library: Library, board: Path) -> None:
    backend = JetsonInferenceBackend(GOOGLENET, board)
    one, other = backend.prepare(noise(seed=1)), backend.prepare(noise(seed=2))
    first = backend.infer(one)
    kept = first.copy()
    assert (backend.infer(other) != first).any()
    assert (backend.infer(one) == kept).all()
    backend.close()
    backend.close()
    gc.collect()
    assert (first == kept).all()


def test_a_view_or_a_picture_that_may_not_be_written_is_taken_and_left_alone(
    newest: Library, board: Path
) -> None:
    backend = JetsonInferenceBackend(GOOGLENET, board)
    large = noise(900, 700)
    for view in (large[::2, ::3], large[:, ::-1], large[100:324, 50:274]):
        view.flags.writeable = False
        before = view.copy()
        assert (backend.infer(backend.prepare(view)) == backend.infer(backend.prepare(before))).all()
        assert (view == before).all()


def test_one_thread_may_prepare_while_another_infers(newest: Library, board: Path) -> None:
    backend = JetsonInferenceBackend(GOOGLENET, board)
    expected = [backend.infer(backend.prepare(noise(seed=seed))) for seed in range(4)]
    with ThreadPoolExecutor(1) as preparing, ThreadPoolExecutor(1) as inferring:
        tensors = [preparing.submit(backend.prepare, noise(seed=seed)) for seed in range(4)]
        found = [inferring.submit(backend.infer, tensor.result()) for tensor in tensors]
        assert all((one.result() == other).all() for one, other in zip(found, expected, strict=True))


# The engine, and what is said of it.


def terminal(capfd: pytest.CaptureFixture[str]) -> str:
    """All that reached it, also what C was still keeping back."""
    ctypes.CDLL(None).fflush(None)
    return "".join(capfd.readouterr())


def test_the_librarys_words_go_to_our_log_and_not_to_the_terminal(
    library: Library, board: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = JetsonInferenceBackend(GOOGLENET, board)
    for seed in range(3):
        backend.infer(backend.prepare(noise(seed=seed)))
    assert terminal(capfd) == ""
    logged = [record.getMessage() for record in caplog.records if record.name == "backends.chatter"]
    assert any("NvMapMemAlloc" in line for line in logged), "standard error"
    assert any("building CUDA engine" in line for line in logged) == library.generation.keywords, (
        "standard output"
    )


def test_what_was_printed_before_still_comes_out(
    newest: Library, board: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    libc = ctypes.CDLL(None)
    libc.printf(b"from C ")
    sys.stdout.write("from Python ")
    JetsonInferenceBackend(GOOGLENET, board)
    assert sorted(terminal(capfd).split()) == ["C", "Python", "from", "from"]


def test_more_words_than_a_pipe_holds_block_nobody_even_under_pythons_lock(
    board: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = library_of(board, G1)
    library.build_chatter = 300_000
    caplog.set_level(logging.DEBUG)
    with installed(library):
        JetsonInferenceBackend(GOOGLENET, board)
    assert "." * 300_000 in caplog.text


def test_building_is_announced_once_and_a_cached_engine_is_not(
    library: Library, board: Path, caplog: pytest.LogCaptureFixture
) -> None:
    JetsonInferenceBackend(GOOGLENET, board)
    (announced,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert announced == "building the TensorRT engine of googlenet: this takes minutes the first time"
    file = network_file("googlenet", board)
    assert file is not None
    engines = {path: path.stat().st_mtime_ns for path in file.parent.glob("*.engine")}
    assert len(engines) == 1
    caplog.clear()
    JetsonInferenceBackend(GOOGLENET, board)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert {path: path.stat().st_mtime_ns for path in file.parent.glob("*.engine")} == engines


def test_an_engine_of_another_tensorrt_is_none(
    newest: Library, board: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = network_file("googlenet", board)
    assert file is not None
    Path(f"{file}.1.1.8502.GPU.FP16.engine").touch()
    JetsonInferenceBackend(GOOGLENET, board)
    assert "this takes minutes" in caplog.text


def test_a_network_that_is_yet_to_be_downloaded_is_announced_too(
    newest: Library, board: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = network_file("googlenet", board)
    assert file is not None
    file.unlink()
    assert network_file("googlenet", board) is None
    JetsonInferenceBackend(GOOGLENET, board)
    assert "this takes minutes" in caplog.text
    assert network_file("googlenet", board) == file


def test_a_folder_that_cannot_keep_the_engine_is_said(
    newest: Library, board: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root every folder is writable
    JetsonInferenceBackend(GOOGLENET, board)
    assert "built again at every start - sudo chown" in caplog.text


@pytest.mark.parametrize("generation", [G2, G3B], ids=str)
def test_a_long_load_is_heard_of_on_the_terminal_while_it_lasts(generation: Generation, board: Path) -> None:
    """In a process of its own, with a real log on standard error: it is the one that is kept quiet."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(board), generation.name],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},  # C's too
    )
    first, *later = done.stderr.splitlines()
    assert "this takes minutes the first time" in first
    assert len(later) >= 2
    assert all("googlenet is still being loaded, after " in line for line in later)
    assert done.stdout == "loaded\n"


LOADING = """
import logging, sys
from pathlib import Path
from backends import ModelToRun, jetson_inference
from tests import jetson_standin
logging.basicConfig(level=logging.WARNING)
jetson_inference.PROGRESS_S = 0.2
board = Path(sys.argv[1])
(generation,) = [one for one in jetson_standin.GENERATIONS if one.name == sys.argv[2]]
library = jetson_standin.Library(generation, board / "usr/local/bin/networks", build_s=0.7)
with jetson_standin.installed(library):
    jetson_inference.JetsonInferenceBackend(ModelToRun(Path("googlenet")), board)
print("loaded")
"""


def test_no_thread_is_left_behind(library: Library, board: Path) -> None:
    before = threading.active_count()
    JetsonInferenceBackend(GOOGLENET, board)
    assert threading.active_count() == before


def test_descriptors_are_given_back_also_after_a_failure(
    newest: Library, board: Path, custom: ModelToRun
) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    write_onnx(custom.path, classes=9)  # and ten labels
    before = count()
    for _ in range(3):
        JetsonInferenceBackend(GOOGLENET, board)
        with pytest.raises(ModelError):
            JetsonInferenceBackend(custom, board)
    assert count() == before


def test_a_closed_standard_output_is_no_fault(
    newest: Library, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert JetsonInferenceBackend(GOOGLENET, board).facts().outputs == 1000


def test_standard_error_alone_is_kept_where_that_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    with native_chatter_logged() as chatter:
        os.write(1, b"out")
        os.write(2, b"err\n")
        with chatter.lifted():
            os.write(2, b"ours")
        assert chatter.lines() == ["err"]
    assert capfd.readouterr() == ("out", "ours")


# That the stand-in is as strict as the library: what is often written fails on it.


def test_an_array_as_opencv_has_it_is_another_picture_or_is_refused(library: Library) -> None:
    inference, utils = modules(library)
    network = inference.imageNet("googlenet", ["app", "--network=googlenet"])
    rgb = np.ascontiguousarray(noise()[:, :, ::-1])
    right = network.Classify(utils.cudaFromNumpy(rgb))
    assert network.Classify(utils.cudaFromNumpy(noise())) != right
    assert network.Classify(utils.cudaFromNumpy(rgb / 255)) != right
    assert network.Classify(utils.cudaFromNumpy(rgb.astype(float))) == right
    with pytest.raises(Exception, match=r"Classify\(\) encountered an error"):
        network.Classify(utils.cudaFromNumpy(noise(), isBGR=1))
    with pytest.raises(Exception, match="wasn't passed a valid cudaImage"):
        network.Classify(noise())
    with pytest.raises(Exception, match="wasn't passed a valid cudaImage"):
        network.Classify(None)  # a frame that did not come
    with pytest.raises(Exception, match="wasn't passed a valid cudaImage"):
        network.Classify(utils.cudaFromNumpy(rgb[np.newaxis]))


def test_none_for_a_text_is_refused(library: Library) -> None:
    inference, _ = modules(library)
    with pytest.raises(
        TypeError if library.generation.top_k else Exception, match=r"must be str|parse args tuple"
    ):
        inference.imageNet(None, [])
    if library.generation.keywords:
        with pytest.raises(
            TypeError if library.generation.top_k else Exception, match=r"must be str|parse args"
        ):
            inference.imageNet(model="own.onnx", labels=None)


def test_a_tuple_of_options_is_passed_over_and_a_list_wins_over_the_name(library: Library) -> None:
    inference, _ = modules(library)
    with_tuple = inference.imageNet("googlenet", ("app", "--network=alexnet"))
    with_list = inference.imageNet("googlenet", ["app", "--network=alexnet"])
    assert "google" in with_tuple.GetNetworkName().lower()
    assert "alex" in with_list.GetNetworkName().lower()


def test_an_option_with_a_space_takes_the_process_down(library: Library) -> None:
    inference, _ = modules(library)
    with pytest.raises(Segfault):
        inference.imageNet("googlenet", ["app", "--network", "alexnet"])


def test_the_best_few_and_numbers_below_zero_differ_between_generations(library: Library) -> None:
    inference, utils = modules(library)
    network = inference.imageNet("googlenet")
    image = utils.cudaFromNumpy(noise())
    assert network.GetNetworkFPS() == float("inf")
    if library.generation.top_k:
        assert len(network.Classify(image, topK=3)) <= 3
        assert network.GetClassDesc(-1) == "none"
        network.SetThreshold(1.5)
        assert network.Classify(image) == (-1, 0.0)
        assert network.Classify(image, topK=0) == []
    else:
        with pytest.raises(Exception, match=r"Classify\(\) failed to parse args tuple"):
            network.Classify(image, topK=3)
        with pytest.raises(Exception, match="out of bounds"):
            network.GetClassDesc(-1)
        assert not hasattr(network, "SetThreshold")


def test_a_cameras_picture_is_overwritten_by_the_fourth_after_it(library: Library) -> None:
    _, utils = modules(library)
    camera = utils.videoSource("csi://0")
    assert not camera.IsStreaming()
    first = camera.Capture()
    kept = np.array(first)
    for _ in range(4):
        camera.Capture()
    assert (np.array(first) != kept).all()
    camera.silent = True
    if library.generation.top_k:
        assert camera.Capture() is None
    else:
        with pytest.raises(Exception, match="failed to capture image"):
            camera.Capture("rgb8", 100)


def test_a_files_picture_is_freed_by_the_fourth_after_it(library: Library) -> None:
    inference, utils = modules(library)
    network, folder = inference.imageNet("googlenet"), utils.videoSource("pictures/*.jpg")
    first = folder.Capture()
    for _ in range(4):
        folder.Capture()
    with pytest.raises(Segfault):
        network.Classify(first)


def test_jetson_utils_2_hides_the_way_back_to_numpy(library: Library) -> None:
    _, utils = modules(library)
    image = utils.cudaFromNumpy(noise())
    if library.generation.split:
        with pytest.raises(TypeError):
            utils.cudaToNumpy(image)
        utils = import_module("jetson_utils_python")
    assert (utils.cudaToNumpy(image) == noise()).all()


def test_tensorrt_10_takes_the_process_down(library: Library) -> None:
    library.tensorrt = "10.3.0"
    inference, _ = modules(library)
    with pytest.raises(Segfault):
        inference.imageNet("googlenet")


def modules(library: Library) -> tuple[Any, Any]:
    names = (
        ("jetson_inference", "jetson_utils")
        if library.generation.new_names
        else ("jetson.inference", "jetson.utils")
    )
    return import_module(names[0]), import_module(names[1])
