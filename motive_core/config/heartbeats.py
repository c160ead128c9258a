"""The settings of heartbeats: which clients are kept alive how, and what they are by default.

Owns the table of clients and what was measured of them. Knows no call.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from motive_core.settings.types import DialectGlob, Regex, Seconds, Section, Text


class HeartbeatMatch(Section):
    """Which clients an entry is about. Both conditions must hold if both are given."""

    dialect: DialectGlob | None = Field(default=None, description="The wire dialect.")
    user_agent: Regex | None = Field(default=None, description="The `User-Agent` header.")


class HeartbeatClient(Section):
    """What a client stands while it waits. The first entry that matches counts."""

    name: Text = Field(description="What it is called, for people.")
    match: HeartbeatMatch = Field(description="Which clients these are.")
    stream: bool = Field(
        default=True,
        description="Whether a streamed call is kept alive, by what its dialect has for that: an SSE comment, a ping, "
        "a blank line, an empty piece of text, a frame that nobody reads.",
    )
    whole: bool = Field(
        default=False,
        description="Whether a call that is not streamed is kept alive, by white space before the JSON. It is if the "
        "client would give up before the call's own deadline. Its status is 200 by then, even if an error follows.",
    )
    read_timeout_s: Seconds | None = Field(
        default=None,
        description="How long it waits for a byte, if it does not tell. Most do: in `x-stainless-read-timeout`, "
        "`x-stainless-timeout` or `x-server-timeout`. Null: for ever.",
    )

    @model_validator(mode="after")
    def _is_a_condition(self) -> HeartbeatClient:
        if self.match.dialect is None and self.match.user_agent is None:
            raise ValueError("a condition is wanted: dialect or user_agent")
        return self


def _client(name: str, user_agent: str, *, read_timeout_s: float | None = None) -> HeartbeatClient:
    match = HeartbeatMatch(user_agent=user_agent)
    return HeartbeatClient(name=name, match=match, whole=True, read_timeout_s=read_timeout_s)


HEARTBEAT_CLIENTS: Final[tuple[HeartbeatClient, ...]] = (
    # Python: what their own clients wait for a byte by default, in their newest versions; tests/e2e/test_heartbeats.py
    # has each of them wait longer than that.
    _client("openai, Python", r"\A(?:Async)?(?:Azure)?OpenAI/Python ", read_timeout_s=600),
    _client("anthropic, Python", r"\A(?:Async)?Anthropic(?:Bedrock|Vertex|Foundry)?/Python ", read_timeout_s=600),
    _client("groq, Python", r"\A(?:Async)?Groq/Python ", read_timeout_s=60),
    _client("cohere, Python", r"\Acohere/\d", read_timeout_s=300),
    _client("google-genai, Python", r"\Agoogle-genai-sdk/\S+ gl-python/"),
    _client("mistralai, Python", r"\Amistral-client-python/"),
    _client("ollama, Python", r"\Aollama-python/"),
    _client("boto3", r"\A(?:Boto3|aiobotocore|Botocore)/", read_timeout_s=60),
    # JavaScript: Node waits 300 s for the head, and as long between two pieces of a body.
    _client("openai, JavaScript", r"\A\w*OpenAI/JS ", read_timeout_s=300),
    _client("anthropic, JavaScript", r"\A\w*Anthropic\w*/JS ", read_timeout_s=300),
)
"""As ``heartbeat_clients`` in the file. A client that is not in it has its streamed calls kept alive only."""
