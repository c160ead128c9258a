"""What is around the chat of the Messages API, by the ``anthropic`` SDK: its beta namespace, counts of tokens, pages of
models, both kinds of keys, and Vertex AI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from motive_core.dialects import ModelInfo, SideCall
from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.errors import MotiveError
from motive_core.ir import ChatRequest, Message, TextPart
from motive_core.stream import replay
from tests.e2e.clients import Link, http_client
from tests.e2e.dialect_service import Service, serving
from tests.e2e.test_anthropic_dialect_sdk import REPLIES, assert_says, streamed

DIALECT = AnthropicMessages()
WIRE = Path(__file__).parents[1] / "wire" / "anthropic-messages"
REQUEST = ChatRequest("anthropic-messages", "room", (Message("user", (TextPart("hi"),)),), stream=True)
HELLO: Any = [{"role": "user", "content": "hi"}]
EVENTS: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent)

REPLY_NAMES = sorted(path.name.split(".")[0] for path in WIRE.glob("*.reply.json"))


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


def sdk(service: Service, **options: Any) -> anthropic.Anthropic:
    options = {"api_key": "sk-test", **options}
    return anthropic.Anthropic(
        base_url=service.url,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=True,
        **options,
    )


@pytest.fixture
def client(service: Service) -> Iterator[anthropic.Anthropic]:
    with sdk(service) as found:
        yield found


# The beta namespace.


@pytest.mark.parametrize("name", REPLIES)
def test_the_beta_namespace(service: Service, client: anthropic.Anthropic, name: str) -> None:
    service.serve_reply(REPLIES[name])
    told: Any = client.beta.messages.create(model="room", max_tokens=9, messages=HELLO, betas=["a-beta-of-tomorrow"])
    head = service.asked[-1][0]
    assert (head.path, head.headers["anthropic-beta"]) == ("/v1/messages", "a-beta-of-tomorrow")
    assert DIALECT.matches(head)
    plain = anthropic.types.Message.model_validate(told.to_dict())
    plain._request_id = told._request_id
    assert_says(plain, name)

    service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
    with client.beta.messages.stream(model="room", max_tokens=9, messages=HELLO) as stream:
        assert_says(anthropic.types.Message.model_validate(stream.get_final_message().to_dict()), name)


@pytest.mark.parametrize("name", REPLY_NAMES)
def test_replies_of_the_live_api_survive_in_the_beta_namespace(
    service: Service, client: anthropic.Anthropic, name: str
) -> None:
    """The SDK is told the same by the live service and by us, whole and streamed, and its own models take every
    byte."""
    whole, data = (WIRE / f"{name}.reply.json").read_bytes(), (WIRE / f"{name}.stream.sse").read_bytes()
    decoder = DIALECT.decoder()
    events = [*decoder.feed(data), *decoder.close()]
    ours = DIALECT.render_reply(REQUEST, DIALECT.parse_reply(whole))
    BetaMessage.model_validate_json(ours, strict=True)
    replies: list[dict[str, Any]] = []
    for body in (whole, ours):
        service.serve(200, {"content-type": "application/json"}, body)
        told = client.beta.messages.create(model="room", max_tokens=9, messages=HELLO)
        replies.append(json.loads(told.to_json()))
    assert replies[0]["content"] == replies[1]["content"]
    assert known(replies[0]) == known(replies[1])

    said: list[dict[str, Any]] = []
    for stream in (data, DIALECT.encoder(REQUEST).encode_all(events)):
        service.serve_stream(stream)
        with client.beta.messages.stream(model="room", max_tokens=9, messages=HELLO) as found:
            said.append(json.loads(found.get_final_message().to_json()))
    assert said[0] == said[1]
    assert without_nulls(said[0]["content"]) == without_nulls(replies[0]["content"])
    again = DIALECT.encoder(REQUEST).encode_all(replay(DIALECT.parse_reply(whole)))
    for block in again.split(b"\n\n")[:-1]:
        EVENTS.validate_json(block.partition(b"\ndata: ")[2], strict=True)


def known(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without its content, and without members that say nothing."""
    found: dict[str, Any] = without_nulls({key: value for key, value in reply.items() if key != "content"})
    return found


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", REPLY_NAMES)
def test_what_the_sdk_sends_back_is_what_was_said(service: Service, client: anthropic.Anthropic, name: str) -> None:
    """Blocks of the vendor's own, thinking with its signature and citations survive an app's history."""
    reply = DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())
    service.serve_stream(DIALECT.encoder(REQUEST).encode_all(replay(reply)))
    with client.beta.messages.stream(model="room", max_tokens=9, messages=HELLO) as stream:
        content: Any = stream.get_final_message().content
    if not content:
        return
    service.serve_reply(REPLIES["text"])
    client.beta.messages.create(
        model="room", max_tokens=9, messages=[*HELLO, {"role": "assistant", "content": content}, *HELLO]
    )

    body = service.asked[-1][1]
    request = DIALECT.parse_request(body)
    sent = json.loads(DIALECT.render_request(request))["messages"][1]["content"]
    expected = json.loads((WIRE / f"{name}.reply.json").read_bytes())["content"]
    if isinstance(sent, str):
        sent = [{"type": "text", "text": sent}]
    assert without_nulls(sent) == without_nulls([block for block in expected if block != {"type": "text", "text": ""}])


NOT_SENT = ("exact_numbers", "vertex", "vertex_streamed")
"""Python's own JSON cannot write the numbers of the first; the others go to another path."""
SENT = sorted({path.name.split(".")[0] for path in WIRE.glob("*.request.json")} - set(NOT_SENT))


@pytest.mark.parametrize("name", SENT)
def test_requests_of_the_live_api_go_through_the_sdk(service: Service, client: anthropic.Anthropic, name: str) -> None:
    """Unknown fields, server tools and beta headers never make us fail."""
    told = json.loads((WIRE / f"{name}.request.json").read_bytes())
    told.setdefault("max_tokens", 10)
    service.serve_reply(REPLIES["text"])
    client.post("/v1/messages?beta=true", body=told, cast_to=object, options={"headers": {"anthropic-beta": "x,y"}})

    head, body = service.asked[-1]
    assert DIALECT.matches(head)
    request = DIALECT.parse_request(body, head)
    rendered = json.loads(DIALECT.render_request(request))
    assert DIALECT.parse_request(DIALECT.render_request(request), head) == request
    assert beside_words(rendered) == beside_words(told)


def beside_words(body: dict[str, Any]) -> dict[str, Any]:
    """A request without its conversation, whose texts have equivalent forms, and without members that say nothing."""
    found: dict[str, Any] = without_nulls(
        {key: value for key, value in body.items() if key not in ("messages", "system") and value is not False}
    )
    return found


# Keys.


@pytest.mark.parametrize("options", [{"api_key": "sk-ant-1"}, {"api_key": None, "auth_token": "oauth-1"}])
def test_both_kinds_of_keys(service: Service, options: dict[str, Any]) -> None:
    with sdk(service, **options) as client:
        service.serve_reply(REPLIES["text"])
        client.messages.create(model="room", max_tokens=9, messages=HELLO)
    head = service.asked[-1][0]
    assert head.headers.get("authorization", "").startswith("Bearer ") or head.headers.get("x-api-key")
    assert DIALECT.speaks(head)
    assert DIALECT.matches(head)


# Beside the chat.

MODELS = [ModelInfo(name, 1_795_230_236) for name in ("a b/ü@asker", "room-1", "room-2", "room-3", "room-4")]
NAMES = [model.model for model in MODELS]


class Side:
    """The SDK against the dialect's own answers to the calls that it makes."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def ask(self, method: Callable[[], Any]) -> Any:
        self.service.serve(500, {"content-type": "application/json"}, b'{"type":"error","error":{}}')
        with pytest.raises(anthropic.InternalServerError):
            method()
        head, body = self.service.asked[-1]
        assert DIALECT.serves(head)
        assert not DIALECT.matches(head)
        try:
            reply = DIALECT.serve(SideCall(head, body, MODELS, lambda _: None, lambda _: False))
        except MotiveError as error:
            self.service.serve_error(error)
        else:
            self.service.serve(reply.status, {"content-type": reply.content_type}, reply.body)
        return method()


@pytest.fixture
def side(service: Service) -> Side:
    return Side(service)


@pytest.mark.parametrize("beta", [False, True])
class TestModels:
    def test_all(self, side: Side, client: anthropic.Anthropic, beta: bool) -> None:
        models: Any = client.beta.models if beta else client.models
        page = side.ask(models.list)
        assert [model.id for model in page] == NAMES
        assert (page.has_more, page.first_id, page.last_id) == (False, NAMES[0], NAMES[-1])

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
    def test_page_by_page(self, side: Side, client: anthropic.Anthropic, beta: bool, limit: int) -> None:
        models: Any = client.beta.models if beta else client.models
        found: list[str] = []
        options: dict[str, Any] = {}
        while True:
            page = side.ask(partial(models.list, limit=limit, **options))
            found += [model.id for model in page.data]
            assert page.has_more == page.has_next_page()
            if not page.has_more:
                break
            options = page.next_page_info().params
        assert found == NAMES

    def test_backwards(self, side: Side, client: anthropic.Anthropic, beta: bool) -> None:
        models: Any = client.beta.models if beta else client.models
        found: list[str] = []
        options = {"before_id": NAMES[-1]}
        while True:
            page = side.ask(partial(models.list, limit=3, **options))
            found = [model.id for model in page.data] + found
            if not page.has_more:
                break
            options = page.next_page_info().params
        assert found == NAMES[:-1]

    def test_one(self, side: Side, client: anthropic.Anthropic, beta: bool) -> None:
        models: Any = client.beta.models if beta else client.models
        for name in NAMES:
            model = side.ask(partial(models.retrieve, name))
            assert (model.id, model.type, model.lifecycle) == (name, "model", "active")
        with pytest.raises(anthropic.NotFoundError) as caught:
            side.ask(lambda: models.retrieve("nobody"))
        assert caught.value.api_message == "model: nobody"

    def test_pages_that_there_are_not(self, side: Side, client: anthropic.Anthropic, beta: bool) -> None:
        models: Any = client.beta.models if beta else client.models
        for options in ({"limit": 0}, {"limit": 1001}, {"after_id": "nobody"}, {"before_id": "x", "after_id": "y"}):
            with pytest.raises(anthropic.BadRequestError):
                side.ask(partial(models.list, **options))


class TestCounts:
    def test_plain(self, side: Side, client: anthropic.Anthropic) -> None:
        messages: Any = [{"role": "user", "content": "1234" * 100}]
        assert side.ask(lambda: client.messages.count_tokens(model="room", messages=messages)).input_tokens == 100

    def test_system_and_tools_count(self, side: Side, client: anthropic.Anthropic) -> None:
        tools: Any = [{"name": "f", "description": "d" * 400, "input_schema": {"type": "object", "properties": {}}}]
        counted = side.ask(
            lambda: client.messages.count_tokens(model="room", messages=HELLO, system="s" * 400, tools=tools)
        )
        assert 200 < counted.input_tokens < 230
        web: Any = [{"type": "web_search_20250305", "name": "web_search"}]
        assert side.ask(lambda: client.messages.count_tokens(model="room", messages=HELLO, tools=web)).input_tokens > 1

    def test_beta(self, side: Side, client: anthropic.Anthropic) -> None:
        edits: Any = {"edits": [{"type": "clear_tool_uses_20250919"}]}
        told = side.ask(
            lambda: client.beta.messages.count_tokens(model="room", messages=HELLO, context_management=edits)
        )
        assert told.input_tokens == told.context_management.original_input_tokens == 1
        plain = side.ask(lambda: client.beta.messages.count_tokens(model="room", messages=HELLO))
        assert (plain.input_tokens, plain.context_management) == (1, None)

    def test_what_is_no_request(self, side: Side, client: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.BadRequestError) as caught:
            side.ask(lambda: client.messages.count_tokens(model="room", messages=[]))
        assert caught.value.api_message == "messages: at least one message is required"


# Vertex AI.


@pytest.fixture
def vertex(service: Service) -> Iterator[anthropic.AnthropicVertex]:
    with anthropic.AnthropicVertex(
        base_url=f"{service.url}/v1",
        region="us-east5",
        project_id="my-project",
        access_token="ya29.test",
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as found:
        yield found


@pytest.mark.parametrize("model", ["claude-sonnet-4-6@20260201", "zimmer ü/1@asker", "a;b:c?d#e%2F"])
class TestVertex:
    def test_whole(self, service: Service, vertex: anthropic.AnthropicVertex, model: str) -> None:
        service.serve_reply(REPLIES["tool"])
        for messages in (vertex.messages, vertex.beta.messages):
            told: Any = messages
            reply = told.create(model=model, max_tokens=9, messages=HELLO, system="Be kind.")
            assert_says(anthropic.types.Message.model_validate(reply.to_dict()), "tool")
            request = self.parsed(service)
            assert (request.model, request.stream) == (model, False)
            assert DIALECT.target(request).endswith(":rawPredict")

    def test_streamed(self, service: Service, vertex: anthropic.AnthropicVertex, model: str) -> None:
        service.serve_stream(*streamed(REPLIES["thinking"], heartbeats=True))
        with vertex.messages.stream(model=model, max_tokens=9, messages=HELLO) as stream:
            assert_says(stream.get_final_message(), "thinking")
        request = self.parsed(service)
        assert (request.model, request.stream) == (model, True)
        assert DIALECT.target(request).endswith(":streamRawPredict")

    def parsed(self, service: Service) -> ChatRequest:
        """The request that was made, which renders to what it was."""
        head, body = service.asked[-1]
        assert DIALECT.matches(head)
        assert not DIALECT.serves(head)
        request = DIALECT.parse_request(body, head)
        assert request.extra["anthropic_version"] == json.loads(body)["anthropic_version"]
        assert DIALECT.target(request).startswith(
            "/v1/projects/my-project/locations/us-east5/publishers/anthropic/models/"
        )
        assert json.loads(DIALECT.render_request(request)) == json.loads(body)
        return request


def test_vertex_errors_raise(service: Service, vertex: anthropic.AnthropicVertex) -> None:
    service.serve_error(MotiveError("x"))
    with pytest.raises(anthropic.InternalServerError):
        vertex.messages.create(model="m", max_tokens=9, messages=HELLO)


def test_vertex_counts_tokens(side: Side, vertex: anthropic.AnthropicVertex) -> None:
    messages: Any = [{"role": "user", "content": "1234" * 100}]
    for found in (vertex.messages, vertex.beta.messages):
        counter: Any = found
        assert side.ask(partial(counter.count_tokens, model="m", messages=messages)).input_tokens == 100


# At the meeting point.


@pytest.mark.parametrize("headers", [{"anthropic-version": "2023-06-01"}, {"user-agent": "claude-cli/2.1"}, {}])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_the_probe_of_claude_code_does_no_harm(at_meeting: Link, method: str, headers: dict[str, str]) -> None:
    """It asks for ``/`` first where it is given a base URL, and wants no more than that somebody is there."""
    async with http_client(at_meeting) as client:
        reply = await client.request(method, "/", headers=headers)
    assert reply.status_code in (200, 404)
    if method == "HEAD":
        assert reply.content == b""


async def test_tokens_are_counted_at_the_meeting_point(at_meeting: Link) -> None:
    async with http_client(at_meeting) as client:
        for path in ("/v1/messages/count_tokens?beta=true", "/a/gateway/v1/messages/count_tokens"):
            reply = await client.post(path, json={"model": "m", "messages": [{"role": "user", "content": "12345"}]})
            assert (reply.status_code, reply.json()) == (200, {"input_tokens": 2})
            assert reply.headers["request-id"]
        refused = await client.post("/v1/messages/count_tokens", json={"model": "m"})
        assert refused.status_code == 400
        assert refused.json()["error"] == {"type": "invalid_request_error", "message": "messages: Field required"}
