"""Who may ask for what: every request passes here first, and every answer says how it is to be treated."""

from __future__ import annotations

import hmac
import socket
from http import HTTPStatus

from flask import Flask, Response, g, request

from stream.hosts import Host, Hosts, read_host
from stream.server_errors import HEADERS, add_errors, told

READING = ("GET", "HEAD", "OPTIONS")
"""What changes nothing. Everything else is asked by a page of ours, or is refused."""
NO_TOKEN = "this camera needs its token: open the address printed at its start, or add ?token=TOKEN to it"
COOKIE_S = 30 * 24 * 3600
"""How long a browser keeps the token after a visit with it."""
PICTURES = ("image/jpeg", "multipart/x-mixed-replace")
"""What another page of this machine, at another port, may show: OctoPrint's, Mainsail's."""


def add_guard(app: Flask, token: str | None, hosts: tuple[str, ...]) -> None:
    """Refuse strangers on every route, those of plugins and of mistyped paths too."""
    add_errors(app)
    answered = Hosts(socket.gethostname(), hosts, with_token=token is not None)

    @app.before_request
    def refuse_strangers() -> Response | None:
        host = read_host(request.headers.get("Host", ""))
        if host is None:
            return told(HTTPStatus.FORBIDDEN, "a request says whom it asks, in one Host header")
        if not answered.answers(host):
            return told(
                HTTPStatus.FORBIDDEN,
                f"{host} is no name that is answered here - if it means this machine, or a proxy in front of"
                f" it, start with --allow-host {host}",
            )
        if embedded_elsewhere():
            return told(HTTPStatus.FORBIDDEN, "the page of another site cannot show what is here")
        if token is not None and not known(token):
            return told(HTTPStatus.UNAUTHORIZED, NO_TOKEN)
        if request.method not in READING and not same_origin():
            return told(
                HTTPStatus.FORBIDDEN, "only its own page may change something, or a script with X-Labelcam: 1"
            )
        g.keep_token = token is not None and "token" in request.args
        return None

    @app.after_request
    def say_how_to_treat_it(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if response.mimetype in PICTURES:
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin" if beside_us() else "same-site"
        if token is not None and g.get("keep_token"):
            response.set_cookie(cookie(), token, COOKIE_S, httponly=True, samesite="Strict")
        return response


def known(token: str) -> bool:
    """The request carries the token: in its address (for <img>), its Authorization header or our cookie."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        bearer = ""
    given = (request.args.get("token", ""), bearer, request.cookies.get(cookie(), ""))
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)


def cookie() -> str:
    """Browsers keep cookies by host alone: two cameras on one host must not share one."""
    return f"labelcam_{request.environ['SERVER_PORT']}"


def embedded_elsewhere() -> bool:
    """Another site's page wants it as a part of itself, if only to take a viewer's place. A link is none."""
    return request.headers.get("Sec-Fetch-Site") == "cross-site" and (
        request.headers.get("Sec-Fetch-Mode"),
        request.headers.get("Sec-Fetch-Dest"),
    ) != ("navigate", "document")


def same_origin() -> bool:
    """A page of ours has sent this, or a script that means it: no foreign page can, without asking first.

    Browsers say where a request comes from, in Sec-Fetch-Site or, older ones, in Origin. Where neither is,
    no browser is; then X-Labelcam says that it is meant.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    if origin is not None:
        asking = host_of(origin)
        return asking is not None and asking == read_host(request.headers.get("Host", ""))
    return "X-Labelcam" in request.headers


def beside_us() -> bool:
    """A page of the same machine asks, at whatever port. Chromium takes an address of numbers for no site, so
    that "same-site" would not let OctoPrint at http://192.168.1.5 show http://192.168.1.5:8000/stream."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "same-site")
    asking, host = host_of(request.headers.get("Referer", "")), read_host(request.headers.get("Host", ""))
    return asking is not None and host is not None and asking.name == host.name


def host_of(address: str) -> Host | None:
    """Of an origin or of a page."""
    scheme, _, rest = address.partition("://")
    return read_host(rest.partition("/")[0]) if scheme in ("http", "https") else None
