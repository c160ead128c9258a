"""``python -m tests.core.fuzz``: mutated golden files into every parser, for as long as one likes.

Whatever comes in, a parser gives a value or the one error that it documents, and what it gave can be said in every
dialect. Anything else is printed with the input that caused it, and ends the run with status 1: make a test case of it.
A run repeats with the same ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from motive_core.dialects import DIALECTS, Dialect, RequestHead
from motive_core.errors import BadRequestError, FramingError
from motive_core.ir import ChatRequest, Message, Reply, TextPart
from motive_core.stream import Collector, replay

WIRE: Final = Path(__file__).parents[1] / "wire"

_TEXTS: Final = ("", "x", "\ud83d", "\x00", "é" * 3)
_NUMBERS: Final = (0, -1, 2**63, 10**30, 1.5, 1e300)
_SCALARS: Final[tuple[Any, ...]] = (None, True, False, *_NUMBERS, *_TEXTS, [], {}, [[]], [None], {"": {}})
_SPLICED: Final = b'\x00|\xff|\n\n|\r|data: |event: error\n|[DONE]|{|}|"|\\u|null'.split(b"|")


class Fuzzer:
    """Everything random of a run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def mutated(self, data: bytes) -> bytes:
        """Bytes that are like ``data``, and JSON for the most part if it is."""
        if self.random.random() < 0.6:
            try:
                value = json.loads(data)
            except ValueError:
                return self._mutated_lines(data)
            for _ in range(self.random.randint(1, 3)):
                value = self._mutated_value(value)
            return json.dumps(value).encode()
        return self._mutated_bytes(data)

    def _mutated_lines(self, data: bytes) -> bytes:
        """A stream with one of its JSON values changed, left out, said twice or moved."""
        lines = data.split(b"\n")
        places = [n for n, line in enumerate(lines) if b"{" in line] or [0]
        place = self.random.choice(places)
        match self.random.randrange(4):
            case 0:
                head, brace, tail = lines[place].partition(b"{")
                try:
                    value = json.loads(brace + tail)
                except ValueError:
                    return self._mutated_bytes(data)
                lines[place] = head + json.dumps(self._mutated_value(value)).encode()
            case 1:
                del lines[place]
            case 2:
                lines.insert(place, lines[self.random.choice(places)])
            case _:
                other = self.random.choice(places)
                lines[place], lines[other] = lines[other], lines[place]
        return b"\n".join(lines)

    def _mutated_value(self, value: Any) -> Any:
        if isinstance(value, dict) and value and self.random.random() < 0.85:
            key = self.random.choice(list(value))
            match self.random.randrange(8):
                case 0:
                    return {name: item for name, item in value.items() if name != key}
                case 1:
                    return {**value, self.random.choice(["", "type", "x", "index", "extra"]): self._scalar()}
                case _:
                    return {**value, key: self._mutated_value(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.85:
            place = self.random.randrange(len(value))
            match self.random.randrange(8):
                case 0:
                    return value[:place] + value[place + 1 :]
                case 1:
                    return [*value, value[place]]
                case _:
                    return [*value[:place], self._mutated_value(value[place]), *value[place + 1 :]]
        return self._scalar()

    def _scalar(self) -> Any:
        return self.random.choice(_SCALARS)

    def _mutated_bytes(self, data: bytes) -> bytes:
        mutable = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            place = self.random.randrange(len(mutable) + 1)
            match self.random.randrange(5):
                case 0 if place < len(mutable):
                    mutable[place] ^= 1 << self.random.randrange(8)
                case 1:
                    del mutable[place : place + self.random.randint(1, 40)]
                case 2:
                    mutable[place:place] = self.random.choice(_SPLICED)
                case 3:
                    start = self.random.randrange(len(data) + 1)
                    mutable[place:place] = data[start : start + self.random.randint(1, 60)]
                case _:
                    del mutable[place:]
        return bytes(mutable)

    def chunks(self, data: bytes) -> list[bytes]:
        """The data in pieces."""
        cuts = sorted(self.random.randrange(len(data) + 1) for _ in range(self.random.randint(0, 5)))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def say_request(request: ChatRequest) -> None:
    """A request that was understood can be asked in every dialect, and each understands its own words."""
    for dialect in DIALECTS:
        path, _, query = dialect.target(request).partition("?")
        try:
            dialect.parse_request(dialect.render_request(request), RequestHead("POST", "h", 443, path, query))
        except BadRequestError:
            if request.model and request.messages and request.messages[-1].text:
                raise


def say_reply(reply: Reply) -> None:
    """A reply that was understood can be said in every dialect, whole and streamed."""
    for dialect in DIALECTS:
        asked = ChatRequest(dialect.name, "m", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)
        dialect.parse_reply(dialect.render_reply(asked, reply))
        stream = dialect.encoder(asked).encode_all(replay(reply))
        decoder = dialect.decoder()
        decoder.feed(stream)
        decoder.close()


def as_request(dialect: Dialect, data: bytes, head: RequestHead, fuzzer: Fuzzer) -> None:
    """Into ``parse_request``."""
    try:
        request = dialect.parse_request(data, head)
    except BadRequestError:
        return
    if fuzzer.random.random() < 0.2:
        say_request(request)


def as_reply(dialect: Dialect, data: bytes, fuzzer: Fuzzer) -> None:
    """Into ``parse_reply``."""
    try:
        reply = dialect.parse_reply(data)
    except FramingError:
        return
    if fuzzer.random.random() < 0.2:
        say_reply(reply)


def as_stream(dialect: Dialect, data: bytes, fuzzer: Fuzzer) -> None:
    """Into a decoder, in pieces. What came out must be well-formed."""
    decoder, collector = dialect.decoder(), Collector()
    try:
        for chunk in fuzzer.chunks(data):
            for event in decoder.feed(chunk):
                collector.add(event)
    except FramingError:
        pass
    for event in decoder.close():
        collector.add(event)
    assert collector.complete or collector.error is not None, "the stream has no end"
    if fuzzer.random.random() < 0.2:
        say_reply(collector.reply())


def runs_of(dialect: Dialect, fuzzer: Fuzzer) -> list[tuple[str, Callable[[bytes], None], list[bytes]]]:
    """The parsers of a dialect, each with the golden files that it is fed."""
    folder = WIRE / dialect.name
    asked = ChatRequest(dialect.name, "m", (Message("user", (TextPart("hi"),)),), stream=True)
    path, _, query = dialect.target(asked).partition("?")
    head = RequestHead("POST", "h", 443, path, query)
    return [
        (
            "request",
            lambda data: as_request(dialect, data, head, fuzzer),
            [one.read_bytes() for one in sorted(folder.glob("*.request.json"))],
        ),
        (
            "reply",
            lambda data: as_reply(dialect, data, fuzzer),
            [one.read_bytes() for one in sorted(folder.glob("*.reply.json"))],
        ),
        (
            "stream",
            lambda data: as_stream(dialect, data, fuzzer),
            [one.read_bytes() for one in sorted(folder.glob("*.stream.*"))],
        ),
    ]


def main() -> int:
    """Run. Gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.fuzz", description=__doc__)
    parser.add_argument("dialect", nargs="*", help="names of dialects; all, if none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each parser of each dialect")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    fuzzer = Fuzzer(given.seed)
    failures = 0
    for dialect in DIALECTS:
        if given.dialect and dialect.name not in given.dialect:
            continue
        for name, take, seeds in runs_of(dialect, fuzzer):
            count, slowest, found = 0, 0.0, set[str]()
            end = time.monotonic() + given.seconds
            while time.monotonic() < end and len(found) < 20:
                data = fuzzer.mutated(fuzzer.random.choice(seeds))
                began = time.monotonic()
                try:
                    take(data)
                except Exception as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    key = f"{type(error).__name__} at {where.filename}:{where.lineno}"
                    if key not in found:
                        found.add(key)
                        print(f"{dialect.name} {name}: {key}: {error}\n  {data!r}", flush=True)
                slowest = max(slowest, time.monotonic() - began)
                count += 1
            failures += len(found)
            told = f"{count:,} inputs, {len(found)} failures, slowest {slowest * 1000:.0f} ms"
            print(f"{dialect.name} {name}: {told}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
