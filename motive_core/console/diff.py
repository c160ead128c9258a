"""What two texts have in common, word by word.

Owns the comparison, and that it takes no longer than a moment, however long the texts are.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Final, Literal

type Piece = tuple[Literal["same", "gone", "new"], str]

_WORDS: Final = re.compile(r"\s+|\w+|[^\w\s]")
_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")
_MOST_PIECES: Final = 4000
"""The comparison takes time by the square of this, at worst."""


def diff(before: str, after: str) -> list[Piece]:
    """How one text becomes the other: by words, or by lines if they are long, or as two wholes if they have very many
    lines."""
    for pattern in (_WORDS, _LINES):
        old, new = pattern.findall(before), pattern.findall(after)
        if len(old) + len(new) <= _MOST_PIECES:
            return _compared(old, new)
    found: list[Piece] = [("gone", before), ("new", after)]
    return [("same", before)] if before == after else [piece for piece in found if piece[1]]


def _compared(old: list[str], new: list[str]) -> list[Piece]:
    found: list[Piece] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            found.append(("same", "".join(old[a:b])))
            continue
        if b > a:
            found.append(("gone", "".join(old[a:b])))
        if d > c:
            found.append(("new", "".join(new[c:d])))
    return found
