"""Limits as the vendors' SDKs meet them: which error they raise, whether they wait as told, and that others go on."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from tests.e2e.clients import Link, Talker, anthropic_client, finish, hang_up, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.wire import chat

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BACKGROUND: list[Any] = [
    {"role": "user", "content": "### Task:\nGenerate a concise, 3-5 word title summarizing the chat history.\n"}
]
"""Is answered at once, so that a call that is let in ends."""


def limited(start_proxy: StartProxy, **rates: Any) -> Proxy:
    """A proxy with rate limits, those aside that are named."""
    others = {"requests_per_minute": None, "requests_per_hour": None, "burst_limit": None}
    return start_proxy(
        config={
            "rate_limits": {"enabled": True, **others, **rates},
            "timing": {"heartbeat_after_s": None},  # so that an SDK has to come back
        }
    )


class TestRates:
    async def test_openai_waits_as_it_is_told(self, start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        proxy = limited(start_proxy, burst_limit=1)
        waits = _fast_sleep(monkeypatch)
        async with openai_client(Link(proxy), max_retries=1) as client:
            first = await client.chat.completions.with_raw_response.create(model="m", messages=BACKGROUND)
            assert first.headers["x-ratelimit-limit-requests"] == "1"
            assert first.headers["x-ratelimit-remaining-requests"] == "0"
            assert re.fullmatch(r"(10|9\.\d+)s", first.headers["x-ratelimit-reset-requests"])
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="m", messages=BACKGROUND)
        error = caught.value
        assert error.code == "rate_limited" and "within 10 seconds" in str(error)
        assert error.request_id and error.request_id in proxy.log
        assert error.response.headers["retry-after"] in ("9", "10")
        (wait,) = waits
        assert 8.0 < wait <= 10.0
        assert 0 < float(error.response.headers["retry-after-ms"]) <= 10_000

    async def test_a_wait_as_told_is_enough(self, start_proxy: StartProxy) -> None:
        """With the clock of this machine: ten seconds, less what the first call took."""
        proxy = limited(start_proxy, burst_limit=2)
        async with openai_client(Link(proxy), max_retries=1, timeout=60) as client:
            for _ in range(3):
                await client.chat.completions.create(model="m", messages=BACKGROUND)
        assert proxy.log.count("error=rate_limited") == 1

    async def test_anthropic_reads_its_own_headers(
        self, start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = limited(start_proxy, requests_per_minute=1)
        waits = _fast_sleep(monkeypatch)
        async with anthropic_client(Link(proxy), max_retries=1) as client:
            first = await client.messages.with_raw_response.create(model="m", max_tokens=9, messages=BACKGROUND)
            told = "anthropic-ratelimit-requests"
            assert (first.headers[f"{told}-limit"], first.headers[f"{told}-remaining"]) == ("1", "0")
            with pytest.raises(anthropic.RateLimitError) as caught:
                await client.messages.create(model="m", max_tokens=9, messages=HELLO)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", caught.value.response.headers[f"{told}-reset"])
        assert caught.value.response.json()["error"]["type"] == "rate_limit_error"
        (wait,) = waits
        assert 50.0 < wait <= 60.0

    async def test_a_wait_of_an_hour_is_not_waited_for(
        self, start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = limited(start_proxy, requests_per_hour=1)
        waits = _fast_sleep(monkeypatch)
        async with openai_client(Link(proxy), max_retries=3) as client:
            await client.chat.completions.create(model="m", messages=BACKGROUND)
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="m", messages=HELLO)
        assert int(caught.value.response.headers["retry-after"]) > 3500
        assert waits == [] and proxy.log.count("error=rate_limited") == 1

    def test_genai_raises_at_once(self, start_proxy: StartProxy) -> None:
        proxy = limited(start_proxy, requests_per_minute=1)
        with genai.Client(api_key="k", http_options=genai_types.HttpOptions(base_url=proxy.meeting)) as client:
            client.models.generate_content(model="m", contents=BACKGROUND[0]["content"])
            with pytest.raises(genai_errors.ClientError) as caught:
                client.models.generate_content(model="m", contents="hello")
        assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
        details = caught.value.details["error"]["details"]
        assert any(one["@type"].endswith("RetryInfo") and one["retryDelay"].endswith("s") for one in details)
        assert proxy.log.count("error=rate_limited") == 1

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_an_sdk_that_comes_back_for_its_answer_is_not_counted_again(
        self, start_proxy: StartProxy, session: str, streamed: bool
    ) -> None:
        """The app gives up twice and retries; the person joins and answers: three calls in all, of three."""
        proxy = limited(start_proxy, requests_per_minute=3)
        link = Link(proxy)
        person = Talker(link, "openai", session)
        shown = person.start("/join")
        await proxy.until_listening(session)
        app = Talker(link, "anthropic", session, streamed=streamed, options={"timeout": 1.0, "max_retries": 5})
        asked = app.start("hello")
        assert (await shown).text == "hello"
        await proxy.until(session, lambda told: len(told["prompts"]) == 1 and not told["prompts"][0]["calls"])
        listening = person.start("the answer")
        assert (await asked).text == "the answer"
        assert "rate_limited" not in proxy.log
        async with openai_client(link) as client:
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(model=session, messages=HELLO)
        await finish(proxy, session, listening)

    async def test_lists_and_health_have_a_limit_of_their_own(self, start_proxy: StartProxy) -> None:
        proxy = limited(start_proxy, requests_per_minute=1, side_requests_per_minute=3)
        async with http_client(Link(proxy)) as client:
            for path in ("/health", "/v1/models", "/v1/health"):
                assert (await client.get(path)).status_code == 200
            assert (await client.get("/metrics", headers=proxy.admin)).status_code == 200  # the operator's own
            for path in ("/health", "/v1/models", "/nowhere", "/admin/sessions"):
                reply = await client.get(path)
                assert reply.status_code == 429 and int(reply.headers["retry-after"]) <= 60
            assert (await client.post("/v1/chat/completions", content=chat("m", BACKGROUND[0]["content"]))).is_success

    async def test_a_proxy_before_this_one(self, start_proxy: StartProxy) -> None:
        rates = {"enabled": True, "requests_per_minute": 1}
        routes = [{"match": {"client": "203.0.113.0/24"}, "session": "{client}"}, {"answer": "reject"}]
        proxy = start_proxy(config={"rate_limits": rates, "trusted_proxies": ["127.0.0.1"], "routes": routes})
        async with http_client(Link(proxy)) as client:

            async def call(forwarded: str | None) -> int:
                headers = {"x-forwarded-for": forwarded} if forwarded else {}
                body = chat("m", BACKGROUND[0]["content"])
                return (await client.post("/v1/chat/completions", content=body, headers=headers)).status_code

            assert await call(None) == 403
            assert await call("6.6.6.6, 203.0.113.1") == 200
            assert await call("7.7.7.7, 203.0.113.1") == 429
            assert await call("203.0.113.2") == 200
            proxy.wait_for_log("client=203.0.113.2")
        unbelieved = start_proxy(config={"rate_limits": rates})
        async with http_client(Link(unbelieved)) as client:
            for number, status in enumerate((200, 429)):
                headers = {"x-forwarded-for": f"203.0.113.{number}"}
                body = chat("m", BACKGROUND[0]["content"])
                reply = await client.post("/v1/chat/completions", content=body, headers=headers)
                assert reply.status_code == status


class TestHeld:
    @pytest.mark.parametrize("streamed", [False, True])
    async def test_one_call_too_many(self, start_proxy: StartProxy, session: str, streamed: bool) -> None:
        proxy = start_proxy(config={"limits": {"max_held": 1}})
        link = Link(proxy)
        app = Talker(link, "openai", session).start("hello")
        await proxy.until_held(session)
        async with openai_client(link) as one:
            with pytest.raises(openai.InternalServerError) as full:
                await one.chat.completions.create(model="other", messages=HELLO, stream=streamed)
            assert (full.value.status_code, full.value.code) == (503, "too_many_held")
            assert full.value.response.headers["retry-after"] == "5"
        async with anthropic_client(link) as two:
            with pytest.raises(anthropic.InternalServerError) as full_too:
                await two.messages.create(model="other", max_tokens=9, messages=HELLO, stream=streamed)
            assert full_too.value.status_code == 503
        with genai.Client(api_key="k", http_options=genai_types.HttpOptions(base_url=proxy.meeting)) as three:
            with pytest.raises(genai_errors.ServerError) as full_as_well:
                if streamed:
                    list(three.models.generate_content_stream(model="other", contents="hello"))
                else:
                    three.models.generate_content(model="other", contents="hello")
            assert (full_as_well.value.code, full_as_well.value.status) == (503, "UNAVAILABLE")
        # The call that is held is answered by a person who may come all the same.
        person = Talker(link, "anthropic", session)
        assert (await person.say("/join")).text == "hello"
        listening = person.start("here I am")
        assert (await app).text == "here I am"
        await hang_up(proxy, session, listening)

    async def test_an_app_behind_the_forward_proxy_reaches_its_service(
        self, start_proxy: StartProxy, proxy_authority: Any, service: Standin
    ) -> None:
        proxy = start_proxy(config={"limits": {"max_held": 1}})
        person = Talker(Link(proxy), "openai", "gpt-4o").start("/join")
        await proxy.until_listening("gpt-4o")
        app = Talker(Link(proxy, proxy_authority), "openai", "gpt-4o")
        assert (await app.say("hello")).text
        assert len(service.requests) == 1
        await finish(proxy, "gpt-4o", person)


def _fast_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the SDKs' waits pass at once. Gives how long they would have been."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    for name in ("openai", "anthropic"):
        monkeypatch.setattr(f"{name}._base_client.anyio.sleep", sleep)
    return waits


class TestHealth:
    async def test_a_bad_configuration_is_told(self, start_proxy: StartProxy) -> None:
        good = "limits: {max_sessions: 10}\n"
        proxy = start_proxy(config=good)
        async with http_client(Link(proxy)) as client:
            told = (await client.get("/health")).json()
            assert (told["status"], told["reasons"]) == ("ok", [])
            assert proxy.meeting in told["listeners"] and proxy.forward in told["listeners"]
            assert (told["max_sessions"], told["sessions"], told["max_held"]) == (10, 0, 10000)
            proxy.configure("limits: {max_sessions: -1}\n")
            proxy.wait_for_log("configuration not reloaded")
            reply = await client.get("/health")
            told = reply.json()
            assert (reply.status_code, told["status"]) == (200, "degraded")
            (reason,) = told["reasons"]
            assert reason["what"] == "config" and "limits.max_sessions" in reason["why"] and reason["for_s"] >= 0
            proxy.configure(good + "# mended\n")
            assert await _until_ok(client) == []

    async def test_more_held_calls_than_open_files(self, start_proxy: StartProxy) -> None:
        proxy = start_proxy(config={"limits": {"max_held": 100_000_000}})
        assert "limits.max_held is 100000000, which takes about" in proxy.log
        async with http_client(Link(proxy)) as client:
            told = (await client.get("/health")).json()
        assert [one["what"] for one in told["reasons"]] == ["open files"]


async def _until_ok(client: httpx.AsyncClient) -> list[Any]:
    limit = time.monotonic() + 30
    while True:
        told = (await client.get("/health")).json()
        if told["status"] == "ok" or time.monotonic() > limit:
            return list(told["reasons"])
        await asyncio.sleep(0.05)
