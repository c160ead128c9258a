"""The settings of commands: the words by which an answerer says more than an answer.

Owns their defaults and that no two are the same. What they do is not known here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from motive_core.settings.types import Kind, Section


def _command(word: str) -> str:
    word = word.strip()
    if not word or any(map(str.isspace, word)):
        raise ValueError("a command must be one word")
    return word


CommandWord = Annotated[str, AfterValidator(_command), Kind("word")]


class Commands(Section):
    """What an answerer may write, beside an answer. A command that is null is off: such words are an answer then."""

    call: CommandWord | None = Field(default="/call", description="`/call NAME {json}` calls one of the app's tools.")
    think: CommandWord | None = Field(default="/think", description="`/think TEXT` before an answer: its reasoning.")
    say: CommandWord | None = Field(default="/say", description="`/say TEXT` answers with TEXT as it stands.")
    fail: CommandWord | None = Field(
        default="/fail", description="`/fail 429 TEXT` answers with an error, of that status and with that message."
    )
    pass_on: CommandWord | None = Field(
        default="/pass", alias="pass", description="`/pass` lets the real service answer this call."
    )
    send: CommandWord | None = Field(default="/send", description="`/send` lets the draft of a `review` go as it is.")
    leave: CommandWord | None = Field(default="/leave", description="`/leave` gives the seat of the model up.")
    help: CommandWord | None = Field(default="/help", description="`/help` tells what can be written.")

    @model_validator(mode="after")
    def _are_distinct(self) -> Commands:
        words = [word.lower() for word in self.words]
        for word in words:
            if words.count(word) > 1:
                raise ValueError(f"two commands are called {word!r}")
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """Those that are on."""
        every = (self.call, self.think, self.say, self.fail, self.pass_on, self.send, self.leave, self.help)
        return tuple(word for word in every if word is not None)
