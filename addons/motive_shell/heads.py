"""The head of a flow's request, as the core knows it.

Owns the translation only.
"""

from __future__ import annotations

from functools import lru_cache

from mitmproxy import http
from mitmproxy.net.http.url import parse_authority

from motive_core.dialects import RequestHead


def head_of(request: http.Request) -> RequestHead:
    """The head of a request. Repeated header fields are joined by a comma."""
    path, _, query = request.path.partition("?")
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    # Not by ``headers.items()``, which looks through all fields again for each of them.
    for raw_name, raw_value in request.headers.fields:
        name, value = raw_name.decode("utf-8", "surrogateescape").lower(), raw_value.decode("utf-8", "surrogateescape")
        if name in headers:
            repeated.setdefault(name, [headers[name]]).append(value)
        else:
            headers[name] = value
    for name, values in repeated.items():
        headers[name] = ", ".join(values)
    authority = request.authority if request.is_http2 or request.is_http3 else ""
    if authority:
        headers.setdefault("host", authority)  # so that the same stands there in every version of HTTP
    else:
        authority = headers.get("host", "")
    host = _host_of(authority) if authority else request.host
    return RequestHead(request.method, host, request.port, path, query, headers)


@lru_cache(maxsize=1024)
def _host_of(authority: str) -> str:
    """The host of an authority, as ``Request.pretty_host`` has it. There are few of them, and each call names one."""
    return parse_authority(authority, check=False)[0]
