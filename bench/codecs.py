"""``python -m bench.codecs``: what the wire dialects cost, without any socket.

For each dialect, a request of 200 kB is parsed and rendered, and a streamed reply of 2,000 deltas is encoded and
decoded; then the stream of each dialect is translated into each other one. Beside each figure stands the least that
such work can cost here: reading the same JSON by ``pydantic_core.from_json``, and for a stream reading and writing it
event by event. Figures are the best of several rounds, which take turns, since what disturbs a round only ever makes it
slower.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pydantic_core import from_json, to_json

from motive_core.dialects import DIALECTS, Dialect, RequestHead
from motive_core.framing import sse_event
from motive_core.ir import (
    ChatRequest,
    Message,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, Finished, ReplyEvent, Started, UsageReported, replay_part

DELTAS: Final = 2000
CHUNK_BYTES: Final = 16 * 1024
"""A stream is decoded in pieces of this size, about what a socket gives at once."""

_PARAGRAPH: Final = (
    'The guard says: "Halt — wer da?" and looks at the café\'s door.\n\tdef f(x):\n\t\treturn {"a": [x, 1.5, None]}\n'
)
_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer"}},
    "required": ["city"],
}


def conversation(size_bytes: int) -> ChatRequest:
    """A long conversation with an agent: prose and code, tool calls and their results."""
    messages = [Message("system", (TextPart(_PARAGRAPH * 8),))]
    size = 0
    turn = 0
    while size < size_bytes:
        turn += 1
        call = ToolCallPart(f"call_{turn}", "weather", '{"city": "Köln", "days": 3, "scale": 1.0}')
        texts = [_PARAGRAPH * 9, _PARAGRAPH * 5, _PARAGRAPH * 11, _PARAGRAPH * 3]
        messages += [
            Message("user", (TextPart(texts[0]),)),
            Message("assistant", (TextPart(texts[1]), call)),
            Message("tool", (ToolResultPart(call.call_id, (TextPart(texts[2]),), "weather"),)),
            Message("assistant", (TextPart(texts[3]),)),
        ]
        size += sum(len(text.encode()) for text in texts) + 400
    messages.append(Message("user", (TextPart("And now?"),)))
    tools = tuple([Tool(f"tool_{n}", "Looks out.\n" * 5, _SCHEMA) for n in range(10)])
    return ChatRequest("a-dialect-of-the-bench", "room", tuple(messages), stream=True, tools=tools)


def speech() -> list[ReplyEvent]:
    """A reply as a model speaks it: ``DELTAS`` deltas, four of five of them text, then the arguments of a tool call."""
    words = [f" word{n}" if n % 7 else f' "é{n}"\n' for n in range(DELTAS * 4 // 5)]
    numbers = ", ".join([str(n) for n in range(DELTAS)])
    arguments = f'{{"city": "Köln", "list": [{numbers}]}}'
    size = -(-len(arguments) // (DELTAS - len(words)))
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return [
        Started("reply-1", "room", 1_795_230_236),
        *replay_part(0, 0, TextPart("".join(words)), words),
        *replay_part(0, 1, ToolCallPart("call_1", "weather", arguments), pieces),
        ChoiceEnded(0, "tool_calls"),
        UsageReported(Usage(1000, 500)),
        Finished(),
    ]


def asked_for(dialect: Dialect) -> ChatRequest:
    """A request for a streamed reply in a dialect."""
    return ChatRequest(dialect.name, "room", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)


def chunks(data: bytes) -> list[bytes]:
    """A stream as a socket gives it."""
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


def decode(dialect: Dialect, pieces: list[bytes]) -> list[ReplyEvent]:
    """All events of a stream."""
    decoder = dialect.decoder()
    return [*[event for piece in pieces for event in decoder.feed(piece)], *decoder.close()]


def encode(dialect: Dialect, request: ChatRequest, said: list[ReplyEvent]) -> bytes:
    """The bytes of a stream."""
    return dialect.encoder(request).encode_all(said)


@dataclass(slots=True)
class Timed:
    """Something to be measured: ``best_s`` is the least time that it took."""

    name: str
    work: Callable[[], object]
    best_s: float = field(default=float("inf"))

    def run(self) -> None:
        """One round."""
        began = time.perf_counter()
        self.work()
        self.best_s = min(self.best_s, time.perf_counter() - began)


def measure(timed: list[Timed], rounds: int) -> None:
    """Let all take turns, ``rounds`` times."""
    for _ in range(rounds):
        for one in timed:
            one.run()


@dataclass(frozen=True, slots=True)
class RequestCost:
    """Of a request of ``size_bytes``: milliseconds to parse and render it, and to read its JSON only."""

    dialect: str
    size_bytes: int
    parse_ms: float
    render_ms: float
    json_ms: float


@dataclass(frozen=True, slots=True)
class StreamCost:
    """Deltas a second of a stream: decoded, encoded, and its JSON read and written event by event."""

    dialect: str
    decode: float
    encode: float
    json: float


def requests(size_bytes: int, rounds: int) -> Iterator[RequestCost]:
    """The cost of requests, by dialect."""
    said = conversation(size_bytes)
    for dialect in DIALECTS:
        path, _, query = dialect.target(said).partition("?")
        head = RequestHead("POST", "service.example", 443, path, query)
        body = dialect.render_request(said)
        parsed = dialect.parse_request(body, head)
        timed = [
            Timed("parse", partial(dialect.parse_request, body, head)),
            Timed("render", partial(dialect.render_request, parsed)),
            Timed("json", partial(from_json, body)),
        ]
        measure(timed, rounds)
        parse, render, plain = [one.best_s * 1000 for one in timed]
        yield RequestCost(dialect.name, len(body), parse, render, plain)


def streams(rounds: int) -> Iterator[StreamCost]:
    """The cost of streams, by dialect."""
    said = speech()
    deltas = [event.text for event in said if hasattr(event, "text")]
    event = {"id": "reply-1", "model": "room", "choices": [{"index": 0, "delta": {"content": ""}}]}
    plain = [to_json({**event, "choices": [{"index": 0, "delta": {"content": text}}]}) for text in deltas]
    for dialect in DIALECTS:
        request = asked_for(dialect)
        pieces = chunks(dialect.encoder(request).encode_all(said))
        timed = [
            Timed("decode", partial(decode, dialect, pieces)),
            Timed("encode", partial(encode, dialect, request, said)),
            Timed("json", lambda: [sse_event(to_json(from_json(one))) for one in plain]),
        ]
        measure(timed, rounds)
        yield StreamCost(dialect.name, *[DELTAS / one.best_s for one in timed])


def translations(rounds: int) -> list[tuple[str, str, float]]:
    """Deltas a second on the way from each dialect to each other one, decoded and encoded."""
    said = speech()
    routes: list[tuple[str, str, Timed]] = []
    for source in DIALECTS:
        pieces = chunks(source.encoder(asked_for(source)).encode_all(said))
        for target in DIALECTS:
            request = asked_for(target)
            if source is not target:
                work = _translation(source, target, request, pieces)
                routes.append((source.name, target.name, Timed("translate", work)))
    measure([timed for _, _, timed in routes], rounds)
    return [(source, target, DELTAS / timed.best_s) for source, target, timed in routes]


def _translation(source: Dialect, target: Dialect, request: ChatRequest, pieces: list[bytes]) -> Callable[[], bytes]:
    def work() -> bytes:
        decoder, encoder = source.decoder(), target.encoder(request)
        said = [encoder.encode_all(decoder.feed(piece)) for piece in pieces]
        return b"".join([*said, encoder.encode_all(decoder.close())])

    return work


def main() -> None:
    """Measure and print, in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.codecs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each measurement")
    rounds = parser.parse_args().rounds
    print("| a request of 200 kB | parse, ms | render, ms | its JSON alone, ms | parse / JSON |")
    print("| --- | --- | --- | --- | --- |")
    for cost in requests(200_000, rounds):
        print(
            f"| {cost.dialect} | {cost.parse_ms:.2f} | {cost.render_ms:.2f} | {cost.json_ms:.2f} "
            f"| {cost.parse_ms / cost.json_ms:.1f} |",
            flush=True,
        )
    print(f"\n| a stream of {DELTAS:,} deltas, deltas/s | decode | encode | JSON alone, read and written |")
    print("| --- | --- | --- | --- |")
    for stream in streams(rounds):
        print(f"| {stream.dialect} | {stream.decode:,.0f} | {stream.encode:,.0f} | {stream.json:,.0f} |", flush=True)
    routes = sorted(translations(max(3, rounds // 3)), key=lambda route: route[2])
    names = [dialect.name for dialect in DIALECTS]
    by_route = {(source, target): rate for source, target, rate in routes}
    print("\n| translated, thousand deltas/s: from ↓ to → | " + " | ".join(names) + " |")
    print("| --- |" + " --- |" * len(names))
    for source in names:
        cells = [f"{by_route[source, target] / 1000:.0f}" if source != target else "–" for target in names]
        print(f"| {source} | {' | '.join(cells)} |")
    source, target, rate = routes[0]
    print(f"\nslowest: {source} to {target}, {rate:,.0f} deltas/s")


if __name__ == "__main__":
    main()
