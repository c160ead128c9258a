"""The streamed reply of the Responses API, out: reply events to server-sent events.

Owns the response and the order of its items; the items as they are said have a file of their own,
``openai_responses_open``. What degrades is said in ``openai_responses_reply``.

Items begin in the order of their parts, and may be open side by side. A message ends when another item begins or the
reply ends, since more of it may come until then. There is no end mark beyond ``response.completed`` or
``response.incomplete``, which have the whole response once more. Items that we don't know come whole, without the
events that tell how the service gets on with them.

An error ends the stream as the live API does it: ``error``, whose nested ``error`` object makes the SDKs raise (SDK:
``_streaming.py``, and its twin for JavaScript), then ``response.failed``, by which Codex goes
(``codex-api/src/sse/responses.rs``). What is open stays open.
"""

from __future__ import annotations

from typing import Final

from motive_core.dialects.base import Encoder
from motive_core.dialects.openai_responses_contents import NAME
from motive_core.dialects.openai_responses_items import begins_message, is_item
from motive_core.dialects.openai_responses_open import Item, Message, Writer, item_of
from motive_core.dialects.openai_responses_reply import (
    completed_at,
    error_event,
    failure,
    item_status,
    render_usage,
    response_object,
    status_of,
)
from motive_core.errors import FramingError, MotiveError
from motive_core.framing import sse_comment
from motive_core.ir import NO_EXTRA, ChatRequest, Extra, FinishReason, Json, Part, Usage
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    SignatureDelta,
    Started,
    UsageReported,
)

_COMMENT: Final = sse_comment("keep-alive")


class ResponsesEncoder(Encoder):
    """Reply events to the bytes of one streamed response, the answer to ``request``."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._writer = Writer()
        self._start: Started | None = None
        self._own = False
        self._usage: Usage | None = None
        self._items: list[Item] = []
        self._parts: dict[int, Item] = {}
        self._finish: FinishReason = "stop"
        self._extra: Extra = NO_EXTRA
        self._ended = False
        self._done = False

    def heartbeat(self) -> bytes:
        return _COMMENT

    def encode(self, event: ReplyEvent) -> bytes:
        if self._done:
            return b""
        match event:
            case PartDelta(0, part, text):
                return self._item(part).say(part, text) if not self._ended else b""
            case PartStarted(0, part, value):
                return self._begun() + self._begin_part(part, value) if not self._ended else b""
            case PartEnded(0, part):
                return self._item(part).end(part, event.extra if self._own else NO_EXTRA) if not self._ended else b""
            case SignatureDelta(0, part, signature):
                if self._own and not self._ended:
                    self._item(part).sign(signature)
            case ChoiceEnded(0, finish):
                return self._begun() + self._end(finish, event.extra if self._own else NO_EXTRA)
            case UsageReported(usage):
                self._usage = usage
            case Started():
                return self._begun(event)
            case Finished():
                said = self._begun() + self._end("stop", NO_EXTRA)
                self._done = True
                return said + self._last()
            case Failed(error):
                self._done = True
                return self._failed(error)
            case _:
                pass  # of other choices: there is one only
        return b""

    def _item(self, part: int) -> Item:
        try:
            return self._parts[part]
        except KeyError:
            raise FramingError(f"delta for part {part}, which was never started") from None

    def _begun(self, event: Started | None = None) -> bytes:
        """The start of the response, if it is not out yet."""
        if self._start is not None:
            return b""
        self._start = event or Started("", self._request.model)
        self._own = self._start.dialect == NAME
        self._usage = self._start.usage
        response = {"response": self._response()}
        return b"".join([self._writer.event(f"response.{kind}", response) for kind in ("created", "in_progress")])

    def _response(self) -> dict[str, Json]:
        """The response as it is before its end."""
        start = self._start or Started("", self._request.model)
        extra = start.extra if self._own else NO_EXTRA
        return response_object(self._request, start.reply_id, start.model, start.created, extra)

    def _begin_part(self, part: int, value: Part) -> bytes:
        last = self._items[-1] if self._items else None
        alone = is_item(value, own=self._own)
        if isinstance(last, Message) and not alone and begins_message(value, own=self._own) is None:
            self._parts[part] = last
            return last.take(part, value)
        said = last.follow() if last is not None else b""
        reply_id = self._start.reply_id if self._start is not None else ""
        item = item_of(self._writer, reply_id, len(self._items), value, alone=alone, own=self._own)
        self._items.append(item)
        self._parts[part] = item
        return said + item.begin() + item.take(part, value)

    def _end(self, finish: FinishReason, extra: Extra) -> bytes:
        """The end of the choice, and of all that is open in it."""
        if self._ended:
            return b""
        self._ended = True
        self._finish, self._extra = finish, extra
        last = self._items[-1] if self._items else None
        return b"".join([item.close(item_status(finish, last=item is last)) for item in self._items])

    def _last(self) -> bytes:
        """The whole response."""
        response = {**self._response(), **status_of(self._finish, self._extra), **self._extra.get("response", {})}
        response["completed_at"] = completed_at(response)
        response["output"] = [item.final for item in self._items]
        if self._usage is not None:
            response["usage"] = render_usage(self._usage, own=self._own)
        kind = "incomplete" if response["status"] == "incomplete" else "completed"
        return self._writer.event(f"response.{kind}", {"response": response})

    def _failed(self, error: MotiveError) -> bytes:
        output = [item.final for item in self._items if item.closed]
        response = {**self._response(), "status": "failed", "error": failure(error), "output": output}
        events = [self._writer.event("error", error_event(error))]
        return b"".join([*events, self._writer.event("response.failed", {"response": response})])
