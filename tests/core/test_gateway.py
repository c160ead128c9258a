"""The gateway without sockets: what becomes of a call, from its bytes to what its port is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from motive_core.config import Config
from motive_core.dialects import DIALECTS, RequestHead
from motive_core.exchange import Exchange
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from motive_core.refusals import side_of
from motive_core.session import Rules
from tests.core.ports import FakePort

PATHS = {"openai-chat": "/v1/chat/completions", "anthropic-messages": "/v1/messages"}
ALL_PATHS = {
    **PATHS,
    "ollama-chat": "/api/chat",
    "ollama-generate": "/api/generate",
    "openai-responses": "/v1/responses",
}
TITLE = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """One client of a gateway. Its calls say one thing each; ``agent`` tells it from others."""

    gateway: Gateway
    agent: str
    dialect: str = "openai-chat"
    listener: Any = "reverse"
    headers: dict[str, str] = field(default_factory=dict)
    exchanges: list[Exchange | None] = field(default_factory=list)

    async def send(self, body: bytes, **headers: str) -> FakePort:
        fields = {"user-agent": self.agent, **self.headers}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        host = "api.openai.com" if self.listener == "forward" else "127.0.0.1"
        head = RequestHead("POST", host, 443, ALL_PATHS[self.dialect], headers=fields)
        dialect = Gateway.dialect_of(head)
        assert dialect is not None
        port = FakePort()
        self.exchanges.append(
            await self.gateway.accept(Incoming(self.listener, head, "127.0.0.1", body), dialect, port)
        )
        return port

    async def say(self, text: str, model: str = "npc", **fields: Any) -> FakePort:
        body = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": text}], **fields}
        return await self.send(json.dumps(body).encode())


def heard(port: FakePort) -> str:
    """The text of a whole reply in either dialect."""
    assert port.status == 200, (port.status, port.body)
    reply = json.loads(port.body)
    text = reply["choices"][0]["message"]["content"] if "choices" in reply else reply["content"][0]["text"]
    assert isinstance(text, str)
    return text


def code(port: FakePort) -> tuple[int, str]:
    """Status and OpenAI error code of a reply."""
    return port.status, json.loads(port.body)["error"]["code"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def config(**settings: Any) -> Config:
    return Config.model_validate(settings)


@pytest.fixture
async def gateway(clock: Clock) -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=clock)
    yield made
    made.shut_down()


@pytest.mark.parametrize("app", PATHS)
@pytest.mark.parametrize("player", PATHS)
async def test_two_clients_meet_in_any_dialects(gateway: Gateway, app: str, player: str) -> None:
    person, game = Client(gateway, "person", player), Client(gateway, "game", app)
    joined = await person.say("ping")
    asked = await game.say("You see a troll.\n\tWhat now?")
    assert heard(joined) == "You see a troll.\n\tWhat now?"
    assert person.exchanges[0] is not None
    await gateway.delivered(person.exchanges[0])
    listening = await person.say("I attack!")
    assert heard(asked) == "I attack!"
    assert not listening.told


async def test_an_exchange_has_an_id_of_its_own_in_every_reply(gateway: Gateway) -> None:
    person = Client(gateway, "person")
    ports = [await person.send(b"nonsense") for _ in range(3)]
    assert len({port.headers["x-request-id"] for port in ports}) == 3


class TestRefusals:
    @pytest.mark.parametrize("dialect", PATHS)
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 400),
            (b"not json", 400),
            (b"[]", 400),
            (b'{"messages": [{"role": "user", "content": "x"}]}', 400),
            (b'{"model": 7, "messages": [{"role": "user", "content": "x"}]}', 400),
            (b'{"model": "npc"}', 400),
            (b'{"model": "npc", "messages": []}', 400),
            (b'{"model": "npc", "messages": "x"}', 400),
            (b"\xff\xfe", 400),
            (b'{"model": "' + b"n" * 300 + b'", "messages": [{"role": "user", "content": "x"}]}', 400),
        ],
    )
    async def test_bad_input_at_the_meeting_point(
        self, gateway: Gateway, dialect: str, body: bytes, status: int
    ) -> None:
        port = await Client(gateway, "x", dialect).send(body)
        error = json.loads(port.body)["error"]
        assert port.status == status and error["type"] == "invalid_request_error" and error["message"]
        assert port.headers["x-should-retry"] == "false"
        assert await gateway.sessions() == []

    async def test_what_cannot_be_read_passes_in_the_forward_proxy(self, gateway: Gateway) -> None:
        port = await Client(gateway, "x", listener="forward").send(b"not json")
        assert port.told == ["pass"]

    async def test_a_body_over_the_limit(self, gateway: Gateway) -> None:
        gateway.configure(config(limits={"body_limit_bytes": 2000}))
        assert (await Client(gateway, "x").say("a" * 2000)).status == 413
        assert (await Client(gateway, "x", listener="forward").say("a" * 2000)).told == ["pass"]

    async def test_more_choices_than_there_may_be(self, gateway: Gateway) -> None:
        port = await Client(gateway, "x").say("hello", n=1_000_000)
        assert port.status == 400 and json.loads(port.body)["error"]["param"] == "n"

    async def test_a_role_that_is_none(self, gateway: Gateway) -> None:
        port = await Client(gateway, "x", headers={"x-motive-role": "boss"}).say("hello")
        assert port.status == 400

    async def test_one_session_too_many(self, gateway: Gateway) -> None:
        gateway.configure(config(limits={"max_sessions": 1}))
        first = await Client(gateway, "a").say("ping")
        for stream in (False, True):
            refused = await Client(gateway, "b").say("ping", model="other", stream=stream)
            assert code(refused) == (429, "too_many_sessions")
            assert refused.headers["x-should-retry"] == "false"
        assert not first.told
        passed = await Client(gateway, "c", listener="forward").say("hello", model="gpt-4o")
        assert passed.told == ["pass"]

    async def test_a_stranger(self, gateway: Gateway) -> None:
        await Client(gateway, "a").say("ping")
        await Client(gateway, "b").say("hello")
        refused = await Client(gateway, "c").say("me too")
        assert code(refused) == (409, "session_full")


class TestBackgroundCalls:
    async def test_a_title_is_answered_and_is_no_turn(self, gateway: Gateway) -> None:
        person, ui = Client(gateway, "person"), Client(gateway, "ui")
        joined = await person.say("ping")
        prompt = TITLE + "<chat_history>\nUSER: Where is the troll?\n</chat_history>"
        title = await ui.say(prompt)
        assert "Where is the troll" in json.loads(heard(title))["title"]
        assert not joined.told
        await ui.say("Where is the troll?")
        assert heard(joined) == "Where is the troll?"

    async def test_a_title_of_a_passing_app_passes(self, gateway: Gateway) -> None:
        port = await Client(gateway, "ui", listener="forward").say(TITLE, model="gpt-4o")
        assert port.told == ["pass"]


class TestNothingAsked:
    """Ollama loads and unloads models by calls that ask nothing."""

    OLLAMA = "ollama-chat"
    LOAD = b'{"model": "npc:latest"}'
    UNLOAD = b'{"model": "npc", "messages": [], "keep_alive": 0, "stream": true}'

    @pytest.mark.parametrize(("body", "reason"), [(LOAD, "load"), (UNLOAD, "unload")])
    async def test_it_is_answered_at_once_and_opens_no_session(
        self, gateway: Gateway, body: bytes, reason: str
    ) -> None:
        port = await Client(gateway, "ui", self.OLLAMA).send(body)
        assert (port.status, port.headers["content-type"]) == (200, "application/json")
        told = json.loads(port.body)
        assert (told["done"], told["done_reason"], told["message"]["content"]) == (True, reason, "")
        assert told["model"] == json.loads(body)["model"]
        assert await gateway.sessions() == []

    async def test_it_is_no_turn_of_a_session(self, gateway: Gateway) -> None:
        person, ui = Client(gateway, "person", self.OLLAMA), Client(gateway, "ui")
        joined = await person.say("ping", stream=False)
        await person.send(self.LOAD)
        await person.send(self.UNLOAD)
        assert not joined.told
        await ui.say("Where is the troll?")
        assert json.loads(joined.body)["message"]["content"] == "Where is the troll?"

    async def test_it_passes_where_the_app_does(self, gateway: Gateway) -> None:
        port = await Client(gateway, "ui", self.OLLAMA, listener="forward").send(self.LOAD)
        assert port.told == ["pass"]

    async def test_a_name_with_the_latest_tag_is_the_same_session(self, gateway: Gateway) -> None:
        person, ui = Client(gateway, "person", self.OLLAMA), Client(gateway, "ui", self.OLLAMA)
        joined = await person.say("ping", "npc:latest", stream=False)
        await ui.say("Who goes there?", "npc", stream=False)
        told = json.loads(joined.body)
        assert (told["model"], told["message"]["content"]) == ("npc:latest", "Who goes there?")

    async def test_a_role_may_stand_before_the_latest_tag(self, gateway: Gateway) -> None:
        person, ui = Client(gateway, "person", self.OLLAMA), Client(gateway, "ui", self.OLLAMA)
        asked = await ui.say("Who goes there?", "npc@asker:latest", stream=False)
        joined = await person.say("Hello?", "npc@answerer:latest", stream=False)
        assert json.loads(joined.body)["message"]["content"] == "Who goes there?"
        assert not asked.told


class TestTime:
    async def test_a_call_that_nobody_answers_ends_with_an_error(self, clock: Clock) -> None:
        gateway = Gateway(config(timing={"handshake_timeout_s": 5}), clock=clock)
        asked = await Client(gateway, "app").say("hello")
        clock.now += 4.9
        await gateway.pair.tick("npc")
        assert not asked.told
        clock.now += 0.2
        await gateway.pair.tick("npc")
        assert code(asked) == (504, "hold_timeout")

    async def test_an_idle_session_is_swept(self, clock: Clock) -> None:
        gateway = Gateway(config(timing={"session_ttl_s": 100, "turn_timeout_s": 10_000}), clock=clock)
        person, app = Client(gateway, "person"), Client(gateway, "app")
        await person.say("ping")
        await app.say("hello")
        await gateway.delivered(person.exchanges[0])  # type: ignore[arg-type]
        await gateway.gone(app.exchanges[0])  # type: ignore[arg-type]
        clock.now += 99
        await gateway.sweep()
        assert len(await gateway.sessions()) == 1
        clock.now += 2
        await gateway.sweep()
        assert await gateway.sessions() == []

    async def test_a_session_that_holds_a_call_is_never_swept(self, clock: Clock) -> None:
        gateway = Gateway(config(timing={"session_ttl_s": 100, "handshake_timeout_s": 10_000}), clock=clock)
        held = await Client(gateway, "person").say("ping")
        clock.now += 5_000
        await gateway.sweep()
        assert not held.told and len(await gateway.sessions()) == 1


class TestOperator:
    async def test_closing_a_session_ends_its_calls(self, gateway: Gateway) -> None:
        person, app = Client(gateway, "person"), Client(gateway, "app")
        await person.say("ping", model="a/b c")
        await app.say("one", model="a/b c")
        asked = await app.say("two", model="a/b c")
        assert await gateway.close_session("a/b c")
        assert code(asked) == (503, "session_closed")
        assert not await gateway.close_session("a/b c")

    async def test_sessions_tell_who_waits(self, gateway: Gateway, clock: Clock) -> None:
        await Client(gateway, "person").say("ping")
        clock.now += 3
        (session,) = await gateway.sessions()
        assert session["session"] == "npc" and session["participants"][0]["role"] == "answerer"
        listening = session["listening"]
        assert (listening["held_for_s"], listening["user_agent"], listening["dialect"]) == (
            3.0,
            "person",
            "openai-chat",
        )
        assert listening["deadline_in_s"] == Rules().handshake_timeout_s - 3

    async def test_sessions_can_tell_of_a_client_whose_name_is_no_text(self, gateway: Gateway) -> None:
        await Client(gateway, "\udcff").say("ping")
        (session,) = await gateway.sessions()
        assert json.dumps(session, ensure_ascii=False).encode()
        assert session["listening"]["user_agent"] == "?"

    @pytest.mark.parametrize(("headers", "key"), [({}, "object"), ({"anthropic-version": "2023-06-01"}, "has_more")])
    async def test_models_are_the_open_sessions(self, gateway: Gateway, headers: dict[str, str], key: str) -> None:
        await Client(gateway, "person").say("ping")
        head = RequestHead("GET", "h", 80, "/v1/models", headers=headers)
        dialect = side_of(head)
        assert dialect is not None
        status, _, body = await gateway.serve(Incoming("reverse", head, "127.0.0.1", b""), dialect)
        listed = json.loads(body)
        assert status == 200 and key in listed and [model["id"] for model in listed["data"]] == ["npc"]


class TestToolCalls:
    TOOLS = ({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["x"]}}},)

    async def test_a_command_becomes_a_tool_call(self, gateway: Gateway) -> None:
        person, app = Client(gateway, "person"), Client(gateway, "app")
        await person.say("ping")
        asked = await app.say("use it", tools=list(self.TOOLS))
        await gateway.delivered(person.exchanges[0])  # type: ignore[arg-type]
        refused = await person.say("/call f {}")
        assert "'x' is a required property" in heard(refused) and not asked.told
        await person.say('/call f {"x":  1}')
        choice = json.loads(asked.body)["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":  1}'}


async def test_every_dialect_is_found_by_its_path() -> None:
    assert {dialect.name for dialect in DIALECTS} >= set(ALL_PATHS)
    for name, path in ALL_PATHS.items():
        for base in ("", "/openai", "/api/x"):
            found = Gateway.dialect_of(RequestHead("POST", "h", 80, base + path))
            assert found is not None and found.name == name
    assert Gateway.dialect_of(RequestHead("GET", "h", 80, "/v1/chat/completions")) is None
    assert Gateway.dialect_of(RequestHead("POST", "h", 80, "/v1/embeddings")) is None
