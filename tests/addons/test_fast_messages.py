"""Fast messages are mitmproxy's own, less what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from mitmproxy import http
from mitmproxy.net.http import url

from motive_shell.fast_messages import install, uninstall

AUTHORITIES: Final[tuple[str | bytes, ...]] = (
    "example.com",
    "example.com:8080",
    "[::1]:80",
    "127.0.0.1",
    b"example.com:80",
    b"xn--bcher-kva.example",
    "exa mple.com",
    "example.com:99999",
    "",
    b"",
    b"\xff\xfe",
    "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example:1",
    "a:b:c",
)


@pytest.fixture(autouse=True)
def stock() -> Iterator[None]:
    """Whatever was left out before, each test begins with mitmproxy's own messages."""
    uninstall()
    yield
    uninstall()


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
    install()
    unchecked = make()
    assert unchecked.get_state() == checked.get_state()


@pytest.mark.parametrize("make", [a_wrong_request, a_wrong_response])
def test_a_wrong_type_is_not_looked_for(make: Callable[[], http.Message]) -> None:
    install()
    make()


@pytest.mark.parametrize("make", [a_wrong_request, a_wrong_response])
def test_it_can_be_undone(make: Callable[[], http.Message]) -> None:
    install()
    install()
    uninstall()
    uninstall()
    with pytest.raises(TypeError):
        make()


def test_another_patch_keeps_its_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[http.MessageData] = []

    def note(data: http.MessageData) -> None:
        seen.append(data)

    monkeypatch.setattr(http.MessageData, "__post_init__", note)
    install()
    message = a_response()
    assert seen == [message.data]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("authority", AUTHORITIES)
def test_authorities_are_parsed_alike(authority: Any, check: bool) -> None:
    def parse() -> tuple[str, int | None] | str:
        try:
            return url.parse_authority(authority, check=check)
        except ValueError as error:
            return repr(error)

    own = parse()
    install()
    assert [parse(), parse()] == [own, own]


def test_an_authority_is_parsed_once() -> None:
    own = url.parse_authority
    install()
    install()
    first = a_request()
    first.headers["host"] = "Example.com:81"
    assert (first.pretty_host, first.pretty_url) == ("Example.com", "http://Example.com:81/")
    assert url.parse_authority is not own
    uninstall()
    assert url.parse_authority is own
