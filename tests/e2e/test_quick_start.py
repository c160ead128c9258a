"""The README's quick start: two ``curl``s at the meeting point, and nothing else."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.proxy import Proxy

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

TURNS = [
    ("You see a troll. What do you do?", "I attack the troll!"),
    ('The troll says: "Käse?"', "I give it cheese 🧀"),
    ("It eats.\n\nIt is happy.", "\tgood troll\n\tgood"),
    ("$HOME `whoami` \\n %20 {}", "'single' \"double\""),
    ("Yes?", "yes"),
    ("The end?", "The end."),
]


@dataclass
class Terminal:
    """One of the two terminals: runs the README's command with other words in it."""

    url: str
    model: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def say(self, words: str) -> asyncio.Task[str]:
        body = json.dumps({"model": self.model, "messages": [{"role": "user", "content": words}]}, ensure_ascii=False)
        command = ("curl", "-sS", "--noproxy", "*", self.url, "-H", "Content-Type: application/json", "-d", body)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(process)
        return asyncio.create_task(asyncio.to_thread(self._printed, process))

    def _printed(self, process: subprocess.Popen[bytes]) -> str:
        out, err = process.communicate()
        assert process.returncode == 0, err.decode()
        reply = json.loads(out)
        assert reply["object"] == "chat.completion", reply
        assert reply["model"] == self.model
        return str(reply["choices"][0]["message"]["content"])

    async def leave(self, waiting: asyncio.Task[str]) -> None:
        """Press Ctrl-C in the command that waits."""
        self.running[-1].terminate()
        with pytest.raises(AssertionError):
            await waiting


@pytest.fixture
def terminals(proxy: Proxy, session: str) -> Iterator[tuple[Terminal, Terminal]]:
    url = f"{proxy.meeting}/v1/chat/completions"
    both = Terminal(url, session), Terminal(url, session)
    yield both
    for process in [*both[0].running, *both[1].running]:
        process.kill()


@pytest.mark.parametrize("greeting", ["ping", "hello, anybody there?"])
async def test_player_first(proxy: Proxy, session: str, terminals: tuple[Terminal, Terminal], greeting: str) -> None:
    player, game = terminals
    waiting = player.say(greeting)
    await proxy.until_held(session)
    for prompt, action in TURNS:
        asked = game.say(prompt)
        assert await waiting == prompt
        waiting = player.say(action)
        assert await asked == action
    await proxy.until_listening(session)
    await player.leave(waiting)


async def test_game_first(proxy: Proxy, session: str, terminals: tuple[Terminal, Terminal]) -> None:
    player, game = terminals
    asked = game.say(TURNS[0][0])
    await proxy.until_held(session)
    waiting = player.say("ping")
    for number, (prompt, action) in enumerate(TURNS):
        if number:
            asked = game.say(prompt)
        assert await waiting == prompt
        waiting = player.say(action)
        assert await asked == action
    await proxy.until_listening(session)
    await player.leave(waiting)


async def test_no_join_word_makes_the_first_client_the_model(
    proxy: Proxy, session: str, terminals: tuple[Terminal, Terminal]
) -> None:
    """Where nothing else tells the two apart, the second one asks, whatever the first one said."""
    first, second = terminals
    waiting = first.say("You see a troll.")
    await proxy.until_held(session)
    asked = second.say("hello")
    assert await waiting == "hello"
    waiting = first.say("hello yourself")
    assert await asked == "hello yourself"
    await proxy.until_listening(session)
    await first.leave(waiting)
