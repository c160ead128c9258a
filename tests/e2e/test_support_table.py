"""The README says what the matrix checks, and the matrix checks each dialect that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from motive_core.dialects import DIALECTS, RequestHead
from tests.e2e.support_table import BEGIN, END, table, with_table
from tests.e2e.voices import VOICES

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_has_the_table() -> None:
    """If this fails: ``python -m tests.e2e.support_table README.md``."""
    text = README.read_text("utf-8")
    assert with_table(text) == text


def test_a_table_is_made_anew() -> None:
    assert with_table(f"a\n{BEGIN}old\n{END}\nb\n") == f"a\n{BEGIN}{table()}{END}\nb\n"
    with pytest.raises(ValueError, match="there is no"):
        with_table("nothing")


def test_every_dialect_has_a_voice() -> None:
    assert {voice.dialect for voice in VOICES} == {dialect.name for dialect in DIALECTS}


def test_the_endpoints_of_the_table_are_those_of_the_dialects() -> None:
    for voice in VOICES:
        for endpoint in voice.endpoint.split(", "):
            method, _, path = endpoint.partition(" ")
            head = RequestHead(method, "example.org", 443, path.replace("{model}", "m"))
            assert [one.name for one in DIALECTS if one.matches(head)] == [voice.dialect], endpoint
