"""The store of a real proxy: its file, a full disk, a second process, and replies that are named after a restart."""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import stat
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.clients import Link, Talker, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.wire import chat

SECRET = "sk-very-secret-indeed"


def store_of(proxy: Proxy) -> Path:
    (path,) = (proxy.folder / "state" / "motive").glob("*.sqlite")
    return path


async def store_as_told(proxy: Proxy) -> str:
    async with http_client(Link(proxy)) as client:
        reasons = (await client.get("/health")).json()["reasons"]
    return next((str(one["why"]) for one in reasons if one["what"] == "store"), "ok")


async def test_it_is_for_its_owner_and_holds_no_credential(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={}, env={"MOTIVE_PROXY_DEBUG": "true"})
    asked = Talker(Link(proxy), "openai", "s", api_key=SECRET).start("the words of the app")
    await proxy.until_held("s")
    path = store_of(proxy)
    assert path.name == "any.sqlite", "there is no port to name it by"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = list(path.parent.iterdir())
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    written = b"".join(one.read_bytes() for one in files)
    assert b"the words of the app" in written
    assert SECRET.encode() not in written
    assert await store_as_told(proxy) == "ok"
    await proxy.close_session("s")
    with pytest.raises(openai.APIStatusError):
        await asked


def test_it_is_named_by_the_port_of_the_meeting_point(start_proxy: StartProxy) -> None:
    port = free_port()
    modes = ("regular@127.0.0.1:0", f"reverse:http://127.0.0.1:9@127.1:{port}")
    proxy = start_proxy(config={}, modes=modes)
    assert store_of(proxy).name == f"{port}.sqlite"


async def test_memory_on_request(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={"store": {"kind": "memory"}})
    asked = Talker(Link(proxy), "openai", "s").start("hello")
    await proxy.until_held("s")
    assert not (proxy.folder / "state").exists()
    assert await store_as_told(proxy) == "ok"
    await proxy.close_session("s")
    with pytest.raises(openai.APIStatusError):
        await asked


def test_a_second_process_is_told_what_to_do(start_proxy: StartProxy, confdir: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite"
    start_proxy(config={"store": {"path": str(path)}})
    second = Proxy(tmp_path / "second", confdir, config={}, env={"MOTIVE_PROXY_STORE_PATH": str(path)})
    second.launch()
    assert second.process.wait(60) == 1
    second.check_log()
    (line,) = [line for line in second.log.splitlines() if "store" in line and "script" not in line]
    assert f"store.path: {path} is in use by another process" in line
    assert "MOTIVE_PROXY_STORE_PATH" in line


@pytest.mark.parametrize("kind", ["newer", "no folder"])
def test_one_that_cannot_be_used_ends_the_start(confdir: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "one.sqlite"
    if kind == "newer":
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA application_id = {0x4D6F7476}")
            db.execute("PRAGMA user_version = 1000")
        db.close()
    else:
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "one.sqlite"
    proxy = Proxy(tmp_path / "proxy", confdir, config={"store": {"path": str(path)}})
    proxy.launch()
    assert proxy.process.wait(60) == 1
    proxy.check_log()
    assert "motive: store.path: " in proxy.log
    assert ("newer version" if kind == "newer" else "cannot be written") in proxy.log


def test_a_broken_one_does_not_keep_the_proxy_from_its_start(start_proxy: StartProxy, tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    proxy = start_proxy(config={"store": {"path": str(path)}})
    assert "the store was broken" in proxy.log
    assert asyncio.run(store_as_told(proxy)) == "ok"
    (aside,) = tmp_path.glob("one.sqlite.broken-*")
    assert aside.read_bytes() == b"nonsense" * 1000


async def test_a_disk_that_is_full(start_proxy: StartProxy) -> None:
    """New calls are refused in their dialect; what is held, and what is answered, goes on; later all is well again."""
    proxy = start_proxy(config={})
    link = Link(proxy)
    person = Talker(link, "anthropic", "s", api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening("s")
    held = Talker(link, "openai", "other", api_key="sk-other").start("somebody waits here")
    await proxy.until_held("other")
    unlimited = resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE)
    largest = max(one.stat().st_size for one in store_of(proxy).parent.iterdir())
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (max(largest, proxy.log_path.stat().st_size + 4096), -1))
    async with http_client(link) as client:
        for stream in (False, True):
            body = chat("s", "x" * 200_000, stream=stream)
            refused = [await client.post(path, content=body) for path in ("/v1/chat/completions", "/v1/messages")]
            for reply in refused:
                assert reply.status_code == 503
                assert "cannot write to its store" in reply.json()["error"]["message"]
            assert refused[1].json()["type"] == "error"
    assert await store_as_told(proxy) != "ok"
    told = await proxy.until_listening("s")
    assert not told["prompts"]
    assert not held.done()
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, unlimited)
    asked = Talker(link, "openai", "s", api_key="sk-app").start("x" * 200_000)
    assert (await shown).text == "x" * 200_000
    shown = person.start("y")
    assert (await asked).text == "y"
    assert await store_as_told(proxy) == "ok"
    assert proxy.log.count("the store cannot be written") == 1
    for session, call in (("s", shown), ("other", held)):
        await proxy.close_session(session)
        with pytest.raises(Exception, match="ended by the operator"):
            await call


async def test_a_response_is_named_after_a_restart(start_proxy: StartProxy) -> None:
    first = start_proxy(config={})
    previous, said = None, []
    for number in range(3):
        proxy = first if not number else _again(first, start_proxy)
        link = Link(proxy)
        person = Talker(link, "anthropic", "s", api_key="sk-human")
        shown = person.start("/join")
        await proxy.until_listening("s")
        async with openai_client(link) as client:
            more: Any = {"previous_response_id": previous} if previous else {}
            asked = asyncio.create_task(client.responses.create(model="s", input=f"question {number}", **more))
            assert (await shown).text == f"question {number}"
            shown = person.start(f"answer {number}")
            response = await asked
            previous = response.id
            assert response.output_text == f"answer {number}"
            items = await client.responses.input_items.list(previous)
            said = [json.loads(item.model_dump_json())["content"][0]["text"] for item in items.data]
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)
        if number:
            proxy.terminate()
        else:
            proxy.kill()
    assert sorted(said) == sorted(["answer 0", "answer 1", "question 0", "question 1", "question 2"])


def _again(proxy: Proxy, start_proxy: StartProxy) -> Proxy:
    """Another process on the same file."""
    return start_proxy(config={"store": {"path": str(store_of(proxy))}})


async def test_the_file_is_closed_when_all_is_told(start_proxy: StartProxy) -> None:
    """Calls that end while the proxy goes are written, and nothing complains."""
    proxy = start_proxy(config={"store": {"path": "own.sqlite"}})
    async with http_client(Link(proxy), limits=httpx.Limits(max_connections=None)) as client:
        calls = [
            asyncio.create_task(client.post("/v1/chat/completions", content=chat(f"s{number % 7}", f"/join {number}")))
            for number in range(50)
        ]
        await asyncio.gather(*(proxy.until_held(f"s{number}") for number in range(7)))
        await asyncio.to_thread(proxy.terminate)
        replies = await asyncio.gather(*calls)
    assert {reply.status_code for reply in replies} <= {409, 503}
    assert "the store" not in proxy.log
    assert {one.name for one in proxy.folder.glob("own.sqlite*")} == {"own.sqlite"}
    with sqlite3.connect(proxy.folder / "own.sqlite") as db:
        assert db.execute("SELECT count(*) FROM sessions").fetchone() == (7,)
    db.close()
