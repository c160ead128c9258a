"""Requests that two readers would read differently: each is one request, or none, to us and to the service behind us.

The stand-in counts what reaches a service. It reads a request as its framing says, so what it saw is what it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest
import trustme

from tests.e2e.clients import Link
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.wire import RawClient, chat, request, trusting

HIDDEN: Final = b"GET /smuggled HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"
LAST: Final = b"0\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked"
TARGET: Final = b"/v1/embeddings"
_READ_S: Final = 20.0

type Fields = Sequence[tuple[bytes, bytes]]


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1", end: bytes = b"\r\n") -> bytes:
    """A request in absolute form whose header lines are these."""
    first = b"POST http://api.openai.com%s %s" % (TARGET, version)
    return end.join([first, b"Host: api.openai.com", *lines, b"", b""]) + body


def length(count: int) -> bytes:
    return b"Content-Length: %d" % count


REFUSED: Final[dict[str, bytes]] = {
    "CL.TE": post(length(len(LAST + HIDDEN)), CHUNKED, body=LAST + HIDDEN),
    "TE.CL": post(CHUNKED, length(4), body=b"%x\r\n%s\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "TE that is not chunked": post(b"Transfer-Encoding: xchunked", length(5), body=LAST + HIDDEN),
    "TE identity": post(b"Transfer-Encoding: identity", length(5), body=LAST + HIDDEN),
    "TE twice": post(CHUNKED, b"Transfer-Encoding: identity", body=LAST + HIDDEN),
    "TE chunked twice": post(CHUNKED, CHUNKED, body=LAST + HIDDEN),
    "TE chunked not last": post(b"Transfer-Encoding: chunked, identity", body=LAST + HIDDEN),
    "TE with a space before the colon": post(b"Transfer-Encoding : chunked", length(5), body=LAST + HIDDEN),
    "TE after a vertical tab": post(b"Transfer-Encoding:\x0bchunked", length(5), body=LAST + HIDDEN),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked", length(5), body=LAST + HIDDEN),
    "TE quoted": post(b'Transfer-Encoding: "chunked"', length(5), body=LAST + HIDDEN),
    "TE with NUL": post(b"Transfer-Encoding: chunked\x00", length(5), body=LAST + HIDDEN),
    "TE after a bare LF": post(b"X: a\nTransfer-Encoding: chunked", length(5), body=LAST + HIDDEN),
    "TE empty": post(b"Transfer-Encoding: ", length(5), body=LAST + HIDDEN),
    "TE in HTTP/1.0": post(CHUNKED, body=LAST + HIDDEN, version=b"HTTP/1.0"),
    "CL twice": post(length(5), length(5 + len(HIDDEN)), body=LAST + HIDDEN),
    "CL twice the same": post(length(5), length(5), body=LAST + HIDDEN),
    "CL list": post(b"Content-Length: 5, 5", body=LAST + HIDDEN),
    "CL with plus": post(b"Content-Length: +5", body=LAST + HIDDEN),
    "CL negative": post(b"Content-Length: -5", body=LAST + HIDDEN),
    "CL hexadecimal": post(b"Content-Length: 0x5", body=LAST + HIDDEN),
    "CL with underscore": post(b"Content-Length: 5_0", body=LAST + HIDDEN),
    "CL with zeros": post(b"Content-Length: 005", body=LAST + HIDDEN),
    "CL in other digits": post("Content-Length: ٥".encode(), body=LAST + HIDDEN),
    "CL folded": post(b"Content-Length: 5\r\n 0", body=LAST + HIDDEN),
    "CL empty": post(b"Content-Length: ", body=LAST + HIDDEN),
    "fold in the first line": post(b"X: y", length(5), body=LAST).replace(b"Host:", b" Host:", 1),
    "bare CR as line end": post(length(5), body=LAST + HIDDEN, end=b"\r"),
    "space in a name": post(b"X Y: a", length(5), body=LAST),
    "no colon": post(b"garbage", length(5), body=LAST),
    "no name": post(b": a", length(5), body=LAST),
    "two hosts": post(b"Host: evil.example", length(5), body=LAST),
    "two versions": post(length(5), body=LAST, version=b"HTTP/1.1 HTTP/1.1"),
    "chunk that ends wrong": post(CHUNKED, body=b"5\r\nhelloXX" + LAST + HIDDEN),
    "chunk extension with LF": post(CHUNKED, body=b"5;a\nhello\r\n" + LAST + HIDDEN),
    "chunk size negative": post(CHUNKED, body=b"-5\r\nhello\r\n" + LAST + HIDDEN),
    "chunk size 0x": post(CHUNKED, body=b"0x5\r\nhello\r\n" + LAST + HIDDEN),
    "chunk size too long": post(CHUNKED, body=b"0" * 30 + b"5\r\nhello\r\n" + LAST + HIDDEN),
}
"""What must be refused: by 400, or, where the body goes wrong, by the end of the connection."""

UNFINISHED: Final[dict[str, bytes]] = {
    "chunk size that overflows 64 bits": post(CHUNKED, body=b"10000000000000005\r\nhello\r\n" + LAST + HIDDEN),
    "chunk larger than what comes": post(CHUNKED, body=b"ffffffff\r\nhello\r\n" + LAST + HIDDEN),
    "chunks ended by LF": post(CHUNKED, body=b"5\nhello\n0\n\n" + HIDDEN.replace(b"\r", b"")),
    "CL larger than what comes": post(b"Content-Length: " + b"9" * 30, body=LAST + HIDDEN),
}
"""What is never whole: all that follows is part of it."""

ONE: Final[dict[str, tuple[bytes, bytes]]] = {
    "chunk extensions": (post(CHUNKED, body=b"5;a=b;c\r\nhello\r\n" + LAST), b"5\r\nhello\r\n" + LAST),
    "a long chunk extension": (
        post(CHUNKED, body=b"5;" + b"a" * 100_000 + b"\r\nhello\r\n" + LAST),
        b"5\r\nhello\r\n" + LAST,
    ),
    "trailers": (post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Trail: y\r\n\r\n"), b"5\r\nhello\r\n" + LAST),
    "trailers that frame": (
        post(CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil.example\r\n\r\n"),
        b"5\r\nhello\r\n" + LAST,
    ),
    "bare LF as line end": (post(length(5), body=b"hello", end=b"\n"), b"hello"),
    "TE after a bare CR": (post(b"X: a\rTransfer-Encoding: chunked", length(5), body=b"hello"), b"hello"),
    "CL after a bare CR": (post(b"X: a\r\rContent-Length: 0", length(5), body=b"hello"), b"hello"),
    "fold": (post(b"X: a\r\n Transfer-Encoding: chunked", length(5), body=b"hello"), b"hello"),
    "NUL in a value": (post(b"X: a\x00b", length(5), body=b"hello"), b"hello"),
    "a hidden request as body": (post(length(len(HIDDEN)), body=HIDDEN), HIDDEN),
}
"""What is one request to everybody, and the body that the service gets, with its framing."""


def at_meeting(raw: bytes) -> bytes:
    return raw.replace(b"http://api.openai.com", b"", 1)


def check_refusal(client: RawClient) -> None:
    """A 400 and the end, or the end alone."""
    client.socket.settimeout(_READ_S)
    with contextlib.suppress(ConnectionResetError):
        said = client.rest()
        assert said == b"" or said.startswith(b"HTTP/1.1 400 "), said
        assert said.count(b"\r\nContent-Length:") + said.count(b"\r\ncontent-length:") <= 1, said


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_can_be_read_in_two_ways_is_refused(proxy: Proxy, service: Standin, name: str) -> None:
    for address, raw in ((proxy.forward_address, REFUSED[name]), (proxy.meeting_address, at_meeting(REFUSED[name]))):
        with RawClient(address) as client:
            client.send(raw)
            if name == "two hosts":
                assert client.reply().status == 400
                continue
            check_refusal(client)
    assert service.requests == []


@pytest.mark.parametrize("name", list(UNFINISHED))
def test_what_follows_an_unfinished_body_is_part_of_it(proxy: Proxy, service: Standin, name: str) -> None:
    with RawClient(proxy.forward_address) as client, RawClient(proxy.meeting_address) as other:
        client.send(UNFINISHED[name])
        other.send(at_meeting(UNFINISHED[name]))
        with RawClient(proxy.meeting_address) as third:
            assert third.ask(request("GET", "/health")).status == 200
        client.socket.settimeout(0.1)
        for one in (client, other):
            one.socket.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                said = one.socket.recv(65536)
                assert said.startswith((b"", b"HTTP/1.1 4")), said
    assert service.requests == []


@pytest.mark.parametrize("name", list(ONE))
def test_what_is_odd_but_clear_reaches_the_service_as_one_request(proxy: Proxy, service: Standin, name: str) -> None:
    raw, body = ONE[name]
    with RawClient(proxy.forward_address) as client:
        assert client.ask(raw).status == 200
        assert client.ask(b"GET http://api.openai.com/next HTTP/1.1\r\nHost: api.openai.com\r\n\r\n").status == 200
    assert [one.target for one in service.requests] == [TARGET.decode(), "/next"]
    got = service.requests[0]
    assert got.body == body
    assert got.head.count(b"\r") == got.head.count(b"\r\n") == got.head.count(b"\n")
    assert b"\0" not in got.head
    assert b"\n " not in got.head
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(at_meeting(raw)).status == 404
        assert client.ask(request("GET", "/health")).status == 200


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x7f"])
def test_controls_in_a_target_reach_the_service_encoded(proxy: Proxy, service: Standin, byte: bytes) -> None:
    raw = b"GET http://api.openai.com/a%bb HTTP/1.1\r\nHost: api.openai.com\r\n\r\n" % byte
    with RawClient(proxy.forward_address) as client:
        assert client.ask(raw).status == 200
    assert [one.target for one in service.requests] == [f"/a%{byte[0]:02X}b"]


async def test_nobody_elses_call_is_touched(at_meeting: Link, session: str, service: Standin) -> None:
    """A hundred attempts beside a call that is held, in the hope that it ends up in one of them."""
    proxy = at_meeting.proxy
    with RawClient(proxy.meeting_address) as victim:
        asked = asyncio.create_task(asyncio.to_thread(victim.ask, request(body=chat(session, "for one reader only"))))
        await proxy.until_held(session)
        attempts = [*REFUSED.values(), *UNFINISHED.values()]
        for raw in attempts:
            hidden = request(body=chat(session, "hidden"))
            with RawClient(proxy.meeting_address) as client:
                client.send(raw.replace(b"http://api.openai.com", b"", 1).replace(HIDDEN, hidden))
                client.socket.settimeout(0.05)
                with contextlib.suppress(TimeoutError, ConnectionResetError):
                    client.rest()
        told = await proxy.until_held(session)
        assert len(told["prompts"]) == 1
        await proxy.close_session(session)
        assert (await asked).status == 503
    assert service.requests == []


# HTTP/2, whose fields become header lines of HTTP/1 behind us

FIELDS: Final[Fields] = [
    (b":method", b"POST"),
    (b":path", TARGET),
    (b":authority", b"api.openai.com"),
    (b":scheme", b"https"),
]


def with_field(name: bytes, value: bytes) -> Fields:
    """The fields of a request; a pseudo-header takes the place of its own."""
    kept = [field for field in FIELDS if field[0] != name]
    return [*kept, (name, value)] if not name.startswith(b":") else [(name, value), *kept]


PLAIN: Final[dict[str, Fields]] = {
    "no length": FIELDS,
    "trailers": FIELDS,
    "trailers and a length": with_field(b"content-length", b"%d" % len(HIDDEN)),
}
TRAILERS: Final = ((b"transfer-encoded", b"chunked"),)
FIELDS_THAT_SPLIT: Final[dict[str, Fields]] = {
    "TE": with_field(b"transfer-encoding", b"chunked"),
    "TE in capitals": with_field(b"Transfer-Encoding", b"chunked"),
    "CL too short": with_field(b"content-length", b"1"),
    "CL too long": with_field(b"content-length", b"1000"),
    "CL twice": [*FIELDS, (b"content-length", b"5"), (b"content-length", b"6")],
    "connection": with_field(b"connection", b"transfer-encoding"),
    "line in a value": with_field(b"x", b"a\r\ntransfer-encoding: chunked"),
    "LF in a value": with_field(b"x", b"a\ntransfer-encoding: chunked"),
    "CR in a value": with_field(b"x", b"a\rtransfer-encoding: chunked"),
    "line in a name": with_field(b"x: a\r\ntransfer-encoding", b"chunked"),
    "colon in a name": with_field(b"transfer-encoding: chunked\r\nx", b"y"),
    "space in a name": with_field(b"content-length ", b"0"),
    "line in the path": with_field(b":path", b"/a HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled"),
    "space in the path": with_field(b":path", b"/a HTTP/1.1"),
    "line in the method": with_field(b":method", b"GET /smuggled HTTP/1.1\r\n\r\nPOST"),
    "space in the method": with_field(b":method", b"GET /smuggled"),
    "line in the authority": with_field(b":authority", b"api.openai.com\r\nx: y"),
    "line in the scheme": with_field(b":scheme", b"https\r\nx: y"),
}


def ask_http2(connection: socket.socket, fields: Fields, body: bytes, trailers: Fields = ()) -> int | None:
    """Send a call without any check of ours; gives its status, None if it was reset or the connection was ended."""
    loose = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    http2 = h2.connection.H2Connection(loose)
    http2.initiate_connection()
    stream = http2.get_next_available_stream_id()
    http2.send_headers(stream, fields)
    http2.send_data(stream, body, end_stream=not trailers)
    if trailers:
        http2.send_headers(stream, trailers, end_stream=True)
    connection.sendall(http2.data_to_send())
    status = None
    while data := connection.recv(65536):
        for event in http2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers or ())[b":status"])
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                return status
        connection.sendall(http2.data_to_send())
    return status


def test_http_2_fields_do_not_split_a_request_of_http_1(
    start_proxy: StartProxy, authority: trustme.CA, proxy_authority: Path
) -> None:
    """They are refused, or reach a service that speaks HTTP/1.1 only as one request that says the same."""
    tls = trusting(proxy_authority)
    tls.set_alpn_protocols(["h2"])
    with Standin(authority, versions=("http/1.1",)) as service:
        proxy = start_proxy(config={}, env=service.env)
        for name, fields in {**PLAIN, **FIELDS_THAT_SPLIT}.items():
            service.reset()
            with RawClient(proxy.forward_address, through=("api.openai.com", 443), tls=tls) as client:
                client.socket.settimeout(_READ_S)
                status = None
                with contextlib.suppress(ConnectionError):
                    status = ask_http2(client.socket, fields, HIDDEN, TRAILERS if "trailers" in name else ())
            if name in PLAIN:
                assert status == 200
            if status is None or status >= 400:
                assert service.requests == [], name
                continue
            (got,) = service.requests
            assert "smuggled" not in got.target, name
            assert got.header("transfer-encoding") is None, name
            assert (got.body, got.version) == (HIDDEN, "HTTP/1.1"), name
            assert got.head.count(b"\r") == got.head.count(b"\r\n") == got.head.count(b"\n"), name
