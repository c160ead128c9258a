"""A plain HTTP server that answers with bytes that a dialect rendered, for the vendors' SDKs to read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from motive_core.dialects import Dialect, RequestHead
from motive_core.errors import MotiveError
from motive_core.ir import ChatRequest, Reply


@dataclass
class Service(ThreadingHTTPServer):
    """Answers every request with what it was told to serve, in pieces, and keeps what it was asked."""

    dialect: Dialect
    request: ChatRequest
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    asked: list[tuple[RequestHead, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def serve(self, status: int, headers: dict[str, str], *pieces: bytes) -> None:
        self.status, self.headers, self.pieces = status, headers, list(pieces)

    def serve_reply(self, reply: Reply) -> None:
        body = self.dialect.render_reply(self.request, reply)
        self.serve(200, {"content-type": "application/json", **self.dialect.reply_headers("req_1")}, body)

    def serve_stream(self, *pieces: bytes) -> None:
        self.serve(200, {"content-type": self.dialect.stream_type, **self.dialect.reply_headers("req_1")}, *pieces)

    def serve_error(self, error: MotiveError) -> None:
        headers, body = self.dialect.error_headers(error, "req_1"), self.dialect.render_error(error, "req_1")
        self.serve(self.dialect.error_status(error), headers, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path, _, query = self.path.partition("?")
        names = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((RequestHead(self.command, "127.0.0.1", 0, path, query, names), body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        self.end_headers()
        for piece in self.server.pieces:
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: pytest would show it beside the tests."""


@contextmanager
def serving(dialect: Dialect, request: ChatRequest) -> Iterator[Service]:
    """A server for replies to ``request``."""
    with Service(dialect, request) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
