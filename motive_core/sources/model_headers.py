"""What of an app's head a service may be told: its headers but for credentials, and its key, if that is allowed.

Owns the names. Decides nothing: the settings do.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl

from motive_core.dialects.base import RequestHead

_NEVER: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-type",
        "digest",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    }
)
"""What describes the connection or the body, which are others now."""
_CREDENTIAL: Final = re.compile(
    r"auth|cookie|key|token|secret|signature|credential|password|session|assertion|jwt|\Ax-amz-|\Aproxy-|\Ax-motive-"
    r"|\Ax-forwarded-|\Aforwarded\Z"
)
"""Names that may hold a credential, are ours, or tell who the client is."""
_HARMLESS: Final = frozenset({"idempotency-key", "prompt-cache-key"})
_FIELDS: Final = 100
_LONGEST_KEY: Final = 8192


def is_credential(name: str) -> bool:
    """Whether a header of this name may hold a credential. A glob is none by itself."""
    name = name.lower()
    return not set(name) & set("*?") and name not in _HARMLESS and _CREDENTIAL.search(name) is not None


def may_pass(name: str, value: str) -> bool:
    """Whether a header may go to another service."""
    return name not in _NEVER and not is_credential(name) and value.isascii() and value.isprintable()


def app_key(head: RequestHead) -> str | None:
    """The API key that an app has sent, wherever its SDK puts it; None if there is none that others could use: a
    signature (AWS) is good for one host only. Secrets of ours must have been taken out of the head before."""
    scheme, _, secret = head.headers.get("authorization", "").strip().partition(" ")
    found = [secret.strip() if scheme.lower() == "bearer" else ""]
    found += [head.headers.get(name, "").strip() for name in ("x-api-key", "x-goog-api-key", "api-key")]
    if "key=" in head.query:
        with suppress(ValueError):
            found += [value for name, value in parse_qsl(head.query, max_num_fields=_FIELDS) if name == "key"]
    for key in found:
        if key and key.isascii() and key.isprintable() and len(key) <= _LONGEST_KEY:
            return key
    return None
