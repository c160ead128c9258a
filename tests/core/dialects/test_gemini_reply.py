"""Replies of the Gemini API, in: whole and streamed, and what of them is given back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motive_core.dialects.gemini import Gemini
from motive_core.errors import FramingError, StatusError, UpstreamError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import (
    Failed,
    Finished,
    PartDelta,
    ReplyEvent,
    Started,
    UsageReported,
    collect,
    replay,
)

DIALECT = Gemini()
WIRE = Path(__file__).parents[2] / "wire" / "gemini"
REQUEST = ChatRequest("gemini", "m", (), stream=True)
ARRAY = ChatRequest("gemini", "m", (), stream=True, variant="array")
STARTED = Started("r1", "m")
OWN = Started("r1", "m", dialect="gemini")


def golden(name: str) -> Reply:
    return DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())


def decode(*chunks: bytes) -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    return [*[event for chunk in chunks for event in decoder.feed(chunk)], *decoder.close()]


def chunk(*parts: Json, finish: str | None = None, index: int = 0, **more: Json) -> dict[str, Json]:
    candidate: dict[str, Json] = {"content": {"parts": list(parts), "role": "model"}, "index": index, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}


def sse(*chunks: Json) -> bytes:
    return b"".join([b"data: %b\r\n\r\n" % json.dumps(one).encode() for one in chunks])


def said(*chunks: Json) -> Choice:
    """The only choice of a stream of these chunks; the same chunks as an array say the same."""
    reply = collect(decode(sse(*chunks)))
    assert collect(decode(b"[%b]" % b",\r\n".join([json.dumps(one).encode() for one in chunks]))) == reply
    (choice,) = reply.choices
    return choice


def whole(*parts: Json, finish: str = "STOP", **more: Json) -> Choice:
    (choice,) = DIALECT.parse_reply(json.dumps(chunk(*parts, finish=finish, **more)).encode()).choices
    return choice


def encode(*events: ReplyEvent, request: ChatRequest = REQUEST) -> list[Any]:
    """The chunks that an encoder makes of these events."""
    data = DIALECT.encoder(request).encode_all(events)
    if request.variant:
        return list(json.loads(data))
    blocks = data.split(b"\r\n\r\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    return [json.loads(block.removeprefix(b"data: ")) for block in blocks]


def rendered(*parts: Part, finish: FinishReason = "stop", dialect: str = "", **extra: Json) -> Any:
    reply = Reply("r1", "m", (Choice(parts, finish, extra=extra),), dialect=dialect)
    return json.loads(DIALECT.render_reply(REQUEST, reply))["candidates"][0]


def test_text_that_follows_text_is_one_part() -> None:
    pieces = [{"text": "a"}, {"text": ""}, {"text": "b"}]
    expected = (TextPart("ab"),)
    assert whole(*pieces).parts == expected
    assert said(*[chunk(piece) for piece in pieces], chunk(finish="STOP")).parts == expected


def test_a_part_ends_where_another_kind_begins() -> None:
    pieces: list[Json] = [
        {"text": "A", "thought": True},
        {"text": "B", "thought": True},
        {"text": "c"},
        {"functionCall": {"name": "f", "id": "1", "args": {"x": 1}}},
        {"text": "d"},
        {"executableCode": {"code": "1"}},
        {"text": "e"},
        {"inlineData": {"mimeType": "image/png", "data": "-_8"}},
        {"text": "F", "thought": True},
    ]
    expected = (
        ReasoningPart("AB"),
        TextPart("c"),
        ToolCallPart("1", "f", '{"x":1}'),
        TextPart("d"),
        OpaquePart("gemini", {"executableCode": {"code": "1"}}),
        TextPart("e"),
        BlobPart("image/png", data="+/8="),
        ReasoningPart("F"),
    )
    assert whole(*pieces).parts == expected
    assert said(*[chunk(piece) for piece in pieces[:-1]], chunk(pieces[-1], finish="STOP")).parts == expected


def test_a_signature_ends_its_part() -> None:
    pieces: list[Json] = [
        {"text": "A", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "s1"},
        {"text": "B", "thought": True},
        {"text": "c"},
        {"thoughtSignature": "s2"},
        {"text": "d", "partMetadata": {"x": 1}},
        {"text": "e"},
        {"functionCall": {"name": "f"}, "thoughtSignature": "s3"},
        {"text": "", "thoughtSignature": "s4"},
    ]
    expected = (
        ReasoningPart("A", "s1"),
        ReasoningPart("B"),
        TextPart("c", extra={"thoughtSignature": "s2"}),
        TextPart("d", extra={"partMetadata": {"x": 1}}),
        TextPart("e"),
        ToolCallPart("f", "f", "{}", extra={"thoughtSignature": "s3", "functionCall": {"id": None}}),
        TextPart("", extra={"thoughtSignature": "s4"}),
    )
    assert whole(*pieces).parts == expected
    assert said(*[chunk(piece) for piece in pieces[:-1]], chunk(pieces[-1], finish="STOP")).parts == expected


def test_golden_thoughts() -> None:
    thought, text = golden("thoughts").choices[0].parts
    assert isinstance(thought, ReasoningPart)
    assert thought.text.startswith("**Multiplying**")
    assert isinstance(text, TextPart)
    assert (text.text, list(text.extra)) == ("27 × 453 = 12231", ["thoughtSignature"])
    assert golden("thoughts").usage == Usage(
        17, 325, reasoning_tokens=301, extra={"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 17}]}
    )


def test_calls_of_one_function_without_ids_are_told_apart() -> None:
    first, second, third = golden("calls_without_ids").choices[0].parts
    assert isinstance(first, ToolCallPart)
    assert isinstance(second, ToolCallPart)
    assert (first.call_id, second.call_id) == ("roll", "roll-2")
    assert third == ToolCallPart("flip", "flip", "{}", extra={"functionCall": {"id": None}})


def test_arguments_are_exact() -> None:
    (call,) = golden("tool_call").choices[0].parts
    assert isinstance(call, ToolCallPart)
    assert call.arguments == '{"location":"München","days":3,"scale":1.0,"big":12345678901234567890}'
    assert golden("tool_call").choices[0].finish_reason == "tool_calls"


FILTERED = (
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "MODEL_ARMOR",
)
FAILED = (
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "IMAGE_OTHER",
    "NO_IMAGE",
)


@pytest.mark.parametrize(
    ("told", "finish", "kept"),
    [
        ("STOP", "stop", False),
        ("MAX_TOKENS", "length", False),
        ("SAFETY", "content_filter", False),
        *[(reason, "content_filter", True) for reason in FILTERED],
        ("OTHER", "error", False),
        *[(reason, "error", True) for reason in FAILED],
        ("CONTINUATION", "pause", True),
        ("WHATEVER", "stop", True),
    ],
)
def test_finish_reasons(told: str, finish: str, kept: bool) -> None:
    for choice in (whole({"text": "x"}, finish=told), said(chunk({"text": "x"}), chunk(finish=told))):
        assert choice.finish_reason == finish
        assert choice.extra == ({"finishReason": told} if kept else {})
        again = rendered(*choice.parts, finish=choice.finish_reason, dialect="gemini", **choice.extra)
        assert again["finishReason"] == told


@pytest.mark.parametrize(
    ("finish", "told"), [("tool_calls", "STOP"), ("refusal", "SAFETY"), ("pause", "STOP"), ("error", "OTHER")]
)
def test_finish_reasons_of_others(finish: FinishReason, told: str) -> None:
    assert rendered(TextPart("x"), finish=finish, finishReason="RECITATION")["finishReason"] == told


def test_a_prompt_that_was_blocked() -> None:
    reply = golden("blocked_prompt")
    assert reply.choices == (Choice((), "content_filter"),)
    assert reply.extra == {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    body = json.loads(DIALECT.render_reply(REQUEST, reply))
    assert "candidates" not in body
    assert body["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    (one,) = encode(*replay(reply))
    assert one == body


def test_members_beside_the_parts_are_kept() -> None:
    reply = golden("code_execution")
    extra = reply.choices[0].extra
    assert extra.keys() == {"citationMetadata", "groundingMetadata"}
    assert reply.usage is not None
    assert reply.usage.extra["toolUsePromptTokenCount"] == 130
    assert "totalTokenCount" not in reply.usage.extra
    streamed = collect(decode((WIRE / "code_execution.stream.sse").read_bytes()))
    assert streamed.choices[0].extra == extra
    assert golden("vertex").extra == {"createTime": "2026-01-17T12:34:10.123456Z"}
    assert golden("safety").choices[0].extra["safetyRatings"][1]["blocked"] is True


def test_citations_of_a_stream_add_up_and_other_members_replace_each_other() -> None:
    choice = said(
        chunk({"text": "a"}, citationMetadata={"citationSources": [1]}, safetyRatings=[1]),
        chunk({"text": "b"}, citationMetadata={"citationSources": [2]}, safetyRatings=[2], new=True),
        chunk(finish="STOP", groundingMetadata={"x": 1}),
    )
    assert choice.extra == {
        "citationMetadata": {"citationSources": [1, 2]},
        "safetyRatings": [2],
        "new": True,
        "groundingMetadata": {"x": 1},
    }


def test_members_of_a_content_are_kept() -> None:
    raw = chunk({"text": "a"}, finish="STOP")
    raw["candidates"][0]["content"]["more"] = 1
    reply = DIALECT.parse_reply(json.dumps(raw).encode())
    assert reply.choices[0].extra == {"content": {"more": 1}}
    assert json.loads(DIALECT.render_reply(REQUEST, reply)) == raw


def test_several_candidates() -> None:
    first, second = {"text": "a"}, {"text": "b"}
    body = {
        "candidates": [*chunk(first, finish="STOP")["candidates"], *chunk(second, finish="MAX_TOKENS")["candidates"]]
    }
    body["candidates"][1]["index"] = 1
    expected = (Choice((TextPart("a"),)), Choice((TextPart("b"),), "length"))
    assert DIALECT.parse_reply(json.dumps(body).encode()).choices == expected

    data = sse(chunk(second, index=1), chunk(first), chunk(finish="STOP"), chunk(finish="MAX_TOKENS", index=1))
    assert collect(decode(data)).choices == expected
    reply = Reply("r1", "m", expected, Usage(1, 2), dialect="gemini")
    chunks = encode(*replay(reply))
    assert [[one["index"] for one in each["candidates"]] for each in chunks] == [[0], [1], [0, 1]]
    assert [one["finishReason"] for one in chunks[-1]["candidates"]] == ["STOP", "MAX_TOKENS"]
    assert collect(decode(sse(*chunks))) == reply


def test_usage() -> None:
    raw = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 22,
    }
    body = {**chunk({"text": "x"}, finish="STOP"), "usageMetadata": raw}
    reply = DIALECT.parse_reply(json.dumps(body).encode())
    assert reply.usage == Usage(10, 12, 4, 7)
    assert json.loads(DIALECT.render_reply(REQUEST, reply)) == body
    odd = {**raw, "totalTokenCount": 23, "trafficType": "ON_DEMAND"}
    reply = DIALECT.parse_reply(json.dumps({**body, "usageMetadata": odd}).encode())
    assert reply.usage == Usage(10, 12, 4, 7, extra={"totalTokenCount": 23, "trafficType": "ON_DEMAND"})
    assert json.loads(DIALECT.render_reply(REQUEST, reply))["usageMetadata"] == odd


def test_usage_of_each_chunk_is_told_when_it_changes() -> None:
    usages: list[Json] = [
        {"promptTokenCount": 1},
        {"promptTokenCount": 1},
        {"promptTokenCount": 1, "candidatesTokenCount": 2},
    ]
    chunks = [{**chunk({"text": "x"}), "usageMetadata": usage} for usage in usages]
    events = decode(sse(*chunks, chunk(finish="STOP")))
    assert [event.usage for event in events if isinstance(event, UsageReported)] == [Usage(1), Usage(1, 2)]


def test_the_reply_may_be_in_snake_case() -> None:
    body = (
        b'{"candidates":{"content":{"parts":{"function_call":{"name":"f","args":{"a":1.50}}}}},"usage_metadata":null}'
    )
    (choice,) = DIALECT.parse_reply(body).choices
    assert isinstance(choice.parts[0], ToolCallPart)
    assert choice.parts[0].arguments == '{"a":1.50}'


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"error":{"code":400,"message":"x"}}',
        b'{"modelVersion":"m"}',
        b'{"candidates":["x"]}',
        b'{"candidates":[{"content":1}]}',
        b'{"candidates":[{"content":{"parts":[{"text":1}]}}]}',
        b'{"candidates":[{"finishReason":7}]}',
        b'{"candidates":[],"responseId":1}',
    ],
)
def test_what_is_no_reply(body: bytes) -> None:
    with pytest.raises(FramingError):
        DIALECT.parse_reply(body)


def test_a_reply_without_candidates_has_no_choices() -> None:
    assert DIALECT.parse_reply(b'{"usageMetadata":{"promptTokenCount":3},"modelVersion":"m"}').choices == ()


def test_a_reason_that_is_not_told_yet() -> None:
    done = said(chunk({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED"), chunk(finish="STOP"))
    assert (done.parts, done.extra) == ((TextPart("a"),), {})
    assert isinstance(decode(sse(chunk({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED")))[-1], Failed)


def test_text_after_the_finish_reason_counts() -> None:
    choice = said(chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, finish="MAX_TOKENS"))
    assert (choice.parts, choice.finish_reason) == ((TextPart("ab"),), "length")


def test_a_mark_of_the_end_is_ignored() -> None:
    assert decode(sse(chunk({"text": "a"}, finish="STOP")) + b"data: [DONE]\n\n")[-1] == Finished()


@pytest.mark.parametrize("data", [b"", b"\r\n", sse(chunk({"text": "a"})), b"[", b"[{}", b"[]", b"data: {}\n\n"])
def test_a_stream_that_is_cut_fails(data: bytes) -> None:
    events = decode(data)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, UpstreamError)


@pytest.mark.parametrize("data", [b"data: x\n\n", b"data: []\n\n", b"[1]", b"data: \xff\n\n"])
def test_what_is_no_stream(data: bytes) -> None:
    with pytest.raises(FramingError):
        DIALECT.decoder().feed(data)


def test_what_stands_before_a_fault_is_told_first() -> None:
    decoder = DIALECT.decoder()
    assert decoder.feed(sse(chunk({"text": "a"}), {"candidates": 1}))[-1] == PartDelta(0, 0, "a")
    with pytest.raises(FramingError, match=r"not a stream of the Gemini API: candidates\[0\]: it must be an object"):
        decoder.feed(b"")


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (sse(ERROR), 503, "UNAVAILABLE"),
        (sse(chunk({"text": "a"}), ERROR), 503, "UNAVAILABLE"),
        (b"[%b]" % json.dumps(ERROR).encode(), 503, "UNAVAILABLE"),
        (json.dumps(ERROR, indent=2).encode(), 503, "UNAVAILABLE"),
        (
            sse({"error": {"message": "The model is overloaded.", "status": "RESOURCE_EXHAUSTED"}}),
            429,
            "RESOURCE_EXHAUSTED",
        ),
    ],
)
def test_an_error_in_a_stream(data: bytes, status: int, code: str) -> None:
    *_, last = decode(data)
    assert isinstance(last, Failed)
    assert isinstance(last.error, StatusError)
    assert (last.error.status, last.error.code, last.error.message) == (status, code, "The model is overloaded.")


@pytest.mark.parametrize("error", [{}, "x", None, {"code": 7, "status": 9, "message": None}, {"status": "NEW"}])
def test_an_odd_error_in_a_stream(error: Json) -> None:
    *_, last = decode(sse({"error": error}))
    assert isinstance(last, Failed)
    assert isinstance(last.error, UpstreamError)
