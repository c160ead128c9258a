"""The processes that are measured: mitmdump without a script, with a constant, and with Motive.

Owns their command lines, their start and their end. Each listens on free ports of 127.0.0.1 and says nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, Literal

from bench.calls import ADMIN_TOKEN
from bench.process import assign

type Variant = Literal["plain", "plain-streams", "constant", "motive", "motive-stock", "motive-memory"]
"""``plain-streams`` passes replies on as they come, which mitmproxy by itself does not. ``motive-stock`` is Motive
without its fast dispatch: mitmproxy's own. ``motive-memory`` writes nothing to disk."""

REPOSITORY: Final = Path(__file__).resolve().parents[1]
MITMDUMP: Final = (sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()")
_START_DEADLINE_S: Final = 60.0
_STOP_DEADLINE_S: Final = 20.0
_POLL_S: Final = 0.001
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH")


class StartError(Exception):
    """A process did not come up."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all processes share: ``folder`` for their files, ``confdir`` with mitmproxy's certificate authority, the
    authority of the stand-in for the real service, its two ports, and the ``processors`` that they run on."""

    folder: Path
    confdir: Path
    authority: Path
    plain_port: int
    tls_port: int
    processors: set[int]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running process. ``started_s`` is from its start until it was ready: until its first reply to ``/health``
    (Motive), or its first accepted connection (the others)."""

    variant: Variant
    pid: int
    forward_port: int
    meeting_port: int
    started_s: float


@contextlib.contextmanager
def running(variant: Variant, site: Site, settings: Mapping[str, Any] | None = None) -> Iterator[Proxy]:
    """Start a process, and end it. ``settings`` are more of Motive's configuration."""
    forward, meeting = free_ports(2)
    log = site.folder / f"{variant}.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            _command(variant, site, forward, meeting, settings or {}),
            cwd=site.folder,
            env=_environment(site),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        assign(process.pid, site.processors)
    try:
        ready = _is_healthy if variant.startswith("motive") else _accepts
        port = forward if variant.startswith("plain") else meeting
        while not ready(port):
            if process.poll() is not None or time.perf_counter() - began > _START_DEADLINE_S:
                raise StartError(f"{variant} did not start:\n{log.read_text()}")
            time.sleep(_POLL_S)
        yield Proxy(variant, process.pid, forward, meeting, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if text := log.read_text():
        print(f"{variant} said:\n{text}", file=sys.stderr)


def _command(variant: Variant, site: Site, forward: int, meeting: int, settings: Mapping[str, Any]) -> list[str]:
    command = [*MITMDUMP, "-q", "--set", f"confdir={site.confdir}"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={site.authority}"]
    reverse = ["--mode", f"reverse:http://127.0.0.1:9@127.0.0.1:{meeting}"]
    match variant:
        case "plain":
            return [*command, "--mode", f"regular@127.0.0.1:{forward}"]
        case "plain-streams":
            return [*command, "--mode", f"regular@127.0.0.1:{forward}", "--set", "stream_large_bodies=1"]
        case "constant":
            script = str(Path(__file__).with_name("constant.py"))
            return [*command, *reverse, "--set", "connection_strategy=lazy", "-s", script]
        case "motive" | "motive-stock" | "motive-memory":
            config = site.folder / f"{variant}.yaml"
            # JSON is YAML.
            config.write_text(json.dumps(_config(variant, site, settings)), encoding="utf-8")
            command += ["--mode", f"regular@127.0.0.1:{forward}", *reverse]
            return [*command, "-s", str(REPOSITORY / "addons" / "motive.py"), "--set", f"motive_config={config}"]


def _environment(site: Site) -> dict[str, str]:
    """The variables of a process, which finds no sessions of another one."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    state = tempfile.mkdtemp(prefix="state-", dir=site.folder)
    return {**inherited, "XDG_STATE_HOME": state, "MOTIVE_PROXY_ADMIN_TOKEN": ADMIN_TOKEN}


def _config(variant: Variant, site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fast_dispatch": "off" if variant == "motive-stock" else "on",
        "store": {"kind": "memory" if variant == "motive-memory" else "sqlite"},
        "extra_hosts": [f"127.0.0.1:{site.plain_port}", f"127.0.0.1:{site.tls_port}"],
        **settings,
    }


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True
    except OSError:
        return False


def _is_healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
