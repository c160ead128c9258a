"""The console: a page on which a person sees the calls of apps, takes over a session, and plays the model."""

from __future__ import annotations

from motive_core.console.archive import Archive
from motive_core.console.calls import CallLog
from motive_core.console.console import Console
from motive_core.console.logins import Logins
from motive_core.console.overheard import Overheard
from motive_core.console.routes import console_routes

__all__ = ["Archive", "CallLog", "Console", "Logins", "Overheard", "console_routes"]
