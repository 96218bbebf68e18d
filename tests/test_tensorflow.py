"""The TensorFlow backend: what it reads, that its modes agree, that published weights answer as in Keras."""

from __future__ import annotations

import csv
import gc
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backends import Backend, BackendUnavailable, ModelToRun, load_backend
from backends.table import MODES, SUFFIXES
from backends.tensorflow import DEFAULT_MODE, READERS, RUNNERS
from models.catalogue import BUILT_IN, CATALOGUE, Application, ModelSpec, find_spec
from models.errors import ModelError
from models.files import BUILT_IN_DIR
from models.labels import read_labels
from models.recipe import Image, Recipe, as_image, fit_image, recolour
from models.scores import Reading
from tests.keras_models import (
    Libraries,
    frozen,
    libraries,
    randomise,
    save,
    threads,
    tiny_keras,
    write_published,
    write_tiny_keras,
)

ROOT = Path(__file__).resolve().parent.parent
BUILT_IN_KERAS = BUILT_IN_DIR / "efficientnet_lite0" / "efficientnet_lite0.keras"
PICTURES = {
    "parrot": "macaw",
    "pizza": "pizza",
    "marmot": "marmot",
    "wheaten_terrier": "soft-coated wheaten terrier",
}
COLOURS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}  # BGR, in the order of the classes
TINY = Recipe((6, 4), mean=(127.5,), std=(127.5,))
KINDS = ("tiny.keras", "tiny.h5", "tiny.pb", "tiny")
WHOLE = {"tiny.keras", "tiny.h5"}
"""Those that can also be run operation by operation."""


@pytest.fixture(scope="module")
def libs() -> Libraries:
    return libraries()


def load(path: Path, recipe: Recipe | None = TINY, **wishes: Any) -> Backend:
    return load_backend("tensorflow", ModelToRun(path, recipe, **{"threads": threads(), **wishes}))


def refusal(path: Path, recipe: Recipe | None = TINY, **wishes: Any) -> str:
    with pytest.raises((ModelError, BackendUnavailable)) as caught:
        load(path, recipe, **wishes)
    message = str(caught.value)
    assert message == " ".join(message.split())
    assert 0 < len(message) < 500
    return message


def plain(blue: int, green: int, red: int) -> Image:
    return np.full((48, 64, 3), (blue, green, red), np.uint8)


def noise(seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (300, 400, 3), np.uint8)


def photograph(path: Path) -> Image:
    return as_image(cv2.imread(str(path)))


# What is refused, and how.


def test_the_tables_agree() -> None:
    assert tuple(RUNNERS) == MODES["tensorflow"]
    assert DEFAULT_MODE in RUNNERS
    assert set(READERS) == {suffix for suffix, backend in SUFFIXES.items() if backend == "tensorflow"}


def test_a_file_of_another_kind_is_refused_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3")
    assert ".keras, .h5, .pb, the folder of a SavedModel" in refusal(path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert f"give the whole folder, {tmp_path}" in refusal(tmp_path / "saved_model.pb")
    (tmp_path / "empty").mkdir()
    assert "without a saved_model.pb" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_a_foreign_file_is_one_line(libs: Libraries, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"foreign{suffix}"
    path.touch()
    assert "is empty - download it again" in refusal(path)
    for content in (b"this is not a model\n" * 100, b"<!DOCTYPE html><html>404</html>", bytes(10_000)):
        path.write_bytes(content)
        assert f"foreign{suffix}" in refusal(path)


def test_a_download_that_broke_off_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = write_tiny_keras(tmp_path / "tiny.keras")
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path) == f"{path} is not a whole .keras file - download it again"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line(libs: Libraries, tmp_path: Path, kind: str) -> None:
    path = save(tiny_keras(), tmp_path / kind)
    file = path / "saved_model.pb" if path.is_dir() else path
    whole = file.read_bytes()
    for part in (1, 3, 5, 7):
        file.write_bytes(whole[: len(whole) * part // 8])
        assert refusal(path).startswith((kind, str(path)))


def test_a_saved_model_without_its_weights_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = save(tiny_keras(), tmp_path / "tiny")
    (path / "variables" / "variables.index").unlink()
    assert refusal(path).startswith("tiny cannot be loaded: ")


def test_weights_without_their_network_are_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = write_published(tiny_keras(), tmp_path / "weights.h5")
    assert "weights.h5 holds weights and not the network they belong to" in refusal(path)


def test_weights_of_another_network_are_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = write_published(tiny_keras(), tmp_path / "weights.h5")
    message = refusal(path, application=Application("MobileNet", alpha=0.25))
    assert message.startswith("weights.h5 cannot be loaded: Layer count mismatch")


@pytest.mark.parametrize(
    ("shapes", "outputs", "expected"),
    [
        ([(12,)], 1, "input is [1, 12]"),
        ([(4, 3)], 1, "input is [1, 4, 3]"),
        ([(4, 6, 4)], 1, "input is [1, 4, 6, 4]"),
        ([(3, 224, 224)], 1, "input is [1, 3, 224, 224]"),
        ([(4, 6, 3), (4, 6, 3)], 1, "2 inputs"),
        ([(4, 6, 3)], 2, "2 outputs"),
        ([(4, 6, 3)], 0, "the first of shape [1, 4, 6, 3]"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [".keras", ""])
def test_what_is_no_image_classifier_is_one_line(
    libs: Libraries, tmp_path: Path, kind: str, shapes: list[Any], outputs: int, expected: str
) -> None:
    layers = libs.keras.layers
    inputs = [layers.Input(shape) for shape in shapes]
    flat = layers.Concatenate()([layers.Flatten()(tensor) for tensor in inputs] * 2)
    scores = [layers.Dense(3)(flat) for _ in range(outputs)] or [layers.Rescaling(2.0)(inputs[0])]
    path = save(libs.keras.Model(inputs, scores), tmp_path / f"odd{kind}")
    assert expected in refusal(path)


def test_a_type_that_pixels_do_not_come_in_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    assert "input type int32" in refusal(write_tiny_keras(tmp_path / "odd.keras", dtype="int32"))


def test_a_class_score_that_is_a_number_alone_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = write_tiny_keras(tmp_path / "one.keras", shape=(4, 6, 1))
    assert "of shape [1, 1]" in refusal(path, None)


def test_code_of_its_own_is_never_run(libs: Libraries, tmp_path: Path) -> None:
    """A model file may hold Python: Keras runs none of it unless told to, and is not told."""
    picture = libs.keras.Input((4, 6, 3))
    scores = libs.keras.layers.Lambda(lambda tensor: tensor[:, 0, 0])(picture)
    for kind in (".keras", ".h5"):
        path = save(libs.keras.Model(picture, scores), tmp_path / f"lambda{kind}")
        assert refusal(path).startswith(f"lambda{kind} cannot be loaded: ")


def test_a_layer_that_only_its_author_has_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    class Own(libs.keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, tensor: Any) -> Any:
            return tensor[:, 0, 0]

    picture = libs.keras.Input((4, 6, 3))
    path = save(libs.keras.Model(picture, Own()(picture)), tmp_path / "own.keras")
    assert "own.keras cannot be loaded: Could not locate class 'Own'" in refusal(path)


def test_a_network_that_was_never_built_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = save(libs.keras.Sequential([libs.keras.layers.Dense(3)]), tmp_path / "unbuilt.keras")
    assert "unbuilt.keras" in refusal(path)


def test_a_recipe_of_another_size_than_the_file_is_refused(libs: Libraries, tmp_path: Path) -> None:
    path = write_tiny_keras(tmp_path / "tiny.keras")
    assert "takes pictures of 6x4, the catalogue says (224, 224)" in refusal(path, Recipe((224, 224)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_for_pictures_of_any_size_needs_a_recipe(libs: Libraries, tmp_path: Path, kind: str) -> None:
    path = save(tiny_keras((None, None, 3)), tmp_path / kind)
    assert "takes pictures of any size" in refusal(path, None)
    backend = load(path, Recipe((10, 8), mean=(127.5,), std=(127.5,)))
    assert backend.prepare(noise()).shape == (1, 8, 10, 3)
    assert backend.infer(backend.prepare(plain(0, 255, 0))).argmax() == 1
    backend.close()


def test_a_saved_model_that_serves_nothing_by_default_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    tf = libs.tf
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "nothing"))
    assert "no signature serving_default; it has: none" in refusal(tmp_path / "nothing")
    double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec((1, 4, 6, 3))])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"double": double})
    assert "no signature serving_default; it has: double" in refusal(tmp_path / "other")


def test_a_frozen_graph_with_two_ends_is_one_line_that_names_them(libs: Libraries, tmp_path: Path) -> None:
    tf, path = libs.tf, tmp_path / "odd.pb"
    spec = tf.TensorSpec((1, 4, 6, 3))
    two_ends = frozen(tf, lambda x: (tf.sin(x, name="one"), tf.cos(x, name="two")), spec)
    graph = tf.compat.v1.GraphDef.FromString(two_ends)
    for node in [node for node in graph.node if node.op in ("Identity", "NoOp")]:
        graph.node.remove(node)
    path.write_bytes(graph.SerializeToString())
    assert "and ends at one, two; an image classifier has one" in refusal(path)
    path.write_bytes(frozen(tf, lambda x, y: x + y, spec, spec))
    assert "begins at tensors_0, tensors_1 and ends at Identity" in refusal(path)


def test_a_graph_that_is_not_frozen_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    v1 = libs.tf.compat.v1
    with libs.tf.Graph().as_default() as graph:
        picture = v1.placeholder("float32", (None, 4, 6, 3))
        v1.nn.bias_add(picture, v1.Variable([1.0, 2.0, 3.0], use_resource=True))
    (tmp_path / "live.pb").write_bytes(graph.as_graph_def().SerializeToString())
    assert "live.pb is not frozen" in refusal(tmp_path / "live.pb")


def test_an_operation_that_this_tensorflow_lacks_is_one_line(libs: Libraries, tmp_path: Path) -> None:
    path = save(tiny_keras(), tmp_path / "tiny.pb")
    graph = libs.tf.compat.v1.GraphDef.FromString(path.read_bytes())
    (softmax,) = [node for node in graph.node if node.op == "Softmax"]
    softmax.op = "Hardmax"
    path.write_bytes(graph.SerializeToString())
    assert "Hardmax" in refusal(path)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - WHOLE))
def test_a_graph_is_not_run_step_by_step(libs: Libraries, tmp_path: Path, kind: str) -> None:
    path = save(tiny_keras(), tmp_path / kind)
    assert "take --mode graph, or give a .keras or .h5 file" in refusal(path, mode="eager")


def test_another_number_of_threads_than_tensorflow_started_with_is_refused(
    libs: Libraries, tmp_path: Path
) -> None:
    path = write_tiny_keras(tmp_path / "tiny.keras")
    load(path).close()
    message = refusal(path, threads=threads() + 1)
    assert f"runs with {threads()} threads" in message
    assert f"cannot change to {threads() + 1}" in message


@pytest.mark.parametrize("mode", ["graph", "function"])
def test_what_fails_while_running_is_one_line(libs: Libraries, tmp_path: Path, mode: str) -> None:
    tf = libs.tf

    def scores(picture: Any) -> Any:
        """Fails for what is not gray: the place of a score is then not among them."""
        means = tf.reduce_mean(picture, [1, 2])
        return tf.gather(means, tf.cast(9 * picture[0, 0, 0], tf.int32), axis=1)

    path = tmp_path / "frail.pb"
    path.write_bytes(frozen(tf, scores, tf.TensorSpec((1, 4, 6, 3))))
    backend = load(path, mode=mode)
    assert backend.infer(backend.prepare(plain(127, 127, 127))).shape == (3,)
    with pytest.raises(ModelError, match="failed while running: ") as caught:
        backend.infer(backend.prepare(plain(255, 255, 255)))
    assert "\n" not in str(caught.value)
    backend.close()


def test_a_closed_backend_says_so(libs: Libraries, tmp_path: Path) -> None:
    backend = load(write_tiny_keras(tmp_path / "tiny.keras"))
    backend.close()
    with pytest.raises(ModelError, match="closed"):
        backend.infer(backend.prepare(noise()))


# What is read, and run.


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    network = tiny_keras()
    for kind in KINDS:
        save(network, folder / kind)
    return folder


@pytest.mark.parametrize("mode", RUNNERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_any_kind_names_the_colour_in_every_mode(
    libs: Libraries, files: Path, kind: str, mode: str
) -> None:
    if mode == "eager" and kind not in WHOLE:
        return  # refused, see above
    backend = load(files / kind, mode=mode)
    assert backend.facts().mode == mode
    assert backend.facts().outputs == 3
    for index, colour in enumerate(COLOURS.values()):
        scores = backend.infer(backend.prepare(plain(*colour)))
        best, other = np.exp(1.0), np.exp(-1.0)
        expected = [best if place == index else other for place in range(3)] / (best + 2 * other)
        assert scores.dtype == np.float32
        assert scores == pytest.approx(expected, abs=1e-6)
    backend.close()


def test_the_default_mode_is_said(libs: Libraries, files: Path) -> None:
    backend = load(files / "tiny.keras")
    assert backend.facts().mode == DEFAULT_MODE
    assert f"mode {DEFAULT_MODE}" in str(backend.facts())
    backend.close()


def test_the_device_is_the_one_tensorflow_has(libs: Libraries, files: Path) -> None:
    backend = load(files / "tiny.keras")
    assert backend.facts().device == ("gpu" if libs.tf.config.list_logical_devices("GPU") else "cpu")
    backend.close()


def test_a_saved_model_keeps_its_variables(libs: Libraries, files: Path) -> None:
    """A signature alone does not: TensorFlow then fails over a variable that is gone."""
    backend = load(files / "tiny", mode="xla")
    gc.collect()
    assert backend.infer(backend.prepare(plain(255, 0, 0))).argmax() == 2
    backend.close()


def test_a_frozen_graph_of_tensorflow_1_is_read(libs: Libraries, tmp_path: Path) -> None:
    v1 = libs.tf.compat.v1
    with libs.tf.Graph().as_default() as graph:
        picture = v1.placeholder("float32", (None, 4, 6, 3), name="input")
        means = v1.reshape(v1.nn.avg_pool2d(picture, (4, 6), 1, "VALID"), v1.stack([v1.shape(picture)[0], 3]))
        v1.nn.softmax(means, name="scores")
    (tmp_path / "old.pb").write_bytes(graph.as_graph_def().SerializeToString())
    backend = load(tmp_path / "old.pb")
    assert [backend.infer(backend.prepare(plain(*bgr))).argmax() for bgr in COLOURS.values()] == [0, 1, 2]
    backend.close()


def test_a_float_model_gets_minus_one_to_one_unless_told_otherwise(
    libs: Libraries, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    white = plain(255, 255, 255)
    backend = load(files / "tiny.keras", None)
    assert "assuming -1 to 1 (see --mean, --std)" in caplog.text
    assert backend.prepare(white).max() == backend.prepare(white).min() == pytest.approx(1.0)
    assert backend.facts().recipe == TINY
    backend.close()
    caplog.clear()
    backend = load(files / "tiny.keras", None, mean=0.0, std=255.0)
    assert not caplog.text
    assert backend.prepare(plain(0, 0, 0)).max() == pytest.approx(0.0)
    backend.close()


def test_a_model_that_takes_bytes_gets_the_pixels_themselves(libs: Libraries, tmp_path: Path) -> None:
    for kind in (".keras", ""):
        backend = load(write_tiny_keras(tmp_path / f"bytes{kind}", dtype="uint8"), None)
        tensor = backend.prepare(plain(10, 200, 30))
        assert tensor.dtype == np.uint8
        assert tensor[0, 0, 0].tolist() == [30, 200, 10]
        assert backend.infer(tensor).argmax() == 1
        backend.close()


def test_a_gray_model_gets_one_channel_of_brightness(libs: Libraries, tmp_path: Path) -> None:
    layers = libs.keras.layers
    picture = layers.Input((4, 6, 1))
    columns = layers.Softmax()(layers.Flatten()(layers.AveragePooling2D((4, 1))(picture)))
    backend = load(save(libs.keras.Model(picture, columns), tmp_path / "gray.keras"), None, fit="stretch")
    assert backend.facts().recipe.order == "gray"
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 1], image[:, 4] = (255, 0, 0), (0, 255, 0)  # blue is darker than green
    assert backend.infer(backend.prepare(image)).argsort()[-2:].tolist() == [1, 4]
    backend.close()


def test_dropout_and_batch_norms_are_not_those_of_training(libs: Libraries, tmp_path: Path) -> None:
    layers = libs.keras.layers
    picture = layers.Input((4, 6, 3))
    norm = layers.BatchNormalization()
    scores = layers.GlobalAveragePooling2D()(layers.Dropout(0.9)(norm(picture)))
    norm.set_weights([np.ones(3), np.zeros(3), np.array([1.0, 2.0, 3.0]), np.ones(3)])
    path = save(libs.keras.Model(picture, scores), tmp_path / "trained.keras")
    for mode in RUNNERS:
        backend = load(path, mode=mode)
        assert backend.infer(backend.prepare(plain(255, 255, 255))) == pytest.approx([0, -1, -2], abs=1e-2)
        backend.close()


def sessions(libs: Libraries) -> list[Any]:
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is libs.tf.compat.v1.Session]


def test_closing_frees_the_session(libs: Libraries, files: Path) -> None:
    before = len(sessions(libs))
    backends = [load(files / "tiny.keras", mode="graph") for _ in range(3)]
    held = sessions(libs)
    assert len(held) == before + 3
    for backend in backends:
        backend.close()
    for session in held[-3:]:
        with pytest.raises(RuntimeError, match="closed"):
            session.run([])
    del held, session
    assert len(sessions(libs)) == before


# Keras Applications: the published weights, laid out as published, used as Keras uses them.

KERAS_MODELS = [spec for spec in CATALOGUE.values() if spec.application is not None]
SLOW = {"efficientnet_b0", "efficientnet_b4"}
TOO_SLOW = {"efficientnet_b7"}
"""Minutes for a few runs; loading it is tested below."""


@pytest.fixture
def keras_home(libs: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Keras keeps what it downloads, for this test."""
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, id=spec.name, marks=[pytest.mark.slow] if spec.name in SLOW else [])
        for spec in KERAS_MODELS
        if spec.name not in TOO_SLOW
    ],
)
def test_published_weights_answer_as_under_the_name_imagenet(
    libs: Libraries, keras_home: Path, monkeypatch: pytest.MonkeyPatch, spec: ModelSpec
) -> None:
    """Keras finds our file under its published name, takes it for its own download, and is asked the same."""
    from keras.src.applications import efficientnet

    assert spec.application is not None
    options = {} if spec.application.alpha is None else {"alpha": spec.application.alpha}
    build = getattr(libs.keras.applications, spec.application.name)
    network = build(weights=None, **options)
    pictures, recipe = (noise(), plain(200, 100, 50)), spec.recipe
    fitted = [fit_image(picture, recipe.size, recipe.fit) for picture in pictures]
    seen = [recolour(picture, recipe.order, recipe.invert) for picture in fitted]
    randomise(network, (np.stack(seen) - np.array(recipe.mean)) / np.array(recipe.std))
    path = write_published(network, keras_home / spec.files["tensorflow"].name)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, spec.application.name[-2:].lower(), (md5, ""))
    keras_itself = build(weights="imagenet", **options)

    backend = load(path, spec.recipe, application=spec.application, mode="eager")
    assert backend.facts().outputs == spec.outputs == 1000
    answers = []
    for picture in pictures:
        tensor = backend.prepare(picture)
        answers.append(keras_itself(tensor, training=False).numpy()[0])
        assert backend.infer(tensor) == pytest.approx(answers[-1], rel=1e-3, abs=1e-6)
    backend.close()
    one, other = answers
    assert 0.002 < other.max() < 0.9
    assert abs(one - other).max() > other.max() / 10, "weights that are blind to the picture test nothing"
    if spec.application.name.startswith("EfficientNet"):
        by_path = network(tensor, training=False).numpy()[0]
        assert abs(by_path - other).max() > other.max() / 50, "what Keras does for weights=<path>"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TOO_SLOW))
def test_the_weights_of_the_largest_network_are_read(libs: Libraries, tmp_path: Path, name: str) -> None:
    spec = find_spec(name)
    assert spec.application is not None
    network = getattr(libs.keras.applications, spec.application.name)(weights=None)
    path = write_published(network, tmp_path / spec.files["tensorflow"].name)
    backend = load(path, spec.recipe, application=spec.application, mode="eager")
    assert backend.facts().outputs == spec.outputs
    backend.close()


# The built-in model.


@pytest.fixture(scope="module")
def built_in(libs: Libraries) -> Iterator[dict[str, Backend]]:
    recipe = find_spec(BUILT_IN).recipe
    backends = {mode: load(BUILT_IN_KERAS, recipe, mode=mode) for mode in RUNNERS}
    yield backends
    for backend in backends.values():
        backend.close()


def test_the_four_modes_give_the_same_answers(shared: Path, built_in: dict[str, Backend]) -> None:
    labels = read_labels(BUILT_IN_DIR / find_spec(BUILT_IN).labels.name)
    for name, label in PICTURES.items():
        picture = photograph(shared / "images" / f"{name}.jpg")
        answers = {mode: backend.infer(backend.prepare(picture)) for mode, backend in built_in.items()}
        for mode, scores in answers.items():
            assert scores == pytest.approx(answers["eager"], abs=1e-4), mode
            assert Reading(labels).top(scores)[0].label.partition(",")[0] == label
            assert scores.sum() == pytest.approx(1.0, abs=1e-4)


def test_tensorflow_and_tensorflow_lite_agree(shared: Path, built_in: dict[str, Backend]) -> None:
    spec = find_spec(BUILT_IN)
    lite = load_backend("tflite", ModelToRun(BUILT_IN_DIR / spec.files["tflite"].name, spec.recipe))
    folder = shared / "images" / "eval"
    with (folder / "labels.csv").open(newline="") as table:
        classes = {row["file"]: int(row["class_index"]) for row in csv.DictReader(table)}
    full = built_in["graph"]
    best = []
    for name in classes:
        picture = photograph(folder / name)
        best.append([int(backend.infer(backend.prepare(picture)).argmax()) for backend in (full, lite)])
    lite.close()
    assert len(best) == 100
    assert sum(one == other for one, other in best) >= 97
    right = sum(one == expected for (one, _), expected in zip(best, classes.values(), strict=True))
    assert right >= 91, "of the 100, as measured by export.py; see PROVENANCE.md beside it"


@pytest.mark.parametrize("mode", RUNNERS)
def test_python_goes_on_while_the_model_works(built_in: dict[str, Backend], mode: str) -> None:
    """Capturing and painting must not wait for the lock that a native call can hold."""
    backend = built_in[mode]
    tensor = backend.prepare(noise())
    started_ns = time.monotonic_ns()
    backend.infer(tensor)
    runs = max(3, 500_000_000 // (time.monotonic_ns() - started_ns))
    worker = threading.Thread(target=lambda: [backend.infer(tensor) for _ in range(runs)])
    worker.start()
    naps = 0
    while worker.is_alive():
        time.sleep(0.001)
        naps += 1
    worker.join()
    assert naps > 2 * runs, "with the lock held there is one nap for each run"


# In a process of its own.

LOAD = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from backends import BackendUnavailable, ModelToRun, load_backend
from models.catalogue import Application
from models.errors import ModelError
for argument in sys.argv[1:]:
    mode, _, path = argument.partition("=")
    wish = ModelToRun(Path(path), mode=mode, threads=2, mean=127.5, std=127.5)
    if path.endswith(".h5"):
        wish = replace(wish, application=Application("MobileNet", alpha=0.25))
    try:
        backend = load_backend("tensorflow", wish)
        scores = backend.infer(backend.prepare(np.zeros((48, 64, 3), np.uint8)))
        print(mode, backend.facts().threads, scores.dtype, scores.argmax(), f"{scores.max():.5f}")
        backend.close()
    except (BackendUnavailable, ModelError) as error:
        print(error)
"""


def elsewhere(*arguments: str, **environment: Path | str) -> subprocess.CompletedProcess[str]:
    """Each argument is a mode, =, and a path. With PYTHONPATH, packages are found there only."""
    command = [sys.executable, *(["-S"] if "PYTHONPATH" in environment else []), "-c", LOAD, *arguments]
    environ = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=True
    )


def test_what_the_libraries_print_stays_off_the_terminal_and_settings_of_keras_do_not_count(
    libs: Libraries, tmp_path: Path
) -> None:
    """Who uses Keras with PyTorch has said so in a file, and with it where a picture's colours are."""
    settings = '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float16"}'
    (tmp_path / "keras.json").write_text(settings)
    tiny = write_tiny_keras(tmp_path / "tiny.keras")
    network = libs.keras.applications.MobileNet(weights=None, alpha=0.25)
    black = np.full((2, 224, 224, 3), -1, np.float32)
    black[1, 50:] = 1  # else the batch norms have nothing to fit
    randomise(network, black)
    (scores,) = network(black[:1], training=False).numpy()
    weights = write_published(network, tmp_path / "weights.h5")
    done = elsewhere(*(f"{mode}={tiny}" for mode in RUNNERS), f"eager={weights}", KERAS_HOME=tmp_path)
    assert done.stderr == ""
    *lines, last = done.stdout.splitlines()
    assert lines == [f"{mode} 2 float32 0 0.33333" for mode in RUNNERS]
    assert last == f"eager 2 float32 {scores.argmax()} {scores.max():.5f}"


def packages_without(folder: Path, *missing: str) -> Path:
    folder.mkdir()
    for package in Path(np.__file__).parent.parent.iterdir():
        if not package.name.startswith(missing):
            (folder / package.name).symlink_to(package)
    return folder


def keras_file(folder: Path) -> Path:
    """Looks like one from afar."""
    (folder / "model.keras").write_bytes(b"PK\x03\x04")
    return folder / "model.keras"


def test_without_tensorflow_it_says_what_to_install(tmp_path: Path) -> None:
    packages = packages_without(tmp_path / "packages", "tensorflow", "keras")
    done = elsewhere(f"graph={keras_file(tmp_path)}", PYTHONPATH=packages)
    assert done.stdout == "TensorFlow is not installed - pip install -r requirements-tensorflow.txt\n"
    assert done.stderr == ""


def test_a_tensorflow_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    packages = packages_without(tmp_path / "packages", "tensorflow", "keras")
    (packages / "tensorflow").mkdir()
    (packages / "tensorflow" / "__init__.py").write_text("raise ImportError('libx.so:\\n no such file')")
    done = elsewhere(f"graph={keras_file(tmp_path)}", PYTHONPATH=packages)
    assert done.stdout == (
        "TensorFlow does not load: libx.so: no such file"
        " - pip install --force-reinstall -r requirements-tensorflow.txt\n"
    )
