"""Drafts of the real model at the console: a real proxy asks a real service for what a real SDK wants."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.e2e.clients import Link, Talker, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.console import Page, browser
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer, anthropic_events, openai_chunks, real_service, whole

LOOK = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
}


def event(kind: str, **told: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **told})}\n\n".encode()


def signed(model: str) -> list[bytes]:
    """What Anthropic says with extended thinking and a tool call."""
    first, *_ = anthropic_events("", model)
    return [
        first,
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}),
        event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "A troll!"}),
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2lnbmVk"}),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=1, delta={"type": "text_delta", "text": "I look around."}),
        event("content_block_stop", index=1),
        event(
            "content_block_start",
            index=2,
            content_block={"type": "tool_use", "id": "toolu_real", "name": "look", "input": {}},
        ),
        event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": '{"where": "north"}'}),
        event("content_block_stop", index=2),
        event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 9}),
        event("message_stop"),
    ]


async def taken(page: Page, app: Talker, session: str) -> None:
    """The app has called once, and is taken over."""
    await app.say("Hello.")
    await page.until(session, lambda told: told["latest_state"] == "passed")
    await page.do("take", session=session)


async def drafted(page: Page, session: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Wait until the draft is as it should be."""
    told = await page.until(session, lambda told: told["drafts"] and condition(told["drafts"][0]))
    draft: dict[str, Any] = told["drafts"][0]
    return draft


def on_draft(handler: Callable[[Received, Writer], None]) -> Callable[[Received, Writer], None]:
    """Answers the first call as usual, and those after it so."""
    came = 0

    def answer(request: Received, writer: Writer) -> None:
        nonlocal came
        came += 1
        (real_service if came == 1 else handler)(request, writer)

    return answer


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("http2", [False, True])
async def test_the_service_is_asked_the_apps_own_request(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str, dialect: Any, *, streamed: bool, http2: bool
) -> None:
    link = Link(through_proxy.proxy, through_proxy.authority, http2)
    app = Talker(link, dialect, session, streamed)
    async with browser(proxy) as page:
        await taken(page, app, session)
        asked = app.start("Who are you?")
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        begun = (await page.act("draft", **fields)).json()
        assert (begun["prompt"], begun["session"]) == (prompt["prompt"], session)
        draft = await drafted(page, session, lambda it: it["done"])
        assert (draft["text"], draft["error"]) == (f"real {session}", "")
        assert draft["parts"] == [{"kind": "text", "text": f"real {session}"}]
        first, sent = service.requests
        raw = await page.ask("raw", id=prompt["call"])
        assert sent.body.decode() == raw["text"]
        credentials = [(one.header("authorization"), one.header("x-api-key")) for one in (first, sent)]
        assert credentials[0] == credentials[1] != (None, None)
        assert sent.target == first.target
        assert not asked.done()
        await page.do("answer", **fields, text=f"real {session}!", from_draft=True)
        said = await asked
        assert said.text == f"real {session}!"
        assert len(service.requests) == 2
        assert said.reply_id == ("chatcmpl-real" if dialect == "openai" else "msg_real")
        turn = (await page.until_turn(session, 2))[-1]
        assert turn["answered_by"] == "Ann"
        assert turn["answer"] == [{"kind": "text", "text": f"real {session}!"}]
        assert turn["drafted"] == {
            "kind": "draft",
            "parts": draft["parts"],
            "diff": [["same", f"real {session}"], ["new", "!"]],
        }


@pytest.mark.parametrize("streamed", [False, True])
async def test_signed_reasoning_and_ids_outlive_an_edit(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str, *, streamed: bool
) -> None:
    """With extended thinking, Anthropic refuses the next call of an app whose tool call lost its signed reasoning."""

    def thinks(request: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        for chunk in signed(session):
            writer.send(chunk)
        writer.end()

    def thinks_whole(request: Received, writer: Writer) -> None:
        content = [
            {"type": "thinking", "thinking": "A troll!", "signature": "c2lnbmVk"},
            {"type": "text", "text": "I look around."},
            {"type": "tool_use", "id": "toolu_real", "name": "look", "input": {"where": "north"}},
        ]
        usage = {"input_tokens": 1, "output_tokens": 9}
        told = {"id": "msg_real", "type": "message", "role": "assistant", "model": session, "content": content}
        whole(writer, {**told, "stop_reason": "tool_use", "stop_sequence": None, "usage": usage})

    service.handler = on_draft(thinks if streamed else thinks_whole)
    app = Talker(through_proxy, "anthropic", session, streamed, extra={"tools": [LOOK]})
    async with browser(proxy) as page, http_client(through_proxy) as client:
        await taken(page, app, session)
        messages = [{"role": "user", "content": "You see something."}]
        body = {"model": session, "max_tokens": 99, "messages": messages, "tools": [LOOK], "stream": streamed}
        asked = asyncio.ensure_future(client.post("https://api.anthropic.com/v1/messages", json=body))
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        await page.do("draft", **fields)
        draft = await drafted(page, session, lambda it: it["done"])
        assert [one["kind"] for one in draft["parts"]] == ["reasoning", "text", "call"]
        assert draft["text"] == "I look around."
        calls = [{"name": "look", "arguments": '{"where": "south"}'}]
        await page.do("answer", **fields, text="I look around.", calls=calls, from_draft=True)
        reply = await asked
        for kept in ("c2lnbmVk", "toolu_real", "msg_real", "south"):
            assert kept in reply.text.replace('\\"', '"')
        assert "north" not in reply.text


@pytest.mark.parametrize(
    "case",
    [
        (
            "https://api.openai.com/v1/responses",
            {"input": "Who?", "store": True},
            {
                "id": "resp_drafted",
                "object": "response",
                "created_at": 1,
                "status": "completed",
                "model": "m",
                "output": [
                    {
                        "id": "msg_1",
                        "type": "message",
                        "role": "assistant",
                        "status": "completed",
                        "content": [{"type": "output_text", "text": "It is I.", "annotations": []}],
                    }
                ],
            },
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/{model}:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "Who?"}]}]},
            {"candidates": [{"content": {"role": "model", "parts": [{"text": "It is I."}]}, "finishReason": "STOP"}]},
        ),
        (
            "https://api.cohere.com/v2/chat",
            {"messages": [{"role": "user", "content": "Who?"}]},
            {
                "id": "c1",
                "finish_reason": "COMPLETE",
                "message": {"role": "assistant", "content": [{"type": "text", "text": "It is I."}]},
            },
        ),
    ],
)
async def test_other_dialects(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str, case: tuple[str, dict[str, Any], dict[str, Any]]
) -> None:
    url, body, told = case
    service.handler = lambda request, writer: whole(writer, told)
    async with browser(proxy) as page, http_client(through_proxy) as client:
        body = {**body, "model": session}
        await client.post(url.format(model=session), json=body)
        await page.until(session, lambda told: told["latest_state"] == "passed")
        await page.do("take", session=session)
        asked = asyncio.ensure_future(client.post(url.format(model=session), json=body))
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        await page.do("draft", **fields)
        draft = await drafted(page, session, lambda it: it["done"])
        assert (draft["text"], draft["error"]) == ("It is I.", "")
        await page.do("answer", **fields, text="It is me.", from_draft=True)
        assert "It is me." in (await asked).text


async def test_a_conversation_goes_on_from_an_edited_draft(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str
) -> None:
    """The real service keeps what it said, under the same id: what the app heard is what counts."""

    def says(request: Received, writer: Writer) -> None:
        text = {"type": "output_text", "text": "It is I.", "annotations": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
        reply = {"id": "resp_drafted", "object": "response", "created_at": 1, "status": "completed", "model": session}
        whole(writer, {**reply, "output": [item]})

    service.handler = says
    async with browser(proxy) as page, openai_client(through_proxy) as client:
        await client.responses.create(model=session, input="Hello.")
        await page.until(session, lambda told: told["latest_state"] == "passed")
        await page.do("take", session=session)
        asked = asyncio.ensure_future(client.responses.create(model=session, input="Who?"))
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        await page.do("draft", **fields)
        await drafted(page, session, lambda it: it["done"])
        await page.do("answer", **fields, text="It is me.", from_draft=True)
        told = await asked
        assert (told.id, told.output_text) == ("resp_drafted", "It is me.")
        await page.do("hand-back", session=session)
        await client.responses.create(model=session, input="Really?", previous_response_id=told.id)
        sent = service.requests[-1].json()
        assert "previous_response_id" not in sent
        assert "It is me." in json.dumps(sent["input"]) and "It is I." not in json.dumps(sent["input"])


async def test_the_services_error_is_told_without_the_key(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str
) -> None:
    key = "sk-proj-Zq81-very-secret"

    def refuses(request: Received, writer: Writer) -> None:
        told = str(request.header("authorization"))
        whole(writer, {"error": {"message": f"Incorrect API key provided: {told}.", "code": "invalid_api_key"}}, 401)

    service.handler = on_draft(refuses)
    app = Talker(through_proxy, "openai", session, api_key=key)
    async with browser(proxy) as page:
        await taken(page, app, session)
        asked = app.start("Who are you?")
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        await page.do("draft", **fields)
        draft = await drafted(page, session, lambda it: it["done"])
        assert draft["status"] == 401
        assert draft["error"].startswith("Incorrect API key provided: ")
        await page.do("answer", **fields, text="me")
        assert (await asked).text == "me"
        turn = (await page.until_turn(session, 2))[-1]
        assert key not in json.dumps([draft, turn])
        assert key not in proxy.log


@pytest.mark.parametrize("how", ["stopped", "answered", "passed", "closed"])
async def test_the_services_connection_is_closed_when_nobody_waits(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str, how: str
) -> None:
    left = threading.Event()

    def endless(request: Received, writer: Writer) -> None:
        if b"Go on" not in request.body or left.is_set() or len(service.requests) > 2:
            real_service(request, writer)
            return
        writer.start(200, [("content-type", "text/event-stream")])
        first, piece, *_ = openai_chunks("word", session)
        writer.send(first)
        try:
            while not left.wait(0.01):
                writer.send(piece)
        except OSError:
            left.set()

    service.handler = endless
    app = Talker(through_proxy, "openai", session, streamed=True)
    async with browser(proxy) as page:
        await taken(page, app, session)
        asked = app.start("Go on.")
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        await page.do("draft", **fields)
        await drafted(page, session, lambda it: it["text"].startswith("ww"))
        if how == "stopped":
            await page.do("stop-draft", **fields)
            draft = await drafted(page, session, lambda it: it["done"])
            assert draft["stopped"]
            await page.do("answer", **fields, text="me")
        elif how == "answered":
            await page.do("answer", **fields, text="me")
        elif how == "passed":
            await page.do("pass", **fields)
        else:
            await proxy.close_session(session)
        assert await asyncio.to_thread(left.wait, 10)
        assert (await asked).text == ("me" if how in ("stopped", "answered") else f"real {session}")
        turn = (await page.until_turn(session, 2))[-1]
        assert turn["drafted"]["parts"][0]["text"].startswith("ww")
        assert turn["drafted"]["why"] == "It was stopped."


async def test_a_shadow_comes_after_the_answer_and_is_compared(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str
) -> None:
    gate = Gate()

    def slow(request: Received, writer: Writer) -> None:
        gate.wait()
        real_service(request, writer)

    service.handler = on_draft(slow)
    app = Talker(through_proxy, "openai", session)
    async with browser(proxy) as page:
        await taken(page, app, session)
        await page.do("shadow", session=session, on=True)
        asked = app.start("Who are you?")
        [prompt] = await page.waits(session)
        await asyncio.to_thread(service.wait_for_requests, 2)
        told = await page.ask("session", name=session)
        assert (told["shadow"], told["drafts"]) == (True, [])
        await page.do("answer", session=session, prompt=prompt["prompt"], text=f"unreal {session}")
        assert (await asked).text == f"unreal {session}"
        assert "drafted" not in (await page.until_turn(session, 2))[-1]
        gate.open()
        turns = await page.until_turn(session, 2, lambda turn: "drafted" in turn)
        assert turns[-1]["drafted"]["kind"] == "shadow"
        assert turns[-1]["drafted"]["diff"] == [["gone", "real"], ["new", "unreal"], ["same", f" {session}"]]
        reply = await page.client.get("/console/api/transcript", params={"session": session, "form": "markdown"})
        assert f"**The real service would have said:**\n\n> real {session}" in reply.text


async def test_the_proxy_exits_while_a_draft_comes(
    start_proxy: StartProxy, proxy_authority: Any, service: Standin, session: str
) -> None:
    gate = Gate()
    service.handler = on_draft(lambda request, writer: gate.wait())
    proxy = start_proxy()
    app = Talker(Link(proxy, proxy_authority), "openai", session)
    async with browser(proxy) as page:
        await taken(page, app, session)
        asked = app.start("Who are you?")
        [prompt] = await page.waits(session)
        await page.do("draft", session=session, prompt=prompt["prompt"])
        await asyncio.to_thread(service.wait_for_requests, 2)
    try:
        await asyncio.to_thread(proxy.terminate)
        with pytest.raises(openai.OpenAIError):
            await asked
    finally:
        gate.open()
    assert "Traceback" not in proxy.log
