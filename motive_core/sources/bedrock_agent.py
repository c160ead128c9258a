"""The ``bedrock_agent`` source: an agent of Amazon Bedrock answers, in any dialect.

Owns the settings, and one turn from the request to the reply. What the agent is told, what it says, its sessions and
its threads have files of their own. Knows no wire and no SDK.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from motive_core.exchange import Answered
from motive_core.log_lines import LogLine
from motive_core.settings.types import Count, HeaderName, Kind, Seconds, Service, Text
from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.sources.bedrock_agent_asked import FileUse, asked_of
from motive_core.sources.bedrock_agent_citations import form_of
from motive_core.sources.bedrock_agent_client import AgentClient
from motive_core.sources.bedrock_agent_errors import INSTALL
from motive_core.sources.bedrock_agent_session import Origin, session_of
from motive_core.sources.bedrock_agent_told import Telling, Told, batches
from motive_core.sources.bedrock_agent_turns import Turns, key_of
from motive_core.stream import Collector, PartDelta, ReplyEvent, replay

if TYPE_CHECKING:
    from motive_core.sources.bedrock_agent_boto import Runtime

logger = logging.getLogger(__name__)

_AgentId = Annotated[str, Field(pattern=r"\A[0-9a-zA-Z]{1,10}\z"), Kind("text")]
"""botocore's model: ``AgentId``."""
_SPARE_S: Final = 5.0
"""By how much the SDK's own time-out is longer than ours."""


class BedrockAgent(SourceSettings):
    """Settings of ``bedrock_agent``."""

    environment: ClassVar[Mapping[str, str]] = {
        "agent_id": "AGENT_ID",
        "agent_alias_id": "AGENT_ALIAS_ID",
        "region": "AWS_REGION",
    }

    kind: Literal["bedrock_agent"] = "bedrock_agent"
    agent_id: _AgentId = Field(description="The agent; else `AGENT_ID` of the environment.")
    agent_alias_id: _AgentId = Field(description="Its alias; else `AGENT_ALIAS_ID` of the environment.")
    region: Text | None = Field(
        default=None, description="Its region; else `AWS_REGION` of the environment. Null: what AWS's SDK finds."
    )
    profile: Text | None = Field(
        default=None, description="A profile of AWS's configuration files. Null: what AWS's SDK finds."
    )
    endpoint_url: Service | None = Field(
        default=None, description="Another endpoint than the region's own: a VPC's, or that of a test."
    )
    session_from: tuple[Origin, ...] = Field(
        default=("body", "header", "first_message"),
        description="Where a call's session is looked for, in this order whatever is listed; where nothing is found, "
        "it is a new one.",
    )
    session_header: HeaderName = Field(
        default="x-session-id", description="The header that may name the session, and in which the reply names it."
    )
    trace: Literal["off", "log", "on_request", "reasoning"] = Field(
        default="log",
        description="What becomes of the agent's trace: `log` writes it at the level debug, `reasoning` tells it as "
        "reasoning, too, and `on_request` does so for calls that have `enable_trace: true` in their body. Without it, "
        "neither usage nor guardrails are known.",
    )
    stream_final_response: bool = Field(
        default=False,
        description="Let the agent stream its answer to calls that stream; its role must be allowed to stream from its "
        "model. Else the answer comes from Bedrock in one piece, and is told word by word.",
    )
    citations: Literal["native", "text", "off"] = Field(
        default="native",
        description="`native`: as the caller's dialect has them, or as a list under the answer where it has none; "
        "`text`: always as that list.",
    )
    file_use: FileUse = Field(default="chat", description="What the agent is to use documents of the app for.")
    max_turns: Count = Field(default=100, description="How many calls go on at once; further ones wait.")
    attempts: Count = Field(
        default=3, description="How often a call is tried that Bedrock refuses before the agent has begun."
    )
    connect_timeout_s: Seconds = Field(default=10, description="How long a connection may take.")
    first_token_timeout_s: Seconds = Field(default=590, description="How long the first words may take.")
    idle_timeout_s: Seconds = Field(default=120, description="How long the agent may be silent after that.")

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        if importlib.util.find_spec("boto3") is None:
            logger.warning(LogLine("a Bedrock agent needs the extra 'bedrock'", install=INSTALL))
        return BedrockAgentSource(self, world)


class BedrockAgentSource:
    """See the module."""

    def __init__(self, settings: BedrockAgent, world: World) -> None:
        self._settings = settings
        self._turns = Turns(world.clock)
        self._client = AgentClient(self._runtime, most_turns=settings.max_turns, attempts=settings.attempts)

    def _runtime(self) -> Runtime:
        """The SDK's client. Raises ``ImportError``."""
        from motive_core.sources.bedrock_agent_boto import Runtime

        settings = self._settings
        return Runtime(
            region=settings.region,
            profile=settings.profile,
            endpoint_url=settings.endpoint_url,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=max(settings.first_token_timeout_s, settings.idle_timeout_s) + _SPARE_S,
            connections=settings.max_turns,
        )

    async def answer(self, call: Call) -> Answered:
        """See ``Source``. The first words decide whether the agent answers at all: until then another one may be
        asked."""
        settings, request = self._settings, call.request
        agent = f"{settings.agent_id}/{settings.agent_alias_id}"
        session = session_of(call, settings.session_from, settings.session_header, agent)
        asked = asked_of(request, settings.file_use, self._turns.waiting(session))
        call.headers[settings.session_header] = session
        params = {
            "agentId": settings.agent_id,
            "agentAliasId": settings.agent_alias_id,
            "sessionId": session,
            "enableTrace": settings.trace != "off",
            **asked,
        }
        if settings.stream_final_response and request.stream:
            params["streamingConfigurations"] = {"streamFinalResponse": True}
        how = Telling(
            exchange=call.exchange,
            session=session,
            dialect=request.dialect,
            offered=[tool.name for tool in request.tools],
            word_by_word=request.stream,
            thoughts=settings.trace == "reasoning" or (settings.trace == "on_request" and _wants_trace(call)),
            cites=settings.citations != "off",
            form=form_of(request) if settings.citations == "native" else None,
        )
        events = self._events(call, params, how)
        await anext(events)
        return events

    async def _events(
        self, call: Call, params: Mapping[str, Any], how: Telling
    ) -> AsyncGenerator[Sequence[ReplyEvent]]:
        """One turn. The first batch is empty: it comes when there are words, and makes closing this end the turn."""
        settings = self._settings
        key = key_of(how.session, call.request)
        collector, size = Collector(), 0
        async with self._turns.alone(how.session, settings.first_token_timeout_s):
            if call.retry and (known := self._turns.find(key)) is not None:
                yield ()
                yield tuple(replay(known))
                return
            told = Told(how)
            pending: list[ReplyEvent] = [told.started()]
            begun = False
            turn = self._client.turn(
                params,
                first_timeout_s=settings.first_token_timeout_s,
                idle_timeout_s=settings.idle_timeout_s,
                spoken=lambda: told.spoken,
            )
            async with aclosing(turn):
                async for events in turn:
                    for event in events:
                        pending += told.take(event)
                    if not told.spoken:
                        continue
                    if not begun:
                        begun = True
                        yield ()
                    for batch in batches(iter(pending)):
                        size += _add(collector, batch)
                        yield batch
                    pending = []
            pending += told.end()
            if not begun:
                yield ()
            last = list(batches(iter(pending)))
            size += sum(_add(collector, batch) for batch in last)
            # Before the last words go out: whoever misses them may come again for them.
            reply = collector.reply()
            self._turns.keep(key, reply, size)
            self._turns.wait_for(how.session, reply)
        for batch in last:
            yield batch

    async def close(self) -> None:
        """See ``Source``."""
        self._client.close()


def _wants_trace(call: Call) -> bool:
    return any(call.request.extra.get(name) is True for name in ("enable_trace", "enableTrace"))


def _add(collector: Collector, batch: Sequence[ReplyEvent]) -> int:
    """Keep what is said. Gives its size."""
    size = 0
    for event in batch:
        collector.add(event)
        if isinstance(event, PartDelta):
            size += len(event.text)
    return size
