"""Background calls: what apps ask a model for by themselves, such as a title for the chat.

Owns how they are recognised and what they are answered, so that they never become a turn. Knows neither sessions nor
whether a call is answered here at all.

A request that says nothing at all asks nothing: only Ollama has such, to load or unload a model, and how its reply says
that this was done is the dialect's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from motive_core.config import Background, Config, Matcher, encodable, fill, visible
from motive_core.ir import ChatRequest, Json, Message

_SYSTEM_ROLES: Final = ("system", "developer")
_TITLE_WORDS: Final = 6
_TITLE_CHARACTERS: Final = 60
_UNTITLED: Final = "New chat"
_SCHEMA_DEPTH: Final = 8

# How apps quote a conversation. Open WebUI: get_messages_content in utils/misc.py ("USER: ..."). LibreChat: "User: ",
# "Human: " before. LobeChat: "user: ", "<user>" since. Claude Code: "<session>". opencode: a line before.
_QUOTED_USER: Final = re.compile(
    r"^[ \t]*(?:user|human):[ \t]*(?P<words>.*?)(?=^[ \t]*(?:assistant|ai|user|human|system):|^[ \t]*</|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_TAGGED_USER: Final = re.compile(r"<(user|session)>(?P<words>.*?)</\1>", re.DOTALL)
_LEAD_IN: Final = re.compile(r"\AGenerate a title for this conversation:\s*")

_READ_CHARACTERS: Final = 10_000
"""How much of a message the words of a title are looked for in."""


@dataclass(frozen=True, slots=True)
class BackgroundTask:
    """A background call that was recognised. ``groups`` are the named groups of what recognised it."""

    name: str
    reply: str
    groups: Mapping[str, str]


_NOTHING_ASKED: Final = BackgroundTask("nothing asked", "", {})


class BackgroundTable:
    """``extra_background`` and ``background`` of a configuration, compiled; the first entry that matches counts."""

    def __init__(self, config: Config) -> None:
        self._entries = [_Entry(entry) for entry in (*config.extra_background, *config.background)]

    def match(self, request: ChatRequest, headers: Mapping[str, str]) -> BackgroundTask | None:
        """What background call this is; None for one that a person made. ``headers`` have lower-case names."""
        if not request.messages and request.previous is None:
            return _NOTHING_ASKED
        last = request.messages[-1] if request.messages else None
        message = visible(last.text) if last is not None and last.role == "user" else None
        system = visible("\n\n".join(found.text for found in request.messages if found.role in _SYSTEM_ROLES))
        for entry in self._entries:
            groups = entry.check(message, system, headers, request)
            if groups is not None:
                return BackgroundTask(entry.name, entry.reply, groups)
        return None

    def answer(self, task: BackgroundTask, request: ChatRequest) -> str:
        """The reply to a background call: JSON of the shape that the call asks for, if it asks for one."""
        if task is _NOTHING_ASKED:
            return ""
        words = encodable(task.groups.get("words") or _first_words(request)).strip()
        title = _title(words)
        values = {**task.groups, "words": words, "title": title}
        values |= {"words_json": to_json(words).decode(), "title_json": to_json(title).decode()}
        reply = fill(task.reply, values)
        wanted = request.response_format
        if wanted is None or wanted.kind == "text":
            return reply.removeprefix(_prefill(request))
        return _fitted(reply, wanted.schema if wanted.kind == "json_schema" else None, title)


class _Entry:
    def __init__(self, entry: Background) -> None:
        self.name = entry.name
        self.reply = entry.reply
        match = entry.match
        self._max_tokens = match.max_tokens
        self._message = Matcher(match.message) if match.message is not None else None
        self._system = Matcher(match.system) if match.system is not None else None
        self._headers = tuple((name, Matcher(regex)) for name, regex in match.header.items())
        self._fields = tuple((path.split("."), Matcher(regex)) for path, regex in match.field.items())

    def check(
        self, message: str | None, system: str, headers: Mapping[str, str], request: ChatRequest
    ) -> Mapping[str, str] | None:
        """The named groups if all conditions hold, else None."""
        most = request.sampling.max_tokens
        if self._max_tokens is not None and (most is None or most > self._max_tokens):
            return None
        asked = [(regex, headers.get(name)) for name, regex in self._headers]
        asked += [(regex, _field(request.extra, path)) for path, regex in self._fields]
        if self._message is not None:
            asked.append((self._message, message))
        if self._system is not None:
            asked.append((self._system, system))
        groups: dict[str, str] = {}
        for regex, text in asked:
            found = regex.search(text) if text is not None else None
            if found is None:
                return None
            groups |= found
        return groups


def _field(body: Json, path: list[str]) -> str | None:
    """A field of the body as text; None if there is none, or it is a mapping, a list or null."""
    for key in path:
        if not isinstance(body, Mapping) or key not in body:
            return None
        body = body[key]
    match body:
        case bool():
            return str(body).lower()
        case str() | int() | float():
            return str(body)
        case _:
            return None


def _prefill(request: ChatRequest) -> str:
    """The beginning of the reply that the request has in it: what is sent goes on from there."""
    last = request.messages[-1] if request.messages else None
    return last.text if last is not None and last.role == "assistant" else ""


def _first_words(request: ChatRequest) -> str:
    """What the user of a conversation said first. Most apps quote the conversation within one message, some send it
    as it is, and the instruction behind it."""
    said = [message for message in request.messages if message.role not in _SYSTEM_ROLES]
    spoken = [message for message in said if message.role == "user"]
    if not spoken:
        return ""
    if len(said) > len(spoken):
        return spoken[0].text[:_READ_CHARACTERS]
    return next(filter(None, map(_quoted_words, spoken)), "")


def _quoted_words(message: Message) -> str:
    text = message.text[:_READ_CHARACTERS]
    found = _TAGGED_USER.search(text) or _QUOTED_USER.search(text)
    if found is not None:
        quoted = _QUOTED_USER.search(found["words"])
        return (quoted or found)["words"].strip()
    return _LEAD_IN.sub("", text, count=1).strip()


def _title(words: str) -> str:
    """A few words on one line, without what would break a title apart."""
    kept = re.sub(r"[\s\"'`*#<>{}\[\]|_]+", " ", words).split()[:_TITLE_WORDS]
    title = " ".join(kept)[:_TITLE_CHARACTERS].strip(" .,:;!?-")
    return title or _UNTITLED


def _fitted(reply: str, schema: Json, title: str) -> str:
    """A reply as the JSON object that is asked for: itself if it is one with all required members, else one made from
    the schema, texts that are no title left empty."""
    try:
        value = from_json(reply, allow_inf_nan=False)
    except ValueError:
        value = None
    required = schema.get("required") if isinstance(schema, dict) else None
    if isinstance(value, dict) and all(name in value for name in required or ()):
        return reply
    if not isinstance(schema, dict):
        return to_json({"title": title}).decode()
    return to_json(_example(schema, title, "", _SCHEMA_DEPTH)).decode()


def _example(schema: Json, title: str, name: str, depth: int) -> Any:
    """The least value of a JSON Schema's type. Only what a title's schema is made of is understood."""
    if not isinstance(schema, dict) or depth == 0:
        return None
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[0]
    kinds = schema.get("type")
    match kinds[0] if isinstance(kinds, list) and kinds else kinds:
        case "object":
            members = schema.get("properties")
            members = members if isinstance(members, dict) else {}
            required = schema.get("required")
            names = required if isinstance(required, list) else list(members)
            return {member: _example(members.get(member), title, member, depth - 1) for member in names}
        case "string":
            return title if name.lower().endswith(("title", "name", "description", "summary")) else ""
        case "array":
            return []
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case _:
            return None
