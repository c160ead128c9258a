"""The way in: a link that is good once, and cookies that outlive the process as digests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from motive_core.console.logins import KEEP_S, Logins


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_link_is_good_once() -> None:
    logins = Logins(Clock())
    once = logins.once
    assert not logins.redeem("")
    assert not logins.redeem("\ud800")
    assert logins.redeem(once)
    assert not logins.redeem(once)
    assert logins.once != once


def test_a_cookie_lasts_for_a_while_and_until_it_is_given_back() -> None:
    clock = Clock()
    logins = Logins(clock)
    one, other = logins.open(), logins.open()
    assert one != other
    assert logins.admits(one)
    logins.close(one)
    assert not logins.admits(one)
    assert logins.admits(other)
    clock.now += KEEP_S
    assert not logins.admits(other)
    assert not logins.admits("")


def test_a_restart_knows_cookies_but_the_file_logs_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "new" / "8000.logins.json"
    value = Logins(Clock(), path).open()
    assert value not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    again = Logins(Clock(), path)
    assert again.admits(value)
    for digest in json.loads(path.read_text()):
        assert not again.admits(digest)
    again.close(value)
    assert not Logins(Clock(), path).admits(value)


def test_with_another_admin_token_nobody_is_logged_in(tmp_path: Path) -> None:
    path = tmp_path / "logins.json"
    logins = Logins(Clock(), path)
    logins.use_token("one")
    value = logins.open()
    again = Logins(Clock(), path)
    again.use_token("two")
    assert not again.admits(value)
    other = again.open()
    again.use_token("one")  # who had to be kept out may have been the reason
    assert not again.admits(value) and not again.admits(other)
    assert json.loads(path.read_text()) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": ["x", 1]}', "\udcff"])
def test_a_broken_file_is_no_file(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "logins.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    logins = Logins(Clock(), path)
    assert "logins not read" in caplog.text
    assert logins.admits(logins.open())


def test_a_place_that_cannot_be_written_keeps_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    logins = Logins(Clock(), tmp_path / "file" / "logins.json")
    assert logins.admits(logins.open())
    assert "logins not written" in caplog.text
