"""The web application of the origin: health and administration.

Owns paths, methods and JSON. What it tells comes from a ``Site``; it knows no session and no proxy. Every call must
carry the origin's secret: the port is open to every process of this machine, and only the proxy may use it. The proxy
says who asks, too; whatever it took a path for, the operator's are served to the operator only.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from motive_core.access import is_open, is_operators
from motive_core.dialects.base import RequestHead

SECRET_HEADER: Final = "x-motive-origin"
RANK_HEADER: Final = "x-motive-rank"
"""Who asks, as a ``Rank`` of ``motive_core.access``. Only the proxy can set it."""
LOGIN_HEADER: Final = "x-motive-login"
"""The cookie by which the operator is logged in to the console, if that is how they come. As before."""

_FOR_NOBODY_ELSE: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
"""Headers of what the operator is told: the link that leads there may hold the token."""


class Site(Protocol):
    """What the origin tells, and what it may do."""

    async def health(self) -> Mapping[str, Any]:
        """State of the proxy, as JSON. ``status`` is ``ok``, ``degraded`` or ``closing``."""
        ...

    async def render_metrics(self) -> tuple[str, bytes]:
        """Metrics for Prometheus: their content type, and the text."""
        ...

    async def sessions(self) -> list[dict[str, Any]]:
        """State of every session, as JSON."""
        ...

    async def close_session(self, session: str) -> bool:
        """End a session. Gives False if there is none."""
        ...


type NotServed = Callable[[RequestHead, int], tuple[int, Mapping[str, str], bytes]]
"""Gives the error, in the caller's dialect, for a path or a method that is not served."""


def make_app(site: Site, not_served: NotServed, secret: str, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application. ``secret`` must be in ``x-motive-origin`` of every call; ``more`` is served beside its own."""

    def head_of(request: Request) -> RequestHead:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return RequestHead(
            request.method,
            request.url.hostname or "",
            request.url.port or 80,
            request.url.path,
            request.url.query,
            headers,
        )

    async def health(request: Request) -> Response:
        told = dict(await site.health())
        status = 503 if told["status"] == "closing" else 200
        if request.headers.get(RANK_HEADER) == "stranger":
            return JSONResponse({"status": told["status"]}, status)
        return JSONResponse(told, status)

    async def metrics(_: Request) -> Response:
        content_type, text = await site.render_metrics()
        return Response(text, headers={"content-type": content_type, **_FOR_NOBODY_ELSE})

    async def sessions(_: Request) -> Response:
        return JSONResponse({"sessions": await site.sessions()}, headers=_FOR_NOBODY_ELSE)

    async def close_session(request: Request) -> Response:
        session = request.path_params["session"]
        if await site.close_session(session):
            return JSONResponse({"closed": session})
        return JSONResponse({"error": {"message": f"There is no session {session!r}.", "code": "not_found"}}, 404)

    async def refused(request: Request, error: Exception) -> Response:
        status, allowed = (error.status_code, error.headers or {}) if isinstance(error, HTTPException) else (500, {})
        status, headers, body = not_served(head_of(request), status)
        return Response(body, status, {**headers, **allowed})

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/health", health),
            Route("/metrics", metrics),
            Route("/admin/sessions", sessions),
            Route("/admin/sessions/{session:path}", close_session, methods=["DELETE"]),
            *more,
        ],
        exception_handlers={HTTPException: refused},
    )
    app.router.redirect_slashes = False
    app.add_middleware(_ProxyOnly, secret=secret)
    return app


class _ProxyOnly:
    """Refuses every call that does not come from the proxy, and those for the operator's paths that come for somebody
    else: whoever adds a path need not think of it."""

    def __init__(self, app: Any, secret: str) -> None:
        self._app = app
        self._secret = secret.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if not hmac.compare_digest(headers.get(SECRET_HEADER.encode(), b""), self._secret):
            await Response("only the proxy may call this", 403)(scope, receive, send)
        elif (
            is_operators(path := scope.get("path", ""), decoded=True)
            and not is_open(path, decoded=True)
            and headers.get(RANK_HEADER.encode()) != b"operator"
        ):
            await Response("only the operator may call this", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
