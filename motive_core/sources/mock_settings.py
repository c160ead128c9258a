"""What can be set of the ``mock`` source: what it says, when, at which pace, and what goes wrong.

Owns the models and what is refused in them. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, model_validator

from motive_core.settings.patterns import Matcher, check_template
from motive_core.settings.types import Count, Glob, Kind, Rate, Regex, Seconds, Section, Template, Text

PLACEHOLDERS: Final = ("message", "system", "model", "tool", "n", "choice")
"""What every template may name; see ``mock_calls``."""

Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False), Kind("milliseconds")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Kind("0 to 1")]
Seed = Annotated[int, Kind("integer")]
ErrorStatus = Annotated[int, Field(ge=400, le=599), Kind("400 to 599")]
Place = Annotated[int, Field(ge=0), Kind("count, or 0")]
CallNumbers = Annotated[Count | tuple[Count, ...], Kind("count, or list of counts")]
Arguments = Annotated[Mapping[str, JsonValue] | str, Kind("mapping, or template")]


class MockToolCall(Section):
    """A call of a tool."""

    name: Text = Field(description="The tool's name.")
    arguments: Arguments | None = Field(
        default=None,
        description="Its arguments. Texts in them are templates; a number, `true` or `false` is that, unless the "
        "tool's JSON Schema wants a text. A template in the place of a mapping is sent as it is, be it JSON or not. "
        "Null: the least that the tool's JSON Schema allows.",
    )


class MockWords(Section):
    """What is said: the first of these that is set. With none, JSON where the app demands it, a call where it demands
    that, and else an echo of the last message."""

    text: Text | None = Field(default=None, description="A text, as it stands.")
    texts: tuple[Text, ...] = Field(
        default=(), description="Texts in turn: one a reply, the first again after the last."
    )
    template: Template | None = Field(
        default=None,
        description="A text in which `{message}`, `{system}`, `{model}`, `{tool}`, `{n}`, `{choice}` and the named "
        "groups of a rule's regexes are replaced.",
    )
    reasoning: Template | None = Field(default=None, description="What it thinks before that: a template.")
    tool_calls: tuple[MockToolCall, ...] = Field(
        default=(), description="Tools that it calls, in the place of a text. Upon their results it says that."
    )
    call: Literal["auto"] | None = Field(
        default=None,
        description="`auto`: call the tool that the app demands, else its first one, with the least that its JSON "
        "Schema allows.",
    )
    finish_reason: Literal["stop", "length", "content_filter", "refusal"] | None = Field(
        default=None, description="Why the reply ends. Null: `stop`, or `tool_calls` if there are some."
    )

    def groups(self) -> tuple[str, ...]:
        """What templates may name beside ``PLACEHOLDERS``."""
        return ()

    @model_validator(mode="after")
    def _words_fit(self) -> MockWords:
        if sum(one is not None for one in (self.text, self.template, self.texts or None)) > 1:
            raise ValueError("only one of text, texts and template can be said")
        if self.tool_calls and self.call is not None:
            raise ValueError("either tool_calls or call, not both")
        known = (*PLACEHOLDERS, *self.groups())
        given = [one.arguments for one in self.tool_calls if one.arguments is not None]
        for template in (self.template, self.reasoning, *(text for one in given for text in texts_in(one))):
            if template is not None:
                check_template(template, known)
        return self


class MockWhen(Section):
    """Which calls. Every condition that is given must hold; none at all takes every call."""

    message: Regex | None = Field(
        default=None, description="The last message: its text, or what the tools gave back if it brings that."
    )
    system: Regex | None = Field(default=None, description="All system and developer text.")
    model: Glob | None = Field(default=None, description="The model that was asked for.")
    tool: Glob | None = Field(default=None, description="The name of any tool that is offered.")
    result: Glob | None = Field(
        default=None,
        description="The name of any tool whose result the last message brings. Else no rule calls tools "
        "upon a result, so that no loop comes of it.",
    )
    stream: bool | None = Field(default=None, description="Whether the reply is to be streamed.")

    @model_validator(mode="after")
    def _groups_are_distinct(self) -> MockWhen:
        names = self.groups()
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the group {name!r} stands in two regexes")
            if name in PLACEHOLDERS:
                raise ValueError(f"a group cannot be called {name!r}, which a template has by itself")
        return self

    def groups(self) -> tuple[str, ...]:
        """The named groups of its regexes."""
        regexes = (regex for regex in (self.message, self.system) if regex is not None)
        return tuple(name for regex in regexes for name in Matcher(regex).names)


class MockRule(MockWords):
    """What is said to some calls."""

    when: MockWhen = Field(default=MockWhen(), description="Which calls; empty for all that are left.")

    def groups(self) -> tuple[str, ...]:
        """See ``MockWords``."""
        return self.when.groups()


class MockPace(Section):
    """How fast it speaks. A reply that is not streamed takes as long as one that is."""

    first_token_ms: Milliseconds = Field(default=0, description="How long the first words take.")
    tokens_per_s: Rate | None = Field(
        default=None, description="How fast words follow, at 4 characters a token. Null: all at once."
    )
    jitter: Share = Field(
        default=0,
        description="By how much each of these times may be off, as a share of it: 0.5 is half to one and a "
        "half of it.",
    )


FaultKind = Literal["status", "delay", "cut", "malformed", "reset", "stall"]

_ONLY_OF: Final[Mapping[str, tuple[FaultKind, ...]]] = {
    "status": ("status",),
    "message": ("status",),
    "code": ("status",),
    "retry_after_s": ("status",),
    "duration_s": ("delay", "stall"),
    "after_events": ("status", "cut", "malformed", "reset", "stall"),
    "within": ("status", "cut", "malformed", "reset", "stall"),
    "data": ("malformed",),
}
"""The kinds that a setting is for, where it is not for all."""


class MockFault(Section):
    """Something that goes wrong, and with which calls: with each that ``when`` takes, if nothing else is said."""

    kind: FaultKind = Field(
        default="status",
        description="`status`: an error. `delay`: everything comes later. `cut`: the connection ends in the middle. "
        "`malformed`: bytes that are no frame of a stream, or no JSON. `reset`: a TCP reset (in HTTP/2 that of a "
        "stream). `stall`: silence, without signs of life.",
    )
    when: MockWhen = Field(default=MockWhen(), description="Which calls.")
    probability: Share | None = Field(default=None, description="With so many of them, by chance.")
    nth: CallNumbers | None = Field(default=None, description="With the Nth of them only; counted from 1.")
    every: Count | None = Field(default=None, description="With every Nth of them.")
    status: ErrorStatus = Field(default=500, description="The status of an error, as 429, 500, 503 or 529.")
    message: Text | None = Field(default=None, description="What the error says. Null: that it is made on purpose.")
    code: Text = Field(default="mock_fault", description="The error's code, in dialects that have one.")
    retry_after_s: Seconds | None = Field(
        default=None, description="Its `Retry-After`. Null: 1, with a status upon which clients try again."
    )
    duration_s: Seconds | None = Field(
        default=None,
        description="How long a `delay` or a `stall` takes. Null: a second; a stall lasts until its client leaves, an "
        "hour at most.",
    )
    after_events: Place | None = Field(
        default=None,
        description="Where in the reply: after so many of its words, or pieces of a tool call's arguments, each of "
        "which is an event of a stream; at its end if there are fewer. Null: half-way; but a `status`, a `reset` or "
        "a `stall` comes before the first byte.",
    )
    within: Literal["text", "reasoning", "tool_call"] | None = Field(
        default=None,
        description="Where in the reply: in the first part of this kind, whose events `after_events` counts then. "
        "Nothing goes wrong with a reply that has none.",
    )
    data: Text | None = Field(default=None, description="What is said in the place of a frame. Null: broken JSON.")

    @model_validator(mode="after")
    def _settings_fit(self) -> MockFault:
        for name in sorted(self.model_fields_set):
            if self.kind not in _ONLY_OF.get(name, (self.kind,)):
                raise ValueError(f"{name} is no setting of {self.kind}")
        if sum(one is not None for one in (self.probability, self.nth, self.every)) > 1:
            raise ValueError("only one of probability, nth and every can be given")
        return self

    @property
    def is_within_reply(self) -> bool:
        """Whether it happens when something has been said."""
        return self.kind in ("cut", "malformed") or self.after_events is not None or self.within is not None

    @property
    def leaves_reply(self) -> bool:
        """Whether there is a reply nevertheless, or some of one."""
        return self.is_within_reply or (self.kind == "stall" and self.duration_s is not None)


def texts_in(value: JsonValue | Mapping[str, JsonValue]) -> Iterator[str]:
    """Every text in a JSON value, names of members aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)
