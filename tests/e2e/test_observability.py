"""What a running proxy tells of its calls: ``/metrics``, and the lines of its log."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.clients import Link, Talker, anthropic_client, finish, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.wire import RawClient, chat, request

HOSTILE = "npc'\u202e\"} 1 # HELP \u00e9 outcome=replied"
"""A session may have such a name; one with control characters is refused."""


async def scrape(proxy: Proxy) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with http_client(Link(proxy)) as client:
        reply = await client.get("/metrics", headers=proxy.admin)
    assert reply.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def exchanges(read: dict[Any, float], outcome: str, listener: str = "reverse") -> float:
    return sum(
        value
        for (name, labels), value in read.items()
        if name == "motive_exchanges_total" and {("outcome", outcome), ("listener", listener)} <= set(labels)
    )


def ends(proxy: Proxy) -> list[dict[str, Any]]:
    """The lines of a JSON log about calls."""
    told = [json.loads(line) for line in proxy.log.splitlines() if line.startswith("{")]
    return [one for one in told if one["message"] == "call ended"]


async def until_ends(proxy: Proxy, count: int) -> list[dict[str, Any]]:
    await asyncio.to_thread(proxy.wait_for_log, '"message": "call ended"', count)
    return ends(proxy)


async def test_a_conversation(start_proxy: StartProxy, proxy_authority: Path, service: Standin) -> None:
    proxy = start_proxy(config={"log": {"json": True}})
    link = Link(proxy)
    person = Talker(link, "openai", HOSTILE, streamed=True, api_key="sk-secret-person")
    app = Talker(link, "anthropic", HOSTILE, streamed=True, api_key="sk-secret-app")
    shown = person.start("/join")
    await proxy.until_listening(HOSTILE)
    read = await scrape(proxy)
    assert (read["motive_held", ()], read["motive_sessions", ()]) == (1, 1)
    asked = app.start("the words of the app")
    await shown
    listening = person.start("the words of the person")
    assert (await asked).text == "the words of the person"
    passing = Talker(Link(proxy, proxy_authority), "openai", "gpt-4o")
    await passing.say("not for us")
    await finish(proxy, HOSTILE, listening)
    lines = await until_ends(proxy, 3)

    read = await scrape(proxy)
    assert (read["motive_held", ()], read["motive_sessions", ()], read["motive_turns_total", ()]) == (0, 0, 1)
    assert exchanges(read, "replied") == 2 and exchanges(read, "failed") == 1
    assert exchanges(read, "passed", "forward") == 1
    assert read["motive_hold_seconds_count", ()] == 3
    assert read["motive_stream_first_byte_seconds_count", ()] >= 2
    assert read["motive_added_seconds_count", (("stage", "accept"),)] == 4
    assert read["motive_errors_total", (("code", "session_closed"),)] == 1
    assert read["process_open_fds", ()] > 0
    (build,) = [dict(labels) for name, labels in read if name == "motive_build_info"]
    assert build["mitmproxy"].startswith("12.") and build["version"]
    text = str(read)
    assert not [word for word in ("npc", "gpt-4o", "secret", "words", "Anthropic", "127.0.0.1") if word in text]

    by_dialect = {(one["dialect"], one["outcome"]): one for one in lines}
    answered = by_dialect["anthropic-messages", "replied"]
    assert answered["session"] == HOSTILE and answered["status"] == 200 and answered["waited_s"] >= 0
    assert (answered["listener"], answered["client"], answered["source"]) == ("reverse", "127.0.0.1", "pair")
    assert re.fullmatch(r"[0-9a-f]{24}", answered["exchange"])
    assert by_dialect["openai-chat", "failed"]["error"] == "session_closed"
    assert "words" not in proxy.log and "secret" not in proxy.log


async def test_the_id_of_a_line_is_what_the_client_gets(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={"log": {"json": True}})
    link = Link(proxy)
    async with openai_client(link) as one, anthropic_client(link) as two:
        title = [{"role": "user", "content": "### Task:\nGenerate a concise, 3-5 word title of the chat history.\n"}]
        raw: Any = await one.chat.completions.with_raw_response.create(model="m", messages=title)  # type: ignore[arg-type]
        more: Any = await two.messages.with_raw_response.create(model="m", max_tokens=9, messages=title)  # type: ignore[arg-type]
    async with http_client(link) as client:
        bad = await client.post("/v1/chat/completions", content=b"{")
    ids = [raw.headers["x-request-id"], more.headers["request-id"], bad.headers["x-request-id"]]
    lines = await until_ends(proxy, 3)
    assert sorted(one["exchange"] for one in lines) == sorted(ids)
    assert {one["outcome"] for one in lines} == {"noticed", "failed"}


@pytest.mark.parametrize("as_json", [False, True])
def test_no_client_writes_a_line_of_the_log(start_proxy: StartProxy, as_json: bool) -> None:
    proxy = start_proxy(config={"log": {"json": as_json, "level": "debug"}})
    before = len(proxy.log.splitlines())
    for model in ("m\n[00:00:00.000] forged", "m\x1b[2J", "m\x9b2J", "m\u2028x", "\ud800", 'm" outcome=replied'):
        with RawClient(proxy.meeting_address) as client:
            sent = request(
                "POST",
                "/v1/chat/completions",
                "User-Agent: a\x1b[31m",
                body=json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode(),
            )
            if model.startswith('m"'):
                client.send(sent)
                client.half_close()
                client.rest()
            else:
                assert client.ask(sent).status == 400
    proxy.wait_for_log("call ended", 6)
    added = proxy.log.splitlines()[before:]
    assert not [line for line in added if not line.isprintable() and "forged" in line]
    assert not [line for line in added if line.startswith("[00:00:00.000]")]
    assert "\x1b" not in proxy.log and "\x9b" not in proxy.log and "\u2028" not in proxy.log
    if as_json:
        gone = ends(proxy)[-1]
        assert (gone["session"], gone["outcome"]) == ('m" outcome=replied', "gone")
    else:
        assert r'session="m\" outcome=replied"' in proxy.log


async def test_background_and_refused_calls_are_counted(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={"routes": [{"match": {"model": "no"}, "answer": "reject"}, {}]})
    async with http_client(Link(proxy)) as client:
        await client.post("/v1/chat/completions", content=chat("no"))
        await client.post("/v1/messages", content=b"nonsense")
    read = await scrape(proxy)
    assert exchanges(read, "failed") == 2
    labels = (("dialect", "openai-chat"), ("listener", "reverse"), ("outcome", "failed"), ("source", "reject"))
    assert read["motive_exchanges_total", labels] == 1
