"""Fast messages: mitmproxy's HTTP messages without the checks of their fields' types, as under ``python -O``.

mitmproxy checks each message that it makes, unless Python runs without debug code. The check of an optional field that
is None raises an exception and catches it, and that one's traceback keeps the frames of all callers, and all that they
hold, until the garbage collector finds the cycle: with four such fields a call, that is a sixth of the time of a busy
proxy.

So one difference remains: a script that makes a message of wrong types gets no ``TypeError`` from its constructor.

This patches a private part, by the same option and for the same versions as ``fast_dispatch``. Knows nothing of Motive.
"""

from __future__ import annotations

from typing import Any, Final

from mitmproxy import http

_CHECK: Final = "__post_init__"
_stock: Final[Any] = vars(http.MessageData).get(_CHECK)


def leave_out_checks() -> None:
    """Make messages without checks from now on. Does nothing where there are none to leave out."""
    if _stock is not None and vars(http.MessageData).get(_CHECK) is _stock:
        setattr(http.MessageData, _CHECK, _no_check)


def put_checks_back() -> None:
    """Undo ``leave_out_checks``."""
    if vars(http.MessageData).get(_CHECK) is _no_check:
        setattr(http.MessageData, _CHECK, _stock)


def _no_check(_: http.MessageData) -> None:
    pass
