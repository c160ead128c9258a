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
    ids: list[str] = []

    async def say(client: httpx.AsyncClient, model: str, words: str, *, anthropic: bool, streamed: bool) -> str:
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
        async with http_client(Link(proxy), headers={"user-agent": "person"}) as client:
            words = "/join"
            for turn in range(TURNS):
                shown = await say(client, model, words, anthropic=number % 2 == 0, streamed=number % 3 == 0)
                assert shown == f"{model} asks {turn}"
                words = f"{model} answers {turn}"
            # The last answer: its call goes on to listen until the session is closed.
            body = {"model": model, "messages": [{"role": "user", "content": words}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 503

    async def app(model: str, number: int) -> None:
        async with http_client(Link(proxy), headers={"user-agent": "app"}) as client:
            for turn in range(TURNS):
                words = f"{model} asks {turn}"
                answer = await say(client, model, words, anthropic=number % 2 == 1, streamed=number % 5 == 0)
                assert answer == f"{model} answers {turn}"
        await proxy.until_listening(model)
        await proxy.close_session(model)

    models = [f"{session}-{number}" for number in range(SESSIONS)]
    await asyncio.gather(*[side(model, number) for number, model in enumerate(models) for side in (person, app)])
    assert len(set(ids)) == len(ids) == 2 * SESSIONS * TURNS
