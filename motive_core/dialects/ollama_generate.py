"""Ollama's completion API: ``POST .../api/generate``. A request says one text; there is no conversation in it.

Owns the request; its settings, replies and streams have files of their own beside this one.

A request is a system message, if it has a ``system``, and a message of the user: the prompt and its images. Everything
else that it may have (``suffix``, ``template``, ``context``, ``raw``) stays in ``extra``. A request that came in this
dialect is rendered with everything that it had, as ``ollama_chat`` does it.

A request from another dialect becomes one prompt:

* what the system says is ``system``, wherever it stands; if there is nothing else, it is the prompt;
* the messages of the user follow each other with a blank line between them. If others have said something too, each
  message has its role before it: ``[user]``, ``[assistant]``;
* pictures are ``images``, in their order; any other part becomes text (``degrade``), tool calls and results too;
* an empty prompt is a blank, since an empty one would ask nothing but to load the model;
* tools are left out, as is what ``ollama_chat`` leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from motive_core.dialects.base import NO_HEAD, RequestHead
from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.fields import Malformed, dumps, json_object, loads, optional, typed
from motive_core.dialects.ollama_dialect import OllamaDialect
from motive_core.dialects.ollama_parts import GENERATE, bad_request, parse_images, render_image
from motive_core.dialects.ollama_reply import GENERATE_SHAPE
from motive_core.dialects.ollama_settings import loads_only, render_name, render_settings, request_of
from motive_core.ir import BlobPart, ChatRequest, Json, Message, Part, TextPart

_SYSTEM_ROLES: Final = ("system", "developer")


class OllamaGenerate(OllamaDialect):
    """The completion API, as servers since 0.3 speak it, the newest of August 2026 included."""

    name = GENERATE
    shape = GENERATE_SHAPE
    path = "/api/generate"
    endpoints = ("POST /api/generate",)

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            raw = typed(loads(body), dict, "")
            messages = _parse_messages(raw)
            known = ("prompt", "system", "images") if messages else ("prompt",)
            return request_of(GENERATE, raw, body, messages, (), *known)
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        own = request.dialect == GENERATE
        members, extra = render_settings(request, own=own)
        said: dict[str, Json]
        said = {"prompt": ""} if own and loads_only(request) else _render_messages(request.messages, own=own)
        told = {key: dumps(value) for key, value in said.items()}
        return json_object({"model": render_name(request)}, told | members, extra)


def _parse_messages(raw: dict[str, Json]) -> list[Message]:
    """What a request says; nothing if it only loads its model. Raises ``Malformed``."""
    prompt = optional(raw, "prompt", str, "")
    system = optional(raw, "system", str, "")
    images = parse_images(raw, "")
    if not prompt:
        return []
    messages = [Message("system", (TextPart(system),))] if system else []
    return [*messages, Message("user", (TextPart(prompt), *images))]


def _render_messages(messages: Iterable[Message], *, own: bool) -> dict[str, Json]:
    system = [message for message in messages if message.role in _SYSTEM_ROLES]
    spoken = [message for message in messages if message.role not in _SYSTEM_ROLES]
    if not spoken:
        system, spoken = [], system
    images: list[str] = []
    labelled = any(message.role not in ("user", *_SYSTEM_ROLES) for message in spoken)
    texts = []
    for message in spoken:
        text = parts_as_text(_without_images(message.parts, images, own=own))
        texts.append(f"[{message.role}]\n{text}" if labelled else text)
    said: dict[str, Json] = {"prompt": "\n\n".join([text for text in texts if text]) or " "}
    if before := "\n\n".join([text for text in [parts_as_text(message.parts) for message in system] if text]):
        said["system"] = before
    if images:
        said["images"] = images
    return said


def _without_images(parts: Iterable[Part], images: list[str], *, own: bool) -> list[Part]:
    """The parts that are no images; those that are go to ``images``."""
    others: list[Part] = []
    for part in parts:
        image = render_image(part, own=own) if isinstance(part, BlobPart) else None
        if image is None:
            others.append(part)
        else:
            images.append(image)
    return others
