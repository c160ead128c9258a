"""The calls of sessions that a person took over, in a file: their transcripts outlive the process.

Owns the form of the file and its size: JSON Lines, one for each call; a later line takes the place of an earlier one of
the same call. What both sides said is in it, so nobody else may read it; credentials are not. A file that cannot be
written is logged, and costs nobody an answer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from motive_core.console.calls import CallRecord, size_of
from motive_core.ir import ChatRequest, Json, Reply, Tool
from motive_core.kept import public
from motive_core.part_sizes import bytes_of
from motive_core.state_json import dump, json_bytes, json_value, load

logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 64 * 1024 * 1024
_KEPT_BYTES: Final = 16 * 1024 * 1024
"""What is left of a file that has become too large: its end."""
_LINE_BYTES: Final = 4 * 1024 * 1024
"""A longer call is not written."""
_REQUEST: Final = tuple(one.name for one in fields(ChatRequest) if one.name not in ("raw", "extra"))
"""Nobody is shown the rest of it, which may hold what lets a service in elsewhere."""
_PLAIN: Final = (
    "call",
    "session",
    "app",
    "client",
    "listener",
    "dialect",
    "model",
    "stream",
    "title",
    "at",
    "can_pass",
    "answered_by",
    "state",
    "source",
    "role",
    "prompt",
    "ended_at",
    "status",
    "error",
    "problem",
    "by",
    "draft_kind",
    "draft_why",
)
_ENDED: Final = ("answered", "noticed", "failed", "passed", "gone")


class Archive:
    """See the module. ``path`` is None where nothing is to outlive the process."""

    def __init__(
        self, path: Path | None = None, *, most_bytes: int = _MOST_BYTES, kept_bytes: int = _KEPT_BYTES
    ) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._kept_bytes = kept_bytes
        self._failed = False

    def write(self, record: CallRecord) -> None:
        """Write a call that has ended, or what has become known of it since."""
        if self._path is None or record.request is None:
            return
        try:
            line = _line(record)
        except ValueError as error:
            logger.warning("call not archived exchange=%s error=%s", record.call, error)
            return
        if len(line) > _LINE_BYTES:
            logger.info("call not archived exchange=%s bytes=%d", record.call, len(line))
            return
        try:
            self._append(self._path, line)
        except OSError as error:
            if not self._failed:
                logger.warning("transcripts are not written: a restart loses them error=%s", error)
            self._failed = True
        else:
            self._failed = False

    def _append(self, path: Path, line: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            # A line begins with its end: what was cut off, by a full disk or a kill, spoils nothing behind it.
            file.write(b"\n" + line)
            size = file.tell()
        if size > self._most_bytes:
            self._shorten(path)

    def _shorten(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(-self._kept_bytes, os.SEEK_END)
            rest = file.read().partition(b"\n")[2]
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(b"\n" + rest)
        new.replace(path)

    def read(self) -> list[CallRecord]:
        """The calls of the last processes, in the order in which they came. What cannot be read is left out."""
        found: dict[str, CallRecord] = {}
        broken = 0
        for line in self._lines():
            try:
                record = _record(json_value(line))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                broken += 1
            else:
                found[record.call] = record
        if broken:
            logger.warning("transcripts not read whole path=%s lines=%d", self._path, broken)
        return sorted(found.values(), key=lambda record: record.at)

    def _lines(self) -> Iterator[bytes]:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - self._kept_bytes))
                cut = file.tell() > 0
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("transcripts not read error=%s", error)
            return
        yield from filter(None, lines[1:] if cut else lines)


def _line(record: CallRecord) -> bytes:
    assert record.request is not None
    told: dict[str, Any] = {name: getattr(record, name) for name in _PLAIN}
    tools = tuple(Tool(one.name, one.description, one.schema, public(one.raw)) for one in record.request.tools)
    told["request"] = dump(replace(record.request, tools=tools), _REQUEST)
    for name in ("said", "drafted"):
        reply: Reply | None = getattr(record, name)
        told[name] = dump(reply) if reply is not None else None
    return json_bytes(told)


def _record(told: Any) -> CallRecord:
    """Raises ``ValueError``, ``KeyError``, ``TypeError``, ``AttributeError`` or ``RecursionError`` for what is none."""
    plain = {name: told[name] for name in _PLAIN}
    texts = ("call", "session", "app", "dialect", "model", "title", "error", "problem", "by", "draft_why")
    if not all(isinstance(plain[name], str) for name in texts) or plain["state"] not in _ENDED:
        raise ValueError("no call")
    plain["at"], plain["ended_at"] = float(plain["at"]), float(plain["ended_at"])
    request = load(ChatRequest, told["request"], "request")
    said, drafted = (_reply(told[name], name) for name in ("said", "drafted"))
    size_bytes = sum(bytes_of(message.parts) for message in request.messages) + size_of(said) + size_of(drafted)
    return CallRecord(**plain, number=0, request=request, size_bytes=size_bytes, facts=None, said=said, drafted=drafted)


def _reply(told: Json, where: str) -> Reply | None:
    return load(Reply, told, where) if told is not None else None
