"""What an agent is told, and what it says, without a service."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from motive_core.dialects import DIALECTS, Dialect
from motive_core.errors import BadRequestError, MotiveError, PayloadTooLargeError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.sources.bedrock_agent_asked import asked_of
from motive_core.sources.bedrock_agent_calls import Invocation, calls_of, invocation_of
from motive_core.sources.bedrock_agent_citations import form_of
from motive_core.sources.bedrock_agent_errors import clean, told_fault
from motive_core.sources.bedrock_agent_told import Telling, Told
from motive_core.stream import PartDelta, ReplyEvent, collect, replay

WANTED = Invocation("s-1", "inv:1", "Weather Group", ("forecast",))


def request(*messages: Message) -> ChatRequest:
    return ChatRequest("openai-chat", "m", messages)


def user(*parts: Part | str) -> Message:
    return Message("user", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def asked(*messages: Message, waiting: Mapping[str, list[Invocation]] | None = None) -> dict[str, Any]:
    return asked_of(request(*messages), "chat", waiting or {})


def result(wanted: Invocation, *content: Part, is_error: bool = False) -> Message:
    return Message("tool", (ToolResultPart(wanted.call_id(), content, is_error=is_error),))


def result_of(state: dict[str, Any]) -> dict[str, Any]:
    (told,) = state["sessionState"]["returnControlInvocationResults"]
    (inner,) = told.values()
    return dict(inner)


class TestAsked:
    def test_only_what_is_new(self) -> None:
        history = (Message("system", (TextPart("Be good."),)), user("One"), Message("assistant", (TextPart("1"),)))
        assert asked(*history, user("Two"), user("Th", "ree")) == {"inputText": "Two\n\nThree"}

    def test_a_beginning_of_the_reply_is_not_said_by_the_user(self) -> None:
        assert asked(user("One"), Message("assistant", (TextPart("Well"),))) == {"inputText": "One"}

    @pytest.mark.parametrize(
        "messages",
        [(), (user(" \n"),), (Message("system", (TextPart("x"),)),), (Message("assistant", (TextPart("x"),)),)],
    )
    def test_nothing(self, messages: tuple[Message, ...]) -> None:
        with pytest.raises(BadRequestError) as raised:
            asked(*messages)
        assert raised.value.code == "nothing_to_say"

    def test_documents(self) -> None:
        data = base64.b64encode(b"a,b").decode()
        told = asked(user(BlobPart("text/csv; charset=utf-8", data), BlobPart("", url="s3://books/x/y.pdf")))
        first, second = told["sessionState"]["files"]
        assert first["name"] == "file1.csv" and first["source"]["byteContent"] == {
            "mediaType": "text/csv",
            "data": b"a,b",
        }
        assert second["source"] == {"sourceType": "S3", "s3Location": {"uri": "s3://books/x/y.pdf"}}

    @pytest.mark.parametrize(
        "part",
        [
            BlobPart("image/png", "cG5n"),
            BlobPart("", "cG5n"),
            BlobPart("text/csv", "not base64!"),
            BlobPart("", url="https://example.org/x.pdf"),
            BlobPart("", url="file-id:file-7"),
            BlobPart("", url="s3://x"),
            OpaquePart("openai-chat", {"type": "new"}),
        ],
    )
    def test_what_an_agent_does_not_take_is_refused_and_not_dropped(self, part: Part) -> None:
        with pytest.raises(BadRequestError) as raised:
            asked(user("Look:", part))
        assert raised.value.code == "unsupported_content"

    def test_too_much(self) -> None:
        large = BlobPart("text/plain", base64.b64encode(b"x" * (6 * 1024 * 1024)).decode())
        with pytest.raises(PayloadTooLargeError):
            asked(user(large, large))
        with pytest.raises(BadRequestError):
            asked(user(*[BlobPart("text/plain", "eA==")] * 6))


class TestCalls:
    @pytest.mark.parametrize(
        "wanted",
        [
            WANTED,
            Invocation("s", "i", "Grüße/…", ("GET", "/pets/{petId}?x=1"), "USER_CONFIRMATION", "SUB"),
            Invocation("", "", "", ("",)),
        ],
    )
    def test_an_id_tells_all_that_the_agent_needs(self, wanted: Invocation) -> None:
        assert invocation_of(wanted.call_id()) == wanted
        assert set(wanted.call_id()) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

    @pytest.mark.parametrize("call_id", ["", "call_1", "agent_", "agent_!", "agent_bnVsbA", "agent_W10", "agent_ü"])
    def test_ids_of_others(self, call_id: str) -> None:
        assert invocation_of(call_id) is None

    @pytest.mark.parametrize(
        ("offered", "name"),
        [((), "find_it"), (("find_it",), "find_it"), (("My_Group__find_it", "find_it"), "My_Group__find_it")],
    )
    def test_the_name_is_that_of_the_tool_that_the_app_has(self, offered: tuple[str, ...], name: str) -> None:
        one = {"functionInvocationInput": {"actionGroup": "My Group", "function": "find it"}}
        (call,) = calls_of({"invocationId": "i", "invocationInputs": [one]}, "s", offered)
        assert (call.name, call.arguments) == (name, "{}")

    def test_values_have_their_types(self) -> None:
        values = [
            ("integer", "2", 2),
            ("number", "2.5", 2.5),
            ("boolean", "true", True),
            ("string", "3", "3"),
            ("array", "[1, 2]", [1, 2]),
            ("array", "a, b", "a, b"),
            ("integer", "NaN", "NaN"),
        ]
        parameters = [{"name": str(n), "type": kind, "value": value} for n, (kind, value, _) in enumerate(values)]
        one = {"functionInvocationInput": {"actionGroup": "g", "function": "f", "parameters": parameters}}
        (call,) = calls_of({"invocationInputs": [one]}, "s", ())
        assert list(json.loads(call.arguments).values()) == [wanted for _, _, wanted in values]

    def test_an_api(self) -> None:
        body = {"content": {"application/json": {"properties": [{"name": "b", "type": "string", "value": "2"}]}}}
        one = {
            "apiInvocationInput": {
                "actionGroup": "g",
                "apiPath": "/pets/{id}",
                "httpMethod": "PUT",
                "parameters": [{"name": "a", "type": "integer", "value": "1"}],
                "requestBody": body,
            }
        }
        (call,) = calls_of({"invocationId": "i", "invocationInputs": [one]}, "s", ())
        assert call.name == "PUT_pets_id" and json.loads(call.arguments) == {"a": 1, "b": "2"}
        told = asked(user("x"), Message("assistant", (call,)), Message("tool", (ToolResultPart(call.call_id, ()),)))
        assert told["sessionState"]["returnControlInvocationResults"] == [
            {
                "apiResult": {
                    "actionGroup": "g",
                    "responseBody": {"application/json": {"body": ""}},
                    "httpMethod": "PUT",
                    "apiPath": "/pets/{id}",
                }
            }
        ]

    def test_an_error_goes_back_to_the_agents_model(self) -> None:
        told = result_of(asked(result(WANTED, TextPart("no such city"), is_error=True)))
        assert told["responseState"] == "REPROMPT" and told["responseBody"] == {"TEXT": {"body": "no such city"}}

    def test_words_beside_a_result_are_not_lost(self) -> None:
        told = result_of(asked(result(WANTED, TextPart("rain")), user("Hurry!")))
        assert told["responseBody"]["TEXT"]["body"] == "rain\n\nHurry!"

    def test_pictures_of_a_result(self) -> None:
        told = result_of(asked(result(WANTED, BlobPart("image/png", "cG5n"))))
        assert told["responseBody"]["TEXT"]["images"] == [{"format": "png", "source": {"bytes": b"png"}}]

    @pytest.mark.parametrize(
        ("text", "state"),
        [
            ("yes", "CONFIRM"),
            (" Confirmed. ", "CONFIRM"),
            ('{"confirmed": true}', "CONFIRM"),
            ('{"confirmationState": "CONFIRM"}', "CONFIRM"),
            ('"ok"', "CONFIRM"),
            ("no", "DENY"),
            ("yes, but not now", "DENY"),
            ("", "DENY"),
            ('{"confirmed": false}', "DENY"),
            ('{"yes": true}', "DENY"),
            ("[true]", "DENY"),
        ],
    )
    def test_only_a_clear_yes_confirms(self, text: str, state: str) -> None:
        wanted = replace(WANTED, kind="USER_CONFIRMATION")
        assert result_of(asked(result(wanted, TextPart(text))))["confirmationState"] == state
        if state == "CONFIRM":
            assert result_of(asked(result(wanted, TextPart(text), is_error=True)))["confirmationState"] == "DENY"

    def test_results_of_nothing_and_of_two_turns(self) -> None:
        other = replace(WANTED, invocation="inv:2")
        for results in (
            (ToolResultPart("call_1", ()),),
            tuple(ToolResultPart(w.call_id(), ()) for w in (WANTED, other)),
        ):
            with pytest.raises(BadRequestError) as raised:
                asked(Message("tool", results))
            assert raised.value.code == "unknown_tool_call"

    def test_calls_of_one_tool_are_told_apart_by_their_order_where_ids_are_lost(self) -> None:
        first, second = replace(WANTED, group="one"), replace(WANTED, group="two")
        results = tuple(ToolResultPart("forecast", (TextPart(text),), "forecast") for text in "ab")
        told = asked(Message("tool", results), waiting={"forecast": [first, second]})
        found = [one["functionResult"] for one in told["sessionState"]["returnControlInvocationResults"]]
        assert [(one["actionGroup"], one["responseBody"]["TEXT"]["body"]) for one in found] == [
            ("one", "a"),
            ("two", "b"),
        ]


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            ("User: arn:aws:iam::123456789012:user/ann is not", "User: [ARN] is not"),
            ("at (arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:agent/X).", "at ([ARN])."),
            ("account 123456789012, 1234-5678-9012; 1234567890123 and 12345678901", None),
            (
                "key ASIAIOSFODNN7EXAMPLE, secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY!",
                "key [key], secret [hidden]!",
            ),
            ("Nothing to hide in s3://bucket/a.pdf", "Nothing to hide in s3://bucket/a.pdf"),
        ],
    )
    def test_texts_are_cleaned(self, text: str, cleaned: str | None) -> None:
        expected = cleaned or "account [account], [account]; 1234567890123 and 12345678901"
        assert clean(text) == expected

    def test_a_signature_that_is_wrong_does_not_tell_what_was_signed(self) -> None:
        fault = told_fault(
            "InvalidSignatureException", "The Canonical String was x-amz-security-token:T", 403, begun=False
        )
        assert fault.error.status == 403 and "Canonical" not in fault.error.message

    def test_a_text_that_is_far_too_long(self) -> None:
        assert len(clean("word " * 100_000)) < 2100


CITING = BlobPart("application/pdf", "YQ==", extra={"document": {"citations": {"enabled": True}}})


def asking(dialect: str) -> ChatRequest:
    """A call that wants citations, where that has to be said."""
    return ChatRequest(dialect, "m", (user("x", CITING),), stream=True)


def told(dialect: str, *events: Mapping[str, Any], **more: Any) -> list[ReplyEvent]:
    form = form_of(asking(dialect))
    how = Telling(
        "x", "s-1", dialect, (), **{"word_by_word": True, "thoughts": True, "cites": True, "form": form, **more}
    )
    turn = Told(how)

    def all_of_it() -> Iterator[ReplyEvent]:
        yield turn.started()
        for event in events:
            yield from turn.take(event)
        yield from turn.end()

    return list(all_of_it())


def piece(data: bytes, **more: Any) -> dict[str, Any]:
    return {"chunk": {"bytes": data, **more}}


def step(**step: Any) -> dict[str, Any]:
    return {"trace": {"trace": {"orchestrationTrace": step}}}


CITED = {
    "generatedResponsePart": {"textResponsePart": {"text": "ü is 42", "span": {"start": 4, "end": 10}}},
    "retrievedReferences": [
        {
            "content": {"text": "42!"},
            "location": {"type": "WEB", "webLocation": {"url": "https://example.org/a%20b.html"}},
        }
    ],
}


class TestTold:
    def test_word_by_word(self) -> None:
        text = " One two\n\n three  "
        deltas = [event.text for event in told("openai-chat", piece(text.encode())) if isinstance(event, PartDelta)]
        assert deltas == [" One", " two", "\n\n three", "  "]
        whole = told("openai-chat", piece(text.encode()), word_by_word=False)
        assert [event.text for event in whole if isinstance(event, PartDelta)] == [text]

    def test_a_whole_book_is_told_in_larger_pieces(self) -> None:
        text = "word " * 100_000
        events = told("openai-chat", piece(text.encode()))
        assert len(events) < 1100 and collect(events).choices[0].parts == (TextPart(text),)

    def test_a_character_that_two_chunks_share(self) -> None:
        data = "né 👩".encode()
        events = told("openai-chat", *[piece(data[n : n + 1]) for n in range(len(data))])
        assert collect(events).choices[0].parts == (TextPart("né 👩"),)
        assert collect(told("openai-chat", piece(data[:-1]))).choices[0].parts == (TextPart("né \ufffd"),)

    def test_thoughts_come_before_the_answer_and_never_in_it(self) -> None:
        events = told(
            "openai-chat",
            step(modelInvocationOutput={"reasoningContent": {"reasoningText": {"text": "Hmm."}}}),
            step(rationale={"text": "Hmm."}),
            step(invocationInput={"knowledgeBaseLookupInput": {"knowledgeBaseId": "K", "text": "what"}}),
            piece(b"It "),
            step(rationale={"text": "Late."}),
            piece(b"is."),
        )
        assert collect(events).choices[0].parts == (ReasoningPart("Hmm.\n[knowledge base K] what"), TextPart("It is."))
        assert collect(told("openai-chat", step(rationale={"text": "Hmm."}), piece(b"x"), thoughts=False)).choices[
            0
        ].parts == (TextPart("x"),)

    def test_usage_is_the_sum_of_the_steps(self) -> None:
        spent = {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2}}}
        events = told(
            "openai-chat",
            step(modelInvocationOutput=spent),
            step(modelInvocationOutput=spent),
            step(observation={"finalResponse": {"text": "x", **spent}}),
            piece(b"x"),
        )
        assert collect(events).usage == Usage(6, 4)
        assert collect(told("openai-chat", piece(b"x"))).usage == Usage(-1, -1)

    def test_nothing(self) -> None:
        with pytest.raises(MotiveError):
            told("openai-chat", step(rationale={"text": "Hmm."}))
        assert collect(told("openai-chat", piece(b""))).choices[0].parts == ()

    @pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
    @pytest.mark.parametrize("form", ["native", "text", "off"])
    def test_citations_in_every_dialect(self, dialect: Dialect, form: str) -> None:
        native = form_of(asking(dialect.name)) if form == "native" else None
        said = piece("Ok: ü is 42 now".encode(), attribution={"citations": [CITED]})
        events = told(dialect.name, said, form=native, cites=form != "off")
        reply: Reply = collect(events)
        asked = ChatRequest(dialect.name, "m", (user("x"),), stream=True)
        whole = dialect.render_reply(asked, reply)
        streamed = dialect.encoder(asked).encode_all(replay(reply))
        decoder = dialect.decoder()
        read = [dialect.parse_reply(whole), collect([*decoder.feed(streamed), *decoder.close()])]
        listed = "\n\n[1] a b.html: https://example.org/a%20b.html"
        for one in read:
            (choice,) = one.choices
            (text,) = choice.parts
            assert isinstance(text, TextPart)
            is_native = native is not None
            assert text.text == "Ok: ü is 42 now" + (listed if form != "off" and not is_native else "")
            found = json.dumps([dict(text.extra), dict(choice.extra)])
            assert ("https://example.org/a%20b.html" in found) is is_native
        assert read[0].choices == read[1].choices

    def test_converse_tells_them_natively_only_to_who_asked(self) -> None:
        for part, is_native in ((CITING, True), (replace(CITING, extra={"document": {"citations": {}}}), False)):
            asked = ChatRequest("bedrock-converse", "m", (user("x", part),))
            assert (form_of(asked) is not None) is is_native

    @pytest.mark.parametrize(
        ("cited", "span", "expected"),
        [
            ("is", {"start": 3, "end": 4}, (3, 5)),
            ("is", {"start": 0, "end": 1}, (3, 5)),
            ("is", {}, (3, 5)),
            ("other", {"start": 3, "end": 4}, (0, 10)),
            ("", {"start": 3, "end": 4}, (3, 5)),
            ("", {"start": 9, "end": 99}, (0, 10)),
        ],
    )
    def test_where_a_citation_stands(self, cited: str, span: dict[str, int], expected: tuple[int, int]) -> None:
        part = {"textResponsePart": {"text": cited, "span": span}}
        told_so = {**CITED, "generatedResponsePart": part}
        reply = collect(told("cohere-chat", piece(b"It is here", attribution={"citations": [told_so]})))
        (found,) = reply.choices[0].extra["citations"]
        assert (found["start"], found["end"]) == expected

    def test_files_and_calls_come_last(self) -> None:
        wanted = {"functionInvocationInput": {"actionGroup": "g", "function": "f"}}
        events = told(
            "openai-chat",
            {"files": {"files": [{"name": "a.csv", "type": "text/csv", "bytes": b"a"}]}},
            {"returnControl": {"invocationId": "i", "invocationInputs": [wanted]}},
            {"something": {}},
            piece(b"See:"),
        )
        choice = collect(events).choices[0]
        text, file, call = choice.parts
        assert (text, file) == (TextPart("See:"), BlobPart("text/csv", "YQ==", name="a.csv"))
        assert isinstance(call, ToolCallPart) and choice.finish_reason == "tool_calls"
