"""A reply that is relayed as it is said: the events of a source, in the batches that they come in.

Owns the types only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from motive_core.ir import Reply
from motive_core.stream import ReplyEvent


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that stand in a stream as they are, whatever they do to its reader: a fault that is made on purpose."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Severed:
    """The connection ends here, in the middle of the reply: another such fault. ``reset``: not by an orderly end."""

    reset: bool = False


class SeveredError(Exception):
    """The same, as an exception: raised by a source, before there is any reply; by the bytes of a reply, where they are
    to end in the middle."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("severed on purpose")
        self.reset = reset


type ReplyEvents = AsyncGenerator[Sequence[ReplyEvent]]
"""What a service says, as it comes: ``Started`` first, ``Finished`` last, and no ``Failed``: it raises ``MotiveError``
where it is cut. A batch is what became known at once, and goes out at once."""

type Spoken = ReplyEvent | Garbage | Severed

type Events = AsyncGenerator[Sequence[Spoken]]
"""The same of any source."""

type Answered = Reply | Events
"""A reply that is known whole, or one that is being said."""
