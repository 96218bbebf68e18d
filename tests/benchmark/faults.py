"""What goes by until one viewer, who stays connected, sees that a camera is gone, and that it is back.

The camera is one of MJPEG over HTTP: a USB camera's cable is pulled by `make test-device`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from stream.demo import read_seq
from tests.benchmark.table import Row
from tests.network_camera import NetworkCamera
from tests.viewer import Labelcam, Viewer, ask, decoded, labelcam

ROUNDS = 9
ATTEMPTS = 3
"""To open a camera that is away for 2 s: after 0.25, 0.75 and 1.75 s."""


def rows() -> list[Row]:
    gone_s, back_s, frozen_s, thawed_s, snapshot_s, lines = [], [], [], [], [], []
    camera = NetworkCamera(size=(640, 480))
    with labelcam("--source", camera.url, "--port", "0") as program, Viewer(program.address) as viewer:
        seen(viewer, live=True)
        for _ in range(ROUNDS):
            said = len(program.errors.splitlines())
            gone_s.append(timed(camera.close, viewer, live=False))
            time.sleep(2.0)
            snapshot_s.append(snapshot(program))
            lines.append(len(program.errors.splitlines()) - said)
            started_s = time.monotonic()
            camera = NetworkCamera(port=camera.port, size=(640, 480))
            seen(viewer, live=True)
            back_s.append(time.monotonic() - started_s)
        for _ in range(3):
            time.sleep(5.5)  # a camera that was lost just now is not tried again so soon
            frozen_s.append(timed(camera.silent.set, viewer, live=False))
            thawed_s.append(timed(camera.silent.clear, viewer, live=True))
        camera.close()
    return [
        Row('camera gone: until the viewer sees "no signal"', max(gone_s), "s", "", None, 1.0, n=ROUNDS),
        Row(
            "camera back: until the same viewer sees it, median", median(back_s), "s", "", None, 2.0, n=ROUNDS
        ),
        Row("the same, longest", max(back_s), "s", "", None, 2.0, n=ROUNDS),
        Row("frozen camera: until the viewer sees that it is", max(frozen_s), "s", "", None, 3.0, n=3),
        Row("frozen camera goes on: until the viewer sees it", max(thawed_s), "s", "", None, 2.0, n=3),
        Row("/snapshot without a camera", max(snapshot_s), "s", "", None, 1.0, n=ROUNDS),
        Row("lines in the log per attempt to open it", max(lines) / ATTEMPTS, "lines", "", None, 1, n=ROUNDS),
    ]


def timed(happens: Callable[[], object], viewer: Viewer, *, live: bool) -> float:
    started_s = time.monotonic()
    happens()
    seen(viewer, live=live)
    return time.monotonic() - started_s


def seen(viewer: Viewer, *, live: bool) -> None:
    """Wait for a picture with a frame's number, or for one without."""
    while (read_seq(decoded(viewer.part().jpeg)) is not None) is not live:
        pass


def snapshot(program: Labelcam) -> float:
    started_s = time.monotonic()
    assert ask(program.address, "/snapshot").status == 503
    return time.monotonic() - started_s
