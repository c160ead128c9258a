"""How many files and connections this process may have open: as many as the system lets it.

Owns the soft limit of the process. The system's hard limit is not ours to change.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from motive_core.log_lines import LogLine

logger = logging.getLogger(__name__)

_A_HELD_CALL: Final = 1
"""A held call is one connection. While a reply is spoken it takes two more; few are at a time."""
_OTHERS: Final = 256
"""Listeners, the log, libraries, connections to real services."""


def open_files_allowed() -> int | None:
    """Raise the limit as far as it goes. Gives it, None if there is none or the system has no such thing."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS gives a hard limit that it does not take
            logger.warning(LogLine("the limit of open files could not be raised", limit=soft))
    return None if soft == resource.RLIM_INFINITY else soft


def too_few_for(held: int, allowed: int | None) -> str | None:
    """What is wrong if so many calls cannot be held; None if they can."""
    wanted = held * _A_HELD_CALL + _OTHERS
    if allowed is None or allowed >= wanted:
        return None
    return (
        f"limits.max_held is {held}, which takes about {wanted} open files, and the system allows {allowed}: "
        "raise that limit (ulimit -n) or lower the setting"
    )
