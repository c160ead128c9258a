"""JSON values that come one after the other: lines, and the objects of an array."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.errors import FramingError
from motive_core.framing import JsonArrayDecoder, JsonLinesDecoder
from tests.core.strategies import EXACT, chunkings, cut, json_objects, json_values

type Values = JsonLinesDecoder | JsonArrayDecoder

EACH = pytest.mark.parametrize("kind", [JsonLinesDecoder, JsonArrayDecoder])
SPACES = st.sampled_from(["", " ", "\n", "\r\n", "\t \n", "\n\n"])
TRICKY: list[dict[str, Any]] = [
    {"a": '}]{["\\'},
    {"a": "\\"},
    {"a": '\\"'},
    {"a": {"b": [[{}], {"c": "]"}]}},
    {'"}': "é👩‍👧\u2028"},
    {},
    {"a": ""},
    {"a": "\\\\\\"},
]


def decode(kind: Callable[[int], Values], *chunks: bytes, limit: int = 1_000_000) -> list[bytes]:
    decoder = kind(limit)
    return [*[value for chunk in chunks for value in decoder.feed(chunk)], *decoder.close()]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# Lines.


@given(values=st.lists(st.tuples(json_values, SPACES, SPACES), max_size=6), places=chunkings, ended=st.booleans())
@EXACT
def test_lines_in_any_split(values: list[tuple[Any, str, str]], places: list[int], ended: bool) -> None:
    texts = [json.dumps(value, ensure_ascii=len(before) > 1).encode() for value, before, _ in values]
    lines = [before.encode() + text + after.encode() for text, (_, before, after) in zip(texts, values, strict=True)]
    data = b"\n".join(lines) + (b"\n" if ended else b"")

    assert decode(JsonLinesDecoder, *cut(data, places)) == texts
    assert decode(JsonLinesDecoder, *bytewise(data)) == texts
    assert [json.loads(text) for text in texts] == [value for value, _, _ in values]


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (b"{}", [b"{}"]),
        (b"{}\n[]\r\n1\n", [b"{}", b"[]", b"1"]),
        (b"  {} \n", [b"{}"]),
        (b"{}\n{", [b"{}", b"{"]),
        (b'{"a":"\\n"}\n', [b'{"a":"\\n"}']),
        ('{"a":"\u2028\x85\x0b"}\n'.encode(), ['{"a":"\u2028\x85\x0b"}'.encode()]),
        (b"<html>\n</html>", [b"<html>", b"</html>"]),
    ],
)
def test_lines(data: bytes, values: list[bytes]) -> None:
    assert decode(JsonLinesDecoder, data) == values
    assert decode(JsonLinesDecoder, *bytewise(data)) == values


def test_a_line_is_given_as_soon_as_it_ends() -> None:
    decoder = JsonLinesDecoder()
    assert decoder.feed(b"{") == []
    assert decoder.feed(b"}\n[") == [b"{}"]
    assert decoder.close() == [b"["]
    assert decoder.close() == []


# Arrays.


@given(values=st.lists(st.tuples(json_objects | st.sampled_from(TRICKY), SPACES, SPACES), max_size=6), places=chunkings)
@EXACT
def test_an_array_in_any_split(values: list[tuple[Any, str, str]], places: list[int]) -> None:
    texts = [json.dumps(value, ensure_ascii=len(before) > 1, indent=1).encode() for value, before, _ in values]
    items = [before.encode() + text + after.encode() for text, (_, before, after) in zip(texts, values, strict=True)]
    data = b" [\n" + b",".join(items) + b"]\n"

    for chunks in ([data], cut(data, places), bytewise(data)):
        assert decode(JsonArrayDecoder, *chunks) == texts
    for at in range(len(data) - 2):
        decoder = JsonArrayDecoder()
        assert not [value for value in decoder.feed(data[:at]) if value not in texts]
        assert not decoder.complete
        if b"[" in data[:at]:
            with pytest.raises(FramingError, match="ended before its array"):
                decoder.close()


@pytest.mark.parametrize("value", TRICKY, ids=str)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_an_object_alone_is_an_array_of_one(value: dict[str, Any], ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    for at in range(len(data)):
        decoder = JsonArrayDecoder()
        assert decoder.feed(b" " + data[:at]) == []
        assert decoder.feed(data[at:] + b"\n ") == [data]
        assert decoder.complete
        assert decoder.close() == []
        decoder = JsonArrayDecoder()
        decoder.feed(data[:at])
        if at:
            with pytest.raises(FramingError):
                decoder.close()


def test_an_object_is_given_as_soon_as_it_ends() -> None:
    decoder = JsonArrayDecoder()
    assert decoder.feed(b'[{"a":"}') == []
    assert decoder.feed(b'"}') == [b'{"a":"}"}']
    assert not decoder.complete
    assert decoder.feed(b",{},") == [b"{}"]
    assert decoder.feed(b"{}]") == [b"{}"]
    assert decoder.complete


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"x", []),
        (b"1", []),
        (b'"a"', []),
        (b"null", []),
        (b"]", []),
        (b",", []),
        (b"}", []),
        (b"[1]", []),
        (b"[[{}]]", []),
        (b"[,{}]", []),
        (b"[{},]", [b"{}"]),
        (b"[{},,{}]", [b"{}"]),
        (b"[{}{}]", [b"{}"]),
        (b"[{} {}]", [b"{}"]),
        (b"[{}]]", [b"{}"]),
        (b"[{}],", [b"{}"]),
        (b"[{}][{}]", [b"{}"]),
        (b"{}{}", [b"{}"]),
        (b"{},{}", [b"{}"]),
        (b"{}]", [b"{}"]),
        (b"[]{}", []),
        (b"data: {}\n\n", []),
        (b"\xef\xbb\xbf[]", []),
        (b"[\x00{}]", []),
    ],
)
def test_what_is_no_array_of_objects_is_an_error_that_stays(data: bytes, values: list[bytes]) -> None:
    for chunks in ([data], bytewise(data)):
        decoder = JsonArrayDecoder()
        got: list[bytes] = []
        with pytest.raises(FramingError):
            for chunk in [*chunks, b""]:
                got += decoder.feed(chunk)
        assert got == values
        with pytest.raises(FramingError):
            decoder.feed(b"[{}]")
        with pytest.raises(FramingError):
            decoder.close()


def test_an_empty_array_and_nothing_at_all() -> None:
    assert decode(JsonArrayDecoder, b"[ ]\r\n") == []
    assert decode(JsonArrayDecoder, b"") == decode(JsonArrayDecoder, b" \n") == []


# Both.


@EACH
@given(
    chunks=st.lists(st.binary(max_size=20) | st.sampled_from([b"[", b"{", b'"', b"\\", b"}", b"]", b","]), max_size=9)
)
@EXACT
def test_any_bytes_give_values_or_a_framing_error_in_any_split(
    kind: Callable[[int], Values], chunks: list[bytes]
) -> None:
    def outcome(parts: list[bytes]) -> tuple[list[bytes], bool]:
        decoder = kind(1000)
        values: list[bytes] = []
        try:
            for part in parts:
                values += decoder.feed(part)
            values += decoder.feed(b"")
            return values + decoder.close(), False
        except FramingError:
            return values, True

    whole = outcome([b"".join(chunks)])
    assert outcome(chunks) == whole
    assert outcome(bytewise(b"".join(chunks))) == whole


@EACH
def test_a_value_over_the_limit_is_refused(kind: Callable[[int], Values]) -> None:
    value = b'{"a":"%b"}' % (b"x" * 92)
    for data in (value, b"[" + value + b"]") if kind is JsonArrayDecoder else (value + b"\n", value):
        assert decode(kind, data, limit=100) == [value]
        assert decode(kind, *bytewise(data), limit=100) == [value]
        for chunks in ([data], bytewise(data)):
            with pytest.raises(FramingError, match="over 99 bytes"):
                decode(kind, *chunks, limit=99)


@EACH
def test_a_value_that_never_ends_is_refused_in_time(kind: Callable[[int], Values]) -> None:
    decoder = kind(1000)
    with pytest.raises(FramingError, match="over 1000 bytes"):
        for _ in range(1000):
            decoder.feed(b'{"a":[')


@EACH
@pytest.mark.parametrize("piece", [b"x" * 50, b"\\n" * 25, b'\\"' * 25, b"\\" * 50, b'","' * 20, b"[]{}" * 10])
def test_time_grows_with_the_size_only(kind: Callable[[int], Values], piece: bytes) -> None:
    def seconds(count: int, size: int) -> float:
        data = b'{"a":"' + piece * count + b'"}\n'
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        began = time.process_time()
        assert decode(kind, *chunks, limit=len(data)) == [data[:-1]]
        return time.process_time() - began

    for size in (7, 4096, 10**9):
        short, long = (min(seconds(count, size) for _ in range(3)) for count in (2_000, 20_000))
        assert long < 40 * short + 0.01, f"pieces of {size} bytes"
