"""A model on a server: what is refused at the start, and what its weather does to the video: nothing."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from backends import BackendUnavailable, ModelToRun, NoAnswer, load_backend
from backends.base import Backend, Tensor
from backends.remote import LONGEST_WAIT_S, RemoteBackend, read_address
from models.catalogue import BUILT_IN, find_spec
from models.errors import ModelError
from models.recipe import Image, Recipe
from stream.cli import parse
from stream.hub import Viewing
from stream.loading import ModelWish, load_model
from stream.log import read_log
from stream.pipeline import Policy
from stream.render import IDLE_S
from stream.series import read_series
from tests.network_camera import free_port
from tests.oip_server import Array, OipServer, Served, colours, serving
from tests.page_tools import opened
from tests.test_switch import Running, running
from tests.viewer import ask, labelcam, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RECIPE = Recipe((6, 4))
SCHEMES = ("grpc", "http")


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(scheme: str) -> Iterator[OipServer]:
    with serving(scheme) as made:
        yield made


def plain(blue: int, green: int, red: int) -> Image:
    return np.full((48, 64, 3), (blue, green, red), np.uint8)


RED = plain(0, 0, 255)


@contextmanager
def asking(address: str, recipe: Recipe | None = RECIPE) -> Iterator[tuple[RemoteBackend, Tensor]]:
    """A backend that has had its first answer, and red."""
    name = address.rpartition("/")[2].partition("?")[0]
    backend = RemoteBackend(ModelToRun(Path(name), recipe, address=address))
    try:
        red = backend.prepare(RED)
        assert backend.infer(red).argmax() == 0
        yield backend, red
    finally:
        backend.close()


def refusal(address: str, recipe: Recipe | None = RECIPE) -> str:
    with pytest.raises((ModelError, BackendUnavailable)) as caught:
        load_backend("remote", ModelToRun(Path("x"), recipe, address=address))
    message = str(caught.value)
    assert message
    assert message == " ".join(message.split())
    assert not isinstance(caught.value, NoAnswer), "at the start it is a mistake"
    return message


def no_answer(backend: Backend, tensor: Tensor) -> str:
    with pytest.raises(NoAnswer) as caught:
        backend.infer(tensor)
    return str(caught.value)


def until_answered(backend: Backend, tensor: Tensor, patience_s: float = 10) -> float:
    """How long it takes."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < patience_s:
        try:
            assert backend.infer(tensor).argmax() == 0
        except NoAnswer:
            time.sleep(0.005)
        else:
            return time.monotonic() - started_s
    pytest.fail("it never answers again")


# At the start.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "grpc://",
        "grpc://host/model",
        "grpc://host:8001",
        "grpc://host:8001/",
        "grpc://host:8001/a/b",
        "grpc://host:no/model",
        "grpc://host:99999/model",
        "https://host:8000/model",
        "ftp://host:8000/model",
        "grpc://[::1/model",
        "grpc://h:1/m?deadline=soon",
        "grpc://h:1/m?deadline",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    assert "write grpc://host:8001/NAME or http://host:8000/NAME" in refusal(text)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    assert "secret" not in refusal("http://me:secret@host:8000/model")


@pytest.mark.parametrize("deadline", ["0", "-1", "31", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(deadline: str) -> None:
    assert "between 0.01 and 30 seconds" in refusal(f"grpc://h:1/m?deadline={deadline}")


def test_an_unknown_option_of_an_address_is_refused_and_the_known_ones_named() -> None:
    assert "no retries - known: deadline, recipe" in refusal("grpc://h:1/m?retries=3")


def test_an_address_says_where_and_what_and_how_long() -> None:
    address = read_address("http://[::1]:8000/a-model.v2?deadline=0.25&recipe=digits")
    assert (address.server, address.name) == ("http://[::1]:8000", "a-model.v2")
    assert (address.deadline_s, address.recipe) == (0.25, "digits")


def test_a_server_that_is_not_there_is_one_line_at_once(scheme: str) -> None:
    port, started_s = free_port(), time.monotonic()
    assert f"no server answers at {scheme}://127.0.0.1:{port} - start" in refusal(
        f"{scheme}://127.0.0.1:{port}/m"
    )
    assert time.monotonic() - started_s < 4


@pytest.mark.parametrize(("asked", "there"), [("grpc", "http"), ("http", "grpc")])
def test_the_other_protocols_port_is_one_line(asked: str, there: str) -> None:
    with serving(there) as server:
        assert f"{asked}://127.0.0.1:{server.port}" in refusal(f"{asked}://127.0.0.1:{server.port}/colours")


def test_an_unknown_model_is_one_line_in_the_servers_words(server: OipServer) -> None:
    assert "there is no shapes" in refusal(server.address().replace("colours", "shapes"))


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ([("i", "UINT8", [-1, 4, 6])], None, "input is [1, 4, 6]"),
        ([("i", "UINT8", [-1, 4, 6, 4])], None, "input is [1, 4, 6, 4]"),
        ([("i", "UINT8", [2, 4, 6, 3])], None, "input is [2, 4, 6, 3]"),
        ([("i", "UINT8", [-1, -1, -1, 3])], None, "input is [1, -1, -1, 3]"),
        ([("i", "UINT8", [-1, 8, 6, 3])], None, "takes pictures of 6x8, the catalogue says (6, 4)"),
        ([("i", "UINT8", [-1, 4, 6, 1])], None, "it takes 1 channels, the catalogue's recipe is RGB"),
        ([("i", "INT64", [-1, 4, 6, 3])], None, "input type INT64 is not UINT8, INT8 or FP32"),
        ([("i", "BYTES", [-1, 4, 6, 3])], None, "input type BYTES"),
        ([("i", "FP16", [-1, 4, 6, 3])], None, "input type FP16"),
        ([("i", "UINT8", [-1, 4, 6, 3])] * 2, None, "2 inputs"),
        ([], None, "0 inputs"),
        (None, [("s", "FP32", [-1, 3])] * 2, "2 outputs"),
        (None, [("s", "FP32", [-1, 3, 3])], "shape [1, 3, 3]"),
        (None, [("s", "FP32", [-1, -1])], "shape [1, -1]"),
        (None, [("s", "INT64", [-1, 3])], "scores are of type INT64"),
        (None, [], "0 outputs"),
    ],
)
def test_a_model_that_the_recipe_is_not_for_is_one_line(
    server: OipServer,
    inputs: list[tuple[str, str, list[int]]] | None,
    outputs: list[tuple[str, str, list[int]]] | None,
    expected: str,
) -> None:
    if inputs is not None:
        server.served.inputs = inputs
    if outputs is not None:
        server.served.outputs = outputs
    message = refusal(server.address())
    assert expected in message
    assert f"colours on {server.scheme}://127.0.0.1:{server.port}" in message


def test_a_name_is_no_address_and_another_backend_runs_no_address() -> None:
    with pytest.raises(ModelError, match="remote runs a model on a server - write --model grpc://"):
        load_model(ModelWish(BUILT_IN, "remote"))
    with pytest.raises(ModelError, match="is run by remote, not by tflite"):
        load_model(ModelWish("grpc://host:8001/colours", "tflite"))


def test_the_program_ends_at_once_in_one_line_if_nobody_is_there() -> None:
    with labelcam(
        "--source", "demo:", "--port", "0", "--model", f"grpc://127.0.0.1:{free_port()}/m"
    ) as program:
        assert program.ends() == 1
        assert re.fullmatch(
            r"labelcam: no server answers at grpc://\S+ - start the server, .*\n", program.errors
        )


# While it answers.


@pytest.mark.parametrize("kind", ["UINT8", "INT8", "FP32"])
def test_pixels_travel_raw_in_the_servers_type_and_colours_are_named(server: OipServer, kind: str) -> None:
    seen = []

    def answer(pixels: Array) -> Array:
        seen.append(pixels)
        return colours(pixels.astype(np.float32) + (128 if kind == "INT8" else 0))

    server.served.inputs = [("image", kind, [-1, 4, 6, 3])]
    server.served.answer = answer
    with asking(server.address()) as (backend, _):
        for place, picture in enumerate((RED, plain(0, 255, 0), plain(255, 0, 0))):
            assert backend.infer(backend.prepare(picture)).argmax() == place, "red, green, blue"
    assert {pixels.shape for pixels in seen} == {(1, 4, 6, 3)}
    assert seen[0].max() == (127 if kind == "INT8" else 255)
    assert set(server.served.asked) == {"raw" if server.scheme == "grpc" else "binary"}
    assert server.served.most_under_way == 1


def test_a_float_model_gets_the_recipes_values_and_channels_first_where_it_wants_them(
    server: OipServer,
) -> None:
    seen = []

    def answer(pixels: Array) -> Array:
        seen.append(pixels)
        return colours(pixels.transpose(0, 2, 3, 1) + 1)

    server.served.inputs = [("image", "FP32", [1, 3, 4, 6])]
    server.served.answer = answer
    with asking(server.address(), Recipe((6, 4), mean=(127.5,), std=(127.5,))):
        assert seen[0].shape == (1, 3, 4, 6)
        assert seen[0][0, :, 0, 0].tolist() == [1, -1, -1]


def test_integer_scores_are_those_of_a_softmax(server: OipServer) -> None:
    server.served.outputs = [("scores", "INT8", [-1, 3])]
    server.served.answer = lambda pixels: (colours(pixels) * 255 - 128).astype(np.int8)
    model = load_model(ModelWish(server.address()))
    (best, *_) = model.reading.top(model.backend.infer(model.backend.prepare(RED)))
    assert best.index == 0
    assert best.score == pytest.approx(1, abs=0.02)
    assert "in 256ths" in (model.backend.facts().note or "")
    model.backend.close()


def test_json_is_sent_only_where_nothing_else_is_offered_and_then_it_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving("http", Served(binary=False)) as server, asking(server.address()) as (backend, red):
        for _ in range(3):
            backend.infer(red)
        assert set(server.served.asked) == {"json"}
        assert "as JSON only" in (backend.facts().note or "")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


def test_a_model_of_the_catalogue_by_its_name_or_said_to_be_has_its_recipe_and_labels(
    server: OipServer,
) -> None:
    spec = find_spec(BUILT_IN)
    server.served.inputs = [("image", "UINT8", [-1, 224, 224, 3])]
    server.served.outputs = [("scores", "FP32", [-1, 1000])]
    server.served.answer = lambda pixels: np.eye(1, 1000, 88, dtype=np.float32)
    for name, query in ((BUILT_IN, ""), ("mine", f"?recipe={BUILT_IN}")):
        server.served.name = name
        model = load_model(ModelWish(server.address(query)))
        assert model.backend.facts().recipe == spec.recipe
        assert model.reading.top(model.backend.infer(model.backend.prepare(RED)))[0].label == "macaw"
        assert model.record()["model"] == name
        assert model.record()["device"] == f"{server.scheme}://127.0.0.1:{server.port}"
        model.backend.close()
    own = load_model(ModelWish(server.address()))
    assert own.reading.top(own.backend.infer(own.backend.prepare(RED)))[0].label != "macaw"
    own.backend.close()


def test_labels_of_ones_own_name_the_classes(server: OipServer, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    model = load_model(ModelWish(server.address(), labels=tmp_path / "labels.txt"))
    assert model.reading.top(model.backend.infer(model.backend.prepare(RED)))[0].label == "red"
    model.backend.close()


def test_the_servers_time_and_the_rest_are_told_apart_where_it_says_its_own(server: OipServer) -> None:
    server.served.delay_s, server.served.compute_us = 0.02, 15_000
    with asking(server.address()) as (backend, red):
        assert backend.device_us == 15_000
        assert 4_000 < (backend.net_us or 0) < 500_000
        for lie in (None, -1, 10**9):
            server.served.compute_us = lie
            backend.infer(red)
            assert {backend.device_us, backend.net_us} == {None}


# Its weather.


def test_an_answer_beyond_the_deadline_is_none_and_is_never_the_next_ones(server: OipServer) -> None:
    with asking(server.address("?deadline=0.2")) as (backend, red):
        server.served.delay_s = 0.5
        started_s = time.monotonic()
        assert "has not answered within 0.2 s" in no_answer(backend, red)
        assert 0.15 < time.monotonic() - started_s < 0.4
        server.served.delay_s = 0
        server.served.answer = lambda pixels: np.array([[0, 0, 1]], np.float32)
        green = backend.prepare(plain(0, 255, 0))
        until_s = time.monotonic() + 5
        while time.monotonic() < until_s:
            try:
                assert backend.infer(green).argmax() == 2, "the late answer, red"
                break
            except NoAnswer:
                time.sleep(0.01)
        assert server.served.most_under_way <= 2, "the server's own: it does not know that nobody waits"


def test_an_answer_that_comes_a_byte_at_a_time_is_late_too() -> None:
    with serving("http") as server, asking(server.address("?deadline=0.2")) as (backend, red):
        server.served.drip_s = 0.05
        started_s = time.monotonic()
        assert "within 0.2 s" in no_answer(backend, red)
        assert time.monotonic() - started_s < 0.4


def test_a_server_that_is_gone_is_asked_ever_more_rarely_and_used_again_when_it_is_back(
    server: OipServer,
) -> None:
    with asking(server.address()) as (backend, red):
        server.stop()
        tries = list[float]()
        with hanging_up(server.port, tries):
            until_s = time.monotonic() + 5.2
            while time.monotonic() < until_s:
                assert "no server answers" in no_answer(backend, red)
                time.sleep(0.005)
        gaps = np.diff(tries)
        assert len(tries) in (6, 7)  # after 0.1, 0.2, 0.4, 0.8, 1.6, 1.6 s
        assert (gaps[1:4] > 1.5 * gaps[:3]).all(), "it doubles"
        assert gaps.max() <= LONGEST_WAIT_S + 0.2
        server.start()
        assert until_answered(backend, red) < 2


@contextmanager
def hanging_up(port: int, tries: list[float]) -> Iterator[None]:
    """What listens there takes nobody's question, and notes who comes when."""
    with socket.create_server(("127.0.0.1", port)) as listening:

        def work() -> None:
            with suppress(OSError):  # the end
                while True:
                    listening.accept()[0].close()
                    tries.append(time.monotonic())

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_idle_connection_that_the_server_has_closed_costs_no_answer() -> None:
    with serving("http") as server, asking(server.address()) as (backend, red):
        server.stop()
        server.start()
        assert backend.infer(red).argmax() == 0


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"refuses": "out of memory"}, "out of memory"),
        ({"answer": lambda pixels: np.full((1, 3), np.nan, np.float32)}, "not numbers"),
        ({"answer": lambda pixels: np.ones((1, 4), np.float32)}, "not what it has announced"),
        ({"outputs": [("scores", "FP16", [-1, 3])]}, ""),
        ({"outputs": [("other", "FP32", [-1, 3])]}, ""),
    ],
)
def test_an_answer_that_is_none_is_weather_and_passes(
    server: OipServer, what: dict[str, object], expected: str
) -> None:
    with asking(server.address()) as (backend, red):
        before = {name: getattr(server.served, name) for name in what}
        for name, value in what.items():
            setattr(server.served, name, value)
        assert expected in no_answer(backend, red)
        for name, value in before.items():
            setattr(server.served, name, value)
        assert until_answered(backend, red) < 2


def test_a_server_that_comes_back_with_another_model_gives_no_answer(server: OipServer) -> None:
    with asking(server.address()) as (backend, red):
        server.stop()
        no_answer(backend, red)
        server.served.inputs = [("image", "UINT8", [-1, 8, 6, 3])]
        server.start()
        wait_for(lambda: "is another model now" in no_answer(backend, red))


# Around it: the video.


@contextmanager
def watching(made: Running) -> Iterator[Viewing]:
    viewing = made.station.status.hub.watch()
    try:
        yield viewing
    finally:
        viewing.leave()


def test_a_server_that_goes_and_comes_takes_its_answers_along_and_the_video_goes_on(
    server: OipServer, tmp_path: Path
) -> None:
    server.served.compute_us = 1
    with running(ModelWish(server.address("?deadline=0.5"))) as made:
        status, classify = made.station.status, made.station.pipeline.classify
        wait_for(lambda: status.unready() is None and len(made.of("frame")) > 5)
        with watching(made) as viewing:
            server.stop()
            wait_for(lambda: status.answer() is None)
            before = made.station.pipeline.capture.count
            wait_for(lambda: made.station.pipeline.capture.count > before + 40)
            assert status.answer() is None
            assert "no server answers" in (status.unready() or "")
            state = status.state()
            assert state["online"]
            assert state["frames"]["unanswered"] > 10
            assert state["remarks"][0].startswith("no answer for ")
            picture = viewing.newest
            assert picture is not None
            assert (picture.answer_seq, picture.best) == (None, None)
            assert picture.seq is not None
            assert picture.seq > before
            server.start()
            assert wait_for(lambda: status.answer() is not None) < 2.5
            wait_for(lambda: viewing.newest is not None and viewing.newest.best is not None)
        assert classify.silence is None
        assert status.unready() is None
        assert status.state()["remarks"] == ()
        assert [record["event"] for record in made.of("event")] == ["connect", "unanswered", "answered"]
        assert re.search(r"after \d+\.\d s, \d+ frames unanswered", made.of("event")[-1]["detail"])
        frames = made.of("frame")
    assert all(record["net_us"] >= 0 for record in frames)
    counted = len(frames) + classify.unanswered + classify.skipped
    assert made.station.pipeline.capture.count - counted in (0, 1, 2), "the last ones were not asked about"


def test_no_answer_is_older_than_its_deadline_while_the_server_hangs(server: OipServer) -> None:
    with running(ModelWish(server.address("?deadline=0.5"))) as made:
        status, ages = made.station.status, list[float]()
        wait_for(lambda: status.unready() is None)
        server.served.delay_s = 3
        until_s = time.monotonic() + 2
        while time.monotonic() < until_s:
            answer = status.answer()
            if answer is not None:
                ages.append(answer["age_s"])
            time.sleep(0.005)
        assert status.answer() is None
        assert max(ages) < 0.5 + 0.25
        server.served.delay_s = 0
        assert wait_for(lambda: status.answer() is not None) < 2.5


def test_only_classified_pictures_give_way_to_live_ones_without_answer(server: OipServer) -> None:
    with running(ModelWish(server.address()), policy=Policy(show="classified")) as made:
        wait_for(lambda: made.station.status.unready() is None)
        with watching(made) as viewing:
            wait_for(lambda: viewing.newest is not None and viewing.newest.best is not None)
            server.stop()
            wait_for(lambda: viewing.newest is not None and viewing.newest.best is None)
            first = viewing.newest
            time.sleep(3 * IDLE_S)
            assert first is not None
            assert viewing.newest is not None
            assert (viewing.newest.seq or 0) > (first.seq or 0)
            server.start()
            wait_for(lambda: viewing.newest is not None and viewing.newest.best is not None)


def test_another_model_can_be_switched_to_while_the_server_is_gone_and_back_when_it_is_there(
    server: OipServer,
) -> None:
    with running(ModelWish(server.address())) as made:
        wait_for(lambda: made.station.status.unready() is None)
        server.stop()
        wait_for(lambda: made.station.status.answer() is None)
        made.changes(model="digits", backend="tflite")
        assert made.switch.settings.backend == "tflite"
        wait_for(lambda: made.station.status.answer() is not None)
        assert made.station.status.state()["remarks"] == ()
        made.changes(model="colours", backend="remote")
        assert "no server answers" in (made.switch.progress.error or "")
        assert made.switch.settings.backend == "tflite"
        server.start()
        made.changes(model="colours", backend="remote")
        assert made.switch.progress.error is None
        assert made.switch.settings.backend == "remote"
        events = [record["event"] for record in made.of("event")]
        assert events.index("unanswered") < events.index("answered") < events.index("switch_failed")
        assert sorted(events) == ["answered", "connect", "switch", "switch", "switch_failed", "unanswered"]


def test_with_every_frame_a_server_that_goes_ends_the_run_as_no_frame_may_be_left_out(
    server: OipServer,
) -> None:
    def run() -> None:
        with running(ModelWish(server.address()), policy=Policy(every_frame=True)) as made:
            wait_for(lambda: len(made.of("frame")) > 3)
            server.stop()
            made.station.pipeline.join(10)

    with pytest.raises(NoAnswer, match="no server answers"):
        run()


def test_a_dozen_deaths_of_the_server_end_nothing_and_the_log_can_be_compared(tmp_path: Path) -> None:
    log = tmp_path / "remote.jsonl"
    with serving("grpc", Served(compute_us=1)) as server:
        options = (
            "--source",
            "demo:",
            "--port",
            "0",
            "--log",
            log,
            "--model",
            server.address("?deadline=0.3"),
        )
        with labelcam(*options) as program:
            wait_for(lambda: ask(program.address, "/readyz").status == 200)
            for _ in range(12):
                server.stop()
                wait_for(lambda: ask(program.address, "/api/state").json["answer"] is None)
                assert ask(program.address, "/readyz").status == 503
                assert ask(program.address, "/healthz").status == 200
                server.start()
                assert wait_for(lambda: ask(program.address, "/readyz").status == 200) < 2.5
            state = ask(program.address, "/api/state").json
            assert [event["event"] for event in state["events"]][-2:] == ["unanswered", "answered"]
            dropped = 'labelcam_frames_dropped_total{camera="1",reason="unanswered"}'
            figures = ask(program.address, "/metrics").body.decode()
            assert f"{dropped} {state['frames']['unanswered']}" in figures
            program.stop()
            assert program.ends() == 0
            assert program.errors.count("no answer: no server answers") == 12
    (series,) = read_series(log).series
    assert series.n > 12
    assert series.key["backend"] == "remote"


def test_one_request_is_under_way_at_a_time_however_many_frames_come(server: OipServer) -> None:
    server.served.delay_s = 0.1
    with running(ModelWish(server.address())) as made:
        wait_for(lambda: len(made.of("frame")) > 10)
        assert made.station.pipeline.classify.skipped > 10
    assert server.served.most_under_way == 1
    assert threading.active_count() < 50


# The fallback.


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fallback", "digits"),
        ("--model", "digits", "--fallback", "digits"),
        ("--model", "grpc://127.0.0.1:1/x", "--fallback", "grpc://127.0.0.1:2/x"),
    ],
)
def test_a_fallback_is_of_this_machine_for_a_model_on_a_server(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse([*arguments])
    assert end.value.code == 2
    assert "--fallback is a model of this machine" in capsys.readouterr().err


def test_a_fallback_that_cannot_be_loaded_is_told_at_the_start(server: OipServer) -> None:
    with labelcam("--port", "0", "--model", server.address(), "--fallback", "no_such.tflite") as program:
        assert program.ends() == 1
        assert program.errors.startswith("labelcam: cannot read the model no_such.tflite")
        assert program.errors.count("\n") == 1


def test_a_fallback_answers_under_its_own_name_until_the_server_does_again(
    server: OipServer, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    options = ("--port", "0", "--source", "demo:", "--log", log, "--model", server.address())
    with labelcam(*options, "--fallback", BUILT_IN, "--smoothing", "0.5") as program:

        def state() -> Any:
            return ask(program.address, "/api/state").json

        def answered_by(model: str) -> bool:
            answer = state()["answer"]
            return bool(answer and answer["model"] == model)

        for _ in range(3):
            wait_for(lambda: answered_by("colours"))
            server.stop()
            wait_for(lambda: answered_by(BUILT_IN))
            now = state()
            assert (now["model"], now["answer"]["backend"]) == (BUILT_IN, "tflite")
            assert now["settings"]["model"] == "colours"
            assert re.match(r"the fallback has answered for \d s: no server answers", now["remarks"][0])
            assert ask(program.address, "/readyz").status == 200
            wait_for(lambda: state()["frames"]["unanswered"] > now["frames"]["unanswered"] + 5)  # noqa: B023
            assert state()["answer"]["age_s"] < 0.5
            server.start()
            assert wait_for(lambda: answered_by("colours")) < 2.5
            assert state()["remarks"] == []
        program.stop()
        assert program.ends() == 0
    records = list(read_log(log))
    giver = ""
    for record in records:
        if record["rec"] == "run":
            giver = record["model"]
        elif record["rec"] == "frame":
            assert record["top"][0][1].startswith("class ") == (giver == "colours")
    assert {series.key["model"] for series in read_series(log).series} == {"colours", BUILT_IN}
    events = [record["event"] for record in records if record["rec"] == "event"]
    assert events.count("unanswered") == events.count("answered") == 3


def test_the_page_says_who_answers_though_both_have_one_name(browser: Browser) -> None:
    def macaw(pixels: Array) -> Array:
        return np.eye(1, 1000, 88, dtype=np.float32)

    image, scores = ("image", "UINT8", [-1, 224, 224, 3]), ("scores", "FP32", [-1, 1000])
    with ExitStack() as stack:
        server = stack.enter_context(serving("grpc", Served(BUILT_IN, [image], [scores], macaw)))
        options = ("--port", "0", "--source", "demo:", "--model", server.address())
        program = stack.enter_context(labelcam(*options, "--fallback", BUILT_IN))
        tab = stack.enter_context(opened(browser, program.url))
        for _ in range(2):
            wait_for(lambda: tab.text("#top li:first-child .name").startswith("macaw"))
            wait_for(lambda: "by the fallback" not in tab.text("#answer-frame"))
            server.stop()
            wait_for(lambda: f"by the fallback, {BUILT_IN} on tflite" in tab.text("#answer-frame"))
            wait_for(lambda: "the fallback has answered for" in tab.text("body"))
            server.start()


def test_while_a_server_hangs_the_fallback_answers_most_frames(server: OipServer) -> None:
    wish = ModelWish(server.address("?deadline=0.3"), fallback="digits", threads=1)
    with running(wish) as made:
        status = made.station.status
        wait_for(lambda: status.unready() is None)
        server.served.delay_s = 5
        wait_for(lambda: status.switched.model.name == "digits")
        before = len(made.of("frame"))
        time.sleep(3)
        assert len(made.of("frame")) - before > 30  # of 90; each try of the server costs nine
        server.served.delay_s = 0
        assert wait_for(lambda: status.switched.model.name == "colours") < 2.5


def test_a_switch_leaves_the_fallback_and_comes_back_to_it(server: OipServer) -> None:
    with running(ModelWish(server.address(), fallback="digits")) as made:
        status = made.station.status
        wait_for(lambda: status.unready() is None)
        server.stop()
        wait_for(lambda: status.switched.model.name == "digits")
        made.changes(model=BUILT_IN, backend="tflite")
        wait_for(lambda: (status.answer() or {}).get("model") == BUILT_IN)
        assert status.state()["remarks"] == ()
        server.start()
        made.changes(model="colours", backend="remote")
        wait_for(lambda: (status.answer() or {}).get("model") == "colours")
        server.stop()
        wait_for(lambda: (status.answer() or {}).get("model") == "digits")
