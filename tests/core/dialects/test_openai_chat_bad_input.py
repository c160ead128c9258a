"""Bodies that are no requests of Chat Completions, and such as hardly are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import (
    BadRequestError,
)
from motive_core.ir import (
    ChatRequest,
    Json,
    Message,
    TextPart,
)
from tests.core.strategies import EXACT, json_values

DIALECT = OpenAIChat()
NAME = "openai-chat"
WIRE = Path(__file__).parents[2] / "wire" / NAME
HELLO: list[Json] = [{"role": "user", "content": "hi"}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


def golden(name: str) -> ChatRequest:
    return DIALECT.parse_request((WIRE / f"{name}.request.json").read_bytes())


def parse(**fields: Json) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "messages": HELLO, **fields}).encode())


def again(request: ChatRequest) -> dict[str, Json]:
    """The body that a request of this dialect is rendered to."""
    return json.loads(DIALECT.render_request(request))  # type: ignore[no-any-return]


BAD: dict[str, tuple[Json, str | None]] = {
    "no_object": ([], None),
    "text": ("hi", None),
    "no_model": ({"messages": HELLO}, "model"),
    "null_model": ({"model": None, "messages": HELLO}, "model"),
    "model_number": ({"model": 7, "messages": HELLO}, "model"),
    "empty_model": ({"model": "", "messages": HELLO}, "model"),
    "no_messages": ({"model": "m"}, "messages"),
    "messages_text": ({"model": "m", "messages": "hi"}, "messages"),
    "no_message": ({"model": "m", "messages": []}, "messages"),
    "message_text": ({"model": "m", "messages": ["hi"]}, "messages[0]"),
}
BAD_MESSAGES: dict[str, tuple[Json, str]] = {
    "no_role": ({"content": "x"}, "role"),
    "role_number": ({"role": 1}, "role"),
    "content_number": ({"role": "user", "content": 7}, "content"),
    "content_object": ({"role": "user", "content": {"type": "text", "text": "x"}}, "content"),
    "content_flag": ({"role": "assistant", "content": False}, "content"),
    "part_text": ({"role": "user", "content": ["x"]}, "content[0]"),
    "part_without_type": ({"role": "user", "content": [{"text": "x"}]}, "content[0].type"),
    "text_missing": ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
    "text_null": ({"role": "user", "content": [{"type": "text", "text": None}]}, "content[0].text"),
    "no_url": ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "content[0].image_url.url"),
    "no_image": ({"role": "user", "content": [{"type": "image_url"}]}, "content[0].image_url"),
    "no_format": (
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A"}}]},
        "content[0].input_audio.format",
    ),
    "name": ({"role": "user", "content": "x", "name": 7}, "name"),
    "call_id_number": ({"role": "tool", "tool_call_id": 7, "content": "x"}, "tool_call_id"),
    "no_function_name": ({"role": "function", "content": "x"}, "name"),
    "calls_object": ({"role": "assistant", "tool_calls": {}}, "tool_calls"),
    "call_text": ({"role": "assistant", "tool_calls": ["x"]}, "tool_calls[0]"),
    "call_empty": ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "tool_calls[0].function"),
    "call_nameless": ({"role": "assistant", "tool_calls": [{"function": {}}]}, "tool_calls[0].function.name"),
    "arguments_list": (
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": []}}]},
        "tool_calls[0].function.arguments",
    ),
    "custom_input": (
        {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": 7}}]},
        "tool_calls[0].custom.input",
    ),
    "refusal": ({"role": "assistant", "refusal": 7}, "refusal"),
    "function_call": ({"role": "assistant", "function_call": "f"}, "function_call"),
}
BAD_FIELDS: dict[str, tuple[Json, str]] = {
    "stream": ("yes", "stream"),
    "stream_options": (True, "stream_options"),
    "n": (0, "n"),
    "temperature": ("hot", "temperature"),
    "top_p": (True, "top_p"),
    "max_tokens": (1.5, "max_tokens"),
    "max_completion_tokens": ("1", "max_completion_tokens"),
    "seed": (1.0, "seed"),
    "stop": (["a", 7], "stop[1]"),
    "tools": ([{"type": "function"}], "tools[0].function"),
    "functions": ([{}], "functions[0].name"),
    "tool_choice": (7, "tool_choice"),
    "parallel_tool_calls": (1, "parallel_tool_calls"),
    "response_format": ({"type": "json_schema"}, "response_format.json_schema"),
}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        *[pytest.param(body, param, id=name) for name, (body, param) in BAD.items()],
        *[
            pytest.param({"model": "m", "messages": [*HELLO, message]}, f"messages[1].{param}", id=name)
            for name, (message, param) in BAD_MESSAGES.items()
        ],
        *[
            pytest.param({"model": "m", "messages": HELLO, name: value}, param, id=name)
            for name, (value, param) in BAD_FIELDS.items()
        ],
    ],
)
def test_a_bad_field_is_named(body: Json, param: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        DIALECT.parse_request(json.dumps(body).encode())

    assert caught.value.param == param
    assert caught.value.code in {
        "invalid_type",
        "invalid_value",
        "missing_required_parameter",
        "empty_array",
        "integer_below_min_value",
    }
    assert param is None or f"'{param}'" in caught.value.message


@pytest.mark.parametrize("body", [b"", b"{", b'{"model":"m"', b"\xff", b'{"model":NaN}', b"null x", b"<html>"])
def test_a_body_that_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="JSON") as caught:
        DIALECT.parse_request(body)
    assert caught.value.param is None


def test_numbers_beyond_all_bounds_are_refused_where_they_count() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}'
    with pytest.raises(BadRequestError):
        DIALECT.parse_request(body)

    huge = b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":%b,"x":1e999}' % (b"9" * 400)
    assert again(DIALECT.parse_request(huge))["x"] is None


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert DIALECT.parse_request(
        b'{"model":"a","messages":[{"role":"user","role":"system"}],"model":"b"}'
    ) == ChatRequest(NAME, "b", (Message("system", ()),))


def test_half_a_surrogate_pair_never_reaches_the_wire() -> None:
    body = DIALECT.render_request(ChatRequest(NAME, "m", (Message("user", (TextPart("a\ud800b"),)),)))

    assert DIALECT.parse_request(body).messages[0].text == "a?b"


_KEYS = st.sampled_from(
    re.findall(
        r"\S+",
        """role content name type text image_url url detail input_audio data format file file_id file_data filename
        refusal tool_calls tool_call_id id function custom arguments input function_call reasoning reasoning_content
        parameters description strict extra allowed_tools mode json_schema schema include_usage""",
    )
)
_VALUES = st.sampled_from(
    re.findall(
        r"\S+",
        """user assistant system developer tool function text image_url input_audio file refusal custom json_schema auto
        none required data:image/png;base64,AA data:audio/mp3;base64,AA https://x/ wav""",
    )
)
_wire = st.recursive(
    _VALUES | json_values.filter(lambda value: not isinstance(value, float)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
_messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "function"])},
        optional={
            "content": _wire,
            "name": _VALUES,
            "tool_call_id": _VALUES,
            "tool_calls": st.lists(_wire, max_size=2),
            "function_call": _wire,
            "refusal": _VALUES,
            "reasoning": _wire,
            "x": _wire,
        },
    ),
    min_size=1,
    max_size=3,
)


@given(
    messages=_messages,
    more=st.fixed_dictionaries(
        {},
        optional={
            "tools": st.lists(_wire, max_size=2),
            "functions": st.lists(st.fixed_dictionaries({"name": _VALUES}, optional={"x": _wire}), max_size=2),
            "tool_choice": _wire,
            "function_call": _wire,
            "response_format": _wire,
            "stream_options": _wire,
            "max_tokens": st.integers(),
            "max_completion_tokens": st.integers(),
            "stop": _wire,
            "n": st.integers(0, 3),
            "x": _wire,
        },
    ),
)
@EXACT
def test_any_object_is_either_a_request_that_survives_its_rendering_or_a_bad_request(
    messages: Json, more: dict[str, Json]
) -> None:
    try:
        request = parse(messages=messages, **more)
    except BadRequestError:
        return
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request
