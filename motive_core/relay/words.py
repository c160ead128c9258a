"""What of a call is relayed to the other side, and what tells it from other calls.

Owns: the words of a call (everything after the last assistant message), its context, the digests by which the session
machine recognises clients, prompts and quotations. Pure; knows neither sockets nor sessions' state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import (
    ChatRequest,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from motive_core.session import Join, Words

NEW_MESSAGE: Final = "——— new message ———"
"""The line between the context and the words of a prompt, where both are shown. What stands before it in a quotation
is not part of the words."""

DRAFT: Final = "——— draft ———"
"""How the line begins that stands between the words of a prompt and what would be answered. What is behind it is not
part of the words, either."""

_QUOTED_TURNS: Final = 32
"""How many of a conversation's latest turns are looked at for quotations: enough to recognise it."""

_SYSTEM_ROLES: Final = ("system", "developer")


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


def relayed(request: ChatRequest, *, with_system: bool, with_context: bool, call_word: str | None = None) -> Relayed:
    """What this call says to the other side. ``call_word`` is what its tools are called by, as the context shows them;
    None if they cannot be."""
    border = border_of(request.messages)
    earlier, latest = request.messages[:border], request.messages[border:]
    names = {part.call_id: part.name for m in earlier for part in m.parts if isinstance(part, ToolCallPart)}
    words = _words(latest, names)
    system = [message.text for message in request.messages if message.role in _SYSTEM_ROLES]
    last_assistant = next((m for m in reversed(earlier) if m.role == "assistant"), None)
    context = _context(
        system if with_system else [],
        signatures(request.tools, call_word) if with_context else (),
        [m for m in earlier if m.role not in _SYSTEM_ROLES] if with_context else [],
    )
    return Relayed(
        words=words,
        context=context,
        digest=text_digest(parts_as_text(words)),
        quotes=_quotes(earlier, latest, names),
        replies_to=text_digest(quotable(last_assistant.parts)) if last_assistant is not None else "",
        shape=_digest(request.dialect, *system, *(tool.name for tool in request.tools)),
        asks=bool(system or request.tools or (request.response_format and request.response_format.kind != "text")),
    )


def border_of(messages: Sequence[Message]) -> int:
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


def _context(system: Sequence[str], tools: Sequence[str], earlier: Sequence[Message]) -> Words:
    blocks = [f"[system]\n{text}" for text in system if text]
    if tools:
        blocks.append("[tools]\n" + "\n".join(tools))
    blocks += [f"[{message.role}]\n{parts_as_text(message.parts)}" for message in earlier]
    return (TextPart("\n\n".join(blocks)),) if blocks else ()


def signatures(tools: Sequence[Tool], call_word: str | None) -> list[str]:
    """Tools as a person reads them, a line each: ``/call name {a, b?}  what it does``."""
    return [_signature(tool, f"{call_word} " if call_word else "") for tool in tools]


def _signature(tool: Tool, before: str) -> str:
    schema = tool.schema if isinstance(tool.schema, dict) else {}
    properties = schema.get("properties")
    required = schema.get("required")
    fields = list(properties) if isinstance(properties, dict) else []
    needed = set(required) if isinstance(required, list) else set()
    arguments = ", ".join(name if name in needed else f"{name}?" for name in fields)
    description = f"  {tool.description.splitlines()[0]}" if tool.description else ""
    return f"{before}{tool.name} {{{arguments}}}{description}"


def quotable(parts: Iterable[Part]) -> str:
    """What a client quotes of an earlier reply, as far as all of them do: many leave its reasoning out."""
    return parts_as_text([part for part in parts if not isinstance(part, ReasoningPart)])


def prompt_parts(words: Words, context: Words, draft: str | None = None) -> Words:
    """A prompt as the parts of the reply that shows it to the answerer: ``draft`` is what stands behind that mark."""
    shown = words if parts_as_text(words).strip() else (TextPart("(an empty message)"),)
    if draft is not None:
        shown = (*shown, TextPart(f"\n\n{DRAFT}{draft}"))
    if not context:
        return shown
    return (*context, TextPart(f"\n\n{NEW_MESSAGE}\n\n"), *shown)


def text_digest(text: str) -> str:
    """A digest of quoted or quotable words: what a chat UI may change (white space around them) does not count."""
    return _digest(text.partition(DRAFT)[0].rpartition(NEW_MESSAGE)[2].strip())


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
