"""Who takes part in a review: the real service, which says what it is told to, and a person who is shown its drafts.

Owns no assertion of a test, but for the form in which a draft is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from motive_core.dialects import RequestHead
from motive_core.gateway import Gateway
from motive_core.ir import Choice, Part, Reply, ToolCallPart, Usage
from motive_core.stream import replay
from tests.e2e.clients import Link, Said, Talker
from tests.e2e.standin import Gate, Handler, Received, Standin, Writer
from tests.e2e.voices import Heard, Voice
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.bedrock import BedrockConverseVoice
from tests.e2e.voices.cohere import CohereVoice
from tests.e2e.voices.gemini import GeminiVoice
from tests.e2e.voices.openai_chat import OpenAIChatVoice
from tests.e2e.voices.openai_responses import OpenAIResponsesVoice

VOICES: Final = (
    OpenAIChatVoice,
    OpenAIResponsesVoice,
    AnthropicMessagesVoice,
    GeminiVoice,
    BedrockConverseVoice,
    CohereVoice,
)
"""Those whose real service is the stand-in."""

MARK: Final = "——— draft ———"


class Speaker:
    """The real service of every dialect: says these replies, one a call, and the last one from then on."""

    def __init__(self, service: Standin, *replies: Reply) -> None:
        self._replies = list(replies)
        self._service = service
        self.reply_id = "real1"
        service.handler = self

    @property
    def asked(self) -> int:
        return len(self._service.requests)

    def say(self, *parts: Part) -> None:
        """This is what it says next."""
        self._replies = [reply_of(*parts)]

    def __call__(self, request: Received, writer: Writer) -> None:
        path, _, query = request.target.partition("?")
        headers = {name.lower(): value for name, value in request.headers}
        head = RequestHead(request.method, request.host, 443, path, query, headers)
        dialect = Gateway.dialect_of(head)
        assert dialect is not None
        asked = dialect.parse_request(request.body, head)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        said = replace(
            reply, model=f"{asked.model}-2024", reply_id=f"{dialect.reply_prefix}{self.reply_id}", dialect=dialect.name
        )
        body = dialect.encoder(asked).encode_all(replay(said)) if asked.stream else dialect.render_reply(asked, said)
        writer.start(200, [("Content-Type", dialect.content_type(asked)), ("Content-Length", str(len(body)))])
        writer.send(body)
        writer.end()


def reply_of(*parts: Part) -> Reply:
    """A reply, whoever says it."""
    calls = any(isinstance(part, ToolCallPart) for part in parts)
    return Reply("", "", (Choice(parts, "tool_calls" if calls else "stop"),), Usage(11, 7), 1_700_000_000)


class Reviewer:
    """A person at the meeting point, who is shown drafts."""

    def __init__(self, link: Link, session: str, dialect: Any = "openai") -> None:
        self._proxy = link.proxy
        self._session = session
        self._talker = Talker(link, dialect, session, api_key="sk-human")
        self.listening: asyncio.Task[Said] | None = None

    async def join(self) -> None:
        self.say("/join")
        await self._proxy.until_listening(self._session)

    def say(self, text: str) -> None:
        self.listening = self._talker.start(text)

    async def shown(self) -> tuple[str, str]:
        """The prompt, and its draft as it is written."""
        assert self.listening is not None
        text = (await self.listening).text
        prompt, mark, rest = text.partition(f"\n\n{MARK}")
        assert mark, text
        hint, _, draft = rest.partition("\n\n")
        assert hint.strip() == "/send lets it go, other words take its place"
        return prompt, draft

    async def leave(self) -> None:
        assert self.listening is not None
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)


@asynccontextmanager
async def reviewer(link: Link, session: str, dialect: Any = "openai") -> AsyncIterator[Reviewer]:
    person = Reviewer(link, session, dialect)
    await person.join()
    try:
        yield person
    finally:
        await person.leave()


async def told(app: Voice, text: str) -> asyncio.Task[Heard]:
    """Something that an app says, in the background."""
    app.add_user(text)
    return asyncio.create_task(app.send())


def gated(gate: Gate, then: Handler) -> Handler:
    """The same, once the gate is open."""

    def handler(request: Received, writer: Writer) -> None:
        gate.wait()
        then(request, writer)

    return handler
