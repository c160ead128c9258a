"""How a draft is written for the person who reviews it, and what becomes of it when they write something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from motive_core.config import Commands
from motive_core.ir import (
    BlobPart,
    Choice,
    FinishReason,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    Usage,
)
from motive_core.relay import CommandError, CommandReader, drafted, prompt_parts, text_digest
from motive_core.session import Answer, Terms

READER: Final = CommandReader(Commands())
JOIN_WORDS: Final = ("ping", "/join")
CITED: Final = {"citations": [{"url": "https://example.org"}]}
SAID: Final = TextPart("It is a troll.", extra=CITED)
THOUGHT: Final = ReasoningPart("Trolls are\nslow.", "sig")
LOOK: Final = ToolCallPart("c1", "look", '{"where":  "north"}', extra={"id": "fc_1"})
HIT: Final = ToolCallPart("c2", "hit", '{"what": "troll"}')
TOOLS: Final = (
    Tool("look", schema={"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]}),
    Tool("hit"),
)


def reply(*parts: Part, finish: FinishReason = "stop", **more: Any) -> Reply:
    return Reply(
        "r1",
        "m-2024",
        (Choice(parts, finish, "END", extra={"logprobs": [1]}), Choice((TextPart("other"),))),
        Usage(3, 4),
        7,
        extra={"system_fingerprint": "fp"},
        **more,
    )


def shown(draft: Reply) -> str:
    """The draft as its reader has it before its eyes, without the line that marks it."""
    return READER.draft(draft, JOIN_WORDS).partition("\n\n")[2]


def answer(draft: Reply, text: str, response_format: ResponseFormat | None = None) -> Answer:
    ids = (f"new{number}" for number in range(9))
    return READER.answer((TextPart(text),), Terms(TOOLS, response_format), ids, draft)


def edit(draft: Reply, text: str) -> Reply:
    made = answer(draft, text).reply
    assert made is not None
    assert replace(made, choices=()) == replace(draft, choices=()), "ids, usage, times and model are the service's"
    assert made.choices[1:] == draft.choices[1:]
    return made


FULL: Final = reply(THOUGHT, SAID, LOOK, HIT, finish="tool_calls")
WRITTEN: Final = """\
/think Trolls are
/think slow.
It is a troll.
/call look {"where":  "north"}
/call hit {"what": "troll"}"""


def test_it_is_written_as_one_would_write_it() -> None:
    assert shown(FULL) == WRITTEN
    assert READER.draft(FULL, JOIN_WORDS).startswith(" /send lets it go, other words take its place\n\n")


@pytest.mark.parametrize("text", ["/send", " /SEND\n", WRITTEN, WRITTEN.replace(".", ". ") + "\n"])
def test_what_is_let_go_is_the_draft_itself(text: str) -> None:
    draft = FULL
    made = answer(draft, text)
    assert made.reply is draft
    assert made.digest == drafted(draft).digest


def test_there_is_nothing_to_let_go_without_a_draft() -> None:
    with pytest.raises(CommandError, match="no draft"):
        READER.answer((TextPart("/send"),), Terms(), ())
    assert READER.wish((TextPart("/send"),)) == "answer"
    assert READER.wish((TextPart("/send it"),)) == "say"


def test_other_words_leave_the_thoughts() -> None:
    made = edit(FULL, "I flee!").choices[0]
    assert made == Choice((THOUGHT, TextPart("I flee!")), "stop")


def test_the_digest_is_that_of_what_the_app_will_quote() -> None:
    assert answer(FULL, "I flee!").digest == text_digest("I flee!")
    assert drafted(FULL).digest != text_digest("It is a troll.")


def test_a_call_with_other_arguments_keeps_its_id_and_all_else_stays() -> None:
    made = edit(FULL, WRITTEN.replace("north", "south")).choices[0]
    south = ToolCallPart("c1", "look", '{"where":  "south"}')
    assert made == Choice((THOUGHT, SAID, south, HIT), "tool_calls", "END")
    assert made.parts[1] is SAID


def test_a_call_less() -> None:
    made = edit(FULL, 'It is a troll.\n/call hit {"what":"troll"}').choices[0]
    assert made.parts == (THOUGHT, SAID, HIT) and made.finish_reason == "tool_calls"


def test_a_call_more() -> None:
    made = edit(FULL, WRITTEN + '\n/call look {"where": "up"}').choices[0]
    assert made.parts == (THOUGHT, SAID, LOOK, HIT, ToolCallPart("new2", "look", '{"where": "up"}'))


def test_two_equal_calls_stay_two() -> None:
    twice = reply(HIT, replace(HIT, call_id="c3"), finish="tool_calls")
    assert answer(twice, shown(twice)).reply is twice
    assert edit(twice, '/call hit {"what": "troll"}').choices[0].parts == (HIT,)


def test_text_in_the_place_of_a_call_and_the_reverse() -> None:
    called = reply(LOOK, finish="tool_calls")
    assert edit(called, "No.").choices[0] == Choice((TextPart("No."),), "stop")
    made = edit(reply(SAID), '/call look {"where": "up"}').choices[0]
    assert made == Choice((ToolCallPart("new0", "look", '{"where": "up"}'),), "tool_calls")


def test_each_part_stays_where_it_was() -> None:
    """Signed thoughts may stand between calls; a service refuses them in another order."""
    later = ReasoningPart("", "sig2")
    draft = reply(THOUGHT, LOOK, later, HIT, finish="tool_calls")
    made = edit(draft, '/call look {"where": "up"}\n/call hit {"what": "troll"}').choices[0]
    assert [type(part) for part in made.parts] == [type(part) for part in draft.choices[0].parts]
    assert made.parts[2] is later
    draft = reply(LOOK, SAID, finish="tool_calls")
    made = edit(draft, 'It hides.\n/call look {"where": "north"}').choices[0]
    assert made.parts == (TextPart("It hides."), LOOK)


def test_other_thoughts_take_the_place_of_those() -> None:
    assert edit(FULL, "/think Run!\nIt is a troll.").choices[0].parts == (ReasoningPart("Run!"), SAID)
    assert edit(FULL, "/think\nIt is a troll.").choices[0].parts == (SAID,)


def test_what_is_as_it_was_need_not_fit() -> None:
    unfit = ToolCallPart("c9", "look", '{"how": ')
    draft = reply(TextPart("Hm."), unfit, ToolCallPart("c8", "unknown", ""), finish="tool_calls")
    assert answer(draft, shown(draft)).reply is draft
    assert edit(draft, shown(draft).replace("Hm.", "Ha.")).choices[0].parts[1:] == draft.choices[0].parts[1:]
    with pytest.raises(CommandError, match="do not fit"):
        answer(draft, "/call look {}")
    cut = reply(TextPart('{"a": '), finish="length")
    assert answer(cut, '{"a": ', ResponseFormat("json_object")).reply is cut
    with pytest.raises(CommandError, match="JSON"):
        answer(cut, '{"b": ', ResponseFormat("json_object"))


def test_a_tool_with_a_form_of_its_own_takes_other_words() -> None:
    patch = ToolCallPart("c1", "patch", "--- a\n+++ b", custom=True)
    draft = reply(patch, finish="tool_calls")
    assert answer(draft, shown(draft)).reply is draft
    assert edit(draft, "/call patch --- a\n+++ c").choices[0].parts == (replace(patch, arguments="--- a\n+++ c"),)


@pytest.mark.parametrize(
    ("finish", "text", "expected"),
    [
        ("length", "Other.", "length"),
        ("refusal", "Other.", "stop"),
        ("content_filter", "Other.", "stop"),
        ("pause", "Other.", "stop"),
        ("content_filter", "/think Hm.\nIt is a troll.", "content_filter"),
    ],
)
def test_why_it_ended(finish: FinishReason, text: str, expected: str) -> None:
    made = edit(reply(SAID, finish=finish), text).choices[0]
    assert made.finish_reason == expected
    assert made.stop_sequence == ("END" if finish == expected else None)


def test_a_failure_is_one() -> None:
    made = answer(FULL, "/fail 429 no")
    assert made.failure is not None and made.reply is None


@pytest.mark.parametrize(
    "text", ["ping", "/join", "/help", "/send", "/fail 500", "/think x", "/say x", "a\n/call look {}", "/call"]
)
def test_what_looks_like_a_command_is_written_so_that_it_is_none(text: str) -> None:
    draft = reply(TextPart(text))
    assert shown(draft) == f"/say {text}"
    assert answer(draft, shown(draft)).reply is draft


def test_what_there_is_no_command_for_is_its_text() -> None:
    draft = reply(
        ReasoningPart("", redacted="x"),
        RefusalPart("No."),
        BlobPart("image/png", data="aGk="),
        OpaquePart("anthropic-messages", {"type": "server_tool_use"}),
    )
    assert "![image](data:image/png;base64,aGk=)" in shown(draft)
    assert shown(draft).startswith("/think [redacted reasoning]\nNo.")
    assert answer(draft, shown(draft)).reply is draft
    assert edit(draft, "Yes.").choices[0].parts == (draft.choices[0].parts[0], TextPart("Yes."))


def test_a_picture_may_be_an_answer() -> None:
    picture = BlobPart("image/png", data="AAAA")
    made = READER.answer((TextPart("Here: "), picture), Terms(), (), reply(SAID)).reply
    assert made is not None and made.choices[0].parts == (TextPart("Here: "), picture)


def test_a_reply_without_words() -> None:
    assert shown(reply()) == "(an empty reply)"
    assert shown(Reply("r", "m", ())) == "(an empty reply)"
    made = answer(Reply("r", "m", ()), "Hello.").reply
    assert made is not None and made.choices == (Choice((TextPart("Hello."),)),)


def test_commands_that_are_off() -> None:
    reader = CommandReader(Commands.model_validate({"call": None, "think": None, "say": None, "send": None}))
    written = reader.draft(FULL, JOIN_WORDS)
    assert written.startswith(" /pass lets it go")
    text = written.partition("\n\n")[2]
    assert text == 'It is a troll.\n\n[tool call look c1]\n{"where":  "north"}\n\n[tool call hit c2]\n{"what": "troll"}'
    assert reader.answer((TextPart(text),), Terms(TOOLS), (), FULL).reply is FULL
    made = reader.answer((TextPart("No."),), Terms(TOOLS), (), FULL).reply
    assert made is not None and made.choices[0].parts == (THOUGHT, TextPart("No."))
    silent = CommandReader(Commands.model_validate({"pass": None, "send": None}))
    assert silent.draft(FULL, JOIN_WORDS) == f"\n\n{WRITTEN}"


def test_the_words_of_a_prompt_are_known_by_themselves() -> None:
    """What a chat UI quotes of it has the draft in it, and the app's history has not."""
    words = (TextPart("You see a troll."),)
    parts = prompt_parts(words, (TextPart("[system]\nBe brave."),), READER.draft(FULL, JOIN_WORDS))
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    assert text.endswith(WRITTEN) and "\n\n——— draft ——— /send lets it go" in text
    assert text_digest(text) == text_digest("You see a troll.")


WORDS: Final = st.text(st.sampled_from("ab \n\t{}[]—"), max_size=12)
PARTS: Final = st.one_of(
    st.builds(TextPart, WORDS),
    st.builds(ReasoningPart, WORDS, st.sampled_from([None, "sig"])),
    st.builds(ToolCallPart, st.sampled_from(["c1", "c2"]), st.sampled_from(["look", "x"]), WORDS),
)


@given(st.lists(PARTS, max_size=5))
def test_sent_back_as_it_stands_it_is_the_draft(parts: list[Part]) -> None:
    assume(any(isinstance(part, ToolCallPart) or (isinstance(part, TextPart) and part.text.strip()) for part in parts))
    draft = reply(*parts)
    assert answer(draft, shown(draft)).reply is draft
