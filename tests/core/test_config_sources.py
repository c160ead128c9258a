"""The names of sources: which are known, what a route may name where, and what the environment sets in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from motive_core.config import Config, load_config
from motive_core.errors import ConfigError
from motive_core.sources.mock import Mock

SOURCES = "sources: {parrot: {kind: mock, text: Polly}}\n"


def load(folder: Path, text: str, env: dict[str, str] | None = None) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, "utf-8")
    return load_config(path, env or {})


@pytest.mark.parametrize("setting", ["answer", "on_timeout", "on_lost", "on_full"])
@pytest.mark.parametrize("name", ["parrot", "mock"])
def test_a_route_may_name_a_source(tmp_path: Path, setting: str, name: str) -> None:
    config = load(tmp_path, f"{SOURCES}routes: [{{{setting}: {name}}}]\n")
    assert getattr(config.routes[0], setting) == name
    made = config.sources[name]
    assert isinstance(made, Mock) and made.text == ("Polly" if name == "parrot" else None)


@pytest.mark.parametrize(
    ("setting", "word", "why"),
    [
        ("answer", "parot", "neither one of pair, review, pass, reject nor the name of a source; did you mean parrot?"),
        ("answer", "wait", "'wait' is neither"),
        ("answer", "error", "'error' is neither"),
        ("on_timeout", "nobody", "'nobody' is neither one of pass, fallback, error nor the name of a source"),
        ("on_timeout", "wait", "'wait' is neither one of pass, fallback, error nor"),
        ("on_full", "wait", "'wait' is neither one of pass, fallback, error nor"),
        ("on_lost", "pair", "'pair' is neither one of pass, fallback, error, wait nor"),
        ("on_lost", "fallback", "the route has no fallback to answer with"),
    ],
)
def test_any_other_word_is_refused_where_it_stands(tmp_path: Path, setting: str, word: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"{SOURCES}routes: [{{{setting}: {word}}}]\n")
    assert raised.value.where == f"routes.0.{setting}" and why in raised.value.why


def test_prompts_may_wait_for_who_was_lost(tmp_path: Path) -> None:
    assert load(tmp_path, "routes: [{on_lost: wait}]\n").routes[0].on_lost == "wait"


@pytest.mark.parametrize("name", ["pair", "review", "pass", "reject", "error", "fallback", "wait", "joined", "always"])
def test_no_source_has_the_name_of_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"sources: {{{name}: {{kind: mock}}}}\n")
    assert raised.value.where == f"sources.{name}"


def test_a_source_answers_whoever_has_joined(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"{SOURCES}routes: [{{answer: parrot, when: joined, match: {{listener: forward}}}}]\n")
    assert raised.value.where == "routes.0.when"
