"""A port that keeps what it is told, in the place of a held flow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from motive_core.exchange import ServiceReply


@dataclass
class FakePort:
    """Keeps what it is told."""

    can_stream: bool = True
    told: list[str] = field(default_factory=list)
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None
    streamed: asyncio.Event = field(default_factory=asyncio.Event)
    reset: bool | None = None
    """How the connection was severed, if it was."""
    service: str | None = None
    passed: bytes | None = None
    """The body that took the place of the request's own when it was passed on."""
    service_reply: ServiceReply | Exception | None = None
    """What the real service says when it is asked."""

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.told.append("respond")
        self.status, self.headers, self.body = status, headers, body

    def stream(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        self.told.append("stream")
        self.headers, self.chunks = headers, chunks
        self.streamed.set()

    def pass_through(self, service: str | None, body: bytes | None = None) -> None:
        self.told.append("pass")
        self.service, self.passed = service, body

    def sever(self, *, reset: bool) -> None:
        self.told.append("sever")
        self.reset = reset

    async def ask(self, service: str | None, body: bytes | None = None) -> ServiceReply:
        self.told.append("ask")
        self.service, self.passed = service, body
        if isinstance(self.service_reply, Exception):
            raise self.service_reply
        assert self.service_reply is not None
        return self.service_reply
