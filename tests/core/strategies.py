"""Hypothesis strategies for what the IR can hold: replies, requests, and the orders in which a reply can be said.

Owns the settings of the property tests: deterministic, without deadlines. ``plain_*`` are what every dialect carries
exactly; ``any_*`` hold every kind of part, wherever it may stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
)
from motive_core.stream import (
    ChoiceEnded,
    Finished,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
    replay_part,
)

EXACT: Final = settings(
    derandomize=True, deadline=None, max_examples=60, database=None, suppress_health_check=[HealthCheck.too_slow]
)
"""The profile of every property: the same examples in each run, however slow the machine is."""

_ALPHABET: Final = st.one_of(
    st.sampled_from(' \t\n\r"\\/{}[]:,é你👩‍👧\u2028\ufeff\x00\x7f'), st.characters(exclude_categories=["Cs"])
)
texts: Final = st.text(_ALPHABET, max_size=30)
words: Final = st.builds(lambda text: f"w{text}w", texts)
"""Texts that are not blank, and neither begin nor end with white space."""
names: Final = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)

_scalars: Final = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | texts
json_values: Final = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
json_objects: Final = st.dictionaries(texts, json_values, max_size=3)


def compact(value: Any) -> str:
    """JSON as both a stream and a whole reply give it back."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


arguments: Final = json_objects.map(compact)

plain_calls: Final = st.builds(ToolCallPart, names, names, arguments)
_free_form_calls: Final = st.builds(
    lambda call_id, name, text: ToolCallPart(call_id, name, text, custom=True), names, names, words
)
any_calls: Final = plain_calls | _free_form_calls
_media_types: Final = st.sampled_from(
    ["", "image/png", "image/svg+xml", "application/pdf", "text/plain", "audio/wav", "audio/mpeg", "video/mp4"]
)
_base64: Final = st.sampled_from(["AAAA", "SGVsbG8=", "w6k="])
_urls: Final = st.sampled_from(["https://example.org/a b(1).png", "file-id:file-1", "http://[::1]/x"])
_titles: Final = st.none() | words
blobs: Final = st.builds(BlobPart, _media_types, data=_base64, name=_titles) | st.builds(
    BlobPart, _media_types, url=_urls, name=_titles
)
opaques: Final = st.builds(OpaquePart, st.just("a-dialect-of-tomorrow"), json_objects)
results: Final = st.builds(
    ToolResultPart,
    names,
    st.lists(st.builds(TextPart, words) | blobs | opaques, max_size=3).map(tuple),
    st.none() | names,
    st.booleans(),
)
reasonings: Final = st.builds(ReasoningPart, words, st.none() | names)
any_parts: Final[st.SearchStrategy[Part]] = st.one_of(
    st.builds(TextPart, texts),
    st.builds(RefusalPart, texts),
    reasonings,
    st.builds(ReasoningPart, st.just(""), redacted=names),
    any_calls,
    blobs,
    results,
    opaques,
)

_usages: Final = st.none() | st.builds(
    lambda cached, fresh, reasoning, said: Usage(cached + fresh, reasoning + said, cached, reasoning),
    *[st.integers(0, 10**6)] * 4,
)


@st.composite
def plain_parts(draw: st.DrawFn) -> tuple[Part, ...]:
    """At most one reasoning, then at most one text, then tool calls."""
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(ReasoningPart(draw(words)))
    if draw(st.booleans()):
        parts.append(TextPart(draw(words)))
    calls: list[ToolCallPart] = draw(st.lists(plain_calls, max_size=3, unique_by=lambda call: call.call_id))
    return (*parts, *calls)


plain_replies: Final = st.builds(
    Reply,
    names,
    names,
    st.tuples(st.builds(Choice, plain_parts(), st.sampled_from(["stop", "length", "tool_calls"]))),
    st.builds(Usage, st.integers(1, 10**6), st.integers(1, 10**6)),
)
any_replies: Final = st.builds(
    Reply,
    names,
    names,
    st.lists(
        st.builds(
            Choice,
            st.lists(any_parts, max_size=6).map(tuple),
            st.sampled_from(["stop", "length", "tool_calls", "content_filter", "refusal", "error", "pause"]),
            st.none() | words,
        ),
        min_size=1,
        max_size=1,
    ).map(tuple),
    _usages,
    st.integers(0, 2**31),
)


@st.composite
def any_messages(draw: st.DrawFn) -> Message:
    """A message of any role with parts that may stand in it, and some that a dialect would not expect there."""
    roles: list[Role] = ["system", "developer", "user", "assistant", "tool"]
    role = draw(st.sampled_from(roles))
    kinds: st.SearchStrategy[Part]
    match role:
        case "tool":
            kinds = results
        case "user":
            kinds = st.builds(TextPart, texts) | blobs | results | opaques
        case "assistant":
            kinds = any_parts.filter(lambda part: not isinstance(part, ToolResultPart))
        case _:
            kinds = st.builds(TextPart, texts)
    return Message(role, tuple(draw(st.lists(kinds, min_size=1, max_size=4))), draw(st.none() | names))


_tools: Final = st.builds(Tool, names, st.none() | texts, st.just({"type": "object", "properties": {}}))
_choices: Final = st.one_of(
    st.none(),
    st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    st.builds(ToolChoice, st.just("tool"), names),
)
_nameless: Final = st.none() | names
_formats: Final = st.one_of(
    st.none(),
    st.builds(ResponseFormat, st.sampled_from(["text", "json_object"])),
    st.builds(
        ResponseFormat,
        st.just("json_schema"),
        st.none() | names,
        st.just({"type": "object"}),
        st.none() | st.booleans(),
    ),
)
_samplings: Final = st.builds(
    Sampling,
    st.none() | st.integers(1, 10**5),
    st.none() | st.floats(0, 2),
    st.none() | st.floats(0, 1),
    st.lists(words, max_size=3).map(tuple),
    st.none() | st.integers(-(2**31), 2**31),
)
_first_messages: Final = st.builds(lambda text: Message("user", (TextPart(text),)), words)
any_requests: Final = st.builds(
    ChatRequest,
    st.just("a-dialect-of-yesterday"),
    names,
    st.builds(lambda first, more: (first, *more), _first_messages, st.lists(any_messages(), max_size=5)),
    st.booleans(),
    st.lists(_tools, max_size=3, unique_by=lambda tool: tool.name).map(tuple),
    _choices,
    st.none() | st.booleans(),
    _formats,
    _samplings,
    st.integers(1, 3),
    st.booleans(),
)


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces, which may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def sayings(draw: st.DrawFn, reply: Reply) -> list[ReplyEvent]:
    """A reply as events in some order that the grammar allows: parts in pieces, and several of them open at once."""
    events: list[ReplyEvent] = [Started(reply.reply_id, reply.model, reply.created)]
    for number, choice in enumerate(reply.choices):
        queue: list[list[ReplyEvent]] = []
        for index, part in enumerate(choice.parts):
            text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
            queue.append(list(replay_part(number, index, part, draw(pieces_of(text)))))
        events += _merged(draw, queue)
        events.append(ChoiceEnded(number, choice.finish_reason, choice.stop_sequence))
    if reply.usage is not None:
        events.append(UsageReported(reply.usage))
    return [*events, Finished()]


def _merged(draw: st.DrawFn, queue: list[list[ReplyEvent]]) -> Iterator[ReplyEvent]:
    """Events of several parts in turns; the parts begin in their order."""
    opened = 0
    while any(queue):
        candidates = [n for n, events in enumerate(queue) if events and n <= opened]
        chosen = draw(st.sampled_from(candidates))
        event = queue[chosen].pop(0)
        opened += isinstance(event, PartStarted)
        yield event


chunkings: Final = st.lists(st.integers(0, 4000), max_size=6)
"""Places where to cut a stream; those past its end are meaningless."""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The pieces of a stream that is cut there."""
    cuts = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
