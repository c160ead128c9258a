"""What the Responses API makes of requests of another dialect, and of those that quote replies that were kept here."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from motive_core.dialects import KeptReply
from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = OpenAIResponses()
NAME = "openai-responses"


def parse(told: Any = "hi", **fields: Any) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "input": told, **fields}).encode())


def rendered(request: ChatRequest) -> Any:
    return json.loads(DIALECT.render_request(request))


def foreign(*messages: Message, **fields: Any) -> Any:
    return rendered(ChatRequest("elsewhere", "m", messages, **fields))


class TestFromAnotherDialect:
    def test_everything_has_its_place(self) -> None:
        asked = foreign(
            Message("system", (TextPart("Be "), TextPart("kind.")), extra={"instructions": True}),
            Message(
                "user", (TextPart("Look:"), BlobPart("image/png", data="AAAA"), BlobPart("", url="https://x.example"))
            ),
            Message(
                "assistant",
                (
                    ReasoningPart("Hm.", "signature"),
                    TextPart("I "),
                    TextPart("see."),
                    RefusalPart("Not all."),
                    ToolCallPart("c1", "f", ""),
                    ToolCallPart("c2", "sql", "", custom=True),
                ),
                "ann",
            ),
            Message("tool", (ToolResultPart("c1", (TextPart("x"),), "f", is_error=True),)),
            Message(
                "user", (ToolResultPart("c2", (TextPart("y"), BlobPart("image/png", data="AAAA"))), TextPart("Go on."))
            ),
            stream=True,
        )
        picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
        assert asked == {
            "model": "m",
            "stream": True,
            "store": False,
            "input": [
                {"type": "message", "role": "system", "content": "Be kind."},
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look:"},
                        picture,
                        {"type": "input_image", "image_url": "https://x.example", "detail": "auto"},
                    ],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "I see."},
                        {"type": "refusal", "refusal": "Not all."},
                    ],
                },
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "c2", "name": "sql", "input": ""},
                {"type": "function_call_output", "call_id": "c1", "output": "x"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "c2",
                    "output": [{"type": "input_text", "text": "y"}, picture],
                },
                {"type": "message", "role": "user", "content": "Go on."},
            ],
        }

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (
                BlobPart("application/pdf", data="AAAA"),
                {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            ),
            (
                BlobPart("text/plain", data="AAAA", name="a.txt"),
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,AAAA"},
            ),
            (
                BlobPart("application/pdf", url="https://x.example/a", name="a"),
                {"type": "input_file", "file_url": "https://x.example/a"},
            ),
            (
                BlobPart("image/png", url="https://x.example/a"),
                {"type": "input_image", "image_url": "https://x.example/a", "detail": "auto"},
            ),
        ],
    )
    def test_blobs_of_a_user(self, part: Part, expected: Any) -> None:
        assert foreign(Message("user", (part,)))["input"][0]["content"] == [expected]

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (BlobPart("audio/wav", data="AAAA"), "[file](data:audio/wav;base64,AAAA)"),
            (BlobPart("video/mp4", url="https://x.example/a"), "[file](https://x.example/a)"),
            (BlobPart("", data="AAAA"), "[file](data:application/octet-stream;base64,AAAA)"),
            (BlobPart("", url="file-id:1"), "[file](file-id:1)"),
            (OpaquePart("elsewhere", {"a": 1}), '{"a":1}'),
            (OpaquePart(NAME, {"type": "web_search_call"}), '{"type":"web_search_call"}'),
        ],
    )
    def test_parts_without_a_place_become_text(self, part: Part, expected: str) -> None:
        assert foreign(Message("user", (part,)))["input"][0]["content"] == expected
        assert foreign(Message("user", (TextPart("a"), part)))["input"][0]["content"] == f"a\n\n{expected}"
        assert foreign(Message("assistant", (TextPart("a"), part)))["input"][0]["content"] == f"a\n\n{expected}"
        result = ToolResultPart("c", (TextPart("a"), part))
        assert foreign(Message("tool", (result,)))["input"][0]["output"] == f"a\n\n{expected}"

    def test_blobs_outside_of_user_messages_become_text(self) -> None:
        roles: list[Role] = ["system", "developer", "assistant"]
        for role in roles:
            asked = foreign(Message(role, (TextPart("a"), BlobPart("image/png", data="AAAA"))))
            assert asked["input"][0]["content"] == "a\n\n![image](data:image/png;base64,AAAA)"

    def test_settings(self) -> None:
        asked = foreign(
            Message("user", (TextPart("x"),)),
            tools=(Tool("f", schema={"type": "object", "x": 1}), Tool("g", "d"), Tool("theirs", raw={"type": "x"})),
            tool_choice=ToolChoice("tool", "f", raw={"theirs": 1}),
            parallel_tool_calls=False,
            response_format=ResponseFormat("json_schema", schema={"type": "object"}, extra={"theirs": 1}),
            sampling=Sampling(max_tokens=3, temperature=0.5, stop=("a",), seed=7),
            n=3,
            extra={"theirs": 1},
            store=True,
        )
        assert asked == {
            "model": "m",
            "input": [{"type": "message", "role": "user", "content": "x"}],
            "tools": [
                {"type": "function", "name": "f", "parameters": {"type": "object", "x": 1}, "strict": False},
                {
                    "type": "function",
                    "name": "g",
                    "description": "d",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                },
            ],
            "tool_choice": {"type": "function", "name": "f"},
            "parallel_tool_calls": False,
            "text": {"format": {"type": "json_schema", "name": "reply", "schema": {"type": "object"}}},
            "max_output_tokens": 16,
            "temperature": 0.5,
        }

    def test_what_needs_tools_goes_with_them(self) -> None:
        asked = foreign(
            Message("user", (TextPart("x"),)),
            tools=(Tool("theirs", raw={}),),
            tool_choice=ToolChoice("required"),
            parallel_tool_calls=True,
        )
        assert set(asked) == {"model", "input", "store"}


class TestContinued:
    KEPT = KeptReply(
        parse([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "one"}], instructions="Old."),
        Reply("resp_1", "m", (Choice((ReasoningPart("Hm."), TextPart("first"), ToolCallPart("c", "f", "{}"))),)),
    )

    def test_instructions_are_those_of_the_request(self) -> None:
        asked = parse([{"type": "function_call_output", "call_id": "c", "output": "x"}], instructions="New.")
        request = DIALECT.continued(replace(asked, previous="resp_1"), self.KEPT)
        assert [message.role for message in request.messages] == ["system", "developer", "user", "assistant", "tool"]
        assert request.messages[0].text == "New."
        assert request.previous is None
        assert rendered(request) == {
            "model": "m",
            "instructions": "New.",
            "input": [
                {"type": "message", "role": "developer", "content": "Be brief."},
                {"type": "message", "role": "user", "content": "one"},
                {"type": "message", "role": "assistant", "content": "first"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
            ],
        }
        echoed = json.loads(DIALECT.render_reply(request, self.KEPT.reply))
        assert (echoed["previous_response_id"], echoed["instructions"]) == ("resp_1", "New.")

    def test_there_may_be_none(self) -> None:
        request = DIALECT.continued(parse("two"), self.KEPT)
        assert [message.role for message in request.messages] == ["developer", "user", "assistant", "user"]

    def test_what_the_real_service_kept_is_named_still(self) -> None:
        kept = KeptReply(parse("one", previous_response_id="resp_real"), self.KEPT.reply)
        request = DIALECT.continued(parse("two", previous_response_id="resp_1"), kept)
        assert request.previous == "resp_real"
        assert rendered(request)["previous_response_id"] == "resp_real"
        assert json.loads(DIALECT.render_reply(request, kept.reply))["previous_response_id"] == "resp_1"

    def find(self, reply_id: str) -> KeptReply | None:
        return self.KEPT if reply_id == "resp_1" else None

    def test_references_are_resolved(self) -> None:
        def reference(item: str) -> dict[str, Any]:
            return {"type": "item_reference", "id": item}

        asked = parse(
            [
                {"role": "user", "content": "one"},
                reference("rs_100"),
                {"id": "msg_101"},
                reference("fc_102"),
                reference("fc_103"),
                reference("msg_real00"),
                {"type": "function_call_output", "call_id": "c", "output": "x"},
            ]
        )
        got = DIALECT.resolved(asked, self.find)
        assert got.messages[1].parts == (
            ReasoningPart("Hm."),
            TextPart("first", extra={"message": {}}),
            ToolCallPart("c", "f", "{}"),
            OpaquePart(NAME, reference("fc_103")),
            OpaquePart(NAME, reference("msg_real00")),
        )
        assert rendered(got)["input"][1:5] == [
            {"type": "message", "role": "assistant", "content": "first"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            reference("fc_103"),
            reference("msg_real00"),
        ]

    def test_items_that_are_told_lose_our_ids(self) -> None:
        said = json.loads(DIALECT.render_reply(parse("one"), self.KEPT.reply))["output"]
        asked = parse([{"role": "user", "content": "one"}, *said, {"role": "user", "content": "two"}])
        got = rendered(DIALECT.resolved(asked, self.find))["input"]
        assert got[1:-1] == [
            {
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "first"}],
            },
            {"type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
        ]

    def test_nothing_of_ours_changes_nothing(self) -> None:
        for told in ("x", [{"type": "item_reference", "id": "msg_68af00"}, {"role": "user", "content": "x"}]):
            asked = parse(told)
            assert DIALECT.resolved(asked, self.find) is asked
