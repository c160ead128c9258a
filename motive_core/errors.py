"""The error tree: every way in which a call can fail, with the HTTP status and code that a client sees.

Owns: status, machine-readable code, whether a retry can mend it. Does not know any wire dialect; a dialect's
``render_error`` turns one of these into its own envelope. Errors are told apart by class or ``code``, never by
their message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final


class MotiveError(Exception):
    """Base of every error that reaches a client.

    ``status`` is the HTTP status, ``code`` a stable snake_case name, ``param`` names the offending field of the
    request, if there is one. ``retryable`` tells whether the same request may succeed later: if it may, the reply
    carries ``Retry-After`` (``retry_after_s``, one second if not given), else ``x-should-retry: false``, which the
    vendors' SDKs honour. An error that is told when to try again is one that may be mended so.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"
    mendable: ClassVar[bool] = False
    """Whether errors of this class are ``retryable``, if nothing else is said."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retryable = self.mendable or retry_after_s is not None
        self.retry_after_s = retry_after_s or 1.0


class BadRequestError(MotiveError):
    """The request cannot be understood: not JSON, no model, a field of the wrong type."""

    status = 400
    default_code = "invalid_request"


class AuthenticationError(MotiveError):
    """No credential, or one that is not known."""

    status = 401
    default_code = "authentication_failed"


class PermissionDeniedError(MotiveError):
    """The credential is known but may not do this."""

    status = 403
    default_code = "permission_denied"


class NotFoundError(MotiveError):
    """No such path, session or model."""

    status = 404
    default_code = "not_found"


class RequestTimeoutError(MotiveError):
    """The client took too long to send its request."""

    status = 408
    default_code = "request_timeout"


class ConflictError(MotiveError):
    """The session cannot take this call now: it is full, or a newer call of the same client took its place."""

    status = 409
    default_code = "conflict"


class PayloadTooLargeError(MotiveError):
    """The body is over ``body_limit_bytes``."""

    status = 413
    default_code = "payload_too_large"


class UnprocessableError(MotiveError):
    """Well-formed, but it cannot be acted on."""

    status = 422
    default_code = "unprocessable"


class UpgradeRequiredError(MotiveError):
    """A WebSocket upgrade where only HTTP is spoken; clients fall back to HTTP on this status."""

    status = 426
    default_code = "websocket_not_supported"


class RateLimitedError(MotiveError):
    """Over a limit of ours: too many sessions or prompts."""

    status = 429
    default_code = "rate_limited"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may still do: ``remaining`` calls of ``limit``. All of them are back in ``reset_s`` seconds, which
    is at ``resets_at`` in Unix seconds."""

    limit: int
    remaining: int
    reset_s: float
    resets_at: float


class TooManyRequestsError(RateLimitedError):
    """Over a rate limit: the same call may be made again after ``retry_after_s``. ``limit`` names the limit."""

    mendable = True

    def __init__(self, message: str, *, limit: str = "", allowance: Allowance | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.limit = limit
        self.allowance = allowance


class TooManyHeldError(RateLimitedError):
    """One client holds too many calls. When one of them ends, the next one may come."""

    default_code = "too_many_held_for_client"
    mendable = True


class InternalError(MotiveError):
    """A defect of ours. Logged once, with the exchange id."""

    status = 500
    default_code = "internal_error"


class UpstreamError(MotiveError):
    """The real service could not be reached or answered nonsense."""

    status = 502
    default_code = "upstream_failed"
    mendable = True


class UnavailableError(MotiveError):
    """Nobody is there to answer, or the proxy is shutting down."""

    status = 503
    default_code = "unavailable"


class StoreError(MotiveError):
    """What the call would change cannot be written to the store: the disk is full, say. Nothing was changed."""

    status = 503
    default_code = "store_failed"
    mendable = True


class FullError(UnavailableError):
    """Too many calls are held, of all clients together. When one of them ends, the next one may come."""

    default_code = "too_many_held"
    mendable = True


class HoldTimeoutError(MotiveError):
    """Nobody answered before the deadline. Not retryable: a retry would make the person start again."""

    status = 504
    default_code = "hold_timeout"


class OverloadedError(MotiveError):
    """Anthropic's 529."""

    status = 529
    default_code = "overloaded"
    mendable = True


class StatusError(MotiveError):
    """An error whose status is decided at run time: a vendor's own, relayed in another dialect."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code or "upstream_error", param=param, retry_after_s=retry_after_s)
        self.status = status  # type: ignore[misc]  # the one class whose status belongs to the instance


_RETRIED: Final = frozenset({408, 409, 429})
"""Statuses below 500 upon which the vendors' SDKs try again."""


ANSWERED: Final = "failed_by_answerer"
"""The code of an error that the other side chose: it is nobody's fault here."""


def error_of(status: int, message: str) -> MotiveError:
    """An error of this status (400 to 599) that the answerer chose, as the vendors' services have it: with what its
    clients go by."""
    again_s = 1.0 if status in _RETRIED or status >= 500 else None
    for known in MotiveError.__subclasses__():  # the first of a status is the plainest
        if known.status == status and known is not StatusError:
            return known(message, code=ANSWERED, retry_after_s=again_s)
    return StatusError(status, message, code=ANSWERED, retry_after_s=again_s)


def whole_seconds(seconds: float) -> int:
    """A time to wait for headers that have no fractions: never too short, at least a second."""
    return max(1, math.ceil(seconds))


class ConfigError(Exception):
    """The configuration is wrong. ``where`` is the YAML path or the variable; never reaches a client."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class FramingError(Exception):
    """A byte stream is not what its content type says. Raised by decoders, never anything else."""
