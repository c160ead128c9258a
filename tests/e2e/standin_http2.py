"""HTTP/2 for the stand-in: reads streams, and lets each be answered in a thread of its own.

Owns the h2 state of a connection. What is answered is the business of the script that the stand-in has in force.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events

if TYPE_CHECKING:
    from tests.e2e.standin import Headers, Received, Writer

_READ_BYTES = 65536


class _Connection:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))

    def flush(self) -> None:
        """Send what is due. The lock must be held."""
        if data := self.http2.data_to_send():
            self.socket.sendall(data)


class _Stream:
    """One stream's ``Writer``."""

    def __init__(self, connection: _Connection, stream: int) -> None:
        self._connection = connection
        self._stream = stream

    def start(self, status: int, headers: Headers) -> None:
        fields = [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
        with self._connection.lock:
            self._connection.http2.send_headers(self._stream, fields)
            self._connection.flush()

    def send(self, data: bytes) -> None:
        with self._connection.room:
            while data:
                window = self._connection.http2.local_flow_control_window(self._stream)
                size = min(window, self._connection.http2.max_outbound_frame_size, len(data))
                if size <= 0:
                    self._connection.room.wait(10)
                    continue
                self._connection.http2.send_data(self._stream, data[:size])
                self._connection.flush()
                data = data[size:]

    def end(self) -> None:
        with self._connection.lock:
            self._connection.http2.end_stream(self._stream)
            self._connection.flush()

    def raw(self, data: bytes) -> None:
        raise NotImplementedError("bytes as they are make no sense in HTTP/2")


def serve_http2(connection: socket.socket, host: str, number: int, receive: Callable[[Received, Writer], None]) -> None:
    """Serve a connection until the other side closes it."""
    from tests.e2e.standin import Received

    state = _Connection(connection)
    heads: dict[int, Sequence[tuple[str, str]]] = {}
    bodies: dict[int, bytes] = {}
    with state.lock:
        state.http2.initiate_connection()
        state.flush()
    while True:
        whole: list[int] = []
        # A TLS connection cannot be read and written at once: wait outside the lock, read within it.
        if not (isinstance(connection, ssl.SSLSocket) and connection.pending()):
            select.select([connection], [], [])
        with state.room:
            data = connection.recv(_READ_BYTES)
            if not data:
                return
            for event in state.http2.receive_data(data):
                whole += _take(state, event, heads, bodies)
            state.flush()
            state.room.notify_all()
        for stream in whole:
            fields = dict(heads[stream])
            headers = [(name, value) for name, value in heads[stream] if not name.startswith(":")]
            request = Received(host, fields[":method"], fields[":path"], headers, b"", bodies[stream], number, "HTTP/2")
            threading.Thread(target=_answer, args=(receive, request, _Stream(state, stream)), daemon=True).start()


def _answer(receive: Callable[[Any, Any], None], request: Any, writer: _Stream) -> None:
    with contextlib.suppress(OSError):  # the other side went away, as some tests make it do
        receive(request, writer)


def _take(state: _Connection, event: h2.events.Event, heads: dict[int, Any], bodies: dict[int, bytes]) -> list[int]:
    """Apply one event. Gives the stream that it completes, if it does."""
    match event:
        case h2.events.RequestReceived(stream_id=int(stream), headers=headers):
            heads[stream] = [(str(name), str(value)) for name, value in headers or ()]
            bodies[stream] = b""
        case h2.events.DataReceived(stream_id=int(stream), data=bytes(data)):
            bodies[stream] += data
            state.http2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        case h2.events.StreamEnded(stream_id=int(stream)):
            return [stream]
        case _:
            pass
    return []
