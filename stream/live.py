"""The live command: builds the road of a frame, opens it to viewers, and takes it down again."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from stream.broadcast import Broadcast
from stream.hub import Hub
from stream.listening import is_loopback, listen
from stream.loading import Model, ModelWish, load_model
from stream.log import JsonLog, Record, Sink
from stream.pipeline import Pipeline, Policy
from stream.sources import Source, SourceError, Wish, open_source, without_credentials

log = logging.getLogger(__name__)

STOP_S, LEAVE_S = 0.7, 0.4
"""How long loops, and then responses, may take to end before they are left behind."""


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
    log: Path | None


def live(wish: LiveWish) -> None:
    """Run until the source ends, the time is over, or KeyboardInterrupt, which leaves as it came."""
    from stream.server import Server, ServerOptions, create_app  # Flask takes a quarter of a second to import
    from stream.state import Status

    with ExitStack() as opened:
        listening = opened.enter_context(listen(wish.host, wish.port))
        token = wish.token or (None if is_loopback(listening) else secrets.token_urlsafe(16))
        model = load_model(wish.model)
        opened.callback(model.backend.close)
        source = open_first(wish)
        sink = opened.enter_context(log_file(wish, model, source))
        hub = Hub(always=wish.encode_always)
        # What "auto" found is what comes back after a loss: not the demo instead of a camera.
        again = source.name if source and wish.source == "auto" else wish.source
        pipeline = Pipeline(
            source,
            lambda: open_source(again, wish.camera),
            model.backend,
            model.reading,
            wish.policy,
            hub,
            sink,
        )
        broadcast = Broadcast(hub)
        options = ServerOptions(token, wish.max_streams)
        server = Server(create_app(hub, broadcast, Status(pipeline, model), options), listening)
        pipeline.start()
        broadcast.start()
        server.start()
        try:
            print(greeting(address(listening, token), source, wish.source, model), flush=True)
            pipeline.join(wish.duration_s)
        finally:
            pipeline.stop()
            broadcast.close(LEAVE_S)
            server.close(LEAVE_S)
            pipeline.join(STOP_S)


def open_first(wish: LiveWish) -> Source | None:
    """The source; None if it is not there and may come later. Otherwise that is a mistake: SourceError."""
    try:
        return open_source(wish.source, wish.camera)
    except SourceError as error:
        if not wish.wait_for_camera:
            raise
        log.warning("%s - waiting for it", error)
        return None


@contextmanager
def log_file(wish: LiveWish, model: Model, source: Source | None) -> Iterator[Sink]:
    """Where records go: the file asked for, or nowhere."""
    if wish.log is None:
        yield lambda record: None
        return
    with JsonLog(wish.log, run_record(wish, model, source)) as sink:
        yield sink


def run_record(wish: LiveWish, model: Model, source: Source | None) -> Record:
    from stream.host import host_facts

    return {
        "rec": "run",
        "schema": 1,
        "command": "live",
        **host_facts(),
        **model.record(),
        "source": source.name if source else None,
        "source_kind": source.kind if source else None,
        "size": source.size if source else None,
        "fps": source.fps if source else None,
        "policy": asdict(wish.policy),
    }


def address(listening: socket.socket, token: str | None) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def greeting(url: str, source: Source | None, asked: str, model: Model) -> str:
    """The one line: where to look, which source, backend, runtime, model."""
    facts = model.backend.facts()
    if source is None:
        camera = f"{without_credentials(asked)} as soon as it is there"
    else:
        width, height = source.size
        camera = f"{source.name} {width}x{height}" + (f" at {source.fps:g} fps" if source.fps else "")
        camera += f" ({source.note})" if source.note else ""
    threads = f"{facts.threads} thread{'s' if facts.threads > 1 else ''}"
    runtime = f"{facts.backend}, {facts.runtime} {facts.version}, {threads}"
    return f"Labelcam: {url} | {camera} | {runtime} | {model.name}"
