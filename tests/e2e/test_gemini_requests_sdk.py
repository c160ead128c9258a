"""What the ``google-genai`` SDK sends, recorded by a plain HTTP server, as the dialect reads it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors as sdk_errors
from google.genai import types
from pydantic import BaseModel

from motive_core import errors
from motive_core.dialects import RequestHead
from motive_core.dialects.gemini_parts import camel
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Json,
    Message,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from tests.e2e.dialect_service import Service, serving
from tests.e2e.gemini_replies import CODE, DIALECT, REPLIES, REQUEST, options, streamed


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[genai.Client]:
    sdk = genai.Client(api_key="key", http_options=options(service.url))
    yield sdk
    sdk.close()


class Score(BaseModel):
    reason: str
    score: int | None = None


def weather(location: str, days: int = 1) -> str:
    """Looks out."""
    return f"{location} {days}"


SENT: dict[str, dict[str, Any]] = {
    "plain": {"contents": "hi"},
    "config": {
        "contents": [CODE],
        "config": types.GenerateContentConfig(
            system_instruction="Be kind.",
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            max_output_tokens=100,
            stop_sequences=["END"],
            seed=7,
            candidate_count=2,
            safety_settings=[
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                    threshold=types.HarmBlockThreshold.BLOCK_NONE,
                )
            ],
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=512),
        ),
    },
    "parts": {
        "contents": [
            types.Part.from_bytes(data=bytes(range(250, 256)) + b"\xfb\xff", mime_type="image/png"),
            types.Part.from_uri(file_uri="gs://bucket/a.pdf", mime_type="application/pdf"),
            "What is it?",
        ],
    },
    "tools": {
        "contents": [
            types.Content(role="user", parts=[types.Part(text="go")]),
            types.Content(
                role="model",
                parts=[
                    types.Part(
                        function_call=types.FunctionCall(id="c1", name="f", args={"a": 1.0, "b": [1, None]}),
                        thought_signature=b"\xfb\xff\xfe",
                    ),
                    types.Part(function_call=types.FunctionCall(name="g", args={})),
                ],
            ),
            types.Content(
                role="user",
                parts=[
                    types.Part(function_response=types.FunctionResponse(id="c1", name="f", response={"output": "3"})),
                    types.Part.from_function_response(name="g", response={"result": {"deep": [1]}}),
                ],
            ),
        ],
        "config": types.GenerateContentConfig(
            tools=[
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(
                            name="f",
                            description="F.",
                            parameters=types.Schema(
                                type=types.Type.OBJECT,
                                properties={
                                    "a": types.Schema(type=types.Type.NUMBER, nullable=True),
                                    "b": types.Schema(
                                        type=types.Type.ARRAY, min_items=1, items=types.Schema(type=types.Type.INTEGER)
                                    ),
                                },
                                required=["a"],
                            ),
                        ),
                        types.FunctionDeclaration(
                            name="g",
                            parameters_json_schema={"type": "object", "properties": {"top_p": {"type": "string"}}},
                        ),
                    ]
                ),
                types.Tool(google_search=types.GoogleSearch()),
            ],
            tool_config=types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["f"]
                )
            ),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        ),
    },
    "callable": {
        "contents": "hi",
        "config": types.GenerateContentConfig(
            tools=[weather], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
        ),
    },
    "schema": {
        "contents": "hi",
        "config": types.GenerateContentConfig(response_mime_type="application/json", response_schema=Score),
    },
    "json_schema": {
        "contents": "hi",
        "config": types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema={"type": "object", "properties": {}}
        ),
    },
}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_what_the_sdk_sends_is_understood_and_survives(
    service: Service, name: str, streaming: bool, version: str
) -> None:
    service.serve_error(errors.NotFoundError("x"))
    sdk = genai.Client(api_key="key", http_options=options(service.url, api_version=version))
    call = sdk.models.generate_content_stream if streaming else sdk.models.generate_content
    with warnings.catch_warnings(), pytest.raises(sdk_errors.ClientError):
        warnings.simplefilter("ignore")
        list(call(model="my room ü@asker", **SENT[name]))

    head, body = service.asked[0]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body, head)
    assert (request.model, request.stream, request.variant) == ("my room ü@asker", streaming, "")
    path, _, query = DIALECT.target(request).partition("?")
    assert path.startswith(f"/{version}/models/")
    rendered = DIALECT.render_request(request)
    assert DIALECT.parse_request(rendered, RequestHead("POST", "h", 443, path, query)) == request
    assert normal(json.loads(rendered)) == normal(json.loads(body))
    sdk.close()


def normal(value: Json) -> Json:
    """A request in one of its forms: names in camel case, base64 of the usual alphabet, one candidate untold."""
    match value:
        case dict():
            if "properties" in value:
                return value
            found = {key: normal(one) for key, one in camel(value).items() if (key, one) != ("generationConfig", {})}
            if found.get("mimeType") == "image/png":
                found["data"] = found["data"].replace("-", "+").replace("_", "/")
            return found
        case list():
            return [normal(one) for one in value]
        case _:
            return value


def sent(service: Service, client: genai.Client, name: str) -> ChatRequest:
    service.serve_reply(REPLIES["text"])
    client.models.generate_content(model="room", **SENT[name])
    head, body = service.asked[-1]
    return DIALECT.parse_request(body, head)


def test_what_a_request_of_the_sdk_means(service: Service, client: genai.Client) -> None:
    plain = sent(service, client, "plain")
    assert plain.messages == (Message("user", (TextPart("hi"),)),)

    config = sent(service, client, "config")
    assert config.messages[0].role == "system"
    assert config.messages[0].text == "Be kind."
    assert config.messages[1].text == CODE
    assert (config.n, config.sampling.max_tokens, config.sampling.stop, config.sampling.seed) == (2, 100, ("END",), 7)
    assert (config.sampling.temperature, config.sampling.top_p) == (0.5, 0.9)

    image, file, text = sent(service, client, "parts").messages[0].parts
    assert image == BlobPart("image/png", data="+vv8/f7/+/8=")
    assert file == BlobPart("application/pdf", url="file-id:gs://bucket/a.pdf")
    assert text == TextPart("What is it?")

    tools = sent(service, client, "tools")
    first, second = tools.messages[1].parts
    assert isinstance(first, ToolCallPart)
    assert (first.call_id, first.name, first.arguments) == ("c1", "f", '{"a":1.0,"b":[1,null]}')
    assert isinstance(second, ToolCallPart)
    assert (second.call_id, second.name, second.arguments) == ("g", "g", "{}")
    results = tools.messages[2].parts
    assert [(part.call_id, part.content) for part in results if isinstance(part, ToolResultPart)] == [
        ("c1", (TextPart("3"),)),
        ("g", (TextPart('{"result":{"deep":[1]}}'),)),
    ]
    search, f, g = sorted(tools.tools, key=lambda tool: tool.raw is None)
    assert f.schema == {
        "type": "object",
        "properties": {
            "a": {"type": ["number", "null"]},
            "b": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
        },
        "required": ["a"],
    }
    assert g.schema == {"type": "object", "properties": {"top_p": {"type": "string"}}}
    assert search.raw == {"googleSearch": {}}
    assert tools.tool_choice is not None
    assert (tools.tool_choice.mode, tools.tool_choice.name) == ("tool", "f")

    (tool,) = sent(service, client, "callable").tools
    assert tool.name == "weather"
    assert tool.schema["properties"]["location"]["type"] == "string"

    wanted = sent(service, client, "schema").response_format
    assert wanted is not None
    assert wanted.kind == "json_schema"
    assert wanted.schema["properties"]["score"]["type"] == ["integer", "null"]


def test_a_reply_that_the_sdk_sends_back_is_the_same_reply(service: Service, client: genai.Client) -> None:
    signed = Reply(
        "r1",
        "room",
        (
            Choice(
                (
                    ReasoningPart("Hm.", "AAEC/w=="),
                    TextPart("Yes.", extra={"thoughtSignature": "+/8="}),
                    ToolCallPart("c1", "f", '{"a":1}', extra={"thoughtSignature": "AXJpb3Q="}),
                ),
                "tool_calls",
            ),
        ),
        Usage(1, 1),
        dialect="gemini",
    )
    for reply in (*[REPLIES[name] for name in ("code", "tool", "parallel", "reasoning", "picture")], signed):
        service.serve_stream(*streamed(reply))
        parts: list[Any] = []
        for chunk in client.models.generate_content_stream(model="room", contents="hi"):
            assert chunk.candidates
            assert chunk.candidates[0].content is not None
            parts += chunk.candidates[0].content.parts or []
        history: Any = [
            types.Content(role="user", parts=[types.Part(text="hi")]),
            types.Content(role="model", parts=parts),
        ]
        service.serve_reply(REPLIES["text"])
        client.models.generate_content(model="room", contents=[*history, "and?"])
        head, body = service.asked[-1]
        heard = DIALECT.parse_request(body, head).messages[1].parts
        assert joined(heard) == joined(reply.choices[0].parts)


def joined(parts: Iterable[Part]) -> list[Any]:
    """Parts without the borders between texts, with signatures in one alphabet and arguments as values."""
    found: list[Any] = []
    for part in parts:
        signature = getattr(part, "extra", {}).get("thoughtSignature")
        match part:
            case TextPart(text):
                entry = ["text", text, signature]
            case ReasoningPart(text, proof):
                entry = ["thought", text, proof]
            case ToolCallPart(call_id, name, arguments):
                entry = ["call", (call_id, name, json.dumps(json.loads(arguments or "{}"))), signature]
            case BlobPart(media_type, data):
                entry = ["blob", (media_type, data), None]
            case _:
                pytest.fail(f"no such part is sent here: {part}")
        if entry[2] is not None:
            entry[2] = entry[2].replace("-", "+").replace("_", "/")
        if found and found[-1][0] == entry[0] and entry[0] in ("text", "thought") and found[-1][2] is None:
            found[-1] = [entry[0], found[-1][1] + entry[1], entry[2]]
        else:
            found.append(entry)
    return [entry for entry in found if entry[1] or entry[2]]
