"""Whole replies of the legacy Completions, both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from motive_core.dialects.openai_completions import OpenAICompletions
from motive_core.errors import FramingError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

DIALECT = OpenAICompletions()
NAME = "openai-completions"
WIRE = Path(__file__).parents[2] / "wire" / NAME


def asking(*prompts: str, variant: str = "", **extra: Json) -> ChatRequest:
    messages = tuple([Message("user", (TextPart(prompt),)) for prompt in prompts or ("hi",)])
    return ChatRequest(NAME, "m", messages, n=len(messages), extra=extra, variant=variant)


def reply_of(*parts: Part, finish: FinishReason = "stop", usage: Usage | None = None, copies: int = 1) -> Reply:
    return Reply("cmpl-1", "m", (Choice(parts, finish),) * copies, usage, 7)


def render(reply: Reply, request: ChatRequest | None = None) -> dict[str, Json]:
    return json.loads(DIALECT.render_reply(request or asking(), reply))  # type: ignore[no-any-return]


def parse(*choices: Json, **more: Json) -> Reply:
    body = {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "choices": choices, **more}
    return DIALECT.parse_reply(json.dumps(body).encode())


def golden(name: str) -> Reply:
    return DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())


# Out.


def test_a_reply_byte_for_byte() -> None:
    reply = reply_of(TextPart("Grüße\n\u2028"), usage=Usage(1, 2))

    assert DIALECT.render_reply(asking(), reply).decode() == (
        '{"id":"cmpl-1","object":"text_completion","created":7,"model":"m",'
        '"choices":[{"text":"Grüße\\n\u2028","index":0,"logprobs":null,"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
    )


def test_details_of_the_usage_are_told_if_there_are_any() -> None:
    usage = render(reply_of(usage=Usage(11, 7, 4, 3)))["usage"]

    assert usage["prompt_tokens_details"]["cached_tokens"] == 4
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3
    assert "usage" not in render(reply_of())


def test_a_reply_of_fim_is_that_of_a_chat() -> None:
    reply = reply_of(TextPart("return n"), finish="length", usage=Usage(1, 2))

    assert render(reply, asking(variant="fim")) == {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "return n", "tool_calls": None},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    other = replace(asking(variant="fim"), dialect="elsewhere")
    assert render(reply, other)["object"] == "text_completion"


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "stop"),
        ("content_filter", "content_filter"),
        ("refusal", "content_filter"),
        ("error", "length"),
        ("pause", "stop"),
    ],
)
def test_finish_reasons(finish: FinishReason, told: str) -> None:
    assert render(reply_of(finish=finish))["choices"][0]["finish_reason"] == told


def test_all_parts_of_a_choice_are_one_text() -> None:
    reply = reply_of(
        ReasoningPart("hm", "sig"),
        ReasoningPart("", redacted="x"),
        TextPart("Lo"),
        TextPart("ok:"),
        RefusalPart("no"),
        ToolCallPart("c1", "f", '{"x": 1.0}'),
        BlobPart("application/pdf", url="https://example.org/a b", name="a"),
        OpaquePart("elsewhere", {"a": [1]}),
        TextPart(""),
        TextPart("Bye"),
    )

    assert render(reply)["choices"][0]["text"] == (
        'hm\n\n[redacted reasoning]\n\nLook:\n\nno\n\n[tool call f c1]\n{"x": 1.0}\n\n'
        '[a](https://example.org/a%20b)\n\n{"a":[1]}\n\nBye'
    )


def test_what_another_dialect_told_beside_is_not_told_here() -> None:
    choice = Choice((TextPart("x"),), stop_sequence="END", extra={"logprobs": {"content": []}, "finish_reason": "x"})
    reply = replace(reply_of(usage=Usage(1, 2, extra={"cost": 1})), choices=(choice,), extra={"service_tier": "x"})

    told = render(replace(reply, dialect="openai-chat"))
    assert told["choices"] == [{"text": "x", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert set(told) == {"id", "object", "created", "model", "choices", "usage"}
    assert set(told["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}


# Echo.


def test_echo_is_done_as_the_request_wants_it() -> None:
    reply = reply_of(TextPart(", ho"), copies=4)

    told = render(reply, replace(asking("hey", "hi", echo=True), n=4))
    assert [choice["text"] for choice in told["choices"]] == ["hey, ho", "hey, ho", "hi, ho", "hi, ho"]
    for without in (False, None, 1, "true"):
        assert render(reply_of(TextPart("x")), asking(echo=without))["choices"][0]["text"] == "x"


def test_a_reply_that_came_in_this_dialect_has_the_echo_already() -> None:
    reply = parse({"text": "hey, ho", "index": 0, "finish_reason": "stop"})

    assert render(reply, asking("hey", echo=True))["choices"][0]["text"] == "hey, ho"


def test_more_choices_than_were_asked_for_begin_with_nothing() -> None:
    told = render(reply_of(TextPart("x"), copies=2), asking("hey", echo=True))

    assert [choice["text"] for choice in told["choices"]] == ["heyx", "x"]


def test_the_echo_of_a_prompt_with_a_suffix_is_the_prompt_alone() -> None:
    request = DIALECT.parse_request(b'{"model":"m","prompt":"a","suffix":"z","echo":true}')

    assert render(reply_of(TextPart("b")), request)["choices"][0]["text"] == "ab"


# In.


def test_a_reply_is_read_whole() -> None:
    reply = golden("text")

    assert reply == Reply(
        "cmpl-CFkOYOUSzxZPGpzYGBDyXaJYRQCkR",
        "gpt-3.5-turbo-instruct:20230824-v2",
        (Choice((TextPart("\n\nThis is indeed a test."),)),),
        Usage(5, 7),
        1757851294,
    )
    assert reply.dialect == NAME


def test_choices_are_read_in_the_order_of_their_indices() -> None:
    assert [choice.parts for choice in golden("two_choices").choices] == [(TextPart("Tails"),), (TextPart("Heads."),)]
    assert [choice.parts for choice in parse({"text": "a"}, {"text": "b"}).choices] == [
        (TextPart("a"),),
        (TextPart("b"),),
    ]


@pytest.mark.parametrize(
    ("told", "finish", "extra"),
    [
        ("stop", "stop", {}),
        ("length", "length", {}),
        ("content_filter", "content_filter", {}),
        ("model_length", "length", {"finish_reason": "model_length"}),
        ("error", "error", {"finish_reason": "error"}),
        ("eos", "stop", {"finish_reason": "eos"}),
        (None, "stop", {}),
    ],
)
def test_finish_reasons_are_read(told: str | None, finish: FinishReason, extra: dict[str, Json]) -> None:
    reply = parse({"text": "x", "index": 0, "logprobs": None, "finish_reason": told})

    assert reply.choices == (Choice((TextPart("x"),), finish, extra=extra),)
    assert render(reply)["choices"][0]["finish_reason"] == (told or "stop")


def test_what_a_host_tells_beyond_the_api_is_told_again() -> None:
    for name in ("logprobs", "azure_content_filter", "together_unknown_finish", "vllm_stop"):
        told = json.loads((WIRE / f"{name}.reply.json").read_bytes())
        ours = render(golden(name))
        for kind in (told, ours):
            kind["choices"] = [
                {key: value for key, value in choice.items() if value is not None} for choice in kind["choices"]
            ]
            kind["usage"] = {key: value for key, value in kind["usage"].items() if value is not None}
        assert ours == {key: value for key, value in told.items() if value is not None}


def test_a_choice_may_say_its_text_as_in_a_chat() -> None:
    reply = golden("fim")

    assert reply.choices[0].parts == (TextPart("    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)"),)
    told = json.loads((WIRE / "fim.reply.json").read_bytes())
    assert render(reply, asking(variant="fim")) == told
    as_text = render(reply)["choices"][0]
    assert set(as_text) == {"text", "index", "logprobs", "finish_reason"}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"choices": {}},
        {"choices": [7]},
        {"choices": [{}]},
        {"choices": [{"text": None}]},
        {"choices": [{"text": 7}]},
        {"choices": [{"text": "x", "index": "0"}]},
        {"choices": [{"text": "x", "finish_reason": 1}]},
        {"choices": [{"message": []}]},
        {"choices": [{"message": {"content": 7}}]},
        {"choices": [], "id": 7},
    ],
)
def test_what_is_no_reply(body: Json) -> None:
    with pytest.raises(FramingError, match="not a reply of Completions"):
        DIALECT.parse_reply(json.dumps(body).encode())
