"""``motive env`` in real shells."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cli import MOTIVE, environment, motive
from tests.e2e.proxy import Proxy, free_port

SHOW: Final = (
    f"{shlex.quote(sys.executable)} -c 'import json, os; "
    'print(json.dumps({name: os.environ[name] for name in os.environ if name not in ("SHLVL", "_")}))\''
)
ASK: Final = (
    f"{shlex.quote(sys.executable)} -c 'import httpx; "
    'print(httpx.get("https://api.openai.com/v1/models").status_code)\''
)


def in_shell(script: str, env: dict[str, str], shell: str = "sh") -> list[str]:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"needs {shell}")
    ran = subprocess.run([found, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def words(*arguments: str | Path) -> str:
    return shlex.join([*MOTIVE, "env", *map(str, arguments)])


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "dash"])
def test_a_shell_and_back(proxy: Proxy, confdir: Path, tmp_path: Path, shell: str) -> None:
    own = {"SSL_CERT_FILE": "/it's/mine.pem", "NODE_OPTIONS": "--title='a b'", "NO_PROXY": "intranet"}
    env = environment(tmp_path, **own)
    set_up = f'eval "$({words("--proxy", proxy.forward, "--confdir", confdir)})"'
    script = f'{SHOW}; {set_up}; {ASK}; {SHOW}; {set_up}; {SHOW}; eval "$({words("--unset")})"; {SHOW}'
    before, status, once, twice, after = in_shell(script, env, shell)
    assert status == "200"
    assert json.loads(once) == json.loads(twice)
    assert json.loads(once)["HTTPS_PROXY"] == proxy.forward
    assert json.loads(once)["NODE_OPTIONS"].startswith("--title='a b' --require")
    assert json.loads(after) == json.loads(before)


def test_fish(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    chosen = words("--shell", "fish", "--proxy", proxy.forward, "--confdir", confdir)
    (status,) = in_shell(f"{chosen} | source; {ASK}", environment(tmp_path), "fish")
    assert status == "200"


def test_nothing_is_taken_back_where_nothing_was_set(tmp_path: Path) -> None:
    ran = motive("env", "--unset", env=environment(tmp_path, SSL_CERT_FILE="/mine.pem"))
    assert (ran.returncode, ran.stdout) == (0, "")


def test_another_proxy_takes_back_what_the_first_one_set(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    """Calls to this machine are kept from a proxy elsewhere, and from no other."""
    elsewhere = f'eval "$({words("--proxy", "http://proxy.invalid:1", "--confdir", confdir)} 2>/dev/null)"'
    here = f'eval "$({words("--proxy", proxy.forward, "--confdir", confdir)})"'
    far, near = in_shell(f"{elsewhere}; {SHOW}; {here}; {SHOW}", environment(tmp_path))
    assert json.loads(far)["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert "NO_PROXY" not in json.loads(near)


def test_what_is_no_text(confdir: Path, tmp_path: Path) -> None:
    env = environment(tmp_path) | {"NODE_OPTIONS": "--title=\udcff"}
    set_up = f'eval "$({words("--confdir", confdir)} 2>/dev/null)"; printf %s "$NODE_OPTIONS"'
    ran = subprocess.run(["sh", "-c", set_up], env=env, capture_output=True, check=True)
    assert ran.stdout.startswith(b"--title=\xff --require")


def test_no_proxy_runs(confdir: Path, tmp_path: Path) -> None:
    """It is said, but not where the shell would read it."""
    url = f"http://127.0.0.1:{free_port()}"
    ran = motive("env", "--proxy", url, "--confdir", confdir, env=environment(tmp_path))
    assert ran.returncode == 0
    assert f"export HTTPS_PROXY='{url}'" in ran.stdout.splitlines()
    assert ran.stderr == f"motive: no proxy listens at {url}; apps will reach nothing until it is started\n"


def test_no_certificates(tmp_path: Path) -> None:
    ran = motive("env", "--confdir", tmp_path / "none", env=environment(tmp_path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "mitmproxy-ca-cert.pem yet; start " in ran.stderr
