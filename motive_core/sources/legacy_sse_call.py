"""One call of a legacy search API: a GET, and the bytes of its reply as they come.

Owns how long the reply may be silent. Knows neither what is asked nor what is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import httpx

from motive_core.errors import UpstreamError
from motive_core.upstream import Http, refusal, sent, why


async def called(
    http: Http, url: str, headers: Mapping[str, str], *, connect_timeout_s: float, idle_timeout_s: float
) -> AsyncGenerator[bytes]:
    """The body of the reply. ``idle_timeout_s`` is how long it may be silent once its head is here; until then, the
    caller has a deadline. Raises ``MotiveError`` where there is no such reply, and where it is cut."""
    response = await sent(http, "GET", url, headers=headers, connect_timeout_s=connect_timeout_s)
    try:
        if response.status_code != 200:
            raise await refusal(response)
        pieces = aiter(response.aiter_bytes())
        while True:
            try:
                async with asyncio.timeout(idle_timeout_s):
                    data = await anext(pieces, None)
            except TimeoutError:
                raise UpstreamError("The service fell silent in the middle.", code="upstream_timeout") from None
            except httpx.HTTPError as error:
                raise UpstreamError(f"The service's reply was cut off: {why(error)}.") from error
            if data is None:
                return
            yield data
    finally:
        await response.aclose()
