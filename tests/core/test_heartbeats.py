"""Which calls are kept alive, and from when on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from motive_core.config import Config
from motive_core.exchange import Beat
from motive_core.heartbeats import Heartbeats

OPENAI = "OpenAI/Python 3.52.0"
BOTO = "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux"


def plan(
    agent: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    stream: bool = True,
    dialect: str = "openai-chat",
    deadline_in_s: float = 590.0,
) -> Beat | None:
    fields = {"user-agent": agent, **(headers or {})}
    return Heartbeats(Config()).plan(dialect, fields, stream=stream, deadline_in_s=deadline_in_s)


def test_a_streamed_call_of_anybody() -> None:
    assert plan() == Beat(10, 10)
    assert plan("curl/8.5", dialect="bedrock-converse") == Beat(10, 10)


def test_a_whole_reply_only_for_known_clients_that_would_give_up() -> None:
    assert plan("curl/8.5", stream=False) is None
    assert plan(OPENAI, stream=False) is None  # 600 s are more than the hold takes
    assert plan(OPENAI, stream=False, deadline_in_s=3600) == Beat(30, 10)
    assert plan(BOTO, stream=False) == Beat(30, 10)
    assert plan("ollama-python/0.6.3 (x86_64 linux)", stream=False) is None  # it waits for ever


@pytest.mark.parametrize("header", ["x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout"])
def test_a_client_that_tells_its_patience(header: str) -> None:
    assert plan(OPENAI, {header: "2.0"}) == Beat(1, 1)
    assert plan("curl/8.5", {header: "5"}) == Beat(2.5, 2.5)
    assert plan(OPENAI, headers={header: "2.0"}, stream=False) == Beat(1, 1)
    assert plan("curl/8.5", headers={header: "2.0"}, stream=False) is None
    assert plan(OPENAI, {header: "600"}) == Beat(10, 10)


@pytest.mark.parametrize("told", ["", "NOT_GIVEN", "None", "nan", "inf", "-1", "0", "1e99", "2;3"])
def test_a_patience_that_is_none(told: str) -> None:
    assert plan("curl/8.5", {"x-stainless-read-timeout": told}) == Beat(10, 10)


def test_a_patience_next_to_nothing() -> None:
    assert plan(OPENAI, {"x-stainless-read-timeout": "0.0001"}) == Beat(0.05, 0.05)


def test_the_own_table_comes_first() -> None:
    config = Config.model_validate(
        {
            "timing": {"heartbeat_after_s": 3, "heartbeat_every_s": 4},
            "extra_heartbeat_clients": [
                {"name": "quiet", "match": {"user_agent": r"\AOpenAI/", "dialect": "openai-*"}, "stream": False},
                {"name": "mine", "match": {"user_agent": r"\AMine/"}, "whole": True, "read_timeout_s": 20},
            ],
        }
    )
    heartbeats = Heartbeats(config)
    quiet = {"user-agent": OPENAI}
    assert heartbeats.plan("openai-chat", quiet, stream=True, deadline_in_s=590) is None
    assert heartbeats.plan("gemini", quiet, stream=True, deadline_in_s=590) == Beat(3, 4)
    mine = {"user-agent": "Mine/1"}
    assert heartbeats.plan("gemini", mine, stream=False, deadline_in_s=590) == Beat(10, 4)
    assert heartbeats.plan("gemini", mine, stream=True, deadline_in_s=590) == Beat(3, 4)


def test_none_at_all() -> None:
    config = Config.model_validate({"timing": {"heartbeat_after_s": None}})
    assert Heartbeats(config).plan("openai-chat", {}, stream=True, deadline_in_s=590) is None
