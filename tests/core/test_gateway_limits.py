"""Limits as clients meet them: one clear error in their own dialect, streamed or not, and nobody else feels it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from motive_core.access import ANYBODY
from motive_core.dialects import RequestHead
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from tests.core.ports import FakePort
from tests.core.test_gateway import ALL_PATHS, PATHS, Client, Clock, code, config, heard


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gateway(clock: Clock) -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=clock)
    yield made
    made.shut_down()


def hits(gateway: Gateway, limit: str) -> float:
    """How often a limit was met, by the metrics."""
    text = gateway.metrics.render(held=0, sessions=0).decode()
    lines = [line for line in text.splitlines() if line.startswith(f'motive_limit_hits_total{{limit="{limit}"}}')]
    return float(lines[0].split()[-1]) if lines else 0.0


class TestHeldCalls:
    async def test_in_all(self, gateway: Gateway) -> None:
        gateway.configure(config(limits={"max_held": 2}))
        person, app = Client(gateway, "person"), Client(gateway, "app")
        listening = await person.say("ping")
        asked = await app.say("one", "other")
        refused = [
            await Client(gateway, "late", dialect).say("two", "third", stream=stream)
            for dialect in (*PATHS, "ollama-chat")
            for stream in (False, True)
        ]
        for port in refused:
            assert port.status == 503 and b"2 are the limit" in port.body
            assert port.headers["retry-after"] == "5" and "x-should-retry" not in port.headers
        for streamed, whole in zip(refused[::2], refused[1::2], strict=True):
            assert _without_ids(streamed.body) == _without_ids(whole.body)
            assert streamed.headers.keys() == whole.headers.keys()
        assert code(refused[0]) == (503, "too_many_held")
        assert hits(gateway, "held") == len(refused)
        assert not listening.told and not asked.told
        assert {one["session"] for one in await gateway.sessions()} == {"npc", "other"}

    async def test_others_turns_go_on(self, gateway: Gateway) -> None:
        """Who answers is let in over the limit, as often as it likes: that is what ends calls."""
        person, app = Client(gateway, "person"), Client(gateway, "app")
        joined = await person.say("ping")
        gateway.configure(config(limits={"max_held": 1}))
        assert code(await app.say("too much")) == (503, "too_many_held")
        gateway.configure(config(limits={"max_held": 2}))
        asked = await app.say("one")
        assert heard(joined) == "one"
        await gateway.delivered(person.exchanges[0])  # type: ignore[arg-type]
        gateway.configure(config(limits={"max_held": 1}))
        assert code(await app.say("two")) == (503, "too_many_held")
        listening = await person.say("the answer")
        assert heard(asked) == "the answer"
        assert not listening.told
        await gateway.delivered(app.exchanges[1])  # type: ignore[arg-type]
        assert code(await app.say("three")) == (503, "too_many_held")  # the person's call is held
        again = await person.say("ping")
        assert code(listening) == (409, "superseded") and not again.told
        assert len(gateway.pair.held) == 1

    async def test_who_joins_is_let_in(self, gateway: Gateway) -> None:
        gateway.configure(config(limits={"max_held": 1}))
        asked = await Client(gateway, "app").say("one")
        joined = await Client(gateway, "person").say("ping")
        assert heard(joined) == "one" and not asked.told

    @pytest.mark.parametrize("who", [{"x-motive-role": "answerer"}, {}])
    async def test_a_stranger_is_not(self, gateway: Gateway, who: dict[str, str]) -> None:
        gateway.configure(config(limits={"max_held": 1}))
        await Client(gateway, "app", headers={"x-motive-role": "asker"}).say("one")
        port = await Client(gateway, "person", headers=who).say("hello")
        assert (port.status == 200) if who else (code(port) == (503, "too_many_held"))

    async def test_of_look_alikes_only_who_owes(self, gateway: Gateway) -> None:
        one = Client(gateway, "curl")
        await one.say("ping")
        asked = await one.say("q1")
        await gateway.delivered(one.exchanges[0])  # type: ignore[arg-type]
        gateway.configure(config(limits={"max_held": 1}))
        await one.say("the answer")
        assert heard(asked) == "the answer"
        assert code(await one.say("q2")) == (503, "too_many_held")

    async def test_of_one_client(self, gateway: Gateway) -> None:
        gateway.configure(config(limits={"max_held_per_client": 1}))
        first = await Client(gateway, "app").say("one")
        port = await _from(gateway, "127.0.0.1", "npc-2")
        assert code(port) == (429, "too_many_held_for_client")
        assert port.headers["retry-after"] == "5" and "x-should-retry" not in port.headers
        other = await _from(gateway, "203.0.113.5", "npc-3")
        assert not first.told and not other.told
        assert hits(gateway, "held_per_client") == 1
        await gateway.close_session("npc")
        assert not (await _from(gateway, "127.0.0.1", "npc-4")).told

    async def test_an_app_behind_the_forward_proxy_passes(self, gateway: Gateway) -> None:
        gateway.configure(config(limits={"max_held": 2}))
        await Client(gateway, "person").say("/join", "gpt-4o")
        app = Client(gateway, "app", listener="forward")
        await app.say("one", "gpt-4o")
        port = await app.say("two", "gpt-4o")
        assert port.told == ["pass"]
        assert hits(gateway, "held") == 1

    async def test_a_session_too_many_passes_behind_the_forward_proxy(self, gateway: Gateway) -> None:
        routes = [{"match": {"listener": "forward"}, "when": "always"}, {}]
        gateway.configure(config(limits={"max_sessions": 1}, routes=routes))
        await Client(gateway, "person").say("ping")
        assert (await Client(gateway, "app", listener="forward").say("one", "gpt-4o")).told == ["pass"]
        assert code(await Client(gateway, "app").say("one", "gpt-4o")) == (429, "too_many_sessions")
        assert hits(gateway, "sessions") == 2

    async def test_the_count_is_right_after_every_end(self, gateway: Gateway, clock: Clock) -> None:
        held = gateway.pair._held
        person, app = Client(gateway, "person"), Client(gateway, "app")
        for number in range(5):
            await app.say(f"q{number}")
            await person.say("ping" if not number else f"a{number}")
        for exchange in [*person.exchanges, *app.exchanges]:
            assert exchange is not None
            await (gateway.delivered if exchange.ending else gateway.gone)(exchange)
        clock.now += 10_000
        await gateway.pair.tick("npc")
        assert not held and not held._clients


class TestRates:
    RATES = {"enabled": True, "requests_per_minute": 2, "burst_limit": None}  # noqa: RUF012

    @pytest.mark.parametrize("dialect", ALL_PATHS)
    async def test_in_every_dialect(self, gateway: Gateway, clock: Clock, dialect: str) -> None:
        gateway.configure(config(rate_limits=self.RATES))
        client = Client(gateway, "person", dialect)
        await client.say("ping")
        await client.say("ping again")
        for stream in (False, True):
            refused = await client.say("three", stream=stream)
            assert refused.status == 429 and b"2 are allowed a minute" in refused.body
            assert refused.headers["retry-after"] == "60" and "x-should-retry" not in refused.headers
            assert any(name.endswith("requests-remaining") or "remaining-requests" in name for name in refused.headers)
        assert hits(gateway, "rate_minute") == 2
        clock.now += 60
        assert (await client.say("three")).status != 429

    async def test_successes_tell_what_is_left(self, gateway: Gateway) -> None:
        gateway.configure(config(rate_limits=self.RATES))
        joined = await Client(gateway, "person").say("ping")
        await Client(gateway, "app").say("hello")
        assert heard(joined) == "hello"
        assert joined.headers["x-ratelimit-limit-requests"] == "2"
        assert joined.headers["x-ratelimit-remaining-requests"] == "1"
        assert joined.headers["x-ratelimit-reset-requests"] == "1m0s"

    async def test_waiting_costs_nothing(self, gateway: Gateway, clock: Clock) -> None:
        gateway.configure(config(rate_limits=self.RATES, timing={"handshake_timeout_s": 3000}))
        held = await Client(gateway, "person").say("ping")
        clock.now += 300
        for _ in range(2):
            assert (await Client(gateway, "app").say("one", "other")).status != 429
        assert not held.told

    async def test_a_retry_that_comes_back_is_free(self, gateway: Gateway) -> None:
        gateway.configure(config(rate_limits=self.RATES))
        person, app = Client(gateway, "person"), Client(gateway, "app")
        joined = await person.say("ping")
        await app.say("one")
        for number in range(3):
            body = {"model": "npc", "max_tokens": 99, "messages": [{"role": "user", "content": "one"}]}
            port = await app.send(json.dumps(body).encode(), x_stainless_retry_count=str(number + 1))
            assert not port.told
        assert heard(joined) == "one"
        assert code(await app.say("two")) == (429, "rate_limited")

    async def test_the_forward_proxy_has_none(self, gateway: Gateway) -> None:
        gateway.configure(config(rate_limits=self.RATES))
        for _ in range(9):
            port = await Client(gateway, "app", listener="forward").say("one", "gpt-4o")
            assert port.told == ["pass"]

    async def test_bad_bodies_count(self, gateway: Gateway) -> None:
        gateway.configure(config(rate_limits=self.RATES))
        client = Client(gateway, "x")
        assert [(await client.send(b"nonsense")).status for _ in range(3)] == [400, 400, 429]

    async def test_requests_beside_the_chat(self, gateway: Gateway) -> None:
        gateway.configure(config(rate_limits={"enabled": True, "side_requests_per_minute": 1}))
        head = RequestHead("GET", "127.0.0.1", 80, "/v1/models", headers={"anthropic-version": "2023-06-01"})
        assert gateway.refusals.flood(head, "127.0.0.1", ANYBODY) is None
        refusal = gateway.refusals.flood(head, "127.0.0.1", ANYBODY)
        assert refusal is not None and refusal[0] == 429
        assert json.loads(refusal[2])["error"]["type"] == "rate_limit_error"
        assert gateway.refusals.flood(head, "127.0.0.2", ANYBODY) is None
        assert not (await Client(gateway, "person").say("ping")).told

    async def test_an_address_seen_through_a_proxy(self, gateway: Gateway) -> None:
        gateway.configure(config(trusted_proxies=["127.0.0.0/8"]))
        head = RequestHead("POST", "h", 80, PATHS["openai-chat"], headers={"x-forwarded-for": "6.6.6.6, 203.0.113.9"})
        assert gateway.client_of(head, "127.0.0.1") == "203.0.113.9"
        assert gateway.client_of(head, "203.0.113.1") == "203.0.113.1"


class TestTime:
    async def test_a_session_is_not_idle_while_it_holds_a_call(self, clock: Clock) -> None:
        """The end of a long hold is where its idle time begins: a retry still finds the prompt."""
        timing = {"session_ttl_s": 60, "handshake_timeout_s": 500, "retry_window_s": 120}
        gateway = Gateway(config(timing=timing), clock=clock)
        asked = await Client(gateway, "app").say("hello")
        clock.now += 499
        await gateway.sweep()
        clock.now += 2
        await gateway.pair.tick("npc")
        assert code(asked) == (504, "hold_timeout")
        clock.now += 50
        await gateway.sweep()
        assert len(await gateway.sessions()) == 1
        clock.now += 11
        await gateway.sweep()
        assert await gateway.sessions() == []

    async def test_even_if_nobody_looked_in_between(self, clock: Clock) -> None:
        gateway = Gateway(config(timing={"session_ttl_s": 60, "handshake_timeout_s": 500}), clock=clock)
        await Client(gateway, "app").say("hello")
        clock.now += 501
        await gateway.pair.tick("npc")
        clock.now += 50
        await gateway.sweep()
        assert len(await gateway.sessions()) == 1


def _without_ids(body: bytes) -> Any:
    told = json.loads(body)
    for name in ("request_id", "id"):
        told.pop(name, None)
    return told


async def _from(gateway: Gateway, address: str, model: str) -> FakePort:
    head = RequestHead("POST", "127.0.0.1", 443, PATHS["openai-chat"], headers={"user-agent": "app"})
    dialect = Gateway.dialect_of(head)
    assert dialect is not None
    port = FakePort()
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    await gateway.accept(Incoming("reverse", head, address, json.dumps(body).encode()), dialect, port)
    return port
