"""What two texts have in common, word by word.

Owns the comparison, and that it takes no longer than a moment, however long the texts are and whatever is in them: it
is by E. W. Myers ("An O(ND) Difference Algorithm and Its Variations", 1986), whose steps can be counted. ``difflib``
cannot be stopped, and takes minutes for a few thousand words that are all the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

type Kind = Literal["same", "gone", "new"]
type Piece = tuple[Kind, str]

_WORDS: Final = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
"""Space, a word or a sign each. Chinese and Japanese have no spaces between words: there it is each character."""
_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")
_STEPS: Final = 60_000
"""How long a comparison may take: about 20 ms."""
_WORD_CHARACTERS: Final = 200_000
_LINE_CHARACTERS: Final = 1_000_000
"""Of both texts together. More are not even cut into pieces."""


def diff(before: str, after: str) -> list[Piece]:
    """How one text becomes the other: by words, or by lines if they are long or have little in common, or as two wholes
    if that is too much, too. The pieces that are not ``new`` join to ``before``, those that are not ``gone`` to
    ``after``."""
    if before == after:
        return [("same", before)] if before else []
    for pattern, most in ((_WORDS, _WORD_CHARACTERS), (_LINES, _LINE_CHARACTERS)):
        if len(before) + len(after) <= most:
            found = _compared(pattern.findall(before), pattern.findall(after))
            if found is not None:
                return found
    wholes: tuple[Piece, ...] = (("gone", before), ("new", after))
    return [piece for piece in wholes if piece[1]]


def _compared(old: Sequence[str], new: Sequence[str]) -> list[Piece] | None:
    """The pieces, joined where they are of one kind; None if it would take too long."""
    begin, end = 0, 0
    least = min(len(old), len(new))
    while begin < least and old[begin] == new[begin]:
        begin += 1
    while end < least - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    matches = _matches(old[begin : len(old) - end], new[begin : len(new) - end])
    if matches is None:
        return None
    found: list[Piece] = []

    def add(kind: Kind, words: Sequence[str]) -> None:
        if words:
            found.append((kind, "".join(words)))

    add("same", old[:begin])
    at, there = begin, begin
    for in_old, in_new, count in [
        *((begin + a, begin + b, count) for a, b, count in matches),
        (len(old) - end, len(new) - end, end),
    ]:
        add("gone", old[at:in_old])
        add("new", new[there:in_new])
        add("same", old[in_old : in_old + count])
        at, there = in_old + count, in_new + count
    return _joined(found)


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for kind, text in pieces:
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1] + text)
        else:
            found.append((kind, text))
    return found


def _matches(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int]] | None:
    """Runs that both have: where in each, and how long; None if finding them takes more than ``_STEPS``."""
    many, more = len(old), len(new)
    reached = {1: 0}
    """How far in ``old`` one gets on each diagonal, which is numbered by how much further that is than in ``new``."""
    trace: list[dict[int, int]] = []
    steps = 0
    for distance in range(many + more + 1):
        trace.append(reached.copy())
        for diagonal in range(-distance, distance + 1, 2):
            down = diagonal == -distance or (diagonal != distance and reached[diagonal - 1] < reached[diagonal + 1])
            x = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            start, y = x, x - diagonal
            while x < many and y < more and old[x] == new[y]:
                x += 1
                y += 1
            reached[diagonal] = x
            if x >= many and y >= more:
                return _way_back(trace, many, more)
            steps += 1 + x - start
        if steps + distance > _STEPS:
            return None
    raise AssertionError("everything gone and everything new is a way, too")


def _way_back(trace: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for distance in range(len(trace) - 1, -1, -1):
        reached = trace[distance]
        diagonal = x - y
        down = diagonal == -distance or (diagonal != distance and reached[diagonal - 1] < reached[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        from_x = reached[before] if distance else 0
        from_y = from_x - before if distance else 0
        begin_x = (from_x if down else from_x + 1) if distance else 0
        if x > begin_x:
            found.append((begin_x, y - (x - begin_x), x - begin_x))
        x, y = from_x, from_y
    return found[::-1]
