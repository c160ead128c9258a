"""A reply of Ollama's API: the whole object, and what a stream tells in the same words.

Owns both shapes of a reply (``/api/chat`` says it in a ``message``, ``/api/generate`` beside everything else), counts,
durations, ``done_reason`` and errors. Knows no event.

What a reply cannot carry:

* its id, choices after the first one, the stop sequence that was hit, the parts of a second of ``created``;
* several texts or reasonings: each kind is one string (``degrade`` says what stands between them);
* refusals, tool results, and parts that another dialect did not know: they become text (``degrade``), as do the blobs
  of another dialect, and its tool calls in ``/api/generate``, whose requests have no tools;
* the signature of reasoning, and its encrypted form but for a mark that it was there;
* which tokens were cached and which were reasoning;
* any finish reason but ``stop`` and ``length``: ``error`` becomes ``length``, since what was said is not all, the
  others
  ``stop``. Whether a reply calls tools follows from its calls.

Durations are not known here. The API's documentation divides by them, and typed clients want them to be there, so each
is said to be one nanosecond; one nanosecond is not read.

The other way, an unknown ``done_reason`` is read as ``stop`` and kept in the ``extra`` of the choice, as is every
member that the IR has no field for; those of the message are kept there under ``message``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import (
    Malformed,
    count,
    dumps,
    json_object,
    member,
    optional,
    rest,
    typed,
    without_null,
)
from motive_core.dialects.ollama_parts import (
    CHAT,
    GENERATE,
    loads_calls,
    parse_call,
    parse_image,
    parse_images,
    parse_time,
    render_call,
    render_image,
    render_time,
    told_name,
)
from motive_core.dialects.ollama_settings import load_reason, loads_only
from motive_core.errors import FramingError, MotiveError, UpstreamError
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    ChatRequest,
    Choice,
    Extra,
    FinishReason,
    Json,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

type Place = Literal["text", "thinking", "call", "image"]
"""Where a part stands in a reply."""

_COUNTS: Final = ("prompt_eval_count", "eval_count")
_DURATIONS: Final = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_UNKNOWN_NS: Final = 1
_REPLY_FIELDS: Final = ("model", "created_at", "done", "done_reason", *_COUNTS, *_DURATIONS)


@dataclass(frozen=True, slots=True)
class Shape:
    """How an endpoint says its replies. ``text`` is the member with the text, ``nested`` the one that this and its
    neighbours stand in, if any."""

    dialect: str
    text: str
    nested: str = ""

    def spoken(self, raw: Mapping[str, Json]) -> Mapping[str, Json]:
        """The object with what is said. Raises ``Malformed``."""
        return (optional(raw, self.nested, dict, "") or {}) if self.nested else raw

    def wrap(self, spoken: bytes) -> bytes:
        """What is said, as members of a reply, from an object."""
        return b'"%b":%b' % (self.nested.encode(), spoken) if self.nested else spoken[1:-1]

    def place(self, part: Part, *, own: bool) -> Place:
        """Where a part stands. ``own``: it came in this dialect."""
        match part:
            case ReasoningPart():
                return "thinking"
            case ToolCallPart() if own or self.nested:
                return "call"
            case BlobPart() if own and render_image(part, own=True) is not None:
                return "image"
            case _:
                return "text"

    def say(self, text: str, members: Mapping[str, bytes] | None = None, extra: Extra = NO_EXTRA) -> bytes:
        """What is said, as members of a reply: a text, and members beside it."""
        role = {"role": "assistant"} if self.nested else {}
        return self.wrap(json_object({**role, self.text: text}, members or {}, extra))

    def images(self, images: list[str]) -> dict[str, bytes]:
        """Images, as members beside the text: ``/api/generate`` has but one."""
        if not images:
            return {}
        return {"images": dumps(images)} if self.nested else {"image": dumps(images[-1])}

    def parts(self, spoken: Mapping[str, Json], calls: int) -> list[Part]:
        """The parts that an object says, empty ones left out; ``calls`` were made before. Raises ``Malformed``."""
        parts: list[Part] = []
        where = self.nested
        if thinking := optional(spoken, "thinking", str, where):
            parts.append(ReasoningPart(thinking))
        if text := optional(spoken, self.text, str, where):
            parts.append(TextPart(text))
        if self.nested:
            parts += parse_images(spoken, where)
        elif (image := spoken.get("image")) not in (None, ""):
            parts.append(parse_image(image, "image"))
        for number, call in enumerate(optional(spoken, "tool_calls", list, where) or ()):
            parts.append(parse_call(call, f"{where}.tool_calls[{number}]".lstrip("."), calls + number))
        return parts

    def unknown(self, raw: Mapping[str, Json]) -> dict[str, Json]:
        """The members that the IR has no field for, those of the message under its name."""
        spoken = (self.text, "thinking", "tool_calls")
        if not self.nested:
            return without_null(rest(raw, *_REPLY_FIELDS, *spoken, "image"))
        extra = without_null(rest(raw, *_REPLY_FIELDS, self.nested))
        if more := without_null(rest(self.spoken(raw), "role", *spoken, "images")):
            extra[self.nested] = more
        return extra


CHAT_SHAPE: Final = Shape(CHAT, "content", "message")
GENERATE_SHAPE: Final = Shape(GENERATE, "response")


def parse_usage(raw: Mapping[str, Json]) -> Usage | None:
    """Usage; None if nothing is counted. Zeros are left out by the server."""
    durations = {key: raw[key] for key in _DURATIONS if raw.get(key) not in (None, _UNKNOWN_NS)}
    if not durations and all(raw.get(key) is None for key in _COUNTS):
        return None
    return Usage(count(raw, "prompt_eval_count"), count(raw, "eval_count"), extra=durations or NO_EXTRA)


def parse_finish(raw: Mapping[str, Json], *, called: bool) -> tuple[FinishReason, dict[str, Json]]:
    """Finish reason, and the wire's own if it does not follow from it."""
    told = raw.get("done_reason")
    if told == "length":
        return "length", {}
    return ("tool_calls" if called else "stop"), ({} if told in (None, "", "stop") else {"done_reason": told})


def head_of(request: ChatRequest, model: str, created: int) -> dict[str, Json]:
    """The members that a reply and each line of a stream begin with."""
    return {"model": told_name(request, model), "created_at": render_time(created)}


def end_of(finish: FinishReason, usage: Usage | None, extra: Extra, *, own: bool) -> dict[str, Json]:
    """The members that a reply ends with. ``extra`` is the choice's if it is this dialect's."""
    told = extra.get("done_reason", "length" if finish in ("length", "error") else "stop")
    counted = usage.extra if usage is not None and own else NO_EXTRA
    duration = {key: counted.get(key, _UNKNOWN_NS) for key in _DURATIONS}
    end = {"done": True, "done_reason": told, **duration}
    if usage is not None:
        end |= {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return end


def load_reply(shape: Shape, request: ChatRequest, model: str, created: int) -> bytes:
    """The reply to a request that asks nothing."""
    end = dumps({"done": True, "done_reason": load_reason(request)})
    return b"%b,%b,%b" % (dumps(head_of(request, model, created))[:-1], shape.say(""), end[1:])


def error_object(error: MotiveError) -> dict[str, Json]:
    """An error. There is no field for ``param``: the message names it."""
    named = error.param is None or error.param in error.message
    return {"error": error.message if named else f"{error.param}: {error.message}"}


def parse_error(told: Json) -> MotiveError:
    """The error that a stream ends with: a text, or an object from what stands between."""
    if isinstance(told, dict):
        told = told.get("message")
    return UpstreamError(told if isinstance(told, str) else "the service ended the stream with an error")


def parse_reply(shape: Shape, body: bytes) -> Reply:
    """A whole reply. Raises ``FramingError``."""
    try:
        raw = typed(loads_calls(body), dict, "")
        if raw.get("error"):
            raise Malformed("error", parse_error(raw["error"]).message)
        spoken = member(raw, shape.nested, dict, "") if shape.nested else raw
        if not shape.nested:
            member(raw, shape.text, str, "")
        parts = shape.parts(spoken, 0)
        finish, extra = parse_finish(raw, called=any(isinstance(part, ToolCallPart) for part in parts))
        return Reply(
            reply_id="",
            model=optional(raw, "model", str, "") or "",
            choices=(Choice(tuple(parts), finish, extra={**extra, **shape.unknown(raw)} or NO_EXTRA),),
            usage=parse_usage(raw),
            created=parse_time(raw.get("created_at")),
            dialect=shape.dialect,
        )
    except Malformed as error:
        raise FramingError(f"not a reply of {shape.dialect}: {error}") from None


def render_reply(shape: Shape, request: ChatRequest, reply: Reply) -> bytes:
    """A whole reply."""
    if loads_only(request):
        return load_reply(shape, request, reply.model, reply.created)
    choice = reply.choices[0] if reply.choices else Choice(())
    own = reply.dialect == shape.dialect
    extra = choice.extra if own else NO_EXTRA
    head = dumps(head_of(request, reply.model, reply.created))[:-1]
    spoken = _spoken(shape, choice.parts, extra, own=own)
    end = json_object(
        end_of(choice.finish_reason, reply.usage, extra, own=own), {}, rest(extra, "done_reason", shape.nested)
    )
    return b"%b,%b,%b" % (head, spoken, end[1:])


def _spoken(shape: Shape, parts: Iterable[Part], extra: Extra, *, own: bool) -> bytes:
    texts = {"text": "", "thinking": ""}
    joiners = {"text": TextJoiner(), "thinking": TextJoiner()}
    calls: list[bytes] = []
    images: list[str] = []
    for index, part in enumerate(parts):
        place = shape.place(part, own=own)
        if isinstance(part, ToolCallPart) and place == "call":
            calls.append(render_call(part, own=own, position=len(calls)))
        elif isinstance(part, BlobPart) and place == "image":
            images.append(render_image(part, own=True) or "")
        else:
            texts[place] += joiners[place].piece(index, as_text(part), plain=isinstance(part, TextPart))
    members = {"thinking": dumps(texts["thinking"])} if texts["thinking"] else {}
    members |= shape.images(images)
    if calls:
        members["tool_calls"] = b"[" + b",".join(calls) + b"]"
    more = extra.get(shape.nested) if shape.nested else None
    return shape.say(texts["text"], members, more if isinstance(more, Mapping) else NO_EXTRA)
