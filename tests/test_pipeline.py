"""The three loops together, with real sources and models: how they end, what they show and record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from inspect import GEN_CLOSED, getgeneratorstate
from itertools import count, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from backends import Backend, BackendFacts
from backends.base import Tensor
from models.catalogue import BUILT_IN
from models.errors import ModelError
from models.recipe import Image, as_image
from models.scores import Reading, Scores
from stream import demo
from stream.capture import Capture, Patience
from stream.classify import Classify, Work, prepare
from stream.frames import Answer, Frame, Picture, Shot
from stream.hub import OWN, Hub
from stream.latest import Latest
from stream.loading import Model, ModelWish, load_model
from stream.log import Record
from stream.pipeline import Pipeline, Policy
from stream.render import IDLE_S, Render
from stream.sources import Source, SourceError, Wish, open_source
from tests.network_camera import NetworkCamera, free_port
from tests.test_sources import NOON, write_clip, write_picture
from tests.tiny_models import COLOURS, INT8, write_tiny

PATIENCE_S = 30.0
"""For what must happen on a busy machine too; nothing waits so long when all is well."""

SMALL = (320, 240)
DEMO = Wish(SMALL, 30)


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = load_model(ModelWish(BUILT_IN, threads=1))
    yield model
    model.backend.close()


class Wrapped:
    """A backend that does something else before each inference; the number of the inference is given."""

    def __init__(self, backend: Backend, before: Callable[[int], object]) -> None:
        self._backend, self._before, self._numbers = backend, before, count()

    def prepare(self, image: Image) -> Tensor:
        return self._backend.prepare(image)

    def infer(self, tensor: Tensor) -> Scores:
        self._before(next(self._numbers))
        return self._backend.infer(tensor)

    def facts(self) -> BackendFacts:
        return self._backend.facts()

    def close(self) -> None:
        self._backend.close()


def no_other_source(again: str) -> Source:
    raise AssertionError("nobody asked for another source")


@dataclass
class Road:
    """A running pipeline and what it has told."""

    pipeline: Pipeline
    hub: Hub
    records: list[Record] = field(default_factory=list)

    def of(self, kind: str) -> list[Record]:
        return [record for record in list(self.records) if record["rec"] == kind]

    def events(self) -> list[str]:
        return [str(record["event"]) for record in self.of("event")]

    def ended(self) -> None:
        """Wait for its end, and raise what it raises."""
        self.pipeline.join(PATIENCE_S)
        assert not self.pipeline.alive

    def until(self, what: Callable[[], object]) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < until_s, "it never happens"
            time.sleep(0.01)


@contextmanager
def running(
    source: Source | None,
    model: Model | tuple[Backend, Reading],
    *,
    open_again: Callable[[str], Source] = no_other_source,
    always: bool = False,
    policy: Policy | None = None,
    patience: Patience | None = None,
) -> Iterator[Road]:
    backend, reading = (model.backend, model.reading) if isinstance(model, Model) else model
    policy, hub = policy or Policy(), Hub(always)
    records: list[Record] = []
    pipeline = Pipeline(
        source,
        open_again,
        Work(backend, reading, policy.smoothing),
        policy,
        hub,
        records.append,
        patience=patience or Patience(),
    )
    pipeline.start()
    try:
        yield Road(pipeline, hub, records)
    finally:
        pipeline.stop()
        with suppress(Exception):  # the test has seen it, if it wanted to
            pipeline.join(PATIENCE_S)
        for thread in pipeline._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a loop outlives its stop"


def made(
    shots: Generator[Shot, None, None], *, live: bool = False, paced: bool = False, fps: float | None = None
) -> Source:
    return Source("made", "made", SMALL, fps, live, paced, shots)


def numbered(
    images: int, leave: Callable[[int], object] = lambda number: None
) -> Generator[Shot, None, None]:
    for number in range(images):
        leave(number)
        yield Shot(demo.draw(number, NOON, SMALL))


@contextmanager
def watching(hub: Hub) -> Iterator[Iterator[Picture]]:
    """Count as a viewer; inside, iterate over the newest picture, until the hub closes."""
    viewing = hub.watch()

    def pictures() -> Iterator[Picture]:
        seen, until_s = viewing.stale, time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            closed, newest = viewing.closed, viewing.newest
            if newest is not None and newest is not seen:
                seen, until_s = newest, time.monotonic() + PATIENCE_S
                yield newest
            elif closed:
                return
            else:
                time.sleep(0.002)
        raise AssertionError("no picture comes, and no end")

    try:
        yield pictures()
    finally:
        viewing.leave()


def first(pictures: Iterator[Picture], wanted: Callable[[Picture], bool]) -> Picture:
    until_s = time.monotonic() + PATIENCE_S
    for picture in pictures:
        if wanted(picture):
            return picture
        assert time.monotonic() < until_s, "it never comes"
    raise AssertionError("the stream ended")


def decoded(picture: Picture) -> Image:
    return as_image(cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR))


# What goes wrong.


@pytest.mark.parametrize("every_frame", [False, True])
@pytest.mark.parametrize("error", [ValueError("of the fifth frame"), ModelError("of the fifth frame")])
def test_an_error_in_the_model_ends_everything_and_join_raises_it(
    model: Model, every_frame: bool, error: Exception
) -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise error

    source = open_source("demo:", DEMO)
    policy = Policy(every_frame=every_frame)
    with running(source, (Wrapped(model.backend, fail), model.reading), always=True, policy=policy) as road:
        with watching(road.hub) as pictures:
            list(pictures)  # ends
        with pytest.raises(type(error), match="of the fifth frame"):
            road.ended()
        assert len(road.of("frame")) == 5
        assert getgeneratorstate(source.shots) == GEN_CLOSED, "the source was not closed"
        with pytest.raises(type(error)):
            road.pipeline.join()


@pytest.mark.parametrize("error", [SourceError("the third is broken"), OSError("the third is broken")])
def test_an_error_in_a_source_that_is_not_live_ends_everything_and_join_raises_it(
    model: Model, error: Exception
) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise error

    with running(made(numbered(10, fail)), model, policy=Policy(every_frame=True)) as road:
        with pytest.raises(type(error), match="the third is broken"):
            road.ended()
        assert [record["seq"] for record in road.of("frame")] in ([0, 1], [0, 1, 2])


def test_an_error_that_is_not_expected_of_a_camera_is_not_retried(model: Model) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise MemoryError("a bug")

    with running(made(numbered(3, fail), live=True), model) as road:
        with pytest.raises(MemoryError, match="a bug"):
            road.ended()
        assert road.events() == ["connect"]


@pytest.mark.parametrize("every_frame", [False, True])
def test_a_picture_too_large_for_a_jpeg_ends_everything_in_one_line(model: Model, every_frame: bool) -> None:
    wide = np.zeros((4, 70_000, 3), np.uint8)  # JPEG ends at 65,500
    source = made((Shot(wide) for _ in range(1000)), paced=True, fps=30)
    with running(source, model, always=True, policy=Policy(every_frame=every_frame)) as road:
        with pytest.raises(SourceError, match="a picture of 70000x4 is too large for JPEG"):
            road.pipeline.join(PATIENCE_S)
        road.until(lambda: not any(thread.is_alive() for thread in road.pipeline._threads))
        assert len(road.of("frame")) < 1000


@pytest.mark.parametrize("every_frame", [False, True])
def test_stop_ends_it_from_any_thread_and_ends_the_viewers(model: Model, every_frame: bool) -> None:
    source = open_source("demo:", DEMO)
    with running(source, model, policy=Policy(every_frame=every_frame)) as road:
        with watching(road.hub) as pictures:
            next(pictures)
            assert road.pipeline.alive
            stopper = threading.Thread(target=road.pipeline.stop)
            stopper.start()
            for _ in pictures:
                pass
            stopper.join()
        road.ended()
        assert getgeneratorstate(source.shots) == GEN_CLOSED, "the source was not closed"


@pytest.mark.parametrize("every_frame", [False, True])
def test_stop_does_not_wait_for_a_source_that_blocks(model: Model, every_frame: bool) -> None:
    release = threading.Event()

    def block(number: int) -> None:
        if number == 2:
            release.wait(PATIENCE_S)

    with running(made(numbered(5, block), live=True), model, policy=Policy(every_frame=every_frame)) as road:
        try:
            road.until(lambda: len(road.of("frame")) == 2 or road.pipeline.classify.skipped)
            started_s = time.monotonic()
            road.pipeline.stop()
            road.pipeline.join(1.0)
            assert time.monotonic() - started_s < 5
            alive = [thread.name for thread in road.pipeline._threads if thread.is_alive()]
            assert alive == ["capture"], "only the one that the driver holds"
        finally:
            release.set()


def test_stop_does_not_wait_for_the_pace_or_the_next_attempt(model: Model) -> None:
    slow = made(numbered(5), paced=True, fps=0.01)
    with running(slow, model) as road:
        road.until(lambda: road.of("frame"))
        road.pipeline.stop()
        road.ended()

    def refuse(again: str) -> Source:
        raise SourceError("no camera yet")

    with running(None, model, open_again=refuse) as road:
        road.until(lambda: road.pipeline.capture.fault() == "no camera yet")
        road.pipeline.stop()
        road.ended()


# A camera comes and goes.


def test_a_camera_that_is_lost_is_tried_again_and_viewers_see_why(model: Model) -> None:
    camera = NetworkCamera()
    url = camera.url.replace("//", "//me:secret@")
    with running(open_source(url, Wish()), model, open_again=lambda again: open_source(url, Wish())) as road:
        try:
            with watching(road.hub) as pictures:
                assert first(pictures, lambda picture: picture.seq is not None).seq is not None
                assert road.pipeline.capture.fault() is None
                camera.close()
                dark = first(pictures, lambda picture: picture.seq is None)
                assert decoded(dark).shape == (240, 320, 3)
                assert dark.answer_seq is None
                fault = road.pipeline.capture.fault()
                assert fault
                assert fault.startswith(f"no video comes from {camera.url}") or fault.endswith(
                    "stopped delivering"
                )
                camera = NetworkCamera(port=camera.port)
                assert first(pictures, lambda picture: picture.seq is not None).seq is not None
                assert road.pipeline.capture.fault() is None
                assert road.events() == ["connect", "lost", "connect"]
        finally:
            camera.close()
        assert road.of("event")[1]["detail"] == f"{camera.url} stopped delivering"
        assert "secret" not in str(road.records)
        seqs = [record["seq"] for record in road.of("frame")]
        assert seqs == sorted(set(seqs)), "numbers go on after a loss"


def test_a_camera_that_falls_silent_is_noticed_and_recovers(model: Model) -> None:
    goes_on = threading.Event()

    def stall(number: int) -> None:
        time.sleep(0.02)
        if number == 5:
            goes_on.wait(PATIENCE_S)

    with running(made(numbered(10_000, stall), live=True, fps=30), model) as road:
        with watching(road.hub) as pictures:
            first(pictures, lambda picture: picture.seq is not None)
            first(pictures, lambda picture: picture.seq is None)
            assert "has delivered nothing for" in str(road.pipeline.capture.fault())
            road.until(lambda: "stall" in road.events())
            goes_on.set()
            assert (first(pictures, lambda picture: picture.seq is not None).seq or 0) >= 5
            assert road.pipeline.capture.fault() is None
        road.until(lambda: "resume" in road.events())
        assert road.events() == ["connect", "stall", "resume"]


def test_without_a_camera_it_waits_and_says_why(model: Model) -> None:
    attempts = count()

    def later(again: str) -> Source:
        if next(attempts) < 3:
            raise SourceError("there is no camera yet")
        return made(numbered(10_000, lambda number: time.sleep(0.02)), live=True)

    with running(None, model, open_again=later) as road:
        assert road.pipeline.capture.fault() in ("waiting for the camera", "there is no camera yet")
        with watching(road.hub) as pictures:
            dark = first(pictures, lambda picture: True)
            assert dark.seq is None
            assert decoded(dark).shape == (480, 640, 3)
            road.until(lambda: road.pipeline.capture.fault() == "there is no camera yet")
            assert not road.of("frame")
            assert first(pictures, lambda picture: picture.seq is not None).seq is not None
        assert road.pipeline.capture.fault() is None
        assert road.events() == ["connect"]
        assert next(attempts) == 4


def test_a_refused_connection_is_tried_again_until_stopped(model: Model) -> None:
    url = f"http://127.0.0.1:{free_port()}/video"
    with running(None, model, open_again=lambda again: open_source(url, Wish())) as road:
        road.until(lambda: "no video comes from" in str(road.pipeline.capture.fault()))
        assert road.pipeline.alive


# Every frame.


def test_every_frame_of_a_clip_is_classified_and_shown_once_and_in_order(
    model: Model, tmp_path: Path
) -> None:
    source = open_source(str(write_clip(tmp_path / "clip.avi", 60, fps=0.5)), Wish())
    shown: list[int | None] = []
    with running(source, model, always=True, policy=Policy(every_frame=True)) as road:
        publish = road.hub.publish

        def see(pictures: Mapping[int, Picture]) -> None:
            shown.append(demo.read_seq(decoded(pictures[OWN])))
            publish(pictures)

        # The clip would take two minutes at its own pace.
        road.hub.publish = see  # type: ignore[method-assign]
        road.ended()
    assert [record["seq"] for record in road.of("frame")] == list(range(60))
    assert {record["skip"] for record in road.of("frame")} == {0}
    assert [(record["seq"], record["answer"]) for record in road.of("video")] == [
        (number, number) for number in range(60)
    ]
    assert shown == list(range(60))[-len(shown) :]
    assert len(shown) > 50
    assert road.events() == ["connect"]


class Eager(Latest[Answer]):
    """Puts the next answer at the worst moment: when this one has been taken, and not yet been looked at."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__()
        self._later = answers
        self.put(self._later.pop(0))

    def ticks(self, idle_s: float | None, seen: int = 0) -> Iterator[Answer | None]:
        for answer in super().ticks(idle_s, seen):
            if self._later:
                self.put(self._later.pop(0))
            else:
                self.close()
            yield answer


def test_no_answer_is_lost_between_the_classifier_and_the_painter(model: Model) -> None:
    frames, hub, records = Latest[Frame](), Hub(always=True), list[Record]()
    source = made(numbered(5))
    capture = Capture(source, no_other_source, frames, None, records.append, threading.Event(), Patience())
    made_frames = [Frame(number, demo.draw(number, NOON, SMALL), number, 0.0) for number in range(5)]
    prepared = prepare(made_frames[0].image, model.backend)
    answers = Eager([Answer(frame, (), 0, prepared, 0, 0, 0) for frame in made_frames])
    work = Work(model.backend, model.reading)
    classify = Classify(work, None, frames, answers, True, records.append)
    frames.put(made_frames[-1])
    Render("classified", 80, capture, classify, frames, answers, hub, records.append, lambda: None).run()
    assert [(record["seq"], record["answer"]) for record in records] == [
        (number, number) for number in range(5)
    ]


def test_a_long_run_of_small_frames_loses_none(tmp_path: Path) -> None:
    tiny = load_model(ModelWish(str(write_tiny(tmp_path / "colours.tflite", INT8))))
    small = np.zeros((32, 32, 3), np.uint8)
    frames = 2000
    shots = (Shot(small) for _ in range(frames))
    with running(made(shots), tiny, always=True, policy=Policy(every_frame=True)) as road:
        road.ended()
    assert [record["seq"] for record in road.of("frame")] == list(range(frames))
    assert [record["seq"] for record in road.of("video")] == list(range(frames))


def test_a_model_that_takes_longer_than_a_camera_may_is_not_the_cameras_fault(model: Model) -> None:
    faults: list[str | None] = []

    def slow(number: int) -> None:
        if number == 1:
            time.sleep(2.5)  # frame 2 waits to be handed over, frame 1 is shown when this is over
            faults.append(road.pipeline.capture.fault())

    wrapped = (Wrapped(model.backend, slow), model.reading)
    with running(made(numbered(4)), wrapped, always=True, policy=Policy(every_frame=True)) as road:
        road.ended()
    assert faults == [None]
    assert [record["seq"] for record in road.of("video")] == [0, 1, 2, 3]
    assert road.events() == ["connect"]


def test_stills_are_recorded_with_their_names(model: Model, tmp_path: Path) -> None:
    for number, name in enumerate(["a.png", "b.png", "c.png"]):
        write_picture(tmp_path / name, number)
    with running(open_source(str(tmp_path), Wish()), model, policy=Policy(every_frame=True)) as road:
        road.ended()
    assert [(record["seq"], record["image"]) for record in road.of("frame")] == [
        (0, "a.png"),
        (1, "b.png"),
        (2, "c.png"),
    ]


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5)])
def test_a_picture_of_any_size_goes_the_whole_road(
    model: Model, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), 200, np.uint8))
    with running(open_source(str(path), Wish()), model, always=True, policy=Policy(every_frame=True)) as road:
        road.ended()
    assert len(road.of("frame")) == len(road.of("video")) == 1


# Live.


def test_a_slow_model_skips_frames_and_counts_them_and_the_video_goes_on(model: Model) -> None:
    slow = Wrapped(model.backend, lambda number: time.sleep(0.25))
    source = open_source("demo:", DEMO)
    policy = Policy(max_frames=6)
    with running(source, (slow, model.reading), always=True, policy=policy) as road:
        road.ended()
    frames, videos = road.of("frame"), road.of("video")
    expected = 0
    for record in frames:
        assert record["skip"] == record["seq"] - expected
        expected = record["seq"] + 1
    assert len(frames) == 6
    assert sum(record["skip"] for record in frames) == road.pipeline.classify.skipped > 6
    assert len(videos) > 3 * len(frames), "the video waits for the classifier"
    assert all(earlier["seq"] < later["seq"] for earlier, later in pairwise(videos))
    assert any(record["answer"] is None for record in videos[:3])
    answers = [record["answer"] for record in videos if record["answer"] is not None]
    assert answers == sorted(answers)
    assert all(record["infer_us"] >= 250_000 for record in frames)
    assert all(record["age_us"] >= record["infer_us"] + record["pre_us"] for record in frames)


@pytest.mark.parametrize("every_frame", [False, True])
@pytest.mark.parametrize("max_frames", [1, 7])
def test_it_ends_after_so_many_classified_frames(model: Model, every_frame: bool, max_frames: int) -> None:
    policy = Policy(every_frame=every_frame, max_frames=max_frames)
    with running(open_source("demo:", DEMO), model, always=True, policy=policy) as road:
        road.ended()
    assert len(road.of("frame")) == max_frames
    if every_frame:
        assert len(road.of("video")) == max_frames


def test_a_clip_goes_at_its_own_pace_and_its_end_is_the_end(model: Model, tmp_path: Path) -> None:
    source = open_source(str(write_clip(tmp_path / "clip.avi", 13, fps=20)), Wish())
    started_s = time.monotonic()
    with running(source, model) as road:
        with watching(road.hub) as pictures:
            seen = [picture.seq for picture in pictures]
        road.ended()
    assert time.monotonic() - started_s >= 12 / 20
    assert road.pipeline.capture.count == 13
    assert seen[-1] == 12
    assert seen == sorted(set(seen), key=seen.index)
    assert road.of("frame")[-1]["seq"] == 12, "the last frame is classified too"


def test_nothing_is_drawn_when_nobody_watches_and_each_frame_once_when_somebody_does(model: Model) -> None:
    with running(open_source("demo:", DEMO), model) as road:
        road.until(lambda: len(road.of("frame")) > 5)
        assert not road.of("video")
        with watching(road.hub) as pictures, watching(road.hub) as others:
            for _ in range(10):
                picture = next(pictures)
                assert demo.read_seq(decoded(picture)) == picture.seq
            assert next(others).seq is not None
        assert road.hub.viewers == 0
        road.until(lambda: len(road.of("frame")) > 20)
        classified = len(road.of("frame"))
        drawn = road.of("video")
        road.until(lambda: len(road.of("frame")) > classified + 5)
        assert len(road.of("video")) <= len(drawn) + 1, "drawing goes on without viewers"
    # A frame that stays, because this machine is starved, is drawn again once it has an answer of its own.
    shown = [(record["seq"], record["answer"]) for record in drawn]
    assert len(shown) >= 10
    assert shown == sorted(set(shown)), "a frame was drawn twice"
    assert {record["viewers"] for record in drawn[:9]} <= {1, 2}


def test_always_draws_for_nobody(model: Model) -> None:
    with running(open_source("demo:", DEMO), model, always=True) as road:
        road.until(lambda: len(road.of("video")) > 5)


def test_classified_shows_each_frame_with_its_own_answer(model: Model) -> None:
    slow = Wrapped(model.backend, lambda number: time.sleep(0.1))
    policy = Policy(show="classified")
    with (
        running(open_source("demo:", DEMO), (slow, model.reading), policy=policy) as road,
        watching(road.hub) as pictures,
    ):
        for _ in range(8):
            picture = next(pictures)
            assert picture.seq == picture.answer_seq == demo.read_seq(decoded(picture))
        classified = {record["seq"] for record in road.of("frame")}
        assert {record["seq"] for record in road.of("video")} <= classified


def test_a_new_viewer_of_a_slow_source_does_not_wait_for_its_next_picture(
    model: Model, tmp_path: Path
) -> None:
    for number, name in enumerate(["a.png", "b.png"]):
        write_picture(tmp_path / name, number)
    with running(open_source(str(tmp_path), Wish(fps=0.01)), model) as road:
        road.until(lambda: road.of("frame"))
        for _ in range(2):
            with watching(road.hub) as pictures:
                assert next(pictures).seq == 0
            time.sleep(4 * IDLE_S)  # the painter notices that nobody is there


def test_smoothing_outlasts_a_single_odd_frame(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS))
    path = write_tiny(tmp_path / "colours.tflite", INT8)
    model = load_model(ModelWish(str(path), labels=labels))
    red, green = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = green[..., 1] = 100
    film = [red] * 3 + [green] + [red] * 2 + [green] * 12

    def seen(smoothing: float) -> tuple[list[str], list[float]]:
        shots = (Shot(image) for image in film)
        policy = Policy(every_frame=True, smoothing=smoothing)
        with running(made(shots), model, policy=policy) as road:
            road.ended()
        best = [record["top"][0] for record in road.of("frame")]
        return [label for _, label, _ in best], [score for _, _, score in best]

    labels_seen, scores = seen(0.0)
    assert labels_seen == ["red"] * 3 + ["green"] + ["red"] * 2 + ["green"] * 12
    assert len(set(scores)) == 1
    labels_seen, scores = seen(0.8)
    assert labels_seen[:6] == ["red"] * 6
    assert labels_seen[-1] == "green"
    assert scores[3] == pytest.approx(0.8 * scores[2] + 0.2 * (1 - scores[2]) / 2, abs=0.06)


def test_a_source_is_closed_by_the_thread_that_reads_it(model: Model) -> None:
    closed_by: list[str] = []

    def shots() -> Generator[Shot, None, None]:
        try:
            yield from numbered(10_000, lambda number: time.sleep(0.01))
        finally:
            closed_by.append(threading.current_thread().name)

    with running(made(shots()), model) as road:
        road.until(lambda: road.of("frame"))
    assert closed_by == ["camera"]


def test_the_speed_of_camera_and_model_is_known(model: Model) -> None:
    with running(open_source("demo:", replace(DEMO, fps=20)), model) as road:
        road.until(lambda: road.pipeline.capture.count > 10)
        now_ns = time.monotonic_ns()
        assert 5 < (road.pipeline.capture.rate.per_second(now_ns) or 0) < 25
        assert 0 < (road.pipeline.classify.rate.per_second(now_ns) or 0) < 25


def test_each_still_is_shown_with_its_own_answer(model: Model, tmp_path: Path) -> None:
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), demo.draw(number, NOON, SMALL))
    with running(open_source(str(tmp_path), Wish(fps=5)), model, always=True) as road:
        road.ended()
    assert [(record["seq"], record["answer"]) for record in road.of("video")] == [(n, n) for n in range(4)]


def test_a_slow_camera_s_frame_is_painted_again_with_its_own_answer(model: Model) -> None:
    shots = numbered(3, lambda number: time.sleep(0.7))
    with running(made(shots, live=True, fps=1.4), model, always=True) as road:
        road.until(lambda: len(road.of("frame")) == 3)
    told = [(record["seq"], record["answer"]) for record in road.of("video")]
    assert {(0, 0), (1, 1)} <= set(told)


def test_the_last_still_has_its_time_too(model: Model, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "only.png"), demo.draw(0, NOON, SMALL))
    started_s = time.monotonic()
    with running(open_source(str(tmp_path / "only.png"), Wish(fps=1)), model) as road:
        road.ended()
    assert time.monotonic() - started_s > 0.9


def test_every_newcomer_is_spared_the_picture_of_an_hour_ago() -> None:
    hub = Hub()
    old, new = (Picture(seq, None, b"", 0.0) for seq in (1, 2))
    hub.publish({OWN: old})
    assert hub.watch().stale is old
    assert hub.watch().stale is old  # the first is still waiting for theirs
    assert hub.snapshot(0.01) is None
    hub.publish({OWN: new})
    assert hub.snapshot(0.01) is new


def test_the_runtime_is_on_the_picture(model: Model) -> None:
    with running(made(numbered(1)), model) as road:
        road.ended()
    facts = model.backend.facts()
    assert road.pipeline.render._caption(None, 0).runtime == f"{facts.runtime} {facts.version}"
