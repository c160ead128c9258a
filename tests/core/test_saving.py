"""A route that is written into a configuration file: nothing else of the file changes."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from motive_core.config import Config, ConfigFile, Match, Route, load_config, route_as_tree, save_route, with_route
from motive_core.errors import ConfigError
from tests.test_layering import ROOT

ROUTE = Route(
    name="console: troll",
    match=Match(listener="forward", host="api.openai.com", system="You are Grok: a #1 'troll'\\."),
    session="troll",
)
PLAIN = """\
# The game.
timing: {hold_timeout_s: 20}   # not long

routes:   # first match decides
  # the narrator
  - match: {model: narrator}
    answer: "pass"   # never us

  - answer: pair
# the end
"""


def added(before: str, after: str) -> list[str]:
    """The lines that are new, where no other line has changed."""
    compared = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    lines = [line for line in compared if line[0] != "?"]
    assert not [line for line in lines if line[0] == "-"]
    return [line[2:] for line in lines if line[0] == "+"]


def saved(path: Path, text: str, route: Route = ROUTE) -> tuple[str, Config]:
    path.write_bytes(text.encode())
    before = load_config(path, {})
    config = save_route(path, route, {})
    assert config == load_config(path, {})
    assert config == before.model_copy(update={"routes": (route, *before.routes)})
    return path.read_bytes().decode(), config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_it_stands_before_the_others_and_comments_stay(path: Path) -> None:
    after, _ = saved(path, PLAIN)
    assert "".join(added(PLAIN, after)) == (
        "  - match:\n      listener: forward\n      host: api.openai.com\n"
        "      system: 'You are Grok: a #1 ''troll''\\.'\n    name: 'console: troll'\n    session: troll\n"
    )
    assert after.startswith(PLAIN[: PLAIN.index("  # the narrator")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# nothing yet\n",
        "log: {level: debug}",
        "log:\n  level: debug\n# a last word",
        "routes:\n# none\n",
        "routes: []\n",
        "routes: [{answer: pass}] # one\n",
        'routes:\n- answer: pass\nlog:\n  level: "debug"\n',
        "routes:\n    - answer: pass\n    - answer: pair\n",
        "routes: &mine\n  - &first {answer: pass}\n  - *first\n",
        '{"routes": [{"answer": "pass"}], "log": {"level": "debug"}}',
        "\ufefflog: {level: debug}\n",
        "\ufeffroutes:\n  - answer: pass\n",
        "---\nlog: {level: debug}\n",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_form_of_a_file(path: Path, text: str, newline: str) -> None:
    text = text.replace("\n", newline)
    after, _ = saved(path, text)
    if newline == "\r\n" and "\n" in text:
        assert after.replace("\r\n", "").count("\n") == 0
    again, config = saved(path, after, ROUTE.model_copy(update={"session": "other"}))
    assert [route.session for route in config.routes][:2] == ["other", "troll"]
    assert len(again) > len(after)


def test_the_file_of_the_repository(path: Path) -> None:
    text = (ROOT / "config.yaml").read_text("utf-8")
    after, config = saved(path, text)
    assert added(text, after)
    assert config.routes[0] == ROUTE


def test_without_routes_those_in_force_by_default_are_still(path: Path) -> None:
    after, config = saved(path, "log: {level: debug}\n")
    assert after.startswith("log: {level: debug}\n\nroutes:\n  - match:\n")
    assert config.routes[1:] == Config().routes


@pytest.mark.parametrize("text", ['{"log": {"level": "debug"}}', "routes: *x\n", "- a\n", "a: [\n", "routes: 7\n"])
def test_where_there_is_no_safe_place_nothing_is_written(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError):
        with_route(text, ROUTE)
    with pytest.raises(ConfigError):
        save_route(path, ROUTE, {})
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_variables_stay_as_they_are_written(path: Path) -> None:
    text = "access:\n  admin_token: ${TOKEN}\nroutes: []\n"
    path.write_text(text)
    save_route(path, ROUTE, {"TOKEN": "a-very-secret-token"})
    assert "${TOKEN}" in path.read_text()
    assert "a-very-secret-token" not in path.read_text()
    with pytest.raises(ConfigError, match="something else"):
        save_route(path, ROUTE.model_copy(update={"name": "x ${TOKEN}"}), {"TOKEN": "a-very-secret-token"})


def test_a_link_stays_one_and_permissions_stay(tmp_path: Path, path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text("routes: []\n")
    real.chmod(0o640)
    path.symlink_to(real)
    save_route(path, ROUTE, {})
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert load_config(real, {}).routes == (ROUTE,)


def test_a_full_disk_leaves_the_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("routes: []\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        save_route(path, ROUTE, {})
    assert path.read_text() == "routes: []\n"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_in_force_has_it_at_once(path: Path) -> None:
    path.write_text("routes: []\n")
    file = ConfigFile(path, {})
    assert file.save(ROUTE).routes == (ROUTE,)
    assert file.poll() is None
    with pytest.raises(ConfigError, match="motive_config"):
        ConfigFile(None, {}).save(ROUTE)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029${}"),
    min_size=1,
    max_size=40,
)


@given(name=WORDS.filter(str.strip), session=WORDS.filter(str.strip), header=st.text("abcXYZ019:#'\"-> ", min_size=1))
def test_whatever_its_words_are(name: str, session: str, header: str) -> None:
    route = Route(name=name, match=Match(header={"x-agent": f"^{header}$"}), session=session)
    for text in (PLAIN, "routes: [{answer: pass}]\n"):
        after = with_route(text, route)
        tree = yaml.safe_load(after)["routes"]
        assert Route.model_validate(tree[0]) == route
        assert tree[1:] == yaml.safe_load(text)["routes"]
    assert Route.model_validate(route_as_tree(route)) == route
