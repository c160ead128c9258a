"""The search API's source: what is asked, and what becomes of what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import ValidationError

from motive_core.config import load_config
from motive_core.errors import BadRequestError, ConfigError, PayloadTooLargeError, UpstreamError
from motive_core.ir import BlobPart, Message, OpaquePart, TextPart, ToolResultPart
from motive_core.sources.legacy_sse import LegacySse
from motive_core.stream import PartDelta
from tests.core.sources.legacy_api import HEAD, LAST, Line, chunk, event
from tests.core.sources.legacy_asking import WORDS, asked, asking, says, sends, texts, told, whole

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


async def test_there_is_a_bound_to_words() -> None:
    words = event("response", "x" * 1_000_000)
    assert await told(*[words] * 16) == ["x" * 16_000_000]
    with pytest.raises(UpstreamError, match="too large"):
        await told(*[words] * 17)


# Settings


def test_the_url_may_stand_in_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("routes: [{answer: legacy_sse}]", "utf-8")
    settings = load_config(path, {"STREAM_URL": " https://u:p@api.example.com/search?key=sesame-seed "}).sources
    assert isinstance(one := settings["legacy_sse"], LegacySse)
    assert one.url.get_secret_value() == "https://u:p@api.example.com/search?key=sesame-seed"
    assert "sesame" not in repr(settings)
    with pytest.raises(ConfigError, match=r"^STREAM_URL: a URL is wanted") as raised:
        load_config(path, {"STREAM_URL": "ftp://api.example.com/?key=sesame-seed"})
    assert "sesame" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"^sources\.legacy_sse\.url: is missing"):
        load_config(path, {})


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
