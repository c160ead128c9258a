"""The environment of an app: what is set, what stays, and how it is taken back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from motive_core.certificates import read_certificates
from motive_core.cli import environment as module
from motive_core.cli.env import SHELLS
from motive_core.cli.environment import (
    BEFORE,
    CA_VARIABLES,
    PROXY_VARIABLES,
    bundle_for,
    environment,
    goes_by,
    passed_by,
    restored,
    undo,
)

PROXY = "http://127.0.0.1:8080"
BUNDLE = Path("/certificates/bundle.pem")
NAMES = (*PROXY_VARIABLES, *CA_VARIABLES, "NODE_OPTIONS", "NO_PROXY", "no_proxy", "PATH", "LANG")
ENVIRONMENTS = st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(codec="utf-8", exclude_characters="\0")))


def test_every_variable() -> None:
    made = environment(PROXY, BUNDLE, {})
    assert {made[name] for name in PROXY_VARIABLES} == {PROXY}
    assert {made[name] for name in CA_VARIABLES} == {str(BUNDLE)}
    assert made["NODE_USE_ENV_PROXY"] == "1"
    assert "NO_PROXY" not in made


@given(ENVIRONMENTS, st.booleans())
def test_it_can_be_taken_back(env: dict[str, str], is_local: bool) -> None:
    once = {**env, **environment(PROXY, BUNDLE, env, is_local=is_local)}
    assert restored(once) == env
    # A second time, by way of another proxy: what is given back is what was there at first.
    changes = {**undo(once), **environment("http://other:1", BUNDLE, restored(once), is_local=True)}
    twice = {name: value for name, value in {**once, **changes}.items() if value is not None}
    assert restored(twice) == env
    assert restored(env) == env


@pytest.mark.parametrize("told", ["", "{", "[]", "1", '"x"'])
def test_nonsense_is_not_taken_back(told: str) -> None:
    assert undo({BEFORE: told, "HTTPS_PROXY": "x"}) == {}


def test_this_machine_is_not_that_of_a_proxy_elsewhere() -> None:
    made = environment("http://proxy.lan:8080", BUNDLE, {"no_proxy": "intranet, localhost"}, is_local=False)
    assert made["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert made["no_proxy"] == "intranet,localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    ("no_proxy", "host", "goes"),
    [
        ("", "api.openai.com", True),
        ("openai.com", "api.openai.com", False),
        (".openai.com", "api.openai.com", False),
        ("*.openai.com", "api.openai.com", False),
        ("api.openai.com:443", "api.openai.com", False),
        ("penai.com", "api.openai.com", True),
        ("localhost, *", "api.openai.com", False),
        ("127.0.0.1,::1", "127.0.0.1", False),
        (",, ,", "api.openai.com", True),
    ],
)
def test_no_proxy(no_proxy: str, host: str, goes: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert goes_by(host, {name: no_proxy}) is goes
    assert passed_by(["*.example", f"{host}:443" if ":" not in host else host], {"NO_PROXY": no_proxy}) == (
        [] if goes else [host]
    )


class TestBundles:
    @pytest.fixture
    def bundle(self, tmp_path: Path) -> Path:
        path = tmp_path / "bundle.pem"
        trustme.CA().cert_pem.write_to_path(path)
        return path

    def test_nothing_of_the_users_own(self, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "copy.pem").write_bytes(bundle.read_bytes())
        (tmp_path / "empty.pem").touch()
        named = ("copy.pem", "empty.pem", "absent.pem", "")
        env = dict(zip(CA_VARIABLES, (str(tmp_path / name) for name in named), strict=False))
        assert bundle_for(bundle, {**env, "DENO_CERT": str(bundle)}) == bundle

    def test_roots_of_a_company(self, bundle: Path, tmp_path: Path) -> None:
        company, other = tmp_path / "company.pem", tmp_path / "other.pem"
        for path in (company, other):
            trustme.CA().cert_pem.write_to_path(path)
        env = {"SSL_CERT_FILE": str(company), "REQUESTS_CA_BUNDLE": str(company), "AWS_CA_BUNDLE": str(other)}
        together = bundle_for(bundle, env)
        assert together.parent == bundle.parent
        everything = read_certificates(bundle) | read_certificates(company) | read_certificates(other)
        assert read_certificates(together) == everything
        assert bundle_for(bundle, env) == together
        assert bundle_for(bundle, {"SSL_CERT_FILE": str(company)}) != together


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("folder", ["plain", "with a space", 'with "quotes"', "back\\slash", "it's"])
def test_node_reads_the_path_of_the_preload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    preload = tmp_path / folder / "preload.cjs"
    preload.parent.mkdir()
    preload.write_text("console.log('here', process.title)")
    monkeypatch.setattr(module, "NODE_PRELOAD", preload)
    made = environment(PROXY, BUNDLE, {"NODE_OPTIONS": "--title=mine"})
    ran = subprocess.run(
        ["node", "-e", "0"],
        env={"NODE_OPTIONS": made["NODE_OPTIONS"], "PATH": _path()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("here mine\n", "")


def _path() -> str:
    found = shutil.which("node")
    assert found is not None
    return str(Path(found).parent)


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ("sh", ["export A='it'\\''s $x'", "unset B"]),
        ("fish", ["set -gx A 'it\\'s $x'", "set -e B"]),
        ("powershell", ["$Env:A = 'it''s $x'", "Remove-Item Env:B -ErrorAction SilentlyContinue"]),
    ],
)
def test_the_syntax_of_shells(shell: str, lines: list[str]) -> None:
    assert [SHELLS[shell]("A", "it's $x"), SHELLS[shell]("B", None)] == lines


def test_fish_escapes_a_backslash() -> None:
    assert SHELLS["fish"]("A", "a\\'b") == "set -gx A 'a\\\\\\'b'"
