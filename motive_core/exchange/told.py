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
from typing import Any, Final

from motive_core.errors import MotiveError, StatusError

READ_BYTES: Final = 64 * 1024
"""How much of an error is read."""

_RETRIED: Final = frozenset({408, 409, 425, 429})
"""Below 500, what may be mended by another try."""
_LONGEST_WAIT_S: Final = 3600.0
_MESSAGES: Final = ("message", "Message", "detail", "errors", "error_description", "error")
_LINES: Final = 5


def told_error(status: int, headers: Mapping[str, str], body: bytes, now: float | None = None) -> MotiveError:
    """The error that a service told by this reply. Header names are lower-case; ``now`` in Unix seconds, for a
    ``Retry-After`` that is a date."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, list) and told:
        told = told[0]  # Gemini's, where the reply would have been a stream
    found = told.get("error") or told if isinstance(told, dict) else {}
    # xAI has the words in the place of the object, and its code beside them.
    fields = found if isinstance(found, dict) else {**told, "message": found}
    message = _words(fields) or f"The service answered with status {status}."
    code, param = fields.get("code"), fields.get("param")
    again_s = _wait_of(headers, now) or _told_wait(fields.get("details"))
    if headers.get("x-should-retry", "").lower() == "false":
        again_s = None  # what the Stainless SDKs go by
    elif again_s is None and (status in _RETRIED or status >= 500):
        again_s = 1.0
    return StatusError(
        status if 400 <= status <= 599 else 502,
        message,
        code=code if isinstance(code, str) and code else None,
        param=param if isinstance(param, str) and param else None,
        retry_after_s=again_s,
    )


def _words(fields: Mapping[str, Any]) -> str:
    """What an error says, by whichever name its vendor has for that: ``Message`` is AWS's, ``detail`` FastAPI's, whose
    list tells each field that is wrong, and ``message`` may hold such a list with Mistral."""
    for name in _MESSAGES:
        told = fields.get(name)
        if isinstance(told, dict):
            told = told.get("detail") or _words(told)
        if isinstance(told, list):
            lines = [_line(one) for one in told[:_LINES]]
            told = "; ".join([line for line in lines if line])
        if isinstance(told, str) and told.strip():
            return told
    return ""


def _line(told: Any) -> str:
    if isinstance(told, str):
        return told
    if not isinstance(told, dict):
        return ""
    where, what = told.get("loc"), told.get("msg") or told.get("message")
    if not isinstance(what, str):
        return ""
    return f"{'.'.join(map(str, where))}: {what}" if isinstance(where, list) else what


def _told_wait(details: Any) -> float | None:
    """How long Gemini wants its client to wait (``google.rpc.RetryInfo``)."""
    for one in details if isinstance(details, list) else ():
        delay = one.get("retryDelay") if isinstance(one, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            with contextlib.suppress(ValueError):
                return _bounded(float(delay[:-1]))
    return None


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
    with contextlib.suppress(ValueError, OverflowError):
        return _bounded(parsedate_to_datetime(told).timestamp() - now)
    return None


def _bounded(seconds: float) -> float | None:
    """None for what is no time to wait."""
    return min(seconds, _LONGEST_WAIT_S) if math.isfinite(seconds) and seconds > 0 else None
