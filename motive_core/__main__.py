"""``python -m motive_core``: the command line. ``run.sh`` starts this file by its path, with nothing on the path."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from motive_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
