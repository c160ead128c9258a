"""The errors of the OpenAI dialects, in the envelope of each host.

Owns the envelopes. The SDKs choose their exception by the status alone; what stands in the body is for people, and for
apps that look for a code. Our own code, where an envelope has another in its place, stands beside it.
"""

from __future__ import annotations

from motive_core.dialects.fields import dumps
from motive_core.dialects.openai_chat_hosts import Envelope
from motive_core.dialects.openai_chat_reply import error_object
from motive_core.errors import MotiveError
from motive_core.ir import Json


def render_error(error: MotiveError, envelope: Envelope) -> bytes:
    """The body of an error reply."""
    return dumps(_body(error, envelope))


def render_error_event(error: MotiveError, envelope: Envelope) -> bytes:
    """The data of the event that ends a stream. Clients of xAI and Azure read OpenAI's here: ``openai`` for Python
    shows the message of an object only (``_streaming.py``)."""
    if envelope == "mistral":
        return dumps(_mistral(error))
    if envelope == "openrouter":
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error"}
        return dumps({**_body(error, envelope), "choices": [choice]})
    return dumps({"error": error_object(error)})


def _body(error: MotiveError, envelope: Envelope) -> dict[str, Json]:
    match envelope:
        case "openai":
            return {"error": error_object(error)}
        case "azure":
            return {"error": _azure(error)}
        case "mistral":
            if error.status == 422:
                # Its SDK reads a list of faults there (``errors/httpvalidationerror.py``).
                where = ["body", error.param] if error.param else ["body"]
                return {"detail": [{"type": error.code, "loc": where, "msg": error.message}]}
            return _mistral(error)
        case "openrouter":
            metadata = {"error_type": error.code} | ({"param": error.param} if error.param else {})
            return {"error": {"code": error.status, "message": error.message, "metadata": metadata}}
        case "xai":
            return {"code": error.code, "error": error.message}


def _azure(error: MotiveError) -> dict[str, Json]:
    """What the model says of a request is in OpenAI's words; the gateway before it has words of its own."""
    if error.status in (400, 422):
        return error_object(error)
    code = "DeploymentNotFound" if error.code == "model_not_found" else str(error.status)
    return {"code": code, "message": error.message, "innererror": {"code": error.code}}


def _mistral(error: MotiveError) -> dict[str, Json]:
    return {"object": "error", "message": error.message, "type": error.code, "param": error.param, "code": None}
