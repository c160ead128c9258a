"""Where the reply to a call goes: what an exchange needs of whoever holds the call.

Owns the contract only. Knows no proxy.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ServiceReply:
    """What a real service says to a call, as it comes. ``chunks`` are the bytes of its body in no content encoding;
    they end with an ``UpstreamError`` if the body is cut. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes]


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

    def sever(self, *, reset: bool) -> None:
        """End the client's connection (in HTTP/2: the stream of this call), without a reply or in the middle of one;
        ``reset``: not by an orderly end. Where a reply is being streamed, that ends when its chunks raise
        ``SeveredError``, which they must do then."""
        ...

    async def ask(self, service: str | None, body: bytes | None = None) -> ServiceReply:
        """Ask the real service for a call whose reply is being streamed already, so that it cannot be passed through
        any more. The arguments are those of ``pass_through``.

        Raises ``UpstreamError`` if there is no reply."""
        ...
