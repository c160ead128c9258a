"""A proxy of a command's own, for as long as the command needs it.

Owns its process: on free ports, with its log in a file, and ended with the command, however that ends.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from motive_core.cli.errors import CommandError
from motive_core.cli.launch import Launch, checked, command_of, environment_of, url_of
from motive_core.cli.proxies import Address, ask_health, is_operator_at
from motive_core.cli.settings import Settings, listeners_of

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05
_SHOWN_LINES: Final = 15
_THIS_MACHINE: Final = "127.0.0.1"

# A thread that waits for the other end of a pipe to be closed: by the command's end, even if it is killed.
_TETHER: Final = (
    "import os, signal, threading; "
    "threading.Thread(target=lambda: (os.read({fd}, 1), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start(); "
)


class OwnProxy:
    """Starts in ``with``. ``log`` names where its log shall stay; else it goes with the proxy, if nothing went wrong.

    Raises ``CommandError`` if it does not start, with the end of its log.
    """

    def __init__(self, settings: Settings, confdir: Path, env: Mapping[str, str], log: Path | None = None) -> None:
        forward, meeting = listeners_of(settings, _THIS_MACHINE, 0, 0)
        extra = ("--set", f"confdir={confdir}", "--set", "flow_detail=0")
        self._launch = Launch("mitmdump", forward, meeting, settings.path, extra)
        self._token = secrets.token_urlsafe(16) if settings.config.access.admin_token is None else None
        self._env = {**env, "MOTIVE_PROXY_STORE_KIND": "memory"}
        if self._token is not None:
            self._env["MOTIVE_PROXY_ADMIN_TOKEN"] = self._token
        self._wanted_log = log
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tether: int | None = None

    @property
    def forward(self) -> Address:
        """Its forward proxy."""
        assert self._launch.forward is not None
        return Address(self._launch.forward.host, self._launch.forward.port)

    @property
    def meeting(self) -> str:
        """The URL of its meeting point, without a path."""
        return url_of(self._launch.meeting)

    def __enter__(self) -> Self:
        self._launch = checked(self._launch)
        path = self._log_path()
        try:
            with path.open("wb") as log:
                self._start(log.fileno())
        except OSError as error:
            self._clear()
            raise CommandError(f"a proxy of its own cannot be started: {error}") from error
        try:
            self._wait()
        except BaseException:
            self._stop()
            self._clear()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        ended = self._process.poll()
        if ended is not None:
            sys.stderr.write(f"motive: the proxy of its own ended by itself, with status {ended}:\n{self._tail()}\n")
        self._stop()
        self._clear()

    def _log_path(self) -> Path:
        if self._wanted_log is not None:
            return self._wanted_log
        self._folder = Path(tempfile.mkdtemp(prefix="motive-"))
        return self._folder / "log.txt"

    def _start(self, log: int) -> None:
        other, self._tether = os.pipe()
        try:
            # Of a session of its own: what the terminal sends to the command (Ctrl-C) is not for the proxy.
            self._process = subprocess.Popen(
                command_of(self._launch, _TETHER.format(fd=other)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment_of(self._env),
                pass_fds=(other,),
                start_new_session=True,
            )
        finally:
            os.close(other)

    def _wait(self) -> None:
        assert self._process is not None
        limit = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < limit:
            try:
                told = ask_health(self.forward)
                # Somebody else may have taken the port before it did.
                if told["status"] != "closing" and (self._token is None or is_operator_at(self.meeting, self._token)):
                    return
            except CommandError:
                pass  # it listens before it answers
            time.sleep(_POLL_S)
        raise CommandError(f"a proxy of its own did not start:\n{self._tail()}")

    def _stop(self) -> None:
        if self._tether is not None:
            os.close(self._tether)
            self._tether = None
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        path = self._wanted_log or (self._folder or Path()) / "log.txt"
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            return f"(its log cannot be read: {error})"
        return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])

    def _clear(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
