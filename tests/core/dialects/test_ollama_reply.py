"""Whole replies of Ollama's API: what they say, what they cannot, and how they are said again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from motive_core import errors
from motive_core.dialects import Dialect
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.dialects.ollama_generate import OllamaGenerate
from motive_core.errors import FramingError, MotiveError
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
    TextPart,
    ToolCallPart,
    Usage,
)

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
BOTH = pytest.mark.parametrize("dialect", [CHAT, GENERATE], ids=lambda dialect: dialect.name)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
DURATIONS = {"total_duration": 1, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 1}


def asking(dialect: Dialect, variant: str = "") -> ChatRequest:
    return ChatRequest(dialect.name, "room", (Message("user", (TextPart("hi"),)),), variant=variant)


def reply_of(*parts: Part, finish: FinishReason = "stop") -> Reply:
    return Reply("r1", "room", (Choice(parts, finish),), Usage(11, 7, 4, 3), 1_795_230_354)


def rendered(dialect: Dialect, reply: Reply, request: ChatRequest | None = None) -> dict[str, Any]:
    body = dialect.render_reply(request or asking(dialect), reply)
    assert b"\n" not in body  # Ollama's Go package reads whole replies line by line, too
    found: dict[str, Any] = json.loads(body)
    return found


def parsed(dialect: Dialect, **members: Any) -> Reply:
    """A reply; rendered again, it says the same."""
    said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}} if dialect is CHAT else {"response": ""}
    body = {"model": "room", "created_at": "2026-11-21T03:05:54.5Z", **said, "done": True, **members}
    reply = dialect.parse_reply(json.dumps(body).encode())
    assert dialect.parse_reply(dialect.render_reply(asking(dialect), reply)) == reply
    return reply


class TestShapes:
    def test_chat(self) -> None:
        call = ToolCallPart("call_1", "f", '{"a": 1.0,\n "b": 2}')
        twin = ToolCallPart("f", "f", "")
        body = rendered(CHAT, reply_of(ReasoningPart("Hm."), TextPart("Hi."), call, twin, finish="tool_calls"))
        assert body == {
            "model": "room",
            "created_at": "2026-11-21T03:05:54.000000Z",
            "message": {
                "role": "assistant",
                "content": "Hi.",
                "thinking": "Hm.",
                "tool_calls": [
                    {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0, "b": 2}}},
                    {"function": {"index": 1, "name": "f", "arguments": {}}},
                ],
            },
            "done": True,
            "done_reason": "stop",
            **DURATIONS,
            "prompt_eval_count": 11,
            "eval_count": 7,
        }

    def test_generate(self) -> None:
        body = rendered(GENERATE, reply_of(ReasoningPart("Hm."), TextPart("Hi.")))
        assert body == {
            "model": "room",
            "created_at": "2026-11-21T03:05:54.000000Z",
            "response": "Hi.",
            "thinking": "Hm.",
            "done": True,
            "done_reason": "stop",
            **DURATIONS,
            "prompt_eval_count": 11,
            "eval_count": 7,
        }

    def test_nothing(self) -> None:
        reply = Reply("r1", "room", ())
        assert rendered(CHAT, reply)["message"] == {"role": "assistant", "content": ""}
        assert rendered(GENERATE, reply)["response"] == ""
        assert "eval_count" not in rendered(CHAT, reply)

    @BOTH
    @pytest.mark.parametrize(
        ("finish", "told"),
        [
            ("stop", "stop"),
            ("length", "length"),
            ("tool_calls", "stop"),
            ("content_filter", "stop"),
            ("refusal", "stop"),
            ("error", "length"),
            ("pause", "stop"),
        ],
    )
    def test_finish_reasons(self, dialect: Dialect, finish: FinishReason, told: str) -> None:
        assert rendered(dialect, reply_of(TextPart("x"), finish=finish))["done_reason"] == told


class TestNames:
    @BOTH
    def test_the_name_is_the_one_that_was_asked_for(self, dialect: Dialect) -> None:
        assert rendered(dialect, reply_of(), asking(dialect, ":latest"))["model"] == "room:latest"
        other = replace(reply_of(), model="gpt-5")
        assert rendered(dialect, other, asking(dialect, ":latest"))["model"] == "gpt-5"

    def test_the_variant_of_another_dialect_is_nothing_here(self) -> None:
        request = replace(asking(CHAT, ":latest"), dialect="elsewhere")
        assert rendered(CHAT, reply_of(), request)["model"] == "room"


class TestTimes:
    @pytest.mark.parametrize(
        ("told", "seconds"),
        [
            ("2026-11-21T03:05:54Z", 1_795_230_354),
            ("2026-11-21T03:05:54.999999999Z", 1_795_230_354),
            ("2026-11-20T19:05:54.1-08:00", 1_795_230_354),
            ("2026-11-21T03:05:54", 1_795_230_354),
            ("0001-01-01T00:00:00Z", 0),
            ("yesterday", 0),
            ("", 0),
            (None, 0),
            (7, 0),
        ],
    )
    def test_in(self, told: Any, seconds: int) -> None:
        assert parsed(CHAT, created_at=told).created == seconds

    @pytest.mark.parametrize("seconds", [0, -1, 10**18, 253_402_300_800])
    def test_out_of_the_calendar(self, seconds: int) -> None:
        body = rendered(CHAT, replace(reply_of(), created=seconds))
        assert body["created_at"] == "1970-01-01T00:00:00.000000Z"


class TestLoading:
    @pytest.mark.parametrize(
        ("extra", "reason"),
        [
            ({}, "load"),
            ({"keep_alive": "5m"}, "load"),
            ({"keep_alive": -1}, "load"),
            ({"keep_alive": 300}, "load"),
            ({"keep_alive": "1h0m0s"}, "load"),
            ({"keep_alive": ""}, "load"),
            ({"keep_alive": False}, "load"),
            ({"keep_alive": []}, "load"),
            ({"keep_alive": 0}, "unload"),
            ({"keep_alive": 0.0}, "unload"),
            ({"keep_alive": "0"}, "unload"),
            ({"keep_alive": "0s"}, "unload"),
            ({"keep_alive": "0m0s"}, "unload"),
        ],
    )
    @BOTH
    def test_what_asks_nothing_is_told_that_it_is_done(
        self, dialect: Dialect, extra: dict[str, Any], reason: str
    ) -> None:
        said = {"message": {"role": "assistant", "content": ""}} if dialect is CHAT else {"response": ""}
        body = {"model": "room:latest", "prompt": "", "messages": [], "stream": True, **extra}
        request = dialect.parse_request(json.dumps(body).encode())
        assert rendered(dialect, reply_of(TextPart("")), request) == {
            "model": "room:latest",
            "created_at": "2026-11-21T03:05:54.000000Z",
            **said,
            "done": True,
            "done_reason": reason,
        }

    @BOTH
    def test_such_a_reply_of_a_server(self, dialect: Dialect) -> None:
        reply = parsed(dialect, done_reason="unload")
        assert reply.choices == (Choice((), "stop", extra={"done_reason": "unload"}),)
        assert reply.usage is None


class TestReading:
    def test_parts_come_in_one_order(self) -> None:
        message = {
            "role": "assistant",
            "content": "Hi.",
            "thinking": "Hm.",
            "images": [PNG],
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
        }
        reply = parsed(CHAT, message=message)
        call = ToolCallPart("f", "f", '{"a":1}')
        assert reply.choices[0].parts == (
            ReasoningPart("Hm."),
            TextPart("Hi."),
            BlobPart("image/png", data=PNG),
            call,
        )
        assert reply.choices[0].finish_reason == "tool_calls"

    def test_a_completion_may_be_a_picture(self) -> None:
        reply = parsed(GENERATE, image=PNG, completed=4)
        assert reply.choices[0].parts == (BlobPart("image/png", data=PNG),)
        assert reply.choices[0].extra == {"completed": 4}

    def test_empty_members_are_no_parts(self) -> None:
        message: Any = {"role": "assistant", "content": "", "thinking": "", "images": None, "tool_calls": []}
        assert parsed(CHAT, message=message).choices == (Choice(()),)
        assert parsed(GENERATE, thinking=None, image="", tool_calls=None).choices == (Choice(()),)

    def test_a_cut_reply_with_calls(self) -> None:
        message = {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
        assert parsed(CHAT, message=message, done_reason="length").choices[0].finish_reason == "length"

    @BOTH
    def test_what_is_not_known_is_kept(self, dialect: Dialect) -> None:
        told = {
            "logprobs": [{"token": "a", "logprob": -0.5}],
            "remote_host": "https://ollama.com",
            "done_reason": "new",
        }
        reply = parsed(dialect, **told, remote_model=None)
        assert reply.choices[0].extra == told
        assert {key: rendered(dialect, reply)[key] for key in told} == told
        assert not told.keys() & (rendered(dialect, replace(reply, dialect="elsewhere")).keys() - {"done_reason"})

    def test_what_is_not_known_of_a_message_is_kept_there(self) -> None:
        reply = parsed(CHAT, message={"role": "assistant", "content": "x", "annotations": [1], "tool_name": None})
        assert reply.choices[0].extra == {"message": {"annotations": [1]}}
        assert rendered(CHAT, reply)["message"] == {"role": "assistant", "content": "x", "annotations": [1]}

    @BOTH
    @pytest.mark.parametrize(
        ("told", "usage"),
        [
            ({}, None),
            ({"prompt_eval_count": 3, "eval_count": 4}, Usage(3, 4)),
            ({"eval_count": 4}, Usage(0, 4)),
            ({"prompt_eval_count": 0}, Usage()),
            (DURATIONS, None),
            ({"total_duration": 5, "load_duration": 1}, Usage(extra={"total_duration": 5})),
            ({"eval_count": None, "eval_duration": None}, None),
            ({"eval_count": "many"}, Usage()),
        ],
    )
    def test_counts(self, dialect: Dialect, told: dict[str, Any], usage: Usage | None) -> None:
        assert parsed(dialect, **told).usage == usage

    @BOTH
    def test_durations_are_told_again_to_the_same_dialect_only(self, dialect: Dialect) -> None:
        reply = parsed(dialect, eval_count=2, eval_duration=9)
        assert rendered(dialect, reply)["eval_duration"] == 9
        assert rendered(dialect, replace(reply, dialect="elsewhere"))["eval_duration"] == 1

    @BOTH
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{}",
            b'{"error":"model \'x\' not found"}',
            b'{"message":{"content":1},"response":1}',
            b'{"message":{"content":"","tool_calls":[{}]},"response":"","tool_calls":[{}]}',
            b'{"message":[],"response":[]}',
            b'{"message":{"images":[1]},"response":"","image":1}',
        ],
    )
    def test_what_is_no_reply(self, dialect: Dialect, body: bytes) -> None:
        with pytest.raises(FramingError):
            dialect.parse_reply(body)


class TestDegrading:
    def test_what_has_no_place_becomes_text(self) -> None:
        parts = (
            TextPart("See"),
            BlobPart("image/png", data="AAAA"),
            OpaquePart("elsewhere", {"a": 1}),
            RefusalPart("No."),
            TextPart("that"),
            TextPart("."),
        )
        text = 'See\n\n![image](data:image/png;base64,AAAA)\n\n{"a":1}\n\nNo.\n\nthat.'
        assert rendered(CHAT, reply_of(*parts))["message"]["content"] == text
        assert rendered(GENERATE, reply_of(*parts))["response"] == text

    def test_a_completion_has_no_tool_calls(self) -> None:
        reply = reply_of(TextPart("Let me look."), ToolCallPart("call_1", "f", '{"a": 1}'), finish="tool_calls")
        body = rendered(GENERATE, reply)
        assert body["response"] == 'Let me look.\n\n[tool call f call_1]\n{"a": 1}'
        assert "tool_calls" not in body

    def test_reasoning(self) -> None:
        parts = (ReasoningPart("One.", "sig"), TextPart("x"), ReasoningPart("", redacted="abc"), ReasoningPart("Two."))
        message = rendered(CHAT, reply_of(*parts))["message"]
        assert message == {"role": "assistant", "content": "x", "thinking": "One.\n\n[redacted reasoning]\n\nTwo."}

    @pytest.mark.parametrize(("arguments", "custom"), [("SELECT 1", True), ("{cut", False), ("[1]", False)])
    def test_arguments_that_are_no_object(self, arguments: str, custom: bool) -> None:
        (call,) = rendered(CHAT, reply_of(ToolCallPart("c", "f", arguments, custom)))["message"]["tool_calls"]
        assert call["function"]["arguments"] == {"input": arguments}

    def test_choices_after_the_first_one_are_left_out(self) -> None:
        reply = replace(reply_of(), choices=(Choice((TextPart("a"),)), Choice((TextPart("b"),))))
        assert rendered(CHAT, reply)["message"]["content"] == "a"


@BOTH
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.NotFoundError("model 'x' not found"), "model 'x' not found"),
        (errors.BadRequestError("it must be a string", param="model"), "model: it must be a string"),
        (errors.BadRequestError("model is required", param="model"), "model is required"),
    ],
)
def test_errors(dialect: Dialect, error: MotiveError, text: str) -> None:
    assert json.loads(dialect.render_error(error, "req_1")) == {"error": text}
