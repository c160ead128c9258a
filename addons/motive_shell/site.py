"""Requests that are for the proxy itself: health and administration.

Owns their way to the origin. What they are answered with is the origin's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from mitmproxy import http
from mitmproxy.net.http.http1 import assemble_response

from motive_core.access import CONSOLE_PATH, Rank, is_console
from motive_core.dialects import RequestHead
from motive_core.errors import MotiveError, RequestTimeoutError, StatusError
from motive_core.incoming import new_id
from motive_core.origin import OriginServer
from motive_core.origin.app import LOGIN_HEADER, RANK_HEADER
from motive_core.refusals import error_reply, spoken_by
from motive_shell.flows import send_to_origin

LONGEST_TARGET: Final = 8192
"""The longest path and query that the origin is asked for, in bytes. What it serves is shorter, and its server would
refuse a very long one in words of its own."""

_FORWARDED: Final = (b"origin", b"anthropic-version", b"accept", b"user-agent", b"content-type", b"last-event-id")
_LONGEST_VALUE: Final = 1024
_UNSENDABLE: Final = re.compile(rb"[^\x20-\x7e\x80-\xff]")
"""What the origin's server refuses within a header. mitmproxy does not."""


def refusal(status: int) -> bytes:
    """The whole reply, head and all, to a client whose request's head did not come to its end: 408 if it took too
    long, 431 if it is too large."""
    error: MotiveError
    if status == 408:
        error = RequestTimeoutError("The head of the request did not come in time.")
    else:
        error = StatusError(status, "The head of the request is too large.", code="head_too_large")
    dialect = spoken_by(RequestHead("", "", 0, "/", "", {}))
    status, headers, body = error_reply(dialect, error, new_id())
    response = http.Response.make(status, body, headers | {"connection": "close"})
    return bytes(assemble_response(response))


def wants_console(head: RequestHead) -> bool:
    """Whether this is a browser that was given the bare address: the console is its page. (To Ollama's clients the same
    path says that somebody is there.)"""
    return head.method == "GET" and head.path in ("", "/") and "text/html" in head.headers.get("accept", "")


def to_console() -> tuple[int, dict[str, str], bytes]:
    """The reply to it."""
    return 303, {"location": CONSOLE_PATH}, b""


def without_cookie(response: http.Response) -> Callable[[bytes], bytes]:
    """To be the ``stream`` of a response that logs a browser in: its head has gone out when this is called first, and
    from then on nobody who looks at the flow, or at a file of flows, finds the cookie."""

    def forget(data: bytes) -> bytes:
        response.headers.pop("set-cookie", None)
        return data

    return forget


def to_origin(flow: http.HTTPFlow, origin: OriginServer, rank: Rank, login: str | None) -> http.Request:
    """Send a request to the origin, and say who asks. Gives the original one, to be put back when the reply comes.
    ``login`` is the cookie by which the operator is logged in to the console."""
    original = flow.request
    headers = {
        name.lower(): _UNSENDABLE.sub(b"?", value[:_LONGEST_VALUE])
        for name, value in original.headers.fields
        if name.lower() in _FORWARDED
    }
    headers[RANK_HEADER.encode()] = rank.encode()
    body = b""
    if rank == "operator" and is_console(original.path.partition("?")[0]):
        body = original.raw_content or b""
        if login is not None:
            headers[LOGIN_HEADER.encode()] = login.encode()
    send_to_origin(flow, origin, original.method, original.data.path, headers, body=body)
    return original
