"""Amazon Bedrock's Converse API: ``POST .../model/{model}/converse`` and ``converse-stream``.

Owns requests and the dialect itself; blocks, turns, replies, lists and the two halves of the stream have files of their
own beside this one. The model and whether to stream are told by the path.

A request that came in this dialect is rendered as it was, unknown fields included; only white space, the order of
members and equivalent forms may differ. A request from another dialect is rendered so that the live API takes it:

* system and developer messages, wherever they stand, are the ``system`` prompt; if there is nothing else, they are what
  the user says;
* the conversation follows the rules that ``bedrock_turns`` says;
* where there are tool calls, there is a ``toolConfig``: if no tools are offered, those that were called are, with an
  open schema. The schema of a tool is an object's;
* there is no tool choice ``none``: it is left out, and so is one tool that is not offered;
* a temperature over 1 is 1; ``top_p`` is left out where there is a temperature, since models refuse both together;
* reasoning is left out, since its signature proves nothing to this service, as are names of authors, tools of another
  vendor's own, ``n``, ``seed``, whether calls may be parallel, and JSON mode without a schema;
* any other part that the API does not take becomes text (``degrade``): blobs by URL, files of unusual types, another
  vendor's file ids, blobs in assistant messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from motive_core.dialects.aws import AwsDialect, model_call, model_path
from motive_core.dialects.base import NO_HEAD, Decoder, Encoder, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.bedrock_blocks import (
    CACHE_POINT,
    NAME,
    array,
    loads,
    parse_content,
    render_blocks,
    text_block,
    union,
)
from motive_core.dialects.bedrock_decoder import ConverseDecoder
from motive_core.dialects.bedrock_encoder import ConverseEncoder
from motive_core.dialects.bedrock_reply import parse_reply, render_reply
from motive_core.dialects.bedrock_side import render_models, serve, serves
from motive_core.dialects.bedrock_turns import safe_name, turns_of
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import (
    Malformed,
    dumps,
    json_object,
    member,
    optional,
    rest,
    typed,
    without_null,
)
from motive_core.dialects.fields import loads as plain_loads
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Json,
    Message,
    Part,
    Reply,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
)

_ROLES: Final[Mapping[str, Role]] = {"user": "user", "assistant": "assistant", "system": "system"}
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_CHOICES: Final[Mapping[str, Literal["auto", "required", "tool"]]] = {"auto": "auto", "any": "required", "tool": "tool"}
_CHOICE_MEMBERS: Final = {mode: name for name, mode in _CHOICES.items()}
_KNOWN: Final = ("messages", "system", "inferenceConfig", "toolConfig", "outputConfig")
_SAMPLING: Final = ("maxTokens", "temperature", "topP", "stopSequences")


class BedrockConverse(AwsDialect):
    """Converse and ConverseStream, of ``bedrock-runtime``."""

    name = NAME
    endpoints = ("POST /model/{model}/converse", "POST /model/{model}/converse-stream")

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and model_call(head.path)[1] in ("converse", "converse-stream")

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return _parse_request(body, *model_call(head.path))
        except Malformed as error:
            raise error.as_bad_request() from None

    def render_request(self, request: ChatRequest) -> bytes:
        return _render_own(request) if request.dialect == NAME else _render_foreign(request)

    def target(self, request: ChatRequest) -> str:
        return model_path(request.model, "converse-stream" if request.stream else "converse")

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(reply)

    def decoder(self) -> Decoder:
        return ConverseDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return ConverseEncoder()

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return render_models(models)

    def serves(self, head: RequestHead) -> bool:
        return serves(head)

    def serve(self, call: SideCall) -> WireReply:
        return serve(call, self.parse_request)


def _parse_request(body: bytes, model: str, action: str) -> ChatRequest:
    raw = typed(loads(body), dict, "")
    turns = member(raw, "messages", list, "")
    if not turns:
        raise Malformed("messages", "at least one message is required")
    messages = [_parse_message(turn, f"messages[{number}]") for number, turn in enumerate(turns)]
    if system := optional(raw, "system", list, ""):
        messages.insert(0, Message("system", parse_content(system, "system")))
    extra = rest(raw, *_KNOWN)
    config = optional(raw, "toolConfig", dict, "") or {}
    _keep(extra, "toolConfig", rest(config, "tools", "toolChoice"))
    stream = action == "converse-stream"
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=stream,
        tools=_parse_tools(optional(config, "tools", list, "toolConfig") or []),
        tool_choice=_parse_choice(optional(config, "toolChoice", dict, "toolConfig")),
        response_format=_parse_format(raw, extra),
        sampling=_parse_sampling(raw, extra),
        include_usage=stream,
        extra=extra or NO_EXTRA,
        raw=body,
    )


def _keep(extra: dict[str, Json], name: str, others: dict[str, Json]) -> None:
    if others:
        extra[name] = others


def _parse_message(raw: Json, where: str) -> Message:
    raw = typed(raw, dict, where)
    role = _ROLES.get(member(raw, "role", str, where))
    if role is None:
        raise Malformed(f"{where}.role", "it must be one of user, assistant, system")
    content = member(raw, "content", list, where)
    return Message(role, parse_content(content, f"{where}.content"), extra=rest(raw, "role", "content") or NO_EXTRA)


def _parse_sampling(raw: dict[str, Json], extra: dict[str, Json]) -> Sampling:
    config = optional(raw, "inferenceConfig", dict, "") or {}
    _keep(extra, "inferenceConfig", rest(config, *_SAMPLING))
    where = "inferenceConfig"
    stop = optional(config, "stopSequences", list, where) or []
    return Sampling(
        max_tokens=optional(config, "maxTokens", int, where),
        temperature=optional(config, "temperature", float, where),
        top_p=optional(config, "topP", float, where),
        stop=tuple([typed(one, str, f"{where}.stopSequences[{number}]") for number, one in enumerate(stop)]),
    )


def _parse_tools(raw: list[Json]) -> tuple[Tool, ...]:
    """The tools. A cache point is kept with the tool that it follows; what is no client's tool stays ``raw``."""
    tools: list[Tool] = []
    for number, entry in enumerate(raw):
        where = f"toolConfig.tools[{number}]"
        kind, value = union(entry, where)
        if kind == "toolSpec":
            value = typed(value, dict, f"{where}.toolSpec")
            schema = optional(value, "inputSchema", dict, f"{where}.toolSpec") or {}
            odd = {"inputSchema": schema} if rest(schema, "json") else {}
            tools.append(
                Tool(
                    member(value, "name", str, f"{where}.toolSpec"),
                    optional(value, "description", str, f"{where}.toolSpec"),
                    schema.get("json"),
                    extra={**rest(value, "name", "description", "inputSchema"), **odd} or NO_EXTRA,
                )
            )
        elif kind == CACHE_POINT and tools and tools[-1].raw is None and CACHE_POINT not in tools[-1].extra:
            tools[-1] = replace(tools[-1], extra={**tools[-1].extra, CACHE_POINT: value})
        else:
            name = value.get("name") if isinstance(value, dict) else None
            tools.append(Tool(name if isinstance(name, str) else kind, raw=entry))
    return tuple(tools)


def _parse_choice(raw: dict[str, Json] | None) -> ToolChoice | None:
    if not raw:
        return None
    kind, value = union(raw, "toolConfig.toolChoice")
    mode = _CHOICES.get(kind)
    value = typed(value, dict, f"toolConfig.toolChoice.{kind}") if mode is not None else {}
    if mode is None or rest(value, "name"):
        return ToolChoice(mode if mode in ("auto", "required") else "auto", raw=raw)
    return ToolChoice(mode, member(value, "name", str, "toolConfig.toolChoice.tool") if mode == "tool" else None)


def _parse_format(raw: dict[str, Json], extra: dict[str, Json]) -> ResponseFormat | None:
    """The format of the reply, whose schema is JSON in a text. What else the output config says goes into ``extra``,
    and so does a format that we don't know."""
    config = optional(raw, "outputConfig", dict, "") or {}
    match config.get("textFormat"):
        case {"type": "json_schema", "structure": {"jsonSchema": {"schema": str(text)} as described}} if (
            schema := _schema(text)
        ) is not None:
            _keep(extra, "outputConfig", rest(config, "textFormat"))
            name = optional(described, "name", str, "outputConfig.textFormat.structure.jsonSchema")
            others = rest(described, "name", "schema")
            if dumps(schema) != text.encode("utf-8", "replace"):
                others["schema"] = text
            return ResponseFormat("json_schema", name, schema, extra=others or NO_EXTRA)
        case _:
            _keep(extra, "outputConfig", config)
            return None


def _schema(text: str) -> Json:
    """The schema that a text holds; None if it is none."""
    try:
        return typed(plain_loads(text), dict, "")
    except Malformed:
        return None


def _render_own(request: ChatRequest) -> bytes:
    messages = list(request.messages)
    extra = dict(request.extra)
    raw: dict[str, bytes] = {}
    if len(messages) > 1 and messages[0].role in _SYSTEM_ROLES and not messages[0].extra:
        raw["system"] = array(render_blocks(messages.pop(0).parts, own=True, carries=_in_own))
    raw["messages"] = array([_own_message(message) for message in messages])
    tools = [one for tool in request.tools for one in _own_tool(tool)]
    config = {"tools": tools or None, "toolChoice": _choice(request.tool_choice), **extra.pop("toolConfig", {})}
    output = {**_output(request.response_format, own=True), **extra.pop("outputConfig", {})}
    inference = {**_inference(request.sampling), **extra.pop("inferenceConfig", {})}
    head = {"inferenceConfig": inference, "toolConfig": without_null(config), "outputConfig": output}
    return json_object({key: value for key, value in head.items() if value}, raw, extra)


def _in_own(part: Part) -> bool:
    return True


def _own_message(message: Message) -> bytes:
    role = "system" if message.role in _SYSTEM_ROLES else "user" if message.role == "tool" else message.role
    content = array(render_blocks(message.parts, own=True, carries=_in_own))
    return json_object({"role": role}, {"content": content}, message.extra)


def _own_tool(tool: Tool) -> list[Json]:
    if tool.raw is not None:
        return [tool.raw]
    extra = dict(tool.extra)
    cached = [{CACHE_POINT: extra.pop(CACHE_POINT)}] if CACHE_POINT in extra else []
    schema = {} if tool.schema is None else {"inputSchema": {"json": tool.schema}}
    spec = {**without_null({"name": tool.name, "description": tool.description}), **schema, **extra}
    return [{"toolSpec": spec}, *cached]


def _choice(choice: ToolChoice | None) -> Json:
    if choice is None or choice.raw is not None:
        return choice.raw if choice is not None else None
    if choice.mode == "none":
        return None
    return {_CHOICE_MEMBERS[choice.mode]: {"name": choice.name} if choice.mode == "tool" else {}}


def _inference(sampling: Sampling) -> dict[str, Json]:
    return without_null(
        {
            "maxTokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "topP": sampling.top_p,
            "stopSequences": list(sampling.stop) or None,
        }
    )


def _output(wanted: ResponseFormat | None, *, own: bool) -> dict[str, Json]:
    if wanted is None or wanted.kind != "json_schema":
        return {}
    described: dict[str, Json] = {"schema": dumps(wanted.schema).decode()}
    if wanted.name is not None:
        described["name"] = wanted.name
    if own:
        described |= wanted.extra
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": described}}}


def _render_foreign(request: ChatRequest) -> bytes:
    system, turns = turns_of(request.messages)
    raw: dict[str, bytes] = {}
    if system:
        raw["system"] = array(_system_blocks(system))
    raw["messages"] = array([json_object({"role": turn.role}, {"content": turn.blocks()}) for turn in turns])
    offered = [_foreign_tool(tool) for tool in request.tools if tool.raw is None]
    names = {tool["toolSpec"]["name"] for tool in offered}
    if not offered:
        offered = [_foreign_tool(Tool(name)) for name in dict.fromkeys(name for turn in turns for name in turn.calls())]
    choice = request.tool_choice
    if choice is not None and choice.mode == "tool":
        choice = replace(choice, name=safe_name(choice.name or ""), raw=None)
    head: dict[str, Json] = {}
    if inference := _inference(_foreign_sampling(request.sampling)):
        head["inferenceConfig"] = inference
    if offered:
        known = choice is None or choice.mode != "tool" or choice.name in names
        told = _choice(replace(choice, raw=None)) if choice is not None and known else None
        head["toolConfig"] = without_null({"tools": offered, "toolChoice": told})
    if output := _output(request.response_format, own=False):
        head["outputConfig"] = output
    return json_object(head, raw)


def _system_blocks(parts: Iterable[Part]) -> list[bytes]:
    """The system prompt, which has texts only."""
    joiner = TextJoiner()
    pieces = [joiner.piece(n, as_text(part), plain=isinstance(part, TextPart)) for n, part in enumerate(parts)]
    return [text_block(piece) for piece in pieces if piece]


def _foreign_tool(tool: Tool) -> dict[str, Json]:
    schema = tool.schema if isinstance(tool.schema, dict) else {"properties": {}}
    description = {"description": tool.description} if tool.description and tool.description.strip() else {}
    spec = {"name": safe_name(tool.name), **description, "inputSchema": {"json": {"type": "object", **schema}}}
    return {"toolSpec": spec}


def _foreign_sampling(sampling: Sampling) -> Sampling:
    temperature = None if sampling.temperature is None else min(max(sampling.temperature, 0.0), 1.0)
    return Sampling(
        max_tokens=sampling.max_tokens or None,
        temperature=temperature,
        top_p=sampling.top_p if temperature is None else None,
        stop=tuple([one for one in sampling.stop if one.strip()]),
    )
