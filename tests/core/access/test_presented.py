"""What others wrote about a request shows none of its secrets, wherever the app has put them."""

from __future__ import annotations

import pytest

from motive_core.access import without_keys
from motive_core.dialects import RequestHead

SECRET = "s3cret-of-the-app"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", f"Bearer {SECRET}"),
        ("x-api-key", SECRET),
        ("cf-aig-authorization", f"Bearer {SECRET}"),
        ("ocp-apim-subscription-key", SECRET),
        ("x-auth-token", SECRET),
        ("x-amz-security-token", SECRET),
        ("cookie", f"theme=dark; sid={SECRET}"),
        ("proxy-authorization", f"Basic {SECRET}"),
    ],
)
def test_in_a_header(name: str, value: str) -> None:
    head = RequestHead("POST", "h", 443, "/", "", {name: value, "content-type": "application/json"})
    told = without_keys(f"Bad application/json: {name}={value}; {SECRET}", head)
    assert SECRET not in told
    assert "application/json" in told


@pytest.mark.parametrize("name", ["key", "access_token"])
def test_in_the_query(name: str) -> None:
    head = RequestHead("POST", "h", 443, "/", f"alt=sse&{name}={SECRET}", {})
    assert without_keys(f"alt=sse {SECRET}", head) == "alt=sse \u2026"


def test_what_is_short_is_no_secret() -> None:
    head = RequestHead("POST", "h", 443, "/", "", {"x-session-kind": "a b", "cookie": "a=b"})
    assert without_keys("a bad b", head) == "a bad b"
