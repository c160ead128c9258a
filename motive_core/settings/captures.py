"""What the named groups of a regex hold, in linear time whatever the text.

Owns a small engine of its own, since Rust's does not tell groups here and Python's takes a time that grows with a power
of the text. It looks for the same match in the same order as Python's, and tries each step of the regex at each place
of the text only once: with no look-around and no back-references, what failed there fails again. It differs from Python
where a group repeats a few times and may be empty: which of the times the group is from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from motive_core.linear import Token, tokens

STEPS_LIMIT: Final = 250
"""How long the program of a regex may be. It takes so many bytes for each character of a text, and as many steps."""

_PLACES: Final = frozenset({"^", "$", r"\A", r"\Z", r"\b", r"\B"})
"""What matches between characters."""

type _Saved = tuple[int, int, _Saved] | None
"""Where groups began and ended, the last one first: the slot, the place in the text, what was before."""


class _Text:
    """A piece of fixed length."""

    __slots__ = ("match", "search")

    def __init__(self, regex: re.Pattern[str]) -> None:
        self.match, self.search = regex.match, regex.search


class _Run:
    """A character of a kind, so many times."""

    __slots__ = ("is_lazy", "least", "most", "search", "whole")

    def __init__(self, one: re.Pattern[str], token: Token) -> None:
        self.search = one.search
        self.whole = re.compile(f"(?:{one.pattern})*", one.flags).match
        self.least, self.most, self.is_lazy = token.least, token.most, token.is_lazy


class _Split:
    """Two ways to go on, the better one first."""

    __slots__ = ("first", "second")

    def __init__(self) -> None:
        self.first = self.second = 0


class _Save:
    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot


class _Jump:
    __slots__ = ("to",)

    def __init__(self, to: int = 0) -> None:
        self.to = to


type _Step = _Text | _Run | _Split | _Save | _Jump
type _Emit = Callable[[], None]


class Captures:
    """A regex with named groups, which matches anywhere in a text."""

    __slots__ = ("_names", "_steps")

    def __init__(self, regex: re.Pattern[str]) -> None:
        """Raises ``ValueError`` for one that is too large. It is without look-around, back-references and flag x."""
        self._names = list(regex.groupindex)
        self._steps = _Compiler(regex, self._names).steps

    def search(self, text: str) -> dict[str, str] | None:
        """The named groups of the first match, None if there is none. A group that took no part in it is empty."""
        room = _Room(self._steps, text)
        for start in self._starts(text):
            ended, saved = room.match_at(start)
            if ended:
                return self._groups(text, saved)
        return None

    def _starts(self, text: str) -> Iterator[int]:
        """The places where a match may begin."""
        head = next((step for step in self._steps if not isinstance(step, _Save)), None)
        search = head.search if isinstance(head, _Text) or (isinstance(head, _Run) and head.least) else None
        start = 0
        while start <= len(text):
            if search is not None:
                found = search(text, start)
                if found is None:
                    return
                start = found.start()
            yield start
            start += 1

    def _groups(self, text: str, saved: _Saved) -> dict[str, str]:
        places: dict[int, int] = {}
        while saved is not None:
            slot, at, saved = saved
            places.setdefault(slot, at)
        return {name: text[places.get(2 * i, 0) : places.get(2 * i + 1, 0)] for i, name in enumerate(self._names)}


class _Room:
    """What was tried of a program on one text."""

    __slots__ = ("_ends", "_free", "_seen", "_steps", "_text")

    def __init__(self, steps: list[_Step], text: str) -> None:
        self._steps, self._text = steps, text
        self._seen = [bytearray(len(text) + 1) for _ in range(len(steps) + 1)]
        # For each run and each place, a place nearer to the end of its tries where what follows was not tried yet.
        self._free: dict[int, list[int]] = {}
        self._ends: dict[int, tuple[int, int]] = {}

    def match_at(self, start: int) -> tuple[bool, _Saved]:
        """Whether there is a match that begins here, and what it saved."""
        steps, text, seen = self._steps, self._text, self._seen
        # What is left to try: the step, the place; for a run that goes on, the last place that it may try.
        left: list[tuple[int, int, int | None, _Saved]] = [(0, start, None, None)]
        while left:
            at, place, last, saved = left.pop()
            while True:
                if last is None:
                    if seen[at][place]:
                        break
                    seen[at][place] = 1
                if at == len(steps):
                    return True, saved
                step = steps[at]
                if isinstance(step, _Run):
                    if last is None:
                        first, last = self._bounds(at, step, place)
                    else:
                        first = place
                    found = self._untried(at, step, first, last)
                    if found is None:
                        break
                    if found != last:
                        left.append((at, found + (1 if step.is_lazy else -1), last, saved))
                    at, place, last = at + 1, found, None
                elif isinstance(step, _Text):
                    match = step.match(text, place)
                    if match is None:
                        break
                    at, place = at + 1, match.end()
                elif isinstance(step, _Split):
                    left.append((step.second, place, None, saved))
                    at = step.first
                elif isinstance(step, _Save):
                    at, saved = at + 1, (step.slot, place, saved)
                else:
                    at = step.to
        return False, None

    def _bounds(self, at: int, run: _Run, place: int) -> tuple[int, int]:
        """Where what follows a run may begin: the place to try first, and the last one. The two are crossed if there is
        none."""
        begun, end = self._ends.get(at, (0, -1))
        if not begun <= place <= end:
            # A run that reaches one that is known ends where that ends: going back, each character is looked at once.
            reached = _end(run.whole(self._text, place, begun)) if place < begun else -1
            end = end if reached == begun else _end(run.whole(self._text, place))
            self._ends[at] = place, end
        most = end if run.most is None else min(end, place + run.most)
        least = place + run.least
        return (least, most) if run.is_lazy else (most, least)

    def _untried(self, at: int, run: _Run, first: int, last: int) -> int | None:
        """The next place from ``first`` to ``last`` where what follows a run was not tried."""
        seen, way = self._seen[at + 1], 1 if run.is_lazy else -1
        free = self._free.get(at) or self._free.setdefault(at, list(range(len(seen) + 2)))
        # Shifted by one, so that there is a place before the first one, which is never tried.
        i, end = first + 1, len(seen)
        while 0 < i <= end:
            if free[i] == i and seen[i - 1]:
                free[i] = i + way
            if free[i] == i:
                break
            free[i] = free[free[i]]
            i = free[i]
        found = i - 1
        return found if (first <= found <= last if run.is_lazy else last <= found <= first) else None


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match is not None else -1


class _Compiler:
    """Turns a regex into steps, which end where it has matched."""

    def __init__(self, regex: re.Pattern[str], names: list[str]) -> None:
        self._flags = regex.flags
        self._names = names
        self._tokens = list(tokens(regex.pattern))
        self._next = 0
        self._heads: list[str] = []
        """The flags of the groups that are open, as they are written."""
        self.steps: list[_Step] = []
        self._choice()()

    def _add[S: _Step](self, step: S) -> S:
        if len(self.steps) >= STEPS_LIMIT:
            raise ValueError("not a valid regex: with named groups, this is too large; let less of it repeat")
        self.steps.append(step)
        return step

    def _write(self, step: _Step) -> None:
        self._add(step)

    def _choice(self) -> _Emit:
        """Reads up to the end of a group; the result writes its steps, as often as it is called."""
        ways = [self._sequence()]
        while self._next < len(self._tokens) and self._tokens[self._next].kind == "or":
            self._next += 1
            ways.append(self._sequence())
        self._next += 1

        def emit() -> None:
            ends = []
            for way in ways[:-1]:
                split = self._add(_Split())
                split.first = len(self.steps)
                way()
                ends.append(self._add(_Jump()))
                split.second = len(self.steps)
            ways[-1]()
            for end in ends:
                end.to = len(self.steps)

        return emit

    def _sequence(self) -> _Emit:
        emits: list[_Emit] = []
        fixed = ""
        while self._next < len(self._tokens) and self._tokens[self._next].kind not in ("or", "close"):
            token = self._tokens[self._next]
            self._next += 1
            if token.kind == "nothing":
                continue
            group = self._group(token) if token.kind == "open" else None
            repeat = self._repeat()
            if group is None and repeat is not None and token.text in _PLACES:
                fixed += token.text if repeat.least else ""
            elif group is None and (repeat is None or repeat.least == repeat.most):
                fixed += token.text + (f"{{{repeat.least}}}" if repeat is not None else "")
            else:
                emits.append(self._text(fixed))
                fixed = ""
                emits.append(self._repeated(group, repeat) if group is not None else self._run(token.text, repeat))
        emits.append(self._text(fixed))

        def emit() -> None:
            for one in emits:
                one()

        return emit

    def _repeat(self) -> Token | None:
        if self._next < len(self._tokens) and self._tokens[self._next].kind == "repeat":
            self._next += 1
            return self._tokens[self._next - 1]
        return None

    def _group(self, token: Token) -> _Emit:
        name = token.text.partition("<")[2].removesuffix(">")
        has_flags = token.text.endswith(":") and token.text != "(?:"
        if has_flags:
            self._heads.append(token.text)
        inner = self._choice()
        if has_flags:
            self._heads.pop()
        if not name:
            return inner
        slot = 2 * self._names.index(name)

        def emit() -> None:
            self._add(_Save(slot))
            inner()
            self._add(_Save(slot + 1))

        return emit

    def _compiled(self, text: str) -> re.Pattern[str]:
        return re.compile("".join(self._heads) + text + ")" * len(self._heads), self._flags)

    def _text(self, text: str) -> _Emit:
        if not text:
            return lambda: None
        regex = self._compiled(text)
        return lambda: self._write(_Text(regex))

    def _run(self, text: str, repeat: Token | None) -> _Emit:
        assert repeat is not None
        regex = self._compiled(text)
        return lambda: self._write(_Run(regex, repeat))

    def _repeated(self, inner: _Emit, repeat: Token | None) -> _Emit:
        if repeat is None:
            return inner

        def optional() -> _Split:
            split = self._add(_Split())
            self._turn(split, is_lazy=repeat.is_lazy, inside=True)
            inner()
            return split

        def emit() -> None:
            for _ in range(repeat.least):
                inner()
            if repeat.most is None:
                begin = len(self.steps)
                splits = [optional()]
                self._add(_Jump(begin))
            else:
                splits = [optional() for _ in range(repeat.most - repeat.least)]
            for split in splits:
                self._turn(split, is_lazy=repeat.is_lazy, inside=False)

        return emit

    def _turn(self, split: _Split, *, is_lazy: bool, inside: bool) -> None:
        """Lets a way of a split begin here: the one into what repeats, or the one past it."""
        if inside != is_lazy:
            split.first = len(self.steps)
        else:
            split.second = len(self.steps)
