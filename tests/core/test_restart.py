"""A gateway whose process ends, and the next one on the same file: what clients find, and what the file holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from motive_core.backends import open_sqlite
from motive_core.config import Config
from motive_core.dialects import RequestHead
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from tests.core.ports import FakePort
from tests.core.test_gateway import Client, Clock, code, heard

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["x"]}}}]
SCHEMA = {"type": "object", "required": ["y"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


@dataclass
class Machine:
    """A file, a clock, and the gateway that runs now."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    ends: list[Callable[[], None]] = field(default_factory=list)

    def start(self, **settings: Any) -> Gateway:
        """The next process. The one before is gone as if it was killed: its timers never fire, what waited is lost."""
        self.end()
        config = Config.model_validate(settings)
        store = open_sqlite(self.path, self.clock, config.timing.session_ttl_s)
        gateway = Gateway(config, backend=store.backend, kept=store.kept, clock=self.clock)
        self.file = store.backend._file
        self.ends.append(gateway.shut_down)
        return gateway

    def end(self) -> None:
        if self.ends:
            self.file._pending.clear()
            self.file.close()
            self.ends.pop()()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "store.sqlite")
    yield made
    made.end()


async def shown(gateway: Gateway, person: Client) -> None:
    exchange = person.exchanges[-1]
    assert exchange is not None
    await gateway.delivered(exchange)


def moved(client: Client, gateway: Gateway) -> Client:
    """The same client, at the next process."""
    return Client(gateway, client.agent, client.dialect, headers=client.headers)


@pytest.mark.parametrize("downtime_s", [0.0, 60.0, 3000.0, -7200.0])
async def test_a_retry_finds_its_prompt_and_its_answer(machine: Machine, downtime_s: float) -> None:
    """However long it was down (but for the life of a session), and though the clock was set back."""
    gateway = machine.start()
    person, app = Client(gateway, "person"), Client(gateway, "app")
    joined = await person.say("ping")
    await app.say("one")
    assert heard(joined) == "one"
    await shown(gateway, person)

    machine.clock.now += downtime_s
    gateway = machine.start()
    await gateway.restore()
    person, app = moved(person, gateway), moved(app, gateway)
    # The answer of a client that has no history: nothing but the state tells what it has seen.
    listening = await person.say("answer one")
    assert not listening.told
    (told,) = await gateway.sessions()
    assert (told["turns"], told["unsolicited"]) == (1, 0)

    machine.clock.now += downtime_s
    gateway = machine.start()
    person, app = moved(person, gateway), moved(app, gateway)
    assert heard(await app.say("one")) == "answer one"
    person.headers["x-stainless-retry-count"] = "1"
    again = await person.say("answer one")
    assert not again.told
    asked = await app.say("two")
    assert heard(again) == "two"
    assert not asked.told
    (told,) = await gateway.sessions()
    assert (told["turns"], told["unsolicited"], told["undelivered"]) == (1, 0, 0)


async def test_a_session_ends_with_its_time_to_live(machine: Machine) -> None:
    gateway = machine.start()
    await Client(gateway, "app").say("one")
    machine.clock.now += 3601.0
    gateway = machine.start()
    await gateway.restore()
    assert await gateway.sessions() == []


async def test_the_first_call_need_not_wait_for_the_start(machine: Machine) -> None:
    gateway = machine.start()
    await Client(gateway, "app").say("one")
    gateway = machine.start()
    joined = await Client(gateway, "person").say("ping")
    assert not joined.told, "a prompt was shown whose call is gone"
    await gateway.restore()
    assert len(gateway.pair.held) == 1
    (told,) = await gateway.sessions()
    assert told["listening"]
    asked = await Client(gateway, "app").say("one")
    assert heard(joined) == "one"
    assert not asked.told


async def test_deadlines_go_on(machine: Machine) -> None:
    """A prompt that nobody comes back for ends as any other does, by the timers of the new process."""
    gateway = machine.start(timing={"retry_window_s": 100.0, "turn_timeout_s": 50.0, "rejoin_window_s": 5.0})
    person, app = Client(gateway, "person"), Client(gateway, "app")
    await person.say("ping")
    await app.say("one")
    gateway = machine.start()
    await gateway.restore()
    machine.clock.now += 99.0
    await gateway.pair.tick("npc")
    (told,) = await gateway.sessions()
    assert [prompt["state"] for prompt in told["prompts"]] == ["open"]
    machine.clock.now += 1.1
    await gateway.pair.tick("npc")
    (told,) = await gateway.sessions()
    assert [prompt["state"] for prompt in told["prompts"]] == ["expired"]


async def test_what_an_answer_must_fit_survives(machine: Machine) -> None:
    gateway = machine.start()
    person, app = Client(gateway, "person"), Client(gateway, "app")
    for text, terms in (("use it", {"tools": TOOLS}), ("as JSON", {"response_format": FORMAT})):
        joined = await person.say("ping")
        asked = await app.say(text, **terms)
        assert heard(joined) == text
        await shown(gateway, person)
        gateway = machine.start()
        person, app = moved(person, gateway), moved(app, gateway)
        wrong, right = ('/call f {"z": 1}', '/call f {"x": 1}') if "tools" in terms else ('{"z": 1}', '{"y": 1}')
        assert "is a required property" in heard(await person.say(wrong))
        assert "is a required property" in heard(await person.say(wrong + " "))
        await person.say(right)
        asked = await app.say(text, **terms)
        choice = json.loads(asked.body)["choices"][0]
        assert choice["finish_reason"] == ("tool_calls" if "tools" in terms else "stop")
        assert app.exchanges[-1] is not None
        await gateway.delivered(app.exchanges[-1])


async def test_an_answer_that_is_quoted_has_arrived(machine: Machine) -> None:
    """Killed after the app got it, and before that was written: nobody is told later that it was lost."""
    gateway = machine.start(timing={"retry_window_s": 50.0})
    person, app = Client(gateway, "person"), Client(gateway, "app")
    joined = await person.say("ping")
    asked = await app.say("one")
    await shown(gateway, person)
    await person.say("answer one")
    assert heard(asked) == "answer one"
    gateway = machine.start()
    person, app = moved(person, gateway), moved(app, gateway)
    listening = await person.say("ping")
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "answer one"}]
    body = {"model": "npc", "messages": [*history, {"role": "user", "content": "two"}]}
    await app.send(json.dumps(body).encode())
    assert heard(listening) == "two"
    (told,) = await gateway.sessions()
    assert [prompt["state"] for prompt in told["prompts"]] == ["answered", "open"]
    assert joined.told
    machine.clock.now += 60.0
    await gateway.pair.tick("npc")
    (told,) = await gateway.sessions()
    assert told["undelivered"] == 0


class TestDiskThatIsFull:
    @pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages"])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_call_is_refused_and_all_else_goes_on(
        self, machine: Machine, dialect: str, *, stream: bool
    ) -> None:
        gateway = machine.start()
        person, app = Client(gateway, "person"), Client(gateway, "app")
        await person.say("ping", model="other")
        joined = await person.say("ping")
        asked = await app.say("one")
        assert heard(joined) == "one"
        before = (await gateway.sessions())[1]
        machine.file._db.execute("PRAGMA max_page_count = 40")  # type: ignore[union-attr]

        stranger = Client(gateway, "stranger", dialect)
        refused = await stranger.say("x" * 100_000, model="new", stream=stream)
        assert refused.status == 503
        assert "x-should-retry" not in refused.headers
        assert "store" in json.loads(refused.body)["error"]["message"]
        [reason] = (await gateway.health())["reasons"]
        assert reason["what"] == "store" and "full" in reason["why"]
        assert [one["session"] for one in await gateway.sessions()] == ["other", "npc"]
        assert (await gateway.sessions())[1] == before
        assert len(gateway.pair.held) == 3

        await shown(gateway, person)
        listening = await person.say("answer one")
        assert heard(asked) == "answer one"
        assert not listening.told
        assert (await gateway.health())["status"] == "ok"
        machine.file._db.execute("PRAGMA max_page_count = 1000")  # type: ignore[union-attr]
        assert not (await stranger.say("x" * 100_000, model="new", stream=stream)).told

    async def test_a_client_that_goes_is_gone(self, machine: Machine) -> None:
        gateway = machine.start()
        app = Client(gateway, "app")
        await app.say("one")
        machine.file.close()
        assert app.exchanges[0] is not None
        await gateway.gone(app.exchanges[0])
        assert gateway.pair.held == {}
        (told,) = await gateway.sessions()
        assert told["prompts"][0]["calls"] == []
        assert code(await app.say("two")) == (503, "store_failed")


RESPONSES = RequestHead("POST", "127.0.0.1", 80, "/v1/responses", headers={"user-agent": "app", "authorization": "x y"})


class TestKeptReplies:
    """``previous_response_id`` across a restart."""

    async def ask(self, gateway: Gateway, text: str, previous: str | None) -> FakePort:
        dialect = Gateway.dialect_of(RESPONSES)
        assert dialect is not None
        body = {"model": "npc", "input": text} | ({"previous_response_id": previous} if previous else {})
        port = FakePort()
        await gateway.accept(Incoming("reverse", RESPONSES, "127.0.0.1", json.dumps(body).encode()), dialect, port)
        return port

    async def turn(self, gateway: Gateway, number: int, previous: str | None) -> str:
        person = Client(gateway, "person", headers={"x-motive-role": "answerer"})
        joined = await person.say("ping")
        asked = await self.ask(gateway, f"question {number}", previous)
        assert heard(joined) == f"question {number}"
        await shown(gateway, person)
        await person.say(f"answer {number}")
        told = json.loads(asked.body)
        assert told["output"][0]["content"][0]["text"] == f"answer {number}"
        return str(told["id"])

    async def test_a_conversation_goes_on(self, machine: Machine) -> None:
        previous = None
        for number in range(6):
            gateway = machine.start()
            assert len(gateway.side.kept) == number
            previous = await self.turn(gateway, number, previous)
        gateway = machine.start()
        found = gateway.side.kept.find(previous or "", "authorization:x") or next(
            entry.kept for entry in reversed(gateway.side.kept._entries.values())
        )
        said = [message.text for message in found.request.messages]
        assert said == [text for n in range(5) for text in (f"question {n}", f"answer {n}")] + ["question 5"]

    async def test_a_message_is_written_once(self, machine: Machine) -> None:
        gateway = machine.start()
        previous = None
        for number in range(10):
            previous = await self.turn(gateway, number, previous)
        gateway = machine.start()
        messages = {id(one) for entry in gateway.side.kept._entries.values() for one in entry.kept.request.messages}
        # Ten questions, and each answer as the next request quotes it.
        assert len(messages) == 19
        size = gateway.side.kept.size
        assert machine.start().side.kept.size == size

    async def test_they_are_forgotten_in_time_and_leave_nothing(self, machine: Machine) -> None:
        gateway = machine.start()
        previous = None
        for number in range(3):
            previous = await self.turn(gateway, number, previous)
        machine.clock.now += 3601.0
        await gateway.close_session("npc")
        await gateway.sweep()
        machine.end()
        with sqlite3.connect(machine.path) as db:
            counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("kept", "pieces")]
        db.close()
        assert counts == [0, 0]
        assert len(machine.start().side.kept) == 0


async def test_no_credential_is_written(machine: Machine) -> None:
    gateway = machine.start()
    secrets = {
        "authorization": "Bearer sk-SECRET1",
        "x-api-key": "SECRET2",
        "api-key": "SECRET3",
        "x-goog-api-key": "SECRET4",
        "cookie": "SECRET5",
        "idempotency-key": "SECRET6",
    }
    for name, value in secrets.items():
        app = Client(gateway, "app", headers={name: value})
        await app.say("words of the app", model=f"m-{name}", tools=TOOLS)
    await TestKeptReplies().turn(gateway, 0, None)
    machine.file.flush()
    files = [path.read_bytes() for path in machine.path.parent.iterdir()]
    assert any(b"words of the app" in data for data in files)
    assert not any(b"SECRET" in data for data in files)
