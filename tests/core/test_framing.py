"""Server-sent events: the WHATWG standard, section 9.2, and where we differ from it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.errors import FramingError
from motive_core.framing import SseDecoder, SseEvent, sse_comment, sse_event
from tests.core.strategies import EXACT, cut, texts


def decode(*chunks: bytes, limit: int = 1_000_000) -> list[SseEvent]:
    decoder = SseDecoder(limit)
    return [*[event for chunk in chunks for event in decoder.feed(chunk)], *decoder.close()]


def data(*texts: str) -> list[SseEvent]:
    return [SseEvent(None, text, None) for text in texts]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", data("a")),
        (b"data: a\r\n\r\n", data("a")),
        (b"data: a\r\r", data("a")),
        (b"data: a\n\r\n", data("a")),
        (b"data: a\n\ndata: b\n\n", data("a", "b")),
        (b"data: a\ndata: b\n\n", data("a\nb")),
        (b"data: a\r\ndata: b\rdata: c\n\n", data("a\nb\nc")),
        (b"data:a\n\n", data("a")),
        (b"data:  a\n\n", data(" a")),
        (b"data:\n\n", data("")),
        (b"data\n\n", data("")),
        (b"data\ndata\n\n", data("\n")),
        (b"data: a:b: c\n\n", data("a:b: c")),
        (b"\n\n\n\ndata: a\n\n\n\n\n", data("a")),
        (b"\r\n\r\ndata: a\r\n\r\n\r\n", data("a")),
        (b": a comment\n\n", []),
        (b":\n:\n\ndata: a\n\n", data("a")),
        (b": between\ndata: a\n: within\ndata: b\n\n", data("a\nb")),
        (b"event: x\n\n", []),
        (b"event: x\n\ndata: a\n\n", data("a")),
        (b"event: x\ndata: a\n\ndata: b\n\n", [SseEvent("x", "a", None), SseEvent(None, "b", None)]),
        (b"data: a\nevent: x\n\n", [SseEvent("x", "a", None)]),
        (b"event: x\nevent: y\ndata: a\n\n", [SseEvent("y", "a", None)]),
        (b"event:\ndata: a\n\n", data("a")),
        (b"event: \ndata: a\n\n", data("a")),
        (b"event: x\ndata: a\ndata: b\n\n", [SseEvent("x", "a\nb", None)]),
        (b"event: x\n: c\ndata: a\n\n", [SseEvent("x", "a", None)]),
        (b"id: 7\ndata: a\n\ndata: b\n\n", [SseEvent(None, "a", "7"), SseEvent(None, "b", "7")]),
        (b"id: 7\n\nevent: x\ndata: b\n\n", [SseEvent("x", "b", "7")]),
        (b"id: 7\ndata: a\n\nid\ndata: b\n\n", [SseEvent(None, "a", "7"), SseEvent(None, "b", "")]),
        (b"id: 7\ndata: a\n\nid: \x00\ndata: b\n\n", [SseEvent(None, "a", "7"), SseEvent(None, "b", "7")]),
        (b"retry: 10\ndata: a\n\n", data("a")),
        (b"foo: b\ndata: a\nDATA: c\n data: d\n\n", data("a")),
        (b"\xef\xbb\xbfdata: a\n\n", data("a")),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: \xef\xbb\xbfa\n\n", data("\ufeffa")),
        ("data: Grüße 👩‍👩‍👧\u2028\x85\x0b\x0c\x1c\n\n".encode(), data("Grüße 👩‍👩‍👧\u2028\x85\x0b\x0c\x1c")),
        (b"data: a\x00b\n\n", data("a\x00b")),
        (b"", []),
    ],
)
def test_streams_of_the_standard(stream: bytes, events: list[SseEvent]) -> None:
    assert decode(stream) == events
    assert decode(*[stream[at : at + 1] for at in range(len(stream))]) == events
    for at in range(len(stream)):
        assert decode(stream[:at], b"", stream[at:]) == events


@pytest.mark.parametrize(
    ("rest", "event"),
    [
        (b"data: a", data("a")),
        (b"data: a\n", data("a")),
        (b"event: x\ndata: a\ndata: b", [SseEvent("x", "a\nb", None)]),
        (b"data: a\r", data("a")),
        (b"event: x\n", []),
        (b": comm", []),
        (b"dat", []),
    ],
)
def test_an_unterminated_last_event_is_given_if_it_has_data(rest: bytes, event: list[SseEvent]) -> None:
    assert decode(b"data: first\n\n" + rest) == [*data("first"), *event]


def test_events_are_given_as_soon_as_they_are_complete() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"data: a\r\n\r") == data("a")
    assert decoder.feed(b"\ndata: b\n") == []
    assert decoder.feed(b"\n") == data("b")
    assert decoder.feed(b"event: x\nda") == []
    assert decoder.feed(b"ta: c\n\n: d") == [SseEvent("x", "c", None)]
    assert decoder.close() == []


@pytest.mark.parametrize(
    "stream", [b"data: \xff\n\n", b"data: \xed\xa0\x80\n\n", b"event: \xff\ndata: a\n\n", b": \xff\n\n"]
)
def test_what_is_not_utf_8_is_an_error(stream: bytes) -> None:
    with pytest.raises(FramingError, match="not UTF-8"):
        decode(stream)
    with pytest.raises(FramingError, match="not UTF-8"):
        decode(stream[:-2])


def test_a_character_that_is_cut_off_at_the_end_is_an_error() -> None:
    with pytest.raises(FramingError, match="not UTF-8"):
        decode("data: ü".encode()[:-1])


def test_events_before_a_fault_are_given_first_and_the_fault_stays() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"data: a\n\ndata: \xff\n\ndata: c\n\n") == data("a")
    for _ in range(2):
        with pytest.raises(FramingError):
            decoder.feed(b"data: d\n\n")
    with pytest.raises(FramingError):
        decoder.close()


@pytest.mark.parametrize(
    "event",
    [b"data: 123456789", b"event: 1\ndata: 2", b"data: 1\ndata: 23", b": 4567890123456", b"data:1\n:\n:\n:\n:2"],
)
def test_an_event_may_be_as_large_as_the_limit_and_no_larger(event: bytes) -> None:
    stream = b"data: a\n\n" + event + b"\n\ndata: b\n\n"
    for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        assert decode(*chunks, limit=len(event))[-1] == SseEvent(None, "b", None)
        with pytest.raises(FramingError, match=f"over {len(event) - 1} bytes"):
            decode(*chunks, limit=len(event) - 1)


def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    decoder = SseDecoder(event_limit_bytes=1000)

    with pytest.raises(FramingError, match="over 1000 bytes"):
        for _ in range(11):
            decoder.feed(b"x" * 100)


def test_what_is_encoded() -> None:
    assert sse_event(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert sse_event(b"a", "ping") == b"event: ping\ndata: a\n\n"
    assert sse_event(b"a\nb\r\nc\rd\n") == b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
    assert sse_event(b"") == b"data: \n\n"
    assert sse_comment("keep-alive") == b": keep-alive\n\n"
    assert sse_comment("a\nb") == b": a\n: b\n\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "\n"])
def test_the_name_of_an_event_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        sse_event(b"a", name)


_NAMES = st.none() | st.from_regex(r"[^\r\n\0]{1,8}", fullmatch=True).filter(lambda name: not name.startswith(" "))


@given(
    events=st.lists(st.tuples(_NAMES, texts), max_size=5),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    places=st.lists(st.integers(0, 300), max_size=5),
)
@EXACT
def test_what_is_encoded_is_decoded_however_it_is_cut(
    events: list[tuple[str | None, str]], line_end: bytes, places: list[int]
) -> None:
    stream = b"".join([sse_event(text.encode(), name) + sse_comment(text) for name, text in events])
    expected = [SseEvent(name, re.sub("\r\n|\r", "\n", text), None) for name, text in events]

    assert decode(*cut(stream.replace(b"\n", line_end), places)) == expected


@given(stream=st.binary(max_size=60), places=st.lists(st.integers(0, 60), max_size=4))
@EXACT
def test_any_bytes_decode_the_same_however_they_are_cut(stream: bytes, places: list[int]) -> None:
    stream = stream.replace(b"\x01", b"\n").replace(b"\x02", b"\r").replace(b"\x03", b"data:").replace(b"\x00", b"\n\n")

    def outcome(*chunks: bytes) -> tuple[list[SseEvent], bool]:
        decoder = SseDecoder()
        events: list[SseEvent] = []
        try:
            for chunk in chunks:
                events += decoder.feed(chunk)
            return events + decoder.close(), False
        except FramingError:
            return events, True

    assert outcome(*cut(stream, places)) == outcome(*[stream[at : at + 1] for at in range(len(stream))])
