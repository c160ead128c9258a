"""Background calls: the apps' own are recognised and answered in their format, what people say is not.

The samples are written to begin as the apps' instructions do; what follows in them is made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from motive_core.background import BackgroundTable, BackgroundTask
from motive_core.config import Config
from motive_core.ir import ChatRequest, Message, ResponseFormat, Sampling, TextPart

ENOUGH = "How do I bake rye bread at home?"
TITLE = "How do I bake rye bread"
QUOTED = f"\n### Chat History:\n<chat_history>\nUSER: {ENOUGH}\nASSISTANT: With patience.\n</chat_history>"


def say(role: str, text: str) -> Message:
    return Message(role, (TextPart(text),))  # type: ignore[arg-type]


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("openai-chat", "npc", messages, **fields)


def asks(text: str, *, system: str | None = None) -> ChatRequest:
    return chat(*([say("system", system)] if system is not None else []), say("user", text))


@pytest.fixture
def table() -> BackgroundTable:
    return BackgroundTable(Config())


def recognised(
    table: BackgroundTable, request: ChatRequest, headers: Mapping[str, str] | None = None
) -> BackgroundTask:
    task = table.match(request, headers or {})
    assert task is not None
    return task


SAMPLES = [
    (
        "open-webui title",
        asks(f"### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.{QUOTED}"),
        {"title": TITLE},
    ),
    (
        "open-webui title",
        asks(f"### Task:\nGenerate a concise title summarizing the chat history.\n### Guidelines:\n- Short.{QUOTED}"),
        {"title": TITLE},
    ),
    (
        "open-webui tags",
        asks(f"### Task:\nGenerate 1-3 broad tags categorizing the themes.{QUOTED}"),
        {"tags": ["General"]},
    ),
    (
        "open-webui follow-ups",
        asks(f"### Task:\nSuggest 3-5 relevant follow-up questions or prompts.{QUOTED}"),
        {"follow_ups": []},
    ),
    (
        "open-webui queries",
        asks(f"### Task:\nAnalyze the chat history to determine the necessity of generating search queries.{QUOTED}"),
        {"queries": []},
    ),
    (
        "open-webui autocomplete",
        asks("### Task:\nYou are an autocompletion system. Continue.\n<type>General</type>\n<text>The sun</text>"),
        {"text": ""},
    ),
    (
        "open-webui image prompt",
        asks(f"### Task:\nGenerate a detailed prompt for am image generation task.{QUOTED}"),
        {"prompt": ENOUGH},
    ),
    (
        "open-webui emoji",
        asks("Your task is to reflect the speaker's likely facial expression through an emoji.\n\nMessage: ```Hi```"),
        "🙂",
    ),
    (
        "open-webui tool choice",
        asks('Query: History:\nUSER: """Hi"""\nQuery: Hi', system="Available Tools: []\n\nChoose."),
        {"tool_calls": []},
    ),
    (
        "open-webui title, 0.3",
        asks(f"Here is the query:\n{ENOUGH}\n\nCreate a concise, 3-5 word phrase with an emoji as a title for it."),
        TITLE,
    ),
    (
        "open-webui title, 0.2",
        asks(f"Create a concise, 3-5 word phrase as a header for the following query, no more: {ENOUGH}"),
        TITLE,
    ),
    (
        "librechat title",
        asks(
            f"Provide a concise, 5-word-or-less title for the conversation.\n\nConversation:\nUser: {ENOUGH}\nAI: Well."
        ),
        TITLE,
    ),
    (
        "librechat title and language",
        asks(f"Analyze this conversation and provide:\n1. The detected language\n\nHuman: {ENOUGH}\nAI: Well."),
        {"language": "English", "title": TITLE},
    ),
    (
        "librechat title, older",
        asks(
            "Write a concise title for this conversation in the detected language. Title in 5 Words or Less.\n"
            f"User: {ENOUGH}\nAI: Well."
        ),
        TITLE,
    ),
    (
        "librechat title, oldest",
        asks(
            "Language: English",
            system="Write a concise title for this conversation in the given language. Title in 5 Words or Less.",
        ),
        "Language: English",
    ),
    (
        "librechat language",
        asks("Detect the language used in the following text. Note: words may be cut off.\nHi"),
        "English",
    ),
    (
        "lobe-chat topic title",
        asks(
            f"user: {ENOUGH}\nassistant: Well.",
            system="You are a professional conversation summarizer. Generate a concise title.",
        ),
        TITLE,
    ),
    (
        "lobe-chat topic title",
        asks(
            f"<conversation>\n<user>\n{ENOUGH}\n</user>\n<assistant>\nWell.\n</assistant>\n</conversation>",
            system="You are a professional conversation summarizer. Generate a concise title.",
        ),
        TITLE,
    ),
    (
        "lobe-chat topic title, older",
        asks(
            f"user: {ENOUGH}\nassistant: Well.",
            system="你是一名擅长会话的助理，你需要将用户的会话总结为 10 个字以内的标题",
        ),
        TITLE,
    ),
    (
        "lobe-chat topic summary",
        asks(f"user: {ENOUGH}", system="Summarize the conversation for future reference.\n\nRequirements:\n- Short."),
        {"description": TITLE, "summary": ENOUGH},
    ),
    (
        "lobe-chat follow-ups",
        asks("Last assistant message:", system="You are a sidecar that extracts 0-4 quick-reply suggestions."),
        {"chips": []},
    ),
    (
        "nextchat title",
        chat(
            say("user", ENOUGH),
            say("assistant", "Well."),
            say("user", "Please generate a four to five word title summarizing our conversation without any lead-in."),
        ),
        TITLE,
    ),
    (
        "continue title",
        asks(f"Given the following... please reply with a title for the chat, short.\n\n{ENOUGH}"),
        TITLE,
    ),
    (
        "opencode title",
        chat(
            say("system", "You are a title generator. You output ONLY a thread title. Nothing else."),
            say("user", "Generate a title for this conversation:\n"),
            say("user", ENOUGH),
        ),
        TITLE,
    ),
    (
        "claude-code title",
        chat(
            say("system", "You are an agent."),
            say("system", "Generate a concise, sentence-case title (3-7 words) of this session."),
            say("user", f"<session>\n{ENOUGH}\n</session>"),
        ),
        {"title": TITLE},
    ),
    (
        "claude-code topic",
        chat(
            say("system", "You are an agent."),
            say(
                "system",
                "Analyze if this message indicates a new conversation topic. If it does, extract a 2-3 word title that "
                "captures the new topic. Format your response as a JSON object with two fields.",
            ),
            say("user", ENOUGH),
        ),
        {"isNewTopic": True, "title": TITLE},
    ),
    (
        "claude-code title, older",
        asks(f"Please write a 5-10 word title for the following conversation:\n\nUser: {ENOUGH}"),
        TITLE,
    ),
    (
        "claude-code summary",
        asks(ENOUGH, system="Summarize this coding conversation in under 50 characters.\nCapture the main task."),
        TITLE,
    ),
    ("claude-code suggestion", asks("[SUGGESTION MODE: Suggest what the user might naturally type next.]"), ""),
    (
        "gemini-cli router",
        asks(
            ENOUGH,
            system="\nYou are a specialized Task Routing AI. Your sole function is to analyze the user's request and "
            "classify its complexity. Choose between `flash` (SIMPLE) or `pro` (COMPLEX).",
        ),
        {"reasoning": "", "model_choice": "flash"},
    ),
    (
        "gemini-cli router by score",
        asks(
            ENOUGH,
            system="\nYou are a specialized Task Routing AI. Your sole function is to analyze the user's request and "
            "assign a **Complexity Score** from 1 to 100.",
        ),
        {"complexity_reasoning": "", "complexity_score": 50},
    ),
    (
        "gemini-cli next speaker",
        asks(
            "Analyze *only* the content and structure of your immediately preceding response (your last turn in the "
            "conversation history)."
        ),
        {"reasoning": "", "next_speaker": "user"},
    ),
    (
        "codex title",
        asks(f"Generate a concise, single-line task title of at most 36 characters for this:\n\nUser: {ENOUGH}"),
        TITLE,
    ),
    (
        "codex title by instructions",
        asks(ENOUGH, system="Generate a concise, single-line task title of at most 36 characters."),
        TITLE,
    ),
    ("probe", chat(say("user", "quota"), sampling=Sampling(max_tokens=1)), "."),
]


class TestBuiltInTable:
    @pytest.mark.parametrize(
        ("name", "request_", "reply"), SAMPLES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(SAMPLES)]
    )
    def test_each_is_recognised_and_answered(
        self, table: BackgroundTable, name: str, request_: ChatRequest, reply: object
    ) -> None:
        task = recognised(table, request_)
        assert task.name == name
        answer = table.answer(task, request_)
        assert (json.loads(answer) if isinstance(reply, dict) else answer) == reply

    def test_every_entry_has_a_sample(self) -> None:
        by_text = {entry.name for entry in Config().background if not entry.match.header}
        assert by_text == {name for name, _, _ in SAMPLES}

    @pytest.mark.parametrize(
        ("value", "name"),
        [
            ("title_generation", "open-webui title header"),
            ("TASKS.TAGS_GENERATION", "open-webui tags header"),
            ("follow_up_generation", "open-webui follow-ups header"),
            ("query_generation", "open-webui queries header"),
            ("autocomplete_generation", "open-webui autocomplete header"),
            ("image_prompt_generation", "open-webui image prompt header"),
            ("emoji_generation", "open-webui emoji header"),
            ("function_calling", "open-webui tool choice header"),
        ],
    )
    def test_by_header(self, table: BackgroundTable, value: str, name: str) -> None:
        assert recognised(table, asks("Name it."), {"x-openwebui-task": value}).name == name

    def test_what_coding_agents_mark(self, table: BackgroundTable) -> None:
        memory = {"x-openai-subagent": "memory_consolidation"}
        assert recognised(table, asks("Go through these."), memory).name == "codex memory"
        assert table.match(asks("Review this."), {"x-openai-subagent": "review"}) is None
        warm_up = asks("Warmup")
        assert recognised(table, warm_up, {"user-agent": "claude-cli/2.1"}).name == "claude-code warm-up"
        assert table.match(warm_up, {"user-agent": "curl/8"}) is None

    @pytest.mark.parametrize(
        ("text", "max_tokens"),
        [("quota", 2), ("quota", None), ("Is this spam? Say 1 or 0.", 1), ("test it", 1), ("1234", 1)],
    )
    def test_what_is_no_probe(self, table: BackgroundTable, text: str, max_tokens: int | None) -> None:
        assert table.match(chat(say("user", text), sampling=Sampling(max_tokens=max_tokens)), {}) is None

    @pytest.mark.parametrize("text", ["quota", " Hi! ", "test", "", ".", "1", "PING", "hello?"])
    def test_probes(self, table: BackgroundTable, text: str) -> None:
        request = chat(say("user", text), sampling=Sampling(max_tokens=1))
        assert table.answer(recognised(table, request), request) == "."

    def test_an_answer_goes_on_from_the_beginning_that_the_call_has(self, table: BackgroundTable) -> None:
        system = "Analyze if this message indicates a new conversation topic. If it does, extract a 2-3 word title."
        request = chat(say("system", system), say("user", ENOUGH), say("assistant", "{"))
        answer = table.answer(recognised(table, request), request)
        assert json.loads("{" + answer) == {"isNewTopic": True, "title": TITLE}

    def test_a_turn_has_the_header_empty(self, table: BackgroundTable) -> None:
        assert table.match(asks("Name it."), {"x-openwebui-task": ""}) is None
        assert table.match(asks("Name it."), {"x-openwebui-task": "moa_response_generation"}) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Generate a concise title summarizing the chat history.",
            "What does '### Task:\nGenerate a concise title' mean in Open WebUI?",
            "### Task:\nRespond to the user query using the provided context.\n<user_query>A title</user_query>",
            "### Task:\nGenerate a concise report about titles.",
            "### Task:\nGenerate a concise title for my novel.",
            "### Task: fix the bug\nGenerate 1-3 broad tags categorizing the themes",
            "Please do this:\n\n### Task:\nSuggest 3-5 relevant follow-up questions",
            "I am stuck. Provide a concise, 5-word-or-less title for the conversation",
            "Could you please generate a four to five word title summarizing our conversation without any lead-in?",
            "Given the following code, please reply with a title for the chat",
            "Here is the query:\nSELECT 1\n\nCreate a concise, 3-5 word phrase for it",
            "Query: what is the time?",
            "Detect the language used in the following text: bonjour",
            "Analyze this conversation and provide:\n1. A summary",
            "ping",
        ],
    )
    def test_a_person_is_no_app(self, table: BackgroundTable, text: str) -> None:
        assert table.match(asks(text), {}) is None
        assert table.match(asks(text, system="You are a helpful assistant."), {}) is None

    @pytest.mark.parametrize(
        "system",
        [
            "You are Bob. You are a title generator. You output ONLY a thread title.",
            "Tools: Available Tools: none",
            "Never say: Generate a concise, sentence-case title (3-7 words)",
            "You summarise. Summarize the conversation for future reference.\n\nRequirements:",
        ],
    )
    def test_a_system_prompt_that_mentions_it(self, table: BackgroundTable, system: str) -> None:
        assert table.match(asks("Query: Hi", system=system), {}) is None

    def test_what_was_said_before_does_not_count(self, table: BackgroundTable) -> None:
        _, earlier, _ = SAMPLES[0]
        assert table.match(chat(*earlier.messages, say("assistant", "{}"), say("user", "and now?")), {}) is None
        assert table.match(chat(*earlier.messages, say("assistant", "{}")), {}) is None


def titled(table: BackgroundTable, words: str) -> str:
    request = asks(f"Given the following... please reply with a title for the chat, short.\n\n{words}")
    return table.answer(recognised(table, request), request)


class TestTitles:
    @pytest.mark.parametrize(
        ("words", "title"),
        [
            ("hello", "hello"),
            ("  one\ntwo\tthree four five six seven", "one two three four five six"),
            ('# "Quoted" `code` *bold* {x} [y] <z>', "Quoted code bold x y z"),
            ("What now?!", "What now"),
            ("x" * 200, "x" * 60),
            ("...", "New chat"),
            ("日本語のタイトル", "日本語のタイトル"),
            ("a\ud800b", "a?b"),
        ],
    )
    def test_a_few_words_on_one_line(self, table: BackgroundTable, words: str, title: str) -> None:
        assert titled(table, words) == title

    def test_without_words(self, table: BackgroundTable) -> None:
        _, request, _ = SAMPLES[0]
        task = recognised(table, request)
        assert table.answer(task, chat(say("assistant", "Hi"))) == '{"title": "New chat"}'

    def test_words_of_several_lines(self, table: BackgroundTable) -> None:
        quoted = "<chat_history>\nUSER: a\nred\n\ncat\nASSISTANT: b\n</chat_history>"
        request = asks(f"### Task:\nGenerate a detailed prompt for an image.\n{quoted}")
        assert json.loads(table.answer(recognised(table, request), request)) == {"prompt": "a\nred\n\ncat"}

    def test_json_is_escaped(self, table: BackgroundTable) -> None:
        request = asks('### Task:\nGenerate a detailed prompt for an image.\nUSER: say "\\" and {title}')
        assert json.loads(table.answer(recognised(table, request), request)) == {"prompt": 'say "\\" and {title}'}

    def test_a_long_hostile_quotation(self, table: BackgroundTable) -> None:
        request = asks(f"### Task:\nGenerate a concise title of the chat history.\n{'<user>' * 30_000}")
        assert json.loads(table.answer(recognised(table, request), request))["title"]


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


class TestResponseFormat:
    TEXT = "Given the following... please reply with a title for the chat, short.\n\nRye bread"

    def answer(self, table: BackgroundTable, text: str, wanted: ResponseFormat) -> Any:
        request = chat(say("user", text), response_format=wanted)
        return json.loads(table.answer(recognised(table, request), request))

    def test_text_is_text(self, table: BackgroundTable) -> None:
        request = chat(say("user", self.TEXT), response_format=ResponseFormat("text"))
        assert table.answer(recognised(table, request), request) == "Rye bread"

    def test_any_object(self, table: BackgroundTable) -> None:
        assert self.answer(table, self.TEXT, ResponseFormat("json_object")) == {"title": "Rye bread"}

    def test_a_reply_that_fits_is_kept(self, table: BackgroundTable) -> None:
        text = "### Task:\nSuggest 3-5 relevant follow-up questions"
        wanted = ResponseFormat("json_schema", schema=schema(follow_ups={"type": "array"}))
        assert self.answer(table, text, wanted) == {"follow_ups": []}

    def test_another_shape(self, table: BackgroundTable) -> None:
        wanted = schema(
            chat_title={"type": "string"},
            language={"type": "string", "enum": ["en", "de"]},
            note={"type": ["string", "null"]},
            tags={"type": "array"},
            count={"type": "integer"},
            score={"type": "number"},
            new={"type": "boolean"},
            nothing={"type": "null"},
            unknown={},
            inner=schema(name={"type": "string"}),
        )
        wanted["properties"]["optional"] = {"type": "string"}
        assert self.answer(table, self.TEXT, ResponseFormat("json_schema", schema=wanted)) == {
            "chat_title": "Rye bread",
            "language": "en",
            "note": "",
            "tags": [],
            "count": 0,
            "score": 0,
            "new": False,
            "nothing": None,
            "unknown": None,
            "inner": {"name": "Rye bread"},
        }

    @pytest.mark.parametrize(
        "wanted", [None, True, [], {"type": "object"}, {"type": "object", "properties": 1, "required": 2}]
    )
    def test_a_schema_that_says_little(self, table: BackgroundTable, wanted: Any) -> None:
        assert isinstance(self.answer(table, self.TEXT, ResponseFormat("json_schema", schema=wanted)), dict)

    def test_a_schema_without_end(self, table: BackgroundTable) -> None:
        wanted = schema()
        wanted["properties"], wanted["required"] = {"inner": wanted}, ["inner"]
        assert self.answer(table, self.TEXT, ResponseFormat("json_schema", schema=wanted))["inner"]["inner"]


class TestOwnTable:
    @staticmethod
    def table(*entries: Mapping[str, Any], **settings: Any) -> BackgroundTable:
        return BackgroundTable(Config.model_validate({"extra_background": entries, **settings}))

    def test_it_is_asked_first(self) -> None:
        _, request, _ = SAMPLES[0]
        table = self.table({"name": "mine", "match": {"message": r"\A### Task:"}, "reply": "no"})
        task = recognised(table, request)
        assert (task.name, table.answer(task, request)) == ("mine", "no")

    def test_the_built_in_one_can_be_replaced(self) -> None:
        _, request, _ = SAMPLES[0]
        assert self.table(background=[]).match(request, {}) is None

    def test_groups_are_filled_in(self) -> None:
        table = self.table(
            {
                "name": "mine",
                "match": {"message": r"\ATitle of (?P<words>.*) in (?P<lang>\w+)"},
                "reply": "{lang}: {title} ({words})",
            }
        )
        request = asks("Title of <a> in French")
        assert table.answer(recognised(table, request), request) == "French: a (<a>)"

    def test_all_conditions_must_hold(self) -> None:
        match = {"message": "^a", "system": "^b", "header": {"X-A": "^c"}, "field": {"metadata.task": "^d$"}}
        table = self.table({"name": "mine", "match": match, "reply": ""}, background=[])
        extra = {"metadata": {"task": "d"}}
        whole = chat(say("system", "b"), say("user", "a"), extra=extra)
        assert recognised(table, whole, {"x-a": "c"}).name == "mine"
        assert table.match(whole, {}) is None
        assert table.match(chat(say("system", "b"), say("user", "a")), {"x-a": "c"}) is None
        assert table.match(chat(say("user", "a"), extra=extra), {"x-a": "c"}) is None
        assert table.match(chat(say("system", "b"), say("user", "x"), extra=extra), {"x-a": "c"}) is None

    @pytest.mark.parametrize(
        ("extra", "matches"),
        [
            ({"a": {"b": "yes"}}, True),
            ({"a": {"b": True}}, True),
            ({"a": {"b": 7}}, True),
            ({"a": {"b": None}}, False),
            ({"a": {"b": ["yes"]}}, False),
            ({"a": {"b": "no"}}, False),
            ({"a": "yes"}, False),
            ({}, False),
        ],
    )
    def test_fields(self, extra: Mapping[str, Any], matches: bool) -> None:
        table = self.table({"name": "mine", "match": {"field": {"a.b": "^(yes|true|7)$"}}, "reply": ""})
        assert (table.match(chat(say("user", "x"), extra=extra), {}) is not None) is matches


class TestNothingAsked:
    """Only Ollama has requests without messages."""

    @pytest.mark.parametrize(
        "wanted", [None, ResponseFormat("json_object"), ResponseFormat("json_schema", schema={"type": "object"})]
    )
    def test_it_is_no_turn_and_nothing_is_said_to_it(
        self, table: BackgroundTable, wanted: ResponseFormat | None
    ) -> None:
        request = chat(response_format=wanted)
        task = recognised(table, request)
        assert task.name == "nothing asked"
        assert table.answer(task, request) == ""

    def test_what_goes_on_with_an_earlier_reply_asks_something(self, table: BackgroundTable) -> None:
        assert table.match(chat(previous="resp_1"), {}) is None
