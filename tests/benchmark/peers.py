"""Other servers of MJPEG, each in a process of its own, with the same pictures at the same rate.

ustreamer needs a V4L2 device and mjpg-streamer is no package of Debian's: docs/performance.md has figures of
both, measured elsewhere.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from models.scores import Prediction
from stream.demo import SCENE_S, SCENES, draw
from stream.overlay import Caption, paint
from stream.render import encode
from tests.benchmark.viewers import Order, Watched, watch
from tests.network_camera import NetworkCamera, free_port

HERE = Path(__file__).parent
SIZE = (640, 480)
QUALITY = 50
"""With it the demo's pictures weigh 30 kB: 22 to 46 by the moment, 31 on average over a round of scenes."""
MOTION_QUALITY = 75
"""With it Motion's weigh as much. It decodes the camera's and encodes them again."""

FlaskServer = Literal["waitress", "werkzeug"]


@dataclass(frozen=True)
class Peer:
    name: str
    pid: int
    port: int
    target: str = "/stream"
    camera: Clocked | None = None  # of a server that does not say how old its pictures are

    def get(self, target: str, timeout_s: float = 5.0) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{target}", timeout=timeout_s) as answer:
            body: bytes = answer.read()
            return body

    def ages_ms(self, watched: Watched) -> list[float]:
        if self.camera is None:
            return watched.ages_ms
        sent_s = self.camera.sent_s
        return [1000 * (one.came_s - sent_s[one.seq]) for one in watched.numbered if one.seq in sent_s]


class Clocked(NetworkCamera):
    """A network camera that remembers when it sent which picture."""

    def __init__(self, fps: float) -> None:
        self.sent_s: dict[int, float] = {}  # Unix time, by frame number
        super().__init__(period_s=1 / fps, size=SIZE)

    def part(self, number: int, size: tuple[int, int]) -> bytes:  # type: ignore[override]
        part = super().part(number, size)
        self.sent_s[number] = time.time()
        return part


def draw_pictures(folder: Path, fps: float) -> Path:
    """A round of the demo's scenes as the program would send it: with an answer painted on, as JPEG."""
    folder = folder / f"pictures-{fps:g}"
    if not folder.exists():
        folder.mkdir()
        answer = tuple(Prediction(index, "analog clock", 0.9) for index in range(5))
        caption = Caption(answer, 30.0, 30.0, 5.0, 5.0, "a peer")
        for seq in range(round(SCENE_S * len(SCENES) * fps)):
            now = datetime(2026, 1, 1, 10, 10) + timedelta(seconds=seq / fps)
            jpeg = encode(paint(draw(seq, now, SIZE), caption), QUALITY)
            (folder / f"{seq:05}.jpg").write_bytes(jpeg)
    return folder


@contextmanager
def flask(server: FlaskServer, fps: float, folder: Path, threads: int = 0) -> Iterator[Peer]:
    """The usual way, see peer_flask.py. `threads` 0: as many as the server has by default."""
    port = free_port()
    command = [sys.executable, HERE / "peer_flask.py", server, threads, port, fps, draw_pictures(folder, fps)]
    name = f"Flask on {server} {version(server)}"
    if server == "waitress":
        name += f", {threads or 4} threads"
    with ended(subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)) as process:
        peer = Peer(name, process.pid, port)
        wait_for(peer, "/healthz")
        yield peer


def has_motion() -> bool:
    return shutil.which("motion") is not None


@contextmanager
def motion(fps: float, folder: Path) -> Iterator[Peer]:
    """Motion on a network camera, looking for no motion and writing no files."""
    said = subprocess.run(["motion", "-h"], capture_output=True, text=True, check=False).stdout
    name = " ".join(said.split()[:1] + said.split()[2:3]).capitalize()  # "motion Version 4.5.1, ..."
    with ExitStack() as opened:
        camera = Clocked(fps)
        opened.callback(camera.close)
        port = free_port()
        wishes = {
            "daemon": "off",
            "log_file": folder / "motion.log",
            "target_dir": folder,
            "netcam_url": camera.url,
            "netcam_params": "keepalive=on",
            "width": SIZE[0],
            "height": SIZE[1],
            "framerate": 30,  # how often it looks for the camera's newest
            "text_right": '""',  # the clock it would write lies on the frame's number
            "picture_output": "off",
            "movie_output": "off",
            "webcontrol_port": 0,
            "stream_port": port,
            "stream_localhost": "on",
            "stream_maxrate": round(fps),  # without it, it repeats pictures
            "stream_quality": MOTION_QUALITY,
        }
        settings = folder / f"motion-{port}.conf"
        settings.write_text("".join(f"{key} {value}\n" for key, value in wishes.items()))
        command = ["motion", "-n", "-m", "-c", str(settings)]
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process = opened.enter_context(ended(started))
        peer = Peer(name.rstrip(","), process.pid, port, "/", camera)
        # Until it has found out what the camera sends; before, it shows a grey picture.
        until_s = time.monotonic() + 30
        look = Order(port, 1, seconds=1.0, settle_s=0.0, target="/", keep_every=1)
        while not (port_open(port) and watch(look).numbered):
            assert time.monotonic() < until_s, f"{peer.name} shows no picture"
            time.sleep(0.1)
        yield peer


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Ended whatever happens."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(peer: Peer, target: str) -> None:
    until_s = time.monotonic() + 15
    while True:
        try:
            peer.get(target)
        except OSError:
            assert time.monotonic() < until_s, f"{peer.name} does not answer"
            time.sleep(0.05)
        else:
            return


def port_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
