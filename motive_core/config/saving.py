"""A route that is written into a configuration file, which keeps everything else that stands in it, byte for byte.

Owns where it goes and how the file is replaced. The YAML is not written anew, since that would lose comments and the
form that its author gave it: the route's lines are put in at the beginning of the list.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from motive_core.config.loading import load_config
from motive_core.config.models import Config, Route, default_routes
from motive_core.errors import ConfigError

_WIDTH: Final = 10_000
_BOM: Final = "\ufeff"
_FIRST_ITEM: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)-(?=\s)")
"""The dash of the first item of a list, and what may stand before it."""


def route_as_tree(route: Route) -> dict[str, Any]:
    """What of a route is not its default, as YAML and JSON carry it."""
    tree: dict[str, Any] = route.model_dump(mode="json", exclude_defaults=True)
    return tree


def with_route(text: str, route: Route) -> str:
    """The text of a configuration file with this route as its first. Where it had no routes, those that were in force
    without any follow. Raises ``ConfigError`` if there is no safe place for it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        root = yaml.compose(text.removeprefix(_BOM), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError("the file", f"is no YAML that can be read: {error}") from None
    shift = len(text) - len(text.removeprefix(_BOM))
    if root is None:
        return _after(text, _section(route, newline), newline)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("the file", "is no mapping")
    found = next(((key, value) for key, value in root.value if key.value == "routes"), None)
    if found is None:
        if root.flow_style:
            raise ConfigError("the file", "is written in one pair of braces: add the route by hand")
        at = root.end_mark.index + shift
        return _after(text[:at], _section(route, newline), newline) + text[at:]
    key, value = found
    if isinstance(value, yaml.SequenceNode) and value.flow_style:
        at = value.start_mark.index + shift + 1
        more = ", " if value.value else ""
        return f"{text[:at]}{json.dumps(route_as_tree(route), ensure_ascii=False)}{more}{text[at:]}"
    if isinstance(value, yaml.SequenceNode):
        at = _next_line(text, key.end_mark.index + shift)
        if (item := _FIRST_ITEM.match(text, at)) is not None:
            return text[:at] + _lines([route], len(item[1]), newline) + text[at:]
    if isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null" and not value.value:
        at = _next_line(text, key.end_mark.index + shift)
        return _after(text[:at], _lines([route, *default_routes()], 2, newline), newline, gap=False) + text[at:]
    raise ConfigError("routes", "is written in a way that leaves no safe place for another one: add it by hand")


def save_route(path: Path, route: Route, env: Mapping[str, str], dotenv: Path | None = None) -> Config:
    """Write a route into a file, as its first, and put that in the file's place at once. Gives the configuration that
    the file is then. Raises ``ConfigError`` if it cannot be, and then the file is as it was."""
    path = path.resolve()
    try:
        text = path.read_bytes().decode("utf-8")
        before = load_config(path, env, dotenv)
    except FileNotFoundError:
        raise ConfigError(str(path), "is not there any more") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8: {error.reason}") from None
    new: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        new = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(with_route(text, route).encode())
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, new)
        after = load_config(new, env, dotenv)
        if after != before.model_copy(update={"routes": (route, *before.routes)}):
            raise ConfigError(str(path), "would say something else with this route in it: add it by hand")
        new.replace(path)
        new = None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror or error}") from None
    finally:
        if new is not None:
            with suppress(OSError):
                new.unlink()
    return after


def _section(route: Route, newline: str) -> str:
    return f"routes:{newline}{_lines([route, *default_routes()], 2, newline)}"


def _lines(routes: list[Route], column: int, newline: str) -> str:
    """Items of a list, indented."""
    dumped = yaml.safe_dump(
        [route_as_tree(one) for one in routes], sort_keys=False, allow_unicode=True, width=_WIDTH, indent=2
    )
    return "".join(f"{' ' * column}{line}{newline}" for line in dumped.splitlines())


def _after(text: str, lines: str, newline: str, *, gap: bool = True) -> str:
    """Text, and lines behind it that begin one of their own."""
    if text.removeprefix(_BOM) and not text.endswith("\n"):
        text += newline
    return f"{text}{newline if gap and text.strip(_BOM + chr(10) + chr(13)) else ''}{lines}"


def _next_line(text: str, at: int) -> int:
    """Where the line after this place begins; the end, if there is none."""
    found = text.find("\n", at)
    return found + 1 if found >= 0 else len(text)
