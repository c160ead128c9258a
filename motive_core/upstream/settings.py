"""The settings of a service that is asked at a base URL.

Owns their names, types and defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, SecretStr

from motive_core.settings.types import DialectName, HeaderName, Kind, Seconds, Section, Service, Text

Secret = Annotated[SecretStr, Kind("secret")]


class Endpoint(Section):
    """A service, and how it is asked."""

    base_url: Service = Field(
        description="The service's base URL, as the vendor's SDK has it: `https://api.openai.com/v1`, "
        "`https://api.anthropic.com`, `http://localhost:11434`."
    )
    dialect: DialectName = Field(default="openai-chat", description="The wire dialect that it speaks.")
    model: Text | None = Field(default=None, description="The model to ask for. Null: the one that the app named.")
    key: Secret | None = Field(
        default=None,
        description="Its API key, best as `${NAME}`. Null: none is sent. The app's own key never goes there.",
    )
    headers: Mapping[HeaderName, Text] = Field(default={}, description="More headers of the call.")
    connect_timeout_s: Seconds = Field(default=10, description="How long a connection may take.")
    first_token_timeout_s: Seconds = Field(
        default=590, description="How long the first words may take, or the whole reply if it is not streamed."
    )
    idle_timeout_s: Seconds = Field(default=120, description="How long a stream may be silent after that.")
