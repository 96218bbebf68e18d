"""MLServer as docs/serving.md starts it, in an environment of its own; killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from stream.demo import scene_at
from stream.log import Record
from tests.network_camera import free_port

HERE = Path(__file__).resolve().parent / "serving"
REQUIREMENTS = HERE / "requirements.txt"
MINORS = (12, 11, 10, 9)
"""Of the Pythons that MLServer 1.7 takes."""


class NotInstalled(Exception):
    """In a line, why there is no MLServer here."""


def environment(named: str | None) -> Path:
    """A virtual environment with MLServer: the one named, or one that is made once and kept."""
    if named:
        return Path(named)
    found = next(((minor, python) for minor in MINORS for python in pythons(minor) if runs(python)), None)
    if found is None:
        raise NotInstalled("MLServer takes Python 3.9 to 3.12, and none of them is here")
    minor, python = found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "labelcam" / f"mlserver-3.{minor}"
    done = folder / "done"
    if done.exists() and done.read_text() == REQUIREMENTS.read_text():
        return folder
    for command in (
        [python, "-m", "venv", "--clear", str(folder)],
        [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)],
    ):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            lines = (made.stderr or made.stdout).strip().splitlines() or ["pip failed"]
            raise NotInstalled(f"MLServer cannot be installed: {lines[-1]}")
    done.write_text(REQUIREMENTS.read_text())
    return folder


def pythons(minor: int) -> Iterator[str]:
    """Where .ci/run looks for a Python 3.`minor`, too: on the path, among those that pyenv keeps aside."""
    if named := shutil.which(f"python3.{minor}"):
        yield named
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from map(str, sorted(versions.glob(f"3.{minor}.*/bin/python3")))


def runs(python: str) -> bool:
    """pyenv's own python3.12 may say that there is none."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


class MlServer:
    """Serves tests/serving/models. `start` and `kill` as often as wanted, always at the same ports."""

    def __init__(self, environment: Path, output: Path) -> None:
        self.http_port, self.grpc_port, self.metrics_port = free_port(), free_port(), free_port()
        self._environment, self._output = environment, output
        self._process: subprocess.Popen[bytes] | None = None

    def address(self, scheme: str, query: str = "") -> str:
        port = {"grpc": self.grpc_port, "http": self.http_port}[scheme]
        return f"{scheme}://127.0.0.1:{port}/efficientnet_lite0{query}"

    def start(self) -> None:
        ports = {
            "MLSERVER_HTTP_PORT": self.http_port,
            "MLSERVER_GRPC_PORT": self.grpc_port,
            "MLSERVER_METRICS_PORT": self.metrics_port,
        }
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [self._environment / "bin" / "mlserver", "start", HERE / "models"],
                env={
                    **os.environ,
                    "PYTHONPATH": str(HERE),
                    **{name: str(port) for name, port in ports.items()},
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self, patience_s: float = 60) -> None:
        """Until the model can be asked."""
        until_s = time.monotonic() + patience_s
        while not self.ready():
            assert self._process is not None
            assert self._process.poll() is None, self._output.read_text()[-2000:]
            assert time.monotonic() < until_s, self._output.read_text()[-2000:]
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            self.get(self.http_port, "/v2/models/efficientnet_lite0/ready")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def kill(self) -> None:
        """All of it, with no warning."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def batches(self) -> tuple[float, float]:
        """By the server's own figures: pictures that the model was given, and how often it was given some."""
        figures = dict(
            line.rsplit(" ", 1)
            for line in self.get(self.metrics_port, "/metrics").splitlines()
            if line.startswith("pictures_in_batch_")
        )
        return float(figures["pictures_in_batch_sum"]), float(figures["pictures_in_batch_count"])

    @staticmethod
    def get(port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


def wrong_labels(frames: Iterable[Record], away_s: float) -> list[str]:
    """Answers about `demo:` that name nothing of the scene that was shown then, or a moment before or after.

    `away_s` is what the clock on the wall shows more than the monotonic one.
    """
    wrong = []
    for frame in frames:
        arrived_s = frame["arrived_ns"] / 1e9 + away_s
        scenes = [scene_at(datetime.fromtimestamp(arrived_s + late_s)) for late_s in (-0.3, 0.3)]
        label = frame["top"][0][1].partition(",")[0]
        if not any(label in scene.labels for scene in scenes):
            wrong.append(label)
    return wrong
