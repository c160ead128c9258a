"""The text of a configuration file as plain data: mappings, lists, strings and None.

Owns the YAML that is read: every scalar stays the text that was written, because the settings know their types better
than YAML does (``off`` is a word, ``4.10`` has two digits behind the dot, ``1:30`` is no number of minutes). Only null
is null. Owns the references to the environment, too. Knows no setting.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any, Final

import yaml

from motive_core.errors import ConfigError

type Tree = Any
"""A decoded YAML value: mapping, list, string or None; what an explicit tag makes, too."""

_NULL_TAG: Final = "tag:yaml.org,2002:null"
_NULLS: Final = ("", "~", "null", "Null", "NULL")
# One level of braces within a default, so that it may be a template.
_REFERENCE: Final = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>(?:[^{}]|\{[^{}]*\})*))?\}|\$\{"
)


class _Loader(yaml.SafeLoader):
    """See the module. A key that stands twice in a mapping is an error: YAML 1.2 forbids it (section 3.2.1.3), PyYAML
    keeps the last one."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # that is how PyYAML's own loaders have it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            written = (key.tag, key.value)
            if written in lines:
                why = f"the key {key.value!r} stands twice in one mapping, first in line {lines[written]}"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            lines[written] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_NULL_TAG, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])


def parse(text: str, name: str) -> dict[str, Tree]:
    """The mapping that a file holds, empty for an empty file. ``name`` is the file's, for errors: raises
    ``ConfigError`` with line and column, ``RecursionError`` for what is nested too deeply."""
    try:
        tree = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark is not None else name
        raise ConfigError(where, _said(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{name}, line {line}", f"a character that YAML does not allow: {error.reason}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(name, f"not YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(name, "the file must be a mapping of settings, such as 'proxy: {port: 8000}'")
    for key in tree:
        if not isinstance(key, str):
            raise ConfigError(name, f"the key {key!r} is no word")
    return tree


def _said(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    why = ", ".join(parts) or "not YAML"
    if r"'\t'" in why:
        why += " (a tab; YAML indents by spaces)"
    return why


def resolve(tree: Tree, variables: Mapping[str, str], path: tuple[str | int, ...] = ()) -> Tree:
    """The same with ``${NAME}`` and ``${NAME:-default}`` replaced in every string, keys aside; ``$${`` is a literal
    ``${``. The default also stands in for an empty variable, as in a shell. A string that is one whole reference is
    read as YAML reads a scalar: it may be null.

    Raises ``ConfigError`` with the path for a variable that is not set and has no default.
    """
    match tree:
        case str():
            return _resolve_text(tree, variables, path)
        case list():
            return [resolve(item, variables, (*path, index)) for index, item in enumerate(tree)]
        case dict():
            return {key: resolve(item, variables, (*path, key)) for key, item in tree.items()}
        case _:
            return tree


def _resolve_text(text: str, variables: Mapping[str, str], path: tuple[str | int, ...]) -> str | None:
    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name = found["name"]
        if name is None:
            why = "'${' must begin a reference, ${NAME} or ${NAME:-default}; a literal one is written $${"
            raise ConfigError(dotted(path), why)
        given = variables.get(name)
        if found["or"] is not None:
            return given or found["default"]
        if given is None:
            raise ConfigError(dotted(path), f"the variable {name} is not set, and there is no default")
        return given

    if "${" not in text:
        return text
    whole = _REFERENCE.fullmatch(text)
    resolved = _REFERENCE.sub(value, text)
    return None if whole is not None and whole["name"] is not None and resolved in _NULLS else resolved


def dotted(path: tuple[str | int, ...]) -> str:
    """A path as errors show it: ``routes.2.match.system``."""
    return ".".join(map(str, path))
