"""A model behind a stand-in, in whichever dialect it is asked: what it says depends on what it is told alone.

Owns its words. It reads requests and makes replies by the project's own dialects: that these are the vendors' is for
the tests of each dialect, and for the vendors' SDKs at the other end of the matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from motive_core.dialects import DIALECTS, Dialect, RequestHead
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    ChatRequest,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, Finished, ReplyEvent, Started, UsageReported, replay_part
from tests.e2e.standin import Gate, Handler, Received, Writer

CODE: Final = (
    'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t\\u00e9" + x  # \u2028\n```\r\n  {"a": [1, 2]}\n'
    "data: [DONE]\n\nevent: ping\n\n</script>\x7f end"
)
THOUGHT: Final = "Let me\n\tsee."
ARGUMENTS: Final = '{"city": "Köln \\"am\\" Rhein\\n\\t", "days": 2, "scale": 1.5}'
VALUE: Final = {"city": 'Köln "am" Rhein\n\t', "days": 2, "scale": 1.5}
_TOKEN: Final = re.compile(r"#(\w+)")
REPLY_ID: Final = "real-1"


def understood(received: Received) -> tuple[Dialect, ChatRequest]:
    """A request that came, in the IR."""
    path, _, query = received.target.partition("?")
    headers = {name.lower(): value for name, value in received.headers}
    head = RequestHead(received.method, "127.0.0.1", 80, path, query, headers)
    dialect = next(one.for_client(head) for one in DIALECTS if one.matches(head))
    return dialect, dialect.parse_request(received.body, head)


def answer_to(request: ChatRequest) -> Reply:
    """Calls the tools that it is offered, tells their results, thinks if it is told so, quotes code if it is told so,
    and in all other cases repeats the last token (``#word``) that it has heard."""
    last = request.messages[-1]
    results = [part for part in last.parts if isinstance(part, ToolResultPart)]
    before = request.messages[-2] if len(request.messages) > 1 else None
    if results and before is not None and before.role == "tool":  # a message a result
        at = len(request.messages)
        while request.messages[at - 1].role == "tool":
            at -= 1
        results = [part for one in request.messages[at:] for part in one.parts if isinstance(part, ToolResultPart)]
    text = "".join([one.text for one in request.messages])
    said: list[Part] = []
    if results:
        said.append(TextPart(" | ".join([_text(part.content) for part in results])))
    elif request.tools:
        said += [
            TextPart("One moment."),
            ToolCallPart("call_1", "weather", ARGUMENTS),
            ToolCallPart("call_2", "now", "{}"),
        ]
    else:
        heard = _TOKEN.findall(text)
        token = heard[-1] if heard else "nothing"
        if token.startswith("think"):
            said.append(ReasoningPart(THOUGHT))
        said.append(TextPart(CODE if token.startswith("code") else f"You said {token}, my friend."))
    reason: FinishReason = "tool_calls" if any(isinstance(part, ToolCallPart) for part in said) else "stop"
    return Reply(REPLY_ID, request.model, (Choice(tuple(said), reason),), Usage(11, 7), 1)


def _text(parts: Iterable[Part]) -> str:
    return "".join([part.text for part in parts if isinstance(part, TextPart)])


def events_of(reply: Reply, size: int = 5) -> Iterable[Sequence[ReplyEvent]]:
    """A reply in small pieces: batches, each of which is sent at once."""
    yield [Started(reply.reply_id, reply.model, reply.created)]
    for index, part in enumerate(reply.choices[0].parts):
        whole = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        for event in replay_part(0, index, part, pieces):
            yield [event]
    end: list[ReplyEvent] = [ChoiceEnded(0, reply.choices[0].finish_reason)]
    yield [*end, *([UsageReported(reply.usage)] if reply.usage is not None else []), Finished()]


def speaks(received: Received, writer: Writer) -> None:
    """The script of a model that works."""
    dialect, request = understood(received)
    reply = answer_to(request)
    if not request.stream:
        _whole(writer, 200, [("Content-Type", "application/json")], dialect.render_reply(request, reply))
        return
    encoder = dialect.encoder(request)
    writer.start(200, [("Content-Type", dialect.content_type(request))])
    for batch in events_of(reply):
        if data := encoder.encode_all(batch):
            writer.send(data)
    writer.end()


def refuses(error: MotiveError) -> Handler:
    """One that answers everything with an error."""

    def script(received: Received, writer: Writer) -> None:
        dialect, _ = understood(received)
        headers = [*dialect.error_headers(error, "req_1").items()]
        _whole(writer, dialect.error_status(error), headers, dialect.render_error(error, "req_1"))

    return script


def cuts(writer_ends: Callable[[Writer], None], after: int = 4) -> Handler:
    """One whose streams end in the middle."""

    def script(received: Received, writer: Writer) -> None:
        dialect, request = understood(received)
        encoder = dialect.encoder(request)
        writer.start(200, [("Content-Type", dialect.content_type(request))])
        for batch in list(events_of(answer_to(request)))[:after]:
            if data := encoder.encode_all(batch):
                writer.send(data)
        writer_ends(writer)

    return script


def hesitates(gate: Gate) -> Handler:
    """One that says its second word only when the first was heard: when the gate is open."""

    def script(received: Received, writer: Writer) -> None:
        dialect, request = understood(received)
        encoder = dialect.encoder(request)
        reply = Reply(REPLY_ID, request.model, (Choice((TextPart("first, second"),)),), Usage(1, 2), 1)
        writer.start(200, [("Content-Type", dialect.content_type(request))])
        for number, batch in enumerate(events_of(reply, len("first, "))):
            if number == 3:
                gate.wait()
            if data := encoder.encode_all(batch):
                writer.send(data)
        writer.end()

    return script


def _whole(writer: Writer, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
    writer.start(status, [*headers, ("Content-Length", str(len(body)))])
    writer.send(body)
    writer.end()


BUSY: Final = StatusError(429, "I am busy, come again.", code="rate_limit_exceeded", retry_after_s=7.0)
__all__ = ["BUSY", "CODE", "THOUGHT", "VALUE", "cuts", "hesitates", "refuses", "speaks", "understood"]
