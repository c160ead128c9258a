"""The content views: any LLM call as a conversation, any reply, whole or streamed, as the message that it carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import contentviews, http
from mitmproxy.test import taddons, tflow, tutils

from motive_core.dialects import DIALECTS, Dialect
from motive_core.errors import UpstreamError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    ReasoningPart,
    Reply,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.readable import reply_as_text, request_as_text, signature
from motive_core.stream import Failed, replay
from motive_shell.first_words import FIRST_TOKEN, FirstWords, watched
from motive_shell.views import LLMViews

WIRE = Path(__file__).resolve().parents[1] / "wire"
ASKED = (Message("system", (TextPart("Be brief."),)), Message("user", (TextPart("What\n\tnow?"),)))


@pytest.fixture(autouse=True)
def loaded() -> Iterator[None]:
    with taddons.context(LLMViews()):
        yield


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    assert isinstance(request.param, Dialect)
    return request.param


def request_of(*, stream: bool) -> ChatRequest:
    return ChatRequest("", "npc", ASKED, stream=stream, include_usage=stream, sampling=Sampling(max_tokens=99))


def flow_of(dialect: Dialect, *, stream: bool, body: bytes, content_type: str | None = None) -> http.HTTPFlow:
    request = request_of(stream=stream)
    flow = tflow.tflow(
        req=tutils.treq(
            method=b"POST",
            path=dialect.target(request).encode(),
            content=dialect.render_request(request),
            timestamp_start=100.0,
            timestamp_end=100.0,
        ),
        resp=tutils.tresp(content=body, timestamp_start=100.5, timestamp_end=102.0, status_code=200),
    )
    assert flow.response is not None
    flow.response.headers["content-type"] = content_type or dialect.content_type(request)
    return flow


def shown(flow: http.HTTPFlow, message: http.Message | None, view: str = "auto") -> contentviews.ContentviewResult:
    assert message is not None
    return contentviews.prettify_message(message, flow, view)


REPLY = Reply("id1", "npc", (Choice((TextPart("I attack\n\tthe 'troll'! 🐉"),)),), Usage(7, 3))


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_and_its_reply_in_any_dialect(dialect: Dialect, stream: bool) -> None:
    request = request_of(stream=stream)
    body = dialect.encoder(request).encode_all(replay(REPLY)) if stream else dialect.render_reply(request, REPLY)
    flow = flow_of(dialect, stream=stream, body=body)
    asked = shown(flow, flow.request)
    assert asked.view_name == "LLM" and "What\n\tnow?" in asked.text and "Be brief." in asked.text
    assert dialect.name in asked.text
    assert ("streamed" in asked.text) is stream
    said = shown(flow, flow.response)
    assert said.view_name == "LLM" and "I attack\n\tthe 'troll'! 🐉" in said.text
    assert "first byte after 0.50 s" in said.text and "whole after 2.00 s" in said.text
    assert "7 in, 3 out" in said.text
    assert ("pieces" in said.text) is stream


@pytest.mark.parametrize("path", sorted(WIRE.glob("*/*.stream.*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recorded_stream_can_be_seen(path: Path) -> None:
    if path.suffix == ".target":
        pytest.skip("the path of a call")
    dialect = next(one for one in DIALECTS if one.name == path.parent.name)
    flow = flow_of(dialect, stream=True, body=path.read_bytes())
    result = shown(flow, flow.response, "llm")
    assert result.view_name == "LLM" and result.syntax_highlight != "error"


def test_a_stream_that_was_cut_shows_what_there_is(dialect: Dialect) -> None:
    request = request_of(stream=True)
    encoder = dialect.encoder(request)
    events = list(replay(REPLY))
    body = encoder.encode_all(events[:3]) + encoder.encode(Failed(UpstreamError("It was cut.")))
    result = shown(flow := flow_of(dialect, stream=True, body=body), flow.response)
    assert result.view_name == "LLM" and "✗" in result.text
    assert "I attack" in result.text


def test_first_words_are_told_where_they_are_known() -> None:
    dialect = DIALECTS[-1]
    body = dialect.encoder(request_of(stream=True)).encode_all(replay(REPLY))
    flow = flow_of(dialect, stream=True, body=body)
    flow.metadata[FIRST_TOKEN] = 0.75
    assert "first words after 0.75 s" in shown(flow, flow.response).text


def test_first_words_are_seen_as_they_pass(dialect: Dialect) -> None:
    request = request_of(stream=True)
    body = dialect.encoder(request).encode_all(replay(REPLY))
    flow = flow_of(dialect, stream=True, body=b"")
    watch = watched(flow)
    assert isinstance(watch, FirstWords)
    seen_at = None
    for index in range(len(body)):
        piece = body[index : index + 1]
        assert watch(piece) == piece
        if seen_at is None and FIRST_TOKEN in flow.metadata:
            seen_at = index
    assert watch(b"") == b""
    assert seen_at is not None and 0 < seen_at < len(body) - 1
    assert flow.metadata[FIRST_TOKEN] > 0


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, {}), (200, {"content-encoding": "gzip"}), (200, {"content-type": "application/json"})],
)
def test_what_is_no_stream_to_watch_passes_by_itself(status: int, headers: dict[str, str]) -> None:
    flow = flow_of(DIALECTS[-1], stream=True, body=b"")
    assert flow.response is not None
    flow.response.status_code = status
    flow.response.headers.update(headers)
    assert watched(flow) is True


def test_nonsense_in_a_stream_passes_too() -> None:
    flow = flow_of(DIALECTS[-1], stream=True, body=b"")
    watch = watched(flow)
    assert isinstance(watch, FirstWords)
    for piece in (b"data: {nonsense\n\n", b"\xff\xfe", b"data: more\n\n"):
        assert watch(piece) == piece
    assert FIRST_TOKEN not in flow.metadata


def test_errors_and_other_traffic_are_left_to_other_views() -> None:
    dialect = DIALECTS[-1]
    flow = flow_of(dialect, stream=False, body=b'{"error": {"message": "no"}}', content_type="application/json")
    assert flow.response is not None
    flow.response.status_code = 429
    assert shown(flow, flow.response).view_name == "JSON"
    flow.request.path = "/v1/other"
    flow.response.status_code = 200
    assert shown(flow, flow.response).view_name == "JSON"
    assert shown(flow, flow.request).view_name != "LLM"


def test_what_cannot_be_parsed_is_shown_as_it_is() -> None:
    dialect = DIALECTS[-1]
    flow = flow_of(dialect, stream=False, body=b"{nonsense", content_type="application/json")
    result = shown(flow, flow.response)
    assert "{nonsense" in result.text and "failed to parse as LLM" in result.description


def test_the_views_may_be_loaded_twice() -> None:
    addon = LLMViews()
    addon.load(None)
    addon.load(None)
    assert contentviews.registry.available_views().count("llm") == 1


def test_a_conversation_with_everything_in_it() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}, "required": ["q"]}
    request = ChatRequest(
        "openai-chat",
        "gpt-4o",
        (
            *ASKED,
            Message("user", (TextPart("See "), TextPart("this:"), BlobPart("image/png", data="A" * 4000))),
            Message("assistant", (ReasoningPart("Hm."), ToolCallPart("c1", "search", '{"q":"trolls"}'))),
            Message("tool", (ToolResultPart("c1", (TextPart('[1, {"a": "ü"}]'),), "search", is_error=True),)),
        ),
        tools=(Tool("search", "Finds\nthings.", schema), Tool("web", raw={"type": "web"})),
        response_format=ResponseFormat("json_schema", "out", {"type": "object"}),
        sampling=Sampling(max_tokens=10, temperature=0.5, stop=("END",)),
    )
    text = request_as_text(request)
    assert 'to gpt-4o · openai-chat\nmax_tokens 10, temperature 0.5, stop ["END"]' in text
    assert "See this:\n\n[image/png, 3.0 kB]" in text
    assert (
        '[reasoning]\n    Hm.\n\n[call search] c1\n    {\n        "q": "trolls"\n    }'.replace(
            '        "q"', '      "q"'
        )
        in text
    )
    assert "[error of search] c1\n    [\n" in text and '"a": "ü"' in text
    assert "── tools (2) " in text and "search(q: string, n?: integer)  Finds things." in text
    assert "web (of the vendor)" in text and "── the reply must be " in text
    assert "AAAA" not in text


def test_choices_and_endings() -> None:
    reply = Reply("r", "m", (Choice((TextPart("a"),), "length"), Choice((), "stop", "END")), Usage(10, 5, 4, 2))
    text = reply_as_text(reply)
    assert "choice 1 of 2" in text and "ended by length" in text and 'ended by stop at "END"' in text
    assert "(nothing)" in text and "10 in (4 cached), 5 out (2 reasoning)" in text


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"properties": {"a": {"enum": ["x", 1]}}}, 'f(a?: "x" | 1)'),
        ({"properties": {"a": {"type": "array", "items": {"type": "string"}}}, "required": ["a"]}, "f(a: string[])"),
        ({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, "f(a?: string | null)"),
        ({"properties": {"a": {"type": ["string", "null"]}}}, "f(a?: string | null)"),
        ({"properties": {"a": {"$ref": "#/$defs/Point"}, "b": True}}, "f(a?: Point, b?: any)"),
        ({"properties": {"a": {"type": "array", "items": {"enum": [1, 2]}}}}, "f(a?: (1 | 2)[])"),
        (None, "f()"),
        ({"properties": 7, "required": 3}, "f()"),
    ],
)
def test_signatures(schema: object, told: str) -> None:
    assert signature(Tool("f", schema=schema)) == told
