from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stream.log import JsonLog, LogError, Record
from stream.series import NOTHING, parts_of, read_series

STEPS = {"wait_us": 100, "pre_us": 500, "infer_us": 5000, "post_us": 50}


def run(**fields: Any) -> Record:
    stamp = {"t_ns": time.monotonic_ns()}
    return {
        "rec": "run",
        "schema": 1,
        "command": "live",
        **stamp,
        "model": "tiny",
        "backend": "tflite",
        **fields,
    }


def frame(seq: int, **fields: Any) -> Record:
    record = {"rec": "frame", "seq": seq, "arrived_ns": 33_000_000 * seq, "skip": 0, **STEPS}
    return record | {"age_us": sum(STEPS.values()), "top": [[1, "cat", 0.9], [2, "dog", 0.05]]} | fields


def still(seq: int, image: str, **fields: Any) -> Record:
    return frame(seq, image=image, **fields)


def write(path: Path, *records: Record, **options: Any) -> Path:
    """By JsonLog: the first is a run record, and so may others be."""
    with JsonLog(path, records[0], queue_size=1 << 20, **options) as log:
        for record in records[1:]:
            log(dict(record))
        deadline = time.monotonic() + 20
        while log._waiting and time.monotonic() < deadline:  # closing gives a slow disk up
            time.sleep(0.001)
    return path


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(LogError) as error:
        read_series(path)
    assert "\n" not in str(error.value)
    return str(error.value)


# What cannot be read is refused, with the place and what to do.


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file or directory; name a file that --log wrote" in refusal(tmp_path / "none.jsonl")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "Is a directory; name a file" in refusal(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "log.jsonl is empty; name a file" in refusal(write_lines(tmp_path / "log.jsonl"))


def test_a_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\n\0\0\n" * 100)
    assert "photo.jpg, line 1: not a record of a log" in refusal(path)


def test_ten_thousand_brackets_are_refused(tmp_path: Path) -> None:
    assert "line 2: not a record" in refusal(write_lines(tmp_path / "log", run(), "[" * 100_000 + "\n"))


def test_a_log_without_its_beginning_is_refused(tmp_path: Path) -> None:
    assert "line 1: no run record before it" in refusal(write_lines(tmp_path / "log", frame(0), run()))


def test_a_log_cut_in_its_first_line_is_refused(tmp_path: Path) -> None:
    assert "has no run record: it is cut off" in refusal(write_lines(tmp_path / "log", '{"rec":"run","sch'))


@pytest.mark.parametrize("schema", [2, None, "1"])
def test_a_log_of_another_schema_is_refused_and_says_what_to_do(tmp_path: Path, schema: object) -> None:
    said = refusal(write_lines(tmp_path / "log", run(schema=schema), frame(0)))
    assert f"line 1: a log of schema {schema}, and this version reads 1; log again" in said


def test_a_damaged_line_in_the_middle_is_refused_with_its_number(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log", run(), frame(0), '{"rec":"fra\n', frame(2))
    assert f"{path}, line 3: not a record of a log" in refusal(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("infer_us", "5"), ("infer_us", 1.5), ("infer_us", None), ("age_us", 1 << 70), ("arrived_ns", [1])],
)
def test_a_frame_with_a_wrong_number_is_refused_by_name(tmp_path: Path, field: str, value: object) -> None:
    path = write_lines(tmp_path / "log", run(), frame(0), frame(1, **{field: value}))
    assert f"line 3: this frame record lacks a proper {field}; log again" in refusal(path)


@pytest.mark.parametrize(
    "field", ["seq", "arrived_ns", "skip", "wait_us", "pre_us", "infer_us", "post_us", "age_us", "top"]
)
def test_a_frame_without_a_number_is_refused_by_name(tmp_path: Path, field: str) -> None:
    record = {name: value for name, value in frame(1).items() if name != field}
    said = refusal(write_lines(tmp_path / "log", run(), frame(0), record))
    assert f"line 3: this frame record lacks a proper {field}" in said


def test_a_picture_record_without_a_number_is_refused(tmp_path: Path) -> None:
    video = {"rec": "video", "seq": 1, "draw_us": 1, "age_us": 3}
    assert "line 2: this video record lacks a proper encode_us" in refusal(
        write_lines(tmp_path / "log", run(), video)
    )


def test_a_run_whose_record_was_lost_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    records = [still(0, "a"), still(1, "a"), still(0, "b"), still(0, "a")]
    said = refusal(write(tmp_path / "log", run(command="bench"), *records))
    assert f"{tmp_path}/log: frames of two runs, or of two pictures of one name, cannot be told apart" in said


# What can be read in part is told.


def test_a_last_line_that_is_cut_off_is_left_out_and_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log", run(), frame(0), frame(1), json.dumps(frame(2))[:40])
    log = read_series(path)
    assert log.series[0].n == 2
    assert "log: line 4 of log is cut off (a crash, or it goes on): left out" in log.notes


def test_a_whole_last_line_without_its_end_counts(tmp_path: Path) -> None:
    log = read_series(write_lines(tmp_path / "log", run(), frame(0), json.dumps(frame(1))))
    assert log.series[0].n == 2
    assert "cut off" not in "".join(log.notes)


def test_a_log_without_frames_is_told_and_has_no_series(tmp_path: Path) -> None:
    log = read_series(write(tmp_path / "log", run()))
    assert log.series == ()
    assert log.notes == ("log: tiny, tflite: no frame in it",)


def test_a_run_that_was_killed_is_told(tmp_path: Path) -> None:
    log = read_series(write_lines(tmp_path / "log", run(), frame(0)))
    assert log.notes == ("log: tiny, tflite: 1 of 1 runs without an end: killed, or it goes on",)


def test_lines_that_were_lost_in_writing_are_told(tmp_path: Path) -> None:
    summary = {"rec": "summary", "lost_lines": 7}
    log = read_series(write_lines(tmp_path / "log", run(), frame(0), summary))
    assert log.notes == ("log: 7 of its lines were lost when it was written (the disk was full or slow)",)


def test_frames_that_are_missing_at_the_beginning_are_told(tmp_path: Path) -> None:
    log = read_series(write(tmp_path / "log", run(), frame(40, skip=2), frame(41)))
    assert log.notes == ("log: tiny, tflite: the first 38 frames are not in it: rotated away, or lost",)


def test_frames_before_a_change_of_settings_are_not_missing(tmp_path: Path) -> None:
    first, second = run(command="live", pid=7, model="one"), run(command="live", pid=7, model="two")
    ends = {"rec": "summary", "lost_lines": 0}
    log = read_series(write_lines(tmp_path / "log", first, frame(0), ends, second, frame(1), ends))
    assert [series.key["model"] for series in log.series] == ["one", "two"]
    assert log.notes == ()


def test_frames_skipped_before_the_first_one_are_not_missing(tmp_path: Path) -> None:
    log = read_series(write(tmp_path / "log", run(), frame(2, skip=2), frame(3)))
    assert log.notes == ()
    assert log.series[0].skipped == 2


def test_runs_that_are_pooled_although_their_circumstances_differ_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "log", run(governor="powersave"), frame(0), run(governor="performance"), frame(0))
    log = read_series(path)
    assert len(log.series) == 1
    assert log.notes == (
        'log: tiny, tflite: its runs differ in governor ("performance" | "powersave") and are pooled',
    )


# Rotated parts


def test_a_log_of_several_parts_is_the_whole_run(tmp_path: Path) -> None:
    path = write(tmp_path / "log", run(), *map(frame, range(100)), max_bytes=4000, keep=50)
    log = read_series(path)
    assert len(log.parts) > 3
    assert log.parts[-1] == path
    assert log.series[0].frames["seq"].tolist() == list(range(100))
    assert len(log.series[0].runs) == 1
    assert log.notes == (
        f"log: read in {len(log.parts)} parts: {', '.join(part.name for part in log.parts)}",
    )


def test_the_file_of_an_earlier_run_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path / "log", run(), *map(frame, range(50)), max_bytes=4000)
    path = write(tmp_path / "log", run(), frame(0), frame(1))
    assert (tmp_path / "log.1").exists()
    log = read_series(path)
    assert log.parts == (path,)
    assert log.series[0].n == 2


def test_an_older_part_alone_is_that_part_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "log", run(), *map(frame, range(100)), max_bytes=4000)
    parts = parts_of(path)
    assert len(parts) > 2
    one = Path(f"{path}.1")
    assert read_series(one).parts == (one,)


def test_parts_that_were_rotated_away_are_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "log", run(), *map(frame, range(100)), max_bytes=4000, keep=2)
    log = read_series(path)
    first = int(log.series[0].frames["seq"][0])
    assert first > 0
    assert f"log: tiny, tflite: the first {first} frames are not in it: rotated away, or lost" in log.notes


def test_each_part_of_a_benchmark_goes_on_with_the_run_it_was_in(tmp_path: Path) -> None:
    records: list[Record] = []
    for round_ in range(3):
        for model in ("one", "two"):
            records.append(run(command="bench", model=model, round=round_))
            records += [still(seq, "a.jpg", infer_us=len(model) + round_) for seq in range(20)]
    path = write(tmp_path / "log", *records, max_bytes=8000, keep=50)
    log = read_series(path)
    assert len(log.parts) > 3
    one, two = log.series
    assert (one.key["model"], two.key["model"]) == ("one", "two")
    for series in log.series:
        assert series.frames["seq"].tolist() == list(range(20)) * 3
        assert [one_run.frames for one_run in series.runs] == [20, 20, 20]
        assert [one_run.record["round"] for one_run in series.runs] == [0, 1, 2]


# Runs and configurations


def test_runs_of_one_configuration_are_pooled_and_others_kept_apart(tmp_path: Path) -> None:
    recipe = {"size": [8, 8], "order": "RGB"}
    records = [
        record
        for threads in (1, 2, 1, 2)
        for record in (
            run(command="bench", threads=threads, recipe=dict(recipe)),
            still(0, "a"),
            still(1, "a"),
        )
    ]
    one, two = read_series(write(tmp_path / "log", *records)).series
    assert (one.key["threads"], one.n, len(one.runs)) == (1, 4, 2)
    assert (two.key["threads"], two.n, len(two.runs)) == (2, 4, 2)
    assert one.frames["segment"].tolist() == [0, 0, 1, 1]
    assert one.key["rate"] is None


@pytest.mark.parametrize(
    "field", ["model_sha256", "labels_sha256", "host", "recipe", "runtime_version", "rate"]
)
def test_no_field_of_the_configuration_is_pooled_over(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "log", run(**{field: "x"}), frame(0), run(**{field: "y"}), frame(0))
    assert len(read_series(path).series) == 2


def test_two_rounds_that_begin_with_the_very_same_line_are_two_runs(tmp_path: Path) -> None:
    same = run(t_ns=0)
    series = read_series(write(tmp_path / "log", same, frame(0), same, frame(0))).series[0]
    assert len(series.runs) == 2
    assert series.frames["segment"].tolist() == [0, 1]


def test_a_segment_is_one_process_also_when_pictures_take_turns(tmp_path: Path) -> None:
    one, two = (run(command="bench", round=number) for number in (0, 1))
    turns = [still(0, "a"), still(0, "b"), still(1, "a"), still(1, "b")]
    series = read_series(write(tmp_path / "log", one, *turns, two, *turns)).series[0]
    assert series.images == ("a", "b")
    assert series.frames["image"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert series.frames["segment"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_run_that_failed_has_no_end_though_its_log_was_closed(tmp_path: Path) -> None:
    failed: Record = {"rec": "event", "event": "failed", "reason": "killed"}
    log = read_series(write(tmp_path / "log", run(), frame(0), failed))
    assert not log.series[0].runs[0].ended
    assert "1 of 1 runs without an end" in log.notes[0]


def test_a_live_run_is_one_segment_whatever_its_pictures(tmp_path: Path) -> None:
    series = read_series(write(tmp_path / "log", run(), still(0, "a"), still(1, "b"), still(2, "a"))).series[
        0
    ]
    assert series.is_live
    assert set(series.frames["segment"].tolist()) == {0}
    assert series.frames["image"].tolist() == [0, 1, 0]


def test_what_a_start_costs_is_kept_for_every_run_apart_from_the_frames(tmp_path: Path) -> None:
    memory = {"rec": "event", "event": "memory", "peak_bytes": 1000}
    path = write(
        tmp_path / "log",
        *(run(load_us=10, first_us=7, compile_us=None), frame(0), memory),
        *(run(load_us=30, first_us=9), frame(0), memory | {"peak_bytes": 3000}),
    )
    series = read_series(path).series[0]
    assert series.starts_us("load_us") == [10, 30]
    assert series.starts_us("first_us") == [7, 9]
    assert series.starts_us("compile_us") == series.starts_us("import_us") == []
    assert series.peak_bytes == 3000
    assert [one.ended for one in series.runs] == [True, True]
    assert series.stage_us("infer_us").tolist() == [5000, 5000]


# Frames


def test_a_frame_is_read_whole(tmp_path: Path) -> None:
    classes = [[index, f"class {index}", 0.1] for index in (9, 8, 7, 6, 5, 4)]
    path = write(tmp_path / "log", run(), frame(5, skip=5, arrived_ns=10**15), frame(8, skip=2, top=classes))
    series = read_series(path).series[0]
    assert (series.n, series.skipped, series.skipped_share) == (2, 7, 7 / 9)
    assert series.stage_us("wait_us").tolist() == [100, 100]
    assert series.stage_us("age_us").tolist() == [5650, 5650]
    assert series.top.tolist() == [[1, 2, NOTHING, NOTHING, NOTHING], [9, 8, 7, 6, 5]]
    assert series.labels == {1: "cat", 9: "class 9"}


def test_a_frame_without_an_answer_has_nothing_for_a_class(tmp_path: Path) -> None:
    series = read_series(write(tmp_path / "log", run(), frame(0, top=[]))).series[0]
    assert series.top.tolist() == [[NOTHING] * 5]
    assert series.labels == {}


def test_times_of_arrival_count_from_the_first_frame(tmp_path: Path) -> None:
    path = write(
        tmp_path / "log", run(), frame(0, arrived_ns=10**15), frame(1, arrived_ns=10**15 + 500_000_000)
    )
    assert read_series(path).series[0].seconds.tolist() == [0.0, 0.5]


def test_painted_pictures_are_no_frames(tmp_path: Path) -> None:
    video = {
        "rec": "video",
        "seq": 0,
        "answer": None,
        "draw_us": 1,
        "encode_us": 2,
        "age_us": 3,
        "viewers": 1,
    }
    other = {"rec": "something new"}
    series = read_series(write(tmp_path / "log", run(), video, frame(0), other, video)).series[0]
    assert series.n == 1
    assert series.stage_us("age_us").tolist() == [5650]
    assert series.stage_us("video_age_us").tolist() == [3, 3]
    assert series.stage_us("draw_us").tolist() == [1, 1]
    assert series.segments("draw_us").tolist() == [0, 0]
