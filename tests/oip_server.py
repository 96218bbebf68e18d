"""A small server of the Open Inference Protocol, gRPC and HTTP: one that can be slow, wrong, and gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

grpc = pytest.importorskip("grpc", reason="pip install -r requirements-remote.txt")
pytest.importorskip("tritonclient.grpc", reason="pip install -r requirements-remote.txt")

from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402

from tests.network_camera import free_port  # noqa: E402

Array = npt.NDArray[Any]

TYPES = {"UINT8": np.uint8, "INT8": np.int8, "FP32": np.float32, "FP16": np.float16, "INT64": np.int64}


def colours(pixels: Array) -> Array:
    """The scores of red, green and blue: each channel's share."""
    means = pixels.reshape(1, -1, 3).astype(np.float32).mean(axis=1) + 1e-3
    return np.asarray(means / means.sum(), np.float32)


@dataclass
class Served:
    """The one model, and what is the matter with it. Changed while it is served."""

    name: str = "colours"
    inputs: list[tuple[str, str, list[int]]] = field(
        default_factory=lambda: [("image", "UINT8", [-1, 4, 6, 3])]
    )
    outputs: list[tuple[str, str, list[int]]] = field(default_factory=lambda: [("scores", "FP32", [-1, 3])])
    answer: Callable[[Array], Array] = colours
    binary: bool = True  # the extension of HTTP
    compute_us: int | None = None  # what it says that it took
    delay_s: float = 0.0
    drip_s: float = 0.0  # between two bytes of an answer, of HTTP
    refuses: str = ""
    asked: list[str] = field(default_factory=list)  # how tensors came: raw, binary, json
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, pixels: Array, how: str) -> Array:
        with self.lock:
            self.asked.append(how)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            time.sleep(self.delay_s)
            return self.answer(pixels)
        finally:
            with self.lock:
                self.under_way -= 1


class Refused(Exception):
    pass


class OipServer:
    """Of one scheme. `start` and `stop` as often as wanted, always at the same port."""

    def __init__(self, scheme: str, served: Served) -> None:
        self.served, self.scheme = served, scheme
        self.port = free_port()
        self._stop: Callable[[], object] | None = None
        self.start()

    def address(self, query: str = "") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{self.served.name}{query}"

    def start(self) -> None:
        self._stop = {"grpc": start_grpc, "http": start_http}[self.scheme](self.port, self.served)

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()
        self._stop = None


@contextmanager
def serving(scheme: str, served: Served | None = None) -> Iterator[OipServer]:
    server = OipServer(scheme, served or Served())
    try:
        yield server
    finally:
        server.stop()


def start_grpc(port: int, served: Served) -> Callable[[], object]:
    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            return service_pb2.ServerMetadataResponse(name="test", version="1.0", extensions=[])

        def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.name != served.name:
                context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}")
            ends = service_pb2.ModelMetadataResponse.TensorMetadata
            inputs, outputs = (
                [ends(name=name, datatype=kind, shape=shape) for name, kind, shape in listed]
                for listed in (served.inputs, served.outputs)
            )
            return service_pb2.ModelMetadataResponse(name=served.name, inputs=inputs, outputs=outputs)

        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            if served.refuses:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, served.refuses)
            (asked,), how = request.inputs, "raw" if request.raw_input_contents else "listed"
            pixels = np.frombuffer(request.raw_input_contents[0], TYPES[asked.datatype])
            scores = served.answered(pixels.reshape(asked.shape), how)
            name, kind, _ = served.outputs[0]
            answer = service_pb2.ModelInferResponse(model_name=served.name)
            answer.outputs.add(name=name, datatype=kind, shape=scores.shape)
            answer.raw_output_contents.append(scores.tobytes())
            if served.compute_us is not None:
                answer.parameters["compute_us"].int64_param = served.compute_us
            return answer

    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()

    def stop() -> None:
        server.stop(0).wait()
        pool.shutdown()

    return stop


def start_http(port: int, served: Served) -> Callable[[], object]:
    open_ones: set[socket.socket] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            open_ones.add(self.request)

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/v2":
                extensions = ["binary_tensor_data"] if served.binary else []
                self.send(
                    200, json.dumps({"name": "test", "version": "1.0", "extensions": extensions}).encode()
                )
            elif self.path == f"/v2/models/{served.name}":
                inputs, outputs = (
                    [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in listed]
                    for listed in (served.inputs, served.outputs)
                )
                self.send(
                    200, json.dumps({"name": served.name, "inputs": inputs, "outputs": outputs}).encode()
                )
            else:
                self.send(404, json.dumps({"error": f"there is no {self.path.rpartition('/')[2]}"}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            length = self.headers.get("Inference-Header-Content-Length")
            asked = json.loads(body[: int(length)] if length else body)["inputs"][0]
            if served.refuses or (length and not served.binary):
                self.send(400, json.dumps({"error": served.refuses or "what is this?"}).encode())
                return
            kind = TYPES[asked["datatype"]]
            pixels = np.frombuffer(body[int(length) :], kind) if length else np.array(asked["data"], kind)
            scores = served.answered(pixels.reshape(asked["shape"]), "binary" if length else "json")
            name, datatype, _ = served.outputs[0]
            output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": scores.shape}
            if length:
                output["parameters"] = {"binary_data_size": scores.nbytes}
            else:
                output["data"] = scores.reshape(-1).tolist()
            parameters = {} if served.compute_us is None else {"compute_us": served.compute_us}
            head = json.dumps(
                {"model_name": served.name, "outputs": [output], "parameters": parameters}
            ).encode()
            if length:
                self.send(200, head + scores.tobytes(), len(head))
            else:
                self.send(200, head)

        def send(self, status: int, content: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if length is not None:
                self.send_header("Inference-Header-Content-Length", str(length))
            self.end_headers()
            try:
                for byte in content if served.drip_s else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(served.drip_s)
                if not served.drip_s:
                    self.wfile.write(content)
            except OSError:  # whoever asked waits no more
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *arguments: Any) -> None:
            pass

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.socket.close()
        for one in open_ones:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended already

    return stop
