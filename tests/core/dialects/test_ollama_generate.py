"""Requests of Ollama's completion API, and what becomes of a conversation in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects import RequestHead
from motive_core.dialects.ollama_generate import OllamaGenerate
from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = OllamaGenerate()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def parse(**body: Any) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "room", "prompt": "hi", **body}).encode())


def again(request: ChatRequest) -> dict[str, Any]:
    """The body that a request is rendered as; it must say the same."""
    body = DIALECT.render_request(request)
    assert DIALECT.parse_request(body) == request
    found: dict[str, Any] = json.loads(body)
    return found


def rendered(*messages: Message, **fields: Any) -> dict[str, Any]:
    """The body that a request of another dialect is rendered as."""
    found: dict[str, Any] = json.loads(
        DIALECT.render_request(ChatRequest("a-dialect-of-yesterday", "m", messages, **fields))
    )
    return found


def said(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple([TextPart(part) if isinstance(part, str) else part for part in parts]))


def test_its_path() -> None:
    assert DIALECT.matches(RequestHead("POST", "localhost", 11434, "/api/generate"))
    assert not DIALECT.matches(RequestHead("POST", "localhost", 11434, "/api/chat"))
    assert not DIALECT.serves(RequestHead("GET", "localhost", 11434, "/api/tags"))


def test_a_request_has_one_message_and_maybe_a_system() -> None:
    told = {
        "model": "room:latest",
        "prompt": "What is it?",
        "system": "You are a guard.",
        "images": [PNG],
        "stream": True,
        "format": "json",
        "options": {"num_predict": 3, "top_k": 4},
        "suffix": "}",
        "template": "{{ .Prompt }}",
        "context": [1, 2],
        "raw": True,
        "think": False,
        "keep_alive": -1,
    }
    request = parse(**told)
    assert request.model == "room"
    assert request.messages == (
        Message("system", (TextPart("You are a guard."),)),
        Message("user", (TextPart("What is it?"), BlobPart("image/png", data=PNG))),
    )
    assert request.response_format == ResponseFormat("json_object")
    assert request.sampling == Sampling(3)
    assert again(request) == told


def test_null_and_empty_members_say_nothing() -> None:
    request = parse(system="", images=[], context=None, suffix=None)
    assert request.messages == (Message("user", (TextPart("hi"),)),)
    assert not request.extra
    assert request.stream


class TestLoading:
    @pytest.mark.parametrize("prompt", ["", None])
    def test_no_prompt_asks_nothing(self, prompt: str | None) -> None:
        """Whatever else there is: so does the server (``GenerateHandler``)."""
        request = parse(prompt=prompt, system="Be brief.", images=[PNG], keep_alive=0, stream=True)
        assert request.messages == ()
        assert not request.stream
        assert again(request) == {
            "model": "room",
            "prompt": "",
            "stream": False,
            "system": "Be brief.",
            "images": [PNG],
            "keep_alive": 0,
        }

    def test_a_blank_is_a_prompt(self) -> None:
        assert parse(prompt=" ").messages == (Message("user", (TextPart(" "),)),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ""}, "model"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": "", "system": 1}, "system"),
        ({"images": [None]}, "images[0]"),
        ({"stream": 1}, "stream"),
        ({"options": {"top_p": []}}, "options.top_p"),
    ],
)
def test_bad_input_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(**body)
    assert caught.value.param == param


class TestConversations:
    def test_one_question(self) -> None:
        body = rendered(said("system", "A."), said("user", "B."), said("developer", "C."))
        assert body == {"model": "m", "prompt": "B.", "system": "A.\n\nC.", "stream": False}

    def test_nothing_but_a_system(self) -> None:
        assert rendered(said("system", "A.")) == {"model": "m", "prompt": "A.", "stream": False}

    def test_several_questions(self) -> None:
        assert rendered(said("user", "A"), said("user", "B"))["prompt"] == "A\n\nB"

    def test_several_sides(self) -> None:
        call = ToolCallPart("call_1", "f", '{"a": 1.0}')
        result = ToolResultPart("call_1", (TextPart("3 °C"),), is_error=True)
        messages = [
            said("user", "How is it?", " There?"),
            said("assistant", ReasoningPart("Hm.", "sig"), "Let me look.", call),
            said("tool", result),
            said("user", "And?"),
        ]
        assert rendered(*messages)["prompt"] == (
            "[user]\nHow is it? There?\n\n"
            '[assistant]\nHm.\n\nLet me look.\n\n[tool call f call_1]\n{"a": 1.0}\n\n'
            "[tool]\n[tool result call_1 (error)]\n3 °C\n\n"
            "[user]\nAnd?"
        )

    def test_pictures(self) -> None:
        picture, elsewhere = BlobPart("image/png", data=PNG), BlobPart("", url="https://example.org/a.png")
        file = BlobPart("application/pdf", data="AAAA", name="a.pdf")
        body = rendered(said("user", "See", picture, "that", elsewhere, file), said("user", picture))
        assert body["images"] == [PNG, PNG]
        assert body["prompt"] == (
            "Seethat\n\n![image](https://example.org/a.png)\n\n[a.pdf](data:application/pdf;base64,AAAA)"
        )

    def test_nothing_said_is_no_loading(self) -> None:
        assert rendered(said("user"))["prompt"] == " "
        assert rendered()["prompt"] == " "

    def test_what_has_no_place_is_left_out(self) -> None:
        body = rendered(
            said("user", "A"),
            tools=(Tool("f"),),
            tool_choice=ToolChoice("auto"),
            parallel_tool_calls=False,
            n=3,
            extra={"user": "ann"},
            response_format=ResponseFormat("json_schema", "name", strict=True),
            sampling=Sampling(1, 0.5, 0.25, ("x",), 2),
        )
        options = {"num_predict": 1, "temperature": 0.5, "top_p": 0.25, "seed": 2, "stop": ["x"]}
        assert body == {"model": "m", "prompt": "A", "stream": False, "format": "json", "options": options}
