"""What the clients of the benchmarks send, and what the stand-in for the real service answers.

Owns the bytes. The calls have the size and shape of those of an ordinary app: a system prompt, a little history and the
new words, a bit more than 1 KiB with their headers.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

type Side = Literal["asker", "answerer"]

PATH: Final = "/v1/chat/completions"
ADMIN_TOKEN: Final = "benchmark"
"""What the proxies are told that the operator has."""
_SYSTEM: Final = (
    "You are the narrator of a text adventure. You describe what the player sees, in two sentences at most, in the "
    "second person and in the present tense. You never decide what the player does. You keep to the facts that were "
    "told before, and you name every object that can be taken."
)
_USER_AGENT: Final[dict[Side, str]] = {"asker": "Benchmark/Asker 1.0", "answerer": "Benchmark/Answerer 1.0"}

COMPLETION: Final = json.dumps(
    {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "You stand before a heavy oak door. " * 10},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 150, "completion_tokens": 80, "total_tokens": 230},
        "system_fingerprint": "fp_benchmark",
    }
).encode()


TOKEN: Final = b"token_"
"""Stands in each delta of a streamed reply, and nowhere else in it."""


def streamed(model: str) -> bytes:
    """The body of a call that streams. ``model`` tells the stand-in what to say: see ``deltas``."""
    return _body(model, [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "Look."}], stream=True)


def deltas(model: str) -> tuple[int, float]:
    """How many deltas a model says (``...-20-5``: twenty), and how many seconds pass between two of them (5 ms)."""
    _, count, pause_ms = model.rsplit("-", 2)
    return int(count), int(pause_ms) / 1000


def chat(where: str, host: str, body: bytes, side: Side) -> bytes:
    """One HTTP/1.1 request. ``where`` is its target: a path, or a whole URL for a forward proxy."""
    return (
        f"POST {where} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {_USER_AGENT[side]}\r\nAccept: application/json\r\n"
        f"Accept-Encoding: identity\r\nAuthorization: Bearer sk-benchmark\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str, host: str, method: str = "GET") -> bytes:
    """A request without a body, of the operator."""
    lines = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Benchmark/Admin 1.0\r\n"
    return f"{lines}X-Admin-Token: {ADMIN_TOKEN}\r\n\r\n".encode()


def said(side: Side, number: int | str) -> str:
    """The ``number``-th message of a side."""
    if side == "asker":
        return f"Turn {number}. I open the door, hold up my lantern and look around the room. What do I see?"
    return f"Turn {number}. You see a narrow room with a stone table. On the table lie a brass key and a letter."


class Turns:
    """All messages of one side of a conversation, as requests; each carries the turn before it as its history.

    Numbers have six digits, so that making the next request is one formatting of bytes.
    """

    def __init__(self, where: str, host: str, session: str, side: Side) -> None:
        blank = "%06d"
        if side == "asker":
            # To the asker, what came before is its last message and the answer to it.
            messages = [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": said("asker", blank)},
                {"role": "assistant", "content": said("answerer", blank)},
                {"role": "user", "content": said("asker", blank)},
            ]
            self._offsets = (1, 1, 0)
        else:
            # To the answerer, it is its last answer and the message that it answers now.
            messages = [
                {"role": "user", "content": said("answerer", blank)},
                {"role": "assistant", "content": said("asker", blank)},
                {"role": "user", "content": said("answerer", blank)},
            ]
            self._offsets = (1, 0, 0)
        body = _body(session, messages)
        head = chat(where, host, body % (0, 0, 0), side)
        self._template = head[: head.find(b"\r\n\r\n") + 4] + body
        self._reply = said("answerer" if side == "asker" else "asker", blank).encode()

    def request(self, number: int) -> bytes:
        """The ``number``-th call."""
        first, second, third = self._offsets
        return self._template % (number - first, number - second, number - third)

    def heard(self, number: int) -> bytes:
        """What stands in the reply that brings the other side's ``number``-th message."""
        return self._reply % number


def join(where: str, host: str, session: str) -> bytes:
    """The call by which the answerer sits down."""
    return chat(where, host, _body(session, [{"role": "user", "content": "ping"}]), "answerer")


def _body(model: str, messages: list[dict[str, str]], *, stream: bool = False) -> bytes:
    fields: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.7, "stream": stream}
    return json.dumps(fields).encode()
