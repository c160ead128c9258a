"""``python -m bench.soak``: run a soak, and print what it found. See the package for what it does."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.process import allow_open_files
from bench.soak.connection import RUDE
from bench.soak.run import Outcome, Plan, Soak

_FILES: Final = 8192
_SHOWN_FAULTS: Final = 50


def table(outcome: Outcome) -> str:
    """The figures, as a table in Markdown."""
    plan, counts = outcome.plan, outcome.counts
    before, after = outcome.before, outcome.after
    rows = [
        ("Sessions of two clients", f"{plan.sessions}"),
        ("Rough weather, minutes", f"{plan.minutes:g}"),
        ("Kills, the one in the warm-up among them", f"{outcome.kills}"),
        ("Calls", f"{counts.get('calls', 0):,}"),
        ("– that the clients spoilt", f"{sum(counts.get(manner, 0) for manner in RUDE):,}"),
        ("– that ended without a reply", f"{counts.get('lost calls', 0):,}"),
        ("Prompts said", f"{outcome.prompts:,}"),
        ("– answered", f"{outcome.turns:,}"),
        ("– given up by the app", f"{counts.get('prompts given up', 0):,}"),
        ("Words lost, doubled, misdirected or out of order", f"{len(outcome.faults):,}"),
        ("Tasks, flows, connections, descriptors left", f"{len(outcome.left)}"),
    ]
    if before is not None and after is not None:
        rows += [
            ("Memory after the warm-up, MiB", f"{before.resident_kib / 1024:.1f}"),
            ("– at most", f"{outcome.peak_kib / 1024:.1f}"),
            ("– at the end", f"{after.resident_kib / 1024:.1f} ({after.resident_kib / before.resident_kib - 1:+.1%})"),
            *[
                (f"{name} after the warm-up, at the end", f"{before.counts[name]:,}, {after.counts[name]:,}")
                for name in ("objects", "allocated blocks", "small objects, KiB in use", "small objects, KiB taken")
                if name in before.counts
            ],
            ("Descriptors after the warm-up, at the end", f"{before.descriptors}, {after.descriptors}"),
            ("End after SIGTERM, s", f"{outcome.stopped_s:.2f}"),
        ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> int:
    """The command. Gives its exit status: 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="bench.soak", description="Rude clients for many minutes.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the clients are rude")
    parser.add_argument("--sessions", type=int, default=200, help="sessions of two clients each")
    parser.add_argument("--warm-up", type=float, default=60.0, metavar="S", help="seconds before memory is compared")
    parser.add_argument("--think", type=float, default=1.5, metavar="S", help="mean time before a client goes on")
    parser.add_argument("--rudeness", type=float, default=0.35, help="share of calls that go wrong")
    parser.add_argument("--kills", type=int, default=0, help="kill the proxy so often, and start it again")
    parser.add_argument("--settings", default="{}", help="more of Motive's configuration, as JSON")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random in the clients")
    parser.add_argument("--keep", type=Path, help="an empty folder for log and configuration, which stay there")
    given = parser.parse_args()
    allow_open_files(_FILES)
    plan = Plan(
        minutes=given.minutes,
        sessions=given.sessions,
        seed=given.seed,
        warm_up_s=given.warm_up,
        think_s=given.think,
        rudeness=given.rudeness,
        kills=given.kills,
        settings=json.loads(given.settings),
    )

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="motive-soak-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(Soak(plan, folder, say).run())
    for what, count in sorted(outcome.counts.items()):
        say(f"{what:>40}  {count}")
    for found in (*outcome.faults[:_SHOWN_FAULTS], *(f"left: {one}" for one in outcome.left)):
        say(found)
    print(table(outcome))
    print("\nsound" if outcome.sound else "\nNOT SOUND")
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
