"""What a voice is: one side of a conversation, spoken through a vendor's own SDK.

The matrix lets any two voices meet. A voice keeps its history in the SDK's own form, as a chat client does: nothing of
the product is used to make a request or to read a reply. What its dialect cannot carry is in ``CAN``, which the matrix
checks and the README's table is made from.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tests.e2e.clients import Link

type Form = Literal["native", "text", "none"]
"""``native``: in a form of its own. ``text``: it arrives as text, as ``motive_core/dialects/degrade.py`` says.
``none``: the dialect has no way to say it."""


@dataclass(frozen=True, slots=True)
class Can:
    """What a dialect can carry.

    A request: ``image_in`` pictures of a user, ``tools`` tools with calls and results, ``several`` more than one
    message since the last reply, ``system`` a system prompt, ``json_schema`` the shape of a reply. A reply: ``calls``
    tool calls, ``call_ids`` with ids of their own, ``reasoning``, ``image_out`` pictures. Of the API: ``models`` a list
    of models, ``count`` a count of tokens.
    """

    image_in: Form = "native"
    tools: Form = "native"
    several: Form = "native"
    system: Form = "native"
    json_schema: Form = "native"
    calls: Form = "native"
    call_ids: bool = True
    reasoning: Form = "native"
    image_out: Form = "text"
    models: bool = True
    count: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a message: base64 text of a PNG."""

    data: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the app offers. ``schema`` is a JSON Schema of an object."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the SDK gave it. ``arguments`` is the JSON text that it gave, or the decoded object where it gives
    that; ``value`` is decoded in both cases. ``pieces`` is how many deltas told the arguments of a streamed call, None
    where the SDK does not show it."""

    call_id: str
    name: str
    arguments: Any
    value: Any
    pieces: int | None = None


@dataclass(slots=True)
class Heard:
    """A reply as the SDK gave it. ``finish`` is in the SDK's own word; ``model`` and the counts are as told, empty or
    None where the dialect has none. ``pictures`` are those of a reply that has pictures of its own (base64)."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    pictures: list[str] = field(default_factory=list)


class Voice(abc.ABC):
    """One client of one dialect.

    ``link`` is the way to the proxy; at the meeting point ``link.authority`` is None. ``model`` is the session. A voice
    may be closed while a call of it is held. The SDK must not retry by itself. It waits ``patience_s`` for a byte.
    """

    dialect: ClassVar[str]
    """The name of the dialect in ``motive_core``."""
    title: ClassVar[str]
    """The dialect's name for people."""
    sdk: ClassVar[str]
    """The SDK that speaks: ``openai (Python)``."""
    endpoint: ClassVar[str]
    """What it calls: ``POST /v1/chat/completions``."""
    can: ClassVar[Can] = Can()
    finishes: ClassVar[tuple[str, str]]
    """The SDK's words for a reply that ended by itself, and for one that calls tools."""

    def __init__(
        self, link: Link, model: str, *, streamed: bool, api_key: str = "sk-app", patience_s: float = 30.0
    ) -> None:
        self.link = link
        self.patience_s = patience_s
        self.model = model
        self.streamed = streamed
        self.api_key = api_key

    @abc.abstractmethod
    def set_system(self, text: str) -> None:
        """Put a system prompt before the conversation."""

    @abc.abstractmethod
    def offer(self, tools: Sequence[ToolSpec]) -> None:
        """Offer these tools with every call from now on."""

    @abc.abstractmethod
    def add_user(self, *parts: str | Picture) -> None:
        """Add one message of the user to the history, and send nothing. Where the dialect has no history, what was
        added since the last ``send`` is what the next one says."""

    @abc.abstractmethod
    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        """Add the results of the calls that were heard last."""

    def demand(self, schema: dict[str, Any]) -> None:
        """Demand replies of this JSON Schema (an object with all its members required) from now on. Only where ``can``
        has ``json_schema``."""
        raise NotImplementedError

    async def models(self) -> list[str]:
        """The ids of the models that there are, as the SDK lists them. Only where ``can`` has ``models``."""
        raise NotImplementedError

    async def count(self) -> int:
        """The tokens of the history, as the API counts them. Only where ``can`` has ``count``."""
        raise NotImplementedError

    @abc.abstractmethod
    async def send(self) -> Heard:
        """Send the history, streamed or not. The reply becomes part of it, with all that it had: reasoning, calls."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the SDK's client."""
