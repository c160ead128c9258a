"""What a key lets its owner do, from the call that comes in to what the port is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from motive_core.access import Caller
from motive_core.config import Config
from motive_core.dialects import DIALECTS
from motive_core.errors import AuthenticationError
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from motive_core.refusals import error_reply, side_of
from tests.core.access.heads import head
from tests.core.ports import FakePort

ACCESS: dict[str, Any] = {
    "keys": [
        {"name": "alice", "key": "k-alice", "role": "answerer"},
        {"name": "game", "key": "k-game", "sessions": ["npc-*"], "role": "asker"},
        {"name": "other", "key": "k-other", "sessions": ["other-*"]},
    ]
}
SERVICE = {"openai-chat": "https://api.openai.com"}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(Config.model_validate({"access": ACCESS}))
    yield made
    made.shut_down()


async def call(gateway: Gateway, key: str, model: str, text: str = "hello", **headers: str) -> FakePort:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    asked = head(authorization=f"Bearer {key}", **headers)
    dialect, port = gateway.dialect_of(asked), FakePort()
    assert dialect is not None
    await gateway.accept(Incoming("reverse", asked, "127.0.0.1", body, gateway.guard.admit(asked)), dialect, port)
    return port


def error(port: FakePort) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(port.body)["error"]
    return told


async def test_roles_come_with_the_keys(gateway: Gateway) -> None:
    """Without join word, header or suffix, and whoever comes first."""
    asked = await call(gateway, "k-game", "npc-guard", "Who goes there?")
    shown = await call(gateway, "k-alice", "npc-guard", "hm")
    assert not asked.told
    assert json.loads(shown.body)["choices"][0]["message"]["content"] == "Who goes there?"
    (told,) = await gateway.sessions()
    assert {one["role"] for one in told["participants"]} == {"asker", "answerer"}
    (prompt,) = told["prompts"]
    assert [live["credential"] for live in prompt["calls"]] == ["key:game"]
    assert "k-game" not in json.dumps(told) and "k-alice" not in json.dumps(told)


@pytest.mark.parametrize(
    ("key", "model", "headers"),
    [("k-game", "npc-x@answerer", {}), ("k-game", "npc-x", {"x_motive_role": "answerer"}), ("k-alice", "a@asker", {})],
)
async def test_a_key_cannot_take_the_other_role(
    gateway: Gateway, key: str, model: str, headers: dict[str, str]
) -> None:
    port = await call(gateway, key, model, **headers)
    assert (port.status, error(port)["code"]) == (403, "role_not_allowed")
    assert await gateway.sessions() == []


async def test_a_key_may_name_its_own_role(gateway: Gateway) -> None:
    assert not (await call(gateway, "k-game", "npc-x@asker", x_motive_role="asker")).told


async def test_a_session_is_closed_to_other_keys_be_it_there_or_not(gateway: Gateway) -> None:
    await call(gateway, "k-game", "npc-open")
    replies = [await call(gateway, "k-other", model) for model in ("npc-open", "npc-none", "npc-open@answerer")]
    assert {(port.status, error(port)["code"], error(port)["message"]) for port in replies} == {
        (403, "session_not_allowed", "This key may not use this session.")
    }
    assert {frozenset(port.headers) for port in replies} == {frozenset(replies[0].headers)}
    assert replies[0].headers["x-should-retry"] == "false"
    assert [told["session"] for told in await gateway.sessions()] == ["npc-open"]


async def test_lists_show_only_what_a_key_may_use(gateway: Gateway) -> None:
    await call(gateway, "k-game", "npc-one")
    await call(gateway, "k-other", "other-two")
    listed = {}
    for key in ("k-alice", "k-game", "k-other"):
        asked = head("GET", "/v1/models", authorization=f"Bearer {key}")
        side = side_of(asked)
        assert side is not None
        incoming = Incoming("reverse", asked, "127.0.0.1", b"", gateway.guard.admit(asked))
        _, _, body = await gateway.serve(incoming, side)
        listed[key] = [model["id"] for model in json.loads(body)["data"]]
    assert listed == {"k-alice": ["npc-one", "other-two"], "k-game": ["npc-one"], "k-other": ["other-two"]}


@pytest.mark.parametrize("answer", ["pass", "pair"])
async def test_a_bound_key_passes_only_its_own_models(answer: str) -> None:
    route = {"match": {"listener": "reverse"}, "answer": answer, "when": "joined"}
    made = Gateway(Config.model_validate({"access": ACCESS, "services": SERVICE, "routes": [route]}))
    assert (await call(made, "k-game", "npc-x")).told == ["pass"]
    refused = await call(made, "k-game", "gpt-4o")
    assert (refused.status, error(refused)["code"]) == (403, "session_not_allowed")
    made.shut_down()


async def test_routes_know_a_key_by_its_name() -> None:
    routes = [{"match": {"credential": "key:alice"}, "answer": "reject"}, {"match": {}, "session": "{credential}"}]
    made = Gateway(Config.model_validate({"access": ACCESS, "routes": routes}))
    assert (await call(made, "k-alice", "npc")).status == 403
    port = await call(made, "k-other", "npc")
    assert (port.status, error(port)["code"]) == (403, "session_not_allowed")  # bound to ids, not to models
    made.shut_down()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_each_vendors_clients_are_told_in_their_words(dialect: Any) -> None:
    refused = AuthenticationError("no", code="invalid_api_key")
    status, headers, body = error_reply(dialect, refused, "x")
    assert status == 401 and headers["x-should-retry"] == "false"
    assert b"no" in body


def test_who_is_not_admitted_is_challenged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made = Gateway(Config.model_validate({"access": ACCESS}))
    page = head("GET", "/v1/models", origin="http://localhost:3000", anthropic_version="2023-06-01")
    status, headers, body = made.refusals.not_admitted(page, AuthenticationError("no"), "192.0.2.7")
    assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="motive"')
    assert headers["access-control-allow-origin"] == "http://localhost:3000"
    assert json.loads(body)["error"]["type"] == "authentication_error"
    assert "not admitted client=192.0.2.7 code=authentication_failed request='GET /v1/models'" in caplog.text


def test_a_caller_without_a_key_has_no_name() -> None:
    assert Caller("client").credential is None and Caller("client").may_use("x")
