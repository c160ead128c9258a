"""The clients of the tests: the vendors' SDKs, at the meeting point or behind the forward proxy, and ``curl``.

Owns how a client is made and closed, and ``Talker``: one side of a conversation, with the same face for every SDK,
streamed or not, synchronous or not. Knows nothing of sessions but that a model's name is one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import anthropic
import httpx
import openai
import pytest

from tests.e2e.proxy import Proxy

type DialectName = Literal["openai", "anthropic"]

REAL: Final[dict[DialectName, str]] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
DIALECTS: Final[tuple[DialectName, ...]] = ("openai", "anthropic")
PATHS: Final[dict[DialectName, str]] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
MAX_TOKENS: Final = 1024

CODE: Final = "Here:\n\n```python\ndef f(x):\n\tif x:\n\t\treturn 'a\\tb'\r\n\n\n\treturn  \"  \"\n```\n"
UNICODE: Final = "Grüße, 世界! 👩‍👩‍👧‍👦 e\u0301 \u202eabc\u202c \u2028 \U0001d54f \x7f \x1f"


@dataclass(frozen=True, slots=True)
class Link:
    """How a client reaches a model: at the meeting point, or through the forward proxy, whose ``authority`` (a PEM
    file) it then trusts."""

    proxy: Proxy
    authority: Path | None = None
    http2: bool = False

    def base_url(self, dialect: DialectName) -> str:
        """What the SDK is given: the meeting point, or behind the forward proxy the vendor's own."""
        if self.authority is not None:
            return REAL[dialect]
        return f"{self.proxy.meeting}/v1" if dialect == "openai" else self.proxy.meeting

    def http_options(self) -> dict[str, Any]:
        """Arguments of the SDK's HTTP client."""
        options: dict[str, Any] = {"trust_env": False, "verify": _NO_TLS, "http2": self.http2}
        if self.http2:
            options["limits"] = httpx.Limits(max_connections=1)  # so that calls at once must share it
        if self.authority is not None:
            # A context for each client: httpx sets in it which versions of HTTP to offer.
            tls = _Http2First(ssl.PROTOCOL_TLS_CLIENT) if self.http2 else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.load_verify_locations(self.authority)
            options |= {"proxy": self.proxy.forward, "verify": tls}
        return options


class _Http2First(ssl.SSLContext):
    """Prefers HTTP/2, as browsers and curl do; httpx offers it last, and mitmproxy goes by the client's order."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(sorted(alpn_protocols, key=lambda name: name != "h2"))


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP: loading the usual authorities for each of them takes longer than the test."""


@asynccontextmanager
async def openai_client(link: Link, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's asynchronous SDK."""
    options = {"api_key": "sk-test", "max_retries": 0, "timeout": 30.0, **options}
    http_client = openai.DefaultAsyncHttpxClient(**link.http_options())
    async with openai.AsyncOpenAI(base_url=link.base_url("openai"), http_client=http_client, **options) as client:
        yield client


@asynccontextmanager
async def anthropic_client(link: Link, **options: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's asynchronous SDK."""
    options = {"api_key": "sk-ant-test", "max_retries": 0, "timeout": 30.0, **options}
    http_client = anthropic.DefaultAsyncHttpxClient(**link.http_options())
    async with anthropic.AsyncAnthropic(
        base_url=link.base_url("anthropic"), http_client=http_client, **options
    ) as client:
        yield client


@dataclass(slots=True)
class Said:
    """A reply, as the SDK gave it. ``calls`` are tool calls: id, name and arguments as JSON."""

    text: str
    finish: str | None
    model: str
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    reply_id: str = ""


@dataclass(slots=True)
class Talker:
    """One side of a conversation: keeps its history, as every chat client does.

    ``extra`` goes into each call as the SDK takes it (``tools``, ``system`` and the like).
    """

    link: Link
    dialect: DialectName
    model: str
    streamed: bool = False
    sync: bool = False
    api_key: str = "sk-test"
    extra: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, content: str | Sequence[dict[str, Any]], *, role: str = "user", **fields: Any) -> Said:
        """Send a message after what was said so far; the reply becomes part of the history."""
        self.history.append({"role": role, "content": content, **fields})
        return await self.send()

    async def send(self) -> Said:
        """Send the history as it is; the reply becomes part of it."""
        said = await (self._openai() if self.dialect == "openai" else self._anthropic())
        self.history.append(self._as_history(said))
        return said

    def start(self, content: str | Sequence[dict[str, Any]], **fields: Any) -> asyncio.Task[Said]:
        """``say`` in the background, for a call that will be held."""
        return asyncio.create_task(self.say(content, **fields))

    def _as_history(self, said: Said) -> dict[str, Any]:
        if not said.calls:
            return {"role": "assistant", "content": said.text}
        if self.dialect == "openai":
            calls = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for call_id, name, arguments in said.calls
            ]
            return {"role": "assistant", "content": said.text or None, "tool_calls": calls}
        blocks = [{"type": "tool_use", "id": i, "name": name, "input": given} for i, name, given in said.calls]
        return {
            "role": "assistant",
            "content": [*([{"type": "text", "text": said.text}] if said.text else []), *blocks],
        }

    def _settings(self) -> dict[str, Any]:
        return {"api_key": self.api_key, "max_retries": 0, "timeout": 30.0, **self.options}

    # OpenAI

    async def _openai(self) -> Said:
        call: dict[str, Any] = {"model": self.model, "messages": list(self.history), **self.extra}
        if self.streamed:
            call = {"stream": True, "stream_options": {"include_usage": True}, **call}
        if self.sync:
            return await asyncio.to_thread(self._openai_sync, call)
        async with openai_client(self.link, **self._settings()) as client:
            reply = await client.chat.completions.create(**call)
            if self.streamed:
                return _joined_chunks([chunk async for chunk in reply])
            return _of_completion(reply)

    def _openai_sync(self, call: dict[str, Any]) -> Said:
        http_client = openai.DefaultHttpxClient(**self.link.http_options())
        base_url = self.link.base_url("openai")
        with openai.OpenAI(base_url=base_url, http_client=http_client, **self._settings()) as client:
            reply = client.chat.completions.create(**call)
            return _joined_chunks(list(reply)) if self.streamed else _of_completion(reply)

    # Anthropic

    async def _anthropic(self) -> Said:
        call: dict[str, Any] = {
            "model": self.model,
            "messages": list(self.history),
            "max_tokens": MAX_TOKENS,
            **self.extra,
        }
        if self.sync:
            return await asyncio.to_thread(self._anthropic_sync, call)
        async with anthropic_client(self.link, **self._settings()) as client:
            if self.streamed:
                async with client.messages.stream(**call) as events:
                    return _of_message(await events.get_final_message())
            return _of_message(await client.messages.create(**call))

    def _anthropic_sync(self, call: dict[str, Any]) -> Said:
        http_client = anthropic.DefaultHttpxClient(**self.link.http_options())
        base_url = self.link.base_url("anthropic")
        with anthropic.Anthropic(base_url=base_url, http_client=http_client, **self._settings()) as client:
            if self.streamed:
                with client.messages.stream(**call) as events:
                    return _of_message(events.get_final_message())
            return _of_message(client.messages.create(**call))


def _of_completion(reply: Any) -> Said:
    choice = reply.choices[0]
    calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()]
    return Said(
        choice.message.content or "",
        choice.finish_reason,
        reply.model,
        calls,
        reply.usage.prompt_tokens,
        reply.usage.completion_tokens,
        reply.id,
    )


def _joined_chunks(chunks: Sequence[Any]) -> Said:
    said = Said("", None, chunks[0].model, reply_id=chunks[0].id)
    arguments: dict[int, list[str]] = {}
    names: dict[int, tuple[str, str]] = {}
    for chunk in chunks:
        assert chunk.id == said.reply_id
        if chunk.usage is not None:
            said.input_tokens, said.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        for choice in chunk.choices:
            if choice.index:
                continue
            said.text += choice.delta.content or ""
            said.finish = choice.finish_reason or said.finish
            for call in choice.delta.tool_calls or ():
                if call.id:
                    names[call.index] = (call.id, call.function.name)
                arguments.setdefault(call.index, []).append(call.function.arguments or "")
    said.calls = [(*names[index], json.loads("".join(arguments[index]))) for index in sorted(names)]
    return said


def _of_message(reply: Any) -> Said:
    return Said(
        "".join(block.text for block in reply.content if block.type == "text"),
        reply.stop_reason,
        reply.model,
        [(block.id, block.name, block.input) for block in reply.content if block.type == "tool_use"],
        reply.usage.input_tokens,
        reply.usage.output_tokens,
        reply.id,
    )


@asynccontextmanager
async def http_client(link: Link, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client on the same way; its base URL is the meeting point's, if it goes there."""
    settings = {**link.http_options(), "timeout": 30.0, **options}
    if link.authority is None:
        settings.setdefault("base_url", link.proxy.meeting)
    async with httpx.AsyncClient(**settings) as client:
        yield client


async def hang_up(proxy: Proxy, session: str, listening: asyncio.Task[Said]) -> None:
    """Close the connection of a call that listens (no synchronous one), and see that the session knows."""
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await proxy.until(session, lambda told: not told.get("listening"))


async def finish(proxy: Proxy, session: str, listening: asyncio.Task[Said]) -> None:
    """End a session in which nothing is left but a person who listens."""
    await proxy.until_listening(session)
    await proxy.close_session(session)
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError), match="ended by the operator"):
        await listening
