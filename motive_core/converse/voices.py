"""What each side says: its model is asked, with the conversation as that side has it.

Owns the history of one side, and how much of it a model is told.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Final

from motive_core.converse.listening import OnText, listen
from motive_core.converse.sides import Side
from motive_core.errors import UpstreamError
from motive_core.estimate import text_tokens
from motive_core.ir import ChatRequest, Message, Sampling, TextPart
from motive_core.upstream import Http, HttpUpstream

NO_DIALECT: Final = ""
"""That of requests which are made here: nothing in them is of one vendor alone."""

_MAX_TOKENS: Final = 1024

_SUBJECTS: Final = ("The troll", "A grey wolf", "Nobody", "The old bridge", "Ünal", "Your lantern", "龍")
_VERBS: Final = ("waits by", "guards", "remembers", "has never seen", "sings to", "mistrusts")
_OBJECTS: Final = ("the river.", "the gate;", 'a "quoted" word,', "1,000 coins.", "two\n\n\tindented lines", "🐉 & co.")


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a model said. Times in seconds; ``first_token_s`` is None where it was not streamed."""

    text: str
    took_s: float
    first_token_s: float | None
    input_tokens: int
    output_tokens: int
    estimated: bool


class Voice:
    """One side's model. It is told ``max_context_messages`` messages of the conversation at most, its system prompt
    aside."""

    def __init__(
        self, side: Side, http: Http, *, system_prompt: str | None, max_context_messages: int, seed: int = 0
    ) -> None:
        self._side = side
        self._system = system_prompt
        self._most = max_context_messages
        self._said: list[Message] = []
        self._upstream = HttpUpstream(side.endpoint, http) if side.endpoint is not None else None
        self._random = random.Random(seed)

    async def answer(self, heard: str, on_text: OnText | None = None) -> Spoken:
        """What it says to this. Raises ``MotiveError``."""
        self._said.append(Message("user", (TextPart(heard),)))
        began = time.perf_counter()
        if self._upstream is None:
            text = self._own_words(heard)
            spoken = Spoken(
                text, time.perf_counter() - began, None, text_tokens(heard), text_tokens(text), estimated=True
            )
        else:
            spoken = await self._asked(self._upstream, began, on_text)
        if not spoken.text.strip():
            raise UpstreamError(f"{self._side.name} said nothing.")
        self._said.append(Message("assistant", (TextPart(spoken.text),)))
        if on_text is not None:
            on_text(spoken.text)
        return spoken

    async def _asked(self, upstream: HttpUpstream, began: float, on_text: OnText | None) -> Spoken:
        system = (Message("system", (TextPart(self._system),)),) if self._system else ()
        request = ChatRequest(
            NO_DIALECT,
            self._side.model,
            (*system, *recent(self._said, self._most)),
            stream=True,
            sampling=Sampling(max_tokens=_MAX_TOKENS),
            include_usage=True,
        )
        heard = await listen(await upstream.ask(request), on_text)
        took_s = time.perf_counter() - began
        first_token_s = heard.first_at - began if heard.first_at is not None else None
        usage = heard.usage
        tokens = (usage.input_tokens, usage.output_tokens) if usage is not None else (0, text_tokens(heard.text))
        return Spoken(heard.text, took_s, first_token_s, *tokens, estimated=usage is None)

    def _own_words(self, heard: str) -> str:
        """Words of a mock: other ones each time, with what is easily lost on the way in them."""
        one = " ".join(map(self._random.choice, (_SUBJECTS, _VERBS, _OBJECTS)))
        return f"{one} (I am told {len(heard)} characters, and this is number {len(self._said)}.)"


def recent(messages: list[Message], most: int) -> tuple[Message, ...]:
    """The last of a conversation that begins with the user, as every vendor wants it: at most so many, at least one."""
    kept = messages[-max(1, most) :]
    while len(kept) > 1 and kept[0].role != "user":
        kept = kept[1:]
    return tuple(kept)
