"""Two texts, word by word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from motive_core.console.diff import diff


def test_by_words() -> None:
    assert diff("a red door", "a blue door") == [("same", "a "), ("gone", "red"), ("new", "blue"), ("same", " door")]
    assert diff("", "") == []
    assert diff("x", "") == [("gone", "x")]


def test_long_texts_by_lines_and_very_long_ones_as_wholes() -> None:
    lines = ["some words in a line\n"] * 1000
    told = diff("".join(lines), "".join([*lines[:500], "other\n", *lines[500:]]))
    assert ("new", "other\n") in told and len(told) == 3
    assert diff("a\n" * 50_000, "b\n" * 50_000) == [("gone", "a\n" * 50_000), ("new", "b\n" * 50_000)]
    assert diff("a\n" * 50_000, "a\n" * 50_000) == [("same", "a\n" * 50_000)]


@given(st.text(alphabet="ab \n.é"), st.text(alphabet="ab \n.é"))
def test_nothing_is_lost(before: str, after: str) -> None:
    told = diff(before, after)
    assert "".join(text for kind, text in told if kind != "new") == before
    assert "".join(text for kind, text in told if kind != "gone") == after
