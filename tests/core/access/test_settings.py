"""The section ``access``: what it takes, what it refuses, and that it never shows a secret."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from motive_core.access.__main__ import main
from motive_core.config import Config, ConfigFile, Hashed, load_config
from motive_core.errors import ConfigError

SECRET = "sk-very-secret-0001"


def loaded(text: str, folder: Path, **env: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, "utf-8")
    return load_config(path, env)


def shown(config: Config) -> str:
    return f"{config!r} {config} {config.access} {config.model_dump()} {vars(config)}"


class TestVariables:
    def test_all_of_them(self) -> None:
        access = load_config(
            None,
            {
                "MOTIVE_PROXY_ENABLE_API_KEY_AUTH": "true",
                "MOTIVE_PROXY_API_KEY_HEADER": "X-Our-Key",
                "MOTIVE_PROXY_VALID_API_KEYS": " one , two,one,",
                "MOTIVE_PROXY_ADMIN_TOKEN": "the-token",
                "MOTIVE_PROXY_ALLOW_UNAUTHENTICATED": "true",
            },
        ).access
        assert (access.key_is_required, access.header, access.allow_unauthenticated) == (True, "x-our-key", True)
        assert set(access.valid_keys) == {Hashed.of("one"), Hashed.of("two")}
        assert access.admin_token == Hashed.of("the-token")

    def test_a_list_may_be_json_too(self) -> None:
        env = {"MOTIVE_PROXY_VALID_API_KEYS": '["one", "two"]', "MOTIVE_PROXY_CORS_ORIGINS": '["*"]'}
        config = load_config(None, env)
        assert config.access.valid_keys == (Hashed.of("one"), Hashed.of("two"))
        assert config.cors_origins == ("*",)
        assert not load_config(None, {"MOTIVE_PROXY_VALID_API_KEYS": "[]"}).access.key_is_required

    def test_origins(self, tmp_path: Path) -> None:
        env = {"MOTIVE_PROXY_CORS_ORIGINS": "https://a.example, http://b.example:*"}
        config = loaded("cors_origins: [https://c.example]\n", tmp_path, **env)
        assert config.cors_origins == ("https://a.example", "http://b.example:*")

    def test_keys_are_asked_for_if_there_are_any(self) -> None:
        assert not load_config(None, {}).access.key_is_required
        given = {"MOTIVE_PROXY_VALID_API_KEYS": "one"}
        assert load_config(None, given).access.key_is_required
        assert not load_config(None, {**given, "MOTIVE_PROXY_ENABLE_API_KEY_AUTH": "false"}).access.key_is_required


def test_a_secret_is_its_digest(tmp_path: Path) -> None:
    plain = loaded(f"access: {{keys: [{{name: a, key: {SECRET}}}], admin_token: other}}\n", tmp_path)
    digests = [Hashed.of(one).written for one in (SECRET, "other")]
    hashed = loaded(f"access: {{keys: [{{name: a, key: '{digests[0]}'}}], admin_token: {digests[1]}}}\n", tmp_path)
    assert plain == hashed
    assert SECRET not in shown(plain)
    assert Hashed.of(SECRET).digest.hex() not in shown(plain)
    assert repr(Hashed.of(SECRET).digest) not in shown(plain)


@pytest.mark.parametrize(
    "text",
    [
        f"access: {SECRET}",
        f"access: {{keys: {SECRET}}}",
        f"access: {{keys: [{SECRET}]}}",
        f"access: {{keys: [{{name: {SECRET} x, key: a}}]}}",
        f"access: {{keys: [{{name: a, key: [{SECRET}]}}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET}, role: {SECRET}}}]}}",
        f"access: {{keys: [{{name: a, key: sha256:{SECRET}}}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET} b}}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET}, sessions: []}}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET}}}, {{name: a, key: b}}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET}}}, {{name: b, key: {SECRET}}}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET}}}], valid_keys: [{SECRET}]}}",
        f"access: {{keys: [{{name: a, key: {SECRET}}}], admin_token: {SECRET}}}",
        f"access: {{valid_keys: [[{SECRET}]]}}",
        f"access: {{valid_keys: '[{SECRET}'}}",
        f"access: {{valid_keys: '{SECRET} {SECRET}'}}",
        f"access: {{admin_token: '  '}}\n# {SECRET}",
        f"access: {{header: {SECRET} x}}",
        f"access: {{require_key: {SECRET}}}",
        f"access: {{hosts: [https://{SECRET}]}}",
        "access: {hosts: [motive.lan:8000]}",
        "access: {require_key: true}",
        "access: {header: Host}",
        "access: {header: proxy-authorization}",
    ],
)
def test_what_is_wrong_is_refused_without_showing_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(text, tmp_path)
    assert str(raised.value).startswith("access")
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOTIVE_PROXY_VALID_API_KEYS", f"{SECRET} {SECRET}"),
        ("MOTIVE_PROXY_ADMIN_TOKEN", f"sha256:{SECRET}"),
        ("MOTIVE_PROXY_ENABLE_API_KEY_AUTH", SECRET),
    ],
)
def test_a_wrong_variable_is_named_but_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, {name: value})
    assert raised.value.where == name
    assert SECRET not in str(raised.value)


def test_a_change_that_must_not_come_into_force_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("access: {valid_keys: [one]}\n", "utf-8")
    file = ConfigFile(path, {})

    def check(config: Config) -> None:
        if not config.access.key_is_required:
            raise ConfigError("access", "nobody would be asked")

    file.check = check
    path.write_text("access: {valid_keys: []}\n", "utf-8")
    assert file.poll() is None and file.config.access.key_is_required
    assert "nobody would be asked" in caplog.text
    path.write_text("access: {valid_keys: [one, two]}\n", "utf-8")
    changed: Any = file.poll()
    assert len(changed.access.valid_keys) == 2


def test_the_command_prints_a_digest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["access", "hash"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\n"))
    assert main() == 0
    assert capsys.readouterr().out == f"{Hashed.of(SECRET).written}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert main() == 1
