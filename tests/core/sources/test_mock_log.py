"""The request log of a mock: one line of JSON a request, and no secret in it."""

from __future__ import annotations

import json
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motive_core.dialects import RequestHead
from motive_core.errors import MotiveError
from motive_core.sources import Call
from tests.core.sources.mocked import asked, mock, text_of

SECRET = "sk-sesame"


def call_of(body: Any, **headers: str) -> Call:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    call = asked("hi", head=RequestHead("POST", "127.0.0.1", 8888, "/v1/x", f"key={SECRET}", fields))
    call.request = replace(call.request, raw=json.dumps(body).encode())
    return call


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


async def test_a_line_a_request(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    source = mock(log=str(path), text="a", rules=[{"when": {"model": "x"}}], faults=[{"nth": 2, "status": 429}])
    await text_of(source, "hi")
    with pytest.raises(MotiveError):
        await source.answer(asked("hi", model="x"))
    await text_of(source, "hi", model="x", stream=True)
    first, second, third = lines_of(path)
    assert first["at"] == "1970-01-01T00:16:40.000+00:00"
    assert (first["call"], first["rule"], first["fault"], first["stream"]) == (1, None, None, False)
    assert (second["call"], second["fault"], second["model"]) == (2, "status", "x")
    assert (third["call"], third["rule"], third["stream"]) == (3, 1, True)
    assert first["exchange"] == "ex1" and first["session"] == "s" and first["dialect"] == "openai-chat"


async def test_no_secret_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    tool = {"type": "mcp", "authorization": SECRET, "headers": {"X-Key": SECRET}, "server_label": "mail"}
    call = call_of(
        {"model": "m", "tools": [tool], "mcp_servers": [{"name": "a", "authorization_token": SECRET}]},
        authorization=f"Bearer {SECRET}",
        x_api_key=SECRET,
        x_anything=SECRET,
        cookie=SECRET,
        user_agent="app/1",
        content_type="application/json",
    )
    await mock(log=str(path)).answer(call)
    assert SECRET not in path.read_text("ascii")
    (line,) = lines_of(path)
    assert line["body"]["tools"] == [{"type": "mcp", "server_label": "mail"}]
    assert (line["headers"]["user-agent"], line["headers"]["x-anything"]) == ("app/1", "(withheld)")
    assert line["path"] == "/v1/x"


async def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    await text_of(mock(log=str(path)), "hi")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_it_may_be_moved_away(tmp_path: Path) -> None:
    path, source = tmp_path / "log.jsonl", mock(log=str(tmp_path / "log.jsonl"))
    await text_of(source, "hi")
    path.rename(tmp_path / "old.jsonl")
    await text_of(source, "hi")
    assert len(lines_of(path)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "nowhere/log.jsonl",
        "pipe",
        pytest.param("/dev/full", marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")),
    ],
)
async def test_what_cannot_be_written_ends_no_call(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = mock(log=str(tmp_path / name), text="ok")
    with caplog.at_level(logging.WARNING):
        assert [await text_of(source, "hi") for _ in range(3)] == ["ok"] * 3
    assert [record.message.startswith("request log not written") for record in caplog.records] == [True]


async def test_what_no_file_can_hold_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    await mock(log=str(path)).answer(call_of({"message": "\ud800 \n ü"}))
    assert lines_of(path)[0]["body"] == {"message": "\ud800 \n ü"}
