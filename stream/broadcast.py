"""Sends everybody the newest there is, from one thread: a slow one skips, and costs the others nothing."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import selectors
import socket
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

REPEAT_S, LONGEST_REPEAT_S = 1.0, 10.0
"""Without a new picture the last one is sent again: a vanished viewer is only noticed by writing to it."""
NICENESS = 10
"""Of the sending thread: where there are not enough cores for all, the classifier goes first."""
LOOK_S = 0.25
"""How often to look for what no event tells of."""
EARLY_S = 0.005
"""A picture may come so much before it is due, or a limit of 15 would give 10 of a camera's 30."""
STALLED_S = 5.0
"""Who takes nothing in so long is looked at, and is put out if he takes nothing in as long again. This is the
deadline of a send: on sockets that never block, the kernel's own (SO_SNDTIMEO) means nothing."""


NOT_LOOKED = -1


class Feed(Protocol):
    """What a connection follows: pictures in one width, say."""

    @property
    def newest(self) -> Any:
        """What is new is another object."""

    @property
    def stale(self) -> Any:
        """Not to be sent, though it is the newest when the connection comes."""

    @property
    def closed(self) -> bool:
        """Nothing more comes."""

    def part(self, item: Any, /) -> bytes:
        """What goes out for it: the same object for all who follow."""


class Viewer:
    """One connection. Owned by the broadcast's thread."""

    def __init__(
        self, connection: socket.socket, feed: Feed, interval_s: float, left: Callable[[], None]
    ) -> None:
        self.connection, self.feed, self.interval_s, self.left = connection, feed, interval_s, left
        self.pending = memoryview(b"")  # what the kernel has not taken yet
        self.blocked = False  # it will say when it takes more
        self.unsent = NOT_LOOKED  # bytes that the peer had not taken, as of the last look
        self.look_s = 0.0  # when to look whether he takes something, while something is pending
        self.shown: Any = feed.stale
        self.due_s = 0.0  # for another picture, not before
        self.repeat_s = math.inf  # for the same one again

    def next_part(self, now_s: float) -> bytes | None:
        """What to send now, if anything: a new picture when it is due, the same one when it was long ago."""
        newest = self.feed.newest
        if newest is None or now_s < (self.repeat_s if newest is self.shown else self.due_s - EARLY_S):
            return None
        if newest is not self.shown:
            on_time = now_s < self.due_s + self.interval_s
            self.due_s = (self.due_s if on_time else now_s) + self.interval_s
        self.shown = newest
        self.repeat_s = now_s + min(max(self.interval_s, REPEAT_S), LONGEST_REPEAT_S)
        return self.feed.part(newest)


class Broadcast:
    """`add` connections from any thread; `close` ends all, with a whole part if they read it.

    With a thread for each of 100 viewers, an inference of 5.7 ms was measured to take 13.4: it queues with
    all of them for Python's lock.
    """

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.evicted = {"stalled": 0, "error": 0}
        self.came_round_ns: int | None = None
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
        self._thread.start()

    def add(
        self,
        connection: socket.socket,
        head: bytes,
        feed: Feed,
        interval_s: float,
        left: Callable[[], None],
    ) -> None:
        """Take over a connection: first `head`, then what the feed brings, `interval_s` apart at least.
        `left` is called when it is gone."""
        viewer = Viewer(connection, feed, interval_s, left)
        viewer.pending = memoryview(head)
        self._joining.append(viewer)
        if not self.nudge():
            self._turn_away()

    def close(self, until_s: float) -> None:
        """Once the feeds are closed. `until_s` is the monotonic time at which what is still being sent is
        cut."""
        self._end_s = until_s
        self.nudge()
        if self.alive:
            self._thread.join(max(0.0, until_s - time.monotonic()) + 0.1)

    def nudge(self) -> bool:
        """Something is new: wake the thread; False if it has ended."""
        with self._lock:
            if self._open:
                os.eventfd_write(self._wake, 1)
            return self._open

    def _run(self) -> None:
        with suppress(OSError):  # a service's system call filter may refuse it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # on Linux, this thread's
        while self._viewers or self._end_s == math.inf:
            self.came_round_ns = time.monotonic_ns()
            for key, events in self._selector.select(min(LOOK_S, max(0.0, self._end_s - time.monotonic()))):
                if key.data is None:
                    os.eventfd_read(self._wake)
                else:
                    self._serve(key.data, events)
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
            elif has_stalled(viewer, now_s):
                self._drop(viewer, "stalled")
        elif (part := viewer.next_part(now_s)) is not None:
            viewer.pending = memoryview(part)
            self._send(viewer)
        elif viewer.feed.closed or self._end_s < math.inf:
            self._drop(viewer)

    def _serve(self, viewer: Viewer, events: int) -> None:
        """What the selector says of a connection. Nothing is expected of a viewer any more, but that they
        leave; what comes all the same is not read twice."""
        if events & selectors.EVENT_READ:
            try:
                if not viewer.connection.recv(4096):
                    self._drop(viewer)
                    return
            except BlockingIOError:
                pass
            except OSError as error:
                self._drop(viewer, reason_of(error))
                return
        if events & selectors.EVENT_WRITE:
            self._send(viewer)

    def _send(self, viewer: Viewer) -> None:
        """As much as the kernel takes; the rest when it says that it takes more."""
        try:
            while viewer.pending:
                sent = viewer.connection.send(viewer.pending)
                viewer.pending = viewer.pending[sent:]
                viewer.unsent, viewer.look_s = NOT_LOOKED, time.monotonic() + STALLED_S
                self.sent_bytes += sent
        except BlockingIOError:
            pass
        except OSError as error:
            self._drop(viewer, reason_of(error))
            return
        if viewer.blocked != bool(viewer.pending):
            viewer.blocked = not viewer.blocked
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if viewer.blocked else 0)
            self._selector.modify(viewer.connection, events, viewer)

    def _drop(self, viewer: Viewer, reason: str | None = None) -> None:
        """Without a reason, the viewer's own."""
        if reason is not None:
            self.evicted[reason] += 1
        self._viewers.discard(viewer)
        self._selector.unregister(viewer.connection)
        self._leave(viewer)

    @staticmethod
    def _leave(viewer: Viewer) -> None:
        viewer.connection.close()
        viewer.left()


def reason_of(error: OSError) -> str | None:
    """Why a connection that fails is put out. Who leaves without a word is no trouble; who does not answer
    for long has stalled: the kernel's own deadline may come before ours."""
    reasons = {errno.ETIMEDOUT: "stalled", errno.ECONNRESET: None, errno.EPIPE: None}
    return reasons.get(error.errno or 0, "error")


def has_stalled(viewer: Viewer, now_s: float) -> bool:
    """The peer takes nothing. One on a very slow line takes some of what the kernel holds, long before the
    kernel takes more of us."""
    if now_s < viewer.look_s:
        return False
    before, viewer.unsent = viewer.unsent, unsent_bytes(viewer.connection)
    viewer.look_s = now_s + STALLED_S
    return viewer.unsent == before


def unsent_bytes(connection: socket.socket) -> int:
    """What the peer has not acknowledged."""
    counted = fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(counted, sys.byteorder)
