"""What was measured, and what follows from it: medians, ratios, and whether the goals are met.

Owns the arithmetic. A ratio is taken within each round, where both sides were measured one right after the other, and
the median of those is shown: a machine that is busy for a while then slows both sides of most rounds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final, Literal

from bench.held import Held
from bench.load import Measured
from bench.proxies import Variant
from bench.sources import GOAL_FIRST_MS, Streamed, added_first_ms

type Exchange = Literal["pass-through", "pass-through, TLS", "paired"]

BASELINE: Final[dict[Exchange, Variant]] = {
    "pass-through": "plain",
    "pass-through, TLS": "plain",
    "paired": "constant",
}
VARIANTS: Final[tuple[Variant, ...]] = ("motive", "motive-stock")

_GOAL_RATE: Final[dict[Exchange, float]] = {"pass-through": 1.0, "pass-through, TLS": 1.0, "paired": 1.4}
_GOAL_HELD_KIB: Final = 40.0
_GOAL_END_S: Final = 3.0
_GOAL_GROWTH_KIB: Final = 1024
"""What still counts as no growth, of a process of 100 MiB: an allocator is never quite still."""


@dataclass(frozen=True, slots=True)
class Series:
    """One exchange with one number of calls on their way at a time, by variant: a ``Measured`` a round."""

    exchange: Exchange
    calls: int
    rounds: dict[Variant, list[Measured]]

    def per_second(self, variant: Variant) -> float:
        """Median of replies per second."""
        return median(measured.per_second for measured in self.rounds[variant])

    def spread(self, variant: Variant) -> tuple[float, float]:
        """Least and most replies per second."""
        rates = [measured.per_second for measured in self.rounds[variant]]
        return min(rates), max(rates)

    def p50_ms(self, variant: Variant) -> float:
        """Median over the rounds of the median latency."""
        return median(measured.p50_ms for measured in self.rounds[variant])

    def p99_ms(self, variant: Variant) -> float:
        """Median over the rounds of the 99th percentile of latency."""
        return median(measured.p99_ms for measured in self.rounds[variant])

    def processor_us(self, variant: Variant) -> float:
        """Median processor time a reply."""
        return median(measured.processor_us for measured in self.rounds[variant])

    def ratios(self, variant: Variant) -> list[float]:
        """Replies per second, over those of the baseline in the same round."""
        baseline = self.rounds[BASELINE[self.exchange]]
        return [
            ours.per_second / theirs.per_second for ours, theirs in zip(self.rounds[variant], baseline, strict=True)
        ]

    def ratio(self, variant: Variant) -> float:
        """The median of ``ratios``."""
        return median(self.ratios(variant))

    def processor_ratio(self, variant: Variant) -> float:
        """How many replies the baseline's processor time for one would have paid for."""
        baseline = self.rounds[BASELINE[self.exchange]]
        pairs = zip(self.rounds[variant], baseline, strict=True)
        return median(theirs.processor_us / ours.processor_us if ours.processor_us else 0.0 for ours, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Durability:
    """What it costs that sessions are written to disk: paired calls with so many on their way at a time, a ``Measured``
    a round, one right after the other."""

    calls: int
    sqlite: list[Measured]
    memory: list[Measured]

    @property
    def ratio(self) -> float:
        """Replies per second, of those with sessions in memory: the median over the rounds."""
        return median(ours.per_second / theirs.per_second for ours, theirs in self._pairs())

    @property
    def extra_us(self) -> float:
        """Processor time that a reply costs more: the median over the rounds."""
        return median(ours.processor_us - theirs.processor_us for ours, theirs in self._pairs())

    def _pairs(self) -> list[tuple[Measured, Measured]]:
        return list(zip(self.sqlite, self.memory, strict=True))


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of a process after so many ``turns`` in all, in ``sessions`` sessions at once; KiB."""

    sessions: int
    turns: tuple[int, ...]
    resident_kib: tuple[int, ...]

    @property
    def grown_kib(self) -> int:
        """Over the last half of the turns. Before, sessions remember more with each turn, up to a bound."""
        return self.resident_kib[-1] - self.resident_kib[-2]


@dataclass(slots=True)
class Results:
    """Everything of one run."""

    machine: str
    generator: Measured | None = None
    series: list[Series] = field(default_factory=list)
    durability: list[Durability] = field(default_factory=list)
    started_s: dict[Variant, list[float]] = field(default_factory=dict)
    held: dict[Variant, list[Held]] = field(default_factory=dict)
    growth: dict[Variant, list[Growth]] = field(default_factory=dict)
    streams: list[Streamed] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it, and the ratios, as plain data."""
        told = asdict(self)
        for series, plain in zip(self.series, told["series"], strict=True):
            plain["ratios"] = {variant: series.ratios(variant) for variant in VARIANTS}
        return told


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and the worst figure that it has to hold for."""

    goal: str
    figure: str
    met: bool


def verdicts(results: Results) -> list[Verdict]:
    """The goals, which are for Motive with its fast dispatch."""
    found: list[Verdict] = []
    for exchange, least in _GOAL_RATE.items():
        of_it = [series for series in results.series if series.exchange == exchange]
        if of_it:
            worst = min(of_it, key=lambda series: series.ratio("motive"))
            ratio = worst.ratio("motive")
            goal = f"{exchange}: at least {least:g} of {_SAID[BASELINE[exchange]]}"
            found.append(Verdict(goal, f"{ratio:.2f} ({worst.calls} at a time)", ratio >= least))
    if held := results.held.get("motive"):
        largest = max(one.held_kib for one in held)
        goal = f"a held call takes at most {_GOAL_HELD_KIB:g} KiB"
        found.append(Verdict(goal, f"{largest:.1f} KiB", largest <= _GOAL_HELD_KIB))
        slowest = max(one.end_s for one in held)
        goal = f"all {held[0].count} held calls end within {_GOAL_END_S:g} s of one event"
        found.append(Verdict(goal, f"{slowest:.2f} s", slowest <= _GOAL_END_S))
    if growth := results.growth.get("motive"):
        most = max(one.grown_kib for one in growth)
        goal = f"memory does not grow over {growth[0].turns[-1]} turns"
        found.append(Verdict(goal, f"{most:+} KiB since turn {growth[0].turns[-2]}", most <= _GOAL_GROWTH_KIB))
    if (added := added_first_ms(results.streams)) is not None:
        goal = f"model adds less than {GOAL_FIRST_MS:g} ms to the first token over mitmdump alone, one call at a time"
        found.append(Verdict(goal, f"{added:.2f} ms", added < GOAL_FIRST_MS))
    return found


_SAID: Final[dict[Variant, str]] = {
    "plain": "mitmdump alone",
    "plain-streams": "mitmdump alone, streaming",
    "constant": "a script with a constant",
    "motive": "Motive",
    "motive-stock": "Motive without fast dispatch",
    "motive-memory": "Motive, sessions in memory",
}


def name_of(variant: Variant) -> str:
    """A variant as a reader knows it."""
    return _SAID[variant]
