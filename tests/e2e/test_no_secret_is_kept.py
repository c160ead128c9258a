"""The credentials of real services, and our own, stand in no log and in no file, whatever is called and however much is
logged."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import Link, Talker, finish, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.voices import VOICES, Voice
from tests.e2e.wire import RawClient, chat, request, trusting

SECRET: Final = "S3cr3t"
"""Every secret of these tests has it in it."""
KEYS: Final = [f"sk-{SECRET}-ours-app", f"sk-{SECRET}-ours-person"]
TOKEN: Final = f"token-{SECRET}"
LOUD: Final = ("--set", "flow_detail=2", "--set", "termlog_verbosity=debug")


def traces(proxy: Proxy, confdir: Path) -> list[str]:
    """Where a secret stands: lines of the log, and files."""
    found = [line for line in proxy.log.splitlines() if SECRET in line]
    files = [path for folder in (proxy.folder, confdir) for path in folder.rglob("*") if path.is_file()]
    own = (proxy.log_path, proxy.config_path)
    return found + [str(path) for path in files if path not in own and SECRET.encode() in path.read_bytes()]


async def speak(kind: type[Voice], link: Link, session: str, key: str, *, streamed: bool, http2: bool = False) -> None:
    """A call of an SDK that is passed on, held, or refused: its key is shown in any case."""
    one = kind(Link(link.proxy, link.authority, http2=http2), session, streamed=streamed, api_key=key)
    one.add_user("hello")
    calls = [one.send, one.models] if kind.can.models else [one.send]
    try:
        # Not every dialect has a service behind it here, or one that its SDK understands; what it says is not asked.
        for call in calls:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(call(), 5)
    finally:
        await one.close()


@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_secret_is_logged_or_stored(
    start_proxy: StartProxy, service: Standin, confdir: Path, proxy_authority: Path, form: str
) -> None:
    config = {
        "log": {"debug": True, "json": form == "json"},
        "access": {
            "keys": [
                {"name": "app", "key": KEYS[0], "role": "asker"},
                {"name": "person", "key": KEYS[1], "role": "answerer"},
            ]
        },
        "routes": [
            {"match": {"model": "short-*"}, "answer": "pair", "when": "always", "hold_timeout_s": 0.3},
            {"match": {"listener": "forward"}, "answer": "pair", "when": "joined"},
            {"match": {}, "answer": "pair", "hold_timeout_s": 0.3, "handshake_timeout_s": 0.3},
        ],
    }
    proxy = start_proxy(config=config, options=LOUD, env={"MOTIVE_PROXY_ADMIN_TOKEN": TOKEN})
    forward, meeting = Link(proxy, proxy_authority), Link(proxy)
    spoken = []
    for number, kind in enumerate(VOICES):
        streamed = number % 2 == 0
        ways = [(forward, f"{model}-{number}", "vendor", http2) for model in ("m", "short") for http2 in (False, True)]
        ways += [(meeting, f"s-{number}", key, False) for key in ("ours-app", "ours-person", "unknown")]
        spoken += [
            speak(kind, link, model, f"sk-{SECRET}-{key}", streamed=streamed, http2=http2)
            for link, model, key, http2 in ways
        ]
    await asyncio.gather(*spoken)
    hidden = (
        f"Cookie: session={SECRET}",
        f"Proxy-Authorization: Basic {SECRET}",
        f"X-Amz-Security-Token: {SECRET}",
        f"X-Goog-Api-Key: {SECRET}",
        f"Api-Key: {SECRET}",
        f"X-Admin-Token: {TOKEN}",
        f"X-Motive-Key: {KEYS[0]}",
    )
    targets = ["/v1/chat/completions", f"/v1/chat/completions?key={SECRET}", f"/v1/models?api_key={SECRET}"]
    targets += [f"/v1beta/models/m:generateContent?key={SECRET}", f"/nothing?access_token={SECRET}"]

    def ask_raw() -> None:
        for target in targets:
            with RawClient(
                proxy.forward_address, through=("api.openai.com", 443), tls=trusting(proxy_authority)
            ) as app:
                app.ask(request("POST", target, *hidden, body=chat("gpt-4o"), host="api.openai.com"))
            with RawClient(proxy.meeting_address) as client:
                client.ask(request("POST", target, *hidden, body=chat("raw")))
            with RawClient(proxy.meeting_address) as client:
                client.ask(request("POST", target, *hidden, body=b"{"))

    await asyncio.to_thread(ask_raw)
    async with http_client(meeting) as client:
        for path in ("/admin/sessions", "/metrics", "/health"):
            shown = await client.get(path, params={"token": TOKEN})
            assert SECRET not in shown.text
    reached = {value for received in service.requests for _, value in received.headers if SECRET in value}
    assert any("vendor" in value for value in reached)  # what is the service's has reached it
    assert not any("ours" in value or "token-" in value for value in reached)
    proxy.terminate()
    assert proxy.log.count(": ***") > 100  # the flows were shown
    assert traces(proxy, confdir) == []


async def test_what_a_tool_is_let_in_with_is_not_stored(start_proxy: StartProxy, confdir: Path, session: str) -> None:
    proxy = start_proxy(config={})
    mcp = {
        "type": "mcp",
        "server_label": "trolls",
        "server_url": "https://trolls.example/mcp",
        "authorization": f"oauth-{SECRET}",
        "headers": {"Authorization": f"Bearer {SECRET}"},
    }
    call = {"model": f"{session}@asker", "input": "You see a troll.", "tools": [mcp]}
    async with http_client(Link(proxy)) as client:
        asked = asyncio.create_task(client.post("/v1/responses", json=call))
        await proxy.until_prompts(session)
        assert not traces(proxy, confdir)
        person = Talker(Link(proxy), "openai", f"{session}@answerer")
        await person.say("/join")
        listening = person.start("Run!")
        reply = (await asked).json()
        kept = (await client.get(f"/v1/responses/{reply['id']}")).json()
        await finish(proxy, session, listening)
    assert kept["tools"][0]["server_label"] == "trolls"
    assert not traces(proxy, confdir)
