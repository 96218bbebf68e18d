"""The description of the routes against the routes: neither tells of what the other lacks, and schemathesis,
which invents requests by the description, gets the answers that it promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from models.catalogue import BUILT_IN
from stream.compare_process import Comparer
from stream.loading import Model, ModelWish, load_model
from stream.log import Record
from stream.pipeline import Policy
from stream.server import ServerOptions, create_app
from stream.server_metrics import DESCRIPTION, Metrics
from stream.sources import Source, SourceError, Wish, open_source
from stream.station import Station
from stream.switch import Switch
from stream.version import __version__
from tests.viewer import PATIENCE_S, ROOT, Address, Labelcam, Viewer, ask, labelcam, wait_for

TOKEN = "a-token-that-nobody-guesses"
DOCUMENT: dict[str, Any] = json.loads(DESCRIPTION.read_text())
ENDLESS = ("/stream", "/stream.mjpg", "/api/events")
"""Routes whose answers have no end: a client that wants the whole answer waits for ever."""
NUMBERS = ("top_k", "threshold", "smoothing", "quality")
"""Settings that cost nothing to change; the others load a model."""
READING = (
    *("--exclude-method", "POST"),
    *(argument for path in ENDLESS for argument in ("--exclude-path", path)),
)
CHANGE = ("--include-operation-id", "change")
COMPARE = ("--include-operation-id", "report")
NAMES = ("--exclude-checks", "positive_data_acceptance")
"""Which models and logs are here is not in the description: it allows names, and hardly ever one of those."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelcam]:
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with labelcam("--port", "0", "--source", "demo:", "--log", log) as started:
        wait_for(lambda: ask(started.address, "/readyz").status == 200)
        yield started


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    loaded = load_model(ModelWish(BUILT_IN))
    yield loaded
    loaded.backend.close()


def open_nothing(again: str) -> Source:
    raise SourceError("there is no camera")


def describe_nothing(model: Model, policy: Policy, source: Source | None) -> Record:
    return {"rec": "run"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if method != "servers":
                yield method, path, operation


def places(path: str) -> list[str]:
    """Where that path is: at the top, or under the only camera's name, too."""
    servers = DOCUMENT["paths"][path].get("servers", DOCUMENT["servers"])
    return [server["url"].rstrip("/").replace("{camera}", "1") + path for server in servers]


def everything(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every object in the description, with its place."""
    if isinstance(node, dict):
        yield where, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from everything(child, f"{where}/{key}")


def faults(name: str, value: Any) -> list[str]:
    """Where the value is not what the schema of that name says."""
    schema = {**DOCUMENT, "$ref": f"#/components/schemas/{name}"}
    validator = jsonschema_rs.Draft202012Validator(schema)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def fuzz(folder: Path, document: dict[str, Any], url: str, *arguments: str) -> int:
    """How many requests schemathesis has made, and found nothing. It leaves its files in the folder."""
    description = folder / "openapi.json"
    description.write_text(json.dumps(document))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", url]
    command += ["--generation-deterministic", "--no-color", "--continue-on-failure", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated, done.stdout
    return int(generated[1])


def wishing_only(settings: tuple[str, ...]) -> dict[str, Any]:
    """The description where only these settings can be wished for."""
    document: dict[str, Any] = deepcopy(DOCUMENT)
    wishes = document["components"]["schemas"]["Wishes"]
    wishes["properties"] = {name: wishes["properties"][name] for name in settings}
    return document


# The description itself.


def test_no_reference_leads_nowhere() -> None:
    referred = set()
    for where, node in everything(DOCUMENT):
        if "$ref" in node:
            target: Any = DOCUMENT
            for part in node["$ref"].removeprefix("#/").split("/"):
                assert part in target, where
                target = target[part]
            referred.add(node["$ref"])
    for kind in ("schemas", "responses", "parameters"):
        for name in DOCUMENT["components"][kind]:
            if name != "History":  # named in words: OpenAPI has none for an event's data
                assert f"#/components/{kind}/{name}" in referred


def test_every_field_is_explained_and_no_other_allowed() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        for where, node in everything(schema, name):
            if "properties" not in node or where.endswith("/properties"):
                continue
            assert node["additionalProperties"] is False, where
            assert set(node.get("required", node["properties"])) <= set(node["properties"]), where
            for field, inner in node["properties"].items():
                assert {"$ref", "description", "const"} & set(inner), f"{where}/{field}"


def test_a_duration_says_its_unit() -> None:
    units = {"_ms": "milliseconds", "_s": "seconds"}
    for where, node in everything(DOCUMENT["components"]["schemas"]):
        for field, inner in node.get("properties", {}).items():
            words = str(inner.get("description", "")).lower().replace("unix time", "seconds since 1970")
            for ending, unit in units.items():
                assert not field.endswith(ending) or unit in words, f"{where}/{field}"


def test_every_route_may_be_refused() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for method, path, operation in operations():
        assert {"200", "401", "403"} <= set(operation["responses"]), (method, path)


def test_the_manual_names_every_route_and_field() -> None:
    manual = (ROOT / "docs" / "api.md").read_text()
    for path in DOCUMENT["paths"]:
        assert f"`{path}`" in manual or path == "/page/{filename}", path
    for name in ("State", "Answer", "Stage", "Switch", "Settings", "SettingsNow"):
        for field in DOCUMENT["components"]["schemas"][name]["properties"]:
            assert f"`{field}`" in manual, f"{name}: {field}"


# The description and the program.


def test_every_route_is_described_and_no_other(model: Model) -> None:
    switch = Switch([model], ModelWish(BUILT_IN), 0.0, 80)
    station = Station(open_source("demo:", Wish()), open_nothing, switch, Policy(), describe_nothing)
    app = create_app([station.status], ServerOptions(), Metrics(), Comparer())
    routes = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == {(method, place) for method, path, _ in operations() for place in places(path)}


def test_it_is_served_as_it_is(running: Labelcam) -> None:
    answer = ask(running.address, "/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == DESCRIPTION.read_bytes()
    assert answer.json["info"]["version"] == __version__


def test_the_state_is_as_described(running: Labelcam) -> None:
    with Viewer(running.address) as viewer:
        viewer.parts(5)
        wait_for(lambda: ask(running.address, "/api/state").json["model_fps"] is not None)
        assert faults("State", ask(running.address, "/api/state").json) == []


def test_the_state_without_a_camera_is_as_described() -> None:
    arguments = ("--port", "0", "--wait-for-camera", "--source", "/dev/no-such-camera")
    with labelcam(*arguments) as started:
        wait_for(lambda: ask(started.address, "/api/state").json["fault"] != "waiting for the camera")
        state = ask(started.address, "/api/state").json
        assert (state["source"], state["answer"], state["log"]) == (None, None, None)
        assert faults("State", state) == []
        assert faults("Verdict", ask(started.address, "/readyz").json) == []
        assert faults("Error", ask(started.address, "/snapshot").json) == []


def test_a_fault_in_the_state_would_be_found(running: Labelcam) -> None:
    state = ask(running.address, "/api/state").json
    assert faults("State", state | {"more": 1})
    assert faults("State", {name: value for name, value in state.items() if name != "losses"})
    assert faults("State", state | {"uptime_s": "5"})
    assert faults("State", state | {"source": {**state["source"], "size": [640]}})
    assert faults("State", state | {"answer": {**state["answer"], "top": [{"index": 1, "label": "cat"}]}})


def test_the_settings_are_as_described(running: Labelcam) -> None:
    settings = ask(running.address, "/api/settings").json
    assert faults("SettingsNow", settings) == []
    described = DOCUMENT["components"]["schemas"]["Wishes"]["properties"]
    for name, (least, most) in settings["limits"].items():
        assert (described[name]["minimum"], described[name]["maximum"]) == (least, most)


# Requests nobody thought of.


def test_invented_requests_get_the_answers_described(running: Labelcam, tmp_path: Path) -> None:
    assert fuzz(tmp_path, DOCUMENT, running.url, *READING, "-n", "20") > 100
    assert ask(running.address, "/readyz").status == 200
    assert running.errors == ""


@pytest.mark.slow
def test_invented_settings_are_taken_or_refused_as_described(running: Labelcam, tmp_path: Path) -> None:
    assert fuzz(tmp_path, wishing_only(NUMBERS), running.url, *CHANGE, "-n", "40") > 50
    assert faults("SettingsNow", ask(running.address, "/api/settings").json) == []


@pytest.mark.slow
def test_invented_models_and_logs_are_refused(running: Labelcam, tmp_path: Path) -> None:
    before = ask(running.address, "/api/settings").json["settings"]
    document = wishing_only(("model", "backend", "mode"))
    assert fuzz(tmp_path, document, running.url, *CHANGE, *COMPARE, *NAMES, "-n", "20") > 50
    after = ask(running.address, "/api/settings").json["settings"]
    for name in ("model", "backend", "mode"):
        assert after[name] == before[name]
    assert ask(running.address, "/api/state").json["switch"]["state"] == "idle"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thousands_of_invented_requests_get_the_answers_described(running: Labelcam, tmp_path: Path) -> None:
    made = fuzz(tmp_path, DOCUMENT, running.url, *READING, "-n", "500")
    made += fuzz(tmp_path, wishing_only(NUMBERS), running.url, *CHANGE, "-n", "1500")
    made += fuzz(tmp_path, DOCUMENT, running.url, *CHANGE, *COMPARE, *NAMES, "-n", "1000")
    assert made > 3000
    assert ask(running.address, "/healthz").status == 200
    assert running.errors == ""


def test_invented_requests_without_the_token_are_refused() -> None:
    arguments = ("--port", "0", "--source", "demo:", "--token", TOKEN)
    with labelcam(*arguments) as started:
        for method, path, operation in operations():
            target = path.replace("{filename}", "page.css")
            answer = ask(started.address, target, method=method.upper())
            assert answer.status == 401, (method, path)
            assert "401" in operation["responses"]
            allowed = ask(started.address, target, {"Authorization": f"Bearer {TOKEN}"}, "HEAD")
            assert allowed.status in (200, 404, 405), (method, path)


@pytest.mark.parametrize("path", ENDLESS)
def test_an_endless_answer_begins_as_described(running: Labelcam, path: str) -> None:
    """Schemathesis would wait for its end."""
    described = DOCUMENT["paths"][path]["get"]["responses"]
    head = ask(running.address, path, method="HEAD")
    assert head.status == 200
    kind, _, _ = head.headers["content-type"].partition(";")
    assert kind in described["200"]["content"]
    assert head.body == b""


@pytest.mark.parametrize("query", ["fps=0", "fps=x", "width=63", "width=1e3", "width=-640", "width="])
def test_what_no_stream_takes_is_refused_as_described(running: Labelcam, query: str) -> None:
    for path in ("/stream", "/stream.mjpg"):
        answer = ask(running.address, f"{path}?{query}")
        assert answer.status == 400
        assert "400" in DOCUMENT["paths"][path]["get"]["responses"]
        assert faults("Error", answer.json) == []


def test_every_event_is_as_described(running: Labelcam) -> None:
    seen = dict(islice(events(running.address), 8))
    assert set(seen) == {"history", "state", "answer"}
    assert faults("History", seen["history"]) == []
    assert faults("State", seen["state"]) == []
    assert faults("Answer", seen["answer"]) == []


def events(address: Address) -> Iterator[tuple[str, Any]]:
    """Names and data as they come."""
    connection = HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/api/events")
        response = connection.getresponse()
        assert response.status == 200
        while True:
            lines = iter(lambda: response.readline().decode().rstrip("\n"), "")
            fields = dict(line.split(": ", 1) for line in lines)
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])
    finally:
        connection.close()
