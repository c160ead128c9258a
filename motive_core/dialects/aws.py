"""What the dialects of AWS have in common: how their clients are recognised, where the model stands in a path, and
errors, whole and in a stream.

Owns the words of AWS around a body. What is in the body is each dialect's business. The names of the errors are those
of Bedrock's runtime (botocore 1.44, ``data/bedrock-runtime``): its SDKs choose their exception by that name,
Anthropic's chooses by status, so both must be right. Two statuses change, since AWS SDKs go by them when they retry:
they repeat a call on 500, 502, 503, 504 and on a throttling, whatever else a reply says. 504, a call that was held too
long, is 408 here, which is not repeated. 529 is not AWS's; it becomes 503, which is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final
from urllib.parse import quote, unquote

from motive_core.dialects.base import Dialect, RequestHead
from motive_core.dialects.fields import Malformed, dumps, loads
from motive_core.errors import MotiveError, StatusError
from motive_core.framing import Frame, event_frame, exception_frame

EVENT_STREAM_TYPE: Final = "application/vnd.amazon.eventstream"

SIGN_OF_LIFE: Final = event_frame("ping", b"{}")
"""A frame of a kind that no model of the service has: every SDK leaves it out (botocore 1.44, ``parsers.py``,
``BaseEventStreamParser`` and ``eventstream.py``, ``EventStream.__iter__``; the JavaScript SDK's
``@smithy/core/event-streams``, ``$unknown``)."""

_AGENT: Final = re.compile(r"\b(?:boto3|botocore|aws-cli|aws-sdk)", re.IGNORECASE)
_ACTION: Final = re.compile(r"[a-z-]+")

_STATUS: Final[Mapping[int, int]] = {504: 408, 529: 503}
_NAMES: Final[Mapping[int, str]] = {
    401: "AccessDeniedException",
    402: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    409: "ConflictException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}

_STREAM_STATUS: Final[Mapping[str, int]] = {
    "validationException": 400,
    "modelTimeoutException": 408,
    "modelStreamErrorException": 424,
    "throttlingException": 429,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}
"""The exceptions of a stream, and the statuses that they stand for."""
STREAM_EXCEPTIONS: Final = frozenset(_STREAM_STATUS)


def model_call(path: str) -> tuple[str, str]:
    """The model and the action of a path such as ``/model/NAME/converse``, empty for any other path. A model is
    percent-encoded, and may be an ARN with slashes that are encoded or not."""
    # Not by one regex: it would try each beginning with each end, and a path may be as long as its sender likes.
    before, _, action = path.removesuffix("/").rpartition("/")
    model = before.partition("/model/")[2]
    return (unquote(model), action) if model and _ACTION.fullmatch(action) is not None else ("", "")


def model_path(model: str, action: str) -> str:
    """The path of a call to a model."""
    return f"/model/{quote(model, safe='')}/{action}"


class AwsDialect(Dialect):
    """The words of AWS around a body."""

    stream_type = EVENT_STREAM_TYPE
    malformed_frame = b"\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0"  # its checksums are wrong
    default_service = "https://bedrock-runtime.us-east-1.amazonaws.com"
    error_names: ClassVar[Mapping[int, str]] = _NAMES
    """The names of errors by status. What is not among them is a ``ValidationException``, from 500 on an
    ``InternalServerException``."""

    def speaks(self, head: RequestHead) -> bool:
        """All SDKs of AWS number their attempts and sign with a date; what signs by itself has at least the latter."""
        headers = head.headers
        return (
            headers.get("authorization", "").startswith("AWS4-")
            or "x-amz-date" in headers
            or "amz-sdk-invocation-id" in headers
            or _AGENT.search(headers.get("user-agent", "")) is not None
        )

    def error_status(self, error: MotiveError) -> int:
        return _STATUS.get(error.status, error.status)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return dumps({"message": error_message(error)})

    def error_headers(self, error: MotiveError, request_id: str) -> dict[str, str]:
        """``x-amzn-errortype`` tells which exception it is (botocore: ``parsers.py``, ``_inject_error_code``)."""
        status = self.error_status(error)
        other = "InternalServerException" if status >= 500 else "ValidationException"
        return {
            **super().error_headers(error, request_id),
            "x-amzn-errortype": self.error_names.get(status, other),
        }

    def reply_headers(self, request_id: str) -> dict[str, str]:
        return {**super().reply_headers(request_id), "x-amzn-requestid": request_id}


def error_message(error: MotiveError) -> str:
    """What an error says. There is no member for ``param``: the services name the field in the message."""
    named = error.param is None or error.param in error.message
    return error.message if named else f"{error.param}: {error.message}"


def error_frame(error: MotiveError, exceptions: Iterable[str]) -> bytes:
    """The frame of an error that ends a stream. ``exceptions`` are those that the stream may have: an SDK tells neither
    name nor message of any other."""
    status = _STATUS.get(error.status, error.status)
    name = next((one for one in exceptions if _STREAM_STATUS[one] == status), "")
    if not name:
        name = "internalServerException" if status >= 500 else "validationException"
        name = "modelStreamErrorException" if status == 408 else name
    message = error_message(error)
    told: dict[str, object] = {"message": message}
    if name == "modelStreamErrorException":
        told |= {"originalStatusCode": error.status, "originalMessage": message}
    return exception_frame(name, dumps(told))


def stream_error(frame: Frame) -> MotiveError:
    """The error that ends a stream: an ``exception`` frame, or one of kind ``error``."""
    message = frame.message
    status = _STREAM_STATUS.get(frame.name[:1].lower() + frame.name[1:], 500)
    try:
        told = loads(frame.payload)
    except Malformed:
        told = None
    if isinstance(told, dict):
        found = told.get("message") or told.get("Message")
        message = found if isinstance(found, str) else message
        original = told.get("originalStatusCode")
        if isinstance(original, int) and 400 <= original <= 599:
            status = original
    return StatusError(status, message or "the service ended the stream with an error", code=frame.name or None)
