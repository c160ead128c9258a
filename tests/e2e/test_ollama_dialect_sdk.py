"""The ``ollama`` SDK against bytes that the dialects rendered, served by a plain HTTP server.

The SDK has no strict mode, and one exception for all errors; it does not retry.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from motive_core import errors
from motive_core.dialects import Dialect, ModelInfo, SideCall
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.dialects.ollama_generate import OllamaGenerate
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.stream import Failed, PartDelta, PartStarted, ReplyEvent, Started, replay, replay_part
from tests.e2e.dialect_service import Service, serving

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
WIRE = Path(__file__).parents[1] / "wire"
HELLO: Any = [{"role": "user", "content": "hi"}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="

CODE = (
    'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f\x85\x0b\x1c\u2029</script>\n\n'
    'data: [DONE]\n\n{"done":true}\n'
)


def asking(dialect: Dialect) -> ChatRequest:
    return ChatRequest(dialect.name, "room", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(CHAT, asking(CHAT)) as server:
        yield server


@pytest.fixture
def completions() -> Iterator[Service]:
    with serving(GENERATE, asking(GENERATE)) as server:
        yield server


def client_of(service: Service) -> ollama.Client:
    return ollama.Client(service.url, timeout=30.0, trust_env=False)


@pytest.fixture
def client(service: Service) -> Iterator[ollama.Client]:
    with client_of(service) as sdk:
        yield sdk


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(service.url, timeout=30.0, trust_env=False) as sdk:
        yield sdk


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("r1", "room", (Choice(parts, finish_reason),), Usage(11, 7, 4, 3), 1_795_230_354)


def streamed(dialect: Dialect, reply: Reply, *, heartbeats: bool = False) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters."""
    encoder = dialect.encoder(asking(dialect))
    start, *_, end, usage, finished = replay(reply)
    events = [start]
    for index, part in enumerate(reply.choices[0].parts):
        text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
        events += replay_part(0, index, part, [text[at : at + 3] for at in range(0, len(text), 3)])
    chunks = []
    for event in [*events, end, usage, finished]:
        chunks += [encoder.heartbeat() if heartbeats else b"", encoder.encode(event)]
    return chunks


TOOL = ToolCallPart(
    "call_1", "get_weather", '{"location": "München",\n "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
VALUE = {"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("call_2", "now", ""),
        ToolCallPart("call_3", "echo", '{"text":"\\u00e9 \\" \\n\u2028\x85"}'),
        finish_reason="tool_calls",
    ),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "refusal": reply_of(RefusalPart("I can't. Nö.")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "filtered": reply_of(TextPart("I will"), finish_reason="content_filter"),
    "degraded": reply_of(
        TextPart("See"), BlobPart("image/png", data="AAAA"), OpaquePart("elsewhere", {"a": 1}), TextPart("that.")
    ),
    "empty": reply_of(),
}
TEXTS = {
    "text": "Hello!",
    "code": CODE,
    "tool": "Let me look.\n\t",
    "reasoning": "12231",
    "refusal": "I can't. Nö.",
    "length": "and so",
    "filtered": "I will",
    "degraded": 'See\n\n![image](data:image/png;base64,AAAA)\n\n{"a":1}\n\nthat.',
}
CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "tool": [("get_weather", VALUE)],
    "parallel": [("get_weather", VALUE), ("now", {}), ("echo", {"text": 'é " \n\u2028\x85'})],
}


def joined(chunks: list[ollama.ChatResponse]) -> tuple[str, str, list[tuple[str, dict[str, Any]]]]:
    """What the messages of some chunks say: text, thinking, calls."""
    said = [chunk.message for chunk in chunks]
    return (
        "".join([message.content or "" for message in said]),
        "".join([message.thinking or "" for message in said]),
        [(call.function.name, dict(call.function.arguments)) for message in said for call in message.tool_calls or ()],
    )


def assert_says(chunks: list[ollama.ChatResponse], name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    thinking = "27 × 453\n= 12231" if name == "reasoning" else ""
    assert joined(chunks) == (TEXTS.get(name, ""), thinking, CALLS.get(name, []))
    assert {(chunk.model, chunk.message.role) for chunk in chunks} == {("room", "assistant")}
    assert {chunk.created_at for chunk in chunks} <= {"2026-11-21T03:05:54.000000Z", "1970-01-01T00:00:00.000000Z"}
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert_ended(chunks[-1], name)


def assert_ended(last: Any, name: str) -> None:
    assert last.done_reason == ("length" if name == "length" else "stop")
    assert (last.prompt_eval_count, last.eval_count) == (11, 7)
    for duration in (last.total_duration, last.load_duration, last.prompt_eval_duration, last.eval_duration):
        assert duration > 0


@pytest.mark.parametrize("name", REPLIES)
class TestChat:
    def test_whole(self, service: Service, client: ollama.Client, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says([client.chat("room", HELLO)], name)

    def test_streamed(self, service: Service, client: ollama.Client, name: str) -> None:
        service.serve_stream(*streamed(CHAT, REPLIES[name]))
        chunks = list(client.chat("room", HELLO, stream=True))
        assert_says(chunks, name)
        assert len([chunk for chunk in chunks if chunk.message.tool_calls]) == len(CALLS.get(name, []))

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, client: ollama.Client, name: str) -> None:
        data = b"".join(streamed(CHAT, REPLIES[name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])
        assert_says(list(client.chat("room", HELLO, stream=True)), name)

    async def test_async(self, service: Service, async_client: ollama.AsyncClient, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says([await async_client.chat("room", HELLO)], name)
        service.serve_stream(*streamed(CHAT, REPLIES[name], heartbeats=True))
        assert_says([chunk async for chunk in await async_client.chat("room", HELLO, stream=True)], name)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", [name for name in REPLIES if name not in CALLS])
def test_completions(completions: Service, name: str, stream: bool) -> None:
    chunks: list[ollama.GenerateResponse]
    with client_of(completions) as client:
        if stream:
            data = b"".join(streamed(GENERATE, REPLIES[name], heartbeats=True))
            completions.serve_stream(*[data[at : at + 1] for at in range(len(data))])
            chunks = list(client.generate("room", "hi", stream=True))
        else:
            completions.serve_reply(REPLIES[name])
            chunks = [client.generate("room", "hi")]
    assert "".join([chunk.response or "" for chunk in chunks]) == TEXTS.get(name, "")
    assert "".join([chunk.thinking or "" for chunk in chunks]) == ("27 × 453\n= 12231" if name == "reasoning" else "")
    assert {chunk.model for chunk in chunks} == {"room"}
    assert_ended(chunks[-1], name)


async def test_completions_of_the_asynchronous_client(completions: Service) -> None:
    async with ollama.AsyncClient(completions.url, timeout=30.0, trust_env=False) as client:
        completions.serve_stream(*streamed(GENERATE, REPLIES["code"]))
        chunks = [chunk async for chunk in await client.generate("room", "hi", stream=True)]
    assert "".join([chunk.response or "" for chunk in chunks]) == CODE


@pytest.mark.parametrize(
    ("dialect", "model"), [(CHAT, ollama.ChatResponse), (GENERATE, ollama.GenerateResponse)], ids=lambda one: ""
)
def test_replies_of_services_are_rendered_as_the_sdk_wants_them(
    dialect: Dialect, model: type[ollama.ChatResponse | ollama.GenerateResponse]
) -> None:
    paths = sorted((WIRE / dialect.name).glob("*.reply.json"))
    assert paths
    for path in paths:
        live = path.read_bytes()
        reply = dialect.parse_reply(live)
        ours = model.model_validate_json(dialect.render_reply(asking(dialect), reply), strict=True)
        # To the second, and with durations where the service told none.
        same = {key: value for key, value in model.model_validate_json(live, strict=True) if key != "created_at"}
        assert {key: value for key, value in ours if same.get(key) is not None} == {
            key: value for key, value in same.items() if value is not None
        }
        for line in dialect.encoder(asking(dialect)).encode_all(replay(reply)).splitlines():
            model.model_validate_json(line, strict=True)


LIVE = ["text", "unicode_code", "parallel_tools", "thinking", "thinking_tool", "length", "last_line_speaks"]


@pytest.mark.parametrize("name", LIVE)
def test_the_stream_of_a_service_gives_the_sdk_the_same_message_as_ours(
    service: Service, client: ollama.Client, name: str
) -> None:
    data = (WIRE / "ollama-chat" / f"{name}.stream.ndjson").read_bytes()
    decoder = CHAT.decoder()
    events = [*decoder.feed(data), *decoder.close()]
    heard = []
    for stream in (data, CHAT.encoder(asking(CHAT)).encode_all(events)):
        service.serve_stream(stream)
        chunks = list(client.chat("room", HELLO, stream=True))
        last = chunks[-1]
        heard.append((joined(chunks), last.done_reason, last.eval_count, last.eval_duration, last.total_duration))
    assert heard[0] == heard[1]


ERRORS: list[MotiveError] = [
    errors.BadRequestError("x", param="messages"),
    errors.AuthenticationError("x"),
    StatusError(402, "x"),
    errors.PermissionDeniedError("x"),
    errors.NotFoundError("x"),
    errors.RequestTimeoutError("x"),
    errors.ConflictError("x"),
    errors.PayloadTooLargeError("x"),
    errors.UnprocessableError("x"),
    errors.UpgradeRequiredError("x"),
    errors.RateLimitedError("x"),
    errors.InternalError("x"),
    errors.UpstreamError("x"),
    errors.UnavailableError("x"),
    errors.HoldTimeoutError("x"),
    errors.OverloadedError("x"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.status))
def test_every_error_raises_the_one_exception_with_its_status(
    service: Service, client: ollama.Client, error: MotiveError
) -> None:
    service.serve_error(error)

    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as caught:
            list(client.chat("room", HELLO, stream=stream))
        assert caught.value.status_code == error.status
        assert caught.value.error == ("messages: x" if error.param else "x")
    assert len(service.asked) == 2


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_in_the_stream_raises(service: Service, client: ollama.Client, begun: bool) -> None:
    encoder = CHAT.encoder(asking(CHAT))
    half: list[ReplyEvent] = (
        [Started("r1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")] if begun else []
    )
    chunks = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
    service.serve_stream(*chunks, encoder.encode(Failed(errors.OverloadedError("too much"))))

    with pytest.raises(ollama.ResponseError) as caught:
        list(client.chat("room", HELLO, stream=True))
    assert (caught.value.error, caught.value.status_code) == ("too much", -1)


# Beside the chat.

MODELS = [ModelInfo("room-1", 1_795_230_354), ModelInfo("room-2", 1_795_230_354)]


def serve_side(service: Service, client: ollama.Client, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of the SDK twice: to learn what it asks, and to give it the reply to that."""
    service.serve(404, {"content-type": "application/json"}, b'{"error":"not yet"}')
    with pytest.raises(ollama.ResponseError):
        list(getattr(client, method)(*arguments, **options))
    head, body = service.asked[-1]
    assert CHAT.speaks(head)
    assert CHAT.serves(head)
    try:
        reply = CHAT.serve(SideCall(head, body, MODELS, kept=lambda _: None, forget=lambda _: False))
    except MotiveError as error:
        service.serve_error(error)
    else:
        service.serve(reply.status, {"content-type": reply.content_type}, reply.body)
    return getattr(client, method)(*arguments, **options)


class TestBesideTheChat:
    def test_models(self, service: Service, client: ollama.Client) -> None:
        listed = serve_side(service, client, "list").models
        assert [model.model for model in listed] == ["room-1:latest", "room-2:latest"]
        assert listed[0].modified_at.timestamp() == 1_795_230_354
        assert len(listed[0].digest) == 64

    def test_show(self, service: Service, client: ollama.Client) -> None:
        shown = serve_side(service, client, "show", "anything")
        assert {"completion", "tools", "vision", "thinking"} <= set(shown.capabilities)
        assert shown.modelinfo["motive.context_length"] > 0
        assert shown.details.family == "motive"

    def test_running_models(self, service: Service, client: ollama.Client) -> None:
        running = serve_side(service, client, "ps").models
        assert [model.name for model in running] == ["room-1:latest", "room-2:latest"]
        assert running[0].context_length > 0

    @pytest.mark.parametrize("stream", [False, True])
    def test_pull(self, service: Service, client: ollama.Client, stream: bool) -> None:
        told = serve_side(service, client, "pull", "room", stream=stream)
        assert (list(told)[-1] if stream else told).status == "success"

    @pytest.mark.parametrize(
        ("method", "arguments", "status"),
        [
            ("embed", ("room", "x"), 400),
            ("embeddings", ("room", "x"), 400),
            ("create", ("room", None, "base"), 403),
            ("copy", ("room", "other"), 403),
            ("push", ("room",), 403),
            ("delete", ("room",), 403),
        ],
    )
    def test_what_is_refused(
        self, service: Service, client: ollama.Client, method: str, arguments: tuple[Any, ...], status: int
    ) -> None:
        with pytest.raises(ollama.ResponseError) as caught:
            serve_side(service, client, method, *arguments)
        assert caught.value.status_code == status
        assert "session" in caught.value.error


# What the SDK sends.


def asked_of(service: Service, dialect: Dialect) -> ChatRequest:
    """The last request that the SDK sent, parsed; it must survive its rendering."""
    head, body = service.asked[-1]
    assert dialect.matches(head)
    assert dialect.speaks(head)
    request = dialect.parse_request(body)
    assert dialect.parse_request(dialect.render_request(request)) == request
    return request


def get_weather(location: str, days: int) -> str:
    """Looks out.

    Args:
      location: A city.
      days: How many.
    """
    return f"{location} {days}"


WEATHER = {
    "type": "object",
    "required": ["location", "days"],
    "properties": {
        "location": {"type": "string", "description": "A city."},
        "days": {"type": "integer", "description": "How many."},
    },
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_of_the_sdk_is_understood(service: Service, client: ollama.Client, stream: bool) -> None:
    service.serve_reply(REPLIES["text"])
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        ollama.Message(role="user", content="What is it?", images=[ollama.Image(value=base64.b64decode(PNG))]),
        {"role": "assistant", "thinking": "Hm.", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.0}}}]},
        {"role": "tool", "tool_name": "f", "content": "3 °C"},
    ]
    call: Any = client.chat
    reply = call(
        "room:latest",
        messages,
        tools=[get_weather],
        stream=stream,
        think="low",
        format="json",
        options=ollama.Options(temperature=0, top_p=0.5, stop=["a"], seed=7, num_predict=9, num_ctx=4096),
        keep_alive="5m",
        logprobs=True,
        top_logprobs=2,
    )
    if stream:
        list(reply)

    request = asked_of(service, CHAT)
    assert (request.model, request.stream, request.variant) == ("room", stream, ":latest")
    assert [message.parts for message in request.messages] == [
        (TextPart("Be brief."),),
        (TextPart("What is it?"), BlobPart("image/png", data=PNG)),
        (ReasoningPart("Hm."), ToolCallPart("f", "f", '{"a":1.0}')),
        (ToolResultPart("f", (TextPart("3 °C"),), "f"),),
    ]
    assert request.tools == (Tool("get_weather", "Looks out.", WEATHER),)
    assert request.response_format == ResponseFormat("json_object")
    assert request.sampling == Sampling(9, 0, 0.5, ("a",), 7)
    assert request.extra == {
        "think": "low",
        "keep_alive": "5m",
        "logprobs": True,
        "top_logprobs": 2,
        "options": {"num_ctx": 4096},
    }


def test_a_reply_that_the_sdk_sends_back_says_the_same(service: Service, client: ollama.Client) -> None:
    parts = (ReasoningPart("Hm."), TextPart("Let me look."), ToolCallPart("call_1", "f", '{"a": 1.0}'))
    service.serve_reply(reply_of(*parts, finish_reason="tool_calls"))
    message = client.chat("room", HELLO).message
    client.chat("room", [*HELLO, message, {"role": "tool", "tool_name": "f", "content": "3"}])

    # The SDK has no place for the id of a call.
    request = asked_of(service, CHAT)
    assert request.messages[1].parts == (*parts[:2], ToolCallPart("f", "f", '{"a":1.0}'))
    assert request.messages[2].parts == (ToolResultPart("f", (TextPart("3"),), "f"),)


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_of_the_sdk_is_understood(completions: Service, stream: bool) -> None:
    completions.serve_reply(REPLIES["text"])
    with client_of(completions) as client:
        reply = client.generate(
            "room",
            "What is it?",
            "suffix",
            system="You are a guard.",
            template="{{ .Prompt }}",
            context=[1, 2],
            stream=stream,
            raw=True,
            think=True,
            format={"type": "object"},
            images=[base64.b64decode(PNG)],
            options={"num_predict": 9},
            keep_alive=0,
        )
        if stream:
            list(reply)

    request = asked_of(completions, GENERATE)
    assert (request.model, request.stream) == ("room", stream)
    assert request.messages == (
        Message("system", (TextPart("You are a guard."),)),
        Message("user", (TextPart("What is it?"), BlobPart("image/png", data=PNG))),
    )
    assert request.response_format == ResponseFormat("json_schema", schema={"type": "object"})
    assert request.sampling == Sampling(9)
    assert request.extra == {
        "suffix": "suffix",
        "template": "{{ .Prompt }}",
        "context": [1, 2],
        "raw": True,
        "think": True,
        "keep_alive": 0,
    }


@pytest.mark.parametrize("keep_alive", [None, 0])
def test_loading_and_unloading(service: Service, completions: Service, keep_alive: int | None) -> None:
    reason = "load" if keep_alive is None else "unload"
    body = json.dumps({"model": "room", "messages": [], "prompt": "", "keep_alive": keep_alive}).encode()
    for server, dialect in ((service, CHAT), (completions, GENERATE)):
        request = dialect.parse_request(body)
        server.serve(200, {"content-type": dialect.content_type(request)}, dialect.render_reply(request, reply_of()))
        with client_of(server) as client:
            for stream in (False, True):
                call: Any = client.chat if dialect is CHAT else client.generate
                told = call("room", stream=stream, keep_alive=keep_alive)
                (last,) = list(told) if stream else [told]
                assert (last.done, last.done_reason) == (True, reason)
                assert asked_of(server, dialect).messages == ()
