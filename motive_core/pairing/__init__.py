"""Two clients meet in a session, and each is answered with what the other said."""

from __future__ import annotations

from motive_core.pairing.held import HeldCalls, Spawn
from motive_core.pairing.pair import NOTICES, Pairing, is_urgent

__all__ = ["NOTICES", "HeldCalls", "Pairing", "Spawn", "is_urgent"]
