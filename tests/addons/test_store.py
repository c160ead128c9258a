"""Which file the sessions of a proxy are in, by its listeners and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from motive_core.config import Config
from motive_core.errors import ConfigError
from motive_shell.store import open_store

REVERSE = "reverse:http://127.0.0.1:9@"


def opened(modes: list[str], env: dict[str, str], **store: str) -> Path:
    made = open_store(Config.model_validate({"store": store}), modes, env, lambda: 0.0)
    assert made is not None
    made.close()
    return made.backend._file.path


@pytest.mark.parametrize(
    ("modes", "name"),
    [
        (["regular@8080", f"{REVERSE}8000"], "8000"),
        (["regular@127.0.0.1:8080", f"{REVERSE}[::1]:9000", f"{REVERSE}9001"], "9000"),
        (["regular@8081"], "8081"),
        (["regular"], "8080"),
        (["regular@8080", f"{REVERSE}127.1:0"], "any"),
        ([], "any"),
    ],
)
def test_it_has_the_port_of_the_meeting_point_in_its_name(tmp_path: Path, modes: list[str], name: str) -> None:
    assert opened(modes, {"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "motive" / f"{name}.sqlite"


@pytest.mark.parametrize("given", ["", "relative/path"])
def test_it_is_in_the_home_folder_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = opened(["regular@8080"], {"XDG_STATE_HOME": given})
    assert path == tmp_path / ".local" / "state" / "motive" / "8080.sqlite"


def test_the_configuration_may_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened([], {}, path="~/mine.sqlite") == tmp_path / "mine.sqlite"


def test_none_on_request(tmp_path: Path) -> None:
    config = Config.model_validate({"store": {"kind": "memory"}})
    assert open_store(config, [], {"XDG_STATE_HOME": str(tmp_path)}, lambda: 0.0) is None
    assert list(tmp_path.iterdir()) == []


def test_two_proxies_on_one_port_do_not_share_it(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    first = open_store(Config(), [f"{REVERSE}8000"], env, lambda: 0.0)
    assert first is not None
    second = open_store(Config(), [f"{REVERSE}8001"], env, lambda: 0.0)
    assert second is not None
    with pytest.raises(ConfigError, match="in use by another process"):
        open_store(Config(), [f"{REVERSE}8000"], env, lambda: 0.0)
    first.close()
    second.close()
