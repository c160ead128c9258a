"""Where a call goes, by the base URLs that the vendors' SDKs have or take."""

from __future__ import annotations

import pytest

from motive_core.dialects import dialect_named
from motive_core.dialects.base import RequestHead
from motive_core.ir import ChatRequest, Message, TextPart

AZURE = "https://res.openai.azure.com"
DEPLOYMENT = f"{AZURE}/openai/deployments/gpt%204"
VERTEX = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1"
GOOGLE = "https://generativelanguage.googleapis.com"
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"
LATEST = "api-version=2024-10-21"


def url(dialect: str, base: str, model: str = "m", *, stream: bool = False, asked: ChatRequest | None = None) -> str:
    request = asked or ChatRequest("", model, (Message("user", (TextPart("Hi"),)),), stream=stream)
    speaks = dialect_named(dialect)
    return speaks.url(base, speaks.asked_of(base, request))


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://api.deepseek.com", "https://api.deepseek.com/v1/chat/completions"),
        ("https://api.mistral.ai/v1", "https://api.mistral.ai/v1/chat/completions"),
        ("https://api.mistral.ai", "https://api.mistral.ai/v1/chat/completions"),
        ("https://api.fireworks.ai/inference/v1", "https://api.fireworks.ai/inference/v1/chat/completions"),
        ("https://models.github.ai/inference", "https://models.github.ai/inference/chat/completions"),
        (f"{GOOGLE}/v1beta/openai", f"{GOOGLE}/v1beta/openai/chat/completions"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1/chat/completions"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/chat/completions"),
        (f"{VERTEX}/endpoints/openapi", f"{VERTEX}/endpoints/openapi/chat/completions"),
        (AZURE, f"{AZURE}/openai/deployments/m/chat/completions?{LATEST}"),
        (f"{AZURE}/openai", f"{AZURE}/openai/deployments/m/chat/completions?{LATEST}"),
        (DEPLOYMENT, f"{DEPLOYMENT}/chat/completions?{LATEST}"),
        (f"{AZURE}/openai/v1", f"{AZURE}/openai/v1/chat/completions"),
        (
            "https://gate.example/openai/deployments/d",
            f"https://gate.example/openai/deployments/d/chat/completions?{LATEST}",
        ),
    ],
)
def test_openai_chat(base: str, expected: str) -> None:
    assert url("openai-chat", base) == expected


@pytest.mark.parametrize(
    ("dialect", "base", "expected"),
    [
        ("openai-responses", "https://api.openai.com/v1", "https://api.openai.com/v1/responses"),
        ("openai-responses", AZURE, f"{AZURE}/openai/v1/responses"),
        ("openai-responses", f"{AZURE}/openai", f"{AZURE}/openai/v1/responses"),
        ("openai-responses", f"{AZURE}/openai/v1/", f"{AZURE}/openai/v1/responses"),
        ("openai-completions", "https://api.openai.com/v1", "https://api.openai.com/v1/completions"),
        ("openai-completions", AZURE, f"{AZURE}/openai/deployments/m/completions?{LATEST}"),
        ("anthropic-messages", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("anthropic-messages", "https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("anthropic-messages", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("anthropic-messages", "https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1/messages"),
        (
            "anthropic-messages",
            f"{VERTEX}/publishers/anthropic",
            f"{VERTEX}/publishers/anthropic/models/m:rawPredict",
        ),
        (
            "anthropic-messages",
            f"{VERTEX}/publishers/anthropic/models",
            f"{VERTEX}/publishers/anthropic/models/m:rawPredict",
        ),
        ("gemini", GOOGLE, f"{GOOGLE}/v1beta/models/m:generateContent"),
        ("gemini", f"{GOOGLE}/v1beta", f"{GOOGLE}/v1beta/models/m:generateContent"),
        ("gemini", f"{GOOGLE}/v1", f"{GOOGLE}/v1/models/m:generateContent"),
        ("gemini", f"{GOOGLE}/v1beta/models", f"{GOOGLE}/v1beta/models/m:generateContent"),
        ("gemini", "https://gate.example/gemini", "https://gate.example/gemini/v1beta/models/m:generateContent"),
        ("gemini", f"{VERTEX}/publishers/google", f"{VERTEX}/publishers/google/models/m:generateContent"),
        ("ollama-chat", "http://localhost:11434", "http://localhost:11434/api/chat"),
        ("ollama-chat", "http://localhost:11434/api", "http://localhost:11434/api/chat"),
        ("ollama-chat", "https://ui.example/ollama", "https://ui.example/ollama/api/chat"),
        ("ollama-generate", "https://ollama.com", "https://ollama.com/api/generate"),
        ("cohere-chat", "https://api.cohere.com", "https://api.cohere.com/v2/chat"),
        ("cohere-chat", "https://api.cohere.com/v2", "https://api.cohere.com/v2/chat"),
        ("bedrock-converse", BEDROCK, f"{BEDROCK}/model/m/converse"),
        ("bedrock-invoke", BEDROCK, f"{BEDROCK}/model/m/invoke"),
    ],
)
def test_others(dialect: str, base: str, expected: str) -> None:
    assert url(dialect, base) == expected


@pytest.mark.parametrize(
    ("dialect", "base", "expected"),
    [
        ("gemini", GOOGLE, f"{GOOGLE}/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("bedrock-converse", BEDROCK, f"{BEDROCK}/model/m/converse-stream"),
        ("bedrock-invoke", BEDROCK, f"{BEDROCK}/model/m/invoke-with-response-stream"),
        (
            "anthropic-messages",
            f"{VERTEX}/publishers/anthropic",
            f"{VERTEX}/publishers/anthropic/models/m:streamRawPredict",
        ),
    ],
)
def test_streams_where_the_path_says_so(dialect: str, base: str, expected: str) -> None:
    assert url(dialect, base, stream=True) == expected


@pytest.mark.parametrize(
    ("dialect", "base", "model", "end"),
    [
        ("openai-chat", AZURE, "my gpt/4", "/openai/deployments/my%20gpt%2F4/chat/completions"),
        (
            "bedrock-converse",
            BEDROCK,
            "arn:aws:bedrock:us:1:x/y",
            "/model/arn%3Aaws%3Abedrock%3Aus%3A1%3Ax%2Fy/converse",
        ),
        ("gemini", GOOGLE, "tunedModels/a b", "/v1beta/tunedModels/a%20b:generateContent"),
        ("gemini", GOOGLE, "models/x", "/v1beta/models/x:generateContent"),
        ("gemini", GOOGLE, "a/../b", "/v1beta/models/a%2F..%2Fb:generateContent"),
    ],
)
def test_a_model_stays_within_its_place(dialect: str, base: str, model: str, end: str) -> None:
    assert url(dialect, base, model).partition("?")[0].endswith(end)


def test_what_the_app_called_does_not_matter() -> None:
    """Its host, its deployment, its project and its way of streaming are those of another service."""
    body = b'{"messages":[{"role":"user","content":"Hi"}],"model":"m","prompt":"Hi","max_tokens":9,'
    body += b'"contents":[{"parts":[{"text":"Hi"}]}]}'
    heads = {
        "openai-chat": RequestHead(
            "POST", "a.openai.azure.com", 443, "/openai/deployments/m/chat/completions", "api-version=1"
        ),
        "openai-completions": RequestHead("POST", "api.mistral.ai", 443, "/v1/fim/completions"),
        "anthropic-messages": RequestHead(
            "POST", "x", 443, "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict"
        ),
        "gemini": RequestHead("POST", "x", 443, "/v1/projects/p/locations/l/endpoints/m:streamGenerateContent"),
    }
    there = {
        "openai-chat": "https://s.example/v1/chat/completions",
        "openai-completions": "https://s.example/v1/completions",
        "anthropic-messages": "https://s.example/v1/messages",
        "gemini": "https://s.example/v1beta/models/m:streamGenerateContent?alt=sse",
    }
    for dialect, head in heads.items():
        asked = dialect_named(dialect).parse_request(body, head)
        assert url(dialect, "https://s.example", asked=asked) == there[dialect]
    fim = dialect_named("openai-completions").parse_request(body, heads["openai-completions"])
    assert url("openai-completions", "https://api.mistral.ai", asked=fim).endswith("/v1/fim/completions")


@pytest.mark.parametrize(
    ("dialect", "base", "expected"),
    [
        ("openai-chat", "https://api.openai.com/v1", {"authorization": "Bearer k"}),
        ("openai-chat", AZURE, {"api-key": "k"}),
        ("openai-responses", AZURE, {"api-key": "k"}),
        ("openai-completions", f"{AZURE}/openai/v1", {"api-key": "k"}),
        ("anthropic-messages", "https://api.anthropic.com", {"anthropic-version": "2023-06-01", "x-api-key": "k"}),
        ("anthropic-messages", f"{VERTEX}/publishers/anthropic", {"authorization": "Bearer k"}),
        ("gemini", GOOGLE, {"x-goog-api-key": "k"}),
        ("ollama-chat", "https://ollama.com", {"authorization": "Bearer k"}),
        ("cohere-chat", "https://api.cohere.com", {"authorization": "Bearer k"}),
        ("bedrock-converse", BEDROCK, {"authorization": "Bearer k"}),
        ("bedrock-invoke", BEDROCK, {"authorization": "Bearer k"}),
    ],
)
def test_a_key_is_shown_where_its_vendor_looks(dialect: str, base: str, expected: dict[str, str]) -> None:
    speaks = dialect_named(dialect)
    assert speaks.call_headers("k", base) == expected
    assert "k" not in speaks.call_headers(None, base).values()
