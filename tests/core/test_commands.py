"""What an answerer may write beside an answer."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from motive_core.config import Commands
from motive_core.ir import BlobPart, ReasoningPart, ResponseFormat, TextPart, Tool, ToolCallPart
from motive_core.relay import CommandError, CommandReader
from motive_core.session import Answer, Failure, Terms, Words

READER = CommandReader(Commands())
PICTURE = BlobPart("image/png", data="AAAA")
WEATHER = Tool(
    "weather",
    "Tells the weather.\nMore.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
)


def read(
    words: Words,
    tools: tuple[Tool, ...] = (),
    call_ids: Iterable[str] = (),
    response_format: ResponseFormat | None = None,
    *,
    reader: CommandReader = READER,
) -> Answer:
    return reader.answer(words, Terms(tools, response_format), call_ids)


def test_wishes() -> None:
    for text, wish in {
        "/call x {}": "answer",
        "/FAIL": "answer",
        "/say hi": "answer",
        "/leave ": "leave",
        "\n/PASS": "pass",
        "/help": "help",
        "/leave me": "say",
        "help": "say",
    }.items():
        assert READER.wish((TextPart(text),)) == wish


def test_plain_words_are_the_answer_as_they_stand() -> None:
    said = (TextPart("a\n\tb "), PICTURE)
    assert read(said).parts == said


def test_say_takes_the_rest_literally() -> None:
    assert read((TextPart("/say ping"),)).parts == (TextPart("ping"),)
    assert read((TextPart("/say /call x {}"),)).parts == (TextPart("/call x {}"),)


@pytest.mark.parametrize(
    ("text", "reasoning", "rest"),
    [
        ("/think It hides.\nIn the cave.", "It hides.", "In the cave."),
        ("/think a\n/think\n/think  b\t\n\n c\n", "a\n\n b\t", "\n c\n"),
        ("/think a\n/say /think b", "a", "/think b"),
    ],
)
def test_reasoning_comes_before_the_answer(text: str, reasoning: str, rest: str) -> None:
    assert read((TextPart(text),)).parts == (ReasoningPart(reasoning), TextPart(rest))


def test_reasoning_before_a_tool_call_and_a_picture() -> None:
    said = (TextPart("/think Look out.\n/call now"),)
    expected = (ReasoningPart("Look out."), ToolCallPart("c1", "now", "{}"))
    assert read(said, (Tool("now"),), ["c1"]).parts == expected
    assert read((TextPart("/think This one."), PICTURE)).parts == (ReasoningPart("This one."), PICTURE)


@pytest.mark.parametrize("text", ["/thinking", "x\n/think y", " /think y", "/say /think y"])
def test_other_words_are_no_reasoning(text: str) -> None:
    assert not any(isinstance(part, ReasoningPart) for part in read((TextPart(text),)).parts)


@pytest.mark.parametrize("text", ["/think", "/think a", "/think a\n", "/think a\n\t\n"])
def test_reasoning_alone_is_no_answer(text: str) -> None:
    with pytest.raises(CommandError, match="an answer must follow"):
        read((TextPart(text),))


def test_a_tool_call_keeps_its_arguments_to_the_byte() -> None:
    said = (TextPart('/call weather {"city":  "Köln", "days": 1}'),)
    assert read(said, (WEATHER,), ["c1"]).parts == (ToolCallPart("c1", "weather", '{"city":  "Köln", "days": 1}'),)


def test_several_calls_after_some_text() -> None:
    said = (TextPart('Let me see.\n/call weather {"city": "A"}\n/call weather {\n  "city": "B"\n}'),)
    assert read(said, (WEATHER,), ["c1", "c2"]).parts == (
        TextPart("Let me see."),
        ToolCallPart("c1", "weather", '{"city": "A"}'),
        ToolCallPart("c2", "weather", '{"city":"B"}'),
    )


def test_a_tool_without_arguments() -> None:
    assert read((TextPart("/call now"),), (Tool("now"),), ["c1"]).parts == (ToolCallPart("c1", "now", "{}"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/call wether {}", "no tool 'wether' in this call; it offers: weather"),
        ("/call weather {", "not JSON"),
        ("/call weather [1]", "must be a JSON object"),
        ("/call weather {}", "'city' is a required property"),
        ('/call weather {"city": 1}', "city: 1 is not of type 'string'"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        read((TextPart(text),), (WEATHER,), ["c1"])


def test_more_calls_than_ids_are_refused() -> None:
    with pytest.raises(CommandError, match="can make 1 tool calls at once, not 2"):
        read((TextPart("/call now\n/call now"),), (Tool("now"),), ["c1"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_call_with_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    with pytest.raises(CommandError, match="are not JSON"):
        read((TextPart(f'/call now {{"a": {number}}}'),), (Tool("now"),), ["c1"])


def test_a_call_of_several_lines_keeps_its_numbers() -> None:
    called = read((TextPart('/call now {"a":\n1e400, "b": 1.0}'),), (Tool("now"),), ["c1"])
    assert called.parts == (ToolCallPart("c1", "now", '{"a":1e400,"b":1.0}'),)


@pytest.mark.parametrize(
    ("response_format", "text", "why"),
    [
        (ResponseFormat("json_object"), "It rains.", "asked for JSON, and this is none"),
        (ResponseFormat("json_object"), "[]", "asked for a JSON object"),
        (ResponseFormat("json_schema", schema=WEATHER.schema), "{}", "'city' is a required property"),
        (
            ResponseFormat("json_schema", schema=WEATHER.schema),
            '/say {"city": 1}',
            "city: 1 is not of type 'string'",
        ),
    ],
)
def test_words_that_break_the_response_format_are_refused(response_format: ResponseFormat, text: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        read((TextPart(text),), (), (), response_format)


def test_words_that_fit_the_response_format_stay_as_they_are() -> None:
    said = (TextPart(' {"city":  "Köln"}\n'),)
    assert read(said, (), (), ResponseFormat("json_schema", schema=WEATHER.schema)).parts == said
    assert read((TextPart("any"),), (), (), ResponseFormat("text")).parts == (TextPart("any"),)
    called = read((TextPart("/call now"),), (Tool("now"),), ["c1"], ResponseFormat("json_object"))
    assert called.parts == (ToolCallPart("c1", "now", "{}"),)


def test_an_invalid_schema_checks_nothing() -> None:
    tool = Tool("odd", schema={"type": "no such type"})
    assert read((TextPart("/call odd {}"),), (tool,), ["c1"]).parts == (ToolCallPart("c1", "odd", "{}"),)


def test_a_schema_that_points_elsewhere_is_not_fetched() -> None:
    tool = Tool("far", schema={"$ref": "http://127.0.0.1:9/schema.json"})
    assert read((TextPart("/call far {}"),), (tool,), ["c1"]).parts == (ToolCallPart("c1", "far", "{}"),)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("/fail 429 Slow down.", Failure(429, "Slow down.")),
        ("/fail  529  \n Too much\nof it ", Failure(529, "Too much\nof it")),
        ("/fail 404", Failure(404, "The model failed.")),
        ("/fail", Failure(500, "The model failed.")),
        ("/fail No idea.", Failure(500, "No idea.")),
    ],
)
def test_an_error_as_an_answer(text: str, failure: Failure) -> None:
    answer = read((TextPart(text),), response_format=ResponseFormat("json_object"))
    assert (answer.parts, answer.failure) == ((), failure)


@pytest.mark.parametrize("status", ["200", "399", "600", "4290", "99", "١٢٣"])
def test_a_status_that_is_no_error(status: str) -> None:
    if not status.isascii():
        assert read((TextPart(f"/fail {status}"),)).failure == Failure(500, status)
        return
    with pytest.raises(CommandError, match="400 to 599"):
        read((TextPart(f"/fail {status} x"),))


def test_failing_is_a_word_of_its_own() -> None:
    assert read((TextPart("/failure is no option"),)).failure is None
    assert read((TextPart("I /fail 429"),)).failure is None


def test_a_call_without_a_name() -> None:
    with pytest.raises(CommandError, match="it offers: weather"):
        read((TextPart("/call"),), (WEATHER,), ["c1"])


def test_other_words_for_commands() -> None:
    reader = CommandReader(
        Commands.model_validate({"call": "!tool", "say": "!", "think": "(hm)", "fail": "!err", "leave": "!bye"})
    )
    assert reader.call_word == "!tool"
    assert reader.wish((TextPart("!bye"),)) == "leave" and reader.wish((TextPart("/leave"),)) == "say"
    called = read((TextPart("(hm) a\n!tool now"),), (Tool("now"),), ["c1"], reader=reader)
    assert called.parts == (ReasoningPart("a"), ToolCallPart("c1", "now", "{}"))
    assert read((TextPart("! !tool now"),), reader=reader).parts == (TextPart("!tool now"),)
    assert read((TextPart("/call now"),), reader=reader).parts == (TextPart("/call now"),)
    assert read((TextPart("!err 503"),), reader=reader).failure == Failure(503, "The model failed.")


def test_commands_that_are_off() -> None:
    every = ("call", "think", "say", "fail", "pass", "send", "leave", "help")
    reader = CommandReader(Commands.model_validate(dict.fromkeys(every)))
    for text in ("/call now {}", "/think x\ny", "/say x", "/fail 429 x", "/pass", "/send", "/leave", "/help"):
        assert reader.wish((TextPart(text),)) == "say"
        assert read((TextPart(text),), (Tool("now"),), ["c1"], reader=reader).parts == (TextPart(text),)
    assert reader.call_word is None
    assert reader.help() == "Whatever you write answers the call that you were shown last, word for word."


def test_help_tells_what_there_is() -> None:
    told = READER.help(Terms((WEATHER,), ResponseFormat("json_object")))
    for word in (
        "/call NAME {json}",
        "/think TEXT",
        "/say TEXT",
        "/fail 429 TEXT",
        "/pass",
        "/send",
        "/leave",
        "/help",
    ):
        assert f"\n  {word} " in told
    assert "/call weather {city, days?}  Tells the weather." in told and "wants JSON" in told
    assert "Tools" not in READER.help() and "JSON," not in READER.help()
