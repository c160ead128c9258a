"""The SDKs of hosts that are compatible with OpenAI (Azure OpenAI, Groq, Mistral) against bytes that the dialect
rendered for them: which flavour that is, their own User-Agent tells.

That they meet other dialects through a real proxy is in ``test_openai_hosts``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import groq
import httpx
import openai
import pytest
from mistralai.client import errors as mistral_errors

from motive_core import errors
from motive_core.dialects import Dialect, ModelInfo
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.dialects.openai_completions import OpenAICompletions
from motive_core.errors import MotiveError
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
    Sampling,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.stream import Failed, PartDelta, PartStarted, ReplyEvent, Started, replay
from tests.e2e.dialect_service import Service, serving
from tests.e2e.host_clients import HELLO, HOSTS, NO_TLS, Host, MistralAI, Told

CREATED = 1_795_230_236
CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'
ASKED = ChatRequest("openai-chat", "room", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)
FIM = replace(ASKED, dialect="openai-completions", variant="fim")


each_host = pytest.mark.parametrize("name", HOSTS)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(OpenAIChat(), ASKED) as server:
        yield server


@pytest.fixture
async def host(service: Service, name: str) -> AsyncIterator[Host]:
    """The client of a host; the service answers in the flavour that its first request asks for."""
    found = HOSTS[name](service.url)
    service.serve(200, {"content-type": "application/json"}, b"{}")
    with pytest.raises(Exception, match=r"(?s).*"):
        # Whatever a client makes of nothing; lenient ones are told by the last line.
        found.told(found.whole())
        raise AssertionError
    head, body = service.asked.pop()
    assert service.dialect.matches(head)
    service.dialect = service.dialect.for_client(head)
    service.request = replace(ASKED, variant=service.dialect.parse_request(body, head).variant)
    yield found
    await found.close()


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("chatcmpl-1", "room", (Choice(parts, finish_reason),), Usage(11, 7), CREATED)


TOOL = ToolCallPart(
    "call_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("call_2", "now", "{}"),
        ToolCallPart("call_3", "echo", '{"text":"\\u00e9 \\" \\n"}'),
        finish_reason="tool_calls",
    ),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "reasoning_alone": reply_of(ReasoningPart("hm")),
    "reasoning_and_tool": reply_of(ReasoningPart("hm"), TOOL, finish_reason="tool_calls"),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "two_choices": replace(
        reply_of(), choices=(Choice((TextPart("Heads."),)), Choice((TextPart("Look."), TOOL), "tool_calls"))
    ),
    "degraded": reply_of(
        TextPart("See"), BlobPart("image/png", data="AAAA"), OpaquePart("elsewhere", {"a": 1}), TextPart("that.")
    ),
    "empty": reply_of(),
}


def streamed(service: Service, reply: Reply, *, heartbeats: bool = False) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters."""
    encoder = service.dialect.encoder(service.request)
    events: list[ReplyEvent] = []
    for event in replay(reply):
        if isinstance(event, PartDelta):
            text = event.text
            events += [PartDelta(event.choice, event.part, text[at : at + 3]) for at in range(0, len(text), 3)]
        else:
            events.append(event)
    return [piece for event in events for piece in (encoder.heartbeat() if heartbeats else b"", encoder.encode(event))]


def assert_told(told: Told, reply_name: str) -> None:
    assert (told.reply_id, told.model, told.usage) == ("chatcmpl-1", "room", (11, 7))
    choices = REPLIES[reply_name].choices
    assert sorted(told.choices) == list(range(len(choices)))
    for number, choice in enumerate(choices):
        heard = told.choices[number]
        text = "".join([part.text for part in choice.parts if isinstance(part, TextPart)])
        if reply_name == "degraded":
            text = 'See\n\n![image](data:image/png;base64,AAAA)\n\n{"a":1}\n\nthat.'
        assert heard.text == text
        assert heard.reasoning == "".join([part.text for part in choice.parts if isinstance(part, ReasoningPart)])
        assert [tuple(call) for call in heard.calls.values()] == [
            (part.call_id, part.name, part.arguments) for part in choice.parts if isinstance(part, ToolCallPart)
        ]
        assert heard.finish == choice.finish_reason


@each_host
def test_a_client_is_known_by_its_agent(service: Service, host: Host) -> None:
    assert service.request.variant == host.variant


@pytest.mark.parametrize("reply_name", REPLIES)
@each_host
class TestReplies:
    def test_whole(self, service: Service, host: Host, reply_name: str) -> None:
        service.serve_reply(REPLIES[reply_name])
        assert_told(host.told(host.whole()), reply_name)

    def test_streamed(self, service: Service, host: Host, reply_name: str) -> None:
        service.serve_stream(*streamed(service, REPLIES[reply_name]))

        chunks = list(host.stream())
        assert_told(host.told(*chunks), reply_name)
        if not host.pieces:
            # Each call in one delta, and no chunk without a choice.
            assert all(chunk.choices for chunk in chunks)
            told = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
            calls = [part for choice in REPLIES[reply_name].choices for part in choice.parts]
            assert len(told) == len([part for part in calls if isinstance(part, ToolCallPart)])

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, host: Host, reply_name: str) -> None:
        data = b"".join(streamed(service, REPLIES[reply_name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])
        assert_told(host.told(*host.stream()), reply_name)

    async def test_async(self, service: Service, host: Host, reply_name: str) -> None:
        service.serve_reply(REPLIES[reply_name])
        assert_told(host.told(await host.async_whole()), reply_name)

        service.serve_stream(*streamed(service, REPLIES[reply_name], heartbeats=True))
        assert_told(host.told(*[chunk async for chunk in host.async_stream()]), reply_name)


@each_host
async def test_a_refusal_is_seen(service: Service, host: Host) -> None:
    """The messages of Groq and Mistral have no member for it: there it is content, and stands apart from the text."""
    reply = reply_of(TextPart("Well."), RefusalPart("I can't. Nö."))
    service.serve_reply(reply)
    (whole,) = host.told(host.whole()).choices.values()
    service.serve_stream(*streamed(service, reply))
    (stream,) = host.told(*host.stream()).choices.values()
    if host.variant == "azure":
        assert (whole.text, whole.refusal) == (stream.text, stream.refusal) == ("Well.", "I can't. Nö.")
    else:
        assert (whole.text, whole.refusal) == (stream.text, stream.refusal) == ("Well.\n\nI can't. Nö.", "")


@pytest.mark.parametrize("name", ["azure", "mistral"])
def test_what_was_filtered(service: Service, host: Host) -> None:
    """Groq's own model knows no such finish reason, as Groq has no filter of its own: see below."""
    service.serve_reply(reply_of(TextPart("I will"), finish_reason="content_filter"))
    assert host.told(host.whole()).choices[0].finish == "content_filter"


@pytest.mark.parametrize("name", ["groq"])
def test_what_was_filtered_reaches_a_client_of_groq_that_is_not_strict(service: Service, host: Host) -> None:
    reply = reply_of(TextPart("I will"), finish_reason="content_filter")
    service.serve_reply(reply)
    with pytest.raises(groq.APIResponseValidationError):
        host.whole()

    with groq.Groq(
        base_url=service.url, api_key="k", http_client=httpx.Client(trust_env=False, verify=NO_TLS)
    ) as lenient:
        completion = lenient.chat.completions.create(model="room", messages=HELLO)
        assert (completion.choices[0].finish_reason, completion.choices[0].message.content) == (
            "content_filter",
            "I will",
        )


@pytest.mark.parametrize("name", ["groq"])
def test_groq_has_the_id_of_the_request_and_the_usage_where_it_has_them(service: Service, host: Host) -> None:
    service.serve_stream(*streamed(service, REPLIES["text"]))

    chunks = list(host.stream())
    assert [chunk.x_groq.usage is not None for chunk in chunks if chunk.x_groq] == [True]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 18
    service.request = replace(service.request, include_usage=False)
    service.serve_stream(*streamed(service, REPLIES["text"]))
    *_, last = host.stream()
    assert (last.choices[0].finish_reason, last.x_groq.usage.total_tokens) == ("stop", 18)


# Errors.

ERRORS: list[MotiveError] = [
    errors.BadRequestError("x", param="messages"),
    errors.AuthenticationError("x"),
    errors.PermissionDeniedError("x"),
    errors.NotFoundError("x"),
    errors.RequestTimeoutError("x"),
    errors.ConflictError("x"),
    errors.PayloadTooLargeError("x"),
    errors.UnprocessableError("x", param="tools"),
    errors.RateLimitedError("x"),
    errors.InternalError("x"),
    errors.UpstreamError("x"),
    errors.UnavailableError("x"),
    errors.HoldTimeoutError("x"),
    errors.OverloadedError("x"),
]
RAISED: dict[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    **dict.fromkeys((500, 502, 503, 504, 529), "InternalServerError"),
}
"""By status, in the SDKs of OpenAI and Groq. They have no class of their own for 408 and 413: ``APIStatusError``."""


def raised_by(call: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception, match=r"(?s).*") as caught:
        call()
    return caught.value


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.status))
@each_host
def test_every_error_raises_its_exception(service: Service, host: Host, error: MotiveError) -> None:
    service.serve_error(error)

    for call in (host.whole, lambda: list(host.stream())):
        raised: Any = raised_by(call)
        assert raised.status_code == error.status
        match host.variant:
            case "mistral":
                # Its SDK has one class for all statuses but one, and one for what it takes for faults of a field.
                if error.status == 422:
                    assert type(raised) is mistral_errors.HTTPValidationError
                    told = [(fault.msg, fault.type, fault.loc) for fault in raised.data.detail or ()]
                    assert told == [("x", "unprocessable", ["body", "tools"])]
                else:
                    assert type(raised) is mistral_errors.SDKError
                    assert json.loads(raised.body) == {
                        "object": "error",
                        "message": "x",
                        "type": error.code,
                        "param": error.param,
                        "code": None,
                    }
                assert raised.headers["x-request-id"] == "req_1"
            case "groq":
                assert type(raised) is getattr(groq, RAISED.get(error.status, "APIStatusError"))
                assert raised.body["error"]["message"] == "x"
                assert raised.body["error"]["code"] == error.code
                assert raised.response.headers["x-request-id"] == "req_1"
            case _:
                assert type(raised) is getattr(openai, RAISED.get(error.status, "APIStatusError"))
                assert (raised.request_id, raised.body["message"]) == ("req_1", "x")
                said = error.code if error.status in (400, 422) else str(error.status)
                assert (raised.code, raised.param) == (said, error.param)


@each_host
async def test_an_error_raises_in_the_async_client_too(service: Service, host: Host) -> None:
    service.serve_error(errors.ConflictError("both seats are taken"))

    with pytest.raises(Exception, match="both seats are taken"):
        await host.async_whole()
    with pytest.raises(Exception, match="both seats are taken"):
        [chunk async for chunk in host.async_stream()]


@pytest.mark.parametrize("begun", [False, True])
@each_host
async def test_an_error_in_the_stream_raises(service: Service, host: Host, *, begun: bool) -> None:
    encoder = service.dialect.encoder(service.request)
    half: list[ReplyEvent] = (
        [Started("chatcmpl-1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")] if begun else []
    )
    chunks = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
    service.serve_stream(*chunks, encoder.encode(Failed(errors.OverloadedError("too much"))))

    heard = []
    kinds: dict[str, type[Exception]] = {
        "azure": openai.APIError,
        "groq": groq.APIError,
        # Its SDK has nothing for it: an event that is no chunk is an error, and the event is its body.
        "mistral": mistral_errors.ResponseValidationError,
    }
    with pytest.raises(kinds[host.variant]) as caught:
        heard += [host.told(chunk).choices[0].text for chunk in host.stream()]
    with pytest.raises(kinds[host.variant]) as async_caught:
        async for chunk in host.async_stream():
            heard.append(host.told(chunk).choices[0].text)
    for raised in (caught.value, async_caught.value):
        assert type(raised) is kinds[host.variant]
        assert "too much" in (raised.body if isinstance(raised, mistral_errors.MistralError) else str(raised))
    assert "".join(heard) == ("half" if begun else "")


@pytest.mark.parametrize("name", ["azure", "groq"])
def test_an_error_that_no_retry_can_mend_is_not_retried(service: Service, host: Host) -> None:
    service.serve_error(errors.HoldTimeoutError("nobody answered"))
    host.sync = host.sync.with_options(max_retries=2)

    raised_by(host.whole)
    assert len(service.asked) == 1


@pytest.mark.parametrize("name", ["mistral"])
def test_mistrals_sdk_does_not_retry_by_itself(service: Service, host: Host) -> None:
    service.serve_error(errors.OverloadedError("x"))

    raised_by(host.whole)
    assert len(service.asked) == 1


# Lists.


@each_host
def test_the_list_of_models(service: Service, host: Host) -> None:
    models = [ModelInfo("room-1", CREATED), ModelInfo("zimmer ü/2", CREATED)]
    service.serve(200, {"content-type": "application/json"}, service.dialect.render_models(models))

    listed = host.models()
    assert service.dialect.serves(service.asked[-1][0])
    assert [(model.id, model.object, model.created, model.owned_by) for model in listed] == [
        ("room-1", "model", CREATED, "motive"),
        ("zimmer ü/2", "model", CREATED, "motive"),
    ]
    if host.variant == "mistral":
        assert all(model.type == "base" and model.capabilities.completion_chat for model in listed)


# What the SDKs send.

CALLED: Any = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1.0}'}}
CONVERSATION: list[Any] = [
    {"role": "system", "content": "Be kind."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
    },
    {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "3 °C"},
]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def asked_of(service: Service) -> ChatRequest:
    """The last request that an SDK sent, parsed; it must survive its rendering, as its service has it."""
    head, body = service.asked[-1]
    assert service.dialect.matches(head)
    request = service.dialect.parse_request(body, head)
    assert service.dialect.parse_request(service.dialect.render_request(request), head) == request
    return request


@each_host
def test_requests_are_understood(service: Service, host: Host) -> None:
    service.serve_reply(REPLIES["text"])
    call: dict[str, Any] = {
        "model": "room/ü 1",
        "messages": CONVERSATION,
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "max_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["a", "b"],
    }
    seed = {"random_seed" if host.variant == "mistral" else "seed": 7}
    create = host.sync.chat.complete if host.variant == "mistral" else host.sync.chat.completions.create
    create(**call, **seed)

    request = asked_of(service)
    assert (request.model, request.stream, request.variant) == ("room/ü 1", False, host.variant)
    system, user, assistant, tool = request.messages
    assert (system.role, system.text) == ("system", "Be kind.")
    text, image = user.parts
    assert text == TextPart("What is it?")
    assert isinstance(image, BlobPart)
    assert (image.media_type, image.data) == ("image/png", "AAAA")
    (called,) = [part for part in assistant.parts if isinstance(part, ToolCallPart)]
    assert (called.call_id, called.name, called.arguments) == ("call_1", "weather", '{"a": 1.0}')
    (result,) = tool.parts
    assert isinstance(result, ToolResultPart)
    assert (result.call_id, result.content) == ("call_1", (TextPart("3 °C"),))
    assert [one.name for one in request.tools] == ["weather"]
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.parallel_tool_calls) == ("auto", False)
    assert request.sampling == Sampling(9, 0, 0.5, ("a", "b"), 7)


@each_host
def test_a_stream_is_asked_for(service: Service, host: Host) -> None:
    service.serve_stream(*streamed(service, REPLIES["text"]))
    list(host.stream())

    assert asked_of(service).stream


@pytest.mark.parametrize("reply_name", ["text", "code", "tool", "parallel", "reasoning", "reasoning_and_tool"])
@each_host
def test_a_reply_that_the_sdk_sends_back_says_the_same(service: Service, host: Host, reply_name: str) -> None:
    service.serve_reply(REPLIES[reply_name])
    message = host.whole().choices[0].message
    service.serve_reply(REPLIES["text"])
    if host.variant == "mistral":
        host.sync.chat.complete(model="room", messages=[*HELLO, message, *HELLO])
    else:
        host.sync.chat.completions.create(model="room", messages=[*HELLO, message.to_dict(), *HELLO])

    parts = asked_of(service).messages[1].parts
    told = [replace(part, extra={}) for part in parts if not isinstance(part, OpaquePart) and part != TextPart("")]
    assert tuple(told) == REPLIES[reply_name].choices[0].parts


# Mistral's FIM.


@pytest.fixture
def fim() -> Iterator[Service]:
    with serving(OpenAICompletions(), FIM) as server:
        yield server


@pytest.fixture
async def mistral(fim: Service) -> AsyncIterator[MistralAI]:
    host = MistralAI(fim.url)
    yield host
    await host.close()


@pytest.mark.parametrize("reply_name", ["text", "code", "length", "degraded", "empty"])
async def test_a_completion_between_two_texts(fim: Service, mistral: MistralAI, reply_name: str) -> None:
    call: Any = {"model": "room", "prompt": "def f(", "suffix": "return x"}
    fim.serve_reply(REPLIES[reply_name])
    assert_told(mistral.told(mistral.sync.fim.complete(**call)), reply_name)
    assert_told(mistral.told(await mistral.sync.fim.complete_async(**call)), reply_name)

    data = b"".join(streamed(fim, REPLIES[reply_name], heartbeats=True))
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        fim.serve_stream(*pieces)
        assert_told(mistral.told(*[event.data for event in mistral.sync.fim.stream(**call)]), reply_name)
    events = await mistral.sync.fim.stream_async(**call)
    assert_told(mistral.told(*[event.data async for event in events]), reply_name)


def test_a_request_for_it_is_understood(fim: Service, mistral: MistralAI) -> None:
    fim.serve_reply(REPLIES["text"])
    mistral.sync.fim.complete(
        model="room", prompt="a", suffix="z", max_tokens=9, temperature=0, stop=["x"], random_seed=7, min_tokens=1
    )

    request = asked_of(fim)
    suffix = OpaquePart("openai-completions", {"suffix": "z"})
    assert request.messages == (Message("user", (TextPart("a"), suffix)),)
    assert (request.variant, request.sampling) == ("fim", Sampling(9, 0, None, ("x",), 7))
    assert request.extra["min_tokens"] == 1


@pytest.mark.parametrize("error", [errors.UnprocessableError("x"), errors.UnavailableError("x")])
def test_its_errors_are_mistrals(fim: Service, mistral: MistralAI, error: MotiveError) -> None:
    fim.serve_reply(REPLIES["text"])
    mistral.sync.fim.complete(model="room", prompt="a")
    dialect: Dialect = fim.dialect.for_client(fim.asked[-1][0])
    fim.dialect = dialect
    fim.serve_error(error)

    raised = raised_by(lambda: mistral.sync.fim.complete(model="room", prompt="a"))
    kind = mistral_errors.HTTPValidationError if error.status == 422 else mistral_errors.SDKError
    assert type(raised) is kind
    fim.serve_stream(dialect.encoder(FIM).encode(Failed(error)))
    with pytest.raises(mistral_errors.ResponseValidationError) as caught:
        list(mistral.sync.fim.stream(model="room", prompt="a"))
    assert json.loads(caught.value.body)["data"]["message"] == "x"
