"""What the decoders of all dialects have in common: frames in turn, faults that wait for what came before them, and an
end that is told apart from a cut.

Owns the life of a decoder. What a frame says is a dialect's business.
"""

from __future__ import annotations

import abc
from typing import ClassVar, Protocol

from motive_core.dialects.base import Decoder
from motive_core.dialects.fields import Malformed
from motive_core.errors import FramingError, UpstreamError
from motive_core.stream import Failed, ReplyEvent


class Frames[F](Protocol):
    """A decoder of ``framing``: bytes to frames."""

    def feed(self, data: bytes) -> list[F]:
        """More bytes. Raises ``FramingError``."""
        ...

    def close(self) -> list[F]:
        """End of input. Raises ``FramingError``."""
        ...


class FrameDecoder[F](Decoder):
    """A decoder of a dialect, on top of the frames of its stream.

    Events that precede a fault are given first; the next call raises the fault then. A subclass implements ``take``,
    and sets ``done`` when the stream has told its end (``Finished`` or ``Failed``): what follows is ignored."""

    what: ClassVar[str]
    """What the stream should be, for the message of a fault: ``a stream of Chat Completions``."""
    cut: ClassVar[str]
    """What a stream is told that ends too early: ``the stream ended before its choices did``."""

    def __init__(self, frames: Frames[F]) -> None:
        self._frames = frames
        self._fault: FramingError | None = None
        self.done = False

    @abc.abstractmethod
    def take(self, frame: F, events: list[ReplyEvent]) -> None:
        """One frame of the stream. Raises ``Malformed`` or ``FramingError``."""

    def take_last(self, frame: F, events: list[ReplyEvent]) -> None:
        """A frame that only the end of the input completed."""
        self.take(frame, events)

    def end(self, events: list[ReplyEvent]) -> None:
        """The input ended. A dialect without an end mark sets ``done`` here, if all was told."""

    def feed(self, data: bytes) -> list[ReplyEvent]:
        if self._fault is not None:
            raise self._fault
        events: list[ReplyEvent] = []
        try:
            for frame in self._frames.feed(data):
                if not self.done:
                    self.take(frame, events)
        except (FramingError, Malformed) as error:
            self._fault = FramingError(f"not {self.what}: {error}")
            if not events:
                raise self._fault from None
        return events

    def close(self) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        why = self.cut
        try:
            if self._fault is not None:
                raise self._fault
            for frame in self._frames.close():
                if not self.done:
                    self.take_last(frame, events)
            if not self.done:
                self.end(events)
        except (FramingError, Malformed) as error:
            why = str(error)
        if not self.done:
            self.done = True
            events.append(Failed(UpstreamError(why)))
        return events
