"""``motive exec`` with a proxy of its own, and what ends it: the app, signals, the terminal, a kill."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.cli import MOTIVE, environment
from tests.e2e.proxy import DEADLINE_S, POLL_S, START_DEADLINE_S

COUNTING: Final = """
import os, signal, sys, time
came = []
for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(one, lambda number, _: came.append(number))
print(os.environ['HTTPS_PROXY'], flush=True)
while not came:
    time.sleep(0.01)
time.sleep(0.3)  # for one that comes twice
print(*came, flush=True)
sys.exit(9)
"""


def command(confdir: Path, app: str) -> list[str]:
    return [*MOTIVE, "exec", "--own", "--quiet", "--confdir", str(confdir), "--", sys.executable, "-c", app]


@contextmanager
def started(confdir: Path, home: Path, app: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the proxy that its app was told."""
    process = subprocess.Popen(
        command(confdir, app), env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def listens(url: str) -> bool:
    parsed = urlsplit(url)
    assert parsed.hostname is not None
    try:
        with closing(socket.create_connection((parsed.hostname, parsed.port or 0))):
            return True
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_is_the_apps(confdir: Path, tmp_path: Path, number: signal.Signals) -> None:
    with started(confdir, tmp_path, COUNTING) as (process, proxy):
        assert listens(proxy)
        process.send_signal(number)
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert out.split() == [str(int(number))]
        assert process.returncode == 9
        assert not listens(proxy)  # by then the proxy is gone


def test_an_app_that_a_signal_ends(confdir: Path, tmp_path: Path) -> None:
    app = "import os; print(os.environ['HTTPS_PROXY'], flush=True); os.kill(os.getpid(), 9)"
    with started(confdir, tmp_path, app) as (process, proxy):
        assert process.wait(DEADLINE_S) == 128 + 9
        assert not listens(proxy)


def test_the_proxy_does_not_outlive_a_kill(confdir: Path, tmp_path: Path) -> None:
    app = "import os, sys; print(os.environ['HTTPS_PROXY'], os.getpid(), flush=True); import time"
    with started(confdir, tmp_path, f"{app}; time.sleep(60)") as (process, told):
        proxy, pid = told.split()
        try:
            process.kill()
            process.wait()
            limit = time.monotonic() + DEADLINE_S
            while listens(proxy):
                assert time.monotonic() < limit
                time.sleep(POLL_S)
        finally:
            os.kill(int(pid), signal.SIGKILL)


def test_what_the_terminal_sends_comes_once(confdir: Path, tmp_path: Path) -> None:
    """Ctrl-C goes to all that are in the foreground: the app has it by itself, and the proxy must not have it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(MOTIVE[0], command(confdir, COUNTING), environment(tmp_path))
    try:
        said = read_until(terminal, "http://127.0.0.1:")
        os.write(terminal, b"\x03")
        said += read_until(terminal, None)
        assert said.replace("^C", " ").split()[1:] == [str(int(signal.SIGINT))], said
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 9, said


def read_until(terminal: int, mark: str | None) -> str:
    """What the terminal shows, up to a line with the mark, or to its end."""
    said, limit = "", time.monotonic() + START_DEADLINE_S
    while mark is None or mark not in said or not said.endswith("\n"):
        assert time.monotonic() < limit, said
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux's end of a terminal
            break
        if not piece:
            break
        said += piece.decode()
    return said
