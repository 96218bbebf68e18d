"""All that a camera can do wrong, and what viewers, the state and the log are told of it."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from models.catalogue import BUILT_IN
from models.recipe import Image
from stream import demo
from stream.capture import Patience
from stream.frames import Broken, Shot
from stream.loading import Model, ModelWish, load_model
from stream.pipeline import Policy
from stream.sources import Shots, Source, SourceError
from tests.test_pipeline import PATIENCE_S, SMALL, Road, decoded, first, running, watching
from tests.test_sources import NOON

SOON = Patience(
    stale_s=0.3,
    reopen_s=0.8,
    open_s=0.8,
    repeat_s=0.5,
    stuck_s=60,
    most_stuck=3,
    first_retry_s=0.05,
    longest_retry_s=0.2,
    longest_relapse_s=0.8,
    steady_s=0.5,
)
WATCHFUL = replace(SOON, stale_s=3600, reopen_s=3600)
"""No camera is lost because a starved machine brings its pictures late."""
CALM = replace(WATCHFUL, repeat_s=3600)
"""Nor remarked on."""


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = load_model(ModelWish(BUILT_IN, threads=1))
    yield model
    model.backend.close()


class Camera:
    """Delivers, at 50 a second, what `shot` gives for a picture's number; tells how often it was opened, as
    what, and whether it was freed."""

    def __init__(self, shot: Callable[[int], Shot | Broken], *, fps: float = 10, again: str = "") -> None:
        self.opened: list[str] = []
        self.freed = 0
        self.shot, self._fps, self._again = shot, fps, again

    def open(self, name: str) -> Source:
        self.opened.append(name)
        return Source(
            "the camera", "made", SMALL, self._fps or None, True, False, self._shots(), again=self._again
        )

    def _shots(self) -> Shots:
        try:
            for number in count():
                yield self.shot(number)
                time.sleep(0.02)
        finally:
            self.freed += 1


def picture(number: int, size: tuple[int, int] = SMALL) -> Shot:
    return Shot(demo.draw(number, NOON, size))


def online(road: Road) -> bool:
    return road.pipeline.capture.fault() is None


# Unplugged.


def test_an_unplugged_camera_is_shown_at_once_and_found_again_by_its_lasting_name(model: Model) -> None:
    unplugged = threading.Event()

    def shot(number: int) -> Shot:
        if unplugged.is_set():
            raise SourceError("the camera was unplugged")
        return picture(number)

    camera = Camera(shot, again="/dev/v4l/by-id/camera")
    # A picture is not stale for an hour: it is the loss that is shown.
    with running(None, model, open_again=camera.open, patience=CALM) as road:
        with watching(road.hub) as pictures:
            first(pictures, lambda picture: picture.seq is not None)
            unplugged.set()
            assert decoded(first(pictures, lambda picture: picture.seq is None)).shape == (240, 320, 3)
            assert road.pipeline.capture.fault() == "the camera was unplugged"
            unplugged.clear()
            first(pictures, lambda picture: picture.seq is not None)
        assert online(road)
        assert camera.opened[0] == ""
        assert set(camera.opened[1:]) == {"/dev/v4l/by-id/camera"}
        assert road.pipeline.capture.losses == road.events().count("lost")
        assert camera.freed == len(camera.opened) - 1
    assert camera.freed == len(camera.opened), "freed at the end, too"


def test_no_picture_stays_behind_of_a_camera_that_is_lost(model: Model) -> None:
    """Python's search for circles would find it, in an hour: it is not to be needed."""
    made: list[weakref.ref[Image]] = []

    def shot(number: int) -> Shot:
        if number == 3:
            try:
                raise ConnectionResetError
            except OSError:
                raise SourceError("the camera was unplugged") from None
        shot = picture(number)
        made.append(weakref.ref(shot.image))
        return shot

    patience = replace(CALM, longest_relapse_s=0.05)
    gc.disable()
    try:
        with running(None, model, open_again=Camera(shot).open, patience=patience) as road:
            road.until(lambda: road.pipeline.capture.losses >= 20)
            kept = [image for image in made if image() is not None]
    finally:
        gc.enable()
    assert len(made) >= 60
    assert len(kept) <= 6, "those that the loops have in hand"


def test_a_camera_that_is_away_for_long_is_a_line_for_each_reason_in_the_log(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[str] = []

    def away(again: str) -> Source:
        attempts.append(again)
        raise SourceError("there is no camera")

    def shots() -> Shots:
        yield picture(0)
        raise SourceError("the camera was unplugged")

    source = Source("the camera", "made", SMALL, 50, True, False, shots())
    with caplog.at_level(logging.DEBUG), running(source, model, open_again=away, patience=CALM) as road:
        road.until(lambda: len(attempts) > 5)
        assert road.events() == ["connect", "lost"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["the camera was unplugged - trying again", "there is no camera - trying again"]


def test_a_camera_that_opens_and_is_lost_again_is_tried_less_and_less_often(model: Model) -> None:
    at_s: list[float] = []

    def relapse(again: str) -> Source:
        at_s.append(time.monotonic())

        def shots() -> Shots:
            yield picture(0)
            raise SourceError("the camera was unplugged")

        return Source("the camera", "made", SMALL, 50, True, False, shots())

    with running(None, model, open_again=relapse, patience=replace(SOON, steady_s=3600)) as road:
        road.until(lambda: len(at_s) == 6)
    pauses = np.diff(at_s)
    assert list(pauses > [0.05, 0.1, 0.2, 0.4, 0.8]) == [True] * 5


# Blocked.


@pytest.mark.parametrize("where", ["open", "read"])
def test_a_driver_that_blocks_is_left_behind_and_what_it_brings_later_goes_nowhere(
    model: Model, where: str
) -> None:
    release, late = threading.Event(), Camera(lambda number: picture(number))

    def block(number: int) -> Shot:
        if number == 2:
            release.wait(PATIENCE_S)
        return picture(1000 + number)

    blocked = Camera(block if where == "read" else lambda number: picture(1000 + number))

    def open_again(again: str) -> Source:
        if blocked.opened:
            return late.open(again)
        source = blocked.open(again)
        if where == "open":
            release.wait(PATIENCE_S)
        return source

    with running(None, model, open_again=open_again, patience=SOON) as road:
        try:
            road.until(lambda: late.opened and online(road))
            assert road.pipeline.capture.stuck == 1
            assert ("lost" in road.events()) == (where == "read"), "what never was there is not lost"
        finally:
            release.set()
        road.until(lambda: road.pipeline.capture.stuck == 0)
        assert online(road)
        assert late.freed == 0
        if where == "read":
            assert blocked.freed == 1, "by its own thread, as soon as that came back"
        seqs = [record["seq"] for record in road.of("frame")]
        assert seqs == sorted(set(seqs))


def test_a_driver_that_blocks_again_and_again_ends_the_program_in_one_line(model: Model) -> None:
    release = threading.Event()

    def block(number: int) -> Shot:
        release.wait(PATIENCE_S)
        return picture(number)

    with running(None, model, open_again=Camera(block).open, patience=SOON) as road:
        try:
            with pytest.raises(SourceError, match="its driver does not come back - start again; if that"):
                road.pipeline.join(PATIENCE_S)
            assert road.pipeline.capture.stuck == 3
        finally:
            release.set()


def test_a_driver_that_blocks_for_long_ends_the_program_though_it_holds_the_device(model: Model) -> None:
    release, camera = threading.Event(), Camera(lambda number: picture(number))

    def block(number: int) -> Shot:
        if number == 1:
            release.wait(PATIENCE_S)
        return picture(number)

    def open_again(again: str) -> Source:
        if camera.opened:
            raise SourceError("the camera is busy")
        camera.shot = block
        return camera.open(again)

    with running(None, model, open_again=open_again, patience=replace(SOON, stuck_s=1.0)) as road:
        try:
            with pytest.raises(SourceError, match="is busy, and its driver does not come back"):
                road.pipeline.join(PATIENCE_S)
        finally:
            release.set()


def test_a_loop_ends_only_when_its_camera_is_free(model: Model) -> None:
    freeing = threading.Event()

    def shots() -> Shots:
        try:
            for number in count():
                yield picture(number)
                time.sleep(0.02)
        finally:
            freeing.wait(PATIENCE_S)

    source = Source("the camera", "made", SMALL, 50, True, False, shots())
    with running(source, model) as road:
        road.until(lambda: road.of("frame"))
        road.pipeline.stop()
        road.pipeline.join(0.3)
        assert road.pipeline.alive or any(thread.is_alive() for thread in road.pipeline._threads)
        freeing.set()
        road.ended()


# Delivering, but what.


def test_a_single_broken_picture_is_left_out_and_counted(model: Model) -> None:
    camera = Camera(lambda number: Broken("cut off") if number % 3 == 1 else picture(number))
    with running(None, model, open_again=camera.open, patience=CALM) as road:
        with watching(road.hub) as pictures:
            for _ in range(20):
                assert next(pictures).seq is not None or not road.of("frame")
        assert online(road)
        assert road.pipeline.capture.broken >= 5
        assert road.events() == ["connect"]


def test_a_camera_of_broken_pictures_only_is_shown_as_that_and_opened_again(model: Model) -> None:
    camera = Camera(lambda number: picture(number) if number < 3 else Broken("a JPEG without its end"))
    with running(None, model, open_again=camera.open, patience=SOON) as road:
        with watching(road.hub) as pictures:
            first(pictures, lambda picture: picture.seq is not None)
            first(pictures, lambda picture: picture.seq is None)
        why = "the camera delivers broken pictures: a JPEG without its end"
        assert road.pipeline.capture.fault() in (why, None)
        road.until(lambda: len(camera.opened) == 2)
        assert road.events()[:3] == ["connect", "broken", "lost"]
        assert road.of("event")[2]["detail"] == why
        assert camera.freed >= 1
        assert road.pipeline.capture.stuck == 0


def test_the_same_picture_for_ever_is_remarked_on_but_is_no_fault(model: Model) -> None:
    sees = threading.Event()
    camera = Camera(lambda number: picture(number if sees.is_set() else 7))
    with running(None, model, open_again=camera.open, patience=WATCHFUL) as road:
        with watching(road.hub) as pictures:
            plain = decoded(first(pictures, lambda picture: picture.seq is not None))
            road.until(lambda: road.pipeline.capture.remarks())
            assert road.pipeline.capture.remarks()[0].startswith("the same picture for ")
            assert online(road)
            seen = next(pictures).seq or 0
            marked = decoded(first(pictures, lambda picture: (picture.seq or 0) > seen))
            assert marked.shape == plain.shape
            sees.set()
            road.until(lambda: not road.pipeline.capture.remarks())
        road.until(lambda: "resume" in road.events())
        assert road.events() == ["connect", "repeat", "resume"]
        assert len(camera.opened) == 1, "it is not opened again for that"


def test_a_picture_of_another_size_goes_on_to_the_viewers(model: Model) -> None:
    camera = Camera(lambda number: picture(number, SMALL if number < 20 else (640, 480)))
    with running(None, model, open_again=camera.open, patience=CALM) as road:
        with watching(road.hub) as pictures:
            first(pictures, lambda picture: decoded(picture).shape == (240, 320, 3))
            first(pictures, lambda picture: decoded(picture).shape == (480, 640, 3))
        assert road.events() == ["connect", "size"]
        assert road.of("event")[1]["detail"] == "640x480"


def test_a_camera_far_slower_than_it_promised_is_remarked_on(model: Model) -> None:
    camera = Camera(lambda number: picture(number), fps=200)
    with running(None, model, open_again=camera.open, patience=WATCHFUL) as road:
        road.until(lambda: any(told.endswith(" of 200 fps") for told in road.pipeline.capture.remarks()))
        assert online(road)


def test_a_camera_slower_than_it_said_is_not_lost_between_two_pictures(model: Model) -> None:
    """One picture in half a second, of a camera that promises nothing; stale is 0.3 s."""
    faults: list[str | None] = []

    def slow(number: int) -> Shot:
        if number > 2:
            faults.append(road.pipeline.capture.fault())
        time.sleep(0.5)
        return picture(number)

    camera = Camera(slow, fps=0)
    with running(None, model, open_again=camera.open, patience=SOON) as road:
        road.until(lambda: len(faults) == 4)
    assert faults == [None] * 4


def test_a_camera_that_waits_for_the_classifier_is_not_called_slow(model: Model) -> None:
    camera = Camera(lambda number: picture(number), fps=200)
    policy = Policy(every_frame=True)
    with running(None, model, open_again=camera.open, patience=WATCHFUL, policy=policy) as road:
        road.until(lambda: len(road.of("frame")) > 60)
        assert road.pipeline.capture.remarks() == ()
