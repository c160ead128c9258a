"""What the console's page is told: sessions, calls, and what waits for an answer.

Owns the JSON of the lists and of one session. Reads the log of calls and the states of sessions; changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from motive_core.console.calls import CallLog, CallRecord, SessionRecord, id_of
from motive_core.console.presence import CONSOLE
from motive_core.console.shown import (
    format_as_json,
    parts_as_json,
    raw_of,
    reply_as_json,
    request_as_json,
    row_of,
    took_s,
    tools_as_json,
)
from motive_core.console.transcript import drafted_of
from motive_core.errors import NotFoundError
from motive_core.exchange import Exchange
from motive_core.pairing import Pairing
from motive_core.session import Prompt, Session, answerer_present, waits

PAGE: Final = 50
"""Rows of a list at once."""
_WAITING_SHOWN: Final = 20
_FRESH: Final = Session()


class Inbox:
    """See the module. ``held`` are the exchanges that have not ended, by id."""

    def __init__(
        self,
        log: CallLog,
        pairing: Pairing,
        held: Mapping[str, Exchange],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._pairing = pairing
        self._held = held
        self._clock = clock

    # Lists

    async def sessions(self, *, after: int = 0, words: str = "", only: str = "") -> dict[str, Any]:
        """A page of the sessions: those in which somebody waits first, the longest first, then the latest. ``only`` is
        a state; ``words`` are looked for in names, apps, models and what was said last."""
        states = await self._pairing.sessions()
        known = self._log.sessions
        names = [*reversed(known), *(name for name in states if name not in known)]
        rows = [self._session_row(name, known.get(name), states.get(name, _FRESH)) for name in names]
        waiting = sum(row["waiting_count"] for row in rows)
        rows = [row for row in rows if (not only or _is(row, only)) and _has(row, words)]
        rows.sort(key=lambda row: row["waiting"][0]["since"] if row["waiting"] else float("inf"))
        return {
            "sessions": rows[after : after + PAGE],
            "next": after + PAGE if len(rows) > after + PAGE else None,
            "total": len(rows),
            "waiting": waiting,
        }

    def calls(self, *, before: int | None = None, session: str = "", words: str = "", only: str = "") -> dict[str, Any]:
        """A page of the calls, the latest first. ``only`` is a state, ``waiting`` those that are held."""
        only = "held" if only in ("waiting", "taken") else only

        def wanted(record: CallRecord) -> bool:
            if (session and record.session != session) or not _has_words(words, record):
                return False
            return not only or self._state_of(record) == only

        found = self._log.latest(before, PAGE + 1, wanted)
        rows = [self.call_row(record) for record in found[:PAGE]]
        return {"calls": rows, "next": rows[-1]["number"] if len(found) > PAGE else None, "total": len(self._log)}

    async def waiting(self) -> int:
        """How many prompts wait, everywhere."""
        states = await self._pairing.sessions()
        return sum(waits(prompt) for state in states.values() for prompt in state.prompts)

    # Single things

    async def session_row(self, name: str) -> dict[str, Any]:
        """A session as a row."""
        return self._session_row(name, self._log.sessions.get(name), await self._pairing.state(name))

    def call_row(self, record: CallRecord) -> dict[str, Any]:
        """A call as a row."""
        return row_of(record, self._state_of(record))

    async def session(self, name: str, prompt_id: str = "", known: str = "") -> dict[str, Any]:
        """A session: its row, and what waits in it. Of that, all of one prompt, or of the first, is told: a hundred
        long conversations would be much for a page. ``known`` is the call that the page has already. Raises
        ``NotFoundError``."""
        state = await self._pairing.state(name)
        recorded = self._log.sessions.get(name)
        if recorded is None and state == _FRESH:
            raise NotFoundError("There is no such session (any more).")
        waiting = [prompt for prompt in state.prompts if waits(prompt)]
        looked_at = next((one for one in waiting if id_of(one) == prompt_id), waiting[0] if waiting else None)
        return {
            **self._session_row(name, recorded, state),
            "prompts": [
                {**self._prompt(one, state), **(self._words_of(one, known) if one is looked_at else {})}
                for one in waiting
            ],
        }

    async def call(self, call: str) -> dict[str, Any]:
        """All of a call. Raises ``NotFoundError``."""
        record, held = self._log.get(call), self._held.get(call)
        if record is None:
            raise NotFoundError("This call is not kept any more.")
        self._log.read(record)
        request = record.request or (held.request if held is not None else None)
        return {
            **self.call_row(record),
            "request": request_as_json(request) if request is not None else None,
            "reply": reply_as_json(record.said) if record.said is not None else None,
            "problem": record.problem,
            **drafted_of(record),
        }

    def raw(self, call: str) -> dict[str, Any]:
        """The body of a call. Raises ``NotFoundError``."""
        record, held = self._log.get(call), self._held.get(call)
        request = (record.request if record is not None else None) or (held.request if held is not None else None)
        if request is None or not request.raw:
            raise NotFoundError("The body of this call is not kept any more.")
        return raw_of(request)

    # How it is told

    def _session_row(self, name: str, known: SessionRecord | None, state: Session) -> dict[str, Any]:
        waiting = [prompt for prompt in state.prompts if waits(prompt)]
        latest = known.latest if known is not None else None
        return {
            "session": name,
            "app": latest.app if latest is not None else "",
            "model": latest.model if latest is not None else name,
            "dialect": latest.dialect if latest is not None else "",
            "listener": latest.listener if latest is not None else "",
            "title": latest.title if latest is not None else "",
            "latest": latest.call if latest is not None else "",
            "latest_state": self._state_of(latest) if latest is not None else "",
            "latest_status": latest.status if latest is not None else None,
            "latest_took_s": took_s(latest) if latest is not None else None,
            "at": round(latest.at, 3) if latest is not None else None,
            "calls": known.calls if known is not None else 0,
            "answered_by": latest.answered_by if latest is not None else "pair",
            "taken": bool(state.taken_by),
            "answerer": self._answerer(state),
            "waiting_count": len(waiting),
            "waiting": [
                {"prompt": id_of(one), "since": round(one.created_at, 3), "deadline": _deadline(one)}
                for one in waiting[:_WAITING_SHOWN]
            ],
        }

    def _answerer(self, state: Session) -> str:
        """Who plays the model: the operator, another client, or nobody."""
        if state.taken_by:
            return CONSOLE
        return "other" if answerer_present(state, self._clock()) else ""

    def _prompt(self, prompt: Prompt, state: Session) -> dict[str, Any]:
        exchange = self._live(prompt)
        draft = prompt.draft.reply if prompt.draft is not None else None
        return {
            "prompt": id_of(prompt),
            "since": round(prompt.created_at, 3),
            "deadline": _deadline(prompt),
            "calls": len(prompt.calls),
            "call": exchange.exchange if exchange is not None else None,
            "can_pass": prompt.draft is not None
            or (bool(prompt.calls) and all(live.rules.can_pass for live in prompt.calls)),
            "draft": reply_as_json(draft) if draft is not None else None,
            "draft_text": self._pairing.commands.text_of(draft) if draft is not None else "",
            "undecided": state.provisional,
        }

    def _words_of(self, prompt: Prompt, known: str) -> dict[str, Any]:
        """What a prompt says, and what it wants. Where its call is gone, after a restart, say, that is its
        own words."""
        exchange = self._live(prompt)
        if exchange is not None:
            return {"request": None if exchange.exchange == known else request_as_json(exchange.request)}
        return {
            "words": parts_as_json(prompt.words),
            "context": parts_as_json(prompt.context),
            "tools": tools_as_json(prompt.terms.tools),
            "format": format_as_json(prompt.terms.response_format),
        }

    def _live(self, prompt: Prompt) -> Exchange | None:
        """A call that carries it, if it has one."""
        return next((self._held[live.call] for live in prompt.calls if live.call in self._held), None)

    def _state_of(self, record: CallRecord) -> str:
        """How a call is now. One that was let go is not over until its reply has gone out."""
        if record.state != "held":
            return record.state
        exchange = self._held.get(record.call)
        if exchange is None or exchange.ending is not None:
            ending = exchange.ending if exchange is not None else None
            return "answered" if ending == "replied" else ending or "passing"
        return "listening" if record.role == "answerer" else "held"


def _deadline(prompt: Prompt) -> float | None:
    """When the first of its calls ends; for one without calls, None."""
    return round(min(live.deadline for live in prompt.calls), 3) if prompt.calls else None


def _is(row: Mapping[str, Any], only: str) -> bool:
    if only == "waiting":
        return bool(row["waiting_count"])
    if only == "taken":
        return bool(row["taken"])
    return bool(row["latest_state"] == only)


def _has(row: Mapping[str, Any], words: str) -> bool:
    told = " ".join(str(row[name]) for name in ("session", "app", "model", "title")).lower()
    return all(word in told for word in words.lower().split())


def _has_words(words: str, record: CallRecord) -> bool:
    if not words:
        return True
    told = f"{record.session} {record.app} {record.model} {record.title}".lower()
    return all(word in told for word in words.lower().split())
