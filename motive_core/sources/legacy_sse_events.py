"""What an event of a legacy search API says: a mapping, written as a Python literal or as JSON.

Owns how such text is read, safely and within bounds, and which of its members mean what. Knows no HTTP and no reply.

The API writes ``str()`` of a dict: ``{'type': 'response', 'data': "it's"}``. Nothing of that is ever evaluated, and
``ast.literal_eval`` may exhaust the interpreter's stack: a small reader of its own takes mappings, lists, tuples,
strings, numbers and constants, as many levels of them as ``_DEEPEST``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json

from motive_core.errors import FramingError
from motive_core.framing import SseEvent
from motive_core.ir import Json

_DEEPEST: Final = 32
_MOST_VALUES: Final = 10_000
_NUMBER_CHARACTERS: Final = 100
_MESSAGE_CHARACTERS: Final = 1000

_SPACE: Final = re.compile(r"[ \t\r\n\f]*+")
_STRING: Final = re.compile(
    r"""[uU]?(?:'(?P<single>(?:[^'\\\n]|\\.)*+)'|"(?P<double>(?:[^"\\\n]|\\.)*+)")""", re.DOTALL
)
_NUMBER: Final = re.compile(r"[+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+")
_WORD: Final = re.compile(r"[A-Za-z]++")
_CONSTANTS: Final[Mapping[str, Json]] = {
    "None": None,
    "True": True,
    "False": False,
    "null": None,
    "true": True,
    "false": False,
}
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.DOTALL)
_HALVES: Final = re.compile(r"[\ud800-\udfff]")
_ESCAPED: Final[Mapping[str, str]] = {
    "\n": "", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of the answer, with whatever white space it came with."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A document that the answer rests on. Only the id is always told; what is not is empty."""

    document: str
    title: str = ""
    url: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """The API failed, and says why; empty if it does not."""

    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """The API says that there is no more."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that means nothing to us."""


type Told = Word | Citation | Fault | Done | Unknown


def read_event(event: SseEvent) -> list[Told]:
    """What an event tells. Raises ``FramingError`` for one of a known type that cannot be read.

    What is no mapping at all is a sign of life, or some end mark, and is not known to us.
    """
    data = event.data.strip()
    if data == "[DONE]":
        return [Done()]
    if not data.startswith("{"):
        return [Fault(data[:_MESSAGE_CHARACTERS])] if event.event == "error" and data else [Unknown()]
    told = _mapping(data)
    kind, said = told.get("type", event.event), told.get("data")
    match kind:
        case "response":
            return _words(said)
        case "citation" | "citations":
            return [_citation(one) for one in (said if isinstance(said, list) else [said]) if one is not None]
        case "error":
            return [Fault(_message(said if said is not None else told)[:_MESSAGE_CHARACTERS])]
        case _:
            return [Unknown()]


def _words(said: Json) -> list[Told]:
    match said:
        case None:
            return []
        case str():
            return [Word(said)]
        case bool() | list() | dict():
            raise FramingError("an event of the stream has no text for its words")
        case _:
            return [Word(str(said))]


def _citation(said: Json) -> Citation:
    if isinstance(said, dict):
        texts = {key: str(value) for key, value in said.items() if isinstance(value, str | int | float) and value != ""}
        title, url = texts.get("title", ""), texts.get("url") or texts.get("uri", "")
        document = texts.get("id") or url or title
        if document:
            return Citation(document, title, url, texts.get("text", ""))
    elif isinstance(said, str | int | float) and not isinstance(said, bool) and str(said).strip():
        return Citation(str(said))
    raise FramingError("an event of the stream has no id for its citation")


def _message(said: Json) -> str:
    if isinstance(said, dict):
        found = said.get("message", said.get("error", said.get("detail")))
        return found if isinstance(found, str) else ""
    return said if isinstance(said, str) else ""


# The reader


def _mapping(text: str) -> dict[str, Json]:
    """A mapping that is written in JSON or as a Python literal. Raises ``FramingError``."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        value = read_literal(text)
    if not isinstance(value, dict):
        raise FramingError("an event of the stream is not a mapping")
    return value


def read_literal(text: str) -> Json:
    """What a Python literal says: constants, numbers, strings, and lists, tuples (as lists) and mappings of them.

    Raises ``FramingError`` for anything else, for numbers of more than 100 characters, and for more than 32 levels or
    10,000 values.
    Half characters become U+FFFD, since no reply can carry them.
    """
    reader = _Reader(text)
    value = reader.value(0)
    reader.skip()
    if reader.at != len(text):
        raise reader.fault()
    return value


class _Reader:
    """A text, and how far it is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._values = 0
        self.at = 0

    def fault(self) -> FramingError:
        """The error for whatever stands here. It quotes nothing: what an API says is not ours to spread."""
        return FramingError(f"an event of the stream is neither JSON nor a Python literal, at character {self.at}")

    def skip(self) -> str:
        """Pass white space; gives the character behind it, empty at the end."""
        self.at = self._match(_SPACE).end()
        return self._text[self.at : self.at + 1]

    def value(self, level: int) -> Json:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise FramingError("an event of the stream has too many values")
        first = self.skip()
        if first in ("{", "[", "("):
            if level >= _DEEPEST:
                raise FramingError("an event of the stream is nested too deeply")
            self.at += 1
            if first == "{":
                return self._mapping(level + 1)
            return self._items("]" if first == "[" else ")", level + 1)
        if found := _STRING.match(self._text, self.at):
            self.at = found.end()
            return _unescaped(found["single"] if found["single"] is not None else found["double"])
        if found := _NUMBER.match(self._text, self.at):
            return self._number(found)
        found = _WORD.match(self._text, self.at)
        if found is None or found[0] not in _CONSTANTS:
            raise self.fault()
        self.at = found.end()
        return _CONSTANTS[found[0]]

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self.at)
        if found is None:
            raise self.fault()
        return found

    def _number(self, found: re.Match[str]) -> int | float:
        if len(found[0]) > _NUMBER_CHARACTERS:
            raise self.fault()
        self.at = found.end()
        try:
            return int(found[0])
        except ValueError:
            return float(found[0])

    def _mapping(self, level: int) -> dict[str, Json]:
        members: dict[str, Json] = {}
        while self.skip() != "}":
            key = self._match(_STRING)
            self.at = key.end()
            if self.skip() != ":":
                raise self.fault()
            self.at += 1
            members[_unescaped(key["single"] if key["single"] is not None else key["double"])] = self.value(level)
            self._part("}")
        self.at += 1
        return members

    def _items(self, end: str, level: int) -> list[Json]:
        items: list[Json] = []
        while self.skip() != end:
            items.append(self.value(level))
            self._part(end)
        self.at += 1
        return items

    def _part(self, end: str) -> None:
        """Pass a comma; there need not be one before the end."""
        found = self.skip()
        if found == ",":
            self.at += 1
        elif found != end:
            raise self.fault()


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(_meant, text)
    if _HALVES.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _meant(found: re.Match[str]) -> str:
    *hexadecimal, octal, other = found.groups()
    for digits in hexadecimal:
        if digits is not None:
            code = int(digits, 16)
            return chr(code) if code <= 0x10FFFF else "\ufffd"
    if octal is not None:
        return chr(int(octal, 8))
    return _ESCAPED.get(other, found[0])  # one that Python does not know stands for itself there, too
