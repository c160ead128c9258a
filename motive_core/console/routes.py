"""The console over HTTP: its page, its way in, and what the page asks and does.

Owns paths, JSON, cookies and the headers that keep a page harmless. Who asks was found out before, and is told by the
proxy: a stranger gets the way in, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from motive_core.access import CONSOLE_PATH, LOGIN_PATH
from motive_core.console.console import Console, Wanted, Written
from motive_core.console.logins import KEEP_S, Logins
from motive_core.console.transcript import as_json
from motive_core.errors import BadRequestError, InternalError, MotiveError, PayloadTooLargeError
from motive_core.origin.app import LOGIN_HEADER, RANK_HEADER

logger = logging.getLogger(__name__)

_SCRIPTS: Final = (
    "agents",
    "console",
    "drafts",
    "list",
    "view",
    "parts",
    "composer",
    "form",
    "kept",
    "markdown",
    "notices",
    "snippets",
    "wire",
)
_STATIC: Final = {"console.css": "text/css", "login.js": "text/javascript"} | {
    f"{name}.js": "text/javascript" for name in _SCRIPTS
}
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_FINISHES: Final = ("stop", "length", "content_filter")
_BODY_BYTES: Final = 8 * 1024 * 1024
_EVERY_S: Final = 0.05
"""A page hears of changes so often at most: what changes in between is told at once."""
_ALIVE_S: Final = 10.0
_FEED_S: Final = 300.0
"""How long one reply of the feed goes on; the browser asks again, and misses nothing. (Proxies keep what they pass.)"""

type _Ask = Callable[[Request], Awaitable[Any]]


def console_routes(console: Console, logins: Logins) -> list[BaseRoute]:
    """The routes of the console. Reads its static files."""
    folder = files("motive_core.console") / "static"
    static = {name: (folder / name).read_bytes() for name in (*_STATIC, "index.html", "login.html", "entered.html")}
    pages = _Pages(static, logins)
    asked = _Asked(console)
    feed = _FeedRoute(console, logins)
    return [
        Route(CONSOLE_PATH, pages.page),
        Route(f"{CONSOLE_PATH}/", pages.page),
        Route(LOGIN_PATH, pages.login, methods=["GET", "POST"]),
        Route("/console/logout", pages.logout, methods=["POST"]),
        Route("/console/static/{name}", pages.static),
        Route("/console/api/feed", feed.serve),
        *(Route(f"/console/api/{name}", _told(ask)) for name, ask in asked.questions.items()),
        *(Route(f"/console/api/{name}", _told(do), methods=["POST"]) for name, do in asked.deeds.items()),
    ]


def _reply(body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] = _HEADERS) -> Response:
    return Response(body, status, {**_HEADERS, "content-type": content_type, **headers})


def _json(value: Any, status: int = 200) -> Response:
    return _reply(as_json(value), "application/json", status)


def _told(ask: _Ask) -> Callable[[Request], Awaitable[Response]]:
    """What a handler gives, or raises, as a reply."""

    async def serve(request: Request) -> Response:
        try:
            told = await ask(request)
        except MotiveError as error:
            return _json({"error": {"message": error.message, "code": error.code}}, error.status)
        except HTTPException:
            raise
        except Exception:
            logger.exception("console failed path=%s", request.url.path)
            failed = InternalError("The console failed on this; the log has the reason.")
            return _json({"error": {"message": failed.message, "code": failed.code}}, 500)
        return told if isinstance(told, Response) else _json(told)

    return serve


class _Pages:
    """The page, and the way in and out."""

    def __init__(self, static: Mapping[str, bytes], logins: Logins) -> None:
        self._static = static
        self._logins = logins

    async def page(self, request: Request) -> Response:
        """The console, for who is logged in."""
        if request.headers.get(RANK_HEADER) != "operator":
            return self._html("login.html", 401)
        # A program that looks at the page is not to push the cookies of people out.
        if LOGIN_HEADER not in request.headers and "text/html" in request.headers.get("accept", ""):
            return self._enter(request)
        return self._html("index.html")

    async def login(self, request: Request) -> Response:
        """Exchange the link, or the admin token, for a cookie."""
        if LOGIN_HEADER in request.headers:
            return self._html("entered.html")
        # Who only looks whether the link is there does not use it up.
        once = request.query_params.get("once", "") if request.method == "GET" else ""
        if request.headers.get(RANK_HEADER) == "operator" or self._logins.redeem(once):
            return self._enter(request)
        return self._html("login.html", 401)

    async def logout(self, request: Request) -> Response:
        """Forget a cookie."""
        self._logins.close(request.headers.get(LOGIN_HEADER, ""))
        return _reply(b"{}", "application/json", headers={"set-cookie": self._cookie("", 0)})

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404)
        return _reply(self._static[name], f"{_STATIC[name]}; charset=utf-8", headers={"cache-control": "no-cache"})

    def _enter(self, request: Request) -> Response:
        # No redirect: a browser that came here from another site's page would not send the cookie along it.
        cookie = self._cookie(self._logins.open(), int(KEEP_S))
        if request.method == "POST":
            return _reply(b"{}", "application/json", headers={"set-cookie": cookie})
        return self._html("entered.html", headers={"set-cookie": cookie})

    def _cookie(self, value: str, max_age_s: int) -> str:
        return f"{self._logins.cookie}={value}; Max-Age={max_age_s}; Path={CONSOLE_PATH}; HttpOnly; SameSite=Strict"

    def _html(self, name: str, status: int = 200, headers: Mapping[str, str] = _HEADERS) -> Response:
        return _reply(self._static[name], "text/html; charset=utf-8", status, headers)


class _Asked:
    """What the page asks, and what it does."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.questions: dict[str, _Ask] = {
            "sessions": self.sessions,
            "calls": self.calls,
            "session": self.session,
            "call": self.call,
            "raw": self.raw,
            "transcript": self.transcript,
            "proposals": self.proposals,
            "routes": self.routes,
        }
        self.deeds: dict[str, _Ask] = {
            "take": self.take,
            "hand-back": self.hand_back,
            "answer": self.answer,
            "check": self.check,
            "cut": self.cut,
            "type": self.type,
            "fail": self.fail,
            "pass": self.pass_on,
            "writing": self.writing,
            "caught": self.caught,
            "put-route": self.put_route,
            "drop-route": self.drop_route,
            "save-route": self.save_route,
            "draft": self.draft,
            "stop-draft": self.stop_draft,
            "shadow": self.shadow,
        }

    async def sessions(self, request: Request) -> dict[str, Any]:
        """A page of the list of sessions, and where the feed is."""
        query, feed = request.query_params, self._console.feed
        number = feed.number
        told = await self._console.inbox.sessions(
            after=_number(query.get("after")) or 0, words=query.get("words", ""), only=query.get("only", "")
        )
        return {**told, "now": self._console.now, "feed": f"{feed.epoch}.{number}"}

    async def calls(self, request: Request) -> dict[str, Any]:
        """A page of the list of calls."""
        query = request.query_params
        told = self._console.inbox.calls(
            before=_number(query.get("before")),
            session=query.get("session", ""),
            words=query.get("words", ""),
            only=query.get("only", ""),
        )
        return {**told, "now": self._console.now}

    async def session(self, request: Request) -> dict[str, Any]:
        """All of a session."""
        query = request.query_params
        name = query.get("name", "")
        told = await self._console.inbox.session(name, query.get("prompt", ""), query.get("known", ""))
        drafts = [self._console.draft_as_json(name, one["prompt"]) for one in told["prompts"]]
        return {
            **told,
            "drafts": [one for one in drafts if one is not None],
            "shadow": self._console.is_shadowed(name),
            "writing": self._console.writers(name),
            "now": self._console.now,
        }

    async def call(self, request: Request) -> dict[str, Any]:
        """All of a call."""
        return await self._console.inbox.call(request.query_params.get("id", ""))

    async def raw(self, request: Request) -> dict[str, Any]:
        """A call's body."""
        return self._console.inbox.raw(request.query_params.get("id", ""))

    async def transcript(self, request: Request) -> Response:
        """A session to keep."""
        query = request.query_params
        await self._console.read(query.get("session", ""))
        form, told = self._console.transcript(query.get("session", ""), query.get("form", "json"))
        if form == "markdown":
            body, kind = told.encode("utf-8", "replace"), "text/markdown; charset=utf-8"
        elif form == "jsonl":
            body, kind = told, "application/jsonl; charset=utf-8"
        else:
            body, kind = as_json(told), "application/json"
        name = f'attachment; filename="transcript.{"md" if form == "markdown" else form}"'
        return _reply(body, kind, headers={"content-disposition": name} if "download" in query else _HEADERS)

    async def take(self, request: Request) -> dict[str, Any]:
        """Take over a session."""
        body = await _body_of(request)
        await self._console.take(_text(body, "session"))
        return {}

    async def hand_back(self, request: Request) -> dict[str, Any]:
        """Give a session back."""
        body = await _body_of(request)
        await self._console.hand_back(_text(body, "session"))
        return {}

    async def answer(self, request: Request) -> dict[str, Any]:
        """Answer a prompt."""
        body = await _body_of(request)
        session, prompt = _text(body, "session"), _text(body, "prompt")
        await self._console.answer(session, prompt, _written(body), _text(body, "by", ""))
        return {}

    async def check(self, request: Request) -> dict[str, Any]:
        """Say whether an answer would do."""
        body = await _body_of(request)
        why = await self._console.check(_text(body, "session"), _text(body, "prompt"), _written(body))
        return {"why": why}

    async def type(self, request: Request) -> dict[str, Any]:
        """Say words as they are written."""
        body = await _body_of(request)
        at = body.get("at")
        if not isinstance(at, int) or at < 0:
            raise BadRequestError("at must be a number.", param="at")
        session, prompt, text = _text(body, "session"), _text(body, "prompt"), _text(body, "text", "")
        is_all = body.get("all") is True
        return {"said": await self._console.type(session, prompt, at, text, _text(body, "by", ""), is_all=is_all)}

    async def cut(self, request: Request) -> dict[str, Any]:
        """End the connection in the middle of a reply."""
        body = await _body_of(request)
        session, prompt = _text(body, "session"), _text(body, "prompt")
        await self._console.cut(session, prompt, _text(body, "text", ""), _text(body, "by", ""))
        return {}

    async def fail(self, request: Request) -> dict[str, Any]:
        """Answer a prompt with an error."""
        body = await _body_of(request)
        status = body.get("status")
        if not isinstance(status, int):
            raise BadRequestError("status must be a number.", param="status")
        session, prompt = _text(body, "session"), _text(body, "prompt")
        await self._console.fail(session, prompt, status, _text(body, "message", ""), _text(body, "by", ""))
        return {}

    async def pass_on(self, request: Request) -> dict[str, Any]:
        """Let the real service answer a prompt."""
        body = await _body_of(request)
        await self._console.pass_on(_text(body, "session"), _text(body, "prompt"))
        return {}

    async def proposals(self, request: Request) -> dict[str, Any]:
        """Routes that would take the calls of an agent."""
        return {"proposals": self._console.agents.proposals(request.query_params.get("call", ""))}

    async def routes(self, _: Request) -> dict[str, Any]:
        """The routes that were put in force here."""
        return {"routes": self._console.agents.routes()}

    async def caught(self, request: Request) -> dict[str, Any]:
        """Calls that a match would have taken."""
        return self._console.agents.caught(_object(await _body_of(request), "match"))

    async def put_route(self, request: Request) -> dict[str, Any]:
        """Answer an agent from now on."""
        body = await _body_of(request)
        session, answer = _text(body, "session"), _text(body, "answer", "pair")
        return await self._console.agents.put(_object(body, "match"), session, answer)

    async def drop_route(self, request: Request) -> dict[str, Any]:
        """Do so no longer."""
        self._console.agents.drop(_text(await _body_of(request), "id"))
        return {}

    async def save_route(self, request: Request) -> dict[str, Any]:
        """Write it into the configuration file."""
        return {"saved": self._console.agents.save(_text(await _body_of(request), "id"))}

    async def draft(self, request: Request) -> dict[str, Any]:
        """Ask the real service for a draft."""
        body = await _body_of(request)
        session, prompt = _text(body, "session"), _text(body, "prompt")
        await self._console.draft(session, prompt)
        return self._console.draft_as_json(session, prompt) or {}

    async def stop_draft(self, request: Request) -> dict[str, Any]:
        """Have no more of it."""
        body = await _body_of(request)
        self._console.stop_draft(_text(body, "session"), _text(body, "prompt"))
        return {}

    async def shadow(self, request: Request) -> dict[str, Any]:
        """Ask the real service, too, or no more."""
        body = await _body_of(request)
        await self._console.shadow(_text(body, "session"), on=body.get("on") is True)
        return {}

    async def writing(self, request: Request) -> dict[str, Any]:
        """Say that somebody writes."""
        body = await _body_of(request)
        self._console.writing(_text(body, "session"), _text(body, "prompt"), _text(body, "by", ""))
        return {}


class _FeedRoute:
    """What changes, as server-sent events (the HTML standard, section 9.2). A browser that comes back says the number
    of the last event that it has seen."""

    def __init__(self, console: Console, logins: Logins) -> None:
        self._console = console
        self._logins = logins

    async def serve(self, request: Request) -> Response:
        """The feed, from where the page stopped."""
        last = request.headers.get("last-event-id") or request.query_params.get("from", "")
        events = self._events(last, request.headers.get(LOGIN_HEADER))
        return StreamingResponse(events, headers={**_HEADERS, "content-type": "text/event-stream"})

    async def _events(self, last: str, login: str | None) -> AsyncIterator[bytes]:
        console, feed = self._console, self._console.feed
        console.presence.page_opened()
        try:
            epoch, _, number = last.rpartition(".")
            seen = _number(number) if epoch == feed.epoch else None
            if seen is None or feed.since(seen) is None:
                seen = feed.number
                yield _event("reset", {"now": console.now}, f"{feed.epoch}.{seen}", retry_ms=1000)
            else:
                yield _event("hello", {"now": console.now}, f"{feed.epoch}.{seen}", retry_ms=1000)
            ends_at = console.now + _FEED_S
            while not feed.closed and console.now < ends_at:
                has_changed = await feed.changed(seen, _ALIVE_S)
                if login is not None and not self._logins.admits(login):
                    break  # who has logged out is told no more
                if not has_changed:
                    yield b": still here\n\n"
                    continue
                changes, seen = feed.since(seen), feed.number
                if changes is None:
                    yield _event("reset", {"now": console.now}, f"{feed.epoch}.{seen}")
                elif changes:
                    yield _event("changes", await self._now_of(changes), f"{feed.epoch}.{seen}")
                await asyncio.sleep(_EVERY_S)
        finally:
            console.presence.page_closed()

    async def _now_of(self, changes: list[tuple[Any, str]]) -> dict[str, Any]:
        """How the things that have changed are now."""
        inbox = self._console.inbox
        sessions = [await inbox.session_row(name) for kind, name in changes if kind == "session"]
        records = (self._console.log.get(name) for kind, name in changes if kind == "call")
        drafts = [self._console.draft_as_json(*name.rsplit("\n", 1)) for kind, name in changes if kind == "draft"]
        return {
            "now": self._console.now,
            "sessions": [{**row, "writing": self._console.writers(row["session"])} for row in sessions],
            "calls": [inbox.call_row(record) for record in records if record is not None],
            "drafts": [draft for draft in drafts if draft is not None],
            "waiting": await inbox.waiting(),
        }


def _event(name: str, value: Any, event_id: str, *, retry_ms: int | None = None) -> bytes:
    retry = f"retry: {retry_ms}\n".encode() if retry_ms is not None else b""
    return b"%bevent: %b\nid: %b\ndata: %b\n\n" % (retry, name.encode(), event_id.encode(), as_json(value))


async def _body_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries. Raises ``BadRequestError``."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise BadRequestError("The body must be JSON, and say so.")
    body = await request.body()
    if len(body) > _BODY_BYTES:
        raise PayloadTooLargeError(f"The body is larger than {_BODY_BYTES} bytes.")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise BadRequestError("The body is no JSON.") from None
    if not isinstance(value, dict):
        raise BadRequestError("The body must be an object.")
    return value


def _text(body: Mapping[str, Any], name: str, otherwise: str | None = None) -> str:
    value = body.get(name, otherwise)
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a text.", param=name)
    return value


def _written(body: Mapping[str, Any]) -> Written:
    """What a person wrote. Raises ``BadRequestError``."""
    calls, finish = body.get("calls", []), body.get("finish")
    if not isinstance(calls, list) or not all(isinstance(one, dict) for one in calls):
        raise BadRequestError("calls must be a list of objects.", param="calls")
    if finish is not None and finish not in _FINISHES:
        raise BadRequestError(f"finish must be one of {', '.join(_FINISHES)}.", param="finish")
    return Written(
        _text(body, "text", ""),
        [Wanted(_text(one, "name"), _text(one, "arguments")) for one in calls],
        body.get("refusal") is True,
        _text(body, "reasoning", ""),
        finish,
        body.get("from_draft") is True,
    )


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise BadRequestError(f"{name} must be an object.", param=name)
    return value


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 16 else None
