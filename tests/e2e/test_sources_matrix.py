"""Every source answers every dialect, streamed and not, through the vendors' SDKs: for ``model``, whichever dialect the
service behind it speaks.

The rows are in ``source_rows``. Beside what is said: errors, cut streams, many calls at once, and that the first word
is heard before the second is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Final

import httpx
import openai
import pytest
import trustme

from motive_core.dialects import DIALECTS, Dialect
from motive_core.ir import ChatRequest, Message, TextPart
from motive_core.stream import Failed, PartDelta
from tests.e2e.clients import Link, openai_client
from tests.e2e.model_service import BUSY, CODE, THOUGHT, VALUE, cuts, hesitates, refuses, speaks, understood
from tests.e2e.proxy import Proxy
from tests.e2e.source_rows import ROWS, Row, config
from tests.e2e.standin import Gate, Received, Standin, Writer
from tests.e2e.test_matrix import NOW, WEATHER
from tests.e2e.voices import VOICES, Voice
from tests.e2e.voices.openai_chat import OpenAIChatVoice

AT_ONCE: Final = 50
ASKING: Final = [row for row in ROWS if row.asks]

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_asking = pytest.mark.parametrize("row", ASKING, ids=lambda row: row.name)
each_voice = pytest.mark.parametrize("app", VOICES, ids=lambda voice: voice.dialect)
whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])

some_pairs = pytest.mark.parametrize(
    ("row", "app"),
    [(row, app) for (x, row), (y, app) in product(enumerate(ASKING), enumerate(VOICES)) if (x + y) % 4 == 0],
    ids=lambda value: getattr(value, "name", getattr(value, "dialect", None)),
)
"""Each row, and each voice, with a few of the others."""


@pytest.fixture(scope="module")
def model_behind(authority: trustme.CA) -> Iterator[Standin]:
    """The model that sources ask."""
    with Standin(authority) as standin:
        standin.handler = speaks
        yield standin


@pytest.fixture(scope="module")
def sources_proxy(tmp_path_factory: pytest.TempPathFactory, confdir: Path, model_behind: Standin) -> Iterator[Proxy]:
    """A proxy with all sources."""
    url = f"http://127.0.0.1:{model_behind.env['STANDIN_PLAIN_PORT']}"
    with Proxy(tmp_path_factory.mktemp("sources"), confdir, config=config(url)) as proxy:
        yield proxy


@pytest.fixture
def model(model_behind: Standin) -> Iterator[Standin]:
    """The model, with no request kept and its usual script in force."""
    model_behind.requests.clear()
    model_behind.handler = speaks
    yield model_behind
    model_behind.handler = speaks


@pytest.fixture
def at_sources(sources_proxy: Proxy, model: Standin) -> Link:
    """The way to the meeting point."""
    return Link(sources_proxy)


@pytest.fixture
def through_sources(sources_proxy: Proxy, model: Standin, proxy_authority: Path) -> Link:
    """The way through the forward proxy."""
    return Link(sources_proxy, proxy_authority)


@asynccontextmanager
async def speaking(link: Link, row: Row, app: type[Voice], *, streamed: bool) -> AsyncIterator[Voice]:
    voice = app(link, f"{row.name}--x", streamed=streamed)
    try:
        yield voice
    finally:
        await voice.close()


async def converse(voice: Voice, row: Row) -> None:
    """Words, code, thoughts and tools, in one conversation, each as far as both sides have them."""
    for token in ("one", "two"):
        question = f"Who goes there? #{token}"
        voice.add_user(question)
        heard = await voice.send()
        assert heard.text == (f"You said {token}, my friend." if row.asks else question)
        assert heard.finish == voice.finishes[0]
        assert heard.model in ("", voice.model)
        assert not heard.calls
        for count in (heard.input_tokens, heard.output_tokens):
            assert count is None or count > 0
    if not row.asks:
        voice.add_user(CODE)
        assert (await voice.send()).text == CODE
        return
    voice.add_user("Show me code. #code")
    assert (await voice.send()).text == CODE
    if row.reasoning:
        voice.add_user("And why? #think")
        heard = await voice.send()
        if voice.can.reasoning == "native":
            assert (heard.reasoning, heard.text) == (THOUGHT, "You said think, my friend.")
        else:
            assert heard.text == f"{THOUGHT}\n\nYou said think, my friend."
    if row.calls and voice.can.tools == "native":
        await call_tools(voice)


async def call_tools(voice: Voice) -> None:
    voice.offer([WEATHER, NOW])
    voice.add_user("How is it outside? #tools")
    heard = await voice.send()
    assert heard.text == "One moment."
    assert heard.finish == voice.finishes[1]
    assert [(call.name, call.value) for call in heard.calls] == [("weather", VALUE), ("now", {})]
    if voice.can.call_ids:
        assert len({call.call_id for call in heard.calls}) == 2
    voice.add_results([(heard.calls[0], "rain\n\tand wind"), (heard.calls[1], "noon")])
    heard = await voice.send()
    assert (heard.text, heard.finish, heard.calls) == ("rain\n\tand wind | noon", voice.finishes[0], [])


@whole_and_streamed
@each_voice
@each_row
async def test_every_source_answers_every_dialect(
    at_sources: Link, row: Row, app: type[Voice], *, streamed: bool
) -> None:
    async with speaking(at_sources, row, app, streamed=streamed) as voice:
        await converse(voice, row)


@pytest.mark.parametrize(
    ("row", "app", "streamed"),
    [(row, OpenAIChatVoice, bool(number % 2)) for number, row in enumerate(ROWS)]
    + [(ROWS[number % 4], app, not number % 2) for number, app in enumerate(VOICES)],
    ids=lambda value: getattr(value, "name", getattr(value, "dialect", value)),
)
async def test_sources_answer_behind_the_forward_proxy(
    through_sources: Link, row: Row, app: type[Voice], *, streamed: bool
) -> None:
    async with speaking(through_sources, row, app, streamed=streamed) as voice:
        await converse(voice, row)


@some_pairs
async def test_an_error_of_the_model_is_one_of_the_app_s_dialect(
    at_sources: Link, model: Standin, row: Row, app: type[Voice]
) -> None:
    model.handler = refuses(BUSY)
    for streamed in (False, True):
        async with speaking(at_sources, row, app, streamed=streamed) as voice:
            voice.add_user("Hi")
            with pytest.raises(Exception, match="I am busy, come again") as caught:
                await voice.send()
            assert status_of(caught.value) in (429, None)


def status_of(error: BaseException) -> int | None:
    """The status of an SDK's exception, by whichever name it has it."""
    told = getattr(error, "response", None)
    if isinstance(told, dict):
        return int(told["ResponseMetadata"]["HTTPStatusCode"])
    found = getattr(error, "status_code", getattr(error, "code", None))
    return found if isinstance(found, int) else None


@some_pairs
async def test_a_cut_stream_is_an_error_in_the_app(
    at_sources: Link, model: Standin, row: Row, app: type[Voice]
) -> None:
    for ends in (_resets, _ends_politely):
        model.handler = cuts(ends)
        async with speaking(at_sources, row, app, streamed=True) as voice:
            voice.add_user("Hi #there")
            with pytest.raises(Exception, match=r"\w"):
                await voice.send()


def _resets(writer: Writer) -> None:
    raise OSError("the connection ends here")


def _ends_politely(writer: Writer) -> None:
    writer.end()


@each_asking
async def test_the_first_word_is_heard_before_the_second_is_said(at_sources: Link, model: Standin, row: Row) -> None:
    if not row.streams:
        pytest.skip("it knows all of its reply at once")
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        for dialect in DIALECTS:
            gate = Gate()
            model.handler = hesitates(gate)
            assert await heard_by(client, at_sources, dialect, row, gate) == "first, second", dialect.name


async def heard_by(client: httpx.AsyncClient, link: Link, dialect: Dialect, row: Row, gate: Gate) -> str:
    """The text of a streamed reply; the gate opens when the first of it is here."""
    request = ChatRequest("", f"{row.name}--x", (Message("user", (TextPart("Hi"),)),), stream=True)
    headers = {"content-type": "application/json"}
    url, body = f"{link.proxy.meeting}{dialect.target(request)}", dialect.render_request(request)
    decoder, text = dialect.decoder(), ""
    async with client.stream("POST", url, content=body, headers=headers) as reply:
        async for data in reply.aiter_bytes():
            for event in decoder.feed(data):
                if isinstance(event, PartDelta):
                    text += event.text
            if text:
                gate.open()
    assert not any(isinstance(event, Failed) for event in decoder.close())
    return text


@each_row
async def test_many_calls_at_once(at_sources: Link, model: Standin, row: Row) -> None:
    """Each gets its own answer, and all of them are with the model before it says a word."""
    gate = Gate()

    def script(received: Received, writer: Writer) -> None:
        if len(model.requests) >= AT_ONCE:
            gate.open()
        gate.wait()
        speaks(received, writer)

    if row.asks:
        model.handler = script
    async with openai_client(at_sources) as client:

        async def call(number: int) -> str:
            message = {"role": "user", "content": f"Hi #number{number}"}
            options = {"model": f"{row.name}--x", "messages": [message]}
            if number % 2:
                reply = await client.chat.completions.create(**options)  # type: ignore[call-overload]
                return str(reply.choices[0].message.content)
            chunks = await client.chat.completions.create(stream=True, **options)  # type: ignore[call-overload]
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

        heard = await asyncio.gather(*[call(number) for number in range(AT_ONCE)])
    expected = "You said number{}, my friend." if row.asks else "Hi #number{}"
    assert heard == [expected.format(number) for number in range(AT_ONCE)]


async def test_the_app_s_key_stays_here(at_sources: Link, model: Standin) -> None:
    async with openai_client(at_sources, api_key="sk-of-the-app") as client:
        message: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "Hi"}
        raw = await client.chat.completions.with_raw_response.create(model="to-openai-chat--x", messages=[message])
        assert raw.headers["x-motive-model"] == "real"
    (received,) = model.requests
    assert received.header("authorization") == "Bearer sk-upstream"
    assert b"sk-of-the-app" not in received.head + received.body
    assert understood(received)[1].model == "real"
