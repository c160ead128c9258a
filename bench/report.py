"""How figures are shown: as a table in the terminal, and as the table of the README.

Owns the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from bench.figures import BASELINE, VARIANTS, Exchange, Results, Series, name_of, verdicts
from bench.held import Ending, Held
from bench.proxies import Variant
from bench.sources import lines, markdown_rows

_ENDING: Final[dict[Ending, str]] = {
    "answer": "one prompt, answered",
    "close": "one session, ended",
    "exit": "a session each, exit",
}
_EXCHANGE: Final[dict[Exchange, str]] = {
    "pass-through": "Pass-through, requests/s",
    "pass-through, TLS": "Pass-through over TLS, requests/s",
    "paired": "Paired call, requests/s",
}


_COLUMNS: Final[tuple[Variant, ...]] = ("plain", *VARIANTS)


def terminal(results: Results) -> str:
    """All figures, for the eyes."""
    return "\n".join(_terminal(results))


def _terminal(results: Results) -> Iterator[str]:
    yield results.machine
    if results.generator is not None:
        yield (
            f"load generator against a trivial server: {results.generator.per_second:,.0f} requests/s, "
            f"{results.generator.generator_share:.0%} of a processor"
        )
    exchange = ""
    for series in results.series:
        if series.exchange != exchange:
            exchange = series.exchange
            yield ""
            yield (
                f"{exchange:34} {'at once':>7} {'/s':>6} {'least':>6} {'most':>6} {'p50 ms':>7} {'p99 ms':>7}"
                f" {'CPU us':>6}   ratio (least-most), by CPU time"
            )
        for variant in (BASELINE[series.exchange], *VARIANTS):
            yield _line(series, variant)
    if results.durability:
        yield ""
        yield "paired calls, sessions in SQLite beside sessions in memory"
        for cost in results.durability:
            ours, theirs = (median(m.p99_ms for m in kind) for kind in (cost.sqlite, cost.memory))
            yield (
                f"  {cost.calls:3} at once: {cost.ratio:.2f} of the rate, {cost.extra_us:+.0f} us of processor time a "
                f"reply, p99 {ours:.1f} ms beside {theirs:.1f} ms"
            )
    if results.started_s:
        yield ""
        yield "start-up: " + ", ".join(
            f"{name_of(variant)} {median(seconds):.2f} s" for variant, seconds in results.started_s.items()
        )
    for variant, held in results.held.items():
        yield ""
        yield f"held calls: {name_of(variant)}"
        for one in held:
            yield (
                f"  {one.count} calls, {_ENDING[one.ending]:22} {one.held_kib:5.1f} KiB a call "
                f"({one.idle_kib:.1f} of it the connection), held after {one.hold_s:.2f} s, "
                f"all ended after {one.end_s:.2f} s"
            )
    for variant, growth in results.growth.items():
        yield ""
        yield f"memory over turns: {name_of(variant)}"
        for grown in growth:
            samples = ", ".join(
                f"{turns}: {kib / 1024:.1f}" for turns, kib in zip(grown.turns, grown.resident_kib, strict=True)
            )
            yield f"  {grown.sessions:3} sessions, MiB by turn: {samples} ({grown.grown_kib:+} KiB in the end)"
    yield from lines(results.streams)
    yield ""
    for verdict in verdicts(results):
        yield f"{'met   ' if verdict.met else 'MISSED'}  {verdict.goal}: {verdict.figure}"


def _line(series: Series, variant: Variant) -> str:
    least, most = series.spread(variant)
    line = (
        f"  {name_of(variant):32} {series.calls:7} {series.per_second(variant):6.0f} {least:6.0f} {most:6.0f}"
        f" {series.p50_ms(variant):7.2f} {series.p99_ms(variant):7.2f} {series.processor_us(variant):6.0f}"
    )
    if variant not in VARIANTS:
        return line
    ratios = series.ratios(variant)
    return (
        f"{line}   {series.ratio(variant):.2f} ({min(ratios):.2f}-{max(ratios):.2f}),"
        f" {series.processor_ratio(variant):.2f}"
    )


def markdown(results: Results) -> str:
    """The table of the README."""
    rows: list[Sequence[str]] = []
    for series in results.series:
        baseline = BASELINE[series.exchange]
        theirs = f"{series.per_second(baseline):,.0f}"
        latency = (_latency(series, variant) for variant in (baseline, *VARIANTS))
        rates = [
            f"{series.per_second(variant):,.0f}, **{series.ratio(variant):.2f}** of {name_of(baseline)}"
            if variant == "motive"
            else f"{series.per_second(variant):,.0f}, {series.ratio(variant):.2f}"
            for variant in VARIANTS
        ]
        rows.append((f"{_EXCHANGE[series.exchange]}, {series.calls} at a time", theirs, *rates))
        rows.append(("– p50 / p99, ms", *latency))
    if started := results.started_s:
        rows.append(("Start-up, s", *(f"{median(started[variant]):.2f}" for variant in _COLUMNS)))
    for index, ending in enumerate(_ENDING):
        held = [results.held[variant][index] for variant in VARIANTS if variant in results.held]
        if held:
            rows.append((f"Memory of a held call, KiB ({_HOW[ending]})", "", *(f"{one.held_kib:.0f}" for one in held)))
            rows.append((f"– all {held[0].count:,} ended, s", "", *(_ended(one) for one in held)))
    for index in range(len(next(iter(results.growth.values()), ()))):
        grown = [results.growth[variant][index] for variant in VARIANTS]
        sessions = f"{grown[0].sessions} session{'s' if grown[0].sessions > 1 else ''}"
        label = f"Memory at turn {', '.join(f'{turns:,}' for turns in grown[0].turns)}, MiB ({sessions})"
        rows.append((label, "", *(", ".join(f"{kib / 1024:.1f}" for kib in one.resident_kib) for one in grown)))
    told = [results.machine]
    if rows:
        told += ["", *_table(("", "mitmproxy", "Motive", "Motive, `fast_dispatch: off`"), rows)]
    if streams := list(markdown_rows(results.streams)):
        told += ["", *_table(streams[0], streams[1:])]
    return "\n".join(told)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]


_HOW: Final[dict[Ending, str]] = {
    "answer": "all carry one prompt",
    "close": "a prompt each, one session",
    "exit": "a session each",
}


def _latency(series: Series, variant: Variant) -> str:
    return f"{series.p50_ms(variant):.1f} / {series.p99_ms(variant):.1f}"


def _ended(held: Held) -> str:
    return f"{held.end_s:.2f}"
