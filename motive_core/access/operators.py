"""The operator's paths: what is not for clients of the meeting point.

Owns the one list of them. Whoever serves a path there gets the request only with the admin token shown.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

OPERATORS_PATHS: Final = ("/admin", "/metrics", "/console")
"""Each with everything below it."""


def is_operators(path: str, *, decoded: bool = False) -> bool:
    """Whether a path, as it came, is the operator's. The server that routes it reads it decoded, once, so it is judged
    so; ``decoded`` if it is already."""
    read = path if decoded else unquote(path)
    return any(read == own or read.startswith(f"{own}/") for own in OPERATORS_PATHS)
