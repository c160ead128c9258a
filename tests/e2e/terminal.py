"""mitmproxy's own terminal interface, in a pseudo-terminal.

Owns the terminal. What the process draws on it is kept as its log, and tells nothing: so the meeting point has a port
that was chosen before, and the admin token, too.
"""

from __future__ import annotations

import fcntl
import os
import pty
import secrets
import struct
import subprocess
import termios
import threading
from pathlib import Path
from types import TracebackType

import httpx

from tests.e2e.proxy import START_DEADLINE_S, Proxy, free_port

_READ_BYTES = 65536


class TerminalProxy(Proxy):
    """A ``Proxy`` whose program is ``mitmproxy``; it has a meeting point only."""

    def __init__(self, folder: Path, confdir: Path) -> None:
        self._port = free_port()
        mode = f"reverse:http://127.0.0.1:9@127.0.0.1:{self._port}"
        super().__init__(folder, confdir, config={}, modes=[mode], program="mitmproxy")
        self.env |= {"TERM": "xterm", "MOTIVE_PROXY_ADMIN_TOKEN": secrets.token_urlsafe()}

    @property
    def meeting(self) -> str:
        """See ``Proxy``."""
        return f"http://127.0.0.1:{self._port}"

    def launch(self) -> None:
        """See ``Proxy``."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            self.command, cwd=self.folder, env=self.env, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._keyboard = ours
        self._drawing = threading.Thread(target=self._keep_what_is_drawn, args=(ours,))
        self._drawing.start()

    def types(self, text: str) -> None:
        """Press these keys."""
        os.write(self._keyboard, text.encode())

    def _keep_what_is_drawn(self, terminal: int) -> None:
        with self.log_path.open("wb") as log:
            try:
                while drawn := os.read(terminal, _READ_BYTES):
                    log.write(drawn)
            except OSError:
                pass  # Linux says so when the other side of a terminal is gone
            finally:
                os.close(terminal)

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        self.launch()
        self.wait_for(self._answers, "does not answer", START_DEADLINE_S)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.meeting}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self._drawing.join()
