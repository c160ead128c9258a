"""Two clients meet in a session, and each is answered with what the other said."""

from __future__ import annotations

from motive_core.pairing.held import HeldCalls
from motive_core.pairing.pair import NOTICES, Pairing, Spawn, Spoken, is_urgent

__all__ = ["NOTICES", "HeldCalls", "Pairing", "Spawn", "Spoken", "is_urgent"]
