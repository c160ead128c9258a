"""Two texts, word by word."""

from __future__ import annotations

import time
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.console import diff as diff_module
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a " * 1000, "a b " * 500),
        ("a\n" * 1000 + "b\n" * 1000, "b\na\n" * 1000),
        ("word " * 100_000, "other " * 100_000),
        ("\n" * 2_000_000, " \n" * 1_000_000),
        ("".join(map(chr, range(0x4E00, 0x5200))), "".join(map(chr, range(0x5200, 0x4E00, -1)))),
    ],
)
def test_no_text_takes_long(before: str, after: str) -> None:
    """The whole proxy waits meanwhile. What it measures against took half a minute."""
    began = time.perf_counter()
    told = diff(before, after)
    assert time.perf_counter() - began < 2
    assert "".join(text for kind, text in told if kind != "new") == before


def test_a_few_other_words_in_a_long_text_are_found() -> None:
    words = [f"word{number}" for number in range(10_000)]
    other = [*words[:50], "new", *words[51:9000], *words[9001:]]
    changed = [piece for piece in diff(" ".join(words), " ".join(other)) if piece[0] != "same"]
    assert changed == [("gone", "word50"), ("new", "new"), ("gone", " word9000")]


def test_how_a_very_long_text_goes_on_is_found() -> None:
    text = "word " * 500_000
    assert diff(f"{text}end", f"{text}end of it") == [("same", f"{text}end"), ("new", " of it")]
    assert diff(f"old {text}", f"new {text}") == [("gone", "old"), ("new", "new"), ("same", f" {text}")]


def test_signs_of_chinese_and_japanese_are_words() -> None:
    assert diff("我是门卫。", "我是卫兵。")[0] == ("same", "我是")


@given(st.text(alphabet="ab \n.é我"), st.text(alphabet="ab \n.é我"))
def test_nothing_is_lost(before: str, after: str) -> None:
    for most in (diff_module._WORD_CHARACTERS, 5):
        with patch.object(diff_module, "_WORD_CHARACTERS", most):
            told = diff(before, after)
        assert "".join(text for kind, text in told if kind != "new") == before
        assert "".join(text for kind, text in told if kind != "gone") == after
        assert all(one != other for (one, _), (other, _) in pairwise(told))
