"""Whom the origin serves: the proxy alone, and the operator's paths for the operator alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from motive_core.dialects import RequestHead
from motive_core.origin import make_app

SECRET = {"x-motive-origin": "the-secret"}
OPERATOR = {**SECRET, "x-motive-rank": "operator"}


class Told:
    """A ``Site`` that has little to tell."""

    async def health(self) -> Mapping[str, Any]:
        return {"status": "ok", "held": 7}

    async def sessions(self) -> list[dict[str, Any]]:
        return []

    async def render_metrics(self) -> tuple[str, bytes]:
        return "text/plain", b"figures"

    async def close_session(self, session: str) -> bool:
        return session == "there"


def not_served(_: RequestHead, status: int) -> tuple[int, Mapping[str, str], bytes]:
    return status, {}, b"refused"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(Told(), not_served, "the-secret"))
    async with httpx.AsyncClient(transport=transport, base_url="http://origin") as made:
        yield made


@pytest.mark.parametrize("headers", [{}, {"x-motive-origin": "wrong"}, {"x-motive-rank": "operator"}])
@pytest.mark.parametrize("path", ["/health", "/admin/sessions", "/nothing"])
async def test_only_the_proxy_is_served(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    assert (await client.get(path, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "path", ["/admin/sessions", "/%61dmin/sessions", "/admin%2Fsessions", "/metrics", "/console/x"]
)
@pytest.mark.parametrize("rank", [{}, {"x-motive-rank": "client"}, {"x-motive-rank": "stranger"}])
async def test_the_operators_paths_are_the_operators(
    client: httpx.AsyncClient, path: str, rank: dict[str, str]
) -> None:
    """Whatever the proxy took a path for."""
    for method in ("GET", "DELETE", "HEAD", "OPTIONS"):
        assert (await client.request(method, path, headers={**SECRET, **rank})).status_code == 403


async def test_the_operator_is_served(client: httpx.AsyncClient) -> None:
    shown = await client.get("/admin/sessions?token=x", headers=OPERATOR)
    assert (shown.status_code, shown.json()) == (200, {"sessions": []})
    assert (shown.headers["cache-control"], shown.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert (await client.delete("/admin/sessions/there", headers=OPERATOR)).status_code == 200
    assert (await client.delete("/admin/sessions/not", headers=OPERATOR)).status_code == 404


async def test_a_stranger_learns_whether_it_is_up(client: httpx.AsyncClient) -> None:
    stranger = {**SECRET, "x-motive-rank": "stranger"}
    assert (await client.get("/health", headers=stranger)).json() == {"status": "ok"}
    assert (await client.get("/v1/health", headers=OPERATOR)).json() == {"status": "ok", "held": 7}
