"""What the real service said to a call that passed: kept as it came, in any dialect, and read when somebody looks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import brotli
import pytest
import zstandard

from motive_core.console import CallLog, Overheard
from motive_core.console.feed import Feed
from motive_core.console.overheard import MOST_BYTES, read
from motive_core.console.transcript import as_fine_tuning, as_markdown, turns_of
from motive_core.dialects import DIALECTS, Dialect
from motive_core.ir import ChatRequest, Choice, Message, Reply, TextPart, ToolCallPart, Usage
from motive_core.part_sizes import bytes_of
from motive_core.routing import CallFacts
from motive_core.stream import replay
from tests.core.dialects.carries import carries

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    assert isinstance(request.param, Dialect)
    return request.param


def request_in(dialect: str, text: str = "hello", *, stream: bool = False) -> ChatRequest:
    return ChatRequest(dialect, "npc", (Message("user", (TextPart(text),)),), stream=stream, raw=b"{}")


def said_in(dialect: Dialect, reply: Reply, *, stream: bool) -> tuple[bytes, str]:
    request = request_in(dialect.name, stream=stream)
    if not stream:
        return dialect.render_reply(request, reply), "application/json"
    return dialect.encoder(request).encode_all(replay(reply)), dialect.content_type(request)


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Calls:
    """A log in which calls pass."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.log = CallLog(Feed("0"), self.clock)

    def pass_one(self, call: str, text: str = "hello", *, dialect: str = "openai-chat", stream: bool = False) -> None:
        request = request_in(dialect, text, stream=stream)
        facts = CallFacts("forward", dialect, "h", 443, "/", {}, "127.0.0.1", None, request)
        self.log.passed(call, "npc", facts, client="127.0.0.1")

    @property
    def kept_bytes(self) -> int:
        return sum(record.size_bytes for record in self.log.of("npc"))


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
class TestReading:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_any_dialect_in_any_content_encoding(self, dialect: Dialect, stream: bool, encoding: str) -> None:
        parts: tuple[TextPart | ToolCallPart, ...] = (TextPart("One, two."),)
        if carries(dialect.name).calls:
            parts += (ToolCallPart("call_1", "go", '{"to": "x"}'),)
        body, kind = said_in(dialect, Reply("id1", "npc", (Choice(parts),), Usage(1, 4)), stream=stream)
        said = Overheard(200, kind, encoding, ENCODINGS[encoding](body))
        reply, problem = read(said, dialect.name, streamed=stream)
        assert reply is not None and problem == ""
        read_parts = reply.choices[0].parts
        assert read_parts[0] == TextPart("One, two.")
        assert [part.name for part in read_parts if isinstance(part, ToolCallPart)] == ["go"] * (len(parts) - 1)

    def test_signs_of_life_before_it(self, dialect: Dialect, stream: bool) -> None:
        body, kind = said_in(dialect, Reply("id1", "npc", (Choice((TextPart("One."),)),)), stream=stream)
        before = dialect.encoder(request_in(dialect.name, stream=True)).heartbeat() if stream else b"  \n "
        reply, problem = read(Overheard(200, kind, "", before + body), dialect.name, streamed=stream)
        assert reply is not None and problem == ""
        assert reply.choices[0].parts == (TextPart("One."),)

    @pytest.mark.parametrize("body", [b"\xff\x00\xfe", b"<html>", b"{", b"[" * 50_000, b"data: {\n\n", b"null"])
    def test_what_is_no_reply_is_said_to_be_none(self, dialect: Dialect, stream: bool, body: bytes) -> None:
        kind = "text/event-stream" if stream else "application/json"
        reply, problem = read(Overheard(200, kind, "", body), dialect.name, streamed=stream)
        assert reply is None or not reply.choices or not reply.choices[0].parts
        assert problem or reply is not None


class TestProblems:
    def test_an_error_of_the_service_is_told_in_its_words(self) -> None:
        body = gzip.compress(json.dumps({"error": {"message": "Too fast.", "code": "rate_limit"}}).encode())
        assert read(Overheard(429, "application/json", "gzip", body), "openai-chat", streamed=True) == (
            None,
            "Too fast.",
        )

    def test_a_body_that_is_not_in_its_encoding(self) -> None:
        reply, problem = read(Overheard(200, "application/json", "gzip", b"{}"), "openai-chat", streamed=False)
        assert reply is None and "gzip" in problem

    def test_a_body_that_unpacks_to_very_much(self) -> None:
        body = gzip.compress(bytes(64 * 1024 * 1024))
        reply, problem = read(Overheard(200, "application/json", "gzip", body), "openai-chat", streamed=False)
        assert reply is None and "more than" in problem

    def test_an_error_within_a_stream_leaves_what_came_before(self) -> None:
        words = {"choices": [{"index": 0, "delta": {"content": "One"}}]}
        told = [words, {"error": {"message": "Hot."}}]
        body = "".join(f"data: {json.dumps(one)}\n\n" for one in told).encode()
        reply, problem = read(Overheard(200, "text/event-stream", "", body), "openai-chat", streamed=True)
        assert reply is not None and reply.choices[0].parts == (TextPart("One"),)
        assert problem == "Hot."


class TestTheLog:
    BODY = json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hi."}}]}).encode()

    def test_it_is_read_once_and_by_whoever_looks_first(self, calls: Calls) -> None:
        calls.pass_one("c1")
        calls.clock.now += 2.5
        calls.log.overheard("c1", Overheard(200, "application/json", "", self.BODY))
        record = calls.log.get("c1")
        assert record is not None
        before_bytes = calls.kept_bytes
        assert before_bytes == len(b"{}") + len(self.BODY)
        assert (record.said, record.status) == (None, 200)
        assert calls.log.read(record) and not calls.log.read(record)
        assert record.said is not None and record.said.choices[0].parts == (TextPart("Hi."),)
        assert calls.kept_bytes == len(b"{}") + bytes_of(record.said.choices[0].parts)
        [turn] = turns_of([record])
        assert (turn["answer"], turn["answered_by"], turn["took_s"], turn["error"]) == (
            [{"kind": "text", "text": "Hi."}],
            "the real service",
            2.5,
            None,
        )
        assert "> Hi." in as_markdown("npc", [record])

    def test_only_what_was_answered_here_is_an_example_to_learn_from(self, calls: Calls) -> None:
        calls.pass_one("c1")
        calls.log.overheard("c1", Overheard(200, "application/json", "", self.BODY))
        [record] = calls.log.of("npc")
        calls.log.read(record)
        assert as_fine_tuning([record]) == b""

    def test_one_that_is_too_large_is_not_kept(self, calls: Calls) -> None:
        calls.pass_one("c1")
        calls.log.overheard("c1", Overheard(200, "application/json", "", bytes(MOST_BYTES + 1)))
        [record] = calls.log.of("npc")
        assert not calls.log.read(record)
        assert "too many" in record.problem and calls.kept_bytes == 2

    def test_it_counts_in_what_is_kept(self, calls: Calls) -> None:
        for number in range(40):
            calls.pass_one(f"c{number}")
            calls.log.overheard(f"c{number}", Overheard(200, "application/json", "", bytes(MOST_BYTES)))
        kept = [record for record in calls.log.of("npc") if record.overheard is not None]
        assert 0 < len(kept) <= 16
        assert [record.call for record in kept] == [f"c{number}" for number in range(39, 39 - len(kept), -1)]

    def test_names_are_kept_within_bounds(self, calls: Calls) -> None:
        """Nobody counts them, and pages are told them again and again."""
        request = ChatRequest("openai-chat", "m" * 4_000_000, ())
        facts = CallFacts("forward", "openai-chat", "h", 443, "/", {}, "127.0.0.1", None, request)
        calls.log.passed("c1", "m" * 4_000_000, facts, client="127.0.0.1")
        [(name, known)] = calls.log.sessions.items()
        assert (len(name), len(known.latest.model), len(known.latest.session)) == (256, 256, 256)
        assert [record.call for record in calls.log.of(name)] == ["c1"]

    def test_a_service_that_did_not_answer(self, calls: Calls) -> None:
        calls.pass_one("c1")
        calls.log.overheard("c1", Overheard(None, problem="The real service did not answer: refused"))
        [record] = calls.log.of("npc")
        [turn] = turns_of([record])
        assert (turn["answer"], turn["error"]) == (None, "The real service did not answer: refused")

    def test_a_call_that_nobody_knows_or_that_was_answered_here(self, calls: Calls) -> None:
        calls.log.overheard("c0", Overheard(200))
        calls.pass_one("c1")
        [record] = calls.log.of("npc")
        record.state = "answered"
        calls.log.overheard("c1", Overheard(200, "application/json", "", self.BODY))
        assert record.overheard is None


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_no_line_leaves_its_quotation(calls: Calls, end: str) -> None:
    calls.pass_one("c1", f"hello{end}# Heading")
    lines = as_markdown("npc", list(calls.log.of("npc"))).splitlines()
    assert "> # Heading" in lines and "# Heading" not in lines
