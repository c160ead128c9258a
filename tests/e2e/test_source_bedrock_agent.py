"""An agent of Amazon Bedrock answers the vendors' SDKs, in every dialect, streamed and not, on both ways to the proxy.

The agent is a local server that speaks the service's own wire and checks the signature of each call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.bedrock_agent_service import (
    ACCESS_KEY,
    AGENT,
    ALIAS,
    SECRET_KEY,
    Asked,
    BedrockAgentService,
    Cut,
    Exceptional,
    Refuse,
    Step,
    Wait,
    chunk,
    citation,
    echo,
    function,
    return_control,
    trace,
    usage,
)
from tests.e2e.clients import Link, anthropic_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.voices import VOICES, ToolSpec, Voice

ANSWER = "Grüße 👩‍👩‍👧, the  answer is:\n\n\t42 \n"
WEATHER = ToolSpec(
    "weather", "Looks out.", {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
)
EACH = pytest.mark.parametrize("speaks", VOICES, ids=lambda voice: voice.dialect)
STREAMED = pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
WAYS = pytest.mark.parametrize("way", ["meeting", "forward"])
OPENAI = next(voice for voice in VOICES if voice.dialect == "openai-chat")
CITING = {"openai-chat", "openai-responses", "anthropic-messages", "bedrock-invoke", "gemini", "cohere-chat"}
"""Dialects with a place for citations beside the text."""
CALLERS = [voice for voice in VOICES if voice.can.calls == "native"]


@pytest.fixture(scope="module")
def shared_service() -> Iterator[BedrockAgentService]:
    with BedrockAgentService() as service:
        yield service


@pytest.fixture
def agent(shared_service: BedrockAgentService) -> Iterator[BedrockAgentService]:
    shared_service.script = echo
    shared_service.asked.clear()
    yield shared_service
    assert shared_service.refused == []


@pytest.fixture(scope="module")
def agent_proxy(
    tmp_path_factory: pytest.TempPathFactory,
    confdir: Path,
    upstream: dict[str, Any],
    shared_service: BedrockAgentService,
) -> Iterator[Proxy]:
    at = {"kind": "bedrock_agent", "endpoint_url": shared_service.url}
    config = {
        "sources": {
            "agent": at,
            "thinker": {**at, "trace": "reasoning"},
            "asked": {**at, "trace": "on_request"},
            "untraced": {**at, "trace": "off", "stream_final_response": True},
            "other": {**at, "agent_id": "OTHER", "agent_alias_id": "TSTALIASID"},
            "short": {**at, "first_token_timeout_s": 0.5, "idle_timeout_s": 0.5},
            "few": {**at, "max_turns": 2},
        },
        "routes": [
            *[
                {"match": {"model": f"{name}-*"}, "answer": name}
                for name in ("thinker", "asked", "untraced", "other", "short", "few")
            ],
            {"match": {}, "answer": "agent"},
        ],
    }
    env = {**upstream["env"], **shared_service.env}
    folder = tmp_path_factory.mktemp("agent-proxy")
    with Proxy(folder, confdir, config=config, **{**upstream, "env": env}) as proxy:
        yield proxy


@pytest.fixture
def link(agent_proxy: Proxy) -> Link:
    return Link(agent_proxy)


@pytest.fixture
def ways(agent_proxy: Proxy, proxy_authority: Path) -> dict[str, Link]:
    return {"meeting": Link(agent_proxy), "forward": Link(agent_proxy, proxy_authority)}


def says(*steps: Step) -> Any:
    return lambda asked: steps


async def post(link: Link, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(f"{link.proxy.meeting}/v1/chat/completions", json=body, headers=headers or {})


def said(text: str, model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@EACH
@STREAMED
@WAYS
async def test_an_agent_answers(  # noqa: PLR0917  # each is a fixture or a case
    agent: BedrockAgentService, ways: dict[str, Link], speaks: type[Voice], streamed: bool, way: str, session: str
) -> None:
    agent.script = lambda asked: [usage(10, 2), chunk(ANSWER if asked.text == f"Hi from {session}" else "?")]
    voice = speaks(ways[way], session, streamed=streamed)
    try:
        voice.add_user(f"Hi from {session}")
        heard = await voice.send()
        voice.add_user("And?")
        agent.script = says(chunk("That "), chunk("was it."))
        again = await voice.send()
    finally:
        await voice.close()
    assert heard.text == ANSWER and heard.finish == voice.finishes[0]
    assert again.text == "That was it."
    if heard.input_tokens is not None:
        assert (heard.input_tokens, heard.output_tokens) == (10, 2)
        assert (again.input_tokens, again.output_tokens) == (-1, -1)
    first, second = agent.asked
    assert (first.agent, first.alias) == (AGENT, ALIAS) and first.body["enableTrace"] is True
    if speaks.can.several == "native":
        assert second.text == "And?" and first.session == second.session


@pytest.mark.parametrize("speaks", CALLERS, ids=lambda voice: voice.dialect)
@STREAMED
async def test_what_the_agent_hands_over_is_a_tool_call_and_its_result_comes_back(
    agent: BedrockAgentService, link: Link, speaks: type[Voice], streamed: bool, session: str
) -> None:
    wanted = function("outside", "weather", ("city", "string", "Köln"), ("days", "integer", "2"), agentId="SUB")
    agent.script = says(return_control("inv-1", wanted, function("outside", "now")))
    voice = speaks(link, session, streamed=streamed)
    try:
        voice.offer([WEATHER, ToolSpec("now", "Time.", {"type": "object", "properties": {}})])
        voice.add_user("What is the weather?")
        heard = await voice.send()
        agent.script = says(chunk("Take a coat."))
        voice.add_results([(heard.calls[0], "rain"), (heard.calls[1], '{"h": 7}')])
        answer = await voice.send()
    finally:
        await voice.close()
    assert [(call.name, call.value) for call in heard.calls] == [("weather", {"city": "Köln", "days": 2}), ("now", {})]
    assert heard.finish == voice.finishes[1]
    assert answer.text == "Take a coat."
    first, second = agent.asked
    assert first.session == second.session and "inputText" not in second.body
    assert second.state["invocationId"] == "inv-1"
    results = [one["functionResult"] for one in second.state["returnControlInvocationResults"]]
    assert [(one["actionGroup"], one["function"], one.get("agentId")) for one in results] == [
        ("outside", "weather", "SUB"),
        ("outside", "now", None),
    ]
    assert [one["responseBody"]["TEXT"]["body"] for one in results] == ["rain", '{"h": 7}']


@EACH
@STREAMED
async def test_traces_are_reasoning(
    agent: BedrockAgentService, link: Link, speaks: type[Voice], streamed: bool, session: str
) -> None:
    agent.script = says(
        trace(orchestrationTrace={"rationale": {"text": "I look at arn:aws:s3:::b/123456789012/x first."}}),
        usage(3, 4),
        trace(orchestrationTrace={"observation": {"finalResponse": {"text": "Done."}}}),
        chunk("Done."),
    )
    voice = speaks(link, f"thinker-{session}", streamed=streamed)
    try:
        voice.add_user("Think.")
        heard = await voice.send()
    finally:
        await voice.close()
    thought = "I look at [ARN] first."
    if speaks.can.reasoning == "native":
        assert (heard.reasoning, heard.text) == (thought, "Done.")
    else:
        assert heard.text == f"{thought}\n\nDone."


@EACH
@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (Refuse(429, "ThrottlingException", "Too fast for arn:aws:bedrock:eu-central-1:123456789012:agent/A."), 429),
        (Refuse(403, "AccessDeniedException", "User 123456789012 may not, with AKIAIOSFODNN7EXAMPLE"), 403),
        (Refuse(424, "DependencyFailedException", "The Lambda function failed."), 424),
    ],
    ids=["throttled", "denied", "dependency"],
)
async def test_refusals_are_errors_of_the_dialect(  # noqa: PLR0917  # each is a fixture or a case
    agent: BedrockAgentService, link: Link, speaks: type[Voice], refusal: Refuse, status: int, session: str
) -> None:
    agent.script = says(refusal)
    voice = speaks(link, session, streamed=True)
    try:
        voice.add_user("Hi.")
        with pytest.raises(Exception) as raised:
            await voice.send()
    finally:
        await voice.close()
    told = str(raised.value)
    assert status_of(raised.value) == status or str(status) in told
    assert not any(secret in told for secret in ("123456789012", "arn:aws", ACCESS_KEY))
    assert len(agent.asked) == (3 if status == 429 else 1)


def status_of(error: Any) -> Any:
    """The status of an SDK's error."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response["ResponseMetadata"]["HTTPStatusCode"]
    return getattr(error, "status_code", None) or getattr(error, "code", None)


@EACH
async def test_a_reply_that_is_cut_is_an_error(
    agent: BedrockAgentService, link: Link, speaks: type[Voice], session: str
) -> None:
    for streamed in (True, False):
        for last in (Cut(), Exceptional("dependencyFailedException", {"message": "Lambda 123456789012 failed"})):
            agent.script = says(chunk("So far"), last)
            voice = speaks(link, session, streamed=streamed)
            try:
                voice.add_user("Hi.")
                with pytest.raises(Exception) as raised:
                    await voice.send()
            finally:
                await voice.close()
            assert "123456789012" not in str(raised.value)
            assert not isinstance(raised.value, AssertionError)


@STREAMED
async def test_fifty_at_once(agent: BedrockAgentService, link: Link, streamed: bool, session: str) -> None:
    ready = asyncio.Event()
    gate = Wait()

    def script(asked: Asked) -> Iterator[Step]:
        yield gate
        yield from echo(asked)

    agent.script = script
    agent.most_at_once = 0
    voices = [OPENAI(link, session, streamed=streamed) for _ in range(50)]
    for number, voice in enumerate(voices):
        voice.add_user(f"number {number}")
    tasks = [asyncio.create_task(voice.send()) for voice in voices]
    while agent.at_once < 50:
        assert not any(task.done() for task in tasks)
        await asyncio.sleep(0.01)
    ready.set()
    gate.open()
    heard = await asyncio.gather(*tasks)
    assert [one.text for one in heard] == [f"You said: number {number}" for number in range(50)]
    assert agent.most_at_once == 50 and len({asked.session for asked in agent.asked}) == 50
    for voice in voices:
        await voice.close()


@STREAMED
async def test_who_leaves_ends_the_agents_turn(agent: BedrockAgentService, link: Link, streamed: bool) -> None:
    for before in ((), (chunk("Once upon "),)):
        gate = Wait()
        agent.script = says(*before, gate, chunk("a time"))
        task = asyncio.create_task(post(link, said(f"Tell {len(before)}", stream=streamed)))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        task.cancel()
        await asyncio.wait((task,))
        assert await asyncio.to_thread(agent.asked[-1].lost.wait, 10)


async def test_the_first_words_come_before_the_last_ones_are_known(agent: BedrockAgentService, link: Link) -> None:
    gate = Wait()
    agent.script = says(chunk("Once upon"), gate, chunk(" a time."))
    lines: list[str] = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        body = said("Tell", "untraced-x", stream=True)
        async with client.stream("POST", f"{link.proxy.meeting}/v1/chat/completions", json=body) as reply:
            assert reply.status_code == 200
            async for line in reply.aiter_lines():
                lines.append(line)
                if '" upon"' in line:
                    gate.open()
    words = [json.loads(line[6:])["choices"] for line in lines if line.startswith("data: {")]
    deltas = [choices[0]["delta"].get("content") for choices in words if choices]
    assert [one for one in deltas if one] == ["Once", " upon", " a", " time."]
    assert agent.asked[0].body["streamingConfigurations"] == {"streamFinalResponse": True}
    assert agent.asked[0].body["enableTrace"] is False


@pytest.mark.parametrize("speaks", VOICES, ids=lambda voice: voice.dialect)
@STREAMED
async def test_sdks_read_citations(
    agent: BedrockAgentService, link: Link, speaks: type[Voice], streamed: bool, session: str
) -> None:
    agent.script = says(
        chunk("The answer is 42.", citation("is 42", 11, "https://example.org/guide.html", "It is 42."))
    )
    voice = speaks(link, session, streamed=streamed)
    try:
        voice.add_user("Why?")
        heard = await voice.send()
        voice.add_user("Sure?")  # what the SDK made of the reply can be sent back
        again = await voice.send()
    finally:
        await voice.close()
    listed = "\n\n[1] guide.html: https://example.org/guide.html"
    assert heard.text == "The answer is 42." + ("" if speaks.dialect in CITING else listed)
    assert again.text == heard.text


async def test_an_sdk_that_tries_again_does_not_make_the_agent_act_twice(
    agent: BedrockAgentService, link: Link
) -> None:
    for steps in ((chunk("I book"), Cut()), (Refuse(500, "InternalServerException", "Oops"),)):
        agent.asked.clear()
        agent.script = says(*steps)
        async with openai_client(link, max_retries=2) as client:
            with pytest.raises(openai.APIStatusError):
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Book!"}])
        async with anthropic_client(link, max_retries=2) as other:
            with pytest.raises(anthropic.APIStatusError):
                await other.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Book!"}])
        assert len(agent.asked) == 2


async def test_a_trace_is_in_the_log_where_that_shows_details(
    agent: BedrockAgentService, start_proxy: StartProxy
) -> None:
    config = {"log": {"level": "debug"}, "routes": [{"match": {}, "answer": "bedrock_agent"}]}
    env = {**agent.env, "AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": agent.url}
    proxy = start_proxy(config=config, env=env)
    agent.script = says(trace(orchestrationTrace={"rationale": {"text": "I look it up."}}), chunk("Here."))
    assert (await post(Link(proxy), said("Well?"))).status_code == 200
    assert "agent trace exchange=" in proxy.log and "kind=orchestrationTrace.rationale" in proxy.log
    assert "I look it up." in proxy.log
    assert ACCESS_KEY not in proxy.log and SECRET_KEY not in proxy.log and "Signature=" not in proxy.log


async def test_the_process_ends_in_the_middle_of_turns(agent: BedrockAgentService, start_proxy: StartProxy) -> None:
    config = {"routes": [{"match": {}, "answer": "bedrock_agent"}]}
    env = {**agent.env, "AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": agent.url}
    proxy = start_proxy(config=config, env=env)
    gate = Wait()
    agent.script = lambda asked: [gate] if asked.text == "whole" else [chunk("Once "), Wait()]
    whole = asyncio.create_task(post(Link(proxy), said("whole")))
    assert await asyncio.to_thread(gate.reached.wait, 20)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        url = f"{proxy.meeting}/v1/chat/completions"
        async with client.stream("POST", url, json=said("streamed", stream=True)) as reply:
            lines = aiter(reply.aiter_lines())
            while "Once" not in await anext(lines):
                pass
            assert await asyncio.to_thread(proxy.terminate) < 5
            rest = [line async for line in lines]
    assert "shutting down" in "".join(rest)
    refused = await whole
    assert refused.status_code == 503 and "shutting down" in refused.text
    for asked in agent.asked:
        assert await asyncio.to_thread(asked.lost.wait, 10)
