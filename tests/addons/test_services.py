"""What a real service says, on its way to a reply that is being streamed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import tflow

from motive_core.errors import UpstreamError
from motive_shell import services


async def test_what_comes_behind_a_lost_piece_is_not_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_BUFFER_BYTES", 10)
    flow = tflow.tflow(resp=True)
    handler: Any = SimpleNamespace(transports={})
    call = services._Call(flow, handler)
    call.head()
    assert flow.response is not None
    take: Any = flow.response.stream
    chunks = call.chunks()
    take(b"12345678")
    take(b"lost")
    assert await anext(chunks) == b"12345678"
    take(b"behind")
    call.end(whole=True)
    with pytest.raises(UpstreamError):
        await anext(chunks)
