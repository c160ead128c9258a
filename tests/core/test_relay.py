"""What of a request is relayed, what tells it from others, and the commands that an answerer may write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from motive_core.relay import (
    NEW_MESSAGE,
    CommandError,
    answer_of,
    fingerprint,
    is_leave,
    is_retry,
    join_of,
    prompt_parts,
    relayed,
    request_key,
    text_digest,
)


def say(role: str, *parts: Part | str) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))  # type: ignore[arg-type]


def request(*messages: Message, **fields: object) -> ChatRequest:
    return ChatRequest("openai-chat", "npc", messages, **fields)  # type: ignore[arg-type]


def words(chat: ChatRequest) -> tuple[Part, ...]:
    return relayed(chat, with_system=False, with_context=False).words


PICTURE = BlobPart("image/png", data="AAAA")
WEATHER = Tool(
    "weather",
    "Tells the weather.\nMore.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
)


class TestWords:
    def test_everything_after_the_last_assistant_message(self) -> None:
        chat = request(say("user", "one"), say("assistant", "two"), say("user", "three"), say("user", PICTURE, "four"))
        assert words(chat) == (TextPart("three"), PICTURE, TextPart("four"))

    def test_texts_of_several_messages_stand_apart(self) -> None:
        chat = request(say("user", "one"), say("user", "two"))
        assert words(chat) == (TextPart("one"), TextPart("\n\n"), TextPart("two"))

    def test_the_system_prompt_is_not_relayed(self) -> None:
        assert words(request(say("system", "be"), say("developer", "do"), say("user", "go"))) == (TextPart("go"),)

    def test_a_request_of_only_a_system_prompt_says_that(self) -> None:
        assert words(request(say("system", "be"))) == (TextPart("be"),)

    def test_a_tool_result_gets_the_name_of_its_call(self) -> None:
        call, result = ToolCallPart("c1", "weather", "{}"), ToolResultPart("c1", (TextPart("rain"),))
        chat = request(say("user", "?"), say("assistant", call), say("tool", result))
        assert words(chat) == (replace(result, name="weather"),)

    def test_a_prefill_is_no_border(self) -> None:
        chat = request(say("user", "one"), say("assistant", "two"), say("user", "three"), say("assistant", "The"))
        assert words(chat) == (TextPart("three"),)

    def test_context_is_shown_above_a_line(self) -> None:
        chat = request(say("system", "You are Bob."), say("user", "hi"), say("assistant", "ho"), say("user", "go"))
        said = relayed(replace(chat, tools=(WEATHER,)), with_system=True, with_context=True)
        shown = "".join(part.text for part in prompt_parts(said.words, said.context) if isinstance(part, TextPart))
        before, line, after = shown.partition(NEW_MESSAGE)
        assert line and after.strip() == "go"
        for piece in (
            "[system]\nYou are Bob.",
            "/call weather {city, days?}  Tells the weather.",
            "[user]\nhi",
            "[assistant]\nho",
        ):
            assert piece in before

    def test_without_context_a_prompt_is_exactly_its_words(self) -> None:
        assert prompt_parts((TextPart(" a\n\tb "),), ()) == (TextPart(" a\n\tb "),)

    def test_an_empty_prompt_is_said_to_be_empty(self) -> None:
        assert prompt_parts((TextPart("  "),), ()) == (TextPart("(an empty message)"),)


class TestRecognition:
    def test_a_quoted_prompt_has_the_digest_of_its_words(self) -> None:
        said = relayed(
            request(say("system", "s"), say("user", "a"), say("assistant", "b"), say("user", "c ")),
            with_system=True,
            with_context=True,
        )
        shown = "".join(part.text for part in prompt_parts(said.words, said.context) if isinstance(part, TextPart))
        reply = relayed(
            request(say("user", "ping"), say("assistant", shown + "\n"), say("user", "answer")),
            with_system=False,
            with_context=False,
        )
        assert reply.replies_to == said.digest

    def test_earlier_messages_are_quoted_and_the_last_is_not(self) -> None:
        said = relayed(request(say("user", "a"), say("user", "b")), with_system=False, with_context=False)
        assert said.quotes == (text_digest("a"),)
        assert said.replies_to == ""

    @pytest.mark.parametrize(
        "chat",
        [
            request(say("system", "s"), say("user", "a")),
            request(say("user", "a"), tools=(WEATHER,)),
            request(say("user", "a"), response_format=ResponseFormat("json_object")),
        ],
    )
    def test_who_asks_visibly(self, chat: ChatRequest) -> None:
        assert relayed(chat, with_system=False, with_context=False).asks

    def test_who_only_talks_does_not_ask_visibly(self) -> None:
        chat = request(say("user", "a"), response_format=ResponseFormat("text"))
        assert not relayed(chat, with_system=False, with_context=False).asks

    def test_the_key_ignores_what_a_retry_may_change(self) -> None:
        chat = request(say("user", "a"))
        key = request_key("me", chat, "")
        assert request_key("me", replace(chat, stream=True, include_usage=True, extra={"user": "x"}), "") == key

    @pytest.mark.parametrize(
        "other",
        [
            request(say("user", "b")),
            request(say("assistant", "a")),
            request(say("user", "a"), n=2),
            request(say("user", "a"), tools=(WEATHER,)),
            request(say("user", "a", "")),
            replace(request(say("user", "a")), model="other"),
        ],
    )
    def test_the_key_tells_calls_apart(self, other: ChatRequest) -> None:
        assert request_key("me", other, "") != request_key("me", request(say("user", "a")), "")

    def test_the_key_tells_clients_and_idempotency_keys_apart(self) -> None:
        chat = request(say("user", "a"))
        assert len({request_key("me", chat, ""), request_key("you", chat, ""), request_key("me", chat, "k")}) == 3

    def test_a_fingerprint_has_no_ambiguous_joins(self) -> None:
        assert fingerprint("ab", "c", None, "") != fingerprint("a", "bc", None, "")

    def test_lone_surrogates_do_not_matter(self) -> None:
        chat = request(say("user", "\ud800"))
        assert request_key("me", chat, "") and relayed(chat, with_system=True, with_context=True).digest

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({}, False),
            ({"x-stainless-retry-count": "0"}, False),
            ({"x-stainless-retry-count": "1"}, True),
            ({"x-stainless-retry-count": "many"}, False),
            ({"amz-sdk-request": "attempt=1; max=3"}, False),
            ({"amz-sdk-request": "attempt=2; max=3"}, True),
            ({"idempotency-key": "k"}, True),
        ],
    )
    def test_retry_marks(self, headers: dict[str, str], expected: bool) -> None:
        assert is_retry(headers) is expected


class TestWordsOfTheAnswerer:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ping", "word"),
            (" PING\n", "word"),
            ("/join", "word"),
            ("/join now", "first"),
            ("ping me", "no"),
            ("pinging", "no"),
            ("", "no"),
        ],
    )
    def test_join_words(self, text: str, expected: str) -> None:
        assert join_of((TextPart(text),), ("ping", "/join")) == expected

    def test_leaving(self) -> None:
        assert is_leave((TextPart("/leave "),)) and not is_leave((TextPart("/leave me"),))

    def test_plain_words_are_the_answer_as_they_stand(self) -> None:
        said = (TextPart("a\n\tb "), PICTURE)
        assert answer_of(said, (), ()).parts == said

    def test_say_takes_the_rest_literally(self) -> None:
        assert answer_of((TextPart("/say ping"),), (), ()).parts == (TextPart("ping"),)
        assert answer_of((TextPart("/say /call x {}"),), (), ()).parts == (TextPart("/call x {}"),)

    @pytest.mark.parametrize(
        ("text", "reasoning", "rest"),
        [
            ("/think It hides.\nIn the cave.", "It hides.", "In the cave."),
            ("/think a\n/think\n/think  b\t\n\n c\n", "a\n\n b\t", "\n c\n"),
            ("/think a\n/say /think b", "a", "/think b"),
        ],
    )
    def test_reasoning_comes_before_the_answer(self, text: str, reasoning: str, rest: str) -> None:
        assert answer_of((TextPart(text),), (), ()).parts == (ReasoningPart(reasoning), TextPart(rest))

    def test_reasoning_before_a_tool_call_and_a_picture(self) -> None:
        said = (TextPart("/think Look out.\n/call now"),)
        expected = (ReasoningPart("Look out."), ToolCallPart("c1", "now", "{}"))
        assert answer_of(said, (Tool("now"),), ["c1"]).parts == expected
        assert answer_of((TextPart("/think This one."), PICTURE), (), ()).parts == (ReasoningPart("This one."), PICTURE)

    @pytest.mark.parametrize("text", ["/thinking", "x\n/think y", " /think y", "/say /think y"])
    def test_other_words_are_no_reasoning(self, text: str) -> None:
        assert not any(isinstance(part, ReasoningPart) for part in answer_of((TextPart(text),), (), ()).parts)

    @pytest.mark.parametrize("text", ["/think", "/think a", "/think a\n", "/think a\n\t\n"])
    def test_reasoning_alone_is_no_answer(self, text: str) -> None:
        with pytest.raises(CommandError, match="an answer must follow"):
            answer_of((TextPart(text),), (), ())

    def test_a_tool_call_keeps_its_arguments_to_the_byte(self) -> None:
        said = (TextPart('/call weather {"city":  "Köln", "days": 1}'),)
        assert answer_of(said, (WEATHER,), ["c1"]).parts == (
            ToolCallPart("c1", "weather", '{"city":  "Köln", "days": 1}'),
        )

    def test_several_calls_after_some_text(self) -> None:
        said = (TextPart('Let me see.\n/call weather {"city": "A"}\n/call weather {\n  "city": "B"\n}'),)
        assert answer_of(said, (WEATHER,), ["c1", "c2"]).parts == (
            TextPart("Let me see."),
            ToolCallPart("c1", "weather", '{"city": "A"}'),
            ToolCallPart("c2", "weather", '{"city":"B"}'),
        )

    def test_a_tool_without_arguments(self) -> None:
        assert answer_of((TextPart("/call now"),), (Tool("now"),), ["c1"]).parts == (ToolCallPart("c1", "now", "{}"),)

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
    def test_what_does_not_fit_is_refused_with_the_reason(self, text: str, why: str) -> None:
        with pytest.raises(CommandError, match=why):
            answer_of((TextPart(text),), (WEATHER,), ["c1"])

    def test_more_calls_than_ids_are_refused(self) -> None:
        with pytest.raises(CommandError, match="can make 1 tool calls at once, not 2"):
            answer_of((TextPart("/call now\n/call now"),), (Tool("now"),), ["c1"])

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
    def test_words_that_break_the_response_format_are_refused(
        self, response_format: ResponseFormat, text: str, why: str
    ) -> None:
        with pytest.raises(CommandError, match=why):
            answer_of((TextPart(text),), (), (), response_format)

    def test_words_that_fit_the_response_format_stay_as_they_are(self) -> None:
        said = (TextPart(' {"city":  "Köln"}\n'),)
        assert answer_of(said, (), (), ResponseFormat("json_schema", schema=WEATHER.schema)).parts == said
        assert answer_of((TextPart("any"),), (), (), ResponseFormat("text")).parts == (TextPart("any"),)
        called = answer_of((TextPart("/call now"),), (Tool("now"),), ["c1"], ResponseFormat("json_object"))
        assert called.parts == (ToolCallPart("c1", "now", "{}"),)

    def test_an_invalid_schema_checks_nothing(self) -> None:
        tool = Tool("odd", schema={"type": "no such type"})
        assert answer_of((TextPart("/call odd {}"),), (tool,), ["c1"]).parts == (ToolCallPart("c1", "odd", "{}"),)

    def test_a_schema_that_points_elsewhere_is_not_fetched(self) -> None:
        tool = Tool("far", schema={"$ref": "http://127.0.0.1:9/schema.json"})
        assert answer_of((TextPart("/call far {}"),), (tool,), ["c1"]).parts == (ToolCallPart("c1", "far", "{}"),)


def test_a_later_request_quotes_the_words_of_every_earlier_turn() -> None:
    call, result = ToolCallPart("c1", "weather", "{}"), ToolResultPart("c1", (TextPart("rain"),))
    turns = [
        [say("system", "s"), say("user", "one"), say("user", "two")],
        [say("assistant", call), say("tool", result)],
        [say("assistant", "It rains."), say("user", "thanks", PICTURE)],
        [say("assistant", "Bye."), say("user", "bye")],
    ]
    digests: list[str] = []
    for number in range(len(turns)):
        chat = request(*(message for turn in turns[: number + 1] for message in turn))
        said = relayed(chat, with_system=True, with_context=True)
        assert said.quotes[:number] == tuple(digests)
        digests.append(said.digest)
