"""An app whose model is a mock: through a real proxy, by the vendors' own SDKs, in every dialect, streamed and not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import validate

from tests.e2e.clients import Link, http_client, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.voices import HOST_VOICES, VOICES, ToolSpec, Voice

CONFIG: Final[dict[str, Any]] = {
    "sources": {
        "player": {
            "kind": "mock",
            "rules": [
                {
                    "when": {"model": "s-*", "message": r"\AHow is (?P<city>\w+)\?", "tool": "weather"},
                    "tool_calls": [{"name": "weather", "arguments": {"city": "{city}", "days": 2}}],
                },
                {"when": {"message": r"\AWhy"}, "reasoning": "Let me see: {message}", "text": "Because."},
                {"when": {"message": r"\AAny tool"}, "call": "auto"},
                {"when": {"message": r"\AIn turn"}, "texts": ["One.", "Two."]},
            ],
        },
        "slow": {
            "kind": "mock",
            "text": "One two three four five six seven eight.",
            "pace": {"first_token_ms": 300, "tokens_per_s": 20, "jitter": 0.2},
        },
        "endless": {"kind": "mock", "text": "One two three.", "pace": {"tokens_per_s": 0.001}},
    },
    "routes": [
        {"match": {"model": "slow-*"}, "answer": "slow"},
        {"match": {"model": "endless-*"}, "answer": "endless"},
        {"match": {"model": "parrot"}, "answer": "player"},
        {"answer": "player"},
    ],
}
WEATHER: Final = ToolSpec(
    "weather",
    "Looks out.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
)
REPLY: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}, "sky": {"enum": ["blue", "grey"]}},
    "required": ["city", "degrees", "sky"],
    "additionalProperties": False,
}
CODE: Final = (
    'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t"\n```\n  {"a": [1, 2]}\ndata: [DONE]\n\nevent: ping\n'
)


@pytest.fixture(scope="module")
def mocking(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any], shared_standin: Standin
) -> Iterator[Proxy]:
    """A proxy all of whose calls a mock answers."""
    with Proxy(tmp_path_factory.mktemp("mocking"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


@pytest.fixture(params=["at the meeting point", "behind the proxy"])
def link(request: pytest.FixtureRequest, mocking: Proxy, proxy_authority: Path) -> Link:
    return Link(mocking, proxy_authority if request.param == "behind the proxy" else None)


@asynccontextmanager
async def speaking(link: Link, kind: type[Voice], model: str, *, streamed: bool) -> AsyncIterator[Voice]:
    voice = kind(link, model, streamed=streamed)
    try:
        yield voice
    finally:
        await voice.close()


each_voice = pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.dialect)
each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@each_way
@each_voice
async def test_a_conversation(link: Link, session: str, kind: type[Voice], streamed: bool) -> None:
    async with speaking(link, kind, session, streamed=streamed) as voice:
        for text in ("You see a troll.", CODE):
            voice.add_user(text)
            heard = await voice.send()
            assert heard.text == text
            assert heard.finish == voice.finishes[0] and heard.model in ("", session)
            assert heard.output_tokens in (None, -(-len(text) // 4))
            assert heard.input_tokens is None or heard.input_tokens > 0


@each_way
@pytest.mark.parametrize("kind", HOST_VOICES, ids=lambda kind: kind.__name__)
async def test_hosts_of_the_same_dialect(mocking: Proxy, session: str, kind: type[Voice], streamed: bool) -> None:
    async with speaking(Link(mocking), kind, session, streamed=streamed) as voice:
        voice.add_user("Hello.")
        assert (await voice.send()).text == "Hello."


@each_way
@each_voice
async def test_reasoning(mocking: Proxy, session: str, kind: type[Voice], streamed: bool) -> None:
    async with speaking(Link(mocking), kind, session, streamed=streamed) as voice:
        voice.add_user("Why?")
        heard = await voice.send()
        if voice.can.reasoning == "native":
            assert (heard.reasoning, heard.text) == ("Let me see: Why?", "Because.")
        else:
            assert heard.text == "Let me see: Why?\n\nBecause."


@each_way
@pytest.mark.parametrize("kind", [kind for kind in VOICES if kind.can.tools == "native"], ids=lambda kind: kind.dialect)
class TestTools:
    async def test_a_call_and_words_upon_its_result(
        self, mocking: Proxy, session: str, kind: type[Voice], streamed: bool
    ) -> None:
        async with speaking(Link(mocking), kind, session, streamed=streamed) as voice:
            voice.offer([WEATHER])
            voice.add_user("How is Rome?")
            heard = await voice.send()
            (call,) = heard.calls
            assert (call.name, call.value) == ("weather", {"city": "Rome", "days": 2})
            assert (heard.text, heard.finish) == ("", voice.finishes[1])
            voice.add_results([(call, "It is sunny.")])
            answered = await voice.send()
            assert (answered.calls, answered.finish) == ([], voice.finishes[0])
            assert "It is sunny." in answered.text

    async def test_any_tool(self, mocking: Proxy, session: str, kind: type[Voice], streamed: bool) -> None:
        async with speaking(Link(mocking), kind, session, streamed=streamed) as voice:
            voice.offer([WEATHER])
            voice.add_user("Any tool?")
            (call,) = (await voice.send()).calls
            validate(call.value, WEATHER.schema)


@each_way
@pytest.mark.parametrize(
    "kind", [kind for kind in VOICES if kind.can.json_schema == "native"], ids=lambda kind: kind.dialect
)
async def test_json_of_the_schema_that_the_app_demands(
    mocking: Proxy, session: str, kind: type[Voice], streamed: bool
) -> None:
    async with speaking(Link(mocking), kind, session, streamed=streamed) as voice:
        voice.demand(REPLY)
        voice.add_user("How is it outside?")
        validate(json.loads((await voice.send()).text), REPLY)


@each_voice
async def test_words_come_at_their_pace(mocking: Proxy, session: str, kind: type[Voice]) -> None:
    for streamed in (True, False):
        async with speaking(Link(mocking), kind, f"slow-{session}", streamed=streamed) as voice:
            voice.add_user("Hello.")
            began = time.monotonic()
            assert (await voice.send()).text == "One two three four five six seven eight."
            # 300 ms, and 37 characters after the first word at 80 a second; all of them by 20 % less at the least.
            assert time.monotonic() - began >= 0.8 * (0.3 + 37 / 80) - 0.01


async def test_the_first_word_comes_before_the_second_is_due(mocking: Proxy, session: str) -> None:
    before = mocking.log.count("outcome=undelivered")
    async with openai_client(Link(mocking)) as client:
        chunks = await client.chat.completions.create(
            model=f"endless-{session}", messages=[{"role": "user", "content": "x"}], stream=True
        )
        said = [chunk.choices[0].delta.content for chunk in [await anext(chunks), await anext(chunks)]]
        assert said == ["", "One"]
        await chunks.close()
    # The client has left, and nothing is said to nobody.
    await asyncio.to_thread(mocking.wait_for_log, "outcome=undelivered", before + 1)


async def test_what_is_answered_is_listed(mocking: Proxy) -> None:
    async with openai_client(Link(mocking)) as client:
        assert [model.id async for model in client.models.list()] == ["parrot", "player"]


async def test_choices(mocking: Proxy, session: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "In turn"}]
    async with openai_client(Link(mocking)) as client:
        reply = await client.chat.completions.create(model=session, messages=messages, n=2)
        streamed = await client.chat.completions.create(model=session, messages=messages, n=2, stream=True)
        said = ["", ""]
        async for chunk in streamed:
            for choice in chunk.choices:
                said[choice.index] += choice.delta.content or ""
    assert {choice.message.content for choice in reply.choices} == set(said) == {"One.", "Two."}


@each_voice
async def test_fifty_calls_at_once(mocking: Proxy, session: str, kind: type[Voice]) -> None:
    async def call(number: int) -> None:
        slow = number % 5 == 0
        model = f"slow-{session}" if slow else session
        async with speaking(Link(mocking), kind, model, streamed=bool(number % 2)) as voice:
            voice.add_user(f"I am {number}.")
            text = (await voice.send()).text
            assert text == ("One two three four five six seven eight." if slow else f"I am {number}.")

    await asyncio.gather(*map(call, range(50)))


async def test_a_configuration_of_nothing_else(confdir: Path, tmp_path: Path) -> None:
    config = {"proxy": {"port": 0}, "routes": [{"answer": "mock"}]}
    with Proxy(tmp_path / "proxy", confdir, config=config) as proxy:
        async with http_client(Link(proxy)) as client:
            for text in ("Hello.", "ping", "/join", "/help"):
                body = {"model": "anything", "messages": [{"role": "user", "content": text}]}
                reply = await client.post("/v1/chat/completions", json=body)
                assert reply.json()["choices"][0]["message"]["content"] == text
                assert reply.headers["x-motive-usage"] == "estimated"
            models = await client.get("/v1/models")
            assert [one["id"] for one in models.json()["data"]] == ["mock"]
