"""The lines that the proxy prints for apps that take a base URL lead each vendor's SDK to it, and nothing else is
needed.

Each SDK runs in a process of its own: some read their environment when they are imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import Final

import openai
import pytest

from tests.e2e.clients import Link, openai_client
from tests.e2e.proxy import Proxy

LISTING: Final = {
    "openai": """
import openai
with openai.OpenAI(api_key="sk-test", max_retries=0) as client:
    models = [model.id for model in client.models.list()]
""",
    "anthropic": """
import anthropic
with anthropic.Anthropic(api_key="sk-test", max_retries=0) as client:
    models = [model.id for model in client.models.list()]
""",
    "gemini": """
from google import genai
with genai.Client(api_key="AIza-test", vertexai=False) as client:
    models = [model.name.removeprefix("models/") for model in client.models.list()]
""",
    "cohere": """
import cohere
with cohere.ClientV2("co-test") as client:
    models = [model.name for model in client.models.list(page_size=1000).models]
""",
    "ollama": """
import ollama
models = [model.model.removesuffix(":latest") for model in ollama.list().models]
""",
}
"""How each SDK lists its models; no address is named."""


def environment(proxy: Proxy) -> dict[str, str]:
    """What the proxy prints for such apps, and nothing of a proxy."""
    told = dict(re.findall(r"^    export (\w+)=(http\S+)$", proxy.log, re.MULTILINE))
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {**kept, **{name: value for name, value in told.items() if not name.endswith("_PROXY")}}


def models(proxy: Proxy, code: str) -> list[str]:
    """The models that an SDK lists in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json\nprint(json.dumps(models))"],
        env=environment(proxy),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("sdk", LISTING)
async def test_an_sdk_finds_the_meeting_point_by_its_environment(at_meeting: Link, session: str, sdk: str) -> None:
    async with openai_client(at_meeting) as client:
        held = asyncio.create_task(
            client.chat.completions.create(model=session, messages=[{"role": "user", "content": "/join"}])
        )
        await at_meeting.proxy.until_listening(session)
        assert session in await asyncio.to_thread(models, at_meeting.proxy, LISTING[sdk])
        await at_meeting.proxy.close_session(session)
        with pytest.raises(openai.APIStatusError, match="ended by the operator"):
            await held


def test_the_aws_sdk_finds_the_meeting_point_by_its_environment(at_meeting: Link) -> None:
    """Its list of models is that of another service, so only the address is looked at."""
    code = """
import boto3
keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret"}
models = [boto3.client("bedrock-runtime", region_name="us-east-1", **keys).meta.endpoint_url]
"""
    assert models(at_meeting.proxy, code) == [at_meeting.proxy.meeting]
