"""Where mitmproxy may listen, what goes no further than the proxy, and what its lines do not tell."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mitmproxy import exceptions, http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons

from motive_core.config import Config
from motive_shell.addon import Motive
from motive_shell.exposure import is_loopback, why_exposed, why_open
from motive_shell.flows import withdraw
from motive_shell.logs import without_secrets
from tests.addons.flows import FORWARD, REVERSE, Proxy, chat_flow, flow_of

KEYS: dict[str, Any] = {"access": {"valid_keys": ["one"]}}
OPEN_FORWARD = "regular@0.0.0.0:8080"
OPEN_MEETING = "reverse:http://127.0.0.1:9@0.0.0.0:8000"


def options(*modes: str, listen_host: str = "127.0.0.1", proxyauth: str | None = None) -> Options:
    made = Options(mode=list(modes), listen_host=listen_host)
    made.add_option("proxyauth", str | None, proxyauth, "")
    return made


class Server(NamedTuple):
    """As much of a mitmproxy server instance as is looked at."""

    mode: ProxyMode
    listen_addrs: tuple[tuple[Any, ...], ...]


class TestExposure:
    @pytest.mark.parametrize(
        ("mode", "settings", "proxyauth", "who"),
        [
            ("regular@8080", {}, None, None),
            ("regular@127.0.0.1:8080", {}, None, None),
            ("regular@localhost:8080", {}, None, None),
            ("regular@127.1:0", {}, None, None),
            ("regular@::1:8080", {}, None, None),
            (OPEN_FORWARD, {}, None, "forward proxy"),
            (OPEN_FORWARD, KEYS, None, "forward proxy"),
            (OPEN_FORWARD, {}, "a:b", None),
            (OPEN_FORWARD, {"access": {"allow_unauthenticated": True}}, None, None),
            ("regular@:::8080", {}, None, "forward proxy"),
            ("regular@192.0.2.7:8080", {}, None, "forward proxy"),
            ("socks5@0.0.0.0:1080", {}, None, "forward proxy"),
            ("upstream:http://proxy:1@0.0.0.0:8080", {}, None, "forward proxy"),
            (OPEN_MEETING, {}, None, "meeting point"),
            (OPEN_MEETING, KEYS, None, None),
            (OPEN_MEETING, {"access": {"valid_keys": ["one"], "require_key": False}}, None, "meeting point"),
            (OPEN_MEETING, {}, "a:b", None),
            (OPEN_MEETING, {"access": {"allow_unauthenticated": True}}, None, None),
            ("wireguard", {}, None, None),
            ("nonsense", {}, None, None),
        ],
    )
    def test_who_would_be_exposed(
        self, mode: str, settings: dict[str, Any], proxyauth: str | None, who: str | None
    ) -> None:
        why = why_exposed(options("regular@127.0.0.1:1", mode, proxyauth=proxyauth), Config.model_validate(settings))
        assert (why is None) is (who is None)
        if why is not None:
            assert f"the {who} would listen on" in why and "\n" not in why
            assert "MOTIVE_PROXY_ALLOW_UNAUTHENTICATED" in why
            assert ("proxyauth" if who == "forward proxy" else "MOTIVE_PROXY_VALID_API_KEYS") in why

    def test_the_general_host_counts_for_listeners_without_one(self) -> None:
        assert why_exposed(options("regular@8080", listen_host="0.0.0.0"), Config()) is not None
        assert why_exposed(options("regular@8080", listen_host=""), Config()) is not None

    def test_what_is_bound_counts_too(self) -> None:
        mode = ProxyMode.parse("regular@a-name:8080")
        assert why_open([Server(mode, (("127.0.0.1", 8080), ("::1", 8080, 0, 0)))], options(), Config()) is None
        assert why_open([Server(mode, (("127.0.0.1", 8080), ("192.0.2.7", 8080)))], options(), Config()) is not None

    def test_a_name_is_what_it_stands_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stands_for = ["127.0.0.1"]

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            if not stands_for:
                raise OSError
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in stands_for]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert is_loopback("here")
        stands_for.append("192.0.2.7")
        assert not is_loopback("here")
        stands_for[:] = ["::ffff:127.0.0.1", "fe80::1%eth0"]
        assert not is_loopback("here")
        stands_for[:] = []
        assert is_loopback("nowhere")  # nothing can be bound there


class TestStart:
    async def test_mitmproxys_default_is_this_machine(self) -> None:
        addon = Motive()
        with taddons.context(Proxyserver(), addon, options=Options(listen_host="")) as context:
            assert context.options.listen_host == "127.0.0.1"

    async def test_an_address_that_was_asked_for_stays(self) -> None:
        addon = Motive()
        with taddons.context(Proxyserver(), addon, options=Options(listen_host="::1")) as context:
            assert context.options.listen_host == "::1"

    async def test_an_open_listener_ends_the_start(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("")
        addon = Motive()
        with taddons.context(Proxyserver(), addon) as context:
            context.configure(addon, motive_config=str(path), mode=[OPEN_FORWARD])
        (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert "the forward proxy would listen on 0.0.0.0" in record.getMessage()

    async def test_while_it_runs_the_option_is_taken_back(self, proxy: Proxy) -> None:
        await proxy.runtime.start()
        try:
            with pytest.raises(exceptions.OptionsError, match="would listen on every address"):
                proxy.context.configure(proxy.addon, listen_host="")
        finally:
            await proxy.runtime.stop()

    async def test_nobody_else_is_served_before_it_was_seen_where_it_listens(self, proxy: Proxy) -> None:
        for address, taken in (("127.0.0.1", True), ("::1", True), ("192.0.2.7", False)):
            flow = chat_flow("ping")
            flow.client_conn.sockname = (address, 8000)
            proxy.addon.client_connected(flow.client_conn)
            assert (flow.client_conn.error is None) is taken
        proxy.runtime.is_guarded = True
        flow = chat_flow("ping")
        flow.client_conn.sockname = ("192.0.2.7", 8000)
        proxy.addon.client_connected(flow.client_conn)
        assert flow.client_conn.error is None

    async def test_no_keys_may_be_taken_away_from_an_open_meeting_point(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("access: {valid_keys: [one]}\n")
        addon = Motive()
        with taddons.context(Proxyserver(), addon) as context:
            context.configure(addon, motive_config=str(path), mode=[OPEN_MEETING])
            runtime = Proxy(addon, context).runtime
            path.write_text("access: {}\n# without\n")
            assert runtime.config_file.poll() is None
            path.write_text("access: {valid_keys: [two]}\n")
            assert runtime.config_file.poll() is not None


async def keyed(tmp_path: Path, context: taddons.context, addon: Motive, more: str = "") -> Proxy:
    path = tmp_path / "config.yaml"
    path.write_text(f"access: {{valid_keys: [our-key]}}\nextra_hosts: [llm.example]\n{more}")
    context.configure(addon, motive_config=str(path))
    return Proxy(addon, context)


SERVICES = "services: {openai-chat: https://api.openai.com}\nroutes: [{match: {}, answer: pass}]\n"


class TestNoFurther:
    async def test_a_call_that_is_passed_on_carries_the_vendors_key_only(self, tmp_path: Path) -> None:
        addon = Motive()
        with taddons.context(Proxyserver(), addon) as context:
            proxy = await keyed(tmp_path, context, addon, SERVICES)
            body = chat_flow("x").request.content or b""
            for forward in (False, True):
                flow = flow_of(
                    "POST",
                    "/v1/chat/completions?key=our-key&a=1",
                    body,
                    forward=forward,
                    authorization="Bearer sk-vendor",
                    x_motive_key="our-key",
                    x_api_key="our-key",
                    x_admin_token="whatever",
                )
                addon.requestheaders(flow)
                await addon.request(flow)
                assert flow.response is None
                assert flow.request.headers["authorization"] == "Bearer sk-vendor"
                assert not {"x-motive-key", "x-api-key"} & set(flow.request.headers)
                assert ("x-admin-token" in flow.request.headers) is forward  # it is not ours
                assert flow.request.path == "/v1/chat/completions?a=1"
                assert "our-key" not in str(flow.request.data)
            proxy.runtime.gateway.shut_down()

    async def test_nor_does_a_large_upload(self, tmp_path: Path) -> None:
        addon = Motive()
        with taddons.context(Proxyserver(), addon) as context:
            await keyed(tmp_path, context, addon)
            flow = flow_of(
                "POST",
                "/v1/files",
                forward=True,
                content_length="5000000",
                authorization="Bearer our-key",
                x_motive_role="asker",
            )
            addon.requestheaders(flow)
            assert flow.request.stream is True
            assert not {"authorization", "x-motive-role"} & set(flow.request.headers)

    async def test_the_proxys_password_goes_to_the_next_proxy_only(self, proxy: Proxy) -> None:
        for mode, kept in (("regular@8080", False), ("socks5", False), ("upstream:http://next:1", True)):
            flow = flow_of("GET", "/", forward=True, host="other.example", proxy_authorization="Basic eDp5")
            flow.client_conn.proxy_mode = ProxyMode.parse(mode)
            proxy.addon.requestheaders(flow)
            assert ("proxy-authorization" in flow.request.headers) is kept

    @pytest.mark.parametrize(
        ("path", "left"),
        [
            ("/x?key=s", "/x"),
            ("/x?key=s&alt=sse", "/x?alt=sse"),
            ("/x?a=1&%6Bey=s&b", "/x?a=1&b"),
            ("/x?monkey=1&key=s", "/x?monkey=1"),
            ("/x?a=key=s", "/x?a=key=s"),
            ("/x", "/x"),
        ],
    )
    def test_a_parameter_is_taken_out_of_the_query(self, path: str, left: str) -> None:
        fields = http.Headers([(b"x-api-key", b"s"), (b"X-API-KEY", b"t")])
        request = http.Request.make("GET", f"http://a{path}", headers=fields)
        withdraw(request, ["?key", "x-api-key", "absent"])
        assert (request.path, request.headers.get_all("x-api-key")) == (left, [])


class TestPassword:
    async def test_keys_are_asked_for_in_its_place_at_the_meeting_point(self, tmp_path: Path) -> None:
        addon, password = Motive(), ProxyAuth()
        with taddons.context(Proxyserver(), password, addon) as context:
            proxy = await keyed(tmp_path, context, addon)
            context.configure(password, proxyauth="user:pass")
            for mode, status in ((REVERSE, None), (FORWARD, 407)):
                flow = chat_flow("ping", forward=mode is FORWARD)
                flow.request.headers["authorization"] = "Bearer our-key"
                context.master.addons.get("proxyserver").connections = {}
                addon.client_connected(flow.client_conn)
                password.requestheaders(flow)
                addon.requestheaders(flow)
                await addon.request(flow)
                assert (flow.response.status_code if flow.response is not None else None) == status
                assert flow.intercepted is (status is None)
            proxy.runtime.gateway.shut_down()

    async def test_without_keys_it_guards_the_meeting_point_too(self, proxy: Proxy) -> None:
        password = ProxyAuth()
        proxy.context.master.addons.add(password)
        proxy.context.configure(password, proxyauth="user:pass")
        flow = chat_flow("ping")
        proxy.addon.client_connected(flow.client_conn)
        password.requestheaders(flow)
        proxy.addon.requestheaders(flow)
        await proxy.addon.request(flow)
        assert flow.response is not None and flow.response.status_code == 401
        assert json.loads(flow.response.content or b"")["error"]["code"] == "password_needed"
        assert flow.response.headers["www-authenticate"].startswith("Basic")
        assert not flow.intercepted


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("authorization: Bearer s", "authorization: ***"),
        ("\x1b[34mAuthorization\x1b[0m: Bearer s", "\x1b[34mAuthorization\x1b[0m: ***"),
        ("Proxy-Authorization: Basic s", "Proxy-Authorization: ***"),
        ("x-goog-api-key: s", "x-goog-api-key: ***"),
        ("X-Amz-Security-Token: s", "X-Amz-Security-Token: ***"),
        ("x-motive-key: s", "x-motive-key: ***"),
        ("x-admin-token: s", "x-admin-token: ***"),
        ("set-cookie: a=b", "set-cookie: ***"),
        ("x-api-key\\x00 : s", "x-api-key\\x00 : ***"),
        ("x-forwarded-authorization: s", "x-forwarded-authorization: ***"),
        ("content-type: text", "content-type: text"),
        ("127.0.0.1:1: GET http://a/key: HTTP/1.0", "127.0.0.1:1: GET http://a/key: HTTP/1.0"),
        ("x-ratelimit-remaining-tokens: 5", "x-ratelimit-remaining-tokens: 5"),
        ("127.0.0.1:1: GET http://a/x?token=s HTTP/1.0", "127.0.0.1:1: GET http://a/x?token=*** HTTP/1.0"),
    ],
)
def test_lines_about_flows_tell_no_secret(line: str, told: str) -> None:
    assert without_secrets(line) == told
