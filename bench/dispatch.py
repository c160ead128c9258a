"""``python -m bench.dispatch``: what fast dispatch alone is worth, on this machine.

Two mitmdump processes with mitmproxy's default addons answer every request with a constant; one of them dispatches
fast. They are measured one right after the other in each round, and the ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final, Literal

from bench.constant import REPLY
from bench.load import Measured, Repeat
from bench.proxies import MITMDUMP, REPOSITORY

type Dispatch = Literal["stock", "fast"]

_SCRIPTS: Final[dict[Dispatch, str]] = {
    "stock": "",
    "fast": """
from mitmproxy import ctx
from motive_shell.fast_dispatch import FastDispatch

def load(loader):
    assert FastDispatch(ctx.master.addons).install()
""",
}
_PORT: Final = """
import os
from pathlib import Path
from mitmproxy import ctx

def running():
    told = Path(__file__).with_suffix(".port")
    new = told.with_suffix(".new")
    new.write_text(str(ctx.master.addons.get("proxyserver").listen_addrs()[0][1]))
    os.replace(new, told)
"""
_CONNECTIONS: Final = 8
_DEADLINE_S: Final = 60.0


@contextlib.contextmanager
def mitmdump(dispatch: Dispatch, folder: Path) -> Iterator[tuple[int, int]]:
    """A running process that answers with ``REPLY``: its id and its port."""
    script = folder / f"{dispatch}.py"
    script.write_text(_SCRIPTS[dispatch] + _PORT, encoding="utf-8")
    told = script.with_suffix(".port")
    told.unlink(missing_ok=True)
    settings = ["listen_host=127.0.0.1", "listen_port=0", "connection_strategy=lazy", f"confdir={folder}"]
    command = [*MITMDUMP, "-q", "-s", str(script), "-s", str(Path(__file__).with_name("constant.py"))]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "addons")}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + _DEADLINE_S
            while not told.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"mitmdump with {dispatch} dispatch did not start")
                time.sleep(0.01)
            yield process.pid, int(told.read_text())
        finally:
            process.terminate()


def measure(work: Repeat) -> Measured:
    """Let the load generator do this in a process of its own."""
    argument = json.dumps(asdict(work) | {"work": "Repeat"})
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", argument],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
        timeout=_DEADLINE_S + work.warm_up_s + work.measure_s,
    )
    return Measured(**json.loads(done.stdout))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench.dispatch", description="Measure mitmproxy's dispatch beside the fast.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    given = parser.parse_args()
    taken: dict[tuple[bool, Dispatch], list[Measured]] = {}
    orders: tuple[tuple[Dispatch, Dispatch], ...] = (("stock", "fast"), ("fast", "stock"))
    with tempfile.TemporaryDirectory(prefix="motive-bench-") as folder:
        for number in range(given.rounds):
            with contextlib.ExitStack() as stack:
                order = orders[number % 2]
                processes = {dispatch: stack.enter_context(mitmdump(dispatch, Path(folder))) for dispatch in order}
                for tls in (False, True):
                    target = f"constant.test:{443 if tls else 80}"
                    for dispatch, (pid, port) in processes.items():
                        work = Repeat(port, pid, _CONNECTIONS, 0.5, given.seconds, REPLY.decode(), target, tls)
                        taken.setdefault((tls, dispatch), []).append(measure(work))
    print(f"constant replies, {_CONNECTIONS} keep-alive connections, median (least-most) of {given.rounds} rounds")
    print(f"{'':8}{'stock, requests/s':>22}{'fast, requests/s':>22}{'ratio':>18}{'ratio by CPU time':>20}")
    for tls in (False, True):
        stock, fast = taken[tls, "stock"], taken[tls, "fast"]
        pairs = list(zip(stock, fast, strict=True))
        ratios = [ours.per_second / theirs.per_second for theirs, ours in pairs]
        print(
            f"{'TLS' if tls else 'plain':8}{rates(stock):>22}{rates(fast):>22}"
            f"{f'{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})':>18}{by_processor(pairs):>20}"
        )


def rates(taken: list[Measured]) -> str:
    """Replies per second: median, least and most."""
    values = [measured.per_second for measured in taken]
    return f"{median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def by_processor(pairs: list[tuple[Measured, Measured]]) -> str:
    """Replies per second of processor time, relative; empty where the system does not tell processor time."""
    ratios = [theirs.processor_us / ours.processor_us for theirs, ours in pairs if ours.processor_us]
    return f"{median(ratios):.2f}" if ratios else ""


if __name__ == "__main__":
    main()
