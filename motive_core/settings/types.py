"""The types of settings: what a text of the file may be, and what the reference calls it.

Owns what every section of the configuration has in common. Knows no setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json

from motive_core.dialects import DIALECTS
from motive_core.settings.patterns import (
    check_host,
    check_network,
    check_origin,
    check_regex,
    check_service,
    glob_regex,
)

_UNITS: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True, slots=True)
class Kind:
    """What the reference calls a type."""

    name: str


def _bytes(size: object) -> object:
    """``32MiB`` as a number of bytes. Anything that is no text is left to the type."""
    if not isinstance(size, str):
        return size
    found = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", size)
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError("a number of bytes is wanted, such as 33554432, 32MiB or 32MB")
    return int(found[1]) * _UNITS[found[2].lower()]


_HEADER: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_NO_KEY_HEADERS: Final = ("connection", "content-encoding", "content-length", "content-type", "host", "origin", "te")


def split_list(given: object) -> object:
    """A list that is written in one text, as in an environment variable: separated by commas, or as JSON. Anything that
    is no text is left to the type."""
    if not isinstance(given, str):
        return given
    if given.strip().startswith("["):
        try:
            return from_json(given)
        except ValueError:
            raise ValueError("not a list: neither JSON, nor separated by commas") from None
    return [item for item in (part.strip() for part in given.split(",")) if item]


def check_key_header(name: str) -> str:
    """The name of a header in which a key may stand, in lower case. Raises ``ValueError``."""
    name = name.lower()
    if _HEADER.fullmatch(name) is None or name in _NO_KEY_HEADERS or name.startswith(("proxy-", "transfer-")):
        raise ValueError("the name of a header is wanted that has no other use, such as X-Motive-Key")
    return name


def _lower(word: object) -> object:
    return word.lower() if isinstance(word, str) else word


def _join_word(word: str) -> str:
    word = word.strip().lower()
    if not word:
        raise ValueError("a join word must not be empty")
    return word


def _dialect_glob(glob: str) -> str:
    known = [dialect.name for dialect in DIALECTS]
    if not any(map(glob_regex(glob).fullmatch, known)):
        raise ValueError(f"no such dialect; known are {', '.join(sorted(known))}")
    return glob


def _dialect(name: str) -> str:
    known = [dialect.name for dialect in DIALECTS]
    if name not in known:
        raise ValueError(f"no such dialect; known are {', '.join(sorted(known))}")
    return name


Text = Annotated[str, Field(min_length=1), Kind("text")]
Glob = Annotated[str, Field(min_length=1), Kind("glob")]
Regex = Annotated[str, Field(min_length=1), AfterValidator(check_regex), Kind("regex")]
HostGlob = Annotated[str, Field(min_length=1), AfterValidator(check_host), Kind("host glob")]
Network = Annotated[str, AfterValidator(check_network), Kind("IP address or CIDR block")]
Service = Annotated[str, AfterValidator(check_service), Kind("base URL")]
Origin = Annotated[str, AfterValidator(check_origin), Kind("origin")]
JoinWord = Annotated[str, AfterValidator(_join_word), Kind("word")]
DialectName = Annotated[str, AfterValidator(_dialect), Kind("dialect")]
DialectGlob = Annotated[str, Field(min_length=1), AfterValidator(_dialect_glob), Kind("glob")]
HeaderName = Annotated[str, Field(min_length=1), AfterValidator(str.lower), Kind("header")]
Template = Annotated[str, Field(min_length=1), Kind("template")]
Port = Annotated[int, Field(ge=0, le=65535), Kind("port")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), Kind("seconds")]
SecondsOrNone = Annotated[float, Field(ge=0, allow_inf_nan=False), Kind("seconds")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False), Kind("number")]
Count = Annotated[int, Field(ge=1), Kind("count")]
Size = Annotated[int, BeforeValidator(_bytes), Field(ge=1), Kind("bytes")]
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]
LEVELS: Final[tuple[str, ...]] = get_args(get_args(Level)[0])


class Section(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
