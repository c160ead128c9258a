"""A call to a service that is cancelled, at whatever moment, leaves no connection behind."""

from __future__ import annotations

import asyncio

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
