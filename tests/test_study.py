"""The study's tables, from real logs: live and still, made once for all tests here by the program itself."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.catalogue import BUILT_IN, CATALOGUE
from stream import study
from stream.bench_report import read_classes
from stream.compare import compare
from stream.log import LogError

pytestmark = pytest.mark.slow  # a hundred photographs, live and still

ROOT = Path(__file__).resolve().parent.parent
COLLECTED = "mobilenet_v2_1.0_224_quant"
OTHERS = ("mobilenet_v1_0.75_192_quant", "mobilenet_v1_0.25_128_quant", "tf2_mobilenet_v2_1.0_224_ptq")
NAMES = {spec.study: spec.name for spec in CATALOGUE.values() if spec.study}


def labelcam(shared: Path, *arguments: str | Path) -> str:
    command = [sys.executable, "run.py", *map(str, arguments), "--models-dir", str(shared / "models")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def live_and_still(shared: Path, folder: Path, model: str) -> tuple[Path, Path]:
    """Logs of the hundred photographs, as a camera would deliver them and as stills."""
    live, still, photos = (
        folder / f"live-{model}.jsonl",
        folder / f"still-{model}.jsonl",
        shared / "images/eval",
    )
    labelcam(shared, "--source", photos, "--every-frame", "--port", "0", "--model", model, "--log", live)
    labelcam(shared, "bench", photos, "--runs", "1", "--model", model, "--log", still)
    return live, still


@pytest.fixture(scope="module")
def logs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two models: the hundred photographs live and still, and the four pictures."""
    folder = tmp_path_factory.mktemp("study")
    for model in (BUILT_IN, COLLECTED):
        live_and_still(shared, folder, model)
    pictures = [shared / "images" / name for name in study.PICTURES.values()]
    models = ("--model", COLLECTED, "--model", BUILT_IN)
    labelcam(
        shared, "bench", *pictures, *models, "--runs", "20", "--rounds", "2", "--log", folder / "four.jsonl"
    )
    return folder


def read(shared: Path, *logs: Path) -> study.Study:
    classes = read_classes(shared / "images/eval/labels.csv")
    return study.read_study(logs, shared / "published_results.csv", classes, NAMES)


def test_a_thing_measured_twice_is_refused_as_it_would_be_chance_which_is_shown(
    logs: Path, shared: Path
) -> None:
    still = logs / f"still-{BUILT_IN}.jsonl"
    copy = logs / "copy.jsonl"
    copy.write_bytes(still.read_bytes())
    with pytest.raises(LogError, match=f"{BUILT_IN} tflite again, which .*still-{BUILT_IN}.jsonl has"):
        read(shared, still, copy)


def test_logs_without_the_four_pictures_are_refused(logs: Path, shared: Path) -> None:
    with pytest.raises(LogError, match="four pictures"):
        read(shared, logs / f"still-{BUILT_IN}.jsonl")


@pytest.mark.parametrize("model", [BUILT_IN, COLLECTED])
def test_live_says_what_still_says_of_all_hundred_photographs(logs: Path, model: str) -> None:
    live, still = compare([logs / f"live-{model}.jsonl", logs / f"still-{model}.jsonl"]).columns
    assert live.series.skipped == 0
    assert still.against
    assert still.against.agreement
    assert still.against.agreement.others == ()
    assert still.against.agreement.same == still.against.agreement.pictures == 100


@pytest.mark.parametrize("model", OTHERS)
def test_live_says_what_still_says_with_the_other_models_too(
    shared: Path, tmp_path: Path, model: str
) -> None:
    test_live_says_what_still_says_of_all_hundred_photographs(
        live_and_still(shared, tmp_path, model)[0].parent, model
    )


def test_every_row_of_the_study_is_there_and_ours_beside_it(logs: Path, shared: Path) -> None:
    made = read(
        shared, logs / "four.jsonl", *(logs / f"still-{model}.jsonl" for model in (BUILT_IN, COLLECTED))
    )
    text = study.as_markdown(made)
    with (shared / "published_results.csv").open(newline="") as file:
        for framework, model in {(row["framework"], row["model"]) for row in csv.DictReader(file)}:
            assert text.count(f"| {framework} | {model} |") == 1
            assert text.count(f"| 2020, {framework} | {model} |") == 1
    ours = next(
        line for line in text.splitlines() if line.startswith("| tflite | mobilenet_v2_1.0_224_quant")
    )
    assert re.fullmatch(
        r"\| tflite \| \S+ \| – \| – \| mobilenet_v2_1\.0_224_quant tflite \|( \S+ \|){2} – \| – \|", ours
    )
    assert f"| here | {COLLECTED} tflite | macaw 0.996 |" in text
    assert "another machine" in text


def test_the_ten_questions_are_answered_from_the_logs(logs: Path, shared: Path) -> None:
    made = read(
        shared, logs / "four.jsonl", *(logs / f"still-{model}.jsonl" for model in (BUILT_IN, COLLECTED))
    )
    text = study.as_markdown(made)
    numbers = re.findall(r"^(\d+)\. \*\*.+\?\*\*", text, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 11)]
    said = study.figures(made)
    assert said["best"][2] == COLLECTED
    assert said["best"][0] == 0.92
    assert said["trash"] / 255 == pytest.approx(
        0.09889254, abs=1e-6
    )  # the output scale of the file with logits
    assert said["no_trash"] == "macaw 0.996"
    assert said["eager_ratio"] == pytest.approx(6.7, abs=0.1)
    assert "Not measured here." in text  # TensorFlow was not
    assert "None" not in text
    assert "  \n" not in text
