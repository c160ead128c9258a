"""Calls beside the chat that AWS SDKs make of Bedrock, and the errors of all AWS dialects."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from motive_core.dialects import DIALECTS
from motive_core.dialects.base import ModelInfo, RequestHead, SideCall
from motive_core.dialects.bedrock_converse import BedrockConverse
from motive_core.errors import BadRequestError, MotiveError, NotFoundError, StatusError, UnprocessableError
from tests.core.dialects.bedrock_model import faults
from tests.core.dialects.test_contract import every_error

DIALECT = BedrockConverse()
ROOM = ModelInfo("zimmer ü/1", 1_795_230_236)


def serve(method: str, path: str, body: Any = None) -> Any:
    head = RequestHead(method, "127.0.0.1", 1, path)
    assert DIALECT.serves(head)
    assert [one.name for one in DIALECTS if one.serves(head)] == [DIALECT.name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = DIALECT.serve(SideCall(head, data, [ROOM], lambda _: None, lambda _: False))
    assert (reply.status, reply.content_type) == (200, "application/json")
    return json.loads(reply.body)


def test_the_list_of_models() -> None:
    told = serve("GET", "/foundation-models")
    (model,) = told["modelSummaries"]
    assert model["modelId"] == "zimmer ü/1"
    assert model["responseStreamingSupported"] is True
    assert structural("ListFoundationModelsResponse", told) == []


def test_the_list_of_inference_profiles() -> None:
    told = serve("GET", "/inference-profiles/")
    (profile,) = told["inferenceProfileSummaries"]
    assert profile["inferenceProfileId"] == "zimmer ü/1"
    assert profile["createdAt"] == "2026-11-21T03:03:56Z"
    assert structural("ListInferenceProfilesResponse", told) == []


def structural(shape: str, told: Any) -> list[str]:
    """What is wrong but for the patterns and lengths of names: a session may have any."""
    return [one for one in faults(shape, told, service="bedrock") if "match" not in one and "out of range" not in one]


@pytest.mark.parametrize(
    ("path", "member", "value"),
    [
        ("/foundation-models/zimmer%20%C3%BC%2F1", "modelDetails", None),
        ("/foundation-models/zimmer%20%C3%BC/1", "modelDetails", None),
        (
            "/foundation-models/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fzimmer%20%C3%BC%2F1",
            "modelDetails",
            None,
        ),
        ("/inference-profiles/zimmer%20%C3%BC%2F1", "inferenceProfileId", "zimmer ü/1"),
    ],
)
def test_one_model(path: str, member: str, value: str | None) -> None:
    told = serve("GET", path)
    assert told[member] == value if value is not None else told[member]["modelId"] == "zimmer ü/1"


@pytest.mark.parametrize("path", ["/foundation-models/other", "/inference-profiles/other"])
def test_a_model_that_there_is_none_of(path: str) -> None:
    with pytest.raises(NotFoundError, match="other"):
        serve("GET", path)


def native(body: Any) -> dict[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return {"input": {"invokeModel": {"body": base64.b64encode(data).decode()}}}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "x" * 40}]}]}}}, 10),
        (
            {
                "input": {
                    "converse": {
                        "messages": [{"role": "user", "content": [{"text": "x"}]}],
                        "system": [{"text": "yyyyyyy"}],
                    }
                }
            },
            2,
        ),
        (native({"anthropic_version": "v", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 40}]}), 10),
        (
            native(
                {
                    "system": "yyyy",
                    "messages": [
                        {"role": "user", "content": [{"type": "text", "text": "x" * 36}]},
                        {
                            "role": "user",
                            "content": [{"type": "image", "source": {"type": "base64", "data": "A" * 99}}],
                        },
                    ],
                }
            ),
            10,
        ),
        (native({"inputText": "x" * 40, "textGenerationConfig": {"maxTokenCount": 5}}), 10),
        (native({"prompt": "x" * 40}), 10),
        (native([]), 0),
    ],
)
def test_a_count_of_tokens(body: Any, tokens: int) -> None:
    assert serve("POST", "/model/any%2Froom/count-tokens", body) == {"inputTokens": tokens}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        ({}, "input"),
        ({"input": {}}, "input"),
        ({"input": {"tomorrow": {}}}, "input"),
        ({"input": {"converse": 1}}, "input.converse"),
        ({"input": {"converse": {}}}, "messages"),
        ({"input": {"converse": {"messages": [{"role": "x"}]}}}, "messages[0].role"),
        ({"input": {"invokeModel": {}}}, "input.invokeModel.body"),
        ({"input": {"invokeModel": {"body": "%"}}}, "input.invokeModel.body"),
        ({"input": {"invokeModel": {"body": "é"}}}, "input.invokeModel.body"),
        (native(b"{"), None),
    ],
)
def test_a_count_of_what_is_no_request(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        serve("POST", "/model/room/count-tokens", body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/foundation-models"),
        ("GET", "/model/room/count-tokens"),
        ("GET", "/v1/models"),
        ("GET", "/"),
        ("GET", "/model/room/converse"),
        ("DELETE", "/inference-profiles/room"),
    ],
)
def test_other_calls_are_not_served(method: str, path: str) -> None:
    assert not DIALECT.serves(RequestHead(method, "127.0.0.1", 1, path))


# Errors. Which exception an SDK raises for them is in the end-to-end tests.

NAMES = {
    400: "ValidationException",
    401: "AccessDeniedException",
    402: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    409: "ConflictException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


@pytest.mark.parametrize("error", every_error(), ids=lambda error: f"{type(error).__name__}-{error.status}")
def test_errors_tell_their_name_in_a_header(error: MotiveError) -> None:
    status = DIALECT.error_status(error)
    assert status == {504: 408, 529: 503}.get(error.status, error.status)
    name = NAMES.get(status, "InternalServerException" if status >= 500 else "ValidationException")
    headers = DIALECT.error_headers(error, "req_1")
    assert headers["x-amzn-errortype"] == name
    assert headers["x-amzn-requestid"] == "req_1"
    assert json.loads(DIALECT.render_error(error, "req_1")) == {"message": "messages: Nö." if error.param else "Nö."}


def test_a_field_that_the_message_names_is_not_named_again() -> None:
    error = UnprocessableError("messages[0] is wrong", param="messages[0]")
    assert json.loads(DIALECT.render_error(error, "r")) == {"message": "messages[0] is wrong"}
    assert DIALECT.error_headers(StatusError(424, "x"), "r")["x-amzn-errortype"] == "ModelErrorException"
