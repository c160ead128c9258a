"""The configuration: built once from a file and an environment, frozen, and passed in."""

from __future__ import annotations

from motive_core.config.access import DEFAULT_KEY_HEADER, Access, Key
from motive_core.config.commands import Commands
from motive_core.config.file import ConfigFile
from motive_core.config.hashed import Hashed
from motive_core.config.heartbeats import HeartbeatClient
from motive_core.config.loading import check_route, load_config
from motive_core.config.models import DEFAULT_CONFIG_NAME, Background, BackgroundMatch, Config, Limits, Match, Route
from motive_core.config.saving import route_as_tree, save_route, with_route
from motive_core.linear import encodable
from motive_core.settings.patterns import (
    CAPTURED_CHARACTERS,
    MATCHED_CHARACTERS,
    Matcher,
    fill,
    glob_regex,
    normal_host,
    placeholders,
    split_host,
    visible,
)

__all__ = [
    "CAPTURED_CHARACTERS",
    "DEFAULT_CONFIG_NAME",
    "DEFAULT_KEY_HEADER",
    "MATCHED_CHARACTERS",
    "Access",
    "Background",
    "BackgroundMatch",
    "Commands",
    "Config",
    "ConfigFile",
    "Hashed",
    "HeartbeatClient",
    "Key",
    "Limits",
    "Match",
    "Matcher",
    "Route",
    "check_route",
    "encodable",
    "fill",
    "glob_regex",
    "load_config",
    "normal_host",
    "placeholders",
    "route_as_tree",
    "save_route",
    "split_host",
    "visible",
    "with_route",
]
