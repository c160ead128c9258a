"""An agent that returns control, as tool calls: what it wants done, and what came of it.

Owns both ways between the agent's ``invocationInputs`` and tool calls. Source of the shapes: botocore's model,
``ReturnControlPayload`` and ``SessionState``, 1.44.

The agent wants its own names back with each result (invocation, action group, function or path), and the app names only
the id of the call: so the id is all of them, encoded. It outlives a restart, and needs no memory. Its digits are those
that every vendor's ids have: letters, digits, ``_`` and ``-``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

_PREFIX: Final = "agent_"
_RESULTS: Final = 5
"""botocore's model: ``ReturnControlInvocationResults``."""
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_CONFIRM: Final = "USER_CONFIRMATION"
_CONFIRM_AND_RESULT: Final = "USER_CONFIRMATION_AND_RESULT"
_YES: Final = frozenset({"confirm", "confirmed", "yes", "y", "true", "ok"})
_FORMATS: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Invocation:
    """What an agent waits for. ``target`` is a function's name, or a method and a path. ``kind`` is
    ``actionInvocationType``; ``agent`` that of a collaborator, else empty."""

    session: str
    invocation: str
    group: str
    target: tuple[str, ...]
    kind: str = ""
    agent: str = ""

    def call_id(self) -> str:
        """The id of its tool call."""
        facts = [self.session, self.invocation, self.group, list(self.target), self.kind, self.agent]
        return _PREFIX + base64.urlsafe_b64encode(to_json(facts)).rstrip(b"=").decode()


type Waiting = Mapping[str, Sequence[Invocation]]
"""What an agent waits for, by the name of the tool: for clients that keep no ids (Ollama's)."""


def invocation_of(call_id: str) -> Invocation | None:
    """The other way; None for the id of anything else."""
    if not call_id.startswith(_PREFIX):
        return None
    data = call_id.removeprefix(_PREFIX).encode("utf-8", "replace")
    try:
        facts = from_json(base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        return None
    match facts:
        case [str(session), str(invocation), str(group), list(target), str(kind), str(agent)] if len(target) in (1, 2):
            if all(isinstance(one, str) for one in target):
                return Invocation(session, invocation, group, tuple(target), kind, agent)
    return None


# What the agent wants done


def calls_of(payload: Mapping[str, Any], session: str, offered: Sequence[str]) -> Iterator[ToolCallPart]:
    """The tool calls of a ``returnControl`` event. ``offered`` are the names of the app's tools: the one that fits is
    called; an agent may well have actions that the app did not name."""
    invocation = str(payload.get("invocationId", ""))
    target: tuple[str, ...]
    for one in _mappings(payload.get("invocationInputs")):
        if (function := one.get("functionInvocationInput")) is not None:
            asked, target = function, (str(function.get("function", "")),)
            arguments = _values(function.get("parameters"))
        elif (asked := one.get("apiInvocationInput")) is not None:
            target = (str(asked.get("httpMethod", "")), str(asked.get("apiPath", "")))
            arguments = _values(asked.get("parameters"))
            for content in ((asked.get("requestBody") or {}).get("content") or {}).values():
                arguments = {**_values((content or {}).get("properties")), **arguments}
        else:
            continue
        group, kind = str(asked.get("actionGroup", "")), str(asked.get("actionInvocationType") or "")
        wanted = Invocation(session, invocation, group, target, kind, str(asked.get("agentId") or ""))
        yield ToolCallPart(wanted.call_id(), _named(wanted, offered), to_json(arguments).decode())


def _named(wanted: Invocation, offered: Sequence[str]) -> str:
    """The name of the tool. One that the user is to confirm is not one to be run."""
    before = "confirm_" if wanted.kind == _CONFIRM else ""
    plain = "_".join([word for one in wanted.target if (word := _word(one))]) or "action"
    names = [f"{before}{_word(wanted.group)}__{plain}", f"{before}{plain}"]
    return next((name for name in names if name in offered), names[1])


def _mappings(values: Any) -> Iterator[Mapping[str, Any]]:
    """Those of a list that are some; null may stand in it."""
    return (one for one in values or () if isinstance(one, Mapping))


def _word(text: str) -> str:
    """In letters that every vendor's names of tools have."""
    return _NAME.sub("_", text).strip("_")


def _values(parameters: Any) -> dict[str, Json]:
    """Parameters by name. Their values come as text, whatever their type."""
    return {str(one.get("name", "")): _value(one.get("type"), one.get("value")) for one in _mappings(parameters)}


def _value(kind: Any, text: Any) -> Json:
    if kind in ("number", "integer", "boolean", "array", "object") and isinstance(text, str):
        try:
            return from_json(text, allow_inf_nan=False)
        except ValueError:
            pass  # as the agent has it: its own list may be no JSON
    return text


# What came of it


def new_messages(request: ChatRequest) -> Sequence[Message]:
    """What was said since the last reply. An assistant's message at the end is the beginning of the next one."""
    messages = list(request.messages)
    while messages and messages[-1].role == "assistant":
        messages.pop()
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return messages[index + 1 :]
    return messages


def called(request: ChatRequest) -> list[Invocation]:
    """The invocations that the newest results are of, as far as their ids tell."""
    return [known for known, _ in _results(request, {})]


def _results(request: ChatRequest, waiting: Waiting) -> list[tuple[Invocation, ToolResultPart]]:
    told = [part for message in new_messages(request) for part in message.parts if isinstance(part, ToolResultPart)]
    # Of several calls of one tool, the first result is the first one's.
    left = {name: list(invocations) for name, invocations in waiting.items()}
    found = []
    for part in told:
        known = invocation_of(part.call_id)
        named = left.get(part.name or part.call_id)
        if known is None and named:
            known = named.pop(0)
        if known is not None:
            found.append((known, part))
    return found


def results_of(request: ChatRequest, more: str, waiting: Waiting) -> dict[str, Any]:
    """``sessionState`` with the newest results; empty if there are none. ``more`` is what the user says beside them,
    which the service would ignore: it goes to the last result. Raises ``BadRequestError`` for results that are of no
    call of an agent's, or of several of its turns."""
    results = _results(request, waiting)
    told = sum(isinstance(part, ToolResultPart) for message in new_messages(request) for part in message.parts)
    if not told:
        return {}
    if len(results) < told:
        raise BadRequestError("A tool result is of no call of this agent's.", code="unknown_tool_call")
    if len({known.invocation for known, _ in results}) > 1 or len(results) > _RESULTS:
        raise BadRequestError("The tool results are not those of one turn of the agent's.", code="unknown_tool_call")
    last = len(results) - 1
    return {
        "invocationId": results[0][0].invocation,
        "returnControlInvocationResults": [
            _told(known, part, more if number == last else "") for number, (known, part) in enumerate(results)
        ],
    }


def _told(known: Invocation, result: ToolResultPart, more: str) -> dict[str, Any]:
    text = "\n\n".join([one for one in (*(_text(part) for part in result.content), more) if one])
    told: dict[str, Any] = {"actionGroup": known.group}
    if known.agent:
        told["agentId"] = known.agent
    if known.kind == _CONFIRM:
        told["confirmationState"] = "CONFIRM" if not result.is_error and _is_yes(text) else "DENY"
    else:
        if known.kind == _CONFIRM_AND_RESULT:
            told["confirmationState"] = "DENY" if result.is_error else "CONFIRM"
        body: dict[str, Any] = {"body": text}
        if images := [image for part in result.content if (image := _image(part)) is not None]:
            body["images"] = images
        told["responseBody"] = {"TEXT" if len(known.target) == 1 else "application/json": body}
        if result.is_error:
            told["responseState"] = "REPROMPT"  # the agent is told; FAILURE would end its turn
    if len(known.target) == 1:
        return {"functionResult": {**told, "function": known.target[0]}}
    return {"apiResult": {**told, "httpMethod": known.target[0], "apiPath": known.target[1]}}


def _text(part: Part) -> str:
    match part:
        case TextPart(text):
            return text
        case OpaquePart(_, raw):
            return to_json(raw, inf_nan_mode="null").decode()
        case BlobPart() if _image(part) is None:
            return part.url or f"[{part.name or part.media_type or 'file'}]"
        case _:
            return ""


def _image(part: Part) -> dict[str, Any] | None:
    if not isinstance(part, BlobPart) or part.data is None or part.media_type not in _FORMATS:
        return None
    try:
        data = base64.b64decode(part.data)
    except ValueError:
        return None
    return {"format": _FORMATS[part.media_type], "source": {"bytes": data}}


def _is_yes(text: str) -> bool:
    """Whether the user confirmed. What is not clearly a yes is none."""
    try:
        told = from_json(text)
    except ValueError:
        told = text
    if isinstance(told, dict):
        told = next((told[key] for key in ("confirmationState", "confirmed", "confirm") if key in told), None)
    return told is True or (isinstance(told, str) and told.strip().strip(".!").lower() in _YES)
