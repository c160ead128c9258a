"""The ``model`` source: another service answers, of any dialect, and others in its place while it does not.

Owns which service is asked, in which order, and what of the app's own head goes along. Knows no wire.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator

from motive_core.dialects.base import RequestHead
from motive_core.errors import MotiveError, StatusError, UpstreamError
from motive_core.exchange import Answered
from motive_core.ir import Reply
from motive_core.log_lines import LogLine
from motive_core.settings.patterns import glob_regex
from motive_core.settings.types import Glob, SecondsOrNone
from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.sources.model_headers import app_key, is_credential, may_pass
from motive_core.upstream import Begun, Endpoint, HttpUpstream

logger = logging.getLogger(__name__)

MODEL_HEADER: Final = "x-motive-model"
"""Which model has answered, and which of the fallbacks, counted from 1, if it was one."""


def _pass_header(glob: str) -> str:
    if is_credential(glob):
        raise ValueError("this header is, or may hold, a credential; `pass_key: true` sends the app's own key")
    return glob.lower()


class ModelEndpoint(Endpoint):
    """A service that gets something of the app's own head."""

    pass_headers: tuple[Annotated[Glob, AfterValidator(_pass_header)], ...] = Field(
        default=(),
        description="Headers of the app's call that go along, such as `anthropic-beta` or `x-trace-*`. Credentials, "
        "cookies and what describes the connection never do.",
    )
    pass_key: bool = Field(
        default=False,
        description="Whether the app's own API key goes to this host, in the header of its dialect, in the place of "
        "`key`. One of Motive's own keys, or a signature, never does.",
    )


class Model(SourceSettings, ModelEndpoint):
    """Settings of ``model``."""

    kind: Literal["model"] = "model"
    fallbacks: tuple[ModelEndpoint, ...] = Field(
        default=(),
        description="Services that are asked in its place, one after the other: upon 429, 5xx, a failed connection, a "
        "reply that is cut, or no first words in time; never once words have gone out. Each has the settings above.",
    )
    cool_down_s: SecondsOrNone = Field(
        default=0,
        description="How long a service that failed so is passed over while another one is left; longer, if it said so "
        "itself (`Retry-After`). 0: it is asked again at once.",
    )

    @model_validator(mode="after")
    def _cools_for_others(self) -> Model:
        if self.cool_down_s and not self.fallbacks:
            raise ValueError("cool_down_s needs fallbacks")
        return self

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        return ModelSource(self, world)


class _Service:
    """One service. ``number`` is 0 for the first, then that of the fallback."""

    def __init__(self, number: int, endpoint: ModelEndpoint, world: World) -> None:
        self.number = number
        self.base_url = endpoint.base_url
        self.upstream = HttpUpstream(endpoint, world.http)
        self.cool_until = 0.0
        self._globs = [glob_regex(glob) for glob in endpoint.pass_headers]
        self._pass_key = endpoint.pass_key

    def headers_for(self, head: RequestHead) -> Mapping[str, str]:
        """What goes along of the head of a call."""
        passed: dict[str, str] = {}
        if self._globs:
            passed = {
                name: value
                for name, value in head.headers.items()
                if may_pass(name, value) and any(glob.fullmatch(name) for glob in self._globs)
            }
        if self._pass_key and (key := app_key(head)) is not None:
            passed |= self.upstream.key_headers(key)
        return passed


class ModelSource:
    """See the module."""

    def __init__(self, settings: Model, world: World) -> None:
        self._clock = world.clock
        self._cool_down_s = settings.cool_down_s
        endpoints = (settings, *settings.fallbacks)
        self._services = [_Service(number, endpoint, world) for number, endpoint in enumerate(endpoints)]

    async def answer(self, call: Call) -> Answered:
        """See ``Source``."""
        services = self._in_turn()
        for service in services[:-1]:
            try:
                return await self._ask(service, call)
            except MotiveError as error:
                if not _is_elsewhere_mended(error):
                    raise
                self._failed(service, error, call)
        try:
            return await self._ask(services[-1], call)
        except MotiveError as error:
            if _is_elsewhere_mended(error):
                self._failed(services[-1], error, call)
            raise

    def _in_turn(self) -> list[_Service]:
        """Those that are asked: all of them, if all have failed a moment ago."""
        if not self._cool_down_s:
            return self._services
        now = self._clock()
        return [one for one in self._services if one.cool_until <= now] or self._services

    async def _ask(self, service: _Service, call: Call) -> Answered:
        answered = await service.upstream.ask(call.request, service.headers_for(call.head))
        model = answered.model if isinstance(answered, Begun | Reply) else ""
        told = quote(model or service.upstream.model_of(call.request.model), safe="!#$&'()*+,/:=?@[]{}|~ ")
        call.headers[MODEL_HEADER] = f"{told}; fallback={service.number}" if service.number else told
        return answered

    def _failed(self, service: _Service, error: MotiveError, call: Call) -> None:
        if self._cool_down_s:
            told_s = error.retry_after_s if error.retryable else 0.0
            service.cool_until = self._clock() + max(self._cool_down_s, told_s)
        if len(self._services) > 1:
            logger.warning(LogLine("service failed", exchange=call.exchange, service=service.base_url, code=error.code))

    async def close(self) -> None:
        """See ``Source``."""


def _is_elsewhere_mended(error: MotiveError) -> bool:
    """Whether another service may do better: this one is busy or broken, not the request."""
    return isinstance(error, StatusError | UpstreamError) and (error.status == 429 or error.status >= 500)
