"""The origin's server: uvicorn in the running event loop, on 127.0.0.1 and a free port.

Owns the socket and the server's life. uvicorn takes SIGINT and SIGTERM for itself unless it is kept from it: they
belong to the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.applications import Starlette

from motive_core.errors import UpstreamError
from motive_core.exchange import SeveredError
from motive_core.origin.streams import Streams
from motive_core.origin.teller import Teller

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 2.0
_TELLER_STOP_TIMEOUT_S = 0.5
"""What is being told was cut before: this is for its last bytes."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _is_defect(record: logging.LogRecord) -> bool:
    """A reply ends without its end if its service cut it off, or if that is done on purpose: its client is to see it,
    and it is no fault of ours."""
    return record.exc_info is None or not isinstance(record.exc_info[1], UpstreamError | SeveredError)


class OriginServer:
    """``make`` builds the application for a secret that only this process knows. Replies of ``streams`` are told at an
    address of their own, ``teller.address``."""

    def __init__(self, make: Callable[[str], Starlette], streams: Streams) -> None:
        logging.getLogger("uvicorn.error").addFilter(_is_defect)
        self.secret = secrets.token_urlsafe(24)
        self._make = make
        self.teller = Teller(streams, self.secret)
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.address: tuple[str, int] | None = None

    async def start(self) -> None:
        """Listen. Raises ``OSError`` if no port is free, ``TimeoutError`` if the server does not come up."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind(("127.0.0.1", 0))
            config = uvicorn.Config(
                self._make(self.secret),
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="none",
                http="h11",
                ws="none",
                server_header=False,
                date_header=False,
                backlog=4096,
                timeout_graceful_shutdown=int(_STOP_TIMEOUT_S),
            )
            self._server = server = _Server(config)
            self._task = asyncio.create_task(server.serve(sockets=[listener]), name="motive origin")
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not server.started:
                    if self._task.done():
                        self._task.result()
                        raise OSError("the origin ended while it started")
                    await asyncio.sleep(0.005)
        except BaseException:
            listener.close()
            raise
        await self.teller.start()
        address = listener.getsockname()
        self.address = (address[0], address[1])

    async def stop(self) -> None:
        """Let open replies end for a moment, then close."""
        if self._server is None or self._task is None:
            return
        self.address = None
        await self.teller.stop(_TELLER_STOP_TIMEOUT_S)
        self._server.should_exit = True
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S + 1.0):
                await self._task
        except TimeoutError:
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
