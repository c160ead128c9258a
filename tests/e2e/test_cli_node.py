"""Node behind the forward proxy: what ``node_proxy.cjs`` makes of its own clients, in the Node that is here.

``MOTIVE_TEST_NODES`` may name more of them, separated by the path's separator.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cli import environment, motive
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.standin import Standin

NODES: Final = [
    one for one in (os.environ.get("MOTIVE_TEST_NODES") or shutil.which("node") or "").split(os.pathsep) if one
]
CLIENTS: Final = Path(__file__).with_name("cli_node.mjs")

pytestmark = pytest.mark.skipif(not NODES, reason="needs Node")


@pytest.fixture(params=NODES or [""])
def node(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("client", ["fetch", "large", "many", "https", "agent", "no agent", "http2"])
def test_every_client(proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path, node: str, *, client: str) -> None:
    chosen = ("--proxy", proxy.forward, "--confdir", confdir)
    ran = motive("exec", *chosen, "--", node, CLIENTS, client, env=environment(tmp_path))
    assert ran.stdout == "real gpt-4o\n", ran.stderr
    assert service.requests[0].version == ("HTTP/2" if client == "http2" else "HTTP/1.1")


def test_without_its_own_support(proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path, node: str) -> None:
    """The preload alone does it, too: Node's own support is switched off again."""
    chosen = ("--proxy", proxy.forward, "--confdir", confdir)
    off = ("env", "-u", "NODE_USE_ENV_PROXY")
    for client in ("fetch", "https", "agent"):
        ran = motive("exec", *chosen, "--", *off, node, CLIENTS, client, env=environment(tmp_path))
        assert ran.stdout == "real gpt-4o\n", ran.stderr


def test_no_proxy(proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path, node: str) -> None:
    """Named hosts are asked directly, where this name leads nowhere."""
    chosen = ("--proxy", proxy.forward, "--confdir", confdir)
    url = "https://api.openai.invalid/v1/chat/completions"
    for client in ("fetch", "https"):
        ran = motive(
            "exec",
            *chosen,
            "--",
            node,
            CLIENTS,
            client,
            url,
            env=environment(tmp_path, NO_PROXY="localhost,api.openai.invalid"),
        )
        assert "ENOTFOUND" in ran.stderr or "EAI_AGAIN" in ran.stderr
        assert ran.returncode == 1
    assert service.requests == []


def test_plain_http_to_this_machine(proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path, node: str) -> None:
    """By the proxy, as Ollama's clients have it, and whatever the port."""
    port = service.env["STANDIN_PLAIN_PORT"]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    chosen = ("--proxy", proxy.forward, "--confdir", confdir)
    ran = motive("exec", *chosen, "--", node, CLIENTS, "fetch", url, env=environment(tmp_path))
    assert ran.stdout == "real gpt-4o\n", ran.stderr


def test_an_app_that_ends_ends(proxy: Proxy, confdir: Path, tmp_path: Path, node: str) -> None:
    """No socket of the proxy's keeps Node from its end, and no module of it from a script without a call."""
    chosen = ("--proxy", proxy.forward, "--confdir", confdir)
    ran = motive("exec", *chosen, "--", node, "-e", "process.exitCode = 4", env=environment(tmp_path))
    assert (ran.returncode, ran.stdout) == (4, "")


@pytest.mark.parametrize("client", ["fetch", "agent", "http2"])
def test_a_proxy_that_is_gone(confdir: Path, tmp_path: Path, node: str, client: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    printed = motive("env", "--proxy", gone, "--confdir", confdir, env=environment(tmp_path))
    lines = [line.removeprefix("export ").partition("=") for line in printed.stdout.splitlines()]
    env = environment(tmp_path) | {name: value.strip("'") for name, _, value in lines}
    env.pop("NODE_USE_ENV_PROXY")
    told = subprocess.run([node, CLIENTS, client], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert told.returncode == 1
    assert "ECONNREFUSED" in told.stderr
