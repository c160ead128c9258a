"""The README's table of what each dialect carries, made from what the matrix checks: ``Can``, beside each voice.

``python -m tests.e2e.support_table README.md`` writes it between its two marks; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.e2e.voices import VOICES, Form, Voice

BEGIN: Final = "<!-- support -->\n"
END: Final = "<!-- end of support -->"

_FORMS: Final[dict[Form, str]] = {"native": "yes", "text": "as text", "none": "–"}


def _yes(value: bool) -> str:
    return "yes" if value else "–"


COLUMNS: Final[tuple[tuple[str, Callable[[type[Voice]], str]], ...]] = (
    ("dialect", lambda voice: f"{voice.title}<br>`{voice.dialect}`"),
    ("chat calls", lambda voice: "<br>".join([f"`{one}`" for one in voice.endpoint.split(", ")])),
    ("tested with", lambda voice: voice.sdk),
    ("tools and results", lambda voice: _FORMS[voice.can.tools]),
    ("tool calls in a reply", lambda voice: _FORMS[voice.can.calls]),
    ("reasoning in a reply", lambda voice: _FORMS[voice.can.reasoning]),
    ("pictures asked", lambda voice: _FORMS[voice.can.image_in]),
    ("pictures in a reply", lambda voice: _FORMS[voice.can.image_out]),
    ("JSON Schema of a reply", lambda voice: _FORMS[voice.can.json_schema]),
    ("model list", lambda voice: _yes(voice.can.models)),
    ("token count", lambda voice: _yes(voice.can.count)),
)


def table() -> str:
    """The table, in Markdown."""
    rows = [[name for name, _ in COLUMNS], ["---"] * len(COLUMNS)]
    rows += [[cell(voice) for _, cell in COLUMNS] for voice in VOICES]
    return "".join([f"| {' | '.join(row)} |\n" for row in rows])


def with_table(text: str) -> str:
    """A text with the table between its marks. Raises ``ValueError`` if they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"there is no {BEGIN.strip()} ... {END}")
    return f"{before}{begin}{table()}{end}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
