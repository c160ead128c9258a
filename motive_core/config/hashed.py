"""Secrets of the configuration, known by their digests alone.

Owns how a secret is read (as it is, or as ``sha256:`` and its digest) and compared. The secret itself is forgotten as
soon as it was read: what is kept can be neither shown nor sent.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final

from pydantic import PlainSerializer, PlainValidator
from pydantic_core import PydanticCustomError

from motive_core.settings.types import Kind

SECRET_ERROR: Final = "secret"
"""The type of an error about a secret: what was given is not shown with it."""

_PREFIX: Final = "sha256:"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, repr=False)
class Hashed:
    """A secret, by the SHA-256 of its bytes. Two of the same secret are equal."""

    digest: bytes

    @classmethod
    def of(cls, secret: str) -> Hashed:
        """That of a secret. Text that stands for bytes that are not UTF-8 (lone surrogates) is those bytes."""
        return cls(sha256(secret.encode("utf-8", "surrogatepass")).digest())

    def equals(self, other: Hashed) -> bool:
        """Whether both are of the same secret, in the same time whichever they are."""
        return hmac.compare_digest(self.digest, other.digest)

    @property
    def written(self) -> str:
        """How it is written in a configuration file."""
        return f"{_PREFIX}{self.digest.hex()}"

    def __repr__(self) -> str:
        return "Hashed(***)"


def _read(value: object) -> Hashed:
    if isinstance(value, Hashed):
        return value
    if not isinstance(value, str) or not value.strip():
        raise PydanticCustomError(SECRET_ERROR, "a secret is wanted, or sha256: and its digest")
    text = value.strip()
    if not text.startswith(_PREFIX):
        if any(character.isspace() or not character.isprintable() for character in text):
            raise PydanticCustomError(SECRET_ERROR, "a secret must have no white space and no control characters in it")
        return Hashed.of(text)
    digest = text.removeprefix(_PREFIX)
    if _DIGEST.fullmatch(digest) is None:
        raise PydanticCustomError(SECRET_ERROR, "sha256: must be followed by 64 hexadecimal digits")
    return Hashed(bytes.fromhex(digest))


Secret = Annotated[Hashed, PlainValidator(_read), PlainSerializer(lambda _: "***", return_type=str), Kind("secret")]
