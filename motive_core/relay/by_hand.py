"""What an operator answers, each thing by a command of its own: an answer from typed values, checked.

Owns the making of it only. The words by which clients write the same are ``commands``' business.
"""

from __future__ import annotations

from motive_core.ir import TextPart
from motive_core.relay.commands import checked_failure, checked_text, checked_tool_call
from motive_core.relay.words import text_digest
from motive_core.session import Answer, Terms


def said(text: str, terms: Terms) -> Answer:
    """These words, as they stand. Raises ``CommandError`` where the app asked for JSON and they are none that fits."""
    return Answer((TextPart(checked_text(text, terms.response_format)),), text_digest(text))


def called(name: str, arguments: str, terms: Terms, call_id: str) -> Answer:
    """A call of one of the app's tools. Raises ``CommandError`` if there is no such tool, or its JSON Schema does not
    fit."""
    return Answer((checked_tool_call(name, arguments, terms.tools, call_id),), text_digest(f"{name} {arguments}"))


def failed(status: int, message: str) -> Answer:
    """An error in the place of a reply. Raises ``CommandError`` for a status that is none of an error."""
    return Answer((), text_digest(f"{status} {message}"), checked_failure(status, message))
