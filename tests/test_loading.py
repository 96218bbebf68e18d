"""From a wish to a loaded model: what is refused and how, and what works."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backends import BackendUnavailable
from models.catalogue import BUILT_IN, CATALOGUE
from models.errors import ModelError
from models.files import sha256_of
from models.recipe import as_image
from stream.loading import Model, ModelWish, load_model
from tests.tiny_models import COLOURS, FLOAT32, INT8, LOGITS, write_tiny

PULLED = "mobilenet_v2_1.0_224_quant"


def refusal(wish: ModelWish) -> str:
    """Why this cannot be loaded, in one line."""
    with pytest.raises((ModelError, BackendUnavailable)) as caught:
        load_model(wish)
    message = str(caught.value)
    assert message == " ".join(message.split())
    return message


def labels_file(path: Path, names: tuple[str, ...] | list[str]) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path


def best(model: Model, colour: tuple[int, int, int]) -> str:
    picture = np.full((48, 64, 3), colour, np.uint8)
    return model.reading.top(model.backend.infer(model.backend.prepare(picture)))[0].label


@pytest.mark.parametrize("name", ["resnet", "efficientnet-lite0", "EfficientNet_Lite0", ""])
def test_an_unknown_model_is_refused_and_the_known_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(ModelWish(name or "nothing"))
    assert all(known in message for known in CATALOGUE)
    assert "or the path of a model file" in message


def test_an_unknown_backend_is_refused() -> None:
    assert BUILT_IN in refusal(ModelWish(BUILT_IN, backend="caffe"))
    assert "tflite" in refusal(ModelWish(BUILT_IN, backend="caffe"))


def test_a_model_of_a_library_is_known_by_name_and_needs_that_library() -> None:
    assert "jetson-inference is not installed" in refusal(ModelWish("googlenet"))
    assert "it runs on: tensorrt" in refusal(ModelWish("googlenet", backend="tflite"))


@pytest.mark.parametrize("name", ["nowhere.tflite", "folder/model", "./model"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    message = refusal(ModelWish(name))
    assert f"{Path(name)}: No such file or directory" in message


def test_a_model_that_was_not_pulled_says_how_to(tmp_path: Path) -> None:
    message = refusal(ModelWish(PULLED, models_dir=tmp_path))
    assert "is missing" in message
    assert message.endswith(f"python run.py models pull {PULLED}")


def test_a_model_that_is_damaged_says_how_to_get_it_again(tmp_path: Path) -> None:
    (tmp_path / f"{PULLED}.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    message = refusal(ModelWish(PULLED, models_dir=tmp_path))
    assert "is wrong" in message
    assert message.endswith(f"python run.py models pull {PULLED}")


@pytest.mark.parametrize("count", [1, 2, 5, 1000])
def test_labels_of_another_model_are_refused(tmp_path: Path, count: int) -> None:
    labels = labels_file(tmp_path / "labels.txt", [f"name {place}" for place in range(count)])
    model = write_tiny(tmp_path / "colours.tflite", replace(FLOAT32, shape=(1, 4, 6, 3)))
    if count == 2:  # one output more than labels would be the background class in front
        assert load_model(ModelWish(str(model), labels=labels)).reading.labels.background == 0
        return
    message = refusal(ModelWish(str(model), labels=labels))
    assert f"3 outputs and the label file {count} names" in message
    assert "--labels FILE" in message


def test_other_labels_for_a_known_model_are_checked_too(tmp_path: Path) -> None:
    labels = labels_file(tmp_path / "labels.txt", COLOURS)
    assert "1000 outputs and the label file 3 names" in refusal(ModelWish(BUILT_IN, labels=labels))


def test_a_label_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "colours.tflite")
    assert "labels.txt" in refusal(ModelWish(str(model), labels=tmp_path / "labels.txt"))


def test_logits_not_announced_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = write_tiny(tmp_path / "logits.tflite", LOGITS)
    load_model(ModelWish(str(model), mean=0.0, std=50.0))
    assert "if they are logits, add --scores logits" in caplog.text


@pytest.mark.parametrize("scores", ["probabilities", "logits"])
def test_what_is_right_is_not_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scores: str
) -> None:
    model = write_tiny(tmp_path / "colours.tflite", LOGITS if scores == "logits" else FLOAT32)
    loaded = load_model(
        ModelWish(str(model), mean=0.0, std=50.0, scores="logits" if scores == "logits" else None)
    )
    assert not caplog.records
    assert loaded.reading.kind == scores
    assert best(loaded, (0, 0, 255)) == "class 0"


def test_the_built_in_model_needs_nothing_but_its_name(caplog: pytest.LogCaptureFixture) -> None:
    model = load_model(ModelWish(BUILT_IN))
    assert model.name == BUILT_IN
    assert f"sha256:{model.sha256}" == CATALOGUE[BUILT_IN].files["tflite"].digest
    assert len(model.reading.labels.names) == model.backend.facts().outputs == 1000
    assert model.backend.facts().loading.load_us > 0
    assert model.first_us > 0
    assert not caplog.records


def test_a_users_own_file_works_with_labels_and_without(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "colours.tflite", INT8)
    named = load_model(ModelWish(str(model), labels=labels_file(tmp_path / "labels.txt", COLOURS)))
    bare = load_model(ModelWish(str(model)))
    for place, colour in enumerate(((0, 0, 255), (0, 255, 0), (255, 0, 0))):
        assert best(named, colour) == COLOURS[place]
        assert best(bare, colour) == f"class {place}"
    assert named.name == "colours.tflite"
    assert named.sha256 == sha256_of(model)


def test_a_file_in_the_current_folder_needs_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path / "colours.tflite")
    shutil.copy(tmp_path / "colours.tflite", tmp_path / "colours")
    monkeypatch.chdir(tmp_path)
    assert load_model(ModelWish("colours.tflite", mean=127.5)).name == "colours.tflite"
    assert load_model(ModelWish("colours", backend="tflite", mean=127.5)).name == "colours"
    assert "say who runs it with --backend" in refusal(ModelWish("colours"))


def test_what_was_asked_for_is_what_runs_and_what_is_recorded() -> None:
    wish = ModelWish(BUILT_IN, runtime="litert", threads=3, fit="letterbox", top_k=2, threshold=0.1)
    model = load_model(wish)
    record = model.record()
    assert (record["backend"], record["runtime"], record["threads"]) == ("tflite", "litert", 3)
    assert record["model"] == BUILT_IN
    assert f"sha256:{record['model_sha256']}" == CATALOGUE[BUILT_IN].files["tflite"].digest
    assert f"sha256:{record['labels_sha256']}" == CATALOGUE[BUILT_IN].labels.digest
    assert record["recipe"]["fit"] == "letterbox"
    assert record["scores"] == "probabilities"
    assert (model.reading.top_k, model.reading.threshold) == (2, 0.1)
    json.dumps(record)


def test_a_pulled_model_works_and_never_shows_its_background_class(shared: Path) -> None:
    wish = ModelWish(PULLED, models_dir=shared / "models", top_k=1001)
    model = load_model(wish)
    labels = model.reading.labels
    assert model.backend.facts().outputs == len(labels.names) == 1001
    assert labels.background == 0
    scores = np.zeros(1001, np.uint8)
    scores[[0, 1, 1000]] = 200, 20, 30
    assert [prediction.index for prediction in model.reading.top(scores)] == [1000, 1]
    picture = as_image(cv2.imread(str(shared / "images" / "pizza.jpg")))
    found = model.reading.top(model.backend.infer(model.backend.prepare(picture)))
    assert found[0].label == "pizza, pizza pie"
    assert all(prediction.index != 0 and prediction.score > 0 for prediction in found)
