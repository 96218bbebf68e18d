"""What is here and works, what is not, and the one command that makes it work."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Literal

from backends.base import BackendUnavailable
from backends.jetpack import install_route, read_jetpack
from backends.remote import EXAMPLE
from backends.table import BACKENDS, installed
from backends.tensorrt import MODULES
from models.catalogue import BUILT_IN
from models.errors import ModelError
from stream.devices import Camera, cameras
from stream.gstreamer import gstreamer_facts
from stream.host import host_facts
from stream.listening import ListenError, listen
from stream.loading import ModelWish, load_model
from stream.pipelines import JETSON
from stream.reader import Reader
from stream.sources import Source, SourceError, Wish, open_source
from stream.tables import megabytes
from stream.version import __version__

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)
SCARCE_BYTES = 500_000_000
CAMERA_S = 15.0
"""How long a camera may take to deliver a picture."""

State = Literal["works", "broken", "absent", "is"]
"""`broken` is needed, or here and of no use; `absent` is optional; `is` is neither good nor bad."""


@dataclass(frozen=True)
class Finding:
    area: str
    name: str
    state: State
    text: str
    cure: str = ""  # what to type now


def examine(port: int, models_dir: Path | None) -> Iterator[Finding]:
    """One finding after the other, as they are made: loading a backend takes seconds."""
    yield from examine_python()
    yield from examine_packages()
    yield from examine_backends(models_dir)
    yield from examine_cameras()
    yield from examine_gstreamer()
    yield from examine_machine(models_dir)
    yield examine_port(port)


def examine_python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= OLDEST_PYTHON
    cure = "" if good else "install Python 3.10 or newer, then: make run PYTHON=python3.10"
    yield Finding("python", "Python", "works" if good else "broken", f"{version}, {sys.executable}", cure)
    yield Finding("python", "Labelcam", "is", f"{__version__}, {ROOT}")


def examine_packages() -> Iterator[Finding]:
    for path in sorted(ROOT.glob("requirements*.txt"), key=lambda path: (len(path.name), path.name)):
        if path.stem in ("requirements-dev", "requirements-benchmark"):
            continue
        needed = path.stem == "requirements"
        for name in required(path.read_text()):
            version = version_of(name)
            if version:
                yield Finding("packages", name, "works", version)
            else:
                use = "" if needed else f", optional: {path.stem.partition('-')[2]}"
                cure = f"{sys.executable} -m pip install -r {path.name}"
                yield Finding("packages", name, "broken" if needed else "absent", f"not installed{use}", cure)


def required(text: str) -> Iterator[str]:
    """The names in a requirements file that mean this machine."""
    for line in text.splitlines():
        requirement, _, marker = line.partition("#")[0].partition(";")
        machine = re.search(r"platform_machine (==|!=) \"(\w+)\"", marker)
        if machine and (os.uname().machine == machine[2]) != (machine[1] == "=="):
            continue
        if name := re.match(r"[\w.-]+", requirement.strip()):
            yield name[0]


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def examine_backends(models_dir: Path | None) -> Iterator[Finding]:
    for name in BACKENDS:
        if name == "remote":
            yield examine_remote()
        elif name != "tensorrt":
            yield examine_backend(name, models_dir)
    here = [runtime for runtime, modules in MODULES.items() if any(map(find_spec, modules))]
    if not here:
        cure = install_route(read_jetpack())
        yield Finding("backends", "tensorrt", "absent", f"without {' or '.join(MODULES)}", cure)
        return
    yield Finding("backends", "tensorrt, by", "works", ", ".join(here))
    yield examine_backend("tensorrt", models_dir)


def examine_remote() -> Finding:
    """Which server to ask, nobody has said."""
    if not installed("remote"):
        cure = "pip install -r requirements-remote.txt"
        return Finding("backends", "remote", "absent", "tritonclient is not installed", cure)
    text = f"tritonclient {version_of('tritonclient')}; no server was asked"
    return Finding("backends", "remote", "is", text, f"--model {EXAMPLE}")


def examine_backend(name: str, models_dir: Path | None) -> Finding:
    """By loading the built-in model into it, and running it."""
    try:
        model = load_model(ModelWish(BUILT_IN, backend=name, models_dir=models_dir))
    except (BackendUnavailable, ModelError) as error:
        text, cure = parted(error)
        return Finding("backends", name, "broken" if name == "tflite" else "absent", text, cure)
    try:
        facts = model.backend.facts()
        return Finding("backends", name, "works", f"{facts.runtime} {facts.version} on {facts.device}")
    finally:
        model.backend.close()


def examine_cameras() -> Iterator[Finding]:
    here = cameras()
    if not here:
        cure = "plug one in; for a camera on the Jetson's ribbon: python run.py --source csi:0"
        yield Finding("cameras", "/dev/video*", "absent", "no camera is here", cure)
    for camera in here:
        yield from examine_camera(camera)


def examine_camera(camera: Camera) -> Iterator[Finding]:
    """Whether it delivers a picture, and what else it offers."""
    about = f"{camera.name}, {camera.driver}" if camera.driver else camera.name
    if camera.fault:
        yield Finding("cameras", camera.path, "broken", *failure_of(camera.path))
        return
    reader = Reader(lambda: open_source(camera.path, Wish()), lambda reader, source: None)
    if not reader.ended_within(CAMERA_S):
        cure = "pull its plug and put it in again"
        yield Finding("cameras", camera.path, "broken", f"{about}: its driver does not come back", cure)
    elif reader.failure is not None:
        text, cure = parted(reader.failure)
        yield Finding("cameras", camera.path, "broken", f"{about}: {text}", cure)
    elif reader.source is not None:
        yield Finding("cameras", camera.path, "works", f"{about}: {delivery(reader.source)}")
    yield Finding("cameras", "lasting name", "is", camera.by_id or "none")
    for format, modes in groupby(camera.modes, lambda mode: mode.format):
        offered = [f"{mode.size[0]}x{mode.size[1]}{rates_text(mode.rates)}" for mode in modes]
        yield Finding("cameras", format, "is", ", ".join(offered))
    if camera.controls:
        settings = [f"{control.name} {control.minimum} to {control.maximum}" for control in camera.controls]
        yield Finding("cameras", "controls", "is", ", ".join(settings))


def failure_of(path: str) -> tuple[str, str]:
    """Why it does not open, in the words of whoever opens it."""
    try:
        open_source(path, Wish()).shots.close()
    except SourceError as error:
        return parted(error)
    return "opens now", ""


def delivery(source: Source) -> str:
    rate = f" at {source.fps:g} fps" if source.fps else ""
    return f"{source.size[0]}x{source.size[1]}{rate}, by {source.via}"


def rates_text(rates: tuple[float, ...]) -> str:
    return f" at {' '.join(f'{rate:g}' for rate in rates)}" if rates else ""


def examine_gstreamer() -> Iterator[Finding]:
    facts = gstreamer_facts()
    if not facts.via:
        text, _, cure = facts.advice.partition(" - ")
        yield Finding("gstreamer", "GStreamer", "absent", text, cure)
        return
    reader = "PyGObject" if facts.version else facts.via
    yield Finding("gstreamer", "GStreamer", "works", f"{facts.version}, read by {reader}".strip(", "))
    yield Finding("gstreamer", "elements", "works", " ".join(facts.here))
    by_package = sorted(facts.missing.items(), key=lambda item: item[1])
    for package, missing in groupby(by_package, lambda item: item[1]):
        cure = "" if package == JETSON else f"sudo apt-get install {package}"
        names = " ".join(element for element, _ in missing)
        only = ", which only a Jetson has" if package == JETSON else ""
        yield Finding("gstreamer", "missing elements", "absent", f"{names}: in {package}{only}", cure)


def examine_machine(models_dir: Path | None) -> Iterator[Finding]:
    facts = host_facts()
    yield Finding("machine", "CPU", "is", f"{facts['cpu'] or facts['machine']}, {facts['cpu_count']} cores")
    governor = facts["governor"]
    if governor not in (None, "performance"):
        cure = "sudo cpupower frequency-set -g performance"
        yield Finding("machine", "governor", "is", f"{governor}: benchmarks want performance", cure)
    else:
        yield Finding("machine", "governor", "is", governor or "this machine does not tell")
    jetpack = read_jetpack()
    if jetpack is None:
        yield Finding("machine", "Jetson", "is", "this is none")
    else:
        told = {key.replace("_", " "): value for key, value in asdict(jetpack).items() if value}
        yield Finding("machine", "Jetson", "is", ", ".join(f"{key} {value}" for key, value in told.items()))
    for path in dict.fromkeys((models_dir or ROOT, Path.cwd())):
        yield examine_disk(path)


def examine_disk(path: Path) -> Finding:
    free = shutil.disk_usage(next(part for part in (path, *path.parents) if part.exists())).free
    good = free > SCARCE_BYTES
    return Finding(
        "machine",
        f"disk of {path}",
        "works" if good else "broken",
        f"{megabytes(free)} MB free",
        "" if good else f"du -xh {path} | sort -h | tail",
    )


def examine_port(port: int) -> Finding:
    try:
        listen("127.0.0.1", port).close()
    except ListenError as error:
        text, cure = parted(error)
        return Finding("server", f"port {port}", "broken", text, cure)
    return Finding("server", f"port {port}", "works", "is free")


def parted(error: BaseException) -> tuple[str, str]:
    """What happened, and what to type now: so are our errors made."""
    text, _, cure = str(error).partition(" - ")
    return text, cure


# What is shown of it.


MARKS: dict[State, str] = {"works": "ok", "broken": "NO", "absent": "--", "is": ""}


def tell(findings: Iterable[Finding]) -> bool:
    """On the terminal, each as soon as it is known. Whether nothing was broken."""
    area, good = "", True
    for finding in findings:
        good = works([finding]) and good
        for line in ([] if finding.area == area else ["", finding.area]) + lines_of(finding):
            print(line, flush=True)
        area = finding.area
    return good


def lines_of(finding: Finding) -> list[str]:
    """What is found, and below it what to type."""
    line = f"  {MARKS[finding.state]:2}  {finding.name:26}  {finding.text}"
    return [line, f"      -> {finding.cure}"] if finding.cure else [line]


def as_json(findings: Iterable[Finding]) -> str:
    found = list(findings)
    return json.dumps({"works": works(found), "findings": [asdict(finding) for finding in found]}, indent=2)


def works(findings: Iterable[Finding]) -> bool:
    return not any(finding.state == "broken" for finding in findings)
