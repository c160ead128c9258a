"""The calls of Ollama's API beside the chat."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from motive_core.dialects import DIALECTS, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.errors import BadRequestError, MotiveError, NotFoundError, PermissionDeniedError

DIALECT = OllamaChat()
MODELS = [ModelInfo("room", 1_795_230_354), ModelInfo("room:7b", 0), ModelInfo("a:b/Größe 1", 0)]


def head(method: str, path: str, **headers: str) -> RequestHead:
    return RequestHead(
        method, "localhost", 8000, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def asked(method: str, path: str, body: Any = None) -> WireReply:
    assert [one.name for one in DIALECTS if one.serves(head(method, path))] == [DIALECT.name]
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECT.serve(SideCall(head(method, path), data, MODELS, kept=lambda _: None, forget=lambda _: False))


def told(method: str, path: str, body: Any = None) -> dict[str, Any]:
    reply = asked(method, path, body)
    assert (reply.status, reply.content_type) == (200, "application/json")
    found: dict[str, Any] = json.loads(reply.body)
    return found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/tags"),
        ("GET", "/api/show"),
        ("GET", "/api/pull"),
        ("POST", "/api/delete"),
        ("POST", "/api/chat"),
        ("POST", "/api/generate"),
        ("GET", "/api/tags/x"),
        ("GET", "/api/v1/tags"),
        ("GET", "/tags"),
        ("GET", "/api/blobs"),
        ("POST", "/"),
        ("GET", "/api"),
        ("GET", "/v1/models"),
    ],
)
def test_what_is_none_of_them(method: str, path: str) -> None:
    assert not DIALECT.serves(head(method, path))


class TestRoot:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("path", ["/", ""])
    def test_it_is_running(self, method: str, path: str) -> None:
        reply = asked(method, path)
        assert (reply.status, reply.body) == (200, b"Ollama is running")
        assert reply.content_type == "text/plain; charset=utf-8"

    def test_not_to_browsers_nor_to_clients_of_others(self) -> None:
        assert not DIALECT.serves(head("GET", "/", accept="text/html,application/xhtml+xml,*/*;q=0.8"))
        assert not DIALECT.serves(head("GET", "/", anthropic_version="2023-06-01"))
        assert DIALECT.serves(head("GET", "/", accept="*/*"))


class TestLists:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("path", ["/api/tags", "/ollama/api/tags"])
    def test_tags(self, method: str, path: str) -> None:
        models = told(method, path)["models"]
        assert [model["name"] for model in models] == ["room:latest", "room:7b", "a:b/Größe 1:latest"]
        assert [model["model"] for model in models] == [model["name"] for model in models]
        assert models[0]["modified_at"] == "2026-11-21T03:05:54.000000Z"
        assert models[0]["capabilities"] == ["completion", "vision", "tools", "thinking"]
        for model in models:
            assert re.fullmatch("[0-9a-f]{64}", model["digest"])
            assert isinstance(model["size"], int)
            assert model["details"]["families"] == [model["details"]["family"]]
        assert len({model["digest"] for model in models}) == 3

    def test_running_models(self) -> None:
        models = told("GET", "/api/ps")["models"]
        assert [model["name"] for model in models] == ["room:latest", "room:7b", "a:b/Größe 1:latest"]
        assert models[0]["context_length"] > 100_000
        assert models[0]["expires_at"] > "2300"

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_version(self, method: str) -> None:
        (version,) = told(method, "/api/version").values()
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


class TestShow:
    @pytest.mark.parametrize("body", [{"model": "room"}, {"name": "room:latest"}, {"model": "room", "verbose": True}])
    def test_a_session(self, body: dict[str, Any]) -> None:
        shown = told("POST", "/api/show", body)
        architecture = shown["model_info"]["general.architecture"]
        assert shown["model_info"][f"{architecture}.context_length"] > 100_000
        assert shown["model_info"]["general.basename"] == "room"
        assert shown["capabilities"] == ["completion", "vision", "tools", "thinking"]
        assert shown["modified_at"] == "2026-11-21T03:05:54.000000Z"

    def test_a_session_that_is_not_open_yet(self) -> None:
        assert told("POST", "/api/show", {"model": "Größe 2"})["details"]["format"]

    @pytest.mark.parametrize("body", [None, b"[]", {}, {"model": ""}, {"model": 7}, b"{"])
    @pytest.mark.parametrize("path", ["/api/show", "/api/pull", "/api/embed"])
    def test_no_name(self, path: str, body: Any) -> None:
        with pytest.raises(BadRequestError):
            asked("POST", path, body)


class TestManaging:
    @pytest.mark.parametrize("body", [{"model": "room"}, {"name": "room", "stream": True}])
    def test_to_pull_succeeds_at_once(self, body: dict[str, Any]) -> None:
        reply = asked("POST", "/api/pull", body)
        assert (reply.status, reply.content_type) == (200, "application/x-ndjson")
        assert [json.loads(line) for line in reply.body.splitlines()][-1] == {"status": "success"}

    def test_to_pull_in_one_piece(self) -> None:
        assert told("POST", "/api/pull", {"model": "room", "stream": False}) == {"status": "success"}

    @pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
    def test_there_are_no_embeddings(self, path: str) -> None:
        with pytest.raises(BadRequestError, match='"room" is a session and does not support embeddings'):
            asked("POST", path, {"model": "room", "input": "x"})

    @pytest.mark.parametrize(
        ("method", "path", "raised"),
        [
            ("POST", "/api/create", PermissionDeniedError),
            ("POST", "/api/copy", PermissionDeniedError),
            ("POST", "/api/push", PermissionDeniedError),
            ("DELETE", "/api/delete", PermissionDeniedError),
            ("POST", "/api/blobs/sha256:29fdb92e57cf0827", PermissionDeniedError),
            ("HEAD", "/api/blobs/sha256:29fdb92e57cf0827", NotFoundError),
        ],
    )
    def test_nothing_is_made_or_deleted(self, method: str, path: str, raised: type[MotiveError]) -> None:
        with pytest.raises(raised):
            asked(method, path, b"not even read")
