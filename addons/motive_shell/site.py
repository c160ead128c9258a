"""Requests that are for the proxy itself: health, administration, preflights.

Owns which requests these are, and their way to the origin. What they are answered with is the origin's business.
"""

from __future__ import annotations

from typing import Final

from mitmproxy import http

from motive_core.dialects import RequestHead
from motive_core.gateway import ADMIN_PATH
from motive_core.origin import OriginServer
from motive_shell.flows import send_to_origin

_FORWARDED: Final = (b"origin", b"anthropic-version", b"accept", b"user-agent")


def is_preflight(head: RequestHead) -> bool:
    """Whether this is a CORS preflight for something that pages of other origins may call."""
    return (
        head.method == "OPTIONS"
        and "access-control-request-method" in head.headers
        and not head.path.startswith(ADMIN_PATH)
    )


def to_origin(flow: http.HTTPFlow, origin: OriginServer) -> http.Request:
    """Send a request to the origin. Gives the original one, to be put back when the reply has come."""
    original = flow.request
    headers = {name.lower(): value for name, value in original.headers.fields if name.lower() in _FORWARDED}
    send_to_origin(flow, origin, original.method, original.data.path, headers)
    return original
