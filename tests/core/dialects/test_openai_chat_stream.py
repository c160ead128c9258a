"""Streamed replies of Chat Completions, out and in."""

from __future__ import annotations

import json

import pytest

from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import BadRequestError, FramingError, MotiveError, OverloadedError, StatusError, UpstreamError
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


def test_content_in_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    data = [
        delta(content=[thinking]),
        delta(content=[{"type": "text", "text": "a"}]),
        delta(content="b"),
        delta("stop"),
    ]

    assert parts_of(*data) == (OpaquePart(NAME, thinking), TextPart("ab"))


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


def test_what_the_deltas_tell_of_the_message_grows() -> None:
    audio = [{"id": "a", "transcript": "Hel"}, {"id": "a", "transcript": "lo", "data": "AA"}, {"expires_at": 7}]
    data = [delta(audio=one, annotations=[n]) for n, one in enumerate(audio)]

    assert collect(decode(*data, delta("stop"))).choices[0].extra == {
        "message": {
            "audio": {"id": "a", "transcript": "Hello", "data": "AA", "expires_at": 7},
            "annotations": [0, 1, 2],
        }
    }
