"""Requests of the Gemini API, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motive_core.dialects import RequestHead
from motive_core.dialects.gemini import Gemini
from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
    ReasoningPart,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = Gemini()
WIRE = Path(__file__).parents[2] / "wire" / "gemini"
CALL = "/v1beta/models/m:generateContent"
HI: Json = [{"role": "user", "parts": [{"text": "hi"}]}]


def head(target: str = CALL, method: str = "POST", **headers: str) -> RequestHead:
    path, _, query = target.partition("?")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead(method, "service.example", 443, path, query, names)


def parse(target: str = CALL, **fields: Json) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"contents": HI, **fields}).encode(), head(target))


def golden(name: str) -> ChatRequest:
    target = WIRE / f"{name}.request.target"
    at = target.read_text("utf-8").strip() if target.exists() else CALL
    return DIALECT.parse_request((WIRE / f"{name}.request.json").read_bytes(), head(at))


def rendered(request: ChatRequest) -> Any:
    return json.loads(DIALECT.render_request(request))


def again(request: ChatRequest) -> ChatRequest:
    return DIALECT.parse_request(DIALECT.render_request(request), head(DIALECT.target(request)))


def test_one_item_may_stand_without_brackets_and_names_in_snake_case() -> None:
    request = golden("curl_single")

    assert request.messages == (
        Message("system", (TextPart("You are a cat."),)),
        Message("user", (TextPart("Hello there"),)),
    )
    assert request.sampling == Sampling(max_tokens=800, top_p=0.8, stop=("Title",))
    assert request.extra == {"generationConfig": {"top_k": 10}}
    assert rendered(request) == {
        "systemInstruction": {"parts": [{"text": "You are a cat."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hello there"}]}],
        "generationConfig": {"maxOutputTokens": 800, "topP": 0.8, "stopSequences": ["Title"], "top_k": 10},
    }


def test_a_system_instruction_may_be_a_text() -> None:
    assert parse(systemInstruction="Be kind.").messages[0] == Message("system", (TextPart("Be kind."),))
    assert parse(system_instruction={"role": "system", "parts": []}).messages[0].extra == {"role": "system"}


def test_a_conversation_with_tools() -> None:
    request = golden("tools_conversation")
    system, user, model, results = request.messages

    assert system == Message("system", (TextPart("Be brief."), TextPart("Be kind.")), extra={"role": "user"})
    assert user.role == "user"
    assert model.role == "assistant"
    assert model.parts == (
        ReasoningPart("I think."),
        TextPart("One moment.", extra={"thoughtSignature": "EqQECqEEAb4+9vs="}),
        ToolCallPart(
            "o1z3k9qa",
            "get_weather",
            '{"location":"Köln","scale":1.0,"far":1e5}',
            extra={"thoughtSignature": "AXJpb3Q="},
        ),
        ToolCallPart("w8v2m4xe", "get_weather", '{"location":"Bonn","big":12345678901234567890}'),
    )
    assert results.parts == (
        ToolResultPart("o1z3k9qa", (TextPart("12 °C"),), "get_weather"),
        ToolResultPart("w8v2m4xe", (TextPart("no such place"),), "get_weather", is_error=True),
        TextPart("Go on."),
    )
    weather, now, search, echo = request.tools
    assert weather.schema == {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "Where"},
            "days": {"type": ["integer", "null"], "format": "int32"},
            "unit": {"type": "string", "format": "enum", "enum": ["c", "f"]},
        },
        "required": ["location"],
    }
    assert now == Tool("now")
    assert search == Tool("googleSearch", raw={"googleSearch": {}})
    assert (echo.schema["type"], echo.extra) == ("object", {"behavior": "NON_BLOCKING"})
    assert request.tool_choice == ToolChoice("tool", "get_weather")
    assert request.sampling.temperature == 0
    assert request.extra == {
        "toolConfig": {"retrievalConfig": {"languageCode": "de"}},
        "generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/4f2k",
    }
    body = DIALECT.render_request(request)
    raw = json.loads((WIRE / "tools_conversation.request.json").read_bytes())
    del raw["generationConfig"]["candidateCount"]
    assert json.loads(body) == raw
    assert b'"args":{"location":"K\xc3\xb6ln","scale":1.0,"far":1e5}' in body


def test_calls_and_results_without_ids_are_matched_by_name_and_order() -> None:
    request = golden("calls_without_ids")
    _, calls, results, more, last = request.messages

    no_id = {"functionCall": {"id": None}}
    assert calls.parts == (
        ToolCallPart("roll", "roll", '{"sides":6}', extra=no_id),
        ToolCallPart("roll-2", "roll", '{"sides":20}', extra=no_id),
        ToolCallPart("flip", "flip", "{}", extra=no_id),
    )
    assert results.role == "tool"
    four, heads, seventeen = results.parts
    assert four == ToolResultPart(
        "roll", (TextPart("4"),), "roll", extra={"functionResponse": {"response": "result", "id": None}}
    )
    assert isinstance(heads, ToolResultPart)
    assert (heads.call_id, heads.content) == ("flip", (TextPart('{"side":"heads","p":0.50}'),))
    assert isinstance(seventeen, ToolResultPart)
    assert (seventeen.call_id, seventeen.content) == ("roll-2", (TextPart('{"result":17}'),))
    assert more.parts[1] == ToolCallPart("roll-3", "roll", "{}", extra=no_id)
    assert isinstance(last.parts[0], ToolResultPart)
    assert (last.parts[0].call_id, last.parts[0].content) == ("roll-3", (TextPart("{}"),))
    assert [tool.name for tool in request.tools] == ["roll", "flip", "code_execution"]
    assert request.tool_choice == ToolChoice("auto")

    body = rendered(request)
    assert body["contents"][2] == {
        "role": "function",
        "parts": [
            {"functionResponse": {"name": "roll", "response": {"result": "4"}}},
            {"functionResponse": {"name": "flip", "response": {"side": "heads", "p": 0.5}}},
            {"functionResponse": {"name": "roll", "response": {"result": 17}}},
        ],
    }
    assert b'"p":0.50' in DIALECT.render_request(request)
    assert body["contents"][1]["parts"][1] == {"functionCall": {"name": "roll", "args": {"sides": 20}}}


def results_of(*parts: Json, calls: Json = ()) -> list[str]:
    """The ids of the results, after these calls."""
    contents = [*HI, {"role": "model", "parts": list(calls)}, {"role": "user", "parts": list(parts)}]
    request = parse(contents=contents)
    assert again(request) == request
    return [part.call_id for part in request.messages[-1].parts if isinstance(part, ToolResultPart)]


def test_a_result_without_an_id_answers_a_call_that_has_one() -> None:
    calls = [{"functionCall": {"id": f"c{n}", "name": "f"}} for n in (1, 2, 3)]
    bare = {"functionResponse": {"name": "f", "response": {}}}

    assert results_of(bare, bare, bare, calls=calls) == ["c1", "c2", "c3"]
    named = {"functionResponse": {"name": "f", "id": "c1", "response": {}}}
    assert results_of(named, bare, bare, bare, calls=calls) == ["c1", "c2", "c3", "f"]
    assert results_of({"functionResponse": {"id": "c2"}}, bare, calls=calls) == ["c2", "c1"]
    assert results_of(bare) == ["f"]


def test_a_result_is_never_that_of_a_call_of_an_earlier_turn() -> None:
    contents = [
        *HI,
        {"role": "model", "parts": [{"functionCall": {"id": "old", "name": "f"}}]},
        *HI,
        {"role": "model", "parts": [{"functionCall": {"id": "new", "name": "f"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f"}}]},
    ]
    (result,) = parse(contents=contents).messages[-1].parts
    assert isinstance(result, ToolResultPart)
    assert (result.call_id, result.content) == ("new", ())


def test_a_name_with_a_number_is_not_taken_for_another_calls_id() -> None:
    calls = [
        {"functionCall": {"name": "f"}},
        {"functionCall": {"id": "f-2", "name": "g"}},
        {"functionCall": {"name": "f"}},
    ]
    request = parse(contents=[*HI, {"role": "model", "parts": calls}])
    assert [part.call_id for part in request.messages[1].parts if isinstance(part, ToolCallPart)] == ["f", "f-2", "f-3"]
    assert rendered(request)["contents"][1]["parts"] == [
        {"functionCall": {"name": "f", "args": {}}},
        {"functionCall": {"id": "f-2", "name": "g", "args": {}}},
        {"functionCall": {"name": "f", "args": {}}},
    ]


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "ok"}, "ok", False),
        ({"result": "ok"}, "ok", False),
        ({"error": "no"}, "no", True),
        ({"output": ""}, "", False),
        ({"output": {"a": 1.50}}, '{"output":{"a":1.5}}', False),
        ({"output": "ok", "more": 1}, '{"output":"ok","more":1}', False),
        ({"a": "ü\n"}, '{"a":"ü\\n"}', False),
        ({}, "{}", False),
    ],
)
def test_the_object_of_a_result_is_its_text(response: Json, text: str, is_error: bool) -> None:
    part = {"functionResponse": {"id": "c", "name": "f", "response": response, "willContinue": False}}
    request = parse(contents=[{"parts": [part]}])

    (result,) = request.messages[0].parts
    assert isinstance(result, ToolResultPart)
    assert (result.content, result.is_error, result.name) == ((TextPart(text),), is_error, "f")
    assert rendered(request)["contents"][0]["parts"] == [part]


def test_blobs() -> None:
    user, model, last = golden("multimodal").messages
    _, image, sound, film, file, video, picture = user.parts

    assert isinstance(image, BlobPart)
    assert image.media_type == "image/png"
    assert sound == BlobPart("audio/wav", data="+/+/AA==")
    assert film == BlobPart(
        "video/mp4",
        url="file-id:https://generativelanguage.googleapis.com/v1beta/files/abc",
        extra={"videoMetadata": {"startOffset": "10s", "fps": 5}},
    )
    assert file == BlobPart("application/pdf", url="file-id:gs://bucket/a b.pdf", name="a b.pdf")
    assert video == BlobPart("", url="https://www.youtube.com/watch?v=9hE5-98ZeCg")
    assert picture == BlobPart(
        "image/jpeg", data="/9j/4AAQ", extra={"mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}}
    )
    assert model.parts[1] == OpaquePart("gemini", {"executableCode": {"language": "PYTHON", "code": "1"}})
    result = last.parts[0]
    assert isinstance(result, ToolResultPart)
    assert result.content == (TextPart("ok"), BlobPart("image/png", data=image.data, name="x.png"))

    body = rendered(golden("multimodal"))
    raw = json.loads((WIRE / "multimodal.request.json").read_bytes())
    raw["contents"][0]["parts"][2] = {"inlineData": {"mimeType": "audio/wav", "data": "+/+/AA=="}}
    raw["contents"][2] = {"role": "user", **raw["contents"][2]}
    assert body == raw


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"toolCall": {"id": "x", "toolType": "GOOGLE_SEARCH_WEB"}},
        {"inlineData": "what"},
        {"inlineData": {"mimeType": 1, "data": ""}},
        {"fileData": {}},
        {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}], "willContinue": True}},
        {"functionCall": {}},
    ],
)
def test_unknown_parts_are_kept(part: Json) -> None:
    request = parse(contents=[{"role": "model", "parts": [part, {"text": "x", "partMetadata": {"a": 1}}]}])

    assert request.messages[0].parts == (OpaquePart("gemini", part), TextPart("x", extra={"partMetadata": {"a": 1}}))
    assert rendered(request)["contents"][0]["parts"] == [part, {"text": "x", "partMetadata": {"a": 1}}]


def test_a_part_that_is_only_a_signature_is_an_empty_text() -> None:
    request = parse(contents=[{"role": "model", "parts": [{"thought_signature": "AA=="}]}])
    assert request.messages[0].parts == (TextPart("", extra={"thoughtSignature": "AA=="}),)


def test_nulls_are_as_good_as_missing() -> None:
    contents = [
        {"role": None, "parts": [{"text": "x", "thought": None, "functionCall": None, "thoughtSignature": None}]},
        {"role": "model", "parts": None},
    ]
    nulls: dict[str, Json] = dict.fromkeys(
        ["systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent"]
    )
    request = parse(CALL, contents=contents, **nulls)
    assert request.messages == (Message("user", (TextPart("x"),)), Message("assistant", ()))
    assert request.extra == {}


# What stands beside the contents.


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "any"}, ToolChoice("required")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", "f")),
        ({"mode": "ANY", "allowed_function_names": "f"}, ToolChoice("tool", "f")),
        (
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
            ToolChoice("required", raw={"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        ),
        ({"mode": "VALIDATED"}, ToolChoice("auto", raw={"mode": "VALIDATED"})),
        (
            {"mode": "AUTO", "streamFunctionCallArguments": True},
            ToolChoice("auto", raw={"mode": "AUTO", "streamFunctionCallArguments": True}),
        ),
        ({}, ToolChoice("auto", raw={})),
    ],
)
def test_tool_choices(config: Json, choice: ToolChoice) -> None:
    request = parse(toolConfig={"functionCallingConfig": config})
    assert request.tool_choice == choice
    assert again(request) == request


def test_declarations_that_follow_each_other_are_one_tool() -> None:
    tools = [
        {"functionDeclarations": [{"name": "a"}]},
        {"functionDeclarations": {"name": "b"}},
        {"googleSearch": {}, "urlContext": {}},
        {"function_declarations": [{"name": "c"}]},
    ]
    request = parse(tools=tools)
    assert [tool.name for tool in request.tools] == ["a", "b", "googleSearch", "urlContext", "c"]
    assert rendered(request)["tools"] == [
        {"functionDeclarations": [{"name": "a"}, {"name": "b"}]},
        {"googleSearch": {}},
        {"urlContext": {}},
        {"functionDeclarations": [{"name": "c"}]},
    ]


def test_a_schema_is_rendered_as_it_came() -> None:
    declarations: list[Json] = [
        {"name": "a", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}},
        {"name": "b", "parametersJsonSchema": {"type": "object"}},
        {"name": "c", "parametersJsonSchema": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}},
        {"name": "d", "parametersJsonSchema": {"type": "object"}, "parameters": {"type": "OBJECT"}, "response": {}},
        {"name": "e"},
    ]
    request = parse(tools=[{"functionDeclarations": declarations}])
    assert [tool.schema and tool.schema["type"] for tool in request.tools] == ["object"] * 4 + [None]
    assert request.tools[0].schema == request.tools[2].schema
    assert rendered(request)["tools"] == [{"functionDeclarations": declarations}]
    assert again(request) == request


def test_formats() -> None:
    schema = {"type": "object", "properties": {}}
    router = golden("structured_output").response_format
    assert router is not None
    assert (router.kind, router.extra) == ("json_schema", {})

    listed = golden("response_schema")
    assert listed.response_format is not None
    assert listed.response_format.schema == {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "n": {"type": "number"},
                "any_of": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            },
        },
        "minItems": 1,
        "maxItems": 3,
    }
    assert (listed.model, listed.extra["labels"]) == ("4711", {"team": "x"})

    words = golden("enum_text")
    assert (words.response_format, words.n, words.model) == (None, 2, "my room ü@asker")

    def config(**fields: Json) -> ResponseFormat | None:
        request = parse(generationConfig=fields)
        assert again(request) == request
        assert rendered(request).get("generationConfig", {}) == fields
        return request.response_format

    assert config(responseMimeType="application/json") == ResponseFormat("json_object")
    assert config(responseMimeType="text/plain") == ResponseFormat("text")
    assert config() is None
    upper = config(responseMimeType="application/json", responseJsonSchema={"type": "OBJECT", "properties": {}})
    assert upper is not None
    assert upper.schema == schema
    untold = config(responseSchema={"type": "OBJECT"})
    assert untold is not None
    assert untold.schema == {"type": "object"}
    assert config(responseMimeType="application/json", responseJsonSchema=schema, responseSchema={"type": "OBJECT"})
    assert config(responseMimeType="text/plain", responseSchema={"type": "STRING"}) is None


def test_numbers_may_be_texts() -> None:
    request = parse(generationConfig={"maxOutputTokens": "100", "seed": 7.0, "temperature": "0.5", "topP": 1})
    assert request.sampling == Sampling(100, 0.5, 1, (), 7)
    assert type(request.sampling.max_tokens) is type(request.sampling.seed) is int


# What is wrong with a request.


@pytest.mark.parametrize(
    ("fields", "param", "why"),
    [
        ({"contents": []}, "contents", "contents is not specified"),
        ({"contents": None}, "contents", "contents is not specified"),
        ({"contents": "hi"}, "contents[0]", "it must be an object, not a string"),
        (
            {"contents": [{"role": "assistant", "parts": []}]},
            "contents[0].role",
            "Please use a valid role: user, model.",
        ),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text", "it must be a string, not an integer"),
        ({"contents": [{"parts": ["hi"]}]}, "contents[0].parts[0]", "it must be an object"),
        (
            {"contents": [{"parts": [{"functionCall": {"args": {}}}]}]},
            "contents[0].parts[0].functionCall.name",
            "name is not specified",
        ),
        (
            {"contents": [{"parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]},
            "contents[0].parts[0].functionCall.args",
            "it must be an object, not a string",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"response": {}}}]}]},
            "contents[0].parts[0].functionResponse.name",
            "name is not specified",
        ),
        ({"systemInstruction": 1}, "systemInstruction", "it must be an object"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name", "name is not specified"),
        ({"tools": ["x"]}, "tools[0]", "it must be an object"),
        ({"generationConfig": {"candidateCount": 9}}, "generationConfig.candidateCount", "from 1 to 8"),
        ({"generationConfig": {"candidateCount": -1}}, "generationConfig.candidateCount", "from 1 to 8"),
        (
            {"generationConfig": {"maxOutputTokens": 1.5}},
            "generationConfig.maxOutputTokens",
            "an integer, not a number",
        ),
        (
            {"generationConfig": {"maxOutputTokens": "many"}},
            "generationConfig.maxOutputTokens",
            "a number, not a string",
        ),
        ({"generationConfig": {"seed": True}}, "generationConfig.seed", "an integer, not a boolean"),
        ({"generationConfig": {"temperature": "inf"}}, "generationConfig.temperature", "it must be a number"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences[0]", "a string, not an integer"),
        ({"toolConfig": {"functionCallingConfig": []}}, "toolConfig.functionCallingConfig", "an object, not an array"),
    ],
)
def test_a_bad_request_names_its_field(fields: dict[str, Json], param: str, why: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(**fields)
    assert caught.value.param == param
    assert why in caught.value.message


def test_what_is_no_json_object_is_a_bad_request() -> None:
    for body in (b"", b"[]", b"null", b"{"):
        with pytest.raises(BadRequestError):
            DIALECT.parse_request(body, head())
