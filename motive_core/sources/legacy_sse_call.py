"""One call of a legacy search API: a GET, and the bytes of its reply as they come.

Owns what such a call is. Knows neither what is asked nor what is told.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from motive_core.upstream import Http, refusal, sent, timely


async def called(
    http: Http, url: str, headers: Mapping[str, str], *, connect_timeout_s: float, idle_timeout_s: float
) -> AsyncGenerator[bytes]:
    """The body of the reply. ``idle_timeout_s`` is how long it may be silent once its head is here; until then, the
    caller has a deadline. Raises ``MotiveError`` where there is no such reply, and where it is cut."""
    response = await sent(http, "GET", url, headers=headers, connect_timeout_s=connect_timeout_s)
    try:
        if response.status_code != 200:
            raise await refusal(response)
        async with aclosing(timely(aiter(response.aiter_bytes()), idle_timeout_s)) as told:
            async for data in told:
                yield data
    finally:
        await response.aclose()
