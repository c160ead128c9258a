"""Streamed replies of Chat Completions, out: events to bytes."""

from __future__ import annotations

import json

import pytest

from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import BadRequestError, FramingError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    Tool,
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
    SignatureDelta,
    Started,
    UsageReported,
    collect,
    replay,
)

DIALECT = OpenAIChat()
NAME = "openai-chat"
REQUEST = ChatRequest(NAME, "m", (Message("user", (TextPart("hi"),)),), stream=True)
WITH_USAGE = ChatRequest(NAME, "m", (), stream=True, include_usage=True)
LEGACY = ChatRequest(NAME, "m", (), tools=(Tool("f", extra={"functions": {}}),), stream=True)
HEAD = (
    '{"id":"c1","object":"chat.completion.chunk","created":7,"model":"m",'
    '"service_tier":"default","system_fingerprint":null'
)


def encode(*events: ReplyEvent, request: ChatRequest = REQUEST) -> bytes:
    return DIALECT.encoder(request).encode_all([Started("c1", "m", 7), *events])


def chunks(data: bytes) -> list[Json]:
    """The JSON of each event; ``[DONE]`` as text."""
    events = data.decode().removesuffix("\n\n").split("\n\n")
    return [one if one == "data: [DONE]" else json.loads(one.removeprefix("data: ")) for one in events]


def deltas(data: bytes) -> list[Json]:
    return [choice["delta"] for chunk in chunks(data) if isinstance(chunk, dict) for choice in chunk["choices"]]


def wire(*choices: Json, **more: Json) -> bytes:
    return b"data: %b\n\n" % json.dumps({"id": "c1", "model": "m", "choices": choices, **more}).encode()


def delta(finish_reason: str | None = None, index: int = 0, **members: Json) -> bytes:
    return wire({"index": index, "delta": members, "finish_reason": finish_reason})


DONE = b"data: [DONE]\n\n"


def decode(*data: bytes) -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    return [*[event for one in data for event in decoder.feed(one)], *decoder.close()]


def parts_of(*data: bytes) -> tuple[Part, ...]:
    return collect(decode(*data)).choices[0].parts


def call(index: int | None, call_id: str = "", name: str = "", arguments: str | None = None, **more: Json) -> Json:
    function = {**({"name": name} if name else {}), **({} if arguments is None else {"arguments": arguments})}
    at = {} if index is None else {"index": index}
    return {**at, **({"id": call_id, "type": "function"} if call_id else {}), "function": function, **more}


# Out.


def test_the_chunks_of_a_text_byte_for_byte() -> None:
    data = encode(
        PartStarted(0, 0, TextPart("")),
        PartDelta(0, 0, "Grüße\n"),
        PartEnded(0, 0),
        ChoiceEnded(0, "stop"),
        UsageReported(Usage(1, 2)),
        Finished(),
    )

    said = ',"choices":[{"index":0,"delta":'
    going = ',"logprobs":null,"finish_reason":null}]}\n\n'
    assert data.decode() == (
        f'data: {HEAD}{said}{{"role":"assistant","content":"","refusal":null}}{going}'
        f'data: {HEAD}{said}{{"content":"Grüße\\n"}}{going}'
        f'data: {HEAD}{said}{{}},"logprobs":null,"finish_reason":"stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )


def test_usage_is_in_a_chunk_of_its_own_and_null_before() -> None:
    events: list[ReplyEvent] = [PartStarted(0, 0, TextPart("x")), ChoiceEnded(0, "stop"), UsageReported(Usage(1, 2))]
    *before, last, done = chunks(encode(*events, Finished(), request=WITH_USAGE))

    assert done == "data: [DONE]"
    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["total_tokens"]) == (1, 3)
    assert last["id"] == "c1"
    assert [chunk["usage"] for chunk in before] == [None, None, None]
    assert not any("usage" in chunk for chunk in chunks(encode(*events, Finished()))[:-1])


def test_usage_that_nobody_told_is_not_made_up() -> None:
    data = encode(PartStarted(0, 0, TextPart("x")), ChoiceEnded(0, "stop"), Finished(), request=WITH_USAGE)

    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks(data)[:-1])


def test_a_tool_call_starts_with_its_name_and_goes_on_without() -> None:
    data = encode(
        PartStarted(0, 0, ToolCallPart("a", "f", "")),
        PartDelta(0, 0, '{"x"'),
        PartStarted(0, 1, ToolCallPart("b", "g", "", custom=True)),
        PartDelta(0, 1, "free"),
        PartDelta(0, 0, ":1}"),
        ChoiceEnded(0, "tool_calls"),
        Finished(),
    )

    assert deltas(data) == [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "custom", "custom": {"name": "g", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "free"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {},
    ]


def test_choices_interleave_as_they_are_said() -> None:
    data = encode(
        PartStarted(0, 0, TextPart("")),
        PartStarted(1, 0, TextPart("")),
        PartDelta(1, 0, "b"),
        PartDelta(0, 0, "a"),
        ChoiceEnded(1, "length"),
        ChoiceEnded(0, "stop"),
        Finished(),
    )

    said = [(chunk["choices"][0]["index"], chunk["choices"][0]["delta"].get("content")) for chunk in chunks(data)[:-1]]
    assert said == [(0, ""), (1, ""), (1, "b"), (0, "a"), (1, None), (0, None)]


def test_what_is_known_at_the_start_of_a_part_is_said_at_once() -> None:
    data = encode(
        PartStarted(0, 0, ReasoningPart("hm", "sig")),
        SignatureDelta(0, 0, "sig"),
        PartEnded(0, 0),
        PartStarted(0, 1, RefusalPart("no")),
        PartStarted(0, 2, ToolCallPart("c", "f", "{")),
    )

    assert deltas(data)[1:] == [
        {"reasoning_content": "hm"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
    ]


def test_texts_wait_for_their_turn_in_the_one_string_that_they_share() -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all(
        [Started("c1", "m"), PartStarted(0, 0, TextPart("")), PartStarted(0, 1, ToolCallPart("c", "f", ""))]
    )

    assert encoder.encode(PartStarted(0, 2, TextPart(""))) == b""
    assert encoder.encode(PartDelta(0, 2, "third")) == b""
    assert encoder.encode_all([PartStarted(0, 3, BlobPart("image/png", url="u")), PartEnded(0, 3)]) == b""
    assert deltas(encoder.encode(PartDelta(0, 0, "first"))) == [{"content": "first"}]
    assert deltas(encoder.encode(PartEnded(0, 0))) == [{"content": "\n\nthird"}]
    assert deltas(encoder.encode(PartDelta(0, 2, ", more"))) == [{"content": ", more"}]
    assert deltas(encoder.encode(PartEnded(0, 2))) == [{"content": "\n\n![image](u)"}]


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_left_open_is_ended(ended: bool) -> None:
    events: list[ReplyEvent] = [
        PartStarted(0, 0, TextPart("a")),
        PartStarted(0, 1, OpaquePart("elsewhere", 1)),
        PartStarted(0, 2, TextPart("b")),
        *([ChoiceEnded(0, "stop")] if ended else []),
        Finished(),
    ]

    reply = collect(decode(encode(*events)))
    assert reply.choices == (Choice((TextPart("a\n\n1\n\nb"),)),)


def test_a_choice_that_nobody_ended_ends_with_its_calls() -> None:
    reply = collect(decode(encode(PartStarted(0, 0, ToolCallPart("c", "f", "{}")), Finished())))

    assert reply.choices == (Choice((ToolCallPart("c", "f", "{}"),), "tool_calls"),)


def test_a_stream_without_choices_still_tells_what_it_is() -> None:
    assert collect(decode(encode(Finished()))) == Reply("c1", "m", (), created=7)


@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_is_an_error_event_and_the_end(begun: bool) -> None:
    encoder = DIALECT.encoder(REQUEST)
    if begun:
        encoder.encode_all([Started("c1", "m"), PartStarted(0, 0, TextPart("half"))])

    failed = encoder.encode(Failed(BadRequestError("nö", param="messages"))).decode()
    assert failed == (
        'data: {"error":{"message":"nö","type":"invalid_request_error",'
        '"param":"messages","code":"invalid_request"}}\n\n'
    )
    assert encoder.encode_all([PartDelta(0, 0, "more"), ChoiceEnded(0, "stop"), Finished()]) == b""


def test_nothing_is_said_of_a_choice_after_its_end() -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all([Started("c1", "m"), PartStarted(0, 0, TextPart("a")), ChoiceEnded(0, "stop")])

    late: list[ReplyEvent] = [
        PartDelta(0, 0, "b"),
        PartEnded(0, 0),
        PartStarted(0, 1, TextPart("c")),
        ChoiceEnded(0, "stop"),
    ]
    assert encoder.encode_all(late) == b""
    assert encoder.encode(Finished()) == DONE


def test_a_delta_of_a_part_that_never_started_is_a_framing_error() -> None:
    with pytest.raises(FramingError, match="never started"):
        encode(PartDelta(0, 0, "x"))


def test_the_heartbeat_is_a_comment() -> None:
    assert DIALECT.encoder(REQUEST).heartbeat() == b": keep-alive\n\n"


def test_a_client_that_offers_functions_gets_a_function_call() -> None:
    parts = (TextPart("x"), ToolCallPart("1", "f", '{"a":1}'), ToolCallPart("2", "g", "{}"))
    data = DIALECT.encoder(LEGACY).encode_all(replay(Reply("c1", "m", (Choice(parts, "tool_calls"),))))

    assert {"function_call": {"name": "f", "arguments": ""}} in deltas(data)
    assert {"function_call": {"arguments": '{"a":1}'}} in deltas(data)
    assert chunks(data)[-2]["choices"][0]["finish_reason"] == "function_call"
    choice = collect(decode(data)).choices[0]
    assert choice.parts == (
        TextPart("x"),
        ToolCallPart("f", "f", '{"a":1}', extra={"function_call": {}}),
        TextPart("\n\n[tool call g 2]\n{}"),
    )


def test_unknown_members_come_with_the_end() -> None:
    extra = {"logprobs": {"content": []}, "stop_reason": 7, "message": {"annotations": [1]}, "finish_reason": "eos"}
    call_part = ToolCallPart("c", "f", "", extra={"x": 1})
    events: list[ReplyEvent] = [
        Started("c1", "m", 7, extra={"provider": "p"}, dialect=NAME),
        PartStarted(0, 0, call_part),
        PartEnded(0, 0, extra={"y": 2}),
        ChoiceEnded(0, "stop", extra=extra),
        Finished(),
    ]
    data = DIALECT.encoder(REQUEST).encode_all(events)

    assert {chunk["provider"] for chunk in chunks(data)[:-1]} == {"p"}
    assert deltas(data)[-2:] == [{"tool_calls": [{"index": 0, "y": 2}]}, {"annotations": [1]}]
    assert chunks(data)[-2]["choices"][0]["stop_reason"] == 7
    reply = collect(decode(data))
    assert reply.choices == (Choice((ToolCallPart("c", "f", "", extra={"x": 1, "y": 2}),), extra=extra),)
    assert reply.extra == {"provider": "p"}


def test_a_tool_call_of_an_unknown_type_stays_as_it_is() -> None:
    raw = {"id": "c", "type": "computer", "computer": {"action": "click"}}
    reply = Reply("c1", "m", (Choice((OpaquePart(NAME, {"tool_calls": raw}),)),), dialect=NAME)
    data = DIALECT.encoder(REQUEST).encode_all(replay(reply))

    assert deltas(data)[1] == {"tool_calls": [{"index": 0, **raw}]}
    assert collect(decode(data)) == reply
