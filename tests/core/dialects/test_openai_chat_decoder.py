"""Streamed replies of Chat Completions, in: bytes to events."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import BadRequestError, FramingError, MotiveError, OverloadedError, StatusError, UpstreamError
from motive_core.ir import (
    ChatRequest,
    Choice,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
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


# In.


def test_events_come_as_they_are_said() -> None:
    decoder = DIALECT.decoder()

    assert decoder.feed(delta(role="assistant", content="")) == [Started("c1", "m")]
    assert decoder.feed(delta(reasoning_content="hm")) == [PartStarted(0, 0, ReasoningPart("")), PartDelta(0, 0, "hm")]
    assert decoder.feed(delta(content="a")) == [PartEnded(0, 0), PartStarted(0, 1, TextPart("")), PartDelta(0, 1, "a")]
    assert decoder.feed(delta(content="b")) == [PartDelta(0, 1, "b")]
    assert decoder.feed(delta(tool_calls=[call(0, "c", "f", "")])) == [
        PartEnded(0, 1),
        PartStarted(0, 2, ToolCallPart("c", "f", "")),
    ]
    assert decoder.feed(delta(tool_calls=[call(0, arguments="{}")])) == [PartDelta(0, 2, "{}")]
    assert decoder.feed(delta("tool_calls")) == []
    assert decoder.feed(wire(usage={"prompt_tokens": 1})) == [UsageReported(Usage(1))]
    assert decoder.feed(DONE) == [PartEnded(0, 2), ChoiceEnded(0, "tool_calls"), Finished()]
    assert decoder.feed(delta(content="late")) == []
    assert decoder.close() == []


def test_a_stream_that_says_nothing_new_changes_nothing() -> None:
    noise = [b": comment\n\n", b"event: ping\ndata: {}\n\n", b'data: {"type":"new"}\n\n', delta(), delta(content=None)]
    said = [delta(role="assistant"), delta(content="a"), delta(content="b"), delta("stop")]

    plain = decode(*said, DONE)
    for at in range(len(said) + 1):
        assert decode(*said[:at], *noise, *said[at:], DONE) == plain, at


@pytest.mark.parametrize(
    ("ending", "complete"),
    [
        ([delta("stop"), DONE], True),
        ([delta("stop")], True),
        ([delta("stop"), b"data: [DO"], True),
        ([delta("stop"), b"data: "], True),
        ([delta("stop")[:-2]], True),
        ([DONE], True),
        ([delta("stop"), b'data: {"choices":[]'], False),
        ([delta("stop"), delta(index=1, content="x")], False),
        ([delta("stop")[:-5]], False),
        ([], False),
        ([b": comment\n\n"], False),
    ],
)
def test_a_stream_is_complete_if_every_choice_is(ending: list[bytes], complete: bool) -> None:
    events = decode(delta(content="x"), *ending)

    if complete:
        assert events[-2:] == [ChoiceEnded(0, "stop"), Finished()]
    else:
        assert isinstance(events[-1], Failed)
        assert isinstance(events[-1].error, UpstreamError)
        assert not any(isinstance(event, ChoiceEnded) for event in events)


def test_a_stream_of_nothing_has_failed() -> None:
    assert [type(event) for event in decode()] == [Failed]
    assert [type(event) for event in decode(DONE)] == [Started, Finished]


@pytest.mark.parametrize(
    ("event", "status", "message", "code"),
    [
        (b'data: {"error":{"message":"m","type":"server_error","param":null,"code":null}}', 500, "m", "server_error"),
        (
            b'data: {"error":{"message":"m","type":"requests","code":"rate_limit_exceeded"}}',
            429,
            "m",
            "rate_limit_exceeded",
        ),
        (b'data: {"error":{"message":"m","code":529}}', 529, "m", "upstream_error"),
        (b'data: {"error":{"message":"m","code":7,"type":"odd"}}', 502, "m", "upstream_failed"),
        (b'data: {"error":"m","code":"c"}', 502, "m", "upstream_failed"),
        (
            b'data: {"error":{"code":"c"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}',
            502,
            "the service",
            "c",
        ),
        (b"event: error\ndata: it broke", 502, "it broke", "upstream_failed"),
        (b'data: {"error":[1]}', 502, "the service", "upstream_failed"),
        (
            b'data: {"object":"error","message":"m","type":"invalid_request_error","param":null,"code":null}',
            400,
            "m",
            "invalid_request_error",
        ),
        (b'data: {"object":"error","message":{"detail":[1]},"code":429}', 429, '{"detail":[1]}', "upstream_error"),
        (
            b'data: {"id":"g","error":{"code":502,"message":"m","metadata":{"raw":"x"}},'
            b'"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}',
            502,
            "m",
            "upstream_error",
        ),
    ],
)
def test_an_error_event_fails_the_stream(event: bytes, status: int, message: str, code: str) -> None:
    decoder = DIALECT.decoder()
    decoder.feed(delta(content="x"))
    (failed,) = decoder.feed(event + b"\n\n" + delta(content="y"))

    assert isinstance(failed, Failed)
    assert (failed.error.status, failed.error.code) == (status, code)
    assert failed.error.message.startswith(message)
    assert [*decoder.feed(DONE), *decoder.close()] == []


@pytest.mark.parametrize("error", [OverloadedError("x"), StatusError(404, "x"), BadRequestError("x", param="p")])
def test_an_error_of_ours_comes_back_with_its_kind(error: MotiveError) -> None:
    events = decode(DIALECT.encoder(REQUEST).encode(Failed(error)))

    assert isinstance(events[-1], Failed)
    back = events[-1].error
    assert (back.message, back.code, back.param) == (error.message, error.code, error.param)
    assert (back.status >= 500) == (error.status >= 500)


@pytest.mark.parametrize(
    "data",
    [
        b"data: \n\n",
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"choices":{}}\n\n',
        b'data: {"choices":[7]}\n\n',
        b'data: {"choices":[{"index":"x"}]}\n\n',
        b'data: {"choices":[{"delta":7}]}\n\n',
        b'data: {"choices":[{"delta":{"content":7}}]}\n\n',
        b'data: {"choices":[{"delta":{"refusal":7}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[7]}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":{}}}]}}]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":7}]}\n\n',
        b"data: \xff\n\n",
    ],
)
def test_bytes_that_are_no_such_stream_are_a_framing_error(data: bytes) -> None:
    decoder = DIALECT.decoder()
    said = decoder.feed(delta(content="a") + data)

    assert said[-1] == PartDelta(0, 0, "a")
    for _ in range(2):
        with pytest.raises(FramingError, match="not a stream of Chat Completions"):
            decoder.feed(DONE)
    assert [type(event) for event in decoder.close()] == [Failed]


def test_an_id_of_another_type_is_a_framing_error() -> None:
    with pytest.raises(FramingError, match="id: it must be a string"):
        DIALECT.decoder().feed(b'data: {"id":7,"choices":[{}]}\n\n')


def test_interleaved_calls_and_choices() -> None:
    data = [
        delta(tool_calls=[call(0, "a", "f", "{"), call(1, "b", "g", "")]),
        delta(index=1, content="x"),
        delta(tool_calls=[call(1, arguments="[]"), call(0, arguments="}")]),
        delta("tool_calls"),
        delta("stop", index=1),
        DONE,
    ]

    assert collect(decode(*data)).choices == (
        Choice((ToolCallPart("a", "f", "{}"), ToolCallPart("b", "g", "[]")), "tool_calls"),
        Choice((TextPart("x"),)),
    )


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([call(None, "a", "f", "{"), call(None, arguments="}")], [("a", "f", "{}")]),
        (
            [call(None, "a", "f", "1"), call(None, "b", "g", "2"), call(None, "a", arguments="3")],
            [("a", "f", "13"), ("b", "g", "2")],
        ),
        ([call(0, "a", "f", "1"), call(0, "b", "g", "2")], [("a", "f", "1"), ("b", "g", "2")]),
        ([call(0, "a", "f", "1"), call(0, "a", "f", "2")], [("a", "f", "12")]),
        ([call(0, "a", "f", "1"), call(0, "other", arguments="2")], [("a", "f", "12")]),
        ([call(0, "a"), call(0, name="f", arguments="1")], [("a", "f", "1")]),
        ([call(0, "a", "f")], [("a", "f", "")]),
        ([call(0, "a")], [("a", "", "")]),
        ([call(5, "a", "f", "1"), call(2, "b", "g", "2")], [("a", "f", "1"), ("b", "g", "2")]),
        ([call(0, name="f", arguments="1")], [("", "f", "1")]),
    ],
)
def test_pieces_of_tool_calls_find_their_call(pieces: list[Json], calls: list[tuple[str, str, str]]) -> None:
    expected = tuple([ToolCallPart(*one) for one in calls])

    assert parts_of(*[delta(tool_calls=[piece]) for piece in pieces], delta("tool_calls"), DONE) == expected
    assert parts_of(delta(tool_calls=pieces), DONE) == expected


def test_what_is_told_late_of_a_call_comes_with_its_end() -> None:
    first = call(0, "a", "f", "", extra_content={"google": {"x": 1}})
    events = decode(delta(tool_calls=[first]), delta(tool_calls=[call(0, arguments="{}", late=[1])]), DONE)

    assert PartStarted(0, 0, ToolCallPart("a", "f", "", extra={"extra_content": {"google": {"x": 1}}})) in events
    assert PartEnded(0, 0, extra={"late": [1]}) in events


def test_a_host_that_returns_to_its_text_gives_one_text_more() -> None:
    data = [delta(content="a"), delta(tool_calls=[call(0, "c", "f", "{}")]), delta(content="b"), delta("stop")]

    assert parts_of(*data) == (TextPart("a"), ToolCallPart("c", "f", "{}"), TextPart("b"))


def test_reasoning_under_both_names_is_said_once() -> None:
    assert parts_of(delta(reasoning="hm", reasoning_content="hm", content=""), delta("stop")) == (ReasoningPart("hm"),)


def thinking(text: str | None = None, **more: Json) -> Json:
    chunks = [] if text is None else [{"type": "text", "text": text}]
    return {"type": "thinking", "thinking": chunks, **more}


@pytest.mark.parametrize(
    ("contents", "parts"),
    [
        (
            [[thinking("h")], [thinking("m")], [{"type": "text", "text": "a"}], "b"],
            (ReasoningPart("hm", extra={"thinking": {}}), TextPart("ab")),
        ),
        (
            [[thinking("h"), thinking("m", signature="s")], "a", [thinking("so", closed=True)]],
            (
                ReasoningPart("hm", extra={"thinking": {"signature": "s"}}),
                TextPart("a"),
                ReasoningPart("so", extra={"thinking": {"closed": True}}),
            ),
        ),
        (["a", [thinking("so")], "b"], (TextPart("a"), ReasoningPart("so", extra={"thinking": {}}), TextPart("b"))),
        ([[thinking("")], [thinking()], "a"], (TextPart("a"),)),
        ([[thinking(signature="s")], "a"], (ReasoningPart("", extra={"thinking": {"signature": "s"}}), TextPart("a"))),
        ([[{"type": "refusal", "refusal": "no"}]], (RefusalPart("no"),)),
        (
            ["a", [{"type": "reference", "reference_ids": [1]}], "b"],
            (TextPart("a"), OpaquePart(NAME, {"type": "reference", "reference_ids": [1]}), TextPart("b")),
        ),
        (
            [[{"type": "thinking", "thinking": [{"type": "reference", "reference_ids": [1]}]}]],
            (OpaquePart(NAME, {"type": "thinking", "thinking": [{"type": "reference", "reference_ids": [1]}]}),),
        ),
        ([[{"type": "thinking", "thinking": "hm"}]], (OpaquePart(NAME, {"type": "thinking", "thinking": "hm"}),)),
    ],
)
def test_content_in_parts(contents: list[Json], parts: tuple[Part, ...]) -> None:
    data = [*[delta(content=content) for content in contents], delta("stop"), DONE]

    assert parts_of(*data) == parts
    reply = collect(decode(*data))
    assert collect(decode(DIALECT.encoder(REQUEST).encode_all(decode(*data)))) == reply
    assert DIALECT.parse_reply(DIALECT.render_reply(REQUEST, reply)).choices == reply.choices


def test_a_legacy_function_call() -> None:
    data = [
        delta(content=None, function_call={"name": "f", "arguments": ""}),
        delta(function_call={"arguments": "{}"}),
        delta("function_call"),
    ]

    assert collect(decode(*data)).choices == (
        Choice((ToolCallPart("f", "f", "{}", extra={"function_call": {}}),), "tool_calls"),
    )


@pytest.mark.parametrize(
    "usage_of",
    [
        lambda usage: [delta("stop"), wire(usage=usage)],
        lambda usage: [wire({"index": 0, "delta": {}, "finish_reason": "stop"}, usage=usage)],
        lambda usage: [delta("stop"), wire(x_groq={"id": "req", "usage": usage})],
        lambda usage: [wire(usage={"prompt_tokens": 1}), delta("stop"), wire(usage=usage)],
    ],
    ids=["own_chunk", "last_chunk", "groq", "every_chunk"],
)
def test_usage_wherever_it_is_told(usage_of: object) -> None:
    assert callable(usage_of)
    reply = collect(decode(delta(content="x"), *usage_of({"prompt_tokens": 3, "completion_tokens": 4}), DONE))

    assert reply.usage == Usage(3, 4)


def test_what_the_last_chunks_tell_of_the_reply_comes_with_its_last_choice() -> None:
    data = [
        wire({"index": 0, "delta": {"content": "a"}}, provider="p", citations=["x"]),
        wire({"index": 1, "delta": {"content": "b"}}, provider="p", citations=["x"], service_tier="default"),
        wire({"index": 1, "delta": {}, "finish_reason": "stop"}, provider="q", citations=None),
        wire({"index": 0, "delta": {}, "finish_reason": "stop"}, x_groq={"id": "r", "seed": 7, "usage": {}}),
        wire(usage={"prompt_tokens": 2}, time_info={"total_time": 0.5}, obfuscation="xx"),
        b'data: {"type":"of another kind","more":1}\n\n',
        DONE,
    ]
    reply = collect(decode(*data))

    assert reply.extra == {"provider": "p", "citations": ["x"]}
    late = {"provider": "q", "x_groq": {"seed": 7}, "time_info": {"total_time": 0.5}}
    assert [choice.extra for choice in reply.choices] == [{}, {"chat.completion": late}]
    assert reply.usage == Usage(2)
    again = DIALECT.encoder(REQUEST).encode_all(replay(reply))
    assert collect(decode(again)) == replace(reply, usage=None)
    whole = json.loads(DIALECT.render_reply(REQUEST, reply))
    assert (whole["provider"], whole["time_info"], "chat.completion" in whole["choices"][1]) == (
        "q",
        {"total_time": 0.5},
        False,
    )


def test_a_member_that_has_the_name_of_our_mark_does_no_harm() -> None:
    data = [wire({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop", "chat.completion": 7}), DONE]
    reply = collect(decode(*data))

    assert reply.choices[0].extra == {"chat.completion": 7}
    DIALECT.render_reply(REQUEST, reply)
    DIALECT.encoder(REQUEST).encode_all(replay(reply))


def test_a_text_that_is_told_twice_is_said_once() -> None:
    data = [
        wire({"index": 0, "text": "a", "delta": {"content": "a", "role": "assistant"}, "seed": None}),
        wire({"index": 0, "text": "", "delta": {"content": ""}, "finish_reason": "stop", "seed": 7}),
    ]

    assert collect(decode(*data)).choices == (Choice((TextPart("a"),), extra={"seed": 7}),)


def test_what_the_deltas_tell_of_the_message_grows() -> None:
    audio = [{"id": "a", "transcript": "Hel"}, {"id": "a", "transcript": "lo", "data": "AA"}, {"expires_at": 7}]
    data = [delta(audio=one, annotations=[n]) for n, one in enumerate(audio)]

    assert collect(decode(*data, delta("stop"))).choices[0].extra == {
        "message": {
            "audio": {"id": "a", "transcript": "Hello", "data": "AA", "expires_at": 7},
            "annotations": [0, 1, 2],
        }
    }
