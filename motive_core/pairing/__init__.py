"""Two clients meet in a session, and each is answered with what the other said."""

from __future__ import annotations

from motive_core.pairing.held import HeldCalls, Spawn
from motive_core.pairing.live import MOST_CHARACTERS, LiveAnswer
from motive_core.pairing.pair import Pairing, is_urgent
from motive_core.pairing.sending import send
from motive_core.pairing.told import NOTICES

__all__ = ["MOST_CHARACTERS", "NOTICES", "HeldCalls", "LiveAnswer", "Pairing", "Spawn", "is_urgent", "send"]
