"""It does not listen where strangers can connect and nobody is asked for anything, however it is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import REPOSITORY, START_DEADLINE_S, Proxy, free_port

OPEN_FORWARD = "regular@0.0.0.0:0"
OPEN_MEETING = "reverse:http://127.0.0.1:9@0.0.0.0:0"
KEYS: dict[str, Any] = {"access": {"valid_keys": ["sk-one"]}}
PASSWORD = ("--set", "proxyauth=user:pass")


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        ({"modes": [OPEN_FORWARD]}, "forward proxy"),
        ({"modes": [OPEN_MEETING]}, "meeting point"),
        ({"modes": ["regular@127.0.0.1:0", "reverse:http://127.0.0.1:9@:::0"]}, "meeting point"),
        ({"modes": [OPEN_FORWARD, "reverse:http://127.0.0.1:9@127.0.0.1:0"], "config": KEYS}, "forward proxy"),
        ({"modes": ["regular@0"], "options": ("--listen-host", "0.0.0.0")}, "forward proxy"),
        ({"modes": ["socks5@0"], "options": ("--set", "listen_host=::")}, "forward proxy"),
        ({"modes": [OPEN_MEETING], "config": KEYS, "env": {"MOTIVE_PROXY_ENABLE_API_KEY_AUTH": "0"}}, "meeting point"),
    ],
    ids=str,
)
def test_it_refuses_in_one_line_that_says_what_to_do(
    tmp_path: Path, confdir: Path, arguments: dict[str, Any], who: str
) -> None:
    proxy = Proxy(tmp_path, confdir, **{"config": {}, **arguments})
    proxy.launch()
    assert proxy.process.wait(START_DEADLINE_S) != 0
    (line,) = [line for line in proxy.log.splitlines() if "motive: " in line]
    assert f"the {who} would listen on" in line
    assert "MOTIVE_PROXY_ALLOW_UNAUTHENTICATED=true" in line
    assert "Traceback" not in proxy.log and "Motive is up" not in proxy.log


@pytest.mark.parametrize(
    "arguments",
    [
        {"modes": [OPEN_MEETING], "config": KEYS},
        {"modes": [OPEN_FORWARD], "options": PASSWORD},
        {"modes": [OPEN_FORWARD], "env": {"MOTIVE_PROXY_ALLOW_UNAUTHENTICATED": "true"}},
        {"modes": [OPEN_FORWARD, "reverse:http://127.0.0.1:9@127.0.0.1:0"], "config": KEYS, "options": PASSWORD},
    ],
    ids=str,
)
def test_it_listens_where_somebody_is_asked_or_where_it_is_told_to(
    start_proxy: StartProxy, arguments: dict[str, Any]
) -> None:
    proxy = start_proxy(**{"config": {}, **arguments})
    assert "listening at *:" in proxy.log or "listening at 0.0.0.0:" in proxy.log


def test_without_a_host_it_is_this_machines(start_proxy: StartProxy) -> None:
    """mitmproxy's own default is every address of the machine."""
    ports = [free_port(), free_port()]
    proxy = start_proxy(config={}, modes=[f"regular@{ports[0]}", f"reverse:http://127.0.0.1:9@{ports[1]}"])
    assert (proxy.forward_address[1], proxy.meeting_address[1]) == tuple(ports)
    for port in ports:
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(OSError):  # each system has words of its own
            socket.create_connection(("127.0.0.2", port), 5)


def test_the_launcher_lets_the_addon_say_so(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOTIVE_PROXY_")}
    env = {**kept, "HOME": str(tmp_path)}
    command = [sys.executable, str(REPOSITORY / "motive_core" / "__main__.py"), "run", "--host", "0.0.0.0"]
    command += ["--port", "0", "--forward-port", "0"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=START_DEADLINE_S, check=False
    )
    assert done.returncode == 1
    assert "motive: the forward proxy would listen on 0.0.0.0" in done.stdout + done.stderr


def test_no_reload_takes_the_keys_away(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config=KEYS, modes=[OPEN_MEETING])
    proxy.configure({})
    proxy.wait_for_log("configuration not reloaded")
    assert "the meeting point would listen on 0.0.0.0" in proxy.log
    assert httpx.get(f"{proxy.meeting}/v1/models", trust_env=False).status_code == 401
