"""Messages without type checks are those with them, less the check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mitmproxy import http

from motive_shell.fast_messages import leave_out_checks, put_checks_back


@pytest.fixture(autouse=True)
def stock() -> Iterator[None]:
    """Whatever was left out before, each test begins with mitmproxy's own messages."""
    put_checks_back()
    yield
    put_checks_back()


def a_request() -> http.Request:
    return http.Request(
        "example.com", 80, b"GET", b"http", b"", b"/", b"HTTP/1.1", ((b"a", b"b"),), None, None, 1.0, None
    )


def a_response() -> http.Response:
    return http.Response(b"HTTP/1.1", 200, b"OK", http.Headers(), b"words", None, 1.0, 2.0)


def a_wrong_request() -> http.Request:
    port: Any = "80"
    return http.Request(
        "example.com", port, b"GET", b"http", b"", b"/", b"HTTP/1.1", http.Headers(), b"", None, 1.0, None
    )


def a_wrong_response() -> http.Response:
    body: Any = ["words"]
    return http.Response(b"HTTP/1.1", 200, b"OK", http.Headers(), body, None, 1.0, 2.0)


@pytest.mark.parametrize("make", [a_request, a_response])
def test_a_message_is_the_same(make: Callable[[], http.Message]) -> None:
    checked = make()
    leave_out_checks()
    unchecked = make()
    assert unchecked.get_state() == checked.get_state()


@pytest.mark.parametrize("make", [a_wrong_request, a_wrong_response])
def test_a_wrong_type_is_not_looked_for(make: Callable[[], http.Message]) -> None:
    leave_out_checks()
    make()


@pytest.mark.parametrize("make", [a_wrong_request, a_wrong_response])
def test_it_can_be_undone(make: Callable[[], http.Message]) -> None:
    leave_out_checks()
    leave_out_checks()
    put_checks_back()
    put_checks_back()
    with pytest.raises(TypeError):
        make()


def test_another_patch_keeps_its_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[http.MessageData] = []

    def note(data: http.MessageData) -> None:
        seen.append(data)

    monkeypatch.setattr(http.MessageData, "__post_init__", note)
    leave_out_checks()
    message = a_response()
    assert seen == [message.data]
