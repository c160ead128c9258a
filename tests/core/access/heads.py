"""Heads of requests, as they come to the meeting point."""

from __future__ import annotations

from motive_core.dialects import RequestHead


def head(
    method: str = "POST", path: str = "/v1/chat/completions", host: str = "127.0.0.1", **headers: str
) -> RequestHead:
    """A head; header names are written with underscores, and a query stands in the path."""
    path, _, query = path.partition("?")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead(method, host, 9, path, query, named)
