"""The live command: builds the road of a frame, opens it to viewers, and takes it down again."""

from __future__ import annotations

import math
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Event
from urllib.parse import quote

from stream.capture import described
from stream.compare_process import Comparer
from stream.listening import inherited, is_loopback, listen
from stream.loading import Model, ModelWish, load_model
from stream.log import JsonLog, Record, run_record
from stream.mqtt import Broker, Publisher
from stream.pipeline import SLICE_S, Policy
from stream.process import on_signals
from stream.redaction import redact_logs
from stream.server import ServerOptions, create_app
from stream.server_metrics import Metrics
from stream.server_waitress import Server
from stream.service import Service, Supervisor
from stream.sources import Source, SourceError, Wish, open_source, without_credentials
from stream.state import Status
from stream.station import Station
from stream.switch import Switch

END_S, FREE_S = 1.0, 0.5
"""How long loops and responses may take to end before they are left behind, and how much longer a driver may
take to free its camera. The log takes less than that."""


@dataclass(frozen=True)
class LiveWish:
    """What was asked for."""

    model: ModelWish
    source: str
    camera: Wish
    wait_for_camera: bool
    policy: Policy
    encode_always: bool
    duration_s: float | None
    host: str
    port: int
    token: str | None
    max_streams: int
    hosts: tuple[str, ...]
    log: Path | None
    mqtt: Broker | None
    service: Service


def live(wish: LiveWish) -> None:
    """Run until the source ends, the time is over, or a signal says so."""
    with ExitStack() as opened:
        listening = opened.enter_context(
            inherited(wish.service) if wish.service.sockets else listen(wish.host, wish.port)
        )
        token = wish.token or (None if is_loopback(listening) else secrets.token_urlsafe(16))
        redact_logs(token)
        model = load_model(wish.model)
        switch = Switch(model, wish.model, wish.policy.smoothing, wish.policy.quality)
        opened.callback(switch.close)
        mqtt = Publisher(wish.mqtt, model.name, model.backend.facts().backend) if wish.mqtt else None
        asked = Event()
        on_signals(asked.set)  # until now there was nothing to take down, and a signal was the end
        source = open_first(wish, asked)
        if source is None and asked.is_set():
            return
        describe = partial(live_record, wish)
        log = opened.enter_context(log_file(wish.log, describe(model, wish.policy, source)))
        supervisor, metrics = Supervisor(wish.service), Metrics()
        station = Station(
            source,
            lambda again: open_again(again or wish.source, wish),
            switch,
            wish.policy,
            describe,
            encode_always=wish.encode_always,
            max_streams=wish.max_streams,
            log=log,
            mqtt=mqtt,
            asked=without_credentials(wish.source),
            sinks=(metrics,),
            beat=partial(beat, supervisor),
        )
        comparer = Comparer()
        options = ServerOptions(token, wish.hosts)
        server = Server(create_app(station.status, options, metrics, comparer), listening)
        opened.callback(shut_down, station, server, wish.camera.ending)
        opened.callback(comparer.close)
        opened.callback(supervisor.stopping)
        station.start()
        server.start()
        url = address(listening, None if wish.token else token)  # whoever gave one knows it
        print(greeting(url, source, wish.source, model), flush=True)
        supervisor.ready(address(listening, None))
        station.pipeline.join(wish.duration_s or math.inf, unless=asked)


def beat(supervisor: Supervisor, status: Status) -> None:
    """Once round of the loop that paints. A folder may rest for a minute from picture to picture."""
    if status.sickness():
        return  # the watchdog is to bite
    capture = status.pipeline.capture
    resting = capture.source is not None and capture.source.paced
    supervisor.beat(capture.count, capture.fault(), resting)


def shut_down(station: Station, server: Server, ending: Event) -> None:
    """End the loops, the streams, the server, in END_S all together. Raises what ended a loop early."""
    until_s = time.monotonic() + END_S
    station.pipeline.stop()
    ending.set()  # not before: a camera that is not waited for is no lost one now
    station.stop(until_s)
    server.close(until_s)
    if station.status.mqtt:
        station.status.mqtt.join()
    station.pipeline.join(max(0.0, until_s + FREE_S - time.monotonic()))


def open_first(wish: LiveWish, asked: Event) -> Source | None:
    """The source; None if it may come later, or is `asked` to come no more. Raises SourceError.

    A driver may block for seconds, but in a thread that can be left behind.
    """
    if wish.wait_for_camera:
        return None
    opened: Future[Source] = Future()

    def work() -> None:
        try:
            opened.set_result(open_source(wish.source, wish.camera))
        except BaseException as error:  # noqa: BLE001 - passed on
            opened.set_exception(error)

    threading.Thread(target=work, name="open", daemon=True).start()
    while not wait([opened], SLICE_S).done:
        if asked.is_set():
            wish.camera.ending.set()
            if wait([opened], END_S).done and opened.exception() is None:
                opened.result().shots.close()  # Argus keeps what is not given back
            return None
    return opened.result()


def open_again(name: str, wish: LiveWish) -> Source:
    """What was lost, or has not been there yet. Who waits for a camera does not mean the demo."""
    source = open_source(name, wish.camera)
    if wish.wait_for_camera and name == "auto" and source.kind == "demo":
        source.shots.close()
        _, _, why = source.note.partition(": ")  # of one that is there
        raise SourceError(why or "no camera opens yet - plug one in")
    return source


@contextmanager
def log_file(path: Path | None, record: Record) -> Iterator[JsonLog | None]:
    """Where records go: the file asked for, or nowhere."""
    if path is None:
        yield None
        return
    with JsonLog(path, record) as log:
        yield log


def live_record(wish: LiveWish, model: Model, policy: Policy, source: Source | None) -> Record:
    return {
        **run_record("live"),
        **model.record(),
        "source": source.name if source else without_credentials(wish.source),
        "source_kind": source.kind if source else None,
        "source_via": source.via if source else None,
        "size": source.size if source else None,
        "fps": source.fps if source else None,
        "policy": {**asdict(policy), "encode_always": wish.encode_always},
    }


def address(listening: socket.socket, token: str | None) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = own_address()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


def own_address() -> str:
    """Under which other machines reach this one, most likely; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # an address that is nobody's (RFC 5737)
        except OSError:  # no network
            return socket.gethostname()
        return str(asking.getsockname()[0])


def greeting(url: str, source: Source | None, asked: str, model: Model) -> str:
    """The one line: where to look, which source, backend, runtime, model."""
    later = f"{without_credentials(asked)} as soon as it is there"
    camera = described(source) if source else later
    return f"Labelcam: {url} | {camera} | {model.backend.facts()} | {model.name}"
