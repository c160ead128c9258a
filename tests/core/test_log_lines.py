"""A line of the log is one line, whatever is written into it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.log_lines import LogLine, printable

HOSTILE = [
    "a\nlevel=error forged",
    "a\r\n[12:00:00.000] forged",
    "\x1b[2J\x1b[31mred",
    "\x9b31mred",
    "a\u2028b\u2029c\x85d",
    "\u202eevil\u202c",
    "half \ud800 of \udcff",
    'a" outcome="replied',
    "a outcome=replied",
    "a\\nb",
    "\x00\x07\x7f",
    "",
]


def test_fields_follow_the_event() -> None:
    line = LogLine("call ended", exchange="e1", status=200, waited_s=1.23456, error=None, held=True)
    assert str(line) == "call ended exchange=e1 status=200 waited_s=1.235 held=True"
    assert line.fields == {"exchange": "e1", "status": 200, "waited_s": 1.23456, "held": True}


@pytest.mark.parametrize("value", HOSTILE)
def test_nobodys_words_look_like_a_line_or_a_field(value: str) -> None:
    text = str(LogLine("call ended", session=value, status=200))
    assert text.isprintable() and len(text.splitlines()) == 1
    assert re.fullmatch(r'call ended session=(?:[^\s"=\\]+|"(?:[^"\\]|\\.)*") status=200', text), text


@given(st.text(st.characters()))
def test_any_text(value: str) -> None:
    text = str(LogLine("e", a=value, b="x"))
    assert len(text.splitlines()) == 1
    text.encode()
    assert re.fullmatch(r'e a=(?:[^\s"=]+|"(?:[^"\\]|\\.)*") b=x', text, re.DOTALL), text


def test_ordinary_text_stays_as_it_is() -> None:
    assert (
        str(LogLine("e", session="npc-guard", other="Grüße 世界 👩‍👩‍👧"))
        == 'e session=npc-guard other="Grüße 世界 👩‍👩‍👧"'
    )
    assert printable("Grüße, 世界! 🐉") == "Grüße, 世界! 🐉"
    assert json.loads(f'"{printable("a b")}"') == "a b"
