"""The road as its user walks it: `python run.py ...`, a browser's socket, a signal, an exit status, a log."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest

from models.recipe import Image
from stream import demo
from stream.cli import parse
from stream.log import Record, read_log
from tests.network_camera import free_port
from tests.viewer import Address, Viewer, ask, crowd, labelcam, wait_for

END_S = 2.0  # what Ctrl-C and SIGTERM may take, by the promise
SIZE = (320, 240)


class Ended(NamedTuple):
    status: int
    out: str
    errors: str


def ended(*arguments: str | Path, **environment: str) -> Ended:
    """Run to the end."""
    with labelcam(*arguments, **environment) as running:
        return Ended(running.ends(), running.out, running.errors)


def refused(*arguments: str | Path, **environment: str) -> str:
    """The one line that an expected error leaves; nothing else, and exit status 1."""
    status, out, errors = ended(*arguments, **environment)
    assert status == 1, errors
    assert out == ""
    assert re.fullmatch(r"labelcam: [^\r\n]+\n", errors)
    return errors


def records(path: Path, kind: str) -> list[Record]:
    return [record for record in read_log(path) if record["rec"] == kind]


def scene(seq: int, second: int = 1) -> Image:
    """Each scene lasts six seconds: the clock, the street, the crossword."""
    return demo.draw(seq, datetime(2026, 1, 1, 12, 0, second), SIZE)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of the demo, each frame with its number."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, SIZE)
    for seq in range(60):
        writer.write(scene(seq))
    writer.release()
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, second in (("a-clock", 1), ("b-street", 7), ("c-crossword", 13)):
        cv2.imwrite(str(folder / f"{name}.png"), scene(0, second))
    return folder


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


def state(address: Address) -> Any:
    return ask(address, "/api/state").json


# What cannot work is told in one line, at once.


def test_a_taken_port_is_told_before_any_camera_is_opened(taken_port: str) -> None:
    line = refused("--port", taken_port, "--source", "/dev/video-none")
    assert f"port {taken_port}" in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source", "missing.mp4"), "missing.mp4"),
        (("--source", "{text}"), "not a video"),
        (("--source", "{cut}"), "cut off"),
        (("--source", "{empty}"), "no pictures"),
        (("--source", "/dev/video-none"), "demo:"),
        (("--source", "http://user:secret@127.0.0.1:{taken}/x"), "no video comes from http://127.0.0.1"),
        (("--source", "rtsp://user:secret@127.0.0.1:1/x"), "no video comes from rtsp://127.0.0.1"),
        (("--source", "tape://1"), "known: .*demo:"),
        (("--model", "resnet"), "known: efficientnet_lite0"),
        (("--model", "{text}"), "say who runs it with --backend"),
        (("--model", "missing.tflite"), "missing.tflite"),
        (("--model", "mobilenet_v2_1.0_224_quant", "--models-dir", "{empty}"), "models pull mobilenet_v2"),
        (("--labels", "missing.txt"), "missing.txt"),
        (("--labels", "{text}"), "1000 outputs"),
        (("--runtime", "tvm"), "known: litert"),
        (("--log", "{empty}/none/log.jsonl"), "mkdir -p"),
        (("--host", "192.0.2.1"), "192.0.2.1"),
    ],
)
def test_an_expected_error_is_one_line_and_exit_status_1(
    arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    text, cut, empty = tmp_path / "text.mp4", tmp_path / "cut.jpg", tmp_path / "empty"
    text.write_text("not a video, not a model, three labels\nno\nno\n")
    cut.write_bytes(b"\xff\xd8\xff\xe0")
    empty.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:  # takes connections, says nothing
        places = {"text": text, "cut": cut, "empty": empty, "taken": other.getsockname()[1]}
        if "{taken}" in arguments[-1]:
            other.close()
        line = refused("--port", "0", *(argument.format(**places) for argument in arguments))
    assert re.search(told, line)
    assert "secret" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "missing.jpg"),
        ("bench", "tests"),
        ("bench", "run.py"),
        ("bench", "README.md/x.jpg"),
        ("bench", "tests/../docs/img", "--model", "mobilenet_v2_130_224"),
        ("bench", "docs/img", "--csv", "no/such/folder/table.csv"),
        ("bench", "docs/img", "--labels-csv", "README.md"),
        ("compare", "missing.jsonl"),
        ("compare", "README.md"),
        ("compare", "docs/img/page.webp"),
        ("study", "README.md", "--published", "README.md", "--labels-csv", "README.md"),
        ("models", "pull", "resnet", "efficientnet_lite0"),
    ],
)
def test_an_expected_error_of_the_other_commands_is_one_line_too(arguments: tuple[str, ...]) -> None:
    refused(*arguments)


def test_pulling_without_a_network_is_one_line(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"  # a proxy that is not there: the same with and without a network
    model = "mobilenet_v2_1.0_224_quant"
    line = refused(
        "models", "--models-dir", tmp_path, "pull", model, https_proxy=nowhere, HTTPS_PROXY=nowhere
    )
    assert "check the network" in line
    assert not list(tmp_path.glob("*.tflite"))


@pytest.mark.parametrize(
    "arguments",
    [
        "bench",
        "bench --runs 0 a.png",
        "bench --rate 0 a.png",
        "compare",
        "study a.jsonl",
        "models pull",
        "models pull --all digits",
        "--frobnicate",
        "--port 65536",
        "--fps 0",
        "--fps nan",
        "--duration inf",
        "--duration -1",
        "--quality 0",
        "--quality 101",
        "--threshold 2",
        "--smoothing 1",
        "--top-k 0",
        "--threads 0",
        "--max-frames 0",
        "--max-streams 0",
        "--std 0",
        "--width 640",
        "--width 100000 --height 100000",
        "--show nothing",
        "--fit pad",
        "--encode never",
        "--backend abacus",
    ],
)
def test_a_mistake_in_an_option_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        parse(arguments.split())
    out, errors = capsys.readouterr()
    assert out == ""
    [line] = errors.splitlines()
    assert line.startswith("run.py")


@pytest.mark.parametrize("arguments", ["frobnicate", "live frobnicate", "models burn", "--port http"])
def test_a_mistake_in_the_command_line_is_exit_status_2(arguments: str) -> None:
    status, out, errors = ended(*arguments.split())
    assert status == 2
    assert out == ""
    assert "Traceback" not in errors


# The road itself.


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_whole_road(how: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with labelcam("--port", "0", "--source", "demo:", "--log", log) as running:
        for what in ("demo: 640x480 at 30 fps", "tflite", "litert", "efficientnet_lite0"):
            assert what in running.greeting
        wait_for(lambda: ask(running.address, "/readyz").status == 200)
        before = state(running.address)
        with Viewer(running.address) as viewer:
            assert viewer.status == 200
            parts = viewer.parts(60)
            after = state(running.address)
            took_s = running.stop(how)
            rest = viewer.until_end()  # and properly ended: it raises otherwise
        assert running.process.returncode == 0
        assert took_s < END_S
        assert running.out.count("\n") == 1
        assert running.errors == ""

    seqs = [part.seq for part in parts + rest]
    assert seqs == sorted(set(seqs))
    assert seqs[0] >= before["frames"]["captured"] - 1
    assert seqs[59] < after["frames"]["captured"]
    assert seqs[0] <= after["answer"]["seq"] < after["frames"]["captured"]
    assert after["online"]
    assert after["stream"]["viewers"] == 1

    stamps = [part.captured_s for part in parts]
    assert stamps == sorted(set(stamps))
    assert time.time() - 60 < stamps[0] < stamps[-1] < time.time()
    # The boundary is there with the picture, not with the next one 33 ms later.
    assert sorted(part.boundary_after_s for part in parts)[30] < 0.015

    check_log(log)
    assert {record["seq"] for record in records(log, "video")} >= set(seqs)


def check_log(log: Path) -> None:
    """Whole, in order, and its sums are right."""
    kinds = [record["rec"] for record in read_log(log)]
    assert kinds[0] == "run"
    assert kinds[-1] == "summary"
    assert kinds.count("run") == kinds.count("summary") == 1
    assert log.read_bytes().endswith(b"\n")

    run, frames, videos = records(log, "run")[0], records(log, "frame"), records(log, "video")
    assert run["schema"] == 1
    assert run["source"] == "demo:"
    assert run["size"] == [640, 480]
    assert run["model"] == "efficientnet_lite0"
    for fact in ("host", "cpu", "python", "app_version", "backend", "runtime", "runtime_version", "threads"):
        assert run[fact], fact
    for fact in ("model_sha256", "labels_sha256"):
        assert re.fullmatch("[0-9a-f]{64}", run[fact])
    assert run["load_us"] > 0
    assert run["first_us"] > 0
    assert {"device", "governor", "recipe", "policy", "fps"} <= set(run)
    assert [event["event"] for event in records(log, "event")] == ["connect"]

    seqs = [frame["seq"] for frame in frames]
    gaps = [later - earlier - 1 for earlier, later in zip([-1, *seqs], seqs, strict=False)]
    assert [frame["skip"] for frame in frames] == gaps
    assert all(gap >= 0 for gap in gaps)
    for frame in frames:
        steps = frame["wait_us"] + frame["pre_us"] + frame["infer_us"] + frame["post_us"]
        assert abs(frame["age_us"] - steps) <= 4  # each rounded down
        assert all(0 <= score <= 1 for _, _, score in frame["top"])
    for video in videos:
        assert video["answer"] is None or video["answer"] <= video["seq"]

    summary = records(log, "summary")[0]
    assert summary["frames"] == len(frames)
    assert summary["skipped"] == sum(gaps)
    assert summary["lost_lines"] == 0
    assert summary["stages"]["infer_us"]["n"] == len(frames)
    assert summary["stages"]["draw_us"]["n"] == len(videos)
    assert summary["stages"]["infer_us"]["max"] == max(frame["infer_us"] for frame in frames)


def test_ten_viewers_are_let_go_properly() -> None:
    with (
        labelcam("--port", "0", "--source", "demo:") as running,
        crowd(10, running.address) as viewers,
        ThreadPoolExecutor(10) as threads,
    ):
        started = [threads.submit(viewer.parts, 5) for viewer in viewers]
        assert all(len(one.result()) == 5 for one in started)
        ends = [threads.submit(viewer.until_end) for viewer in viewers]
        took_s = running.stop()
        for one in ends:
            one.result()  # raises if the answer was cut
        assert running.process.returncode == 0
        assert took_s < END_S
        assert running.errors == ""


def test_a_viewer_that_never_reads_does_not_hold_up_the_end() -> None:
    with (
        labelcam("--port", "0", "--source", "demo:") as running,
        Viewer(running.address, receive_bytes=4096) as stuck,
    ):
        assert stuck.status == 200
        time.sleep(1)
        assert running.stop() < END_S
        assert running.process.returncode == 0
        assert running.errors == ""


def test_a_signal_during_the_start_ends_it_quietly() -> None:
    for delay_s in (0, 0.05, 0.15, 0.25, 0.35, 0.55):
        for how in (signal.SIGTERM, signal.SIGINT):
            with labelcam("--port", "0", "--source", "demo:") as running:
                wait_for(partial(running.catches, signal.SIGTERM))  # before, it is Python that starts
                time.sleep(delay_s)
                assert running.stop(how) < END_S
                assert running.errors == ""
                assert running.process.returncode == 0


def test_a_camera_that_comes_late_and_then_stalls(tmp_path: Path) -> None:
    """The camera is another Labelcam: started later, then stopped as by a debugger."""
    port, log = str(free_port()), tmp_path / "log.jsonl"
    source = f"http://user:secret@127.0.0.1:{port}/stream"
    with labelcam("--port", "0", "--wait-for-camera", "--source", source, "--log", log) as running:
        assert ask(running.address, "/healthz").status == 200
        not_ready = ask(running.address, "/readyz")
        assert not_ready.status == 503
        assert not_ready.json["reason"]
        with labelcam("--port", port, "--source", "demo:") as camera:
            assert camera.address
            wait_for(lambda: ask(running.address, "/readyz").status == 200)
            now = state(running.address)
            assert now["online"]
            assert now["source"]["name"] == f"http://127.0.0.1:{port}/stream"
            camera.process.send_signal(signal.SIGSTOP)
            wait_for(lambda: ask(running.address, "/readyz").status == 503, 10)
            assert ask(running.address, "/healthz").status == 200
            with Viewer(running.address) as viewer:
                assert len(viewer.parts(2)) == 2  # they show that there is no signal
                assert running.stop() < END_S
                viewer.until_end()
        assert running.process.returncode == 0
        assert "Traceback" not in running.errors
        assert "secret" not in running.errors + running.out + log.read_text()
    assert [event["event"] for event in records(log, "event")] == ["connect", "stall"]
    assert records(log, "summary")


def test_the_end_of_the_time_asked_for_is_exit_status_0() -> None:
    started_s = time.monotonic()
    done = ended("--port", "0", "--source", "demo:", "--duration", "1")
    assert done.status == 0
    assert done.errors == ""
    assert time.monotonic() - started_s >= 1


def test_max_frames_classifies_exactly_so_many(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    done = ended("--port", "0", "--source", "demo:", "--max-frames", "7", "--log", log)
    assert done.status == 0
    assert done.errors == ""
    assert len(records(log, "frame")) == 7


def test_every_frame_of_a_clip_is_classified_and_shown(clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    always = ("--every-frame", "--encode", "always")
    done = ended("--port", "0", "--source", clip, *always, "--log", log)
    assert done.status == 0
    assert done.errors == ""
    frames, videos = records(log, "frame"), records(log, "video")
    assert [frame["seq"] for frame in frames] == list(range(60))
    assert all(frame["skip"] == 0 for frame in frames)
    assert [(video["seq"], video["answer"]) for video in videos] == [(seq, seq) for seq in range(60)]
    assert records(log, "run")[0]["policy"]["every_frame"] is True
    assert records(log, "summary")[0]["skipped"] == 0


def test_a_clip_has_its_own_pace_and_ends(clip: Path) -> None:
    with labelcam("--port", "0", "--source", clip) as running, Viewer(running.address) as viewer:
        started_s = time.monotonic()
        seqs = [part.seq for part in viewer.until_end()]
        assert time.monotonic() - started_s > 1  # of two seconds, some before we looked
        assert running.ends() == 0
        assert running.errors == ""
    assert seqs == sorted(seqs)
    assert seqs[-1] == 59


def test_a_folder_is_classified_in_order_of_name(pictures: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    done = ended("--port", "0", "--source", pictures, "--every-frame", "--log", log)
    assert done.status == 0
    assert done.errors == ""
    frames = records(log, "frame")
    assert [frame["image"] for frame in frames] == ["a-clock.png", "b-street.png", "c-crossword.png"]
    for frame, shown in zip(frames, demo.SCENES, strict=True):
        assert frame["top"][0][1].partition(",")[0] in shown.labels


def test_a_folder_at_a_pace_of_its_own_ends_by_itself(pictures: Path) -> None:
    started_s = time.monotonic()
    done = ended("--port", "0", "--source", pictures, "--fps", "4")
    assert done.status == 0
    assert done.errors == ""
    assert time.monotonic() - started_s >= 0.5  # three pictures, a quarter of a second apart


def test_show_classified_gives_each_picture_its_own_answer(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    arguments = ("--show", "classified", "--encode", "always", "--max-frames", "20", "--log", log)
    assert ended("--port", "0", "--source", "demo:", *arguments).status == 0
    videos = records(log, "video")
    assert len(videos) >= 15
    assert all(video["seq"] == video["answer"] for video in videos)


def test_any_address_but_loopback_makes_a_token_and_tells_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with labelcam("--port", "0", "--source", "demo:", "--host", "0.0.0.0", "--log", log) as running:
        found = re.fullmatch(r"http://[^:/]+:(\d+)/\?token=([\w-]{16,})", running.url)
        assert found
        address, token = ("127.0.0.1", int(found[1])), found[2]
        assert ask(address, "/").status == 401
        assert ask(address, "/snapshot?token=wrong").status == 401
        page = ask(address, f"/?token={token}")
        assert page.status == 200
        assert token.encode() not in page.body
        assert token.encode() not in ask(address, f"/api/state?token={token}").body
        running.stop()
        assert token not in running.errors + log.read_text()
        assert running.out.count(token) == 1


def test_a_full_disk_costs_log_lines_and_no_pictures(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(48 << 10))
    with (
        labelcam("--port", "0", "--source", "demo:", "--log", small_disk / "log.jsonl") as running,
        Viewer(running.address) as viewer,
    ):
        wait_for(lambda: bool(viewer.part()) and running.errors != "")
        assert len(viewer.parts(30)) == 30
        assert ask(running.address, "/healthz").status == 200
        assert running.stop() < END_S
        viewer.until_end()
        assert running.process.returncode == 0
        assert re.fullmatch("WARNING: the log .* loses lines: No space left on device; .*\n", running.errors)


# Stills.


def test_bench_times_stills_into_the_same_log(pictures: Path, tmp_path: Path) -> None:
    live, still = tmp_path / "live.jsonl", tmp_path / "still.jsonl"
    done = ended("bench", pictures, pictures / "a-clock.png", "--runs", "20", "--rounds", "2", "--log", still)
    assert done.status == 0
    assert not [line for line in done.errors.splitlines() if "the machine was busy" not in line]
    assert re.search(r"^start: median +import +load +compile +first run", done.out, re.MULTILINE)
    assert re.search(r"^warm runs: infer +p50 +interval +p90", done.out, re.MULTILINE)
    assert re.search(r"^efficientnet_lite0 tflite +(\S+ +){8}60 ", done.out, re.MULTILINE)
    seen = [line for line in done.out.splitlines() if ".png" in line]
    for line, name, scene in zip(seen, ("a-clock", "b-street", "c-crossword"), demo.SCENES, strict=True):
        found = re.fullmatch(r"(\S+)\.png +efficientnet_lite0 tflite +(([^,]+ \d\.\d{3}(, )?)+)", line)
        assert found, line
        assert found[1] == name
        assert found[2].startswith(scene.labels)

    assert ended("--port", "0", "--source", "demo:", "--max-frames", "3", "--log", live).status == 0
    stills, frames = records(still, "frame"), records(live, "frame")
    assert len(stills) == 60
    assert set(stills[0]) == {*frames[0], "image"}
    assert [one["seq"] for one in stills] == list(range(10)) * 3 * 2
    one, other = records(still, "run")[0], records(live, "run")[0]
    facts = (
        "schema",
        "host",
        "cpu",
        "backend",
        "runtime",
        "model",
        "model_sha256",
        "labels_sha256",
        "recipe",
    )
    assert [one[fact] for fact in facts] == [other[fact] for fact in facts]
    assert [summary["frames"] for summary in records(still, "summary")] == [30, 30]
    assert next(read_log(still))["rec"] == "run"


# The other commands.


def test_models_are_listed_and_verified(tmp_path: Path) -> None:
    for arguments in (["models"], ["models", "list"], ["models", "--models-dir", tmp_path, "list"]):
        listed = ended(*arguments)
        assert listed.status == 0
        assert "efficientnet_lite0" in listed.out
        assert "mobilenet_v2_1.0_224_quant" in listed.out
    good = ended("models", "verify", "--models-dir", tmp_path)
    assert good.status == 0
    assert re.search(r"efficientnet_lite0 +ok", good.out)
    assert re.search(r"mobilenet_v2_1.0_224_quant +missing", good.out)
    (tmp_path / "mobilenet_v2_1.0_224_quant.tflite").write_bytes(b"half of it")
    bad = ended("models", "verify", "--models-dir", tmp_path)
    assert bad.status == 1
    assert re.search(r"mobilenet_v2_1.0_224_quant +wrong", bad.out)
    assert good.errors == bad.errors == ""


LIVE_OPTIONS = (
    *("--source", "--wait-for-camera", "--width", "--height", "--fps", "--max-frames", "--duration"),
    *("--backend", "--model", "--labels", "--threads", "--fit", "--top-k", "--threshold", "--smoothing"),
    *("--show", "--every-frame", "--encode", "--host", "--port", "--token", "--quality", "--log"),
)
BENCH_OPTIONS = (
    *(
        "--backend",
        "--model",
        "--mode",
        "--runs",
        "--rounds",
        "--rate",
        "--labels-csv",
        "--csv",
        "--markdown",
    ),
    "--log",
)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--help",), (*LIVE_OPTIONS, "live", "bench", "compare", "study", "models")),
        (("live", "-h"), LIVE_OPTIONS),
        (("bench", "--help"), (*BENCH_OPTIONS, "IMAGE")),
        (("compare", "--help"), ("--html", "--markdown", "--published", "LOG")),
        (("study", "--help"), ("--markdown", "--published", "--labels-csv", "LOG")),
        (("models", "--help"), ("list", "pull", "verify", "--models-dir")),
        (("--version",), ("labelcam",)),
    ],
)
def test_help_names_everything(arguments: tuple[str, ...], named: tuple[str, ...]) -> None:
    done = ended(*arguments)
    assert done.status == 0
    assert done.errors == ""
    words = set(re.findall(r"[\w-]+", done.out))
    assert not [name for name in named if name not in words]


@pytest.mark.parametrize("more", [(), ("--wait-for-camera",)])
def test_it_ends_at_once_also_while_a_camera_does_not_answer(more: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/stream"
        with labelcam("--port", "0", "--source", address, *more) as running:
            silent.settimeout(20)
            connection, _ = silent.accept()  # it is being opened
            with connection:
                assert running.stop() < 2
                assert running.ends() == 0
                assert running.errors == ""


def test_what_was_cut_short_says_so(pictures: Path) -> None:
    with labelcam("bench", "--runs", "1000000", pictures) as running:
        time.sleep(3)
        running.stop()
        assert running.ends() == 130
