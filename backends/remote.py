"""Models on a server that speaks the Open Inference Protocol (KServe's v2): Triton, MLServer, OpenVINO's.

Of a picture the resized tensor travels, raw. One request is under way at a time, each with a deadline, and
what is late is nobody's answer. After a failure nothing is sent for a while, which doubles; each new try has
a connection of its own, as one that a dead peer has left takes minutes to notice.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, quote, urlsplit

import numpy as np

from backends.base import (
    BackendFacts,
    BackendUnavailable,
    Loading,
    ModelToRun,
    NoAnswer,
    Stopwatch,
    Tensor,
    class_count,
    image_shape,
    one_line,
    recipe_for,
    tensor_of,
)
from models.errors import ModelError
from models.recipe import NOT_QUANTISED, Image, Quantisation, Quantiser
from models.scores import Scores

log = logging.getLogger(__name__)

DEADLINE_S = 1.0
LONGEST_DEADLINE_S = 30.0
FIRST_DEADLINE_S = 30.0
"""Of the first answer of all, for which a server may have to load what it needs."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 1.6
"""From one try to the next: it doubles. Not 2, so that 2 s after the server is back its answer is here."""

TYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype(np.uint8),
    "INT8": np.dtype(np.int8),
    "FP32": np.dtype(np.float32),
    "FP16": np.dtype(np.float16),
}
"""By the protocol's names, the types of scores; inputs are of the first three."""

SOFTMAX = {"UINT8": Quantisation(1 / 256, 0), "INT8": Quantisation(1 / 256, -128)}
"""What integer scores mean. The protocol does not say; TensorFlow Lite's quantised soft-max is always so."""

BINARY = "binary_tensor_data"
"""The extension of HTTP with which tensors travel raw."""

COMPUTE = "compute_us"
"""A parameter of the answer: for how long the model ran. tests/serving/litert_runtime.py sends it."""

EXAMPLE = "grpc://host:8001/NAME or http://host:8000/NAME"


@dataclass(frozen=True)
class Address:
    """Where a model is."""

    scheme: str
    host: str  # with its port
    name: str  # of the model, on the server
    recipe: str  # the catalogue's name of it, if it has one
    deadline_s: float = DEADLINE_S

    @property
    def server(self) -> str:
        return f"{self.scheme}://{self.host}"


def read_address(text: str) -> Address:
    """From grpc://host:8001/NAME?deadline=S&recipe=NAME. Raises ModelError."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("grpc", "http") and parts.hostname and parts.port and "@" not in parts.netloc
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        deadline_s = float(options.pop("deadline", DEADLINE_S))
    except ValueError:
        known, options, deadline_s = None, {}, DEADLINE_S
    name = parts.path.strip("/") if known else ""
    if not known or not name or "/" in name:
        shown = text.rpartition("@")[2]  # no password
        raise ModelError(f"{shown} is no address of a model on a server - write {EXAMPLE}")
    if not 0.01 <= deadline_s <= LONGEST_DEADLINE_S:
        raise ModelError(f"deadline={deadline_s:g} is not between 0.01 and {LONGEST_DEADLINE_S:g} seconds")
    recipe = options.pop("recipe", name)
    if options:
        raise ModelError(f"an address has no {', '.join(options)} - known: deadline, recipe")
    return Address(parts.scheme, parts.netloc, name, recipe, deadline_s)


@dataclass(frozen=True)
class End:
    """An input or output of the model."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1 where it is open


@dataclass(frozen=True)
class Described:
    """What the server says of itself and of the model."""

    runtime: str
    version: str
    extensions: tuple[str, ...]
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]


class Line(Protocol):
    """A connection to the server; `describe` comes first. Both may raise NoAnswer, or ModelError if the
    server refuses."""

    def describe(self, deadline_s: float) -> Described: ...

    def infer(self, source: End, sink: End, tensor: Tensor, deadline_s: float) -> tuple[Any, int | None]:
        """The array of scores, and for how many microseconds the model ran if the server says so."""

    def close(self) -> None: ...


class RemoteBackend:
    def __init__(self, model: ModelToRun) -> None:
        self._address = read_address(model.address or str(model.path))
        self._line: Line | None = None
        self.device_us: int | None = None  # the newest answer's, by the server's clock
        self.net_us: int | None = None  # the rest: the road, and the queue and batching of the server
        self._waited_s, self._again_ns, self._why = 0.0, 0, ""
        self._answered = False
        watch = Stopwatch()
        self._open = _opener(self._address)
        import_us = watch.lap_us()
        try:
            self._line = self._open()
            described = self._line.describe(max(5.0, self._address.deadline_s))
        except NoAnswer as error:
            self.close()
            raise BackendUnavailable(f"{error} - start the server, or see --model") from error
        except ModelError:
            self.close()
            raise
        load_us = watch.lap_us()
        self._described = described
        try:
            self._check(model, described)
        except ModelError as error:
            self.close()
            raise ModelError(f"{self._address.name} on {self._address.server}: {error}") from error
        self._facts = BackendFacts(
            backend="remote",
            runtime=described.runtime,
            version=described.version,
            threads=model.threads,
            device=self._address.server,
            recipe=self._recipe,
            outputs=self._outputs,
            output=SOFTMAX.get(self._sink.datatype, NOT_QUANTISED),
            loading=Loading(import_us, load_us, compile_us=watch.lap_us()),
            note=self._note(),
        )

    def _check(self, model: ModelToRun, described: Described) -> None:
        """Whether this is an image classifier, and one that the recipe is for."""
        shapes = [_of_one(end.shape) for end in described.inputs]
        turned = [_channels_last(shape) for shape in shapes]
        for end in described.inputs:
            if end.datatype not in ("UINT8", "INT8", "FP32"):
                raise ModelError(f"the input type {end.datatype} is not UINT8, INT8 or FP32")
        kinds = [TYPES[end.datatype] for end in described.inputs]
        shape = image_shape(list(zip(turned, kinds, strict=True)))
        self._outputs = class_count([_of_one(end.shape) for end in described.outputs])
        (self._source,), (self._sink,) = described.inputs, described.outputs
        if self._sink.datatype not in TYPES:
            raise ModelError(f"the scores are of type {self._sink.datatype}, not {', '.join(TYPES)}")
        self._channels_first = turned[0] != shapes[0]
        dtype = kinds[0]
        recipe = recipe_for(model, shape, dtype)
        self._recipe = replace(recipe, fit=model.fit or recipe.fit)
        if (self._recipe.order == "gray") != (shape[2] == 1):
            raise ModelError(f"it takes {shape[2]} channels, the catalogue's recipe is {self._recipe.order}")
        # The server does not say how integers stand for real values: they are the pixels, int8 less 128.
        fed, quantisation = self._recipe, NOT_QUANTISED
        if dtype.kind in "iu":
            fed = replace(fed, mean=(0.0,), std=(1.0,))
            quantisation = Quantisation(1.0, int(np.iinfo(dtype).min))
        self._fed, self._quantise = fed, Quantiser(fed, dtype, quantisation, channels=shape[2])

    def _note(self) -> str | None:
        """What to know before trusting the figures and the scores."""
        notes = []
        if self._address.scheme == "http" and BINARY not in self._described.extensions:
            slow = "the server takes tensors as JSON only, which costs tens of milliseconds"
            log.warning("%s: %s - use its grpc:// address", self._address.server, slow)
            notes.append(slow)
        if self._source.datatype in SOFTMAX:
            notes.append("the server gets pixels as they are, and is to scale them itself")
        if self._sink.datatype in SOFTMAX:
            notes.append("integer scores are read as those of a soft-max, in 256ths")
        return "; ".join(notes) or None

    def prepare(self, image: Image) -> Tensor:
        tensor = tensor_of(image, self._fed, self._quantise)
        if self._channels_first:
            tensor = tensor.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(tensor)

    def infer(self, tensor: Tensor) -> Scores:
        started_ns = time.monotonic_ns()
        if started_ns < self._again_ns:
            raise NoAnswer(self._why)
        try:
            scores, compute_us = self._ask(tensor)
        except (NoAnswer, ModelError) as error:
            self._fail(str(error), started_ns)
            raise NoAnswer(self._why) from error
        self._waited_s, self._answered = 0.0, True
        total_us = (time.monotonic_ns() - started_ns) // 1000
        said = compute_us is not None and 0 <= compute_us <= total_us
        self.device_us = compute_us if said else None
        self.net_us = total_us - compute_us if said and compute_us is not None else None
        return scores

    def facts(self) -> BackendFacts:
        return self._facts

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _ask(self, tensor: Tensor) -> tuple[Scores, int | None]:
        deadline_s = self._address.deadline_s if self._answered else FIRST_DEADLINE_S
        until_s = time.monotonic() + deadline_s
        if self._line is None or self._waited_s:
            self.close()
            self._line = self._open()
            now = self._line.describe(deadline_s)
            if (now.inputs, now.outputs) != (self._described.inputs, self._described.outputs):
                raise NoAnswer(f"{self._address.name} on {self._address.server} is another model now")
        array, compute_us = self._line.infer(self._source, self._sink, tensor, until_s - time.monotonic())
        if time.monotonic() > until_s:
            raise NoAnswer(late(deadline_s))
        expected = TYPES[self._sink.datatype]
        if not isinstance(array, np.ndarray) or array.size != self._outputs or array.dtype != expected:
            raise NoAnswer("the server's answer is not what it has announced")
        scores: Scores = array.reshape(-1).copy()
        if not np.isfinite(scores).all():
            raise NoAnswer("the server's scores are not numbers (NaN)")
        return scores, compute_us

    def _fail(self, why: str, started_ns: int) -> None:
        self._why = why
        self.device_us = self.net_us = None
        self._waited_s = min(max(2 * self._waited_s, FIRST_WAIT_S), LONGEST_WAIT_S)
        # From its beginning: who has waited out the deadline has waited.
        self._again_ns = started_ns + int(self._waited_s * 1e9)
        self.close()


def late(deadline_s: float) -> str:
    return f"the server has not answered within {deadline_s:g} s"


def _of_one(shape: Sequence[int]) -> list[int]:
    """Of one picture, where the server leaves open how many."""
    return [1, *shape[1:]] if shape and shape[0] == -1 else list(shape)


def _channels_last(shape: list[int]) -> list[int]:
    first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
    return [shape[0], *shape[2:], shape[1]] if first else shape


def _opener(address: Address) -> Callable[[], Line]:
    """Imports what the address needs."""
    try:
        if address.scheme == "grpc":
            import tritonclient.grpc as library

            return lambda: GrpcLine(library, address)
        import tritonclient.http as library

        return lambda: HttpLine(library, address)
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        what = "tritonclient is not installed" if name == "tritonclient" else one_line(error)
        raise BackendUnavailable(f"{what} - pip install -r requirements-remote.txt") from error


class GrpcLine:
    """By gRPC, tensors raw."""

    def __init__(self, library: Any, address: Address) -> None:
        self._library, self._address = library, address
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # Else a new channel inherits, in this process, how long an old one to there meant to wait.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._client = library.InferenceServerClient(address.host, channel_args=options)

    def describe(self, deadline_s: float) -> Described:
        until_s = time.monotonic() + deadline_s
        server = self._call(self._client.get_server_metadata, deadline_s)
        left_s = until_s - time.monotonic()
        model = self._call(self._client.get_model_metadata, left_s, model_name=self._address.name)
        inputs, outputs = (
            tuple(End(end.name, end.datatype, tuple(end.shape)) for end in ends)
            for ends in (model.inputs, model.outputs)
        )
        return Described(server.name, server.version, tuple(server.extensions), inputs, outputs)

    def infer(self, source: End, sink: End, tensor: Tensor, deadline_s: float) -> tuple[Any, int | None]:
        asked = self._library.InferInput(source.name, tensor.shape, source.datatype)
        asked.set_data_from_numpy(tensor)
        wanted = [self._library.InferRequestedOutput(sink.name)]
        found = self._call(
            self._client.infer, deadline_s, model_name=self._address.name, inputs=[asked], outputs=wanted
        )
        parameters = found.get_response().parameters
        compute_us = parameters[COMPUTE].int64_param if COMPUTE in parameters else None
        try:
            return found.as_numpy(sink.name), compute_us
        except ValueError as error:
            raise NoAnswer(f"the server's answer cannot be read: {one_line(error)}") from error

    def close(self) -> None:
        self._client.close()

    def _call(self, verb: Any, deadline_s: float, **arguments: Any) -> Any:
        try:
            return verb(client_timeout=max(0.001, deadline_s), **arguments)
        except self._library.InferenceServerException as error:
            status = str(error.status()).rpartition(".")[2]
            if status in ("UNAVAILABLE", "CANCELLED"):  # the latter by a server that ends
                raise NoAnswer(f"no server answers at {self._address.server}") from error
            if status == "DEADLINE_EXCEEDED":
                raise NoAnswer(late(self._address.deadline_s)) from error
            raise ModelError(refusal(self._address, error.message() or status)) from error


class HttpLine:
    """By HTTP, tensors raw where the server has that extension. The words are tritonclient's, but not the
    transport: that belongs to the thread that made it, and has a deadline for each read, not for all."""

    def __init__(self, library: Any, address: Address) -> None:
        self._library, self._address = library, address
        self._raw = False  # until the server has said that it can
        self._connection = HTTPConnection(address.host)
        self._used = False

    def describe(self, deadline_s: float) -> Described:
        until_s = time.monotonic() + deadline_s
        server = self._json("/v2", until_s)
        model = self._json(self._path, until_s)
        try:
            inputs, outputs = (
                tuple(End(str(end["name"]), end["datatype"], tuple(map(int, end["shape"]))) for end in ends)
                for ends in (model["inputs"], model["outputs"])
            )
            extensions = tuple(map(str, server.get("extensions") or ()))
            self._raw = BINARY in extensions
            return Described(str(server["name"]), str(server["version"]), extensions, inputs, outputs)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{self._address.server} does not speak the Open Inference Protocol") from error

    def infer(self, source: End, sink: End, tensor: Tensor, deadline_s: float) -> tuple[Any, int | None]:
        until_s = time.monotonic() + deadline_s
        asked = self._library.InferInput(source.name, tensor.shape, source.datatype)
        asked.set_data_from_numpy(tensor, binary_data=self._raw)
        wanted = [self._library.InferRequestedOutput(sink.name, binary_data=self._raw)]
        client = self._library.InferenceServerClient
        body, header_bytes = client.generate_request_body([asked], outputs=wanted)
        headers = {"Content-Type": "application/octet-stream" if header_bytes else "application/json"}
        if header_bytes is not None:
            headers["Inference-Header-Content-Length"] = str(header_bytes)
        response, content = self._exchange("POST", f"{self._path}/infer", until_s, body, headers)
        length = response.headers.get("Inference-Header-Content-Length")
        try:
            found = client.parse_response_body(content, header_length=int(length) if length else None)
            compute_us = (found.get_response().get("parameters") or {}).get(COMPUTE)
            scores = found.as_numpy(sink.name)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise NoAnswer(f"the server's answer cannot be read: {one_line(error)[:200]}") from error
        return scores, compute_us if isinstance(compute_us, int) else None

    def close(self) -> None:
        self._connection.close()

    @property
    def _path(self) -> str:
        return f"/v2/models/{quote(self._address.name, safe='')}"

    def _json(self, path: str, until_s: float) -> Any:
        _, content = self._exchange("GET", path, until_s)
        try:
            return json.loads(content)
        except ValueError as error:
            raise ModelError(f"{self._address.server} does not speak the Open Inference Protocol") from error

    def _exchange(
        self, verb: str, path: str, until_s: float, body: bytes | None = None, headers: Any = None
    ) -> tuple[HTTPResponse, bytes]:
        """Once more, at once, if the server has closed an idle connection meanwhile."""
        again, self._used = self._used, True
        try:
            response, content = self._once(verb, path, until_s, body, headers or {})
        except ConnectionError as error:
            self._connection.close()
            if again and not isinstance(error, ConnectionRefusedError):
                self._used = False
                return self._exchange(verb, path, until_s, body, headers)
            raise NoAnswer(f"no server answers at {self._address.server}") from error
        except TimeoutError as error:
            raise NoAnswer(late(self._address.deadline_s)) from error
        except OSError as error:
            raise NoAnswer(f"no server answers at {self._address.server}: {one_line(error)}") from error
        except IncompleteRead as error:
            raise NoAnswer(f"no server answers at {self._address.server} any more") from error
        except HTTPException as error:
            raise NoAnswer(f"what answers at {self._address.server} is not HTTP") from error
        if response.status in (502, 503, 504):
            raise NoAnswer(f"{self._address.server} answers {response.status} {response.reason}")
        if response.status != 200:
            raise ModelError(refusal(self._address, _error_of(content) or f"{response.status}"))
        return response, content

    def _once(
        self, verb: str, path: str, until_s: float, body: bytes | None, headers: dict[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        connection = self._connection
        connection.response_class = partial(_response, until_s)  # type: ignore[assignment]
        connection.timeout = _left_s(until_s)
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(_left_s(until_s))
        connection.request(verb, path, body, headers)
        response = connection.getresponse()
        return response, response.read()


def _response(until_s: float, sock: socket.socket, **options: Any) -> HTTPResponse:
    return HTTPResponse(cast(socket.socket, _Hurried(sock, until_s)), **options)


class _Hurried:
    """What an HTTPResponse reads from."""

    def __init__(self, sock: socket.socket, until_s: float) -> None:
        self._sock, self._until_s = sock, until_s

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_HurriedReader(self._sock, self._until_s))


class _HurriedReader(io.RawIOBase):
    """Reads until a monotonic time, however many reads it takes: a server may send a byte a second."""

    def __init__(self, sock: socket.socket, until_s: float) -> None:
        self._sock, self._until_s = sock, until_s
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left_s(self._until_s))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _error_of(content: bytes) -> str | None:
    """The protocol's `error`, if it is one."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(error)


def refusal(address: Address, said: str) -> str:
    return f"{address.server} says of {address.name}: {' '.join(said.split())[:200]}"
