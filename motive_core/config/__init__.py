"""The configuration: built once from a file and an environment, frozen, and passed in."""

from __future__ import annotations

from motive_core.config.file import ConfigFile
from motive_core.config.loading import load_config
from motive_core.config.models import DEFAULT_CONFIG_NAME, Background, BackgroundMatch, Config, Limits, Match, Route
from motive_core.config.patterns import (
    CAPTURED_CHARACTERS,
    MATCHED_CHARACTERS,
    Matcher,
    encodable,
    fill,
    glob_regex,
    normal_host,
    split_host,
    visible,
)

__all__ = [
    "CAPTURED_CHARACTERS",
    "DEFAULT_CONFIG_NAME",
    "MATCHED_CHARACTERS",
    "Background",
    "BackgroundMatch",
    "Config",
    "ConfigFile",
    "Limits",
    "Match",
    "Matcher",
    "Route",
    "encodable",
    "fill",
    "glob_regex",
    "load_config",
    "normal_host",
    "split_host",
    "visible",
]
