"""Each call ends with one line in the log and one count, whichever way it ends; the line says nothing that was said."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from motive_core.errors import HoldTimeoutError
from motive_core.gateway import Gateway
from motive_core.log_lines import LogLine
from tests.core.test_gateway import TITLE, Client, Clock, config

type Lines = list[dict[str, Any]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gateway(clock: Clock) -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=clock)
    yield made
    made.shut_down()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """The fields of all lines about calls so far."""
    caplog.set_level(logging.DEBUG, "motive_core.ledger")

    def read() -> Lines:
        told = [record.msg for record in caplog.records if isinstance(record.msg, LogLine)]
        return [one.fields for one in told if one.event == "call ended"]

    return read


def exchanges(gateway: Gateway) -> dict[tuple[str, str, str], int]:
    """How many calls ended, by listener, source and outcome."""
    found = Counter[tuple[str, str, str]]()
    for family in gateway.metrics._registry.collect():
        for sample in family.samples:
            if sample.name == "motive_exchanges_total":
                labels = sample.labels
                found[labels["listener"], labels["source"], labels["outcome"]] += int(sample.value)
    return dict(found)


async def test_a_conversation(gateway: Gateway, clock: Clock, lines: Any) -> None:
    person, app = Client(gateway, "person"), Client(gateway, "app", "anthropic-messages")
    await person.say("ping")
    clock.now += 20
    asked = await app.say("a secret", api_key="sk-secret")
    assert lines() == []
    await gateway.delivered(person.exchanges[0])  # type: ignore[arg-type]
    clock.now += 2.5
    await person.say("an answer")
    clock.now += 100  # however long the bytes take
    await gateway.delivered(app.exchanges[0])  # type: ignore[arg-type]
    shown, answered = lines()
    assert shown["waited_s"] == 20.0 and shown["dialect"] == "openai-chat"
    assert answered == {
        "exchange": asked.headers["x-request-id"],
        "outcome": "replied",
        "dialect": "anthropic-messages",
        "listener": "reverse",
        "client": "127.0.0.1",
        "source": "pair",
        "session": "npc",
        "waited_s": 2.5,
        "status": 200,
    }
    assert "secret" not in json.dumps(lines())
    assert exchanges(gateway) == {("reverse", "pair", "replied"): 2.0}
    text = gateway.metrics.render(held=0, sessions=0).decode()
    assert "motive_turns_total 1.0" in text
    assert "motive_hold_seconds_sum 22.5" in text
    assert 'motive_added_seconds_count{stage="reply"} 2.0' in text
    assert 'motive_added_seconds_count{stage="accept"} 3.0' in text


async def test_calls_that_end_otherwise(gateway: Gateway, lines: Any) -> None:
    person, app = Client(gateway, "person"), Client(gateway, "app")
    await person.say("ping", "a")
    await gateway.gone(person.exchanges[0])  # type: ignore[arg-type]
    await app.say("q", "b")
    await gateway.close_session("b")
    await gateway.delivered(app.exchanges[0])  # type: ignore[arg-type]
    await person.say("ping", "c")
    await app.say("q", "c")
    await gateway.failed(person.exchanges[1])  # type: ignore[arg-type]
    await gateway.released(app.exchanges[1])  # type: ignore[arg-type]
    told = [(one["outcome"], one.get("status"), one.get("error")) for one in lines()]
    assert told == [
        ("gone", None, None),
        ("failed", 503, "session_closed"),
        ("undelivered", 200, None),
        ("released", None, None),
    ]
    assert {outcome for _, _, outcome in exchanges(gateway)} == {one[0] for one in told}
    assert 'motive_errors_total{code="session_closed"} 1.0' in gateway.metrics.render(held=0, sessions=0).decode()


async def test_calls_that_never_became_exchanges(gateway: Gateway, lines: Any) -> None:
    await Client(gateway, "x").send(b"nonsense")
    await Client(gateway, "x", listener="forward").send(b"nonsense")
    await Client(gateway, "x", listener="forward").say("hello", "gpt-4o")
    title = Client(gateway, "ui")
    await title.say(TITLE + "<chat_history>\nUSER: x\n</chat_history>")
    await gateway.delivered(title.exchanges[0])  # type: ignore[arg-type]
    gateway.configure(config(routes=[{"answer": "reject"}]))
    await Client(gateway, "x").say("hello")
    gateway.configure(config(routes=[{"answer": "pass"}], services={"openai-chat": "https://real.example"}))
    await Client(gateway, "x").say("hello")
    assert [(one["outcome"], one["source"], one.get("status"), one.get("error")) for one in lines()] == [
        ("failed", "none", 400, "invalid_json"),
        ("passed", "none", None, None),
        ("passed", "pair", None, None),
        ("noticed", "background", 200, None),
        ("failed", "reject", 403, "rejected"),
        ("passed", "pass", None, None),
    ]


async def test_a_reply_that_was_cut(gateway: Gateway, lines: Any) -> None:
    gateway.configure(config(routes=[{"pace_tokens_per_s": 10}]))
    person, app = Client(gateway, "person"), Client(gateway, "app")
    await person.say("ping")
    await app.say("q", stream=True)
    await gateway.delivered(person.exchanges[0])  # type: ignore[arg-type]
    await person.say("a long answer")
    (exchange,) = app.exchanges
    assert exchange is not None and exchange.cut(HoldTimeoutError("enough"))
    await gateway.delivered(exchange)
    assert lines()[-1]["outcome"] == "cut"


async def test_what_only_passes_is_told_at_debug(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, lines: Any
) -> None:
    caplog.set_level(logging.INFO, "motive_core.ledger")
    await Client(gateway, "x", listener="forward").say("hello", "gpt-4o")
    assert lines() == []
    assert exchanges(gateway) == {("forward", "pair", "passed"): 1.0}


async def test_a_hostile_name_forges_no_line(gateway: Gateway, caplog: pytest.LogCaptureFixture, lines: Any) -> None:
    port = await Client(gateway, "x").say("hello", 'npc" outcome="replied')
    await gateway.close_session('npc" outcome="replied')
    assert port.status == 503
    caplog.clear()
    await Client(gateway, "x").say("hello", "npc\nforged\x1b[2J")
    (record,) = [record for record in caplog.records if isinstance(record.msg, LogLine)]
    assert record.getMessage().isprintable()
    assert lines()[-1]["status"] == 400
