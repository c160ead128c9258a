"""What every dialect keeps, whatever its wire looks like: run for each of ``DIALECTS`` on its golden files.

A golden request is ``NAME.request.json``, with ``NAME.request.target`` beside it where its path says something (one
line: path and query); a golden reply is the pair ``NAME.reply.json`` and ``NAME.stream.*``, the same reply whole and
streamed. Properties over all replies and requests are at the end. What a dialect cannot carry is in ``carries``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects import DIALECTS, Dialect, ModelInfo, RequestHead
from motive_core.dialects.degrade import as_text
from motive_core.errors import BadRequestError, FramingError, MotiveError, OverloadedError, StatusError
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
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from motive_core.stream import Collector, Failed, Finished, ReplyEvent, collect, replay
from tests.core.dialects.carries import carries
from tests.core.strategies import (
    EXACT,
    any_replies,
    any_requests,
    chunkings,
    cut,
    plain_replies,
    sayings,
)

WIRE: Final = Path(__file__).parents[2] / "wire"

type Golden = tuple[Dialect, str]


def goldens(suffix: str) -> list[object]:
    """The golden files of all dialects, as parameters."""
    return [
        pytest.param((dialect, path.name.removesuffix(suffix)), id=f"{dialect.name}-{path.name.removesuffix(suffix)}")
        for dialect in DIALECTS
        for path in sorted((WIRE / dialect.name).glob(f"*{suffix}"))
    ]


def read(golden: Golden, suffix: str) -> bytes:
    dialect, name = golden
    return (WIRE / dialect.name / f"{name}{suffix}").read_bytes()


REQUESTS: Final = pytest.mark.parametrize("golden", goldens(".request.json"))
REPLIES: Final = pytest.mark.parametrize("golden", goldens(".reply.json"))
EACH: Final = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
PAIRS: Final = pytest.mark.parametrize(
    ("source", "target"),
    [(source, target) for source in DIALECTS for target in DIALECTS if source is not target],
    ids=lambda dialect: dialect.name,
)


def asking(dialect: Dialect) -> ChatRequest:
    """A request whose reply may say everything."""
    return ChatRequest(dialect.name, "m", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)


def head_of(target: str) -> RequestHead:
    """The head of a request to a path and query."""
    path, _, query = target.partition("?")
    return RequestHead("POST", "service.example", 443, path, query)


def again(dialect: Dialect, request: ChatRequest) -> ChatRequest:
    """A request after its way over the wire."""
    return dialect.parse_request(dialect.render_request(request), head_of(dialect.target(request)))


def golden_request(golden: Golden) -> ChatRequest:
    dialect, name = golden
    target = WIRE / dialect.name / f"{name}.request.target"
    head = head_of(target.read_text("utf-8").strip() if target.exists() else dialect.target(asking(dialect)))
    return dialect.parse_request(read(golden, ".request.json"), head)


def golden_stream(golden: Golden) -> bytes:
    dialect, name = golden
    (path,) = (WIRE / dialect.name).glob(f"{name}.stream.*")
    return path.read_bytes()


def decode(dialect: Dialect, *chunks: bytes) -> list[ReplyEvent]:
    decoder = dialect.decoder()
    return [*[event for chunk in chunks for event in decoder.feed(chunk)], *decoder.close()]


def encode(dialect: Dialect, events: Iterator[ReplyEvent] | list[ReplyEvent]) -> bytes:
    return dialect.encoder(asking(dialect)).encode_all(events)


def in_words(reply: Reply) -> list[object]:
    """What the choices of a reply say, and how they end."""
    return [(choice.parts, choice.finish_reason, choice.stop_sequence) for choice in reply.choices]


def golden_reply(golden: Golden) -> Reply:
    return golden[0].parse_reply(read(golden, ".reply.json"))


@EACH
def test_there_are_golden_files(dialect: Dialect) -> None:
    files = {path.name for path in (WIRE / dialect.name).iterdir()}
    replies = {name.removesuffix(".reply.json") for name in files if name.endswith(".reply.json")}
    streams = {name.partition(".stream.")[0] for name in files if ".stream." in name}
    assert replies == streams
    assert len(replies) >= 5
    assert len([name for name in files if name.endswith(".request.json")]) >= 5


@REQUESTS
def test_a_request_survives_its_rendering(golden: Golden) -> None:
    dialect = golden[0]
    request = golden_request(golden)

    assert request.dialect == dialect.name
    assert request.raw == read(golden, ".request.json")
    assert again(dialect, request) == request


@REPLIES
def test_a_reply_is_the_same_whole_and_streamed(golden: Golden) -> None:
    whole = golden_reply(golden)
    streamed = collect(decode(golden[0], golden_stream(golden)))

    assert in_words(streamed) == in_words(whole)
    assert streamed.usage == whole.usage
    assert (streamed.reply_id, streamed.model, streamed.created) == (whole.reply_id, whole.model, whole.created)
    assert streamed.dialect == whole.dialect == golden[0].name


@REPLIES
def test_a_reply_survives_its_rendering(golden: Golden) -> None:
    dialect, reply = golden[0], golden_reply(golden)

    assert dialect.parse_reply(dialect.render_reply(asking(dialect), reply)) == reply
    assert collect(decode(dialect, encode(dialect, replay(reply)))) == reply
    assert collect(replay(reply)) == reply


@REPLIES
def test_a_stream_survives_being_said_again(golden: Golden) -> None:
    dialect = golden[0]
    events = decode(dialect, golden_stream(golden))

    assert collect(decode(dialect, encode(dialect, events))) == collect(events)


@REPLIES
def test_any_split_of_a_stream_gives_the_same_reply(golden: Golden) -> None:
    dialect, data = golden[0], golden_stream(golden)
    whole = collect(decode(dialect, data))

    assert collect(decode(dialect, *[data[at : at + 1] for at in range(len(data))])) == whole
    for at in range(1, len(data)):
        assert collect(decode(dialect, data[:at], data[at:])) == whole, f"split at {at}"


@REPLIES
def test_a_stream_that_is_cut_never_passes_for_a_whole_one(golden: Golden) -> None:
    dialect, data = golden[0], golden_stream(golden)
    whole = collect(decode(dialect, data))

    for at in range(len(data)):
        collector = Collector()
        try:
            events = decode(dialect, data[:at])
        except FramingError:
            continue
        for event in events:
            collector.add(event)
        assert collector.complete == (collector.error is None), f"cut at {at}"
        if collector.complete:
            # What may follow the choices (usage, a host's times) is lost without a sign.
            assert in_words(collector.reply()) == in_words(whole), f"cut at {at}"


@REPLIES
def test_heartbeats_change_nothing(golden: Golden) -> None:
    dialect, reply = golden[0], golden_reply(golden)
    encoder = dialect.encoder(asking(dialect))

    chunks = [b"".join([encoder.heartbeat(), encoder.encode(event), encoder.heartbeat()]) for event in replay(reply)]
    assert collect(decode(dialect, *chunks)) == reply


@REPLIES
def test_a_failure_ends_the_stream_wherever_it_strikes(golden: Golden) -> None:
    dialect, said = golden[0], list(replay(golden_reply(golden)))

    for at in range(len(said)):
        encoder = dialect.encoder(asking(dialect))
        begun = encoder.encode_all(said[:at])
        events = decode(dialect, begun, encoder.encode(Failed(OverloadedError("too much"))))
        assert encoder.encode_all(said[at:]) == b""
        match events[-1]:
            case Failed(error):
                assert error.message == "too much"
            case last:
                pytest.fail(f"the stream ends with {last}")
        assert not any(isinstance(event, Finished | Failed) for event in events[:-1])


def every_error() -> list[MotiveError]:
    """One error of each class of the tree, and some of a vendor's."""
    found: list[MotiveError] = [StatusError(status, "Nö.") for status in (402, 404, 418, 498, 500, 520)]
    classes: list[type[MotiveError]] = [MotiveError]
    for kind in classes:
        classes += kind.__subclasses__()
        if not issubclass(kind, StatusError):
            found.append(kind("Nö.", param="messages", retry_after_s=3))
    return found


@EACH
@pytest.mark.parametrize("error", every_error(), ids=lambda error: f"{type(error).__name__}-{error.status}")
def test_every_error_has_an_envelope(dialect: Dialect, error: MotiveError) -> None:
    body = json.loads(dialect.render_error(error, "req_1"))
    headers = dialect.error_headers(error, "req_1")

    assert "Nö." in json.dumps(body, ensure_ascii=False)
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "req_1"
    assert headers.get("x-should-retry") == (None if error.retryable else "false")
    with pytest.raises(FramingError):
        dialect.parse_reply(dialect.render_error(error, "req_1"))


@EACH
def test_models_are_listed(dialect: Dialect) -> None:
    listed = json.loads(dialect.render_models([ModelInfo("room-1", 1_795_230_236), ModelInfo("zimmer ü", 0)]))

    told = json.dumps(listed, ensure_ascii=False)
    assert 0 < told.index("room-1") < told.index("zimmer ü")
    assert "room-1" not in json.dumps(json.loads(dialect.render_models([])))


def test_names_are_unique_and_the_last_dialect_speaks_to_anybody() -> None:
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
    assert DIALECTS[-1].speaks(RequestHead("GET", "example.org", 443, "/"))


@EACH
def test_no_path_belongs_to_two_dialects(dialect: Dialect) -> None:
    for stream in (True, False):
        head = head_of(dialect.target(replace(asking(dialect), stream=stream)))
        assert [one.name for one in DIALECTS if one.matches(head)] == [dialect.name]
        assert not any(one.serves(head) for one in DIALECTS)
        assert not any(one.matches(replace(head, method="GET")) for one in DIALECTS)


@pytest.mark.parametrize("path", ["/v1/models", "/", "/health", "/v1/nothing", "/admin/sessions"])
def test_other_paths_belong_to_none(path: str) -> None:
    assert not any(dialect.matches(RequestHead("POST", "example.org", 443, path)) for dialect in DIALECTS)


# From one dialect to another.


def said(parts: tuple[Part, ...], kind: type[Part]) -> str:
    """All that is said in parts of a kind."""
    return "".join([as_text(part) for part in parts if isinstance(part, kind)])


def calls(parts: tuple[Part, ...]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the tool calls. No arguments are the same as an empty object."""
    return [(part.call_id, part.name, part.arguments or "{}") for part in parts if isinstance(part, ToolCallPart)]


def has_only_words(reply: Reply) -> bool:
    """Whether a reply has but what every dialect can carry as it is."""
    carried = all(
        isinstance(part, TextPart | ToolCallPart) or (isinstance(part, ReasoningPart) and part.redacted is None)
        for part in reply.choices[0].parts
    )
    free_form = any(isinstance(part, ToolCallPart) and part.custom for part in reply.choices[0].parts)
    ends = reply.choices[0].finish_reason in {"stop", "length", "tool_calls"}
    return carried and ends and not free_form and len(reply.choices) == 1


@PAIRS
def test_a_reply_is_the_same_in_another_dialect(source: Dialect, target: Dialect) -> None:
    tried, carried = 0, carries(target.name)
    for path in sorted((WIRE / source.name).glob("*.reply.json")):
        whole = source.parse_reply(path.read_bytes())
        if not has_only_words(whole):
            continue
        tried += 1
        streamed = decode(source, golden_stream((source, path.name.removesuffix(".reply.json"))))
        there = collect(decode(target, encode(target, streamed)))
        first = whole.choices[0]
        for got in (target.parse_reply(target.render_reply(asking(target), whole)).choices[0], there.choices[0]):
            assert_carried(target, got, first, path.name)
        if carried.calls:
            here = calls(collect(streamed).choices[0].parts)
            assert without_ids(calls(there.choices[0].parts), target) == without_ids(here, target), path.name
        if there.usage is not None and whole.usage is not None:
            assert there.usage.output_tokens == whole.usage.output_tokens
            assert there.usage.input_tokens == whole.usage.input_tokens
    assert tried >= 3


def assert_carried(target: Dialect, got: Choice, first: Choice, name: str) -> None:
    """A choice says in the target's dialect what it says at first. What has no place of its own there became text."""
    carried, text = carries(target.name), said(got.parts, TextPart)
    for kind, has_place in ((TextPart, True), (ReasoningPart, carried.reasoning), (ToolCallPart, carried.calls)):
        for part in first.parts:
            if isinstance(part, kind) and not has_place:
                assert as_text(part) in text, name
    if carried.reasoning and carried.calls:
        assert text == said(first.parts, TextPart), name
    if carried.reasoning:
        assert said(got.parts, ReasoningPart) == said(first.parts, ReasoningPart), name
    if carried.calls:
        assert got.finish_reason == first.finish_reason, name
        assert [call[1] for call in calls(got.parts)] == [call[1] for call in calls(first.parts)], name


def without_ids(told: list[tuple[str, str, str]], target: Dialect) -> list[tuple[str, ...]]:
    """Tool calls as the target can tell them: without ids, or without the white space in their arguments, if need
    be."""
    carried = carries(target.name)
    kept = 0 if carried.call_ids else 1
    return [
        (*call[kept:2], call[2] if carried.exact_arguments else json.dumps(json.loads(call[2], parse_float=str)))
        for call in told
    ]


@PAIRS
def test_a_request_says_the_same_in_another_dialect(source: Dialect, target: Dialect) -> None:
    for path in sorted((WIRE / source.name).glob("*.request.json")):
        here = golden_request((source, path.name.removesuffix(".request.json")))
        there = again(target, here)
        assert there.dialect == target.name
        assert (there.model, there.stream) == (here.model, here.stream)
        assert_still_says(here, there, path.name)
        if not carries(target.name).tools:
            continue
        for call in calls_of(here):
            try:
                expected = json.loads(call.arguments, parse_float=str)
            except ValueError:
                continue
            assert any(
                one.name == call.name and json.loads(one.arguments, parse_float=str) == expected
                for one in calls_of(there)
            ), f"{path.name}: {call}"
        assert len(calls_of(there)) >= len(calls_of(here))
        # A service may want that tools are offered wherever there are calls.
        wanted = [tool.name for tool in here.tools if tool.raw is None] or {call.name for call in calls_of(here)}
        offered = [tool.name for tool in there.tools]
        assert offered == wanted or (isinstance(wanted, set) and wanted.issuperset(offered)), path.name


def assert_still_says(here: ChatRequest, there: ChatRequest, name: str = "") -> None:
    """All that is said in text is said there too, in the same order, white space aside; more may be said between. What
    the system says may stand apart."""
    for systems in (True, False):
        place, told = 0, "".join(spoken(there, systems=systems) or spoken(there, systems=False))
        for words in spoken(here, systems=systems):
            found = told.find(words, place)
            assert found >= 0, f"{name}: {words!r} is not in {told!r} after {place}"
            place = found + len(words)


def spoken(request: ChatRequest, *, systems: bool) -> list[str]:
    """What is said in plain text, white space aside, by the system or by all others."""
    return [
        "".join(part.text.split())
        for message in request.messages
        for part in message.parts
        if isinstance(part, TextPart) and (message.role in {"system", "developer"}) is systems
    ]


def calls_of(request: ChatRequest) -> list[ToolCallPart]:
    return [part for message in request.messages for part in message.parts if isinstance(part, ToolCallPart)]


@EACH
def test_the_arguments_of_another_dialect_stand_in_a_request_byte_for_byte(dialect: Dialect) -> None:
    arguments = '{ "place" : "München",\n"days":1.0, "far": 1e5, "id": 12345678901234567890, "e": "\\u00e9" }'
    call = ToolCallPart("call_1", "f", arguments)
    words = [Message("user", (TextPart("hi"),)), Message("assistant", (call,))]
    asked = [*words, Message("tool", (ToolResultPart("call_1", (TextPart("3"),)),))]
    body = dialect.render_request(ChatRequest("a-dialect-of-yesterday", "m", tuple(asked)))

    as_text_of_json = json.dumps(arguments, ensure_ascii=False)[1:-1]
    assert arguments.encode() in body or as_text_of_json.encode() in body


# Everything that the IR can hold.


@EACH
@given(reply=plain_replies, data=st.data())
@EXACT
def test_any_plain_reply_survives(dialect: Dialect, reply: Reply, data: st.DataObject) -> None:
    request = asking(dialect)

    expected = carries(dialect.name).reply(reply)
    assert dialect.parse_reply(dialect.render_reply(request, reply)) == expected
    stream = encode(dialect, replay(reply))
    assert collect(decode(dialect, *cut(stream, data.draw(chunkings)))) == expected


@EACH
@given(reply=any_replies)
@EXACT
def test_any_reply_is_the_same_whole_and_streamed_and_loses_nothing(dialect: Dialect, reply: Reply) -> None:
    request = asking(dialect)
    whole = dialect.parse_reply(dialect.render_reply(request, reply))
    streamed = collect(decode(dialect, encode(dialect, replay(reply))))

    assert_same_words(streamed.choices[0], whole.choices[0])
    assert dialect.parse_reply(dialect.render_reply(request, whole)) == whole
    told = "".join([as_text(part) for part in whole.choices[0].parts])
    for part in reply.choices[0].parts:
        if isinstance(part, BlobPart | OpaquePart | ToolResultPart | RefusalPart) and (text := as_text(part)).strip():
            assert text in told
        elif isinstance(part, TextPart) and part.text.strip():
            assert part.text in told


@EACH
@given(data=st.data(), reply=any_replies)
@EXACT
def test_the_order_in_which_a_reply_is_said_changes_no_word_of_it(
    dialect: Dialect, data: st.DataObject, reply: Reply
) -> None:
    at_once = collect(decode(dialect, encode(dialect, replay(reply)))).choices[0]
    in_turns = collect(decode(dialect, encode(dialect, data.draw(sayings(reply))))).choices[0]

    assert_same_words(in_turns, at_once)


def assert_same_words(one: Choice, other: Choice) -> None:
    """Two choices say the same, though their parts may come in another order."""
    assert one.finish_reason == other.finish_reason
    assert calls(one.parts) == calls(other.parts)
    for kind in (TextPart, ReasoningPart, RefusalPart):
        assert said(one.parts, kind) == said(other.parts, kind)


@EACH
@given(request=any_requests)
@EXACT
def test_any_request_can_be_asked(dialect: Dialect, request: ChatRequest) -> None:
    asked = again(dialect, request)

    assert again(dialect, asked) == asked
    assert_still_says(request, asked)


@EACH
@given(body=st.binary(max_size=60))
@EXACT
def test_any_bytes_are_a_request_or_a_bad_request(dialect: Dialect, body: bytes) -> None:
    with pytest.raises(BadRequestError):
        dialect.parse_request(body, head_of(dialect.target(asking(dialect))))


@EACH
@given(body=st.binary(max_size=60))
@EXACT
def test_any_bytes_are_no_reply(dialect: Dialect, body: bytes) -> None:
    with pytest.raises(FramingError):
        dialect.parse_reply(body)


@EACH
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"', b'"\xed\xa0\x80"', b"NaN", b"\xff"])
def test_hostile_json_is_an_error_of_ours(dialect: Dialect, body: bytes) -> None:
    for text in (body, b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":%b}]}' % body):
        with pytest.raises(BadRequestError):
            dialect.parse_request(text, head_of(dialect.target(asking(dialect))))
        with pytest.raises(FramingError):
            dialect.parse_reply(text)


@EACH
@given(golden=st.data(), chunks=st.lists(st.binary(max_size=40), max_size=5))
@EXACT
def test_any_bytes_in_a_stream_give_events_or_a_framing_error(
    dialect: Dialect, golden: st.DataObject, chunks: list[bytes]
) -> None:
    streams = sorted((WIRE / dialect.name).glob("*.stream.*"))
    begun = golden.draw(st.sampled_from([b"", *[path.read_bytes()[:700] for path in streams]]))
    decoder = dialect.decoder()
    collector = Collector()
    try:
        for chunk in (begun, *chunks):
            for event in decoder.feed(chunk):
                collector.add(event)
    except FramingError:
        return
    for event in decoder.close():
        collector.add(event)
    assert collector.complete or collector.error is not None
