"""Requests of the legacy Completions, both ways, and where they are sent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects import ModelInfo, RequestHead
from motive_core.dialects.openai_completions import OpenAICompletions
from motive_core.errors import BadRequestError, UnprocessableError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
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
from tests.core.strategies import EXACT, json_values

DIALECT = OpenAICompletions()
NAME = "openai-completions"
WIRE = Path(__file__).parents[2] / "wire" / NAME
FIM = RequestHead("POST", "api.mistral.ai", 443, "/v1/fim/completions")


def head(path: str, method: str = "POST") -> RequestHead:
    path, _, query = path.partition("?")
    return RequestHead(method, "127.0.0.1", 443, path, query)


def parse(**fields: Json) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


def golden(name: str) -> ChatRequest:
    return DIALECT.parse_request((WIRE / f"{name}.request.json").read_bytes())


def again(request: ChatRequest) -> dict[str, Json]:
    """The body that a request is rendered to."""
    return json.loads(DIALECT.render_request(request))  # type: ignore[no-any-return]


def users(*texts: str) -> tuple[Message, ...]:
    return tuple([Message("user", (TextPart(text),)) for text in texts])


# Paths.


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/completions",
        "/v1/completions/",
        "/inference/v1/completions",
        "/v1/fim/completions",
        "/fim/completions/",
        "/openai/deployments/d/completions?api-version=2024-10-21",
        "/openai/deployments/chat/completions/completions",
        "/v1/engines/davinci/completions",
    ],
)
def test_its_paths(path: str) -> None:
    assert DIALECT.matches(head(path))
    assert not DIALECT.matches(head(path, "GET"))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions/",
        "/v1/agents/completions",
        "/openai/deployments/d/chat/completions",
        "/v1/completions/x",
        "/v1/xcompletions",
        "/v1/completion",
        "/v1/messages",
    ],
)
def test_other_paths(path: str) -> None:
    assert not DIALECT.matches(head(path))


def test_it_is_nobodys_envelope_but_its_own_callers() -> None:
    """A client of these paths is one of Chat Completions too, whose lists and errors are the same."""
    assert not DIALECT.speaks(head("/v1/models", "GET"))
    assert not DIALECT.serves(head("/v1/models", "GET"))
    listed = json.loads(DIALECT.render_models([ModelInfo("room", 7)]))
    assert listed == {
        "object": "list",
        "data": [{"id": "room", "object": "model", "created": 7, "owned_by": "motive"}],
    }


def test_an_error_has_the_envelope_of_the_client() -> None:
    error = UnprocessableError("no", param="prompt")
    assert json.loads(DIALECT.for_client(head("/v1/completions")).render_error(error, "req_1")) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "prompt", "code": "unprocessable"}
    }
    detail = [{"type": "unprocessable", "loc": ["body", "prompt"], "msg": "no"}]
    for found in (FIM, head("/v1/fim/completions")):
        assert json.loads(DIALECT.for_client(found).render_error(error, "req_1")) == {"detail": detail}


def test_where_a_request_is_sent() -> None:
    assert DIALECT.target(parse()) == "/v1/completions"
    assert DIALECT.target(DIALECT.parse_request(b'{"model":"m","prompt":"x"}', FIM)) == "/v1/fim/completions"
    other = ChatRequest("elsewhere", "m", users("hi"), variant="fim")
    assert DIALECT.target(other) == "/v1/completions"


# Prompts.


@pytest.mark.parametrize("prompt", ["Once upon a time", "", "\ud7ff\n\t\u2028", "<|endoftext|>"])
def test_a_prompt_is_one_message_of_the_user(prompt: str) -> None:
    request = parse(prompt=prompt)

    assert request.messages == users(prompt)
    assert again(request) == {"model": "m", "prompt": prompt}


def test_several_prompts_are_a_message_each_and_have_their_choices_each() -> None:
    request = golden("several_prompts")

    assert request.messages == users("Once upon a time", "It was a dark and stormy night", "说")
    assert (request.n, request.sampling.stop) == (6, (".",))
    assert again(request) == json.loads((WIRE / "several_prompts.request.json").read_bytes())


def test_one_prompt_in_a_list_is_that_prompt() -> None:
    assert parse(prompt=["hi"]) == parse(prompt="hi")
    assert golden("one_in_a_list").messages == users("hi")


@pytest.mark.parametrize("body", [b'{"model":"m"}', b'{"model":"m","prompt":null}'])
def test_without_a_prompt_it_is_the_mark_between_documents(body: bytes) -> None:
    request = DIALECT.parse_request(body)

    assert request.messages == users("<|endoftext|>")
    assert again(request)["prompt"] == "<|endoftext|>"


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]], [[]], [50256]])
def test_tokens_are_refused_in_words_that_say_what_to_do(prompt: Json) -> None:
    with pytest.raises(BadRequestError, match=r"Send it as text\.") as caught:
        parse(prompt=prompt)
    assert (caught.value.param, caught.value.code) == ("prompt", "invalid_type")


# Settings.


def test_a_suffix_is_a_part_that_whoever_answers_sees() -> None:
    request = parse(suffix="\n\nend")

    (message,) = request.messages
    assert message.parts == (TextPart("hi"), OpaquePart(NAME, {"suffix": "\n\nend"}))
    assert "suffix" not in request.extra
    assert again(request) == {"model": "m", "prompt": "hi", "suffix": "\n\nend"}
    assert parse(suffix=None) == parse()
    assert again(parse(suffix=""))["suffix"] == ""


def test_a_suffix_of_several_prompts_is_beside_the_last_one() -> None:
    request = parse(prompt=["a", "b"], suffix="z")

    assert [len(message.parts) for message in request.messages] == [1, 2]
    assert again(request) == {"model": "m", "prompt": ["a", "b"], "suffix": "z"}


def test_every_knob_survives() -> None:
    request = golden("everything")

    assert request.sampling == Sampling(64, 0, 0.9, ("\n\n", "END"), -7)
    assert (request.n, request.stream, request.include_usage) == (2, True, True)
    assert request.extra == {
        "best_of": 3,
        "logprobs": 5,
        "echo": True,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "logit_bias": {"50256": -100},
        "user": "user-1234",
        "a_field_of_tomorrow": {"x": [1, 2.5, None]},
        "stream_options": {"include_obfuscation": False},
    }
    assert again(request) == json.loads((WIRE / "everything.request.json").read_bytes())


def test_what_hosts_ask_beyond_the_api_is_kept() -> None:
    request = golden("vllm")

    assert (request.sampling.max_tokens, request.extra["echo"], request.extra["logprobs"]) == (0, True, 1)
    told = json.loads((WIRE / "vllm.request.json").read_bytes())
    assert again(request) == {key: value for key, value in told.items() if key != "stream_options"}


@pytest.mark.parametrize("field", ["n", "stream", "stream_options", "suffix", "stop", "seed", "max_tokens", "top_p"])
def test_null_is_as_good_as_nothing(field: str) -> None:
    assert parse(**{field: None}) == parse()


def test_stop_may_be_one_or_several() -> None:
    assert parse(stop="a").sampling.stop == parse(stop=["a"]).sampling.stop == ("a",)
    assert again(parse(stop=["a", "b"]))["stop"] == ["a", "b"]
    assert parse(stop=[]).sampling.stop == ()


def test_the_limit_has_no_second_name_here() -> None:
    request = parse(max_completion_tokens=5, max_tokens=7)

    assert request.sampling.max_tokens == 7
    assert again(request) == {"model": "m", "prompt": "hi", "max_tokens": 7, "max_completion_tokens": 5}
    assert parse(max_completion_tokens=5).sampling.max_tokens is None


def test_numbers_stay_what_they_are() -> None:
    assert again(parse(max_tokens=2**53 + 1, temperature=1e-05, seed=-(2**63)))["seed"] == -(2**63)
    assert json.dumps(again(parse(temperature=0, top_p=1.0))) == (
        '{"model": "m", "prompt": "hi", "temperature": 0, "top_p": 1.0}'
    )


def test_the_fim_of_mistral() -> None:
    request = DIALECT.parse_request((WIRE / "fim.request.json").read_bytes(), FIM)

    suffix = OpaquePart(NAME, {"suffix": "\n\nfor i in range(10): print(fib(i))"})
    assert request.messages == (Message("user", (TextPart("def fib(n):\n    "), suffix)),)
    assert (request.variant, request.sampling.seed, request.extra["min_tokens"]) == ("fim", 1337, 1)
    told = json.loads((WIRE / "fim.request.json").read_bytes())
    del told["stop"]
    assert again(request) == told
    # By its path, whatever the host: as the gateway of another vendor has it.
    assert DIALECT.parse_request(b'{"model":"m","prompt":"x"}', head("/x/v1/fim/completions")).variant == "fim"


# Bad input.

BAD: dict[str, tuple[Json, str | None]] = {
    "no_object": ([], None),
    "text": ("hi", None),
    "null": (None, None),
    "no_model": ({"prompt": "hi"}, "model"),
    "null_model": ({"model": None, "prompt": "hi"}, "model"),
    "model_number": ({"model": 7, "prompt": "hi"}, "model"),
    "empty_model": ({"model": "", "prompt": "hi"}, "model"),
}
BAD_FIELDS: list[tuple[str, Json, str]] = [
    ("prompt", 7, "prompt"),
    ("prompt", {"text": "hi"}, "prompt"),
    ("prompt", True, "prompt"),
    ("prompt", [], "prompt"),
    ("prompt", ["a", 7], "prompt[1]"),
    ("prompt", ["a", None], "prompt[1]"),
    ("prompt", [None], "prompt[0]"),
    ("prompt", [{}], "prompt[0]"),
    ("suffix", 7, "suffix"),
    ("stream", "yes", "stream"),
    ("stream_options", True, "stream_options"),
    ("stream_options", {"include_usage": 1}, "stream_options.include_usage"),
    ("max_tokens", "7", "max_tokens"),
    ("max_tokens", True, "max_tokens"),
    ("max_tokens", 1.5, "max_tokens"),
    ("temperature", "hot", "temperature"),
    ("top_p", [], "top_p"),
    ("seed", "x", "seed"),
    ("stop", 7, "stop"),
    ("stop", ["a", 7], "stop[1]"),
    ("n", 0, "n"),
    ("n", "2", "n"),
    ("n", 129, "n"),
]


@pytest.mark.parametrize(("body", "param"), BAD.values(), ids=BAD)
def test_what_is_no_request_says_where(body: Json, param: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        DIALECT.parse_request(json.dumps(body).encode())
    assert caught.value.param == param


@pytest.mark.parametrize(("field", "value", "param"), BAD_FIELDS)
def test_a_bad_field_is_named(field: str, value: Json, param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(**{field: value})
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"model":"m","prompt":"\\ud83d"}', b'{"model":"m","top_p":NaN}']
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        DIALECT.parse_request(body)


def test_so_many_choices_as_the_prompts_make_are_bounded_too() -> None:
    assert parse(prompt=["x"] * 64, n=2).n == 128
    with pytest.raises(BadRequestError) as caught:
        parse(prompt=["x"] * 65, n=2)
    assert caught.value.param == "n"


@given(field=st.sampled_from(["model", "prompt", "suffix", "n", "stop", "stream_options", "echo"]), value=json_values)
@EXACT
def test_any_value_of_any_field_is_a_request_or_a_bad_one(field: str, value: Json) -> None:
    try:
        request = parse(**{field: value})
    except BadRequestError as error:
        assert (error.param or "").startswith(field)
    else:
        assert DIALECT.parse_request(DIALECT.render_request(request)) == request


# Requests of other dialects.


def prompt_of(*messages: Message) -> str:
    prompt = again(ChatRequest("elsewhere", "m", messages))["prompt"]
    assert isinstance(prompt, str)
    return prompt


def said(role: Role, *parts: Part | str, name: str | None = None) -> Message:
    return Message(role, tuple([TextPart(part) if isinstance(part, str) else part for part in parts]), name)


def test_if_only_the_user_has_spoken_the_prompt_is_what_they_said() -> None:
    assert prompt_of(said("user", "hi")) == "hi"
    assert prompt_of(said("user", "one ", "text"), said("user", "two", name="ann")) == "one text\n\ntwo"


def test_a_conversation_is_a_transcript_that_the_model_goes_on_with() -> None:
    assert prompt_of(
        said("system", "Be kind."),
        said("developer", "Be brief."),
        said("user", "Hi", name="ann\nsmith"),
        said("assistant", "Hello!\nYes?"),
        said("user", "Who?"),
    ) == (
        "[system]\nBe kind.\n\n[developer]\nBe brief.\n\n[user ann smith]\nHi\n\n[assistant]\nHello!\nYes?\n\n"
        "[user]\nWho?\n\n[assistant]\n"
    )


def test_the_words_that_are_put_into_the_models_mouth_are_gone_on_with() -> None:
    assert prompt_of(said("user", "A poem"), said("assistant", "Roses ")) == "[user]\nA poem\n\n[assistant]\nRoses "


def test_what_is_no_text_becomes_text() -> None:
    assert prompt_of(
        said("user", "See", BlobPart("image/png", data="AAAA"), OpaquePart("elsewhere", {"a": 1})),
        said("assistant", ReasoningPart("hm", "sig"), "Look:", ToolCallPart("c1", "f", '{"x": 1.0}')),
        said("tool", ToolResultPart("c1", (TextPart("3 °C"),), "f", is_error=True)),
    ) == (
        '[user]\nSee\n\n![image](data:image/png;base64,AAAA)\n\n{"a":1}\n\n'
        '[assistant]\nhm\n\nLook:\n\n[tool call f c1]\n{"x": 1.0}\n\n'
        "[tool]\n[tool result f c1 (error)]\n3 °C\n\n[assistant]\n"
    )


def test_messages_that_say_nothing_are_no_lines_of_a_transcript() -> None:
    assert prompt_of(said("assistant", ""), said("user", "hi")) == "hi"
    assert prompt_of(said("system", "x"), said("assistant")) == "[system]\nx\n\n[assistant]\n"
    assert prompt_of() == ""


def test_the_settings_of_another_dialect() -> None:
    request = ChatRequest(
        "elsewhere",
        "m",
        users("hi"),
        stream=True,
        tools=(Tool("f", schema={}),),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_object"),
        sampling=Sampling(None, 0.5, 0.9, ("a",), 7),
        n=2,
        include_usage=True,
        extra={"top_k": 3},
    )

    assert again(request) == {
        "model": "m",
        "prompt": "hi",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": "a",
        "max_tokens": 1024,
        "n": 2,
    }
    assert again(replace(request, sampling=Sampling(9)))["max_tokens"] == 9
    # The API refuses the options of a stream where there is none.
    assert "stream_options" not in again(replace(request, stream=False))


def test_a_request_of_its_own_that_was_added_to_is_a_transcript() -> None:
    """As a session makes it, which says what was said before."""
    request = parse(prompt="Who?", max_tokens=5, user="u", suffix="z", n=2)
    longer = replace(request, messages=(said("system", "Be kind."), *request.messages))

    assert again(longer) == {
        "model": "m",
        "prompt": '[system]\nBe kind.\n\n[user]\nWho?\n\n{"suffix":"z"}\n\n[assistant]\n',
        "max_tokens": 5,
        "n": 2,
        "user": "u",
    }
