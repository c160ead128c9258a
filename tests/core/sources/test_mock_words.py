"""What a mock says: echo, texts, templates, rules, calls of tools, reasoning, JSON."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from motive_core.ir import BlobPart, Message, ReasoningPart, ResponseFormat, TextPart, Tool, ToolChoice, ToolResultPart
from motive_core.sources.mock import Mock
from tests.core.sources.mocked import CITY, asked, calls_of, forced, mock, reply_of, text_of, tool_turn


class TestWords:
    async def test_nothing_set_is_an_echo(self) -> None:
        assert await text_of(mock(), "first", Message("assistant", (TextPart("no"),)), "You see a troll.") == (
            "You see a troll."
        )

    async def test_an_echo_is_of_the_last_thing_said_to_the_model(self) -> None:
        prefill = Message("assistant", (TextPart("I"),))
        late_rules = Message("system", (TextPart("Be brief."),))
        assert await text_of(mock(), "hi", late_rules, prefill) == "hi"
        assert await text_of(mock(), Message("user", (BlobPart("image/png", data="AAAA"),))) == ""
        assert await text_of(mock()) == ""

    async def test_a_fixed_text_stands_as_it_is(self) -> None:
        assert await text_of(mock(text="{message} {x} \n"), "hi") == "{message} {x} \n"

    async def test_texts_come_in_turn(self) -> None:
        source = mock(texts=["a", "b"])
        assert [await text_of(source, "hi") for _ in range(5)] == ["a", "b", "a", "b", "a"]

    async def test_choices_take_a_text_each(self) -> None:
        reply = await reply_of(mock(texts=["a", "b", "c"]), asked("hi", n=2))
        assert [choice.parts for choice in reply.choices] == [(TextPart("a"),), (TextPart("b"),)]

    async def test_a_template(self) -> None:
        source = mock(template="{n}/{choice} {model} <{system}> {tool}: {message} {message}")
        call = asked(Message("system", (TextPart("Be {n}."),)), "{model}", model="gpt", tools={"f": {}}, n=2)
        first, second = (await reply_of(source, call)).choices
        assert first.parts == (TextPart("1/1 gpt <Be {n}.> f: {model} {model}"),)
        assert second.parts == (TextPart("1/2 gpt <Be {n}.> f: {model} {model}"),)

    async def test_reasoning_comes_first_and_is_counted(self) -> None:
        reply = await reply_of(mock(text="Four.", reasoning="Two and two, said {model}."), asked("hi"))
        assert reply.choices[0].parts == (ReasoningPart("Two and two, said m."), TextPart("Four."))
        assert reply.usage is not None and (reply.usage.output_tokens, reply.usage.reasoning_tokens) == (7, 5)

    async def test_tokens_are_four_characters(self) -> None:
        usage = (await reply_of(mock(text="12345678"), asked("12345"))).usage
        assert usage is not None and usage.estimated
        assert (usage.input_tokens, usage.output_tokens) == (2, 2)

    async def test_the_reason_of_the_end(self) -> None:
        plain, short = mock(text="a"), mock(text="a", finish_reason="length")
        assert (await reply_of(plain, asked("hi"))).choices[0].finish_reason == "stop"
        assert (await reply_of(short, asked("hi"))).choices[0].finish_reason == "length"

    async def test_too_many_choices_are_not_made(self) -> None:
        assert len((await reply_of(mock(), asked("hi", n=10**9))).choices) == 128
        assert len((await reply_of(mock(), asked("hi" * 10_000_000, n=10**9))).choices) == 3


class TestRules:
    async def test_the_first_that_takes_a_call_decides(self) -> None:
        source = mock(
            text="else",
            rules=[
                {"when": {"message": r"(?i)weather in (?P<city>\w+)"}, "template": "{city} is sunny, {model}."},
                {"when": {"model": "gpt-*"}, "text": "a gpt"},
                {"when": {"tool": "get_*"}, "text": "a tool"},
                {"when": {"system": "You are (?P<who>\\w+)"}, "template": "I am {who}"},
                {"when": {"stream": True}, "texts": ["s1", "s2"]},
            ],
        )
        assert await text_of(source, "Weather in Rome?", model="gpt-4o") == "Rome is sunny, gpt-4o."
        assert await text_of(source, "hi", model="gpt-4o") == "a gpt"
        assert await text_of(source, "hi", tools={"get_x": {}}) == "a tool"
        assert await text_of(source, Message("system", (TextPart("You are Ann."),)), "hi") == "I am Ann"
        assert [await text_of(source, "hi", stream=True) for _ in range(3)] == ["s1", "s2", "s1"]
        assert await text_of(source, "hi", model="GPT-4") == "else"

    async def test_only_the_last_message_counts(self) -> None:
        source = mock(text="no", rules=[{"when": {"message": "troll"}, "text": "yes"}])
        assert await text_of(source, "a troll", "an elf") == "no"
        assert await text_of(source, "an elf", "a troll") == "yes"

    async def test_all_conditions_must_hold(self) -> None:
        source = mock(text="no", rules=[{"when": {"message": "troll", "model": "x"}, "text": "yes"}])
        assert [await text_of(source, "troll", model=name) for name in ("m", "x")] == ["no", "yes"]

    async def test_each_list_has_its_own_turn(self) -> None:
        source = mock(texts=["a", "b"], rules=[{"when": {"model": "x"}, "texts": ["1", "2"]}])
        said = [await text_of(source, "hi", model=name) for name in ("m", "x", "m", "x")]
        assert said == ["a", "1", "b", "2"]

    async def test_a_rule_without_words_is_an_echo(self) -> None:
        source = mock(text="no", rules=[{"when": {"model": "x"}}])
        assert await text_of(source, "hi", model="x") == "hi"

    async def test_a_hostile_text_is_searched_in_linear_time(self) -> None:
        source = mock(text="no", rules=[{"when": {"message": "(a|a)*b$"}, "text": "yes"}])
        async with asyncio.timeout(5):
            assert await text_of(source, "a" * 90_000) == "no"


class TestTools:
    async def test_a_call_with_arguments_that_are_templates(self) -> None:
        arguments = {"at": {"city": "{city}"}, "days": [1, "{n}"], "now": None, "big": "true"}
        calls = [{"name": "get_weather", "arguments": arguments}, {"name": "raw", "arguments": "{{not json {city}"}]
        source = mock(rules=[{"when": {"message": r"weather in (?P<city>\w+)"}, "tool_calls": calls}])
        reply = await reply_of(source, asked("weather in Rome"))
        assert reply.choices[0].finish_reason == "tool_calls"
        assert await calls_of(source, "weather in Rome") == [
            ("get_weather", '{"at": {"city": "Rome"}, "days": [1, "2"], "now": null, "big": true}'),
            ("raw", "{{not json Rome"),
        ]

    async def test_a_number_that_json_does_not_have_stays_a_text(self) -> None:
        big = "9" * 300 + "e99"
        call = {"name": "get_weather", "arguments": {"big": big, "none": "NaN", "most": "9e99"}}
        source = mock(rules=[{"when": {"message": "."}, "tool_calls": [call]}])
        [(_, arguments)] = await calls_of(source, "weather")
        assert arguments == f'{{"big": "{big}", "none": "NaN", "most": 9e+99}}'

    async def test_arguments_have_the_types_of_the_schema(self) -> None:
        """In the file every scalar is a text."""
        given = {
            "a": "2",
            "b": "2",
            "c": "2.50",
            "d": "-1e3",
            "e": "007",
            "f": ["1", "x"],
            "g": "2",
            "h": "false",
            "i": "{n}",
            "j": "{n}",
        }
        schema = {
            "properties": {
                "a": {"type": "string"},
                "b": {"type": "integer"},
                "i": {"type": ["integer", "null"]},
                "f": {"items": {"type": ["string", "null"]}},
                "g": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            }
        }
        source = mock(tool_calls=[{"name": "f", "arguments": given}])
        ((_, arguments),) = await calls_of(source, "hi", tools={"f": schema})
        assert json.loads(arguments) == {
            "a": "2",
            "b": 2,
            "c": 2.5,
            "d": -1000.0,
            "e": "007",
            "f": ["1", "x"],
            "g": "2",
            "h": False,
            "i": 1,
            "j": "1",
        }

    async def test_the_first_tool_with_the_least_arguments(self) -> None:
        source = mock(call="auto")
        assert await calls_of(source, "hi", tools={"f": CITY, "g": {}}) == [("f", '{"city": "Rome"}')]
        assert await calls_of(source, "hi", tools={"f": CITY, "g": {}}, tool_choice=forced("g")) == [("g", "{}")]
        assert await calls_of(source, "hi", tools={"f": CITY}, tool_choice=ToolChoice("none")) == []
        assert await text_of(source, "hi") == "hi"

    async def test_a_vendors_own_tool_is_not_called(self) -> None:
        call = asked("hi")
        tools = (Tool("web_search", raw={"type": "web_search"}), Tool("f", schema={}))
        call.request = replace(call.request, tools=tools)
        (part,) = (await reply_of(mock(call="auto"), call)).choices[0].parts
        assert getattr(part, "name", "") == "f"

    async def test_arguments_left_out_are_the_least(self) -> None:
        assert await calls_of(mock(tool_calls=[{"name": "f"}]), "hi", tools={"f": CITY}) == [("f", '{"city": "Rome"}')]
        assert await calls_of(mock(tool_calls=[{"name": "f"}]), "hi") == [("f", "{}")]
        assert await calls_of(mock(call="auto"), "hi", tools={"f": False}) == [("f", "{}")]

    @pytest.mark.parametrize("settings", [{"call": "auto"}, {"tool_calls": [{"name": "f"}]}])
    async def test_a_result_is_answered_in_words(self, settings: dict[str, object]) -> None:
        source = mock(**settings)
        assert await text_of(source, "hi", *tool_turn("f", "It is sunny."), tools={"f": CITY}) == "It is sunny."
        said = mock(text="Done.", **settings)
        assert await calls_of(said, "hi", tools={"f": CITY}) == [("f", '{"city": "Rome"}')]
        assert await text_of(said, "hi", *tool_turn("f", "x"), tools={"f": CITY}) == "Done."

    async def test_a_rule_for_a_result_may_call_again(self) -> None:
        rule = {"when": {"result": "find"}, "tool_calls": [{"name": "mail", "arguments": {"text": "{message}"}}]}
        source = mock(call="auto", rules=[rule])
        tools: dict[str, object] = {"find": {}, "mail": {}}
        found = tool_turn("find", "42")
        assert await calls_of(source, "hi", tools=tools) == [("find", "{}")]
        assert await calls_of(source, "hi", *found, tools=tools) == [("mail", '{"text": "42"}')]
        assert await text_of(source, "hi", *found, *tool_turn("mail", "sent", "c2"), tools=tools) == "sent"

    async def test_results_within_a_users_message(self) -> None:
        message = Message("user", (ToolResultPart("c1", (TextPart("sunny"),)), TextPart("Go on.")))
        assert await text_of(mock(call="auto"), "hi", message, tools={"f": {}}) == "Go on."

    async def test_results_of_parallel_calls(self) -> None:
        call, first = tool_turn("f", "one", "c1")
        second = Message("tool", (ToolResultPart("c2", (TextPart("two"),)),))
        assert await text_of(mock(call="auto"), "hi", call, first, second, tools={"f": {}}) == "one\ntwo"

    async def test_a_call_that_the_app_demands(self) -> None:
        assert await calls_of(mock(), "hi", tools={"f": CITY}, tool_choice=ToolChoice("required"))
        assert await calls_of(mock(), "hi", tools={"f": {}, "g": {}}, tool_choice=forced("g")) == [("g", "{}")]
        assert await text_of(mock(text="no"), "hi", tools={"f": CITY}, tool_choice=ToolChoice("required")) == "no"

    async def test_ids_are_those_of_the_seed(self) -> None:
        async def ids(seed: int) -> list[str]:
            source = mock(seed=seed, tool_calls=[{"name": "f"}, {"name": "g"}])
            replies = [await reply_of(source, asked("hi", n=2)) for _ in range(2)]
            return [getattr(part, "call_id", "") for one in replies for choice in one.choices for part in choice.parts]

        assert await ids(1) == await ids(1) != await ids(2)
        assert len(set(await ids(1))) == 8


class TestJson:
    async def test_the_least_that_the_schema_allows(self) -> None:
        assert await text_of(mock(), "hi", schema=CITY) == '{"city": "Rome"}'
        assert json.loads(await text_of(mock(), "hi", schema={"type": "object", "required": ["a"]})) == {"a": "a"}

    async def test_what_is_set_is_said_nevertheless(self) -> None:
        assert await text_of(mock(text="no JSON"), "hi", schema=CITY) == "no JSON"

    async def test_any_object(self) -> None:
        call = asked("hi")
        call.request = replace(call.request, response_format=ResponseFormat("json_object"))
        assert (await reply_of(mock(), call)).choices[0].parts == (TextPart('{"message": "hi"}'),)

    async def test_a_schema_that_allows_nothing(self) -> None:
        assert await text_of(mock(), "hi", schema={"type": "string", "enum": [1]}) == "{}"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"text": "a", "template": "b"}, "only one of text, texts and template"),
        ({"text": ""}, "at least 1 character"),
        ({"template": "{nobody}"}, r"unknown placeholder \{nobody\}"),
        ({"reasoning": "{nobody}"}, "unknown placeholder"),
        ({"tool_calls": [{"name": "f", "arguments": {"a": [{"b": "{nobody}"}]}}]}, "unknown placeholder"),
        ({"tool_calls": [{"name": "f"}], "call": "auto"}, "either tool_calls or call"),
        ({"call": "f"}, "auto"),
        ({"rules": [{"when": {"message": "("}}]}, "not a valid regex"),
        ({"rules": [{"when": {"message": "(?P<model>x)"}}]}, "a group cannot be called 'model'"),
        ({"rules": [{"when": {"message": "(?P<a>x)", "system": "(?P<a>y)"}}]}, "stands in two regexes"),
        ({"rules": [{"when": {"sound": "x"}}]}, "Extra inputs"),
        ({"template": "{city}", "rules": [{"when": {"message": r"(?P<city>\w+)"}}]}, "unknown placeholder"),
        ({"pace": {"jitter": 2}}, "less than or equal to 1"),
        ({"pace": {"tokens_per_s": 0}}, "greater than 0"),
        ({"faults": [{"status": 200}]}, "greater than or equal to 400"),
        ({"faults": [{"kind": "cut", "status": 500}]}, "status is no setting of cut"),
        ({"faults": [{"kind": "delay", "within": "text"}]}, "within is no setting of delay"),
        ({"faults": [{"nth": 1, "every": 2}]}, "only one of probability, nth and every"),
        ({"faults": [{"nth": 0}]}, "greater than or equal to 1"),
        ({"faults": [{"probability": 1.5}]}, "less than or equal to 1"),
    ],
)
def test_what_is_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Mock.model_validate({"kind": "mock", **settings})
