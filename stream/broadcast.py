"""Sends every viewer the newest picture, from one thread: a slow one skips, and costs the others nothing."""

from __future__ import annotations

import math
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from stream.frames import Picture
from stream.hub import Hub

REPEAT_S, LONGEST_REPEAT_S = 1.0, 10.0
"""Without a new picture the last one is sent again: a vanished viewer is only noticed by writing to it."""
NICENESS = 10
"""Of the sending thread: where there are not enough cores for all, the classifier goes first."""
LOOK_S = 0.25
"""How often to look for what no event tells of."""
EARLY_S = 0.005
"""A picture may come so much before it is due, or a limit of 15 would give 10 of a camera's 30."""


class Viewer:
    """One connection. Owned by the broadcast's thread."""

    def __init__(self, connection: socket.socket, interval_s: float, left: Callable[[], None]) -> None:
        self.connection, self.interval_s, self.left = connection, interval_s, left
        self.pending = memoryview(b"")  # what the kernel has not taken yet
        self.blocked = False  # it will say when it takes more
        self.shown: Picture | None = None
        self.due_s = 0.0  # for another picture, not before
        self.repeat_s = math.inf  # for the same one again

    def next_part(self, newest: Picture | None, now_s: float) -> bytes | None:
        """What to send now, if anything: a new picture when it is due, the same one when it was long ago."""
        if newest is None or now_s < (self.repeat_s if newest is self.shown else self.due_s - EARLY_S):
            return None
        self.shown = newest
        on_time = now_s < self.due_s + self.interval_s
        self.due_s = (self.due_s if on_time else now_s) + self.interval_s
        self.repeat_s = now_s + min(max(self.interval_s, REPEAT_S), LONGEST_REPEAT_S)
        return newest.part


class Broadcast:
    """`add` connections from any thread; `close` ends all, with a whole part if they read it.

    With a thread for each of 100 viewers, an inference of 5.7 ms was measured to take 13.4: it queues with
    all of them for Python's lock.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._joining: deque[Viewer] = deque()
        self._viewers: set[Viewer] = set()
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._end_s = math.inf  # when what is still being sent is cut
        self._lock = threading.Lock()
        self._open = True  # the wake-up call may be used
        self._thread = threading.Thread(target=self._run, name="broadcast", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._hub.on_publish = self._nudge
        self._thread.start()

    def add(
        self, connection: socket.socket, head: bytes, interval_s: float, left: Callable[[], None]
    ) -> None:
        """Take over a connection: first `head`, then pictures, `interval_s` apart at least. `left` is called
        when its viewer is gone."""
        viewer = Viewer(connection, interval_s, left)
        viewer.pending = memoryview(head)
        viewer.shown = self._hub.enter()
        self._joining.append(viewer)
        if not self._nudge():
            self._turn_away()

    def close(self, until_s: float) -> None:
        """`until_s` is the monotonic time at which what is still being sent is cut."""
        self._hub.close()
        self._end_s = until_s
        self._nudge()
        if self.alive:
            self._thread.join(max(0.0, until_s - time.monotonic()) + 0.1)

    def _nudge(self) -> bool:
        """Wake the thread; False if it has ended."""
        with self._lock:
            if self._open:
                os.eventfd_write(self._wake, 1)
            return self._open

    def _run(self) -> None:
        with suppress(OSError):  # a service's system call filter may refuse it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # on Linux, this thread's
        while self._viewers or self._end_s == math.inf:
            for key, events in self._selector.select(min(LOOK_S, max(0.0, self._end_s - time.monotonic()))):
                if key.data is None:
                    os.eventfd_read(self._wake)
                elif events & selectors.EVENT_READ and self._has_left(key.data):
                    self._drop(key.data)
                elif events & selectors.EVENT_WRITE:
                    self._send(key.data)
            while self._joining:
                self._admit(self._joining.popleft())
            now_s = time.monotonic()
            for viewer in list(self._viewers):
                self._offer(viewer, now_s)
        with self._lock:
            self._open = False
            os.close(self._wake)
        self._selector.close()
        self._turn_away()

    def _turn_away(self) -> None:
        """Who came when the thread had ended."""
        with suppress(IndexError):
            while True:
                self._leave(self._joining.popleft())

    def _admit(self, viewer: Viewer) -> None:
        viewer.connection.setblocking(False)
        self._selector.register(viewer.connection, selectors.EVENT_READ, viewer)
        self._viewers.add(viewer)
        self._send(viewer)

    def _offer(self, viewer: Viewer, now_s: float) -> None:
        if viewer.pending:
            if now_s > self._end_s:
                self._drop(viewer)
        elif (part := viewer.next_part(self._hub.newest, now_s)) is not None:
            viewer.pending = memoryview(part)
            self._send(viewer)
        elif self._hub.closed:
            self._drop(viewer)

    def _send(self, viewer: Viewer) -> None:
        """As much as the kernel takes; the rest when it says that it takes more."""
        try:
            while viewer.pending:
                viewer.pending = viewer.pending[viewer.connection.send(viewer.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(viewer)
            return
        if viewer.blocked != bool(viewer.pending):
            viewer.blocked = not viewer.blocked
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if viewer.blocked else 0)
            self._selector.modify(viewer.connection, events, viewer)

    @staticmethod
    def _has_left(viewer: Viewer) -> bool:
        """Nothing is expected of a viewer any more; what comes all the same is not read twice."""
        try:
            return not viewer.connection.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _drop(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self._selector.unregister(viewer.connection)
        self._leave(viewer)

    def _leave(self, viewer: Viewer) -> None:
        viewer.connection.close()
        self._hub.leave()
        viewer.left()
