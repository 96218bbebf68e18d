"""What a service manager is told and gives: that we serve, that we live, its socket, its journal.

systemd's side of it is a few variables and datagrams, promised to stay (sd_notify(3), sd_listen_fds(3),
sd-daemon(3)). The libraries for it want a compiler and libsystemd's headers, for what is a page here.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

log = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3
"""The sockets of a socket unit are given from here on."""
LEVELS = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""The journal's numbers for them."""
REST_S = 0.1
"""From one look at how we are to the next."""


@dataclass(frozen=True)
class Service:
    """What the service manager has said; nothing at a terminal."""

    notify: str = ""  # where it listens
    watchdog_s: float | None = None  # how long we may be silent
    sockets: int = 0  # how many it has opened for us, from FIRST_DESCRIPTOR on
    journal: bool = False  # what goes to stderr lands there


def take_service(environment: MutableMapping[str, str]) -> Service:
    """What is in the variables, and the variables away: no child of ours is to take them for its own."""
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM")
    notify, watchdog_us, watchdog_pid, sockets, sockets_pid, journal = (
        environment.pop(name, "") for name in names
    )
    environment.pop("LISTEN_FDNAMES", None)
    own = str(os.getpid())
    watched = watchdog_us.isdecimal() and watchdog_pid in ("", own)
    try:
        errors = os.fstat(2)
    except OSError:  # started with 2>&-
        journal = ""
    return Service(
        notify,
        int(watchdog_us) / 1e6 if watched else None,
        int(sockets) if sockets.isdecimal() and sockets_pid == own else 0,
        bool(journal) and journal == f"{errors.st_dev}:{errors.st_ino}",
    )


class Supervisor:
    """Tells the service manager how we are; nobody at a terminal. Never waits and never raises."""

    def __init__(self, service: Service) -> None:
        # "@" stands for the zero byte that a socket's name without a file begins with.
        self._address = service.notify.replace("@", "\0", 1) if service.notify[:1] == "@" else service.notify
        self._interval_s = service.watchdog_s and service.watchdog_s / 2
        self._due_s = self._next_s = 0.0
        self._frames = 0
        self._status = ""
        self._fault = ""

    def ready(self, status: str) -> None:
        self._status = status
        self._say("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def due(self) -> bool:
        """Whether somebody is to be told, and it is a while since this was last true: the loops of many
        cameras ask, each with every frame, and to find out how all are takes time."""
        now_s = time.monotonic()
        if not self._address or now_s < self._due_s:
            return False
        self._due_s = now_s + REST_S
        return True

    def beat(self, frames: int, fault: str | None, resting: bool = False) -> None:
        """To be called by the loop that paints, all the time: feeds the watchdog while there is something to
        show. That is new frames since the last time, a known reason why there are none, or a source that may
        rest for long."""
        if (fault or "") != self._fault:
            self._fault = fault or ""
            self._say(f"STATUS={fault or self._status}")
        if self._interval_s is None or time.monotonic() < self._next_s:
            return
        if frames == self._frames and fault is None and not resting:
            return
        self._frames, self._next_s = frames, time.monotonic() + self._interval_s
        self._say("WATCHDOG=1")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            log.debug("the service manager was not told %s: %s", lines[0], error)


class JournalLines(logging.Formatter):
    """With the level in front. The journal makes an entry of every line, so in front of each."""

    def format(self, record: logging.LogRecord) -> str:
        level = LEVELS.get(record.levelno, 6)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())
