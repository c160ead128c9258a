"""The secrets that a request presents, wherever clients have the habit of putting theirs.

Owns those places. Knows no key: whether a secret is one is for others to find out.

A field that stands twice was joined by a comma before it comes here. It is not taken apart: of two values that claim
to be one credential, no two parties need to read the same one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl

from motive_core.dialects import RequestHead
from motive_core.routing import sigv4_key_id
from motive_core.sources.model_headers import is_credential

KEY_HEADERS: Final = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
"""Where the vendors' SDKs put their keys: what stands there may be a real service's."""
TOKEN_HEADER: Final = "x-admin-token"
LOGIN_COOKIE: Final = "motive_console"
"""How the names of the console's cookies begin. Cookies know no port, so the rest tells one proxy's from another's."""
_BLANK: Final = " \t"
"""The white space that may stand around the value of a field (RFC 9110, section 5.5), and no other."""
_WORDS: Final = re.compile(r"[\s;,=]+")
_KEY_CHARACTERS: Final = 6
"""What is shorter is no key, and may be a word."""
_FIELDS: Final = 100
"""Parameters of a query that are looked at; one with more of them shows no secret."""


def presented_keys(head: RequestHead, own_header: str) -> Iterator[tuple[str, str]]:
    """Each place in which a key may be, and what is there. ``own_header`` is a header that is ours alone."""
    value = head.headers.get("authorization", "").strip(_BLANK)
    scheme, _, secret = value.partition(" ")
    match scheme.lower():
        case "bearer":
            yield "authorization", secret.strip(_BLANK)
        case "basic":
            if (password := _password(secret.strip(_BLANK))) is not None:
                yield "authorization", password
        case _:
            # All that a client of AWS can be given without a change of its code.
            if (key_id := sigv4_key_id(value)) is not None:
                yield "authorization", key_id
    for name in dict.fromkeys((*KEY_HEADERS[1:], own_header)):
        if name in head.headers:
            yield name, head.headers[name].strip(_BLANK)
    yield from presented_parameters(head, "key")


def without_keys(text: str, head: RequestHead) -> str:
    """A text that others wrote about a request, an error say, with nothing of its keys in it."""
    keys = {secret for _, secret in presented_keys(head, "x-amz-security-token")}
    keys |= {secret for _, secret in presented_parameters(head, "access_token")}
    for name, value in head.headers.items():
        if is_credential(name):
            keys |= {value, *_WORDS.split(value)}
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= _KEY_CHARACTERS:
            text = text.replace(key, "\u2026")
    return text


def presented_tokens(head: RequestHead) -> Iterator[tuple[str, str]]:
    """Each place in which the admin token may be, and what is there."""
    scheme, _, secret = head.headers.get("authorization", "").strip(_BLANK).partition(" ")
    if scheme.lower() == "bearer":
        yield "authorization", secret.strip(_BLANK)
    if TOKEN_HEADER in head.headers:
        yield TOKEN_HEADER, head.headers[TOKEN_HEADER].strip(_BLANK)
    yield from presented_parameters(head, "token")


def presented_parameters(head: RequestHead, name: str) -> Iterator[tuple[str, str]]:
    """The values of a parameter of the query."""
    if not head.query:
        return
    try:
        fields = parse_qsl(head.query, max_num_fields=_FIELDS)
    except ValueError:
        return
    for found, value in fields:
        if found == name:
            yield f"?{name}", value


def _password(encoded: str) -> str | None:
    """The password of a Basic credential (RFC 7617); its user, where clients put the key into that place and leave the
    password empty."""
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (password or user) if colon else None


def presented_logins(head: RequestHead) -> Iterator[str]:
    """The cookies that the console may have given out."""
    for pair in head.headers.get("cookie", "").split(";", _FIELDS)[:_FIELDS]:
        name, _, value = pair.strip(_BLANK).partition("=")
        if name.startswith(LOGIN_COOKIE):
            yield value.strip('"')
