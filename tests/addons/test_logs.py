"""Lines of the log: those that mitmdump writes about flows hold no credential, and nobody's words forge one."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy.addons.dumper import Dumper
from mitmproxy.addons.termlog import TermLogHandler
from mitmproxy.test import taddons, tflow

from motive_core.config import Config
from motive_core.log_lines import LogLine
from motive_shell.logs import (
    _NOISY,
    _OURS,
    JsonFormatter,
    TextFormatter,
    apply_logging,
    keep_secrets,
    without_secrets,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/v1beta/models/m:generateContent?key=AIzaX", "http://h/v1beta/models/m:generateContent?key=***"),
        ("http://h/p?alt=sse&key=AIzaX&x=1", "http://h/p?alt=sse&key=***&x=1"),
        (
            "http://h/p?API_KEY=a&access_token=b&X-Amz-Signature=c",
            "http://h/p?API_KEY=***&access_token=***&X-Amz-Signature=***",
        ),
        ("\x1b[1mhttp://h/p?key=AIzaX\x1b[0m", "\x1b[1mhttp://h/p?key=***\x1b[0m"),
        ("http://h/p?key=AIza…", "http://h/p?key=***…"),
        ("http://h/p?monkeys=3&api-version=2024-10-21", "http://h/p?monkeys=3&api-version=2024-10-21"),
        ("http://h/p?key=", "http://h/p?key="),
        ("http://h/key=x", "http://h/key=x"),
    ],
)
def test_a_url_tells_no_secret(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_a_long_line_is_read_in_no_time() -> None:
    began = time.perf_counter()
    for text in ("?" + "key" * 100_000, "?a" * 100_000, "&key" * 100_000 + "=", "?key=" * 100_000):
        without_secrets(text)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize("detail", [1, 2])
def test_mitmdump_shows_flows_without_their_keys(detail: int) -> None:
    out = io.StringIO()
    dumper = Dumper(out)
    keep_secrets(dumper)
    flow = tflow.tflow(resp=True)
    flow.request.path = "/v1beta/models/m:generateContent?key=AIzaSecret"
    with taddons.context(dumper) as context:
        context.configure(dumper, flow_detail=detail)
        dumper.response(flow)
    assert "generateContent?key=***" in out.getvalue()
    assert "AIzaSecret" not in out.getvalue()


def test_there_may_be_no_mitmdump() -> None:
    keep_secrets(None)


@pytest.fixture
def levels() -> Iterator[None]:
    """Puts the levels of loggers back."""
    before = {name: logging.getLogger(name).level for name in ("", *_OURS, *_NOISY)}
    handlers = list(logging.getLogger().handlers)
    logging.getLogger().setLevel(logging.DEBUG)
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("log", [{"level": "debug"}, {"debug": True}])
def test_details_are_shown_if_they_are_wanted_and_those_of_clients_are_not(levels: None, log: dict[str, Any]) -> None:
    handler = TermLogHandler(io.StringIO())
    handler.setLevel(logging.INFO)  # mitmproxy's default
    logging.getLogger().addHandler(handler)

    def said() -> list[str]:
        for name in ("motive_core.x", "botocore.auth"):
            logging.getLogger(name).debug("details of %s", name)
            logging.getLogger(name).info("news of %s", name)
        text: str = handler.file.getvalue()  # type: ignore[attr-defined]
        return [line.split("] ", 1)[1] for line in text.splitlines()]

    apply_logging(Config())
    news = ["news of motive_core.x", "news of botocore.auth"]
    assert said() == news
    apply_logging(Config.model_validate({"log": log}))
    assert said() == [*news, "details of motive_core.x", *news]


HOSTILE = "npc\n[12:00:00.000] forged\x1b[2J\x9b1m\u2028\ud800"


def shown(formatter: logging.Formatter, message: object, *args: object, name: str = "motive_core.x") -> str:
    """A record as a terminal gets it."""
    text = formatter.format(logging.LogRecord(name, logging.INFO, "", 0, message, args, None))
    text.encode()
    return text


class TestForgery:
    def test_an_argument_breaks_no_line(self) -> None:
        text = shown(TextFormatter(colorize=False), "reply failed exchange=%s count=%d", HOSTILE, 3)
        assert text.isprintable() and len(text.splitlines()) == 1
        assert text.endswith(" count=3") and r"npc\n[12:00:00.000] forged\x1b[2J\x9b1m\u2028\ud800" in text

    def test_nor_does_a_field(self) -> None:
        text = shown(TextFormatter(colorize=False), LogLine("call ended", session=HOSTILE, status=200))
        assert text.isprintable() and text.endswith(" status=200")

    def test_our_own_text_may_have_lines(self) -> None:
        assert shown(TextFormatter(colorize=False), "Motive is up.\n  here").endswith("Motive is up.\n  here")

    def test_other_loggers_are_left_alone(self) -> None:
        assert "a\nb" in shown(TextFormatter(colorize=False), "%s", "a\nb", name="mitmproxy.x")

    def test_a_traceback_looks_like_no_line_of_ours(self) -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            record = logging.LogRecord("motive_core.x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        lines = TextFormatter(colorize=False).format(record).split("\n")
        assert "Traceback (most recent call last):" in lines
        assert all(line.isprintable() for line in lines)
        assert [number for number, line in enumerate(lines) if line.startswith("[")] == [0]

    def test_in_json_each_field_is_a_member(self) -> None:
        text = shown(JsonFormatter(), LogLine("call ended", session=HOSTILE, status=200, waited_s=1.5))
        assert len(text.splitlines()) == 1 and text.isprintable()
        told = json.loads(text)
        assert (told["message"], told["session"], told["status"]) == ("call ended", HOSTILE, 200)
        assert (told["waited_s"], told["level"], told["logger"]) == (1.5, "info", "motive_core.x")

    def test_in_json_any_message_is_one_line(self) -> None:
        told = json.loads(shown(JsonFormatter(), "session=%s", HOSTILE))
        assert told["message"] == f"session={HOSTILE}"
