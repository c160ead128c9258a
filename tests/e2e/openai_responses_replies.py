"""Replies of the Responses API that tests of the ``openai`` SDK share, how they are served, and what must arrive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
from openai.types.responses import Response

from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, ReplyEvent, replay, replay_part
from tests.e2e.dialect_service import Service

DIALECT = OpenAIResponses()
NAME = "openai-responses"
WIRE = Path(__file__).parents[1] / "wire" / NAME
HELLO = "hi"
CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'

SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED = b"""{"model": "room", "input": "hi", "instructions": "Be kind.", "stream": true, "metadata": {"a": "b"},
"tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": false},
{"type": "custom", "name": "sql"}, {"type": "web_search"}], "tool_choice": {"type": "function", "name": "weather"},
"parallel_tool_calls": false, "temperature": 0.5, "max_output_tokens": 99, "reasoning": {"effort": "low"},
"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
"store": false, "previous_response_id": "resp_0", "truncation": "auto", "user": "ann", "prompt_cache_key": "k"}"""
REQUEST = DIALECT.parse_request(ASKED)


def client_of(service: Service, *, strict: bool) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{service.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=strict,
    )


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("resp_1", "room", (Choice(parts, finish_reason),), Usage(11, 7, 4, 3), 1_795_230_236)


def streamed(reply: Reply, *, heartbeats: bool = False, side_by_side: bool = False) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters, its parts one after the other or in turns."""
    encoder = DIALECT.encoder(REQUEST)
    start, *_, usage, end = replay(reply)
    choice = reply.choices[0]
    lines: list[list[ReplyEvent]] = []
    for index, part in enumerate(choice.parts):
        text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
        lines.append(list(replay_part(0, index, part, [text[at : at + 3] for at in range(0, len(text), 3)])))
    events = [start]
    while any(lines):
        if side_by_side:
            events += [line.pop(0) for line in lines if line]
        else:
            events += lines.pop(0)
    chunks = []
    for event in [*events, ChoiceEnded(0, choice.finish_reason), usage, end]:
        chunks += [encoder.heartbeat() if heartbeats else b"", encoder.encode(event)]
    return chunks


TOOL = ToolCallPart(
    "call_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("call_2", "now", "{}"),
        ToolCallPart("call_3", "echo", '{"text":"\\u00e9 \\" \\n"}'),
        finish_reason="tool_calls",
    ),
    "custom": reply_of(
        ToolCallPart("call_1", "sql", "SELECT 'ü';\n\t-- done", custom=True), finish_reason="tool_calls"
    ),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "refusal": reply_of(RefusalPart("I can't. Nö.")),
    "both": reply_of(TextPart("Some."), RefusalPart("No more."), TextPart("Really."), TOOL, TextPart("End.")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "filtered": reply_of(TextPart("I will"), finish_reason="content_filter"),
    "degraded": reply_of(
        TextPart("See"), BlobPart("image/png", data="AAAA"), OpaquePart("elsewhere", {"a": 1}), TextPart("that.")
    ),
    "context": reply_of(TextPart("[system]\nBe kind."), TextPart("\n\n———\n\n"), TextPart("hi")),
    "empty": reply_of(),
    "blank": reply_of(TextPart("")),
}
INCOMPLETE = {"length": "max_output_tokens", "filtered": "content_filter"}


def said(choice: Choice, kind: type[Part]) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, kind) and hasattr(part, "text"))


def assert_says(response: Response, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    choice = REPLIES[name].choices[0]
    assert (response.id, response.model, response.created_at) == ("resp_1", "room", 1_795_230_236)
    if name in INCOMPLETE:
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == INCOMPLETE[name]
    else:
        assert (response.status, response.incomplete_details) == ("completed", None)
    assert_settings(response)
    assert response.usage is not None
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (11, 7, 18)
    assert (usage.input_tokens_details.cached_tokens, usage.input_tokens_details.cache_write_tokens) == (4, 0)
    assert usage.output_tokens_details.reasoning_tokens == 3
    if name == "degraded":
        assert response.output_text == 'See\n\n![image](data:image/png;base64,AAAA)\n\n{"a":1}\n\nthat.'
    else:
        assert response.output_text == said(choice, TextPart)
    items = response.output
    contents = [part for item in items if item.type == "message" for part in item.content]
    assert "".join(part.refusal for part in contents if part.type == "refusal") == said(choice, RefusalPart)
    thoughts = [part.text for item in items if item.type == "reasoning" for part in item.summary]
    assert "".join(thoughts) == said(choice, ReasoningPart)
    calls = [part for part in choice.parts if isinstance(part, ToolCallPart)]
    assert [
        (item.call_id, item.name, item.arguments if item.type == "function_call" else item.input)
        for item in items
        if item.type in ("function_call", "custom_tool_call")
    ] == [(call.call_id, call.name, call.arguments) for call in calls]
    ids = [item.id for item in items]
    assert len(set(ids)) == len(ids)
    for item in items:
        prefix = {"message": "msg_1", "reasoning": "rs_1", "function_call": "fc_1", "custom_tool_call": "ctc_1"}
        assert (item.id or "").startswith(prefix[item.type])
        cut = name in INCOMPLETE and item is items[-1]
        assert getattr(item, "status", None) in (None, "incomplete" if cut else "completed")


def assert_settings(response: Response) -> None:
    """A response tells what was asked for."""
    told = response.to_dict()
    sent = json.loads(ASKED)
    for key in ("instructions", "metadata", "tools", "tool_choice", "parallel_tool_calls", "temperature", "store"):
        assert told[key] == sent[key], key
    for key in ("max_output_tokens", "text", "previous_response_id", "truncation", "user", "prompt_cache_key"):
        assert told[key] == sent[key], key
    assert told["reasoning"] == {"effort": "low", "summary": None}
    assert (told["top_p"], told["top_logprobs"], told["background"], told["error"]) == (1.0, 0, False, None)


def asked_of(service: Service) -> ChatRequest:
    """The last request that the SDK sent, parsed; it must survive its rendering."""
    head, body = service.asked[-1]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body)
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request
    return request
