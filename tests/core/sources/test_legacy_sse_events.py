"""Events of a legacy search API: literals are read as Python reads them, nothing is evaluated, nothing runs away."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.errors import FramingError
from motive_core.framing import SseEvent
from motive_core.sources.legacy_sse_events import Citation, Done, Fault, Told, Unknown, Word, read_event, read_literal

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(_TEXTS, inner),
    max_leaves=20,
)


def listed(value: Any) -> Any:
    """With lists for tuples."""
    if isinstance(value, list | tuple):
        return [listed(one) for one in value]
    if isinstance(value, dict):
        return {key: listed(one) for key, one in value.items()}
    return value


def told(data: str, event: str | None = None) -> list[Told]:
    return read_event(SseEvent(event, data, None))


@given(VALUES)
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert read_literal(repr(value)) == listed(value)


@given(VALUES, st.integers(0, 200), st.sampled_from("'\"\\{}[](),:xue.0_ \n"))
def test_nothing_but_its_own_error_is_raised(value: Any, at: int, character: str) -> None:
    text = repr(value)
    with contextlib.suppress(FramingError):
        read_literal(text[:at] + character + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{'type': __import__('os')}",
        "{'a': [x for x in 'ab']}",
        "{'a': 1 + 1}",
        "{'a': 'b' 'c'}",
        "{'a': f'{1}'}",
        "{'a': b'x'}",
        "{'a': 'x' * 1000000000}",
        "{'a': --1}",
        "{'a'}",
        "{1: 'a'}",
        "{'a': 'b'",
        "{'a': 'b}",
        "{'a': 'b'} {}",
        "{'a' 'b'}",
        "{, }",
        "{'a': nan}",
        "",
    ],
)
def test_what_is_no_plain_literal_is_refused(text: str) -> None:
    with pytest.raises(FramingError):
        read_literal(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "(" * 100_000,
        "{'a':" * 100_000,
        "-" * 100_000 + "1",
        "1" * 100_000,
        "[" + "1," * 100_000 + "]",
        "'" * 100_000,
    ],
    ids=["lists", "tuples", "mappings", "signs", "digits", "values", "quotes"],
)
def test_what_is_too_much_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(FramingError):
        read_literal(text)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"'\x41\u00e9\U0001f600\101\0\q\'\"\\\n\r\t\a\b\f\v'", "A\xe9\U0001f600A\0\\q'\"\\\n\r\t\a\b\f\v"),
        (r"'a\ud83d\ude00b'", "a\U0001f600b"),
        (r"'a\ud83d b'", "a\ufffd b"),
        (r"'\UFFFFFFFF'", "\ufffd"),
        ("'a\\\nb'", "ab"),
        ("u'a'", "a"),
        (" ( 1 , -2.5e3 , ) ", [1, -2500.0]),
        ("{}", {}),
        ("[None, null, True, true]", [None, None, True, True]),
    ],
)
def test_escapes_and_forms(text: str, value: Any) -> None:
    assert read_literal(text) == value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{'type': 'response', 'data': 'word'}", [Word("word")]),
        ('{"type": "response", "data": "wo\\u0072d \\ud83d\\ude00\\/"}', [Word("word \U0001f600/")]),
        ("{'type': 'response', 'data': \"it's\"}", [Word("it's")]),
        (" {'data': ' a\\n', 'type': 'response', 'more': [1, {}]} ", [Word(" a\n")]),
        ("{'type': 'response', 'data': ''}", [Word("")]),
        ("{'type': 'response', 'data': 42}", [Word("42")]),
        ("{'type': 'response', 'data': None}", []),
        ("{'type': 'response'}", []),
        ("{'type': 'citation', 'data': 'doc-1'}", [Citation("doc-1")]),
        ("{'type': 'citation', 'data': 17}", [Citation("17")]),
        ("{'type': 'citation', 'data': ['a', 'b']}", [Citation("a"), Citation("b")]),
        ("{'type': 'citations', 'data': ['a']}", [Citation("a")]),
        (
            "{'type': 'citation', 'data': {'id': 'a', 'title': 'A', 'url': 'https://a.example', 'text': 'aa', 'n': 0}}",
            [Citation("a", "A", "https://a.example", "aa")],
        ),
        (
            "{'type': 'citation', 'data': {'uri': 'https://a.example'}}",
            [Citation("https://a.example", "", "https://a.example")],
        ),
        ("{'type': 'citation', 'data': None}", []),
        ("{'type': 'error', 'data': 'no index'}", [Fault("no index")]),
        ("{'type': 'error', 'message': 'no index'}", [Fault("no index")]),
        ("{'type': 'error', 'data': {'detail': 'no index'}}", [Fault("no index")]),
        ("{'type': 'error', 'data': [1]}", [Fault("")]),
        ("{'type': 'status', 'data': 'searching'}", [Unknown()]),
        ("{'data': 'word'}", [Unknown()]),
        ("{'type': ['response'], 'data': 'word'}", [Unknown()]),
        ("{}", [Unknown()]),
        ("[DONE]", [Done()]),
        ("ping", [Unknown()]),
        ("", [Unknown()]),
        ("[1, 2]", [Unknown()]),
    ],
)
def test_what_an_event_says(data: str, said: list[Told]) -> None:
    assert told(data) == said


def test_the_name_of_an_event_is_its_type_where_it_has_no_other() -> None:
    assert told("{'data': 'word'}", "response") == [Word("word")]
    assert told("no index", "error") == [Fault("no index")]
    assert told("now", "ping") == [Unknown()]


@pytest.mark.parametrize(
    "data",
    [
        "{'type': 'response', 'data': 'wor",
        "{'type': 'response', 'data': ['word']}",
        "{'type': 'response', 'data': True}",
        "{'type': 'citation', 'data': ''}",
        "{'type': 'citation', 'data': {}}",
        "{'type': 'citation', 'data': True}",
        "{'type': 'response', 'data': open('/etc/passwd').read()}",
        json.dumps({"type": "response"}) + "x",
        '{"a":' * 1000,
    ],
)
def test_an_event_that_cannot_be_read_is_an_error(data: str) -> None:
    with pytest.raises(FramingError, match="an event of the stream") as raised:
        told(data)
    assert "passwd" not in str(raised.value)
