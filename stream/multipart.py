"""One picture as a part of a multipart/x-mixed-replace stream, which browsers show as video."""

from __future__ import annotations

from collections.abc import Mapping

BOUNDARY = "frame"


def multipart(jpeg: bytes, captured_s: float, facts: Mapping[str, str] | None = None) -> bytes:
    """The part, with a header X-Labelcam-NAME for each of the facts.

    It ends with the next part's boundary: browsers show a part only when they have seen that.
    """
    more = "".join(f"X-Labelcam-{name}: {value}\r\n" for name, value in (facts or {}).items())
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Timestamp: {captured_s:.6f}\r\n"
    return b"".join((f"{head}{more}\r\n".encode(), jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))
