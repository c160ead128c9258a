"""The configuration of the proxy that tests share: a session's name chooses the rules that it is played by.

======= =========================================================================================
hasty   who hangs up is gone within a moment, and an answer waits for its app no longer than that
short   a call is held for a moment
brief   two prompts may wait
paced   words come slowly enough that a test can act between two of them
brisk   words come one by one, and fast
hosted  the session has the name of the host that was called, too
silent  a held call shows no sign of life
told    who answers is shown the app's system prompt, its tools and what was said before
======= =========================================================================================

Everything else has the defaults, which suit a person. A guard of the forward proxy has a session of its own.
"""

from __future__ import annotations

from typing import Any, Final

BODY_LIMIT_BYTES: Final = 1024 * 1024

_HASTY: Final = {"rejoin_window_s": 0.3, "retry_window_s": 1.0}


def _at_meeting(glob: str, **rules: Any) -> dict[str, Any]:
    return {"match": {"listener": "reverse", "model": glob}, "answer": "pair", **rules}


SHARED_CONFIG: Final[dict[str, Any]] = {
    "limits": {"body_limit_bytes": BODY_LIMIT_BYTES},
    "routes": [
        {
            "match": {"listener": "forward", "system": r"You are (?P<npc>\w+), a guard"},
            "session": "npc-{npc}",
            "answer": "pair",
        },
        {"match": {"listener": "forward", "model": "hasty-*"}, "answer": "pair", "when": "joined", **_HASTY},
        {"match": {"listener": "forward"}, "answer": "pair", "when": "joined"},
        _at_meeting("hasty-*", **_HASTY),
        _at_meeting("short-*", hold_timeout_s=1.0, handshake_timeout_s=1.0),
        _at_meeting("brief-*", queue_limit=2),
        _at_meeting("paced-*", pace_tokens_per_s=20),
        _at_meeting("brisk-*", pace_tokens_per_s=1000),
        _at_meeting("hosted-*", session="{model} at {host}"),
        _at_meeting("silent-*", heartbeats="off"),
        _at_meeting("told-*", relay_system=True, relay_context=True),
        _at_meeting("*"),
    ],
}
