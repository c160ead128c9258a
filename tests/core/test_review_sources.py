"""Replies of a source that somebody reviews, at the meeting point as well, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from motive_core.config import Config
from motive_core.exchange import Events, Severed
from motive_core.gateway import Gateway
from motive_core.ir import Choice, Reply, TextPart
from motive_core.sources import Call
from motive_core.stream import replay
from tests.core.reviewing import settled, shown
from tests.core.test_gateway import Client, Clock, code, heard


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Slow:
    """A source that answers when ``open`` is set; with ``faults``, not to the end."""

    faults: bool = False
    closings: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, call: Call) -> Events:
        await self.open.wait()
        call.headers["x-source"] = "slow"
        return self._events()

    async def _events(self) -> Events:
        yield list(replay(Reply("", "", (Choice((TextPart("Slowly."),)),))))[: 2 if self.faults else None]
        if self.faults:
            yield [Severed()]

    async def close(self) -> None:
        self.closings += 1


class TestAnotherServiceMakesTheDraft:
    @pytest.fixture
    async def gateway(self, clock: Clock) -> AsyncIterator[Gateway]:
        routes = [{"answer": "review", "draft": "parrot"}]
        sources = {"parrot": {"kind": "mock", "text": "Polly."}}
        made = Gateway(Config.model_validate({"routes": routes, "sources": sources}), clock=clock)
        yield made
        made.shut_down()

    async def test_it_answers_while_nobody_is_there(self, gateway: Gateway) -> None:
        for _ in range(2):
            assert heard(await Client(gateway, "app").say("hello")) == "Polly."
        assert await gateway.sessions() == [] and not gateway.held.keys() - set(gateway.answering._works)

    @pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages"])
    async def test_at_the_meeting_point(self, gateway: Gateway, dialect: str) -> None:
        person, app = Client(gateway, "person"), Client(gateway, "app", dialect)
        joined = await person.say("ping")
        asked = await app.say("hello")
        await settled()
        assert (await shown(person, joined)).endswith("other words take its place\n\nPolly.")
        listening = await person.say("/send")
        assert heard(asked) == "Polly." and json.loads(asked.body)["model"] == "npc"
        asked = await app.say("more")
        await settled()
        await shown(person, listening)
        await person.say("Cracker.")
        assert heard(asked) == "Cracker."

    async def test_over_a_limit_of_held_calls_it_is_not_asked(self, clock: Clock) -> None:
        settings = {
            "routes": [{"answer": "review", "draft": "parrot"}],
            "sources": {"parrot": {"kind": "mock", "text": "Polly."}},
            "limits": {"max_held": 2, "max_sessions": 1},
        }
        gateway = Gateway(Config.model_validate(settings), clock=clock)
        await Client(gateway, "person").say("ping")
        app = Client(gateway, "app", headers={"x-motive-role": "asker"})
        asked = await app.say("one")
        await app.say("two")
        assert not asked.told and code(await app.say("three")) == (503, "too_many_held")
        gateway.shut_down()

    async def test_a_background_call_goes_there(self, gateway: Gateway) -> None:
        app = Client(gateway, "app")
        body = {"model": "npc", "max_tokens": 1, "messages": [{"role": "user", "content": "ping"}]}
        assert heard(await app.send(json.dumps(body).encode())) == "Polly."

    async def test_a_source_that_goes_meanwhile_is_closed_when_it_is_done(self, gateway: Gateway) -> None:
        source = Slow()
        gateway.answering._sources["parrot"].source = source
        person, app = Client(gateway, "person"), Client(gateway, "app")
        joined = await person.say("ping")
        asked = await app.say("hello")
        gateway.answering.configure({})
        await settled()
        assert source.closings == 0
        source.open.set()
        await settled()
        assert source.closings == 1 and (await shown(person, joined)).endswith("Slowly.")
        await person.say("/send")
        assert heard(asked) == "Slowly." and asked.headers["x-source"] == "slow"

    async def test_a_source_that_is_broken_off(self, gateway: Gateway) -> None:
        source = gateway.answering._sources["parrot"].source = Slow(faults=True)
        source.open.set()
        await Client(gateway, "person").say("ping")
        asked = await Client(gateway, "app").say("hello")
        await settled()
        assert code(asked) == (502, "upstream_failed")

    async def test_a_source_that_is_gone(self, gateway: Gateway) -> None:
        person, app = Client(gateway, "person"), Client(gateway, "app")
        await person.say("ping")
        gateway.answering.configure({})
        asked = await app.say("hello")
        await settled()
        assert code(asked) == (500, "internal_error")
