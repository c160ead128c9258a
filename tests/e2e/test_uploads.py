"""Bodies over the limit: refused before they are here, or as soon as they are too large, and never kept. What goes to a
real service goes on, whatever its size."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anthropic
import h2.config
import h2.connection
import h2.events
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from tests.e2e.clients import PATHS, Link, Talker, anthropic_client, finish, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.rules import BODY_LIMIT_BYTES
from tests.e2e.standin import Standin
from tests.e2e.wire import RawClient, chat, request, trusting

PIECE = b"x" * 65536
MANY = 384
"""So many pieces are 24 MiB, and 24 times the limit."""


def resident_bytes(proxy: Proxy) -> int:
    pages = int(Path(f"/proc/{proxy.process.pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def announced(path: str = "/v1/chat/completions", *lines: str, size: int = 10 * 1024**3) -> bytes:
    """The head of a request with a very large body."""
    return request("POST", path, f"Content-Length: {size}", "Content-Type: application/json", *lines)


@pytest.mark.parametrize("dialect", PATHS)
def test_an_announced_body_is_refused_before_it_comes(proxy: Proxy, dialect: str) -> None:
    with RawClient(proxy.meeting_address) as client:
        path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[dialect]
        reply = client.ask(announced(path))
        assert reply.status == 413
        assert str(BODY_LIMIT_BYTES) in reply.json()["error"]["message"]
        assert (reply.header("x-should-retry"), reply.header("connection")) == ("false", "close")
        assert (reply.header("x-request-id") or "none") in proxy.log


def test_nobody_is_told_to_go_on(proxy: Proxy) -> None:
    with RawClient(proxy.meeting_address) as client:
        client.send(announced("/v1/chat/completions", "Expect: 100-continue"))
        assert client.until(b"\r\n").startswith(b"HTTP/1.1 413 ")


def test_what_is_no_call_is_refused_as_well(proxy: Proxy) -> None:
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(announced("/v1/files")).status == 413


def test_a_page_of_a_stranger_learns_nothing(proxy: Proxy) -> None:
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(announced("/v1/chat/completions", "Origin: https://evil.example")).status == 403


def test_a_chunked_body_without_end(proxy: Proxy) -> None:
    """The reply comes when the limit is reached; a client that sends on is cut off, and its bytes are not kept."""
    before = resident_bytes(proxy)
    with RawClient(proxy.meeting_address) as client:
        client.send(request("POST", "/v1/chat/completions", "Transfer-Encoding: chunked"))
        sent = 0
        with pytest.raises(OSError):
            while sent < 1024**3:
                client.send(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                sent += len(PIECE)
        assert BODY_LIMIT_BYTES < sent < 256 * 1024**2
    assert resident_bytes(proxy) - before < 32 * 1024**2


def test_a_chunked_body_over_the_limit_gets_its_reply(proxy: Proxy) -> None:
    with RawClient(proxy.meeting_address) as client:
        client.send(request("POST", "/v1/messages", "Transfer-Encoding: chunked"))
        for _ in range(BODY_LIMIT_BYTES // len(PIECE) + 1):
            client.send(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
        reply = client.reply()
        assert (reply.status, reply.json()["error"]["type"]) == (413, "request_too_large")
        client.send(b"0\r\n\r\n")
        assert client.rest() == b""


def test_a_client_that_leaves_in_the_middle(proxy: Proxy) -> None:
    for close_early in (True, False):
        with RawClient(proxy.meeting_address) as client:
            client.send(announced() + PIECE)
            if close_early:
                client.half_close()
            else:
                assert client.reply().status == 413


async def test_sdks_raise_their_own_error_and_send_once(at_meeting: Link, proxy: Proxy, session: str) -> None:
    words = "x" * (BODY_LIMIT_BYTES + 1)
    before = proxy.log.count("payload_too_large")
    async with openai_client(at_meeting, max_retries=3) as one:
        with pytest.raises(openai.APIStatusError) as large:
            await one.chat.completions.create(model=session, messages=[{"role": "user", "content": words}])
        assert (large.value.status_code, large.value.code) == (413, "payload_too_large")
    async with anthropic_client(at_meeting, max_retries=3) as two:
        with pytest.raises(anthropic.APIStatusError) as larger:
            await two.messages.create(model=session, max_tokens=9, messages=[{"role": "user", "content": words}])
        assert larger.value.status_code == 413 and larger.value.request_id
    options = genai_types.HttpOptions(base_url=proxy.meeting)
    with genai.Client(api_key="k", http_options=options) as three, pytest.raises(genai_errors.ClientError) as largest:
        three.models.generate_content(model=session, contents=words)
    assert largest.value.code == 413
    assert proxy.log.count("payload_too_large") == before + 3


async def test_others_go_on(at_meeting: Link, proxy: Proxy, session: str) -> None:
    person, app = Talker(at_meeting, "openai", session), Talker(at_meeting, "anthropic", session)
    shown = person.start("/join")
    await proxy.until_listening(session)
    asked = app.start("hello")
    await shown
    async with http_client(at_meeting) as client:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(MANY):
                yield PIECE

        reply = await client.post("/v1/chat/completions", content=pieces())
        assert reply.status_code == 413
    listening = person.start("the answer")
    assert (await asked).text == "the answer"
    await finish(proxy, session, listening)


class Http2:
    """An upload by HTTP/2 without TLS that does not end by itself."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http2.initiate_connection()
        self.status = ""
        self.body = b""
        self.reset = False

    def upload(self, pieces: int) -> None:
        """Send so many pieces, and wait until the stream is reset."""
        stream = self._http2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":path", "/v1/messages"), (":authority", "h"), (":scheme", "http")]
        self._http2.send_headers(stream, fields)
        for _ in range(pieces * len(PIECE) // 16384):
            while self._http2.local_flow_control_window(stream) < 16384 and not self.reset:
                self._read()
            if self.reset:
                return
            self._http2.send_data(stream, PIECE[:16384])
            self._client.send(self._http2.data_to_send())
        while not self.reset:
            self._read()

    def _read(self) -> None:
        self._client.send(self._http2.data_to_send())
        for event in self._http2.receive_data(self._client.socket.recv(65536)):
            match event:
                case h2.events.ResponseReceived(headers=headers):
                    self.status = next(str(value) for name, value in headers if str(name) == ":status")
                case h2.events.DataReceived(data=bytes(data)):
                    self.body += data
                case h2.events.StreamReset():
                    self.reset = True
                case _:
                    pass


def test_http2(proxy: Proxy) -> None:
    with RawClient(proxy.meeting_address) as raw:
        client = Http2(raw)
        client.upload(1200)
    assert client.reset and client.status == "413"
    assert json.loads(client.body)["error"]["type"] == "request_too_large"


class TestForward:
    """Through the forward proxy, nothing is too large."""

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
    @pytest.mark.parametrize("framing", ["chunked", "length"])
    def test_it_passes_as_it_comes(
        self, proxy: Proxy, proxy_authority: Path, service: Standin, path: str, framing: str
    ) -> None:
        before = resident_bytes(proxy)
        lines = ("Transfer-Encoding: chunked",) if framing == "chunked" else (f"Content-Length: {MANY * len(PIECE)}",)
        tls = trusting(proxy_authority)
        with RawClient(proxy.forward_address, through=("api.openai.com", 443), tls=tls) as client:
            client.send(request("POST", path, *lines, "X-Motive-Role: asker", host="api.openai.com"))
            for piece in _framed(framing):
                client.send(piece)
            reply = client.reply()
        assert reply.status < 500
        (received,) = service.requests
        assert received.body.count(b"x") == MANY * len(PIECE)
        assert received.header("x-motive-role") is None
        assert resident_bytes(proxy) - before < 16 * 1024**2

    def test_our_own_name_is_no_real_service(self, proxy: Proxy) -> None:
        with RawClient(proxy.forward_address) as client:
            target = "http://motive.internal/v1/chat/completions"
            reply = client.ask(request("POST", target, f"Content-Length: {10**10}", host="motive.internal"))
            assert reply.status == 413


def _framed(framing: str) -> Iterator[bytes]:
    for _ in range(MANY):
        yield b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if framing == "chunked" else PIECE
    if framing == "chunked":
        yield b"0\r\n\r\n"


def test_the_limit_may_change_while_the_proxy_runs(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={"limits": {"body_limit_bytes": 2000}})
    sent = request(body=chat("m", "x" * 3000))
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(sent).status == 413
    proxy.configure({"limits": {"body_limit_bytes": 1000}, "routes": []})
    proxy.wait_for_log("configuration reloaded")
    with RawClient(proxy.meeting_address) as client:
        assert "1000" in client.ask(sent).json()["error"]["message"]
    proxy.configure({"limits": {"body_limit_bytes": 4000}, "routes": []})
    proxy.wait_for_log("configuration reloaded", 2)
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(sent).status == 404
