"""Tells the page what is new, as server-sent events: the state each second, an answer when there is one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream.hub import Places

TICK_S = 0.25
STATE_S = 1.0
RETRY_MS = 1000
PLACES = 64


@dataclass(frozen=True)
class Issue:
    """What goes out at one time, made once for all who listen."""

    text: bytes


class Listening:
    """What one listener follows; whoever asked for it calls `leave` once, in the end."""

    def __init__(self, bulletin: Bulletin) -> None:
        self._bulletin = bulletin
        self.stale = bulletin.newest  # from when somebody last listened, maybe hours ago

    @property
    def newest(self) -> Issue | None:
        return self._bulletin.newest

    @property
    def closed(self) -> bool:
        return self._bulletin.closed

    def part(self, issue: Issue) -> bytes:
        return issue.text

    def leave(self) -> None:
        self._bulletin.leave()


class Bulletin:
    """A thread of its own makes an issue every TICK_S, while somebody listens and something is new."""

    def __init__(self) -> None:
        self.places = Places(PLACES, "listeners")
        self.newest: Issue | None = None
        self.closed = False
        self.listeners = 0
        self.on_publish: Callable[[], object] = lambda: None
        self._changed = threading.Condition()
        self._hurry = False
        self._thread = threading.Thread(target=self._run, name="bulletin", daemon=True)

    def start(
        self,
        state: Callable[[], dict[str, Any]],
        answer: Callable[[], dict[str, Any] | None],
        history: Callable[[], dict[str, Any]],
    ) -> None:
        """What there is to tell."""
        self._state, self._answer, self._history = state, answer, history
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def listen(self) -> Listening:
        """One listener more. Raises Full."""
        self.places.take()
        with self._changed:
            self.listeners += 1
            self._hurry = True
            self._changed.notify()
            return Listening(self)

    def leave(self) -> None:
        with self._changed:
            self.listeners -= 1
        self.places.give_back()

    def beginning(self) -> bytes:
        """What a listener is told first: how it was in the last minute."""
        return f"retry: {RETRY_MS}\n\n".encode() + event("history", {"stages": self._history()})

    def hurry(self) -> None:
        """Something has been changed: tell it now."""
        with self._changed:
            self._hurry = True
            self._changed.notify()

    def close(self) -> None:
        """May be called twice."""
        with self._changed:
            self.closed = True
            self._changed.notify()
        self.on_publish()

    def _run(self) -> None:
        state_s, told = 0.0, None
        while not self.closed:
            with self._changed:
                self._changed.wait_for(lambda: self.closed or self.listeners > 0)
                self._changed.wait_for(lambda: self.closed or self._hurry, TICK_S)
                hurry, self._hurry = self._hurry, False
            if self.closed:
                return
            now_s = time.monotonic()
            text, answer = b"", self._answer()
            if hurry or now_s - state_s >= STATE_S - TICK_S / 2:
                state_s, text = now_s, event("state", self._state())
            seq = answer and answer["seq"]
            if seq != told:
                told = seq
                text += event("answer", answer)
            if text:
                self.newest = Issue(text)
                self.on_publish()


def event(name: str, data: object) -> bytes:
    """JSON has no line ends of its own."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
