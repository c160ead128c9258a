"""What the ``openai`` SDK sends to the Responses API, and its calls about responses that were kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import ResponseItem

from motive_core.dialects import KeptReply, RequestHead, SideCall
from motive_core.errors import MotiveError
from motive_core.ir import (
    BlobPart,
    Message,
    OpaquePart,
    Part,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from tests.e2e.dialect_service import Service, serving
from tests.e2e.openai_responses_replies import (
    DIALECT,
    HELLO,
    REPLIES,
    REQUEST,
    SCHEMA,
    TOOL,
    WIRE,
    asked_of,
    assert_says,
    client_of,
    streamed,
)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with client_of(service, strict=True) as sdk:
        yield sdk


@pytest.fixture
def lenient(service: Service) -> Iterator[openai.OpenAI]:
    with client_of(service, strict=False) as sdk:
        yield sdk


# Calls beside the chat.


class Kept:
    """A service that keeps one reply."""

    def __init__(self, service: Service, kept: KeptReply) -> None:
        self.service = service
        self.kept: KeptReply | None = kept
        service.serve_reply(kept.reply)

    def serve(self, client: openai.OpenAI, method: str, path: str, body: bytes = b"") -> None:
        """What the dialect would answer, by the bytes that the SDK sends."""
        where, _, query = path.partition("?")
        head = RequestHead(method, "h", 80, where, query)
        assert DIALECT.serves(head)
        call = SideCall(head, body, (), kept=self.find, forget=self.forget)
        try:
            reply = DIALECT.serve(call)
        except MotiveError as error:
            self.service.serve_error(error)
        else:
            headers = {"content-type": reply.content_type, **DIALECT.reply_headers("req_1"), **reply.headers}
            self.service.serve(reply.status, headers, reply.body)

    def find(self, reply_id: str) -> KeptReply | None:
        return self.kept if self.kept is not None and reply_id == self.kept.reply.reply_id else None

    def forget(self, reply_id: str) -> bool:
        found = self.find(reply_id) is not None
        self.kept = None if found else self.kept
        return found


@pytest.fixture
def kept(service: Service) -> Kept:
    return Kept(service, KeptReply(REQUEST, REPLIES["tool"]))


def test_a_response_is_retrieved(client: openai.OpenAI, kept: Kept) -> None:
    kept.serve(client, "GET", "/v1/responses/resp_1")

    assert_says(client.responses.retrieve("resp_1"), "tool")
    head = kept.service.asked[-1][0]
    assert (head.method, head.path) == ("GET", "/v1/responses/resp_1")
    assert DIALECT.names_reply(head) == "resp_1"


def test_a_response_is_streamed_once_more(client: openai.OpenAI, kept: Kept) -> None:
    kept.serve(client, "GET", "/v1/responses/resp_1?stream=true")
    events = list(client.responses.retrieve("resp_1", stream=True))
    assert "stream=true" in kept.service.asked[-1][0].query
    assert [event.sequence_number for event in events] == list(range(len(events)))

    kept.serve(client, "GET", "/v1/responses/resp_1?stream=true&starting_after=5")
    later = list(client.responses.retrieve("resp_1", stream=True, starting_after=5))
    assert "starting_after=5" in kept.service.asked[-1][0].query
    assert [event.to_dict() for event in later] == [event.to_dict() for event in events[6:]]

    kept.serve(client, "GET", "/v1/responses/resp_1?stream=true")
    with client.responses.stream(response_id="resp_1", starting_after=5) as stream:
        assert [event.sequence_number for event in stream] == list(range(6, len(events)))
        assert_says(stream.get_final_response(), "tool")


def test_a_response_is_deleted(client: openai.OpenAI, kept: Kept) -> None:
    kept.serve(client, "DELETE", "/v1/responses/resp_1")
    client.responses.delete("resp_1")
    assert kept.service.asked[-1][0].method == "DELETE"

    kept.serve(client, "GET", "/v1/responses/resp_1")
    with pytest.raises(openai.NotFoundError, match=r"Response with id 'resp_1' not found\."):
        client.responses.retrieve("resp_1")


def test_a_response_cannot_be_cancelled(client: openai.OpenAI, kept: Kept) -> None:
    kept.serve(client, "POST", "/v1/responses/resp_1/cancel")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel("resp_1")
    assert kept.service.asked[-1][0].path == "/v1/responses/resp_1/cancel"


ITEM: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseItem)


@pytest.mark.parametrize("name", ["minimal", "codex", "full_history", "multimodal", "structured_output"])
def test_the_input_of_a_response_is_listed(
    service: Service, client: openai.OpenAI, lenient: openai.OpenAI, name: str
) -> None:
    request = DIALECT.parse_request((WIRE / f"{name}.request.json").read_bytes())
    kept = Kept(service, KeptReply(request, REPLIES["text"]))
    kept.serve(client, "GET", "/v1/responses/resp_1/input_items?order=asc&limit=100")

    # The SDK's own models do not know references, nor all that a message may hold.
    page = lenient.responses.input_items.list("resp_1", order="asc", limit=100)
    sent = json.loads((WIRE / f"{name}.request.json").read_bytes())["input"]
    assert len(page.data) == (1 if isinstance(sent, str) else len(sent))
    assert all(item.id for item in page.data)
    assert len({item.id for item in page.data}) == len(page.data)
    if name in ("minimal", "structured_output"):
        for item in page.data:
            ITEM.validate_json(item.to_json(), strict=True)
        assert list(client.responses.input_items.list("resp_1"))

    kept.serve(client, "GET", "/v1/responses/resp_1/input_items")
    newest = lenient.responses.input_items.list("resp_1")
    assert [item.id for item in newest.data] == [item.id for item in reversed(page.data)][:20]


def test_tokens_are_counted(client: openai.OpenAI, kept: Kept) -> None:
    kept.serve(client, "POST", "/v1/responses/input_tokens", b'{"input": "12345678", "instructions": "1234"}')
    assert client.responses.input_tokens.count(input="12345678", instructions="1234").input_tokens == 3
    assert json.loads(kept.service.asked[-1][1]) == {"input": "12345678", "instructions": "1234"}

    kept.serve(client, "POST", "/v1/responses/input_tokens", b'{"previous_response_id": "resp_1"}')
    tool = REPLIES["tool"].choices[0].parts[0]
    assert isinstance(tool, TextPart)
    words = f"hi{tool.text}{TOOL.name}{TOOL.arguments}"
    counted = client.responses.input_tokens.count(previous_response_id="resp_1")
    assert counted.input_tokens == -(-len(words) // 4)


def test_compaction_is_refused(client: openai.OpenAI, kept: Kept) -> None:
    kept.serve(client, "POST", "/v1/responses/compact", b'{"model": "room", "input": "x"}')
    with pytest.raises(openai.BadRequestError, match="not compacted here"):
        client.responses.compact(model="gpt-5.5", input="x")
    assert kept.service.asked[-1][0].path == "/v1/responses/compact"


# What the SDK sends.

WEATHER: Any = {"type": "function", "name": "weather", "description": "Weather", "parameters": SCHEMA, "strict": True}
SENT: dict[str, dict[str, Any]] = {
    "plain": {"input": HELLO},
    "knobs": {
        "input": [{"role": "user", "content": HELLO}],
        "instructions": "Be kind.",
        "temperature": 0,
        "top_p": 0.5,
        "max_output_tokens": 99,
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "store": False,
        "previous_response_id": "resp_0",
    },
    "parts": {
        "input": [
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
                    {"type": "input_file", "file_id": "file-1"},
                ],
            },
        ]
    },
    "tools": {
        "input": [
            {"role": "user", "content": HELLO},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"a": 1}'},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "SELECT 1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "3 °C"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "1"}]},
        ],
        "tools": [WEATHER, {"type": "custom", "name": "sql"}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
    },
    "schema": {
        "input": HELLO,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
    },
}
PARSED: dict[str, tuple[Part, ...]] = {
    "parts": (
        TextPart("What is it?"),
        BlobPart("image/png", data="AAAA", extra={"detail": "low"}),
        BlobPart("application/pdf", data="AAAA", name="a.pdf"),
        BlobPart("", url="file-id:file-1"),
    ),
    "tools": (ToolResultPart("call_2", (TextPart("1"),), extra={"type": "custom_tool_call_output"}),),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SENT)
def test_requests_of_the_sdk_are_understood(service: Service, client: openai.OpenAI, name: str, stream: bool) -> None:
    if stream:
        service.serve_stream(*streamed(REPLIES["text"]))
        list(client.responses.create(model="room", stream=True, **SENT[name]))
    else:
        service.serve_reply(REPLIES["text"])
        client.responses.create(model="room", **SENT[name])

    request = asked_of(service)
    assert (request.model, request.stream, request.include_usage) == ("room", stream, stream)
    assert request.messages[-1].parts == PARSED.get(name, (TextPart("hi"),))
    knobs = name == "knobs"
    assert request.sampling == (Sampling(max_tokens=99, temperature=0, top_p=0.5) if knobs else Sampling())
    assert (request.store, request.previous) == ((False, "resp_0") if knobs else (True, None))
    if knobs:
        assert request.messages[0].text == "Be kind."
        assert request.extra == {"reasoning": {"effort": "low"}, "metadata": {"a": "b"}}


def test_the_tools_of_the_sdk_are_understood(service: Service, client: openai.OpenAI) -> None:
    service.serve_reply(REPLIES["text"])
    client.responses.create(model="room", **SENT["tools"])

    request = asked_of(service)
    assert request.tools == (
        Tool("weather", "Weather", SCHEMA, extra={"strict": True}),
        Tool("sql", raw={"type": "custom", "name": "sql"}),
        Tool("web_search", raw={"type": "web_search"}),
    )
    assert request.tool_choice == ToolChoice("tool", "weather")
    assert request.parallel_tool_calls is False
    assert request.messages == (
        Message("user", (TextPart(HELLO),)),
        Message(
            "assistant",
            (
                ToolCallPart("call_1", "weather", '{"a": 1}'),
                ToolCallPart("call_2", "sql", "SELECT 1", custom=True),
            ),
        ),
        Message("tool", (ToolResultPart("call_1", (TextPart("3 °C"),)),)),
        Message("tool", PARSED["tools"]),
    )


def test_the_format_that_the_sdk_asks_for_is_understood(service: Service, client: openai.OpenAI) -> None:
    service.serve_reply(REPLIES["text"])
    client.responses.create(model="room", **SENT["schema"])

    request = asked_of(service)
    assert request.response_format == ResponseFormat("json_schema", "n", SCHEMA)
    assert request.extra == {"text": {"verbosity": "low"}}


@pytest.mark.parametrize("name", ["tool", "parallel", "custom", "reasoning", "refusal", "text", "both"])
def test_a_reply_that_the_sdk_sends_back_says_the_same(service: Service, client: openai.OpenAI, name: str) -> None:
    service.serve_stream(*streamed(REPLIES[name]))
    with client.responses.stream(model="room", input=HELLO) as stream:
        output: Any = stream.get_final_response().output
    service.serve_reply(REPLIES["text"])
    client.responses.create(
        model="room", input=[{"role": "user", "content": HELLO}, *output, SENT["knobs"]["input"][0]]
    )

    parts = asked_of(service).messages[1].parts
    told = tuple([replace(part, extra={}) for part in parts if not isinstance(part, OpaquePart)])
    assert told == REPLIES[name].choices[0].parts


def test_a_client_of_azure_is_understood(service: Service) -> None:
    service.serve_reply(REPLIES["text"])
    with openai.AzureOpenAI(
        azure_endpoint=service.url,
        api_key="k",
        api_version="2026-01-01-preview",
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as azure:
        azure.responses.create(model="my-deployment", input=HELLO)

    assert asked_of(service).model == "my-deployment"
    head = service.asked[-1][0]
    assert (head.path, head.query) == ("/openai/responses", "api-version=2026-01-01-preview")
