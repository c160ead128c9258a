"""Input that means harm: paths and bodies whose cost must grow no faster than their size, quotations that would swell.

The bounds are far above what a slow machine takes, and far below what the square of the size would.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Final

import pytest

from motive_core.dialects import DIALECTS, RequestHead
from motive_core.dialects.base import NO_HEAD, KeptReply
from motive_core.dialects.gemini import Gemini
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.dialects.results import OpenCalls
from motive_core.errors import BadRequestError
from motive_core.ir import ChatRequest, Choice, Json, Reply, TextPart, ToolCallPart, ToolResultPart

LONG: Final = 60_000
LIMIT_S: Final = 2.0
BEGINNINGS: Final = ("", "/v", "/v1beta/models/", "/model/", "/publishers/anthropic/models/", "/api/blobs/")
PIECES: Final = (
    "1",
    "/",
    ":",
    "x:",
    "%41",
    "/v1",
    "/model/",
    "/model/a",
    "/v1/models/a",
    "/v1beta/models/",
    "/v1/projects/a/locations/",
    "/publishers/anthropic/models/",
    "/responses/",
    "/deployments/a/chat/completions",
)
ENDS: Final = ("!", ":generateContent", ":rawPredict", "/converse", "/chat/completions")


def head(path: str, method: str = "POST") -> RequestHead:
    return RequestHead(method, "127.0.0.1", 8000, path)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_long_path_is_told_apart_in_no_time(beginning: str, piece: str) -> None:
    began = time.perf_counter()
    for end in ENDS:
        path = beginning + piece * (LONG // len(piece)) + end
        for method in ("GET", "POST"):
            for dialect in DIALECTS:
                asked = head(path, method)
                dialect.matches(asked)
                dialect.serves(asked)
                dialect.speaks(asked)
    assert time.perf_counter() - began < LIMIT_S


def ollama_calls(count: int, name: str) -> tuple[Json, RequestHead]:
    calls = [{"function": {"name": name.format(n), "arguments": {}}} for n in range(count)]
    results = [{"role": "tool", "content": "r", "tool_name": name.format(n)} for n in reversed(range(count))]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls}, *results]
    return {"model": "m", "messages": messages}, NO_HEAD


def gemini_calls(count: int, name: str) -> tuple[Json, RequestHead]:
    calls = [{"functionCall": {"name": name.format(n), "args": {}}} for n in range(count)]
    results = [{"functionResponse": {"name": name.format(n), "response": {}}} for n in reversed(range(count))]
    contents = [{"parts": [{"text": "q"}]}, {"role": "model", "parts": calls}, {"parts": results}]
    return {"contents": contents}, head("/v1beta/models/m:generateContent")


@pytest.mark.parametrize("name", ["t{}", "t"], ids=["many names", "one name"])
@pytest.mark.parametrize("wire", ["ollama", "gemini"])
def test_many_results_find_their_calls_in_no_time(wire: str, name: str) -> None:
    count = 15_000
    body, at = (ollama_calls if wire == "ollama" else gemini_calls)(count, name)
    data = json.dumps(body).encode()
    began = time.perf_counter()
    request = OllamaChat().parse_request(data) if wire == "ollama" else Gemini().parse_request(data, at)
    assert time.perf_counter() - began < 4 * LIMIT_S
    parts = [part for message in request.messages for part in message.parts]
    calls = [part.call_id for part in parts if isinstance(part, ToolCallPart)]
    results = [part.call_id for part in parts if isinstance(part, ToolResultPart)]
    assert sorted(results) == sorted(calls)
    if wire == "gemini":
        assert len(set(calls)) == count


def test_open_calls_are_taken_once_each_way() -> None:
    calls = OpenCalls()
    for call_id, name in (("1", "a"), ("2", "b"), ("3", "a"), ("4", "b")):
        calls.add(call_id, name)
    assert calls.take_named("b") == "2"
    assert calls.take("2") is None
    assert calls.take("1") == "1"
    assert calls.take_named("a") == "3"
    assert calls.take_named("a") is None
    assert calls.take_first() == "4"
    assert calls.take_first() is None
    calls.add("5", "c")
    calls.clear()
    assert calls.take_first() is calls.take("5") is calls.take_named("c") is None


class TestReferences:
    """``item_reference``: a few bytes that stand for as much as was kept."""

    KEPT = KeptReply(
        ChatRequest("openai-responses", "m", ()), Reply("resp_1", "m", (Choice((TextPart("x" * 1000),) * 50),))
    )

    def asked(self, *items: str) -> ChatRequest:
        references = [{"type": "item_reference", "id": item} for item in items]
        body = {"model": "m", "input": [{"role": "user", "content": "q"}, *references]}
        return OpenAIResponses().parse_request(json.dumps(body).encode())

    def find(self, reply_id: str) -> KeptReply | None:
        return self.KEPT if reply_id == "resp_1" else None

    @pytest.mark.parametrize("again", ["msg_100", "rs_100"], ids=["the same", "by another prefix"])
    def test_an_item_is_referred_to_once(self, again: str) -> None:
        once = OpenAIResponses().resolved(self.asked("msg_100"), self.find)
        assert len(once.messages[1].parts) == 50
        with pytest.raises(BadRequestError) as caught:
            OpenAIResponses().resolved(self.asked("msg_100", again), self.find)
        assert caught.value.message == (
            f"Duplicate item found with id {again}. Remove duplicate items from your input and try again."
        )

    def test_what_is_not_ours_is_for_the_real_service_to_judge(self) -> None:
        asked = self.asked("msg_real00", "msg_real00", "rs_x", "rs_x")
        assert OpenAIResponses().resolved(asked, self.find) is asked

    def test_each_reply_is_looked_up_once(self) -> None:
        asked: list[str] = []

        def find(reply_id: str) -> KeptReply | None:
            asked.append(reply_id)
            return replace(self.KEPT) if reply_id == "resp_1" else None

        OpenAIResponses().resolved(self.asked("msg_100", "msg_101", "msg_102", "msg_real00", "msg_real01"), find)
        assert asked == ["resp_1", "resp_real"]
