"""A call to a service that is cancelled, at whatever moment, leaves no connection behind."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from motive_core.ir import ChatRequest, Message, TextPart
from motive_core.upstream import Endpoint, Http, HttpUpstream

STEPS = 60
"""More turns of the loop than a call takes until it waits for its reply."""


async def test_every_connection_is_closed() -> None:
    open_ones: set[asyncio.StreamWriter] = set()
    came = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        open_ones.add(writer)
        while await reader.read(65536):
            pass
        writer.close()
        open_ones.remove(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    http = Http()
    service = HttpUpstream(Endpoint(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"), http)
    request = ChatRequest("openai-chat", "m", (Message("user", (TextPart("Hi"),)),))
    try:
        for steps in range(STEPS):
            call = asyncio.ensure_future(service.ask(request))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            (ended,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError)
        async with asyncio.timeout(10):
            while open_ones or not came:  # noqa: ASYNC110  # they are closed by the other side, which tells nobody
                await asyncio.sleep(0.01)
        assert came > 10
    finally:
        await http.close()
        server.close()


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_every_connection_is_closed_if_it_is_cancelled_while_it_is_made_secure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither side sees a connection whose handshake was left alone: only its descriptor is there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(secure)
    came = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=secure)
    http = Http()
    address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    http.prepare(address)
    service = HttpUpstream(Endpoint(base_url=address), http)
    request = ChatRequest("openai-chat", "m", (Message("user", (TextPart("Hi"),)),))
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.ask(request), 0.5)  # the authorities are loaded
        assert came == 1
        before = descriptors()
        for milliseconds in range(0, 30, 2):
            for steps in range(3):
                call = asyncio.ensure_future(service.ask(request))
                await asyncio.sleep(milliseconds / 1000)
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                (ended,) = await asyncio.gather(call, return_exceptions=True)
                assert isinstance(ended, asyncio.CancelledError)
        async with asyncio.timeout(10):
            while descriptors() > before:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        assert came > 10
    finally:
        await http.close()
        server.close()
