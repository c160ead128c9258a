"""Ways around the keys and the token: none of them leads anywhere, or tells whether there is something."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.clients import Link, http_client
from tests.e2e.proxy import Proxy
from tests.e2e.rules import BODY_LIMIT_BYTES
from tests.e2e.wire import UPGRADE, RawClient, RawReply, chat, request, trusting

KEY, OTHER = "sk-the-right-key-01", "sk-another-key-0002"
TOKEN = "operators-token-0003"
CONFIG: Final[dict[str, Any]] = {
    "access": {"keys": [{"name": "a", "key": KEY}, {"name": "b", "key": OTHER, "sessions": ["b-*"]}]},
    "limits": {"body_limit_bytes": BODY_LIMIT_BYTES},
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    """It shows each flow, and everything that it logs."""
    token = {"MOTIVE_PROXY_ADMIN_TOKEN": TOKEN, "MOTIVE_PROXY_DEBUG": "true"}
    loud = ("--set", "flow_detail=2", "--set", "termlog_verbosity=debug")
    with Proxy(tmp_path_factory.mktemp("attacked"), confdir, config=CONFIG, options=loud, env=token) as proxy:
        yield proxy
        for secret in (KEY, OTHER, TOKEN):
            assert not [line for line in proxy.log.splitlines() if secret in line]


@pytest.fixture
def raw(keyed: Proxy) -> Iterator[RawClient]:
    with RawClient(keyed.meeting_address) as client:
        yield client


def get(
    path: str, *lines: str, method: str = "GET", version: str = "HTTP/1.1", host: str | None = "127.0.0.1"
) -> bytes:
    hosts = (f"Host: {host}",) if host is not None else ()
    return "\r\n".join((f"{method} {path} {version}", *hosts, *lines, "", "")).encode("latin-1")


def refused(reply: RawReply, status: int = 401) -> None:
    assert reply.status == status, (reply.head, reply.body)
    assert b"sessions" not in reply.body or b"error" in reply.body


@pytest.mark.parametrize(
    "lines",
    [
        (f"x-api-key: {KEY}", "x-api-key: wrong"),
        ("x-api-key: wrong", f"x-api-key: {KEY}"),
        (f"X-API-KEY: {KEY}", f"x-api-key: {KEY}"),
        (f"Authorization: Bearer {KEY}", "authorization: Bearer wrong"),
        (f"Authorization: Bearer wrong, Bearer {KEY}",),
        (f"x-api-key: {KEY}", f"x-motive-key: {OTHER}"),
        (f"x-api-key: {KEY}, {KEY}",),
        (f"x-api-key: {KEY.upper()}",),
        (f"x-api-key: {KEY}\xa0",),
        (f"x-api-key: {KEY}\x85",),
        (f"x_api_key: {KEY}",),
        (f"cookie: x-api-key={KEY}; key={KEY}",),
        (f"x-forwarded-authorization: Bearer {KEY}",),
        (f"proxy-authorization: Bearer {KEY}",),
        ("x-motive-rank: operator",),
        ("x-motive-origin: anything",),
        (f"authorization: Bearer {TOKEN}",),
        (f"x-admin-token: {TOKEN}",),
    ],
    ids=str,
)
def test_keys_cannot_be_smuggled(raw: RawClient, lines: tuple[str, ...]) -> None:
    for path in ("/v1/models", "/v1/chat/completions", "/nothing"):
        refused(raw.ask(get(path, *lines)))


@pytest.mark.parametrize(
    "line",
    [f"x-api-key : {KEY}", f"x-api-key: {KEY[:5]}\r\n {KEY[5:]}", f"x-api-key\x00: {KEY}"],
)
def test_headers_that_http_forbids_open_nothing(keyed: Proxy, line: str) -> None:
    """mitmproxy refuses some of these by itself."""
    with RawClient(keyed.meeting_address) as client:
        assert client.ask(get("/v1/models", line)).status in (400, 401)


def test_a_key_on_a_folded_line_is_that_key(keyed: Proxy) -> None:
    """A fold is white space (RFC 9112, section 5.2), and that around a value does not count."""
    with RawClient(keyed.meeting_address) as client:
        assert client.ask(get("/v1/models", f"x-api-key: \r\n {KEY}")).status == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get("/nothing"), 401),
        (get("/v1/chat/completions"), 401),
        (get("/v1/models", method="DELETE"), 401),
        (get("/v1/models", method="HEAD"), 401),
        (get("/v1/models", method="OPTIONS"), 401),
        (get("/v1/models", method="TRACE"), 401),
        (get("*", method="OPTIONS"), 401),
        (get("/" + "x" * 20_000), 401),
        (get("/v1/responses/resp_1"), 401),
        (get("/v1/chat/completions", *UPGRADE), 401),
        (get("/v1/responses", *UPGRADE), 401),
        (get("/v1/responses", *UPGRADE, f"x-api-key: {KEY}"), 426),
        (request(body=b"{"), 401),
        (request(body=b"x" * (BODY_LIMIT_BYTES + 1)), 401),
        (request(body=chat("b-x", "hello")), 401),
        (request("POST", "/v1/messages/count_tokens", body=b"{}"), 401),
        (request("POST", "/v1/chat/completions", "Content-Encoding: nonsense", body=b"x"), 401),
        (request("POST", "/p/token", f"x-api-key: {KEY}", body=b"x"), 404),
        (get("/p/token", f"x-api-key: {KEY}"), 404),
    ],
    ids=lambda value: str(value[:60]) if isinstance(value, bytes) else str(value),
)
def test_nothing_is_told_before_the_key(keyed: Proxy, sent: bytes, status: int) -> None:
    with RawClient(keyed.meeting_address) as client:
        refused(client.ask(sent, head_only=sent.startswith(b"HEAD")), status)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin/sessions", 401),
        ("/%61dmin/sessions", 401),
        ("/admin%2Fsessions", 401),
        ("/admin/sessions/", 401),
        ("/admin/sessions?x=/v1/models", 401),
        ("/admin", 401),
        ("/admin/v1/chat/completions", 401),
        ("/metrics", 401),
        ("/metrics/", 401),
        ("/console/api/sessions", 401),
        ("//admin/sessions", 404),
        ("/./admin/sessions", 404),
        ("/x/../admin/sessions", 404),
        ("/v1/../admin/sessions", 404),
        ("/ADMIN/sessions", 404),
        ("/%2561dmin/sessions", 404),
        ("/\\admin/sessions", 404),
        ("/admin;x/sessions", 404),
        ("/admin\x00/sessions", 404),
        ("/%00/admin/sessions", 404),
        ("/%2e/admin/sessions", 404),
        ("/health/../admin/sessions", 404),
        ("http://127.0.0.1/admin/sessions", 401),
        ("http://motive.internal/admin/sessions", 401),
        ("http://api.openai.com/admin/sessions", 401),
    ],
)
def test_a_key_is_no_token(keyed: Proxy, path: str, status: int) -> None:
    for method in ("GET", "DELETE"):
        with RawClient(keyed.meeting_address) as client:
            reply = client.ask(get(path, f"x-api-key: {KEY}", "x-motive-rank: operator", method=method))
        refused(reply, status)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "TRACE", "FOO"])
def test_no_method_leads_to_the_operators_paths(keyed: Proxy, method: str) -> None:
    preflight = ("Origin: http://localhost:3000", "Access-Control-Request-Method: DELETE")
    for lines in ((), preflight):
        with RawClient(keyed.meeting_address) as client:
            reply = client.ask(get("/admin/sessions", *lines, method=method), head_only=method == "HEAD")
        refused(reply)
        assert reply.header("access-control-allow-origin") is None


@pytest.mark.parametrize(
    ("host", "version", "status"),
    [
        ("evil.example", "HTTP/1.1", 403),
        ("127.0.0.1.evil.example", "HTTP/1.1", 403),
        ("evil.example:80@127.0.0.1", "HTTP/1.1", 403),
        ("127.0.0.1@evil.example", "HTTP/1.1", 403),
        ("127.0.0.1, evil.example", "HTTP/1.1", 403),
        ("localhost", "HTTP/1.1", 401),
        ("[::1]:8000", "HTTP/1.1", 401),
        (None, "HTTP/1.0", 401),
    ],
)
def test_names_of_strangers_are_refused_before_the_token(
    keyed: Proxy, host: str | None, version: str, status: int
) -> None:
    with RawClient(keyed.meeting_address) as client:
        refused(client.ask(get("/admin/sessions", version=version, host=host)), status)
        if status == 403:
            return
    with RawClient(keyed.meeting_address) as client:
        shown = client.ask(get("/admin/sessions", f"x-admin-token: {TOKEN}", version=version, host=host))
        assert (shown.status, shown.json()) == (200, {"sessions": []})


def test_two_hosts_are_none_of_ours(keyed: Proxy) -> None:
    for hosts in (("127.0.0.1", "evil.example"), ("evil.example", "127.0.0.1")):
        with RawClient(keyed.meeting_address) as client:
            reply = client.ask(get("/admin/sessions", f"Host: {hosts[1]}", f"x-admin-token: {TOKEN}", host=hosts[0]))
        assert reply.status in (400, 403)


@pytest.mark.parametrize("authority", ["127.0.0.1", "evil.example"])
async def test_http2_has_no_other_way(keyed: Proxy, authority: str) -> None:
    options: dict[str, Any] = {"http1": False, "http2": True}
    async with http_client(Link(keyed), **options, headers={"host": authority}) as client:
        status = 401 if authority == "127.0.0.1" else 403
        for path in ("/admin/sessions", "/%61dmin/sessions"):
            assert (await client.get(path)).status_code == status
        for path in ("/v1/models", "/nothing"):
            assert (await client.get(path)).status_code == 401
            doubled = [("x-api-key", KEY), ("x-api-key", KEY)]
            assert (await client.get(path, headers=doubled)).status_code == 401
        assert (await client.get("/v1/models", headers={"x-api-key": KEY})).status_code == 200


# By the forward proxy


@pytest.mark.parametrize("name", ["motive.internal", "MOTIVE.Internal", "motive.internal."])
async def test_the_internal_name_asks_the_same(keyed: Proxy, name: str) -> None:
    async with httpx.AsyncClient(proxy=keyed.forward, trust_env=False) as client:
        assert (await client.get(f"http://{name}/v1/models")).status_code == 401
        assert (await client.get(f"http://{name}/v1/models", headers={"x-api-key": KEY})).status_code == 200
        assert (await client.get(f"http://{name}/admin/sessions", headers={"x-api-key": KEY})).status_code == 401
        assert (await client.get(f"http://{name}/health")).json() == {"status": "ok"}


def test_the_meeting_points_own_address_is_no_way_in(keyed: Proxy) -> None:
    """mitmproxy connects to none of its own listeners, unless it does not know them by that name."""
    port = keyed.meeting_address[1]
    page = ("Origin: https://evil.example", "Content-Type: text/plain")
    for host, statuses in (("127.0.0.1", {502}), ("localhost", {502}), ("127.1", {401, 403})):
        for path in ("/admin/sessions", "/v1/models"):
            for lines in ((), (f"x-admin-token: {KEY}",), page):
                target = f"http://{host}:{port}{path}"
                for name in (f"{host}:{port}", "127.0.0.1", "motive.internal"):
                    with RawClient(keyed.forward_address) as client:
                        reply = client.ask(get(target, *lines, host=name))
                    assert reply.status in statuses | ({403} if lines is page else set()), (target, name, lines)
    with RawClient(keyed.forward_address, through=("127.1", port)) as tunnel:
        refused(tunnel.ask(get("/admin/sessions", f"x-api-key: {KEY}")))


def test_a_host_header_does_not_make_the_meeting_point(keyed: Proxy, proxy_authority: Path) -> None:
    """Where a request goes is what the proxy was asked for, whatever stands in ``Host``."""
    with RawClient(keyed.forward_address, through=("api.openai.com", 443), tls=trusting(proxy_authority)) as client:
        reply = client.ask(get("/admin/sessions", f"x-admin-token: {TOKEN}", host="motive.internal"))
        assert reply.status == 502  # there is no such host here: it was asked, not we


async def test_the_origin_is_for_the_proxy_only(keyed: Proxy) -> None:
    """Every port of this machine that the process listens on, asked directly."""
    ports = {int(line.split()[1].split(":")[1], 16) for line in _listening(keyed.process.pid)}
    assert ports >= {keyed.meeting_address[1], keyed.forward_address[1]}
    own = ports - {keyed.meeting_address[1], keyed.forward_address[1]}
    assert own
    async with httpx.AsyncClient(trust_env=False) as client:
        for port in own:
            for path in ("/admin/sessions", "/health"):
                headers = {"x-motive-rank": "operator", "x-motive-origin": "", "x-admin-token": TOKEN}
                assert (await client.get(f"http://127.0.0.1:{port}{path}", headers=headers)).status_code == 403


def _listening(pid: int) -> list[str]:
    """The lines of ``/proc/net/tcp`` of a process's listening sockets."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux tells who listens")
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[3] == "0A" and line.split()[9] in inodes]


async def test_no_session_came_of_all_this(keyed: Proxy) -> None:
    async with http_client(Link(keyed)) as client:
        refused_call = await client.post("/v1/chat/completions?key=wrong", content=chat("b-x", "ping"))
        assert refused_call.status_code == 401
        reply = await client.get(f"/admin/sessions?token={TOKEN}")
    assert reply.json() == {"sessions": []}


async def test_a_key_in_the_url_stands_in_no_line(keyed: Proxy) -> None:
    async with http_client(Link(keyed)) as client:
        asked = asyncio.create_task(client.post(f"/v1beta/models/b-y:generateContent?key={OTHER}", content=GEMINI))
        await keyed.until_held("b-y")
        await keyed.close_session("b-y")
        assert (await asked).status_code == 503
    await asyncio.to_thread(keyed.wait_for_log, "b-y:generateContent")


GEMINI: Final = b'{"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}'
