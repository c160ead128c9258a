"""``motive converse``: two models talk through a real proxy, and its status tells whether each word arrived."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.cli import environment, motive
from tests.e2e.proxy import Proxy


def report_of(folder: Path) -> dict[str, Any]:
    """The one report that was written."""
    (made,) = folder.iterdir()
    assert sorted(path.name for path in made.iterdir()) == ["report.html", "report.json", "report.md"]
    report: dict[str, Any] = json.loads((made / "report.json").read_text("utf-8"))
    return report


@contextmanager
def tampering(meeting_point: str, *, paths: tuple[str, ...] = ("/v1/chat/completions",)) -> Iterator[str]:
    """Something before the meeting point that changes a word of what it says: each ``told`` in a reply is ``tald``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def _go_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
            }
            url = f"{meeting_point}{self.path}"
            reply = httpx.request(self.command, url, content=body, headers=headers, timeout=60, trust_env=False)
            said = reply.content.replace(b"told", b"tald") if self.path in paths else reply.content
            self.send_response(reply.status_code)
            self.send_header("content-type", reply.headers["content-type"])
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = _go_on

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_two_models_and_every_word(proxy: Proxy, tmp_path: Path) -> None:
    ran = motive(
        *("converse", "--a", "mock", "--b", "mock:other", "--turns", "3", "--url", proxy.meeting),
        *("--report", tmp_path / "reports"),
        env=environment(tmp_path),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = report_of(tmp_path / "reports")
    (talk,) = report["conversations"]
    assert report["passed"] and (talk["a"], talk["b"]) == ("mock:mock", "mock:other")
    assert [said["speaker"] for said in talk["messages"]] == ["a", "b"] * 3
    assert all(said["arrived"] and said["transit_s"] > 0 for said in talk["messages"])
    for said in talk["messages"]:
        assert said["text"].splitlines()[0] in ran.stdout
    assert "every word arrived as it was said" in ran.stdout


def test_a_model_that_cannot_be_reached(proxy: Proxy, tmp_path: Path) -> None:
    ran = motive(
        *("converse", "--a", "mock", "--b", "anthropic:absent", "--b-base-url", "http://127.0.0.1:9", "--turns", "1"),
        *("--url", proxy.meeting, "--report", tmp_path / "reports"),
        env=environment(tmp_path),
    )
    assert ran.returncode == 1
    talk = report_of(tmp_path / "reports")["conversations"][0]
    assert "cannot be reached" in talk["problem"] and not talk["passed"]


def test_an_altered_word_is_a_failure(proxy: Proxy, tmp_path: Path) -> None:
    with tampering(proxy.meeting) as url:
        ran = motive(
            *("converse", "--a", "mock", "--b", "mock", "--turns", "2", "--no-stream", "--url", url),
            *("--report", tmp_path / "reports"),
            env=environment(tmp_path),
        )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "lost or altered" in ran.stdout
    messages = report_of(tmp_path / "reports")["conversations"][0]["messages"]
    assert messages and not any(said["arrived"] for said in messages)
    assert "tald" in messages[0]["received"] and "told" in messages[0]["text"]


@pytest.mark.parametrize("scenario", ["basic-handshake", "streaming", "retry", "concurrent", "cross-dialect"])
def test_scenarios(proxy: Proxy, tmp_path: Path, scenario: str) -> None:
    ran = motive(
        *("converse", "--scenario", scenario, "--turns", "2", "--pairs", "20", "--url", proxy.meeting),
        *("--report", tmp_path / "reports"),
        env=environment(tmp_path),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = report_of(tmp_path / "reports")
    assert report["name"] == scenario and report["passed"]
    most = {"concurrent": 20, "cross-dialect": 100, "retry": 2}
    assert len(report["conversations"]) == most.get(scenario, 1)


def test_a_proxy_of_its_own_and_no_report(confdir: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".mitmproxy").symlink_to(confdir)
    ran = motive(
        *("converse", "--scenario", "basic-handshake", "--turns", "1", "--own", "--no-report"), env=environment(home)
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not (tmp_path / "e2e_test_results").exists() and "report:" not in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        ([], 2, "name both sides"),
        (["--a", "mock"], 2, "name both sides"),
        (["--a", "gpt", "--b", "mock"], 1, "is no provider"),
        (["--a", "openai:gpt-4o", "--b", "mock"], 1, "set OPENAI_API_KEY"),
        (["--a", "mock", "--b", "mock", "--url", "http://127.0.0.1:9"], 1, "nobody listens"),
        (["--scenario", "all", "--own", "--url", "http://127.0.0.1:9"], 2, "exclude each other"),
        (["--scenario", "none"], 2, "invalid choice"),
        (["--scenario", "all", "--turns", "0"], 2, "is no number"),
    ],
)
def test_what_cannot_be_played(tmp_path: Path, arguments: list[str], status: int, why: str) -> None:
    ran = motive("converse", *arguments, env=environment(tmp_path))
    assert (ran.returncode, ran.stdout) == (status, "") and why in ran.stderr
