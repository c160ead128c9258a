"""An agent that fails, is given up or says odd things: what its caller is told, and that nothing is left of a turn."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from motive_core.config import Config
from motive_core.framing import event_frame
from motive_core.gateway import Gateway
from tests.core.sources.bedrock_agents import AT, Agents, said, says
from tests.e2e.bedrock_agent_service import (
    ACCESS_KEY,
    BedrockAgentService,
    Bytes,
    Event,
    Step,
    Wait,
    chunk,
    citation,
    echo,
    return_control,
    trace,
)


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
