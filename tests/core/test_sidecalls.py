"""Calls beside the chat, and conversations that are named by an id, without sockets: through the gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from motive_core.config import Config
from motive_core.dialects import RequestHead
from motive_core.exchange import Exchange
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from motive_core.refusals import side_of
from tests.core.ports import FakePort

REAL = "resp_68af4030592c81938ec0a5fbab4a3e9f"


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """One client of the Responses API."""

    gateway: Gateway
    key: str
    listener: Any = "reverse"
    exchanges: list[Exchange] = field(default_factory=list)

    def head(self, method: str, target: str) -> RequestHead:
        path, _, query = target.partition("?")
        host = "api.openai.com" if self.listener == "forward" else "127.0.0.1"
        headers = {"authorization": f"Bearer {self.key}", "user-agent": self.key}
        return RequestHead(method, host, 443, path, query, headers)

    async def ask(self, told: Any, model: str = "npc", **fields: Any) -> FakePort:
        head = self.head("POST", "/v1/responses")
        dialect = Gateway.dialect_of(head)
        assert dialect is not None
        body = json.dumps({"model": model, "input": told, **fields}).encode()
        port = FakePort()
        exchange = await self.gateway.accept(Incoming(self.listener, head, "127.0.0.1", body), dialect, port)
        if exchange is not None:
            self.exchanges.append(exchange)
            if port.told:
                await self.gateway.delivered(exchange)
        return port

    async def call(self, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        """A call beside the chat: its status and what it says."""
        head = self.head(method, target)
        dialect = side_of(head)
        assert dialect is not None
        status, headers, answer = await self.gateway.serve(Incoming(self.listener, head, "127.0.0.1", body), dialect)
        assert headers["content-type"] == "application/json"
        assert headers["x-request-id"]
        return status, json.loads(answer)


@dataclass
class Person:
    """Who answers, in Chat Completions."""

    gateway: Gateway
    exchanges: list[Exchange] = field(default_factory=list)

    async def say(self, text: str, model: str = "npc") -> FakePort:
        head = RequestHead("POST", "127.0.0.1", 80, "/v1/chat/completions", headers={"user-agent": "person"})
        dialect = Gateway.dialect_of(head)
        assert dialect is not None
        for ended in [one for one in self.exchanges if one.ending is not None]:
            await self.gateway.delivered(ended)
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
        port = FakePort()
        exchange = await self.gateway.accept(Incoming("reverse", head, "127.0.0.1", body), dialect, port)
        assert exchange is not None
        self.exchanges.append(exchange)
        return port


def shown(port: FakePort) -> str:
    assert port.status == 200, port.body
    text = json.loads(port.body)["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def said(port: FakePort) -> dict[str, Any]:
    assert port.status == 200, port.body
    response = json.loads(port.body)
    assert isinstance(response, dict)
    return response


def error(port: FakePort) -> dict[str, Any]:
    told = json.loads(port.body)["error"]
    assert isinstance(told, dict)
    return told


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gateway(clock: Clock) -> AsyncIterator[Gateway]:
    made = Gateway(Config.model_validate({"timing": {"session_ttl_s": 100}}), clock=clock)
    yield made
    made.shut_down()


async def turn(
    person: Person, listening: FakePort, client: Client, words: str, **call: Any
) -> tuple[str, Any, FakePort]:
    """One turn: what the person was shown, the response, and their next call."""
    asked = await client.ask(**call)
    seen = shown(listening)
    listening = await person.say(words)
    await client.gateway.delivered(client.exchanges[-1])
    return seen, said(asked), listening


class TestConversations:
    async def test_only_the_new_words_are_shown(self, gateway: Gateway) -> None:
        person, app = Person(gateway), Client(gateway, "sk-app")
        listening = await person.say("/join")
        seen, first, listening = await turn(person, listening, app, "hello", told="one")
        assert seen == "one"
        seen, second, listening = await turn(
            person, listening, app, "again", told="two", previous_response_id=first["id"]
        )
        assert seen == "two"
        assert second["previous_response_id"] == first["id"]
        words = [message.text for message in app.exchanges[-1].request.messages]
        assert words == ["one", "hello", "two"]
        assert app.exchanges[-1].continues
        assert not app.exchanges[0].continues

    async def test_an_id_that_is_not_known_is_an_error_at_the_meeting_point(self, gateway: Gateway) -> None:
        app = Client(gateway, "sk-app")
        port = await app.ask("two", previous_response_id=REAL)
        assert port.status == 400
        assert error(port) == {
            "message": f"Previous response with id '{REAL}' not found.",
            "type": "invalid_request_error",
            "param": "previous_response_id",
            "code": "previous_response_not_found",
        }
        assert await gateway.sessions() == []

    async def test_nobody_else_may_continue(self, gateway: Gateway) -> None:
        person, app = Person(gateway), Client(gateway, "sk-app")
        listening = await person.say("/join")
        _, first, listening = await turn(person, listening, app, "hello", told="one")
        port = await Client(gateway, "sk-thief").ask("two", previous_response_id=first["id"])
        assert port.status == 400

    async def test_what_is_too_old_is_not_known(self, gateway: Gateway, clock: Clock) -> None:
        person, app = Person(gateway), Client(gateway, "sk-app")
        listening = await person.say("/join")
        _, first, listening = await turn(person, listening, app, "hello", told="one")
        clock.now += 101
        await gateway.sweep()
        assert len(gateway.side.kept) == 0
        assert (await app.ask("two", previous_response_id=first["id"])).status == 400

    async def test_what_is_not_to_be_stored_is_not_kept(self, gateway: Gateway) -> None:
        person, app = Person(gateway), Client(gateway, "sk-app")
        listening = await person.say("/join")
        await turn(person, listening, app, "hello", told="one", store=False)
        assert len(gateway.side.kept) == 0

    async def test_a_call_that_passes_is_passed_as_it_came(self, gateway: Gateway) -> None:
        app = Client(gateway, "sk-app", "forward")
        for fields in ({}, {"previous_response_id": REAL}):
            port = await app.ask("one", **fields)
            assert (port.told, port.passed) == (["pass"], None)

    async def test_the_real_service_is_told_what_it_missed(self, gateway: Gateway) -> None:
        person, app = Person(gateway), Client(gateway, "sk-app", "forward")
        listening = await person.say("/join")
        _, first, listening = await turn(
            person, listening, app, "hello", told="one", previous_response_id=REAL, instructions="Be kind."
        )
        asked = await app.ask("two", previous_response_id=first["id"], instructions="Be rude.", temperature=0.5)
        assert not asked.told
        await gateway.delivered(person.exchanges[-1])
        await person.say("/leave")
        assert asked.told == ["pass"]
        assert asked.passed is not None
        sent = json.loads(asked.passed)
        assert sent == {
            "model": "npc",
            "instructions": "Be rude.",
            "input": [
                {"type": "message", "role": "user", "content": "one"},
                {"type": "message", "role": "assistant", "content": "hello"},
                {"type": "message", "role": "user", "content": "two"},
            ],
            "previous_response_id": REAL,
            "temperature": 0.5,
        }

        # Now that nobody is there, it passes at once, and says the same.
        later = await app.ask("three", previous_response_id=first["id"])
        assert later.told == ["pass"]
        assert later.passed is not None
        assert [item["content"] for item in json.loads(later.passed)["input"]] == ["one", "hello", "three"]

    async def test_the_real_service_is_told_what_is_referred_to(self, gateway: Gateway) -> None:
        person, app = Person(gateway), Client(gateway, "sk-app", "forward")
        listening = await person.say("/join")
        _, first, listening = await turn(person, listening, app, "hello", told="one")
        item = first["output"][0]["id"]
        await person.say("/leave")
        history = [
            {"role": "user", "content": "one"},
            {"type": "item_reference", "id": item},
            {"role": "user", "content": "two"},
        ]
        port = await app.ask(history)
        assert port.passed is not None
        assert json.loads(port.passed)["input"][1] == {"type": "message", "role": "assistant", "content": "hello"}
        history[1]["id"] = "msg_of_the_real_service00"
        assert (await app.ask(history)).passed is None
        assert (await Client(gateway, "sk-other", "forward").ask(history)).passed is None


class TestSideCalls:
    async def kept(self, gateway: Gateway) -> tuple[Client, str]:
        person, app = Person(gateway), Client(gateway, "sk-app")
        listening = await person.say("/join")
        _, response, _ = await turn(person, listening, app, "hello", told="one")
        reply_id = response["id"]
        assert isinstance(reply_id, str)
        return app, reply_id

    async def test_a_response_is_looked_up_and_deleted(self, gateway: Gateway) -> None:
        app, reply_id = await self.kept(gateway)
        status, response = await app.call("GET", f"/v1/responses/{reply_id}")
        assert (status, response["id"]) == (200, reply_id)
        status, items = await app.call("GET", f"/v1/responses/{reply_id}/input_items")
        assert (status, items["data"][0]["content"]) == (200, [{"type": "input_text", "text": "one"}])
        assert await app.call("DELETE", f"/v1/responses/{reply_id}") == (
            200,
            {"id": reply_id, "object": "response", "deleted": True},
        )
        for method in ("GET", "DELETE"):
            status, told = await app.call(method, f"/v1/responses/{reply_id}")
            assert status == 404
            assert told["error"]["message"] == f"Response with id '{reply_id}' not found."

    async def test_nobody_else_may_look_it_up(self, gateway: Gateway) -> None:
        app, reply_id = await self.kept(gateway)
        thief = Client(gateway, "sk-thief")
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
            assert (await thief.call(method, f"/v1/responses/{reply_id}{path}"))[0] == 404
        assert (await app.call("GET", f"/v1/responses/{reply_id}"))[0] == 200

    async def test_behind_the_forward_proxy_only_ours_are_ours(self, gateway: Gateway) -> None:
        app, reply_id = await self.kept(gateway)
        for key, asked, ours in (("sk-app", reply_id, True), ("sk-app", REAL, False), ("sk-thief", reply_id, False)):
            client = Client(gateway, key, "forward")
            head = client.head("GET", f"/v1/responses/{asked}")
            assert (gateway.kept_by(head) is not None) is ours
        for method, target in (
            ("GET", "/v1/models"),
            ("POST", "/v1/responses/input_tokens"),
            ("POST", "/v1/responses"),
        ):
            assert gateway.kept_by(app.head(method, target)) is None

    async def test_tokens_are_counted(self, gateway: Gateway) -> None:
        app = Client(gateway, "sk-app")
        told = await app.call("POST", "/v1/responses/input_tokens", b'{"input": "12345678"}')
        assert told == (200, {"object": "response.input_tokens", "input_tokens": 2})
        status, refused = await app.call("POST", "/v1/responses/input_tokens", b'{"input": 7}')
        assert (status, refused["error"]["param"]) == (400, "input")

    async def test_a_body_that_cannot_be_read(self, gateway: Gateway) -> None:
        status, told = await Client(gateway, "sk-app").call("POST", "/v1/responses/input_tokens", b"not json")
        assert (status, told["error"]["code"]) == (400, "invalid_json")

    async def test_a_defect_of_ours_is_an_error_in_the_dialect(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken() -> list[Any]:
            raise RuntimeError("boom")

        monkeypatch.setattr(gateway.side, "_models", broken)
        status, told = await Client(gateway, "sk-app").call("GET", f"/v1/responses/{REAL}")
        assert (status, told["error"]["type"]) == (500, "server_error")
        assert "boom" not in json.dumps(told)
        assert "boom" in caplog.text
