"""The operator's paths: what is not for clients of the meeting point.

Owns the one list of them. Whoever serves a path there gets the request only with the admin token shown.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

OPERATORS_PATHS: Final = ("/admin", "/metrics", "/console")
"""Each with everything below it."""


CONSOLE_PATH: Final = "/console"
LOGIN_PATH: Final = "/console/login"
OPEN_PATHS: Final = (
    CONSOLE_PATH,
    f"{CONSOLE_PATH}/",
    LOGIN_PATH,
    "/console/static/login.js",
    "/console/static/console.css",
)
"""What of the console somebody gets who has not shown the token: the way to log in."""


def is_operators(path: str, *, decoded: bool = False) -> bool:
    """Whether a path, as it came, is the operator's. The server that routes it reads it decoded, once, so it is judged
    so; ``decoded`` if it is already."""
    read = path if decoded else unquote(path)
    return any(read == own or read.startswith(f"{own}/") for own in OPERATORS_PATHS)


def is_console(path: str) -> bool:
    """Whether a path, as it came, is the console's."""
    read = unquote(path)
    return read == CONSOLE_PATH or read.startswith(f"{CONSOLE_PATH}/")


def is_open(path: str, *, decoded: bool = False) -> bool:
    """Whether an operator's path is for everybody, so that they can log in."""
    return (path if decoded else unquote(path)) in OPEN_PATHS
