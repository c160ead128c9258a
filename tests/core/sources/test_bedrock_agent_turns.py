"""The ``bedrock_agent`` source behind a gateway, with AWS's own SDK and a server that speaks the service's wire."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from motive_core.config import Config
from motive_core.dialects import RequestHead
from motive_core.exchange import Exchange
from motive_core.framing import event_frame
from motive_core.gateway import Gateway, Incoming
from tests.core.ports import FakePort
from tests.e2e.bedrock_agent_service import (
    ACCESS_KEY,
    AGENT,
    ALIAS,
    REGION,
    SECRET_KEY,
    BedrockAgentService,
    Bytes,
    Cut,
    Event,
    Exceptional,
    Refuse,
    Step,
    Wait,
    chunk,
    citation,
    echo,
    return_control,
    trace,
)

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


@pytest.fixture
def agent() -> Iterator[BedrockAgentService]:
    with BedrockAgentService() as service:
        yield service
    assert service.refused == []


@pytest.fixture
async def agents(agent: BedrockAgentService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agents]:
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


class TestFailures:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_silence_ends_in_time(self, agent: BedrockAgentService, agents: Agents, stream: bool) -> None:
        for before, model in (((), "short-x"), ((chunk("Well,"),), "idle-x")):
            agent.script = says(*before, Wait())
            heard = await agents.post(said("Hm?", model, stream=stream))
            assert "upstream_timeout" in heard.text
            assert (heard.status == 200) is (stream and bool(before))
            assert await asyncio.to_thread(agent.asked[-1].lost.wait, 10)

    async def test_traces_do_not_make_the_first_words_come_later_than_they_may(
        self, agent: BedrockAgentService, agents: Agents
    ) -> None:
        gate = Wait()
        agent.script = says(trace(orchestrationTrace={"rationale": {"text": "Hmm."}}), gate)
        heard = await agents.post(said("Hm?", "short-x"))
        assert heard.code == (504, "upstream_timeout")

    async def test_a_proxy_of_the_environment_is_not_used(
        self, agents: Agents, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await agents.post(said("Hi"))).status == 200

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ([chunk("x"), Bytes(chunk("y").frame()[:-9])], "The agent's reply was cut off."),
            ([Bytes(b"\x00" * 16)], "The agent's reply cannot be read."),
            ([Bytes(event_frame("chunk", b"[1]"))], "The agent's reply cannot be read."),
            ([Event("chunk", {"bytes": 7})], "The agent's reply cannot be read."),
            ([Event("nothing", {})], "The agent's reply is empty."),
            ([return_control("i")], "The agent's reply is empty."),
        ],
        ids=["half a frame", "no frame", "a list", "no text", "unknown", "no control"],
    )
    async def test_what_is_no_reply(
        self, agent: BedrockAgentService, agents: Agents, steps: list[Step], message: str
    ) -> None:
        agent.script = says(*steps)
        heard = await agents.post(said("Hi"))
        assert heard.code == (502, "upstream_failed") and heard.json["error"]["message"] == message

    async def test_null_where_a_list_has_members_is_left_out(self, agent: BedrockAgentService, agents: Agents) -> None:
        odd = [
            {"generatedResponsePart": None, "retrievedReferences": [{"location": {"type": "S3"}}, {}, None]},
            None,
            {},
        ]
        agent.script = says(chunk("x", *odd), Event("files", {"files": [None]}))  # type: ignore[arg-type]
        heard = await agents.post(said("Hi"))
        assert heard.json["choices"][0]["message"]["content"] == "x"

    async def test_nobody_is_there(self, agents: Agents) -> None:
        heard = await agents.post(said("Hi", "nowhere-x"))
        assert heard.code == (502, "upstream_failed")
        assert "127.0.0.1" not in heard.text

    async def test_there_are_no_credentials(
        self, agent: BedrockAgentService, agents: Agents, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        heard = await agents.post(said("Hi"))
        assert heard.code == (503, "aws_credentials_missing") and heard.headers["x-should-retry"] == "false"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        assert (await agents.post(said("Hi"))).status == 200

    async def test_the_extra_is_missing(
        self, agents: Agents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setitem(sys.modules, "boto3", None)
        monkeypatch.delitem(sys.modules, "motive_core.sources.bedrock_agent_boto", raising=False)
        heard = await agents.post(said("Hi"))
        assert heard.code == (503, "extra_missing") and "pip install 'boto3>=1.40,<2'" in heard.text
        Gateway(Config.model_validate({"sources": {"a": AT}}))
        assert "needs the extra 'bedrock'" in caplog.text

    async def test_calls_beyond_the_limit_wait(self, agent: BedrockAgentService, agents: Agents) -> None:
        heard = await asyncio.gather(*[agents.post(said(f"n {number}", "few-x")) for number in range(12)])
        assert {one.status for one in heard} == {200}
        assert agent.most_at_once <= 2 and len(agent.asked) == 12

    @pytest.mark.parametrize("before", [(), (chunk("Once "),)], ids=["silent", "begun"])
    async def test_a_call_that_is_given_up_ends_its_turn_and_makes_room(
        self, agent: BedrockAgentService, agents: Agents, before: tuple[Step, ...]
    ) -> None:
        for _ in range(3):  # more than there is room for
            agent.script = echo
            await agents.post(said("Well?", "few-x"))  # whose connection is kept, and is the next one's
            gate = Wait()
            agent.script = says(*before, gate)
            _, exchange = await agents.hold(said("Hm?", "few-x"), {}, "openai-chat")
            assert await asyncio.to_thread(gate.reached.wait, 10)
            await agents.gateway.gone(exchange)
            assert await asyncio.to_thread(agent.asked[-1].lost.wait, 10)
        agent.script = echo
        assert (await agents.post(said("Hm?", "few-x"))).status == 200

    async def test_over_tls(self, agents: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        with BedrockAgentService(authority) as service:
            made = Gateway(
                Config.model_validate(
                    {
                        "sources": {"tls": {**AT, "endpoint_url": service.url}},
                        "routes": [{"match": {}, "answer": "tls"}],
                    }
                )
            )
            app = Agents(made)
            assert (await app.post(said("Hi"))).status == 200
            for before in ((), (chunk("Once "),)):
                gate = Wait()
                service.script = says(*before, gate)
                _, exchange = await app.hold(said("Hm?"), {}, "openai-chat")
                assert await asyncio.to_thread(gate.reached.wait, 10)
                await made.gone(exchange)
                assert await asyncio.to_thread(service.asked[-1].lost.wait, 10)
            monkeypatch.delenv("AWS_CA_BUNDLE")
            assert service.refused == [] and len(service.asked) == 3
            made.shut_down()
            await made.close()

    async def test_a_reader_that_is_slow_makes_the_agent_wait(self, agent: BedrockAgentService, agents: Agents) -> None:
        pieces = 0

        def script(_: Any) -> Iterator[Step]:
            nonlocal pieces
            for _number in range(400):
                pieces += 1
                yield chunk("x" * 65536)

        agent.script = script
        port, exchange = await agents.hold(said("Tell", stream=True), {}, "openai-chat")
        await port.done.wait()
        assert port.chunks is not None
        await anext(aiter(port.chunks))
        before = -1
        while before != pieces:
            before = pieces
            await asyncio.sleep(0.2)  # until it stands still: there is nothing to be told by
        assert pieces < 400
        await port.chunks.aclose()  # type: ignore[attr-defined]
        await agents.gateway.gone(exchange)
        assert await asyncio.to_thread(agent.asked[-1].lost.wait, 10)


class TestContent:
    async def test_a_guardrail_is_the_finish_reason(self, agent: BedrockAgentService, agents: Agents) -> None:
        blocked = {"topicPolicy": {"topics": [{"action": "BLOCKED", "name": "n", "type": "DENY"}]}}
        masked = {"sensitiveInformationPolicy": {"regexes": [{"action": "ANONYMIZED", "match": "x"}]}}
        for assessed, finish in ((blocked, "content_filter"), (masked, "stop")):
            agent.script = says(
                trace(guardrailTrace={"action": "INTERVENED", "inputAssessments": [assessed]}), chunk("No.")
            )
            heard = await agents.post(said("Hi"))
            assert heard.json["choices"][0]["finish_reason"] == finish

    @pytest.mark.parametrize("stream", [False, True])
    async def test_citations_and_files(self, agent: BedrockAgentService, agents: Agents, stream: bool) -> None:
        file = {"name": "plot.png", "type": "image/png", "bytes": base64.b64encode(b"png").decode()}
        cited = citation("is 42", 10, "s3://books/guide.pdf", "It is 42.")
        agent.script = says(chunk("Ü answer: is 42.", cited), Event("files", {"files": [file]}))
        heard = await agents.post(said("Why?", stream=stream))
        assert '"start_index":10,"end_index":15,"title":"guide.pdf","url":"s3://books/guide.pdf"' in heard.text
        assert "![plot.png](data:image/png;base64,cG5n)" in heard.text
        heard = await agents.post(said("Why?", "listed-x", stream=stream))
        assert "s3://books/guide.pdf" in heard.text and "start_index" not in heard.text
        if not stream:
            answer = "Ü answer: is 42.\n\n[1] guide.pdf: s3://books/guide.pdf"
            assert heard.json["choices"][0]["message"]["content"].startswith(answer)

    async def test_documents_go_along(self, agent: BedrockAgentService, agents: Agents) -> None:
        data = base64.b64encode(b"%PDF").decode()
        file = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}}
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        for part, status in ((file, 200), (picture, 400)):
            content = [{"type": "text", "text": "Read."}, part]
            heard = await agents.post({"model": "m", "messages": [{"role": "user", "content": content}]})
            assert heard.status == status, heard.text
        (asked,) = agent.asked
        told = {"sourceType": "BYTE_CONTENT", "byteContent": {"mediaType": "application/pdf", "data": data}}
        assert asked.state["files"] == [{"name": "a.pdf", "source": told, "useCase": "CHAT"}]

    async def test_reasoning_on_request(self, agent: BedrockAgentService, agents: Agents) -> None:
        agent.script = says(trace(orchestrationTrace={"rationale": {"text": "Hmm."}}), chunk("Yes."))
        for more, thought in (({}, None), ({"enable_trace": True}, "Hmm.")):
            heard = await agents.post(said("So?", "asked-x", **more))
            assert heard.json["choices"][0]["message"].get("reasoning_content") == thought
