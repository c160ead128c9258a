"""Hosts that are compatible with OpenAI, by the SDKs of their own: through a real proxy, as app and as partner.

Each meets OpenAI's own SDK; the contents are those of the matrix. What these hosts' SDKs make of single bytes is in
``test_openai_hosts_sdk``.
"""

from __future__ import annotations

import pytest

from tests.e2e.clients import Link
from tests.e2e.test_matrix import CONTENTS, meeting
from tests.e2e.voices import HOST_VOICES, Voice
from tests.e2e.voices.openai_chat import OpenAIChatVoice

each_host = pytest.mark.parametrize("host", HOST_VOICES, ids=lambda voice: voice.__name__)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("as_app", [True, False], ids=["app", "partner"])
@each_host
async def test_a_host_meets_openai(
    at_meeting: Link, session: str, host: type[Voice], *, as_app: bool, streamed: bool, content: str
) -> None:
    app, partner = (host, OpenAIChatVoice) if as_app else (OpenAIChatVoice, host)
    async with meeting(at_meeting, session, app, partner, streamed=streamed) as room:
        await CONTENTS[content](room)


@each_host
async def test_open_sessions_are_models(at_meeting: Link, session: str, host: type[Voice]) -> None:
    async with meeting(at_meeting, session, host, OpenAIChatVoice, streamed=False) as room:
        assert session in await room.app.models()
