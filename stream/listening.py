"""The socket the server listens on, made before anything else: a taken port costs nobody a camera."""

from __future__ import annotations

import errno
import socket

from stream.service import FIRST_DESCRIPTOR, Service


class ListenError(Exception):
    """The address or port cannot be had. One line: what happened, what to type now."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(f"{host} is not an address of this machine - try --host 127.0.0.1") from error
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keep_little(listening)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        if isinstance(error, PermissionError):
            raise ListenError(
                f"port {port} needs root - choose one above 1023, such as --port 8000"
            ) from error
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"port {port} on {host} is taken - choose another: --port {port + 1}"
            ) from error
        raise ListenError(
            f"cannot listen on {host} port {port}: {error.strerror} - try --host 127.0.0.1"
        ) from error
    return listening


def inherited(service: Service) -> socket.socket:
    """The socket that the service manager listens on and has left to us. Raises ListenError."""
    if service.sockets != 1:
        raise ListenError(f"there are {service.sockets} sockets - give the socket unit one ListenStream=")
    try:
        listening = socket.socket(fileno=FIRST_DESCRIPTOR)
    except OSError as error:
        raise ListenError(f"what the service manager left to us is no socket: {error.strerror}") from error
    listening.set_inheritable(False)
    internet = listening.family in (socket.AF_INET, socket.AF_INET6)
    if not internet or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.close()
        raise ListenError("that is no port to listen on - write ListenStream=127.0.0.1:8000, and no Accept=")
    keep_little(listening)
    return listening


def keep_little(listening: socket.socket) -> None:
    """Have its connections never hold more than a few pictures of the past.

    The kernel's own send buffer grows to megabytes, and a slow viewer is then shown a video of a quarter of a
    minute ago. On Linux accepted sockets inherit these options.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 16 * 1024)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)  # ms; a silent peer is dropped


def is_loopback(listening: socket.socket) -> bool:
    """Only this machine can connect."""
    host: str = listening.getsockname()[0]
    return host == "::1" or host.startswith("127.")
