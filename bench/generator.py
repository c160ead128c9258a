"""Work of the benchmarks in a process of its own, so that what makes the load is not what is measured.

Owns the process, and the way of its argument and its result. Knows no work.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from bench.load import LoadError
from bench.proxies import REPOSITORY


def generated(module: str, work: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """What the module says of this work, which it takes as JSON. Raises ``LoadError``."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(work)],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        raise LoadError(f"the load generator failed at {work}:\n{done.stderr.decode()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
