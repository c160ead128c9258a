"""The one way in which a command refuses: a line that says what to do instead."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what it was asked for. The message is one plain line."""
