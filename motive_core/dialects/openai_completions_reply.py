"""A reply of the legacy Completions API: the whole ``text_completion``, and what a stream tells in the same words.

Owns ``Form``, the two ways in which a choice says its text, the finish reasons and the whole reply; errors and usage
are those of ``openai_chat_reply``. Knows no event.

All parts of a reply are one text: ``degrade`` says what becomes of reasoning, refusals, tool calls and blobs, and what
stands between them. Empty texts are not read. The finish reasons ``tool_calls`` and ``pause`` become ``stop``,
``refusal`` becomes ``content_filter``, and ``error`` becomes ``length``, since what was said is not all. The stop
sequence that was hit has no place.

With ``echo`` the text begins with the prompt, as the request wants it; a reply that came in this dialect has it
already.

The other way, an unknown finish reason is read as ``stop`` and kept in ``extra``, as are log probabilities and all that
a host tells beyond the API. A choice may say its text as in a chat, as Mistral's FIM does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.fields import Malformed, count, dumps, loads, member, optional, rest, typed
from motive_core.dialects.openai_chat_reply import (
    OF_CHOICE,
    REPLY_FIELDS,
    envelope,
    kept,
    parse_usage,
    render_usage,
    reply_members,
)
from motive_core.errors import FramingError
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Choice,
    Extra,
    FinishReason,
    Json,
    OpaquePart,
    Reply,
    TextPart,
    Usage,
)

NAME: Final = "openai-completions"
SUFFIX: Final = "suffix"
"""The only member of the part that tells what comes after the completion."""

FIM: Final = "fim"
"""The variant of a request to Mistral's FIM."""

CHOICE_FIELDS: Final = ("text", "index", "message", "delta", "finish_reason")
_MESSAGE_FIELDS: Final = ("role", "content")

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "model_length": "length",
    "error": "error",
}
_WIRE_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "stop",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "length",
    "pause": "stop",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How a choice says its text. ``whole`` and ``chunk`` are the types of a reply and a chunk; ``chat``: as a message
    and its deltas, with the usage in the last of them."""

    whole: str
    chunk: str
    chat: bool

    def choice(self, text: str, number: int, finish: str, extra: Extra) -> dict[str, Json]:
        """A whole choice."""
        if self.chat:
            message = {"role": "assistant", "content": text, "tool_calls": None, **extra.get("message", {})}
            return {"index": number, "message": message, "finish_reason": finish, **rest(extra, *OF_CHOICE)}
        return {"text": text, "index": number, "logprobs": None, "finish_reason": finish, **_others(extra)}

    def around(self, number: int) -> tuple[bytes, bytes]:
        """What stands before and after a piece of text in a chunk."""
        if self.chat:
            return b'{"index":%d,"delta":{"content":' % number, b'},"finish_reason":null}'
        return b'{"text":', b',"index":%d,"logprobs":null,"finish_reason":null}' % number

    def last(self, number: int, finish: str, extra: Extra) -> dict[str, Json]:
        """The last chunk of a choice."""
        if self.chat:
            delta = {"content": "", **extra.get("message", {})}
            return {"index": number, "delta": delta, "finish_reason": finish, **rest(extra, *OF_CHOICE)}
        return {"text": "", "index": number, "logprobs": None, "finish_reason": finish, **_others(extra)}


def _others(extra: Extra) -> dict[str, Json]:
    return rest(extra, *[key for key in OF_CHOICE if key != "message"])


_COMPLETION: Final = Form("text_completion", "text_completion", chat=False)
_FIM: Final = Form("chat.completion", "chat.completion.chunk", chat=True)


def form_of(request: ChatRequest) -> Form:
    """The form of the reply to a request."""
    return _FIM if request.dialect == NAME and request.variant == FIM else _COMPLETION


def prompts_of(request: ChatRequest) -> list[str] | None:
    """The prompts of a request that came in this dialect, a user's message each; None for any other request."""
    if request.dialect != NAME:
        return None
    prompts = []
    for message in request.messages:
        match message.parts:
            case (TextPart(text),) if message.role == "user":
                prompts.append(text)
            case (TextPart(text), OpaquePart("openai-completions", {"suffix": str()})) if message.role == "user":
                prompts.append(text)
            case _:
                return None
    return prompts


def echoes(request: ChatRequest, *, own: bool) -> Sequence[str]:
    """What each choice of the reply begins with. ``own``: it was parsed from this dialect."""
    prompts = prompts_of(request) if request.extra.get("echo") is True and not own else None
    if not prompts:
        return ("",) * request.n
    return [prompt for prompt in prompts for _ in range(request.n // len(prompts))]


def parse_finish(told: str | None) -> tuple[FinishReason, dict[str, Json]]:
    """Finish reason, and the wire's own if it does not follow from it."""
    if told is None:
        return "stop", {}
    finish: FinishReason = _FINISH_REASONS.get(told, "stop")
    return finish, {} if _WIRE_REASONS[finish] == told else {"finish_reason": told}


def render_finish(finish: FinishReason, extra: Extra) -> str:
    """The finish reason on the wire. ``extra`` is the choice's if it is this dialect's."""
    told = extra.get("finish_reason")
    return told if isinstance(told, str) else _WIRE_REASONS[finish]


def render_counts(usage: Usage, *, own: bool) -> dict[str, Json]:
    """Usage, with its details if they say anything. ``own``: its ``extra`` is this dialect's."""
    told = render_usage(usage, own=own)
    for key in ("prompt_tokens_details", "completion_tokens_details"):
        if not any(told[key].values()):
            del told[key]
    return told


def choice_extra(raw: Mapping[str, Json], message: Mapping[str, Json]) -> dict[str, Json]:
    """What a choice tells that the IR has no field for; ``message`` is its message or delta."""
    extra = kept(rest(raw, *CHOICE_FIELDS))
    if more := kept(rest(message, *_MESSAGE_FIELDS)):
        extra["message"] = more
    return extra


def parse_reply(body: bytes) -> Reply:
    """A whole completion. Raises ``FramingError``."""
    try:
        raw = typed(loads(body), dict, "")
        choices = [_parse_choice(one, n) for n, one in enumerate(member(raw, "choices", list, ""))]
        choices.sort(key=lambda numbered: numbered[0])
        return Reply(
            reply_id=optional(raw, "id", str, "") or "",
            model=optional(raw, "model", str, "") or "",
            choices=tuple([choice for _, choice in choices]),
            usage=parse_usage(raw.get("usage")),
            created=count(raw, "created"),
            extra=kept(rest(raw, *REPLY_FIELDS)) or NO_EXTRA,
            dialect=NAME,
        )
    except Malformed as error:
        raise FramingError(f"not a reply of Completions: {error}") from None


def _parse_choice(raw: Json, position: int) -> tuple[int, Choice]:
    """A choice and its index."""
    where = f"choices[{position}]"
    raw = typed(raw, dict, where)
    message = optional(raw, "message", dict, where) or {}
    text = optional(message, "content", str, f"{where}.message") if message else member(raw, "text", str, where)
    finish, extra = parse_finish(optional(raw, "finish_reason", str, where))
    extra |= choice_extra(raw, message)
    index = optional(raw, "index", int, where)
    parts = (TextPart(text),) if text else ()
    return position if index is None else index, Choice(parts, finish, extra=extra or NO_EXTRA)


def render_reply(request: ChatRequest, reply: Reply) -> bytes:
    """A whole completion."""
    own, form = reply.dialect == NAME, form_of(request)
    before = echoes(request, own=own)
    body = envelope(reply.reply_id, form.whole, reply.created, reply.model, reply.extra if own else NO_EXTRA)
    choices: list[Json] = []
    body["choices"] = choices
    for number, choice in enumerate(reply.choices):
        extra = choice.extra if own else NO_EXTRA
        text = (before[number] if number < len(before) else "") + parts_as_text(choice.parts)
        choices.append(form.choice(text, number, render_finish(choice.finish_reason, extra), extra))
        body |= reply_members(extra)
    if reply.usage is not None:
        body["usage"] = render_counts(reply.usage, own=own)
    return dumps(body)
