"""The live command: builds the road of a frame, opens it to viewers, and takes it down again."""

from __future__ import annotations

import math
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from urllib.parse import quote

from stream.capture import described
from stream.compare_process import Comparer
from stream.hub import Places
from stream.listening import inherited, is_loopback, listen
from stream.loading import Model, ModelWish, is_remote, load_models
from stream.log import JsonLog, Record, run_record
from stream.mqtt import Broker, Publisher
from stream.pipeline import SLICE_S, Pipeline, Policy, Turns, join
from stream.process import give_memory_back, on_signals
from stream.redaction import redact_logs
from stream.server import ServerOptions, create_app
from stream.server_metrics import Metrics
from stream.server_waitress import Server
from stream.service import Service, Supervisor
from stream.sources import Source, SourceError, Wish, open_source, without_credentials
from stream.state import Status, first, sickness, working
from stream.station import Station
from stream.switch import Switch

END_S, FREE_S = 1.0, 0.5
"""How long loops and responses may take to end before they are left behind, and how much longer a driver may
take to free its camera. The log takes less than that."""


TIDY_S = 60.0
"""How often free memory is given back. The next pictures cost a few page faults more."""


@dataclass(frozen=True)
class LiveWish:
    """What was asked for."""

    model: ModelWish
    sources: Mapping[str, str]  # by each camera's name
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

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sources)

    @property
    def several(self) -> bool:
        return len(self.sources) > 1


def live(wish: LiveWish) -> None:
    """Run until the sources end, the time is over, or a signal says so."""
    with ExitStack() as opened:
        listening = opened.enter_context(
            inherited(wish.service) if wish.service.sockets else listen(wish.host, wish.port)
        )
        token = wish.token or (None if is_loopback(listening) else secrets.token_urlsafe(16))
        redact_logs(token)
        # A server gets each camera's frames by a connection of their own; here they take turns.
        each = is_remote(wish.model.model, wish.model.backend)
        models = load_models(wish.model, len(wish.sources), each)
        switch = Switch(models, wish.model, wish.policy.smoothing, wish.policy.quality)
        opened.callback(switch.close)
        turns = Turns() if wish.several and not each else None
        publishers = {name: publisher(wish, name, models[0]) for name in wish.names}
        asked = Event()
        on_signals(asked.set)  # until now there was nothing to take down, and a signal was the end
        sources = open_first(wish, asked)
        if sources is None:
            return
        supervisor, metrics, places = Supervisor(wish.service), Metrics(), Places(wish.max_streams, "viewers")
        cameras: list[Status] = []
        stations = []
        for name, source in sources.items():
            describe = partial(live_record, wish, name)
            record = describe(switch.next_model(), wish.policy, source)
            station = Station(
                source,
                partial(open_again, name, wish),
                switch,
                wish.policy,
                describe,
                name=name,
                cameras=wish.names,
                turns=turns,
                places=places,
                encode_always=wish.encode_always,
                log=opened.enter_context(log_file(log_path(wish, name), record)),
                mqtt=publishers[name],
                asked=without_credentials(wish.sources[name]),
                sinks=(metrics.of(name),),
                beat=partial(beat, supervisor, cameras),
            )
            stations.append(station)
            cameras.append(station.status)
        comparer = Comparer()
        options = ServerOptions(token, wish.hosts)
        server = Server(create_app(cameras, options, metrics, comparer), listening)
        opened.callback(shut_down, stations, server, wish.camera.ending)
        opened.callback(comparer.close)
        opened.callback(supervisor.stopping)
        for station in stations:
            station.start()
        if turns:
            turns.start()
        server.start()
        path = "camera/" if wish.several else ""
        url = address(listening, path, None if wish.token else token)  # whoever gave one knows it
        print(greeting(url, sources, wish.sources, models[0]), flush=True)
        supervisor.ready(address(listening, path, None))
        run([station.pipeline for station in stations], wish.duration_s or math.inf, asked)


def run(pipelines: Sequence[Pipeline], duration_s: float, asked: Event) -> None:
    """Until they have ended, the time is over, or it is asked for. Raises what ended a loop early."""
    until_s = time.monotonic() + duration_s
    while (left_s := until_s - time.monotonic()) > 0 and not asked.is_set():
        join(pipelines, min(left_s, TIDY_S), unless=asked)
        if all(pipeline.over for pipeline in pipelines):
            return
        give_memory_back()


def beat(supervisor: Supervisor, cameras: Sequence[Status]) -> None:
    """Once round of a loop that paints. A folder may rest for a minute from picture to picture."""
    if not supervisor.due() or sickness(cameras):
        return  # in the second case the watchdog is to bite
    captures = [camera.pipeline.capture for camera in working(cameras)]
    resting = any(capture.source is not None and capture.source.paced for capture in captures)
    supervisor.beat(sum(capture.count for capture in captures), first(cameras, Status.fault), resting)


def shut_down(stations: Sequence[Station], server: Server, ending: Event) -> None:
    """End the loops, the streams, the server, in END_S all together. Raises what ended a loop early."""
    until_s = time.monotonic() + END_S
    for station in stations:
        station.pipeline.stop()
    ending.set()  # not before: a camera that is not waited for is no lost one now
    for station in stations:
        station.stop(until_s)
    server.close(until_s)
    for station in stations:
        if station.status.mqtt:
            station.status.mqtt.join()
    join([station.pipeline for station in stations], max(0.0, until_s + FREE_S - time.monotonic()))


def publisher(wish: LiveWish, name: str, model: Model) -> Publisher | None:
    """Each of several cameras has a topic of its own, under the one that was asked for."""
    if wish.mqtt is None:
        return None
    broker = replace(wish.mqtt, topic=f"{wish.mqtt.topic}/{name}") if wish.several else wish.mqtt
    return Publisher(broker, model.name, model.backend.facts().backend)


def log_path(wish: LiveWish, name: str) -> Path | None:
    """Each of several cameras has a log of its own: live.jsonl becomes live-NAME.jsonl."""
    log = wish.log
    return log.with_name(f"{log.stem}-{name}{log.suffix}") if log and wish.several else log


def open_first(wish: LiveWish, asked: Event) -> dict[str, Source | None] | None:
    """The sources by their cameras' names, None where it may come later; or None for all, if it is `asked`
    to end meanwhile. Raises SourceError.

    A driver may block for seconds, but in a thread that can be left behind.
    """
    if wish.wait_for_camera:
        return dict.fromkeys(wish.sources)
    opening = {name: in_thread(source, wish.camera) for name, source in wish.sources.items()}
    while wait(opening.values(), SLICE_S, FIRST_EXCEPTION).not_done:
        if asked.is_set() or failures(opening):
            break
    failed = failures(opening)
    if not failed and not asked.is_set():
        return {name: future.result() for name, future in opening.items()}
    wish.camera.ending.set()
    for future in wait(opening.values(), END_S).done:
        if future.exception() is None:
            future.result().shots.close()  # Argus keeps what is not given back
    if asked.is_set():
        return None
    name, failure = next(iter(failed.items()))
    if wish.several and isinstance(failure, SourceError):
        raise SourceError(f"{name}: {failure}") from failure
    raise failure


def in_thread(source: str, wish: Wish) -> Future[Source]:
    opening: Future[Source] = Future()

    def work() -> None:
        try:
            opening.set_result(open_source(source, wish))
        except BaseException as error:  # noqa: BLE001 - passed on
            opening.set_exception(error)

    threading.Thread(target=work, name="open", daemon=True).start()
    return opening


def failures(opening: Mapping[str, Future[Source]]) -> dict[str, BaseException]:
    """Of those that are through."""
    found = {name: future.exception() for name, future in opening.items() if future.done()}
    return {name: failure for name, failure in found.items() if failure is not None}


def open_again(name: str, wish: LiveWish, again: str) -> Source:
    """What was lost, or has not been there yet. Who waits for a camera does not mean the demo."""
    asked = again or wish.sources[name]
    source = open_source(asked, wish.camera)
    if wish.wait_for_camera and asked == "auto" and source.kind == "demo":
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


def live_record(wish: LiveWish, name: str, model: Model, policy: Policy, source: Source | None) -> Record:
    shared = {"camera": name, "cameras": len(wish.sources)} if wish.several else {}
    return {
        **run_record("live"),
        **model.record(),
        **shared,
        "source": source.name if source else without_credentials(wish.sources[name]),
        "source_kind": source.kind if source else None,
        "source_via": source.via if source else None,
        "size": source.size if source else None,
        "fps": source.fps if source else None,
        "policy": {**asdict(policy), "encode_always": wish.encode_always},
    }


def address(listening: socket.socket, path: str, token: str | None) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = own_address()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/{path}" + (f"?token={quote(token, safe='')}" if token else "")


def own_address() -> str:
    """Under which other machines reach this one, most likely; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # an address that is nobody's (RFC 5737)
        except OSError:  # no network
            return socket.gethostname()
        return str(asking.getsockname()[0])


def greeting(url: str, sources: Mapping[str, Source | None], asked: Mapping[str, str], model: Model) -> str:
    """The one line: where to look, which sources, backend, runtime, model."""
    told = {
        name: described(source) if source else f"{without_credentials(asked[name])} as soon as it is there"
        for name, source in sources.items()
    }
    several = "; ".join(f"{name}: {camera}" for name, camera in told.items())
    cameras = several if len(told) > 1 else next(iter(told.values()))
    return f"Labelcam: {url} | {cameras} | {model.backend.facts()} | {model.name}"
