"""The request log of the ``mock`` source: one line of JSON a request.

Owns what stands in a line, and that no secret does. A line that cannot be written ends no call.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from motive_core.kept import public
from motive_core.sources.base import Call

logger = logging.getLogger(__name__)

_SHOWN: Final = ("anthropic-beta", "anthropic-version", "connection", "host", "openai-beta", "user-agent")
_SHOWN_PREFIXES: Final = ("accept", "content-", "idempotency-key", "traceparent", "x-stainless-")
"""Headers whose values are shown. Of all others only the name is: any of them may hold a key."""
_WITHHELD: Final = "(withheld)"
_OWN_FILE: Final = 0o600
"""Everybody's words are in it."""


class RequestLog:
    """Lines of one file, which is opened anew for each, so that it may be moved away. ``clock`` gives Unix seconds."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self._path = Path(path).expanduser()
        self._clock = clock
        self._failed = False

    def add(self, call: Call, number: int, rule: int | None, fault: str | None) -> None:
        """Write a request down: what it was, the place of the rule that took it, and what is made to go wrong."""
        request, head = call.request, call.head
        line = {
            "at": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            "call": number,
            "exchange": call.exchange,
            "session": call.session,
            "dialect": request.dialect,
            "model": request.model,
            "stream": request.stream,
            "rule": rule,
            "fault": fault,
            "method": head.method,
            "path": head.path,
            "headers": {name: value if _is_shown(name) else _WITHHELD for name, value in head.headers.items()},
            "body": _body_of(request.raw),
        }
        # Text that no file can hold (halves of characters) is escaped, as all is that is not ASCII.
        data = json.dumps(line).encode("ascii") + b"\n"
        try:
            _append(self._path, data)
        except OSError as error:
            if not self._failed:
                logger.warning("request log not written path=%s error=%s", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False


def _append(path: Path, data: bytes) -> None:
    """Add a line to a file, whole or not at all. Raises ``OSError``."""
    # A pipe that nobody reads is an error, and no reason to wait.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, _OWN_FILE)
    try:
        size = os.fstat(file).st_size
        if os.write(file, data) < len(data):
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _is_shown(name: str) -> bool:
    return name in _SHOWN or name.startswith(_SHOWN_PREFIXES)


def _body_of(raw: bytes) -> Any:
    try:
        return public(json.loads(raw))
    except (ValueError, RecursionError):
        return None
