"""Tells an MQTT broker what is seen: each change of the label, and Home Assistant what there is to show."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import select
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from stream.hosts import read_host
from stream.latest import Latest
from stream.log import Record
from stream.version import __version__

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

PORTS = {"mqtt": 1883, "mqtts": 8883}
DISCOVERY = "homeassistant"
"""Where Home Assistant looks, unless it has been told otherwise."""
LONGEST = 1024
"""Of a topic, in bytes: a broker takes 65535, but few people mean that."""

EVERY_S = 1.0
"""How often an answer is published that names the same label as the one before."""
GAP_S = 0.1
"""The least time between two messages: a label that flickers is no reason to publish per frame."""
TICK_S = 0.25
"""How often to look after the camera and the connection while there is nothing to publish."""
CONNECT_S, ANSWER_S = 5.0, 5.0
"""How long a broker may take to let us in, and to say that it has a message."""
KEEPALIVE_S = 15
"""A broker that has heard nothing for one and a half times this publishes our last will."""
FIRST_S, MOST_S = 1.0, 30.0
"""The pauses from try to try, each twice the one before."""
STEADY_S = 10.0
"""A connection that has lasted so long was a good one: pauses begin anew. One that another client's of the
same name ends at once, was none."""
END_S = 0.5
"""What telling the broker the end may take."""
SLICE_S = 0.05

EXPIRE_S = 120
"""After so long without a message Home Assistant takes a figure for unknown."""


class MqttError(Exception):
    """MQTT cannot be spoken here. One line: what happened, what to type now."""


class AddressError(ValueError):
    """That is no address of a broker. One line, with nothing of what was typed: it may be a password."""


@dataclass(frozen=True)
class Broker:
    """Whom to tell, and under which topic."""

    scheme: Literal["mqtt", "mqtts"]
    host: str
    port: int
    topic: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    discovery: str | None = DISCOVERY  # the prefix; None: Home Assistant is not told

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def state_topic(self) -> str:
        return f"{self.topic}/state"

    @property
    def availability_topic(self) -> str:
        return f"{self.topic}/availability"

    @property
    def node(self) -> str:
        """The same after every start; letters and digits, as few as a client's name may have to be."""
        told = f"{os.uname().nodename}\n{self.topic}".encode("utf-8", "surrogateescape")
        return f"labelcam{hashlib.sha256(told).hexdigest()[:12]}"


def read_broker(text: str) -> Broker:
    """mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC[?discovery=PREFIX]. Raises AddressError."""
    how = "write mqtt://HOST/TOPIC or mqtts://USER:PASSWORD@HOST:PORT/TOPIC"
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise AddressError(f"it has a blank or a control character - {how}, with %20 for a blank")
    if "#" in text:
        raise AddressError("it has a # - write %23 for one in a password; in a topic there is none")
    try:
        parts = urlsplit(text)
        port, host, user, password = parts.port, parts.hostname or "", parts.username, parts.password
    except ValueError:  # whose message has what is between : and /
        raise AddressError(f"it has no port from 1 to 65535, or a password with a / in it - {how}") from None
    if parts.scheme not in PORTS or "://" not in text:
        raise AddressError(f"it does not begin with mqtt:// or mqtts:// - {how}")
    if read_host(f"[{host}]" if ":" in host else host) is None or port == 0:
        raise AddressError(f"it names no broker - {how}, with %2F for a / and %3F for a ? in a password")
    if "@" in f"{parts.path}{parts.query}":
        raise AddressError("it has an @ behind the host - write %2F for a / in a password, %40 for an @")
    for name in filter(None, (user, password)):
        if len(unquote(name).encode()) > 65535 or "\0" in unquote(name):
            raise AddressError("no user and no password is so long, or has a zero in it")
    discovery = DISCOVERY
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key != "discovery":
            raise AddressError("it has an option that is not known - known: ?discovery=PREFIX")
        discovery = value.strip("/")
    topic = unquote(parts.path).strip("/")
    if not topic:
        raise AddressError(f"it has no topic - {how}")
    for name in filter(None, (topic, discovery)):
        check_topic(name)
    return Broker(
        "mqtts" if parts.scheme == "mqtts" else "mqtt",
        host,
        port or PORTS[parts.scheme],
        topic,
        None if user is None else unquote(user),
        None if password is None else unquote(password),
        discovery or None,
    )


def check_topic(name: str) -> None:
    """Raises AddressError for what nothing can be published under."""
    if re.search(r"[+#\x00-\x1f\x7f-\x9f]", name) or name.startswith("$"):
        raise AddressError("its topic has a + or # or control character, or begins with $ - name another")
    if len(name.encode()) > LONGEST:
        raise AddressError(f"its topic has more than {LONGEST} bytes - name a shorter one")


@dataclass(frozen=True)
class Seen:
    """The log's record of a frame, and whose answer that is. An empty one: there is no answer any more."""

    record: Record
    model: str
    backend: str


class Publisher:
    """A Sink: calling it takes a microsecond and never waits, whatever the broker does.

    `start` begins a thread, the only one that talks to the broker. It has the newest answer only, and one
    message under way: what a broker did not take in time is replaced, never sent later.
    """

    def __init__(self, broker: Broker, model: str, backend: str) -> None:
        """Raises MqttError."""
        try:
            import paho.mqtt.client  # noqa: F401 - now, while no video would have to wait for it
        except ImportError:
            raise MqttError(
                "--mqtt takes the library paho-mqtt - type: pip install -r requirements.txt"
            ) from None
        self.broker = broker
        self.connected = False
        self.published = 0  # states that the broker says it has
        self.error: str | None = "not connected yet"
        self._model, self._backend = model, backend
        self._slot: Latest[Seen] = Latest()
        self._best: tuple[int, str] | None = None  # these two belong to whoever calls
        self._put_ns = -math.inf
        self._newest: Seen | None = None  # these three to the thread
        self._online, self._stale_ns = True, 0
        self._outage = False
        self._closing, self._ended = threading.Event(), threading.Event()
        self._until_s = math.inf

    def __call__(self, record: Record) -> None:
        kind = record.get("rec")
        if kind == "run":  # a setting was changed, perhaps the model
            changed = (record["model"], record["backend"])
            if changed != (self._model, self._backend):
                self._model, self._backend = changed
                self._put_ns = -math.inf  # its first answer is news, whatever it says
        elif kind == "event" and record["event"] == "unanswered":  # what was seen before is no news
            self._best, self._put_ns = None, -math.inf
            self._slot.put(Seen({}, self._model, self._backend))
        elif kind == "frame":
            top, now_ns = record["top"], time.monotonic_ns()
            best = (top[0][0], top[0][1]) if top else None
            if best != self._best or now_ns - self._put_ns >= EVERY_S * 1e9:
                self._best, self._put_ns = best, now_ns
                self._slot.put(Seen(record, self._model, self._backend))

    def status(self) -> dict[str, Any]:
        """For /api/state. For any thread."""
        return {
            "topic": self.broker.topic,
            "connected": self.connected,
            "published": self.published,
            "error": self.error,
        }

    def start(self, camera: Callable[[], dict[str, Any]]) -> None:
        """`camera` is how it is now: online, fault, camera_fps, model_fps."""
        self._camera = camera
        threading.Thread(target=self._run, name="mqtt", daemon=True).start()

    def stop(self) -> None:
        """Begin to tell the broker the end; `join` waits for that. May be called twice."""
        if not self._closing.is_set():
            self._until_s = time.monotonic() + END_S
            self._closing.set()
            self._slot.close()

    def join(self) -> None:
        """Until END_S after `stop`; then what hangs is left behind, and the broker finds the last will."""
        self._ended.wait(max(0.0, self._until_s - time.monotonic()))

    # In the thread.

    def _run(self) -> None:
        pause_s = FIRST_S
        try:
            while not self._closing.is_set():
                began_s = time.monotonic()
                try:
                    self._session()
                except OSError as error:
                    self._lost(error)
                if time.monotonic() - began_s >= STEADY_S:
                    pause_s = FIRST_S
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, MOST_S)
        finally:
            self.connected = False
            self._ended.set()

    def _lost(self, error: OSError) -> None:
        self.connected = False
        self.error = error.strerror or str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            self.error = f"its certificate is not trusted: {error.verify_message}"
        if not self._outage and not self._closing.is_set():
            log.warning(
                "no MQTT broker at %s: %s; all else goes on, and it is tried again",
                self.broker.shown,
                self.error,
            )
            self._outage = True

    def _session(self) -> None:
        """One connection, until it is lost (OSError), or until the end."""
        connection = Connection(self.broker)
        try:
            connection.open()
            if not self._wait(connection, connection.accepted, CONNECT_S):
                return
            self._announce(connection)
            if self._wait(connection, connection.quiet, ANSWER_S):
                self._tell(connection)
            connection.publish(self.broker.availability_topic, "offline")
            while not connection.quiet() and (left_s := self._until_s - time.monotonic()) > 0:
                connection.serve(min(SLICE_S, left_s))
            connection.disconnect()
        finally:
            connection.close()

    def _announce(self, connection: Connection) -> None:
        if self.broker.discovery:
            for topic, config in discovery(self.broker, self.broker.discovery).items():
                connection.publish(topic, json.dumps(config))
        connection.publish(self.broker.availability_topic, "online")
        self.connected, self.error = True, None
        if self._outage:
            log.info("the MQTT broker at %s is there", self.broker.shown)
        self._outage = False

    def _tell(self, connection: Connection) -> None:
        told: dict[str, Any] = {}
        told_s = -math.inf
        for seen in self._slot.ticks(TICK_S):
            if self._closing.is_set():
                return
            connection.serve(0.0)
            self._newest = seen or self._newest
            camera = self._look()
            anew = camera["online"] != told.get("online", not camera["online"])
            otherwise = camera["fault"] != told.get("fault") and time.monotonic() - told_s >= EVERY_S
            if seen is None and not anew and not otherwise:
                continue
            told, told_s = camera, time.monotonic()
            message = state(self._fresh(), camera, time.monotonic_ns(), time.time())
            connection.publish(self.broker.state_topic, json.dumps(message, separators=(",", ":")))
            if not self._wait(connection, connection.quiet, ANSWER_S):
                return
            self.published += 1
            self._closing.wait(GAP_S)

    def _look(self) -> dict[str, Any]:
        camera = self._camera()
        if self._online and not camera["online"]:
            self._stale_ns = time.monotonic_ns()
        self._online = camera["online"]
        return camera

    def _fresh(self) -> Seen | None:
        """The newest answer; None if the camera was lost, or the model, and nothing has been seen since."""
        seen = self._newest if self._online else None
        return seen if seen and seen.record.get("arrived_ns", 0) > self._stale_ns else None

    def _wait(self, connection: Connection, done: Callable[[], bool], timeout_s: float) -> bool:
        """Until it is done; False if the end comes first. Raises OSError."""
        until_s = time.monotonic() + timeout_s
        while not done():
            if self._closing.is_set():
                return False
            if (left_s := until_s - time.monotonic()) <= 0:
                raise TimeoutError("it does not answer")
            connection.serve(min(SLICE_S, left_s))
        return True


class Connection:
    """One connection, for one thread. Each is a client of its own: nothing of the one before is sent again.

    Its methods raise OSError when there is no broker, or none any more.
    """

    def __init__(self, broker: Broker) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._broker = broker
        self._accepted, self._refused = False, ""
        self._under_way: set[int] = set()
        client = self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=broker.node, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_S
        client.will_set(broker.availability_topic, "offline", qos=1, retain=True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.scheme == "mqtts":
            client.tls_set()  # the system's authorities; the name is checked

        def on_connect(client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
            self._accepted = not reason.is_failure
            self._refused = str(reason) if reason.is_failure else ""

        def on_publish(client: Client, userdata: Any, number: int, reason: Any, properties: Any) -> None:
            self._under_way.discard(number)

        client.on_connect, client.on_publish = on_connect, on_publish

    def open(self) -> None:
        """The connection is there, but not whether we are let in."""
        self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)

    def accepted(self) -> bool:
        return self._accepted

    def quiet(self) -> bool:
        """The broker has said of every message that it has it."""
        return not self._under_way

    def publish(self, topic: str, payload: str) -> None:
        """Retained, and to be acknowledged."""
        self._under_way.add(self._client.publish(topic, payload, qos=1, retain=True).mid)
        self._check()

    def serve(self, timeout_s: float) -> None:
        """Send and take what there is, waiting so long at most for something to happen."""
        self._check()
        connected: Any = self._client.socket()
        # Not paho's own loop: it waits by select(), which knows no descriptor above 1023.
        poll = select.poll()
        poll.register(connected, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        decrypted = isinstance(connected, ssl.SSLSocket) and connected.pending()
        events = poll.poll(0 if decrypted else timeout_s * 1000)
        if decrypted or any(event & ~select.POLLOUT for _, event in events):
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()
        self._check()

    def disconnect(self) -> None:
        """Without a last will."""
        self._client.disconnect()

    def close(self) -> None:
        """In whatever state it is; the broker publishes the last will, if it has not been told the end."""
        connected: Any = self._client.socket()
        if connected is not None:
            connected.close()

    def _check(self) -> None:
        if self._refused:
            raise ConnectionRefusedError(f"it lets nobody in so: {self._refused}")
        if self._client.socket() is None:
            raise ConnectionResetError("the connection was lost")


# What is said.


def state(seen: Seen | None, camera: dict[str, Any], now_ns: int, now_s: float) -> dict[str, Any]:
    """The message under TOPIC/state; docs/api.md says what each field means."""
    record: Record = seen.record if seen else {"top": []}
    top = [{"index": index, "label": label, "score": score} for index, label, score in record["top"]]
    best: dict[str, Any] = top[0] if top else {"label": None, "index": None, "score": None}
    age_s = (now_ns - record["arrived_ns"]) / 1e9 if seen else None
    return {
        "label": best["label"],
        "index": best["index"],
        "score": best["score"],
        "seq": record.get("seq"),
        "age_s": None if age_s is None else round(age_s, 3),
        "t_s": None if age_s is None else round(now_s - age_s, 3),
        "model": seen.model if seen else None,
        "backend": seen.backend if seen else None,
        "top": top,
        "online": camera["online"],
        "fault": camera["fault"],
        "camera_fps": rounded(camera["camera_fps"]),
        "model_fps": rounded(camera["model_fps"]),
    }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


ENTITIES: dict[str, tuple[str, dict[str, Any]]] = {
    "label": (
        "sensor",
        {
            "name": "Label",
            "icon": "mdi:tag",
            # Home Assistant takes no state above 255 characters, and None for unknown.
            "value_template": "{{ value_json.label[:255] if value_json.label else None }}",
            "json_attributes_template": (
                "{{ {'score': value_json.score, 'index': value_json.index, 'top': value_json.top,"
                " 'model': value_json.model, 'backend': value_json.backend} | tojson }}"
            ),
            "expire_after": EXPIRE_S,
        },
    ),
    "score": (
        "sensor",
        {
            "name": "Score",
            "icon": "mdi:percent",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "suggested_display_precision": 0,
            "value_template": (
                "{{ (100 * value_json.score) | round(1) if value_json.score is not none else None }}"
            ),
            "expire_after": EXPIRE_S,
        },
    ),
    "camera_fps": (
        "sensor",
        {
            "name": "Camera rate",
            "icon": "mdi:camera",
            "unit_of_measurement": "fps",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.camera_fps }}",
            "expire_after": EXPIRE_S,
        },
    ),
    "model_fps": (
        "sensor",
        {
            "name": "Model rate",
            "icon": "mdi:speedometer",
            "unit_of_measurement": "fps",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.model_fps }}",
            "expire_after": EXPIRE_S,
        },
    ),
    "camera": (
        "binary_sensor",
        {
            "name": "Camera",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.online else 'OFF' }}",
        },
    ),
}
"""What Home Assistant shows: by its name among ours, the component it is for that, and how it is read."""


def discovery(broker: Broker, prefix: str) -> dict[str, dict[str, Any]]:
    """By topic, what Home Assistant is to be told of each entity."""
    level = broker.topic.rpartition("/")[2]
    device = {
        "identifiers": [broker.node],
        "name": level if "labelcam" in level.lower() else f"Labelcam {level}",
        "manufacturer": "Labelcam",
        "model": "live camera classifier",
        "sw_version": __version__,
    }
    found = {}
    for name, (component, reading) in ENTITIES.items():
        attributes = {"json_attributes_topic": broker.state_topic} if name == "label" else {}
        found[f"{prefix}/{component}/{broker.node}/{name}/config"] = {
            "unique_id": f"{broker.node}_{name}",
            "state_topic": broker.state_topic,
            "availability_topic": broker.availability_topic,
            **reading,
            **attributes,
            "device": device,
            "origin": {"name": "Labelcam", "sw_version": __version__},
        }
    return found
