"""Keeps the token, and cameras' passwords, out of whatever is logged, whoever logs it."""

from __future__ import annotations

import logging

from stream.sources import addresses_without_credentials


class Redacting(logging.Formatter):
    """What another formatter writes, tracebacks too, without what is secret."""

    def __init__(self, inner: logging.Formatter, token: str | None) -> None:
        super().__init__()
        self._inner, self._token = inner, token

    def format(self, record: logging.LogRecord) -> str:
        text = addresses_without_credentials(self._inner.format(record))
        return text.replace(self._token, "...") if self._token else text


def redact_logs(token: str | None) -> None:
    """From now on, in everything that is logged."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Redacting(handler.formatter or logging.Formatter(), token))
