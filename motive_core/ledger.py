"""What became of each call: one line in the log and one count in the metrics, at its end.

Owns which ends there are, and the fields of the line. No body, no credential and no words of either side stand in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, Protocol

from motive_core.dialects import Dialect
from motive_core.errors import MotiveError, PayloadTooLargeError, TooManyRequestsError
from motive_core.exchange import Ending, Exchange, Listener
from motive_core.log_lines import LogLine
from motive_core.metrics import Metrics, Source

logger = logging.getLogger(__name__)

type Outcome = Ending | Literal["released", "undelivered", "cut"]


class Calls(Protocol):
    """Keeps what became of calls."""

    def ended(self, exchange: Exchange, outcome: str) -> None:
        """An exchange is over."""
        ...


class Ledger:
    """``clock`` is that of the exchanges' arrivals."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self.calls: Calls | None = None
        """Is told of each exchange's end, too."""

    def ended(self, exchange: Exchange, outcome: Outcome) -> None:
        """An exchange is over."""
        if self.calls is not None:
            self.calls.ended(exchange, outcome)
        decided_at = exchange.decided_at
        waited_s = (self._clock() if decided_at is None else decided_at) - exchange.arrived_at
        if exchange.source in ("pair", "review", "operator") and (outcome != "passed" or decided_at is not None):
            self._metrics.held(waited_s)
        self._tell(
            exchange.exchange,
            exchange.listener,
            exchange.dialect,
            exchange.client_host,
            source=exchange.source,
            outcome=outcome,
            session=exchange.session,
            waited_s=waited_s,
            status=exchange.status,
            error=exchange.error.code if exchange.error is not None else None,
        )

    def passed(self, exchange: str, listener: Listener, dialect: Dialect, client: str, source: Source = "none") -> None:
        """A call went to its real service before it became an exchange."""
        self._tell(exchange, listener, dialect, client, source=source, outcome="passed")

    def refused(
        self,
        exchange: str,
        listener: Listener,
        dialect: Dialect,
        client: str,
        *,
        error: MotiveError,
        source: Source = "none",
    ) -> None:
        """A call ended with an error before it became an exchange."""
        self.over_limit(error)
        status = dialect.error_status(error)
        self._tell(
            exchange, listener, dialect, client, source=source, outcome="failed", status=status, error=error.code
        )

    def over_limit(self, error: MotiveError) -> None:
        """Count the limit that an error tells of, if it does."""
        if isinstance(error, TooManyRequestsError):
            self._metrics.limit_hit(error.limit)
        elif isinstance(error, PayloadTooLargeError):
            self._metrics.limit_hit("body")

    def _tell(
        self,
        exchange: str,
        listener: Listener,
        dialect: Dialect,
        client: str,
        *,
        source: str,
        outcome: Outcome,
        error: str | None = None,
        **more: str | float | None,
    ) -> None:
        self._metrics.ended(dialect.name, listener, source, outcome)
        if error is not None:
            self._metrics.error(error)
        # mitmproxy has a line for each call that only passes, too.
        level = logging.DEBUG if outcome == "passed" else logging.INFO
        if logger.isEnabledFor(level):
            fields = {"dialect": dialect.name, "listener": listener, "client": client, "source": source}
            logger.log(level, LogLine("call ended", exchange=exchange, outcome=outcome, **fields, **more, error=error))
