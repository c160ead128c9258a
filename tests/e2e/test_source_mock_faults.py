"""What an app meets when a mock makes things go wrong: seen through a real proxy by the vendors' own SDKs.

A model's name tells what goes wrong with it. Each has a source of its own; one that counts calls is for one test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anthropic
import botocore.exceptions
import httpx
import httpx2
import openai
import pytest

from tests.e2e.clients import Link, anthropic_client, http_client, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.voices import VOICES, Voice
from tests.e2e.voices.bedrock import BedrockConverseVoice
from tests.e2e.wire import chat

TEXT: Final = "One two three four five six seven eight."
SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
HELLO: Final[list[Any]] = [{"role": "user", "content": "hello"}]
PATIENCE_S: Final = 1.0
BROKEN_OFF: Final[tuple[type[Exception], ...]] = (
    *(openai.APIConnectionError, anthropic.APIConnectionError),
    *(httpx.RemoteProtocolError, httpx.ReadError, httpx2.RemoteProtocolError, httpx2.ReadError),
)
"""What the SDKs raise where a reply breaks off: their own, or that of the HTTP client which they use."""

FAULTS: Final[dict[str, dict[str, Any]]] = {
    "cut": {"kind": "cut"},
    "toolcut": {"kind": "cut", "within": "tool_call"},
    "malformed": {"kind": "malformed"},
    "reset": {"kind": "reset"},
    "midreset": {"kind": "reset", "after_events": 3},
    "stall": {"kind": "stall"},
    "midstall": {"kind": "stall", "after_events": 3},
    "pause": {"kind": "stall", "duration_s": 0.2},
    "busy-1": {"status": 429, "retry_after_s": 0.3, "nth": 1},
    "busy-2": {"status": 429, "retry_after_s": 0.3, "nth": 1},
    "busy-ten": {"status": 429, "retry_after_s": 0.3, "nth": list(range(1, 11))},
    "twice": {"status": 529, "retry_after_s": 0.01, "nth": [1, 2]},
    "reset-1": {"kind": "reset", "nth": 1},
    "reset-ten": {"kind": "reset", "nth": list(range(1, 11))},
    "cut-1": {"kind": "cut", "nth": 1},
    "overloaded": {"status": 529},
    "down": {"status": 503},
    "broken": {"status": 500},
    "late": {"kind": "delay", "duration_s": 4},
    "midoverload": {"status": 529, "after_events": 2},
}
CONFIG: Final[dict[str, Any]] = {
    "timing": {"heartbeat_after_s": 0.2, "heartbeat_every_s": 0.2},
    "sources": {
        name: {
            "kind": "mock",
            "text": TEXT,
            "faults": [fault],
            "rules": [
                {"when": {"tool": "weather"}, "tool_calls": [{"name": "weather", "arguments": {"city": "Rome"}}]}
            ],
        }
        for name, fault in FAULTS.items()
    },
    "routes": [{"match": {"model": name}, "answer": name} for name in FAULTS],
}


@pytest.fixture(scope="module")
def failing_proxy(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any], shared_standin: Standin
) -> Iterator[Proxy]:
    """A proxy whose mocks make faults."""
    with Proxy(tmp_path_factory.mktemp("failing"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


@pytest.fixture
def failing(failing_proxy: Proxy) -> Iterator[Proxy]:
    """The same; a fault leaves no traceback."""
    before = len(failing_proxy.log)
    yield failing_proxy
    assert "Traceback" not in failing_proxy.log[before:], failing_proxy.log[before:]


async def error_of(voice: Voice) -> Exception:
    voice.add_user("Hello.")
    try:
        with pytest.raises(Exception) as caught:
            await voice.send()
    finally:
        await voice.close()
    return caught.value


each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@each_way
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.dialect)
@pytest.mark.parametrize(
    "fault", ["cut", "malformed", "reset", "midreset", "stall", "midstall", "broken", "midoverload"]
)
async def test_every_sdk_sees_it(failing: Proxy, kind: type[Voice], fault: str, streamed: bool) -> None:
    voice = kind(Link(failing), fault, streamed=streamed, patience_s=PATIENCE_S if "stall" in fault else 20.0)
    if fault == "malformed" and kind.dialect == "cohere-chat" and streamed:
        # Its SDK leaves out what it cannot read.
        voice.add_user("Hello.")
        assert (await voice.send()).text == TEXT
        await voice.close()
        return
    began = time.monotonic()
    error = await error_of(voice)
    if "stall" in fault:
        assert "time" in f"{type(error).__name__} {error!r} {error.__cause__!r} {error.__context__!r}".lower()
        assert time.monotonic() - began < 25 * PATIENCE_S  # signs of life would have kept it
    else:
        assert time.monotonic() - began < 20


class TestCut:
    @each_way
    async def test_openai_in_the_middle_of_a_tool_call(self, failing: Proxy, streamed: bool) -> None:
        tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
        said = ""
        async with openai_client(Link(failing)) as client:
            with pytest.raises(BROKEN_OFF):
                reply: Any = await client.chat.completions.create(
                    model="toolcut", messages=HELLO, tools=[tool], stream=streamed
                )
                async for chunk in reply:
                    for call in chunk.choices[0].delta.tool_calls or ():
                        said += (call.function and call.function.arguments) or ""
        assert said == ('{"city":' if streamed else "")  # of {"city": "Rome"}

    @each_way
    async def test_anthropic_in_the_middle_of_a_tool_call(self, failing: Proxy, streamed: bool) -> None:
        tool: Any = {"name": "weather", "input_schema": SCHEMA}
        call: dict[str, Any] = {"model": "toolcut", "messages": HELLO, "tools": [tool], "max_tokens": 99}
        kinds: list[str] = []
        async with anthropic_client(Link(failing)) as client:
            with pytest.raises(BROKEN_OFF):
                if not streamed:
                    await client.messages.create(**call)
                async with client.messages.stream(**call) as events:
                    kinds += [event.type async for event in events]
        assert "message_stop" not in kinds

    async def test_behind_the_forward_proxy(self, failing: Proxy, proxy_authority: Path) -> None:
        async with openai_client(Link(failing, proxy_authority)) as client:
            with pytest.raises(BROKEN_OFF):
                async for _ in await client.chat.completions.create(model="cut", messages=HELLO, stream=True):
                    pass

    async def test_on_http2_other_calls_go_on(self, failing: Proxy, proxy_authority: Path) -> None:
        async with openai_client(Link(failing, proxy_authority, http2=True)) as client:

            async def call(model: str) -> str:
                said = ""
                async for chunk in await client.chat.completions.create(model=model, messages=HELLO, stream=True):
                    said += chunk.choices[0].delta.content or ""
                return said

            models = ["late", "cut", "reset", "midreset", "late", "cut"]
            said = await asyncio.gather(*map(call, models), return_exceptions=True)
        for model, one in zip(models, said, strict=True):
            if model == "late":
                assert one == TEXT
            else:
                assert isinstance(one, BROKEN_OFF), (model, one)

    async def test_a_retry_after_it_gets_all(self, failing: Proxy) -> None:
        """A whole reply: no SDK tries again what it has begun to show."""
        async with openai_client(Link(failing), max_retries=1) as client:
            reply = await client.chat.completions.create(model="cut-1", messages=HELLO)
        assert reply.choices[0].message.content == TEXT


class TestReset:
    @pytest.mark.parametrize("model", ["reset", "midreset"])
    async def test_it_is_one(self, failing: Proxy, model: str) -> None:
        """On the socket, where it can be told from an end."""
        reader, writer = await asyncio.open_connection(*failing.meeting_address)
        body = chat(model, "hello", stream=True)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        said = b""
        with pytest.raises(ConnectionResetError):
            while data := await asyncio.wait_for(reader.read(65536), 10):
                said += data
        writer.close()
        assert (b"three" in said) is (model == "midreset") and b"four" not in said

    async def test_openai_sees_a_connection_error(self, failing: Proxy) -> None:
        async with openai_client(Link(failing)) as client:
            with pytest.raises(openai.APIConnectionError) as caught:
                await client.chat.completions.create(model="reset", messages=HELLO)
        assert type(caught.value.__cause__).__name__ == "ReadError"  # of whichever httpx the SDK brings along

    async def test_boto3_sees_one_too(self, failing: Proxy) -> None:
        error = await error_of(BedrockConverseVoice(Link(failing), "reset", streamed=False))
        assert isinstance(error, botocore.exceptions.ConnectionClosedError), error

    async def test_a_retry_succeeds(self, failing: Proxy) -> None:
        async with openai_client(Link(failing), max_retries=1) as client:
            reply = await client.chat.completions.create(model="reset-1", messages=HELLO)
        assert reply.choices[0].message.content == TEXT


class TestStall:
    @each_way
    @pytest.mark.parametrize("model", ["stall", "midstall"])
    async def test_it_is_the_clients_own_time_out(self, failing: Proxy, model: str, streamed: bool) -> None:
        async with openai_client(Link(failing), timeout=PATIENCE_S) as client:
            began = time.monotonic()
            with pytest.raises((openai.APITimeoutError, httpx.ReadTimeout, httpx2.ReadTimeout)):
                reply: Any = await client.chat.completions.create(model=model, messages=HELLO, stream=streamed)
                async for _ in reply:
                    pass
            assert time.monotonic() - began < 15

    async def test_nothing_at_all_is_said(self, failing: Proxy) -> None:
        async with http_client(Link(failing), timeout=httpx.Timeout(10, read=PATIENCE_S)) as client:
            said: list[bytes] = []
            with pytest.raises(httpx.ReadTimeout):
                async with client.stream(
                    "POST", "/v1/chat/completions", json={"model": "midstall", "messages": HELLO, "stream": True}
                ) as reply:
                    async for data in reply.aiter_raw():
                        said.append(data)  # noqa: PERF401 - what came before the time-out
        lines = b"".join(said).splitlines()
        assert b"three" in lines[-2] and not any(line.startswith(b":") for line in lines)

    async def test_one_that_ends(self, failing: Proxy) -> None:
        async with openai_client(Link(failing)) as client:
            reply = await client.chat.completions.create(model="pause", messages=HELLO)
        assert reply.choices[0].message.content == TEXT


class TestErrors:
    async def test_openai_waits_as_it_is_told_and_succeeds(self, failing: Proxy) -> None:
        async with openai_client(Link(failing), max_retries=1) as client:
            began = time.monotonic()
            reply = await client.chat.completions.with_raw_response.create(model="busy-1", messages=HELLO)
        assert time.monotonic() - began >= 0.3
        assert reply.retries_taken == 1 and reply.parse().choices[0].message.content == TEXT

    async def test_anthropic_too(self, failing: Proxy) -> None:
        async with anthropic_client(Link(failing), max_retries=2) as client:
            reply = await client.messages.with_raw_response.create(model="twice", messages=HELLO, max_tokens=99)
        assert reply.retries_taken == 2

    async def test_without_a_retry_it_is_a_rate_limit(self, failing: Proxy) -> None:
        async with openai_client(Link(failing)) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="busy-2", messages=HELLO)
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.response.headers["retry-after-ms"] == "300"
        assert caught.value.code == "mock_fault"

    async def test_others(self, failing: Proxy) -> None:
        async with openai_client(Link(failing)) as client:
            with pytest.raises(openai.InternalServerError) as unavailable:
                await client.chat.completions.create(model="down", messages=HELLO)
        async with anthropic_client(Link(failing)) as other:
            with pytest.raises(anthropic.APIStatusError) as overloaded:
                await other.messages.create(model="overloaded", messages=HELLO, max_tokens=9)
        assert (unavailable.value.status_code, overloaded.value.status_code) == (503, 529)
        assert overloaded.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]

    async def test_in_the_middle_of_a_stream(self, failing: Proxy) -> None:
        said = ""
        async with anthropic_client(Link(failing)) as client:
            with pytest.raises(anthropic.APIStatusError) as caught:
                async with client.messages.stream(model="midoverload", messages=HELLO, max_tokens=99) as events:
                    async for text in events.text_stream:
                        said += text
        assert said == "One two" and "overloaded" in str(caught.value.body)


async def test_a_delay_shows_signs_of_life(failing: Proxy) -> None:
    async with openai_client(Link(failing), timeout=2.5) as client:
        said = ""
        async for chunk in await client.chat.completions.create(model="late", messages=HELLO, stream=True):
            said += chunk.choices[0].delta.content or ""
    assert said == TEXT


async def test_fifty_calls_at_once_each_meet_their_own(failing: Proxy) -> None:
    async with openai_client(Link(failing), max_retries=9) as client:

        async def call(number: int) -> str:
            model = ("cut", "midreset", "midoverload", "reset-ten", "busy-ten")[number % 5]
            try:
                chunks = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
            except BROKEN_OFF:
                return "broken off"
            except openai.APIError as error:
                return str(error.code)

        said = await asyncio.gather(*map(call, range(50)))
    assert said[0::5] == said[1::5] == ["broken off"] * 10 and said[2::5] == ["mock_fault"] * 10
    # What comes before a reply, the SDK mends: it tries again, and no more than ten calls fail.
    assert said[3::5] == said[4::5] == [TEXT] * 10
