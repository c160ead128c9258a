"""What the tests of ``critique`` share: models at local servers of their own, and a proxy that knows them.

``service`` is the real service of apps behind the forward proxy, and the primary model's at the meeting point;
``critics`` is another server, where all critics are. A model says what the test has scripted, or its own name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.e2e.proxy import Proxy
from tests.e2e.standin import Received, Standin, Writer, anthropic_reply, openai_chunks, openai_reply, stream, whole

ARGUMENTS: Final = '{"city": "Köln"}'
USAGE: Final = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def model(says: Callable[[Any], str | dict[str, Any]]) -> Callable[[Received, Writer], None]:
    """A model of OpenAI's dialect, or of Anthropic's by its path. ``says`` is given the body, and gives text, or the
    message of a reply that calls a tool."""

    def handler(request: Received, writer: Writer) -> None:
        asked = request.json()
        said = says(asked)
        if request.target.endswith("/messages"):
            assert isinstance(said, str)
            speak_anthropic(asked, said, writer)
        elif isinstance(said, str):
            speak(asked, said, writer)
        else:
            call(asked, said, writer)

    return handler


def speak(asked: Any, text: str, writer: Writer) -> None:
    """A text, a letter a chunk where it streams, with usage."""
    if not asked.get("stream"):
        whole(writer, {**openai_reply(text, asked["model"]), "usage": USAGE})
        return
    *chunks, done = openai_chunks(text, asked["model"])
    told = {"id": "chatcmpl-real", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
    usage = b"data: " + json.dumps({**told, "choices": [], "usage": USAGE}).encode() + b"\n\n"
    wanted = asked.get("stream_options", {}).get("include_usage")
    stream(writer, [*chunks, *([usage] if wanted else []), done])


def speak_anthropic(asked: Any, text: str, writer: Writer) -> None:
    """The same by Anthropic's dialect; nobody asks for a stream of it here."""
    assert not asked.get("stream")
    usage = {"input_tokens": USAGE["prompt_tokens"], "output_tokens": USAGE["completion_tokens"]}
    whole(writer, {**anthropic_reply(text, asked["model"]), "usage": usage})


def call(asked: Any, message: dict[str, Any], writer: Writer) -> None:
    """A message with tool calls."""
    reply = openai_reply("", asked["model"])
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "tool_calls"}
    if not asked.get("stream"):
        whole(writer, {**reply, "usage": USAGE, "choices": [{**choice, "message": {**message, "role": "assistant"}}]})
        return
    told = {"id": "chatcmpl-real", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
    calls = [{**one, "index": number} for number, one in enumerate(message["tool_calls"])]
    chunk = {**told, "choices": [{**choice, "delta": {**message, "role": "assistant", "tool_calls": calls}}]}
    stream(writer, [b"data: " + json.dumps(chunk).encode() + b"\n\n", b"data: [DONE]\n\n"])


def weather_call() -> dict[str, Any]:
    """A message that says something and calls a tool."""
    function = {"name": "weather", "arguments": ARGUMENTS}
    return {"content": "One moment.", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}


def config(service: str, critics: str) -> dict[str, Any]:
    """By the model that is asked for, a critique of each kind. ``service`` and ``critics`` are base URLs."""
    critic = {"base_url": f"{critics}/v1", "key": "sk-critic", "timeout_s": 20}
    at = {"kind": "critique", "base_url": f"{service}/v1", "key": "sk-primary", "primary_model": "first"}

    def steps(*given: dict[str, Any]) -> dict[str, Any]:
        return {**at, "steps": [{**critic, **step} for step in given]}

    claude = {"model": "claude", "dialect": "anthropic-messages", "base_url": critics, "mode": "feedback"}
    kinds = {
        "refine": steps({"model": "second", "system_prompt": "Judge it."}),
        "feedback": steps({"model": "second", "mode": "feedback"}),
        "hasty": steps({"model": "second", "timeout_s": 0.5}),
        "three": steps({"model": "second"}, claude, {"model": "third"}),
        "plain": at,
        # Behind the forward proxy the primary is the app's own, and so is a critic without a base URL.
        "aside": {"kind": "critique", "steps": [{**critic, "model": "second"}]},
        "own": {"kind": "critique", "critique_model": "second"},
    }
    return {
        "sources": kinds,
        "routes": [
            {"match": {"model": "brief-*"}, "answer": "refine", "hold_timeout_s": 2.0},
            *({"match": {"model": f"{name}-*"}, "answer": name} for name in kinds),
        ],
    }


def base(standin: Standin) -> str:
    """Where a stand-in speaks plain HTTP."""
    return f"http://127.0.0.1:{standin.env['STANDIN_PLAIN_PORT']}"


@pytest.fixture(scope="session")
def critics_standin(authority: trustme.CA) -> Iterator[Standin]:
    """The server of the critics."""
    with Standin(authority) as standin:
        yield standin


@pytest.fixture
def critics(critics_standin: Standin) -> Standin:
    """The same, with nothing kept: every model says its own name."""
    critics_standin.reset()
    critics_standin.handler = model(lambda asked: f"{asked['model']} says")
    return critics_standin


@pytest.fixture(scope="session")
def critique_proxy(
    tmp_path_factory: pytest.TempPathFactory,
    confdir: Path,
    upstream: dict[str, Any],
    shared_standin: Standin,
    critics_standin: Standin,
) -> Iterator[Proxy]:
    """A proxy with every kind of critique."""
    settings = config(base(shared_standin), base(critics_standin))
    with Proxy(tmp_path_factory.mktemp("critique"), confdir, config=settings, **upstream) as proxy:
        yield proxy
