"""An app that asks agents of Bedrock by a gateway, with AWS's own SDK and a server that speaks the service's wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from motive_core.config import Config
from motive_core.dialects import RequestHead
from motive_core.exchange import Exchange
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from tests.core.ports import FakePort
from tests.e2e.bedrock_agent_service import ACCESS_KEY, AGENT, ALIAS, REGION, SECRET_KEY, BedrockAgentService, Step

PATHS = {"openai-chat": "/v1/chat/completions", "anthropic-messages": "/v1/messages", "cohere-chat": "/v2/chat"}


AT = {"kind": "bedrock_agent", "agent_id": AGENT, "agent_alias_id": ALIAS, "region": REGION}


@dataclass
class Port(FakePort):
    """One whose end may be waited for."""

    done: asyncio.Event = field(default_factory=asyncio.Event)

    def respond(self, status: int, headers: Any, body: bytes) -> None:
        super().respond(status, headers, body)
        self.done.set()

    def stream(self, headers: Any, chunks: Any) -> None:
        super().stream(headers, chunks)
        self.status = 200
        self.done.set()


@dataclass
class Heard:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> tuple[int, str]:
        return self.status, self.json["error"]["code"]


class Agents:
    """The gateway, and an app that asks it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def hold(self, body: dict[str, Any], headers: dict[str, str], dialect: str) -> tuple[Port, Exchange]:
        head = RequestHead("POST", "127.0.0.1", 80, PATHS[dialect], headers={"host": "x", **headers})
        found = Gateway.dialect_of(head)
        assert found is not None and found.name == dialect
        port = Port()
        exchange = await self.gateway.accept(
            Incoming("reverse", head, "127.0.0.1", json.dumps(body).encode()), found, port
        )
        assert exchange is not None
        return port, exchange

    async def post(
        self, body: dict[str, Any], headers: dict[str, str] | None = None, dialect: str = "openai-chat"
    ) -> Heard:
        port, exchange = await self.hold(body, headers or {}, dialect)
        async with asyncio.timeout(20):
            await port.done.wait()
            data = port.body
            if port.chunks is not None:
                data = b"".join([piece async for piece in port.chunks])
        await self.gateway.delivered(exchange)
        return Heard(port.status, dict(port.headers), data.decode())


@asynccontextmanager
async def asking(agent: BedrockAgentService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agents]:
    """The app. A model ``NAME-x`` is answered by the source ``NAME``, any other one by ``agent``."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    at = {**AT, "endpoint_url": agent.url, "attempts": 2}
    sources = {
        "agent": at,
        "asked": {**at, "trace": "on_request"},
        "other": {**at, "agent_id": "OTHER"},
        "short": {**at, "first_token_timeout_s": 2, "idle_timeout_s": 0.5},
        "idle": {**at, "idle_timeout_s": 0.5},
        "patient": {**at, "first_token_timeout_s": 1.5},
        "few": {**at, "max_turns": 2},
        "listed": {**at, "citations": "text"},
        "fresh": {**at, "session_from": ["body"], "session_header": "x-chat"},
        "nowhere": {**at, "endpoint_url": "http://127.0.0.1:1", "attempts": 1},
    }
    routes: list[Any] = [{"match": {"model": f"{name}-x"}, "answer": name} for name in sources]
    routes.append({"match": {}, "answer": "agent"})
    gateway = Gateway(Config.model_validate({"sources": sources, "routes": routes}))
    yield Agents(gateway)
    gateway.shut_down()
    await gateway.close()


def says(*steps: Step) -> Any:
    return lambda asked: steps


def said(text: str, model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
