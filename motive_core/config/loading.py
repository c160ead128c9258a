"""From a file and an environment to a ``Config``.

Owns the order in which sources override each other (variable, file, default) and the words of errors: each one names
the YAML path, the place in the file or the variable.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from motive_core.config.hashed import SECRET_ERROR
from motive_core.config.models import Config, Route
from motive_core.config.source import Tree, dotted, parse, resolve
from motive_core.config.sources import ANSWERS, POLICIES, RESERVED, with_sources
from motive_core.config.variables import override, unknown_variables
from motive_core.errors import ConfigError
from motive_core.sources import KINDS

_SHOWN_CHARACTERS = 60
_SECRET_SECTIONS = ("access", "sources")


def load_config(path: Path | None, env: Mapping[str, str], dotenv: Path | None = None) -> Config:
    """Read the configuration. ``env`` is the environment; ``dotenv`` a ``.env`` file under it, which need not exist.
    Without a ``path`` everything has its default, variables aside.

    Raises ``ConfigError`` for whatever is wrong.
    """
    variables = {**_dotenv(dotenv), **env}
    tree = _tree(path, variables) if path is not None else {}
    tree, set_by = override(tree, variables)
    tree, filled_by = with_sources(tree, variables)
    set_by |= filled_by
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise _config_error(error, set_by) from None
    _check_routes(config)
    config._warnings = unknown_variables(variables)
    return config


def _tree(path: Path, variables: Mapping[str, str]) -> dict[str, Tree]:
    try:
        tree = resolve(parse(_read(path), path.name), variables)
    except RecursionError:
        raise ConfigError(path.name, "it is nested too deeply, or an alias stands within its own anchor") from None
    # A section whose lines are all commented out is null in YAML; what is meant is its default.
    return {key: value for key, value in tree.items() if value is not None}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8: {error.reason} at byte {error.start}") from None


def _dotenv(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        # Without its interpolation, which would look into the environment of this process.
        found = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8: {error.reason} at byte {error.start}") from None
    return {name: value for name, value in found.items() if value is not None}


def check_route(config: Config, route: Route) -> None:
    """Whether a route could be one of this configuration's. Raises ``ConfigError`` with the setting's path within the
    route."""
    try:
        _check_routes(config.model_copy(update={"routes": (route,)}))
    except ConfigError as error:
        raise ConfigError(error.where.removeprefix("routes.0."), error.why) from None


def _check_routes(config: Config) -> None:
    """What a route by itself cannot know."""
    for index, route in enumerate(config.routes):
        if route.match.listener != "reverse" or route.service is not None or config.services:
            continue
        for setting in ("answer", "when", "on_timeout", "on_lost", "on_full", "on_exit", "background"):
            needs_service = ("pass", "joined", "review") if route.draft is None or setting == "on_exit" else ()
            if getattr(route, setting) in needs_service:
                why = "there is no real service to pass to: give the route a service, or name one under services"
                raise ConfigError(dotted(("routes", index, setting)), why)
    _check_sources(config)
    for index, route in enumerate(config.routes):
        for setting in POLICIES:
            if getattr(route, setting) == "fallback" and route.fallback is None:
                raise ConfigError(dotted(("routes", index, setting)), "the route has no fallback to answer with")


def _check_sources(config: Config) -> None:
    """Whether every name of a source is one, and stands where a source has a meaning."""
    for name in config.sources:
        if name in RESERVED:
            raise ConfigError(dotted(("sources", name)), "a source cannot be called so: the word has another meaning")
    for index, route in enumerate(config.routes):
        for setting, words in {"answer": ANSWERS, **POLICIES}.items():
            named = getattr(route, setting)
            if named is None or named in words or named in config.sources:
                continue
            near = difflib.get_close_matches(named, [*words, *KINDS, *config.sources], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            why = f"{named!r} is neither one of {', '.join(words)} nor the name of a source{hint}"
            raise ConfigError(dotted(("routes", index, setting)), why)
        _check_review(config, index, route)
        if route.answer not in ANSWERS and route.when is not None:
            why = "a source answers whether somebody has joined or not: this is for `answer: pair`"
            raise ConfigError(dotted(("routes", index, "when")), why)


def _check_review(config: Config, index: int, route: Route) -> None:
    """Whether the settings of a review stand at one, and no others that it has no use for."""
    if route.answer != "review":
        for setting in ("draft", "review_timeout_s"):
            if setting in route.model_fields_set and getattr(route, setting) is not None:
                raise ConfigError(dotted(("routes", index, setting)), "this is for `answer: review`")
        return
    for setting in POLICIES:
        if setting in route.model_fields_set and getattr(route, setting) is not None:
            why = "what nobody reviews goes on as the service said it: this is for `answer: pair`"
            raise ConfigError(dotted(("routes", index, setting)), why)
    if route.draft is not None and route.draft not in config.sources:
        raise ConfigError(dotted(("routes", index, "draft")), f"{route.draft!r} is not the name of a source")


def _config_error(error: ValidationError, set_by: Mapping[tuple[str, ...], str]) -> ConfigError:
    first, *others = error.errors(include_url=False)
    where = _where(first["loc"], set_by)
    why = _why(first)
    if others:
        why += f" (and {len(others)} more, in {_where(others[0]['loc'], set_by)}{', ...' if len(others) > 1 else ''})"
    return ConfigError(where, why)


def _where(loc: tuple[str | int, ...], set_by: Mapping[tuple[str, ...], str]) -> str:
    if loc[:1] == ("sources",):
        loc = (*loc[:2], *loc[3:])  # behind its name stands its kind, which nobody wrote there
    return next((name for path, name in set_by.items() if path == loc[: len(path)]), dotted(loc))


def _why(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            key = str(error["loc"][-1])
            near = difflib.get_close_matches(key, set(_keys(Config)), n=1)
            return f"unknown key{f'; did you mean {near[0]}?' if near else ''}"
        case "missing":
            return "is missing"
        case "model_type" | "dict_type" | "mapping_type":
            why = "a mapping is wanted"
        case "tuple_type" | "list_type":
            why = "a list is wanted"
        case "value_error":
            why = str(error["ctx"]["error"])
        case type_ if type_ == SECRET_ERROR:
            return error["msg"]
        case _:
            why = error["msg"]
    given = error["input"]
    if error["loc"] and error["loc"][0] in _SECRET_SECTIONS:
        return why  # a secret in the wrong place is one, too
    if isinstance(given, str | int | float) or given is None:
        shown = "null" if given is None else repr(given)
        why += f"; given is {shown if len(shown) <= _SHOWN_CHARACTERS else f'{shown[:_SHOWN_CHARACTERS]}...'}"
    return why


def _keys(model: type[BaseModel]) -> Iterator[str]:
    """The keys of a model and of all models within it."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        pending: list[Any] = [field.annotation]
        while pending:
            annotation = pending.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from _keys(annotation)
            pending += get_args(annotation)
