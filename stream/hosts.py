"""The names under which requests are answered: this machine's, and those its owner has allowed.

A stranger's page may have a name that its owner lets point here (DNS rebinding). The browser then takes our
answers for that stranger's own; but it says, in the Host header, whom it believes to ask.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::([0-9]{1,5}))?", re.I | re.A)
LONGEST = 253 + len(":65535")


class Host(NamedTuple):
    """HOST or HOST:PORT, as in an address."""

    name: str  # in lower case; an IPv6 address without its brackets
    port: int | None

    @property
    def is_address(self) -> bool:
        """Numbers, no name: nobody else can let it point here."""
        return address_of(self.name) is not None

    @property
    def is_loopback(self) -> bool:
        address = address_of(self.name)
        return self.name == "localhost" or (address is not None and address.is_loopback)

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


def read_host(text: str) -> Host | None:
    """None if it is neither a name nor an address."""
    found = HOST.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        return None
    name, port = found[1].lower(), int(found[2]) if found[2] else None
    if name.startswith("["):
        name = name[1:-1]
        if address_of(name) is None:
            return None
    if port is not None and not 0 < port < 65536:
        return None
    return Host(name, port)


def address_of(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


class Hosts:
    """Which Host is answered. With a token that includes every address of numbers and this machine's name."""

    def __init__(self, machine: str, allowed: tuple[str, ...], with_token: bool) -> None:
        """`machine` is its hostname. Raises ValueError for an allowed one that is none."""
        self._with_token = with_token
        self._allowed = {allowed_host(text) for text in allowed}
        first = machine.partition(".")[0]
        self._machine = {name.lower() for name in (machine, first, f"{first}.local") if with_token and first}

    def answers(self, host: Host) -> bool:
        return (
            host.is_loopback
            or (self._with_token and (host.is_address or host.name in self._machine))
            or host in self._allowed
            or host._replace(port=None) in self._allowed
        )


def allowed_host(text: str) -> Host:
    """Raises ValueError for what is none."""
    host = read_host(text)
    if host is None:
        raise ValueError
    return host
