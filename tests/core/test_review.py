"""A service's replies that somebody reviews, without sockets: who is asked, how often, and what the app gets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from motive_core.config import Config
from motive_core.errors import StoreError, UpstreamError
from motive_core.gateway import Gateway
from tests.core.reviewing import REVIEW, ROUTES, App, Service, body, reviewed, settled, shown
from tests.core.test_gateway import Client, Clock, code, heard
from tests.core.test_restart import Machine


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gateway(clock: Clock) -> AsyncIterator[Gateway]:
    made = Gateway(Config.model_validate({"routes": ROUTES}), clock=clock)
    yield made
    made.shut_down()


@pytest.fixture
def service() -> Service:
    made = Service()
    made.open.set()
    return made


@pytest.fixture
def app(gateway: Gateway, service: Service) -> App:
    return App(gateway, "app", service=service)


class TestNobodyIsThere:
    async def test_the_call_passes_as_it_came(self, gateway: Gateway, app: App) -> None:
        port = await app.say("hello")
        assert port.told == ["pass"] and port.passed is None and app.service.asked == 0

    async def test_who_left_lets_it_pass_again(self, gateway: Gateway, app: App) -> None:
        person = Client(gateway, "person")
        await person.say("ping")
        await person.say("/leave")
        assert (await app.say("hello")).told == ["pass"]


class TestSomebodyIsThere:
    async def test_the_draft_is_shown_and_let_go(self, gateway: Gateway, app: App) -> None:
        person, asked, told = await reviewed(gateway, app)
        assert told == (
            "You see something.\n\n——— draft ——— /send lets it go, other words take its place\n\nIt is a troll."
        )
        assert asked.told == [] and app.service.asked == 1
        listening = await person.say("/send")
        assert json.loads(asked.body) == body()
        assert asked.headers["x-motive-session"] == "npc" and "x-motive-usage" not in asked.headers
        assert not listening.told and app.service.asked == 1

    @pytest.mark.parametrize("word", ["/pass", "It is a troll."])
    async def test_so_does_passing_it_and_saying_it_again(self, gateway: Gateway, app: App, word: str) -> None:
        person, asked, _ = await reviewed(gateway, app)
        await person.say(word)
        assert json.loads(asked.body) == body() and app.service.asked == 1

    async def test_other_words(self, gateway: Gateway, app: App) -> None:
        person, asked, _ = await reviewed(gateway, app)
        await person.say("It is a kitten.")
        assert json.loads(asked.body) == body("It is a kitten.")

    async def test_a_call_with_other_arguments(self, gateway: Gateway, app: App) -> None:
        call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "troll"}'}}
        app.service.said = body(None, tool_calls=[call])
        app.fields["tools"] = [{"type": "function", "function": {"name": "look", "parameters": {"required": ["at"]}}}]
        person, asked, told = await reviewed(gateway, app)
        assert told.endswith('\n\n/call look {"at": "troll"}')
        assert "'at' is a required property" in heard(await person.say("/call look {}"))
        await person.say('/call look {"at": "kitten"}')
        call["function"] = {"name": "look", "arguments": '{"at": "kitten"}'}
        assert json.loads(asked.body) == body(None, tool_calls=[call])

    async def test_an_error_of_the_person(self, gateway: Gateway, app: App) -> None:
        person, asked, _ = await reviewed(gateway, app)
        await person.say("/fail 429 Later.")
        assert asked.status == 429

    async def test_the_next_call_is_drafted_anew(self, gateway: Gateway, app: App) -> None:
        person, _, _ = await reviewed(gateway, app)
        listening = await person.say("/send")
        await app.say("And now?")
        await settled()
        assert "And now?\n\n——— draft" in heard(listening) and app.service.asked == 2

    async def test_it_is_known_which_calls_have_a_draft(self, gateway: Gateway, app: App) -> None:
        await reviewed(gateway, app)
        (told,) = await gateway.sessions()
        assert [prompt["draft"] for prompt in told["prompts"]] == [True]

    async def test_another_dialect_is_the_persons_own_affair(self, gateway: Gateway, app: App) -> None:
        person = Client(gateway, "person", "anthropic-messages")
        joined = await person.say("ping")
        asked = await app.say("Look.")
        await settled()
        await shown(person, joined)
        assert json.loads(joined.body)["content"][-1]["text"].endswith("It is a troll.")
        await person.say("/send")
        assert json.loads(asked.body) == body()


class TestTheServiceIsAskedOnce:
    async def test_a_retry_while_it_is_reviewed(self, gateway: Gateway, app: App) -> None:
        person, first, _ = await reviewed(gateway, app)
        assert app.exchanges[-1] is not None
        app.exchanges[-1].end("gone")
        await gateway.gone(app.exchanges[-1])
        again = await app.say("You see something.")
        await settled()
        await person.say("/send")
        assert json.loads(again.body) == body() and app.service.asked == 1 and not first.told

    async def test_a_retry_while_it_is_asked(self, gateway: Gateway, app: App) -> None:
        app.service.open.clear()
        await Client(gateway, "person").say("ping")
        asked = [await app.say("hello") for _ in range(3)]
        assert app.service.asked == 1
        first = app.exchanges[0]
        assert first is not None
        first.end("gone")
        await gateway.gone(first)
        await settled()
        assert app.service.left == 0
        app.service.open.set()
        await settled()
        (told,) = await gateway.sessions()
        assert [len(prompt["calls"]) for prompt in told["prompts"]] == [2]
        assert not any(port.told for port in asked)

    async def test_it_is_left_when_nobody_waits(self, gateway: Gateway, app: App) -> None:
        app.service.open.clear()
        await Client(gateway, "person").say("ping")
        for _ in range(2):
            await app.say("hello")
        for exchange in app.exchanges:
            assert exchange is not None
            exchange.end("gone")
            await gateway.gone(exchange)
        await settled()
        assert (app.service.asked, app.service.left) == (1, 1) and not app.gateway.held.keys() & {
            exchange.exchange for exchange in app.exchanges if exchange is not None
        }

    async def test_twins_that_are_to_queue_are_two(self, clock: Clock, service: Service) -> None:
        routes = [{**REVIEW, "twins": "queue"}, ROUTES[1]]
        gateway = Gateway(Config.model_validate({"routes": routes}), clock=clock)
        await Client(gateway, "person").say("ping")
        app = App(gateway, "app", service=service)
        service.open.clear()
        for _ in range(2):
            await app.say("hello")
        service.open.set()
        await settled()
        (told,) = await gateway.sessions()
        assert service.asked == 2 and len(told["prompts"]) == 2
        gateway.shut_down()

    async def test_a_retry_of_a_reply_that_was_lost(self, gateway: Gateway, app: App) -> None:
        person, _, _ = await reviewed(gateway, app)
        await person.say("/send")
        assert app.exchanges[-1] is not None
        await gateway.failed(app.exchanges[-1])
        app.headers["x-stainless-retry-count"] = "1"
        again = await app.say("You see something.")
        assert json.loads(again.body) == body() and app.service.asked == 1

    async def test_across_a_restart(self, tmp_path: Path, service: Service) -> None:
        machine = Machine(tmp_path / "store.sqlite")
        gateway = machine.start(routes=ROUTES)
        app = App(gateway, "app", service=service)
        await reviewed(gateway, app)
        gateway = machine.start(routes=ROUTES)
        await gateway.restore()
        app, person = App(gateway, "app", service=service), Client(gateway, "person")
        again = await app.say("You see something.")
        await settled()
        await person.say("/send")
        assert json.loads(again.body) == body() and service.asked == 1
        machine.end()


class TestNobodySaysOtherwise:
    async def test_time(self, gateway: Gateway, app: App, clock: Clock) -> None:
        person, asked, _ = await reviewed(gateway, app)
        clock.now += 39.0
        await gateway.pair.tick("npc")
        assert not asked.told
        clock.now += 1.0
        await gateway.pair.tick("npc")
        assert json.loads(asked.body) == body() and app.service.asked == 1
        assert heard(await person.say("It is a kitten.")).startswith("Too late")

    async def test_the_person_leaves(self, gateway: Gateway, app: App) -> None:
        person, asked, _ = await reviewed(gateway, app)
        await person.say("/leave")
        assert json.loads(asked.body) == body() and app.service.asked == 1

    async def test_the_person_leaves_while_the_service_is_asked(self, gateway: Gateway, app: App) -> None:
        app.service.open.clear()
        person = Client(gateway, "person")
        await person.say("ping")
        asked = await app.say("hello")
        await person.say("/leave")
        app.service.open.set()
        await settled()
        assert json.loads(asked.body) == body() and app.service.asked == 1

    async def test_the_proxy_exits(self, gateway: Gateway, app: App) -> None:
        _, asked, _ = await reviewed(gateway, app)
        gateway.shut_down()
        assert json.loads(asked.body) == body()

    async def test_the_proxy_exits_with_a_retry(self, gateway: Gateway, app: App) -> None:
        await reviewed(gateway, app)
        again = await app.say("You see something.")
        gateway.shut_down()
        assert json.loads(again.body) == body() and app.service.asked == 1

    async def test_the_proxy_exits_while_the_service_is_asked(self, gateway: Gateway, app: App) -> None:
        app.service.open.clear()
        await Client(gateway, "person").say("ping")
        asked = await app.say("hello")
        gateway.shut_down()
        await settled()
        assert code(asked) == (503, "shutting_down") and app.service.left == 1

    async def test_the_session_ends(self, gateway: Gateway, app: App) -> None:
        _, asked, _ = await reviewed(gateway, app)
        await gateway.close_session("npc")
        assert json.loads(asked.body) == body()

    async def test_the_operator_lets_it_go(self, gateway: Gateway, app: App) -> None:
        person, asked, _ = await reviewed(gateway, app)
        assert app.exchanges[-1] is not None
        await gateway.let_go(app.exchanges[-1])
        assert json.loads(asked.body) == body() and app.service.asked == 1
        assert heard(await person.say("It is a kitten.")).startswith("Too late")
        assert app.exchanges[-1].exchange not in gateway.held

    async def test_the_queue_is_full(self, clock: Clock, service: Service) -> None:
        gateway = Gateway(Config.model_validate({"routes": [{**REVIEW, "queue_limit": 1}, ROUTES[1]]}), clock=clock)
        app = App(gateway, "app", service=service)
        await reviewed(gateway, app)
        assert (await app.say("more")).told == ["pass"] and service.asked == 1
        gateway.shut_down()

    async def test_it_is_too_large_to_be_kept(self, clock: Clock, service: Service) -> None:
        settings = {"routes": ROUTES, "limits": {"session_limit_bytes": 20_000}}
        gateway = Gateway(Config.model_validate(settings), clock=clock)
        service.said = body("x" * 30_000)
        app = App(gateway, "app", service=service)
        joined = await Client(gateway, "person").say("ping")
        asked = await app.say("hello")
        await settled()
        assert json.loads(asked.body) == body("x" * 30_000) and not joined.told and len(gateway.held) == 1
        gateway.shut_down()

    async def test_the_queue_fills_while_the_service_is_asked(self, clock: Clock, service: Service) -> None:
        gateway = Gateway(Config.model_validate({"routes": [{**REVIEW, "queue_limit": 1}, ROUTES[1]]}), clock=clock)
        service.open.clear()
        app = App(gateway, "app", service=service)
        await Client(gateway, "person").say("ping")
        asked = [await app.say(text) for text in ("one", "two")]
        service.open.set()
        await settled()
        assert [port.told for port in asked] == [[], ["respond"]] and json.loads(asked[1].body) == body()
        gateway.shut_down()

    async def test_it_cannot_be_stored(
        self, gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        app.service.open.clear()
        await Client(gateway, "person").say("ping")
        asked = [await app.say(text) for text in ("one", "two")]

        async def swap(*_: Any, **__: Any) -> bool:
            raise errors.pop()

        errors = [RuntimeError("a defect"), StoreError("The disk is full.")]
        monkeypatch.setattr(gateway._backend, "swap", swap)
        app.service.open.set()
        with caplog.at_level(logging.ERROR):
            await settled()
        assert [json.loads(port.body) for port in asked] == [body(), body()]
        assert caplog.text.count("not reviewed") == 1
        monkeypatch.undo()


class TestTheServiceFails:
    async def test_its_own_error(self, gateway: Gateway, app: App) -> None:
        app.service.status, app.service.said = 429, {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}
        person = Client(gateway, "person")
        joined = await person.say("ping")
        asked = await app.say("hello")
        await settled()
        assert code(asked) == (429, "rate_limit_exceeded") and asked.headers["retry-after"] == "7"
        assert not joined.told
        assert len(gateway.held) == 1

    async def test_it_cannot_be_reached(self, gateway: Gateway, app: App) -> None:
        app.service.error = UpstreamError("The service did not answer: no route.")
        await Client(gateway, "person").say("ping")
        asked = await app.say("hello")
        await settled()
        assert code(asked) == (502, "upstream_failed")

    async def test_it_talks_nonsense(self, gateway: Gateway, app: App) -> None:
        app.service.said = ["what"]
        await Client(gateway, "person").say("ping")
        asked = await app.say("hello")
        await settled()
        assert code(asked) == (502, "upstream_failed")

    async def test_it_is_late(self, clock: Clock) -> None:
        routes = [{**REVIEW, "hold_timeout_s": 0.01}, ROUTES[1]]
        gateway = Gateway(Config.model_validate({"routes": routes}), clock=clock)
        app = App(gateway, "app")
        await Client(gateway, "person").say("ping")
        asked = await app.say("hello")
        async with asyncio.timeout(5):
            await asked.responded.wait()
        await settled()
        assert code(asked) == (502, "upstream_timeout") and app.service.left == 1
        gateway.shut_down()

    async def test_a_defect_is_told_once(self, gateway: Gateway, app: App, caplog: pytest.LogCaptureFixture) -> None:
        app.service.error = RuntimeError("a defect")
        app.service.open.clear()
        await Client(gateway, "person").say("ping")
        asked = [await app.say("hello") for _ in range(2)]
        app.service.open.set()
        with caplog.at_level(logging.ERROR):
            await settled()
        assert {code(port) for port in asked} == {(500, "internal_error")}
        assert caplog.text.count("a draft could not be made") == 1


async def test_a_first_client_whose_role_is_not_known_has_no_draft(clock: Clock, service: Service) -> None:
    """It may be the person who would review it."""
    services = {"openai-chat": "http://127.0.0.1:9"}
    settings = {"routes": [{"answer": "review", "when": "always"}], "services": services}
    gateway = Gateway(Config.model_validate(settings), clock=clock)
    app = App(gateway, "app", listener="reverse", service=service)
    held = await app.say("Is anybody there?")
    await settled()
    assert service.asked == 0 and not held.told
    known = App(gateway, "other", listener="reverse", headers={"x-motive-role": "asker"}, service=service)
    await known.say("Hello?")
    await settled()
    gateway.shut_down()


async def test_where_a_reply_waits_for_somebody_to_come(clock: Clock, service: Service) -> None:
    routes = [{**REVIEW, "when": "always"}, ROUTES[1]]
    gateway = Gateway(Config.model_validate({"routes": routes}), clock=clock)
    app = App(gateway, "app", service=service)
    asked = await app.say("hello")
    await settled()
    assert service.asked == 1 and not asked.told
    clock.now += 30.0
    person = Client(gateway, "person")
    joined = await person.say("ping")
    assert heard(joined).endswith("It is a troll.")
    clock.now += 10.0
    await gateway.pair.tick("npc")
    assert json.loads(asked.body) == body()
    gateway.shut_down()
