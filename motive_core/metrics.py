"""What ``/metrics`` tells, in Prometheus' text format.

Owns the series and their labels. Every value of a label comes from a set that is closed here, so that no client can
make a series, or write its words into one: whatever is not in the set is ``other``. Knows no call; whoever ends one
says so.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

from motive_core.dialects import DIALECTS
from motive_core.sources import KINDS

type Source = Literal["pair", "review", "operator", "background", "fallback", "pass", "reject", "none"]
"""Who ended a call: ``operator`` is who runs the proxy, ``fallback`` is the reply that a route has for when nobody
answers, ``pass`` and ``reject`` are routes, ``none`` is for calls that came to no source."""

type Stage = Literal["accept", "reply"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

OTHER: Final = "other"
DIALECT_NAMES: Final = frozenset(dialect.name for dialect in DIALECTS)
LISTENERS: Final = frozenset({"forward", "reverse"})
SOURCES: Final = frozenset({"pair", "review", "operator", "background", "fallback", "pass", "reject", "none", *KINDS})
OUTCOMES: Final = frozenset({"replied", "noticed", "failed", "passed", "released", "gone", "undelivered", "cut"})
LIMITS: Final = frozenset(
    {
        "rate_burst",
        "rate_minute",
        "rate_hour",
        "rate_side",
        "body",
        "sessions",
        "held",
        "held_per_client",
        "queue",
    }
)
ERROR_CODES: Final = frozenset(
    {
        "admin_token_needed",
        "answerer_left",
        "authentication_failed",
        "aws_credentials_missing",
        "aws_region_missing",
        "bad_head",
        "bad_session",
        "bad_session_id",
        "conflict",
        "extra_missing",
        "failed_by_answerer",
        "head_too_large",
        "hold_timeout",
        "idle",
        "internal_error",
        "invalid_api_key",
        "invalid_json",
        "invalid_request",
        "misfit",
        "no_config",
        "no_route",
        "no_service",
        "no_session",
        "not_found",
        "not_saved",
        "not_served",
        "nothing_to_say",
        "origin_not_allowed",
        "overloaded",
        "password_needed",
        "path_names_model",
        "payload_too_large",
        "permission_denied",
        "previous_response_not_found",
        "queue_full",
        "rate_limited",
        "rejected",
        "released",
        "request_is_signed",
        "request_timeout",
        "role_not_allowed",
        "session_busy",
        "session_closed",
        "session_full",
        "session_not_allowed",
        "shutting_down",
        "source_asks_itself",
        "starting",
        "store_failed",
        "superseded",
        "too_many_files",
        "too_many_held",
        "too_many_held_for_client",
        "too_many_routes",
        "too_many_sessions",
        "two_keys",
        "unavailable",
        "unknown_tool_call",
        "unprocessable",
        "unsupported_content",
        "unsupported_operation",
        "upstream_error",
        "upstream_failed",
        "upstream_timeout",
        "websocket_not_supported",
    }
)
"""The codes of our own errors; those by which a dialect says what is wrong with a body are ``other``."""

_HOLD_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""From a program that answers by itself to a person who has lunch."""
_ADDED_BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)


class Metrics:
    """The series of one process. ``versions`` are told as labels of ``motive_build_info``."""

    def __init__(self, versions: Mapping[str, str] | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self._exchanges = _Closed(
            Counter(
                "motive_exchanges",
                "LLM calls that ended, passed ones included.",
                ("dialect", "listener", "source", "outcome"),
                registry=registry,
            ),
            (DIALECT_NAMES, LISTENERS, SOURCES, OUTCOMES),
        )
        self._errors = _Closed(
            Counter("motive_errors", "Errors that calls ended with, by code.", ("code",), registry=registry),
            (ERROR_CODES,),
        )
        self._limits = _Closed(
            Counter("motive_limit_hits", "Calls that were over a limit.", ("limit",), registry=registry), (LIMITS,)
        )
        self._added = _Closed(
            Histogram(
                "motive_added_seconds",
                "Our own time of a call: accept is from arrival to decision, reply from there to the bytes.",
                ("stage",),
                registry=registry,
                buckets=_ADDED_BUCKETS_S,
            ),
            (frozenset({"accept", "reply"}),),
        )
        self._hold = Histogram(
            "motive_hold_seconds",
            "How long calls were held, whichever way they ended.",
            registry=registry,
            buckets=_HOLD_BUCKETS_S,
        )
        self._first_byte = Histogram(
            "motive_stream_first_byte_seconds",
            "From the arrival of a call that streams to the first bytes of a reply that we made.",
            registry=registry,
            buckets=_HOLD_BUCKETS_S,
        )
        self._turns = Counter("motive_turns", "Prompts that were answered by the other side.", registry=registry)
        self._held = Gauge("motive_held", "Calls that are held now.", registry=registry)
        self._sessions = Gauge("motive_sessions", "Sessions that are open now.", registry=registry)
        ProcessCollector(registry=registry)
        versions = {"python": platform.python_version(), **(versions or {})}
        build = Gauge("motive_build_info", "Versions.", tuple(versions), registry=registry)
        build.labels(**versions).set(1)

    def ended(self, dialect: str, listener: str, source: str, outcome: str) -> None:
        """A call ended."""
        self._exchanges.at(dialect, listener, source, outcome).inc()

    def held(self, seconds: float) -> None:
        """A call was held for so long."""
        self._hold.observe(seconds)

    def error(self, code: str) -> None:
        """A call ended with an error."""
        self._errors.at(code).inc()

    def limit_hit(self, limit: str) -> None:
        """A call was over a limit."""
        self._limits.at(limit).inc()

    def added(self, stage: Stage, seconds: float) -> None:
        """We spent this time on a call."""
        self._added.at(stage).observe(seconds)

    def first_byte(self, seconds: float) -> None:
        """A reply in a stream began."""
        self._first_byte.observe(seconds)

    def turn(self, count: int = 1) -> None:
        """So many prompts were answered."""
        self._turns.inc(count)

    def render(self, *, held: int, sessions: int) -> bytes:
        """All series, as text. Its type is ``CONTENT_TYPE``."""
        self._held.set(held)
        self._sessions.set(sessions)
        return generate_latest(_WithoutBirth(self._registry))


class _Closed:
    """A metric of several series, each value of a label out of its set."""

    def __init__(self, metric: Counter | Histogram, sets: tuple[Collection[str], ...]) -> None:
        self._metric = metric
        self._sets = sets
        self._series: dict[tuple[str, ...], Any] = {}

    def at(self, *values: str) -> Any:
        """One series."""
        try:
            return self._series[values]
        except KeyError:
            pass
        known = tuple(value if value in allowed else OTHER for value, allowed in zip(values, self._sets, strict=True))
        series = self._metric.labels(*known)
        if known == values:  # else the table would grow by what clients write
            self._series[values] = series
        return series


class _WithoutBirth:
    """A registry without the time at which each series began, which would double their number for nobody."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """See ``Collector``."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
