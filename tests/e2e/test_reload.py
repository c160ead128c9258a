"""A change of the configuration or of the script, while calls are held."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import Link, Said, Talker
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import ENTRY, REPOSITORY, TRACEBACK, Proxy
from tests.e2e.wire import RawClient, chat, request

RELOADED = "configuration reloaded"
SMALL: dict[str, Any] = {"limits": {"body_limit_bytes": 2000}}


@asynccontextmanager
async def pair_in_mid_turn(proxy: Proxy) -> AsyncIterator[None]:
    """One session where a prompt was shown, and one where a person listens; both go on well after the change."""
    link = Link(proxy)
    person = Talker(link, "openai", "answering", api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening("answering")
    asked = Talker(link, "anthropic", "answering").start("before")
    assert (await shown).text == "before"
    listener = Talker(link, "anthropic", "listening", streamed=True, api_key="sk-human")
    waiting = listener.start("/join")
    await proxy.until_listening("listening")

    yield

    assert not asked.done()
    shown = person.start("after")
    assert (await asked).text == "after"
    late = Talker(link, "openai", "listening", streamed=True).start("still there?")
    assert (await waiting).text == "still there?"
    waiting = listener.start("yes")
    assert (await late).text == "yes"
    await finish(proxy, "answering", shown)
    await finish(proxy, "listening", waiting)


async def finish(proxy: Proxy, session: str, waiting: asyncio.Task[Said]) -> None:
    """The connection of a held call is watched after the change, too."""
    await proxy.until_listening(session)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await proxy.until(session, lambda told: not told.get("listening"))


def status_of_a_call(proxy: Proxy) -> int:
    with RawClient(proxy.meeting_address) as client:
        return client.ask(request(body=chat("", "x" * 2000))).status


async def test_configuration_takes_effect_and_drops_no_call(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={})
    assert status_of_a_call(proxy) == 400
    async with pair_in_mid_turn(proxy):
        proxy.configure(SMALL)
        await asyncio.to_thread(proxy.wait_for_log, RELOADED)
        assert status_of_a_call(proxy) == 413
        proxy.configure({})
        await asyncio.to_thread(proxy.wait_for_log, RELOADED, 2)
        assert status_of_a_call(proxy) == 400


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("limits: {body_limit_bytes: -1}\n", "limits.body_limit_bytes"),
        ("limits: {body_limit_bytes: 9\n", "motive.yaml, line 2"),
        ("routes: [{match: {listener: up}}]\n", "routes.0.match.listener"),
        ("just some words", "motive.yaml: the file must be a mapping"),
    ],
)
async def test_bad_configuration_keeps_the_old_one(start_proxy: StartProxy, bad: str, why: str) -> None:
    proxy = start_proxy(config=SMALL)
    async with pair_in_mid_turn(proxy):
        before = len(proxy.log)
        proxy.configure(bad)
        await asyncio.to_thread(proxy.wait_for, lambda: why in proxy.log[before:], "does not say why")
        assert status_of_a_call(proxy) == 413
        proxy.configure({})
        await asyncio.to_thread(proxy.wait_for_log, RELOADED)
        assert status_of_a_call(proxy) == 400


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose entry may be changed: the rest is the project itself. Gives the entry."""
    entry = tmp_path / "checkout" / "addons" / "motive.py"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(ENTRY.read_bytes())
    (entry.parent / "motive_shell").symlink_to(ENTRY.parent / "motive_shell")
    (tmp_path / "checkout" / "motive_core").symlink_to(REPOSITORY / "motive_core")
    return entry


def change(entry: Path, text: bytes | None = None) -> None:
    """Give a file a later time, and other text if there is any."""
    changed = entry.stat().st_mtime + 10
    if text is not None:
        entry.write_bytes(text)
    os.utime(entry, (changed, changed))


async def test_reload_of_the_script_drops_no_call(start_proxy: StartProxy, checkout: Path) -> None:
    proxy = start_proxy(config={}, entry=checkout)
    async with pair_in_mid_turn(proxy):
        # More than once: the watcher must live on.
        for number in (2, 3, 4):
            change(checkout)
            await asyncio.to_thread(proxy.wait_for_log, f"Loading script {checkout}", number)
            assert status_of_a_call(proxy) == 400
    assert "left behind" not in proxy.log


async def test_script_that_breaks_and_is_mended(start_proxy: StartProxy, checkout: Path) -> None:
    proxy = start_proxy(config={}, entry=checkout)
    proxy.expected = (TRACEBACK,)
    async with pair_in_mid_turn(proxy):
        for number, text in enumerate((b"this is no Python\n", ENTRY.read_bytes()), 2):
            change(checkout, text)
            await asyncio.to_thread(proxy.wait_for_log, f"Loading script {checkout}", number)
        await asyncio.to_thread(proxy.wait_for, lambda: status_of_a_call(proxy) == 400, "does not work again")
