"""How the proxy starts, wherever and however it is started, and how it says why it does not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.clients import Link, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import ENTRY, REGULAR, REVERSE, START_DEADLINE_S, Proxy, free_port
from tests.e2e.standin import Standin
from tests.e2e.terminal import TerminalProxy
from tests.e2e.wire import RawClient, chat, request, trusting


def check_meeting(proxy: Proxy, session: str = "s") -> None:
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(request("GET", "/health")).json()["status"] == "ok"
        assert client.ask(request(body=b"{")).status == 400


def check_forward(proxy: Proxy, authority: Path) -> None:
    with RawClient(proxy.forward_address, through=("api.openai.com", 443), tls=trusting(authority)) as client:
        reply = client.ask(request(body=chat("gpt-4o"), host="api.openai.com"))
        assert reply.json()["choices"][0]["message"]["content"] == "real gpt-4o"


def test_by_itself_from_another_folder(start_proxy: StartProxy, proxy_authority: Path) -> None:
    """``mitmdump -s .../addons/motive.py`` needs no configuration and no environment."""
    proxy = start_proxy()
    assert proxy.folder.resolve() not in ENTRY.parents
    check_meeting(proxy)
    check_forward(proxy, proxy_authority)
    for announced in (f"{proxy.meeting}/v1", proxy.forward, str(proxy.confdir / "mitmproxy-ca-cert.pem")):
        assert announced in proxy.log


def test_forward_listener_alone(start_proxy: StartProxy, proxy_authority: Path) -> None:
    proxy = start_proxy(config={}, modes=[REGULAR])
    check_forward(proxy, proxy_authority)
    with httpx.Client(proxy=proxy.forward, trust_env=False) as client:
        assert client.get("http://motive.internal/health").json()["status"] == "ok"
        told = client.get("http://motive.internal/admin/sessions", headers=proxy.admin).json()
        assert told == {"sessions": []}
    assert "meeting point" not in proxy.log


def test_meeting_point_alone(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={}, modes=[REVERSE])
    check_meeting(proxy)
    assert "forward proxy" not in proxy.log


def test_both_listeners_meet(start_proxy: StartProxy, proxy_authority: Path) -> None:
    proxy = start_proxy(config={})
    check_meeting(proxy)
    check_forward(proxy, proxy_authority)


@pytest.mark.parametrize("fast_dispatch", ["on", "off"])
async def test_fast_dispatch_on_and_off(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin, fast_dispatch: str
) -> None:
    """Whichever way hooks are dispatched, calls are held, answered and passed."""
    proxy = start_proxy(config={"fast_dispatch": fast_dispatch})
    check_forward(proxy, proxy_authority)
    async with http_client(Link(proxy)) as client:
        await paired_turn(proxy, client)


async def paired_turn(proxy: Proxy, client: httpx.AsyncClient) -> None:
    """A person joins and answers an app, once."""
    person, app = {"user-agent": "person"}, {"user-agent": "app"}
    shown = asyncio.create_task(client.post("/v1/messages", content=chat("s", "/join"), headers=person))
    await proxy.until_listening("s")
    asked = asyncio.create_task(client.post("/v1/chat/completions", content=chat("s", "question"), headers=app))
    assert (await shown).json()["content"][0]["text"] == "question"
    waiting = asyncio.create_task(client.post("/v1/messages", content=chat("s", "answer"), headers=person))
    assert (await asked).json()["choices"][0]["message"]["content"] == "answer"
    await proxy.close_session("s")
    assert (await waiting).status_code == 503


async def test_under_the_terminal_interface(tmp_path: Path, confdir: Path) -> None:
    """mitmproxy's own: it draws the screen, and holds and answers as the others do."""
    with TerminalProxy(tmp_path, confdir) as proxy:
        async with http_client(Link(proxy)) as client:
            await paired_turn(proxy, client)


# What it does not start with


def refused(proxy: Proxy) -> str:
    """Start it and see it end with an error. Gives what it says."""
    proxy.launch()
    assert proxy.process.wait(START_DEADLINE_S) != 0
    assert "Traceback" not in proxy.log
    return proxy.log


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"limits": {"max_sessions": -1}}, "limits.max_sessions"),
        ({"limits": {"max_sesions": 1}}, "limits.max_sesions"),
        ({"timing": {"hold_timeout_s": "soon"}}, "timing.hold_timeout_s"),
        ({"routes": [{"match": {"listener": "sideways"}, "answer": "pair"}]}, "routes.0.match.listener"),
        ({"routes": [{"match": {"system": "("}, "answer": "pair"}]}, "routes.0.match.system"),
        ({"routes": [{"match": {}, "answer": "nonsense"}]}, "routes.0.answer"),
        ({"unheard_of": 1}, "unheard_of"),
        ("limits: {max_sessions: 5\n", "motive.yaml, line 2"),
        ("- a\n- list\n", "motive.yaml: the file must be a mapping"),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, confdir: Path, config: dict[str, Any] | str, said: str) -> None:
    assert said in refused(Proxy(tmp_path, confdir, config=config))


def test_configuration_that_is_not_there(tmp_path: Path, confdir: Path) -> None:
    proxy = Proxy(tmp_path, confdir, config={})
    proxy.config_path.unlink()
    assert str(proxy.config_path) in refused(proxy)


def test_wrong_environment_variable_is_named(tmp_path: Path, confdir: Path) -> None:
    proxy = Proxy(tmp_path, confdir, config={}, env={"MOTIVE_PROXY_MAX_SESSIONS": "many"})
    assert "MOTIVE_PROXY_MAX_SESSIONS" in refused(proxy)


def test_environment_overrides_the_file(start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        config={"limits": {"body_limit_bytes": 10_000_000}}, env={"MOTIVE_PROXY_MAX_PAYLOAD_SIZE": "2000"}
    )
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(request(body=chat("m", "x" * 2000))).status == 413


@pytest.mark.parametrize("option", ["stream_large_bodies=1m", "body_size_limit=1m"])
def test_options_that_would_break_holding(tmp_path: Path, confdir: Path, option: str) -> None:
    said = refused(Proxy(tmp_path, confdir, config={}, options=("--set", option)))
    assert option.partition("=")[0] in said


def test_port_in_use(tmp_path: Path, confdir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(Proxy(tmp_path, confdir, config={}, modes=[f"reverse:http://127.0.0.1:9@127.0.0.1:{port}"]))
    assert str(port) in said


def first_of_a_user(tmp_path: Path, **arguments: Any) -> Proxy:
    """A proxy with nothing in its user's home: mitmproxy makes its certificate authority when it runs, and not before,
    as it does where ``confdir`` is set."""
    home = tmp_path / "home"
    home.mkdir()
    proxy = Proxy(tmp_path / "proxy", home / ".mitmproxy", config={}, env={"HOME": str(home)}, **arguments)
    at = proxy.command.index(f"confdir={proxy.confdir}")
    del proxy.command[at - 1 : at + 1]
    return proxy


def test_the_very_first_start_has_the_bundle(tmp_path: Path) -> None:
    with first_of_a_user(tmp_path) as proxy:
        assert (proxy.confdir / "motive-ca-bundle.pem").exists()
        assert "motive-ca-bundle.pem" in proxy.log and "was not written" not in proxy.log


def test_clients_that_come_while_it_starts_do_not_end_it(tmp_path: Path) -> None:
    """The clients of a proxy that was killed try again, and again."""
    port = free_port()
    started = threading.Event()

    def try_again() -> None:
        call = request(body=chat("m", "hello"))
        while not started.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(call)
                connection.settimeout(0.2)
                connection.recv(1)

    with ThreadPoolExecutor(4) as clients:
        for _ in range(4):
            clients.submit(try_again)
        proxy = first_of_a_user(tmp_path, modes=[f"reverse:http://127.0.0.1:9@127.0.0.1:{port}"])
        try:
            proxy.start()
            check_meeting(proxy)
        finally:
            started.set()
    proxy.close()
