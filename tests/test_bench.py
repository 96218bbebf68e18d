from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.catalogue import BUILT_IN
from models.errors import ModelError
from stream import bench_report
from stream.bench import BenchWish, bench, combinations, in_own_process, named_pictures
from stream.loading import ModelWish
from stream.log import JsonLog, LogError, Record, read_log
from stream.outputs import OutputError, check_outputs, write_whole
from stream.series import read_series
from stream.sources import SourceError
from stream.stills import Task, measure, run_until_settled, settled
from tests.tiny_models import COLOURS, write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny.tflite")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """One of each colour."""
    paths = []
    for channel, colour in enumerate(COLOURS):
        image = np.zeros((40, 60, 3), np.uint8)
        image[:, :, 2 - channel] = 200
        paths.append(tmp_path / f"{colour}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def wish_for(models: list[str], images: list[Path], log: Path, **others: object) -> BenchWish:
    plain = {"backends": [], "modes": [], "runs": 4, "rounds": 2, "rate": None}
    model = ModelWish("", mean=0.0, std=255.0)
    return BenchWish(**{**plain, "model": model, "models": models, "images": images, "log": log, **others})  # type: ignore[arg-type]


def a_task(model: Path, pictures: list[Path], **others: object) -> Task:
    wish = ModelWish(str(model), mean=0.0, std=255.0)
    return Task(wish, named_pictures(pictures), **{"runs": 3, **others})  # type: ignore[arg-type]


# What goes wrong.


def test_a_broken_picture_is_told_before_anything_is_measured(
    tiny: Path, pictures: list[Path], tmp_path: Path
) -> None:
    pictures[-1].write_bytes(b"no picture")
    log = tmp_path / "bench.jsonl"
    with pytest.raises(SourceError, match=r"blue\.png is not a picture"):
        bench(wish_for([str(tiny)], pictures, log))
    assert not log.exists()


def test_a_model_that_fails_in_its_process_is_the_same_error_here(
    tmp_path: Path, pictures: list[Path]
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0\0\0\0TFL3" + bytes(64))
    with pytest.raises(ModelError, match=r"broken\.tflite cannot be loaded"):
        list(in_own_process(a_task(broken, pictures)))


def test_a_process_that_is_shot_down_is_one_line_and_keeps_what_was_measured(
    tiny: Path, pictures: list[Path], tmp_path: Path
) -> None:
    log = tmp_path / "bench.jsonl"

    def shoot_the_second() -> None:
        seen: set[int | None] = set()
        while len(seen) < 2:
            seen |= {child.pid for child in multiprocessing.active_children()} - seen
            time.sleep(0.01)
        (child,) = multiprocessing.active_children()
        os.kill(child.pid or 0, signal.SIGSEGV)

    while_measuring = threading.Thread(target=shoot_the_second)
    while_measuring.start()
    with pytest.raises(ModelError, match="was ended by SIGSEGV - is its file whole"):
        bench(wish_for([str(tiny)], pictures, log))
    while_measuring.join()
    assert len([record for record in read_log(log) if record["rec"] == "frame"]) == 2 * len(pictures)


def test_a_run_that_failed_is_told_of_by_who_reads_its_log(tmp_path: Path, pictures: list[Path]) -> None:
    log = tmp_path / "bench.jsonl"
    with JsonLog(log, None) as sink:
        for batch in islice(measure(a_task(write_tiny(tmp_path / "t.tflite"), pictures)), 3):
            for record in batch:
                sink(record)
        sink({"rec": "event", "event": "failed", "reason": "Ctrl-C"})
    assert "without an end" in read_series(log).notes[0]


def test_a_model_named_twice_is_measured_once_and_two_of_one_name_are_refused(
    tiny: Path, tmp_path: Path
) -> None:
    wish = ModelWish("")
    assert len(combinations(wish, [str(tiny), str(tiny)], [], [])) == 1
    (tmp_path / "other").mkdir()
    other = write_tiny(tmp_path / "other" / tiny.name)
    with pytest.raises(ModelError, match="have one name"):
        combinations(wish, [str(tiny), str(other)], [], [])


def test_a_mode_that_nothing_has_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(ModelError, match="no backend has a mode grpah - known: eager, function, graph, xla"):
        combinations(ModelWish(""), [BUILT_IN], ["tflite", "tensorflow"], ["grpah"])
    with pytest.raises(ModelError, match="nothing here has modes"):
        combinations(ModelWish(""), [BUILT_IN], ["tflite"], ["graph"])


def test_a_full_disk_is_an_error_and_not_a_smaller_table(
    tiny: Path, pictures: list[Path], small_disk: Path
) -> None:
    with pytest.raises(LogError, match=r"lacks \d+ lines, the disk did not take them"):
        bench(wish_for([str(tiny)], pictures, small_disk / "bench.jsonl", runs=200))


def test_an_output_is_never_written_over_an_input(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(OutputError, match="is given twice"):
        check_outputs([tiny], [tmp_path / "x" / ".." / tiny.name])
    with pytest.raises(OutputError, match="is given twice"):
        check_outputs([tmp_path / "a.csv", tmp_path / "a.csv"])
    with pytest.raises(OutputError, match="not a regular file"):
        check_outputs([Path("/dev/full")])


def test_a_model_without_a_file_for_any_backend_asked_for_is_refused() -> None:
    with pytest.raises(ModelError, match="has no file for"):
        combinations(ModelWish(""), ["mobilenet_v2_130_224"], ["tflite"], [])


def test_an_output_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="mkdir -p"):
        check_outputs([None, tmp_path / "no" / "table.csv"])
    with pytest.raises(OutputError, match="is a folder"):
        check_outputs([tmp_path])


def test_an_output_is_whole_or_what_it_was_before(small_disk: Path) -> None:
    table = small_disk / "table.csv"
    write_whole(table, "good")
    with pytest.raises(OutputError, match="No space left"):
        write_whole(table, "x" * 1_000_000)
    assert table.read_text() == "good"
    assert list(small_disk.iterdir()) == [table]


def test_a_table_that_says_nothing_about_classes_is_one_line(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    for content in ("picture,class\na.png,3\n", "file,class_index\na.png,cat\n", "file,class_index\na.png\n"):
        table.write_text(content)
        with pytest.raises(ModelError, match="file,class_index"):
            bench_report.read_classes(table)
    with pytest.raises(ModelError, match="cannot read"):
        bench_report.read_classes(tmp_path / "none.csv")


# Pictures as they come.


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 4), (8, 20_000, 3)])
def test_grey_transparent_and_very_wide_pictures_are_measured(
    tiny: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "odd.png"
    cv2.imwrite(str(path), np.full(shape, 90, np.uint8))
    frames = [
        record for batch in measure(a_task(tiny, [path])) for record in batch if record["rec"] == "frame"
    ]
    assert [frame["image"] for frame in frames] == ["odd.png"] * 3


def test_pictures_of_one_name_are_told_by_their_folder_and_none_is_taken_twice(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), np.zeros((4, 4, 3), np.uint8))
    a, b = tmp_path / "a", tmp_path / "b"
    assert named_pictures([a, b, a / "1.png"]) == ((f"{a}/1.png", a / "1.png"), (f"{b}/1.png", b / "1.png"))
    assert named_pictures([a]) == (("1.png", a / "1.png"),)


# How it measures.


def test_combinations_take_turns_each_in_fresh_processes(
    tiny: Path, pictures: list[Path], tmp_path: Path
) -> None:
    log = tmp_path / "bench.jsonl"
    measured, tops = bench(wish_for([str(tiny), BUILT_IN], pictures, log))
    runs = [record for record in read_log(log) if record["rec"] == "run"]
    assert [(run["model"], run["round"]) for run in runs] == [
        ("tiny.tflite", 0),
        (BUILT_IN, 0),
        ("tiny.tflite", 1),
        (BUILT_IN, 1),
    ]
    processes = {run["pid"] for run in runs}
    assert len(processes) == 4
    assert os.getpid() not in processes
    assert [(series.key["model"], series.n, len(series.runs)) for series in measured.series] == [
        ("tiny.tflite", 4 * 3, 2),
        (BUILT_IN, 4 * 3, 2),
    ]
    for run in runs:
        assert run["warm_up_runs"] >= 10
        assert run["settled"] in (True, False)
        assert all(run[name] >= 0 for name in ("import_us", "load_us", "compile_us", "first_us"))
    ends = [record for record in read_log(log) if record.get("event") == "memory"]
    assert all(20e6 < end["peak_bytes"] < 1e9 for end in ends)
    assert bench_report.top_text(tops["tiny.tflite tflite"]["red.png"]).startswith("class 0 ")


def test_what_a_backend_has_no_file_for_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    found = combinations(ModelWish(""), [BUILT_IN, "digits"], ["tflite", "tensorflow"], ["graph", "xla"])
    assert [(one.model, one.backend, one.mode) for one in found] == [
        (model, backend, mode)
        for model in (BUILT_IN, "digits")
        for backend, mode in (("tflite", None), ("tensorflow", "graph"), ("tensorflow", "xla"))
    ]
    assert not caplog.messages
    with pytest.raises(ModelError, match="no model is called"):
        combinations(ModelWish(""), ["efficientnet"], [], [])


def frames_at(task: Task) -> list[Record]:
    return [record for batch in measure(task) for record in batch if record["rec"] == "frame"]


def test_at_a_rate_a_run_starts_when_it_was_meant_to_and_a_stall_delays_all_behind_it(
    tiny: Path, pictures: list[Path]
) -> None:
    too_fast = frames_at(a_task(tiny, pictures, runs=40, rate=1e6))
    assert np.diff([frame["arrived_ns"] for frame in too_fast]).tolist() == [1000] * 119
    assert [frame["image"] for frame in too_fast[:4]] == ["red.png", "green.png", "blue.png", "red.png"]
    ages = [frame["age_us"] for frame in too_fast]
    assert ages == sorted(ages)  # no picture and no new round makes up for what was missed
    busy_us = sum(frame["age_us"] - frame["wait_us"] for frame in too_fast)
    assert ages[-1] >= busy_us - 2 * len(ages)

    slow_enough = frames_at(a_task(tiny, pictures, runs=2, rate=50))
    assert np.diff([frame["arrived_ns"] for frame in slow_enough]).tolist() == [20_000_000] * 5
    assert all(frame["wait_us"] >= 0 for frame in slow_enough)  # none begins before it was meant to


def test_a_benchmark_holds_no_more_for_more_runs(tiny: Path, tmp_path: Path) -> None:
    """It kept every input tensor once: 0.15 MB a run, and slower to fill than the last one's memory."""
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((300, 300, 3), np.uint8))
    few, many = (
        next(record["peak_bytes"] for batch in batches for record in batch if "peak_bytes" in record)
        for batches in (
            in_own_process(replace(a_task(tiny, [path]), wish=ModelWish(BUILT_IN), runs=runs))
            for runs in (5, 205)
        )
    )
    assert many < few + 10e6


def test_warming_up_goes_on_until_the_times_have_settled() -> None:
    assert settled([100] * 10)
    assert settled([900, 500, 300, 200, 150, *[100] * 5])
    assert not settled([100] * 7)  # of the newest half, in five parts
    assert not settled(list(range(1000, 0, -20)))
    falling: Iterator[int] = iter([*range(2_000, 1_000, -10), *[1_000] * 10_000])

    def run() -> int:
        time.sleep(0.011)
        return next(falling)

    times = run_until_settled(run)
    assert len(times) > 100  # a second would have been over before
    assert settled(times)


# What it says.


def test_accuracy_counts_classes_without_the_background(
    tmp_path: Path, shared: Path, pictures: list[Path]
) -> None:
    """Output 1 of a model with a background is the first class."""
    log = tmp_path / "bench.jsonl"
    images = [shared / "images" / name for name in ("parrot.jpg", "pizza.jpg")]
    classes = {"parrot.jpg": 88, "pizza.jpg": 963}
    model = ModelWish("", models_dir=shared / "models")
    measured, _ = bench(wish_for([BUILT_IN, "mobilenet_v2_1.0_224_quant"], images, log, model=model, runs=1))
    for row in bench_report.rows_of(measured, classes):
        assert (row.top_1, row.top_5, row.labelled) == (1.0, 1.0, 2)
    for row in bench_report.rows_of(measured, {"parrot.jpg": 89, "marmot.jpg": 1}):
        assert row.top_1 == 0
        assert row.labelled == 1


def test_the_tables_say_the_same_to_people_and_programs(
    tiny: Path, pictures: list[Path], tmp_path: Path
) -> None:
    measured, tops = bench(wish_for([str(tiny)], pictures, tmp_path / "bench.jsonl", runs=130, rounds=2))
    (row,) = rows = bench_report.rows_of(measured, {"red.png": 0, "green.png": 1, "blue.png": 0})
    frames: list[Record] = [one for one in read_log(tmp_path / "bench.jsonl") if one["rec"] == "frame"]
    infer = sorted(frame["infer_us"] for frame in frames)
    assert row.times["n"] == len(infer) == 390
    assert row.times["min"] == infer[0]
    assert infer[194] <= (row.times["p50"] or 0) <= infer[195]
    assert row.times["p95"] is not None
    assert row.times["p99"] is None  # 662 it takes
    assert row.top_1 == pytest.approx(2 / 3)
    assert row.labelled == 3

    (record,) = csv.DictReader(bench_report.as_csv(rows).splitlines())
    assert float(record["p50_us"]) == row.times["p50"]
    assert (record["model"], record["backend"], record["n"], record["p99_us"]) == (
        "tiny.tflite",
        "tflite",
        "390",
        "",
    )
    text = bench_report.text(measured, rows, tops)
    marked = bench_report.markdown(rows)
    for name in ("tiny.tflite tflite", "390", "0.667"):
        assert name in text
        assert name in marked
    assert "red.png" in text
    assert max(map(len, text.splitlines())) < 140
    assert json.dumps(bench_report.csv_record(row))
