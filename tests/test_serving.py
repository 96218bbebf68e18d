"""The reference server, a real MLServer: right answers, batches, and twenty deaths under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from backends.remote import RemoteBackend
from models.catalogue import BUILT_IN
from models.recipe import as_image
from stream.loading import ModelWish, load_model
from tests.reference_server import MlServer, NotInstalled, environment, wrong_labels
from tests.test_switch import running
from tests.viewer import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DEATHS = 20
NODES = 8


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlServer]:
    try:
        found = environment(request.config.getoption("--mlserver"))
    except NotInstalled as error:
        pytest.skip(str(error))
    server = MlServer(found, tmp_path_factory.mktemp("mlserver") / "output.txt")
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_it_says_of_a_photograph_what_the_same_file_says_here(
    server: MlServer, shared: Path, scheme: str
) -> None:
    there, here = load_model(ModelWish(server.address(scheme))), load_model(ModelWish(BUILT_IN))
    for name in ("parrot", "pizza", "marmot"):
        picture = as_image(cv2.imread(str(shared / "images" / f"{name}.jpg")))
        expected = here.reading.top(here.backend.infer(here.backend.prepare(picture)))
        found = there.reading.top(there.backend.infer(there.backend.prepare(picture)))
        assert [(label, round(score, 5)) for _, label, score in found] == [
            (label, round(score, 5)) for _, label, score in expected
        ]
    backend = there.backend
    assert isinstance(backend, RemoteBackend)
    assert backend.net_us is not None
    assert backend.facts().runtime == "mlserver"
    assert ("as JSON only" in (backend.facts().note or "")) == (scheme == "http")
    there.backend.close()
    here.backend.close()


def test_pictures_of_eight_nodes_are_put_together_in_batches(server: MlServer) -> None:
    models = [load_model(ModelWish(server.address("grpc", "?deadline=5"))) for _ in range(NODES)]
    pictures, batches = server.batches()
    until_s = time.monotonic() + 5
    answers = [0] * NODES

    def ask(node: int) -> None:
        backend = models[node].backend
        tensor = backend.prepare(np.full((480, 640, 3), node, np.uint8))
        while time.monotonic() < until_s:
            backend.infer(tensor)
            answers[node] += 1

    threads = [threading.Thread(target=ask, args=(node,)) for node in range(NODES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    more, times = server.batches()
    assert (more - pictures) / (times - batches) > 2
    assert min(answers) > 0.5 * max(answers), "none waits while another is served twice"
    for model in models:
        model.backend.close()


def test_twenty_deaths_under_load_end_nothing_and_no_label_is_wrong(server: MlServer) -> None:
    away_s = time.time() - time.monotonic()
    with running(ModelWish(server.address("grpc", "?deadline=0.5"))) as made:
        status, back_s = made.station.status, list[float]()
        wait_for(lambda: status.unready() is None)
        over, ages = threading.Event(), list[float]()

        def look() -> None:
            while not over.wait(0.005):
                answer = status.answer()
                if answer is not None:
                    ages.append(answer["age_s"])

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(DEATHS):
            server.kill()
            wait_for(lambda: status.answer() is None)
            server.start()
            server.wait()
            back_s.append(wait_for(lambda: status.answer() is not None))
            time.sleep(0.3)
        over.set()
        thread.join()
        frames, events = made.of("frame"), [record["event"] for record in made.of("event")]
    assert events == ["connect", *["unanswered", "answered"] * DEATHS]
    assert max(back_s) < 2
    assert max(ages) < 0.5 + 0.25
    assert len(frames) > 5 * DEATHS
    assert wrong_labels(frames, away_s) == []
