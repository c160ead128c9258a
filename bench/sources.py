"""What a source adds to a streamed reply: to its first token, to its last, and how many deltas a second it lets pass.

Owns the ways that are compared, and the arithmetic. Each way leads to the same stand-in on the same machine, within the
same round; what a way adds is the difference to the call without anything between.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final, Literal

from bench.generator import generated
from bench.proxies import REPOSITORY, Proxy, Site, running
from bench.streams import Ask, Timed

type Figure = Literal["first_ms", "first_p99_ms", "last_ms", "last_p99_ms", "deltas_per_s"]

_GENERATOR_TIMEOUT_S: Final = 120.0
DIRECT: Final = "direct"
PLAIN: Final = "plain mitmdump"
MODEL: Final = "model"
GOAL_FIRST_MS: Final = 4.0
"""What ``model`` may add to the first token over mitmdump without a script, at one call at a time."""


@dataclass(frozen=True, slots=True)
class Way:
    """A source that is measured: its name for people, its kind, and its settings, by what each service of the stand-in
    is reached at: ``{openai}`` and ``{anthropic}`` are replaced by their base URLs. A kind that there is not is left
    out."""

    name: str
    kind: str
    settings: Mapping[str, Any]

    @property
    def route(self) -> str:
        """What the names of its models begin with, and the name of its source."""
        return self.name.replace(" ", "").replace(",", "-")

    def source(self, site: Site) -> dict[str, Any]:
        """Its entry of ``sources``."""
        host = f"http://127.0.0.1:{site.plain_port}"
        text = json.dumps({"kind": self.kind, **self.settings})
        found: dict[str, Any] = json.loads(text.replace("{openai}", f"{host}/v1").replace("{anthropic}", host))
        return found


WAYS: Final[tuple[Way, ...]] = (
    Way(MODEL, "model", {"base_url": "{openai}"}),
    Way("model, translated", "model", {"base_url": "{anthropic}", "dialect": "anthropic-messages"}),
    # One model answers before the other one does; what it adds is mostly the former's time.
    Way("critique", "critique", {"base_url": "{openai}", "steps": [{}]}),
)
"""One line a source."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How much is measured: ``paced`` streams tell latency, so many ``deltas`` with ``pause_ms`` between two; ``burst``
    is the number of deltas of those that tell the rate."""

    rounds: int = 5
    at_once: tuple[int, ...] = (1, 16)
    calls: int = 60
    warm_up: int = 10
    deltas: int = 10
    pause_ms: int = 2
    burst: int = 2000
    bursts: int = 5


QUICK: Final = StreamPlan(rounds=1, calls=20, warm_up=5, bursts=2)


@dataclass(slots=True)
class Streamed:
    """Paced streams with so many calls at once, or bursts: by way, a ``Timed`` a round."""

    calls: int
    burst: bool
    rounds: dict[str, list[Timed]] = field(default_factory=dict)

    def added_ms(self, way: str, figure: Figure, over: str = DIRECT) -> float:
        """What a way adds to ``first_ms`` or ``last_ms`` of another one: the median over the rounds."""
        pairs = zip(self._all(way, figure), self._all(over, figure), strict=True)
        return median(ours - theirs for ours, theirs in pairs)

    def median_of(self, way: str, figure: Figure) -> float:
        """The median of a figure over the rounds."""
        return median(self._all(way, figure))

    def _all(self, way: str, figure: Figure) -> list[float]:
        return [float(getattr(timed, figure)) for timed in self.rounds[way]]

    def rate_ratio(self, way: str, over: str) -> float:
        """Deltas a second, of those of another way: the median over the rounds."""
        pairs = zip(self.rounds[way], self.rounds[over], strict=True)
        return median(ours.deltas_per_s / theirs.deltas_per_s for ours, theirs in pairs)


def kinds() -> set[str]:
    """The kinds of sources that there are, as Motive itself tells."""
    said = subprocess.run(
        [sys.executable, "-c", "from motive_core.sources import KINDS; print(*KINDS)"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    return set(said.stdout.split())


def measure_sources(plan: StreamPlan, site: Site, found: list[Streamed], say: Callable[[str], None]) -> None:
    """Measure every way, and put the figures into ``found``."""
    ways = [way for way in WAYS if way.kind in kinds()]
    found += [Streamed(calls, burst=False) for calls in plan.at_once] + [Streamed(1, burst=True)]
    settings = {
        "sources": {way.route: way.source(site) for way in ways},
        "routes": [{"match": {"model": f"{way.route}-*"}, "answer": way.route} for way in ways],
    }
    for number in range(plan.rounds):
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(running("plain-streams", site))
            motive = stack.enter_context(running("motive", site, settings))
            for one in found:
                for name in _turned([DIRECT, PLAIN, *(way.name for way in ways)], number):
                    timed = _timed(plan, one, name, site, (plain, motive))
                    one.rounds.setdefault(name, []).append(timed)
                    kind = "burst" if one.burst else "stream"
                    say(
                        f"round {number + 1}/{plan.rounds}: {kind}, {one.calls} at a time: "
                        f"{name} first {timed.first_ms:.2f} ms, last {timed.last_ms:.2f} ms, {timed.deltas_per_s:.0f}/s"
                    )


def lines(found: Sequence[Streamed]) -> Iterator[str]:
    """The figures, for the eyes."""
    if not found:
        return
    yield ""
    yield (
        f"{'streams':20} {'at once':>7} {'first token, ms':>15} {'added':>7} {'over plain':>10} {'p99':>7}"
        f" {'last, ms':>9} {'added':>7} {'over plain':>10}"
    )
    for one in found:
        if one.burst:
            continue
        for way in one.rounds:
            yield (
                f"  {way:18} {one.calls:7} {one.median_of(way, 'first_ms'):15.2f} {one.added_ms(way, 'first_ms'):+7.2f}"
                f" {one.added_ms(way, 'first_ms', PLAIN):+10.2f} {one.median_of(way, 'first_p99_ms'):7.2f}"
                f" {one.median_of(way, 'last_ms'):9.2f} {one.added_ms(way, 'last_ms'):+7.2f}"
                f" {one.added_ms(way, 'last_ms', PLAIN):+10.2f}"
            )
    for one in found:
        if one.burst:
            for way in one.rounds:
                rate = one.median_of(way, "deltas_per_s")
                yield f"  {way:18} {rate:10,.0f} deltas/s, {one.rate_ratio(way, PLAIN):.2f} of {PLAIN}"


def markdown_rows(found: Sequence[Streamed]) -> Iterator[Sequence[str]]:
    """The same as rows of a table, its head first."""
    names = list(found[0].rounds) if found else []
    if not names:
        return
    yield ("", *names)
    for one in found:
        if one.burst:
            rates = [f"{one.median_of(way, 'deltas_per_s'):,.0f}, {one.rate_ratio(way, PLAIN):.2f}" for way in names]
            yield (f"Deltas/s, of {PLAIN}", *rates)
            continue
        for label, figure in _LABELS.items():
            cells = [f"{one.median_of(way, figure):.1f} ({one.added_ms(way, figure, PLAIN):+.1f})" for way in names]
            yield (f"{label}, {one.calls} at a time", *cells)


def added_first_ms(found: Sequence[Streamed]) -> float | None:
    """What ``model`` adds to the first token over mitmdump alone, at one call at a time; None if not measured."""
    for one in found:
        if one.calls == 1 and not one.burst and MODEL in one.rounds:
            return one.added_ms(MODEL, "first_ms", PLAIN)
    return None


_LABELS: Final[Mapping[str, Figure]] = {"First token, ms (over mitmdump)": "first_ms", "Last token, ms": "last_ms"}


def _turned(names: Sequence[str], by: int) -> list[str]:
    """The same in another order in each round, so that none is always the one that warms up the machine."""
    start = by % len(names)
    return [*names[start:], *names[:start]]


def _timed(plan: StreamPlan, one: Streamed, name: str, site: Site, proxies: tuple[Proxy, Proxy]) -> Timed:
    count, pause_ms = (plan.burst, 0) if one.burst else (plan.deltas, plan.pause_ms)
    calls, warm_up = (plan.bursts, 1) if one.burst else (plan.calls, plan.warm_up)
    stand_in = f"127.0.0.1:{site.plain_port}"
    plain, motive = proxies
    match name:
        case "direct":
            port, target, route = site.plain_port, "", "x"
        case "plain mitmdump":
            port, target, route = plain.forward_port, stand_in, "x"
        case _:
            port, target = motive.meeting_port, ""
            route = next(way.route for way in WAYS if way.name == name)
    per_connection = max(2, calls // one.calls)
    return _generate(Ask(port, f"{route}-{count}-{pause_ms}", one.calls, per_connection, warm_up, target))


def _generate(work: Ask) -> Timed:
    return Timed(**generated("bench.streams", asdict(work), _GENERATOR_TIMEOUT_S))
