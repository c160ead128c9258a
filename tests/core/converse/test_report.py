"""The report of conversations, and the sides that a command line names."""

from __future__ import annotations

import json
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from motive_core.converse.report import Reported, as_html, as_markdown, figures, write
from motive_core.converse.sides import SideError, side_of
from motive_core.converse.talk import Conversation, Said, Speaker
from motive_core.converse.voices import Spoken

AT = datetime(2026, 11, 26, 12, 30, 1)


def said(number: int, speaker: Speaker, text: str, received: str | None, transit_s: float | None = 0.004) -> Said:
    return Said(number, speaker, text, Spoken(text, 0.5, 0.1, 7, 3, estimated=False), received, transit_s)


def found(*, whole: bool = True) -> list[Reported]:
    talk = Conversation("npc", 1, [said(1, "a", "<b>Hi</b> & \n\nbye", "<b>Hi</b> & \n\nbye"), said(2, "b", "x", "x")])
    if not whole:
        talk.messages[1].received = "<script>alert(1)</script>"
        talk.problem = "It is down."
    return [Reported("one", "openai:gpt-4o", "anthropic:claude", talk)]


class Page(HTMLParser):
    """Its tags, and whether they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("whole", [True, False])
def test_the_three_files(tmp_path: Path, whole: bool) -> None:
    folder = write(tmp_path / "e2e_test_results", "talk", found(whole=whole), AT, "Two models.")
    assert folder.name == "20261126-123001-talk"
    data = json.loads((folder / "report.json").read_text("utf-8"))
    assert data["passed"] is whole
    first, second = data["conversations"][0]["messages"]
    assert first["text"] == "<b>Hi</b> & \n\nbye" and first["arrived"] is True and first["transit_s"] == 0.004
    assert (first["model_s"], first["first_token_s"], first["output_tokens"]) == (0.5, 0.1, 3)
    assert second["arrived"] is whole
    text = (folder / "report.md").read_text("utf-8")
    assert "> <b>Hi</b> & " in text and ("FAILED" in text) is not whole
    page = (folder / "report.html").read_text("utf-8")
    assert (">passed<" in page) is whole
    assert write(tmp_path / "e2e_test_results", "talk", found(), AT, "").name == "20261126-123001-talk-2"


@pytest.mark.parametrize("whole", [True, False])
def test_the_page_needs_nothing_but_itself(whole: bool) -> None:
    page = as_html("talk", found(whole=whole), AT, "Two <models>.")
    reader = Page()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert "svg" in reader.tags and "script" not in reader.tags and "b" in reader.tags
    assert "&lt;b&gt;Hi&lt;/b&gt;" in page and "Two &lt;models&gt;" in page
    assert not re.search(r"(?:src|href)=|https?://|@import|url\(", page)


def test_figures_of_nothing() -> None:
    assert figures([])["messages"] == "0, 0 lost or altered"
    assert "talk" in as_markdown("talk", [], AT, "") and "<svg" not in as_html("talk", [], AT, "")


def test_many_conversations_are_figures_only() -> None:
    many = found() * 21
    assert "bye" not in as_html("storm", many, AT, "") and "21 of 21 whole" in as_markdown("storm", many, AT, "")


@pytest.mark.parametrize(
    ("named", "env", "base_url", "url", "key"),
    [
        ("openai:gpt-4o", {"OPENAI_API_KEY": "k"}, None, "https://api.openai.com/v1", "k"),
        ("openai:gpt-4o", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://h/v1"}, None, "http://h/v1", "k"),
        ("openai:x", {}, "http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1", None),
        ("google:gemini-3", {"GOOGLE_API_KEY": "g"}, None, "https://generativelanguage.googleapis.com", "g"),
        ("cohere:command", {"CO_API_KEY": "c"}, None, "https://api.cohere.com", "c"),
        ("ollama:llama3:8b", {"OLLAMA_HOST": "box:11434"}, None, "http://box:11434", None),
        ("anthropic:claude", {"ANTHROPIC_API_KEY": "a"}, None, "https://api.anthropic.com", "a"),
        ("mock", {}, "http://127.0.0.1:8888/v1", "http://127.0.0.1:8888/v1", None),
    ],
)
def test_a_side(named: str, env: dict[str, str], base_url: str | None, url: str, key: str | None) -> None:
    side = side_of(named, env, base_url=base_url)
    assert side.endpoint is not None and side.endpoint.base_url.rstrip("/") == url
    assert side.model == (named.partition(":")[2] or "mock")
    told = side.endpoint.key.get_secret_value() if side.endpoint.key is not None else None
    assert told == key and (key is None or key not in repr(side).replace(url, "").replace(side.dialect, "").split())


def test_a_mock_without_an_address_speaks_by_itself() -> None:
    assert side_of("mock", {}).endpoint is None


@pytest.mark.parametrize(
    ("named", "env", "why"),
    [
        ("gpt-4o", {}, "is no provider; known are openai, anthropic, google, cohere, ollama, mock"),
        ("openai", {"OPENAI_API_KEY": "k"}, "name the model"),
        ("openai:gpt-4o", {}, "set OPENAI_API_KEY"),
        ("google:g", {}, "set GEMINI_API_KEY or GOOGLE_API_KEY"),
        ("ollama:x", {"OLLAMA_HOST": "ftp://x"}, "is no base URL"),
    ],
)
def test_no_side(named: str, env: dict[str, str], why: str) -> None:
    with pytest.raises(SideError, match=why):
        side_of(named, env)
