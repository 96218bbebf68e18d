from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.bootstrap import Interval
from stream.compare import Comparison, compare
from stream.compare_report import WIDTH, as_markdown, text
from stream.log import LogError, Record
from stream.published import FRAMEWORKS, read_published
from tests.test_series import frame, run, still, write, write_lines

CAT, DOG = [1, "cat, house cat", 0.9], [2, "dog", 0.05]


def frames(n: int, seed: int = 0, slower: float = 1.0, **fields: Any) -> list[Record]:
    chance = np.random.default_rng(seed)
    records = []
    for seq in range(n):
        steps = {
            "wait_us": int(chance.integers(100, 900)),
            "pre_us": int(chance.integers(300, 600)),
            "infer_us": int(slower * chance.normal(6000, 300)),
            "post_us": int(chance.integers(50, 100)),
        }
        records.append(frame(seq, **steps, age_us=sum(steps.values()) + int(chance.integers(0, 3)), **fields))
    return records


def stills(answers: Mapping[str, list[list[object]]], **fields: Any) -> list[Record]:
    """A bench run of ten frames for each picture."""
    return [
        run(command="bench", labels_sha256="L", **fields),
        *(still(seq, image, top=top) for image, top in answers.items() for seq in range(10)),
    ]


def compared(folder: Path, *logs: list[Record]) -> Comparison:
    return compare(write(folder / f"{number}.jsonl", *records) for number, records in enumerate(logs))


# What cannot be compared is said.


def test_logs_without_a_single_frame_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LogError) as error:
        compared(tmp_path, [run()], [run()])
    assert str(error.value) == (
        "0.jsonl: tiny, tflite: no frame in it; 1.jsonl: tiny, tflite: no frame in it;"
        " log some frames first: run.py --log FILE.jsonl"
    )


def test_a_bad_log_among_good_ones_is_refused(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good", run(), frame(0)), write_lines(tmp_path / "bad", frame(0))
    with pytest.raises(LogError, match="bad, line 1: no run record"):
        compare([good, bad])


def test_what_was_left_out_is_told_below(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log", run(), *frames(3), '{"rec":"fr')
    for said in (text(compare([path])), as_markdown(compare([path]))):
        assert "note: log: line 5 of log is cut off" in said


def test_too_few_frames_give_no_interval_and_no_verdict(tmp_path: Path) -> None:
    said = compared(tmp_path, [run(), *frames(1000)], [run(), *frames(200, 1, slower=2)])
    row = said.columns[1].row("infer_us")
    assert row is not None
    assert row.ratio == pytest.approx(2, rel=0.02)
    assert (row.ratio_interval, row.shows_difference, row.p50_interval_us) == (None, None, None)
    assert "too few to tell" in text(said)
    assert "to tell takes 10 blocks of 25 neighbouring frames" in text(said)


def test_a_percentile_below_its_floor_is_a_dash(tmp_path: Path) -> None:
    [line] = [
        line for line in text(compared(tmp_path, [run(), *frames(100)])).splitlines() if "inferring" in line
    ]
    assert re.fullmatch(r"inferring +A +100 +[56]\.\d\d +6\.\d\d +–", line)


def test_a_base_of_zero_has_no_ratio(tmp_path: Path) -> None:
    none = [record | {"wait_us": 0} for record in frames(300)]
    row = compared(tmp_path, [run(), *none], [run(), *frames(300)]).columns[1].row("wait_us")
    assert row is not None
    assert (row.ratio, row.ratio_interval) == (None, None)


# Ratios


def test_two_runs_of_the_same_show_no_difference(tmp_path: Path) -> None:
    said = compared(tmp_path, [run(), *frames(600)], [run(), *frames(500, seed=1)])
    row = said.columns[1].row("infer_us")
    assert row is not None
    assert row.shows_difference is False
    assert row.ratio == pytest.approx(1, abs=0.02)
    assert text(said).count("no difference shown") >= 4
    assert "nothing that the logs record differs" in text(said)


def test_a_slower_run_shows_by_how_much(tmp_path: Path) -> None:
    said = compared(tmp_path, [run(), *frames(600)], [run(), *frames(600, seed=1, slower=1.1)])
    row = said.columns[1].row("infer_us")
    assert row is not None
    assert row.ratio_interval is not None
    assert row.shows_difference
    assert row.ratio_interval.low < 1.1 < row.ratio_interval.high
    assert row.ratio_interval.high - row.ratio_interval.low < 0.05
    [line] = [line for line in text(said).splitlines() if re.match(" +B .* 1[.]1", line)][:1]
    assert "no difference shown" not in line


def test_the_first_log_is_the_base_of_all_others(tmp_path: Path) -> None:
    slower = [[run(), *frames(300, seed, slower=factor)] for seed, factor in enumerate((2, 1, 3))]
    base, second, third = compared(tmp_path, *slower).columns
    assert base.against is None
    assert all(row.ratio is None for row in base.rows)
    ratios = [column.row("infer_us").ratio for column in (second, third)]  # type: ignore[union-attr]
    assert ratios == pytest.approx([0.5, 1.5], rel=0.02)


def test_the_same_log_twice_is_as_uncertain_as_two(tmp_path: Path) -> None:
    path = write(tmp_path / "log", run(), *frames(600))
    row = compare([path, path]).columns[1].row("infer_us")
    assert row is not None
    assert row.ratio_interval != Interval(1, 1)
    assert row.shows_difference is False


def test_only_what_a_log_has_is_a_row(tmp_path: Path) -> None:
    video = {"rec": "video", "seq": 0, "draw_us": 1000, "encode_us": 2000, "age_us": 4000}
    said = compared(tmp_path, [run(), *frames(30)], [run(), *frames(30), video])
    assert said.columns[0].row("draw_us") is None
    assert said.stages[-3:] == ("draw_us", "encode_us", "video_age_us")
    assert "beside it, means: drawing 1.00 ms, encoding 2.00 ms in B alone" in text(said)


# What differs


def test_mixed_models_in_one_log_are_columns_of_their_own(tmp_path: Path) -> None:
    log = [
        record
        for _ in range(2)
        for model, slower in (("one", 1), ("two", 3))
        for record in (run(command="bench", model=model), *frames(50, slower=slower, image="a"))
    ]
    one, two = compared(tmp_path, log).columns
    assert (one.series.n, two.series.n) == (100, 100)
    assert two.row("infer_us").ratio == pytest.approx(3, rel=0.03)  # type: ignore[union-attr]
    assert two.against is not None
    assert [(one.field, one.base, one.own) for one in two.against.differences] == [("model", "one", "two")]


def test_what_differs_is_told_with_its_values(tmp_path: Path) -> None:
    fields = {
        "threads": 1,
        "model_sha256": "a" * 64,
        "recipe": {"size": [8, 8], "fit": "crop"},
        "python": "3.10",
    }
    others = {"threads": 2, "model_sha256": "b" * 64, "recipe": {"size": [8, 8], "fit": "stretch"}}
    said = text(compared(tmp_path, [run(**fields), frame(0)], [run(**others, size=[640, 480]), frame(0)]))
    assert (
        "these differ: threads (1 | 2), model_sha256 (aaaaaaaaaaaa | bbbbbbbbbbbb),"
        " recipe.fit (crop | stretch), size (– | 640x480), python (3.10 | –)"
    ) in " ".join(said.split())


def test_live_against_stills_does_not_tell_what_only_a_camera_has(tmp_path: Path) -> None:
    camera = {"source": "/dev/video0", "fps": 30.0, "policy": {"show": "live"}}
    said = compared(tmp_path, [run(**camera), frame(0)], stills({"a": [CAT]}))
    assert "these differ: command (live | bench), labels_sha256 (– | L)\n" in text(said)


# Where it comes from


def test_the_parts_of_the_difference_add_up_to_that_of_the_mean_age(tmp_path: Path) -> None:
    said = compared(tmp_path, [run(), *frames(400)], [run(), *frames(300, seed=1, slower=1.5)])
    against = said.columns[1].against
    assert against is not None
    ages = [column.series.stage_us("age_us").mean() for column in said.columns]
    assert against.delta_us == pytest.approx(ages[1] - ages[0], abs=2)  # each is cut to microseconds
    assert against.base_us == pytest.approx(ages[0], abs=2)
    assert [part.stage for part in against.parts] == ["wait_us", "pre_us", "infer_us", "post_us"]
    shares = [against.share(part) or 0.0 for part in against.parts]
    assert sum(shares) == pytest.approx(1)
    assert shares[2] > 0.97
    assert re.search(
        r"mean age [67]\.\d\d → \S+ ms, \+[23]\.\d\d: waiting .*inferring \+\S+ \(\d+ %\)",
        " ".join(text(said).split()),
    )


def test_next_to_no_difference_has_no_shares(tmp_path: Path) -> None:
    later = [record | {"infer_us": record["infer_us"] + 9} for record in frames(300)]
    said = compared(tmp_path, [run(), *frames(300)], [run(), *later])
    against = said.columns[1].against
    assert against is not None
    assert against.delta_us == pytest.approx(9)
    assert [against.share(part) for part in against.parts] == [None] * 4
    assert "(no difference shown): waiting 0, preparing 0, inferring +0.009, reading scores 0" in " ".join(
        text(said).split()
    )


# Skipped frames, starts


def test_skipped_frames_are_counted_and_shared(tmp_path: Path) -> None:
    said = compared(tmp_path, [run(), frame(0), frame(3, skip=2), frame(4)])
    assert "3 frames in 1 run, 2 (40.0 %) skipped" in text(said)


def test_what_a_start_costs_is_apart_from_the_frames(tmp_path: Path) -> None:
    rounds = [
        record
        for load_us in (1000, 9000, 2000)
        for record in (run(command="bench", load_us=load_us, first_us=50_000), *frames(30, image="a"))
    ]
    assert "90 frames in 3 runs, 1 picture; load 2.00 ms, first run 50.0 ms" in text(
        compared(tmp_path, rounds)
    )


# Labels


def test_other_label_files_are_never_compared(tmp_path: Path) -> None:
    other = [*stills({"a": [CAT]})]
    other[0] |= {"labels_sha256": "M"}
    against = compared(tmp_path, stills({"a": [CAT]}), other).columns[1].against
    assert against is not None
    assert (against.agreement, against.no_agreement) == (None, "their label files differ")


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([run(labels_sha256="L"), frame(0)], "live frames without names cannot be matched"),
        (stills({"b": [CAT]}), "no picture is in both"),
    ],
)
def test_without_common_pictures_there_is_no_agreement_and_it_is_said(
    tmp_path: Path, records: list[Record], reason: str
) -> None:
    said = compared(tmp_path, stills({"a": [CAT]}), records)
    assert f"labels: not compared, {reason}" in text(said)


def test_agreement_is_the_share_of_pictures_with_the_same_first_label(tmp_path: Path) -> None:
    base = {"a": [CAT], "b": [CAT, DOG], "c": [DOG], "d": [], "only here": [CAT]}
    own = {"d": [], "c": [CAT], "b": [DOG, CAT], "a": [CAT, DOG]}
    said = compared(tmp_path, stills(base), stills(own))
    agreement = said.columns[1].against.agreement  # type: ignore[union-attr]
    assert agreement is not None
    assert (agreement.pictures, agreement.same, agreement.among_five, agreement.share) == (4, 2, 3, 0.5)
    assert agreement.others == (("b", "cat, house cat", "dog"), ("c", "dog", "cat, house cat"))
    assert (
        "the same top-1 for 2 of 4 pictures (50.0 %), A's top-1 among the first five for 3;"
        " b (cat | dog), c (dog | cat)"
    ) in " ".join(text(said).split())


def test_an_answer_of_nothing_is_not_among_a_short_five(tmp_path: Path) -> None:
    said = compared(tmp_path, stills({"a": []}), stills({"a": [CAT]}))
    agreement = said.columns[1].against.agreement  # type: ignore[union-attr]
    assert agreement is not None
    assert (agreement.same, agreement.among_five, agreement.others[0][1]) == (0, 0, "nothing")


def test_the_answer_given_most_often_counts(tmp_path: Path) -> None:
    wavering = [run(labels_sha256="L"), *(still(seq, "a", top=[DOG if seq < 2 else CAT]) for seq in range(5))]
    agreement = compared(tmp_path, stills({"a": [CAT]}), wavering).columns[1].against.agreement  # type: ignore[union-attr]
    assert agreement is not None
    assert agreement.same == 1


def test_a_background_class_in_front_does_not_shift_the_labels(tmp_path: Path) -> None:
    with_background = stills({"a": [[2, "cat, house cat", 0.8]], "b": [[1, "frog", 0.7]]}, background=0)
    agreement = (
        compared(tmp_path, stills({"a": [CAT], "b": [CAT]}), with_background).columns[1].against.agreement  # type: ignore[union-attr]
    )
    assert agreement is not None
    assert agreement.same == 1
    assert agreement.others == (("b", "cat, house cat", "frog"),)


# Files


def test_a_part_given_with_its_log_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "log", run(), *frames(200), max_bytes=8000, keep=20)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 3
    [column] = compare(parts).columns
    assert column.series.n == 200
    assert column.series.path == path


# Published results

HEAD = "framework,model,image,run,latency_ms,rank,class_index,label,score\n"
NAMES = {"net.tflite": "tiny", "net": "tiny", "Net": "tiny"}


def published(folder: Path, rows: str) -> Path:
    (folder / "published.csv").write_text(HEAD + rows)
    return folder / "published.csv"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it has no rows"),
        ("a,b\n1,2\n", "line 2: not all of the columns framework, model, run, latency_ms are there"),
        (HEAD + "caffe,net,cat,1,5,1,,cat,0.9\n", "line 2: no framework is called 'caffe' - known: tflite,"),
        (HEAD + "tflite,net,cat,1,fast,1,,cat,0.9\n", "line 2: could not convert string to float: 'fast'"),
        (HEAD + "tflite,net\n", "line 2: not all of the columns"),
        (b"\xff\xd8\xff\xe0", "it is not text"),
    ],
)
def test_another_table_is_refused_in_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LogError) as error:
        read_published(path)
    assert said in str(error.value)
    assert str(error.value).endswith("; name the study's published_results.csv")
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"No such file or directory; name the study's published_results\.csv"):
        read_published(tmp_path / "none.csv")


def test_the_first_run_of_the_study_is_kept_apart_from_its_warm_ones(tmp_path: Path) -> None:
    rows = "".join(f"tflite,net,{image},{run},{10 * run},1,,cat,0.9\n" for image in "ab" for run in (1, 2, 3))
    [one] = read_published(published(tmp_path, rows))
    assert (one.first_us, one.warm_us) == ((10_000, 10_000), (20_000, 30_000, 20_000, 30_000))


def test_all_of_the_study_is_read(shared: Path) -> None:
    found = {(one.framework, one.model): one for one in read_published(shared / "published_results.csv")}
    assert len(found) == 20
    assert {framework for framework, _ in found} == set(FRAMEWORKS)
    large = found["tflite", "efficientnet-L_quant.tflite"]
    assert (len(large.first_us), len(large.warm_us)) == (4, 16)
    assert large.first_us[0] == pytest.approx(1_420_800)
    assert not found["tflite", "mobilenet_v2_1.0_224_quant.tflite"].is_measured
    alexnet = found["jetson-inference", "AlexNet"]
    assert (len(alexnet.first_us), alexnet.warm_us) == (4, ())


@pytest.mark.parametrize(
    ("fields", "framework", "matches"),
    [
        ({"backend": "tflite"}, "tflite", True),
        ({"backend": "tensorflow", "mode": "graph"}, "tensorflow-1.15", True),
        ({"backend": "tensorflow", "mode": "eager"}, "tensorflow-1.15", False),
        ({"backend": "tensorflow", "mode": "eager"}, "tensorflow-2.1", True),
        ({"backend": "tensorflow"}, "tensorflow-2.1", False),
        ({"backend": "tensorrt", "mode": "fp16"}, "jetson-inference", True),
        ({"backend": "tensorflow", "mode": "graph"}, "tflite", False),
        ({"backend": "tflite", "model": "small"}, "tflite", False),
    ],
)
def test_only_a_result_of_the_same_backend_mode_and_model_stands_beside_ours(
    tmp_path: Path, fields: Record, framework: str, matches: bool
) -> None:
    table = published(tmp_path, f"{framework},net,cat,1,5.5,1,,cat,0.9\n")
    said = compare([write(tmp_path / "log", run(**fields), *frames(3))], table, NAMES)
    assert bool(said.references) == matches
    assert said.other_references == (not matches)


def test_published_results_are_marked_as_another_machine(tmp_path: Path) -> None:
    rows = "tflite,net.tflite,cat,1,77.7,1,,cat,0.9\ntflite,net.tflite,cat,2,55.5,2,,dog,0.1\n"
    table = published(tmp_path, rows + "tflite,unknown.tflite,cat,1,1,1,,cat,0.9\n")
    said = compare([write(tmp_path / "log", run(first_us=9000), *frames(70))], table, NAMES)
    for written in (text(said), as_markdown(said)):
        assert "2020, another machine (Jetson), for reference" in " ".join(written.split())
        [line] = [line for line in written.splitlines() if "77.7" in line]
        assert "2020, another machine (Jetson): tflite" in line
        assert "55.5" in line
        assert "1 more row has no counterpart" in " ".join(written.split())
        [own] = [line for line in written.splitlines() if "A, here: inferring" in line]
        assert re.search(r"tiny.* 9\.00 .*[56]\.\d\d .* 70", own)


def test_what_the_study_did_not_measure_is_said(tmp_path: Path) -> None:
    table = published(
        tmp_path, "tflite,net,cat,,,1,481,cash machine,25.2\njetson-inference,Net,cat,1,4,1,,cat,1\n"
    )
    logs = [write(tmp_path / backend, run(backend=backend), *frames(3)) for backend in ("tflite", "tensorrt")]
    said = text(compare(logs, table, NAMES))
    assert re.search(r"tflite +not measured +not measured", said)
    assert re.search(r"jetson-inference +4\.00 +1 +– +one run only", said)


def test_without_a_counterpart_only_their_number_is_told(tmp_path: Path, shared: Path) -> None:
    said = compare([write(tmp_path / "log", run(), *frames(3))], shared / "published_results.csv", NAMES)
    assert "none of these models; 20 more rows have no counterpart" in " ".join(text(said).split())


# Text


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 28])
def test_a_comparison_fits_the_terminal(tmp_path: Path, count: int) -> None:
    video = {"rec": "video", "seq": 0, "draw_us": 1_234_567, "encode_us": 2, "age_us": 3}

    def fields(threads: int) -> Record:
        return {
            "threads": threads,
            "model_sha256": str(threads) * 64,
            "source": f"rtsp://camera-{threads}/stream",
        }

    log = [
        record
        for threads in range(count)
        for record in (
            run(model="mobilenet_v2_1.0_224_quant_with_a_long_name", runtime="litert", **fields(threads)),
            *frames(700 if count < 6 else 100, slower=200),
            video,
        )
    ]
    said = compared(tmp_path, log)
    assert max(map(len, text(said).splitlines())) <= WIDTH
    assert [column.name for column in said.columns][-1] == (" ABCDE"[count] if count < 6 else "AB")


def test_many_logs_have_a_line_each(tmp_path: Path) -> None:
    said = compared(tmp_path, *(stills({"a": [CAT]}, threads=threads) for threads in range(5)))
    table = text(said).split("\n\n")[1]
    assert [line[:1] for line in table.splitlines()] == [" ", "A", "B", "C", "D", "E", "t"]
    assert table.splitlines()[2].endswith("0.0 %     100.0 %")


def test_markdown_has_whole_tables(tmp_path: Path) -> None:
    said = as_markdown(compared(tmp_path, [run(), *frames(300)], [run(model="a|b"), *frames(300)]))
    table = [line for line in said.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2 * 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {10}
    assert sum("inferring" in line for line in table) == 2
    assert "these differ: model (tiny | a|b)" in said
