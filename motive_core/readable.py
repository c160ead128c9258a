"""LLM calls and replies as a person reads them: plain text, in the order in which it was said.

Owns the layout. Knows the IR only: whatever the dialect, a conversation looks the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, assert_never

from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

_RULE_WIDTH: Final = 78
_SCHEMA_DEPTH: Final = 4
_INDENT: Final = "    "


def request_as_text(request: ChatRequest) -> str:
    """A call as a conversation: what is asked of which model, what was said, and which tools there are."""
    blocks = [_head_of(request)]
    blocks += [_block(_title_of(message), _parts(message.parts)) for message in request.messages]
    if request.tools:
        blocks.append(_block(f"tools ({len(request.tools)})", "\n".join(map(signature, request.tools))))
    form = request.response_format
    if form is not None and form.kind != "text":
        schema = f"\n{_pretty(form.schema)}" if form.schema is not None else ""
        blocks.append(_block("the reply must be", f"{form.kind}{f' {form.name}' if form.name else ''}{schema}"))
    return "\n\n".join(blocks) + "\n"


def reply_as_text(reply: Reply, *, notes: Sequence[str] = ()) -> str:
    """A reply, with what it cost. ``notes`` stand beside that: times, say."""
    head = " · ".join(part for part in (reply.model, reply.reply_id, *notes) if part)
    blocks = [head] if head else []
    for number, choice in enumerate(reply.choices):
        title = "assistant" if len(reply.choices) == 1 else f"assistant, choice {number + 1} of {len(reply.choices)}"
        blocks.append(_block(title, _parts(choice.parts) or "(nothing)"))
        if (why := _ending_of(choice)) is not None:
            blocks.append(why)
    if reply.usage is not None:
        blocks.append(_usage(reply.usage))
    return "\n\n".join(blocks) + "\n"


def signature(tool: Tool) -> str:
    """A tool as one line of a program would declare it: ``search(query: string, limit?: integer)  What it does.``"""
    description = f"  {' '.join(tool.description.split())}" if tool.description else ""
    if tool.raw is not None:
        return f"{tool.name} (of the vendor){description}"
    return f"{tool.name}({_arguments(tool.schema)}){description}"


def _arguments(schema: Json) -> str:
    if not isinstance(schema, dict) or not isinstance(properties := schema.get("properties"), dict):
        return ""
    required = schema.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    fields = (f"{name}{'' if name in needed else '?'}: {_type_of(field)}" for name, field in properties.items())
    return ", ".join(fields)


def _type_of(schema: Json, depth: int = 0) -> str:
    """A JSON Schema in a few words."""
    if not isinstance(schema, dict) or depth > _SCHEMA_DEPTH:
        return "any"
    if isinstance(values := schema.get("enum"), list):
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in values[:8]) + (
            " | ..." if len(values) > 8 else ""
        )
    for word in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(word), list):
            return " | ".join(dict.fromkeys(_type_of(option, depth + 1) for option in options)) or "any"
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    if kind == "array":
        item = _type_of(schema.get("items"), depth + 1)
        return f"({item})[]" if " | " in item else f"{item}[]"
    if isinstance(reference := schema.get("$ref"), str):
        return reference.rpartition("/")[2] or "any"
    return kind if isinstance(kind, str) else "any"


def _head_of(request: ChatRequest) -> str:
    words = [f"to {request.model}" if request.model else "", request.dialect, "streamed" if request.stream else ""]
    sampling = request.sampling
    names = ("max_tokens", "temperature", "top_p", "seed")
    settings = [f"{name} {value}" for name in names if (value := getattr(sampling, name)) is not None]
    if sampling.stop:
        settings.append(f"stop {json.dumps(sampling.stop, ensure_ascii=False)}")
    if request.n > 1:
        settings.append(f"n {request.n}")
    if request.tool_choice is not None:
        settings.append(f"tool_choice {request.tool_choice.name or request.tool_choice.mode}")
    if request.parallel_tool_calls is not None:
        settings.append(f"parallel_tool_calls {str(request.parallel_tool_calls).lower()}")
    if request.previous:
        settings.append(f"goes on from {request.previous}")
    head = " · ".join(word for word in words if word)
    return f"{head}\n{', '.join(settings)}" if settings else head


def _title_of(message: Message) -> str:
    return f"{message.role} ({message.name})" if message.name else message.role


def _block(title: str, text: str) -> str:
    rule = "─" * max(3, _RULE_WIDTH - len(title) - 4)
    return f"── {title} {rule}\n{text}"


def _parts(parts: Iterable[Part]) -> str:
    """Parts one below the other; texts that follow each other are one."""
    said: list[str] = []
    was_text = False
    for part in parts:
        text = _part(part)
        is_text = isinstance(part, TextPart)
        if said and was_text and is_text:
            said[-1] += text
        else:
            said.append(text)
        was_text = is_text
    return "\n\n".join(said)


def _part(part: Part) -> str:
    match part:
        case TextPart(text):
            return text
        case RefusalPart(text):
            return f"[refusal] {text}"
        case ReasoningPart(text, _, redacted):
            return f"[reasoning]\n{_indented(text)}" if text else f"[reasoning{', encrypted' if redacted else ''}]"
        case BlobPart():
            return _blob(part)
        case ToolCallPart(call_id, name, arguments):
            return f"[call {name}] {call_id}\n{_indented(_pretty_text(arguments))}"
        case ToolResultPart(call_id, content, name, is_error):
            title = f"[{'error' if is_error else 'result'} of {name or 'a call'}] {call_id}"
            return f"{title}\n{_indented(_pretty_text(_parts(content)))}"
        case OpaquePart(dialect, raw):
            return f"[{dialect}]\n{_indented(_pretty(raw))}"
        case _:
            assert_never(part)


def _blob(part: BlobPart) -> str:
    name = f" {part.name}" if part.name else ""
    kind = part.media_type or "file"
    if part.data is not None:
        return f"[{kind}{name}, {size_as_text(len(part.data) * 3 // 4)}]"
    return f"[{kind}{name}] {part.url}"


def size_as_text(size_bytes: int) -> str:
    """A size for people: ``12.3 kB``."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _ending_of(choice: Choice) -> str | None:
    if choice.finish_reason in ("stop", "tool_calls") and choice.stop_sequence is None:
        return None
    stop = f" at {json.dumps(choice.stop_sequence, ensure_ascii=False)}" if choice.stop_sequence is not None else ""
    return f"ended by {choice.finish_reason}{stop}"


def _usage(usage: Usage) -> str:
    told = f"tokens: {usage.input_tokens:,} in"
    if usage.cached_tokens:
        told += f" ({usage.cached_tokens:,} cached)"
    told += f", {usage.output_tokens:,} out"
    if usage.reasoning_tokens:
        told += f" ({usage.reasoning_tokens:,} reasoning)"
    return told


def _pretty_text(text: str) -> str:
    """JSON as one reads it; other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return _pretty(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _pretty(value: Any) -> str:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return repr(value)


def _indented(text: str) -> str:
    return "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"{_INDENT}{line}" if line else ""
