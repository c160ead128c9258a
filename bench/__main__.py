"""``python -m bench``: measure Motive beside stock mitmproxy, on this machine, and print the ratios.

Owns the order of the measurements. Rounds are interleaved: in each, every process is started anew and measured in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import trustme
from mitmproxy.certs import CertStore

from bench.constant import REPLY
from bench.figures import BASELINE, VARIANTS, Durability, Exchange, Growth, Results, Series
from bench.generator import generated
from bench.held import Ending, hold
from bench.load import Converse, LoadError, Measured, Repeat
from bench.process import allow_open_files, assign, measured_and_other_processors
from bench.proxies import REPOSITORY, Proxy, Site, StartError, Variant, running
from bench.report import markdown, terminal
from bench.sources import QUICK as QUICK_STREAMS
from bench.sources import StreamPlan, measure_sources

_ALL: Final[tuple[Variant, ...]] = ("plain", "constant", *VARIANTS)
_ENDINGS: Final[tuple[Ending, ...]] = ("answer", "close", "exit")
_PARTS: Final = ("rates", "store", "held", "turns", "sources")
_GENERATOR_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. ``at_once`` are numbers of calls on their way at a time: a connection each, and for
    a paired call a second one on which the other side is held. ``turns`` are where memory is sampled."""

    rounds: int
    at_once: tuple[int, ...]
    warm_up_s: float
    measure_s: float
    held: int
    turns: tuple[int, ...]
    sessions: tuple[int, ...]
    streams: StreamPlan


FULL: Final = Plan(5, (1, 8, 64), 0.3, 1.2, 2000, (2000, 10_000, 20_000), (1, 50), StreamPlan())
QUICK: Final = Plan(1, (1, 8, 64), 0.2, 0.5, 300, (500, 1000, 2000), (1, 10), QUICK_STREAMS)


class Bench:
    """One run of a plan."""

    def __init__(self, plan: Plan, site: Site, upstream: int, results: Results) -> None:
        self._plan = plan
        self._site = site
        self._upstream = upstream
        self.results = results

    def run(self, parts: frozenset[str]) -> None:
        """Measure these parts of the plan: ``rates``, ``store``, ``held``, ``turns``, ``sources``."""
        if "rates" in parts:
            self._generator()
            self._rates()
        if "store" in parts:
            self._store()
        if "held" in parts:
            for variant in VARIANTS:
                self._held(variant)
        if "turns" in parts:
            self._turns()
        if "sources" in parts:
            measure_sources(self._plan.streams, self._site, self.results.streams, say)

    def _generator(self) -> None:
        say("the load generator itself")
        work = Repeat(self._site.plain_port, self._upstream, 64, self._plan.warm_up_s, self._plan.measure_s, "oak door")
        self.results.generator = measure(work)

    def _rates(self) -> None:
        exchanges: tuple[Exchange, ...] = ("pass-through", "pass-through, TLS", "paired")
        series = [
            Series(exchange, at_once, {variant: [] for variant in (BASELINE[exchange], *VARIANTS)})
            for exchange in exchanges
            for at_once in self._plan.at_once
        ]
        self.results.series = series
        for number in range(self._plan.rounds):
            turned = _ALL[number % len(_ALL) :] + _ALL[: number % len(_ALL)]
            with contextlib.ExitStack() as stack:
                proxies: dict[Variant, Proxy] = {}
                for variant in turned:
                    proxies[variant] = stack.enter_context(running(variant, self._site))
                    self.results.started_s.setdefault(variant, []).append(proxies[variant].started_s)
                for one in series:
                    for variant in turned:
                        if variant in one.rounds:
                            measured = self._rate(one, proxies[variant])
                            one.rounds[variant].append(measured)
                            say(
                                f"round {number + 1}/{self._plan.rounds}: {one.exchange}, {one.calls} at a time: "
                                f"{variant} {measured.per_second:.0f}/s"
                            )

    def _store(self) -> None:
        plan = self._plan
        kinds: tuple[Variant, ...] = ("motive", "motive-memory")
        self.results.durability = [Durability(calls, [], []) for calls in plan.at_once]
        for number in range(plan.rounds):
            turned = kinds if number % 2 else kinds[::-1]
            with contextlib.ExitStack() as stack:
                proxies = {variant: stack.enter_context(running(variant, self._site)) for variant in turned}
                for one in self.results.durability:
                    for variant in turned:
                        proxy = proxies[variant]
                        work = Converse(
                            proxy.meeting_port,
                            proxy.pid,
                            one.calls,
                            f"store-{one.calls}",
                            plan.warm_up_s,
                            plan.measure_s,
                        )
                        measured = measure(work)
                        (one.sqlite if variant == "motive" else one.memory).append(measured)
                        say(
                            f"round {number + 1}/{plan.rounds}: paired, {one.calls} at a time: {variant} "
                            f"{measured.per_second:.0f}/s, {measured.processor_us:.0f} us"
                        )

    def _rate(self, series: Series, proxy: Proxy) -> Measured:
        plan, site = self._plan, self._site
        if series.exchange == "paired" and proxy.variant != "constant":
            sessions = f"rate-{series.calls}"
            work: Repeat | Converse = Converse(
                proxy.meeting_port, proxy.pid, series.calls, sessions, plan.warm_up_s, plan.measure_s
            )
        elif series.exchange == "paired":
            expected = REPLY.decode()
            work = Repeat(proxy.meeting_port, proxy.pid, series.calls, plan.warm_up_s, plan.measure_s, expected)
        else:
            tls = series.exchange == "pass-through, TLS"
            work = Repeat(
                proxy.forward_port,
                proxy.pid,
                series.calls,
                plan.warm_up_s,
                plan.measure_s,
                expected="oak door",
                target=f"127.0.0.1:{site.tls_port if tls else site.plain_port}",
                tls=tls,
            )
        return measure(work)

    def _held(self, variant: Variant) -> None:
        count = self._plan.held
        settings = {
            "limits": {"max_sessions": 2 * count},
            "routes": [{"match": {"listener": "reverse"}, "queue_limit": count}],
        }
        for ending in _ENDINGS:
            say(f"{count} held calls: {variant}, {ending}")
            with running(variant, self._site, settings) as proxy:
                held = asyncio.run(hold(proxy.meeting_port, proxy.pid, count, ending))
            self.results.held.setdefault(variant, []).append(held)

    def _turns(self) -> None:
        turns = self._plan.turns
        runs = [(variant, sessions) for variant in VARIANTS for sessions in self._plan.sessions]
        say(f"{turns[-1]} turns in {self._plan.sessions} sessions at once, all variants at the same time")
        # How much memory they take does not depend on how fast they are.
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(runs)) as threads:
            work = [
                Converse(proxy.meeting_port, proxy.pid, sessions, "turns", turns=turns[-1], sample_at=turns)
                for variant, sessions in runs
                for proxy in (stack.enter_context(running(variant, self._site)),)
            ]
            for (variant, sessions), measured in zip(runs, threads.map(measure, work), strict=True):
                grown = Growth(sessions, turns, tuple(measured.resident_kib))
                self.results.growth.setdefault(variant, []).append(grown)


def measure(work: Repeat | Converse) -> Measured:
    """Let the load generator do this in a process of its own."""
    named = asdict(work) | {"work": type(work).__name__}
    return Measured(**generated("bench.load", named, _GENERATOR_TIMEOUT_S))


@contextlib.contextmanager
def site(folder: Path) -> Iterator[tuple[Site, int]]:
    """The stand-in for the real service, running, and what all proxies share. Gives its process id, too. From now on
    this process and the stand-in leave a processor to the proxies."""
    confdir = folder / "mitmproxy"
    confdir.mkdir()
    CertStore.create_store(confdir, "mitmproxy", 2048)
    authority, certificate = folder / "authority.pem", folder / "certificate.pem"
    own = trustme.CA()
    own.cert_pem.write_to_path(str(authority))
    own.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    measured, others = measured_and_other_processors()
    assign(0, others)
    command = [sys.executable, "-m", "bench.upstream", str(certificate)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as upstream:
        assert upstream.stdin is not None
        assert upstream.stdout is not None
        plain, secure = map(int, upstream.stdout.readline().split())
        try:
            yield Site(folder, confdir, authority, plain, secure, measured), upstream.pid
        finally:
            upstream.stdin.close()


def machine() -> str:
    """What it runs on."""
    model = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        names = [line.partition(":")[2].strip() for line in told.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}, "
        f"mitmproxy {version('mitmproxy')}"
    )


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """The command. Gives its exit status: 0 even if goals were missed, which the report says."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure Motive beside stock mitmproxy.")
    parser.add_argument("--quick", action="store_true", help="one short round, in less than a minute")
    parser.add_argument("--only", choices=_PARTS, action="append", help="only this part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--markdown", action="store_true", help="also print the table of the README")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    allow_open_files(4 * plan.held + 1000)
    results = Results(machine())
    with tempfile.TemporaryDirectory(prefix="motive-bench-") as folder, site(Path(folder)) as (shared, upstream):
        try:
            Bench(plan, shared, upstream, results).run(frozenset(given.only or _PARTS))
        except (LoadError, StartError) as error:
            say(f"bench: {error}")
            return 1
    print(terminal(results))
    if given.json is not None:
        given.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        print()
        print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
