"""What the real service said to a call that passed: kept as it came, and read when somebody looks.

Owns how it is read. Nobody waits for it: a reply that cannot be read is one of which it is said why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from motive_core.content import decode_body
from motive_core.dialects import dialect_named, is_stream_type, put_together
from motive_core.errors import FramingError, MotiveError
from motive_core.exchange import told_error
from motive_core.ir import Reply

MOST_BYTES: Final = 1024 * 1024
"""What is kept of one reply at most, as it came: a larger one is not kept."""
_PROBLEM_CHARACTERS: Final = 2000
_UNPACKED_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Overheard:
    """A reply as the app got it, ``body`` in its content encodings. ``problem`` is why it is not there or not whole;
    ``status`` is None if there was none."""

    status: int | None
    content_type: str = ""
    content_encoding: str = ""
    body: bytes = b""
    problem: str = ""


def read(said: Overheard, dialect: str, *, streamed: bool) -> tuple[Reply | None, str]:
    """The message in it, if it is one, and why it is none or not all of one (else empty). ``streamed`` is whether the
    app asked for a stream. Never raises for what is in it."""
    if not said.body:
        return None, said.problem
    spoken = dialect_named(dialect)
    try:
        body = decode_body(said.body, said.content_encoding, _UNPACKED_BYTES).strip()
        if said.status is None or said.status >= 400:
            return None, told_error(said.status or 502, {}, body).message[:_PROBLEM_CHARACTERS]
        if not is_stream_type(said.content_type) and not (streamed and not body.startswith(b"{")):
            return spoken.parse_reply(body), said.problem
        found = put_together(spoken, body)
    except (MotiveError, FramingError) as error:
        return None, f"It cannot be read: {error}"
    return found.reply, (found.problem or said.problem)[:_PROBLEM_CHARACTERS]
