"""How soon a call is on the console's page, and how the page is with many of them: in a real browser.

Run as ``python -m bench.console``. It needs Chromium. 500 sessions make 10,000 calls that pass, and 100 more have one
that waits; then single calls come, and the time from sending each to its being in the page's list is measured, by the
clock that both have.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx

from bench.__main__ import machine, site
from bench.calls import ADMIN_TOKEN
from bench.process import allow_open_files
from bench.proxies import Proxy, Site, running
from tests.e2e.chromium import CHROMIUM, Tab, chromium

_AT_ONCE: Final = 32
_ENTER: Final = (
    f"fetch('/console/login', {{method: 'POST', headers: {{'x-admin-token': '{ADMIN_TOKEN}'}}}})"
    ".then((it) => it.status)"
)
_WATCH: Final = """
window.seenAt = {};
new MutationObserver(() => {
  for (const row of document.querySelectorAll('#rows li')) {
    seenAt[row.dataset.key] ??= performance.timeOrigin + performance.now();
  }
}).observe(document.getElementById('rows'), {childList: true, subtree: true});
"""
_SEARCH: Final = """
new Promise((done) => {
  const began = performance.now();
  new MutationObserver((_, me) => { me.disconnect(); done(performance.now() - began); })
    .observe(document.getElementById('rows'), {childList: true});
  const field = document.getElementById('search');
  field.value = %s;
  field.dispatchEvent(new Event('input'));
})
"""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _fill(proxy: Proxy, shared: Site, sessions: int, calls: int) -> None:
    """Calls by the forward proxy that pass."""
    url = f"http://127.0.0.1:{shared.plain_port}/v1/chat/completions"
    limits = httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE)
    numbers = iter(range(calls))
    async with httpx.AsyncClient(
        proxy=f"http://127.0.0.1:{proxy.forward_port}", limits=limits, timeout=60, trust_env=False
    ) as client:

        async def work() -> None:
            for number in numbers:
                reply = await client.post(url, json=_body(f"agent-{number % sessions}", f"Turn {number}."))
                reply.raise_for_status()
                if number % 1000 == 999:
                    _say(f"{number + 1} calls")

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


def _body(model: str, text: str) -> dict[str, object]:
    system = {"role": "system", "content": "You are one of many agents. Answer in one sentence."}
    return {"model": model, "messages": [system, {"role": "user", "content": text}]}


async def _held(client: httpx.AsyncClient, model: str) -> None:
    await client.post("/v1/chat/completions", json=_body(model, "Who answers?"))


async def _arrivals(tab: Tab, client: httpx.AsyncClient, count: int) -> tuple[list[float], list[asyncio.Task[None]]]:
    """Milliseconds from sending a call to its row."""
    taken, open_calls = [], []
    for number in range(count):
        name = f"fresh-{number}-{time.time_ns()}"
        began = time.time() * 1000
        open_calls.append(asyncio.create_task(_held(client, name)))
        seen = await tab.until(f"window.seenAt[{json.dumps(name)}]")
        taken.append(seen - began)
        await asyncio.sleep(0.1)
    return taken, open_calls


async def _measured(what: Callable[[], Awaitable[float]], times: int) -> list[float]:
    return [await what() for _ in range(times)]


async def measure(proxy: Proxy, shared: Site, folder: Path, given: argparse.Namespace) -> list[str]:
    """The rows of the table."""
    sessions, calls, samples = given.sessions, given.calls, given.samples
    address = f"http://127.0.0.1:{proxy.meeting_port}"
    limits = httpx.Limits(max_connections=1000)
    rows = []
    async with (
        httpx.AsyncClient(base_url=address, limits=limits, timeout=600, trust_env=False) as client,
        chromium(folder / "browser") as browser,
    ):
        tab = await browser.tab()
        await tab.look(1280, 800)
        await tab.open(f"{address}/console/login")
        await tab.until("document.readyState === 'complete'")
        assert await tab.run(_ENTER) == 200
        browser.problems.clear()  # The page says 401 until one has entered.

        async def load() -> float:
            began = time.perf_counter()
            await tab.open(f"{address}/console")
            ready = "document.querySelector('#rows li') || document.getElementById('none')?.checkVisibility()"
            await tab.until(ready)
            return (time.perf_counter() - began) * 1000

        waiting: list[asyncio.Task[None]] = []
        for label, filled in (("nothing else", False), (f"{sessions} sessions, {calls:,} calls", True)):
            if filled:
                await _fill(proxy, shared, sessions, calls)
                waiting += [asyncio.create_task(_held(client, f"waits-{number}")) for number in range(sessions // 5)]
                await asyncio.sleep(3)
            loads = await _measured(load, 5)
            await tab.run(_WATCH)
            taken, more = await _arrivals(tab, client, samples)
            waiting += more
            rows += [
                f"| a call is on the page, {label}, ms: median, 95th percentile | "
                f"{statistics.median(taken):.0f}, {statistics.quantiles(taken, n=20)[-1]:.0f} |",
                f"| the page is open, {label}, ms: median | {statistics.median(loads):.0f} |",
            ]
            if filled:
                words = ("agent-4", "fresh", "waits", "")
                found = [await tab.run(_SEARCH % json.dumps(word)) for _ in range(5) for word in words]
                rows.append(
                    f"| a search is answered, {label}, ms: median (150 of them wait for the next key) | "
                    f"{statistics.median(found):.0f} |"
                )
            assert browser.problems == [], browser.problems
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return rows


def main() -> int:
    """The command. Gives its exit status."""
    parser = argparse.ArgumentParser(prog="bench.console", description="How soon a call is on the console's page.")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=40)
    given = parser.parse_args()
    if CHROMIUM is None:
        _say("bench.console needs Chromium")
        return 1
    allow_open_files(4000)
    with (
        tempfile.TemporaryDirectory(prefix="motive-bench-") as name,
        site(Path(name)) as (shared, _),
        running("motive", shared) as proxy,
    ):
        rows = asyncio.run(measure(proxy, shared, Path(name), given))
    print(machine(), "", "| | |", "| --- | --- |", *rows, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
