"""Fast messages: mitmproxy's HTTP messages without what costs time and changes nothing.

*Checks of types.* mitmproxy checks every field of each message that it makes, unless Python runs without debug code
(``python -O``). The check of an optional field that is None raises an exception and catches it; that one's traceback
keeps the frames of all callers, and all that they hold, until the garbage collector finds the cycle. With four such
fields a call, that is a sixth of the time of a busy proxy. So one difference remains: a script that makes a message of
wrong types gets no ``TypeError`` from its constructor.

*Parsing of authorities.* The host of a request is taken apart, encoded and checked again by each of mitmproxy's addons
that looks at it, and there are few hosts. What the function gave is remembered.

This patches private parts, by the same option and for the same versions as ``fast_dispatch``. Knows nothing of Motive.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from mitmproxy import http
from mitmproxy.net.http import url

_CHECK: Final = "__post_init__"
_PARSE: Final = "parse_authority"
_AUTHORITIES: Final = 256

_stock_check: Final[Any] = vars(http.MessageData).get(_CHECK)
_stock_parse: Final[Any] = getattr(url, _PARSE, None)


def _no_check(_: http.MessageData) -> None:
    pass


_remembering_parse: Final[Any] = lru_cache(maxsize=_AUTHORITIES)(_stock_parse) if callable(_stock_parse) else None


def install() -> None:
    """Make messages fast from now on. Leaves alone what is not mitmproxy's own."""
    if _stock_check is not None and vars(http.MessageData).get(_CHECK) is _stock_check:
        setattr(http.MessageData, _CHECK, _no_check)
    if _remembering_parse is not None and getattr(url, _PARSE) is _stock_parse:
        setattr(url, _PARSE, _remembering_parse)


def uninstall() -> None:
    """Undo ``install``."""
    if vars(http.MessageData).get(_CHECK) is _no_check:
        setattr(http.MessageData, _CHECK, _stock_check)
    if getattr(url, _PARSE, None) is _remembering_parse is not None:
        setattr(url, _PARSE, _stock_parse)
