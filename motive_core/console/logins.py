"""Who is logged in to the console: a link that can be used once, and the cookies that it is exchanged for.

Owns both, and the file in which cookies outlive the process. Of a cookie only its digest is kept: what is in the file
logs nobody in. Knows no request.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

KEEP_S: Final = 7 * 86400.0
_LOGINS: Final = 100
"""How many browsers may be logged in; the oldest goes first."""
_BYTES: Final = 24


class Logins:
    """``clock`` gives Unix seconds. ``path`` is None where nothing is to outlive the process; ``cookie`` is the name of
    the cookie. ``token`` stands for the admin token that the configuration names, if it names one: with another one,
    nobody is logged in any more."""

    def __init__(self, clock: Callable[[], float], path: Path | None = None, cookie: str = "motive_console") -> None:
        self._clock = clock
        self._path = path
        self.cookie = cookie
        self._token = ""
        self._once = secrets.token_urlsafe(_BYTES)
        self._until: dict[str, tuple[float, str]] = _read(path) if path is not None else {}

    def use_token(self, token: str) -> None:
        """The admin token is this one from now on. Whoever was let in under another one has to log in again, even if
        that comes back."""
        self._token = token
        known = {digest: one for digest, one in self._until.items() if one[1] == token}
        if known != self._until:
            self._until = known
            self._write()

    @property
    def once(self) -> str:
        """What the link has in it that logs in, once."""
        return self._once

    def redeem(self, once: str) -> bool:
        """Use the link. It is another one from then on, which nobody knows yet."""
        if not hmac.compare_digest(once.encode("utf-8", "surrogatepass"), self._once.encode()):
            return False
        self._once = secrets.token_urlsafe(_BYTES)
        return True

    def open(self) -> str:
        """Log a browser in. Gives its cookie."""
        value, now = secrets.token_urlsafe(_BYTES), self._clock()
        self._until = {digest: one for digest, one in self._until.items() if one[0] > now}
        self._until[_digest(value)] = (now + KEEP_S, self._token)
        while len(self._until) > _LOGINS:
            del self._until[min(self._until, key=lambda digest: self._until[digest][0])]
        self._write()
        return value

    def admits(self, value: str) -> bool:
        """Whether a cookie is one of a browser that is logged in."""
        until, token = self._until.get(_digest(value), (0.0, ""))
        return until > self._clock() and token == self._token

    def close(self, value: str) -> None:
        """Log a browser out."""
        if self._until.pop(_digest(value), None) is not None:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump({digest: list(one) for digest, one in self._until.items()}, file)
            new.replace(self._path)
        except OSError as error:
            logger.warning("logins not written: who is logged in now has to log in after a restart error=%s", error)


def _read(path: Path) -> dict[str, tuple[float, str]]:
    try:
        told = json.loads(path.read_text("utf-8"))
        return {str(digest): (float(until), str(token)) for digest, (until, token) in told.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("logins not read error=%s", type(error).__name__)
        return {}


def _digest(value: str) -> str:
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
