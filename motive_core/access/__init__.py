"""Who may do what at the meeting point: keys, the operator's token, and pages in browsers.

Nothing of this is asked of calls that came by the forward proxy: they carry the credentials of real services.
"""

from __future__ import annotations

from motive_core.access.caller import ANYBODY, Caller, Rank
from motive_core.access.guard import Guard
from motive_core.access.operators import is_operators
from motive_core.access.pages import INTERNAL_HOST, Pages, is_preflight

__all__ = ["ANYBODY", "INTERNAL_HOST", "Caller", "Guard", "Pages", "Rank", "is_operators", "is_preflight"]
