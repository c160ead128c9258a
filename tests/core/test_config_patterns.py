"""The small languages of the configuration: what each means, what is refused, and that no text makes one slow."""

from __future__ import annotations

import re
import time
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive_core.config import CAPTURED_CHARACTERS, MATCHED_CHARACTERS, Matcher, glob_regex, split_host, visible
from motive_core.settings.patterns import check_network, check_origin, check_service


def test_a_regex_is_linear() -> None:
    """The first of these would take Python's engine longer than the universe has existed."""
    text = "a" * 200_000 + "b"
    assert Matcher(r"(a+)+$").search(text) is None
    assert Matcher(r"(a|aa)+$").search(text) is None
    assert Matcher(r"(?P<word>\w*) $").search(text) is None
    assert Matcher(r"(.*)*.*.*=.*c").search(text) is None


def test_how_much_of_a_text_is_seen() -> None:
    before = "x" * (MATCHED_CHARACTERS - 3)
    assert Matcher("end").search(visible(f"{before}end")) == {}
    assert Matcher("end").search(visible(f"{before}.end")) is None


def test_how_much_is_seen_for_groups() -> None:
    before = "x" * (CAPTURED_CHARACTERS - 3)
    assert Matcher("(?P<a>e)nd").search(f"{before}end") == {"a": "e"}
    assert Matcher("(?P<a>e)nd").search(f"{before}.end") is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<name>(\w+\s?)+), a guard",
        r"(?P<name>(?:a|aa)*)b",
        r"(?P<name>a)(?:b{1,2})+",
        r"(?P<name>a)(?:(b?))*?",
        r"(?P<name>a)((b+)){2,}",
        r"(?P<name>a)(b+){10}",
        r"(?P<name>a)(?i:b?[(])+",
        r"(?P<name>(?:a*)+)",
    ],
)
def test_groups_that_could_be_slow_to_read(pattern: str) -> None:
    with pytest.raises(ValueError, match="must not hold a choice"):
        Matcher(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"You are (?P<npc>\w+), a guard",
        r"(?P<name>[A-Z]\w*(?: [A-Z]\w*){0,5})",
        r"(?P<name>(?:ab)+|c?)(?:d{3})*",
        r"(?P<name>a)\(b+\)+[(c+)]+(d|e)?",
        r"(?i)(?P<name>a)(?:[]+*)(]|b)",
        r"(?P<name>a)(?:\)\*)+(#)",
        r"(?P<name>a{2}|b)[^]|]+(c{2}){20}",
    ],
)
def test_groups_that_are_not(pattern: str) -> None:
    assert Matcher(pattern).names


def test_without_groups_choices_may_repeat() -> None:
    assert Matcher(r"\A(\w+\s?)+\.$").search("all of these words.") == {}


def test_groups() -> None:
    matcher = Matcher(r"(?P<a>\w+)-(?P<b>\d+)?")
    assert matcher.names == ("a", "b")
    assert matcher.search("é-1 x-2") == {"a": "é", "b": "1"}
    assert matcher.search("é-") == {"a": "é", "b": ""}


@pytest.mark.parametrize(
    ("pattern", "unit", "tail"),
    [
        (r"(?P<npc>\w+) .* .* .*, a guard$", "a ", "\nbob x y z, a guard"),
        (
            r"You are (?P<npc>.*), .* of (?P<town>.*), .* guard\.",
            "You are x, y of z, ",
            "\nYou are Bob, a of b, c guard.",
        ),
        (r"(?P<n>a+)a*a*a*a*b", "a", " ab"),
        (r"(?P<n>a+?)a*?a*?a{0,900}a*?b", "a", " ab"),
        (r"(?P<n>[\w ]+)[\w ]+[\w ]+, a guard", "a ", "\nbob the x, a guard"),
        (r"(?P<n>(?:a|aa){9}){3}b", "a", " " + "a" * 99 + "b"),
    ],
)
def test_groups_are_read_in_linear_time(pattern: str, unit: str, tail: str) -> None:
    """A system prompt that Python's engine would read in the fourth power of its length."""
    text = (unit * CAPTURED_CHARACTERS)[: CAPTURED_CHARACTERS - len(tail)] + tail
    matcher = Matcher(pattern)
    began = time.thread_time()
    assert matcher.search(text)
    assert time.thread_time() - began < 1.5


ATOMS: Final = st.sampled_from(["a", "b", "ab", ".", r"\w", "[^a]", "[ab]", r"\b", "^", "$", r"\n", "B", r"\A"])
REPEATS: Final = st.sampled_from(["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}"])
regexes = st.recursive(
    st.tuples(ATOMS, REPEATS).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda ways: f"(?:{'|'.join(ways)})"),
        st.tuples(st.sampled_from(["(", "(?:", "(?i:", "(?P<_>"]), inner, st.just(")")).map("".join),
        # What repeats holds something: the engines differ in what a group is that may be empty.
        st.tuples(st.sampled_from(["(", "(?:", "(?P<_>"]), st.just("[ab]"), inner, st.just(")"), REPEATS).map("".join),
    ),
    max_leaves=8,
)


@given(
    pattern=st.tuples(st.sampled_from(["", "", "(?i)", "(?s)", "(?m)"]), regexes),
    text=st.text("abB \n", max_size=12),
)
@settings(deadline=None, max_examples=300)
def test_groups_are_those_that_python_reads(pattern: tuple[str, str], text: str) -> None:
    flags, body = pattern
    first, *parts = f"(?P<_>{body})".split("(?P<_>")
    numbered = flags + first + "".join(f"(?P<g{i}>{part}" for i, part in enumerate(parts))
    try:
        matcher = Matcher(numbered)
    except ValueError:
        return
    python = re.search(numbered, text)
    read = matcher.search(text)
    if read is not None and python is not None:
        assert read == python.groupdict(default="")


def test_a_regex_with_groups_has_a_size() -> None:
    with pytest.raises(ValueError, match="too large"):
        Matcher("(?P<name>(?:(?:ab?){9}){9}){9}")


def test_lone_surrogates_match_as_question_marks() -> None:
    assert Matcher(r"^a\?b$").search(visible("a\ud800b")) == {}


@pytest.mark.parametrize(
    "pattern", ["(", "a{2,1}", r"\Z", "(?<=a)b", r"(a)\1", "[[a]", "a**", r"\w{1,1000000}", "(?P<1>a)", "(?x)a b"]
)
def test_what_is_no_regex(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid regex: \S"):
        Matcher(pattern)


@pytest.mark.parametrize(
    ("glob", "text", "matches"),
    [
        ("gpt-4*", "gpt-4", True),
        ("gpt-4*", "xgpt-4", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("/v1/*", "/v1/a/b", True),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", False),
        ("a.c", "abc", False),
        ("*", "a\nb", True),
        ("A", "a", False),
    ],
)
def test_globs(glob: str, text: str, matches: bool) -> None:
    assert bool(glob_regex(glob).fullmatch(text)) is matches


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("API.example.com.", ("api.example.com", None)),
        ("*.example.com:8443", ("*.example.com", 8443)),
        ("::1", ("::1", None)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", None)),
    ],
)
def test_host_patterns(pattern: str, expected: tuple[str, int | None]) -> None:
    assert split_host(pattern) == expected


@pytest.mark.parametrize("pattern", ["", ":80", "a:b", "a:", "a/b", "u@a", " a", "a:70000", "[::1", ".", "[]:1"])
def test_what_is_no_host_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|between"):
        split_host(pattern)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "ftp://a.example",
        "https://",
        "https://a:b",
        "https://a:0",
        "https://u@a",
        "https://a?x",
        "http://[a",
    ],
)
def test_what_is_no_service(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL"):
        check_service(url)


def test_other_checks() -> None:
    assert check_network("10.1.2.3/8") == "10.1.2.3/8"
    assert check_origin("null") == "null"
    with pytest.raises(ValueError, match="CIDR"):
        check_network("localhost")
    with pytest.raises(ValueError, match="origin"):
        check_origin("chat.example")
