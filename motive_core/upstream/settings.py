"""The settings of a service that is asked at a base URL.

Owns their names, types and defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

from motive_core.settings.patterns import glob_regex
from motive_core.settings.types import DialectName, Glob, HeaderName, Kind, Seconds, Section, Service, Text

_FRAMING: Final = frozenset({"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"})
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


def _secret(secret: SecretStr) -> SecretStr:
    # What the transport would refuse is refused here, where the reason does not show it.
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a secret is one line of printable ASCII characters, and not empty")
    return SecretStr(text)


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or name in _FRAMING:
            raise ValueError(f"{name!r} cannot be set: it is no header's name, or the transport's own")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of {name!r} must be one line of printable ASCII characters")
    return headers


Secret = Annotated[SecretStr, AfterValidator(_secret), Kind("secret")]


class Endpoint(Section):
    """A service, and how it is asked."""

    base_url: Service = Field(
        description="The service's base URL, as the vendor's SDK has it: `https://api.openai.com/v1`, "
        "`https://api.anthropic.com`, `http://localhost:11434`."
    )
    dialect: DialectName = Field(default="openai-chat", description="The wire dialect that it speaks.")
    model: Text | None = Field(default=None, description="The model to ask for. Null: the one that the app named.")
    models: Mapping[Glob, Text] = Field(
        default={},
        description="The model to ask for, by a glob of the one that the app named: the first that matches, before "
        "`model`.",
    )
    key: Secret | None = Field(
        default=None,
        description="Its API key, best as `${NAME}`. Null: none is sent.",
    )
    headers: Annotated[Mapping[HeaderName, Text], AfterValidator(_headers)] = Field(
        default={}, description="More headers of the call."
    )
    query: Mapping[Text, Text] = Field(default={}, description="Parameters of the URL, such as Azure's `api-version`.")
    connect_timeout_s: Seconds = Field(default=10, description="How long a connection may take.")
    first_token_timeout_s: Seconds = Field(
        default=590, description="How long the first words may take, or the whole reply if it is not streamed."
    )
    idle_timeout_s: Seconds = Field(default=120, description="How long a stream may be silent after that.")

    @cached_property
    def model_names(self) -> Sequence[tuple[re.Pattern[str], str]]:
        """``models``, ready to match."""
        return [(glob_regex(glob), name) for glob, name in self.models.items()]
