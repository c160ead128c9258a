"""The command line in a process of its own, as ``run.sh`` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.e2e.proxy import REPOSITORY, START_DEADLINE_S

MOTIVE: Final = (sys.executable, "-I", str(REPOSITORY / "motive_core" / "__main__.py"))


def environment(home: Path, **more: str) -> dict[str, str]:
    """A small one, so that what the shell of the tests has does not count."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more}


def motive(*arguments: str | Path, env: Mapping[str, str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*MOTIVE, *map(str, arguments)],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_DEADLINE_S,
        check=False,
        **more,
    )
