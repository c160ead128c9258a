"""Azure OpenAI: the deployment in the path, and its lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motive_core.dialects import ModelInfo, RequestHead, SideCall
from motive_core.dialects.base import Dialect
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.dialects.openai_completions import OpenAICompletions
from motive_core.errors import BadRequestError, NotFoundError
from motive_core.ir import ChatRequest, Json, Message, TextPart

WIRE = Path(__file__).parents[2] / "wire"
MESSAGES: Json = [{"role": "user", "content": "hi"}]
MODELS = [ModelInfo("room-1", 1_795_230_236), ModelInfo("zimmer ü/1", 7)]


def head(path: str, method: str = "POST", host: str = "127.0.0.1") -> RequestHead:
    path, _, query = path.partition("?")
    return RequestHead(method, host, 443, path, query)


def parse(dialect: Dialect, path: str, **body: Json) -> ChatRequest:
    assert dialect.matches(head(path))
    return dialect.parse_request(json.dumps(body).encode(), head(path))


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", "gpt-4o"),
        ("/openai/deployments/my%20room%2F%C3%BC%40asker/chat/completions", "my room/ü@asker"),
        ("/apim/x/openai/deployments/d/extensions/chat/completions", "d"),
        ("/deployments/d/chat/completions/", "d"),
        ("/v1/engines/davinci/chat/completions", "davinci"),
        ("/openai/v1/chat/completions", "body"),
        ("/models/chat/completions?api-version=2024-05-01-preview", "body"),
        ("/openai/deployments/chat/completions", "body"),
    ],
)
def test_the_deployment_in_the_path_is_the_model(path: str, model: str) -> None:
    request = parse(OpenAIChat(), path, model="body", messages=MESSAGES)

    assert request.model == model
    assert json.loads(OpenAIChat().render_request(request))["model"] == "body"


@pytest.mark.parametrize(
    ("told", "extra"),
    [
        ({}, {}),
        ({"model": None}, {}),
        ({"model": "d"}, {}),
        ({"model": 7}, {"model": 7}),
        ({"model": ""}, {"model": ""}),
    ],
)
def test_the_model_of_the_body_may_be_anything(told: dict[str, Json], extra: dict[str, Json]) -> None:
    chat = parse(OpenAIChat(), "/openai/deployments/d/chat/completions", messages=MESSAGES, **told)
    completion = parse(OpenAICompletions(), "/openai/deployments/d/completions", prompt="hi", **told)

    for request in (chat, completion):
        assert (request.model, request.extra) == ("d", extra)


def test_without_a_deployment_the_body_needs_a_model() -> None:
    for path in ("/openai/v1/chat/completions", "/openai/deployments//chat/completions"):
        with pytest.raises(BadRequestError) as caught:
            parse(OpenAIChat(), path, messages=MESSAGES)
        assert caught.value.param == "model"


@pytest.mark.parametrize("name", ["azure_deployment", "azure_other_model"])
@pytest.mark.parametrize("dialect", [OpenAIChat(), OpenAICompletions()], ids=lambda dialect: dialect.name)
def test_a_request_is_sent_to_its_deployment_again(dialect: Dialect, name: str) -> None:
    file = WIRE / dialect.name / f"{name}.request.json"
    target = file.with_suffix(".target").read_text("utf-8").strip()
    request = dialect.parse_request(file.read_bytes(), head(target))
    there = dialect.target(request)

    assert there.startswith("/openai/deployments/")
    assert "?api-version=" in there
    assert dialect.parse_request(dialect.render_request(request), head(there)) == request
    body = json.loads(file.read_bytes())
    rendered = json.loads(dialect.render_request(request))
    assert rendered.get("model") == body.get("model", request.model)
    assert {key: value for key, value in rendered.items() if key not in ("model", "messages", "prompt")} == {
        key: value for key, value in body.items() if key not in ("model", "messages", "prompt") and value is not False
    }


def test_the_request_of_another_dialect_is_not_azures() -> None:
    request = ChatRequest("elsewhere", "m", (Message("user", (TextPart("hi"),)),), variant="azure")

    assert OpenAIChat().target(request) == "/v1/chat/completions"
    assert OpenAICompletions().target(request) == "/v1/completions"


# Lists.


def served(path: str) -> Json:
    found = head(path, "GET")
    dialect = OpenAIChat()
    assert dialect.serves(found)
    reply = dialect.for_client(found).serve(SideCall(found, b"", MODELS, lambda _: None, lambda _: False))
    assert reply.status == 200
    return json.loads(reply.body)


def test_the_list_of_deployments() -> None:
    listed = served("/openai/deployments?api-version=2022-12-01")

    assert listed["object"] == "list"
    assert listed["data"][0] == {
        "id": "room-1",
        "object": "deployment",
        "model": "room-1",
        "owner": "motive",
        "status": "succeeded",
        "scale_settings": {"scale_type": "standard"},
        "created_at": 1_795_230_236,
        "updated_at": 1_795_230_236,
    }
    assert served("/x/openai/deployments/zimmer%20%C3%BC%2F1") == listed["data"][1]


def test_the_list_of_models() -> None:
    for path in ("/openai/models?api-version=2024-10-21", "/openai/v1/models"):
        assert [model["id"] for model in served(path)["data"]] == ["room-1", "zimmer ü/1"]
    assert served("/openai/models/room-1?api-version=2024-10-21")["id"] == "room-1"


def test_a_deployment_that_is_not_there() -> None:
    found = head("/openai/deployments/nobody", "GET")
    dialect = OpenAIChat().for_client(found)
    with pytest.raises(NotFoundError) as caught:
        dialect.serve(SideCall(found, b"", MODELS, lambda _: None, lambda _: False))

    error = json.loads(dialect.render_error(caught.value, "req_1"))["error"]
    assert error["code"] == "DeploymentNotFound"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/openai/deployments"),
        ("PUT", "/openai/deployments/d"),
        ("GET", "/openai/deployments/d/chat/completions"),
        ("GET", "/deployments"),
        ("GET", "/openai/deploymentsx"),
    ],
)
def test_other_calls_are_not_served(method: str, path: str) -> None:
    assert not OpenAIChat().serves(head(path, method))
