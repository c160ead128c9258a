"""A real mitmproxy process with Motive in it, on free ports.

Owns the process: its start, its log, its end, and what is asked of it over HTTP while it runs. Knows no dialect and no
assertion of a test, but for those that hold for every run: it ends within five seconds of SIGTERM with status 0, and
its log holds no trace of a defect.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx
import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ENTRY: Final = REPOSITORY / "addons" / "motive.py"
REDIRECT: Final = Path(__file__).with_name("redirect.py")
REGULAR: Final = "regular@127.0.0.1:0"
REVERSE: Final = "reverse:http://127.0.0.1:9@127.1:0"
"""The same address in another spelling: mitmproxy refuses two listeners of one address, even if the port is any."""

START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 5.0
DEADLINE_S: Final = 30.0
POLL_S: Final = 0.02

TRACEBACK: Final = "Traceback (most recent call last)"
_DEFECTS: Final = (TRACEBACK, "mitmproxy has crashed", "Unhandled", "background task failed")
_STDLIB_DEFECT: Final = re.compile(
    r"Traceback \(most recent call last\):\n(?:  .*\n){2}"
    r"  .*asyncio/streams\.py.*\n    exc = task\.exception\(\)\n(?:  .*\n)*"
)
"""What Python 3.12.1 itself logs of a connection that is cancelled at exit; mended in 3.12.2."""
_UNUSED_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP: loading the usual authorities for each question would take longer than the question."""
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "COVERAGE_PROCESS_START")


class Proxy:
    """One process. Use ``running()``, or start and stop it oneself where its end is what is tested.

    ``folder`` is its current directory and holds its configuration and log; ``confdir`` holds mitmproxy's certificate
    authority. ``program`` is ``mitmdump`` or ``mitmweb``.
    """

    def __init__(
        self,
        folder: Path,
        confdir: Path,
        *,
        config: Mapping[str, Any] | str | None = None,
        modes: Sequence[str] = (REGULAR, REVERSE),
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        entry: Path = ENTRY,
        scripts: Sequence[Path] = (),
        program: str = "mitmdump",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.confdir = confdir
        self.config_path = folder / "motive.yaml"
        self.log_path = folder / "log.txt"
        if config is not None:
            self.configure(config)
        launcher = f"from mitmproxy.tools.main import {program}; {program}()"
        self.command = [sys.executable, "-c", launcher, "--set", f"confdir={confdir}"]
        for mode in modes:
            self.command += ["--mode", mode]
        for script in (*scripts, entry):
            self.command += ["-s", str(script)]
        if config is not None:
            self.command += ["--set", f"motive_config={self.config_path}"]
        if program == "mitmdump" and not any("flow_detail" in option for option in options):
            self.command += ["--set", "flow_detail=0"]
        self.command += options
        self.env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        # A store of its own, even for one that starts on the port of another.
        self.env |= {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "XDG_STATE_HOME": str(folder / "state"), **(env or {})}
        self.expected: tuple[str, ...] = ()
        """Signs of a defect that a test provokes."""
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def configure(self, config: Mapping[str, Any] | str) -> None:
        """Write the configuration in one step, so that no reader sees half of it."""
        text = config if isinstance(config, str) else yaml.safe_dump(dict(config), allow_unicode=True)
        new = self.config_path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.config_path)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it must have been launched."""
        assert self._process is not None
        return self._process

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start the process, and wait until it says where it listens."""
        self.launch()
        self.wait_for(lambda: "certificate    " in self.log, "no banner in the log", START_DEADLINE_S)

    def wait_for(self, condition: Callable[[], Any], otherwise: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until a condition of the running process holds. For use outside an event loop."""
        limit = time.monotonic() + deadline_s
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with status {self.process.returncode}\n{self.log}")
            if time.monotonic() > limit:
                self.kill()
                raise AssertionError(f"{otherwise}\n{self.log}")
            time.sleep(POLL_S)

    def wait_for_log(self, text: str, count: int = 1) -> None:
        """Wait until a text stands in the log ``count`` times."""
        self.wait_for(lambda: self.log.count(text) >= count, f"not in the log: {text!r}")

    def terminate(self) -> float:
        """End it by SIGTERM. Gives the seconds that it took; its status must be 0."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still there {STOP_DEADLINE_S:g} s after SIGTERM\n{self.log}") from None
        assert status == 0, f"ended with status {status}\n{self.log}"
        return time.monotonic() - began

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def check_log(self) -> None:
        """The log holds no trace of a defect, ``expected`` ones aside."""
        log = _STDLIB_DEFECT.sub("", self.log)
        found = [sign for sign in _DEFECTS if sign in log and sign not in self.expected]
        assert not found, f"{found} in the log:\n{self.log}"

    def close(self) -> None:
        """End it if it still runs, and check its log."""
        if self._process is None:
            return
        if self.process.poll() is None:
            self.terminate()
        self.check_log()

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        if self.process.poll() is None:
            self.kill()
        error.add_note(f"--- log of the proxy ---\n{self.log}")

    # What it says

    @property
    def log(self) -> str:
        """Everything that it has said so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def _banner(self, label: str) -> str:
        found = re.search(rf"{label} +(http://[^\s\\]+)", self.log)
        assert found is not None, f"no {label} in the log:\n{self.log}"
        return found[1]

    @property
    def meeting(self) -> str:
        """Base URL of the meeting point, without a path."""
        return self._banner("meeting point").removesuffix("/v1")

    @property
    def forward(self) -> str:
        """URL of the forward proxy."""
        return self._banner("forward proxy")

    @property
    def meeting_address(self) -> tuple[str, int]:
        """Host and port of the meeting point."""
        return _address(self.meeting)

    @property
    def forward_address(self) -> tuple[str, int]:
        """Host and port of the forward proxy."""
        return _address(self.forward)

    @property
    def admin(self) -> dict[str, str]:
        """Headers that show the admin token: that of the environment, or the one that the banner tells."""
        if named := self.env.get("MOTIVE_PROXY_ADMIN_TOKEN"):
            return {"x-admin-token": named}
        found = re.search(r"admin token +([\w-]{20,})", self.log)
        assert found is not None, f"no admin token in the log:\n{self.log}"
        return {"x-admin-token": found[1]}

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(trust_env=False, verify=_UNUSED_TLS, headers=self.admin)

    # What is asked of it

    async def sessions(self) -> dict[str, dict[str, Any]]:
        """Every session as the administration shows it, by id."""
        async with self._client() as client:
            reply = await client.get(f"{self.meeting}/admin/sessions")
        assert reply.status_code == 200, reply.text
        return {told["session"]: told for told in json.loads(reply.text)["sessions"]}

    async def until(
        self, session: str, condition: Callable[[dict[str, Any]], Any], deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """Wait until a session is in a state; one that does not exist is ``{}``. Gives it as it is then."""
        limit = time.monotonic() + deadline_s
        async with self._client() as client:
            while True:
                reply = await client.get(f"{self.meeting}/admin/sessions")
                told = {one["session"]: one for one in reply.json()["sessions"]}.get(session, {})
                if condition(told):
                    return dict(told)
                if time.monotonic() > limit:
                    raise AssertionError(f"session {session!r} did not get there: {json.dumps(told, indent=2)}")
                await asyncio.sleep(POLL_S)

    async def until_listening(self, session: str) -> dict[str, Any]:
        """Wait until an answerer listens in a session."""
        return await self.until(session, lambda told: told.get("listening"))

    async def until_prompts(self, session: str, calls: int = 1) -> dict[str, Any]:
        """Wait until the prompts of a session have so many held calls."""
        return await self.until(session, lambda told: len(held_calls(told)) == calls)

    async def until_held(self, session: str, calls: int = 1) -> dict[str, Any]:
        """Wait until a session holds so many calls, whichever role they have."""
        return await self.until(session, lambda told: len(held_calls(told)) + bool(told.get("listening")) == calls)

    async def close_session(self, session: str) -> None:
        """End a session."""
        async with self._client() as client:
            await client.delete(f"{self.meeting}/admin/sessions/{quote(session, safe='')}")


def free_port() -> int:
    """A port that nobody listens at, for what cannot be left to choose one because it does not tell which it took."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def held_calls(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The held calls of a session's prompts."""
    return [call for prompt in told.get("prompts", ()) for call in prompt["calls"]]


def _address(url: str) -> tuple[str, int]:
    parsed = httpx.URL(url)
    assert parsed.port is not None
    return parsed.host, parsed.port
