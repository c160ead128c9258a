"""Responses that are kept: continued by their id, looked up and deleted, through a real proxy and OpenAI's SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import websockets.exceptions
from openai.types.responses import Response

from tests.e2e.clients import Link, Talker, openai_client
from tests.e2e.standin import Received, Standin, Writer, stream, whole

NEW_MESSAGE = "\n\n——— new message ———\n\n"
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


class Person:
    """Who answers in a session. ``shown`` is what they are shown next."""

    def __init__(self, link: Link, session: str) -> None:
        self._talker = Talker(link, "anthropic", session, api_key="sk-human")
        self.shown = self._talker.start("/join")

    def say(self, words: str) -> None:
        """Say something, and listen again."""
        self.shown = self._talker.start(words)

    async def answer(
        self, client: openai.AsyncOpenAI, words: str, *, streamed: bool = False, **call: Any
    ) -> tuple[str, Response]:
        """One turn: what they were shown of a call, and its response, in which they say ``words``."""
        asked = asyncio.create_task(ask(client, streamed=streamed, **call))
        seen = (await self.shown).text
        self.say(words)
        return seen, await asked


@asynccontextmanager
async def person_in(link: Link, session: str) -> AsyncIterator[Person]:
    """A person who sits down in a session; it is ended after the test."""
    person = Person(link, session)
    await link.proxy.until_listening(session)
    try:
        yield person
    finally:
        await link.proxy.close_session(session)
        await asyncio.gather(person.shown, return_exceptions=True)


async def ask(client: openai.AsyncOpenAI, *, streamed: bool = False, **call: Any) -> Response:
    """A response, by the SDK's own accumulation if it is streamed."""
    if not streamed:
        response: Response = await client.responses.create(**call)
        return response
    async with client.responses.stream(**call) as events:
        return await events.get_final_response()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_conversation_goes_on_by_its_id(at_meeting: Link, session: str, streamed: bool) -> None:
    async with person_in(at_meeting, session) as person, openai_client(at_meeting) as client:
        previous: str | None = None
        for turn in range(3):
            call: dict[str, Any] = {"previous_response_id": previous} if previous else {"instructions": "Be kind."}
            seen, response = await person.answer(
                client,
                f"answer {turn}",
                streamed=streamed,
                model=session,
                input=f"question {turn}",
                **call,
            )
            assert seen == f"question {turn}"
            assert response.output_text == f"answer {turn}"
            assert response.previous_response_id == previous
            assert response.instructions == ("Be kind." if turn == 0 else None)
            assert response.id != previous
            previous = response.id


async def test_who_comes_later_is_shown_the_whole_conversation(at_meeting: Link, session: str) -> None:
    """If they are to be told what was said before; the instructions are those of the last request."""
    model = f"told-{session}"
    async with openai_client(at_meeting) as client:
        async with person_in(at_meeting, model) as person:
            call: dict[str, Any] = {"model": model, "input": "one", "instructions": "Be kind."}
            _, first = await person.answer(client, "first", **call)
        async with person_in(at_meeting, model) as person:
            call = {"model": model, "input": "two", "instructions": "Be rude.", "previous_response_id": first.id}
            seen, second = await person.answer(client, "second", **call)
            assert seen == f"[system]\nBe rude.\n\n[user]\none\n\n[assistant]\nfirst{NEW_MESSAGE}two"
            assert second.output_text == "second"


async def test_the_result_of_a_tool_needs_but_its_id(at_meeting: Link, session: str) -> None:
    async with person_in(at_meeting, session) as person, openai_client(at_meeting) as client:
        call: dict[str, Any] = {"model": session, "tools": [WEATHER]}
        _, first = await person.answer(client, '/call weather {"a":  1}', input="Rain?", **call)
        (item,) = first.output
        assert item.type == "function_call"
        assert (item.name, item.arguments) == ("weather", '{"a":  1}')
        result = {"type": "function_call_output", "call_id": item.call_id, "output": "3 °C"}
        call |= {"input": [result], "previous_response_id": first.id}
        seen, second = await person.answer(client, "Cold.", **call)
        assert seen == f"[tool result weather {item.call_id}]\n3 °C"
        assert second.output_text == "Cold."


async def test_a_conversation_forks(at_meeting: Link, session: str) -> None:
    async with person_in(at_meeting, session) as person, openai_client(at_meeting) as client:
        _, first = await person.answer(client, "first", model=session, input="one")
        for words in ("this", "that"):
            call: dict[str, Any] = {"model": session, "input": words, "previous_response_id": first.id}
            seen, later = await person.answer(client, f"{words} too", **call)
            assert seen == words
            page = await client.responses.input_items.list(later.id, order="asc")
            assert [texts(item) for item in page.data] == ["one", "first", words]


def texts(item: Any) -> str:
    return "".join([part.text for part in item.content])


async def test_a_response_is_looked_up_and_deleted(at_meeting: Link, session: str) -> None:
    async with person_in(at_meeting, session) as person, openai_client(at_meeting) as client:
        call: dict[str, Any] = {"model": session, "input": "one", "metadata": {"a": "b"}}
        _, response = await person.answer(client, "first", **call)

        found = await client.responses.retrieve(response.id)
        assert found.to_dict() == response.to_dict()
        events = [event async for event in await client.responses.retrieve(response.id, stream=True)]
        assert events[-1].type == "response.completed"
        assert events[-1].response.to_dict() == response.to_dict()
        later = [event async for event in await client.responses.retrieve(response.id, stream=True, starting_after=3)]
        assert later == events[4:]

        counted = await client.responses.input_tokens.count(model=session, previous_response_id=response.id, input="12")
        assert counted.input_tokens == -(-len("onefirst12") // 4)
        with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
            await client.responses.cancel(response.id)

        await client.responses.delete(response.id)
        for again in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError, match="not found"):
                await again(response.id)
        with pytest.raises(openai.BadRequestError, match="not found"):
            await client.responses.create(model=session, input="two", previous_response_id=response.id)


async def test_what_is_not_to_be_stored_is_not_kept(at_meeting: Link, session: str) -> None:
    async with person_in(at_meeting, session) as person, openai_client(at_meeting) as client:
        _, response = await person.answer(client, "first", model=session, input="one", store=False)
        assert response.to_dict()["store"] is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id)


async def test_nobody_else_can_look_it_up(at_meeting: Link, session: str) -> None:
    async with (
        person_in(at_meeting, session) as person,
        openai_client(at_meeting) as client,
        openai_client(at_meeting, api_key="sk-other") as other,
    ):
        _, response = await person.answer(client, "first", model=session, input="one")
        for call in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                await call(response.id)
        with pytest.raises(openai.BadRequestError):
            await other.responses.create(model=session, input="two", previous_response_id=response.id)
        assert (await client.responses.retrieve(response.id)).id == response.id


async def test_a_conversation_that_is_not_known_is_refused(at_meeting: Link, session: str) -> None:
    async with openai_client(at_meeting) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model=session, input="two", previous_response_id="resp_nobody's")
    assert refused.value.body == {
        "message": "Previous response with id 'resp_nobody's' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
    assert refused.value.response.headers["x-should-retry"] == "false"


# Behind the forward proxy.


def real_response(text: str, model: str) -> dict[str, Any]:
    """What the real service says."""
    content = [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]
    return {
        "id": "resp_real",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [
            {"id": "msg_real", "type": "message", "status": "completed", "role": "assistant", "content": content}
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def real_service(request: Received, writer: Writer) -> None:
    asked = json.loads(request.body) if request.method == "POST" else {"model": request.method}
    response = real_response(f"real {asked['model']}", asked["model"])
    if not asked.get("stream"):
        whole(writer, response)
        return
    events = [
        {"type": "response.created", "response": {**response, "output": [], "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": response["output"][0]},
        {"type": "response.completed", "response": response},
    ]
    stream(
        writer,
        [
            f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()
            for number, event in enumerate(events)
        ],
    )


def message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_the_real_service_is_told_what_it_missed(
    at_meeting: Link, through_proxy: Link, service: Standin, session: str, streamed: bool
) -> None:
    """It does not know our ids. What came before the takeover, it has kept itself."""
    service.handler = real_service
    call: dict[str, Any] = {"model": session, "streamed": streamed, "temperature": 0.25}
    async with openai_client(through_proxy) as client:
        first = await ask(client, input="one", **call)
        assert (first.id, first.output_text) == ("resp_real", f"real {session}")
        before = len(service.requests)

        person = Person(at_meeting, session)
        await at_meeting.proxy.until_listening(session)
        call["tools"] = [WEATHER]
        seen, second = await person.answer(
            client, "/call weather {}", input="two", previous_response_id=first.id, **call
        )
        assert seen.endswith(f"{NEW_MESSAGE}two")
        (item,) = second.output
        assert item.type == "function_call"
        result = {"type": "function_call_output", "call_id": item.call_id, "output": "3 °C"}
        seen, third = await person.answer(
            client, "/think It is cold.\nCold.", input=[result], previous_response_id=second.id, **call
        )
        assert seen == f"[tool result weather {item.call_id}]\n3 °C"
        assert third.output_text == "Cold."
        assert third.previous_response_id == second.id
        assert len(service.requests) == before

        # Ours can be looked up; the real service's are its own business.
        assert (await client.responses.retrieve(third.id)).output_text == "Cold."
        assert len(service.requests) == before
        assert (await client.responses.retrieve("resp_real")).output_text == "real GET"
        assert service.requests[-1].target == "/v1/responses/resp_real"

        # The person goes while a call waits for them: it is passed on, and so are all that follow.
        asked = asyncio.create_task(ask(client, input="four", previous_response_id=third.id, **call))
        assert (await person.shown).text == "four"
        person.say("/leave")
        assert "left" in (await person.shown).text
        assert (await asked).output_text == f"real {session}"
        history = [
            message("user", "two"),
            {"type": "function_call", "call_id": item.call_id, "name": "weather", "arguments": "{}"},
            result,
            message("assistant", "Cold."),
        ]
        sent = service.requests[-1].json()
        assert sent["previous_response_id"] == "resp_real"
        assert sent["input"] == [*history, message("user", "four")]
        assert (sent["temperature"], sent["tools"], sent.get("stream", False)) == (0.25, [WEATHER], streamed)
        assert service.requests[-1].header("content-length") == str(len(service.requests[-1].body))

        assert (await ask(client, input="five", previous_response_id=third.id, **call)).id == "resp_real"
        assert service.requests[-1].json()["input"] == [*history, message("user", "five")]
        await ask(client, input="six", previous_response_id="resp_real", **call)
        assert service.requests[-1].json()["input"] == "six"
        await at_meeting.proxy.close_session(session)


async def test_the_real_service_is_told_what_is_referred_to(
    at_meeting: Link, through_proxy: Link, service: Standin, session: str
) -> None:
    """The AI SDK says what a model said by references to its items."""
    service.handler = real_service
    async with openai_client(through_proxy) as client:
        async with person_in(at_meeting, session) as person:
            _, response = await person.answer(client, "first", model=session, input="one")
        (item,) = response.output
        assert item.id is not None
        references: list[Any] = [{"type": "item_reference", "id": one} for one in (item.id, "msg_real")]
        history: list[Any] = [message("user", "one"), *references, message("user", "two")]
        await client.responses.create(model=session, input=history)
        assert service.requests[-1].json()["input"] == [
            message("user", "one"),
            message("assistant", "first"),
            references[1],
            message("user", "two"),
        ]


# Over WebSocket.


@pytest.mark.parametrize("way", ["meeting", "forward"])
async def test_a_websocket_is_refused_and_http_goes_on(
    at_meeting: Link, through_proxy: Link, service: Standin, session: str, way: str
) -> None:
    link, options = at_meeting, {}
    if way == "forward":
        service.handler = real_service
        link = through_proxy
        settings = link.http_options()
        options = {"ssl": settings["verify"], "proxy": settings["proxy"]}
    async with person_in(at_meeting, session) as person, openai_client(link) as client:
        for _ in range(2):
            with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
                async with client.responses.connect(websocket_connection_options=options):  # type: ignore[arg-type]
                    pytest.fail("it was accepted")
            reply = refused.value.response
            assert reply.status_code == 426
            assert json.loads(reply.body or b"")["error"]["code"] == "websocket_not_supported"
            assert reply.headers["content-type"] == "application/json"
        assert not service.requests

        _, response = await person.answer(client, "first", model=session, input="one")
        assert response.output_text == "first"
