"""Where things are, in a checkout and where the project was installed as a package.

Owns those paths. In a checkout ``config.yaml`` and ``.env`` stand beside ``run.sh``; an installed Motive has a folder
of the user's for its configuration, and no ``.env``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""The checkout, or the folder of packages."""

NODE_PRELOAD: Final = Path(__file__).resolve().with_name("node_proxy.cjs")
MOCK_CONFIG: Final = Path(__file__).resolve().with_name("mock.yaml")


def is_checkout() -> bool:
    """Whether this is a checkout, with a ``run.sh``."""
    return (ROOT / "addons" / "motive.py").exists()


def command(words: str) -> str:
    """A command as its user types it: ``./run.sh exec``, say."""
    return f"{'./run.sh' if is_checkout() else 'motive'} {words}"


def entry() -> Path:
    """The script for ``mitmdump -s``."""
    return ROOT / ("addons" if is_checkout() else "motive_addons") / "motive.py"


def settings_folder(env: Mapping[str, str]) -> Path:
    """The folder of the configuration that is read if none is named. It need not exist."""
    if is_checkout():
        return ROOT
    home = env.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "motive"


def dotenv_of(folder: Path) -> Path | None:
    """The ``.env`` that stands beside a configuration which was not named: that of the checkout, which the addon reads,
    too."""
    return folder / ".env" if is_checkout() else None
