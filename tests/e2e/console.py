"""A browser at the console, without a screen: it logs in by the link, keeps its cookie and follows the feed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.proxy import DEADLINE_S, Proxy


def link_of(proxy: Proxy) -> str:
    """The address that logs in, as the proxy prints it."""
    found = re.findall(r"console +(http://\S+/console/login\?once=[\w-]+)", proxy.log)
    assert found, proxy.log
    return str(found[-1])


@dataclass
class Told:
    """One event of the feed, and when it came."""

    event: str
    number: str
    data: dict[str, Any]
    at: float = field(default_factory=time.monotonic)


class Page:
    """One browser, logged in."""

    def __init__(self, client: httpx.AsyncClient, proxy: Proxy, by: str) -> None:
        self.client = client
        self.proxy = proxy
        self.by = by

    @property
    def origin(self) -> dict[str, str]:
        """What a browser says of the page that asks."""
        return {"origin": self.proxy.meeting}

    async def enter(self) -> httpx.Response:
        """Log in with the admin token, as the form does."""
        reply = await self.client.post("/console/login", headers={**self.origin, **self.proxy.admin})
        assert reply.status_code == 200, reply.text
        return reply

    async def ask(self, name: str, /, **query: Any) -> Any:
        """Ask for something that is there."""
        reply = await self.client.get(f"/console/api/{name}", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def act(self, name: str, /, **body: Any) -> httpx.Response:
        """Do something, whatever comes of it."""
        return await self.client.post(f"/console/api/{name}", json={"by": self.by, **body}, headers=self.origin)

    async def do(self, name: str, /, **body: Any) -> None:
        """Do something that goes well."""
        reply = await self.act(name, **body)
        assert reply.status_code == 200, reply.text

    async def waits(self, session: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many prompts wait in a session. Gives them."""
        told = await self.until(session, lambda told: len(told["prompts"]) == count)
        return list(told["prompts"])

    async def until(self, session: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until a session is as it should be."""
        limit = time.monotonic() + DEADLINE_S
        while True:
            reply = await self.client.get("/console/api/session", params={"name": session})
            told: dict[str, Any] = reply.json()
            if reply.status_code == 200 and condition(told):
                return told
            if time.monotonic() > limit:
                raise AssertionError(f"session {session!r} did not get there: {json.dumps(told, indent=1)[:2000]}")
            await asyncio.sleep(0.02)

    async def until_turn(
        self,
        session: str,
        count: int,
        condition: Callable[[dict[str, Any]], Any] = lambda turn: turn["state"] != "held",
    ) -> list[dict[str, Any]]:
        """Wait until a transcript has so many turns, and the last one is as it should be. Gives them."""
        limit = time.monotonic() + DEADLINE_S
        while True:
            turns: list[dict[str, Any]] = (await self.ask("transcript", session=session))["turns"]
            if len(turns) == count and condition(turns[-1]):
                return turns
            assert time.monotonic() < limit, json.dumps(turns, indent=1)[:2000]
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def feed(self, last: str | None = None) -> AsyncIterator[AsyncIterator[Told]]:
        """Follow what changes, from the beginning or from the last event that was seen."""
        headers = {"accept": "text/event-stream", **({"last-event-id": last} if last is not None else {})}
        async with self.client.stream("GET", "/console/api/feed", headers=headers) as reply:
            assert reply.status_code == 200
            assert reply.headers["content-type"] == "text/event-stream"
            yield _events(reply)


async def _events(reply: httpx.Response) -> AsyncIterator[Told]:
    fields: dict[str, str] = {}
    async for line in reply.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield Told(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


@asynccontextmanager
async def browser(proxy: Proxy, by: str = "Ann", *, enters: bool = True) -> AsyncIterator[Page]:
    """A browser that nobody is logged in with before."""
    timeout = httpx.Timeout(DEADLINE_S)
    async with httpx.AsyncClient(base_url=proxy.meeting, trust_env=False, timeout=timeout) as client:
        page = Page(client, proxy, by)
        if enters:
            await page.enter()
        yield page
