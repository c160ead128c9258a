"""Replies of the Gemini API, out: whole and streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motive_core.dialects.gemini import Gemini
from motive_core.errors import HoldTimeoutError, OverloadedError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Json,
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
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    SignatureDelta,
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


def chunk(*parts: Json, finish: str | None = None, index: int = 0, **more: Json) -> dict[str, Json]:
    candidate: dict[str, Json] = {"content": {"parts": list(parts), "role": "model"}, "index": index, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}


def golden(name: str) -> Reply:
    return DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())


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


def spoken(*events: ReplyEvent, started: Started = STARTED) -> list[Json]:
    """The parts of the chunks before the last one, which has an empty text."""
    *chunks, last = encode(started, *events, Finished())
    assert last["candidates"][0]["content"]["parts"] == [{"text": ""}]
    assert last["candidates"][0]["finishReason"] == "STOP"
    for one in chunks:
        (candidate,) = one["candidates"]
        assert candidate.keys() == {"content", "index"}
        assert (one["modelVersion"], one["responseId"]) == ("m", "r1")
    return [part for one in chunks for part in one["candidates"][0]["content"]["parts"]]


def rendered(*parts: Part, finish: FinishReason = "stop", dialect: str = "", **extra: Json) -> Any:
    reply = Reply("r1", "m", (Choice(parts, finish, extra=extra),), dialect=dialect)
    return json.loads(DIALECT.render_reply(REQUEST, reply))["candidates"][0]


def test_text_flows() -> None:
    chunks = encode(
        STARTED,
        PartStarted(0, 0, TextPart("A")),
        PartDelta(0, 0, "b\u2028"),
        PartDelta(0, 0, ""),
        PartDelta(0, 0, "c"),
        PartEnded(0, 0),
        ChoiceEnded(0, "stop"),
        UsageReported(Usage(3, 4)),
        Finished(),
    )
    assert chunks == [
        *[chunk({"text": text}) for text in ("A", "b\u2028", "c")],
        {
            **chunk({"text": ""}, finish="STOP"),
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
        },
    ]


def test_the_bytes_of_a_chunk() -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all([STARTED, PartStarted(0, 0, TextPart(""))])
    for text in ("ü", "\n"):
        assert encoder.encode(PartDelta(0, 0, text)) == (
            b'data: {"candidates":[{"content":{"parts":[{"text":%b}],"role":"model"},"index":0}],'
            b'"modelVersion":"m","responseId":"r1"}\r\n\r\n' % json.dumps(text, ensure_ascii=False).encode()
        )


def test_no_chunk_has_what_a_python_client_takes_for_a_line_end() -> None:
    text = "a\x85b\u2028c\u2029d\x0b\x0c\x1c\x1d\x1ee\r\n\\"
    call = ToolCallPart("c1", "f", json.dumps({"x": text}, ensure_ascii=False))
    events = list(replay(Reply("r1", text, (Choice((TextPart(text), ReasoningPart(text), call)),))))
    data = DIALECT.encoder(REQUEST).encode_all([*events[:2], PartDelta(0, 0, text), *events[2:]])

    assert all(line.startswith("data: {") for line in data.decode().splitlines() if line)
    decoder = DIALECT.decoder()
    reply = collect([*decoder.feed(data), *decoder.close()])
    assert reply.model == text
    thrice, thought, again = reply.choices[0].parts
    assert (thrice, thought) == (TextPart(text + text), ReasoningPart(text))
    assert isinstance(again, ToolCallPart)
    assert json.loads(again.arguments) == {"x": text}


def test_an_array() -> None:
    events: list[ReplyEvent] = [
        STARTED,
        PartStarted(0, 0, TextPart("")),
        PartDelta(0, 0, "a"),
        PartDelta(0, 0, "b"),
        ChoiceEnded(0, "stop"),
        Finished(),
    ]
    encoder = DIALECT.encoder(ARRAY)
    pieces = [encoder.encode(event) for event in events]
    assert [piece[:4] for piece in pieces] == [b"", b"", b'[{"c', b",\r\n{", b"", b",\r\n{"]
    assert pieces[-1].endswith(b"}]")
    assert encode(*events, request=ARRAY) == encode(*events)
    assert encode(STARTED, Finished(), request=ARRAY) == [chunk({"text": ""}, finish="STOP")]


def test_reasoning_and_its_signature() -> None:
    events: list[ReplyEvent] = [
        PartStarted(0, 0, ReasoningPart("")),
        PartDelta(0, 0, "Hm"),
        PartDelta(0, 0, "m"),
        SignatureDelta(0, 0, "s1"),
        SignatureDelta(0, 0, "s2"),
        PartEnded(0, 0),
        PartStarted(0, 1, TextPart("")),
        PartDelta(0, 1, "x"),
        PartEnded(0, 1, extra={"thoughtSignature": "s3"}),
    ]
    thoughts = [{"text": "Hm", "thought": True}, {"text": "m", "thought": True}]
    assert spoken(*events) == [*thoughts, {"text": "x"}]
    assert spoken(*events, started=OWN) == [
        *thoughts,
        {"text": "", "thought": True, "thoughtSignature": "s1s2"},
        {"text": "x"},
        {"text": "", "thoughtSignature": "s3"},
    ]


def test_a_call_is_said_at_once_when_it_is_complete() -> None:
    encoder = DIALECT.encoder(REQUEST)
    silent: list[ReplyEvent] = [
        STARTED,
        PartStarted(0, 0, ToolCallPart("c1", "f", "")),
        PartDelta(0, 0, '{"a":\n'),
        PartDelta(0, 0, "1.0}"),
    ]
    assert encoder.encode_all(silent) == b""
    assert b'{"functionCall":{"id":"c1","name":"f","args":{"a":1.0}}}' in encoder.encode(PartEnded(0, 0))


def test_a_call_that_is_still_open_is_said_at_the_end_of_its_choice() -> None:
    events: list[ReplyEvent] = [
        PartStarted(0, 0, ToolCallPart("c1", "f", "")),
        PartDelta(0, 0, "cut {"),
        ChoiceEnded(0, "tool_calls"),
    ]
    assert spoken(*events) == [{"functionCall": {"id": "c1", "name": "f", "args": {"input": "cut {"}}}]
    assert spoken(*events[:-1]) == spoken(*events)


def test_parts_that_interleave_wait_for_their_turn() -> None:
    assert spoken(
        PartStarted(0, 0, TextPart("")),
        PartStarted(0, 1, ToolCallPart("c1", "f", "")),
        PartStarted(0, 2, ToolCallPart("c2", "g", "")),
        PartDelta(0, 2, "{}"),
        PartDelta(0, 0, "a"),
        PartDelta(0, 1, '{"x":1}'),
        PartEnded(0, 2),
        PartEnded(0, 1),
        PartDelta(0, 0, "b"),
        PartEnded(0, 0),
        PartStarted(0, 3, TextPart("c")),
    ) == [
        {"text": "a"},
        {"text": "b"},
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
        {"text": "c"},
    ]


def test_choices_flow_beside_each_other() -> None:
    *chunks, last = encode(
        STARTED,
        PartStarted(0, 0, TextPart("")),
        PartStarted(1, 0, ReasoningPart("")),
        PartDelta(0, 0, "a"),
        PartDelta(1, 0, "A"),
        PartDelta(0, 0, "b"),
        PartDelta(1, 0, "B"),
        ChoiceEnded(1, "length"),
        PartDelta(1, 0, "no more"),
        PartDelta(0, 0, "c"),
        Finished(),
    )
    assert chunks == [
        chunk({"text": "a"}),
        chunk({"text": "A", "thought": True}, index=1),
        chunk({"text": "b"}),
        chunk({"text": "B", "thought": True}, index=1),
        chunk({"text": "c"}),
    ]
    assert [one["finishReason"] for one in last["candidates"]] == ["STOP", "MAX_TOKENS"]


PICTURE = BlobPart("image/png", data="AAAA", name="a.png")


def test_what_has_no_place_becomes_text() -> None:
    parts: tuple[Part, ...] = (
        TextPart("a"),
        TextPart("b"),
        RefusalPart("No."),
        BlobPart("application/pdf", data="AAAA"),
        BlobPart("image/png", url="https://example.org/a.png"),
        PICTURE,
        OpaquePart("another", {"x": 1}),
        ToolResultPart("c1", (TextPart("3"),), "f"),
        ReasoningPart("", redacted="secret"),
        ReasoningPart("Hm.", "a signature"),
    )
    text = (
        "ab\n\nNo.\n\n[file](data:application/pdf;base64,AAAA)\n\n![image](https://example.org/a.png)",
        '\n\n{"x":1}\n\n[tool result f c1]\n3',
        "[redacted reasoning]\n\nHm.",
    )
    expected = [
        {"text": text[0]},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA", "displayName": "a.png"}},
        {"text": text[1]},
        {"text": text[2], "thought": True},
    ]
    assert rendered(*parts)["content"] == {"parts": expected, "role": "model"}
    pieces = spoken(*list(replay(Reply("r1", "m", (Choice(parts),))))[1:-1])
    assert [piece for piece in pieces if "text" not in piece] == [expected[1]]
    joined = "".join([piece["text"] for piece in pieces if "thought" not in piece and "text" in piece])
    assert joined == text[0] + text[1]
    assert "".join([piece["text"] for piece in pieces if "thought" in piece]) == text[2]


def test_own_parts_are_said_as_they_came() -> None:
    pieces: list[Json] = [
        {"executableCode": {"language": "PYTHON", "code": "1\n"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/a.mp4"}},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s"},
        {"text": "x", "thoughtSignature": "s"},
    ]
    parts = whole(*pieces).parts
    assert rendered(*parts, dialect="gemini")["content"]["parts"] == pieces
    streamed = spoken(*list(replay(Reply("r1", "m", (Choice(parts),))))[1:-1], started=OWN)
    assert streamed == [*pieces[:-1], {"text": "x"}, {"text": "", "thoughtSignature": "s"}]


def test_what_only_this_dialect_knows_is_not_told_of_others() -> None:
    call = ToolCallPart("c1", "f", "{}", extra={"functionCall": {"id": None}, "index": 0})
    assert rendered(TextPart("x", extra={"annotations": []}), call)["content"]["parts"] == [
        {"text": "x"},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}},
    ]


def test_a_reply_that_says_nothing_has_an_empty_text() -> None:
    assert rendered() == {
        "content": {"parts": [{"text": ""}], "role": "model"},
        "finishReason": "STOP",
        "index": 0,
    }
    assert encode(STARTED, Finished()) == [chunk({"text": ""}, finish="STOP")]
    assert encode(Finished())[0]["modelVersion"] == "m"


def test_members_of_the_reply_come_with_the_first_chunk_and_of_the_choice_with_the_last() -> None:
    started = Started("r1", "m", extra={"createTime": "now"}, dialect="gemini")
    events: list[ReplyEvent] = [
        PartStarted(0, 0, TextPart("a")),
        PartDelta(0, 0, "b"),
        ChoiceEnded(0, "stop", extra={"avgLogprobs": -1}),
    ]
    first, second, last = encode(started, *events, Finished())
    assert (first.get("createTime"), second.get("createTime"), last.get("createTime")) == ("now", None, None)
    assert last["candidates"][0]["avgLogprobs"] == -1
    foreign = encode(Started("r1", "m", extra={"createTime": "now"}), *events, Finished())
    assert foreign == [chunk({"text": "a"}), chunk({"text": "b"}), chunk({"text": ""}, finish="STOP")]


@pytest.mark.parametrize("request_", [REQUEST, ARRAY], ids=["sse", "array"])
def test_an_error_ends_the_stream(request_: ChatRequest) -> None:
    half: list[ReplyEvent] = [STARTED, PartStarted(0, 0, TextPart("a"))]
    for begun in ([], half):
        chunks = encode(*begun, Failed(HoldTimeoutError("nobody")), Finished(), PartDelta(0, 0, "x"), request=request_)
        error = chunks[-1]["error"]
        assert (error["code"], error["status"], error["message"]) == (504, "DEADLINE_EXCEEDED", "nobody")
        assert len(chunks) == len(begun[:1]) + 1


@pytest.mark.parametrize("request_", [REQUEST, ARRAY], ids=["sse", "array"])
def test_heartbeats_are_blank_lines_between_chunks(request_: ChatRequest) -> None:
    encoder = DIALECT.encoder(request_)
    assert encoder.heartbeat() == b"\r\n"
    encoder.encode_all([STARTED, PartStarted(0, 0, TextPart("a"))])
    assert encoder.heartbeat() == b"\r\n"
    encoder.encode(Failed(OverloadedError("x")))
    assert encoder.heartbeat() == b""
