"""The ``bedrock_agent`` source behind a gateway, with AWS's own SDK and a server that speaks the service's wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.core.sources.bedrock_agents import Agents, said, says
from tests.e2e.bedrock_agent_service import (
    BedrockAgentService,
    Cut,
    Exceptional,
    Refuse,
    Step,
    Wait,
    chunk,
    echo,
)


class TestSessions:
    async def test_the_body_names_it_then_the_header(self, agent: BedrockAgentService, agents: Agents) -> None:
        header = {"x-session-id": "from-header"}
        for body, expected in (
            (said("Hi", session_id="from.body:1"), "from.body:1"),
            (said("Hi", metadata={"session_id": "from-metadata"}), "from-metadata"),
            (said("Hi"), "from-header"),
        ):
            heard = await agents.post(body, header)
            assert (heard.headers["x-session-id"], heard.json["session_id"]) == (expected, expected)
            assert agent.asked[-1].session == expected

    @pytest.mark.parametrize("name", ["a/b", "x" * 101, 7, "ü" * 5, "a"])
    async def test_a_name_that_is_none_is_refused(self, agent: BedrockAgentService, agents: Agents, name: Any) -> None:
        heard = await agents.post(said("Hi", session_id=name))
        assert heard.code == (400, "bad_session_id") and agent.asked == []

    async def test_two_users_do_not_share_one(self, agent: BedrockAgentService, agents: Agents) -> None:
        one, two = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
        for headers, more in ((one, {}), (two, {}), (two, {"user": "ann"}), (two, {"user": "bob"}), (two, {})):
            await agents.post(said("Hello", **more), headers)
        sessions = [asked.session for asked in agent.asked]
        assert len(set(sessions)) == 4 and sessions[1] == sessions[4]

    async def test_the_first_message_is_known_again_whatever_a_cache_marks_in_it(
        self, agent: BedrockAgentService, agents: Agents
    ) -> None:
        marked = {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}
        history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
        for messages in ([{"role": "user", "content": [marked]}], [*history, {"role": "user", "content": "And?"}]):
            heard = await agents.post(
                {"model": "m", "max_tokens": 9, "messages": messages}, dialect="anthropic-messages"
            )
            assert heard.json["session_id"] == agent.asked[-1].session
        one, two = agent.asked
        assert one.session == two.session and (one.text, two.text) == ("Hello", "And?")

    async def test_two_agents_have_their_own(self, agent: BedrockAgentService, agents: Agents) -> None:
        await agents.post(said("Hello"))
        await agents.post(said("Hello", "other-x"))
        one, other = agent.asked
        assert other.agent == "OTHER" and one.session != other.session

    async def test_it_is_a_new_one_where_nothing_names_it(self, agent: BedrockAgentService, agents: Agents) -> None:
        for _ in range(2):
            heard = await agents.post(said("Hello", "fresh-x"), {"x-chat": "not-asked"})
            assert heard.headers["x-chat"] == agent.asked[-1].session
        assert agent.asked[0].session != agent.asked[1].session
        assert len(agent.asked[0].session) == 36

    async def test_calls_of_one_come_one_after_the_other(self, agent: BedrockAgentService, agents: Agents) -> None:
        heard = await asyncio.gather(*[agents.post(said(f"Hi {number}", session_id="same")) for number in range(5)])
        assert {one.status for one in heard} == {200} and agent.most_at_once == 1

    async def test_a_call_that_is_given_up_while_it_waits_for_its_turn_is_none(
        self, agent: BedrockAgentService, agents: Agents
    ) -> None:
        gate = Wait()
        agent.script = says(chunk("One "), gate)
        first = asyncio.create_task(agents.post(said("a", session_id="same")))
        await asyncio.to_thread(gate.reached.wait, 10)
        port, exchange = await agents.hold(said("b", session_id="same"), {}, "openai-chat")
        assert not port.done.is_set() and len(agent.asked) == 1
        await agents.gateway.gone(exchange)
        gate.open()
        assert (await first).status == 200 and len(agent.asked) == 1
        agent.script = echo
        assert (await agents.post(said("c", session_id="same"))).status == 200

    async def test_a_turn_that_does_not_come_in_time_may_be_asked_for_again(
        self, agent: BedrockAgentService, agents: Agents
    ) -> None:
        agent.script = says(chunk("One "), Wait())
        port, first = await agents.hold(said("a", "patient-x", session_id="same", stream=True), {}, "openai-chat")
        await port.done.wait()
        heard = await agents.post(said("b", "patient-x", session_id="same"))
        assert heard.code == (409, "session_busy") and heard.headers["retry-after"] == "1"
        assert port.chunks is not None
        await anext(aiter(port.chunks))
        await port.chunks.aclose()  # type: ignore[attr-defined]
        await agents.gateway.gone(first)


class TestRetries:
    async def test_another_try_gets_the_same_answer(self, agent: BedrockAgentService, agents: Agents) -> None:
        for number, stream in enumerate((False, True), 1):
            body = said(f"Book a flight, {stream}", stream=stream)
            first = await agents.post(body)
            again = await agents.post(body, {"x-stainless-retry-count": "1"})
            assert again.status == first.status == 200 and "flight" in again.text
            assert len(agent.asked) == number
            assert "session_id" in again.text
        await agents.post(said("Book a flight, False"))
        assert len(agent.asked) == 3

    @pytest.mark.parametrize(
        ("step", "code", "again"),
        [
            (Refuse(502, "BadGatewayException", "x"), (502, "bad_gateway"), False),
            (Refuse(500, "InternalServerException", "x"), (500, "internal_server"), False),
            (Refuse(418, "<nonsense>", ""), (418, "agent_failed"), False),
            (Exceptional("throttlingException", {"message": "x"}), (429, "throttling"), False),
            (Cut(), (502, "upstream_failed"), False),
            (Refuse(409, "ConflictException", "x"), (409, "conflict"), True),
            (Refuse(424, "ModelNotReadyException", "x"), (503, "model_not_ready"), True),
            (Refuse(400, "ServiceQuotaExceededException", "x"), (429, "service_quota_exceeded"), True),
            (Refuse(404, "ResourceNotFoundException", "x"), (404, "resource_not_found"), False),
            (Refuse(400, "ValidationException", "x"), (400, "validation"), False),
        ],
        ids=lambda value: getattr(value, "name", type(value).__name__.lower()),
    )
    async def test_only_what_the_agent_has_not_begun_may_be_tried_again(
        self, agent: BedrockAgentService, agents: Agents, step: Step, code: tuple[int, str], again: bool
    ) -> None:
        agent.script = says(step)
        for number, stream in enumerate((False, True), 1):
            heard = await agents.post(said("Do it", stream=stream))
            assert heard.code == code
            assert (heard.headers.get("x-should-retry") != "false", "retry-after" in heard.headers) == (again, again)
            assert len(agent.asked) == number * (2 if again else 1)

    async def test_a_refusal_that_passes_is_not_told(self, agent: BedrockAgentService, agents: Agents) -> None:
        busy = [Refuse(429, "ThrottlingException", "x")]
        agent.script = lambda asked: [busy.pop()] if busy else echo(asked)
        heard = await agents.post(said("Hi"))
        assert heard.json["choices"][0]["message"]["content"] == "You said: Hi" and len(agent.asked) == 2
