"""The ``critique`` source where a model fails, is late, is cut off or says what will not do: a draft is never lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.clients import Link, anthropic_client, http_client, openai_client
from tests.e2e.critics import base, critics, critics_standin, critique_proxy, model
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.standin import Gate, Received, Standin, Writer, openai_chunks, whole

__all__ = ["critics", "critics_standin", "critique_proxy"]

HEADER = "x-motive-critique"
streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def meeting(critique_proxy: Proxy, service: Standin) -> Link:
    service.handler = model(lambda asked: "draft")
    return Link(critique_proxy)


async def ask(link: Link, name: str, *, streamed: bool, **more: Any) -> tuple[httpx.Headers, str]:
    """The headers of a reply by OpenAI's SDK, and its text."""
    async with openai_client(link) as client:
        raw: Any = await client.chat.completions.with_raw_response.create(
            model=name, messages=[{"role": "user", "content": "Hi"}], stream=streamed, **more
        )
        reply = raw.parse()
        if not streamed:
            return raw.headers, reply.choices[0].message.content
        return raw.headers, "".join([one.choices[0].delta.content or "" async for one in reply if one.choices])


def error(request: Received, writer: Writer) -> None:
    whole(writer, {"error": {"message": "The critic is ill.", "type": "server_error"}}, status=500)


def refuses(request: Received, writer: Writer) -> None:
    message = {"role": "assistant", "content": None, "refusal": "No."}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole(writer, {"id": "r", "object": "chat.completion", "created": 1, "model": "second", "choices": [choice]})


def nonsense(request: Received, writer: Writer) -> None:
    whole(writer, b"<html>")


def cut_at_once(request: Received, writer: Writer) -> None:
    writer.start(200, [("Content-Type", "text/event-stream"), ("Content-Length", "1000")])
    writer.send(openai_chunks("", "second")[0])
    raise ConnectionResetError


@streamed
@pytest.mark.parametrize("handler", [error, refuses, nonsense, cut_at_once], ids=lambda one: one.__name__)
async def test_a_critic_that_fails_leaves_the_draft(
    meeting: Link, critics: Standin, *, session: str, handler: Callable[[Received, Writer], None], streamed: bool
) -> None:
    critics.handler = handler
    headers, text = await ask(meeting, f"refine-{session}", streamed=streamed)
    assert (headers[HEADER], text) == ("failed", "draft")


@streamed
@pytest.mark.parametrize("name", ["hasty", "brief"])
async def test_a_critic_that_hangs_leaves_the_draft(
    meeting: Link, critics: Standin, *, session: str, name: str, streamed: bool
) -> None:
    """By its own bound, or by that of the route."""
    gate = Gate()
    critics.handler = lambda request, writer: gate.wait()
    headers, text = await ask(meeting, f"{name}-{session}", streamed=streamed)
    assert (headers[HEADER], text) == ("late", "draft")
    gate.open()


@streamed
async def test_a_critic_that_is_not_there_leaves_the_draft(start_proxy: Any, service: Standin, streamed: bool) -> None:
    service.handler = model(lambda asked: "draft")
    step = {"model": "second", "base_url": f"http://127.0.0.1:{free_port()}/v1"}
    source = {"kind": "critique", "base_url": f"{base(service)}/v1", "steps": [step]}
    proxy = start_proxy(config={"sources": {"refine": source}, "routes": [{"answer": "refine"}]})
    headers, text = await ask(Link(proxy), "gpt", streamed=streamed)
    assert (headers[HEADER], text) == ("failed", "draft")


async def test_a_critic_that_is_cut_off_after_its_first_words_ends_the_stream(
    meeting: Link, critics: Standin, session: str
) -> None:
    gate = Gate()

    def cut(request: Received, writer: Writer) -> None:
        writer.start(200, [("Content-Type", "text/event-stream"), ("Content-Length", "100000")])
        for chunk in openai_chunks("ab", "second")[:2]:
            writer.send(chunk)
        gate.wait()
        raise ConnectionResetError

    critics.handler = cut
    heard = []
    async with anthropic_client(meeting) as client:
        with pytest.raises(anthropic.APIStatusError, match="cut off"):
            async with client.messages.stream(
                model=f"refine-{session}", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            ) as events:
                async for text in events.text_stream:
                    heard.append(text)
                    gate.open()
    assert heard == ["a"]


@streamed
async def test_an_error_of_the_primary_is_the_calls(
    meeting: Link, service: Standin, critics: Standin, session: str, streamed: bool
) -> None:
    def busy(request: Received, writer: Writer) -> None:
        whole(writer, {"error": {"message": "Come back later.", "type": "x", "code": "busy"}}, status=429)

    service.handler = busy
    with pytest.raises(openai.RateLimitError, match="Come back later"):
        await ask(meeting, f"refine-{session}", streamed=streamed)
    async with anthropic_client(meeting) as client:
        with pytest.raises(anthropic.RateLimitError, match="Come back later"):
            await client.messages.create(
                model=f"refine-{session}", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            )
    assert not critics.requests


@streamed
@pytest.mark.parametrize(
    ("better", "outcome", "text"),
    [('{"city": "Köln"}', "refined", '{"city": "Köln"}'), ("Köln", "failed", '{"city": "K"}')],
    ids=["fits", "does not"],
)
async def test_a_reply_of_a_demanded_shape_keeps_it(
    meeting: Link,
    service: Standin,
    critics: Standin,
    *,
    session: str,
    better: str,
    outcome: str,
    text: str,
    streamed: bool,
) -> None:
    service.handler = model(lambda asked: '{"city": "K"}')
    critics.handler = model(lambda asked: better)
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    headers, heard = await ask(meeting, f"refine-{session}", streamed=streamed, response_format=wanted)
    assert (headers[HEADER], heard) == (outcome, text)
    assert critics.requests[0].json()["response_format"] == wanted


@streamed
async def test_nobody_is_asked_any_more_for_a_client_that_has_gone(
    meeting: Link, critics: Standin, session: str, streamed: bool
) -> None:
    gate = Gate()
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hangs(request: Received, writer: Writer) -> None:
        loop.call_soon_threadsafe(asked.set)
        gate.wait()
        try:
            while True:
                writer.raw(b"x" * 65536)
        except OSError:
            loop.call_soon_threadsafe(closed.set)
            raise

    asked = asyncio.Event()
    critics.handler = hangs
    async with http_client(meeting) as client:
        body = {"model": f"refine-{session}", "messages": [{"role": "user", "content": "Hi"}], "stream": streamed}
        call = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        async with asyncio.timeout(20):
            await asked.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            gate.open()
            await closed.wait()


async def test_a_source_that_would_ask_itself_says_so(start_proxy: Any) -> None:
    port = free_port()
    source = {"kind": "critique", "base_url": f"http://127.0.0.1:{port}/v1"}
    proxy = start_proxy(
        config={"sources": {"refine": source}, "routes": [{"answer": "refine"}]},
        modes=("regular@127.0.0.1:0", f"reverse:http://127.0.0.1:9@127.0.0.1:{port}"),
    )
    with pytest.raises(openai.BadRequestError, match="leads back"):
        await ask(Link(proxy), "gpt", streamed=False)


async def test_nothing_that_is_said_stands_in_the_log(
    start_proxy: Any, service: Standin, critics: Standin, critics_standin: Standin
) -> None:
    service.handler = model(lambda asked: "a secret draft")
    env = {
        "OPENAI_BASE_URL": f"{base(critics_standin)}/v1",
        "OPENAI_API_KEY": "sk-operator",
        "PRIMARY_MODEL_NAME": "first",
        "CRITIQUE_MODEL_NAME": "second",
        "CRITIQUE_SYSTEM_PROMPT": "A secret prompt.",
        "LOG_LEVEL": "debug",
    }
    critics.handler = model(lambda asked: f"a secret of {asked['model']}")
    proxy = start_proxy(config="routes: [{answer: critique}]", env=env)
    headers, text = await ask(Link(proxy), "gpt", streamed=False)
    assert (headers[HEADER], text) == ("refined", "a secret of second")
    first, second = critics.requests
    assert (first.json()["model"], second.json()["model"]) == ("first", "second")
    assert second.json()["messages"][0]["content"] == "A secret prompt."
    assert "critique draft" in proxy.log and "outcome=refined" in proxy.log
    for secret in ("secret", "sk-operator", "sk-test"):
        assert secret not in proxy.log
    assert json.loads(first.body)["messages"] == [{"role": "user", "content": "Hi"}]
