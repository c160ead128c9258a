"""The proxy of the soak: a process that may be killed and started again on the same ports.

Owns its command line, its configuration, its life, and what is asked of it from outside: memory, descriptors, census.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bench.process import resident_kib
from bench.proxies import MITMDUMP, REPOSITORY, StartError, free_ports
from bench.soak.sides import PACED

_START_DEADLINE_S: Final = 60.0
_STOP_DEADLINE_S: Final = 10.0
_POLL_S: Final = 0.02
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONMALLOC")
_DEFECTS: Final = ("Traceback (most recent call last)", "mitmproxy has crashed", "background task failed", "ERROR")

HOLD_S: Final = 8.0
HEARTBEAT_S: Final = 2.0
CLEAN_UP_S: Final = 2.0
_TOKEN: Final = "the-operator-of-the-soak"


def config(more: Mapping[str, Any]) -> dict[str, Any]:
    """Calls are held for seconds rather than minutes, so that their deadlines, and signs of life before, are part of
    the play."""
    rules = {"answer": "pair", "hold_timeout_s": HOLD_S, "handshake_timeout_s": HOLD_S}
    paced = {"match": {"listener": "reverse", "model": f"{PACED}*"}, "pace_tokens_per_s": 300, **rules}
    return {
        "timing": {
            "cleanup_interval_s": CLEAN_UP_S,
            "heartbeat_after_s": HEARTBEAT_S,
            "heartbeat_every_s": HEARTBEAT_S,
        },
        "access": {"admin_token": _TOKEN},
        "routes": [paced, {"match": {"listener": "reverse"}, **rules}],
        **more,
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """What a process holds at one moment. ``counts`` are those of ``census``."""

    resident_kib: int
    descriptors: int
    counts: Mapping[str, Any]


class SoakedProxy:
    """See the module. ``folder`` is for its files; it listens on the same ``address`` for all its lives."""

    def __init__(self, folder: Path, more: Mapping[str, Any]) -> None:
        self.folder = folder
        self.log_path = folder / "log.txt"
        self._census_path = folder / "census.json"
        (port,) = free_ports(1)
        self.address = ("127.0.0.1", port)
        path = folder / "motive.yaml"
        store = {"kind": "sqlite", "path": str(folder / "store.sqlite")}
        path.write_text(json.dumps({"store": store, **config(more)}), encoding="utf-8")  # JSON is YAML
        self._command = [*MITMDUMP, "--set", f"confdir={folder / 'confdir'}", "--set", "flow_detail=0"]
        self._command += ["--mode", f"reverse:http://127.0.0.1:9@127.0.0.1:{port}"]
        for script in (Path(__file__).with_name("census.py"), REPOSITORY / "addons" / "motive.py"):
            self._command += ["-s", str(script)]
        self._command += ["--set", f"motive_config={path}"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it serves. Raises ``StartError``."""
        process = self._process = self._launched()
        limit = time.monotonic() + _START_DEADLINE_S
        while not await asyncio.to_thread(self._is_healthy):
            if process.poll() is not None or time.monotonic() > limit:
                raise StartError(f"the proxy did not start:\n{self.log_path.read_text(errors='replace')}")
            await asyncio.sleep(_POLL_S)

    def _launched(self) -> subprocess.Popen[bytes]:
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        env["CENSUS"] = str(self._census_path)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                self._command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _is_healthy(self) -> bool:
        try:
            return self._ask("GET", "/health")[0] == 200
        except (OSError, HTTPException):
            return False

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection(*self.address, timeout=_START_DEADLINE_S)
        try:
            connection.request(method, path, headers={"connection": "close", "x-admin-token": _TOKEN})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> float:
        """End it by SIGTERM. Gives the seconds that it took. Raises ``subprocess.TimeoutExpired``."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_STOP_DEADLINE_S)
        return time.monotonic() - began

    # What is asked of it

    async def sessions(self) -> list[str]:
        """The open sessions."""
        status, body = await asyncio.to_thread(self._ask, "GET", "/admin/sessions")
        if status != 200:
            raise StartError(f"no sessions told: {status} {body[:400]!r}")
        return [told["session"] for told in json.loads(body)["sessions"]]

    async def close_session(self, session: str) -> None:
        """End a session."""
        await asyncio.to_thread(self._ask, "DELETE", f"/admin/sessions/{quote(session, safe='')}")

    def resident_kib(self) -> int:
        """Memory that is in RAM now."""
        return resident_kib(self.pid)

    async def census(self) -> Standing:
        """What it holds now."""
        self._census_path.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        limit = time.monotonic() + _START_DEADLINE_S
        while not self._census_path.exists():
            if time.monotonic() > limit:
                raise StartError("no census came")
            await asyncio.sleep(_POLL_S)
        counts = json.loads(self._census_path.read_text())
        return Standing(self.resident_kib(), self._descriptors(), counts)

    def _descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def complaints(self) -> list[str]:
        """Lines of its log that tell of a defect."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [line for line in lines if any(sign in line for sign in _DEFECTS)]
