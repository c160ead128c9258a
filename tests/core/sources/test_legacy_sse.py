"""The search API's source: what is asked, what becomes of what it tells, and how it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import ValidationError

from motive_core.config import load_config
from motive_core.dialects import RequestHead
from motive_core.errors import BadRequestError, MotiveError, PayloadTooLargeError, UpstreamError
from motive_core.exchange import Events
from motive_core.ir import BlobPart, ChatRequest, Message, OpaquePart, Reply, TextPart, ToolResultPart
from motive_core.sources import Call, World
from motive_core.sources.legacy_sse import LegacySse
from motive_core.stream import Collector, PartDelta
from motive_core.upstream import Http
from tests.core.sources.search_api import HEAD, LAST, Line, Script, SearchApi, chunk, event, search_api

pytestmark = pytest.mark.usefixtures("no_environment")

WORDS = (event("response", "The "), event("response", "guard"))


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAM_URL", raising=False)


def says(*events: bytes) -> Script:
    """Events one by one, then the end."""

    async def script(line: Line) -> None:
        await line.send(HEAD)
        await line.say(*events, end=True)

    return script


def sends(*pieces: bytes) -> Script:
    """Bytes as they are, then the end of the connection."""

    async def script(line: Line) -> None:
        for data in pieces:
            await line.send(data)
        line.writer.close()

    return script


def asked(*messages: Message, dialect: str = "openai-chat") -> ChatRequest:
    return ChatRequest(dialect, "m", messages or (Message("user", (TextPart("Who?"),)),), stream=True)


def call_of(request: ChatRequest, session: str = "s-1") -> Call:
    return Call(request, RequestHead("POST", "h", 80, "/v1/chat/completions"), "x-1", session, 1.0)


@asynccontextmanager
async def asking(script: Script, **settings: Any) -> AsyncIterator[tuple[SearchApi, Callable[..., Any]]]:
    """The API, and what asks the source about it."""
    http = Http()
    try:
        async with search_api(script) as api:
            query = settings.pop("query", "")
            source = LegacySse(url=api.url + query, **settings).make(World(http, time.time))

            async def ask(request: ChatRequest | None = None, **more: Any) -> Events:
                answered = await source.answer(call_of(request or asked(), **more))
                assert not isinstance(answered, Reply)
                return answered

            yield api, ask
    finally:
        await http.close()


async def whole(events: Events) -> Reply:
    collector = Collector()
    async with aclosing(events):
        async for batch in events:
            for one in batch:
                collector.add(one)  # type: ignore[arg-type]
    assert collector.complete
    return collector.reply()


def texts(reply: Reply) -> list[str]:
    (choice,) = reply.choices
    assert choice.finish_reason == "stop"
    return [part.text for part in choice.parts if isinstance(part, TextPart)]


async def told(*events: bytes, request: ChatRequest | None = None, **settings: Any) -> list[str]:
    async with asking(says(*events), **settings) as (_, ask):
        return texts(await whole(await ask(request)))


# What is asked


async def test_the_question_is_added_to_the_query_as_it_is() -> None:
    question = "Wer? & was=1 #a+b%20 世👩\n\x00/"
    async with asking(says(*WORDS), query="?topNDocuments=3&sessionID=1%202&flag&x=a+b#part") as (api, ask):
        await whole(await ask(asked(Message("user", (TextPart(question),)))))
        (line,) = api.calls
        assert line.head.startswith(
            "GET /search?topNDocuments=3&sessionID=1%202&flag&x=a+b&search_query=Wer%3F%20%26%20"
        )
        assert dict(parse_qsl(urlsplit(line.target).query))["search_query"] == question
        assert line.header("accept") == "text/event-stream"
        assert line.header("accept-encoding") == "identity"
        assert line.header("authorization") is None


async def test_a_question_of_the_url_is_replaced_and_the_session_is_told() -> None:
    query = "?q=example&n=1&sid=old&q=other"
    settings = {"query": query, "query_parameter": "q", "session_parameter": "sid"}
    async with asking(says(*WORDS), **settings) as (api, ask):
        await whole(await ask(session="npc/1"))
        assert api.calls[0].target == "/search?n=1&q=Who%3F&sid=npc%2F1"


async def test_key_and_headers_are_sent_and_the_apps_own_are_not() -> None:
    async with asking(says(*WORDS), key="k-secret", headers={"X-Tenant": "t"}) as (api, ask):
        await whole(await ask())
        assert api.calls[0].header("authorization") == "Bearer k-secret"
        assert api.calls[0].header("x-tenant") == "t"


CONVERSATION = (
    Message("system", (TextPart("Be brief."),)),
    Message("user", (TextPart("Who?"),)),
    Message("assistant", (TextPart("A guard."),)),
    Message("user", (TextPart("Wh"), BlobPart("image/png", "aGk="), TextPart("y?"))),
    Message("assistant", (OpaquePart("x", {}),)),
    Message("user", (ToolResultPart("c", (TextPart("42"),)),)),
    Message("tool", (ToolResultPart("c", (TextPart("42"),)),)),
)


@pytest.mark.parametrize(
    ("which", "question"),
    [("last", "Why?"), ("conversation", "user: Who?\nassistant: A guard.\nuser: Why?")],
)
async def test_what_the_question_is(which: str, question: str) -> None:
    async with asking(says(*WORDS), question=which) as (api, ask):
        await whole(await ask(asked(*CONVERSATION)))
        assert dict(parse_qsl(urlsplit(api.calls[0].target).query)) == {"search_query": question}


@pytest.mark.parametrize("messages", [(Message("system", (TextPart("Hi"),)),), (Message("user", (TextPart(" \n"),)),)])
async def test_a_call_without_a_question_is_refused(messages: tuple[Message, ...]) -> None:
    async with asking(says(*WORDS)) as (api, ask):
        with pytest.raises(BadRequestError, match="no question"):
            await ask(asked(*messages))
        assert not api.calls


async def test_a_question_too_long_for_a_url_is_refused() -> None:
    async with asking(says(*WORDS), query="?key=sesame-seed") as (api, ask):
        with pytest.raises(PayloadTooLargeError, match="too long") as raised:
            await ask(asked(Message("user", (TextPart("ä" * 10_000),))))
        assert "sesame" not in str(raised.value)
        await whole(await ask(asked(Message("user", (TextPart("ä" * 9_900),)))))
        assert len(api.calls) == 1


# What it tells


async def test_words_are_told_as_they_come() -> None:
    assert await told(*WORDS, event("response", "\n\n"), event("response", "it's ")) == ["The guard\n\nit's "]
    assert await told(*[event("response", str(n % 10)) for n in range(10_000)]) == ["0123456789" * 1000]


async def test_each_word_is_given_before_the_next_is_sent() -> None:
    heard = asyncio.Queue[str]()

    async def script(line: Line) -> None:
        await line.send(HEAD)
        for number in range(5):
            await line.say(event("response", f"w{number} "))
            assert await heard.get() == f"w{number} "
        await line.say(end=True)

    async with asking(script) as (_, ask), aclosing(await ask()) as events:
        async for batch in events:
            for one in batch:
                if isinstance(one, PartDelta):
                    heard.put_nowait(one.text)
    assert heard.empty()


async def test_any_split_of_the_bytes_gives_the_same() -> None:
    stream = (
        b": hello\r\n\r\nretry: 3\r\ndata: {'type': 'response', 'data': '\xe4\xb8\x96 '}\r\n\r\nid: 1\r\n"
        b'data: {"type": "response", "data": "\xf0\x9f\x91\xa9"}\r\n\r\ndata: ping\n\n:\n\n'
        b"data: {'type': 'status', 'data': 'x'}\r\rdata: {'type': 'citation', 'data': 'd'}\n\ndata: [DONE]\n\n"
    )
    pieces = [chunk(stream[at : at + 1]) for at in range(len(stream))]
    for sent in ([chunk(stream)], pieces):
        async with asking(sends(HEAD, *sent, LAST)) as (_, ask):
            assert texts(await whole(await ask())) == ["世 👩", "\n\n- d"]


async def test_done_ends_the_reply_although_the_connection_stays() -> None:
    gone = asyncio.Event()

    async def script(line: Line) -> None:
        await line.send(HEAD)
        await line.say(*WORDS, b"data: [DONE]\n\n" + event("response", "never"))
        await line.gone.wait()

    async with asking(script) as (api, ask):
        assert texts(await whole(await ask())) == ["The guard"]
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()
    assert not gone.is_set()


async def test_an_event_without_its_blank_line_is_one() -> None:
    assert await told(WORDS[0], WORDS[1].rstrip(b"\n")) == ["The guard"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["The", "guard", "nods"], "The guard nods"),
        (["The ", "guard", " nods\n", "twice"], "The guard nods\ntwice"),
        (["", "The", "", "guard"], "The guard"),
    ],
)
async def test_words_are_joined_where_they_have_no_space(words: Sequence[str], said: str) -> None:
    assert await told(*[event("response", word) for word in words], join=" ") == [said]


CITED = (event("citation", "doc 1"), *WORDS, event("citation", "doc-2"), event("citation", "doc 1"))


async def test_citations_follow_as_a_list() -> None:
    assert await told(*CITED) == ["The guard", "\n\n- doc 1\n- doc-2"]
    assert await told(*CITED, citations="off") == ["The guard"]
    assert await told(*CITED[:1]) == ["", "- doc 1"]
    assert await told(*CITED, request=asked(dialect="ollama-chat"), citations="native") == [
        "The guard",
        "\n\n- doc 1\n- doc-2",
    ]


async def test_a_document_is_told_once_as_it_was_told_first() -> None:
    again = event("citation", {"id": "doc 1", "title": "Another"})
    assert await told(*CITED, again) == ["The guard", "\n\n- doc 1\n- doc-2"]


async def test_an_id_that_is_a_url_is_one() -> None:
    async with asking(says(*WORDS, event("citation", "https://a.example/b")), citations="native") as (_, ask):
        reply = await whole(await ask())
    assert texts(reply) == ["The guard"]
    assert reply.dialect == "openai-chat"
    (told,) = reply.choices[0].extra["message"]["annotations"]
    assert told["url_citation"]["url"] == told["url_citation"]["title"] == "https://a.example/b"


async def test_citations_are_links_where_they_lead_somewhere() -> None:
    more = [
        event("citation", "https://a.example/b"),
        event("citation", {"id": "c", "title": "The [c]\n", "url": "http://c.example/(x)"}),
        event("citation", {"id": "e", "url": "javascript://a/%0aalert(1)"}),
        event("citation", "f\n- g"),
    ]
    assert await told(*CITED, *more) == [
        "The guard",
        "\n\n- doc 1\n- doc-2\n- https://a.example/b\n- [The \\[c\\]](http://c.example/%28x%29)\n- e\n- f - g",
    ]
    assert await told(*CITED, citation_url="https://d.example/{id}#x") == [
        "The guard",
        "\n\n- [doc 1](https://d.example/doc%201#x)\n- [doc-2](https://d.example/doc-2#x)",
    ]


async def test_a_reply_may_be_empty_if_the_api_says_so() -> None:
    for nothing in (
        b"data: [DONE]\n\n",
        event("response", ""),
        event("response", None),
        event("status", "nothing found"),
    ):
        assert await told(nothing) == [""]


async def test_there_is_a_bound_to_citations() -> None:
    with pytest.raises(UpstreamError, match="more than 10000 citations"):
        await told(*[b"".join([event("citation", n) for n in range(at, at + 2000)]) for at in range(0, 10_002, 2000)])


# How it fails


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (says(), "is empty"),
        (says(b": alive\n\n"), "is empty"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"), "is empty"),
        (sends(HEAD), "was cut off"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), "was cut off"),
        (sends(b""), "cannot be reached"),
        (sends(b"nonsense\r\n\r\n"), "cannot be reached"),
        (says(event("error", "no index")), "failed: no index"),
        (says(b"data: {'type': 'response', 'data': 'wor\n\n"), "cannot be read"),
        (says(b"data: \xff\n\n"), "cannot be read: the event stream is not UTF-8"),
        (says(b"data: " + b"x" * 1024 * 1024), "cannot be read: an event of the stream is over"),
        (sends(HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"), chunk(b"no"), LAST), "was cut off"),
    ],
)  # fmt: skip
async def test_what_fails_before_the_first_word_is_an_error(script: Script, why: str) -> None:
    async with asking(script) as (_, ask):
        with pytest.raises(UpstreamError, match=why) as raised:
            await ask()
        assert raised.value.status == 502
        assert raised.value.retryable


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([], "was cut off"),
        ([chunk(event("response", "nods")[:20])], "was cut off"),
        ([chunk(event("response", " nods") + event("error", "no") + event("response", "never"))], "failed: no"),
        ([chunk(event("response", " nods") + b"data: {'type':\n\n" + event("response", "never"))], "cannot be read"),
    ],
)  # fmt: skip
async def test_what_fails_in_the_middle_is_an_error_after_what_was_said(after: list[bytes], why: str) -> None:
    said: list[str] = []
    async with asking(sends(HEAD, *map(chunk, WORDS), *after)) as (_, ask):
        with pytest.raises(UpstreamError, match=why):
            async with aclosing(await ask()) as events:
                async for batch in events:
                    said += [one.text for one in batch if isinstance(one, PartDelta)]
    assert "".join(said) == "The guard" + (" nods" if "was cut" not in why else "")


@pytest.mark.parametrize(
    ("reply", "status", "message", "retryable"),
    [
        (b'429 Slow\r\nretry-after: 7\r\ncontent-length: 24\r\n\r\n{"message": "Too many"}\n', 429, "Too many", True),
        (b"503 Down\r\ncontent-length: 4\r\n\r\noops", 503, "status 503", True),
        (b'401 No\r\ncontent-length: 36\r\n\r\n{"error": {"message": "who was it"}}', 401, "who was", False),
        (b"302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", 502, "status 302", False),
        (b"204 None\r\n\r\n", 502, "status 204", False),
    ],
)  # fmt: skip
async def test_another_status_is_told(reply: bytes, status: int, message: str, *, retryable: bool) -> None:
    async with asking(sends(b"HTTP/1.1 " + reply)) as (_, ask):
        with pytest.raises(MotiveError, match=message) as raised:
            await ask()
        assert (raised.value.status, raised.value.retryable) == (status, retryable)


async def test_nobody_listens() -> None:
    http = Http()
    source = LegacySse(url="http://127.0.0.1:9/search?key=sesame-seed").make(World(http, time.time))
    with pytest.raises(UpstreamError, match="cannot be reached") as raised:
        await source.answer(call_of(asked()))
    assert "sesame" not in str(raised.value)
    await http.close()


async def test_silence_is_bounded() -> None:
    async def silent(line: Line) -> None:
        await line.send(HEAD)
        while True:  # signs of life are no words
            await line.say(b": alive\n\n")
            await asyncio.sleep(0.01)

    async with asking(silent, first_token_timeout_s=0.2) as (api, ask):
        with pytest.raises(UpstreamError, match="did not answer in time") as raised:
            await ask()
        assert raised.value.code == "upstream_timeout"
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()

    async def stuck(line: Line) -> None:
        await line.send(HEAD)
        await line.say(WORDS[0])
        await line.gone.wait()

    async with asking(stuck, idle_timeout_s=0.2) as (api, ask):
        with pytest.raises(UpstreamError, match="fell silent") as raised:
            await whole(await ask())
        assert raised.value.code == "upstream_timeout"
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_who_lets_go_ends_the_call(*, begun: bool) -> None:
    async def endless(line: Line) -> None:
        await line.send(HEAD)
        await line.say(WORDS[0])
        await line.gone.wait()

    async with asking(endless) as (api, ask):
        events = await ask()
        if begun:
            assert await anext(events)
        await events.aclose()
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()


async def test_who_is_cancelled_before_the_first_word_ends_the_call() -> None:
    came = asyncio.Event()

    async def endless(line: Line) -> None:
        came.set()
        await line.gone.wait()

    async with asking(endless) as (api, ask):
        task = asyncio.ensure_future(ask())
        await came.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()


async def test_connections_are_used_again_and_cookies_are_not() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nset-cookie: who=somebody; Path=/\r\n\r\n")

    async def script(line: Line) -> None:
        await line.send(head)
        await line.say(*WORDS, end=True)

    async with asking(script) as (api, ask):
        for _ in range(3):
            await whole(await ask())
        assert len({id(line.writer) for line in api.calls}) == 1
        assert all(line.header("cookie") is None for line in api.calls)


async def test_no_secret_is_told() -> None:
    async def script(line: Line) -> None:
        body = f'{{"message": "no access: {line.target} {line.header("authorization")} {line.header("x-more")}"}}'
        await line.send(f"HTTP/1.1 403 No\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())

    async def in_stream(line: Line) -> None:
        await line.send(HEAD)
        await line.say(event("error", f"no access: {line.target} pass%20word pass word {line.header('authorization')}"))

    settings: dict[str, Any] = {"query": "?key=pass%20word&n=1", "key": "k-secret", "headers": {"x-more": "h-secret"}}
    for one in (script, in_stream):
        async with asking(one, **settings) as (_, ask):
            with pytest.raises(MotiveError, match="no access") as raised:
                await ask()
            for words in (str(raised.value), raised.value.message):
                assert not any(secret in words for secret in ("pass%20word", "pass word", "k-secret", "h-secret"))


async def test_many_calls_at_once() -> None:
    at_once = asyncio.Barrier(50)

    async def script(line: Line) -> None:
        await at_once.wait()
        await line.send(HEAD)
        question = dict(parse_qsl(urlsplit(line.target).query))["search_query"]
        for word in question.split():
            await line.say(event("response", f"{word} "))
        await line.say(end=True)

    async with asking(script) as (api, ask):
        requests = [asked(Message("user", (TextPart(f"call {n} of fifty"),))) for n in range(50)]

        async def one(request: ChatRequest) -> list[str]:
            return texts(await whole(await ask(request)))

        said = await asyncio.gather(*map(one, requests))
        assert said == [[f"call {n} of fifty "] for n in range(50)]
        assert len(api.calls) == 50


# Settings


def test_the_url_may_stand_in_the_environment() -> None:
    env = {"STREAM_URL": " https://u:p@api.example.com/search?key=sesame-seed "}
    config = load_config(None, env)
    assert not config.sources
    settings = LegacySse(url=env["STREAM_URL"])
    assert settings.url.get_secret_value() == "https://u:p@api.example.com/search?key=sesame-seed"
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "ftp://a.example"},
        {"url": "a.example/search"},
        {"url": "https:///search"},
        {"url": "https://a.example:0/"},
        {"url": "https://a.example:x/"},
        {"url": "https://[a.example/"},
        {"url": "https://a.example/", "key": "two\nlines"},
        {"url": "https://a.example/", "headers": {"x-a": "ä"}},
        {"url": "https://a.example/", "citation_url": "https://a.example/"},
        {"url": "https://a.example/", "citation_url": "javascript:{id}"},
        {"url": "https://a.example/", "citations": "some"},
        {},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LegacySse(**settings)
