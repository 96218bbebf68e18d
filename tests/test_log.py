from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.log import JsonLog, LogError, Record, read_log

ROOT = Path(__file__).parent.parent
RUN: Record = {"rec": "run", "schema": 1, "model": "tiny"}


def frame(seq: int, **fields: Any) -> Record:
    return {"rec": "frame", "seq": seq, "skip": 0, "infer_us": 1000 + seq, **fields}


def seqs(path: Path) -> list[int]:
    return [record["seq"] for record in read_log(path) if record["rec"] == "frame"]


def kinds(path: Path) -> list[str]:
    return [record["rec"] for record in read_log(path)]


def parts(path: Path) -> list[Path]:
    """FILE.2, FILE.1, FILE: oldest first."""
    older = sorted(path.parent.glob(path.name + ".*"), key=lambda part: -int(part.suffix[1:]))
    return [*older, path]


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def wait_until_taken(log: JsonLog, frames: int) -> None:
    """On a busy machine close() may give up before a long queue is written."""
    wait_for(lambda: log.statistics.summary()["frames"] == frames)


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


class Stuck:
    """A value that takes its time to be written: a card that does not answer."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __str__(self) -> str:
        self.reached.set()
        self.go_on.wait(60)
        return "at last"


# A place that cannot be written is a mistake, told at once.


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("missing/log.jsonl", "mkdir -p "),
        (".", "name a file in it"),
        ("file/log.jsonl", "--log FILE.jsonl"),
        ("fifo", "Not a regular file|No such device"),
        ("device", "Not a regular file"),
    ],
)
def test_a_place_that_cannot_be_a_log_is_refused_with_advice(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/null")
    with pytest.raises(LogError, match=advice) as error:
        JsonLog(tmp_path / name, RUN)
    assert "\n" not in str(error.value)
    assert Path("/dev/null").is_char_device()


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    write = (
        f"from pathlib import Path; from stream.log import *; JsonLog(Path({str(tmp_path)!r}) / 'x', {{}})"
    )
    tmp_path.chmod(0o555)
    drop = "import os; os.getuid() or os.setuid(65534); "  # root may write anywhere
    child = subprocess.run(
        [sys.executable, "-c", f"import stream.log; {drop}{write}"], cwd=ROOT, capture_output=True
    )
    assert b"LogError: cannot write the log" in child.stderr
    assert b"Permission denied; name another file" in child.stderr


def test_a_second_run_on_the_same_file_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log", RUN) as log:
        with pytest.raises(LogError, match="another run is writing it"):
            JsonLog(tmp_path / "log", RUN)
        log(frame(1))
    assert kinds(tmp_path / "log") == ["run", "frame", "summary"]


# A full disk is weather.


def test_a_full_disk_costs_lines_and_nothing_else(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path, ballast = small_disk / "log", small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    with JsonLog(path, RUN, retry_s=0.05) as log:
        before = 0
        while not log.lost_lines:  # fill it to the brim
            before += 1
            log(frame(before, pad="x" * 300))
            time.sleep(0.001)
        full = path.read_bytes()
        for seq in range(before + 1, before + 101):
            log(frame(seq, pad="x" * 300))
            time.sleep(0.003)  # several retries
        wait_for(lambda: log.lost_lines > 100)
        assert path.read_bytes() == full
        assert full.endswith(b"\n")

        ballast.unlink()
        time.sleep(0.1)
        log(frame(10_000))
        wait_for(lambda: "10000" in text_of(path))
        assert log.lost_lines > 100
        time.sleep(0.1)
        log(frame(10_001))  # long after: the loss has been told of, once

    records = list(read_log(path))
    lost = [record["lost_lines"] for record in records if record["rec"] == "event"]
    assert lost == [log.lost_lines]
    assert [record.get("seq", record["rec"]) for record in records[-4:]] == [
        "event",
        10_000,
        10_001,
        "summary",
    ]
    written = len(seqs(path))
    assert written + log.lost_lines == before + 102
    summary = records[-1]
    assert (summary["rec"], summary["lost_lines"]) == ("summary", log.lost_lines)
    assert summary["frames"] == summary["stages"]["infer_us"]["n"] == before + 102
    warnings = [entry.message for entry in caplog.records if entry.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "No space left" in warnings[0]
    assert any("is written again" in entry.message for entry in caplog.records)


def test_no_frame_stands_behind_the_run_of_another_model(small_disk: Path) -> None:
    """A change of the model, while the disk is full: its record is lost, and a fresh file begins with it."""
    path, ballast = small_disk / "log", small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    other = {**RUN, "model": "other", "pad": "x" * 5000}  # it does not fit into the last page
    with JsonLog(path, RUN, retry_s=0.05) as log:
        before = 0
        while not log.lost_lines:
            before += 1
            log(frame(before, pad="x" * 300))
            time.sleep(0.001)
        log(other)
        log(frame(10_000, pad="x" * 5000))
        wait_until_taken(log, 1)  # of the run since the change
        ballast.unlink()
        time.sleep(0.1)
        log(frame(10_001))
        wait_until_taken(log, 2)
    older, newer = (list(read_log(part)) for part in parts(path))
    assert max(record.get("seq", 0) for record in older) <= before
    assert [record["model"] for record in (older[0], newer[0])] == ["tiny", "other"]
    assert seqs(path) == [10_001]


def test_a_run_is_not_lost_to_a_full_queue(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN, queue_size=1) as log:
        for seq in range(200):
            log(frame(seq))
        log({**RUN, "model": "other"})
        log(frame(1000))
    runs = [record["model"] for record in read_log(path) if record["rec"] == "run"]
    assert runs == ["tiny", "other"]


def test_a_disk_that_is_full_at_start_is_waited_for(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(100_000))
    with JsonLog(small_disk / "log", RUN, retry_s=0.05) as log:
        log(frame(1))
        wait_for(lambda: log.lost_lines == 1)
        ballast.unlink()
        time.sleep(0.1)
        log(frame(2))
    assert kinds(small_disk / "log") == ["run", "event", "frame", "summary"]
    assert [record.get("lost_lines") for record in read_log(small_disk / "log")][1] == 1


def test_a_disk_that_stays_full_still_leaves_the_statistics(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(56_000))
    with JsonLog(small_disk / "log", RUN, retry_s=0.01) as log:
        for seq in range(100):
            log(frame(seq, pad="x" * 1000))
    assert log.lost_lines > 80
    assert log.statistics.summary(log.lost_lines)["frames"] == 100
    assert (small_disk / "log").read_bytes().endswith(b"\n")


def test_a_line_cut_by_a_limit_is_taken_back_and_written_lines_go_on_after_it(tmp_path: Path) -> None:
    """The one full disk that needs no mount: the system writes a part of the line, then refuses."""
    code = """
import resource, sys, time
from pathlib import Path
from stream.log import JsonLog
def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
limit(1000)
log = JsonLog(Path(sys.argv[1]), {"rec": "run"}, retry_s=0.05)
for seq in range(50): log({"rec": "frame", "seq": seq, "pad": "x" * 100})
while log.lost_lines < 42: time.sleep(0.01)
print(Path(sys.argv[1]).read_bytes()[-1:] == b"\\n")
limit(resource.RLIM_INFINITY)
time.sleep(0.1)
log({"rec": "frame", "seq": 99})
log.close()
print(log.lost_lines)
"""
    child = [sys.executable, "-c", code, str(tmp_path / "log")]
    output = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    ended_well, lost = output.stdout.split()
    assert ended_well == "True"
    assert output.stderr.count("File too large") == 1
    assert len(seqs(tmp_path / "log")) + int(lost) == 51
    assert kinds(tmp_path / "log")[-3:] == ["event", "frame", "summary"]


def test_a_card_that_comes_back_read_only_costs_lines_until_it_is_writable(small_disk: Path) -> None:
    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "labelcam-test", str(small_disk)], check=True)

    with JsonLog(small_disk / "log", RUN, retry_s=0.05) as log:
        mount("ro,size=64k")  # over the one the log was begun on
        try:
            log(frame(1))
            wait_for(lambda: log.lost_lines == 1)
            mount("remount,rw")
            time.sleep(0.1)
            log(frame(2))
            log.close()
            assert kinds(small_disk / "log") == ["run", "event", "frame", "summary"]
        finally:
            subprocess.run(["umount", "--lazy", str(small_disk)], check=True)


# Files that others touch.


def test_a_log_deleted_underneath_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN) as log:
        log(frame(1))
        wait_for(lambda: '"seq":1' in text_of(path))
        path.unlink()
        log(frame(2))
    assert kinds(path) == ["run", "frame", "summary"]
    assert seqs(path) == [2]
    assert log.lost_lines == 0


def test_a_folder_deleted_underneath_costs_lines_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log"
    path.parent.mkdir()
    with JsonLog(path, RUN, retry_s=0.05) as log:
        path.unlink()
        path.parent.rmdir()
        log(frame(1))
        wait_for(lambda: log.lost_lines == 1)
        path.parent.mkdir()
        time.sleep(0.1)
        log(frame(2))
    assert kinds(path) == ["run", "event", "frame", "summary"]


def test_a_log_renamed_by_logrotate_is_left_alone_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN) as log:
        log(frame(1))
        wait_for(lambda: '"seq":1' in text_of(path))
        path.rename(tmp_path / "log-20300101")
        log(frame(2))
    assert (kinds(tmp_path / "log-20300101"), kinds(path)) == (["run", "frame"], ["run", "frame", "summary"])


def test_a_log_emptied_by_logrotates_copytruncate_begins_with_its_run_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN) as log:
        log(frame(1))
        wait_for(lambda: '"seq":1' in text_of(path))
        os.truncate(path, 0)
        log(frame(2))
    assert kinds(path) == ["run", "frame", "summary"]
    assert [part.name for part in parts(path)] == ["log"]


def test_the_file_of_an_earlier_run_is_kept(tmp_path: Path) -> None:
    for number in range(5):
        with JsonLog(tmp_path / "log", {"rec": "run", "number": number}, keep=3):
            pass
    assert [next(read_log(part))["number"] for part in parts(tmp_path / "log")] == [1, 2, 3, 4]


def test_a_link_stays_a_link_and_the_old_files_lie_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    link = tmp_path / "log"
    link.symlink_to(tmp_path / "card" / "log")
    for _ in range(2):
        JsonLog(link, RUN).close()
    assert link.is_symlink()
    assert [part.name for part in parts(tmp_path / "card" / "log")] == ["log.1", "log"]


# Rotation.


def test_rotation_loses_and_tears_nothing_and_every_file_begins_with_the_run(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN, max_bytes=2000, keep=1000) as log:
        for seq in range(1000):
            log(frame(seq))
        wait_until_taken(log, 1000)
    files = parts(path)
    assert len(files) > 20
    assert [seq for file in files for seq in seqs(file)] == list(range(1000))
    for file in files:
        assert next(read_log(file)) == RUN
        assert file.stat().st_size <= 2000 or file == path
    assert kinds(path)[-1] == "summary"
    assert log.lost_lines == 0


def test_only_as_many_old_files_as_wanted_are_kept_and_they_are_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN, max_bytes=2000, keep=2) as log:
        for seq in range(1000):
            log(frame(seq))
        wait_until_taken(log, 1000)
    assert [part.name for part in parts(path)] == ["log.2", "log.1", "log"]
    kept = [seq for file in parts(path) for seq in seqs(file)]
    assert kept == list(range(kept[0], 1000))


def test_a_record_larger_than_a_file_is_written_whole(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log", RUN, max_bytes=100) as log:
        log(frame(1, pad="x" * 1000))
        log(frame(2))
    assert [seq for file in parts(tmp_path / "log") for seq in seqs(file)] == [1, 2]


# The writer may hang, the callers may not.


def test_a_writer_that_hangs_holds_up_neither_callers_nor_the_end(tmp_path: Path) -> None:
    stuck = Stuck()
    log = JsonLog(tmp_path / "log", RUN, queue_size=10)
    log(frame(0, pad=stuck))
    assert stuck.reached.wait(10)
    started_s = time.monotonic()
    for seq in range(1, 1001):
        log(frame(seq))
    assert log.lost_lines == 990
    log.close()
    assert time.monotonic() - started_s < 5  # a second is promised; the machine may be busy
    assert log.lost_lines == 1000
    assert log.statistics.summary()["frames"] == 11
    stuck.go_on.set()
    wait_for(lambda: "summary" in text_of(tmp_path / "log"))


def test_lines_lost_to_a_slow_card_are_told_of_where_the_gap_is(tmp_path: Path) -> None:
    stuck = Stuck()
    with JsonLog(tmp_path / "log", RUN, queue_size=10) as log:
        log(frame(0, pad=stuck))
        assert stuck.reached.wait(10)
        for seq in range(1, 31):
            log(frame(seq))
        stuck.go_on.set()
    assert kinds(tmp_path / "log") == ["run", "frame", "event", *["frame"] * 10, "summary"]
    assert [record["lost_lines"] for record in read_log(tmp_path / "log") if "lost_lines" in record] == [
        20,
        20,
    ]


def test_the_process_ends_although_the_writer_hangs(tmp_path: Path) -> None:
    code = """
import sys, threading
from pathlib import Path
from stream.log import JsonLog
class Stuck:
    def __str__(self): threading.Event().wait()
with JsonLog(Path(sys.argv[1]), {"rec": "run"}) as log:
    log({"rec": "frame", "pad": Stuck()})
print("ended")
"""
    child = [sys.executable, "-c", code, str(tmp_path / "log")]
    output = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert output.stdout == "ended\n"
    assert "has no end" in output.stderr


def test_a_record_after_the_end_is_dropped_in_silence(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "log", RUN)
    log.close()
    log(frame(1))
    log.close()
    assert kinds(tmp_path / "log") == ["run", "summary"]


def test_many_threads_write_at_once_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with JsonLog(path, RUN, max_bytes=20_000, keep=1000, queue_size=10_000) as log:

        def write(first: int) -> None:
            for seq in range(first, first + 500):
                log(frame(seq))

        threads = [threading.Thread(target=write, args=(number * 500,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until_taken(log, 4000)
    written = [seq for file in parts(path) for seq in seqs(file)]
    assert sorted(written) == list(range(4000))
    for first in range(0, 4000, 500):
        own = [seq for seq in written if first <= seq < first + 500]
        assert own == sorted(own)


# What is in a line.


def test_a_record_that_is_not_json_costs_itself_only(tmp_path: Path) -> None:
    endless: Record = frame(1)
    endless["self"] = endless
    with JsonLog(tmp_path / "log", RUN) as log:
        log(endless)
        log(frame(2, wrong={(1, 2): 3}))
        log(frame(3))
    assert (seqs(tmp_path / "log"), log.lost_lines) == ([3], 2)


def test_a_line_is_strict_json_even_when_a_model_yields_nan(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log", RUN) as log:
        log(frame(1, top=[[0, "NaN cat", float("nan")], [1, "dog", float("inf")], [2, "é", 0.5]]))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = (tmp_path / "log").read_text().splitlines()[1]
    top = json.loads(line, parse_constant=refuse)["top"]
    assert top == [[0, "NaN cat", None], [1, "dog", None], [2, "é", 0.5]]


def test_numpys_numbers_and_paths_are_written_as_what_they_mean(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log", RUN) as log:
        log(frame(1, score=np.float32(0.5), size=np.array([2, 3]), index=np.int64(7), file=Path("a/b")))
    record = list(read_log(tmp_path / "log"))[1]
    assert (record["score"], record["size"], record["index"], record["file"]) == (0.5, [2, 3], 7, "a/b")


def test_the_last_line_is_the_summary(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log", RUN) as log:
        for seq in range(100):
            log(frame(seq))
    summary = list(read_log(tmp_path / "log"))[-1]
    assert summary == log.statistics.summary()
    assert (summary["frames"], summary["lost_lines"]) == (100, 0)
    assert summary["stages"]["infer_us"]["p50"] == 1049.5
    assert summary["stages"]["infer_us"]["p99"] is None


# Reading back.


def test_a_file_of_many_runs_sums_each_up_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    with JsonLog(path, None) as log:
        assert path.read_bytes() == b""
        for model, frames in (("a", 3), ("b", 0), ("a", 2)):
            log({"rec": "run", "model": model})
            for seq in range(frames):
                log(frame(seq))
    assert parts(path) == [path]
    assert kinds(path) == [
        "run",
        *["frame"] * 3,
        "summary",
        "run",
        "summary",
        "run",
        *["frame"] * 2,
        "summary",
    ]
    assert [record["frames"] for record in read_log(path) if record["rec"] == "summary"] == [3, 0, 2]


def test_a_file_of_many_runs_goes_on_in_the_next_file_with_the_run_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    with JsonLog(path, None, max_bytes=2_000) as log:
        for model in ("a", "b"):
            log({"rec": "run", "model": model})
            for seq in range(20):
                log(frame(seq))
    heads = [next(read_log(part))["model"] for part in parts(path)]
    assert sorted(heads) == heads
    assert heads[-1] == "b"
    assert sum(kinds(part).count("frame") for part in parts(path)) == 40


def test_a_bad_line_in_the_middle_is_refused_with_file_and_line(tmp_path: Path) -> None:
    for bad in (b'{"rec":"fr', b"\xff\xfe", b"", b"12"):
        (tmp_path / "log").write_bytes(b'{"rec":"run"}\n' + bad + b'\n{"rec":"frame"}\n')
        with pytest.raises(LogError, match="log, line 2: "):
            list(read_log(tmp_path / "log"))


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"cannot read .*: No such file"):
        list(read_log(tmp_path / "log"))


def test_a_cut_off_last_line_is_left_out_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = b'{"rec":"run"}\n'
    last = json.dumps(frame(1, label="é"), ensure_ascii=False).encode()
    for length in range(len(last)):
        (tmp_path / "log").write_bytes(whole + last[:length])
        assert list(read_log(tmp_path / "log")) == [{"rec": "run"}]
    (tmp_path / "log").write_bytes(whole + bytes(100))  # what a power cut leaves on ext4
    assert list(read_log(tmp_path / "log")) == [{"rec": "run"}]


def test_a_killed_process_leaves_every_line_it_had_written(tmp_path: Path) -> None:
    code = """
import sys, time
from itertools import count
from pathlib import Path
from stream.log import JsonLog
log = JsonLog(Path(sys.argv[1]), {"rec": "run"}, max_bytes=50_000, keep=1000, queue_size=10**6)
for seq in count():
    log({"rec": "frame", "seq": seq, "pad": "x" * (seq % 300)})
    if seq % 20 == 0: time.sleep(0.002)
"""
    path = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) as process:
        wait_for(lambda: len(parts(path)) > 10)
        process.kill()
    files = [file for file in parts(path) if text_of(file)]  # the newest may not have been begun yet
    written = [seq for file in files for seq in seqs(file)]
    assert written == list(range(len(written)))
    assert len(written) > 1000
    assert all(next(read_log(file)) == {"rec": "run"} for file in files)


def test_rotation_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with JsonLog(tmp_path / "log", RUN, max_bytes=200, keep=2) as log:
        for seq in range(500):
            log(frame(seq))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
