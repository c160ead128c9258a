"""The ways to answer a call without another client, one file each.

To add one: write its file, with its settings, and add these to ``SOURCES`` and to ``AnySource``.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.sources.bedrock_agent import BedrockAgent
from motive_core.sources.critique import Critique
from motive_core.sources.legacy_sse import LegacySse
from motive_core.sources.mock import Mock
from motive_core.sources.model import Model

SOURCES: Final[tuple[type[SourceSettings], ...]] = (BedrockAgent, Critique, LegacySse, Mock, Model)

type AnySource = Annotated[BedrockAgent | Critique | LegacySse | Mock | Model, Field(discriminator="kind")]

KINDS: Final[dict[str, type[SourceSettings]]] = {one.model_fields["kind"].default: one for one in SOURCES}
"""By name."""

__all__ = ["KINDS", "SOURCES", "AnySource", "Call", "Source", "SourceSettings", "World"]
