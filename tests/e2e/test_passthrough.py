"""What nobody has taken over reaches the real service as the app sent it, and its reply comes back as it was said.

What mitmproxy itself must change on the way, and these tests allow: white space around a header's value, and the sizes
of chunks.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
import zstandard

from tests.e2e.clients import Link, Talker, finish, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.rules import BODY_LIMIT_BYTES
from tests.e2e.standin import Gate, Received, Standin, Writer, anthropic_events, openai_chunks, whole
from tests.e2e.wire import UPGRADE, RawClient, chat, chunked, request, trusting

# Odd on purpose: nothing that parses and writes JSON again would give these bytes back.
ODD_BODY = (
    b'{ "model" :"gpt-\\u0034o",\r\n\t"messages":[{"content":"caf\\u00e9 caf\xc3\xa9","role":"user"}],\n'
    b'"big":12345678901234567890, "e":1.0e-0005,"dup":1,"dup":2,"stream":false , "max_tokens": 5 }\n '
)

type Open = Callable[..., RawClient]


@pytest.fixture
def connect(proxy: Proxy, proxy_authority: Path) -> Open:
    """Opens a connection to a real host, through the proxy."""

    def open_connection(host: str = "api.openai.com") -> RawClient:
        return RawClient(proxy.forward_address, through=(host, 443), tls=trusting(proxy_authority))

    return open_connection


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("api.openai.com", "/v1/chat/completions"),
        ("api.openai.com", "/v1/chat/completions?a=%20b&b=%C3%A4&&c&d=1;2"),
        ("api.anthropic.com", "/v1/messages?beta=true"),
        ("api.openai.com", "/v1/embeddings?x=%2F"),
    ],
)
def test_request_is_byte_identical(connect: Open, service: Standin, host: str, target: str) -> None:
    head = (
        f"POST {target} HTTP/1.1\r\n"
        f"hOsT: {host}\r\n"
        "X-ODD-case: 1\r\n"
        "AUTHORIZATION: Bearer sk-secret\r\n"
        "x-odd-CASE: 2\r\n"
        "Accept-Encoding: identity, *;q=0\r\n"
        "anthropic-VERSION: 2023-06-01\r\n"
        "X-Empty: \r\n"
        "X-Latin: caf\xe9\r\n"
        "Cookie: a=b; c=d\r\n"
        "Cookie: e=f\r\n"
        "content-TYPE: application/json;charset=UTF-8\r\n"
        f"CONTENT-length: {len(ODD_BODY)}\r\n"
        "X-Last: here\r\n"
        "\r\n"
    ).encode("latin-1")
    with connect(host) as client:
        assert client.ask(head + ODD_BODY).status == 200
    (received,) = service.requests
    assert received.head == head
    assert received.body == ODD_BODY


def test_chunked_request_keeps_its_body(connect: Open, service: Standin) -> None:
    head = request("POST", "/v1/chat/completions", "Transfer-Encoding: chunked", "X-Odd: 1", host="api.openai.com")
    with connect() as client:
        assert client.ask(head + chunked(ODD_BODY[:7], ODD_BODY[7:100], ODD_BODY[100:])).status == 200
    (received,) = service.requests
    assert received.head == head
    assert received.body.endswith(b"0\r\n\r\n")
    assert b"".join(received.body.split(b"\r\n", 1)[1:]).startswith(ODD_BODY[:7])
    assert received.header("content-length") is None


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity", "unheard-of"])
def test_compressed_request_is_not_touched(connect: Open, service: Standin, encoding: str) -> None:
    body = {"gzip": gzip.compress(ODD_BODY), "zstd": zstandard.compress(ODD_BODY)}.get(encoding, ODD_BODY)
    with connect() as client:
        sent = request(
            "POST", "/v1/chat/completions", f"Content-Encoding: {encoding}", body=body, host="api.openai.com"
        )
        assert client.ask(sent).status == 200
    assert service.requests[0].body == body
    assert service.requests[0].header("content-encoding") == encoding


@pytest.mark.parametrize("body", [b"{not json", b'{"messages": []}', b"[]", b'{"model": 5}', b"\xff\xfe", b'"\xff"'])
def test_what_we_do_not_understand_is_for_the_service_to_judge(connect: Open, service: Standin, body: bytes) -> None:
    service.handler = lambda _, writer: whole(writer, {"error": {"message": "no"}}, 400)
    with connect() as client:
        reply = client.ask(request("POST", "/v1/chat/completions", body=body, host="api.openai.com"))
    assert (reply.status, reply.json()) == (400, {"error": {"message": "no"}})
    assert service.requests[0].body == body


def test_reply_is_byte_identical(connect: Open, service: Standin) -> None:
    body = gzip.compress(b'{ "odd" :  1 }')
    head = (
        b"HTTP/1.1 429 Slow Down\r\nX-RateLimit-Remaining-Requests: 0\r\nx-REQUEST-id: req_1\r\nRetry-After: 3\r\n"
        b"Content-Encoding: gzip\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    service.handler = lambda _, writer: writer.raw(head + body)
    with connect() as client:
        reply = client.ask(request(body=chat("gpt-4o"), host="api.openai.com"))
    assert reply.head == head
    assert reply.body == body


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_stream_is_not_buffered(connect: Open, service: Standin, dialect: str) -> None:
    """The first event is seen before the service has said the last."""
    gate = Gate()
    events = (openai_chunks if dialect == "openai" else anthropic_events)("slow words", "m")

    def slowly(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream"), ("x-Odd-Case", "kept")])
        for event in events[:3]:
            writer.send(event)
        gate.wait()
        for event in events[3:]:
            writer.send(event)
        writer.end()

    service.handler = slowly
    target = "/v1/chat/completions" if dialect == "openai" else "/v1/messages"
    with connect(f"api.{dialect}.com") as client:
        client.send(request("POST", target, body=chat("m", stream=True), host=f"api.{dialect}.com"))
        head = client.until(b"\r\n\r\n")
        assert b"x-Odd-Case: kept\r\n" in head
        first = b""
        while first.count(b"data:") < 3:
            first += client.until(b"\r\n")
        gate.open()
        rest = client.until(b"0\r\n\r\n")
    framed = first + rest
    body = b"".join(piece for piece in framed.split(b"\r\n") if b"data:" in piece)
    assert body == b"".join(events)


async def test_stream_over_http2_is_not_buffered(proxy: Proxy, proxy_authority: Path, service: Standin) -> None:
    gate = Gate()

    def slowly(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream"), ("x-one", "1")])
        writer.send(b"data: first\n\n")
        gate.wait()
        writer.send(b"data: last\n\n")
        writer.end()

    service.handler = slowly
    async with (
        http_client(Link(proxy, proxy_authority, http2=True)) as client,
        client.stream(
            "POST", "https://api.openai.com/v1/chat/completions?q=1", content=ODD_BODY, headers={"X-Odd": "1"}
        ) as reply,
    ):
        assert (reply.status_code, reply.http_version, reply.headers["x-one"]) == (200, "HTTP/2", "1")
        pieces = reply.aiter_raw()
        assert await anext(pieces) == b"data: first\n\n"
        gate.open()
        assert [piece async for piece in pieces] == [b"data: last\n\n"]
    (received,) = service.requests
    assert (received.version, received.body, received.header("x-odd")) == ("HTTP/2", ODD_BODY, "1")
    assert received.target == "/v1/chat/completions?q=1"


def test_other_paths_of_the_host_are_forwarded(connect: Open, service: Standin) -> None:
    with connect() as client:
        for method, target in [
            ("GET", "/v1/models"),
            ("GET", "/v1/chat/completions"),
            ("DELETE", "/v1/files/file-1"),
            ("OPTIONS", "/v1/chat/completions"),
            ("POST", "/v1/chat/completions/chatcmpl-1"),
            ("GET", "/health"),
            ("GET", "/admin/sessions"),
        ]:
            sent = request(method, target, "X-Odd: 1", "anthropic-version: 2023-06-01", host="api.openai.com")
            reply = client.ask(sent)
            assert (reply.status, reply.json()["path"]) == (200, target)
            assert service.requests[-1].head == sent
    assert len({received.connection for received in service.requests}) == 1


def test_large_upload_goes_on_as_it_comes(connect: Open, service: Standin) -> None:
    upload = bytes(range(256)) * (5 * 1024 * 4)
    assert len(upload) == 5 * 1024 * 1024
    with connect() as client:
        sent = request("POST", "/v1/files", "Content-Type: multipart/form-data", body=upload, host="api.openai.com")
        reply = client.ask(sent)
    assert reply.json()["bytes"] == len(upload)
    assert service.requests[0].head + service.requests[0].body == sent


def test_large_call_passes_whole(connect: Open, service: Standin) -> None:
    """Even over our own limit: the service may have another one."""
    body = chat("gpt-4o", "x" * (6 * BODY_LIMIT_BYTES))
    with connect() as client:
        assert client.ask(request(body=body, host="api.openai.com")).status == 200
    assert service.requests[0].body == body


def test_client_that_leaves_a_stream_is_seen_by_the_service(connect: Open, service: Standin) -> None:
    """The service is not asked to go on for nobody."""
    ended = threading.Event()

    def endlessly(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        try:
            while True:
                writer.send(b"data: more\n\n" * 1000)
        except OSError:
            ended.set()
            raise

    service.handler = endlessly
    with connect() as client:
        client.send(request(body=chat("gpt-4o", stream=True), host="api.openai.com"))
        client.until(b"data: more\n\n")
    assert ended.wait(30)


def test_service_that_hangs_up_ends_the_call(connect: Open, service: Standin) -> None:
    def cut(_: Received, writer: Writer) -> None:
        writer.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        raise ConnectionResetError

    service.handler = cut
    with connect() as client:
        client.send(request(body=chat("gpt-4o", stream=True), host="api.openai.com"))
        assert b"hello" in client.rest()


def test_what_is_meant_for_the_proxy_does_not_go_upstream(connect: Open, service: Standin) -> None:
    with connect() as client:
        lines = ("X-Motive-Role: asker", "X-Mine: 1")
        sent = request("POST", "/v1/chat/completions", *lines, body=chat("gpt-4o"), host="api.openai.com")
        assert client.ask(sent).status == 200
    assert service.requests[0].header("x-motive-role") is None
    assert service.requests[0].header("x-mine") == "1"


def test_websocket_of_another_path_passes(connect: Open, service: Standin) -> None:
    """A frame goes there and one comes back."""
    ping, pong = b"\x89\x82\x00\x00\x00\x00hi", b"\x81\x03you"

    def accept(received: Received, writer: Writer) -> None:
        key = (received.header("sec-websocket-key") or "").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accepted = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
        writer.raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n" + pong
        )

    service.handler = accept
    with connect() as client:
        client.send(request("GET", "/v1/realtime?model=m", *UPGRADE, host="api.openai.com"))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert client.exactly(len(pong)) == pong
        client.send(ping)


def test_websocket_of_an_llm_path_is_answered_426(connect: Open, service: Standin) -> None:
    """Here as at the meeting point: the app goes on with HTTP, which can be taken over."""
    with connect() as client:
        for path in ("/v1/responses", "/v1/chat/completions"):
            assert client.ask(request("GET", path, *UPGRADE, host="api.openai.com")).status == 426
        assert client.ask(request(body=chat("gpt-4o"), host="api.openai.com")).status == 200
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("through", "name"),
    [("API.OpenAI.com", "API.OpenAI.com"), ("api.openai.com", None), ("an address", "api.openai.com")],
)
async def test_host_is_known_by_its_name_or_by_that_in_tls(
    at_meeting: Link, proxy_authority: Path, service: Standin, session: str, *, through: str, name: str | None
) -> None:
    proxy, tls = at_meeting.proxy, trusting(proxy_authority)
    if name is None:
        tls.check_hostname = False
    address = ("127.0.0.1", int(service.env["STANDIN_TLS_PORT"])) if through == "an address" else (through, 443)
    person = Talker(at_meeting, "openai", session, api_key="sk-human")
    with RawClient(proxy.forward_address, through=address, tls=tls, name=name) as client:
        sent = request(body=chat(session), host="api.openai.com")
        reply = await asyncio.to_thread(client.ask, sent)
        assert reply.json()["choices"][0]["message"]["content"] == f"real {session}"
        shown = person.start("/join")
        await proxy.until_listening(session)
        asked = asyncio.create_task(asyncio.to_thread(client.ask, sent))
        assert (await shown).text == "hi"
        waiting = person.start("taken over")
        assert (await asked).json()["choices"][0]["message"]["content"] == "taken over"
    await finish(proxy, session, waiting)


async def test_many_slow_streams_over_one_connection(
    start_proxy: StartProxy, proxy_authority: Path, authority: trustme.CA
) -> None:
    """A service that speaks HTTP/1.1 needs a connection for each, and mitmproxy by itself would open five."""
    count, gate = 20, Gate()

    def slowly(request: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        writer.send(b"data: first\n\n")
        gate.wait()
        writer.send(request.target.encode())
        writer.end()

    with Standin(authority, versions=["http/1.1"]) as service:
        service.handler = slowly
        proxy = start_proxy(config={}, env=service.env)
        async with http_client(Link(proxy, proxy_authority, http2=True)) as client:

            async def call(number: int) -> bytes:
                url = f"https://api.openai.com/v1/chat/completions?{number}"
                return (await client.post(url, content=chat("m", stream=True))).content

            calls = [asyncio.create_task(call(0))]
            await asyncio.to_thread(service.wait_for_requests, 1)  # so that there is a connection to share
            calls += [asyncio.create_task(call(number)) for number in range(1, count)]
            await asyncio.to_thread(service.wait_for_requests, count)
            gate.open()
            replies = await asyncio.gather(*calls)
    assert [reply.rpartition(b"?")[2] for reply in replies] == [b"%d" % number for number in range(count)]


async def test_calls_pass_while_others_are_held(
    proxy: Proxy, through_proxy: Link, at_meeting: Link, session: str
) -> None:
    """One slow person does not slow anybody else."""
    async with http_client(at_meeting) as meeting, http_client(through_proxy) as app:
        held = [
            asyncio.create_task(meeting.post("/v1/chat/completions", content=chat(f"{session}-{number}")))
            for number in range(20)
        ]
        for number in range(20):
            await proxy.until_held(f"{session}-{number}")
        url = "https://api.openai.com/v1/chat/completions"
        replies = await asyncio.gather(*[app.post(url, content=chat(session)) for _ in range(20)])
        assert {reply.json()["choices"][0]["message"]["content"] for reply in replies} == {f"real {session}"}
        assert not any(call.done() for call in held)
        for call in held:
            call.cancel()
        await asyncio.gather(*held, return_exceptions=True)
    for number in range(20):
        await proxy.close_session(f"{session}-{number}")


def test_body_that_reaches_the_service_is_json_of_the_app(connect: Open, service: Standin) -> None:
    """The odd body is what it claims to be: a call that Motive understands, and passes as it is."""
    assert json.loads(ODD_BODY)["model"] == "gpt-4o"
    with connect() as client:
        reply = client.ask(request(body=ODD_BODY, host="api.openai.com"))
    assert reply.json()["choices"][0]["message"]["content"] == "real gpt-4o"
