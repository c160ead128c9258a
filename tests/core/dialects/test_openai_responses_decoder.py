"""Streamed replies of the Responses API, in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.errors import FramingError
from motive_core.ir import (
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
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
)

DIALECT = OpenAIResponses()
NAME = "openai-responses"
ID = "resp_0a"


def event(kind: str, *, number: int = 0, name: bool = True, **told: Any) -> bytes:
    data = json.dumps({"type": kind, "sequence_number": number, **told})
    return (f"event: {kind}\ndata: {data}\n\n" if name else f"data: {data}\n\n").encode()


RESPONSE = {"id": ID, "object": "response", "created_at": 7, "model": "m", "status": "in_progress", "output": []}
CREATED = event("response.created", response=RESPONSE)


def completed(*output: Any, **told: Any) -> bytes:
    return event("response.completed", response={**RESPONSE, "status": "completed", "output": output, **told})


def decode(*chunks: bytes) -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    return [*[one for chunk in chunks for one in decoder.feed(chunk)], *decoder.close()]


def parts_of(*chunks: bytes) -> tuple[Part, ...]:
    return collect(decode(CREATED, *chunks, completed())).choices[0].parts


def item(kind: str, **told: Any) -> dict[str, Any]:
    return {"type": kind, **told}


MESSAGE = item("message", id="msg_x", role="assistant", status="completed")
CALL = item("function_call", id="fc_x", call_id="c", name="f", arguments='{"a":1}')


def text(told: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": told, "annotations": [], "logprobs": [], **more}


class TestIn:
    def test_events_come_as_they_are_said(self) -> None:
        decoder = DIALECT.decoder()
        assert decoder.feed(CREATED) == [Started(ID, "m", 7)]
        assert decoder.feed(event("response.output_item.added", output_index=0, item={**CALL, "arguments": ""})) == [
            PartStarted(0, 0, ToolCallPart("c", "f", "", extra={"id": "fc_x"}))
        ]
        delta = "response.function_call_arguments.delta"
        assert decoder.feed(event(delta, output_index=0, item_id="fc_x", delta='{"a"')) == [PartDelta(0, 0, '{"a"')]
        assert decoder.feed(event("response.function_call_arguments.done", output_index=0, arguments='{"a":1}')) == []
        assert decoder.feed(event("response.output_item.done", output_index=0, item=CALL)) == [
            PartDelta(0, 0, ":1}"),
            PartEnded(0, 0),
        ]
        usage = {"input_tokens": 1, "output_tokens": 2}
        assert decoder.feed(completed(CALL, usage=usage)) == [
            ChoiceEnded(0, "tool_calls"),
            UsageReported(Usage(1, 2)),
            Finished(),
        ]
        assert decoder.feed(b"nonsense\n\n") == []
        assert decoder.close() == []

    def test_a_message_with_several_parts(self) -> None:
        contents = [text("one", annotations=[1]), {"type": "refusal", "refusal": "No."}, {"type": "x"}, text("two")]
        where: dict[str, Any] = {"output_index": 0, "item_id": "msg_x"}
        got = decode(
            CREATED,
            event(
                "response.output_item.added", output_index=0, item={**MESSAGE, "status": "in_progress", "content": []}
            ),
            event("response.content_part.added", **where, content_index=0, part=text("")),
            event("response.output_text.delta", **where, content_index=0, delta="one"),
            event("response.content_part.done", **where, content_index=0, part=contents[0]),
            event("response.content_part.added", **where, content_index=1, part={"type": "refusal", "refusal": ""}),
            event("response.refusal.delta", **where, content_index=1, delta="No"),
            event("response.output_item.done", output_index=0, item={**MESSAGE, "content": contents}),
            completed(),
        )
        marked = {"message": {"id": "msg_x"}}
        assert got[1:-2] == [
            PartStarted(0, 0, TextPart("", extra=marked)),
            PartDelta(0, 0, "one"),
            PartEnded(0, 0, extra={"annotations": [1]}),
            PartStarted(0, 1, RefusalPart("")),
            PartDelta(0, 1, "No"),
            PartDelta(0, 1, "."),
            PartEnded(0, 1),
            PartStarted(0, 2, OpaquePart(NAME, {"content": {"type": "x"}})),
            PartEnded(0, 2),
            PartStarted(0, 3, TextPart("")),
            PartDelta(0, 3, "two"),
            PartEnded(0, 3),
        ]

    def test_a_summary_in_several_parts(self) -> None:
        delta = "response.reasoning_summary_text.delta"
        whole = [{"type": "summary_text", "text": one} for one in ("one", "two")]
        reasoning = item("reasoning", id="rs_x", summary=whole, encrypted_content="gAAA")
        got = decode(
            CREATED,
            event("response.output_item.added", output_index=0, item={**reasoning, "summary": []}),
            event(delta, output_index=0, summary_index=0, delta="one"),
            event(delta, output_index=0, summary_index=1, delta="t"),
            event(delta, output_index=0, summary_index=1, delta="wo"),
            event("response.reasoning_text.delta", output_index=0, content_index=0, delta="not this"),
            event("response.output_item.done", output_index=0, item=reasoning),
            completed(),
        )
        assert got[1:-2] == [
            PartStarted(0, 0, ReasoningPart("", extra={"id": "rs_x"})),
            PartDelta(0, 0, "one"),
            PartDelta(0, 0, "\n\nt"),
            PartDelta(0, 0, "wo"),
            SignatureDelta(0, 0, "gAAA"),
            PartEnded(0, 0, extra={"summary": whole}),
        ]

    def test_items_side_by_side(self) -> None:
        added = "response.output_item.added"
        assert parts_of(
            event(added, output_index=0, item={**CALL, "arguments": ""}),
            event(added, output_index=1, item={**CALL, "call_id": "d", "id": "fc_y", "arguments": ""}),
            event("response.function_call_arguments.delta", output_index=1, delta="[]"),
            event("response.function_call_arguments.delta", output_index=0, delta="{}"),
        ) == (ToolCallPart("c", "f", "{}", extra={"id": "fc_x"}), ToolCallPart("d", "f", "[]", extra={"id": "fc_y"}))

    @pytest.mark.parametrize(
        "chunks",
        [
            [event("response.output_item.done", output_index=0, item={**MESSAGE, "content": [text("hello")]})],
            [event("response.output_item.done", item={**MESSAGE, "content": [text("hello")]})],
            [
                event("response.output_item.added", output_index=0, item=None),
                event("response.output_item.added", output_index=0, item={**MESSAGE, "content": []}),
                event("response.output_text.done", output_index=0, content_index=0, text="hello"),
                event("response.output_item.done", output_index=0, item={**MESSAGE, "content": [text("hello")]}),
            ],
            [
                event("response.output_item.added", output_index=0, item={**MESSAGE, "content": []}),
                event("response.output_text.delta", output_index=0, delta="hel"),
                event("response.content_part.done", output_index=0, content_index=0, part=text("hello")),
            ],
            [
                event("response.output_item.added", output_index=0, item={**MESSAGE, "content": []}),
                event("response.output_text.delta", delta="hello"),
            ],
        ],
    )
    def test_events_that_a_service_leaves_out(self, chunks: list[bytes]) -> None:
        assert parts_of(*chunks) == (TextPart("hello", extra={"message": {"id": "msg_x"}}),)

    def test_a_text_that_no_item_announced(self) -> None:
        delta = event("response.output_text.delta", output_index=0, content_index=0, delta="hello")
        assert parts_of(delta) == (TextPart("hello"),)
        assert parts_of(event("response.reasoning_text.delta", output_index=0, delta="Hm.")) == (
            ReasoningPart("Hm.", extra={"summary": []}),
        )
        assert parts_of(event("response.function_call_arguments.delta", output_index=0, delta="{}")) == ()

    def test_an_output_that_only_the_end_tells(self) -> None:
        whole = completed({**MESSAGE, "content": [text("hello")]}, CALL)
        assert collect(decode(whole)) == collect(decode(CREATED, whole))
        got = collect(decode(whole))
        assert (got.reply_id, got.model, got.choices[0].finish_reason) == (ID, "m", "tool_calls")
        assert got.choices[0].parts == (
            TextPart("hello", extra={"message": {"id": "msg_x"}}),
            ToolCallPart("c", "f", '{"a":1}', extra={"id": "fc_x"}),
        )
        added = event("response.output_item.added", output_index=0, item={**MESSAGE, "content": []})
        assert collect(decode(CREATED, added, whole)) == got

    def test_items_without_an_index(self) -> None:
        """As some services tell them, whole."""
        done, other = "response.output_item.done", {**MESSAGE, "id": "msg_y", "content": [text("two")]}
        chunks = [event(done, item={**MESSAGE, "content": [text("one")]}), event(done, item=other)]
        expected = (
            TextPart("one", extra={"message": {"id": "msg_x"}}),
            TextPart("two", extra={"message": {"id": "msg_y"}}),
        )
        assert parts_of(*chunks) == expected
        assert parts_of(*chunks, chunks[-1]) == expected

    def test_what_comes_after_its_end_is_nothing(self) -> None:
        done = event("response.output_item.done", output_index=0, item={**MESSAGE, "content": [text("one")]})
        late = {"output_index": 0, "content_index": 1}
        got = decode(
            CREATED,
            done,
            event("response.output_text.delta", **late, delta="two"),  # type: ignore[arg-type]
            event("response.content_part.added", **late, part=text("two")),  # type: ignore[arg-type]
            completed(),
        )
        assert [type(one) for one in got[1:]] == [PartStarted, PartDelta, PartEnded, ChoiceEnded, Finished]

    def test_an_index_that_comes_twice(self) -> None:
        reasoning = item("reasoning", summary=[{"type": "summary_text", "text": "Hm."}])
        assert parts_of(
            event("response.output_item.added", output_index=0, item={**reasoning, "summary": []}),
            event("response.output_item.done", output_index=0, item=reasoning),
            event("response.output_item.added", output_index=0, item={**MESSAGE, "id": "msg_0a00", "content": []}),
            event("response.output_text.delta", output_index=0, delta="hello"),
        ) == (ReasoningPart("Hm."), TextPart("hello"))

    def test_what_the_reply_tells_only_in_the_end(self) -> None:
        created = event("response.created", response={**RESPONSE, "service_tier": "auto", "billing": 1})
        got = collect(decode(created, completed(service_tier="default", completed_at=9, moderation={"x": 1})))
        assert got.extra == {"service_tier": "auto", "billing": 1}
        assert got.choices[0].extra == {
            "response": {"service_tier": "default", "completed_at": 9, "moderation": {"x": 1}, "billing": None}
        }

    @pytest.mark.parametrize(
        ("last", "finish"),
        [
            (event("response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}}), "length"),
            (event("response.incomplete"), "length"),
            (event("response.completed"), "stop"),
            (b"event: response.completed\ndata: {}\n\n", "stop"),
            (completed() + b"data: [DONE]\n\n", "stop"),
            (event("response.completed", name=False, response=RESPONSE | {"status": "completed"}), "stop"),
        ],
    )
    def test_ends(self, last: bytes, finish: str) -> None:
        assert collect(decode(CREATED, last)).choices[0].finish_reason == finish

    @pytest.mark.parametrize(
        ("data", "status", "message"),
        [
            (event("error", code="server_error", message="Boom", param=None), 500, "Boom"),
            (event("error", code="rate_limit_exceeded", message="Boom"), 429, "Boom"),
            (event("error", error={"type": "invalid_request_error", "message": "Boom", "code": "x"}), 400, "Boom"),
            (event("error", error="Boom"), 502, "Boom"),
            (b"event: error\ndata: Boom\n\n", 502, "Boom"),
            (b'data: {"error": {"message": "Boom", "code": 503}}\n\n', 503, "Boom"),
            (event("response.failed", response={"error": {"code": "server_error", "message": "Boom"}}), 500, "Boom"),
            (event("response.failed", response={"error": {"code": "invalid_prompt", "message": "Boom"}}), 400, "Boom"),
            (event("response.failed"), 502, "the service ended the stream with an error"),
        ],
    )
    def test_errors(self, data: bytes, status: int, message: str) -> None:
        for before in ((), (CREATED,)):
            *_, last = decode(*before, data, completed())
            assert isinstance(last, Failed)
            assert (last.error.status, last.error.message) == (status, message)

    @pytest.mark.parametrize("data", [b"", CREATED, CREATED + b"data: [DONE]\n\n", CREATED + completed()[:-40]])
    def test_a_stream_that_is_cut(self, data: bytes) -> None:
        *_, last = decode(data)
        assert isinstance(last, Failed)
        assert last.error.status == 502

    @pytest.mark.parametrize(
        "data",
        [
            b"data: x\n\n",
            b"data: []\n\n",
            b'data: {"type": 7}\n\n',
            event("response.created", response=7),
            event("response.created", response={"id": 7}),
            event("response.output_item.added", item=7),
            event("response.output_item.added", output_index="0", item=MESSAGE),
            event("response.output_item.added", item={"type": 7}),
            event("response.output_item.done", item={**CALL, "arguments": 7}),
            event("response.output_item.done", item={**MESSAGE, "content": 7}),
            event("response.output_text.delta", delta=7),
            event("response.content_part.added", part=7),
            event("response.completed", response={"output": 7}),
            event("response.completed", response={"output": [7]}),
            b"\xff\n\n",
        ],
    )
    def test_what_is_no_stream(self, data: bytes) -> None:
        decoder = DIALECT.decoder()
        with pytest.raises(FramingError):
            decoder.feed(data)
            decoder.feed(b"")  # events before the fault come first
        (last,) = decoder.close()
        assert isinstance(last, Failed)

    def test_how_the_service_gets_on_is_not_told(self) -> None:
        call = item("web_search_call", id="ws_1", status="completed", action={"type": "search"})
        assert parts_of(
            event("response.output_item.added", output_index=0, item={**call, "status": "in_progress"}),
            event("response.web_search_call.searching", output_index=0, item_id="ws_1"),
            event("response.queued", response=RESPONSE),
            event("response.tomorrow", anything=[1]),
            event("response.output_item.done", output_index=0, item=call),
        ) == (OpaquePart(NAME, call),)
        added = event("response.output_item.added", output_index=0, item={**call, "status": "in_progress"})
        assert parts_of(added) == (OpaquePart(NAME, {**call, "status": "in_progress"}),)
