"""Lines that mitmdump writes about flows: they hold no credential."""

from __future__ import annotations

import io
import time

import pytest
from mitmproxy.addons.dumper import Dumper
from mitmproxy.test import taddons, tflow

from motive_shell.logs import keep_secrets, without_secrets


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
