"""Hosts that are compatible with OpenAI: how a client's flavour is found, and what it changes on the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects import ModelInfo, RequestHead
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import (
    BadRequestError,
    HoldTimeoutError,
    MotiveError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    UnprocessableError,
)
from motive_core.ir import (
    ChatRequest,
    Choice,
    Json,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
    collect,
    replay,
)
from tests.core.strategies import EXACT, any_replies, plain_replies, sayings

DIALECT = OpenAIChat()
NAME = "openai-chat"
WIRE = Path(__file__).parents[2] / "wire" / NAME
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
FLAVOURS = ["", "azure", "mistral", "groq", "openrouter", "xai", "reasoning"]
REPLY = Reply(
    "chatcmpl-1",
    "m",
    (
        Choice(
            (
                ReasoningPart("hm"),
                TextPart("Look:"),
                ToolCallPart("a", "f", '{"x": 1.0}'),
                ToolCallPart("b", "g", ""),
            ),
            "tool_calls",
        ),
    ),
    Usage(11, 7, 4, 3),
    7,
)

each_flavour = pytest.mark.parametrize("flavour", FLAVOURS)


def head(host: str = "127.0.0.1", agent: str = "", path: str = "/v1/chat/completions", **headers: str) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("POST", host, 443, path, headers={**({"user-agent": agent} if agent else {}), **named})


def asking(flavour: str, *, include_usage: bool = False) -> ChatRequest:
    messages = (Message("user", (TextPart("hi"),)),)
    return ChatRequest(NAME, "m", messages, stream=True, include_usage=include_usage, variant=flavour)


def chunks(events: list[ReplyEvent] | Reply, request: ChatRequest) -> list[dict[str, Any]]:
    """The JSON of each chunk of a stream."""
    said = replay(events) if isinstance(events, Reply) else events
    *lines, done = DIALECT.encoder(request).encode_all(said).decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def whole(reply: Reply, flavour: str) -> dict[str, Any]:
    return json.loads(DIALECT.render_reply(asking(flavour), reply))  # type: ignore[no-any-return]


# Who expects what.


@pytest.mark.parametrize(
    ("found", "flavour"),
    [
        (head("api.openai.com"), ""),
        (head("us.api.openai.com", "OpenAI/Python 3.52.0"), ""),
        (head(agent="AsyncOpenAI/Python 3.52.0"), ""),
        (head(), ""),
        (head("myres.openai.azure.com", "OpenAI/Python 3.52.0"), "azure"),
        (head("myres.cognitiveservices.azure.com"), "azure"),
        (head("MyRes.Services.AI.Azure.com."), "azure"),
        (head(agent="AsyncAzureOpenAI/Python 3.52.0"), "azure"),
        (head(path="/openai/deployments/x/chat/completions"), "azure"),
        (head(path="/openai/v1/chat/completions", api_key="k"), "azure"),
        (head("api.mistral.ai"), "mistral"),
        (head("codestral.mistral.ai", "OpenAI/JS 6.49.0"), "mistral"),
        (head(agent="speakeasy-sdk/python 3.7.0 2.935.1 1.0.0 mistralai"), "mistral"),
        (head(agent="ai/6.0.326 ai-sdk/mistral/3.0.1 runtime/node.js/v20"), "mistral"),
        (head("api.groq.com", path="/openai/v1/chat/completions"), "groq"),
        (head(agent="AsyncGroq/Python 1.7.0", path="/openai/v1/chat/completions"), "groq"),
        (head("openrouter.ai", path="/api/v1/chat/completions"), "openrouter"),
        (head(agent="ai-sdk/openrouter/2.0"), "openrouter"),
        (head("api.x.ai"), "xai"),
        (head("us-east-1.api.x.ai"), "xai"),
        (head("max.ai"), ""),
        (head("api.cerebras.ai"), "reasoning"),
        (head("api.together.xyz"), "reasoning"),
        (head("api.deepseek.com"), ""),
        (head("api.fireworks.ai", path="/inference/v1/chat/completions"), ""),
        (head("api.perplexity.ai", path="/chat/completions"), ""),
        (head("notmistral.ai.example"), ""),
    ],
)
def test_a_client_is_known_by_its_host_or_its_agent(found: RequestHead, flavour: str) -> None:
    assert DIALECT.matches(found)
    request = DIALECT.parse_request(BODY, found)
    assert request.variant == flavour
    assert request.model == ("x" if "deployments" in found.path else "m")
    assert DIALECT.for_client(found).name == NAME


def test_an_unknown_variant_is_openai() -> None:
    assert whole(REPLY, "of tomorrow") == whole(REPLY, "")


# Replies.


@each_flavour
def test_where_reasoning_is_told(flavour: str) -> None:
    message = whole(REPLY, flavour)["choices"][0]["message"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(REPLY, asking(flavour))]
    match flavour:
        case "mistral":
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
            assert message["content"] == [thinking, {"type": "text", "text": "Look:"}]
            assert {"content": [thinking]} in deltas
        case "groq" | "openrouter" | "reasoning":
            assert (message["reasoning"], message["content"]) == ("hm", "Look:")
            assert {"reasoning": "hm"} in deltas
        case _:
            assert (message["reasoning_content"], message["content"]) == ("hm", "Look:")
            assert {"reasoning_content": "hm"} in deltas


@each_flavour
def test_a_refusal_is_content_where_messages_have_no_member_for_it(flavour: str) -> None:
    reply = replace(REPLY, choices=(Choice((TextPart("Well."), RefusalPart("No."))),))
    message = whole(reply, flavour)["choices"][0]["message"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(reply, asking(flavour))]
    if flavour in ("groq", "mistral"):
        assert (message["content"], message["refusal"]) == ("Well.\n\nNo.", None)
        assert {"content": "\n\nNo."} in deltas
    else:
        assert (message["content"], message["refusal"]) == ("Well.", "No.")
        assert {"refusal": "No."} in deltas


def test_reasoning_alone_is_a_list_of_one_chunk() -> None:
    reply = replace(REPLY, choices=(Choice((ReasoningPart("a"), ReasoningPart("b"))),))

    assert whole(reply, "mistral")["choices"][0]["message"]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
        {"type": "thinking", "thinking": [{"type": "text", "text": "\n\nb"}]},
    ]


def test_a_request_tells_reasoning_where_its_host_has_it() -> None:
    body = b'{"model":"m","messages":[{"role":"assistant","content":"x","reasoning":"hm"}]}'
    for host, member in [("api.groq.com", "reasoning"), ("api.deepseek.com", "reasoning_content")]:
        request = DIALECT.parse_request(body, head(host))
        (message,) = json.loads(DIALECT.render_request(request))["messages"]
        assert message == {"role": "assistant", "content": "x", member: "hm"}


def test_mistral_is_told_each_call_in_one_delta_with_its_name() -> None:
    events: list[ReplyEvent] = [
        Started("c", "m"),
        PartStarted(0, 0, ToolCallPart("a", "f", "")),
        PartDelta(0, 0, '{"x"'),
        PartStarted(0, 1, ToolCallPart("b", "g", "{")),
        PartDelta(0, 0, ": 1.0}"),
        PartEnded(0, 0),
        PartDelta(0, 1, "}"),
        ChoiceEnded(0, "tool_calls"),
        UsageReported(Usage(1, 2)),
        Finished(),
    ]
    told = chunks(events, asking("mistral"))

    assert [chunk["choices"][0]["delta"] for chunk in told] == [
        {"role": "assistant", "content": "", "refusal": None},
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1.0}'}}
            ]
        },
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {},
    ]


def test_mistral_is_told_the_usage_in_the_last_chunk_of_the_last_choice() -> None:
    two = replace(REPLY, choices=(Choice((TextPart("a"),)), Choice((TextPart("b"),), "length")))
    for request in (asking("mistral"), asking("mistral", include_usage=True)):
        *before, last = chunks(two, request)
        assert [choice["index"] for choice in last["choices"]] == [1]
        assert (last["choices"][0]["finish_reason"], last["usage"]["total_tokens"]) == ("length", 18)
        assert not any("usage" in chunk for chunk in before)
        assert all(chunk["choices"] for chunk in before)
        assert "service_tier" not in last


def test_groq_is_told_the_usage_under_its_name_and_in_a_chunk_if_that_is_wanted() -> None:
    *before, last = chunks(REPLY, asking("groq"))
    assert last["x_groq"]["id"] == "req_1"
    assert last["x_groq"]["usage"]["completion_tokens"] == 7
    assert (last["choices"][0]["finish_reason"], last["service_tier"]) == ("tool_calls", "on_demand")
    assert not any("usage" in chunk or "x_groq" in chunk for chunk in before)

    *_, finish, usage = chunks(REPLY, asking("groq", include_usage=True))
    assert finish["usage"] is None
    assert finish["x_groq"]["usage"] == usage["usage"]
    assert usage["choices"] == []
    assert whole(REPLY, "groq")["x_groq"] == {"id": "req_1"}


@each_flavour
def test_usage_that_nobody_told_is_not_made_up(flavour: str) -> None:
    silent = replace(REPLY, usage=None)

    told = chunks(silent, asking(flavour, include_usage=True))
    assert all(chunk.get("usage") is None and "usage" not in chunk.get("x_groq", {}) for chunk in told)
    assert "usage" not in whole(silent, flavour)


@each_flavour
@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_without_choices_still_tells_what_it_is(flavour: str, *, include_usage: bool) -> None:
    reply = replace(REPLY, choices=())
    stream = DIALECT.encoder(asking(flavour, include_usage=include_usage)).encode_all(replay(reply))
    decoder = DIALECT.decoder()

    back = collect([*decoder.feed(stream), *decoder.close()])
    assert (back.reply_id, back.model, back.choices) == ("chatcmpl-1", "m", ())


def plainly(reply: Reply) -> Reply:
    """A reply without the mark on its reasoning, and whatever the flavour adds."""
    choices = [
        replace(
            choice,
            parts=tuple([ReasoningPart(one.text) if isinstance(one, ReasoningPart) else one for one in choice.parts]),
        )
        for choice in reply.choices
    ]
    return replace(reply, choices=tuple(choices), extra={})


@each_flavour
@given(reply=plain_replies)
@EXACT
def test_any_plain_reply_survives(flavour: str, reply: Reply) -> None:
    request = asking(flavour, include_usage=True)
    decoder = DIALECT.decoder()

    assert plainly(DIALECT.parse_reply(DIALECT.render_reply(request, reply))) == reply
    stream = DIALECT.encoder(request).encode_all(replay(reply))
    assert plainly(collect([*decoder.feed(stream), *decoder.close()])) == reply


@each_flavour
@given(reply=any_replies, data=st.data())
@EXACT
def test_any_reply_says_the_same_whole_and_streamed(flavour: str, reply: Reply, data: st.DataObject) -> None:
    request = asking(flavour)
    one = DIALECT.parse_reply(DIALECT.render_reply(request, reply)).choices[0]
    for events in (list(replay(reply)), data.draw(sayings(reply))):
        decoder = DIALECT.decoder()
        stream = DIALECT.encoder(request).encode_all(events)
        other = collect([*decoder.feed(stream), *decoder.close()]).choices[0]
        assert one.finish_reason == other.finish_reason
        for kind in (TextPart, ReasoningPart, RefusalPart):
            assert said(one.parts, kind) == said(other.parts, kind)
        assert [p for p in one.parts if isinstance(p, ToolCallPart)] == [
            p for p in other.parts if isinstance(p, ToolCallPart)
        ]


def said(parts: tuple[Part, ...], kind: type[Part]) -> str:
    return "".join([getattr(part, "text", "") for part in parts if isinstance(part, kind)])


@each_flavour
@pytest.mark.parametrize("name", sorted(path.name.partition(".")[0] for path in WIRE.glob("*.reply.json")))
def test_a_reply_of_any_host_survives_in_every_flavour(flavour: str, name: str) -> None:
    reply = DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())
    if name == "refusal" and flavour in ("groq", "mistral"):
        # As text: see below.
        reply = replace(reply, choices=(Choice((TextPart(said(reply.choices[0].parts, RefusalPart)),)),))
    request = asking(flavour, include_usage=True)
    decoder = DIALECT.decoder()

    back = plainly(DIALECT.parse_reply(DIALECT.render_reply(request, reply)))
    assert back.choices == plainly(reply).choices
    stream = DIALECT.encoder(request).encode_all(replay(reply))
    again = collect([*decoder.feed(stream), *decoder.close()])
    assert (plainly(again).choices, again.usage) == (plainly(reply).choices, reply.usage)


# Errors and lists.

ERRORS: list[tuple[str, MotiveError, Json]] = [
    (
        "azure",
        RateLimitedError("Slow down."),
        {"error": {"code": "429", "message": "Slow down.", "innererror": {"code": "rate_limited"}}},
    ),
    (
        "azure",
        NotFoundError("No such deployment.", code="model_not_found"),
        {
            "error": {
                "code": "DeploymentNotFound",
                "message": "No such deployment.",
                "innererror": {"code": "model_not_found"},
            }
        },
    ),
    (
        "azure",
        BadRequestError("no", param="messages"),
        {"error": {"message": "no", "type": "invalid_request_error", "param": "messages", "code": "invalid_request"}},
    ),
    (
        "mistral",
        HoldTimeoutError("late"),
        {"object": "error", "message": "late", "type": "hold_timeout", "param": None, "code": None},
    ),
    (
        "mistral",
        UnprocessableError("no", param="tools"),
        {"detail": [{"type": "unprocessable", "loc": ["body", "tools"], "msg": "no"}]},
    ),
    ("mistral", UnprocessableError("no"), {"detail": [{"type": "unprocessable", "loc": ["body"], "msg": "no"}]}),
    (
        "openrouter",
        BadRequestError("no", param="model"),
        {"error": {"code": 400, "message": "no", "metadata": {"error_type": "invalid_request", "param": "model"}}},
    ),
    ("xai", NotFoundError("no"), {"code": "not_found", "error": "no"}),
    (
        "groq",
        NotFoundError("no"),
        {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "not_found"}},
    ),
]
HOSTS = {
    "azure": "r.openai.azure.com",
    "mistral": "api.mistral.ai",
    "openrouter": "openrouter.ai",
    "xai": "api.x.ai",
    "groq": "api.groq.com",
    "": "api.openai.com",
    "reasoning": "api.cerebras.ai",
}


@pytest.mark.parametrize(
    ("flavour", "error", "body"), ERRORS, ids=[f"{flavour}-{error.status}" for flavour, error, _ in ERRORS]
)
def test_an_error_has_the_envelope_of_the_host(flavour: str, error: MotiveError, body: Json) -> None:
    dialect = DIALECT.for_client(head(HOSTS[flavour]))

    assert json.loads(dialect.render_error(error, "req_1")) == body
    assert dialect.error_headers(error, "req_1")["x-request-id"] == "req_1"


@each_flavour
@pytest.mark.parametrize("error", [OverloadedError("x"), UnprocessableError("x"), RateLimitedError("x")])
def test_an_error_in_a_stream_comes_back(flavour: str, error: MotiveError) -> None:
    decoder, encoder = DIALECT.decoder(), DIALECT.encoder(asking(flavour))
    begun: list[ReplyEvent] = [Started("c", "m"), PartStarted(0, 0, TextPart("half")), ChoiceEnded(0, "stop")]
    stream = encoder.encode_all([*begun, Failed(error)])

    assert stream.startswith(b"data: ")
    events = decoder.feed(stream)
    assert isinstance(events[-1], Failed)
    assert events[-1].error.message == "x"
    assert encoder.encode(Finished()) == b""
    assert decoder.close() == []


def test_clients_of_mistral_and_azure_get_their_members_of_a_model() -> None:
    models = [ModelInfo("zimmer ü", 7)]
    plain = {"id": "zimmer ü", "object": "model", "created": 7, "owned_by": "motive"}
    for flavour, host in HOSTS.items():
        (listed,) = json.loads(DIALECT.for_client(head(host)).render_models(models))["data"]
        assert plain.items() <= listed.items()
        match flavour:
            case "mistral":
                assert (listed["type"], listed["capabilities"]["completion_chat"]) == ("base", True)
            case "azure":
                assert (listed["status"], listed["created_at"]) == ("succeeded", 7)
            case _:
                assert listed == plain
