"""The calls of Ollama's API beside the chat: what its clients ask before they say anything, and how it is managed.

Owns which of them there are, and their replies. A model is a session here, so:

* ``/api/tags`` and ``/api/ps`` list the open sessions, with the tag that clients look for (``room:latest``);
* ``/api/show`` knows every name: whoever comes first to a session finds its model as well, and so does the one who
  joins it before its app has called. It can do everything that a session can (``capabilities``);
* ``/api/pull`` succeeds at once, for the same reason: there is nothing to download, and who pulls means to chat;
* ``/api/version`` is one from which on Ollama had all that is spoken here, for clients that require some least version;
* ``/api/embed`` is refused as for a model that cannot do it, and all that would make, change or delete a model is not
  permitted: nobody who tidies up their models means to end a session.

``GET /`` says that Ollama is running, to clients that look for it there. Browsers do not get that, nor does whoever
says to speak to somebody else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from motive_core.dialects.base import ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.fields import Malformed, dumps, loads, optional, typed
from motive_core.dialects.ollama_parts import LATEST, bad_request, render_time
from motive_core.errors import BadRequestError, NotFoundError, PermissionDeniedError
from motive_core.ir import Json

VERSION: Final = "0.14.0"
CONTEXT_TOKENS: Final = 131_072
CAPABILITIES: Final = ("completion", "vision", "tools", "thinking")

_FAMILY: Final = "motive"
_NEVER: Final = "2318-01-01T00:00:00.000000Z"
"""When a model expires that is to be kept for ever."""
_PATH: Final = re.compile(r"(?:\A|/)api/(?P<call>[a-z]+)(?P<more>/[^/]+)?/?\Z")
_METHODS: Final = {
    "tags": ("GET", "HEAD"),
    "version": ("GET", "HEAD"),
    "ps": ("GET",),
    "show": ("POST",),
    "pull": ("POST",),
    "embed": ("POST",),
    "embeddings": ("POST",),
    "create": ("POST",),
    "copy": ("POST",),
    "push": ("POST",),
    "delete": ("DELETE",),
    "blobs": ("POST", "HEAD"),
}


def serves(head: RequestHead) -> bool:
    """Whether this is such a call."""
    if head.path in ("", "/"):
        return head.method in ("GET", "HEAD") and not _is_another(head)
    call, more = _call_of(head)
    return head.method in _METHODS.get(call, ()) and more is (call == "blobs")


def _is_another(head: RequestHead) -> bool:
    """Whether this is a browser, or a client that speaks to another vendor."""
    return "text/html" in head.headers.get("accept", "") or "anthropic-version" in head.headers


def _call_of(head: RequestHead) -> tuple[str, bool]:
    found = _PATH.search(head.path)
    return (found["call"], found["more"] is not None) if found is not None else ("", False)


def serve(call: SideCall) -> WireReply:
    """Answer such a call. Raises ``MotiveError``."""
    match _call_of(call.head)[0]:
        case "":
            return WireReply(200, b"Ollama is running", "text/plain; charset=utf-8")
        case "tags":
            return WireReply(200, render_models(call.models))
        case "version":
            return WireReply(200, dumps({"version": VERSION}))
        case "ps":
            return WireReply(200, dumps({"models": [_running(model) for model in call.models]}))
        case "show":
            return WireReply(200, dumps(_shown(_name(call.body), call.models)))
        case "pull":
            return _pulled(call.body)
        case "embed" | "embeddings":
            raise BadRequestError(f'"{_name(call.body)}" is a session and does not support embeddings.', param="model")
        case "blobs" if call.head.method == "HEAD":
            raise NotFoundError("There are no blobs here.")
        case found:
            path = unquote(call.head.path)
            message = f"{path}: models are sessions here; {found} is not done to them. Any name may be called at once."
            raise PermissionDeniedError(message)


def _body(body: bytes) -> dict[str, Json]:
    try:
        return typed(loads(body), dict, "")
    except Malformed as error:
        raise bad_request(error) from None


def _name(body: bytes) -> str:
    """The model of a call; older clients call it ``name``."""
    raw = _body(body)
    try:
        name = optional(raw, "model", str, "") or optional(raw, "name", str, "")
    except Malformed as error:
        raise bad_request(error) from None
    if not name:
        raise BadRequestError("model is required", param="model")
    return name


def _pulled(body: bytes) -> WireReply:
    _name(body)
    last = dumps({"status": "success"})
    if _body(body).get("stream") is False:
        return WireReply(200, last)
    return WireReply(200, dumps({"status": "pulling manifest"}) + b"\n" + last + b"\n", "application/x-ndjson")


def _tagged(model: str) -> str:
    """A name with its tag, as it is listed."""
    return model if ":" in model.rpartition("/")[2] else model + LATEST


def _details() -> dict[str, Json]:
    return {
        "parent_model": "",
        "format": _FAMILY,
        "family": _FAMILY,
        "families": [_FAMILY],
        "parameter_size": "",
        "quantization_level": "",
    }


def _listed(model: ModelInfo) -> dict[str, Json]:
    name = _tagged(model.model)
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return {"name": name, "model": name, "size": 0, "digest": digest, "details": _details()}


def _running(model: ModelInfo) -> dict[str, Json]:
    return {**_listed(model), "expires_at": _NEVER, "size_vram": 0, "context_length": CONTEXT_TOKENS}


def _shown(name: str, models: Sequence[ModelInfo]) -> dict[str, Json]:
    created = next((model.created for model in models if _tagged(model.model) == _tagged(name)), 0)
    return {
        "license": "",
        "modelfile": f"# {name} is a session of Motive.",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": _details(),
        "model_info": {
            "general.architecture": _FAMILY,
            "general.basename": name.removesuffix(LATEST),
            "general.parameter_count": 0,
            f"{_FAMILY}.context_length": CONTEXT_TOKENS,
        },
        "capabilities": list(CAPABILITIES),
        "modified_at": render_time(created),
    }


def render_models(models: Sequence[ModelInfo]) -> bytes:
    """The list of models."""
    listed = [
        {**_listed(model), "modified_at": render_time(model.created), "capabilities": list(CAPABILITIES)}
        for model in models
    ]
    return dumps({"models": listed})
