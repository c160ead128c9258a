"""An exchange: one LLM call and its one reply.

Owns the way from a decided reply to the bytes that the client gets, in its own dialect, streamed or whole. Knows
nothing of how the call is held: a ``Port`` does that. An exchange ends exactly once; what comes after is ignored and
said so by the return value, so that a race between two endings is settled here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import quote

from motive_core.dialects.base import Dialect, RequestHead
from motive_core.errors import MotiveError
from motive_core.estimate import estimate_usage
from motive_core.ir import ChatRequest, Choice, Part, Reply, TextPart
from motive_core.stream import ChoiceEnded, Failed, Finished, ReplyEvent, Started, UsageReported, replay, replay_part

type Listener = Literal["forward", "reverse"]
type Ending = Literal["replied", "noticed", "failed", "passed", "gone"]


class Port(Protocol):
    """Where a reply goes: one held request of one client."""

    can_stream: bool
    """Whether a reply may come in pieces over time (not to HTTP/1.0, not to HEAD)."""

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send this reply, whole."""
        ...

    def stream(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        """Send a reply with status 200, piece by piece."""
        ...

    def pass_through(self, service: str | None, body: bytes | None = None) -> None:
        """Let the real service answer: the one that the request names, or the one at this base URL. ``body`` takes the
        place of the request's own."""
        ...


@dataclass(slots=True, eq=False)
class Exchange:
    """One call. ``session`` is its session's id, ``arrived_at`` in Unix seconds."""

    exchange: str
    session: str
    listener: Listener
    head: RequestHead
    client_host: str
    credential: str | None
    dialect: Dialect
    request: ChatRequest
    port: Port
    arrived_at: float
    service: str | None = None
    pace_tokens_per_s: float | None = None
    limited_as: str = ""
    """What it counts as for limits of one client."""
    ending: Ending | None = None
    outcome: str = ""
    source: str = "pair"
    """Who answers it."""
    status: int | None = None
    """That of the reply, once there is one of ours."""
    error: MotiveError | None = None
    """What it failed with."""
    decided_at: float | None = None
    """When what to reply was known."""
    extra_headers: dict[str, str] = field(default_factory=dict)
    keep: Callable[[ChatRequest, Reply], None] | None = None
    """Is told of the reply, if the request wants it kept."""
    continues: bool = False
    """Whether ``request`` has a conversation in it that the body only named, by an id that the real service has not."""
    cut_by: MotiveError | None = None
    """The error that ended a reply in the middle, after its head was out."""
    _interrupt: asyncio.Event | None = None

    def answer(self, parts: tuple[Part, ...], finish_reason: Literal["stop", "tool_calls"] = "stop") -> bool:
        """Reply with these parts, once for each of the ``n`` choices that the caller asked for."""
        return self.reply(self.reply_of(parts, finish_reason), "replied")

    def notice(self, text: str) -> bool:
        """Reply with a word of our own: a successful reply that nobody on the other side said."""
        return self.reply(self.reply_of((TextPart(text),), "stop"), "noticed")

    def reply_of(self, parts: tuple[Part, ...], finish_reason: Literal["stop", "tool_calls"]) -> Reply:
        choices = (Choice(parts, finish_reason),) * max(1, self.request.n)
        return Reply(
            reply_id=f"{self.dialect.reply_prefix}{self.exchange}",
            model=self.request.model,
            choices=choices,
            usage=estimate_usage(self.request, choices),
            created=int(self.arrived_at),
        )

    def reply(self, reply: Reply, ending: Ending) -> bool:
        """Send a whole reply, in one write unless the route paces it. Gives False if the exchange had ended before."""
        if self.ending is not None:
            return False
        self.status = 200
        if self.keep is not None and self.request.store:
            self.keep(self.request, reply)
        headers = self.headers()
        if reply.usage is not None and reply.usage.estimated:
            headers["x-motive-usage"] = "estimated"
        if not self.request.stream:
            body = self.dialect.render_reply(self.request, reply)
        else:
            if self.pace_tokens_per_s and self.port.can_stream:
                self.ending = ending
                self._interrupt = asyncio.Event()
                self.port.stream(headers, self._paced(reply, 1.0 / self.pace_tokens_per_s, self._interrupt))
                return True
            body = self.dialect.encoder(self.request).encode_all(replay(reply))
        self.ending = ending
        self.port.respond(200, headers, body)
        return True

    def fail(self, error: MotiveError) -> bool:
        """End with an error in the caller's dialect. Gives False if the exchange had ended before."""
        if self.ending is not None:
            return False
        self.ending = "failed"
        headers = {
            **self.dialect.error_headers(error, self.exchange),
            **session_header(self.session),
            **self.extra_headers,
        }
        self.error = error
        self.status = status = self.dialect.error_status(error)
        self.port.respond(status, headers, self.dialect.render_error(error, self.exchange))
        return True

    def cut(self, error: MotiveError) -> bool:
        """End a reply that is being spoken, by an error within its stream. Gives False if none is, or was."""
        if self._interrupt is None or self.cut_by is not None:
            return False
        self.cut_by = error
        self._interrupt.set()
        return True

    def pass_on(self) -> bool:
        """Let the real service answer. Gives False if the exchange had ended before."""
        if self.ending is not None:
            return False
        self.ending = "passed"
        self.port.pass_through(self.service, self.own_body())
        return True

    def own_body(self) -> bytes | None:
        """The body that the real service needs in the place of the one that came; None if that one will do."""
        return self.dialect.render_request(self.request) if self.continues else None

    def headers(self) -> dict[str, str]:
        """Headers of a successful reply."""
        headers = {
            "content-type": self.dialect.content_type(self.request),
            **self.dialect.reply_headers(self.exchange),
            **session_header(self.session),
            **self.extra_headers,
        }
        if self.request.stream:
            headers["cache-control"] = "no-cache"
        return headers

    async def _paced(self, reply: Reply, interval_s: float, interrupt: asyncio.Event) -> AsyncIterator[bytes]:
        """The bytes of a streamed reply, as if a model typed it: one token every ``interval_s``."""
        encoder = self.dialect.encoder(self.request)
        for event, waits in _paced_events(reply):
            if waits:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await interrupt.wait()
            if self.cut_by is not None:
                yield encoder.encode(Failed(self.cut_by))
                return
            if data := encoder.encode(event):
                yield data


def _paced_events(reply: Reply) -> Iterator[tuple[ReplyEvent, bool]]:
    """Events with one token a delta; True where a token is to be waited for."""
    yield Started(reply.reply_id, reply.model, reply.created, extra=reply.extra), False
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            text = part.text if isinstance(part, TextPart) else None
            pieces = tokens(text) if text is not None else None
            for position, event in enumerate(replay_part(number, index, part, pieces)):
                yield event, text is not None and position > 0
        yield ChoiceEnded(number, choice.finish_reason, choice.stop_sequence, extra=choice.extra), False
    if reply.usage is not None:
        yield UsageReported(reply.usage), False
    yield Finished(), False


def tokens(text: str) -> list[str]:
    """Text in pieces of about a token: white space and up to six characters. They join to the text again."""
    return re.findall(r"\s*\S{1,6}|\s+\Z", text)


def session_header(session: str) -> dict[str, str]:
    """The session's id as a header; percent-encoded, since header values are not Unicode."""
    return {"x-motive-session": quote(session, safe="!#$&'()*+,/:;=?@[]{}|~ ")} if session else {}
