"""A client that speaks bytes, for what no SDK would say.

Owns a socket and the bytes that come back on it: a reply is given as its head and its body as framed. Blocking; used
outside event loops, or in a thread.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_TIMEOUT_S: Final = 30.0
_READ_BYTES: Final = 65536

UPGRADE: Final = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
"""Header lines that ask for a WebSocket."""


@dataclass(frozen=True, slots=True)
class RawReply:
    """A reply as it came. ``body`` has no chunk framing; ``framed`` has what there was."""

    head: bytes
    body: bytes
    framed: bytes

    @property
    def status(self) -> int:
        """Its status code."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def header_lines(self) -> list[str]:
        """Its header lines, as they are."""
        return self.head.decode("latin-1").split("\r\n")[1:-2]

    def header(self, name: str) -> str | None:
        """The first value of a field."""
        pairs = (line.partition(":") for line in self.header_lines)
        return next((value.strip() for one, _, value in pairs if one.lower() == name.lower()), None)

    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)


class RawClient:
    """One connection. ``through`` sends it by CONNECT to ``(host, port)``; ``tls`` then encrypts it for that
    host, or for ``name`` (None: for no name)."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        through: tuple[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
        name: str | None = "",
    ) -> None:
        self.socket: socket.socket = socket.create_connection(address, _TIMEOUT_S)
        self._buffer = b""
        try:
            if through is not None:
                host, port = through
                self.send(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                opened = self._head()
                assert b" 200 " in opened.split(b"\r\n")[0], opened
                if tls is not None:
                    self.socket = tls.wrap_socket(self.socket, server_hostname=host if name == "" else name)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def ask(self, data: bytes, *, head_only: bool = False) -> RawReply:
        """Send a request, and read its reply."""
        self.send(data)
        return self.reply(head_only=head_only)

    def reply(self, *, head_only: bool = False) -> RawReply:
        """Read a reply. ``head_only`` for one to HEAD."""
        head = self._head()
        while head.split(b" ", 2)[1] == b"100":
            head = self._head()
        reply = RawReply(head, b"", b"")
        length, encoding = reply.header("content-length"), reply.header("transfer-encoding")
        if head_only or reply.status in (204, 304) or reply.status < 200:
            return reply
        if encoding is not None and encoding.lower() == "chunked":
            body, framed = self._chunks()
            return RawReply(head, body, framed)
        body = self.exactly(int(length)) if length is not None else self.rest()
        return RawReply(head, body, body)

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        while len(self._buffer) < count:
            self._more()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def until(self, mark: bytes) -> bytes:
        """The next bytes, up to and with ``mark``."""
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        while data := self.socket.recv(_READ_BYTES):
            self._buffer += data
        found, self._buffer = self._buffer, b""
        return found

    def _head(self) -> bytes:
        return self.until(b"\r\n\r\n")

    def _chunks(self) -> tuple[bytes, bytes]:
        body = framed = b""
        while True:
            line = self.until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            data = self.exactly(size + 2)
            framed += line + data
            if size == 0:
                return body, framed
            body += data[:-2]

    def _more(self) -> None:
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise EOFError(f"the connection ended after {self._buffer!r}")
        self._buffer += data


class Echo:
    """A server for one connection: says back what it is told, and ends when the other side has."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TIMEOUT_S)
        self._thread = threading.Thread(target=self._serve)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._listener.getsockname()
        return host, port

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_TIMEOUT_S)
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(_READ_BYTES):
                    connection.sendall(data)

    def __enter__(self) -> Echo:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.join()
        self._listener.close()


def request(
    method: str = "POST",
    target: str = "/v1/chat/completions",
    *lines: str,
    body: bytes = b"",
    host: str = "127.0.0.1",
    version: str = "HTTP/1.1",
) -> bytes:
    """A request as bytes. ``lines`` are header lines; ``Content-Length`` is added if there is a body and none says how
    it is framed."""
    head = [f"{method} {target} {version}", f"Host: {host}", *lines]
    framed = any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in lines)
    if body and not framed:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks."""
    return b"".join([b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]) + b"0\r\n\r\n"


def chat(model: str, words: str = "hi", **fields: Any) -> bytes:
    """The body of a chat call, for OpenAI's dialect and good enough for Anthropic's."""
    messages = [{"role": "user", "content": words}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": 9, **fields}, ensure_ascii=False).encode()


def trusting(authority: Path) -> ssl.SSLContext:
    """TLS that trusts one authority, and offers HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    context.set_alpn_protocols(["http/1.1"])
    return context
