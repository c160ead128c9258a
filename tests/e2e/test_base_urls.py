"""The lines that the proxy prints for apps that take a base URL lead each vendor's SDK to it, and nothing else is
needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import anthropic
import boto3
import cohere
import ollama
import openai
import pytest
from google import genai

from tests.e2e.clients import Link, openai_client
from tests.e2e.proxy import Proxy


def exports(proxy: Proxy) -> dict[str, str]:
    """The environment that the proxy prints for such apps."""
    return dict(re.findall(r"^    export (\w+)=(http\S+)$", proxy.log, re.MULTILINE))


def _openai() -> list[str]:
    with openai.OpenAI(api_key="sk-test", max_retries=0) as client:
        return [model.id for model in client.models.list()]


def _anthropic() -> list[str]:
    with anthropic.Anthropic(api_key="sk-test", max_retries=0) as client:
        return [model.id for model in client.models.list()]


def _gemini() -> list[str]:
    with genai.Client(api_key="AIza-test", vertexai=False) as client:
        return [(model.name or "").removeprefix("models/") for model in client.models.list()]


def _cohere() -> list[str]:
    with cohere.ClientV2("co-test") as client:
        return [model.name or "" for model in client.models.list(page_size=1000).models]


def _ollama() -> list[str]:
    with ollama.Client() as client:
        return [(model.model or "").removesuffix(":latest") for model in client.list().models]


def _bedrock() -> list[str]:
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="AKIATEST", aws_secret_access_key="secret"
    )
    url: str = client.meta.endpoint_url
    return [url]


@pytest.mark.parametrize("listed", [_openai, _anthropic, _gemini, _cohere, _ollama], ids=lambda one: one.__name__[1:])
async def test_an_sdk_finds_the_meeting_point_by_its_environment(
    at_meeting: Link, session: str, monkeypatch: pytest.MonkeyPatch, listed: Callable[[], list[str]]
) -> None:
    for name, value in exports(at_meeting.proxy).items():
        monkeypatch.setenv(name, value)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with openai_client(at_meeting) as client:
        held = asyncio.create_task(
            client.chat.completions.create(model=session, messages=[{"role": "user", "content": "/join"}])
        )
        await at_meeting.proxy.until_listening(session)
        assert session in await asyncio.to_thread(listed)
        await at_meeting.proxy.close_session(session)
        with pytest.raises(openai.APIStatusError, match="ended by the operator"):
            await held


def test_the_aws_sdk_finds_the_meeting_point_by_its_environment(
    at_meeting: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in exports(at_meeting.proxy).items():
        monkeypatch.setenv(name, value)
    assert _bedrock() == [at_meeting.proxy.meeting]
