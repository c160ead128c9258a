"""What of a request is relayed and what tells it from others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    Part,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from motive_core.relay import (
    NEW_MESSAGE,
    fingerprint,
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
        said = relayed(replace(chat, tools=(WEATHER,)), with_system=True, with_context=True, call_word="/call")
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
