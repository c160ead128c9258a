"""Many sessions at once: every word reaches the session that it belongs to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from tests.e2e.clients import Link, http_client
from tests.e2e.proxy import Proxy

SESSIONS = 50
TURNS = 20


async def test_no_session_hears_another(proxy: Proxy, session: str) -> None:
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    ids: list[str] = []
    async with (
        http_client(Link(proxy), limits=unlimited, timeout=60.0, headers={"user-agent": "person"}) as people,
        http_client(Link(proxy), limits=unlimited, timeout=60.0, headers={"user-agent": "app"}) as apps,
    ):

        async def say(client: httpx.AsyncClient, model: str, words: str, number: int) -> str:
            anthropic, streamed = number % 2 == 1, number % 3 == 1
            body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": words}]}
            if anthropic:
                reply = await client.post("/v1/messages", json={**body, "max_tokens": 99})
                ids.append(reply.headers["request-id"])
                return str(reply.json()["content"][0]["text"])
            reply = await client.post("/v1/chat/completions", json={**body, "stream": streamed})
            ids.append(reply.headers["x-request-id"])
            if not streamed:
                return str(reply.json()["choices"][0]["message"]["content"])
            events = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line.startswith("data: {")]
            return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)

        async def person(model: str, number: int) -> None:
            words = "/join"
            for turn in range(TURNS):
                assert await say(people, model, words, number) == f"{model} asks {turn}"
                words = f"{model} answers {turn}"
            listening.append(asyncio.create_task(say(people, model, words, number)))

        async def app(model: str, number: int) -> None:
            for turn in range(TURNS):
                assert await say(apps, model, f"{model} asks {turn}", number + 1) == f"{model} answers {turn}"

        listening: list[asyncio.Task[str]] = []
        models = [f"{session}-{number}" for number in range(SESSIONS)]
        sides = [side(model, number) for number, model in enumerate(models) for side in (person, app)]
        await asyncio.gather(*sides)
        for call in listening:
            call.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    assert len(set(ids)) == len(ids) == 2 * SESSIONS * TURNS
    for model in models:
        await proxy.close_session(model)
