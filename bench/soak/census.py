"""An addon beside Motive: at SIGUSR1 it counts what the process holds, and writes it to the file ``$CENSUS``.

Owns the counting only. It looks into private parts of Motive's runtime; nothing in the product knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Final

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
        **_heap(),
        "largest kinds": dict(kinds.most_common(12)),
        "descriptors": _descriptors(),
    }


_MALLINFO: Final = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _Heap(ctypes.Structure):
    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in _MALLINFO]


def _heap() -> dict[str, int]:
    """What glibc's allocator has given out, and what it keeps though it is free, in KiB; nothing elsewhere."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return {}
    library.mallinfo2.restype = _Heap
    heap = library.mallinfo2()
    return {"heap in use, KiB": (heap.uordblks + heap.hblkhd) // 1024, "heap free, KiB": heap.fordblks // 1024}


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
