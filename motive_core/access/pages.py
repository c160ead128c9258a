"""Pages in browsers: which of them may call the meeting point, and what they are told.

Owns CORS (the Fetch standard, section 3.3), its preflights, and the names under which the operator's paths are served.
An origin is allowed or refused; credentials (cookies) never are allowed, so an origin is all that a reply names.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from motive_core.access.operators import is_console, is_operators
from motive_core.config import Config, encodable, glob_regex, normal_host, split_host
from motive_core.dialects import RequestHead
from motive_core.errors import PermissionDeniedError

INTERNAL_HOST: Final = "motive.internal"
"""The name by which clients of the forward proxy reach the meeting point. It never leaves the proxy."""

_ORIGIN: Final = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s,/@?#]+")
"""One origin as browsers write it (RFC 6454, section 6.2)."""
_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_PREFLIGHT_KEPT_S: Final = 600
_API: Final = "/console/api/"
_OWN_SITES: Final = ("same-origin", "none")
_ASKED_METHODS: Final = ("GET", "HEAD")


def is_preflight(head: RequestHead) -> bool:
    """Whether this is a CORS preflight for something that pages of other origins may call."""
    return head.method == "OPTIONS" and "access-control-request-method" in head.headers and not is_operators(head.path)


class Pages:
    """``cors_origins`` and ``access.hosts`` of a configuration, compiled."""

    def __init__(self, config: Config) -> None:
        self._origins = [glob_regex(origin) for origin in config.cors_origins]
        self._names = [glob_regex(split_host(pattern)[0]) for pattern in config.access.hosts]

    def check(self, head: RequestHead) -> None:
        """Raises ``PermissionDeniedError`` for a page that may not call the meeting point, and for nobody else.

        A browser sends simple requests without asking first, and reads a reply or not; by then a stranger's page would
        have answered an app. It always names the page's origin with a POST. A name that a page made point here (DNS
        rebinding) shows in ``Host``: the operator's paths are served under this machine's own names only, and what a
        page may fetch without naming its origin is served to browsers under no other, either.
        """
        origin = head.headers.get("origin")
        if is_console(head.path):
            # Its pages only: another one of this machine is of the same site, so that its calls come with the cookie.
            if origin is not None and not _is_own_origin(origin, head):
                raise _refused(f"Pages of {origin} may not call the console.")
            # A page may also have a browser fetch something as an image, say, which names no origin.
            if head.path.startswith(_API) and head.headers.get("sec-fetch-site", "none") not in _OWN_SITES:
                raise _refused("Pages of other origins may not call the console.")
        elif origin is not None:
            if not self._is_allowed(origin):
                raise _refused(
                    f"Pages of {origin} may not call this proxy: cors_origins in the configuration names those that "
                    "may."
                )
            if not is_operators(head.path):
                return
        elif not is_operators(head.path) and not _may_be_rebound(head):
            return
        if not self._is_own_name(head.host):
            raise _refused(
                f"This path is not served under the name {head.host}: use an address, or add the name to access.hosts "
                "in the configuration."
            )

    def cors_headers(self, head: RequestHead) -> dict[str, str]:
        """Headers that let a page of another origin read a reply."""
        origin = head.headers.get("origin")
        if origin is None or is_operators(head.path) or not self._is_allowed(origin):
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": "*, x-request-id, request-id, x-motive-session",
            "vary": "origin",
        }

    def preflight(self, head: RequestHead) -> dict[str, str]:
        """Headers of the reply to a preflight: what the SDK asks for is what it may send."""
        headers = self.cors_headers(head)
        if headers:
            headers["access-control-allow-methods"] = _METHODS
            headers["access-control-allow-headers"] = head.headers.get("access-control-request-headers", "*")
            headers["access-control-max-age"] = str(_PREFLIGHT_KEPT_S)
            if head.headers.get("access-control-request-private-network") == "true":
                headers["access-control-allow-private-network"] = "true"
        return headers

    def _is_allowed(self, origin: str) -> bool:
        return _ORIGIN.fullmatch(origin) is not None and any(glob.fullmatch(origin) for glob in self._origins)

    def _is_own_name(self, host: str) -> bool:
        """Whether a ``Host`` cannot be a stranger's: an address, this machine's name for itself, ours, or one that the
        configuration names."""
        name = normal_host(host)
        if name in ("localhost", INTERNAL_HOST) or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return any(glob.fullmatch(name) for glob in self._names)
        return True


def _is_own_origin(origin: str, head: RequestHead) -> bool:
    """Whether an origin is that under which the request came itself."""
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and authority != "" and authority == head.headers.get("host", head.host)


def _may_be_rebound(head: RequestHead) -> bool:
    """Whether a request may be one that a page sends without naming its origin, as browsers do to its own host."""
    return head.method in _ASKED_METHODS and head.headers.get("user-agent", "").startswith("Mozilla/")


def _refused(message: str) -> PermissionDeniedError:
    return PermissionDeniedError(encodable(message), code="origin_not_allowed")
