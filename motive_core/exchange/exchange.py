"""An exchange: one LLM call and its one reply.

Owns the way from a decided reply to the bytes that the client gets, in its own dialect, streamed or whole. Knows
nothing of how the call is held: a ``Port`` does that. An exchange ends exactly once; what comes after is ignored and
said so by the return value, so that a race between two endings is settled here and nowhere else. A call that has to
wait long may have its head sent before its end is known: a ``Speech`` then tells its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from motive_core.dialects.base import Dialect, RequestHead
from motive_core.errors import MotiveError
from motive_core.estimate import estimate_usage
from motive_core.exchange.live import Events, Garbage, Severed
from motive_core.exchange.port import Port
from motive_core.exchange.speech import Beat, Speech
from motive_core.ir import ChatRequest, Choice, FinishReason, Part, Reply, TextPart
from motive_core.stream import replay

type Listener = Literal["forward", "reverse"]
type Policy = Literal["timeout", "lost", "full", "pass"]
"""What a route has something to say about: nobody answered in time, who answers left, too much waits, the service is to
answer."""
type Ending = Literal["replied", "noticed", "failed", "passed", "gone"]


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
    """Who answers it, by kind."""
    answered_by: str = ""
    """Who answers it, by name, where that is known: a source, or the operator."""
    listens: bool = False
    """Whether it is the answerer's, and waits for a prompt."""
    status: int | None = None
    """That of the reply, once there is one of ours."""
    error: MotiveError | None = None
    """What it failed with."""
    said: Reply | None = None
    """What it was answered with, if that was known whole."""
    decided_at: float | None = None
    """When what to reply was known."""
    extra_headers: dict[str, str] = field(default_factory=dict)
    keep: Callable[[ChatRequest, Reply], None] | None = None
    """Is told of the reply, if the request wants it kept."""
    fallback: str = ""
    """What it is answered when nobody does, by policy."""
    stand_ins: dict[Policy, str] = field(default_factory=dict)
    """The sources that answer when nobody does, by the policy that calls upon each."""
    late: Literal["pass", "fallback", "error"] = "error"
    """What becomes of it when its source is late."""
    draft: Reply | None = None
    """What its service has said already, that waits for somebody to let it go."""
    passes_at_exit: bool = False
    continues: bool = False
    """Whether ``request`` has a conversation in it that the body only named, by an id that the real service has not."""
    speech: Speech | None = None
    """Its reply, from the moment on that the head of it goes out before all of it."""
    _beat: Beat | None = None
    _timer: asyncio.TimerHandle | None = None

    def answer(self, parts: tuple[Part, ...], finish_reason: FinishReason = "stop") -> bool:
        """Reply with these parts, once for each of the ``n`` choices that the caller asked for."""
        return self.reply(self.reply_of(parts, finish_reason), "replied")

    def notice(self, text: str) -> bool:
        """Reply with a word of our own: a successful reply that nobody on the other side said."""
        return self.reply(self.reply_of((TextPart(text),), "stop"), "noticed")

    def fall_back(self) -> bool:
        """Reply with the words that the route has for this."""
        self.outcome = self.source = "fallback"
        return self.notice(self.fallback)

    def exit(self, error: MotiveError) -> None:
        """The process exits: end with the draft, by the route's policy, or in the middle of the reply."""
        if self.draft is not None and self.say(self.draft):
            return
        if not (self.pass_on() if self.passes_at_exit else self.fail(error)):
            self.cut(error)

    def reply_of(self, parts: tuple[Part, ...], finish_reason: FinishReason) -> Reply:
        choices = (Choice(parts, finish_reason),) * max(1, self.request.n)
        return Reply(
            reply_id=f"{self.dialect.reply_prefix}{self.exchange}",
            model=self.request.model,
            choices=choices,
            usage=estimate_usage(self.request, choices),
            created=int(self.arrived_at),
        )

    def keep_alive(self, beat: Beat) -> None:
        """From ``beat.after_s`` on, let this call show signs of life while it waits. To be called within a running
        event loop; has no effect on a call that ends before."""
        if self.ending is None and self.port.can_stream:
            self._beat = beat
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(beat.after_s, self._speak, beat.every_s)

    def _speak(self, beat_every_s: float) -> None:
        self._timer = None
        if self.ending is None and self.speech is None:
            self._start(self.headers(), beat_every_s)

    def _start(self, headers: dict[str, str], beat_every_s: float | None = None) -> Speech:
        token_every_s = self._token_every_s()
        self.speech = speech = Speech(
            self.dialect,
            self.request,
            self.exchange,
            beat_every_s=beat_every_s,
            token_every_s=token_every_s,
            sever=lambda reset: self.port.sever(reset=reset),
        )
        self.port.stream(headers, speech.chunks())
        return speech

    def _token_every_s(self) -> float | None:
        """How long a token of a streamed reply takes, None if it is not paced."""
        if not (self.pace_tokens_per_s and self.streams):
            return None
        return 1.0 / self.pace_tokens_per_s

    def end(self, ending: Ending) -> None:
        """It is over: nothing is sent for it any more but what was decided."""
        self.ending = ending
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reply(self, reply: Reply, ending: Ending, *, pieces: Callable[[str], Iterable[str]] | None = None) -> bool:
        """Send a whole reply, in one write unless the route paces it. ``pieces`` splits a text into the deltas in which
        it is streamed. Gives False if the exchange had ended before."""
        if self.ending is not None:
            return False
        self.status = 200
        self.said = reply
        if self.keep is not None and self.request.store:
            self.keep(self.request, reply)
        if self.speech is not None:
            self.end(ending)
            self.speech.say(reply)
            return True
        headers = self.headers()
        if reply.usage is not None and reply.usage.estimated:
            headers["x-motive-usage"] = "estimated"
        if self._token_every_s() is not None:
            self.end(ending)
            self._start(headers).say(reply)
            return True
        body = self._body(reply, pieces)
        self.end(ending)
        self.port.respond(200, headers, body)
        return True

    def _body(self, reply: Reply, pieces: Callable[[str], Iterable[str]] | None = None) -> bytes:
        if self.request.stream:
            return self.dialect.encoder(self.request).encode_all(replay(reply, pieces))
        return self.dialect.render_reply(self.request, reply)

    def say(self, reply: Reply) -> bool:
        """Reply with the draft, or with what somebody made of it. What its own service said it need not be told of
        again: that keeps it. Gives False if the exchange had ended before."""
        if reply is self.draft and self.listener == "forward" and "pass" not in self.stand_ins:
            self.keep = None
        return self.reply(reply, "replied")

    @property
    def streams(self) -> bool:
        """Whether its reply may be said as it comes."""
        return self.request.stream and self.port.can_stream

    def relay(self, events: Events) -> bool:
        """Reply with what is said, as it comes; to a call that ``streams``. Gives False if the exchange had ended
        before: then the events are the caller's to close."""
        if self.ending is not None:
            return False
        self.status = 200
        beat = self._beat
        self.end("replied")
        speech = self.speech or self._start(self.headers(), beat.every_s if beat is not None else None)
        speech.relay(events)
        return True

    def spoil(self, reply: Reply, fault: Garbage | Severed) -> bool:
        """Reply with half of the bytes of a whole reply, and this behind them: a fault that is made on purpose. Gives
        False if the exchange had ended before."""
        if self.ending is not None:
            return False
        if isinstance(fault, Severed) and not self.port.can_stream:
            return self.sever(reset=fault.reset)
        self.status = 200
        self.end("replied")
        body = self._body(reply)
        half, headers = body[: len(body) // 2], self.headers()
        if isinstance(fault, Severed):
            (self.speech or self._start(headers)).spoil(half, fault)
        elif self.speech is not None:
            self.speech.spoil(half + fault.data, None)
        else:
            self.port.respond(200, headers, half + fault.data)
        return True

    def sever(self, *, reset: bool) -> bool:
        """End the client's connection without a reply, or with no more of one: another such fault. Gives False if the
        exchange had ended before."""
        if self.ending is not None:
            return False
        self.end("failed")
        if self.speech is not None:
            self.speech.spoil(b"", Severed(reset))
        else:
            self.port.sever(reset=reset)
        return True

    def hush(self) -> None:
        """Show no sign of life any more while it waits."""
        self._beat = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.speech is not None:
            self.speech.hush()

    def fail(self, error: MotiveError) -> bool:
        """End with an error in the caller's dialect. Gives False if the exchange had ended before."""
        if self.ending is not None:
            return False
        self.end("failed")
        self.error = error
        if self.speech is not None:
            self.status = 200
            self.speech.fail(error)
            return True
        headers = {
            **self.dialect.error_headers(error, self.exchange),
            **session_header(self.session),
            **self.extra_headers,
        }
        self.status = status = self.dialect.error_status(error)
        self.port.respond(status, headers, self.dialect.render_error(error, self.exchange))
        return True

    def cut(self, error: MotiveError) -> bool:
        """End a reply that is being spoken, by an error within its stream. Gives False if none is, or was."""
        return self.speech is not None and self.speech.cut(error)

    @property
    def cut_by(self) -> MotiveError | None:
        """The error that ended a reply in the middle, after its head was out."""
        return self.speech.cut_by if self.speech is not None else None

    def pass_on(self) -> bool:
        """Let the real service answer. Gives False if the exchange had ended before."""
        if self.ending is not None:
            return False
        self.end("passed")
        service, body = self.service, self.own_body()
        if self.speech is not None:
            self.speech.pass_on(lambda: self.port.ask(service, body))
        else:
            self.port.pass_through(service, body)
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


def session_header(session: str) -> dict[str, str]:
    """The session's id as a header; percent-encoded, since header values are not Unicode."""
    return {"x-motive-session": quote(session, safe="!#$&'()*+,/:;=?@[]{}|~ ")} if session else {}
