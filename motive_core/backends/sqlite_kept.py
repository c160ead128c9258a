"""Replies that clients may name later, in an SQLite file.

Owns the rows of kept replies. A conversation's messages are pieces, each written once, however many replies go on from
it. How long and how many are kept is not decided here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from motive_core.backends.sqlite_file import BrokenFileError, Row, SqliteFile, Table
from motive_core.dialects.base import KeptReply
from motive_core.errors import StoreError
from motive_core.ir import ChatRequest, Message, Reply
from motive_core.kept import StoredReply
from motive_core.state_json import dump, load

logger = logging.getLogger(__name__)

_REQUEST: Final = tuple(one.name for one in fields(ChatRequest) if one.name not in ("messages", "raw"))


@dataclass(slots=True)
class _Piece:
    """A message in the file, how many replies have it, and the message itself, so that its ``id`` is nobody else's."""

    row: int
    message: Message
    users: int = 0


@dataclass(slots=True)
class _Rows:
    """The row of a reply, and the messages before it."""

    row: int
    messages: list[int] = field(default_factory=list)


class SqliteKept:
    """See ``kept.KeptStore``. Raises ``BrokenFileError``."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._rows: dict[str, _Rows] = {}
        self._pieces: dict[int, _Piece] = {}
        """By ``id`` of the message."""
        self._read = list(self._replies())

    def all(self) -> list[StoredReply]:
        """See ``kept.KeptStore``."""
        read, self._read = self._read, []
        return read

    def _replies(self) -> Iterator[StoredReply]:
        pieces = dict(self._file.rows("pieces"))
        read: dict[int, Message] = {}
        try:
            for row, reply_id, credential, at, previous, size, data in self._file.rows("kept"):
                told = _value(data)
                messages = []
                for piece in told["messages"]:
                    if piece not in read:
                        read[piece] = load(Message, _value(pieces[piece]), f"piece {piece}")
                    messages.append(read[piece])
                    self._pieces.setdefault(id(read[piece]), _Piece(piece, read[piece])).users += 1
                request = replace(load(ChatRequest, told["request"], f"kept {row}"), messages=tuple(messages))
                reply = load(Reply, told["reply"], f"kept {row}")
                self._rows[reply_id] = _Rows(row, list(map(id, messages)))
                yield StoredReply(KeptReply(request, reply), credential, at, previous, size)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenFileError(f"{type(error).__name__}: {error}") from error

    def add(self, stored: StoredReply) -> None:
        """See ``kept.KeptStore``."""
        request, reply = stored.kept.request, stored.kept.reply
        changes: dict[tuple[Table, int], Row | None] = {}
        rows = _Rows(self._file.new_id())
        new: dict[int, _Piece] = {}
        for message in request.messages:
            piece = self._pieces.get(id(message)) or new.get(id(message))
            if piece is None:
                piece = new[id(message)] = _Piece(self._file.new_id(), message)
            rows.messages.append(id(message))
        try:
            for piece in new.values():
                changes["pieces", piece.row] = (_json(dump(piece.message)),)
            told = {
                "request": dump(request, _REQUEST) | {"messages": []},
                "messages": [(self._pieces.get(one) or new[one]).row for one in rows.messages],
                "reply": dump(reply),
            }
            data = _json(told)
        except (ValueError, RecursionError):
            logger.warning("a reply is kept in memory only reply=%s", reply.reply_id)
            return
        changes["kept", rows.row] = (reply.reply_id, stored.credential, stored.at, stored.previous, stored.size, data)
        self._pieces |= new
        for one in rows.messages:
            self._pieces[one].users += 1
        self._rows[reply.reply_id] = rows
        try:
            self._file.write(changes)
        except StoreError:
            self._file.write(changes, lazy=True)

    def remove(self, reply_id: str) -> None:
        """See ``kept.KeptStore``."""
        rows = self._rows.pop(reply_id, None)
        if rows is None:
            return
        changes: dict[tuple[Table, int], Row | None] = {("kept", rows.row): None}
        for one in rows.messages:
            piece = self._pieces[one]
            piece.users -= 1
            if not piece.users:
                changes["pieces", piece.row] = None
                del self._pieces[one]
        self._file.write(changes, lazy=True)


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _value(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "surrogatepass"))
