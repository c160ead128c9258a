"""A conversation of another dialect as the one prompt that a completion takes: a transcript that people can read, which
ends where the model goes on.

Owns the form of it. Knows no wire.

* If only the user has spoken, the prompt is what they said, with a blank line between messages.
* Else each message stands under its role, ``[user]`` (with the author's name, if it has one: ``[user ann]``), with a
  blank line between messages, and the last line is ``[assistant]``. A message of the assistant that is the last one has
  no line after it: it is what the model goes on with.
* What is no text becomes text (``degrade``): tool calls and their results, images, reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence

from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import Message


def transcript(messages: Sequence[Message]) -> str:
    """The prompt that a conversation is."""
    told = [(message, parts_as_text(message.parts)) for message in messages]
    told = [(message, text) for message, text in told if text]
    if all(message.role == "user" for message, _ in told):
        return "\n\n".join([text for _, text in told])
    said = "\n\n".join([f"[{_author(message)}]\n{text}" for message, text in told])
    return said if told[-1][0].role == "assistant" else f"{said}\n\n[assistant]\n"


def _author(message: Message) -> str:
    # A name on several lines would look like something said.
    name = " ".join((message.name or "").split())
    return f"{message.role} {name}" if name else message.role
