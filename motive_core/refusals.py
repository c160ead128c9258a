"""What is said to a request that is not served: not admitted, too much, too large, or nothing that is known here.

Owns those replies, each in the envelope that its client understands. Who is admitted, and how much is too much, is
decided elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from motive_core.access import Caller, Guard
from motive_core.clients import limited_as
from motive_core.config import Config, encodable
from motive_core.dialects import DIALECTS, Dialect, RequestHead, dialect_of
from motive_core.errors import (
    MotiveError,
    NotFoundError,
    PayloadTooLargeError,
    StatusError,
    TooManyRequestsError,
    UpgradeRequiredError,
)
from motive_core.incoming import new_id
from motive_core.ledger import Ledger
from motive_core.rate_limits import RateLimiter

logger = logging.getLogger(__name__)

type Refusal = tuple[int, dict[str, str], bytes]
"""A reply as status, headers and body."""

_CHALLENGE: Final = 'Bearer realm="motive"'
_SHOWN_CHARACTERS: Final = 200
_OWN_ENDPOINTS: Final = ("GET /health", "GET /metrics", "GET /admin/sessions")
_RESPONSES_PATH: Final = "/responses"
"""OpenAI's Responses API is also spoken over WebSocket, at the path of its HTTP form."""


def spoken_by(head: RequestHead) -> Dialect:
    """The dialect whose envelope this client understands."""
    return next((dialect for dialect in DIALECTS if dialect.speaks(head)), DIALECTS[-1]).for_client(head)


def side_of(head: RequestHead) -> Dialect | None:
    """The dialect of a call beside the chat that the meeting point answers; None for any other request."""
    return next((dialect.for_client(head) for dialect in DIALECTS if dialect.serves(head)), None)


def error_reply(dialect: Dialect, error: MotiveError, exchange: str) -> Refusal:
    """An error as a reply."""
    status = dialect.error_status(error)
    return status, dialect.error_headers(error, exchange), dialect.render_error(error, exchange)


class Refusals:
    """See the module. ``client_of`` gives the address of a client, from that of its connection."""

    guard: Guard
    body_limit_bytes: int

    def __init__(self, ledger: Ledger, rates: RateLimiter, client_of: Callable[[RequestHead, str], str]) -> None:
        self._ledger = ledger
        self._rates = rates
        self._client_of = client_of

    def configure(self, config: Config, guard: Guard) -> None:
        """Take a new configuration, and who is admitted by it."""
        self.guard = guard
        self.body_limit_bytes = config.limits.body_limit_bytes

    def upgrade(self, head: RequestHead) -> Refusal | None:
        """The reply to a WebSocket upgrade on the path of an LLM call; None if it is none.

        426 makes clients that prefer WebSocket (Codex, say) go on with HTTP at once.
        """
        if head.headers.get("upgrade", "").lower() != "websocket":
            return None
        dialect = dialect_of(replace(head, method="POST"))
        if dialect is None and not head.path.endswith(_RESPONSES_PATH):
            return None
        error = UpgradeRequiredError("WebSocket is not spoken here; use HTTP.")
        return error_reply(dialect or spoken_by(head), error, new_id())

    def not_admitted(self, head: RequestHead, error: MotiveError, client_host: str) -> Refusal:
        """The reply to a request that was not admitted to the meeting point."""
        asked = f"{_shortened(head.method)} {_shortened(head.path)}"
        logger.info("not admitted client=%s code=%s request=%r", client_host, error.code, asked)
        status, headers, body = self.at_meeting(head, error, spoken_by(head), new_id())
        return status, headers | ({"www-authenticate": _CHALLENGE} if status == 401 else {}), body

    def at_meeting(self, head: RequestHead, error: MotiveError, dialect: Dialect, exchange: str) -> Refusal:
        """An error as a reply that a page may read, if it may call."""
        status, headers, body = error_reply(dialect, error, exchange)
        return status, headers | self.guard.pages.cors_headers(head), body

    def flood(self, head: RequestHead, peer: str, caller: Caller) -> Refusal | None:
        """The reply to a request beside the chat that is over its limit; None for all others."""
        try:
            self._rates.admit_side(limited_as(self._client_of(head, peer), caller.name))
        except TooManyRequestsError as error:
            self._ledger.over_limit(error)
            return self.at_meeting(head, error, spoken_by(head), new_id())
        return None

    def upload(self, head: RequestHead, peer: str) -> Refusal:
        """The reply to a request at the meeting point whose body is known to be too large before it is here."""
        try:
            self.guard.admit(head)
        except MotiveError as error:
            return self.not_admitted(head, error, peer)
        limit = self.body_limit_bytes
        too_large = PayloadTooLargeError(f"The body is larger than {limit} bytes, which is the limit.")
        exchange, dialect = new_id(), dialect_of(head)
        if dialect is None:
            self._ledger.over_limit(too_large)
            dialect = spoken_by(head)
        else:
            self._ledger.refused(exchange, "reverse", dialect, self._client_of(head, peer), error=too_large)
        return self.at_meeting(head, too_large, dialect, exchange)

    def not_served(self, head: RequestHead, status: int) -> Refusal:
        """An error in the caller's dialect for a path or a method that is not served."""
        extra: dict[str, str] = {}
        if status == 404 and (allowed := self._methods_of(head)):
            status = 405
            extra["allow"] = ", ".join(allowed)
        served = ", ".join([*(one for dialect in DIALECTS for one in dialect.endpoints), *_OWN_ENDPOINTS])
        asked = f"{_shortened(head.method)} {_shortened(head.path)}"
        message = encodable(f"{asked} is not served here. What is: {served}.")
        error = NotFoundError(message) if status == 404 else StatusError(status, message, code="not_served")
        status, headers, body = self.at_meeting(head, error, spoken_by(head), new_id())
        return status, headers | extra, body

    def _methods_of(self, head: RequestHead) -> list[str]:
        """The methods by which a path is served, if it is at all."""
        heads = [replace(head, method=method) for method in ("GET", "POST", "DELETE")]
        return [one.method for one in heads if dialect_of(one) is not None or side_of(one) is not None]


def _shortened(text: str) -> str:
    """Text for a message: its sender knows the rest of it."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
