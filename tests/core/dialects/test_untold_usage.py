"""Counts that a service does not tell: -1 in every dialect, whole and streamed, and never clamped or added up."""

from __future__ import annotations

import re

import pytest

from motive_core.dialects import DIALECTS, Dialect
from motive_core.ir import UNTOLD_USAGE, ChatRequest, Choice, Message, Reply, TextPart, Usage
from motive_core.stream import collect, replay

EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
REPLY = Reply("r", "m", (Choice((TextPart("hi"),)),), UNTOLD_USAGE)
COUNTS = re.compile(r'"(?:total|input|output|prompt|completion|candidates)_?tokens?(?:count)?"\s*:\s*(-?\d+)', re.I)


def asking(dialect: Dialect) -> ChatRequest:
    return ChatRequest(dialect.name, "m", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)


@EACH
def test_whole(dialect: Dialect) -> None:
    body = dialect.render_reply(asking(dialect), REPLY)
    read = dialect.parse_reply(body).usage
    assert read is not None and (read.input_tokens, read.output_tokens) == (-1, -1), body
    counts = set(COUNTS.findall(body.decode()))
    assert not counts or counts == {"-1"}, body


@EACH
def test_streamed(dialect: Dialect) -> None:
    said = dialect.encoder(asking(dialect)).encode_all(replay(REPLY))
    decoder = dialect.decoder()
    read = collect([*decoder.feed(said), *decoder.close()]).usage
    assert read is not None and (read.input_tokens, read.output_tokens) == (-1, -1), said
    assert b"-2" not in said


def test_a_total_is_known_only_if_both_counts_are() -> None:
    assert Usage(2, 3).total_tokens == 5
    assert Usage(-1, 3).total_tokens == Usage(2, -1).total_tokens == UNTOLD_USAGE.total_tokens == -1
