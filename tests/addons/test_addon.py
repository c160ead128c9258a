"""The hooks, one by one, on mitmproxy's own test flows."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from mitmproxy import exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import context as proxy_context
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.events import DataReceived
from mitmproxy.test import taddons, tflow
from mitmproxy.tls import ClientHello, ClientHelloData

from motive_shell.addon import Motive
from tests.addons.flows import FORWARD, REVERSE, Proxy, chat_flow, flow_of


async def settle() -> None:
    """Let tasks that were just made run."""
    for _ in range(5):
        await asyncio.sleep(0)


class TestPairing:
    async def test_two_flows_meet(self, proxy: Proxy) -> None:
        player = await proxy.call("ping", agent="player")
        assert player.intercepted and player.comment == "listens in npc, 0 s"
        game = await proxy.call("You see a troll.", agent="game")
        assert (game.intercepted, player.intercepted) == (True, False)
        assert await proxy.finish(player) == "You see a troll."
        listening = await proxy.call("I attack!", agent="player")
        assert await proxy.finish(game) == "I attack!"
        assert listening.intercepted
        assert game.comment.startswith("answered for npc, ")

    async def test_a_forwarded_call_is_left_alone_until_somebody_joins(self, proxy: Proxy) -> None:
        flow = await proxy.call("hello", forward=True)
        assert not flow.intercepted and flow.response is None
        player = await proxy.call("/join", agent="player")
        held = await proxy.call("hello", forward=True)
        assert held.intercepted
        assert await proxy.finish(player) == "hello"

    async def test_a_forwarded_request_keeps_its_bytes(self, proxy: Proxy) -> None:
        flow = chat_flow("hello", forward=True)
        before = flow.request.copy()
        await proxy.addon.request(flow)
        assert flow.request.data == before.data

    async def test_an_answered_flow_is_not_touched(self, proxy: Proxy) -> None:
        flow = chat_flow("ping")
        flow.response = http.Response.make(418)
        await proxy.addon.request(flow)
        assert not flow.intercepted and flow.response.status_code == 418

    async def test_a_replayed_flow_is_not_held(self, proxy: Proxy) -> None:
        flow = chat_flow("ping", forward=True)
        flow.is_replay = "request"
        await proxy.addon.request(flow)
        assert not flow.intercepted

    async def test_another_host_is_not_looked_at(self, proxy: Proxy) -> None:
        await proxy.call("/join", model="npc", agent="player")
        flow = flow_of(
            "POST", "/v1/chat/completions", chat_flow("x").request.content or b"", forward=True, host="o.test"
        )
        await proxy.addon.request(flow)
        assert not flow.intercepted and flow.response is None

    async def test_the_meeting_point_is_there_behind_the_forward_proxy(self, proxy: Proxy) -> None:
        body = chat_flow("/join").request.content or b""
        flow = flow_of("POST", "/v1/chat/completions", body, forward=True, host="motive.internal")
        await proxy.addon.request(flow)
        assert flow.intercepted
        await proxy.call("hello", forward=True)
        assert await proxy.finish(flow) == "hello"


class TestEndings:
    async def test_a_client_that_leaves_frees_its_seat(self, proxy: Proxy) -> None:
        player = await proxy.call("ping", agent="player")
        player.client_conn.state = ConnectionState.CLOSED
        await proxy.addon.client_disconnected(player.client_conn)
        assert not player.intercepted
        assert len(proxy.runtime.holds) == 0
        (session,) = await proxy.runtime.gateway.sessions()
        assert session["listening"] is None

    async def test_a_client_that_left_before_it_was_held(self, proxy: Proxy) -> None:
        flow = chat_flow("ping")
        flow.client_conn.state = ConnectionState.CLOSED
        await proxy.addon.request(flow)
        assert not flow.intercepted and len(proxy.runtime.holds) == 0

    async def test_a_prompt_whose_delivery_failed_is_shown_again(self, proxy: Proxy) -> None:
        player = await proxy.call("ping", agent="player")
        await proxy.call("troll?", agent="game")
        player.error = tflow.terr()
        await proxy.addon.error(player)
        again = await proxy.call("ping", agent="player")
        assert await proxy.finish(again) == "troll?"

    async def test_resume_by_the_operator_lets_the_real_service_answer(self, proxy: Proxy) -> None:
        await proxy.call("/join", agent="player")
        await proxy.call("first", forward=True)
        flow = await proxy.call("second", forward=True)
        assert flow.intercepted
        flow.resume()
        await settle()
        assert flow.response is None and flow.comment.startswith("passed by operator for npc, ")
        (session,) = await proxy.runtime.gateway.sessions()
        assert [prompt["state"] for prompt in session["prompts"]] == ["open", "passed"]

    async def test_resume_where_there_is_no_real_service_gives_an_error(self, proxy: Proxy) -> None:
        flow = await proxy.call("hello")
        flow.resume()
        await settle()
        assert flow.response is not None and flow.response.status_code == 503
        assert json.loads(flow.response.content or b"")["error"]["code"] == "released"

    async def test_a_killed_flow_is_let_go(self, proxy: Proxy) -> None:
        flow = await proxy.call("ping")
        flow.kill()
        proxy.runtime.holds.sweep_killed()
        await settle()
        assert not flow.intercepted and len(proxy.runtime.holds) == 0

    async def test_a_killed_flow_that_gets_its_reply_before_it_is_swept_is_let_go(self, proxy: Proxy) -> None:
        flow = await proxy.call("hello", agent="game")
        held = asyncio.create_task(flow.wait_for_resume())
        await settle()
        flow.kill()
        await proxy.runtime.gateway.close_session("npc")
        await settle()
        assert held.done()
        held.cancel()

    async def test_a_killed_flow_whose_client_leaves_before_it_is_swept_is_let_go(self, proxy: Proxy) -> None:
        flow = await proxy.call("hello", agent="game")
        held = asyncio.create_task(flow.wait_for_resume())
        await settle()
        flow.kill()
        await proxy.addon.client_disconnected(flow.client_conn)
        await settle()
        assert held.done()
        held.cancel()

    async def test_shutting_down_ends_held_calls_with_an_error(self, proxy: Proxy) -> None:
        flow = await proxy.call("ping")
        proxy.runtime.gateway.shut_down()
        assert not flow.intercepted
        assert flow.response is not None and flow.response.status_code == 503
        refused = await proxy.call("ping", model="other")
        assert refused.response is not None and refused.response.status_code == 503
        passed = await proxy.call("hello", forward=True)
        assert passed.response is None and not passed.intercepted

    async def test_a_defect_of_ours_is_a_500_and_is_logged_once(
        self, proxy: Proxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken:
            def decide(self, facts: object) -> None:
                raise ZeroDivisionError

        proxy.runtime.gateway._router = Broken()  # type: ignore[assignment]
        flow = await proxy.call("ping")
        assert flow.response is not None and flow.response.status_code == 500
        body = json.loads(flow.response.content or b"")
        records = [record for record in caplog.records if record.exc_info]
        assert len(records) == 1
        assert flow.response.headers["x-request-id"] in records[0].getMessage()
        assert flow.response.headers["x-request-id"] in body["error"]["message"]


class TestOtherRequests:
    async def test_a_websocket_upgrade_on_an_llm_path(self, proxy: Proxy) -> None:
        flow = flow_of("GET", "/v1/responses", forward=True, upgrade="websocket", connection="Upgrade")
        await proxy.addon.request(flow)
        assert flow.response is not None and flow.response.status_code == 426

    async def test_a_websocket_upgrade_elsewhere_passes(self, proxy: Proxy) -> None:
        flow = flow_of("GET", "/v1/realtime", forward=True, upgrade="websocket", connection="Upgrade")
        await proxy.addon.request(flow)
        assert flow.response is None

    async def test_a_preflight(self, proxy: Proxy) -> None:
        asked = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"
        flow = flow_of(
            "OPTIONS",
            "/v1/chat/completions",
            origin="http://localhost:3000",
            access_control_request_method="POST",
            access_control_request_headers=asked,
        )
        await proxy.addon.request(flow)
        assert flow.response is not None and flow.response.status_code == 204
        assert flow.response.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert flow.response.headers["access-control-allow-headers"] == asked

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/admin/sessions", "/v1/models"])
    async def test_a_page_of_a_strangers_site_is_refused(self, proxy: Proxy, path: str) -> None:
        body = chat_flow("/join").request.content or b""
        flow = flow_of("POST", path, body, origin="https://evil.example", content_type="text/plain")
        await proxy.addon.request(flow)
        assert flow.response is not None and flow.response.status_code == 403
        assert "access-control-allow-origin" not in flow.response.headers
        assert await proxy.runtime.gateway.sessions() == []

    @pytest.mark.parametrize(
        ("host", "status"), [("evil.example", 403), ("localhost", 503), ("127.0.0.1", 503), ("motive.internal", 503)]
    )
    async def test_the_operators_paths_have_this_machines_names_only(
        self, proxy: Proxy, host: str, status: int
    ) -> None:
        flow = flow_of("DELETE", "/admin/sessions/npc", host=host, x_admin_token=proxy.runtime.gateway.admin_token)
        await proxy.addon.request(flow)
        assert flow.response is not None and flow.response.status_code == status  # 503: the origin is not up here
        assert "x-admin-token" not in flow.request.headers

    async def test_our_own_header_does_not_go_upstream(self, proxy: Proxy) -> None:
        body = chat_flow("x").request.content or b""
        for flow in (
            flow_of("GET", "/v1/models", forward=True, x_motive_role="asker"),
            flow_of(
                "POST",
                "/v1/chat/completions",
                body,
                forward=True,
                x_motive_role="asker",
            ),
        ):
            await proxy.addon.request(flow)
            assert "x-motive-role" not in flow.request.headers and flow.response is None

    @pytest.mark.parametrize(
        ("method", "path", "agent"),
        [("GET", b"*", b"a"), ("G@T", b"/health", b"a"), ("GET", b"/\xff\xc3\xa4 ", b"\xff")],
    )
    async def test_odd_requests_for_the_proxy_itself(
        self, proxy: Proxy, method: str, path: bytes, agent: bytes
    ) -> None:
        await proxy.runtime.start()
        try:
            flow = flow_of(method, "/")
            flow.request.data.path = path
            flow.request.headers.fields = (*flow.request.headers.fields, (b"User-Agent", agent))
            original = flow.request
            await proxy.addon.request(flow)
            if flow.response is not None:
                assert flow.response.status_code == 405
                return
            assert flow.request.data.path == b"/%FF%C3%A4%20"
            flow.error = tflow.terr()
            await proxy.addon.error(flow)
            assert flow.request is original  # nobody sees the secret that the origin is asked with
        finally:
            await proxy.runtime.stop()

    async def test_before_the_origin_is_up_other_paths_are_refused(self, proxy: Proxy) -> None:
        flow = flow_of("GET", "/health")
        await proxy.addon.request(flow)
        assert flow.response is not None and flow.response.status_code == 503

    async def test_a_large_upload_to_a_path_that_is_no_call_is_streamed(self, proxy: Proxy) -> None:
        upload = flow_of("POST", "/v1/files", forward=True, content_length="5000000")
        proxy.addon.requestheaders(upload)
        assert upload.request.stream is True
        for kept in (
            flow_of("POST", "/v1/chat/completions", forward=True, content_length="5000000"),
            flow_of("POST", "/v1/files", forward=True, content_length="50"),
            flow_of("POST", "/v1/files", content_length="5000000"),
        ):
            proxy.addon.requestheaders(kept)
            assert not kept.request.stream

    async def test_a_reply_that_is_passed_is_not_buffered(self, proxy: Proxy) -> None:
        flow = await proxy.call("hello", forward=True)
        flow.response = http.Response.make(200)
        flow.response.data.content = None
        proxy.addon.responseheaders(flow)
        assert flow.response.stream is True


class TestConnections:
    def hello(self, sni: str, address: str) -> ClientHelloData:
        class Hello(ClientHello):
            def __init__(self) -> None:
                pass

            @property
            def sni(self) -> str | None:
                return sni or None

        context = proxy_context.Context(tflow.tclient_conn(), taddons.context(Proxyserver()).options)
        context.client.proxy_mode = FORWARD
        context.server = Server(address=(address, 443))
        return ClientHelloData(context, Hello())

    @pytest.mark.parametrize(
        ("sni", "address", "opened"),
        [
            ("api.openai.com", "api.openai.com", True),
            ("API.OpenAI.com", "1.2.3.4", True),
            ("", "api.anthropic.com", True),
            ("example.com", "example.com", False),
            ("", "1.2.3.4", False),
            ("api.openai.com.evil.example", "1.2.3.4", False),
        ],
    )
    async def test_tls_is_opened_for_llm_hosts_only(self, proxy: Proxy, sni: str, address: str, opened: bool) -> None:
        data = self.hello(sni, address)
        proxy.addon.tls_clienthello(data)
        assert data.ignore_connection is not opened

    async def test_tls_at_the_meeting_point_is_always_opened(self, proxy: Proxy) -> None:
        data = self.hello("localhost", "127.0.0.1")
        data.context.client.proxy_mode = REVERSE
        proxy.addon.tls_clienthello(data)
        assert not data.ignore_connection

    @pytest.mark.parametrize(("host", "tunnelled"), [("example.com", True), ("api.openai.com", False)])
    async def test_plain_http_in_a_tunnel_to_another_host_is_not_parsed(
        self, proxy: Proxy, host: str, tunnelled: bool
    ) -> None:
        context = proxy_context.Context(tflow.tclient_conn(), proxy.context.options)
        context.client.proxy_mode = FORWARD
        context.client.timestamp_tls_setup = None
        context.server = Server(address=(host, 80))
        asked = layer.NextLayer(context)
        asked.events = [DataReceived(context.client, b"GET / HTTP/1.1\r\n")]
        proxy.addon.next_layer(asked)
        assert isinstance(asked.layer, layers.TCPLayer) is tunnelled


class TestOptions:
    async def test_load_sets_what_holding_needs(self) -> None:
        with taddons.context(Proxyserver()) as context:
            Motive().load(Loader(context.master))
            assert context.options.connection_strategy == "lazy"
            assert context.options.keep_host_header and context.options.store_streamed_bodies

    @pytest.mark.parametrize("option", ["stream_large_bodies", "body_size_limit"])
    async def test_options_that_break_holding_are_refused(
        self, proxy: Proxy, option: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        proxy.context.configure(proxy.addon, **{option: "1m"})
        assert errors_in(caplog) == [f"motive: {option} must not be set"]

    @pytest.mark.parametrize("option", ["stream_large_bodies", "body_size_limit"])
    async def test_once_it_runs_mitmproxy_takes_such_an_option_back(self, proxy: Proxy, option: str) -> None:
        await proxy.runtime.start()
        try:
            with pytest.raises(exceptions.OptionsError, match=option):
                proxy.context.configure(proxy.addon, **{option: "1m"})
        finally:
            await proxy.runtime.stop()

    @pytest.mark.parametrize(
        ("text", "where"), [("limits: {max_sessions: none}", "limits.max_sessions"), (None, "config.yaml")]
    )
    async def test_a_wrong_configuration_ends_the_start_with_one_line(
        self, tmp_path: Path, text: str | None, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "config.yaml"
        if text is not None:
            path.write_text(text)
        addon = Motive()
        with taddons.context(Proxyserver(), addon) as context:
            context.configure(addon, motive_config=str(path))
        (line,) = errors_in(caplog, whole=True)
        assert where in line and "\n" not in line


def errors_in(caplog: pytest.LogCaptureFixture, *, whole: bool = False) -> list[str]:
    """The errors in the log, up to the reason that follows a colon unless ``whole``."""
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    return lines if whole else [line.rpartition(": a call")[0] for line in lines]
