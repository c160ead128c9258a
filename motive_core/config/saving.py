"""A route that is written into a configuration file, which keeps everything else that stands in it, byte for byte.

Owns where it goes and how the file is replaced. The YAML is not written anew, since that would lose comments and the
form that its author gave it: the route's lines are put in at the beginning of the list.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import yaml

from motive_core.config.loading import load_config
from motive_core.config.models import Config, Route, default_routes
from motive_core.errors import ConfigError

_WIDTH: Final = 1 << 30
_ROOT_INDENT: Final = 2
_WRITE_BITS: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_BOM: Final = "\ufeff"
_FIRST_ITEM: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)-(?=\s)")
"""The dash of the first item of a list, and what may stand before it."""


def route_as_tree(route: Route) -> dict[str, Any]:
    """What of a route is not its default, as YAML and JSON carry it."""
    tree: dict[str, Any] = route.model_dump(mode="json", exclude_defaults=True)
    return tree


class _Dumper(yaml.SafeDumper):
    """Writes what does not print, line separators among it, as escapes: nothing may look like the end of a line."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)


def with_route(text: str, route: Route, after: int = 0) -> str:
    """The text of a configuration file with this route as its first, or behind the first ``after`` of those that it
    has. Where it had no routes, those that were in force without any follow. Raises ``ConfigError`` if there is no
    safe place for it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        root = yaml.compose(text.removeprefix(_BOM), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError("the file", f"is no YAML that can be read: {error}") from None
    shift = len(text) - len(text.removeprefix(_BOM))
    if root is None:
        return _after(text, _section(route, 0, newline), newline)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("the file", "is no mapping")
    found = next(((key, value) for key, value in root.value if key.value == "routes"), None)
    column = root.start_mark.column
    if found is None:
        if root.flow_style:
            raise ConfigError("the file", "is written in one pair of braces: add the route by hand")
        at = root.end_mark.index + shift
        return _after(text[:at], _section(route, column, newline), newline) + text[at:]
    key, value = found
    at = _next_line(text, key.end_mark.index + shift)
    if isinstance(value, yaml.SequenceNode) and value.flow_style:
        return _in_brackets(text, value, shift, route, after)
    if isinstance(value, yaml.SequenceNode) and (item := _FIRST_ITEM.match(text, at)) is not None:
        if after:
            at = _next_line(text, _end_of(value.value[after - 1]) + shift)
        return _after(text[:at], _lines([route], len(item[1]), newline), newline, gap=False) + text[at:]
    if isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null":
        start, end = value.start_mark.index + shift, value.end_mark.index + shift
        if value.value:  # the word null would be the value still
            text = text[:start].rstrip(" ") + text[end:]
            at = _next_line(text, key.end_mark.index + shift)
        lines = _lines([route, *default_routes()], column + _ROOT_INDENT, newline)
        return _after(text[:at], lines, newline, gap=False) + text[at:]
    raise ConfigError("routes", "is written in a way that leaves no safe place for another one: add it by hand")


def save_route(
    path: Path,
    route: Route,
    env: Mapping[str, str],
    dotenv: Path | None = None,
    *,
    behind: Sequence[Route] = (),
    check: Callable[[Config], None] = lambda _: None,
) -> Config:
    """Write a route into a file, as its first, or behind those of ``behind`` that it begins with, and put that in the
    file's place at once. Gives the configuration that the file is then; ``check`` raises ``ConfigError`` for one that
    must not come into force. Raises ``ConfigError`` if it cannot be, and then the file is as it was."""
    path = path.resolve()
    try:
        found = path.stat()
        text = path.read_bytes().decode("utf-8")
        before = load_config(path, env, dotenv)
    except FileNotFoundError:
        raise ConfigError(str(path), "is not there any more") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8: {error.reason}") from None
    # To put another one in its place needs leave to write its folder only.
    if not found.st_mode & _WRITE_BITS or not os.access(path, os.W_OK):
        raise ConfigError(str(path), "is read-only")
    after = sum(1 for _ in takewhile(lambda known: known in behind, before.routes))
    routes = (*before.routes[:after], route, *before.routes[after:])
    new: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        new = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(with_route(text, route, after).encode())
            file.flush()
            with suppress(OSError):  # not ours to give to somebody else
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            os.fsync(file.fileno())
        config = _as_it_would_be(path, new, env, dotenv)
        if config != before.model_copy(update={"routes": routes}):
            raise ConfigError(str(path), "would say something else with this route in it: add it by hand")
        check(config)
        if _stamp(path.stat()) != _stamp(found):
            raise ConfigError(str(path), "was changed by somebody else at this moment: try again")
        new.replace(path)
        new = None
        _sync_folder(path.parent)
    except UnicodeEncodeError:
        raise ConfigError(str(path), "cannot hold this route: it has text that is not UTF-8") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror or error}") from None
    finally:
        if new is not None:
            with suppress(OSError):
                new.unlink()
    return config


def _as_it_would_be(path: Path, new: Path, env: Mapping[str, str], dotenv: Path | None) -> Config:
    try:
        return load_config(new, env, dotenv)
    except ConfigError as error:
        # The new file's name says nothing to anybody: it is gone by then.
        why = "there is no safe place for it" if new.name in error.where else str(error)
        raise ConfigError(str(path), f"cannot take this route: {why}") from None


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _sync_folder(folder: Path) -> None:
    """That the file has another one's name now outlives a power cut, too, where folders can be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _section(route: Route, column: int, newline: str) -> str:
    lines = _lines([route, *default_routes()], column + _ROOT_INDENT, newline)
    return f"{' ' * column}routes:{newline}{lines}"


def _lines(routes: list[Route], column: int, newline: str) -> str:
    """Items of a list, indented."""
    trees = [_written(route_as_tree(one)) for one in routes]
    dumped = yaml.dump(trees, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, indent=2)
    return "".join(f"{' ' * column}{line}{newline}" for line in dumped.removesuffix("\n").split("\n"))


def _in_brackets(text: str, value: yaml.SequenceNode, shift: int, route: Route, after: int) -> str:
    """With the route in a list that is written in brackets. As JSON, since the file may be that."""
    item = "".join(
        one if one.isprintable() else f"\\U{ord(one):08x}" if ord(one) > 0xFFFF else f"\\u{ord(one):04x}"
        for one in json.dumps(_written(route_as_tree(route)), ensure_ascii=False)
    )
    if after:
        at = value.value[after - 1].end_mark.index + shift
        return f"{text[:at]}, {item}{text[at:]}"
    at = value.start_mark.index + shift
    at = text.index("[", at) + 1  # behind an anchor, if there is one
    return f"{text[:at]}{item}{', ' if value.value else ''}{text[at:]}"


def _written(tree: Any) -> Any:
    """What the file must say for this: in it, ``${`` begins a reference to the environment."""
    match tree:
        case str():
            return tree.replace("${", "$${")
        case list():
            return [_written(item) for item in tree]
        case dict():
            return {key: _written(item) for key, item in tree.items()}
        case _:
            return tree


def _end_of(node: yaml.Node) -> int:
    """Where the last thing that is written of a node ends: a block's own end is behind the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_of(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)


def _after(text: str, lines: str, newline: str, *, gap: bool = True) -> str:
    """Text, and lines behind it that begin one of their own."""
    if text.removeprefix(_BOM) and not text.endswith("\n"):
        text += newline
    return f"{text}{newline if gap and text.strip(_BOM + chr(10) + chr(13)) else ''}{lines}"


def _next_line(text: str, at: int) -> int:
    """Where the line after this place begins; the end, if there is none."""
    found = text.find("\n", at)
    return found + 1 if found >= 0 else len(text)
