"""An addon beside Motive: at SIGUSR1 it counts what the process holds, and writes it to the file ``$CENSUS``.

Owns the counting only. It looks into private parts of Motive's runtime; nothing in the product knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from mitmproxy import ctx


def _census() -> dict[str, Any]:
    for _ in range(3):
        gc.collect()
    master: Any = ctx.master
    runtime = sys.modules["motive_shell.runtime"].runtime_of(master, None, Path())
    pair, holds = runtime.gateway.pair, runtime.holds
    proxyserver = master.addons.get("proxyserver")
    kinds = Counter(type(one).__name__ for one in gc.get_objects())
    # Those that a client left a moment ago may still be on their way out.
    tasks = Counter(task.get_name().rstrip("0123456789-") for task in asyncio.all_tasks() if not task.done())
    return {
        "tasks": sum(tasks.values()),
        "tasks by name": dict(tasks),
        "tasks of the gateway": _size(runtime.gateway, "_tasks"),
        "held calls": len(pair.held),
        "flows in hand": len(holds),
        "clients with flows": _size(holds, "_by_client"),
        "timers": _size(pair, "_timers"),
        "terms": _size(pair, "_terms"),
        "sessions heard of": _size(pair, "_touched"),
        "promised streams": len(runtime.streams),
        "requests at the origin": len(runtime.originals),
        "connections": len(proxyserver.connections),
        "flow objects": kinds["HTTPFlow"],
        "exchange objects": kinds["Exchange"],
        "client objects": kinds["Client"],
        "objects": kinds.total(),
        "allocated blocks": sys.getallocatedblocks(),
        **_small_objects(),
        "largest kinds": dict(kinds.most_common(12)),
        "descriptors": _descriptors(),
    }


def _small_objects() -> dict[str, int]:
    """What Python's allocator of small objects has taken from the system, and what of that is in use, in KiB. It gives
    an arena of 1 MiB back only when nothing at all is in it any more, so that what it has taken says how much there was
    at most. Nothing where another allocator is at work (``PYTHONMALLOC``)."""
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        told = file.read().decode()
    found = {
        "small objects, KiB taken": _ARENAS.search(told),
        "small objects, KiB in use": _IN_USE.search(told),
    }
    return {what: int(match[1].replace(",", "")) // 1024 for what, match in found.items() if match is not None}


_ARENAS: Final = re.compile(r"^\d+ arenas \* \d+ bytes/arena *= *([\d,]+)$", re.MULTILINE)
_IN_USE: Final = re.compile(r"^# bytes in allocated blocks *= *([\d,]+)$", re.MULTILINE)


def _size(owner: object, name: str) -> int:
    """The size of a private collection; 0 if there is none of this name any more."""
    return len(getattr(owner, name, ()))


def _descriptors() -> list[str]:
    """What each open descriptor is, but for the one by which this is read."""
    found = []
    for one in sorted(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            found.append(str(one.readlink()))
    return found


class Census:
    """See the module."""

    def running(self) -> None:
        """Listen for the signal."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._write)

    def _write(self) -> None:
        path = Path(os.environ["CENSUS"])
        new = path.with_suffix(".new")
        new.write_text(json.dumps(_census()))
        new.replace(path)


addons = [Census()]
