"""What goes wrong with an agent, as errors that an app may see.

Owns the status and the words of each, whether the same call may be made again, and what never leaves the operator's
side: account ids, ARNs, credentials. Knows no SDK. Source of the names: botocore's model of ``InvokeAgent``, 1.44.

An agent's turn is not idempotent: it may have run actions, and its words are in the agent's session. So an error is
told as one that another try may mend only where the agent is known not to have begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from motive_core.errors import BadRequestError, MotiveError, StatusError, UnavailableError

INSTALL: Final = ".venv/bin/pip install 'boto3>=1.40,<2'"

_STATUS: Final = {
    "ValidationException": 400,
    "AccessDeniedException": 403,
    "UnrecognizedClientException": 403,
    "InvalidSignatureException": 403,
    "SignatureDoesNotMatch": 403,
    "IncompleteSignature": 403,
    "MissingAuthenticationToken": 403,
    "ExpiredTokenException": 403,
    "ExpiredToken": 403,
    "ResourceNotFoundException": 404,
    "ConflictException": 409,
    "DependencyFailedException": 424,
    "ThrottlingException": 429,
    "TooManyRequestsException": 429,
    "ServiceQuotaExceededException": 429,
    "InternalServerException": 500,
    "BadGatewayException": 502,
    "ModelNotReadyException": 503,
    "ServiceUnavailableException": 503,
}
"""Where these differ from the service's own: its quota is a 400 there, and a model that is not ready a 424, though both
say "later"."""

_NOT_BEGUN: Final = frozenset(
    {
        "ThrottlingException",
        "TooManyRequestsException",
        "ServiceQuotaExceededException",
        "ModelNotReadyException",
        "ConflictException",
    }
)
"""Upon these, as the answer to the call itself, the agent has not begun, and another try may succeed."""

_WORDLESS: Final = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"})
"""Their messages repeat the request that was signed, header by header."""

_HIDDEN: Final = (
    (re.compile(r"\barn:[\w-]+:[^\s\"'<>(),;\[\]{}]*[^\s\"'<>(),;\[\]{}.:!?]"), "[ARN]"),
    (
        re.compile(r"\b(?:A3T[A-Z0-9]|ABIA|ACCA|AGPA|AIDA|AIPA|AKIA|ANPA|ANVA|APKA|AROA|ASCA|ASIA)[A-Z0-9]{12,}"),
        "[key]",
    ),
    (re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+=]{40,}"), "[hidden]"),
    (re.compile(r"(?<![A-Za-z0-9])(?:\d{12}|\d{4}-\d{4}-\d{4})(?![A-Za-z0-9])"), "[account]"),
)
_LONGEST: Final = 2000


@dataclass(eq=False)
class Fault(Exception):
    """A turn failed. ``may_repeat`` tells that the agent has not begun, and that another try may succeed."""

    error: MotiveError
    may_repeat: bool


def clean(text: str) -> str:
    """A text of the service without ARNs, account ids and what looks like a credential."""
    for pattern, name in _HIDDEN:
        text = pattern.sub(name, text[: 4 * _LONGEST])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def told_fault(code: str, message: str, status: int | None, *, begun: bool) -> Fault:
    """An exception of the service. Within the stream its name begins with a small letter."""
    name = code[:1].upper() + code[1:]
    known = _STATUS.get(name)
    if known is None:
        known = status if status is not None and 400 <= status <= 599 else 502
    may_repeat = name in _NOT_BEGUN and not begun
    words = clean(message.strip()) if name not in _WORDLESS else ""
    words = words or f"The agent's service answered with {clean(name) or f'status {known}'}."
    return Fault(
        StatusError(known, words, code=_snake(name), retry_after_s=1.0 if may_repeat else None), may_repeat=may_repeat
    )


def _snake(name: str) -> str:
    """``ThrottlingException`` as ``throttling``; a name that is none is ours."""
    bare = name.removesuffix("Exception")
    if re.fullmatch(r"[A-Za-z]{1,60}", bare) is None:
        return "agent_failed"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", bare).lower()


def no_extra() -> MotiveError:
    """The SDK is missing."""
    return UnavailableError(f"A Bedrock agent needs the extra 'bedrock': {INSTALL}", code="extra_missing")


def no_credentials() -> MotiveError:
    """The SDK's chain has none, or could not get them."""
    return UnavailableError("There are no AWS credentials to ask the agent with.", code="aws_credentials_missing")


def no_region() -> MotiveError:
    """Neither the settings nor the SDK's chain name one."""
    return UnavailableError("The agent's AWS region is not known: set AWS_REGION.", code="aws_region_missing")


def bad_parameters() -> MotiveError:
    """The SDK refuses what it was given. Its own words would repeat them."""
    return BadRequestError("The call cannot be made in a form that Bedrock's agents take.")


def silent() -> MotiveError:
    """No byte came for too long."""
    return StatusError(504, "The agent did not answer in time.", code="upstream_timeout")


def cut_off(why: str = "") -> MotiveError:
    """The connection ended."""
    return StatusError(502, f"The agent's reply was cut off{f': {why}' if why else ''}.", code="upstream_failed")


def unreadable() -> MotiveError:
    """What came is no reply."""
    return StatusError(502, "The agent's reply cannot be read.", code="upstream_failed")


def nothing_said() -> MotiveError:
    """The stream ended in good order, without an answer in it."""
    return StatusError(502, "The agent's reply is empty.", code="upstream_failed")
