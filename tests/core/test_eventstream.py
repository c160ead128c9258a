"""AWS event streams: our encoder against botocore's parser, and the shell around that parser against all that is
wrong."""

from __future__ import annotations

import struct
import sys
import time
import tracemalloc
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from motive_core.errors import FramingError
from motive_core.framing import EventStreamDecoder, Frame, event_frame, exception_frame
from tests.core.strategies import EXACT, chunkings, cut

EVENT = event_frame("messageStart", b'{"role":"assistant"}')
TYPES = {
    "true": (b"\x00", True),
    "false": (b"\x01", False),
    "byte": (b"\x02\xff", -1),
    "short": (b"\x03\x01\x00", 256),
    "integer": (b"\x04\xff\xff\xff\xff", -1),
    "long": (b"\x05" + struct.pack("!q", 2**40), 2**40),
    "bytes": (b"\x06\x00\x02\x00\xff", b"\x00\xff"),
    "string": (b"\x07\x00\x02\xc3\xa9", "é"),
    "timestamp": (b"\x08" + struct.pack("!q", 1_795_230_236_000), 1_795_230_236_000),
    "uuid": (b"\x09" + bytes(range(16)), bytes(range(16))),
}


def frame(
    headers: bytes, payload: bytes = b"", *, length: int | None = None, headers_length: int | None = None
) -> bytes:
    """A frame with right checksums, whatever its lengths say."""
    total = 16 + len(headers) + len(payload) if length is None else length
    prelude = struct.pack("!II", total, len(headers) if headers_length is None else headers_length)
    checked = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return checked + struct.pack("!I", crc32(checked))


def header(name: str, value: str) -> bytes:
    return (
        bytes((len(name.encode()),)) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
    )


def decode(*chunks: bytes, limit: int = 1_000_000) -> list[Frame]:
    decoder = EventStreamDecoder(limit)
    return [*[frame for chunk in chunks for frame in decoder.feed(chunk)], *decoder.close()]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(frames=st.lists(st.tuples(st.booleans(), names, st.binary(max_size=80)), max_size=6), places=chunkings)
@EXACT
def test_every_frame_is_read_by_botocore_and_by_us(frames: list[tuple[bool, str, bytes]], places: list[int]) -> None:
    data = b"".join([(exception_frame if failed else event_frame)(name, payload) for failed, name, payload in frames])
    theirs = EventStreamBuffer()
    theirs.add_data(data)

    expected = [Frame("exception" if failed else "event", name, payload) for failed, name, payload in frames]
    told = []
    for message in theirs:
        kind = message.headers[":message-type"]
        told.append(Frame(kind, message.headers[f":{kind}-type"], message.payload))
        assert message.headers[":content-type"] == "application/json"
    assert told == expected
    assert decode(*cut(data, places)) == expected
    assert decode(*[data[at : at + 1] for at in range(len(data))]) == expected


def test_a_frame_has_the_bytes_of_the_specification() -> None:
    headers = header(":event-type", "chunk") + header(":content-type", "application/json")
    assert event_frame("chunk", b"{}") == frame(headers + header(":message-type", "event"), b"{}")


def test_frames_of_other_kinds() -> None:
    error = header(":message-type", "error") + header(":error-code", "Slow") + header(":error-message", "Slow down.")
    assert decode(frame(error, b"x")) == [Frame("error", "Slow", b"x", "Slow down.")]
    assert decode(frame(b"", b"x")) == [Frame("event", "", b"x")]
    assert decode(frame(header(":event-type", "initial-response"))) == [Frame("event", "initial-response", b"")]


@pytest.mark.parametrize("name", TYPES)
def test_headers_of_every_type_are_read(name: str) -> None:
    value, _ = TYPES[name]
    other = b"\x05other" + value
    assert decode(frame(other + header(":event-type", "a") + other.replace(b"other", b"again"), b"x")) == [
        Frame("event", "a", b"x")
    ]


def test_a_name_that_is_no_text_is_still_a_name() -> None:
    assert decode(frame(b"\x0b:event-type\x04\x00\x00\x00\x07")) == [Frame("event", "7", b"")]


def test_a_stream_may_be_empty() -> None:
    assert decode() == decode(b"") == decode(b"", b"") == []


@pytest.mark.parametrize("at", range(len(EVENT)))
def test_any_byte_that_is_wrong_is_found(at: int) -> None:
    for bit in (1, 0x80):
        broken = EVENT[:at] + bytes((EVENT[at] ^ bit,)) + EVENT[at + 1 :]
        with pytest.raises(FramingError):
            decode(broken)
        decoder = EventStreamDecoder()
        with pytest.raises(FramingError):
            for place in range(len(broken)):
                decoder.feed(broken[place : place + 1])
            decoder.close()


@pytest.mark.parametrize("at", range(1, len(EVENT)))
def test_a_stream_that_is_cut_is_told(at: int) -> None:
    decoder = EventStreamDecoder()
    assert decoder.feed(EVENT + EVENT[:at]) == [Frame("event", "messageStart", b'{"role":"assistant"}')]
    for _ in range(2):
        with pytest.raises(FramingError, match="ended within a frame"):
            decoder.close()


@pytest.mark.parametrize(
    "broken",
    [
        *[frame(b"", length=length) for length in (0, 1, 12, 15)],
        frame(b"", b"x" * 20, length=17),
        frame(b"", headers_length=1),
        frame(header("a", "b"), headers_length=500),
        frame(b"", headers_length=2**32 - 1),
        frame(b"", length=2**32 - 1),
        frame(b"", length=2**31),
        frame(b"x" * 131_073),
        frame(b"\x05other\x0a"),
        frame(b"\x05other"),
        frame(b"\x05oth"),
        frame(b"\x05other\x04\x00"),
        frame(b"\x05other\x07\x00\x01\xff"),
        frame(b"\x01\xff\x00"),
        frame(header("a", "b") * 2),
        b"data: {}\n\ndata: [DONE]\n\n",
        b'{"message":"Internal Server Error"}',
        b"\x00" * 64,
    ],
    ids=lambda broken: f"{len(broken)}-{broken[:12].hex()}",
)
def test_what_is_no_event_stream_is_an_error_that_stays(broken: bytes) -> None:
    decoder = EventStreamDecoder()
    assert decoder.feed(EVENT + broken) == decode(EVENT)
    for _ in range(2):
        with pytest.raises(FramingError):
            decoder.feed(EVENT)
    with pytest.raises(FramingError):
        decoder.close()
    with pytest.raises(FramingError):
        decode(broken)


@given(chunks=st.lists(st.binary(max_size=40), max_size=6), begun=st.integers(0, len(EVENT)))
@EXACT
def test_any_bytes_give_frames_or_a_framing_error(chunks: list[bytes], begun: int) -> None:
    try:
        frames = decode(EVENT[:begun], *chunks)
    except FramingError:
        return
    assert b"".join([event_frame(one.name, one.payload) for one in frames]) == EVENT[:begun] + b"".join(chunks)


def test_a_frame_over_the_limit_is_refused_as_soon_as_it_says_so() -> None:
    data = event_frame("a", b"x" * 2000)
    assert len(decode(data, limit=len(data))) == 1
    decoder = EventStreamDecoder(len(data) - 1)
    with pytest.raises(FramingError, match=f"over {len(data) - 1} bytes"):
        decoder.feed(data[:12])


def test_a_length_that_is_announced_takes_no_memory() -> None:
    tracemalloc.start()
    decoder = EventStreamDecoder()
    decoder.feed(frame(b"", length=16 * 1024 * 1024)[:12])
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_large_frame_in_small_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        data = event_frame("a", b"x" * size)
        began = time.process_time()
        assert len(decode(*[data[at : at + 100] for at in range(0, len(data), 100)], limit=2 * size)) == 1
        return time.process_time() - began

    assert min(seconds(8_000_000) for _ in range(3)) < 30 * min(seconds(1_000_000) for _ in range(3))


def test_without_botocore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.eventstream", None)
    assert event_frame("messageStart", b'{"role":"assistant"}') == EVENT
    decoder = EventStreamDecoder()
    with pytest.raises(FramingError, match="install the extra 'bedrock'"):
        decoder.feed(EVENT)
    with pytest.raises(FramingError, match="install the extra 'bedrock'"):
        decoder.close()
