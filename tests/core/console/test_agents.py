"""A person answers an agent from now on: proposed, put in force, saved, on a whole gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from motive_core.config import ConfigFile, Route
from motive_core.console import Console
from motive_core.errors import BadRequestError, ConflictError, MotiveError, NotFoundError
from motive_core.gateway import Gateway
from motive_core.live_routes import LiveRoutes
from tests.core.test_gateway import Client, Clock, config


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=Clock())
    yield made
    made.shut_down()


@pytest.fixture
def console(gateway: Gateway) -> Console:
    return gateway.console


class Agent(Client):
    """One of several agents of an app: they share its model and its key."""

    async def ask(self, role: str, text: str) -> list[str]:
        messages = [{"role": "system", "content": role}, {"role": "user", "content": text}]
        return (await self.say(text, model="gpt-4o", messages=messages)).told


NARRATOR = "You are the narrator (v2.1).\nTell a story."
TROLL = "You are Grok the troll. You guard a bridge* [of stone]."


def agent(gateway: Gateway, name: str = "game/1.0") -> Agent:
    return Agent(gateway, name, listener="forward", headers={"authorization": "Bearer sk-secret"})


async def passed(gateway: Gateway) -> Agent:
    app = agent(gateway)
    for number in range(3):
        assert await app.ask(NARRATOR, f"n{number}") == ["pass"]
        assert await app.ask(TROLL, f"t{number}") == ["pass"]
    return app


def saver(gateway: Gateway, file: ConfigFile) -> Callable[[Route, Sequence[Route]], str]:
    def save(route: Route, behind: Sequence[Route]) -> str:
        gateway.configure(file.save(route, behind))
        return str(file.path)

    return save


def latest(console: Console) -> str:
    return str(console.inbox.calls()["calls"][0]["call"])


class TestProposals:
    async def test_by_what_tells_it_from_others(self, gateway: Gateway, console: Console) -> None:
        await passed(gateway)
        told = console.agents.proposals(latest(console))
        assert [(one["label"], one["caught_count"], one["looked_at"]) for one in told] == [
            ("its system prompt", 3, 6),
            ("its user-agent header", 6, 6),
            ("its key", 6, 6),
            ("its model", 6, 6),
            ("its address", 6, 6),
        ]
        assert told[0]["match"] == {
            "listener": "forward",
            "host": "api.openai.com",
            "system": r"You are Grok the troll\. You guard a bridge\* \[of stone\]\.",
        }
        assert told[0]["session"] == "you-are-grok-the-troll.-you-guard-a"
        assert [row["title"] for row in told[0]["caught"]] == ["t2", "t1", "t0"]

    async def test_by_what_other_agents_are_not_told(self, gateway: Gateway, console: Console) -> None:
        app = agent(gateway)
        for role in ("narrator", "troll"):
            await app.ask(f"You play a role.\nYou are the {role}.", "hello")
        told = console.agents.proposals(latest(console))
        assert [(one["label"], one["session"], one["caught_count"]) for one in told[:2]] == [
            ("a line of its system prompt", "you-are-the-troll", 1),
            ("its system prompt", "you-play-a-role", 2),
        ]

    async def test_no_secret_is_kept_or_told(self, gateway: Gateway, console: Console) -> None:
        await passed(gateway)
        assert "sk-secret" not in json.dumps(console.agents.proposals(latest(console)))
        record = console.log.get(latest(console))
        assert record is not None and record.facts is not None
        assert dict(record.facts.headers) == {"user-agent": "game/1.0"}

    async def test_of_a_call_that_is_not_kept_are_none(self, console: Console) -> None:
        with pytest.raises(NotFoundError):
            console.agents.proposals("x")


class TestInForce:
    async def test_its_next_call_is_held_and_other_agents_pass(self, gateway: Gateway, console: Console) -> None:
        app = await passed(gateway)
        told = console.agents.proposals(latest(console))[0]
        made = await console.agents.put(told["match"], "troll")
        assert await app.ask(TROLL, "t3") == []
        assert await app.ask(NARRATOR, "n3") == ["pass"]
        assert (await console.inbox.session("troll"))["waiting_count"] == 1
        gateway.configure(config(log={"level": "debug"}))
        await console.hand_back("troll")
        assert await app.ask(TROLL, "t4") == ["pass"]
        await console.take("troll")
        assert await app.ask(TROLL, "t5") == []
        assert [one["id"] for one in console.agents.routes()] == [made["id"]]
        console.agents.drop(made["id"])
        assert await app.ask(TROLL, "t6") == ["pass"]
        with pytest.raises(NotFoundError):
            console.agents.drop(made["id"])

    @pytest.mark.parametrize(
        ("match", "session", "answer"),
        [
            ({}, "x", "pair"),
            ({"nothing": "x"}, "x", "pair"),
            ({"system": "("}, "x", "pair"),
            ({"model": "x"}, "", "pair"),
            ({"model": "x"}, "  ", "pair"),
            ({"model": "x"}, "a\nb", "pair"),
            ({"model": "x"}, "s" * 257, "pair"),
            ({"model": "x", "listener": "reverse"}, "x", "review"),
            ({"model": "x"}, "{none}", "pair"),
            ({"model": "x"}, "x", "pass"),
        ],
    )
    async def test_what_is_wrong_is_said_and_nothing_changes(
        self, gateway: Gateway, console: Console, match: dict[str, Any], session: str, answer: str
    ) -> None:
        with pytest.raises(BadRequestError) as raised:
            await console.agents.put(match, session, answer)
        assert not raised.value.message.count("Value error")
        assert gateway.live() == ()

    async def test_where_the_session_cannot_be_taken_nothing_changes(self, gateway: Gateway, console: Console) -> None:
        known = await console.agents.put({"system": "troll"}, "troll")
        await gateway.operator.give_back("troll")
        gateway.configure(config(limits={"max_sessions": 1}))
        await gateway.operator.take_over("other")
        for match, session in (({"system": "troll"}, "troll"), ({"system": "x"}, "x")):
            with pytest.raises(MotiveError, match="too many sessions"):
                await console.agents.put(match, session)
        assert [one.id for one in gateway.live()] == [known["id"]]

    async def test_twice_is_once(self, gateway: Gateway, console: Console) -> None:
        first = await console.agents.put({"system": "troll"}, "troll")
        other = await console.agents.put({"system": "narrator"}, "narrator")
        again = await console.agents.put({"system": "troll"}, "troll")
        assert first == again
        assert [one.id for one in gateway.live()] == [first["id"], other["id"]]

    async def test_outlives_the_process(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "8000.routes.json"
        first = Gateway(config(), clock=Clock(), live_routes=LiveRoutes(path))
        await first.console.agents.put({"system": "troll"}, "troll")
        first.shut_down()
        second = Gateway(config(), clock=Clock(), live_routes=LiveRoutes(path))
        assert [one.route.session for one in second.live()] == ["troll"]
        second.shut_down()


class TestSaved:
    async def test_the_file_has_it_and_it_is_in_force_once(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("# mine\nroutes:\n  - match: {listener: forward}\n    when: joined\n")
        file = ConfigFile(path, {})
        gateway = Gateway(file.config, clock=Clock())
        gateway.save_route = saver(gateway, file)
        app = await passed(gateway)
        match = gateway.console.agents.proposals(latest(gateway.console))[0]["match"]
        made = await gateway.console.agents.put(match, "troll")
        assert gateway.console.agents.save(made["id"]) == str(path)
        assert gateway.live() == ()
        assert [route.session for route in gateway.config.routes] == ["troll", "{model}"]
        assert path.read_text().startswith("# mine\nroutes:\n  - match:\n      listener: forward\n")
        assert await app.ask(TROLL, "t3") == []
        gateway.shut_down()

    async def test_which_one_comes_first_is_the_same_in_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("routes:\n  - match: {listener: forward}\n    when: joined\n")
        file = ConfigFile(path, {})
        gateway = Gateway(file.config, clock=Clock())
        gateway.save_route = saver(gateway, file)
        put, save = gateway.console.agents.put, gateway.console.agents.save
        all_of_it = await put({"model": "gpt-4o"}, "all")
        troll = await put({"system": "troll"}, "troll")
        app = agent(gateway)

        async def answered_in() -> str:
            await app.ask(TROLL, f"t{len(app.exchanges)}")
            assert app.exchanges[-1] is not None
            return app.exchanges[-1].session

        assert await answered_in() == "troll"
        save(troll["id"])
        assert await answered_in() == "troll"
        assert [one["id"] for one in gateway.console.agents.routes()] == [all_of_it["id"]]
        save(all_of_it["id"])
        assert await answered_in() == "troll"
        assert [route.session for route in gateway.config.routes] == ["troll", "all", "{model}"]
        assert gateway.live() == ()
        gateway.shut_down()

    async def test_what_cannot_be_is_said_and_stays_in_force(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("routes: [{match: {listener: forward}}]\n")
        file = ConfigFile(path, {})
        gateway = Gateway(file.config, clock=Clock())
        made = await gateway.console.agents.put({"system": "troll"}, "troll")
        with pytest.raises(ConflictError, match="no configuration file"):
            gateway.console.agents.save(made["id"])
        gateway.save_route = saver(gateway, file)
        path.write_text("routes: [\n")
        with pytest.raises(MotiveError, match="Not saved"):
            gateway.console.agents.save(made["id"])
        assert [one.id for one in gateway.live()] == [made["id"]]
        with pytest.raises(NotFoundError):
            gateway.console.agents.save("x")
        gateway.shut_down()
