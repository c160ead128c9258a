"""A route that is written into a configuration file: nothing else of the file changes."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.config import Config, ConfigFile, Match, Route, load_config, route_as_tree, save_route, with_route
from motive_core.errors import ConfigError
from tests.core.strategies import EXACT
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
        "routes: null\n",
        "routes: ~   # none\nlog: {level: debug}\n",
        "  log: {level: debug}\n  # indented\n",
        "routes:\n  -\n    answer: pass\n",
        "routes:\n  - answer: pass\n...\n# behind the end\n",
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

    literal = Route(name="x ${TOKEN} $${TOKEN} ${", match=Match(model="${NONE:-x}"))
    assert save_route(path, literal, {"TOKEN": "a-very-secret-token"}).routes == (literal, ROUTE)
    assert "a-very-secret-token" not in path.read_text()


def test_a_link_stays_one_and_permissions_stay(tmp_path: Path, path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text("routes: []\n")
    real.chmod(0o640)
    path.symlink_to(real)
    save_route(path, ROUTE, {})
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert load_config(real, {}).routes == (ROUTE,)


def test_its_owner_stays(path: Path) -> None:
    path.write_text("routes: []\n")
    try:
        os.chown(path, 1234, 1235)
    except PermissionError:
        pytest.skip("only root may give files away")
    save_route(path, ROUTE, {})
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)


def untouched(path: Path, text: str) -> bool:
    """Whether the file is as it was, and nothing lies beside it."""
    return path.read_text() == text and list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("routes: []\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        save_route(path, ROUTE, {})
    assert untouched(path, "routes: []\n")


def test_where_it_cannot_be_replaced_it_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("routes: []\n")

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")  # as a file that is mounted by itself

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", busy)
        with pytest.raises(ConfigError, match="cannot be written: Device or resource busy"):
            save_route(path, ROUTE, {})
    assert untouched(path, "routes: []\n")

    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied")  # a folder that is read-only, which root would not see

    monkeypatch.setattr(tempfile, "mkstemp", denied)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        save_route(path, ROUTE, {})
    assert untouched(path, "routes: []\n")


def test_a_file_that_is_read_only_is_left_alone(path: Path) -> None:
    path.write_text("routes: []\n")
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="is read-only"):
        save_route(path, ROUTE, {})
    assert untouched(path, "routes: []\n")


def test_a_file_that_is_gone_is_not_made(path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there any more"):
        save_route(path, ROUTE, {})
    assert not path.exists()


def test_what_somebody_writes_at_the_same_moment_is_not_lost(path: Path) -> None:
    path.write_text("routes: []\n")

    def write(_: Config) -> None:
        path.write_text("# mine\nroutes: []\n")

    with pytest.raises(ConfigError, match="somebody else"):
        save_route(path, ROUTE, {}, check=write)
    assert untouched(path, "# mine\nroutes: []\n")


def test_what_must_not_come_into_force_is_not_written(path: Path) -> None:
    path.write_text("routes: []\n")
    file = ConfigFile(path, {})

    def refuse(_: Config) -> None:
        raise ConfigError("access", "open to strangers")

    file.check = refuse
    with pytest.raises(ConfigError, match="open to strangers"):
        file.save(ROUTE)
    assert untouched(path, "routes: []\n")
    assert file.problem is None


def test_a_route_that_the_file_cannot_have_is_told_without_the_name_of_a_file_that_is_gone(path: Path) -> None:
    path.write_text("routes: []\n")
    with pytest.raises(ConfigError) as raised:
        save_route(path, Route(match=Match(listener="reverse"), answer="review"), {})
    assert str(raised.value).startswith(f"{path}: cannot take this route: routes.0.answer: there is no real service")
    assert untouched(path, "routes: []\n")


SECOND = Route(name="second", match=Match(model="x"), fallback="a\nb")
BEHIND = """\
routes:
  # ours
  - name: first   # by hand
    match: {model: x}
    # the end of it
  - answer: pass
"""


@pytest.mark.parametrize("text", [BEHIND, "routes: [{name: first, match: {model: x}}, {answer: pass}]\n"])
def test_behind_those_that_come_before_it(path: Path, text: str) -> None:
    first, rest = Route(name="first", match=Match(model="x")), Route(answer="pass")
    path.write_text(text)
    assert save_route(path, SECOND, {}, behind=[ROUTE, first]).routes == (first, SECOND, rest)
    assert added(text, path.read_text()) if "#" in text else True
    assert save_route(path, ROUTE, {}, behind=[rest]).routes == (ROUTE, first, SECOND, rest)


def test_behind_the_last_one(path: Path) -> None:
    path.write_text("routes:\n- answer: pass")
    assert save_route(path, ROUTE, {}, behind=[Route(answer="pass")]).routes == (Route(answer="pass"), ROUTE)


def test_the_file_in_force_has_it_at_once(path: Path) -> None:
    path.write_text("routes: []\n")
    file = ConfigFile(path, {})
    assert file.save(ROUTE).routes == (ROUTE,)
    assert file.poll() is None
    with pytest.raises(ConfigError, match="motive_config"):
        ConfigFile(None, {}).save(ROUTE)


WORDS = st.text(
    st.one_of(st.sampled_from("${}\u2028\x85\ufeff\x7f:#'\"-> \t\n"), st.characters(codec="utf-8")), min_size=1
)


@given(name=WORDS, session=WORDS, header=st.text("abcXYZ019:#'\"-> ", min_size=1))
@EXACT
def test_whatever_its_words_are(tmp_path_factory: pytest.TempPathFactory, name: str, session: str, header: str) -> None:
    session = session.replace("{", "[")
    route = Route(name=name, match=Match(header={"x-agent": f"^{header}$"}), session=session, fallback=name)
    path = tmp_path_factory.mktemp("words") / "config.yaml"
    for text in (PLAIN, "routes: [{answer: pass}]\r\n", "log: {level: debug}\n"):
        saved(path, text, route)
    assert Route.model_validate(route_as_tree(route)) == route
