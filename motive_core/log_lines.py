"""Lines of the log that tell an event by its fields: ``call ended exchange=1f0a status=200``.

Owns how a field is written so that nobody's words can look like a line, or a field, of ours. Knows no event.
"""

from __future__ import annotations

import re
from typing import Final

type Value = str | int | float | bool | None

# C0, DEL, C1 (0x9b begins an escape sequence, too), line separators, marks that turn the direction of the text around,
# and halves of characters, which cannot be written at all.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE: Final = re.compile(r"[^\s\"=\\]+")


def printable(text: str) -> str:
    """Text of somebody else on one line, as what it is: control characters and the like are escaped as in Python."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


class LogLine:
    """An event, to be given to a logger as its message. It is written only if the line is shown; a form that has
    members of its own for fields (JSON) takes ``fields``, in which None is left out."""

    __slots__ = ("event", "fields")

    def __init__(self, event: str, **fields: Value) -> None:
        self.event = event
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def __str__(self) -> str:
        return " ".join([self.event, *(f"{name}={_shown(value)}" for name, value in self.fields.items())])


def _shown(value: Value) -> str:
    if not isinstance(value, str):
        return f"{value:.3f}" if isinstance(value, float) else str(value)
    if _BARE.fullmatch(value) and not _UNPRINTABLE.search(value):
        return value
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(quoted)}"'
