"""A meeting point that asks for keys: each vendor's SDK presents one as it does by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx
import openai
import pytest

from tests.e2e.clients import Link, http_client, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.voices import VOICES, Voice
from tests.e2e.voices.bedrock import bedrock_client
from tests.e2e.voices.openai_chat import OpenAIChatVoice
from tests.e2e.wire import chat

APP, PERSON, BOUND, WRONG = "sk-key-of-app", "sk-key-of-person", "sk-key-bound", "sk-key-unknown"
CONFIG: Final[dict[str, Any]] = {
    "access": {
        "keys": [
            {"name": "app", "key": APP, "role": "asker"},
            {"name": "person", "key": PERSON, "role": "answerer"},
            {"name": "bound", "key": BOUND, "sessions": ["mine-*"]},
        ]
    }
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("keyed"), confdir, config=CONFIG) as proxy:
        yield proxy
        for key in (APP, PERSON, BOUND, WRONG):
            assert key not in proxy.log


@asynccontextmanager
async def voice(kind: type[Voice], link: Link, model: str, key: str, *, streamed: bool = False) -> AsyncIterator[Voice]:
    made = kind(link, model, streamed=streamed, api_key=key)
    try:
        yield made
    finally:
        await made.close()


def status_of(error: Any) -> int:
    """The status that an SDK's exception tells."""
    if hasattr(error, "response") and isinstance(error.response, dict):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return int(getattr(error, "status_code", None) or error.code)


async def refusal(kind: type[Voice], link: Link, model: str, key: str, *, streamed: bool) -> tuple[int, str]:
    """How a call of an SDK is refused."""
    async with voice(kind, link, model, key, streamed=streamed) as one:
        one.add_user("hello")
        with pytest.raises(Exception) as raised:  # each SDK has its own
            await one.send()
    return status_of(raised.value), str(raised.value)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.dialect)
async def test_an_sdk_presents_its_key(keyed: Proxy, session: str, kind: type[Voice], *, streamed: bool) -> None:
    """The keys say who asks and who answers: no join word, and no header."""
    link = Link(keyed)
    async with (
        voice(kind, link, session, APP, streamed=streamed) as app,
        voice(OpenAIChatVoice, link, session, PERSON) as person,
    ):
        app.add_user("Who are you?")
        asked = asyncio.create_task(app.send())
        await keyed.until_held(session)
        person.add_user("I am here.")
        assert (await person.send()).text == "Who are you?"
        person.add_user("A guard.")
        listening = asyncio.create_task(person.send())
        assert (await asked).text == "A guard."
        if kind.can.models:
            assert session in await app.models()
        await keyed.until_listening(session)
        await keyed.close_session(session)
        with pytest.raises(openai.APIStatusError, match="ended by the operator"):
            await listening


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.dialect)
async def test_an_sdk_is_told_that_its_key_is_none(
    keyed: Proxy, session: str, kind: type[Voice], *, streamed: bool
) -> None:
    status, said = await refusal(kind, Link(keyed), session, WRONG, streamed=streamed)
    assert status == 401
    assert "not one of this proxy's" in said
    if kind.can.models:
        async with voice(kind, Link(keyed), session, WRONG) as one:
            with pytest.raises(Exception) as raised:
                await one.models()
        assert status_of(raised.value) == 401
    assert session not in await keyed.sessions()


@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.dialect)
async def test_a_bound_key_learns_nothing_of_other_sessions(keyed: Proxy, session: str, kind: type[Voice]) -> None:
    link = Link(keyed)
    async with voice(OpenAIChatVoice, link, session, APP) as app:
        app.add_user("Anybody there?")
        asked = asyncio.create_task(app.send())
        await keyed.until_held(session)
        for model in (session, f"{session}-none"):
            status, said = await refusal(kind, link, model, BOUND, streamed=False)
            assert status == 403
            assert "may not use this session" in said
        if kind.can.models:
            async with voice(kind, link, session, BOUND) as one:
                assert session not in await one.models()
        await keyed.close_session(session)
        with pytest.raises(openai.APIStatusError):
            await asked


async def test_no_retry_mends_a_missing_key(keyed: Proxy, session: str) -> None:
    async with openai_client(Link(keyed), api_key=WRONG, max_retries=3) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(model=session, messages=[{"role": "user", "content": "x"}])
        assert raised.value.code == "invalid_api_key"
        assert raised.value.response.headers["x-should-retry"] == "false"
        assert raised.value.response.headers["www-authenticate"] == 'Bearer realm="motive"'
    options: dict[str, Any] = {"base_url": keyed.meeting, "max_retries": 3, "timeout": 30.0}
    async with anthropic.AsyncAnthropic(auth_token=WRONG, **options) as other:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await other.messages.create(model=session, max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


async def test_aws_may_send_the_key_in_our_header(keyed: Proxy, session: str) -> None:
    """Beside a signature with the credentials of the real service."""
    client = bedrock_client(Link(keyed), "AKIAOFTHEREALONE")
    client.meta.events.register(
        "before-sign.bedrock-runtime.*", lambda request, **_: request.headers.add_header("X-Motive-Key", PERSON)
    )
    messages = [{"role": "user", "content": [{"text": "hello"}]}]
    listening = asyncio.create_task(asyncio.to_thread(client.converse, modelId=session, messages=messages))
    told = await keyed.until_listening(session)
    assert [one["role"] for one in told["participants"]] == ["answerer"]
    await keyed.close_session(session)
    with pytest.raises(Exception, match="ended by the operator"):
        await listening
    client.close()


async def test_everybody_may_ask_whether_it_is_up(keyed: Proxy) -> None:
    async with http_client(Link(keyed)) as client:
        for path in ("/health", "/v1/health"):
            assert (await client.get(path)).json() == {"status": "ok"}
            assert "held" in (await client.get(path, headers={"x-api-key": BOUND})).json()
            assert "held" in (await client.get(path, headers=keyed.admin)).json()


async def test_a_page_is_asked_for_a_key_after_its_preflight(keyed: Proxy, session: str) -> None:
    page = {"origin": "http://localhost:3000"}
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    async with http_client(Link(keyed), headers=page) as client:
        assert (await client.options("/v1/chat/completions", headers=wanted)).status_code == 204
        refused = await client.post("/v1/chat/completions", content=chat(session))
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == page["origin"]


async def test_the_operator_shows_the_token(keyed: Proxy) -> None:
    token = keyed.admin["x-admin-token"]
    link = f"{keyed.meeting}/admin/sessions?token={token}"
    assert link in keyed.log
    async with http_client(Link(keyed)) as client:
        shown: list[httpx.Response] = [
            await client.get(link),
            await client.get("/admin/sessions", headers={"authorization": f"Bearer {token}"}),
            await client.get("/admin/sessions", headers={"x-admin-token": token}),
        ]
        assert [reply.status_code for reply in shown] == [200, 200, 200]
        assert shown[0].headers["referrer-policy"] == "no-referrer"
        for headers in ({}, {"x-api-key": APP}, {"authorization": f"Bearer {PERSON}"}, {"x-admin-token": token[:-1]}):
            refused = await client.get("/admin/sessions", headers=headers)
            assert refused.status_code == 401
            assert "MOTIVE_PROXY_ADMIN_TOKEN" in refused.json()["error"]["message"]


async def test_keys_may_change_while_it_runs(tmp_path: Path, confdir: Path, session: str) -> None:
    with Proxy(tmp_path, confdir, config=CONFIG) as proxy:
        async with http_client(Link(proxy)) as client:
            assert (await client.get("/v1/models", headers={"x-api-key": WRONG})).status_code == 401
            proxy.configure({"access": {"valid_keys": [WRONG]}})
            await asyncio.to_thread(proxy.wait_for_log, "configuration reloaded")
            assert (await client.get("/v1/models", headers={"x-api-key": WRONG})).status_code == 200
            assert (await client.get("/v1/models", headers={"x-api-key": APP})).status_code == 401
            assert (await client.get("/admin/sessions", headers=proxy.admin)).status_code == 200
