"""What the clients of a session are told by the proxy itself: notices to who answers, errors to who asks.

Owns the words only.
"""

from __future__ import annotations

from typing import Final, assert_never

from motive_core.errors import ConflictError, HoldTimeoutError, MotiveError, RateLimitedError, UnavailableError
from motive_core.pairing.held import RETRY_AFTER_S
from motive_core.session import ErrorKind, NoticeKind

NOTICES: Final[dict[NoticeKind, str]] = {
    "paired": "You are paired: the other side is here. What you send next goes to it.",
    "waiting": "You are in the session, and nobody is here to answer yet. What you send next waits for them.",
    "late": "Too late: the call that you answered has ended in the meantime. Your words were not sent. "
    "Say anything to see the next prompt.",
    "refused": "Not sent: {detail}. The call still waits for your answer.",
    "unowed": "Not sent: no call waits for you. You are shown the next one when it comes, if you have joined.",
    "undelivered": "Your last answer was not delivered: the app went away and did not come back for it. "
    "Say anything to see the next prompt.",
    "idle": "Nothing has come yet. Say anything to go on waiting.",
    "left": "You have left the session. Its calls go on without you; a join word brings you back.",
    "help": "{detail}",
}


def error_for(kind: ErrorKind, session: str) -> MotiveError:
    """The error that a client sees when the machine ends its call with ``kind``."""
    match kind:
        case "superseded":
            return ConflictError("A newer call of this client took its place.", code="superseded")
        case "session_full":
            return ConflictError(
                f"Session {session!r} has both its clients. Use another model name, let the one whose seat it is say "
                f"/leave, or end the session by DELETE /admin/sessions/{session}, with the admin token.",
                code="session_full",
            )
        case "queue_full":
            message = f"Too many prompts wait in session {session!r}, or too large ones."
            return RateLimitedError(message, code="queue_full", retry_after_s=RETRY_AFTER_S)
        case "hold_timeout":
            return HoldTimeoutError("Nobody answered in time.")
        case "idle":
            message = "No prompt came in time. Call again to go on waiting."
            return HoldTimeoutError(message, code="idle", retry_after_s=1.0)
        case "answerer_left":
            return UnavailableError(f"Nobody is there to answer in session {session!r}.", code="answerer_left")
        case "closed":
            return UnavailableError(f"Session {session!r} was ended by the operator.", code="session_closed")
        case _:
            assert_never(kind)
