"""What a service's error says: its status, its own words, and when to try again.

Owns the way from the bytes of any vendor's error to an error of ours. Knows no dialect: they all have their message in
one of few places.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from motive_core.errors import MotiveError, StatusError

READ_BYTES: Final = 64 * 1024
"""How much of an error is read."""

_RETRIED: Final = frozenset({408, 409, 425, 429})
"""Below 500, what may be mended by another try."""
_LONGEST_WAIT_S: Final = 3600.0


def told_error(status: int, headers: Mapping[str, str], body: bytes, now: float | None = None) -> MotiveError:
    """The error that a service told by this reply. Header names are lower-case; ``now`` in Unix seconds, for a
    ``Retry-After`` that is a date."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, list) and told:
        told = told[0]  # Gemini's, where the reply would have been a stream
    found = told.get("error", told) if isinstance(told, dict) else None
    message, code = (found.get("message"), found.get("code")) if isinstance(found, dict) else (found, None)
    if not isinstance(message, str) or not message:
        message = f"The service answered with status {status}."
    again_s = _wait_of(headers, now)
    if again_s is None and (status in _RETRIED or status >= 500):
        again_s = 1.0
    code = code if isinstance(code, str) and code else None
    return StatusError(status if 400 <= status <= 599 else 502, message, code=code, retry_after_s=again_s)


def _wait_of(headers: Mapping[str, str], now: float | None) -> float | None:
    """How long a service wants its client to wait, in seconds, if it says so."""
    with contextlib.suppress(ValueError):
        if (told := headers.get("retry-after-ms")) is not None:
            return _bounded(float(told) / 1000)
    told = headers.get("retry-after")
    if told is None:
        return None
    with contextlib.suppress(ValueError):
        return _bounded(float(told))
    if now is None:
        return None
    with contextlib.suppress(ValueError):
        return _bounded(parsedate_to_datetime(told).timestamp() - now)
    return None


def _bounded(seconds: float) -> float | None:
    """None for what is no time to wait."""
    return min(seconds, _LONGEST_WAIT_S) if math.isfinite(seconds) and seconds > 0 else None
