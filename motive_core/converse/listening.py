"""A service's answer as words, and when the first of them came.

Owns the listening only: who is asked, and why, is not known here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from motive_core.exchange import ReplyEvents
from motive_core.ir import Reply, TextPart, Usage
from motive_core.stream import PartDelta
from motive_core.upstream import whole

type OnText = Callable[[str], None]
"""Is told the text so far, as it comes."""


@dataclass(slots=True)
class Answer:
    """``first_at`` is a time of ``time.perf_counter``; None if the answer was not streamed."""

    text: str = ""
    usage: Usage | None = None
    first_at: float | None = None


async def listen(answered: Reply | ReplyEvents, on_text: OnText | None = None) -> Answer:
    """The answer, once it is whole. Raises ``MotiveError``."""
    heard = Answer()

    async def watched(events: ReplyEvents) -> ReplyEvents:
        so_far = ""
        async with aclosing(events):
            async for batch in events:
                for event in batch:
                    if isinstance(event, PartDelta):
                        if heard.first_at is None:
                            heard.first_at = time.perf_counter()
                        so_far += event.text
                if on_text is not None and so_far:
                    on_text(so_far)
                yield batch

    reply = await whole(answered if isinstance(answered, Reply) else watched(answered))
    parts = reply.choices[0].parts if reply.choices else ()
    heard.text = "".join(part.text for part in parts if isinstance(part, TextPart))
    heard.usage = reply.usage
    return heard
