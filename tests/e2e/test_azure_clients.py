"""Azure's clients of the ``openai`` SDK, through a real proxy: at the meeting point a deployment is a session; behind
the forward proxy calls pass as they were sent, and are taken over when somebody joins the session of the deployment.

What these clients make of single bytes is in ``test_openai_hosts_sdk``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import openai
import pytest

from tests.e2e.clients import Link, Said, Talker, finish
from tests.e2e.standin import Received, Standin, Writer, whole
from tests.e2e.voices.hosts import AzureOpenAIVoice
from tests.e2e.wire import RawClient, request, trusting

HOST = "myres.openai.azure.com"
VERSION = "2024-10-21"
HELLO: Any = [{"role": "user", "content": "hi — é"}]

each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def options_of(link: Link) -> dict[str, Any]:
    return {
        "azure_endpoint": link.proxy.meeting if link.authority is None else f"https://{HOST}",
        "api_version": VERSION,
        "api_key": "k-azure",
        "max_retries": 0,
        "timeout": 30.0,
    }


@asynccontextmanager
async def azure_client(link: Link, **options: Any) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    """Azure's asynchronous client."""
    http_client = openai.DefaultAsyncHttpxClient(**link.http_options())
    async with openai.AsyncAzureOpenAI(http_client=http_client, **{**options_of(link), **options}) as client:
        yield client


def sync_chat(link: Link, deployment: str, *, streamed: bool) -> str:
    """What Azure's synchronous client is answered."""
    http_client = openai.DefaultHttpxClient(**link.http_options())
    options = {**options_of(link), "_strict_response_validation": True}
    with openai.AzureOpenAI(http_client=http_client, **options) as client:
        if not streamed:
            reply = client.chat.completions.create(model=deployment, messages=HELLO)
            return reply.choices[0].message.content or ""
        chunks = client.chat.completions.create(model=deployment, messages=HELLO, stream=True)
        return "".join([choice.delta.content or "" for chunk in chunks for choice in chunk.choices])


async def complete(client: openai.AsyncAzureOpenAI, deployment: str, prompt: str, *, streamed: bool) -> str:
    """What a legacy completion is answered."""
    if not streamed:
        return (await client.completions.create(model=deployment, prompt=prompt)).choices[0].text
    chunks = await client.completions.create(model=deployment, prompt=prompt, stream=True)
    return "".join([choice.text async for chunk in chunks for choice in chunk.choices])


async def join(link: Link, session: str) -> tuple[Talker, asyncio.Task[Said]]:
    """A person sits down in a session at the meeting point."""
    person = Talker(link, "anthropic", session, api_key="sk-person")
    shown = person.start("/join")
    await link.proxy.until_listening(session)
    return person, shown


@each_way
async def test_a_deployment_is_a_session(at_meeting: Link, session: str, *, streamed: bool) -> None:
    person, shown = await join(at_meeting, session)
    app = AzureOpenAIVoice(at_meeting, session, streamed=streamed)
    for question, answer in (("who?", "I am no machine.\n\tReally."), ("sure?", "é — 世界")):
        app.add_user(question)
        asked = asyncio.create_task(app.send())
        assert (await shown).text == question
        shown = person.start(answer)
        heard = await asked
        assert (heard.text, heard.finish, heard.model) == (answer, "stop", session)
    assert session in await app.models()
    await app.close()
    await finish(at_meeting.proxy, session, shown)


@each_way
async def test_the_synchronous_client(at_meeting: Link, session: str, *, streamed: bool) -> None:
    person, shown = await join(at_meeting, session)
    asked = asyncio.create_task(asyncio.to_thread(sync_chat, at_meeting, session, streamed=streamed))
    assert (await shown).text == "hi — é"
    shown = person.start("yes")
    assert await asked == "yes"
    await finish(at_meeting.proxy, session, shown)


@each_way
async def test_a_legacy_completion(at_meeting: Link, session: str, *, streamed: bool) -> None:
    person, shown = await join(at_meeting, session)
    async with azure_client(at_meeting) as client:
        asked = asyncio.create_task(complete(client, session, "Once upon", streamed=streamed))
        assert (await shown).text == "Once upon"
        shown = person.start(" a time\n")
        assert await asked == " a time\n"
    await finish(at_meeting.proxy, session, shown)


@each_way
async def test_a_person_may_sit_at_one_too(at_meeting: Link, session: str, *, streamed: bool) -> None:
    person = AzureOpenAIVoice(at_meeting, session, streamed=streamed, api_key="k-person")
    person.add_user("/join")
    shown = asyncio.create_task(person.send())
    await at_meeting.proxy.until_listening(session)
    app = Talker(at_meeting, "anthropic", session)
    asked = app.start("who?")
    assert (await shown).text == "who?"
    person.add_user("me")
    shown = asyncio.create_task(person.send())
    assert (await asked).text == "me"
    await at_meeting.proxy.until_listening(session)
    await at_meeting.proxy.close_session(session)
    with pytest.raises(openai.APIError, match="ended by the operator"):
        await shown
    await person.close()


async def test_a_name_with_a_role_and_signs_of_its_own(at_meeting: Link, session: str) -> None:
    """Spaces, slashes, letters that are not ASCII, and the role as a suffix: all of it in the path."""
    name = f"{session} zimmer/ü:0"
    person, shown = await join(at_meeting, name)
    app = AzureOpenAIVoice(at_meeting, f"{name}@asker", streamed=True)
    app.add_user("who?")
    asked = asyncio.create_task(app.send())
    assert (await shown).text == "who?"
    shown = person.start("me")
    assert (await asked).text == "me"
    await app.close()
    await finish(at_meeting.proxy, name, shown)


async def test_what_is_refused_is_refused_in_the_words_of_azure(at_meeting: Link, session: str) -> None:
    async with azure_client(at_meeting) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model=session, messages=[])
        assert (bad.value.param, bad.value.code) == ("messages", "empty_array")
        with pytest.raises(openai.BadRequestError) as tokens:
            await client.completions.create(model=session, prompt=[1, 2])
        assert tokens.value.param == "prompt"
        with pytest.raises(openai.NotFoundError) as missing:
            await client.embeddings.create(model=session, input="x")
        assert missing.value.code == "404"
        assert (await client.models.list()).object == "list"


@each_way
async def test_a_call_that_was_held_too_long_is_not_repeated(at_meeting: Link, session: str, *, streamed: bool) -> None:
    """In sessions called ``short`` a call is held for a moment: see ``rules``."""
    async with azure_client(at_meeting, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=f"short-{session}", messages=HELLO, stream=streamed)
        assert (caught.value.status_code, caught.value.code) == (504, "504")
        assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


@each_way
async def test_a_call_passes_as_it_was_sent_and_is_taken_over(
    at_meeting: Link, through_proxy: Link, service: Standin, session: str, *, streamed: bool
) -> None:
    app = AzureOpenAIVoice(through_proxy, session, streamed=streamed, api_key="k-azure")
    app.add_user("one")
    assert (await app.send()).text == f"real {session}"
    (received,) = service.requests
    path = f"/openai/deployments/{session}/chat/completions?api-version={VERSION}"
    assert (received.host, received.method, received.target) == (HOST, "POST", path)
    assert (received.header("api-key"), received.header("host")) == ("k-azure", HOST)
    assert (
        received.header(
            "user-agent",
        )
        == "AsyncAzureOpenAI/Python " + openai.__version__
    )
    assert received.json()["messages"] == [{"role": "user", "content": [{"type": "text", "text": "one"}]}]

    person, shown = await join(at_meeting, session)
    app.add_user("two")
    asked = asyncio.create_task(app.send())
    assert (await shown).text.endswith("two")
    shown = person.start("I am no machine.\n\tReally.")
    heard = await asked
    assert (heard.text, heard.finish, heard.model) == ("I am no machine.\n\tReally.", "stop", session)
    assert len(service.requests) == 1
    await finish(at_meeting.proxy, session, shown)
    app.add_user("three")
    assert (await app.send()).text == f"real {session}"
    await app.close()


def real_completion(request: Received, writer: Writer) -> None:
    """A legacy completion that says by which path it was asked for."""
    choice = {"text": request.target, "index": 0, "logprobs": None, "finish_reason": "stop"}
    told = {"id": "cmpl-real", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    whole(writer, told)


async def test_a_legacy_completion_passes_and_is_taken_over(
    at_meeting: Link, through_proxy: Link, service: Standin, session: str
) -> None:
    service.handler = real_completion
    deployment = f"{session}/ü 1"
    path = f"/openai/deployments/{quote(deployment, safe='')}/completions?api-version={VERSION}"
    async with azure_client(through_proxy) as client:
        assert await complete(client, deployment, "one", streamed=False) == path
        person, shown = await join(at_meeting, deployment)
        for streamed in (False, True):
            asked = asyncio.create_task(complete(client, deployment, "two", streamed=streamed))
            assert (await shown).text == "two"
            shown = person.start("three")
            assert await asked == "three"
        assert len(service.requests) == 1
        await finish(at_meeting.proxy, deployment, shown)
        assert await complete(client, deployment, "four", streamed=False) == path


# Odd on purpose: nothing that parses and writes JSON again would give these bytes back.
ODD_BODY = (
    b'{ "messages":[{"content":"caf\\u00e9 caf\xc3\xa9","role":"user"}],\n\t"big":12345678901234567890, "e":1.0e-0005,'
    b'"dup":1,"dup":2,"stream":false , "model" :"gpt-\\u0034o" }\n '
)


@pytest.mark.parametrize(
    "target",
    [
        "/openai/deployments/my%20room%2f%C3%BC/chat/completions?api-version=2024-10-21&x=%2F&&y",
        "/openai/deployments/d/extensions/chat/completions?api-version=2023-06-01-preview",
        "/openai/deployments/d/embeddings?api-version=2024-10-21",
        "/openai/v1/chat/completions?api-version=preview",
    ],
)
def test_a_request_is_byte_identical(through_proxy: Link, service: Standin, target: str) -> None:
    assert through_proxy.authority is not None
    sent = request("POST", target, "Api-KEY: k", "x-ms-ODD: 1", body=ODD_BODY, host=HOST)
    tls = trusting(through_proxy.authority)
    with RawClient(through_proxy.proxy.forward_address, through=(HOST, 443), tls=tls) as client:
        assert client.ask(sent).status == 200
    (received,) = service.requests
    assert received.head + received.body == sent


def test_a_reply_is_byte_identical(through_proxy: Link, service: Standin, session: str) -> None:
    """With what its filter says, and a code of its own; nothing of it is ours."""
    error = json.dumps({"error": {"code": "DeploymentNotFound", "message": "no"}}).encode()
    head = b"HTTP/1.1 404 Not Found\r\nx-ms-REGION: Sweden\r\napim-request-id: 1\r\nContent-Length: %d\r\n\r\n" % len(
        error
    )
    service.handler = lambda _, writer: writer.raw(head + error)
    assert through_proxy.authority is not None
    sent = request("POST", f"/openai/deployments/{session}/chat/completions?api-version=1", body=ODD_BODY, host=HOST)
    tls = trusting(through_proxy.authority)
    with RawClient(through_proxy.proxy.forward_address, through=(HOST, 443), tls=tls) as client:
        reply = client.ask(sent)
    assert (reply.status, reply.body) == (404, error)
