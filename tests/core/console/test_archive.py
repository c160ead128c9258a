"""Transcripts of sessions that a person took over: they outlive the process, whatever ended it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from motive_core.backends import MemoryBackend
from motive_core.console import Archive
from motive_core.console.console import Written
from motive_core.console.transcript import turns_of
from motive_core.gateway import Gateway
from tests.core.reviewing import settled
from tests.core.test_gateway import Client, Clock, config

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"headers": {"type": "string"}}}},
}


def make_folder(path: Path) -> None:
    path.mkdir(parents=True)


def link_to_full(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to("/dev/full")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def written(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


class Proxy:
    """A process, and the ones after it, with a file of transcripts."""

    def __init__(self, path: Path | None, **options: int) -> None:
        self.path = path
        self.options = options
        self.clock = Clock()
        self.gateway = self.started()

    def started(self) -> Gateway:
        return Gateway(config(), clock=self.clock, backend=MemoryBackend(), archive=Archive(self.path, **self.options))

    async def restart(self) -> None:
        self.gateway.shut_down()
        self.gateway = self.started()
        await self.gateway.restore()

    async def turn(self, asked: str, answer: str, session: str = "npc", **fields: Any) -> None:
        """A call that a person answers at the console."""
        client = Client(self.gateway, "game")
        await client.say(asked, model=session, **fields)
        console = self.gateway.console
        [prompt] = (await console.inbox.session(session))["prompts"]
        await console.answer(session, prompt["prompt"], Written(answer), "Ann")
        await settled()
        [exchange] = client.exchanges
        assert exchange is not None
        await self.gateway.delivered(exchange)
        self.clock.now += 1

    def turns(self, session: str = "npc") -> list[dict[str, Any]]:
        return turns_of(list(self.gateway.console.log.of(session))[::-1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "8000.turns.jsonl"


@pytest.fixture
def proxy(path: Path) -> Proxy:
    return Proxy(path)


async def test_a_transcript_is_the_same_after_a_restart(proxy: Proxy, path: Path) -> None:
    await proxy.turn("One?", "First.")
    await proxy.turn("Weather?", '/call weather {"headers": "x"}', tools=[WEATHER])
    before = proxy.turns()
    assert [turn["answered_by"] for turn in before] == ["Ann", "Ann"]
    await proxy.restart()
    assert proxy.turns() == before
    assert mode_of(path) == 0o600
    call = await proxy.gateway.console.inbox.call(before[1]["call"])
    assert call["request"]["tools"][0]["schema"] == WEATHER["function"]["parameters"]
    [row] = (await proxy.gateway.console.inbox.sessions())["sessions"]
    assert (row["session"], row["latest_state"], row["calls"]) == ("npc", "answered", 2)
    await proxy.turn("Three?", "Third.")
    assert [turn["said"][0]["text"] for turn in proxy.turns()] == ["One?", "Weather?", "Three?"]


async def test_what_becomes_known_later_is_kept_once(proxy: Proxy) -> None:
    await proxy.turn("One?", "First.")
    [record] = proxy.gateway.console.log.of("npc")
    assert proxy.gateway.console.log.drafted(record.call, record.said, "shadow", "")
    before = proxy.turns()
    assert before[0]["drafted"]["kind"] == "shadow"
    await proxy.restart()
    assert proxy.turns() == before


async def test_calls_that_no_person_has_a_hand_in_are_not_written(proxy: Proxy, path: Path) -> None:
    game, player = Client(proxy.gateway, "game"), Client(proxy.gateway, "player")
    await game.say("hello")
    await player.say("ping")
    await player.say("answer")
    await settled()
    passing = Client(proxy.gateway, "app", listener="forward")
    await passing.say("hello", model="other")
    assert written(path) == b""


async def test_secrets_of_vendors_tools_are_not_written(proxy: Proxy, path: Path) -> None:
    mcp = {"type": "mcp", "server_label": "s", "server_url": "https://x", "authorization": "hush-hush"}
    await proxy.turn("One?", "First.", tools=[mcp, WEATHER], metadata={"token": "hush-hush"})
    assert b"hush-hush" not in written(path)
    assert b"One?" in written(path)


async def test_a_line_that_was_cut_off_costs_no_other(proxy: Proxy, path: Path) -> None:
    await proxy.turn("One?", "First.")
    whole = written(path)
    write(path, whole + whole[: len(whole) // 2] + b"\n\xff\xfe\n[]\n{}\nnull\n" + b"[" * 100_000)
    await proxy.turn("Two?", "Second.")
    await proxy.restart()
    assert [turn["answer"][0]["text"] for turn in proxy.turns()] == ["First.", "Second."]


@pytest.mark.parametrize(
    "change", [{"at": "x"}, {"state": "held"}, {"request": {}}, {"said": {"is": "Reply"}}, {"session": None}]
)
async def test_lines_of_another_form_are_left_out(proxy: Proxy, path: Path, change: dict[str, Any]) -> None:
    await proxy.turn("One?", "First.")
    line = json.loads(written(path))
    lines = [line | change, line | {"call": "c2"}]
    write(path, "".join(f"\n{json.dumps(one)}" for one in lines).encode())
    await proxy.restart()
    assert [turn["call"] for turn in proxy.turns()] == ["c2"]


async def test_words_of_any_kind(proxy: Proxy) -> None:
    odd = 'a\nb\r\u2028"\\ \x00 \U0001f600'
    await proxy.turn(odd, "First.")
    before = proxy.turns()
    await proxy.restart()
    assert proxy.turns() == before


async def test_a_file_that_cannot_be_written_costs_no_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_folder(path)
    proxy = Proxy(path)
    for number in range(3):
        await proxy.turn(f"q{number}", f"a{number}")
    assert [turn["answer"][0]["text"] for turn in proxy.turns()] == ["a0", "a1", "a2"]
    assert caplog.text.count("transcripts are not written") == 1
    await proxy.restart()
    assert "transcripts not read" in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
async def test_a_full_disk_costs_no_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link_to_full(path)
    proxy = Proxy(path)
    await proxy.turn("q", "a")
    assert "No space left" in caplog.text


async def test_the_file_does_not_grow_without_end(path: Path) -> None:
    proxy = Proxy(path, most_bytes=20_000, kept_bytes=8_000)
    for number in range(60):
        await proxy.turn(f"q{number}" + "x" * 500, f"a{number}")
        assert len(written(path)) < 22_000
    await proxy.restart()
    texts = [turn["answer"][0]["text"] for turn in proxy.turns()]
    assert texts == [f"a{number}" for number in range(60 - len(texts), 60)]
    assert len(texts) >= 3


async def test_in_memory_nothing_outlives_the_process() -> None:
    proxy = Proxy(None)
    await proxy.turn("q", "a")
    await proxy.restart()
    assert proxy.turns() == []
