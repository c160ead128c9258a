"""Proxies that start at once: forked from a process that has imported everything, and runs no event loop.

Owns that process and what is said to it, a JSON line each way. A fork is ``mitmdump`` with the arguments, environment
and folder that it would have had, so that a test can kill and start one hundreds of times.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_POLL_S: Final = 0.002


class Fork:
    """A process, as ``subprocess.Popen`` has it."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its status, if it has ended."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"poll": self.pid})["status"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises ``subprocess.TimeoutExpired``."""
        limit = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (status := self.poll()) is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(_POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that is forked."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(_REPOSITORY), str(_REPOSITORY / "addons")])
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.e2e.nursery"],
            cwd=_REPOSITORY,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def fork(self, arguments: Sequence[str], folder: Path, env: Mapping[str, str], log: Path) -> Fork:
        """Start ``mitmdump``; its output goes to the end of ``log``."""
        request = {"arguments": list(arguments), "folder": str(folder), "env": dict(env), "log": str(log)}
        return Fork(self, self.ask(request)["pid"])

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = {"status": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            pid = os.fork()
            if not pid:
                _be_mitmdump(request)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _be_mitmdump(request: Mapping[str, Any]) -> None:
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["mitmdump", *request["arguments"]]
        main = importlib.import_module("mitmproxy.tools.main")
        status = main.mitmdump() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _import_everything() -> None:
    names = ["mitmproxy.tools.main", "mitmproxy.tools.dump", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.off"]
    for package in ("motive_core", "motive_shell"):
        path = importlib.import_module(package).__path__
        names += [one.name for one in pkgutil.walk_packages(path, f"{package}.")]
    for name in names:
        importlib.import_module(name)


if __name__ == "__main__":
    _import_everything()
    gc.collect()
    gc.freeze()
    _serve()
