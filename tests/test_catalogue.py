"""The catalogue has the study's models, and its recipes make the files that are here say what is in pictures.

What is right is said by a plain script, `Reference`: an interpreter and the recipe in NumPy, nothing of ours.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from backends import ModelToRun, load_backend
from backends.table import BACKENDS
from models.catalogue import BUILT_IN, CATALOGUE, LIBRARIES, ModelSpec, find_spec
from models.files import BUILT_IN_DIR, HASHES, MARKS, find_hashed, place, verify
from models.labels import read_labels
from models.recipe import Image, as_image
from models.scores import Prediction
from stream.loading import Model, ModelWish, load_model
from tests.tiny_models import UINT8, write_tiny

FRAMEWORKS = {
    "tflite": "tflite",
    "tensorflow-1.15": "tensorflow",
    "tensorflow-2.1": "tensorflow",
    "jetson-inference": "tensorrt",
}
"""The study's framework, our backend."""

SPECS = list(CATALOGUE.values())
FILES = [(spec, backend, file) for spec in SPECS for backend, file in spec.files.items()]


def study_rows(shared: Path) -> set[tuple[str, str]]:
    with (shared / "published_results.csv").open(newline="") as file:
        return {(row["framework"], row["model"]) for row in csv.DictReader(file)}


def test_every_model_of_the_study_has_its_row_and_a_backend_for_its_framework(shared: Path) -> None:
    by_study = {spec.study: spec for spec in SPECS if spec.study}
    rows = study_rows(shared)
    assert len(rows) == 20
    for framework, model in rows:
        assert FRAMEWORKS[framework] in by_study[model].backends, model


def test_no_model_claims_a_name_the_study_does_not_have_or_another_has(shared: Path) -> None:
    claims = [spec.study for spec in SPECS if spec.study]
    assert len(set(claims)) == len(claims)
    assert set(claims) == {model for _, model in study_rows(shared)}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_row_says_who_runs_it_and_how_it_is_to_be_read(spec: ModelSpec) -> None:
    assert spec.backends, "somebody runs it"
    assert set(spec.backends) <= {*BACKENDS, *LIBRARIES}
    assert spec.about
    assert spec.licence
    channels = 1 if spec.recipe.order == "gray" else 3
    assert len(spec.recipe.mean) in (1, channels)
    assert len(spec.recipe.std) in (1, channels)
    assert spec.application is None or set(spec.files) == {"tensorflow"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_outputs_labels_and_background_agree(spec: ModelSpec) -> None:
    labels = read_labels(find_hashed(spec.name, spec.labels).path)
    fitted = labels.fitted(spec.outputs)
    assert len(fitted.names) == spec.outputs
    assert (fitted.background == 0) == spec.background
    assert spec.outputs - len(labels.names) == spec.background
    if spec.background:
        assert fitted.names[1:] == labels.names


@pytest.mark.parametrize(("spec", "backend", "file"), FILES, ids=lambda value: getattr(value, "name", value))
def test_every_file_can_be_told_from_another(spec: ModelSpec, backend: str, file: Any) -> None:
    """Without that a login page would be taken for weights."""
    if file.digest is None:
        assert Path(file.name).suffix in MARKS
    else:
        kind, _, digest = file.digest.partition(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(HASHES[kind], usedforsecurity=False).digest_size
    if file.url is None:
        assert file.size is not None
        assert file.digest.startswith("sha256:")
        if file.made_by is not None:
            assert (BUILT_IN_DIR.parent / file.made_by).is_file()
    else:
        assert file.url.startswith("https://")
        assert file.url.endswith(f"/{file.name}")


def test_no_two_files_share_a_place() -> None:
    files = {file for spec in SPECS for file in (*spec.files.values(), spec.labels)}
    assert len({place(file) for file in files}) == len(files)


# Recipes whose file is not here. The numbers are those of Coral's own tests; see the catalogue.
@pytest.mark.parametrize(
    ("name", "side", "scale", "zero_point", "mean"),
    [
        ("efficientnet-edgetpu-S_quant", 224, 0.012566, 131, 127),
        ("efficientnet-edgetpu-M_quant", 240, 0.012089, 129, 127),
        ("efficientnet-edgetpu-L_quant", 300, 0.01246, 129, 127),
        ("inception_v4_299_quant", 299, 1 / 128, 128, 128),
        ("inception_v4_299_quant", 299, 1 / 127.5, 127, 128),
        ("mobilenet_v1_1.0_224_quant", 224, 1 / 128, 128, 128),
    ],
)
def test_where_pixels_go_is_the_files_to_say(
    tmp_path: Path, name: str, side: int, scale: float, zero_point: int, mean: int
) -> None:
    tiny = replace(UINT8, scale=scale, zero_point=zero_point, shape=(1, side, side, 3))
    spec = find_spec(name)
    backend = load_backend("tflite", ModelToRun(write_tiny(tmp_path / "tiny.tflite", tiny), spec.recipe))
    for pixel in (0, 1, 100, 127, 128, 200, 255):
        tensor = backend.prepare(np.full((side, side, 3), pixel, np.uint8))
        expected = min(255, max(0, round((pixel - mean) / 128 / float(np.float32(scale)) + zero_point)))
        assert (tensor == expected).all(), f"pixel {pixel}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v1_100_224", (-1.0, -1 + 2 / 255 * 100, 1.0)),
        ("mobilenet_v2_130_224", (-1.0, -1 + 2 / 255 * 100, 1.0)),
        ("efficientnet_b0", (0.0, 100.0, 255.0)),
        ("inception-v4", (-1.0, -1 + 2 / 255 * 100, 1.0)),
    ],
)
def test_float_models_see_the_range_they_were_trained_on(name: str, expected: tuple[float, ...]) -> None:
    recipe = find_spec(name).recipe
    seen = [(pixel - recipe.mean[0]) / recipe.std[0] for pixel in (0, 100, 255)]
    assert seen == pytest.approx(expected)


# The files that are here.

TRAINED_ON = {
    # model: (mean, std) of what it was trained to see
    BUILT_IN: (127.0, 128.0),
    "mobilenet_v1_0.25_128_quant": (128.0, 128.0),
    "mobilenet_v1_0.75_192_quant": (128.0, 128.0),
    "mobilenet_v2_1.0_224_quant": (128.0, 128.0),
    "tf2_mobilenet_v2_1.0_224_ptq": (127.0, 127.5),
}

SURE = {"parrot": "macaw", "pizza": "pizza, pizza pie", "marmot": "marmot"}
TERRIER = "soft-coated wheaten terrier"

MEASURED = {
    # model: (best scores of parrot, pizza, marmot, terrier; what it calls the terrier; hits of 100)
    BUILT_IN: ((0.918, 0.965, 0.984, 0.758), TERRIER, 91),
    "mobilenet_v1_0.25_128_quant": ((0.582, 0.918, 0.691, 0.121), "kuvasz", 53),
    "mobilenet_v1_0.75_192_quant": ((0.969, 0.996, 0.996, 0.367), TERRIER, 85),
    "mobilenet_v2_1.0_224_quant": ((0.996, 0.996, 0.996, 0.910), TERRIER, 92),
    "tf2_mobilenet_v2_1.0_224_ptq": ((0.969, 0.949, 0.977, 0.664), TERRIER, 92),
}
"""By `Reference`, with LiteRT 2.3.0 on x86-64. Other kernels differ by a few 256ths."""


class Reference:
    """A plain script's classifier."""

    def __init__(self, path: Path, mean: float, std: float) -> None:
        module = pytest.importorskip("ai_edge_litert.interpreter", reason="pip install ai-edge-litert")
        self.interpreter = module.Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        (self.input,) = self.interpreter.get_input_details()
        (self.output,) = self.interpreter.get_output_details()
        self.side = int(self.input["shape"][1])
        self.mean, self.std = mean, std

    def __call__(self, picture: Any) -> npt.NDArray[np.float64]:
        """Scores, as real numbers."""
        scale, zero_point = self.input["quantization"]
        real = (self.shrunk(picture)[:, :, ::-1].astype(np.float64) - self.mean) / self.std
        pixels = np.clip(np.round(real / scale) + zero_point, 0, 255).astype(np.uint8)
        self.interpreter.set_tensor(self.input["index"], pixels[np.newaxis])
        self.interpreter.invoke()
        scale, zero_point = self.output["quantization"]
        scores = self.interpreter.get_tensor(self.output["index"])[0].astype(np.float64)
        return np.asarray(scale * (scores - zero_point))

    def shrunk(self, picture: Any) -> Any:
        """The middle square, 7/8 of the short side; averaged by a whole number, then bilinear."""
        rows, columns = picture.shape[:2]
        side = round(min(rows, columns) * 7 / 8)
        top, left = (rows - side) // 2, (columns - side) // 2
        times = max(1, side // self.side)
        rest, side = side % times // 2, side // times * times
        square = picture[top + rest : top + rest + side, left + rest : left + rest + side]
        square = cv2.resize(square, (side // times,) * 2, interpolation=cv2.INTER_AREA)
        return cv2.resize(square, (self.side,) * 2, interpolation=cv2.INTER_LINEAR)


class Here(NamedTuple):
    """A model of the catalogue as a user has it, and the same file in the plain script."""

    name: str
    models_dir: Path
    path: Path
    model: Model
    reference: Reference

    def best(self, picture: Image) -> Prediction:
        backend = self.model.backend
        return self.model.reading.top(backend.infer(backend.prepare(picture)))[0]


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[tuple[Image, int]]:
    """Each with its class."""
    folder = shared / "images" / "eval"
    with (folder / "labels.csv").open(newline="") as file:
        rows = [(read_image(folder / row["file"]), int(row["class_index"])) for row in csv.DictReader(file)]
    assert len(rows) == 100
    return rows


@pytest.fixture(scope="module", params=TRAINED_ON)
def here(
    request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Here]:
    name = request.param
    models_dir = tmp_path_factory.mktemp("models")
    path = BUILT_IN_DIR / CATALOGUE[name].files["tflite"].name
    if name != BUILT_IN:
        path = models_dir / f"{name}.tflite"
        shutil.copy(shared / "models" / path.name, path)
    model = load_model(ModelWish(name, backend="tflite", models_dir=models_dir))
    yield Here(name, models_dir, path, model, Reference(path, *TRAINED_ON[name]))
    model.backend.close()


def test_a_file_as_published_is_found_and_verified(here: Here) -> None:
    file = CATALOGUE[here.name].files["tflite"]
    assert verify(file, here.path).state == "ok"
    sha256 = hashlib.sha256(here.path.read_bytes()).hexdigest()
    assert find_hashed(here.name, file, here.models_dir) == (here.path, sha256)
    assert here.model.sha256 == sha256
    assert here.model.backend.facts().outputs == CATALOGUE[here.name].outputs


def test_the_recipe_of_the_catalogue_makes_it_name_what_is_in_pictures(here: Here, shared: Path) -> None:
    scores, terrier, _ = MEASURED[here.name]
    labels = SURE | {"wheaten_terrier": terrier}
    for (picture, label), score in zip(labels.items(), scores, strict=True):
        image = read_image(shared / "images" / f"{picture}.jpg")
        best = here.best(image)
        assert best.label == label
        assert best.score == pytest.approx(score, abs=0.03)
        assert best.score == pytest.approx(here.reference(image).max(), abs=1e-6)


def test_on_a_hundred_photographs_it_says_what_the_plain_script_says(
    here: Here, photographs: list[tuple[Image, int]]
) -> None:
    background = CATALOGUE[here.name].background
    ours = [here.best(image).index for image, _ in photographs]
    plain = [int(here.reference(image).argmax()) for image, _ in photographs]
    assert ours == plain
    hits = sum(index == true + background for index, (_, true) in zip(plain, photographs, strict=True))
    assert hits == pytest.approx(MEASURED[here.name][2], abs=2)


def test_the_name_of_every_output_is_that_of_its_class(here: Here, shared: Path) -> None:
    """Off by one, every name would be its neighbour's: the mistake that costs the whole accuracy."""
    corals = (shared / "models" / "imagenet_labels.txt").read_text().splitlines()
    assert corals[0] == "background"
    background = CATALOGUE[here.name].background
    assert here.model.reading.labels.background == (0 if background else None)
    assert list(here.model.reading.labels.names) == (corals if background else corals[1:])


def test_what_git_calls_a_file_of_corals_is_what_is_computed_here(shared: Path) -> None:
    """The id is that of their repository. The files that have no other digest lie in the same one."""
    name = "mobilenet_v2_1.0_224_quant"
    file = replace(CATALOGUE[name].files["tflite"], digest="git:03533c32dacc1456ff3fe951ebdd5b967ce9e6a0")
    assert verify(file, shared / "models" / f"{name}.tflite").state == "ok"


def read_image(path: Path) -> Image:
    return as_image(cv2.imread(str(path)))
