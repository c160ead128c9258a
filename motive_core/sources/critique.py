"""The ``critique`` source: one model answers, and others judge what it said before the client hears it.

Owns its settings, and which service each model is at. A key goes to the base URL that it was set with, and nowhere
else. What the models are told is ``critique_words``', what becomes of one call ``critique_run``'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from pydantic import Field, model_validator

from motive_core.errors import BadRequestError, UnavailableError
from motive_core.exchange import Answered
from motive_core.settings.types import DialectName, HeaderName, Seconds, Section, Service, Text
from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.sources.critique_run import Critic, Run
from motive_core.sources.critique_words import FEEDBACK_PROMPT, REFINE_PROMPT
from motive_core.upstream import Endpoint, HttpUpstream, Upstream
from motive_core.upstream.settings import Secret

_OPENAI: Final = "https://api.openai.com/v1"
_MARK: Final = "x-motive-source"
"""Tells our own calls to services, so that one that leads back here does not go round for ever."""


class Step(Section):
    """One more model, which judges what was said so far."""

    mode: Literal["refine", "feedback"] = Field(
        default="refine",
        description="`refine`: it writes the answer anew. `feedback`: it comments, and the primary model writes again.",
    )
    model: Text | None = Field(default=None, description="The model to ask for. Null: the one that the app named.")
    system_prompt: Text | None = Field(default=None, description="What it is told to do. Null: a prompt of our own.")
    base_url: Service | None = Field(
        default=None,
        description="Its service's base URL. Null: that of the source, else the app's own service, with the app's own "
        "credentials.",
    )
    dialect: DialectName = Field(default="openai-chat", description="The wire dialect spoken there.")
    key: Secret | None = Field(default=None, description="The API key for `base_url`, best as `${NAME}`.")
    headers: Mapping[HeaderName, Text] = Field(default={}, description="More headers of the call.")
    timeout_s: Seconds = Field(
        default=60,
        description="How long it may take until its first words, or until all of it where the client is not told as it "
        "is said. Then what there was before is given.",
    )

    @model_validator(mode="after")
    def _has_a_service_of_its_own(self) -> Step:
        for field in ("dialect", "key", "headers"):
            if self.base_url is None and field in self.model_fields_set:
                raise ValueError(f"{field} is for a step with a base_url; without one it asks where the others do")
        return self


class Critique(SourceSettings):
    """Settings of ``critique``."""

    environment: ClassVar[Mapping[str, str]] = {
        "base_url": "OPENAI_BASE_URL",
        "key": "OPENAI_API_KEY",
        "primary_model": "PRIMARY_MODEL_NAME",
        "critique_model": "CRITIQUE_MODEL_NAME",
        "critique_system_prompt": "CRITIQUE_SYSTEM_PROMPT",
    }
    belongs_to: ClassVar[Mapping[str, str]] = {"key": "base_url"}

    kind: Literal["critique"] = "critique"
    critique_model: Text | None = Field(
        default=None,
        description="The model that refines what the primary one said, where `steps` are not given "
        "(`CRITIQUE_MODEL_NAME`). Null: none does.",
    )
    critique_system_prompt: Text | None = Field(
        default=None, description="What it is told to do (`CRITIQUE_SYSTEM_PROMPT`). Null: a prompt of our own."
    )
    primary: Literal["own", "base_url"] | None = Field(
        default=None,
        description="Which service answers first. `own`: the one that the app called, with the app's own request and "
        "credentials. `base_url`: that one. Null: `own` if the call has one, else `base_url`.",
    )
    primary_model: Text | None = Field(
        default=None,
        description="The model to ask for at `base_url` (`PRIMARY_MODEL_NAME`). Null: the one that the app named.",
    )
    base_url: Service | None = Field(
        default=None,
        description="The base URL of a service (`OPENAI_BASE_URL`). Null: OpenAI's if there is a `key`, else none.",
    )
    dialect: DialectName = Field(default="openai-chat", description="The wire dialect spoken there.")
    key: Secret | None = Field(
        default=None,
        description="The API key for it, best as `${NAME}` (`OPENAI_API_KEY`, unless the file has a `base_url`).",
    )
    headers: Mapping[HeaderName, Text] = Field(default={}, description="More headers of calls to it.")
    steps: tuple[Step, ...] = Field(
        default=(), description="Any number of models that judge one after the other. Empty: `critique_model` alone."
    )

    @model_validator(mode="after")
    def _a_key_is_for_a_service(self) -> Critique:
        if self.base_url is None and self.key is not None and not self.dialect.startswith("openai-"):
            raise ValueError("a key needs the base_url that it is for")
        if self.primary == "base_url" and self.service is None:
            raise ValueError("primary is base_url, but there is neither a base_url nor a key")
        return self

    @property
    def service(self) -> str | None:
        """The base URL that is asked, None if there is none."""
        return self.base_url or (_OPENAI if self.key is not None else None)

    @property
    def judges(self) -> tuple[Step, ...]:
        """The steps, in either form."""
        if self.steps or self.critique_model is None:
            return self.steps
        return (Step(model=self.critique_model, system_prompt=self.critique_system_prompt),)

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        return CritiqueSource(self, world)


@dataclass(frozen=True, slots=True)
class _Judge:
    """A step, and where its model is. None: where the app's own is."""

    step: Step
    upstream: Upstream | None


class CritiqueSource:
    """See the module."""

    def __init__(self, settings: Critique, world: World) -> None:
        self._settings = settings
        self._world = world
        self._mark = secrets.token_hex(8)
        self._primary = self._at_service(settings.primary_model)
        self._judges = tuple(_Judge(step, self._of_step(step)) for step in settings.judges)

    def _at_service(self, model: str | None) -> Upstream | None:
        of = self._settings
        if of.service is None:
            return None
        return self._upstream(
            Endpoint(base_url=of.service, dialect=of.dialect, model=model, key=of.key, headers=of.headers)
        )

    def _of_step(self, step: Step) -> Upstream | None:
        if step.base_url is None:
            return self._at_service(step.model)
        return self._upstream(
            Endpoint(base_url=step.base_url, dialect=step.dialect, model=step.model, key=step.key, headers=step.headers)
        )

    def _upstream(self, endpoint: Endpoint) -> Upstream:
        marked = endpoint.model_copy(update={"headers": {**endpoint.headers, _MARK: self._mark}})
        return HttpUpstream(marked, self._world.http)

    async def answer(self, call: Call) -> Answered:
        """See ``Source``."""
        if call.head.headers.get(_MARK) == self._mark:
            raise BadRequestError("A base URL of this source leads back to it.", code="source_asks_itself")
        own = self._primary if self._settings.primary == "base_url" else call.own
        primary = own or (self._primary if self._settings.primary is None else None)
        if primary is None:
            raise UnavailableError("There is no service to ask: neither of the app's own, nor a base URL.")
        critics = [
            Critic(
                judge.step.mode,
                judge.step.system_prompt or (REFINE_PROMPT if judge.step.mode == "refine" else FEEDBACK_PROMPT),
                judge.step.timeout_s,
                judge.upstream,
                judge.step.model,
            )
            for judge in self._judges
        ]
        return await Run(call, primary, critics, self._world.clock).answer()

    async def close(self) -> None:
        """See ``Source``."""
