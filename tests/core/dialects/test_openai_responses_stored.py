"""Calls about a response that was kept, and the others beside the chat of the Responses API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from motive_core.dialects import KeptReply, RequestHead, SideCall, WireReply
from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.errors import BadRequestError, NotFoundError
from motive_core.ir import Choice, Reply, TextPart, ToolCallPart, Usage
from motive_core.stream import collect

DIALECT = OpenAIResponses()
REQUEST = DIALECT.parse_request(
    json.dumps(
        {
            "model": "m",
            "instructions": "Be kind.",
            "stream": True,
            "input": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "first"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
                {"type": "item_reference", "id": "msg_kept"},
                {"role": "user", "id": "msg_u", "content": [{"type": "input_image", "image_url": "https://x.example"}]},
            ],
        }
    ).encode()
)
REPLY = Reply(
    "resp_0a", "m", (Choice((TextPart("hello"), ToolCallPart("c", "f", "{}")), "tool_calls"),), Usage(1, 2), 7
)


@dataclass
class Shelf:
    """What is kept."""

    replies: dict[str, KeptReply] = field(default_factory=lambda: {"resp_0a": KeptReply(REQUEST, REPLY)})

    def call(self, method: str, target: str, body: bytes = b"") -> WireReply:
        path, _, query = target.partition("?")
        head = RequestHead(method, "h", 80, path, query)
        assert DIALECT.serves(head)
        return DIALECT.serve(
            SideCall(
                head,
                body,
                (),
                kept=self.replies.get,
                forget=lambda reply_id: self.replies.pop(reply_id, None) is not None,
            )
        )

    def told(self, method: str, target: str, body: bytes = b"") -> Any:
        reply = self.call(method, target, body)
        assert (reply.status, reply.content_type) == (200, "application/json")
        return json.loads(reply.body)

    def ids(self, query: str = "") -> list[str]:
        return [item["id"] for item in self.told("GET", f"/v1/responses/resp_0a/input_items{query}")["data"]]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/v1/responses/resp_0a", "resp_0a"),
        ("GET", "/openai/v1/responses/resp_0a/", "resp_0a"),
        ("GET", "/responses/a%2Fb%20c", "a/b c"),
        ("DELETE", "/v1/responses/resp_0a", "resp_0a"),
        ("GET", "/v1/responses/resp_0a/input_items", "resp_0a"),
        ("POST", "/v1/responses/resp_0a/cancel", "resp_0a"),
        ("POST", "/v1/responses/input_tokens", None),
        ("POST", "/v1/responses/compact", None),
    ],
)
def test_what_is_served(method: str, path: str, named: str | None) -> None:
    head = RequestHead(method, "h", 80, path)
    assert DIALECT.serves(head)
    assert not DIALECT.matches(head)
    assert DIALECT.names_reply(head) == named


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses"),
        ("PUT", "/v1/responses/resp_0a"),
        ("POST", "/v1/responses/resp_0a"),
        ("DELETE", "/v1/responses/resp_0a/input_items"),
        ("GET", "/v1/responses/resp_0a/cancel"),
        ("GET", "/v1/responses/resp_0a/other"),
        ("GET", "/v1/models/responses/x"),
        ("GET", "/v1/my-responses/x"),
        ("GET", "/v1/models"),
    ],
)
def test_what_is_not(method: str, path: str) -> None:
    head = RequestHead(method, "h", 80, path)
    assert not DIALECT.serves(head)
    assert DIALECT.names_reply(head) is None
    with pytest.raises(NotFoundError):
        DIALECT.serve(SideCall(head, b"", (), kept=lambda _: None, forget=lambda _: False))


def test_a_response_is_told_once_more(shelf: Shelf) -> None:
    reply = shelf.call("GET", "/v1/responses/resp_0a?include=x")
    assert reply.body == DIALECT.render_reply(REQUEST, REPLY)
    assert shelf.call("GET", "/v1/responses/resp_0a?stream=false").body == reply.body


@pytest.mark.parametrize(("after", "first"), [(None, 0), (0, 1), (4, 5), (-7, 0), (999, None)])
def test_a_response_is_streamed_once_more(shelf: Shelf, after: int | None, first: int | None) -> None:
    whole = shelf.call("GET", "/v1/responses/resp_0a?stream=true")
    assert whole.content_type == DIALECT.stream_type
    decoder = DIALECT.decoder()
    assert collect([*decoder.feed(whole.body), *decoder.close()]) == DIALECT.parse_reply(
        DIALECT.render_reply(REQUEST, REPLY)
    )
    if after is not None:
        rest = shelf.call("GET", f"/v1/responses/resp_0a?starting_after={after}&stream=true").body
        assert whole.body.endswith(rest)
        events = rest.removesuffix(b"\n\n").split(b"\n\n") if rest else []
        numbers = [json.loads(event.partition(b"data: ")[2])["sequence_number"] for event in events]
        assert numbers[:1] == ([] if first is None else [first])


def test_a_number_that_is_none(shelf: Shelf) -> None:
    with pytest.raises(BadRequestError) as caught:
        shelf.call("GET", "/v1/responses/resp_0a?stream=true&starting_after=x")
    assert (caught.value.param, caught.value.code) == ("starting_after", "invalid_type")


def test_a_response_is_deleted_once(shelf: Shelf) -> None:
    assert shelf.told("DELETE", "/v1/responses/resp_0a") == {"id": "resp_0a", "object": "response", "deleted": True}
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        with pytest.raises(NotFoundError, match="Response with id 'resp_0a' not found"):
            shelf.call(method, f"/v1/responses/resp_0a{path}")


class TestInput:
    def test_the_newest_item_comes_first(self, shelf: Shelf) -> None:
        listed = shelf.told("GET", "/v1/responses/resp_0a/input_items")
        assert [item["type"] for item in listed["data"]] == [
            "message",
            "item_reference",
            "function_call_output",
            "function_call",
            "message",
            "message",
        ]
        assert listed["object"] == "list"
        assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "msg_u", "msg_0ai00")
        assert shelf.ids("?order=asc") == [item["id"] for item in reversed(listed["data"])]

    def test_items_are_told_whole(self, shelf: Shelf) -> None:
        first, said, call, result, reference, last = shelf.told("GET", "/v1/responses/resp_0a/input_items?order=asc")[
            "data"
        ]
        assert first == {
            "id": "msg_0ai00",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "one"}],
        }
        assert said["content"] == [{"type": "output_text", "text": "first", "annotations": [], "logprobs": []}]
        assert (call["id"], call["status"]) == ("fc_0ai02", "completed")
        assert (result["id"], result["output"]) == ("fco_0ai03", "x")
        assert reference["id"] == "msg_kept"
        assert last["id"] == "msg_u"
        assert last["content"] == [{"type": "input_image", "image_url": "https://x.example", "detail": "auto"}]

    def test_pages(self, shelf: Shelf) -> None:
        everything = shelf.ids("?order=asc")
        page = shelf.told("GET", "/v1/responses/resp_0a/input_items?order=asc&limit=4")
        assert [item["id"] for item in page["data"]] == everything[:4]
        assert page["has_more"]
        page = shelf.told("GET", f"/v1/responses/resp_0a/input_items?order=asc&limit=4&after={page['last_id']}")
        assert [item["id"] for item in page["data"]] == everything[4:]
        assert not page["has_more"]
        page = shelf.told("GET", f"/v1/responses/resp_0a/input_items?order=asc&after={page['last_id']}")
        assert (page["data"], page["first_id"], page["last_id"]) == ([], None, None)

    @pytest.mark.parametrize("query", ["order=up", "limit=0", "limit=101", "limit=x"])
    def test_bad_words(self, shelf: Shelf, query: str) -> None:
        with pytest.raises(BadRequestError) as caught:
            shelf.ids(f"?{query}")
        assert caught.value.param == query.partition("=")[0]

    def test_an_item_that_is_not_there(self, shelf: Shelf) -> None:
        with pytest.raises(NotFoundError):
            shelf.ids("?after=msg_nobody")


SAID_BEFORE = 'onefirstf{}x{"type":"item_reference","id":"msg_kept"}hellof{}'
"""All that counts of the conversation that is kept."""


class TestCount:
    @pytest.mark.parametrize(
        ("body", "tokens"),
        [
            ({"model": "m", "input": "12345678"}, 2),
            ({"input": "12345678", "instructions": "1"}, 3),
            ({"input": None}, 0),
            ({}, 0),
            ({"previous_response_id": "resp_0a", "input": []}, -(-len(SAID_BEFORE) // 4)),
            ({"previous_response_id": "resp_other", "input": "1234"}, 1),
        ],
    )
    def test_tokens(self, shelf: Shelf, body: Any, tokens: int) -> None:
        told = shelf.told("POST", "/v1/responses/input_tokens", json.dumps(body).encode())
        assert told["object"] == "response.input_tokens"
        assert told["input_tokens"] == tokens

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"input": 7}', b'{"model": 7}'])
    def test_a_bad_body(self, shelf: Shelf, body: bytes) -> None:
        with pytest.raises(BadRequestError):
            shelf.call("POST", "/v1/responses/input_tokens", body)


def test_nothing_runs_that_could_be_cancelled(shelf: Shelf) -> None:
    with pytest.raises(BadRequestError, match=r"Cannot cancel a synchronous response\."):
        shelf.call("POST", "/v1/responses/resp_0a/cancel")


def test_compaction_is_refused(shelf: Shelf) -> None:
    with pytest.raises(BadRequestError, match="not compacted here"):
        shelf.call("POST", "/v1/responses/compact", b"{}")
