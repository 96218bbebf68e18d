"""The built-in model is the catalogue's file, names what is in pictures, and is as accurate as when made."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.catalogue import BUILT_IN, ModelFile, find_spec
from models.labels import read_labels
from models.recipe import Fit, Image, Quantisation, Quantiser, as_image, fit_image, recolour
from models.scores import Prediction, Reading

SPEC = find_spec(BUILT_IN)
MODELS = Path(__file__).resolve().parent.parent / "models"
MODEL, LABELS = MODELS / SPEC.files["tflite"].name, MODELS / SPEC.labels.name
MEASURED_TOP_1 = 0.91  # of the 100 photographs, by export.py; see PROVENANCE.md beside it

Classify = Callable[[Image, Fit], tuple[Prediction, ...]]


@pytest.fixture(scope="module")
def classify() -> Classify:
    interpreter_module = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="pip install ai-edge-litert"
    )
    interpreter = interpreter_module.Interpreter(str(MODEL), num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    quantise = Quantiser(SPEC.recipe, entry["dtype"], Quantisation(*entry["quantization"]), channels=3)
    assert quantise.identity, "the input is made so that pixels go in as they are"
    reading = Reading(read_labels(LABELS).fitted(result["shape"][-1]), Quantisation(*result["quantization"]))

    def classify(image: Image, fit: Fit) -> tuple[Prediction, ...]:
        fitted = fit_image(image, SPEC.recipe.size, fit)
        pixels = quantise(recolour(fitted, SPEC.recipe.order, SPEC.recipe.invert))
        interpreter.set_tensor(entry["index"], pixels[np.newaxis])
        interpreter.invoke()
        return reading.top(interpreter.get_tensor(result["index"])[0])

    return classify


COMMITTED = [file for file in (*SPEC.files.values(), SPEC.labels) if file.made_by is None]


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.name)
def test_a_built_in_file_is_the_one_in_the_catalogue(file: ModelFile) -> None:
    content = (MODELS / file.name).read_bytes()
    assert len(content) == file.size
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == file.digest


def test_the_licence_and_the_provenance_lie_beside_the_weights() -> None:
    assert "Apache License" in MODEL.with_name("LICENSE").read_text()
    provenance = MODEL.with_name("PROVENANCE.md").read_text()
    for file in SPEC.files.values():
        assert str(file.digest).removeprefix("sha256:") in provenance


def test_a_thousand_labels_each_with_its_own_wordnet_id() -> None:
    wordnet_ids = [line.split()[0] for line in LABELS.read_text().splitlines()]
    assert len(set(wordnet_ids)) == len(wordnet_ids) == 1000
    assert wordnet_ids == sorted(wordnet_ids), "ImageNet's order of classes"


def test_the_two_cranes_are_two_classes() -> None:
    names = read_labels(LABELS).names
    assert [index for index, name in enumerate(names) if name == "crane"] == [134, 517]
    lines = LABELS.read_text().splitlines()
    assert (lines[134], lines[517]) == ("n02012849\tcrane", "n03126707\tcrane")


@pytest.mark.parametrize(
    ("picture", "name", "at_least"),
    [
        ("parrot", "macaw", 0.85),
        ("pizza", "pizza, pizza pie", 0.85),
        ("marmot", "marmot", 0.85),
        ("wheaten_terrier", "soft-coated wheaten terrier", 0.60),
    ],
)
def test_it_names_what_is_in_the_picture(
    shared: Path, classify: Classify, picture: str, name: str, at_least: float
) -> None:
    best, *_ = classify(read_image(shared / "images" / f"{picture}.jpg"), "crop")
    assert best.label == name
    assert best.score >= at_least


def test_it_is_as_accurate_as_when_it_was_made_and_the_crop_beats_squashing(
    shared: Path, classify: Classify
) -> None:
    folder = shared / "images" / "eval"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    hits: dict[Fit, int] = {"crop": 0, "stretch": 0}
    for row in rows:
        image = read_image(folder / row["file"])
        for fit in hits:
            hits[fit] += classify(image, fit)[0].index == int(row["class_index"])
    assert hits["crop"] / len(rows) >= MEASURED_TOP_1 - 0.02
    assert hits["crop"] >= hits["stretch"]


def read_image(path: Path) -> Image:
    return as_image(cv2.imread(str(path)))
