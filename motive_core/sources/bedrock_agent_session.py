"""Which of an agent's sessions a call belongs to.

Owns the id, and where it is looked for. The agent keeps the conversation under it, so two users must never share one by
accident: an id that is made here tells them apart by who calls.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from uuid import uuid4

from motive_core.dialects.degrade import as_text
from motive_core.errors import BadRequestError
from motive_core.ir import Json, Message, ToolResultPart
from motive_core.sources.base import Call
from motive_core.sources.bedrock_agent_calls import called

Origin = Literal["body", "header", "first_message"]

FIELD: Final = "session_id"
_VALID: Final = re.compile(r"[0-9a-zA-Z._:-]{2,100}")
"""botocore's model: ``SessionId``."""
_GROUPS: Final = ("metadata", "requestMetadata", "additionalModelRequestFields")
"""Members of a body where an SDK that checks its fields still lets an app put some of its own."""


def session_of(call: Call, origins: Sequence[Origin], header: str, agent: str) -> str:
    """The id. ``header`` is the one that may name it; ``agent`` tells agents apart. Raises ``BadRequestError`` for a
    named one that is none."""
    request = call.request
    if "body" in origins and (named := _in_body(request.extra)) is not None:
        return _checked(named, FIELD)
    if "header" in origins and (named := call.head.headers.get(header)):
        return _checked(named, header)
    if (results := called(request)) and _VALID.fullmatch(results[0].session):
        return results[0].session  # the session whose agent waits for them
    if "first_message" in origins and (first := _first(request.messages)) is not None:
        return _digest(agent, call.client, _user(request.extra), first)
    return str(uuid4())


def _in_body(extra: Mapping[str, Json]) -> Json | None:
    for group in (extra, *(extra.get(name) for name in _GROUPS)):
        if isinstance(group, Mapping) and (named := group.get(FIELD)) not in (None, ""):
            return named
    return None


def _checked(named: Json, where: str) -> str:
    if not isinstance(named, str) or _VALID.fullmatch(named) is None:
        raise BadRequestError(
            f"{where}: a session id is 2 to 100 letters, digits and any of . _ : -", param=where, code="bad_session_id"
        )
    return named


def _first(messages: Sequence[Message]) -> str | None:
    """What the user said first, without what an app may say otherwise in its next call (marks of a cache)."""
    for message in messages:
        if message.role == "user":
            said = [as_text(part) for part in message.parts if not isinstance(part, ToolResultPart)]
            if any(said):
                return repr(said)
    return None


def _user(extra: Mapping[str, Json]) -> str:
    """The end user, where an app of many says whom it calls for."""
    metadata = extra.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    told = (extra.get("user"), extra.get("safety_identifier"), metadata.get("user_id"))
    return repr(told)


def _digest(*facts: str) -> str:
    hashed = hashlib.sha256()
    for fact in facts:
        data = fact.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:%b" % (len(data), data))
    return f"m-{hashed.hexdigest()[:40]}"
