"""The ``legacy_sse`` source: a search API that tells its answer word by word, and then which documents it rests on.

Owns what that API is asked, and how what it tells becomes a reply. It is called in ``legacy_sse_call``, its events are
read in ``legacy_sse_events``, and what citations become is in ``legacy_sse_citations``.

The API is asked by GET, with the question in the query. It has no mark of its own at the end: it has told everything
when the connection ends as HTTP says it should, or at ``[DONE]``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import quote, unquote, unquote_plus, urlsplit, urlunsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr

from motive_core.errors import BadRequestError, FramingError, MotiveError, PayloadTooLargeError, UpstreamError
from motive_core.exchange import Answered, Events
from motive_core.framing import SseDecoder, SseEvent
from motive_core.ir import NO_EXTRA, ChatRequest, Extra, TextPart
from motive_core.settings.types import HeaderName, Kind, Seconds, Text
from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.sources.legacy_sse_call import called
from motive_core.sources.legacy_sse_citations import NATIVE, as_list, as_objects, is_link
from motive_core.sources.legacy_sse_events import Citation, Done, Fault, Told, Unknown, Word, read_event
from motive_core.stream import ChoiceEnded, Finished, PartDelta, PartEnded, PartStarted, ReplyEvent, Started
from motive_core.upstream import Http

_EVENT_LIMIT_BYTES: Final = 1024 * 1024
_MOST_CITATIONS: Final = 10_000
_MOST_CHARACTERS: Final = 16 * 1024 * 1024
"""Of one reply: what is said is kept until its end, and an API may never come to one."""
_URL_CHARACTERS: Final = 60_000
"""httpx takes no more than 65,536, and few servers as much."""
_SECRET_CHARACTERS: Final = 6
"""What is shorter and stands in a URL is no secret, but might be a word of any message."""
_ID: Final = "{id}"


def _search_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value().strip()
    try:
        parts = urlsplit(text)
        port = parts.port
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        raise ValueError("not a valid URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("a URL is wanted, such as https://api.example.com/search?topNDocuments=3")
    return SecretStr(text)


def _sendable(values: Mapping[str, str]) -> Mapping[str, str]:
    if not all(value.isascii() and value.isprintable() and value == value.strip() for value in values.values()):
        raise ValueError("a header's value is ASCII, on one line")
    return values


def _sendable_key(key: SecretStr) -> SecretStr:
    _sendable({"": key.get_secret_value()})
    return key


def _link_template(template: str) -> str:
    if _ID not in template or not is_link(template.replace(_ID, "1")):
        raise ValueError("a URL with {id} in it is wanted, such as https://docs.example.com/{id}")
    return template


class LegacySse(SourceSettings):
    """Settings of ``legacy_sse``."""

    environment: ClassVar[Mapping[str, str]] = {"url": "STREAM_URL"}

    kind: Literal["legacy_sse"] = "legacy_sse"
    url: Annotated[SecretStr, AfterValidator(_search_url), Kind("URL")] = Field(
        description="The API's URL with any query, which is sent as it is: "
        "`https://api.example.com/search?topNDocuments=3&sessionID=12345`. Left out: the environment's `STREAM_URL`."
    )
    query_parameter: Text = Field(
        default="search_query",
        description="The parameter that the question is added as, URL-encoded. It takes the place of one that the URL "
        "has.",
    )
    question: Literal["last", "conversation"] = Field(
        default="last",
        description="`last`: the text of the user's last message that has one. `conversation`: what user and assistant "
        "have said so far, each message after its role.",
    )
    session_parameter: Text | None = Field(
        default=None,
        description="A parameter that tells the API the call's session, such as `sessionID`. It takes the place of one "
        "that the URL has. Null: none.",
    )
    key: Annotated[SecretStr, AfterValidator(_sendable_key), Kind("secret")] | None = Field(
        default=None,
        description="A key, sent as `Authorization: Bearer`, best as `${NAME}`. Null: none is sent. The app's own key "
        "never goes there.",
    )
    headers: Annotated[Mapping[HeaderName, Text], AfterValidator(_sendable)] = Field(
        default={}, description="More headers of the call."
    )
    join: Text | None = Field(
        default=None,
        description="What stands between two words where neither has white space, for an API whose words have none: "
        '`" "`. Null: nothing, words are told as they come.',
    )
    citations: Literal["list", "native", "off"] = Field(
        default="list",
        description="`list`: a bullet list after the words. `native`: objects of the app's dialect, see below; a list "
        "where it has none. `off`: none.",
    )
    citation_url: Annotated[str, AfterValidator(_link_template), Kind("template")] | None = Field(
        default=None,
        description="Where the document of a citation is found, with `{id}` for its id: "
        "`https://docs.example.com/{id}`. Null: nowhere, if the API does not tell.",
    )
    connect_timeout_s: Seconds = Field(default=10, description="How long a connection may take.")
    first_token_timeout_s: Seconds = Field(default=590, description="How long the first word may take.")
    idle_timeout_s: Seconds = Field(default=120, description="How long the stream may be silent after that.")

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        return LegacySseSource(self, world.http)


class LegacySseSource:
    """See the module."""

    def __init__(self, settings: LegacySse, http: Http) -> None:
        self._settings = settings
        self._http = http
        self._headers = {
            "user-agent": "motive",
            "accept": "text/event-stream",
            # Whatever packs a stream holds words back.
            "accept-encoding": "identity",
            "cache-control": "no-store",
            **settings.headers,
        }
        key = settings.key.get_secret_value() if settings.key is not None else None
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._secrets = sorted(_secrets(settings), key=len, reverse=True)

    async def answer(self, call: Call) -> Answered:
        """See ``Source``."""
        url = self._url(_question(call.request, self._settings.question), call.session)
        events = self._events(call.request, url)
        try:
            async with asyncio.timeout(self._settings.first_token_timeout_s):
                # Its first words decide whether it answers at all: until then another source may be asked.
                await anext(events)
        except TimeoutError:
            raise UpstreamError("The service did not answer in time.", code="upstream_timeout") from None
        return events

    async def close(self) -> None:
        """See ``Source``."""

    def _url(self, question: str, session: str) -> str:
        added = {self._settings.query_parameter: question}
        if self._settings.session_parameter is not None:
            added[self._settings.session_parameter] = session
        parts = urlsplit(self._settings.url.get_secret_value())
        pairs = [one for one in parts.query.split("&") if one and unquote_plus(one.partition("=")[0]) not in added]
        pairs += [f"{quote(name, safe='')}={quote(value, safe='', errors='replace')}" for name, value in added.items()]
        url = urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join(pairs), ""))
        if len(url) > _URL_CHARACTERS:
            raise PayloadTooLargeError(
                f"The question is too long for this service: its URL would have {len(url)} characters, and may have "
                f"{_URL_CHARACTERS}."
            )
        return url

    async def _events(self, request: ChatRequest, url: str) -> Events:
        """The reply. Its first batch is empty, and comes as soon as there is a second one."""
        told = _Telling(self._settings, request)
        begun = False
        try:
            async with aclosing(self._heard(url)) as heard:
                async for batch in heard:
                    if said := told.take(batch):
                        if not begun:
                            begun = True
                            yield ()
                        yield said
            said = told.end()
        except MotiveError as error:
            # Its own words may quote the call.
            error.message = self._without_secrets(error.message)
            error.args = (error.message,)
            raise
        if not begun:
            yield ()
        yield said

    async def _heard(self, url: str) -> AsyncGenerator[list[Told]]:
        """What the API tells, as it comes; up to its end. Raises ``MotiveError``."""
        settings, decoder, known = self._settings, SseDecoder(_EVENT_LIMIT_BYTES), False
        timeouts = {"connect_timeout_s": settings.connect_timeout_s, "idle_timeout_s": settings.idle_timeout_s}
        async with aclosing(called(self._http, url, self._headers, **timeouts)) as pieces:
            try:
                async for data in pieces:
                    told, error = _read(decoder.feed(data))
                    known = known or bool(told)
                    if told:
                        yield told
                    if error is not None:
                        raise error
                    if told and isinstance(told[-1], Done):
                        return
                told, error = _read(decoder.close())
                if told:
                    yield told
                if error is not None:
                    raise error
            except FramingError as error:
                raise UpstreamError(f"The service's reply cannot be read: {error}.") from error
        if not known and not told:
            raise UpstreamError("The service's reply is empty: there is no event in it.")

    def _without_secrets(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "[...]")
        return message


class _Telling:
    """What was told so far, and what of the reply is out."""

    def __init__(self, settings: LegacySse, request: ChatRequest) -> None:
        self._settings = settings
        self._dialect = request.dialect if settings.citations == "native" and request.dialect in NATIVE else ""
        self._began = False
        self._words: list[str] = []
        self._characters = 0
        self._citations: dict[str, Citation] = {}

    def take(self, told: Sequence[Told]) -> list[ReplyEvent]:
        """What is said because of that."""
        said: list[ReplyEvent] = []
        for one in told:
            match one:
                case Word(text) if text:
                    said += self._word(text)
                case Citation():
                    self._cite(one)
                case _:
                    pass
        return said

    def _word(self, text: str) -> Iterator[ReplyEvent]:
        if not self._began:
            yield from self._begin()
        elif (between := self._settings.join) and not (self._words[-1][-1].isspace() or text[0].isspace()):
            text = between + text
        self._characters += len(text)
        if self._characters > _MOST_CHARACTERS:
            raise UpstreamError("The service's reply is too large.")
        self._words.append(text)
        yield PartDelta(0, 0, text)

    def _begin(self) -> Iterator[ReplyEvent]:
        self._began = True
        yield Started("", "", dialect=self._dialect)
        yield PartStarted(0, 0, TextPart(""))

    def _cite(self, one: Citation) -> None:
        if self._settings.citations == "off" or one.document in self._citations:
            return
        if len(self._citations) >= _MOST_CITATIONS:
            raise UpstreamError(f"The service's reply has more than {_MOST_CITATIONS} citations.")
        if not one.url and self._settings.citation_url is not None:
            one = replace(one, url=self._settings.citation_url.replace(_ID, quote(one.document, safe="")))
        elif not one.url and is_link(one.document):
            one = replace(one, url=one.document)
        self._citations[one.document] = one

    def end(self) -> list[ReplyEvent]:
        """The end of the reply: citations follow the words."""
        said: list[ReplyEvent] = [] if self._began else list(self._begin())
        citations = list(self._citations.values())
        of_part: Extra = NO_EXTRA
        of_choice: Extra = NO_EXTRA
        listed = bool(citations)
        if citations and self._dialect:
            objects = as_objects(self._dialect, citations, "".join(self._words))
            if objects is not None:
                listed = False
                of_part, of_choice = objects
        said.append(PartEnded(0, 0, extra=of_part))
        if listed:
            before = "\n\n" if self._words else ""
            said += (
                PartStarted(0, 1, TextPart("")),
                PartDelta(0, 1, before + as_list(citations)),
                PartEnded(0, 1),
            )
        return [*said, ChoiceEnded(0, "stop", extra=of_choice), Finished()]


def _read(events: Sequence[SseEvent]) -> tuple[list[Told], Exception | None]:
    """What was told, up to the API's end or fault, and the error that it ended with."""
    told: list[Told] = []
    for event in events:
        try:
            found = read_event(event)
        except FramingError as error:
            return told, error
        for one in found:
            if isinstance(one, Fault):
                why = one.message or "it does not say why"
                return told, UpstreamError(f"The service failed: {why}", code="upstream_error")
            told.append(one)
            if isinstance(one, Done):
                return told, None
        if not found:
            told.append(Unknown())  # an event all the same
    return told, None


def _question(request: ChatRequest, which: Literal["last", "conversation"]) -> str:
    """What to ask. Raises ``BadRequestError`` if nobody has asked anything."""
    asked = [message.text for message in request.messages if message.role == "user" and message.text.strip()]
    if not asked:
        raise BadRequestError("There is no question in this call: no message of the user has a text.", param="messages")
    if which == "last":
        return asked[-1]
    said = [message for message in request.messages if message.role in ("user", "assistant") and message.text.strip()]
    return "\n".join([f"{message.role}: {message.text}" for message in said])


def _secrets(settings: LegacySse) -> Iterator[str]:
    """What must not be told to anybody: what the URL, the key and the headers have, in each spelling."""
    parts = urlsplit(settings.url.get_secret_value())
    found = [one.partition("=")[2] for one in parts.query.split("&")]
    found += [parts.query, parts.path, parts.username or "", parts.password or "", *settings.headers.values()]
    if settings.key is not None:
        found.append(settings.key.get_secret_value())
    for one in found:
        for spelling in {one, unquote(one), unquote_plus(one)}:
            if len(spelling) >= _SECRET_CHARACTERS:
                yield spelling
