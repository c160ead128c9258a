"""One string of a streamed reply that several parts share, for the encoders of the OpenAI dialects.

Owns whose turn it is, and what waits meanwhile. Knows no chunk: it is given what stands around a piece of text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from motive_core.dialects.degrade import TextJoiner
from motive_core.dialects.fields import dumps
from motive_core.ir import Extra


@dataclass(slots=True, eq=False)
class _Turn:
    """A part that shares a string: ``waiting`` is what was said of it before its turn came."""

    plain: bool
    waiting: list[str] = field(default_factory=list)
    ended: bool = False


class Line:
    """One string of a delta, which several parts may share: one of them has the word at a time."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._head = head
        self._tail = tail
        self._joiner = TextJoiner()
        self._turns: dict[int, _Turn] = {}
        self._current: int | None = None

    def begin(self, part: int, *, plain: bool) -> None:
        self._turns[part] = _Turn(plain)
        if self._current is None:
            self._current = part

    def say(self, part: int, text: str) -> bytes:
        """The chunk with more text of a part, if it is its turn."""
        turn = self._turns.get(part)
        if turn is None:
            return b""
        if part != self._current:
            turn.waiting.append(text)
            return b""
        piece = self._joiner.piece(part, text, plain=turn.plain)
        return self._head + dumps(piece) + self._tail if piece else b""

    def skip(self, part: int) -> None:
        """What is said next needs no blank line between it and this part, which is said elsewhere."""
        self._joiner.piece(part, " ", plain=True)

    def end(self, part: int, extra: Extra) -> bytes:
        """No more of a part: what the next ones said in the meantime."""
        if part in self._turns:
            self._turns[part].ended = True
        said = b""
        while self._current is not None and self._turns[self._current].ended:
            del self._turns[self._current]
            self._current = next(iter(self._turns), None)
            if self._current is not None:
                said += self.say(self._current, "".join(self._turns[self._current].waiting))
        return said
