"""A local server that stands in for the real services, and for every other host behind the proxy.

Owns what reaches a service and what it says: it keeps each request as the bytes that came, and answers with what the
test scripted. HTTP/1.1 is read here, byte for byte; HTTP/2 in ``standin_http2``. Each connection has a thread of its
own, so a scripted answer may wait for the test.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol

import trustme

from tests.e2e.standin_http2 import serve_http2

NAMES: Final = (
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "api.cohere.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "myres.openai.azure.com",
    "example.org",
    "other.example",
)
_READ_BYTES: Final = 65536
_DEADLINE_S: Final = 30.0

type Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Received:
    """A request as it came. ``head`` is everything to the empty line (empty over HTTP/2), ``body`` as framed on the
    wire: a chunked one with its sizes. ``headers`` keep case, order and repetition."""

    host: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    head: bytes
    body: bytes
    connection: int
    version: str

    def header(self, name: str) -> str | None:
        """The first value of a field, whatever its case."""
        return next((value for one, value in self.headers if one.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Writer(Protocol):
    """Where an answer goes."""

    def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        ...

    def send(self, data: bytes) -> None:
        """Send a piece of the body: one chunk, or one DATA frame."""
        ...

    def end(self) -> None:
        """End the body."""
        ...

    def raw(self, data: bytes) -> None:
        """Send bytes as they are (HTTP/1.1 only)."""
        ...


type Handler = Callable[[Received, Writer], None]


class Gate:
    """What a scripted answer waits for, and by which the test learns that it is waited for."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        """Let it go on."""
        self._open.set()

    def wait(self) -> None:
        """Wait until the test opens it."""
        assert self._open.wait(_DEADLINE_S), "the test did not open the gate"


class Standin:
    """The server: TLS on one port, plain on another. Its certificate is for ``NAMES``; ``versions`` are those of HTTP
    that it offers over TLS."""

    def __init__(self, authority: trustme.CA, versions: Sequence[str] = ("h2", "http/1.1")) -> None:
        certificate = authority.issue_cert(*NAMES)
        self.certificate_pem = certificate.cert_chain_pems[0].bytes()
        self.requests: list[Received] = []
        self.handler: Handler = real_service
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(list(versions))
        certificate.configure_cert(self._context)
        self._names: dict[int, str] = {}
        self._context.sni_callback = self._note_name
        self._open: set[socket.socket] = set()
        self._listeners = [_listener(), _listener()]
        self._connections = 0
        self._lock = threading.Lock()
        for listener, secure in zip(self._listeners, (True, False), strict=True):
            threading.Thread(target=self._accept, args=(listener, secure), daemon=True).start()

    @property
    def env(self) -> dict[str, str]:
        """What ``redirect.py`` reads."""
        tls, plain = (str(listener.getsockname()[1]) for listener in self._listeners)
        return {"STANDIN_TLS_PORT": tls, "STANDIN_PLAIN_PORT": plain}

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connections

    def reset(self) -> None:
        """Forget what came, and answer as the real service again."""
        self.requests.clear()
        self.handler = real_service

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests have come whole."""
        limit = time.monotonic() + _DEADLINE_S
        while len(self.requests) < count:
            assert time.monotonic() < limit, f"{len(self.requests)} requests came, not {count}"
            time.sleep(0.01)

    def close(self) -> None:
        """Stop listening, and drop every connection."""
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    # The plain one: that of TLS would pull the rug from under a thread that reads.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def __enter__(self) -> Standin:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def receive(self, request: Received, writer: Writer) -> None:
        """Keep a request and answer it by the script in force."""
        handler = self.handler
        self.requests.append(request)
        handler(request, writer)

    def _note_name(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        self._names[id(connection)] = name or ""

    def _accept(self, listener: socket.socket, secure: bool) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections += 1
                number = self._connections
                self._open.add(connection)
            arguments = (connection, secure, number)
            threading.Thread(target=self._serve, args=arguments, daemon=True).start()

    def _serve(self, raw: socket.socket, secure: bool, number: int) -> None:
        connection: socket.socket = raw
        try:
            host = ""
            if secure:
                connection = self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open.discard(raw)
                    self._open.add(connection)
                connection.do_handshake()
                host = self._names.pop(id(connection), "")
                if connection.selected_alpn_protocol() == "h2":
                    serve_http2(connection, host, number, self.receive)
                    return
            _Http1(connection, host, number).serve(self.receive)
        except OSError:
            pass  # the other side went away, as some tests make it do
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


class _Http1:
    """One HTTP/1.1 connection; its own ``Writer``."""

    def __init__(self, connection: socket.socket, host: str, number: int) -> None:
        self._connection = connection
        self._host = host
        self._number = number
        self._buffer = bytearray()
        self._chunked = False

    def serve(self, receive: Handler) -> None:
        while (head := self._until(b"\r\n\r\n")) is not None:
            lines = head.decode("latin-1").split("\r\n")
            method, target, version = lines[0].split(" ")
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
            fields = {name.lower(): value for name, value in headers}
            body = self._body(fields)
            host = self._host or fields.get("host", "")
            receive(Received(host, method, target, headers, head, body, self._number, version), self)

    def _body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = bytearray()
            while True:
                line = self._until(b"\r\n") or b""
                body += line + self._exactly(int(line.split(b";")[0], 16) + 2)
                if int(line.split(b";")[0], 16) == 0:
                    return bytes(body)
        return self._exactly(int(fields.get("content-length", "0")))

    def _more(self) -> bool:
        data = self._connection.recv(_READ_BYTES)
        self._buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._more():
                return None
        return self._exactly(self._buffer.index(mark) + len(mark))

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise ConnectionResetError("cut in the middle of a request")
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    # Writer

    def start(self, status: int, headers: Headers) -> None:
        names = {name.lower() for name, _ in headers}
        self._chunked = "content-length" not in names
        lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in headers)]
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        self._connection.sendall(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        if self._chunked:
            self._connection.sendall(b"0\r\n\r\n")

    def raw(self, data: bytes) -> None:
        self._connection.sendall(data)


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=256)


# What the real services would say


def real_service(request: Received, writer: Writer) -> None:
    """The script in force unless a test sets another: a model that says who it is, in the dialect of the path. What is
    no call in plain JSON gets its path and size back."""
    path = request.target.partition("?")[0]
    asked = _plain_json(request.body) if request.method == "POST" else None
    if asked is None or not path.endswith(("/chat/completions", "/messages")):
        whole(writer, {"path": request.target, "bytes": len(request.body)})
        return
    model = asked["model"]
    openai = path.endswith("/chat/completions")
    if asked.get("stream"):
        stream(writer, (openai_chunks if openai else anthropic_events)(f"real {model}", model))
    else:
        whole(writer, (openai_reply if openai else anthropic_reply)(f"real {model}", model))


def _plain_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def whole(writer: Writer, body: Any, status: int = 200) -> None:
    """A reply in one piece."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    writer.start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    writer.send(data)
    writer.end()


def stream(writer: Writer, chunks: Iterable[bytes]) -> None:
    """A reply as a stream."""
    writer.start(200, [("Content-Type", "text/event-stream; charset=utf-8"), ("X-Request-Id", "req_real")])
    for chunk in chunks:
        writer.send(chunk)
    writer.end()


def openai_reply(text: str, model: str) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-real",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def openai_chunks(text: str, model: str) -> list[bytes]:
    """A streamed chat completion, one event an item."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        told = {"id": "chatcmpl-real", "object": "chat.completion.chunk", "created": 1, "model": model}
        return b"data: " + json.dumps({**told, "choices": [choice]}).encode() + b"\n\n"

    first = chunk({"role": "assistant", "content": ""})
    return [first, *(chunk({"content": one}) for one in text), chunk({}, "stop"), b"data: [DONE]\n\n"]


def anthropic_reply(text: str, model: str) -> dict[str, Any]:
    """A message."""
    return {
        "id": "msg_real",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def anthropic_events(text: str, model: str) -> list[bytes]:
    """A streamed message, one event an item."""

    def event(kind: str, **told: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **told})}\n\n".encode()

    message = {**anthropic_reply(text, model), "content": [], "stop_reason": None}
    return [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": one}) for one in text),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 1}),
        event("message_stop"),
    ]
