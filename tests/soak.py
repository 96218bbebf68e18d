"""`make soak`: the program on a network camera, watched and listened to, with a fault every 20 seconds.

It is flat if in the last quarter of the time it holds no more memory, threads and descriptors than in the
second, and has lost nothing from its log but what it has counted. Prints what it saw; the status is 1 if it
is not flat. As root it gives the log a small disk, and fills that.

    python -m tests.soak --minutes 60 --every 20
    python -m tests.soak --minutes 4 --every 0.2 --only "model switched"
"""

from __future__ import annotations

import argparse
import itertools
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from models.catalogue import BUILT_IN, find_spec
from stream.log import read_log
from tests.benchmark import process
from tests.benchmark.switching import post
from tests.network_camera import NetworkCamera, free_port
from tests.viewer import Address, Labelcam, ask, connected, labelcam

SAMPLE_S = 5.0
DISK = "16m"
BROKEN = "mobilenet_v1_1.0_224_quant"  # a name of the catalogue, for a file that is none
MODELS = ("digits", "digits_float", BUILT_IN)
SETTINGS: tuple[dict[str, Any], ...] = (
    {"top_k": 3, "threshold": 0.1, "smoothing": 0.5, "quality": 60},
    {"top_k": 5, "threshold": 0.0, "smoothing": 0.0, "quality": 80},
)
PATIENCE_S = 20.0
WARM_S, COLD_MB = 600.0, 25.0
"""In a shorter run each model is loaded and each fault met for the first time, and memory grows with that."""
KINDS = {"frame": "frames", "video": "pictures", "event": "events"}


TAIL = b"\r\n--frame\r\n"


class Camera(NetworkCamera):
    """One whose pictures may also come broken: half of one, nothing of the next."""

    def __init__(self, port: int) -> None:
        self.broken = threading.Event()
        super().__init__(port, period_s=0.04, size=(640, 480))

    def part(self, number: int, size: tuple[int, int]) -> bytes:  # type: ignore[override]
        part = super().part(number, size)
        if not self.broken.is_set():
            return part
        head, end, body = part.partition(b"\r\n\r\n")  # the length stays
        kept = len(body) // 2 if number % 2 else 0
        return head + end + body[:kept] + bytes(len(body) - kept - len(TAIL)) + TAIL


class Reader(threading.Thread):
    """Reads one endless answer, and asks again when it ends."""

    def __init__(self, address: Address, target: str, mark: bytes, bytes_per_s: float | None = None) -> None:
        super().__init__(daemon=True)
        self.target, self.seen, self.ends = target, 0, 0
        self._address, self._mark, self._bytes_per_s = address, mark, bytes_per_s
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                self._read()
            self.ends += not self._over.is_set()
            self._over.wait(1.0)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _read(self) -> None:
        with connected(self._address, None if self._bytes_per_s is None else 16 * 1024) as connection:
            connection.sendall(f"GET {self.target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            tail = b""
            while not self._over.is_set():
                read = connection.recv(4096 if self._bytes_per_s else 1 << 18)
                if not read:
                    return
                self.seen += (tail + read).count(self._mark)
                tail = read[-len(self._mark) + 1 :]
                if self._bytes_per_s:
                    self._over.wait(len(read) / self._bytes_per_s)


class Sample(NamedTuple):
    resident_mb: float
    threads: int
    descriptors: int
    viewers: int
    health_ms: float
    health: int  # the status
    metrics: int


@dataclass
class Log:
    """What has been found in the program's log files."""

    path: Path
    records: Counter[str] = field(default_factory=Counter)
    handed: Counter[str] = field(default_factory=Counter)  # to the log, by its summaries
    lost_lines: int = 0
    files: int = 0

    def take(self, path: Path) -> None:
        """Count a file that is written no more, and delete it."""
        self.files += 1
        for record in read_log(path):
            kind = record["rec"]
            told = record.get("event") == "log_lost"
            self.records["told" if told else kind] += 1
            if kind == "summary":
                self.lost_lines = record["lost_lines"]
                self.handed["frame"] += record["frames"]
                self.handed["video"] += record["stages"].get("draw_us", {"n": 0})["n"]
        path.unlink()

    @property
    def missing(self) -> int:
        """Frames and pictures that were handed to the log, and are not in it."""
        return sum(self.handed[kind] - self.records[kind] for kind in ("frame", "video"))

    def renamed(self) -> None:
        """As logrotate does. The program goes on in a new file."""
        aside = self.path.with_suffix(".aside")
        self.path.rename(aside)
        wait_for(self.path.exists, "the log was not begun again")
        self.take(aside)


class Trouble(Exception):
    """Something did not go as it should, in a line."""


class Soak:
    """The program, its camera and its disk, and what is done to them."""

    def __init__(self, program: Labelcam, camera_port: int, log: Log, disk: Path | None) -> None:
        self.program, self.log, self._disk = program, log, disk
        self.address = program.address
        self.camera = Camera(camera_port)
        self.done: Counter[str] = Counter()
        self.troubles: list[str] = []
        self._models = itertools.cycle(MODELS)
        self._settings = itertools.cycle(SETTINGS)

    def faults(self) -> dict[str, Callable[[], None]]:
        """By name, in turn: of the camera, of viewers, of the disk, of the model."""
        disk = {"log disk full": self.fill_the_disk} if self._disk else {}
        return {
            "camera gone": self.unplug,
            "storm of 100 resets": self.storm,
            **disk,
            "model switched": self.switch,
            "camera silent": self.silence,
            "viewer stalled": self.stall,
            "log renamed": self.log.renamed,
            "settings changed": self.change,
            "pictures broken": self.spoil,
            "broken model": self.switch_to_broken,
        }

    def inflict(self, name: str, fault: Callable[[], None]) -> None:
        try:
            fault()
            wait_for(lambda: bool(self.state()["online"]), "the camera did not come back")
        except (Trouble, OSError) as trouble:
            self.troubles.append(f"{name}: {trouble}")
        self.done[name] += 1

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.address, "/api/state").json
        return found

    def sample(self) -> Sample:
        pid = self.program.process.pid
        started_s = time.monotonic()
        health = ask(self.address, "/healthz").status
        health_ms = 1000 * (time.monotonic() - started_s)
        return Sample(
            process.resident_mb(pid),
            process.threads(pid),
            process.descriptors(pid),
            self.state()["stream"]["viewers"],
            health_ms,
            health,
            ask(self.address, "/metrics").status,
        )

    # Of the camera.

    def unplug(self) -> None:
        self.camera.close()
        wait_for(lambda: not self.state()["online"], "nobody noticed")
        time.sleep(2)
        self.camera = Camera(self.camera.port)

    def silence(self) -> None:
        self.camera.silent.set()
        try:
            wait_for(lambda: not self.state()["online"], "nobody noticed")
            time.sleep(1)
        finally:
            self.camera.silent.clear()

    def spoil(self) -> None:
        """FFmpeg makes pictures of what it gets, grey ones at worst."""
        self.camera.broken.set()
        time.sleep(3)
        self.camera.broken.clear()

    # Of viewers.

    def storm(self) -> None:
        before = self.state()["stream"]["viewers"]
        viewers = [connected(self.address) for _ in range(100)]
        for viewer in viewers:
            viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for viewer in viewers:
            viewer.recv(1)
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            viewer.close()
        wait_for(lambda: self.state()["stream"]["viewers"] <= before, "who reset is still counted")

    def stall(self) -> None:
        evicted = self.state()["stream"]["evicted"]["stalled"]
        with connected(self.address, receive_bytes=4096) as viewer:
            viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_for(lambda: self.state()["stream"]["evicted"]["stalled"] > evicted, "a stalled viewer stays")

    # Of the disk.

    def fill_the_disk(self) -> None:
        assert self._disk is not None
        ballast, lost = self._disk / "ballast", self.lost_lines()
        try:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            wait_for(lambda: self.lost_lines() > lost, "the disk is full and no line is lost")
        finally:
            ballast.unlink(missing_ok=True)
        size_bytes = self.state()["log"]["bytes"]
        wait_for(lambda: self.state()["log"]["bytes"] > size_bytes, "the log is not written again")

    def lost_lines(self) -> int:
        lost: int = self.state()["log"]["lost_lines"]
        return lost

    # Of the model.

    def switch(self) -> None:
        model = next(self._models)
        if self.switched_to(model) != "done":
            raise Trouble(f"{model} was not loaded: {self.state()['switch']['error']}")

    def switch_to_broken(self) -> None:
        before = self.state()["model"]
        if self.switched_to(BROKEN) != "failed" or self.state()["model"] != before:
            raise Trouble("a broken model was taken")

    def switched_to(self, model: str) -> str:
        status, answer = post(self.address[1], {"model": model})
        if status not in (200, 202):
            raise Trouble(str(answer))
        wait_for(lambda: self.state()["switch"]["state"] != "loading", f"{model} is loaded for ever")
        result: str = self.state()["switch"]["state"]
        return result

    def change(self) -> None:
        status, answer = post(self.address[1], next(self._settings))
        if status != 200:
            raise Trouble(str(answer))


def wait_for(happened: Callable[[], bool], trouble: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > until_s:
            raise Trouble(trouble)
        time.sleep(0.05)


@dataclass
class Report:
    """What was seen, and whether it is as it should be."""

    samples: list[Sample]
    readers: list[Reader]
    soak: Soak
    classified: int  # by the program's state, at the end
    status: int
    said: str
    seconds: float

    def quarters(self, value: Callable[[Sample], float]) -> tuple[float, float]:
        """Medians of the second and the last."""
        quarter = len(self.samples) // 4
        second, last = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        return median(map(value, second)), median(map(value, last))

    def checks(self) -> list[tuple[str, str, str, bool]]:
        """(figure, what it is, what it may be, whether it is)."""
        log, rows = self.soak.log, []
        memory = self.quarters(lambda sample: sample.resident_mb)
        bound_mb = max(0.05 * memory[0], 8.0) if self.seconds > WARM_S else COLD_MB
        rows.append(("resident memory, MB", *change(memory, ".1f"), f"+{bound_mb:.0f}", bound_mb))
        for name, value in (
            ("threads", lambda sample: float(sample.threads)),
            ("descriptors", lambda sample: float(sample.descriptors)),
        ):
            rows.append((name, *change(self.quarters(value), ".0f"), "+2", 2.0))
        flat = [
            (f"{name}: second quarter, last", shown, wanted, grown <= bound)
            for name, shown, grown, wanted, bound in rows
        ]
        refused = log.lost_lines - log.missing  # of any kind, before they were counted otherwise
        sick = Counter(sample.health for sample in self.samples)
        scraped = Counter(sample.metrics for sample in self.samples)
        slowest_ms = max(sample.health_ms for sample in self.samples)
        troubles = self.soak.troubles
        starved = [reader.target for reader in self.readers if not reader.seen]
        ends = sum(reader.ends for reader in self.readers)
        return [
            *flat,
            (
                "frames classified; handed to the log",
                f"{self.classified:,}; {log.handed['frame']:,}",
                "all of them",
                self.classified <= log.handed["frame"] + refused,
            ),
            (
                "frames and pictures of these that are not in the log; lines counted as lost",
                f"{log.missing:,}; {log.lost_lines:,}",
                "no more than counted",
                log.missing <= log.lost_lines,
            ),
            ("answers of /healthz", said(sick), "all 200", set(sick) == {200}),
            ("slowest of them, ms", f"{slowest_ms:.0f}", "–", True),
            ("answers of /metrics", said(scraped), "all 200", set(scraped) == {200}),
            ("times a reader had to come again", str(ends), "0", ends == 0),
            ("readers who got nothing", ", ".join(starved) or "none", "none", not starved),
            ("faults that went otherwise", "; ".join(troubles) or "none", "none", not troubles),
            ("exit status on SIGTERM", str(self.status), "0", self.status == 0),
            ("tracebacks", str(self.said.count("Traceback")), "0", "Traceback" not in self.said),
        ]

    @property
    def flat(self) -> bool:
        return all(good for *_, good in self.checks())

    def markdown(self) -> str:
        log = self.soak.log
        faults = ", ".join(f"{name} {count}" for name, count in self.soak.done.items())
        seen = ", ".join(f"{reader.target} {reader.seen:,}" for reader in self.readers)
        kinds = ", ".join(f"{log.records[kind]:,} {name}" for kind, name in KINDS.items())
        rows = [(*told, "yes" if good else "**no**") for *told, good in self.checks()]
        lines = [("figure", "", "wanted", "met"), ("---",) * 4, *rows]
        return "\n".join(
            [
                f"{self.seconds / 60:.1f} minutes, {len(self.samples)} samples; faults: {faults}.",
                f"In {log.files} log files: {kinds}. Read: {seen}.",
                "",
                *("| " + " | ".join(line) + " |" for line in lines),
            ]
        )


def change(quarters: tuple[float, float], form: str) -> tuple[str, float]:
    before, after = quarters
    return f"{before:{form}}, {after:{form}}", after - before


def said(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own, which takes root to mount; None without."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "labelcam-soak", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def models_folder(folder: Path) -> Path:
    """Where one model is none."""
    models = folder / "models"
    models.mkdir()
    (models / find_spec(BROKEN).files["tflite"].name).write_bytes(b"\0\0\0\0TFL3, and no more")
    return models


def soak(seconds: float, every_s: float, only: str | None = None, sample_s: float = SAMPLE_S) -> Report:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory()))
        disk = opened.enter_context(small_disk(folder))
        log = Log((disk or folder) / "labelcam.jsonl")
        port = free_port()
        program = opened.enter_context(
            labelcam(
                *("--source", f"http://127.0.0.1:{port}/video", "--wait-for-camera", "--port", "0"),
                *("--log", log.path, "--models-dir", models_folder(folder)),
            )
        )
        soak = Soak(program, port, log, disk)
        opened.callback(lambda: soak.camera.close())
        faults = soak.faults()
        if only is not None and only not in faults:
            raise SystemExit(f"no fault is called {only} - known: {', '.join(faults)}")
        wait_for(lambda: soak.state()["answer"] is not None, "the camera is not found")
        readers = [
            Reader(soak.address, "/stream", b"\r\n--frame\r\n"),
            Reader(soak.address, "/stream?fps=5", b"\r\n--frame\r\n"),
            Reader(soak.address, "/stream?width=320", b"\r\n--frame\r\n"),
            Reader(soak.address, "/stream?slow", b"\r\n--frame\r\n", bytes_per_s=60_000),
            Reader(soak.address, "/api/events", b"event: state"),
        ]
        for reader in readers:
            reader.start()
        samples, over = [], threading.Event()

        def inflict() -> None:
            due_s = time.monotonic() + every_s
            for name in itertools.cycle([only] if only else faults):
                if over.wait(max(0.0, due_s - time.monotonic())):
                    return
                soak.inflict(name, faults[name])
                due_s += every_s

        inflicting = threading.Thread(target=inflict)
        started_s = time.monotonic()
        inflicting.start()
        while time.monotonic() < started_s + seconds:
            time.sleep(sample_s)
            samples.append(soak.sample())
        over.set()
        inflicting.join()
        classified = soak.state()["frames"]["classified"]
        for reader in readers:
            reader.stop()
        program.stop()
        log.take(log.path)
        took_s = time.monotonic() - started_s
        status = program.process.returncode
        return Report(samples, readers, soak, classified, status, program.errors, took_s)


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether the program stays as it was, whatever happens.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=20.0, metavar="S", help="from fault to fault [20]")
    parser.add_argument("--only", metavar="FAULT", help="this kind of fault, again and again")
    options = parser.parse_args()
    report = soak(60 * options.minutes, options.every, options.only)
    print(report.markdown())
    if not report.flat:
        print(report.said, file=sys.stderr)
    return int(not report.flat)


if __name__ == "__main__":
    sys.exit(main())
