"""Who may do what at the meeting point: keys, the operator's token, and pages in browsers.

Nothing of this is asked of calls that came by the forward proxy: they carry the credentials of real services.
"""

from __future__ import annotations

from motive_core.access.caller import ANYBODY, Caller, Rank
from motive_core.access.guard import Guard
from motive_core.access.operators import CONSOLE_PATH, LOGIN_PATH, is_console, is_open, is_operators
from motive_core.access.pages import INTERNAL_HOST, Pages, is_preflight
from motive_core.access.presented import LOGIN_COOKIE, without_keys

__all__ = [
    "ANYBODY",
    "CONSOLE_PATH",
    "INTERNAL_HOST",
    "LOGIN_COOKIE",
    "LOGIN_PATH",
    "Caller",
    "Guard",
    "Pages",
    "Rank",
    "is_console",
    "is_open",
    "is_operators",
    "is_preflight",
    "without_keys",
]
