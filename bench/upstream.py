"""The stand-in for the real service: answers every call with one chat completion, over plain HTTP and over TLS. To one
that streams it says as many deltas as the model tells (``calls.deltas``), in the dialect of the path.

Run as ``python -m bench.upstream CERTIFICATE``: prints its two ports (plain, TLS) on one line, and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any, Final

from bench.calls import COMPLETION, deltas
from bench.wire import Messages

_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"x-request-id: req_benchmark\r\nopenai-processing-ms: 1\r\n\r\n" % len(COMPLETION)
) + COMPLETION


_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
    b"x-request-id: req_benchmark\r\n\r\n"
)
_tasks: set[asyncio.Task[None]] = set()


def _answer(connection: Messages, line: bytes, body: bytes) -> None:
    if b'"stream": true' not in body and b'"stream":true' not in body:
        connection.transport.write(_REPLY)
        return
    task = asyncio.get_running_loop().create_task(_say(connection, json.loads(body)["model"], b"/messages" in line))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _say(connection: Messages, model: str, anthropic: bool) -> None:
    count, pause_s = deltas(model)
    opening, delta, closing = _anthropic(model) if anthropic else _openai(model)
    loop, write = asyncio.get_running_loop(), connection.transport.write
    write(_STREAM_HEAD + opening)
    began = loop.time()
    for number in range(count):
        if (wait_s := began + number * pause_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        elif not pause_s and number % 50 == 49:
            await asyncio.sleep(0)
        write(_chunk(delta % number))
    write(closing + b"0\r\n\r\n")


def _openai(model: str) -> tuple[bytes, bytes, bytes]:
    """What comes before the deltas, one of them with a place for its number, and what comes behind."""

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        told = {"id": "chatcmpl-benchmark", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        told |= {"service_tier": "default", "system_fingerprint": "fp_benchmark", "choices": [choice]}
        return b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"

    opening = _chunk(event({"role": "assistant", "content": "", "refusal": None}))
    return opening, event({"content": "token_%06d "}), _chunk(event({}, "stop")) + _chunk(b"data: [DONE]\n\n")


def _anthropic(model: str) -> tuple[bytes, bytes, bytes]:
    """The same in Anthropic's words."""

    def event(kind: str, **told: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **told}, separators=(',', ':'))}\n\n".encode()

    message: dict[str, Any] = {
        "id": "msg_benchmark",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
    }
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 150, "output_tokens": 1}}
    block = {"type": "text", "text": ""}
    opening = _chunk(event("message_start", message=message)) + _chunk(
        event("content_block_start", index=0, content_block=block)
    )
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    closing = _chunk(event("content_block_stop", index=0))
    closing += _chunk(event("message_delta", delta=ended, usage={"output_tokens": 80})) + _chunk(event("message_stop"))
    return opening, event("content_block_delta", index=0, delta={"type": "text_delta", "text": "token_%06d "}), closing


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(certificate: str) -> None:
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    plain = await loop.create_server(lambda: Messages(_answer), "127.0.0.1", 0, backlog=4096)
    secure = await loop.create_server(lambda: Messages(_answer), "127.0.0.1", 0, backlog=4096, ssl=tls)
    async with plain, secure:
        print(*(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
