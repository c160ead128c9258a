"""``./run.sh demo``: a paired conversation of two scripted clients through a real proxy, shown in the terminal.

Owns the show. It starts a proxy of its own on free ports, lets a player and a game meet in one session over plain HTTP,
prints who says what, and ends with a status other than 0 if a word was lost or changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S: Final = 30.0
_CALL_TIMEOUT_S: Final = 30.0
_SESSION: Final = "npc-guard"

_TURNS: Final = (
    ("You stand at a gate. A troll blocks your way. What do you do?", "I greet it, and keep one hand on my sword."),
    ("The troll grunts: «Answer my riddle, or turn back.»", "Ask it, then."),
    ("«What has a mouth but never speaks?»", "A river!\n\n    (I step closer.)"),
    ("The troll laughs, and lets you pass. You have won.", "Thank you for the game."),
)
"""What the game says, and what the player answers."""


@dataclass(frozen=True, slots=True)
class _Style:
    """Colours, where the terminal has them."""

    on: bool

    def paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.on else text


class _Client:
    """A client of an OpenAI-compatible API, and no more than that: one call at a time."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port

    async def say(self, text: str) -> str:
        """Send a message; gives the reply."""
        return await asyncio.to_thread(self._post, text)

    def _post(self, text: str) -> str:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_CALL_TIMEOUT_S)
        body = {"model": _SESSION, "messages": [{"role": "user", "content": text}]}
        headers = {"content-type": "application/json", "user-agent": f"motive-demo-{self.name}"}
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            reply = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{self.name} got {response.status}: {reply}")
        content = reply["choices"][0]["message"]["content"]
        assert isinstance(content, str)
        return content


async def _start_proxy(confdir: str) -> tuple[Process, int]:
    """A proxy with a meeting point on a free port; gives the port that it says it has."""
    arguments = ["-s", str(_REPOSITORY / "addons" / "motive.py"), "--set", f"confdir={confdir}"]
    arguments += ["--mode", "reverse:http://127.0.0.1:9@127.0.0.1:0"]
    env = {**os.environ, "NO_COLOR": "1", "MOTIVE_PROXY_STORE_KIND": "memory"}
    code = "from mitmproxy.tools.main import mitmdump; mitmdump()"
    proxy = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=PIPE, stderr=STDOUT, env=env
    )
    assert proxy.stdout is not None
    seen = []
    async with asyncio.timeout(_START_TIMEOUT_S):
        while line := (await proxy.stdout.readline()).decode(errors="replace"):
            seen.append(line)
            if match := re.search(r"meeting point\s+http://127\.0\.0\.1:(\d+)/", line):
                return proxy, int(match[1])
    raise RuntimeError("the proxy did not start:\n" + "".join(seen))


async def _converse(port: int, style: _Style) -> int:
    """The conversation; gives how many turns were lost or altered."""
    player, game = _Client("player", port), _Client("game", port)
    faults = 0
    sys.stdout.write(style.paint("2", f"two clients, one session: model={_SESSION}\n\n"))
    waiting = asyncio.create_task(player.say("ping"))
    sys.stdout.write(f"{style.paint('36', 'player')}  ping {style.paint('2', '(joins as the model, and waits)')}\n")
    for prompt, answer in _TURNS:
        started = time.perf_counter()
        asking = asyncio.create_task(game.say(prompt))
        heard = await waiting
        _show(style, "33", "game", prompt, "player", started)
        faults += heard != prompt
        started = time.perf_counter()
        waiting = asyncio.create_task(player.say(answer))
        heard = await asking
        _show(style, "36", "player", answer, "game", started)
        faults += heard != answer
    waiting.cancel()
    verdict = "every word arrived as it was said" if not faults else f"{faults} turns were lost or altered"
    sys.stdout.write(f"\n{style.paint('32' if not faults else '31', verdict)}\n")
    return faults


def _show(style: _Style, colour: str, who: str, text: str, to: str, started: float) -> None:  # noqa: PLR0917
    took = style.paint("2", f"({to} heard it after {(time.perf_counter() - started) * 1000:.1f} ms)")
    indented = text.replace("\n", "\n        ")
    sys.stdout.write(f"{style.paint(colour, f'{who:<6}')}  {indented}  {took}\n")
    sys.stdout.flush()


async def _main() -> int:
    style = _Style(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    with tempfile.TemporaryDirectory(prefix="motive-demo-") as confdir:
        proxy, port = await _start_proxy(confdir)
        try:
            return 1 if await _converse(port, style) else 0
        finally:
            proxy.send_signal(signal.SIGTERM)
            await proxy.communicate()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
