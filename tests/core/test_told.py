"""What is understood of the errors of all vendors, in the forms in which their services send them."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from motive_core.exchange import told_error

NOW = 1_790_000_000.0
CLOUDFLARE = b"<html><head><title>502 Bad Gateway</title></head></html>"
GEMINI = {
    "error": {
        "code": 429,
        "message": "Resource exhausted.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"},
        ],
    }
}


@pytest.mark.parametrize(
    ("status", "body", "message", "code"),
    [
        # OpenAI, Groq, DeepSeek, Together, Fireworks, OpenRouter, vLLM
        (
            401,
            {"error": {"message": "No.", "type": "t", "param": None, "code": "invalid_api_key"}},
            "No.",
            "invalid_api_key",
        ),
        (
            402,
            {"error": {"code": 402, "message": "No.", "metadata": {"raw": "x"}}, "user_id": "u"},
            "No.",
            "upstream_error",
        ),
        (
            400,
            {"object": "error", "message": "No.", "type": "BadRequestError", "param": None, "code": 400},
            "No.",
            "upstream_error",
        ),
        # Azure, its gateway, and API Management
        (404, {"error": {"code": "DeploymentNotFound", "message": "No."}}, "No.", "DeploymentNotFound"),
        (401, {"statusCode": 401, "message": "No."}, "No.", "upstream_error"),
        # Anthropic
        (
            529,
            {"type": "error", "error": {"type": "overloaded_error", "message": "No."}, "request_id": "r"},
            "No.",
            "upstream_error",
        ),
        # Gemini, whole and where a stream was asked
        (429, GEMINI, "Resource exhausted.", "upstream_error"),
        (429, [GEMINI], "Resource exhausted.", "upstream_error"),
        # Cohere, Ollama, xAI, Hugging Face
        (422, {"id": "1", "message": "No."}, "No.", "upstream_error"),
        (404, {"error": "No."}, "No.", "upstream_error"),
        (
            400,
            {"code": "Client specified an invalid argument", "error": "No."},
            "No.",
            "Client specified an invalid argument",
        ),
        # Amazon
        (400, {"message": "No."}, "No.", "upstream_error"),
        (403, {"Message": "No."}, "No.", "upstream_error"),
        # Mistral, and whatever is made with FastAPI
        (400, {"object": "error", "message": "No.", "type": "invalid_model", "code": "1500"}, "No.", "1500"),
        (
            422,
            {"detail": [{"loc": ["body", "top_k"], "msg": "Extra", "type": "x"}]},
            "body.top_k: Extra",
            "upstream_error",
        ),
        (
            422,
            {"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "Bad"}]}},
            "body: Bad",
            "upstream_error",
        ),
        (404, {"detail": "Not Found"}, "Not Found", "upstream_error"),
        (400, {"errors": [{"message": "One."}, "Two."]}, "One.; Two.", "upstream_error"),
        # Whoever stands before a service
        (502, CLOUDFLARE, "The service answered with status 502.", "upstream_error"),
        (503, b"", "The service answered with status 503.", "upstream_error"),
        (500, b"[" * 100_000, "The service answered with status 500.", "upstream_error"),
        (500, {"error": {}}, "The service answered with status 500.", "upstream_error"),
        (500, {"error": None, "message": 7}, "The service answered with status 500.", "upstream_error"),
        (500, [], "The service answered with status 500.", "upstream_error"),
    ],
)
def test_words_are_found(status: int, body: Any, message: str, code: str) -> None:
    error = told_error(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (error.status, error.message, error.code) == (status, message, code)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5", "retry-after-ms": "120"}, 0.12),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 1.0),
        ({"retry-after": "1e9"}, 3600.0),
        ({"retry-after": "nan"}, 1.0),
        ({"retry-after": "soon"}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_time_to_wait(headers: dict[str, str], wait_s: float) -> None:
    error = told_error(429, headers, b"", NOW)
    assert (error.retryable, error.retry_after_s) == (True, wait_s)


def test_gemini_tells_the_time_in_its_body() -> None:
    assert told_error(429, {}, json.dumps(GEMINI).encode()).retry_after_s == 34.5


def test_a_service_that_says_that_a_retry_is_useless_is_believed() -> None:
    assert not told_error(500, {"x-should-retry": "false"}, b"").retryable
    assert told_error(500, {"x-should-retry": "true"}, b"").retryable
    assert not told_error(400, {}, b"").retryable


@pytest.mark.parametrize("status", [101, 204, 302, 600, 999])
def test_what_is_no_error_is_one_of_the_gateway(status: int) -> None:
    assert told_error(status, {}, b"").status == 502
