"""One side's connection with the proxy: a client that believes it talks to a model of the session's name.

Owns the calls of that client, with the history that a chat client would have.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from motive_core.converse.listening import listen
from motive_core.converse.voices import NO_DIALECT, recent
from motive_core.errors import UpstreamError
from motive_core.ir import ChatRequest, Message, Sampling, TextPart
from motive_core.session import Role
from motive_core.upstream import Endpoint, Http, HttpUpstream


@dataclass(frozen=True, slots=True)
class Heard:
    """What a call came back with. ``at`` and ``first_at`` are times of ``time.perf_counter``: of the end, and of the
    first words, if it was streamed."""

    text: str
    at: float
    first_at: float | None


_WITHOUT_CONVERSATION: Final = frozenset({"openai-completions", "ollama-generate"})
"""Dialects whose calls have one text: what was said before would be said again."""


class Link:
    """See the module. ``meeting_point`` is its base URL; ``role`` is named to it: who comes first does not matter."""

    def __init__(
        self,
        meeting_point: str,
        dialect: str,
        session: str,
        role: Role,
        http: Http,
        *,
        stream: bool,
        key: str | None = None,
        max_context_messages: int = 1000,
        timeout_s: float = 120.0,
        retries: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        """A call that has no answer within ``retry_after_s`` is made again, marked as a retry, ``retries`` times."""
        self._endpoint = Endpoint.model_validate(
            {
                "base_url": meeting_point,
                "dialect": dialect,
                "headers": {"x-motive-role": role, "user-agent": f"motive-converse ({role})"},
                "key": key,
                "first_token_timeout_s": timeout_s,
                "idle_timeout_s": timeout_s,
            }
        )
        self._http = http
        self._request = ChatRequest(NO_DIALECT, session, (), stream=stream, sampling=Sampling(max_tokens=4096))
        self._most = 1 if dialect in _WITHOUT_CONVERSATION else max_context_messages
        self._retries = retries
        self._retry_after_s = retry_after_s
        self._history: list[Message] = []

    async def say(self, text: str) -> Heard:
        """Say this, and give what comes back. Raises ``MotiveError``."""
        said = Message("user", (TextPart(text),))
        request = replace(self._request, messages=recent([*self._history, said], self._most))
        for attempt in range(self._retries + 1):
            is_last = attempt == self._retries
            try:
                heard = await self._ask(request, attempt, None if is_last else self._retry_after_s)
            except UpstreamError as error:
                if is_last or error.code != "upstream_timeout":
                    raise
            else:
                self._history += [said, Message("assistant", (TextPart(heard.text),))]
                return heard
        raise AssertionError("the last attempt returns or raises")

    async def _ask(self, request: ChatRequest, attempt: int, timeout_s: float | None) -> Heard:
        headers = {**self._endpoint.headers, **({"x-stainless-retry-count": str(attempt)} if attempt else {})}
        changes = {"headers": headers} | ({"first_token_timeout_s": timeout_s} if timeout_s is not None else {})
        answered = await HttpUpstream(self._endpoint.model_copy(update=changes), self._http).ask(request)
        heard = await listen(answered)
        return Heard(heard.text, time.perf_counter(), heard.first_at)
