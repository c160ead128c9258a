"""Which pages may call the meeting point, and under which names it is the operator's."""

from __future__ import annotations

from typing import Any

import pytest

from motive_core.access import Pages, is_operators, is_preflight
from motive_core.config import Config
from motive_core.errors import PermissionDeniedError
from tests.core.access.heads import head

LOCAL = "http://localhost:3000"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"


def pages(**settings: Any) -> Pages:
    return Pages(Config.model_validate(settings))


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://localhost.evil.example",
        f"{LOCAL}, https://evil.example",
        f"https://evil.example, {LOCAL}",
        "http://localhost:3000/x",
        "http://localhost:1@evil.example",
        "http://LOCALHOST:3000",
        " http://localhost:3000",
    ],
)
def test_a_strangers_page_is_refused_everywhere(origin: str) -> None:
    for path in ("/v1/chat/completions", "/health", "/admin/sessions"):
        with pytest.raises(PermissionDeniedError) as raised:
            pages().check(head("POST", path, origin=origin))
        assert raised.value.code == "origin_not_allowed"
        assert pages().cors_headers(head("POST", path, origin=origin)) == {}


def test_an_allowed_page_may_read_replies_but_no_credentials_are() -> None:
    asked = head("POST", origin=LOCAL)
    pages().check(asked)
    told = pages().cors_headers(asked)
    assert told["access-control-allow-origin"] == LOCAL
    assert not any("credentials" in name for name in told)
    everybody = pages(cors_origins=["*"]).cors_headers(head("POST", origin="https://a.example"))
    assert everybody["access-control-allow-origin"] == "https://a.example"
    assert not any("credentials" in name for name in everybody)


def test_a_preflight_allows_what_the_sdk_asks_for() -> None:
    asked = "authorization,x-stainless-lang,x-motive-key"
    told = pages().preflight(
        head("OPTIONS", origin=LOCAL, access_control_request_method="POST", access_control_request_headers=asked)
    )
    assert told["access-control-allow-headers"] == asked
    assert "access-control-allow-private-network" not in told


@pytest.mark.parametrize("path", ["/admin/sessions", "/%61dmin/x", "/metrics", "/console/"])
def test_the_operators_paths_are_for_no_page(path: str) -> None:
    asked = head("OPTIONS", path, origin=LOCAL, access_control_request_method="DELETE")
    assert not is_preflight(asked)
    assert pages().cors_headers(asked) == {} and pages().preflight(asked) == {}


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("/admin", True),
        ("/admin/", True),
        ("/admin/sessions/x", True),
        ("/%61dmin/sessions", True),
        ("/admin%2Fsessions", True),
        ("/metrics", True),
        ("/console", True),
        ("/administration", False),
        ("/v1/admin", False),
        ("//admin", False),
        ("/ADMIN", False),
        ("/%2561dmin", False),
        ("/x/../admin", False),
    ],
)
def test_what_is_the_operators(path: str, is_one: bool) -> None:
    assert is_operators(path) is is_one


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "[::1]",
        "192.0.2.7",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "motive.internal",
    ],
)
def test_names_that_no_stranger_can_have(host: str) -> None:
    pages().check(head("GET", "/admin/sessions", host=host))
    pages().check(head("GET", "/v1/models", host=host, user_agent=BROWSER))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "2130706433", "", "a b"],
)
def test_names_that_a_stranger_may_have_made_point_here(host: str) -> None:
    for asked in (
        head("DELETE", "/admin/sessions/x", host=host),
        head("GET", "/admin/sessions", host=host, origin=LOCAL),
        head("GET", "/v1/models", host=host, user_agent=BROWSER),
        head("HEAD", "/health", host=host, user_agent=BROWSER),
    ):
        with pytest.raises(PermissionDeniedError, match=r"access\.hosts"):
            pages().check(asked)
    pages().check(head("GET", "/v1/models", host=host, user_agent="OpenAI/Python 3.52.0"))
    pages().check(head("POST", host=host, origin=LOCAL, user_agent=BROWSER))


def test_the_operators_names_may_be_more() -> None:
    named = pages(access={"hosts": ["motive.lan", "*.corp.example"]})
    for host in ("motive.lan", "MOTIVE.LAN.", "a.corp.example"):
        named.check(head("GET", "/admin/sessions", host=host))
    with pytest.raises(PermissionDeniedError):
        named.check(head("GET", "/admin/sessions", host="corp.example"))
