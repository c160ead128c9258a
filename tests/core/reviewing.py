"""An app, its real service and a person who reviews what that says, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from motive_core.dialects import RequestHead
from motive_core.exchange import ServiceReply
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from tests.core.ports import FakePort
from tests.core.test_gateway import ALL_PATHS, Client, heard

REVIEW: dict[str, Any] = {"match": {"listener": "forward"}, "answer": "review", "review_timeout_s": 40}
ROUTES = [REVIEW, {"answer": "pair"}]
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def body(text: str | None = "It is a troll.", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, "refusal": None, "annotations": [], **message}
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "chatcmpl-real",
        "object": "chat.completion",
        "created": 1,
        "model": "npc-2024",
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
        "usage": USAGE,
        "system_fingerprint": "fp_1",
        "service_tier": "default",
    }


@dataclass
class Service:
    """The real one. It answers when ``open`` is set."""

    said: Any = field(default_factory=body)
    status: int = 200
    error: Exception | None = None
    asked: int = 0
    left: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self) -> ServiceReply:
        self.asked += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if self.error is not None:
            raise self.error
        return ServiceReply(self.status, {"retry-after": "7"}, self._chunks())

    async def _chunks(self) -> AsyncGenerator[bytes]:
        yield json.dumps(self.said).encode()


@dataclass
class ServedPort(FakePort):
    service_is: Service | None = None
    responded: asyncio.Event = field(default_factory=asyncio.Event)

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().respond(status, headers, body)
        self.responded.set()

    async def ask(self, service: str | None, body: bytes | None = None) -> ServiceReply:
        assert self.service_is is not None
        return await self.service_is.reply()


@dataclass
class App(Client):
    """A client behind the forward proxy, with a service."""

    service: Service = field(default_factory=Service)
    listener: Any = "forward"
    fields: dict[str, Any] = field(default_factory=dict)

    async def say(self, text: str, model: str = "npc", **fields: Any) -> ServedPort:
        port = await super().say(text, model, **{**self.fields, **fields})
        assert isinstance(port, ServedPort)
        return port

    async def send(self, body: bytes, **headers: str) -> ServedPort:
        fields = {"user-agent": self.agent, **self.headers, **headers}
        head = RequestHead("POST", "api.openai.com", 443, ALL_PATHS[self.dialect], headers=fields)
        dialect = Gateway.dialect_of(head)
        assert dialect is not None
        port = ServedPort(service_is=self.service)
        self.exchanges.append(
            await self.gateway.accept(Incoming(self.listener, head, "127.0.0.1", body), dialect, port)
        )
        return port


async def settled() -> None:
    """Everything that can go on does."""
    for _ in range(10):
        await asyncio.sleep(0)


async def shown(person: Client, port: FakePort) -> str:
    text = heard(port)
    exchange = person.exchanges[-1]
    assert exchange is not None
    await person.gateway.delivered(exchange)
    return text


async def reviewed(gateway: Gateway, app: App, text: str = "You see something.") -> tuple[Client, FakePort, str]:
    """A person joins, the app asks, and the draft is shown."""
    person = Client(gateway, "person")
    joined = await person.say("ping")
    asked = await app.say(text)
    await settled()
    return person, asked, await shown(person, joined)
