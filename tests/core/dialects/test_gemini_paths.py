"""The paths of the Gemini API, who speaks it, what it serves beside the chat, and its errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from motive_core.dialects import ModelInfo, RequestHead, SideCall
from motive_core.dialects.gemini import Gemini
from motive_core.errors import BadRequestError, HoldTimeoutError, MotiveError, NotFoundError, OverloadedError
from motive_core.ir import (
    ChatRequest,
    Json,
)

DIALECT = Gemini()
CALL = "/v1beta/models/m:generateContent"
VERTEX = "/v1beta1/projects/my-project/locations/us-central1"
HI: Json = [{"role": "user", "parts": [{"text": "hi"}]}]


def head(target: str = CALL, method: str = "POST", **headers: str) -> RequestHead:
    path, _, query = target.partition("?")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead(method, "service.example", 443, path, query, names)


def parse(target: str = CALL, **fields: Json) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"contents": HI, **fields}).encode(), head(target))


def again(request: ChatRequest) -> ChatRequest:
    return DIALECT.parse_request(DIALECT.render_request(request), head(DIALECT.target(request)))


@pytest.mark.parametrize(
    ("target", "model", "streams", "variant"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", False, ""),
        ("/v1/models/room:generateContent", "room", False, ""),
        ("/v1alpha/models/room:streamGenerateContent?alt=sse", "room", True, ""),
        ("/v1beta/models/room:streamGenerateContent?key=AIza&alt=sse", "room", True, ""),
        ("/v1beta/models/room:streamGenerateContent?$alt=sse", "room", True, ""),
        ("/v1beta/models/room:streamGenerateContent", "room", True, "array"),
        ("/v1beta/models/room:streamGenerateContent?alt=json", "room", True, "array"),
        ("/v1beta/models/room:streamGenerateContent?%24alt=json%3Benum-encoding%3Dint", "room", True, "array"),
        ("/v1beta/models/room:generateContent?alt=sse", "room", False, ""),
        ("/v1beta/models/my%20room%20%C3%BC@asker:generateContent", "my room ü@asker", False, ""),
        ("/v1beta/models/a%2Fb:latest:generateContent", "a/b:latest", False, ""),
        ("/v1beta/models/a/b:generateContent", "a/b", False, ""),
        ("/v1beta/tunedModels/mine-4711:generateContent", "mine-4711", False, ""),
        ("/models/room:generateContent", "room", False, ""),
        ("/a/gateway/v1beta/models/room:generateContent", "room", False, ""),
        (f"{VERTEX}/publishers/google/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False, ""),
        (f"{VERTEX}/publishers/google/models/m:streamGenerateContent?alt=sse", "m", True, ""),
        (f"{VERTEX}/endpoints/4711:streamGenerateContent", "4711", True, "array"),
        (f"{VERTEX}/models/m:generateContent", "m", False, ""),
        ("/v1beta1/publishers/google/models/m:generateContent", "m", False, ""),
    ],
)
def test_a_path_tells_the_model_and_how_to_reply(target: str, model: str, streams: bool, variant: str) -> None:
    assert DIALECT.matches(head(target))
    request = parse(target)

    assert (request.model, request.stream, request.include_usage) == (model, streams, streams)
    assert request.variant == variant
    expected = "application/json" if variant or not streams else "text/event-stream"
    assert DIALECT.content_type(request) == expected
    assert again(request) == request
    assert again(request).variant == variant


@pytest.mark.parametrize(
    ("target", "back"),
    [
        ("/v1beta/models/m:streamGenerateContent?key=secret&alt=sse", "/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("/v1/models/m:streamGenerateContent", "/v1/models/m:streamGenerateContent"),
        ("/a/gateway/v1/models/m:generateContent?alt=sse", "/v1/models/m:generateContent"),
        ("/v1beta/models/a/b%3F%20@x:generateContent", "/v1beta/models/a%2Fb%3F%20@x:generateContent"),
        (f"{VERTEX}/endpoints/4711:generateContent", f"{VERTEX}/endpoints/4711:generateContent"),
    ],
)
def test_a_request_goes_back_to_its_path_without_the_key(target: str, back: str) -> None:
    assert DIALECT.target(parse(target)) == back


def test_a_request_of_another_dialect_goes_to_the_developer_api() -> None:
    request = replace(parse(), dialect="openai-chat", model="my room", variant="array", stream=True)
    assert DIALECT.target(request) == "/v1beta/models/my%20room:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/m:embedContent",
        "/v1beta/models/m:countTokens",
        "/v1beta/models/m:generatecontent",
        "/v1beta/models/m",
        "/v1beta/models/:generateContent",
        "/v1beta/cachedContents/m:generateContent",
        f"{VERTEX}/publishers/anthropic/models/claude:rawPredict",
        f"{VERTEX}/publishers/anthropic/models/claude:generateContent",
        "/v1beta/openai/chat/completions",
        "/v1internal:generateContent",
    ],
)
def test_other_paths_are_no_chat(path: str) -> None:
    assert not DIALECT.matches(head(path))


def test_the_model_may_stand_in_the_body_where_there_is_no_path() -> None:
    request = DIALECT.parse_request(json.dumps({"model": "models/m", "contents": HI}).encode())
    assert (request.model, request.stream, request.extra) == ("m", False, {})
    with pytest.raises(BadRequestError) as caught:
        DIALECT.parse_request(json.dumps({"contents": HI}).encode())
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("told", "speaks"),
    [
        (head("/v1/models", "GET"), False),
        (head("/v1/models", "GET", x_goog_api_key="k"), True),
        (head("/v1/models", "GET", x_goog_api_client="google-genai-sdk/3.6.1"), True),
        (head("/v1/models?key=AIza", "GET"), True),
        (head("/v1/models?monkey=1", "GET"), False),
        (head("/v1/models", "GET", user_agent="GeminiCLI-tui/0.61.0/gemini-3 (linux; x64)"), True),
        (head("/v1beta/models", "GET"), True),
        (head("/v1beta/openai/models", "GET"), False),
        (head("/v1/chat/completions"), False),
    ],
)
def test_who_speaks_it(told: RequestHead, speaks: bool) -> None:
    assert DIALECT.speaks(told) is speaks


# Beside the chat.

MODELS = [ModelInfo("room-1", 1), ModelInfo("zimmer ü", 2), ModelInfo("a:b", 3)]


def serve(target: str, method: str = "GET", body: Json = None, **headers: str) -> Any:
    asked = head(target, method, **headers)
    assert DIALECT.serves(asked)
    data = b"" if body is None else json.dumps(body).encode()
    reply = DIALECT.serve(SideCall(asked, data, MODELS, kept=lambda _: None, forget=lambda _: False))
    assert (reply.status, reply.content_type) == (200, "application/json")
    return json.loads(reply.body)


def test_models() -> None:
    listed = serve("/v1beta/models?pageSize=1&pageToken=x")
    assert [model["name"] for model in listed["models"]] == ["models/room-1", "models/zimmer ü", "models/a:b"]
    assert "nextPageToken" not in listed
    assert serve("/v1/models", x_goog_api_key="k") == listed
    assert serve("/models/?key=k") == listed
    assert serve("/v1beta/models/zimmer%20%C3%BC")["displayName"] == "zimmer ü"
    assert serve("/v1beta/models/a:b")["name"] == "models/a:b"
    vertex = serve("/v1beta1/publishers/google/models")
    assert vertex["publisherModels"][0]["name"] == "publishers/google/models/room-1"
    assert serve("/v1beta1/publishers/google/models/room-1") == vertex["publisherModels"][0]
    with pytest.raises(NotFoundError, match="models/room-3 is not found"):
        serve("/v1beta/models/room-3")


@pytest.mark.parametrize(
    "asked",
    [
        head("/v1/models", "GET"),
        head("/v1beta/openai/models", "GET"),
        head("/v1beta/tunedModels", "GET"),
        head("/v1beta/models/m:generateContent", "GET"),
        head("/v1beta/models/m:countTokens", "GET"),
        head("/v1beta/models", "DELETE"),
        head("/v1beta/models"),
        head("/v1beta/files", "GET"),
    ],
)
def test_what_it_does_not_serve(asked: RequestHead) -> None:
    assert not DIALECT.serves(asked)


@pytest.mark.parametrize("method", ["embedContent", "batchEmbedContents", "batchGenerateContent", "computeTokens"])
def test_other_methods_are_refused_in_words(method: str) -> None:
    with pytest.raises(NotFoundError, match=f"Method {method} is not served here"):
        serve(f"/v1beta/models/m:{method}", "POST", {"contents": HI})


def test_tokens_are_counted() -> None:
    contents = [{"parts": [{"text": "12345678"}]}]
    expected = {"totalTokens": 2, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}]}

    assert serve("/v1beta/models/m:countTokens", "POST", {"contents": contents}) == expected
    wrapped = {"generateContentRequest": {"model": "models/other", "contents": contents}}
    assert serve("/v1beta/models/m:countTokens", "POST", wrapped) == expected
    snake = {"generate_content_request": {"contents": contents, "system_instruction": "1234"}}
    assert serve("/v1/models/m:countTokens", "POST", snake)["totalTokens"] == 3
    bad: list[Json] = [{}, [], {"generateContentRequest": 1}]
    for body in bad:
        with pytest.raises(BadRequestError):
            serve("/v1beta/models/m:countTokens", "POST", body)


@pytest.mark.parametrize(
    ("error", "status", "details"),
    [
        (
            BadRequestError("x", param="contents"),
            "INVALID_ARGUMENT",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": "contents", "description": "x"}],
                }
            ],
        ),
        (
            OverloadedError("x", retry_after_s=2.6),
            "UNAVAILABLE",
            [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}],
        ),
        (HoldTimeoutError("x"), "DEADLINE_EXCEEDED", []),
    ],
)
def test_an_error_is_a_status_of_google(error: MotiveError, status: str, details: list[Json]) -> None:
    told = json.loads(DIALECT.render_error(error, "req_1"))["error"]
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code.upper(),
        "domain": "motive",
        "metadata": {},
    }
    assert told == {"code": error.status, "message": "x", "status": status, "details": [info, *details]}


@pytest.mark.parametrize(
    ("target", "in_array"),
    [
        ("/v1beta/models/m:streamGenerateContent", True),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", False),
        ("/v1beta/models/m:generateContent", False),
        ("/v1beta/models", False),
    ],
)
def test_an_error_comes_as_the_reply_would(target: str, in_array: bool) -> None:
    path, _, query = target.partition("?")
    dialect = Gemini().for_client(RequestHead("POST", "h", 443, path, query))
    told = json.loads(dialect.render_error(NotFoundError("no"), "req_1"))
    assert isinstance(told, list) is in_array
    assert (told[0] if in_array else told)["error"]["code"] == 404
