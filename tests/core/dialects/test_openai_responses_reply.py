"""Whole replies of the Responses API, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.errors import FramingError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

DIALECT = OpenAIResponses()
NAME = "openai-responses"
REQUEST = DIALECT.parse_request(b'{"model": "m", "input": "hi"}')
TEXT = {"type": "output_text", "annotations": [], "logprobs": [], "text": "hello"}


def rendered(*parts: Part, finish: FinishReason = "stop", request: ChatRequest = REQUEST, **fields: Any) -> Any:
    reply = Reply("resp_0a", "m", (Choice(parts, finish, "###"),), created=7, **fields)
    return json.loads(DIALECT.render_reply(request, reply))


def parse(*output: Any, **fields: Any) -> Reply:
    response = {"id": "resp_0a", "object": "response", "created_at": 7, "model": "m", "output": output, **fields}
    reply = DIALECT.parse_reply(json.dumps(response).encode())
    assert DIALECT.parse_reply(DIALECT.render_reply(REQUEST, reply)) == reply
    return reply


class TestOut:
    def test_the_whole_object(self) -> None:
        assert rendered(TextPart("hello"), usage=Usage(11, 7, 4, 3)) == {
            "id": "resp_0a",
            "object": "response",
            "created_at": 7,
            "status": "completed",
            "background": False,
            "completed_at": 7,
            "conversation": None,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "max_tool_calls": None,
            "model": "m",
            "output": [
                {"id": "msg_0a00", "type": "message", "status": "completed", "role": "assistant", "content": [TEXT]}
            ],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "prompt": None,
            "prompt_cache_key": None,
            "prompt_cache_retention": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": {
                "input_tokens": 11,
                "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 3},
                "total_tokens": 18,
            },
            "user": None,
            "metadata": {},
        }

    def test_items_in_the_order_of_the_parts(self) -> None:
        got = rendered(
            ReasoningPart("Hm."),
            TextPart("Let me."),
            ToolCallPart("c1", "f", '{"a": 1.0}'),
            ToolCallPart("c2", "sql", "SELECT 1", custom=True),
            TextPart("Done."),
        )
        assert [(item["id"], item["type"]) for item in got["output"]] == [
            ("rs_0a00", "reasoning"),
            ("msg_0a01", "message"),
            ("fc_0a02", "function_call"),
            ("ctc_0a03", "custom_tool_call"),
            ("msg_0a04", "message"),
        ]
        assert got["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm."}]
        assert got["output"][2] == {
            "id": "fc_0a02",
            "type": "function_call",
            "status": "completed",
            "call_id": "c1",
            "name": "f",
            "arguments": '{"a": 1.0}',
        }
        assert got["output"][3]["input"] == "SELECT 1"
        assert got["usage"] is None

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            ((), []),
            ((TextPart(""),), [("output_text", "")]),
            ((TextPart("a"), TextPart("b")), [("output_text", "ab")]),
            ((TextPart("a"), TextPart(""), BlobPart("image/png", url="x"), TextPart("b")),
             [("output_text", "a\n\n![image](x)\n\nb")]),
            ((TextPart("a"), RefusalPart("No."), RefusalPart("Never."), TextPart("b")),
             [("output_text", "a"), ("refusal", "No.\n\nNever."), ("output_text", "b")]),
            ((ToolResultPart("c", (TextPart("x"),)),), [("output_text", "[tool result c]\nx")]),
            ((OpaquePart("elsewhere", {"a": 1}),), [("output_text", '{"a":1}')]),
            ((OpaquePart(NAME, {"type": "web_search_call"}),), [("output_text", '{"type":"web_search_call"}')]),
        ],
    )  # fmt: skip
    def test_messages(self, parts: tuple[Part, ...], expected: list[tuple[str, str]]) -> None:
        contents = [part for item in rendered(*parts)["output"] for part in item["content"]]
        assert [(part["type"], part.get("text", part.get("refusal"))) for part in contents] == expected

    def test_another_vendors_proofs_are_left_out(self) -> None:
        got = rendered(ReasoningPart("Hm.", "signature"), ReasoningPart("", redacted="xyz"))
        assert got["output"] == [
            {"id": "rs_0a00", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {
                "id": "rs_0a01",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "[redacted reasoning]"}],
            },
        ]

    def test_no_arguments_are_an_empty_object(self) -> None:
        got = rendered(ToolCallPart("c1", "f", ""), ToolCallPart("c2", "f", "", custom=True))
        assert [item.get("arguments", item.get("input")) for item in got["output"]] == ["{}", ""]

    @pytest.mark.parametrize(
        ("finish", "status", "reason"),
        [
            ("stop", "completed", None),
            ("tool_calls", "completed", None),
            ("pause", "completed", None),
            ("length", "incomplete", "max_output_tokens"),
            ("error", "incomplete", "max_output_tokens"),
            ("content_filter", "incomplete", "content_filter"),
            ("refusal", "incomplete", "content_filter"),
        ],
    )
    def test_ends(self, finish: FinishReason, status: str, reason: str | None) -> None:
        got = rendered(ToolCallPart("c", "f", "{}"), TextPart("and so"), finish=finish)
        assert got["status"] == status
        assert got["incomplete_details"] == (None if reason is None else {"reason": reason})
        assert [item["status"] for item in got["output"]] == ["completed", status]

    def test_only_the_first_choice_counts(self) -> None:
        reply = Reply("resp_0a", "m", (Choice((TextPart("heads"),)), Choice((TextPart("Tails!"),))))
        assert "Tails!" not in DIALECT.render_reply(REQUEST, reply).decode()
        assert json.loads(DIALECT.render_reply(REQUEST, Reply("resp_0a", "m", ())))["output"] == []

    def test_settings_are_told(self) -> None:
        asked: dict[str, Any] = {
            "instructions": "Be kind.",
            "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "web_search"}],
            "tool_choice": {"type": "web_search"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
            "metadata": {"a": "b"},
            "previous_response_id": "resp_0",
            "store": False,
            "temperature": 0,
            "top_p": 0.5,
            "max_output_tokens": 9,
            "max_tool_calls": 2,
            "parallel_tool_calls": False,
            "reasoning": {"effort": "high", "summary": "auto"},
            "truncation": "auto",
            "user": "ann",
            "background": True,
            "top_logprobs": 3,
            "safety_identifier": "s",
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
            "prompt": {"id": "pmpt_1"},
            "conversation": {"id": "conv_1"},
        }
        request = DIALECT.parse_request(json.dumps({"model": "m", "input": "hi", "include": ["x"], **asked}).encode())
        got = rendered(TextPart("x"), request=request)
        assert {key: got[key] for key in asked} == asked
        assert "include" not in got
        named = DIALECT.parse_request(b'{"model": "m", "input": "hi", "conversation": "conv_1"}')
        assert rendered(TextPart("x"), request=named)["conversation"] == {"id": "conv_1"}


class TestIn:
    def test_ids_and_statuses_that_follow_are_not_kept(self) -> None:
        reply = DIALECT.parse_reply(
            DIALECT.render_reply(
                REQUEST,
                Reply("resp_0a", "m", (Choice((ReasoningPart("a"), TextPart("b"), ToolCallPart("c", "f", "{}"))),)),
            )
        )
        assert [part.extra for part in reply.choices[0].parts if not isinstance(part, OpaquePart)] == [{}, {}, {}]

    def test_other_members_are(self) -> None:
        reply = parse(
            {"id": "rs_x", "type": "reasoning", "summary": [], "encrypted_content": "gAAA", "content": None},
            {"id": "msg_x", "type": "message", "role": "assistant", "status": "in_progress", "content": [TEXT]},
            {"id": "msg_0a02", "type": "message", "role": "assistant", "phase": "final_answer", "content": [TEXT]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "crm"},
            {"id": "ws_1", "type": "web_search_call", "status": "completed"},
            status="completed",
            service_tier="flex",
            completed_at=9,
            billing={"payer": "x"},
            conversation=None,
            temperature=0.3,
            tools=[{"type": "web_search"}],
        )
        assert reply.choices[0].parts == (
            ReasoningPart("", "gAAA", extra={"id": "rs_x"}),
            TextPart("hello", extra={"message": {"id": "msg_x", "status": "in_progress"}}),
            TextPart("hello", extra={"message": {"phase": "final_answer"}}),
            ToolCallPart("c", "f", "{}", extra={"namespace": "crm"}),
            OpaquePart(NAME, {"id": "ws_1", "type": "web_search_call", "status": "completed"}),
        )
        assert reply.choices[0].finish_reason == "tool_calls"
        assert reply.extra == {"service_tier": "flex", "completed_at": 9, "billing": {"payer": "x"}}
        assert (reply.reply_id, reply.model, reply.created, reply.dialect) == ("resp_0a", "m", 7, NAME)

    def test_annotations_and_logprobs(self) -> None:
        told = {**TEXT, "annotations": [{"type": "url_citation"}], "logprobs": [{"token": "x"}]}
        message = {"id": "msg_0a00", "type": "message", "role": "assistant", "content": [told, TEXT]}
        parts = parse(message).choices[0].parts
        assert parts == (
            TextPart("hello", extra={"annotations": [{"type": "url_citation"}], "logprobs": [{"token": "x"}]}),
            TextPart("hello"),
        )

    @pytest.mark.parametrize("content", [[], None])
    def test_a_message_without_content(self, content: Any) -> None:
        reply = parse({"id": "msg_x", "type": "message", "role": "assistant", "content": content})
        assert reply.choices[0].parts == (TextPart("", extra={"message": {"id": "msg_x", "content": content}}),)

    @pytest.mark.parametrize(
        ("fields", "finish", "extra"),
        [
            ({}, "stop", {}),
            ({"status": "completed"}, "stop", {}),
            ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", {}),
            ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter", {}),
            (
                {"status": "incomplete", "incomplete_details": {"reason": "steered"}},
                "length",
                {"incomplete_details": {"reason": "steered"}},
            ),
            ({"status": "incomplete"}, "length", {"incomplete_details": None}),
            ({"status": "cancelled"}, "stop", {"status": "cancelled"}),
            ({"status": "queued"}, "stop", {"status": "queued"}),
        ],
    )
    def test_ends(self, fields: dict[str, Any], finish: FinishReason, extra: dict[str, Any]) -> None:
        choice = parse(**fields).choices[0]
        assert (choice.finish_reason, choice.extra) == (finish, extra)

    def test_usage(self) -> None:
        told = {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 20,
            "num_sources": 1,
        }
        usage = parse(usage=told).usage
        assert usage == Usage(
            11,
            7,
            4,
            3,
            extra={"total_tokens": 20, "num_sources": 1, "input_tokens_details": {"cache_write_tokens": 2}},
        )
        assert parse(usage=None).usage is None
        assert parse(usage={"input_tokens": 1, "output_tokens": 2, "input_tokens_details": None}).usage == Usage(1, 2)

    def test_a_moment_with_a_fraction(self) -> None:
        assert parse(created_at=7.9).created == 7

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{}",
            b'{"output": {}}',
            b'{"output": [7]}',
            b'{"output": [{}]}',
            b'{"output": [{"type": "function_call", "call_id": "c"}]}',
            b'{"output": [{"type": "message", "content": [{"type": "output_text"}]}]}',
            b'{"output": [], "id": 7}',
            b'{"output": [], "created_at": "now"}',
        ],
    )
    def test_what_is_no_reply(self, body: bytes) -> None:
        with pytest.raises(FramingError):
            DIALECT.parse_reply(body)

    def test_a_response_that_failed_is_none(self) -> None:
        with pytest.raises(FramingError, match="the response failed: Boom"):
            parse(status="failed", error={"code": "server_error", "message": "Boom"})
