"""Bodies in every content encoding that clients use, whole, cut, and far too large once unpacked."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from motive_core.content import MOST_VALUES, check_values, decode_body
from motive_core.errors import BadRequestError, PayloadTooLargeError

BODY = '{"model": "npc", "text": "Größe\\n"}'.encode() * 50


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def zstd_in_frames(data: bytes) -> bytes:
    half = len(data) // 2
    packer = zstandard.ZstdCompressor()
    return packer.compress(data[:half]) + packer.compress(data[half:])


ENCODED = [
    ("gzip", gzip.compress(BODY)),
    ("x-gzip", gzip.compress(BODY)),
    ("deflate", zlib.compress(BODY)),
    ("deflate", raw_deflate(BODY)),
    ("br", brotli.compress(BODY)),
    ("zstd", zstandard.ZstdCompressor().compress(BODY)),
    ("zstd", zstd_in_frames(BODY)),
    ("GZIP", gzip.compress(BODY)),
    ("", BODY),
    ("identity", BODY),
    ("gzip, br", brotli.compress(gzip.compress(BODY))),
]


NAMES = [f"{number}-{encoding or 'none'}" for number, (encoding, _) in enumerate(ENCODED)]
PACKED = [pair for pair in ENCODED if pair[0] not in ("", "identity")]


@pytest.mark.parametrize(("encoding", "body"), ENCODED, ids=NAMES)
def test_a_body_is_decoded(encoding: str, body: bytes) -> None:
    assert decode_body(body, encoding, 10_000) == BODY


@pytest.mark.parametrize(("encoding", "body"), PACKED, ids=[str(number) for number in range(len(PACKED))])
def test_a_cut_body_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(BadRequestError):
        decode_body(body[:-9], encoding, 10_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_in_no_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        decode_body(b"{}", encoding, 10_000)
    assert caught.value.param == "content-encoding"


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(BadRequestError, match="'lzma'"):
        decode_body(b"{}", "lzma", 10_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_refused(encoding: str) -> None:
    bomb = b"\0" * 50_000_000
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": lambda data: bytes(brotli.compress(data, quality=5)),
        "zstd": zstandard.ZstdCompressor().compress,
    }
    packed = packers[encoding](bomb)
    with pytest.raises(PayloadTooLargeError):
        decode_body(packed, encoding, 1_000_000)


@pytest.mark.parametrize(("encoding", "body"), ENCODED, ids=NAMES)
def test_a_body_of_exactly_the_limit_is_taken(encoding: str, body: bytes) -> None:
    assert decode_body(body, encoding, len(BODY)) == BODY


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (MOST_VALUES + 1),
        b'{"a":' * (MOST_VALUES + 1),
        b"[" + b"1," * MOST_VALUES + b"1]",
        b'["",' + b'"\\"",' * MOST_VALUES + b"1]",
        b"," * MOST_VALUES + b'""' * (2 * MOST_VALUES + 1) + b",",
        b'{"text": "' + b"," * MOST_VALUES + b'", "more": [' + b"{}," * MOST_VALUES + b"0]}",
    ],
    ids=["arrays", "objects", "elements", "strings", "nothing but strings", "after a text"],
)
def test_too_many_values(body: bytes) -> None:
    with pytest.raises(PayloadTooLargeError, match="more than 100000 JSON values"):
        check_values(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" + b"1," * (MOST_VALUES - 2) + b"1]",
        b'{"text": "' + b'[{,\\"' * MOST_VALUES + b'"}',
        b'{"text": "' + b",\\\\" * MOST_VALUES + b'"}',
        b'"' + b',\\"' * MOST_VALUES,
        b'"' + b",\\" * MOST_VALUES,
    ],
    ids=["nothing", "just as many", "brackets in a text", "backslashes", "a text that does not end", "nor this"],
)
def test_what_stands_in_a_text_is_no_value(body: bytes) -> None:
    check_values(body)
