"""Streamed replies of the legacy Completions, both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.openai_completions import OpenAICompletions
from motive_core.errors import BadRequestError, FramingError, OverloadedError, StatusError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Json,
    Message,
    OpaquePart,
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
    SignatureDelta,
    Started,
    UsageReported,
    collect,
    replay,
)
from tests.core.strategies import EXACT, any_replies, sayings

DIALECT = OpenAICompletions()
NAME = "openai-completions"
WIRE = Path(__file__).parents[2] / "wire" / NAME
REQUEST = ChatRequest(NAME, "m", (Message("user", (TextPart("hi"),)),), stream=True)
WITH_USAGE = replace(REQUEST, include_usage=True)
FIM = replace(REQUEST, variant="fim")
HEAD = '{"id":"cmpl-1","object":"text_completion","created":7,"model":"m"'
FIM_HEAD = HEAD.replace("text_completion", "chat.completion.chunk")
TEXT: list[ReplyEvent] = [
    PartStarted(0, 0, TextPart("")),
    PartDelta(0, 0, "Grüße"),
    PartDelta(0, 0, ".\n"),
    PartEnded(0, 0),
    ChoiceEnded(0, "stop"),
    UsageReported(Usage(1, 2)),
    Finished(),
]
USAGE = '{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}'


def encode(*events: ReplyEvent, request: ChatRequest = REQUEST) -> bytes:
    return DIALECT.encoder(request).encode_all([Started("cmpl-1", "m", 7), *events])


def chunks(data: bytes) -> list[Json]:
    """The JSON of each chunk."""
    *events, done = data.decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(one.removeprefix("data: ")) for one in events]


def texts(data: bytes, index: int = 0) -> list[str]:
    """What the chunks of a choice say, the last one aside."""
    found = [one for chunk in chunks(data) for one in chunk["choices"] if one["index"] == index]
    assert [one["finish_reason"] is None for one in found] == [True] * (len(found) - 1) + [False]
    assert found[-1]["text"] == ""
    return [one["text"] for one in found[:-1]]


def decode(*data: bytes) -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    return [*[event for one in data for event in decoder.feed(one)], *decoder.close()]


def wire(*choices: Json, **more: Json) -> bytes:
    return b"data: %b\n\n" % json.dumps({"id": "cmpl-1", "model": "m", "choices": choices, **more}).encode()


DONE = b"data: [DONE]\n\n"


# Out.


def test_a_stream_byte_for_byte() -> None:
    going = ',"index":0,"logprobs":null,"finish_reason":null}]}\n\n'
    assert encode(*TEXT).decode() == (
        f'data: {HEAD},"choices":[{{"text":"Grüße"{going}'
        f'data: {HEAD},"choices":[{{"text":".\\n"{going}'
        f'data: {HEAD},"choices":[{{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )


def test_usage_is_in_a_chunk_of_its_own_and_null_before() -> None:
    data = encode(*TEXT, request=WITH_USAGE).decode()

    assert data.endswith(f'data: {HEAD},"choices":[],"usage":{USAGE}}}\n\ndata: [DONE]\n\n')
    *before, _ = chunks(data.encode())
    assert [chunk["usage"] for chunk in before] == [None, None, None]
    assert not any("usage" in chunk for chunk in chunks(encode(*TEXT)))


def test_usage_that_nobody_told_is_not_made_up() -> None:
    silent = [event for event in TEXT if not isinstance(event, UsageReported)]

    told = chunks(encode(*silent, request=WITH_USAGE))
    assert [(chunk["usage"], len(chunk["choices"])) for chunk in told] == [(None, 1)] * 3


def test_usage_that_is_known_at_the_start_counts_unless_a_newer_one_comes() -> None:
    encoder = DIALECT.encoder(WITH_USAGE)
    data = encoder.encode_all([Started("cmpl-1", "m", 7, usage=Usage(5, 0)), ChoiceEnded(0, "stop"), Finished()])

    assert chunks(data)[-1]["usage"]["prompt_tokens"] == 5


def test_a_stream_of_fim_is_that_of_a_chat_with_the_usage_in_its_last_chunk() -> None:
    for request in (FIM, replace(FIM, include_usage=True)):
        assert encode(*TEXT, request=request).decode() == (
            f'data: {FIM_HEAD},"choices":[{{"index":0,"delta":{{"content":"Grüße"}},"finish_reason":null}}]}}\n\n'
            f'data: {FIM_HEAD},"choices":[{{"index":0,"delta":{{"content":".\\n"}},"finish_reason":null}}]}}\n\n'
            f'data: {FIM_HEAD},"choices":[{{"index":0,"delta":{{"content":""}},"finish_reason":"stop"}}],'
            f'"usage":{USAGE}}}\n\n'
            "data: [DONE]\n\n"
        )


def test_the_usage_of_fim_is_in_the_last_chunk_of_the_last_choice() -> None:
    data = encode(
        PartStarted(0, 0, TextPart("a")),
        PartStarted(1, 0, TextPart("b")),
        ChoiceEnded(1, "length"),
        ChoiceEnded(0, "stop"),
        UsageReported(Usage(1, 2)),
        Finished(),
        request=FIM,
    )

    ends = [chunk for chunk in chunks(data) if chunk["choices"][0]["finish_reason"]]
    assert [(chunk["choices"][0]["index"], "usage" in chunk) for chunk in ends] == [(1, False), (0, True)]


def test_choices_interleave_as_they_are_said() -> None:
    data = encode(
        PartStarted(0, 0, TextPart("")),
        PartStarted(1, 0, TextPart("")),
        PartDelta(1, 0, "b"),
        PartDelta(0, 0, "a"),
        ChoiceEnded(1, "length"),
        PartDelta(0, 0, "c"),
        ChoiceEnded(0, "content_filter"),
        Finished(),
    )

    said = [(one["index"], one["text"], one["finish_reason"]) for chunk in chunks(data) for one in chunk["choices"]]
    assert said == [
        (1, "b", None),
        (0, "a", None),
        (1, "", "length"),
        (0, "c", None),
        (0, "", "content_filter"),
    ]


def test_every_part_is_text_with_a_blank_line_before_what_is_no_fragment_of_it() -> None:
    data = encode(
        PartStarted(0, 0, ReasoningPart("")),
        PartDelta(0, 0, "h"),
        PartDelta(0, 0, "m"),
        SignatureDelta(0, 0, "sig"),
        PartEnded(0, 0),
        PartStarted(0, 1, TextPart("Lo")),
        PartEnded(0, 1),
        PartStarted(0, 2, TextPart("ok:")),
        PartEnded(0, 2),
        PartStarted(0, 3, ToolCallPart("c1", "f", "")),
        PartDelta(0, 3, '{"x": '),
        PartDelta(0, 3, "1.0}"),
        PartEnded(0, 3),
        PartStarted(0, 4, BlobPart("image/png", data="AAAA")),
        PartEnded(0, 4),
        PartStarted(0, 5, OpaquePart("elsewhere", {"a": 1})),
        PartEnded(0, 5),
        PartStarted(0, 6, RefusalPart("no")),
        ChoiceEnded(0, "tool_calls"),
        Finished(),
    )

    assert texts(data) == [
        "h",
        "m",
        "\n\nLo",
        "ok:",
        "\n\n[tool call f c1]\n",
        '{"x": ',
        "1.0}",
        "\n\n![image](data:image/png;base64,AAAA)",
        '\n\n{"a":1}',
        "\n\nno",
    ]


def test_parts_wait_for_their_turn_in_the_one_text() -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all([Started("cmpl-1", "m", 7), PartStarted(0, 0, TextPart(""))])

    assert encoder.encode(PartStarted(0, 1, ToolCallPart("c", "f", "{"))) == b""
    assert encoder.encode(PartDelta(0, 1, "}")) == b""
    first = encoder.encode(PartDelta(0, 0, "first"))
    waited = encoder.encode(PartEnded(0, 0))
    end = encoder.encode_all([ChoiceEnded(0, "stop"), Finished()])
    assert texts(first + waited + end) == ["first", "\n\n[tool call f c]\n{}"]


def test_what_is_open_at_the_end_is_ended() -> None:
    data = encode(PartStarted(0, 0, TextPart("a")), PartStarted(0, 1, RefusalPart("b")), Finished())

    assert texts(data) == ["a", "\n\nb"]
    assert chunks(data)[-1]["choices"][0]["finish_reason"] == "stop"


def test_nothing_is_said_of_a_choice_after_its_end_nor_of_anything_after_the_last_event() -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all([Started("cmpl-1", "m", 7), *TEXT[:-2]])

    late: list[ReplyEvent] = [PartStarted(0, 1, TextPart("x")), PartDelta(0, 0, "x"), PartEnded(0, 0), TEXT[4]]
    assert encoder.encode_all(late) == b""
    assert encoder.encode(Finished()) == DONE
    assert encoder.encode_all([*TEXT, Failed(OverloadedError("x"))]) == b""


def test_a_delta_of_nothing_is_no_stream_of_ours() -> None:
    with pytest.raises(FramingError, match="never started"):
        encode(PartDelta(0, 0, "x"))


@pytest.mark.parametrize("request_", [REQUEST, WITH_USAGE, FIM], ids=["plain", "usage", "fim"])
def test_a_reply_without_choices_still_tells_what_it_is(request_: ChatRequest) -> None:
    for usage in (None, Usage(1, 2)):
        reply = Reply("cmpl-1", "m", (), usage, 7)
        back = collect(decode(DIALECT.encoder(request_).encode_all(replay(reply))))
        assert (back.reply_id, back.model, back.choices, back.created) == ("cmpl-1", "m", (), 7)


def test_echo_is_the_first_chunk_of_each_choice() -> None:
    request = DIALECT.parse_request(b'{"model":"m","prompt":["hey","hi"],"echo":true,"stream":true}')
    reply = Reply("cmpl-1", "m", (Choice((TextPart(", ho"),)), Choice(())), None, 7)

    data = DIALECT.encoder(request).encode_all(replay(reply))
    assert (texts(data, 0), texts(data, 1)) == (["hey", ", ho"], ["hi"])
    # One that came in this dialect has it already.
    own = replace(reply, dialect=NAME)
    assert texts(DIALECT.encoder(request).encode_all(replay(own)), 0) == [", ho"]


@pytest.mark.parametrize("request_", [REQUEST, FIM], ids=["plain", "fim"])
def test_a_heartbeat_is_a_comment_and_may_stand_anywhere(request_: ChatRequest) -> None:
    encoder = DIALECT.encoder(request_)
    assert encoder.heartbeat() == b": keep-alive\n\n"

    events = [Started("cmpl-1", "m", 7), *TEXT]
    beating = b"".join([encoder.heartbeat() + encoder.encode(event) for event in events])
    assert collect(decode(beating)) == collect(decode(encode(*TEXT, request=request_)))


@pytest.mark.parametrize("begun", [0, 1, 2, 4, 5, 6])
def test_an_error_ends_the_stream_wherever_it_strikes(begun: int) -> None:
    error = BadRequestError("no", param="prompt")
    event = b'data: {"error":{"message":"no","type":"invalid_request_error","param":"prompt","code":"invalid_request"}}'
    for request in (REQUEST, WITH_USAGE):
        data = encode(*TEXT[:begun], Failed(error), request=request)
        assert data == encode(*TEXT[:begun], request=request) + event + b"\n\n"
        failed = decode(data)[-1]
        assert isinstance(failed, Failed)
        assert (failed.error.message, failed.error.param, failed.error.code) == ("no", "prompt", "invalid_request")
    told = encode(*TEXT[:begun], Failed(error), request=FIM).removesuffix(b"\n\n").split(b"\n\n")
    assert json.loads(told[-1].removeprefix(b"data: ")) == {
        "object": "error",
        "message": "no",
        "type": "invalid_request",
        "param": "prompt",
        "code": None,
    }
    # What fim held back for the usage is said.
    assert len(told) == 1 + min(begun and begun - 1, 2) + (begun >= 5)


# In.


def test_a_stream_is_read() -> None:
    assert decode(wire({"text": "a", "index": 0}, created=7), wire({"text": "", "finish_reason": "length"}), DONE) == [
        Started("cmpl-1", "m", 7, dialect=NAME),
        PartStarted(0, 0, TextPart("")),
        PartDelta(0, 0, "a"),
        PartEnded(0, 0),
        ChoiceEnded(0, "length"),
        Finished(),
    ]


def test_a_stream_that_says_nothing_has_no_part() -> None:
    reply = collect(decode((WIRE / "empty.stream.sse").read_bytes()))

    assert reply.choices == (Choice(()),)
    assert reply.usage == Usage(3, 0)


def test_log_probabilities_of_all_chunks_come_together() -> None:
    (choice,) = collect(decode((WIRE / "logprobs.stream.sse").read_bytes())).choices

    assert choice.extra["logprobs"] == {
        "tokens": [" Hello", "!"],
        "token_logprobs": [-0.5, -1e-05],
        "top_logprobs": [{" Hello": -0.5}, {"!": -1e-05}],
        "text_offset": [18, 24],
    }
    data = DIALECT.encoder(REQUEST).encode_all(decode((WIRE / "logprobs.stream.sse").read_bytes()))
    assert chunks(data)[-1]["choices"][0]["logprobs"] == choice.extra["logprobs"]


def test_a_text_that_is_told_twice_is_said_once() -> None:
    """Together's chunks have it as a delta too."""
    (choice,) = collect(decode((WIRE / "together_unknown_finish.stream.sse").read_bytes())).choices

    assert choice.parts == (TextPart("Paris"),)
    assert choice.extra["finish_reason"] == "eos"


def test_what_a_stream_tells_of_the_reply_itself() -> None:
    events = decode((WIRE / "azure_content_filter.stream.sse").read_bytes())

    start = events[0]
    assert isinstance(start, Started)
    assert start.reply_id == "cmpl-9kTq"
    assert start.extra["prompt_filter_results"][0]["prompt_index"] == 0
    late = collect(decode(wire({"text": "a", "finish_reason": "stop"}), wire(citations=[1]), DONE))
    told = chunks(DIALECT.encoder(REQUEST).encode_all(replay(replace(late, dialect=NAME))))
    assert told[-1]["citations"] == [1]


def test_a_stream_may_end_without_its_mark_but_not_before_its_choices_did() -> None:
    whole = wire({"text": "a", "finish_reason": "stop"})
    assert collect(decode(whole)).choices == (Choice((TextPart("a"),)),)

    for cut in (b"", wire({"text": "a"}), wire({"text": "a", "finish_reason": "stop"}, {"text": "b", "index": 1})):
        assert isinstance(decode(cut)[-1], Failed)


@pytest.mark.parametrize(
    ("chunk", "status"),
    [
        (b'data: {"error":{"message":"no","type":"server_error","code":"overloaded"}}\n\n', 500),
        (b'data: {"error":{"message":"no","type":"invalid_request_error","param":null}}\n\n', 400),
        (b'data: {"object":"error","message":"no","type":"BadRequestError","code":400}\n\n', 400),
        (b'event: error\ndata: {"error":{"message":"no","code":429}}\n\n', 429),
        (b'event: error\ndata: {"error":"no"}\n\n', 502),
    ],
)
def test_an_error_in_a_stream_is_read(chunk: bytes, status: int) -> None:
    *_, last = decode(wire({"text": "a"}), chunk, wire({"text": "b"}), DONE)

    assert isinstance(last, Failed)
    assert (last.error.message, last.error.status) == ("no", status)
    if isinstance(last.error, StatusError):
        assert not last.error.retryable


@pytest.mark.parametrize(
    "data",
    [
        b"data: nonsense\n\n",
        b"data: []\n\n",
        wire(7),
        wire({"text": 7}),
        wire({"text": "a", "index": "0"}),
        wire({"text": "a", "finish_reason": 7}),
        wire({"delta": "a"}),
        wire({"delta": {"content": 7}}),
        b'data: {"choices":{}}\n\n',
        b'data: {"choices":[],"id":7}\n\n',
    ],
)
def test_what_is_no_stream(data: bytes) -> None:
    decoder = DIALECT.decoder()
    with pytest.raises(FramingError, match="not a stream of Completions"):
        for _ in range(2):  # what came before the fault is given first
            decoder.feed(data)


@pytest.mark.parametrize("name", ["unicode_code", "two_choices", "fim", "logprobs"])
@given(data=st.data())
@EXACT
def test_any_split_gives_the_same_reply(name: str, data: st.DataObject) -> None:
    stream = (WIRE / f"{name}.stream.sse").read_bytes()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=40)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert collect(decode(*pieces)) == collect(decode(stream))
    assert collect(decode(*[stream[at : at + 1] for at in range(len(stream))])) == collect(decode(stream))


@pytest.mark.parametrize("request_", [REQUEST, WITH_USAGE, FIM], ids=["plain", "usage", "fim"])
@given(reply=any_replies, data=st.data())
@EXACT
def test_in_whatever_order_a_reply_is_said_its_text_is_the_same(
    request_: ChatRequest, reply: Reply, data: st.DataObject
) -> None:
    said = collect(decode(DIALECT.encoder(request_).encode_all(data.draw(sayings(reply)))))

    whole = DIALECT.parse_reply(DIALECT.render_reply(request_, reply))
    assert said.choices == whole.choices
    assert [parts_as_text(choice.parts) for choice in said.choices] == [
        parts_as_text(choice.parts) for choice in reply.choices
    ]
