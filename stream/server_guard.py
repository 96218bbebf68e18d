"""Who may ask for what: every request passes here first, and every answer says how it is to be treated."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request

POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' blob:",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""What our pages may load: nothing from elsewhere, nothing written into them."""


def add_guard(app: Flask, token: str | None, hosts: tuple[str, ...]) -> None:
    """Refuse strangers on every route, those of plugins and of mistyped paths too."""

    @app.before_request
    def refuse_strangers() -> Response | None:
        if token is None:
            if names_this_machine(request.host) or request.host in hosts:
                return None
            # A foreign name that its owner made to point here (DNS rebinding), in a browser that runs here.
            return refusal(HTTPStatus.FORBIDDEN, "without a token, only http://127.0.0.1 is answered")
        if known(token):
            return None
        return refusal(
            HTTPStatus.UNAUTHORIZED, "this camera needs its token: open the address printed at its start"
        )

    @app.after_request
    def say_how_to_treat_it(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Referrer-Policy"] = "no-referrer"
        if token is not None and request.args.get("token") and known(token):
            response.set_cookie(cookie(), token, httponly=True, samesite="Strict")
        return response


def known(token: str) -> bool:
    """The request carries the token: in its address (for <img>), its Authorization header or our cookie."""
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    given = (request.args.get("token", ""), bearer, request.cookies.get(cookie(), ""))
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)


def cookie() -> str:
    """Browsers keep cookies by host alone: two cameras on one host must not share one."""
    return f"labelcam_{request.environ['SERVER_PORT']}"


def names_this_machine(host: str) -> bool:
    """A Host header that means loopback."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


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
        return urlsplit(origin).netloc == request.host
    return "X-Labelcam" in request.headers


def refusal(status: HTTPStatus, reason: str) -> Response:
    """One line, as JSON."""
    response = jsonify(error=reason)
    response.status_code = status
    return response
