"""mitmproxy's ``proxyauth`` guards the forward proxy; the meeting point asks for its keys."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.clients import Link, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.wire import RawClient, chat, request, trusting

USER: Final = "user:the-password"
BASIC: Final = f"Basic {base64.b64encode(USER.encode()).decode()}"
OPENAI: Final = "https://api.openai.com/v1/chat/completions"
VENDOR: Final = {"authorization": "Bearer sk-of-the-vendor", "user-agent": "app"}
PERSON: Final = {"x-api-key": "sk-person", "user-agent": "person"}
CONFIG: Final[dict[str, Any]] = {"access": {"keys": [{"name": "person", "key": "sk-person"}]}}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any]) -> Iterator[Proxy]:
    given = {**upstream, "options": (*upstream["options"], "--set", f"proxyauth={USER}")}
    with Proxy(tmp_path_factory.mktemp("guarded"), confdir, config=CONFIG, **given) as proxy:
        yield proxy
        assert USER.partition(":")[2] not in proxy.log and BASIC not in proxy.log


def app(proxy: Proxy, authority: Path) -> httpx.AsyncClient:
    """An app that has the proxy's password in the proxy's URL, as ``HTTPS_PROXY`` has it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.load_verify_locations(authority)
    url = proxy.forward.replace("http://", f"http://{USER}@")
    return httpx.AsyncClient(proxy=url, verify=tls, trust_env=False, headers=VENDOR, timeout=30)


def check_upstream(service: Standin) -> None:
    """Nothing that is the proxy's has come to the service, and everything that is the service's."""
    assert service.requests
    for received in service.requests:
        names = {name.lower() for name, _ in received.headers}
        assert not names & {"proxy-authorization", "x-motive-key", "x-motive-role", "x-admin-token"}
        assert received.header("authorization") == VENDOR["authorization"]


async def test_who_has_no_password_gets_a_407(guarded: Proxy, service: Standin) -> None:
    async with httpx.AsyncClient(proxy=guarded.forward, trust_env=False) as client:
        for url in ("http://example.org/", "http://motive.internal/health", "http://motive.internal/admin/sessions"):
            reply = await client.get(url, headers={"x-api-key": "sk-person"})
            assert (reply.status_code, "proxy-authenticate" in reply.headers) == (407, True)
        with pytest.raises(httpx.ProxyError, match="407"):
            await client.post(OPENAI, content=chat("gpt-4o"))
    assert not service.requests


async def test_calls_pass_and_are_held_and_pass_again(
    guarded: Proxy, service: Standin, proxy_authority: Path, session: str
) -> None:
    """The proxy's password never goes on, whatever became of a call."""
    async with app(guarded, proxy_authority) as client, http_client(Link(guarded), headers=PERSON) as person:
        first = await client.post(OPENAI, content=chat(session, "one"))
        assert first.json()["choices"][0]["message"]["content"] == f"real {session}"
        shown = asyncio.create_task(person.post("/v1/chat/completions", content=chat(session, "/join")))
        await guarded.until_listening(session)
        asked = asyncio.create_task(
            client.post(OPENAI, content=chat(session, "two"), headers={"proxy-authorization": BASIC})
        )
        assert (await shown).json()["choices"][0]["message"]["content"].endswith("two")
        await person.post("/v1/chat/completions", content=chat(session, "/leave"))
        passed = await asked
        assert passed.json()["choices"][0]["message"]["content"] == f"real {session}"
    assert len(service.requests) == 2
    check_upstream(service)


def test_a_password_within_the_tunnel_goes_no_further(guarded: Proxy, service: Standin, proxy_authority: Path) -> None:
    with RawClient(guarded.forward_address) as outer:
        outer.send(f"CONNECT api.openai.com:443 HTTP/1.1\r\nProxy-Authorization: {BASIC}\r\n\r\n".encode())
        assert b" 200 " in outer.until(b"\r\n\r\n")
        tls = trusting(proxy_authority)
        outer.socket = tls.wrap_socket(outer.socket, server_hostname="api.openai.com")
        lines = (f"Proxy-Authorization: {BASIC}", f"Authorization: {VENDOR['authorization']}")
        reply = outer.ask(request("POST", "/v1/chat/completions", *lines, body=chat("gpt-4o"), host="api.openai.com"))
        assert reply.status == 200
    check_upstream(service)


@pytest.mark.parametrize("path", ["/", "/v1/chat/completions"])
def test_nor_does_one_that_nobody_asked_for(proxy: Proxy, service: Standin, path: str) -> None:
    lines = (f"Proxy-Authorization: {BASIC}", f"Authorization: {VENDOR['authorization']}")
    with RawClient(proxy.forward_address) as client:
        target = f"http://api.openai.com{path}"
        assert client.ask(request("POST", target, *lines, body=chat("m"), host="api.openai.com")).status == 200
    check_upstream(service)


async def test_the_internal_name_needs_both(guarded: Proxy, proxy_authority: Path) -> None:
    async with app(guarded, proxy_authority) as client:
        url = "http://motive.internal/v1/models"
        assert (await client.get(url)).status_code == 401
        assert (await client.get(url, headers=PERSON)).status_code == 200
        shown = await client.get("http://motive.internal/admin/sessions", headers=guarded.admin)
        assert shown.status_code == 200


async def test_the_meeting_point_asks_for_a_key_only(guarded: Proxy) -> None:
    async with http_client(Link(guarded)) as client:
        assert (await client.get("/v1/models", headers={"authorization": "Bearer sk-person"})).status_code == 200
        refused = await client.get("/v1/models", headers={"authorization": BASIC})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_without_keys_the_password_guards_the_meeting_point(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={}, options=("--set", f"proxyauth={USER}"))
    async with http_client(Link(proxy)) as client:
        for path in ("/v1/models", "/health", "/admin/sessions"):
            refused = await client.get(path, headers=proxy.admin)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "password_needed")
            shown = await client.get(path, headers={**proxy.admin, "authorization": BASIC})
            assert shown.status_code == 200
