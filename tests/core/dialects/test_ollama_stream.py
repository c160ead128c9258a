"""Streams of Ollama's API, in and out: a JSON object a line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects import Dialect
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.dialects.ollama_generate import OllamaGenerate
from motive_core.errors import FramingError, OverloadedError, UpstreamError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    ReasoningPart,
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
)

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
BOTH = pytest.mark.parametrize("dialect", [CHAT, GENERATE], ids=lambda dialect: dialect.name)
TIME = "2026-11-21T03:05:54.123456789Z"
SECONDS = 1_795_230_354
HEAD = {"model": "room", "created_at": "2026-11-21T03:05:54.000000Z"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
DURATIONS = {"total_duration": 1, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 1}


def line(dialect: Dialect, said: dict[str, Any] | None = None, *, done: bool = False, **members: Any) -> bytes:
    """A line of a stream. ``said`` is what the message says; beside everything else in a completion."""
    if dialect is CHAT:
        spoken: dict[str, Any] = {"message": {"role": "assistant", "content": "", **(said or {})}}
    else:
        named = {"response" if key == "content" else key: value for key, value in (said or {}).items()}
        spoken = {"response": "", **named}
    told = {"model": "room", "created_at": TIME, **spoken, "done": done, **members}
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


def call(name: str, arguments: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**members, "function": {"name": name, "arguments": arguments}}


def decode(dialect: Dialect, *chunks: bytes) -> list[ReplyEvent]:
    decoder = dialect.decoder()
    return [*[event for chunk in chunks for event in decoder.feed(chunk)], *decoder.close()]


class TestDecoding:
    @BOTH
    def test_text(self, dialect: Dialect) -> None:
        lines = [line(dialect, {"content": "Hel"}), line(dialect, {"content": "lo"})]
        end = line(dialect, done=True, done_reason="stop", prompt_eval_count=3, eval_count=2)
        assert decode(dialect, *lines, end) == [
            Started("", "room", SECONDS, dialect=dialect.name),
            PartStarted(0, 0, TextPart("")),
            PartDelta(0, 0, "Hel"),
            PartDelta(0, 0, "lo"),
            PartEnded(0, 0),
            ChoiceEnded(0, "stop"),
            UsageReported(Usage(3, 2)),
            Finished(),
        ]

    @BOTH
    def test_a_part_ends_when_another_kind_begins(self, dialect: Dialect) -> None:
        said: list[dict[str, Any]] = [
            {"thinking": "Hm"},
            {"thinking": ".", "content": "Let"},
            {"content": " me.", "tool_calls": [call("f", {"a": 1}, id="c1"), call("g", {})]},
            {"content": "So."},
        ]
        events = decode(dialect, *[line(dialect, one) for one in said], line(dialect, done=True))
        assert events[1:-1] == [
            PartStarted(0, 0, ReasoningPart("")),
            PartDelta(0, 0, "Hm"),
            PartDelta(0, 0, "."),
            PartEnded(0, 0),
            PartStarted(0, 1, TextPart("")),
            PartDelta(0, 1, "Let"),
            PartDelta(0, 1, " me."),
            PartEnded(0, 1),
            PartStarted(0, 2, ToolCallPart("c1", "f", "")),
            PartDelta(0, 2, '{"a":1}'),
            PartEnded(0, 2),
            PartStarted(0, 3, ToolCallPart("g", "g", "")),
            PartDelta(0, 3, "{}"),
            PartEnded(0, 3),
            PartStarted(0, 4, TextPart("")),
            PartDelta(0, 4, "So."),
            PartEnded(0, 4),
            ChoiceEnded(0, "tool_calls"),
        ]

    @BOTH
    def test_the_last_line_may_say_something(self, dialect: Dialect) -> None:
        events = decode(dialect, line(dialect, {"content": "Hi"}, done=True, done_reason="length"))
        assert events[1:-1] == [
            PartStarted(0, 0, TextPart("")),
            PartDelta(0, 0, "Hi"),
            PartEnded(0, 0),
            ChoiceEnded(0, "length"),
        ]

    @BOTH
    def test_numbers_keep_their_form(self, dialect: Dialect) -> None:
        arguments = '{"a":1.0,"b":1e5,"c":12345678901234567890}'
        data = line(dialect, {"tool_calls": [call("f", {})]}).replace(b"{}", arguments.encode(), 1)
        assert PartDelta(0, 0, arguments) in decode(dialect, data, line(dialect, done=True))

    @BOTH
    def test_empty_lines_and_lines_that_say_nothing(self, dialect: Dialect) -> None:
        first = line(dialect).replace(TIME.encode(), b"1970-01-01T00:00:00Z").replace(b"room", b"")
        chunks = [b"\n", first, b"\r\n", line(dialect, {"content": "x"}), line(dialect), line(dialect, done=True)]
        assert decode(dialect, *chunks)[:3] == [
            Started("", "room", SECONDS, dialect=dialect.name),
            PartStarted(0, 0, TextPart("")),
            PartDelta(0, 0, "x"),
        ]

    @BOTH
    def test_what_is_not_known_is_gathered(self, dialect: Dialect) -> None:
        lines = [
            line(dialect, {"content": "a"}, logprobs=[1], remote_host="x", new=None),
            line(dialect, {"content": "b"}, logprobs=[2], more={"a": 1}),
            line(dialect, done=True, done_reason="new", more={"b": [2]}),
        ]
        end = next(event for event in decode(dialect, *lines) if isinstance(event, ChoiceEnded))
        assert end == ChoiceEnded(
            0,
            "stop",
            extra={"done_reason": "new", "logprobs": [1, 2], "remote_host": "x", "more": {"a": 1, "b": [2]}},
        )

    def test_what_is_not_known_of_a_message(self) -> None:
        lines = [line(CHAT, {"annotations": [1]}), line(CHAT, {"annotations": [2], "new": "x"}, done=True)]
        end = next(event for event in decode(CHAT, *lines) if isinstance(event, ChoiceEnded))
        assert end.extra == {"message": {"annotations": [1, 2], "new": "x"}}

    def test_pictures(self) -> None:
        blob = BlobPart("image/png", data=PNG)
        for dialect, said in ((CHAT, {"images": [PNG]}), (GENERATE, {"image": PNG})):
            events = decode(dialect, line(dialect, said), line(dialect, done=True))
            assert events[1:3] == [PartStarted(0, 0, blob), PartEnded(0, 0)]

    def test_a_last_line_without_a_message(self) -> None:
        end = json.dumps({"model": "room", "created_at": TIME, "done": True, "eval_count": 2}).encode()
        assert decode(CHAT, line(CHAT, {"content": "x"}), end)[-3:] == [
            ChoiceEnded(0, "stop"),
            UsageReported(Usage(0, 2)),
            Finished(),
        ]

    @BOTH
    def test_what_follows_the_end_is_ignored(self, dialect: Dialect) -> None:
        end = line(dialect, done=True)
        assert decode(dialect, end, line(dialect, {"content": "x"}), b"nonsense\n") == decode(dialect, end)

    @BOTH
    @pytest.mark.parametrize(
        ("told", "message"),
        [
            ("too much", "too much"),
            ({"message": "too much"}, "too much"),
            ({"code": 1}, "the service ended the stream with an error"),
            (7, "the service ended the stream with an error"),
        ],
    )
    def test_an_error(self, dialect: Dialect, told: Any, message: str) -> None:
        events = decode(dialect, line(dialect, {"content": "x"}), json.dumps({"error": told}).encode() + b"\n")
        match events[-1]:
            case Failed(UpstreamError() as error):
                assert error.message == message
            case last:
                pytest.fail(f"the stream ends with {last}")

    @BOTH
    @pytest.mark.parametrize("end", [b"", b'{"model":"room","don', b"\n"])
    def test_a_cut(self, dialect: Dialect, end: bytes) -> None:
        assert isinstance(decode(dialect, line(dialect, {"content": "x"}), end)[-1], Failed)

    @BOTH
    @pytest.mark.parametrize(
        "data",
        [
            b"data: {}\n",
            b"[]\n",
            b'{"done":"yes"}\n',
            b'{"message":{"content":1},"response":1}\n',
            b'{"message":{"tool_calls":[1]},"tool_calls":[1]}\n',
            b'{"message":{"thinking":[]},"thinking":[]}\n',
        ],
    )
    def test_what_is_no_stream(self, dialect: Dialect, data: bytes) -> None:
        decoder = dialect.decoder()
        assert decoder.feed(line(dialect, {"content": "x"}) + data)  # what came before the fault
        with pytest.raises(FramingError, match="not a stream of Ollama"):
            decoder.feed(b"")


def encoded(dialect: Dialect, *events: ReplyEvent, variant: str = "") -> list[list[dict[str, Any]]]:
    """The lines of each event."""
    request = ChatRequest(
        dialect.name, "room", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True, variant=variant
    )
    encoder = dialect.encoder(request)
    found = []
    for event in (Started("r1", "room", SECONDS), *events):
        data = encoder.encode(event)
        assert b"\n\n" not in data and not data.startswith(b"\n")
        assert data == b"" or data.endswith(b"\n")
        found.append([json.loads(one) for one in data.decode().splitlines()])
    assert found.pop(0) == []
    return found


def spoken(dialect: Dialect, content: str, **members: Any) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": content, **members}}
    return {**HEAD, **(said if dialect is CHAT else {"response": content, **members}), "done": False}


def ended(dialect: Dialect, reason: str = "stop", **members: Any) -> dict[str, Any]:
    return {**spoken(dialect, ""), "done": True, "done_reason": reason, **DURATIONS, **members}


class TestEncoding:
    @BOTH
    def test_text_and_reasoning(self, dialect: Dialect) -> None:
        assert encoded(
            dialect,
            PartStarted(0, 0, ReasoningPart("H")),
            PartDelta(0, 0, "m."),
            SignatureDelta(0, 0, "sig"),
            PartEnded(0, 0),
            PartStarted(0, 1, TextPart("")),
            PartDelta(0, 1, "H\ti"),
            PartDelta(0, 1, ""),
            PartEnded(0, 1),
            ChoiceEnded(0, "length"),
            UsageReported(Usage(3, 4, 1, 2)),
            Finished(),
        ) == [
            [spoken(dialect, "", thinking="H")],
            [spoken(dialect, "", thinking="m.")],
            [],
            [],
            [],
            [spoken(dialect, "H\ti")],
            [],
            [],
            [],
            [],
            [ended(dialect, "length", prompt_eval_count=3, eval_count=4)],
        ]

    def test_tool_calls_are_said_whole(self) -> None:
        assert encoded(
            CHAT,
            PartStarted(0, 0, ToolCallPart("c1", "f", '{"a"')),
            PartDelta(0, 0, ": 1.0,\r\n"),
            PartDelta(0, 0, '"b":"\u2028"}'),
            PartEnded(0, 0),
            PartStarted(0, 1, ToolCallPart("g", "g", "")),
            PartEnded(0, 1),
            ChoiceEnded(0, "tool_calls"),
            Finished(),
        ) == [
            [],
            [],
            [],
            [
                spoken(
                    CHAT,
                    "",
                    tool_calls=[
                        {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0, "b": "\u2028"}}}
                    ],
                )
            ],
            [],
            [spoken(CHAT, "", tool_calls=[{"function": {"index": 1, "name": "g", "arguments": {}}}])],
            [],
            [ended(CHAT)],
        ]

    def test_arguments_keep_their_form(self) -> None:
        encoder = CHAT.encoder(ChatRequest("ollama-chat", "m", (), stream=True))
        arguments = '{ "a" : 1.0, "b":1e5, "c": "\\u00e9" }'
        data = encoder.encode_all([PartStarted(0, 0, ToolCallPart("c", "f", arguments)), PartEnded(0, 0)])
        assert arguments.encode() in data

    def test_a_completion_says_calls_as_text(self) -> None:
        events: list[ReplyEvent] = [
            PartStarted(0, 0, ToolCallPart("c1", "f", "")),
            PartDelta(0, 0, '{"a"'),
            PartDelta(0, 0, ":1}"),
        ]
        assert encoded(GENERATE, *events) == [
            [spoken(GENERATE, "[tool call f c1]\n")],
            [spoken(GENERATE, '{"a"')],
            [spoken(GENERATE, ":1}")],
        ]

    @BOTH
    def test_what_another_part_says_waits(self, dialect: Dialect) -> None:
        assert encoded(
            dialect,
            PartStarted(0, 0, TextPart("a")),
            PartStarted(0, 1, ReasoningPart("b")),
            PartStarted(0, 2, TextPart("c")),
            PartDelta(0, 1, "B"),
            PartEnded(0, 1),
            PartDelta(0, 2, "C"),
            PartDelta(0, 0, "A"),
            PartEnded(0, 0),
            PartDelta(0, 2, "!"),
            ChoiceEnded(0, "stop"),
            Finished(),
        ) == [
            [spoken(dialect, "a")],
            [],
            [],
            [],
            [],
            [],
            [spoken(dialect, "A")],
            [spoken(dialect, "", thinking="bB"), spoken(dialect, "\n\ncC")],
            [spoken(dialect, "!")],
            [],
            [ended(dialect)],
        ]

    @BOTH
    def test_what_has_no_place_becomes_text(self, dialect: Dialect) -> None:
        lines = encoded(
            dialect,
            PartStarted(0, 0, TextPart("See")),
            PartEnded(0, 0),
            PartStarted(0, 1, BlobPart("image/png", data="AAAA")),
            PartEnded(0, 1),
            PartStarted(0, 2, ToolResultPart("c1", (TextPart("3"),))),
            PartEnded(0, 2),
        )
        assert [one for found in lines for one in found] == [
            spoken(dialect, "See"),
            spoken(dialect, "\n\n![image](data:image/png;base64,AAAA)"),
            spoken(dialect, "\n\n[tool result c1]\n3"),
        ]

    def test_pictures_of_the_same_dialect_are_pictures(self) -> None:
        blob = BlobPart("image/png", data=PNG)
        for dialect, said in ((CHAT, {"images": [PNG]}), (GENERATE, {"image": PNG})):
            events: list[ReplyEvent] = [
                Started("", "room", SECONDS, dialect=dialect.name),
                PartStarted(0, 0, blob),
                PartEnded(0, 0),
            ]
            assert encoded(dialect, *events) == [[], [], [spoken(dialect, "", **said)]]

    @BOTH
    def test_a_stream_that_ends_early_is_closed(self, dialect: Dialect) -> None:
        lines = encoded(dialect, PartStarted(0, 0, TextPart("a")), PartStarted(0, 1, TextPart("b")), Finished())
        assert lines == [[spoken(dialect, "a")], [], [spoken(dialect, "b"), ended(dialect)]]
        assert encoded(dialect, Finished(), Finished()) == [[ended(dialect)], []]

    @BOTH
    def test_an_error(self, dialect: Dialect) -> None:
        events: list[ReplyEvent] = [
            PartStarted(0, 0, TextPart("a")),
            Failed(OverloadedError("too much\u2028")),
            PartDelta(0, 0, "b"),
        ]
        assert encoded(dialect, *events) == [[spoken(dialect, "a")], [{"error": "too much\u2028"}], []]

    @BOTH
    def test_other_choices_are_left_out(self, dialect: Dialect) -> None:
        events: list[ReplyEvent] = [
            PartStarted(1, 0, TextPart("a")),
            PartDelta(1, 0, "b"),
            PartEnded(1, 0),
            ChoiceEnded(1, "length"),
        ]
        assert encoded(dialect, *events, Finished()) == [[], [], [], [], [ended(dialect)]]

    @BOTH
    def test_what_follows_the_end_of_the_choice_is_left_out(self, dialect: Dialect) -> None:
        events: list[ReplyEvent] = [
            ChoiceEnded(0, "stop"),
            PartStarted(0, 0, TextPart("a")),
            PartDelta(0, 0, "b"),
            PartEnded(0, 0),
        ]
        assert encoded(dialect, *events, ChoiceEnded(0, "length"), Finished()) == [[], [], [], [], [], [ended(dialect)]]

    @BOTH
    def test_a_delta_of_nothing(self, dialect: Dialect) -> None:
        with pytest.raises(FramingError):
            encoded(dialect, PartDelta(0, 0, "b"))

    @BOTH
    def test_a_heartbeat_says_nothing_until_the_end(self, dialect: Dialect) -> None:
        encoder = dialect.encoder(ChatRequest(dialect.name, "room", (), stream=True))
        begin = json.loads(encoder.heartbeat())
        assert begin == {**spoken(dialect, ""), "created_at": "1970-01-01T00:00:00.000000Z"}
        encoder.encode(Started("r1", "room", SECONDS))
        assert json.loads(encoder.heartbeat()) == spoken(dialect, "")
        encoder.encode(Finished())
        assert encoder.heartbeat() == b""

    @BOTH
    def test_the_name_is_the_one_that_was_asked_for(self, dialect: Dialect) -> None:
        lines = encoded(dialect, PartStarted(0, 0, TextPart("a")), Finished(), variant=":latest")
        assert {one["model"] for found in lines for one in found} == {"room:latest"}

    @BOTH
    def test_a_name_may_be_anything(self, dialect: Dialect) -> None:
        name = 'r\x00"\u2028ö'
        encoder = dialect.encoder(ChatRequest(dialect.name, name, (), stream=True))
        events: list[ReplyEvent] = [
            Started("", name),
            PartStarted(0, 0, TextPart("a")),
            PartStarted(0, 1, ReasoningPart("b")),
            Finished(),
        ]
        lines = encoder.encode_all(events).decode().splitlines()
        assert [json.loads(one)["model"] for one in lines] == [name] * 3

    @BOTH
    def test_no_line_ends_where_python_sees_an_end(self, dialect: Dialect) -> None:
        """``httpx``, by which the SDK reads lines, splits them as ``str.splitlines`` does."""
        text = "".join(map(chr, range(0x3000)))
        events: list[ReplyEvent] = [PartStarted(0, 0, TextPart("")), PartDelta(0, 0, text)]
        ((begin), (said,)) = encoded(dialect, *events)
        assert begin == []
        assert said == spoken(dialect, text)
