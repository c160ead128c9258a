"""Regexes in linear time, whatever the text: those of Rust's engine, pydantic's default for patterns.

Owns that engine, and how a regex is taken apart. Rust's engine says whether there is a match, and not where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from pydantic_core import SchemaError, SchemaValidator, core_schema

_TOKEN: Final = re.compile(
    r"(?P<nothing>\(\?(?:[a-zA-Z-]+\)|\#[^)]*\)))"
    r"|(?P<open>\((?:\?(?:P?<\w+>|[a-zA-Z-]*:))?)"
    r"|(?P<close>\))"
    r"|(?P<or>\|)"
    r"|(?P<repeat>(?:[*+?]|\{(?:(?P<least>\d+)(?P<comma>,)?(?P<most>\d*)|,(?P<upto>\d*))\})\??)"
    r"|(?P<atom>\[\^?\]?(?:\\.|[^\]\\])*\]|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[pPx]\{[^}]*\})|\\?.)",
    re.DOTALL,
)
_SPACED_REPEAT: Final = re.compile(r"\{[\d,]*\s")
_WORD: Final = re.compile(r"\\[wWpP]")
_WORD_STATES: Final = 20
"""What one of the large classes of Unicode counts. They take more memory than anything else."""

type Kind = Literal["nothing", "open", "close", "or", "repeat", "atom"]


class LinearRegex:
    """A regex of Rust's engine, which matches anywhere in a text."""

    __slots__ = ("_engine",)

    def __init__(self, pattern: str) -> None:
        """Raises ``ValueError``."""
        try:
            self._engine = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
        except SchemaError as error:
            raise ValueError(f"not a valid regex: {str(error).rpartition('error: ')[2].strip()}") from None

    def matches(self, text: str) -> bool:
        """Whether it matches somewhere in a text. ``text`` is as ``encodable`` gives it."""
        return self._engine.isinstance_python(text)


class Token:
    """A piece of a regex: its kind and its text; of a repeat how often, ``most`` being None where that has no limit."""

    __slots__ = ("is_lazy", "kind", "least", "most", "text")

    def __init__(self, found: re.Match[str]) -> None:
        self.kind: Kind = found.lastgroup  # type: ignore[assignment]  # the groups of _TOKEN are these
        self.text = found[0]
        self.least, self.most, self.is_lazy = 1, 1 if self.kind != "repeat" else None, False
        if self.kind != "repeat":
            return
        self.is_lazy = len(self.text) > 1 and self.text.endswith("?")
        match self.text[0]:
            case "?":
                self.least, self.most = 0, 1
            case "*":
                self.least = 0
            case "{":
                self.least = int(found["least"] or 0)
                if found["most"] or found["upto"]:
                    self.most = int(found["most"] or found["upto"])
                elif found["least"] and not found["comma"]:
                    self.most = self.least


def tokens(pattern: str) -> Iterator[Token]:
    """A regex in pieces. It is a valid one, without the flag x and without classes within classes."""
    for found in _TOKEN.finditer(pattern):
        yield Token(found)


def states(pattern: str) -> int:
    """How large a regex is when its repeats are written out: by this and the length of a text goes the time that a
    match takes at most, some 15 ns for each state and character. Raises ``ValueError`` for one that ``tokens`` cannot
    take apart."""
    if _SPACED_REPEAT.search(pattern) is not None:
        raise ValueError("a repeat with spaces in it")
    open_groups, last = [0], 0  # the sums of the groups that are open; what a repeat would multiply
    for token in tokens(pattern):
        match token.kind:
            case "open":
                open_groups.append(0)
                last = 0
            case "close" if len(open_groups) > 1:
                last = open_groups.pop() + 1
                open_groups[-1] += last
            case "close":
                raise ValueError("a bracket closes nothing")
            case "repeat":
                times = max(token.most if token.most is not None else token.least + 1, 1)
                open_groups[-1] += last * (times - 1) + 1
                last = last * times + 1
            case "nothing":
                if not token.text.startswith("(?#") and "x" in token.text:
                    raise ValueError("the flag x")
            case _:
                if token.text.startswith("[") and any(mark in token.text[1:] for mark in ("[", "&&", "--", "~~")):
                    raise ValueError("a class within a class")
                last = 1 + _WORD_STATES * len(_WORD.findall(token.text))
                open_groups[-1] += last
        if token.kind == "open" and "x" in token.text.partition("<")[0]:
            raise ValueError("the flag x")
    return sum(open_groups)


def encodable(text: str) -> str:
    """A text without lone surrogates, which JSON may carry and UTF-8 may not: question marks are in their place."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()
