"""Who a credential belongs to, without the credential.

Owns the identity by which clients are told apart in routes, fingerprints and logs. Verifies nothing: whoever makes up
a token makes up an identity, too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from urllib.parse import parse_qs

from pydantic_core import from_json

_KEY_HEADERS: Final = ("x-api-key", "api-key", "x-goog-api-key")
_DIGEST_BYTES: Final = 6
_AWS_KEY_ID: Final = re.compile(r"[A-Z0-9]{4,128}")
_SIGV4: Final = re.compile(r"AWS4-[A-Z0-9-]+ .*?\bCredential=([^/,\s]{1,128})/")


def credential_identity(headers: Mapping[str, str], query: str = "") -> str | None:
    """A short text that is the same for each use of one credential, such as ``bearer:9f86d081884c``; None if there is
    no credential. ``headers`` have lower-case names. Google's clients may put their key into the query.

    It holds a digest, never the secret, so it may be logged. Two kinds of credential change from call to call and
    are known by what stays: a SigV4 signature (AWS Signature Version 4, "Authorization header") by its access key id,
    an expiring JWT (RFC 7519) by its issuer and subject.
    """
    identity = _authorization(headers.get("authorization", "").strip())
    if identity is not None:
        return identity
    for name in _KEY_HEADERS:
        if key := headers.get(name, "").strip():
            return f"{name}:{_digest(key)}"
    if "key=" in query:
        for key in parse_qs(query).get("key", ()):
            return f"x-goog-api-key:{_digest(key)}"
    return None


def sigv4_key_id(authorization: str) -> str | None:
    """The access key id of a request that is signed with SigV4; None for any other."""
    signed = _SIGV4.match(authorization)
    return signed[1] if signed is not None else None


def _authorization(value: str) -> str | None:
    if (key_id := sigv4_key_id(value)) is not None:
        # What is none of AWS's ids, which are no secrets, may be one.
        return f"sigv4:{key_id if _AWS_KEY_ID.fullmatch(key_id) else _digest(key_id)}"
    scheme, _, secret = value.partition(" ")
    secret = secret.strip()
    if not secret:
        # A scheme without a secret is what an SDK sends for an empty key; a lone word is a key without a scheme.
        return None if scheme.lower() in ("", "bearer", "basic") else f"authorization:{_digest(scheme)}"
    if scheme.lower() == "bearer":
        subject = _subject(secret)
        return f"jwt:{_digest(subject)}" if subject is not None else f"bearer:{_digest(secret)}"
    return f"{'basic' if scheme.lower() == 'basic' else 'authorization'}:{_digest(secret)}"


def _subject(token: str) -> str | None:
    """Issuer and subject of an expiring JWT, None for any other token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = from_json(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(claims, dict) or "exp" not in claims:
        return None
    issuer, subject = (claims.get(name) if isinstance(claims.get(name), str) else "" for name in ("iss", "sub"))
    return f"{issuer}\0{subject}" if issuer or subject else None


def _digest(secret: str) -> str:
    return blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
