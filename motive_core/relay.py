"""What of a call is relayed to the other side, and what tells it from other calls.

Owns: the words of a call (everything after the last assistant message), its context, the digests by which the session
machine recognises clients, prompts and quotations, and the commands that an answerer may write instead of words. Pure;
knows neither sockets nor sessions' state.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.validators import validator_for
from pydantic_core import from_json, to_json
from referencing import Registry
from referencing.exceptions import Unresolvable

from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import (
    ChatRequest,
    Json,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from motive_core.session import Answer, Join, Words

logger = logging.getLogger(__name__)

NEW_MESSAGE: Final = "——— new message ———"
"""The line between the context and the words of a prompt, where both are shown. What stands before it in a quotation
is not part of the words."""

_QUOTED_TURNS: Final = 32
"""How many of a conversation's latest turns are looked at for quotations: enough to recognise it."""

_SYSTEM_ROLES: Final = ("system", "developer")

_THOUGHTS: Final = re.compile(r"(?:/think(?:[ \t][^\n]*)?(?:\n|\Z))+")


@dataclass(frozen=True, slots=True)
class Relayed:
    """The relayed part of a call. The digests are hexadecimal; see ``session.Arrive`` for what they are used for."""

    words: Words
    context: Words
    digest: str
    quotes: tuple[str, ...]
    replies_to: str
    shape: str
    asks: bool


def relayed(request: ChatRequest, *, with_system: bool, with_context: bool) -> Relayed:
    """What this call says to the other side."""
    border = _border(request.messages)
    earlier, latest = request.messages[:border], request.messages[border:]
    names = {part.call_id: part.name for m in earlier for part in m.parts if isinstance(part, ToolCallPart)}
    words = _words(latest, names)
    system = [message.text for message in request.messages if message.role in _SYSTEM_ROLES]
    last_assistant = next((m for m in reversed(earlier) if m.role == "assistant"), None)
    context = _context(
        system if with_system else [],
        request.tools if with_context else (),
        [m for m in earlier if m.role not in _SYSTEM_ROLES] if with_context else [],
    )
    return Relayed(
        words=words,
        context=context,
        digest=text_digest(parts_as_text(words)),
        quotes=_quotes(earlier, latest, names),
        replies_to=text_digest(_quotable(last_assistant.parts)) if last_assistant is not None else "",
        shape=_digest(request.dialect, *system, *(tool.name for tool in request.tools)),
        asks=bool(system or request.tools or (request.response_format and request.response_format.kind != "text")),
    )


def _border(messages: Sequence[Message]) -> int:
    """Where the relayed words begin: after the last assistant message. A trailing one is a prefill, not a border."""
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    for index in range(end - 1, -1, -1):
        if messages[index].role == "assistant":
            return index + 1
    return 0


def _quotes(earlier: Sequence[Message], latest: Sequence[Message], names: Mapping[str, str]) -> tuple[str, ...]:
    """The digests of what was relayed in earlier turns of this conversation, as far as it quotes them: the words
    before each assistant message. Of the latest words, each message but the last counts by itself: a client whose call
    failed says them again with the next one."""
    turns: list[Words] = []
    start = 0
    for index, message in enumerate(earlier):
        if message.role == "assistant":
            turns.append(_words(earlier[start:index], names))
            start = index + 1
    turns += [_words([message], names) for message in latest[:-1]]
    return tuple(text_digest(parts_as_text(words)) for words in turns[-_QUOTED_TURNS:] if words)


def _words(latest: Sequence[Message], names: Mapping[str, str]) -> Words:
    spoken = [m for m in latest if m.role not in _SYSTEM_ROLES and m.role != "assistant"]
    parts: list[Part] = []
    for message in spoken or [m for m in latest if m.role in _SYSTEM_ROLES]:
        if parts and message.parts and isinstance(parts[-1], TextPart) and isinstance(message.parts[0], TextPart):
            parts.append(TextPart("\n\n"))
        for part in message.parts:
            if isinstance(part, ToolResultPart) and part.name is None:
                parts.append(replace(part, name=names.get(part.call_id)))
            else:
                parts.append(part)
    return tuple(parts)


def _context(system: Sequence[str], tools: Sequence[Tool], earlier: Sequence[Message]) -> Words:
    blocks = [f"[system]\n{text}" for text in system if text]
    if tools:
        blocks.append("[tools]\n" + "\n".join(map(_signature, tools)))
    blocks += [f"[{message.role}]\n{parts_as_text(message.parts)}" for message in earlier]
    return (TextPart("\n\n".join(blocks)),) if blocks else ()


def _signature(tool: Tool) -> str:
    """A tool on one line, as a person reads it: ``name(a, b?)  what it does``."""
    schema = tool.schema if isinstance(tool.schema, dict) else {}
    properties = schema.get("properties")
    required = schema.get("required")
    fields = list(properties) if isinstance(properties, dict) else []
    needed = set(required) if isinstance(required, list) else set()
    arguments = ", ".join(name if name in needed else f"{name}?" for name in fields)
    description = f"  {tool.description.splitlines()[0]}" if tool.description else ""
    return f"/call {tool.name} {{{arguments}}}{description}"


def _quotable(parts: Iterable[Part]) -> str:
    """What a client quotes of an earlier reply, as far as all of them do: many leave its reasoning out."""
    return parts_as_text([part for part in parts if not isinstance(part, ReasoningPart)])


def prompt_parts(words: Words, context: Words) -> Words:
    """A prompt as the parts of the reply that shows it to the answerer."""
    shown = words if parts_as_text(words).strip() else (TextPart("(an empty message)"),)
    if not context:
        return shown
    return (*context, TextPart(f"\n\n{NEW_MESSAGE}\n\n"), *shown)


def text_digest(text: str) -> str:
    """A digest of quoted or quotable words: what a chat UI may change (white space around them) does not count."""
    return _digest(text.rpartition(NEW_MESSAGE)[2].strip())


def _digest(*texts: str) -> str:
    hasher = blake2b(digest_size=12)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
    return hasher.hexdigest()


def request_key(who: str, request: ChatRequest, idempotency_key: str) -> str:
    """A digest of who says what: equal for a retry of the same call, even if that one asks for no stream (a client
    whose stream was cut may fall back so). Metadata and unknown fields do not count."""
    hasher = blake2b(digest_size=12)
    for text in (who, idempotency_key, request.dialect, request.model):
        hasher.update(text.encode("utf-8", "surrogatepass") + b"\0")
    for message in request.messages:
        hasher.update(b"\1" + message.role.encode())
        for part in message.parts:
            text = part.text if isinstance(part, TextPart) else repr(part)
            hasher.update(b"\2" + text.encode("utf-8", "surrogatepass"))
    settings = (request.tools, request.tool_choice, request.response_format, request.sampling, request.n)
    hasher.update(b"\1" + repr(settings).encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


def fingerprint(listener: str, client_host: str, credential: str | None, user_agent: str) -> str:
    """Who a client is, as far as its connection tells. The credential is an identity already, never a secret."""
    return _digest(listener, client_host, credential or "", user_agent)


def is_retry(headers: Mapping[str, str]) -> bool:
    """Whether the client marked this call as a retry: the Stainless SDKs count them (``x-stainless-retry-count``),
    AWS SDKs number their attempts (``amz-sdk-request: attempt=2``), others send an ``Idempotency-Key``."""
    count = headers.get("x-stainless-retry-count", "")
    if count.isdecimal() and int(count) > 0:
        return True
    attempt = re.search(r"\battempt=(\d{1,4})", headers.get("amz-sdk-request", ""))
    if attempt is not None and int(attempt[1]) > 1:
        return True
    return "idempotency-key" in headers


def join_of(words: Words, join_words: Sequence[str]) -> Join:
    """Whether a message is a join word, or begins with one. Only a word with a slash counts as a beginning: an
    ordinary sentence may well start with ``ping``."""
    text = parts_as_text(words).strip().lower()
    if text in join_words:
        return "word"
    first = text.split(maxsplit=1)[0] if text else ""
    return "first" if first.startswith("/") and first in join_words else "no"


def is_leave(words: Words) -> bool:
    """Whether a message gives the answerer's seat up."""
    return parts_as_text(words).strip().lower() == "/leave"


class CommandError(ValueError):
    """A command of the answerer cannot be carried out; the message says why, for its author."""


def answer_of(
    words: Words, tools: Sequence[Tool], call_ids: Iterable[str], response_format: ResponseFormat | None = None
) -> Answer:
    """The words of the answerer as a reply.

    Lines that begin with ``/call NAME {json}`` become tool calls, checked against the tool's JSON Schema (the JSON may
    go on over several lines); what follows ``/say`` is taken literally. Lines ``/think TEXT`` before all others are the
    reasoning that the reply begins with. A reply in words must fit the response format, if the app asked for one.
    Raises ``CommandError``.
    """
    reasoning, words = _reasoning(words)
    answer = _answer_of(words, tools, call_ids, response_format)
    return replace(answer, parts=(*reasoning, *answer.parts)) if reasoning else answer


def _reasoning(words: Words) -> tuple[Words, Words]:
    """The reasoning that an answer begins with, if it does, and the words after it."""
    if not words or not isinstance(words[0], TextPart) or (found := _THOUGHTS.match(words[0].text)) is None:
        return (), words
    thoughts = [line.partition("/think")[2].removeprefix(" ") for line in found[0].splitlines()]
    rest = words[0].text[found.end() :]
    if not rest.strip() and len(words) == 1:
        raise CommandError("an answer must follow what /think says")
    return (ReasoningPart("\n".join(thoughts)),), ((TextPart(rest),) if rest else ()) + words[1:]


def _answer_of(
    words: Words, tools: Sequence[Tool], call_ids: Iterable[str], response_format: ResponseFormat | None
) -> Answer:
    text = parts_as_text(words)
    if text.startswith("/say "):
        text = text.removeprefix("/say ")
        words = (TextPart(text),)
    elif re.search(r"^/call\s", text, re.MULTILINE):
        return _tool_calls(text, tools, call_ids)
    if response_format is not None:
        _check_format(text, response_format)
    return Answer(words, text_digest(text))


def _tool_calls(text: str, tools: Sequence[Tool], call_ids: Iterable[str]) -> Answer:
    before, *calls = re.split(r"^/call[ \t]+", text, flags=re.MULTILINE)
    named = list(zip(calls, call_ids, strict=False))
    if len(named) < len(calls):
        raise CommandError(f"an answer can make {len(named)} tool calls at once, not {len(calls)}")
    parts: list[Part] = [TextPart(before.rstrip())] if before.strip() else []
    parts += [_tool_call(call, tools, call_id) for call, call_id in named]
    return Answer(tuple(parts), text_digest(parts_as_text(parts)))


def _tool_call(command: str, tools: Sequence[Tool], call_id: str) -> ToolCallPart:
    name, _, arguments = command.strip().partition(" ")
    name, _, rest = name.partition("\n")
    arguments = (f"{rest}\n{arguments}" if rest else arguments).strip() or "{}"
    tool = next((one for one in tools if one.name == name), None)
    if tool is None:
        offered = ", ".join(one.name for one in tools) or "none"
        raise CommandError(f"there is no tool {name!r} in this call; it offers: {offered}")
    try:
        value = from_json(arguments)
    except ValueError as error:
        raise CommandError(f"the arguments of {name} are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CommandError(f"the arguments of {name} must be a JSON object")
    if (misfit := _misfit(value, tool.schema)) is not None:
        raise CommandError(f"the arguments of {name} do not fit its schema: {misfit}")
    return ToolCallPart(call_id, name, to_json(value).decode() if "\n" in arguments else arguments)


def _check_format(text: str, response_format: ResponseFormat) -> None:
    if response_format.kind == "text":
        return
    try:
        value = from_json(text)
    except ValueError as error:
        raise CommandError(f"the app asked for JSON, and this is none: {error}") from None
    if response_format.kind == "json_object" and not isinstance(value, dict):
        raise CommandError("the app asked for a JSON object")
    if (misfit := _misfit(value, response_format.schema)) is not None:
        raise CommandError(f"the app asked for JSON of another shape: {misfit}")


def _misfit(value: Json, schema: Json) -> str | None:
    """Where and why a value does not fit a JSON Schema; None if it does, or if the schema is none."""
    if not isinstance(schema, dict):
        return None
    # A registry of its own keeps a ``$ref`` to somewhere else from being fetched.
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
        kind(schema, registry=Registry()).validate(value)
    except ValidationError as error:
        where = "/".join(map(str, error.absolute_path)) or "the object"
        return f"{where}: {error.message}"
    except (SchemaError, UnknownType, Unresolvable, RecursionError) as error:
        logger.info("schema not usable error=%s", type(error).__name__)
    return None
