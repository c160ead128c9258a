"""Hosts that are no LLM services: their connections are tunnelled, not opened."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest

from tests.e2e.proxy import Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer
from tests.e2e.wire import Echo, RawClient, chat, request, trusting

# No proxy that reads HTTP would leave this alone.
STRANGE = b"POST  /v1/chat/completions HTTP/1.1\r\nhost:x\r\n folded: yes\r\nContent-Length: 0\r\n\r\n"


def test_tls_of_another_host_is_not_opened(proxy: Proxy, service: Standin, real_tls: ssl.SSLContext) -> None:
    with RawClient(proxy.forward_address, through=("other.example", 443), tls=real_tls) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        presented = client.socket.getpeercert(binary_form=True)
        assert presented == ssl.PEM_cert_to_DER_cert(service.certificate_pem.decode())
        reply = client.ask(request("POST", "/v1/chat/completions", body=chat("gpt-4o"), host="other.example"))
    assert reply.json()["choices"][0]["message"]["content"] == "real gpt-4o"
    assert service.requests[0].host == "other.example"


def test_proxy_certificate_is_not_good_for_another_host(proxy: Proxy, proxy_authority: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(proxy.forward_address, through=("other.example", 443), tls=trusting(proxy_authority))


def test_tls_of_an_llm_host_is_opened(proxy: Proxy, real_tls: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(proxy.forward_address, through=("api.openai.com", 443), tls=real_tls)


def test_plain_http_within_a_tunnel_is_not_read(proxy: Proxy, service: Standin) -> None:
    """Not even what every proxy would put in order."""
    body = chat("gpt-4o")
    with RawClient(proxy.forward_address, through=("other.example", 80)) as client:
        sent = request("POST", "/v1/chat/completions", "x-ODD:   1  ", "Proxy-Connection: x", body=body, host="a.b")
        reply = client.ask(sent)
        assert reply.json()["choices"][0]["message"]["content"] == "real gpt-4o"
        assert service.requests[0].head + service.requests[0].body == sent


@pytest.mark.parametrize("said", [b"\x00\x01\x02 not http at all \r\n\r\n", STRANGE, b"SSH-2.0-x\r\n\r\n"])
def test_bytes_within_a_tunnel_arrive_as_they_are(proxy: Proxy, said: bytes) -> None:
    """Whatever speaks first."""
    with Echo() as echo, RawClient(proxy.forward_address, through=echo.address) as client:
        client.send(said)
        assert client.exactly(len(said)) == said
        client.send(b"\r\n\x00more")
        assert client.exactly(7) == b"\r\n\x00more"


@pytest.mark.parametrize("held_back", ["", "x-motive-role: asker\r\n"])
def test_plain_proxying_by_absolute_urls(proxy: Proxy, service: Standin, held_back: str) -> None:
    """A path that looks like an LLM's means nothing on another host."""
    body = chat("gpt-4o")
    head = f"POST http://example.org/v1/chat/completions?x=1 HTTP/1.1\r\nHost: example.org\r\n{held_back}"
    with RawClient(proxy.forward_address) as client:
        reply = client.ask(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert reply.json()["choices"][0]["message"]["content"] == "real gpt-4o"
    (received,) = service.requests
    assert (received.target, received.body) == ("/v1/chat/completions?x=1", body)


def test_an_endless_reply_of_another_host_comes_as_it_is_said(proxy: Proxy, service: Standin) -> None:
    """By plain HTTP: an app whose proxy variables are set has its own pages' events from such a service."""
    heard = Gate()

    def events(_: Received, writer: Writer) -> None:
        writer.start(200, [("Content-Type", "Text/Event-Stream; charset=utf-8")])
        writer.send(b"data: 1\n\n")
        heard.wait()
        writer.send(b"data: 2\n\n")
        writer.end()

    service.handler = events
    with (
        httpx.Client(proxy=proxy.forward, trust_env=False) as client,
        client.stream("GET", "http://example.org/") as reply,
    ):
        said = reply.iter_raw()
        assert next(said) == b"data: 1\n\n"
        heard.open()
        assert next(said) == b"data: 2\n\n"


def test_large_reply_of_another_host(proxy: Proxy, service: Standin, real_tls: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 4096

    def much(_: Received, writer: Writer) -> None:
        writer.start(200, [("Content-Length", str(len(body)))])
        writer.send(body)
        writer.end()

    service.handler = much
    with RawClient(proxy.forward_address, through=("other.example", 443), tls=real_tls) as client:
        assert client.ask(request("GET", "/", host="other.example")).body == body
