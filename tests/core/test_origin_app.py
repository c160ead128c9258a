"""The origin's application without its server: health and metrics as HTTP."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette

from motive_core.gateway import Gateway
from motive_core.origin import make_app
from tests.core.test_gateway import Clock, config

SECRET = {"x-motive-origin": "s"}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(config(), clock=Clock(), versions={"mitmproxy": "12.0"})


@pytest.fixture
def app(gateway: Gateway) -> Starlette:
    return make_app(gateway, gateway.refusals.not_served, "s")


async def get(app: Starlette, path: str, headers: dict[str, str] = SECRET) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://origin") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health_has_a_status_for_machines(app: Starlette, gateway: Gateway, path: str) -> None:
    wrong: list[str] = []
    gateway.health_checks.watch("store", lambda: wrong[0] if wrong else None)
    gateway.listeners = lambda: ["http://127.0.0.1:8000"]
    reply = await get(app, path)
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")
    assert reply.json()["listeners"] == ["http://127.0.0.1:8000"]
    wrong.append("disk full")
    reply = await get(app, path)
    assert (reply.status_code, reply.json()["status"]) == (200, "degraded")
    assert reply.json()["reasons"] == [{"what": "store", "why": "disk full", "for_s": 0.0}]
    gateway.shut_down()
    reply = await get(app, path)
    assert (reply.status_code, reply.json()["status"]) == (503, "closing")


async def test_metrics_are_text(app: Starlette) -> None:
    reply = await get(app, "/metrics", {**SECRET, "x-motive-rank": "operator"})
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain; version=")
    assert "motive_held 0.0" in reply.text and 'mitmproxy="12.0"' in reply.text


@pytest.mark.parametrize("path", ["/health", "/metrics", "/admin/sessions"])
async def test_only_the_proxy_may_ask(app: Starlette, path: str) -> None:
    assert (await get(app, path, {})).status_code == 403
