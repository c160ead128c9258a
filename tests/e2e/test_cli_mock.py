"""``motive mock``: a model at once, for whatever takes a base URL."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from tests.e2e.cli import MOTIVE, environment, motive
from tests.e2e.proxy import DEADLINE_S, free_port


@contextmanager
def mock(home: Path, confdir: Path, *arguments: str | Path) -> Iterator[str]:
    """Where it listens, as its first line tells, from the moment on when it does."""
    command = [*MOTIVE, "mock", *map(str, arguments), "--", "--set", f"confdir={confdir}"]
    process = subprocess.Popen(
        command, env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        found = re.match(r"motive mock: (http://[^/]+:\d+)/v1 is the base URL", first)
        assert found is not None, first
        while "Motive is up" not in (line := process.stdout.readline()):
            assert line, process.wait()
        yield found[1]
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_every_dialect_is_answered_with_what_it_said(confdir: Path, tmp_path: Path) -> None:
    with mock(tmp_path, confdir, "--port", "0") as url:
        message = {"role": "user", "content": "Hello, 世界"}
        with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
            made = client.chat.completions.create(model="any", messages=[message])  # type: ignore[list-item]
            assert made.choices[0].message.content == "Hello, 世界"
            said = client.chat.completions.create(model="any", messages=[message], stream=True)  # type: ignore[list-item]
            pieces = [one.choices[0].delta.content or "" for one in said if one.choices]  # type: ignore[union-attr]
            assert "".join(pieces) == "Hello, 世界"
        with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as other:
            told = other.messages.create(model="any", max_tokens=9, messages=[message])  # type: ignore[list-item]
            assert told.content[0].text == "Hello, 世界"  # type: ignore[union-attr]
        asked = {"model": "any", "messages": [message], "stream": False}
        assert httpx.post(f"{url}/api/chat", json=asked, trust_env=False).json()["message"]["content"] == "Hello, 世界"
        assert httpx.get(f"{url}/health", trust_env=False).json()["status"] == "ok"
    assert not (tmp_path / ".local").exists()  # it keeps nothing


@pytest.mark.parametrize("text", ["Polly wants a cracker.", "null", "${HOME} {model} 'it''s' \"\n"])
def test_a_text(confdir: Path, tmp_path: Path, text: str) -> None:
    with (
        mock(tmp_path, confdir, "--port", str(free_port()), "--text", text) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
    ):
        made = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hi"}])
        assert made.choices[0].message.content == text


def test_a_configuration(confdir: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("sources: {a: {kind: mock, text: mine}}\nroutes: [{match: {model: one}, answer: a}]\n")
    with (
        mock(tmp_path, confdir, "--port", "0", "--host", "127.0.0.1", "--config", path) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
    ):
        made = client.chat.completions.create(model="one", messages=[{"role": "user", "content": "hi"}])
        assert made.choices[0].message.content == "mine"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="two", messages=[{"role": "user", "content": "hi"}])


def test_a_port_in_use(confdir: Path, tmp_path: Path) -> None:
    with mock(tmp_path, confdir, "--port", "0", "--host", "127.0.0.1") as url:
        ran = motive("mock", "--host", "127.0.0.1", "--port", url.rpartition(":")[2], env=environment(tmp_path))
    assert ran.returncode == 1
    assert re.fullmatch(
        r"motive: port \d+ of the mock on 127.0.0.1 is in use; choose another by --port .*\n", ran.stderr
    )
