"""A text that a regex matches, made from the regex.

Owns the way from a parsed regex to the shortest text that it takes. What it makes is looked at again, by the engine
that takes linear time: where look-around or a back-reference makes a difference, there is no text.
"""

from __future__ import annotations

import re

# The standard library's own reader of regexes: it has no other name, and typeshed knows none (3.12 to 3.14).
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from motive_core.settings.patterns import Matcher

_MOST_CHARACTERS: Final = 10_000
_LONGEST_PATTERN: Final = 2_000
_CANDIDATES: Final = "aA0 _-.:/@#\t\n!"
_CATEGORIES: Final = {
    kinds.CATEGORY_DIGIT: "0",
    kinds.CATEGORY_NOT_DIGIT: "a",
    kinds.CATEGORY_SPACE: " ",
    kinds.CATEGORY_NOT_SPACE: "a",
    kinds.CATEGORY_WORD: "a",
    kinds.CATEGORY_NOT_WORD: " ",
}


class _TooLongError(Exception):
    pass


def text_of_pattern(pattern: str) -> str | None:
    """A text in which this regex is found; None if none is known."""
    if len(pattern) > _LONGEST_PATTERN:
        return None
    try:
        matcher = Matcher(pattern)
        text = _text(parser.parse(pattern))
    except (ValueError, re.error, RecursionError, OverflowError, _TooLongError):
        return None
    return text if matcher.search(text) is not None else None


def _text(parsed: Any) -> str:
    """The least text of a sequence."""
    made: list[str] = []
    size = 0
    for operation, argument in parsed:
        piece = _piece(operation, argument)
        size += len(piece)
        if size > _MOST_CHARACTERS:
            raise _TooLongError
        made.append(piece)
    return "".join(made)


def _piece(operation: Any, argument: Any) -> str:
    if operation is kinds.LITERAL:
        return chr(argument)
    if operation is kinds.ANY:
        return "a"
    if operation is kinds.NOT_LITERAL:
        return next(one for one in _CANDIDATES if ord(one) != argument)
    if operation is kinds.IN:
        return _one_of(argument)
    if operation is kinds.BRANCH:
        return min((_text(branch) for branch in argument[1]), key=len)
    if operation is kinds.SUBPATTERN:
        return _text(argument[3])
    if operation in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        least, _, repeated = argument
        piece = _text(repeated) if least else ""
        if len(piece) * int(least) > _MOST_CHARACTERS:
            raise _TooLongError
        return piece * int(least)
    if operation is kinds.ATOMIC_GROUP:
        return _text(argument)
    return ""  # where something is, such as the end


def _one_of(options: Any) -> str:
    """A character of a class."""
    if options[0][0] is kinds.NEGATE:
        inside = re.compile(f"[{''.join(map(_class_source, options[1:]))}]")
        return next((one for one in _CANDIDATES if inside.match(one) is None), "\u00e9")
    kind, argument = options[0]
    if kind is kinds.RANGE:
        return chr(argument[0])
    return _CATEGORIES[argument] if kind is kinds.CATEGORY else chr(argument)


def _class_source(option: Any) -> str:
    kind, argument = option
    if kind is kinds.RANGE:
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    if kind is kinds.CATEGORY:
        return _CLASSES[argument]
    return re.escape(chr(argument))


_CLASSES: Final = {
    kinds.CATEGORY_DIGIT: r"\d",
    kinds.CATEGORY_NOT_DIGIT: r"\D",
    kinds.CATEGORY_SPACE: r"\s",
    kinds.CATEGORY_NOT_SPACE: r"\S",
    kinds.CATEGORY_WORD: r"\w",
    kinds.CATEGORY_NOT_WORD: r"\W",
}
