"""An encoder for wires on which one part is said at a time: parts that interleave come one after the other.

Owns whose turn it is: what is said of a part whose turn has not come waits, and parts come in the order in which they
began. Owns the life of such a stream, too: it begins once, and nothing follows its end. What a part looks like is a
dialect's business.
"""

from __future__ import annotations

import abc
from typing import assert_never

from motive_core.dialects.base import Encoder
from motive_core.errors import MotiveError
from motive_core.ir import NO_EXTRA, Extra, Part, TextPart, Usage
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    SignatureDelta,
    Started,
    UsageReported,
)

type _PartEvent = PartStarted | PartDelta | SignatureDelta | PartEnded


class InTurnEncoder(Encoder):
    """Choices after the first are left out. ``model`` is named if the stream ends before it began.

    A subclass says how a stream begins and ends, and how a part does: ``value`` is what the part whose turn it is began
    as, ``own`` whether the reply came in this dialect, ``usage`` the last that was reported, ``ended`` how the choice
    did. It sets ``framed`` while more text of the part is only ``framed_text``, which is the fast way through
    ``encode``.
    """

    def __init__(self, dialect: str, model: str = "") -> None:
        self._dialect = dialect
        self._model = model
        self._waiting: dict[int, list[_PartEvent]] = {}
        self._part: int | None = None
        self._framed = -1
        self.started = False
        self.done = False
        self.own = False
        self.usage: Usage | None = None
        self.ended = ChoiceEnded(0, "stop")
        self.value: Part = TextPart("")

    @abc.abstractmethod
    def begin(self, event: Started) -> bytes:
        """What a stream begins with."""

    @abc.abstractmethod
    def open(self) -> bytes:
        """The part ``value`` begins, with what was known of it by then."""

    @abc.abstractmethod
    def say(self, text: str) -> bytes:
        """More text of the part; never empty."""

    @abc.abstractmethod
    def framed_text(self, text: str) -> bytes:
        """More text of the part while it is ``framed``; never empty."""

    def sign(self, signature: str) -> None:
        """The signature of the part, or more of it."""

    @abc.abstractmethod
    def close(self, late: Extra) -> bytes:
        """The part ends. ``late`` is what was told of it with its end."""

    @abc.abstractmethod
    def finish(self) -> bytes:
        """What a stream ends with that is complete."""

    @abc.abstractmethod
    def fail(self, error: MotiveError) -> bytes:
        """What a stream ends with that has failed."""

    @property
    def framed(self) -> bool:
        """Whether more text of the part is only framing around it."""
        return self._framed >= 0

    @framed.setter
    def framed(self, value: bool) -> None:
        self._framed = self._part if value and self._part is not None else -1

    def encode(self, event: ReplyEvent) -> bytes:
        if type(event) is PartDelta and event.part == self._framed and event.choice == 0:
            return self.framed_text(event.text) if event.text else b""
        if self.done:
            return b""
        match event:
            case Started():
                return self._begin(event)
            case PartStarted() | PartDelta() | SignatureDelta() | PartEnded():
                return self._take(event) + self._next() if event.choice == 0 else b""
            case ChoiceEnded():
                if event.choice:
                    return b""
                self.ended = event
                return self._end_parts()
            case UsageReported(usage):
                self.usage = usage
                return b""
            case Finished():
                said = self._begin(Started("", self._model)) + self._end_parts()
                self.done = True
                return said + self.finish()
            case Failed(error):
                self.done, self._framed = True, -1
                return self.fail(error)
            case _:
                assert_never(event)

    def _begin(self, event: Started) -> bytes:
        if self.started:
            return b""
        self.started = True
        self.own = event.dialect == self._dialect
        self.usage = event.usage
        return self.begin(event)

    def _take(self, event: _PartEvent) -> bytes:
        if self._part is None and isinstance(event, PartStarted):
            self._part, self.value = event.part, event.value
            return self.open()
        if event.part != self._part:
            if isinstance(event, PartStarted) or event.part in self._waiting:
                self._waiting.setdefault(event.part, []).append(event)
            return b""
        match event:
            case PartDelta(text=text):
                return self.say(text) if text else b""
            case SignatureDelta(signature=signature):
                self.sign(signature)
                return b""
            case PartEnded(extra=late):
                return self._close(late)
            case PartStarted():
                return b""
            case _:
                assert_never(event)

    def _close(self, late: Extra) -> bytes:
        said = self.close(late)
        self._part, self._framed = None, -1
        return said

    def _next(self) -> bytes:
        """Say what waits, up to a part that is still open."""
        said = []
        while self._part is None and self._waiting:
            said += [self._take(event) for event in self._waiting.pop(next(iter(self._waiting)))]
        return b"".join(said)

    def _end_parts(self) -> bytes:
        """End all parts: the open one and those that wait."""
        said = []
        while self._part is not None:
            said += [self._close(NO_EXTRA), self._next()]
        return b"".join(said)
