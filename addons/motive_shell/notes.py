"""What a flow's line in a list shows of its call: its mark, its comment, and metadata that filters find.

Owns how they are written. What the operator wrote there itself is left alone. Nothing secret stands in them.
"""

from __future__ import annotations

from typing import Final

from mitmproxy import http

from motive_core.config import encodable
from motive_core.dialects import Dialect
from motive_core.exchange import Ending, Exchange

SESSION: Final = "motive.session"
STATE: Final = "motive.state"
SOURCE: Final = "motive.source"
DIALECT: Final = "motive.dialect"
EXCHANGE: Final = "motive.exchange"
WAITED_S: Final = "motive.waited_s"

HELD: Final = ":hourglass_flowing_sand:"
ANSWERED: Final = ":speech_balloon:"
FAILED: Final = ":x:"
_MARKS: Final = {"held": HELD, "answered": ANSWERED, "failed": FAILED, "cut": FAILED}
_OURS: Final = frozenset({"", *_MARKS.values()})

_ENDINGS: Final[dict[Ending, str]] = {
    "replied": "answered",
    "noticed": "noticed",
    "failed": "failed",
    "passed": "passed",
    "gone": "gone",
}


def state_of(exchange: Exchange) -> str:
    """What has become of a call: ``held``, ``listening`` (the answerer's, which waits for a prompt), ``prompted`` (it
    got one), ``answered``, ``noticed`` (by a word of Motive's own), ``failed``, ``cut``, ``passed`` or ``gone``."""
    if exchange.ending is None:
        return "listening" if exchange.listens else "held"
    if exchange.cut_by is not None:
        return "cut"
    return "prompted" if exchange.outcome == "prompted" else _ENDINGS[exchange.ending]


def note_exchange(flow: http.HTTPFlow, exchange: Exchange, waited_s: float, told: str = "") -> str:
    """Write what is known of a call into its flow. ``told`` is what was written as its comment before; gives what is
    now. A comment or a mark of the operator's own stays."""
    state = state_of(exchange)
    source = "service" if exchange.ending == "passed" else exchange.answered_by or exchange.source
    flow.metadata |= {
        SESSION: encodable(exchange.session),
        STATE: state,
        SOURCE: source,
        DIALECT: exchange.dialect.name,
        EXCHANGE: exchange.exchange,
        WAITED_S: round(waited_s, 3),
    }
    if flow.marked in _OURS:
        flow.marked = _MARKS.get(state, "")
    comment = encodable(_comment(exchange, state, waited_s))
    if flow.comment == told:
        flow.comment = comment
    return comment


def _comment(exchange: Exchange, state: str, waited_s: float) -> str:
    session, who = exchange.session, exchange.answered_by
    match state:
        case "held":
            return f"held for {session}, {waited_s:.0f} s"
        case "listening":
            return f"listens in {session}, {waited_s:.0f} s"
        case "passed" if not who:
            return f"passed for {session}"
        case "gone":
            return f"client left {session}, {waited_s:.1f} s"
        case _:
            what = exchange.outcome or state
    if exchange.error is not None:
        what = f"{what} ({exchange.error.code})"
    return f"{what} by {who} for {session}, {waited_s:.1f} s" if who else f"{what} for {session}, {waited_s:.1f} s"


def note_passed(flow: http.HTTPFlow, dialect: Dialect, exchange: str) -> None:
    """Write into a flow that its call passes by its route, without having come to a session."""
    flow.metadata |= {STATE: "passed", SOURCE: "service", DIALECT: dialect.name, EXCHANGE: exchange}
    if not flow.comment:
        flow.comment = "passed"
