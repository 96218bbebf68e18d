"""What a broker is told, a real one: on change, never more than it takes, and nothing of what is secret."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jinja2 import Environment
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from stream.cli import parse
from stream.log import Record, read_log
from stream.mqtt import (
    ANSWER_S,
    END_S,
    ENTITIES,
    EVERY_S,
    GAP_S,
    AddressError,
    Broker,
    Publisher,
    Seen,
    discovery,
    read_broker,
    state,
)
from stream.redaction import Redacting
from stream.sources import addresses_without_credentials, without_credentials
from tests.test_openapi import faults
from tests.viewer import PATIENCE_S, Labelcam, ask, labelcam, wait_for

MOSQUITTO = "/usr/sbin/mosquitto"
SECRET = "s3cret-of-nobody"
TOPIC = "house/hall"
HOSTILE = [
    'a "quoted" one\\',
    "two\nlines\r\n",
    "\x1b[2J\x07\x00",
    "{{ states('lock.door') }}{% raw %}",
    "</script><script>alert(1)</script>",
    "ümläut, 猫, 🐈‍⬛, \u202egnp.tac",
    "half a pair: \ud83d",
    "# + / $SYS",
    "null",
    "x" * 10_000,
]
LEFT_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""paho leaves the socket of a handshake that failed to Python, which closes it, and says so."""
ONLINE: dict[str, Any] = {"online": True, "fault": None, "camera_fps": 29.987654, "model_fps": 14.5}
LOST: dict[str, Any] = {
    "online": False,
    "fault": "no pictures any more",
    "camera_fps": None,
    "model_fps": None,
}


class Mosquitto:
    """The broker, as a process of its own."""

    def __init__(self, folder: Path, *lines: str, anonymous: bool = True) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._lines = (
            "user root",  # as root it would become a user who may not read the folder
            "log_type all",
            f"allow_anonymous {str(anonymous).lower()}",
            f"listener {self.port} 127.0.0.1",
            *lines,
        )
        self._config, self._log = folder / "mosquitto.conf", folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def told(self) -> str:
        return self._log.read_text(errors="replace")

    def url(self, topic: str = TOPIC, credentials: str = "") -> str:
        return f"mqtt://{credentials}127.0.0.1:{self.port}/{topic}"

    def start(self) -> Mosquitto:
        self._config.write_text("\n".join(self._lines) + "\n")
        with self._log.open("wb") as log:
            command = [MOSQUITTO, "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.answers, 5)
        return self

    def answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.told
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def end(self) -> None:
        if self._process:
            self._process.kill()  # also one that has been stopped
            self._process.wait()
        self._process = None


class Message(NamedTuple):
    came_s: float
    topic: str
    payload: str
    retained: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """Takes all there is, and comes back as soon as it can."""

    def __init__(self, port: int, user: str | None = None, password: str | None = None) -> None:
        self.messages: list[Message] = []
        client = self._client = Client(CallbackAPIVersion.VERSION2)

        def on_connect(*_: Any) -> None:
            client.subscribe("#", qos=1)

        client.on_connect = on_connect
        client.on_message = lambda _, __, message: self.messages.append(
            Message(time.monotonic(), message.topic, message.payload.decode(), bool(message.retain))
        )
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.reconnect_delay_set(1, 1)
        if user is not None:
            client.username_pw_set(user, password)
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert subscribed.wait(5)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def about(self, topic: str) -> list[Message]:
        return [message for message in list(self.messages) if message.topic == topic]

    @property
    def states(self) -> list[Any]:
        return [message.json for message in self.about(f"{TOPIC}/state")]

    @property
    def newest(self) -> Any:
        return (self.states or [{"seq": None, "label": None}])[-1]

    @property
    def labels(self) -> list[Any]:
        return [told["label"] for told in self.states]

    @property
    def availability(self) -> list[str]:
        return [message.payload for message in self.about(f"{TOPIC}/availability")]

    def waits(self, happened: Callable[[Subscriber], bool], timeout_s: float = 10) -> float:
        return wait_for(lambda: happened(self), timeout_s)


class Camera:
    """What the publisher sees of a camera, and the frames that come from it."""

    def __init__(self, publisher: Publisher) -> None:
        self.now = ONLINE
        self.slowest_s = 0.0
        self._publisher, self._seq = publisher, 0

    def __call__(self) -> dict[str, Any]:
        return self.now

    def sees(self, label: str | None, index: int = 1) -> int:
        self._seq += 1
        record = frame(self._seq, label, index)
        started_s = time.monotonic()
        self._publisher(record)
        self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)
        return self._seq

    def goes_on(self, seconds: float, label: str | None = "cat") -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.sees(label)
            time.sleep(1 / 30)


def frame(seq: int, label: str | None, index: int = 1) -> Record:
    top = [[index, label, 0.75], [7, "dog", 0.1]] if label is not None else []
    return {"rec": "frame", "seq": seq, "arrived_ns": time.monotonic_ns(), "top": top}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not Path(MOSQUITTO).exists():
        pytest.skip("no Mosquitto: apt-get install mosquitto")
    with_log = Mosquitto(tmp_path)
    yield with_log.start()
    with_log.end()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that asks for a password."""
    if not Path(MOSQUITTO).exists():
        pytest.skip("no Mosquitto: apt-get install mosquitto")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "camera", SECRET], check=True)
    with_password = Mosquitto(tmp_path, f"password_file {passwords}", anonymous=False)
    yield with_password.start()
    with_password.end()


@contextmanager
def publishing(url: str) -> Iterator[tuple[Publisher, Camera]]:
    publisher = Publisher(read_broker(url), "net", "tflite")
    camera = Camera(publisher)
    publisher.start(camera)
    try:
        yield publisher, camera
    finally:
        publisher.stop()
        publisher.join()


# The address.


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://host/cam", Broker("mqtt", "host", 1883, "cam")),
        ("mqtts://host/cam", Broker("mqtts", "host", 8883, "cam")),
        ("MQTT://Host:99/a/b/", Broker("mqtt", "host", 99, "a/b")),
        ("mqtt://[fe80::1]:99/cam", Broker("mqtt", "fe80::1", 99, "cam")),
        ("mqtt://me@host/cam", Broker("mqtt", "host", 1883, "cam", "me")),
        ("mqtt://me:a%2Fb%40c:d%23@host/cam", Broker("mqtt", "host", 1883, "cam", "me", "a/b@c:d#")),
        ("mqtt://host/K%C3%BCche/Herd%201", Broker("mqtt", "host", 1883, "Küche/Herd 1")),
        ("mqtt://host/cam?discovery=ha", Broker("mqtt", "host", 1883, "cam", discovery="ha")),
        ("mqtt://host/cam?discovery=", Broker("mqtt", "host", 1883, "cam", discovery=None)),
    ],
)
def test_an_address_is_read(url: str, broker: Broker) -> None:
    assert read_broker(url) == broker


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host/cam",
        f"me:{SECRET}@host/cam",
        "mqtt:host/cam",
        f"http://me:{SECRET}@host/cam",
        "mqtt:///cam",
        "mqtt://host",
        "mqtt://host/",
        "mqtt://host:x/cam",
        "mqtt://host:0/cam",
        "mqtt://host:65536/cam",
        "mqtt://[fe80::1/cam",
        "mqtt://[fe80::x]/cam",
        "mqtt://ho%20st/cam",
        "mqtt://höst_/c am",
        f"mqtt://me:1/{SECRET}@host/cam",
        f"mqtt://me:{SECRET}/x@host/cam",
        f"mqtt://me:{SECRET}#x@host/cam",
        f"mqtt://me:{SECRET}?x@host/cam",
        f"mqtt://me:{SECRET} x@host/cam",
        f"mqtt://me:{SECRET}%00@host/cam",
        f"mqtt://me:{SECRET}@host/cam/+",
        "mqtt://host/cam%23",
        "mqtt://host/$SYS/cam",
        "mqtt://host/cam%0A",
        "mqtt://host/cam?discover=x",
        "mqtt://host/cam?discovery=a/%23",
        f"mqtt://host/{'x' * 2000}",
    ],
)
def test_what_is_no_address_is_refused_in_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AddressError):
        read_broker(url)
    with pytest.raises(SystemExit) as end:
        parse(["--mqtt", url])
    assert end.value.code == 2
    written = capsys.readouterr().err
    assert SECRET not in written
    (line,) = written.splitlines()
    assert "--mqtt: that is no broker and topic: " in line
    assert len(line) < 240


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"mqtt://me:{SECRET}@host/cam", "mqtt://host/cam"),
        (f"mqtts://me:{SECRET}@host:8883/cam?discovery=x", "mqtts://host:8883/cam"),
        (f"mqtt://{SECRET}@host/cam", "mqtt://host/cam"),
        (f"mqtt://me:1/{SECRET}@host/cam", "mqtt://..."),
    ],
)
def test_an_address_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
    assert addresses_without_credentials(f"--mqtt '{url}'") == f"--mqtt '{shown}'"
    line = logging.LogRecord("paho", logging.WARNING, "", 0, "no way to %s at all", (url,), None)
    assert Redacting(logging.Formatter(), None).format(line) == f"no way to {shown} at all"
    if "..." not in shown:
        assert SECRET not in read_broker(url).shown


def test_a_password_is_in_no_message_of_a_bug() -> None:
    broker = read_broker(f"mqtt://me:{SECRET}@host/cam")
    assert broker.password == SECRET
    assert SECRET not in repr(broker)


# What is published.


def test_each_change_is_told_at_once(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (_, camera):
        subscriber.waits(lambda s: s.availability == ["online"])
        for label in ("cat", "dog", None, "cat"):
            camera.sees(label)
            assert subscriber.waits(lambda s: label in s.labels[-1:]) < 2 * GAP_S + 0.3  # noqa: B023
            time.sleep(1.2 * GAP_S)
        told = subscriber.states[-1]
        assert subscriber.labels[-4:] == ["cat", "dog", None, "cat"]
    assert set(told) == {
        *("label", "index", "score", "seq", "age_s", "t_s", "model", "backend", "top"),
        *("online", "fault", "camera_fps", "model_fps"),
    }
    assert (told["index"], told["score"], told["seq"]) == (1, 0.75, 4)
    assert (told["model"], told["backend"]) == ("net", "tflite")
    assert told["top"][1] == {"index": 7, "label": "dog", "score": 0.1}
    assert (told["online"], told["fault"], told["camera_fps"]) == (True, None, 29.99)
    assert 0 <= told["age_s"] < 1
    assert abs(told["t_s"] - time.time()) < 5


@pytest.mark.slow
def test_what_does_not_change_is_told_once_a_second_and_only_if_it_is_new(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (publisher, camera):
        camera.sees("cat")
        subscriber.waits(lambda s: s.labels == ["cat"])
        camera.goes_on(3.2)
        wait_for(lambda: publisher.published == 4)
        messages = subscriber.about(f"{TOPIC}/state")
        assert len(messages) == 4
        for before, after in pairwise(messages):
            assert EVERY_S - 0.2 < after.came_s - before.came_s < EVERY_S + 0.4
        time.sleep(1.1)  # no frame
        assert len(subscriber.states) == 4
        assert subscriber.availability == ["online"]


def test_a_label_that_flickers_is_not_published_per_frame(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (_, camera):
        subscriber.waits(lambda s: s.availability == ["online"])
        time.sleep(0.3)
        began = len(subscriber.states)
        for number in range(90):
            last = camera.sees(f"label {number % 2}")
            time.sleep(0.01)
        subscriber.waits(lambda s: s.newest["seq"] == last)
        assert 4 <= len(subscriber.states) - began <= 0.9 / GAP_S + 5


def test_who_comes_late_is_told_how_it_is(broker: Mosquitto) -> None:
    with publishing(broker.url()) as (publisher, camera):
        camera.sees("cat")
        wait_for(lambda: publisher.published > 0 and publisher.connected)
        with Subscriber(broker.port) as subscriber:
            subscriber.waits(lambda s: len(s.messages) == 2 + len(ENTITIES))
            assert all(message.retained for message in subscriber.messages)
            assert subscriber.labels == ["cat"]
            assert subscriber.availability == ["online"]


def test_a_changed_model_is_told_with_its_own_answers(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (publisher, camera):
        camera.sees("cat")
        subscriber.waits(lambda s: s.newest["seq"] == 1)
        publisher({"rec": "run", "model": "other", "backend": "tensorrt", "mode": None})
        publisher({"rec": "event", "event": "resume"})
        publisher({"rec": "video"})
        camera.sees("cat")
        subscriber.waits(lambda s: s.newest["seq"] == 2, EVERY_S / 2)
        assert (subscriber.states[-1]["model"], subscriber.states[-1]["backend"]) == ("other", "tensorrt")


def test_hostile_labels_stay_text(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (_, camera):
        for label in HOSTILE:
            camera.sees(label)
            subscriber.waits(lambda s: label in s.labels)  # noqa: B023
        for message in subscriber.about(f"{TOPIC}/state"):
            assert message.payload.isascii()
            assert message.payload.isprintable()
        assert {message.topic.partition("/")[0] for message in subscriber.messages} == {
            "house",
            "homeassistant",
        }


def test_a_lost_camera_sees_nothing_but_the_program_is_there(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (_, camera):
        camera.sees("cat")
        subscriber.waits(lambda s: s.labels == ["cat"])
        camera.now = LOST
        subscriber.waits(lambda s: s.labels == ["cat", None])
        lost = subscriber.states[-1]
        assert (lost["online"], lost["fault"]) == (False, "no pictures any more")
        assert (lost["top"], lost["score"], lost["seq"], lost["age_s"]) == ([], None, None, None)
        camera.now = ONLINE
        subscriber.waits(lambda s: len(s.states) == 3)
        assert subscriber.labels[-1] is None  # what was seen before is no news
        camera.sees("dog")
        subscriber.waits(lambda s: s.labels[-1:] == ["dog"])
        assert subscriber.availability == ["online"]


def test_a_server_without_an_answer_takes_the_label_along(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (publisher, _):
        publisher(frame(1, "lamp"))
        subscriber.waits(lambda s: s.newest["label"] == "lamp")
        publisher({"rec": "event", "event": "unanswered", "detail": "no server answers", "t_utc": 0.0})
        took_s = subscriber.waits(lambda s: s.newest["label"] is None)
        assert took_s < 0.5
        gone = subscriber.newest
        assert (gone["seq"], gone["age_s"], gone["model"], gone["top"]) == (None, None, None, [])
        assert gone["online"] is True
        publisher(frame(2, "lamp"))
        assert subscriber.waits(lambda s: s.newest["label"] == "lamp") < 0.5


def test_nothing_seen_is_null() -> None:
    told = state(None, LOST, 5, 6.0)
    assert (told["label"], told["model"], told["top"]) == (None, None, [])


# Home Assistant.


def test_home_assistant_finds_what_it_needs(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()):
        subscriber.waits(lambda s: s.availability == ["online"])
        configs = {
            message.topic: message.json
            for message in subscriber.messages
            if message.topic.startswith("homeassistant/")
        }
    assert len(configs) == len(ENTITIES)
    for topic, config in configs.items():
        assert re.fullmatch(r"homeassistant/(sensor|binary_sensor)/[a-zA-Z0-9_-]+/[a-z_]+/config", topic)
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", config["unique_id"])
        assert config["state_topic"] == f"{TOPIC}/state"
        assert config["availability_topic"] == f"{TOPIC}/availability"
        assert set(config["device"]) >= {"identifiers", "name", "sw_version", "model"}
        assert config["device"]["name"] == "Labelcam hall"
        assert config["name"]
        assert "value_json." in config["value_template"]
    assert len({config["unique_id"] for config in configs.values()}) == len(configs)
    assert len({str(config["device"]) for config in configs.values()}) == 1
    kinds = {topic.split("/")[3]: (topic.split("/")[1], config) for topic, config in configs.items()}
    assert kinds["label"][1]["json_attributes_topic"] == f"{TOPIC}/state"
    assert kinds["score"][1]["unit_of_measurement"] == "%"
    assert kinds["camera"][0] == "binary_sensor"
    assert kinds["camera"][1]["device_class"] == "connectivity"
    assert "expire_after" not in kinds["camera"][1]
    for name in ("label", "score", "camera_fps", "model_fps"):
        assert kinds[name][0] == "sensor"
        assert kinds[name][1]["expire_after"] > 60


@pytest.mark.parametrize("seen", ["cat", "x" * 400, None])
def test_its_templates_read_our_state(seen: str | None) -> None:
    """By the same template engine; Home Assistant takes None for unknown, and no more than 255 characters."""
    told = json.loads(json.dumps(state(Seen(frame(1, seen), "net", "tflite"), ONLINE, 0, 0.0)))
    shown = {}
    environment = Environment()
    environment.filters["tojson"] = json.dumps
    for name, (_, reading) in ENTITIES.items():
        shown[name] = environment.from_string(reading["value_template"]).render(value_json=told)
    assert shown["label"] == (seen[:255] if seen else "None")
    assert shown["score"] == ("75.0" if seen else "None")
    assert (shown["camera_fps"], shown["model_fps"], shown["camera"]) == ("29.99", "14.5", "ON")
    attributes = ENTITIES["label"][1]["json_attributes_template"]
    read = json.loads(environment.from_string(attributes).render(value_json=told))
    assert read["top"] == told["top"]
    assert (read["score"], read["model"]) == (told["score"], "net")


def test_a_camera_is_the_same_after_every_start() -> None:
    one, other = read_broker("mqtt://host/hall"), read_broker("mqtt://host/attic")
    assert one.node == read_broker("mqtt://me:new@elsewhere:99/hall").node
    assert one.node != other.node
    assert len(one.node) <= 23  # what every broker takes for a client's name
    assert one.node.isalnum()
    assert discovery(one, "ha").keys() != discovery(other, "ha").keys()
    assert {topic.partition("/")[0] for topic in discovery(one, "ha")} == {"ha"}


def test_home_assistant_is_not_told_if_it_is_not_to_be(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url() + "?discovery="):
        subscriber.waits(lambda s: s.availability == ["online"])
        assert [m for m in subscriber.messages if not m.topic.startswith(TOPIC)] == []


# A broker that is not there.


def test_a_broker_may_come_later_and_go_and_come_back(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice away: one warning and one line of relief each, and no backlog."""
    monkeypatch.setattr("stream.mqtt.FIRST_S", 0.2)
    caplog.set_level(logging.INFO)
    broker.end()
    with publishing(broker.url()) as (publisher, camera):
        camera.goes_on(0.4)
        assert not publisher.connected
        assert publisher.status()["error"]
        broker.start()
        wait_for(lambda: publisher.published > 0)
        assert publisher.status() == {
            "topic": TOPIC,
            "connected": True,
            "published": publisher.published,
            "error": None,
        }
        broker.end()
        wait_for(lambda: not publisher.connected)
        last = 0
        for number in range(15):
            last = camera.sees(f"label {number}")
            time.sleep(0.02)
        broker.start()  # it has forgotten everything
        with Subscriber(broker.port) as subscriber:
            subscriber.waits(lambda s: len(s.states) > 0)
            assert subscriber.states[0]["seq"] == last
            time.sleep(0.2)
            assert len(subscriber.states) == 1
            assert subscriber.availability == ["online"]
            assert len(subscriber.messages) == 2 + len(ENTITIES)
        assert camera.slowest_s < 0.1
    lines = [(record.levelname, record.message) for record in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "INFO"] * 2
    assert all(f"mqtt://127.0.0.1:{broker.port}" in line for _, line in lines)


def test_a_broker_that_hangs_holds_nothing_up_and_gets_no_backlog(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.url()) as (publisher, camera):
        camera.sees("cat")
        subscriber.waits(lambda s: s.labels == ["cat"])
        broker.signal(signal.SIGSTOP)
        for number in range(40):
            last = camera.sees(f"label {number}")
            time.sleep(0.03)
        broker.signal(signal.SIGCONT)
        subscriber.waits(lambda s: s.newest["seq"] == last)
        assert len(subscriber.states) == 3  # with the one that was under way
        assert camera.slowest_s < 0.1
        broker.signal(signal.SIGSTOP)
        camera.sees("dog")
        time.sleep(0.2)
        started_s = time.monotonic()
        publisher.stop()
        publisher.join()
        assert time.monotonic() - started_s < END_S + 0.1
        broker.signal(signal.SIGCONT)
        subscriber.waits(lambda s: s.availability[-1:] == ["offline"])


def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.mqtt.CONNECT_S", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        publishing(f"mqtt://127.0.0.1:{silent.getsockname()[1]}/cam") as (publisher, camera),
    ):
        camera.sees("cat")
        wait_for(lambda: publisher.status()["error"] == "it does not answer", ANSWER_S)


@LEFT_OPEN
def test_a_broker_that_hangs_while_it_is_greeted_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(5)
        with publishing(f"mqtts://127.0.0.1:{silent.getsockname()[1]}/cam") as (publisher, _):
            peer, _ = silent.accept()
            with peer:
                assert peer.recv(1)  # the beginning of TLS, to which nothing is answered
                started_s = time.monotonic()
                publisher.stop()
                publisher.join()
                assert time.monotonic() - started_s < END_S + 0.1
    wait_for(lambda: all(thread.name != "mqtt" for thread in threading.enumerate()))


def test_what_is_no_broker_is_told_once_and_tried_more_and_more_seldom(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.mqtt.FIRST_S", 0.1)
    monkeypatch.setattr("stream.mqtt.MOST_S", 0.3)
    tried_s = []
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(5):
                peer, _ = other.accept()
                tried_s.append(time.monotonic())
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff")
                peer.close()

        threading.Thread(target=answer, daemon=True).start()
        with publishing(f"mqtt://127.0.0.1:{other.getsockname()[1]}/cam") as (publisher, _):
            wait_for(lambda: len(tried_s) == 5)
            wait_for(lambda: publisher.status()["error"] == "the connection was lost")
    assert len(caplog.records) == 1
    pauses_s = [after - before for before, after in pairwise(tried_s)]
    for pause_s, least_s in zip(pauses_s, (0.1, 0.2, 0.3, 0.3), strict=True):
        assert least_s <= pause_s < least_s + 0.25


def test_an_unknown_host_is_told_and_nothing_waits_for_it() -> None:
    with publishing("mqtt://no-such-host.invalid/cam") as (publisher, camera):
        camera.goes_on(0.3)
        assert camera.slowest_s < 0.1
        wait_for(lambda: "name" in str(publisher.status()["error"]).lower())
        started_s = time.monotonic()
        publisher.stop()
        publisher.join()
        assert time.monotonic() - started_s < END_S + 0.1


def test_a_wrong_password_is_told_without_it(locked: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with publishing(locked.url(credentials=f"camera:{SECRET}x@")) as (publisher, _):
        wait_for(lambda: "uthori" in str(publisher.status()["error"]))
        assert not publisher.connected
    assert len(caplog.records) == 1
    assert SECRET not in caplog.text


# TLS.


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Mosquitto, Path]]:
    """A broker with a certificate for localhost, and the authority's own."""
    if not (Path(MOSQUITTO).exists() and shutil.which("openssl")):
        pytest.skip("no Mosquitto or openssl: apt-get install mosquitto openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run([*made, *files, *subject], check=True, capture_output=True)
    broker = Mosquitto(tmp_path, f"certfile {certificate}", f"keyfile {key}")
    yield broker.start(), certificate
    broker.end()


def test_a_trusted_broker_is_told_by_tls(
    secured: tuple[Mosquitto, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, certificate = secured
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # the system's, for OpenSSL
    with publishing(f"mqtts://localhost:{broker.port}/cam") as (publisher, camera):
        camera.sees("cat")
        wait_for(lambda: publisher.published > 0)


@LEFT_OPEN
def test_an_untrusted_broker_is_told_nothing(
    secured: tuple[Mosquitto, Path], caplog: pytest.LogCaptureFixture
) -> None:
    broker, _ = secured
    with publishing(f"mqtts://me:{SECRET}@localhost:{broker.port}/cam") as (publisher, _):
        wait_for(lambda: "not trusted" in str(publisher.status()["error"]))
    assert "not trusted" in caplog.text
    assert "Received CONNECT" not in broker.told
    assert "New client connected" not in broker.told


# The program.


@contextmanager
def program(url: str, *arguments: str | Path) -> Iterator[Labelcam]:
    with labelcam("--port", "0", "--source", "demo:", "--mqtt", url, *arguments) as running:
        wait_for(lambda: ask(running.address, "/api/state").json["mqtt"]["published"] > 0)
        yield running


def test_a_program_that_is_killed_is_offline_and_its_password_was_told_nowhere(
    locked: Mosquitto, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    with (
        Subscriber(locked.port, "camera", SECRET) as subscriber,
        program(locked.url(credentials=f"camera:{SECRET}@"), "--log", log, "--verbose") as running,
    ):
        now = ask(running.address, "/api/state").json
        assert faults("State", now) == []
        assert now["mqtt"]["connected"] is True
        assert now["mqtt"]["topic"] == TOPIC
        assert now["mqtt"]["error"] is None
        metrics = ask(running.address, "/metrics").body.decode()
        assert '\nlabelcam_mqtt_connected{camera="1"} 1.0\n' in metrics
        subscriber.waits(lambda s: s.newest["label"] is not None)
        assert subscriber.states[-1]["online"]
        assert subscriber.states[-1]["model"] == now["model"]
        targets = ("/", "/api/state", "/api/settings", "/metrics", "/log", "/compare", "/readyz")
        pages = [ask(running.address, target).body.decode("latin-1") for target in targets]
        locked.end()
        wait_for(lambda: not ask(running.address, "/api/state").json["mqtt"]["connected"])
        assert faults("State", ask(running.address, "/api/state").json) == []
        assert '\nlabelcam_mqtt_connected{camera="1"} 0.0\n' in ask(running.address, "/metrics").body.decode()
        wait_for(lambda: "no MQTT broker" in running.errors)
        locked.start()
        wait_for(lambda: ask(running.address, "/api/state").json["mqtt"]["connected"])
        subscriber.waits(lambda s: s.availability[1:][-1:] == ["online"])
        running.stop(signal.SIGKILL)
        subscriber.waits(lambda s: s.availability[-1:] == ["offline"])
        told = [*pages, running.out, running.errors, log.read_text()]
        told += [message.payload for message in subscriber.messages]
        assert all(SECRET not in text for text in told)


def test_a_program_that_ends_says_so(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, program(broker.url()) as running:
        assert running.stop() < 2
        assert running.ends() == 0
        assert running.errors == ""
        subscriber.waits(lambda s: s.availability == ["online", "offline"], 1)
        told = broker.told
        assert "Received DISCONNECT from labelcam" in told  # said, and no last will


def test_each_of_several_cameras_has_its_topic_and_is_a_device_of_its_own(broker: Mosquitto) -> None:
    sources = ("--source", "front=demo:", "--source", "yard=demo:")
    with (
        Subscriber(broker.port) as subscriber,
        labelcam("--port", "0", *sources, "--mqtt", broker.url()) as running,
    ):
        wanted = {
            f"{TOPIC}/{name}/{leaf}" for name in ("front", "yard") for leaf in ("state", "availability")
        }
        subscriber.waits(lambda s: wanted <= {message.topic for message in s.messages})
        devices = [
            message.json["device"] for message in subscriber.messages if message.topic.endswith("/config")
        ]
        assert {device["name"] for device in devices} == {"Labelcam front", "Labelcam yard"}
        assert len({device["identifiers"][0] for device in devices}) == 2
        assert running.stop() < 2
        offline = {f"{TOPIC}/{name}/availability" for name in ("front", "yard")}
        subscriber.waits(lambda s: offline == {m.topic for m in s.messages if m.payload == "offline"}, 1)


def test_a_hanging_broker_holds_up_neither_the_video_nor_the_end(broker: Mosquitto, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with program(broker.url(), "--log", log) as running:
        broker.signal(signal.SIGSTOP)
        time.sleep(0.2)
        before = ask(running.address, "/api/state").json["frames"]["classified"]
        time.sleep(0.8)
        state = ask(running.address, "/api/state").json
        assert state["frames"]["classified"] - before > 12
        assert state["answer"]["age_s"] < 0.5
        assert running.stop() < 2
        assert running.ends() == 0
        broker.signal(signal.SIGCONT)
        with Subscriber(broker.port) as subscriber:
            subscriber.waits(lambda s: s.availability == ["offline"])
    assert any(record["rec"] == "summary" for record in read_log(log))


def test_a_program_without_its_broker_serves(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"mqtt://me:{SECRET}@127.0.0.1:{port}/cam"
    with labelcam("--port", "0", "--source", "demo:", "--mqtt", url) as running:
        wait_for(lambda: ask(running.address, "/readyz").status == 200, PATIENCE_S)
        wait_for(lambda: "no MQTT broker" in running.errors)
        assert running.stop() < 2
        assert len(running.errors.splitlines()) == 1
        assert SECRET not in running.errors
        assert f"mqtt://127.0.0.1:{port}" in running.errors


def test_a_missing_library_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "paho.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ("--port", "0", "--source", "demo:")
    with labelcam(*arguments, "--mqtt", "mqtt://host/cam", PYTHONPATH=path) as running:
        assert running.ends() == 1
        assert running.errors.startswith("labelcam: --mqtt takes the library paho-mqtt")
        assert len(running.errors.splitlines()) == 1
    with labelcam(*arguments, "--duration", "0.1", PYTHONPATH=path) as running:
        assert running.ends() == 0  # who does not ask for it does not need it
