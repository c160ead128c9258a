"""The command line itself, and the one of an installed package."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from motive_core.cli import COMMANDS, main, usage
from motive_core.cli.errors import CommandError
from motive_core.cli.layout import ROOT
from motive_core.cli.proxies import address_of


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.word)
def test_every_command_has_help(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    word = command.word  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    assert ended.value.code == 0
    assert "usage: motive" in capsys.readouterr().out
    assert word in usage()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == usage()
    monkeypatch.setattr(sys, "argv", ["motive", *words])
    assert main() == 0


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strat"]) == 2
    assert capsys.readouterr().err.startswith("motive: there is no command 'strat'\n")


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["run", "--config", str(tmp_path / "none.yaml")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("motive: ")
    assert len(error.splitlines()) == 1


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("motive_core.cli.doctor"), "main", interrupted)
    assert main(["doctor"]) == 130


def test_who_reads_may_leave(tmp_path: Path) -> None:
    """As `motive help | true` does."""
    script = f"{sys.executable} -I {ROOT}/motive_core/__main__.py help | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("url", "shown", "credentials"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", None),
        ("localhost:1/", "http://localhost:1", None),
        ("http://me:p%40ss@proxy", "http://proxy:80", "me:p%40ss"),
        ("http://[::1]:8080", "http://[::1]:8080", None),
    ],
)
def test_urls_of_proxies(url: str, shown: str, credentials: str | None) -> None:
    address = address_of(url)
    assert (address.shown, address.credentials) == (shown, credentials)
    assert address_of(address.url) == address


@pytest.mark.parametrize(
    "url", ["", "socks5://a:1", "http://", "http://a:b", "http://a:99999", "https://me:secret@a/x"]
)
def test_what_is_no_url_of_a_proxy(url: str) -> None:
    with pytest.raises(CommandError, match="is not the URL of a proxy") as raised:
        address_of(url)
    assert "secret" not in str(raised.value)


def test_an_installed_package(tmp_path: Path) -> None:
    """As the wheel has it, without a checkout around it: see ``tool.hatch`` in ``pyproject.toml``."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    folder = tmp_path / "packages"
    folder.mkdir()
    for package in wheel["packages"]:
        copy(ROOT / package, folder / Path(package).name)
    for source, target in wheel["force-include"].items():
        copy(ROOT / source, folder / target)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from motive_core.cli import main; sys.exit(main())"

    def motive(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *words],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    ran = motive("doctor", "--config", str(free(tmp_path)))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "was opened by the proxy and answered by Motive" in ran.stdout
    assert "`motive exec -- APP`" in ran.stdout
    settings = tmp_path / ".config" / "motive"
    settings.mkdir(parents=True)
    (settings / "config.yaml").write_text("prxy: {}\n")
    ran = motive("doctor")
    assert "prxy: unknown key" in ran.stdout


def copy(source: Path, target: Path) -> None:
    """Files only, and no folder of compiled ones."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        return
    for path in source.iterdir():
        if path.name != "__pycache__":
            copy(path, target / path.name)


def free(folder: Path) -> Path:
    path = folder / "free.yaml"
    path.write_text("proxy: {port: 0, forward_port: 0}\n")
    return path
