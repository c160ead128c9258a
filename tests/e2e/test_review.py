"""A real service's replies, seen by a person before the app has them: through a real proxy and the vendors' SDKs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
import pytest

from motive_core.ir import Part, ReasoningPart, TextPart, ToolCallPart
from tests.e2e.clients import Link, Talker, hang_up, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.reviewing import VOICES, Speaker, gated, reply_of, reviewer, told
from tests.e2e.standin import Gate, Received, Standin, Writer, openai_chunks, whole
from tests.e2e.voices import Heard, ToolSpec, Voice
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice

LOOK: Final = ToolSpec(
    "look",
    "Looks somewhere.",
    {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
)
TEXT: Final = 'Grüße!\n\n```python\ndef f():\n\treturn "\\t"\n```\n'

_HASTY: Final = {"rejoin_window_s": 0.3}
CONFIG: Final[dict[str, Any]] = {
    "sources": {"parrot": {"kind": "mock", "text": "Polly wants a cracker."}},
    "timing": {"heartbeat_after_s": 10},
    "routes": [
        {"match": {"listener": "forward", "model": "brief-*"}, "answer": "review", "review_timeout_s": 0.5},
        {"match": {"listener": "forward", "model": "silent-*"}, "answer": "review", "heartbeats": "off"},
        {"match": {"listener": "forward"}, "answer": "review", **_HASTY},
        {"match": {"listener": "reverse", "model": "meet-*"}, "answer": "review", "draft": "parrot"},
        {"answer": "pair", "relay_context": False, **_HASTY},
    ],
}


@pytest.fixture(scope="module")
def shared_reviewing(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any]
) -> Iterator[Proxy]:
    """A proxy whose forward proxy lets people review."""
    with Proxy(tmp_path_factory.mktemp("review"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


@pytest.fixture
def reviewing(shared_reviewing: Proxy, service: Standin) -> Proxy:
    """The same, for one test, with a clean stand-in."""
    return shared_reviewing


@pytest.fixture
def meeting(reviewing: Proxy) -> Link:
    """Where the person is."""
    return Link(reviewing)


@pytest.fixture
def forward(reviewing: Proxy, proxy_authority: Path) -> Link:
    """Where the app is."""
    return Link(reviewing, proxy_authority)


def as_told(heard: Heard) -> Heard:
    """What the SDK gave, but for how many pieces a streamed call came in."""
    return replace(heard, calls=[replace(call, pieces=None) for call in heard.calls])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.__name__.removesuffix("Voice"))
async def test_what_is_let_go_is_what_the_service_said(
    meeting: Link, forward: Link, service: Standin, session: str, kind: type[Voice], *, streamed: bool
) -> None:
    """The SDK cannot tell it from a reply that passed with its bytes untouched."""
    parts = (
        ReasoningPart("It hides.\nIn the cave.", "c2ln"),
        TextPart(TEXT),
        ToolCallPart("call_1", "look", '{"where": "north"}'),
    )
    speaker = Speaker(service, reply_of(*parts))

    async def ask() -> Heard:
        app = kind(forward, session, streamed=streamed)
        app.offer([LOOK])
        try:
            return await (await told(app, "Where is the troll?"))
        finally:
            await app.close()

    passed = await ask()
    assert speaker.asked == 1 and passed.text == TEXT and passed.calls[0].value == {"where": "north"}
    async with reviewer(meeting, session) as person:
        asked = asyncio.create_task(ask())
        prompt, draft = await person.shown()
        assert "Where is the troll?" in prompt
        assert TEXT in draft and draft.replace(" ", "").endswith('/calllook{"where":"north"}')
        person.say("/send")
        assert as_told(await asked) == as_told(passed)
        assert speaker.asked == 2
        bodies = [request.json() for request in service.requests]
        assert bodies[0] == bodies[1], "the service is asked what the app asked"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.__name__.removesuffix("Voice"))
async def test_what_the_person_makes_of_it(
    meeting: Link, forward: Link, service: Standin, session: str, kind: type[Voice], *, streamed: bool
) -> None:
    speaker = Speaker(service, reply_of(TextPart("I attack the troll.")))
    app = kind(forward, session, streamed=streamed)
    app.offer([LOOK])
    async with reviewer(meeting, session) as person:

        async def turn(*parts: Part, answer: str) -> Heard:
            before = speaker.asked
            speaker.say(*parts)
            asked = await told(app, f"{before}?")
            await person.shown()
            person.say(answer)
            heard = await asked
            assert speaker.asked == before + 1
            assert heard.model in ("", f"{session}-2024", session)
            assert (heard.input_tokens, heard.output_tokens) in ((11, 7), (None, None))
            assert heard.finish == app.finishes[bool(heard.calls)]
            return heard

        north, text = ToolCallPart("call_1", "look", '{"where": "north"}'), TextPart("I attack the troll.")
        assert (await turn(text, answer="I pet the kitten.")).text == "I pet the kitten."
        heard = await turn(north, answer='/call look {"where": "south"}')
        assert [(call.name, call.value) for call in heard.calls] == [("look", {"where": "south"})]
        assert heard.text == "" and (not app.can.call_ids or heard.calls[0].call_id in ("call_1", *_made_ids(heard)))
        app.add_results([(heard.calls[0], "nothing")])
        heard = await turn(TextPart("Wait."), north, answer="I stay.")
        assert heard.text == "I stay." and not heard.calls
        heard = await turn(text, answer='I look.\n/call look {"where": "up"}\n/call look {"where": "down"}')
        assert [call.value for call in heard.calls] == [{"where": "up"}, {"where": "down"}]
    await app.close()


def _made_ids(heard: Heard) -> list[str]:
    """Ids of calls in dialects that have none on the wire: their SDKs, or the proxy, make them."""
    return [call.call_id for call in heard.calls if not call.call_id.startswith("call_")]


class TestIds:
    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    async def test_they_are_those_of_the_service(
        self, meeting: Link, forward: Link, service: Standin, session: str, dialect: Any, *, streamed: bool
    ) -> None:
        Speaker(service, reply_of(ToolCallPart("call_1", "look", '{"where": "north"}')))
        tool: dict[str, Any] = {"name": "look", "description": "", "input_schema": LOOK.schema}
        if dialect == "openai":
            tool = {"type": "function", "function": {"name": "look", "parameters": LOOK.schema}}
        async with reviewer(meeting, session) as person:
            for answer in ("/send", '/call look {"where": "south"}', "No."):
                app = Talker(forward, dialect, session, streamed, extra={"tools": [tool]})
                asked = app.start(f"{answer}?")
                await person.shown()
                person.say(answer)
                said = await asked
                assert said.reply_id in ("chatcmpl-real1", "msg_real1") and said.model == f"{session}-2024"
                assert (said.input_tokens, said.output_tokens) == (11, 7)
                assert [call[0] for call in said.calls] == ([] if answer == "No." else ["call_1"])

    async def test_signed_thoughts_stay_what_they_were(
        self, meeting: Link, forward: Link, service: Standin, session: str
    ) -> None:
        Speaker(service, reply_of(ReasoningPart("Hm.", "c2ln"), TextPart("I attack.")))
        async with reviewer(meeting, session) as person, anthropic_voice(forward, session) as app:
            asked = await told(app, "What now?")
            assert (await person.shown())[1] == "/think Hm.\nI attack."
            person.say("I flee.")
            assert (await asked).text == "I flee."
            thinking, text = app.history[-1]["content"]
            assert (thinking["thinking"], thinking["signature"], text["text"]) == ("Hm.", "c2ln", "I flee.")


@asynccontextmanager
async def anthropic_voice(link: Link, session: str) -> AsyncIterator[AnthropicMessagesVoice]:
    app = AnthropicMessagesVoice(link, session, streamed=False)
    yield app
    await app.close()


class TestNobodySaysOtherwise:
    async def test_time(self, meeting: Link, forward: Link, service: Standin, session: str) -> None:
        session = f"brief-{session}"
        speaker = Speaker(service, reply_of(TextPart("I attack.")))
        async with reviewer(meeting, session) as person:
            asked = Talker(forward, "anthropic", session).start("What now?")
            await person.shown()
            assert (await asked).text == "I attack."
            person.say("I flee.")
            assert person.listening is not None
            assert (await person.listening).text.startswith("Too late")
            assert speaker.asked == 1

    @pytest.mark.parametrize("leaves", ["/leave", "hangs up"])
    async def test_the_person_leaves(
        self, meeting: Link, forward: Link, service: Standin, session: str, leaves: str
    ) -> None:
        speaker = Speaker(service, reply_of(TextPart("I attack.")))
        async with reviewer(meeting, session) as person:
            first = Talker(forward, "openai", session).start("one")
            await person.shown()
            if leaves == "/leave":
                person.say("/leave")
                assert (await first).text == "I attack."
            else:
                person.say("mine")
                assert (await first).text == "mine"
                await meeting.proxy.until_listening(session)
                gate = Gate()
                service.handler = gated(gate, speaker)
                second = Talker(forward, "openai", session).start("two")
                await asyncio.to_thread(service.wait_for_requests, 2)
                assert person.listening is not None
                await hang_up(meeting.proxy, session, person.listening)
                gate.open()
                assert (await second).text == "I attack."
        assert (await Talker(forward, "openai", session).say("three")).text == "I attack."

    async def test_nobody_was_there_and_nothing_is_gathered(
        self, forward: Link, service: Standin, session: str
    ) -> None:
        gate = Gate()

        def slow(request: Received, writer: Writer) -> None:
            first, *rest = openai_chunks("ab", session)
            writer.start(200, [("Content-Type", "text/event-stream"), ("X-Service", "real")])
            writer.send(first)
            gate.wait()
            for chunk in rest:
                writer.send(chunk)
            writer.end()

        service.handler = slow
        async with openai_client(forward) as client:
            messages: Any = [{"role": "user", "content": "hello"}]
            raw = await client.chat.completions.with_raw_response.create(model=session, messages=messages, stream=True)
            assert raw.headers["x-service"] == "real"
            chunks = aiter(raw.parse())
            await anext(chunks)
            gate.open()
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks]) == "ab"


class TestTheAppIsImpatient:
    async def test_its_sdk_tries_again_and_the_service_is_asked_once(
        self, meeting: Link, forward: Link, service: Standin, session: str
    ) -> None:
        session = f"silent-{session}"
        speaker = Speaker(service, reply_of(TextPart("I attack.")))
        async with reviewer(meeting, session) as person:
            app = Talker(forward, "openai", session, options={"max_retries": 2, "timeout": 1.0})
            asked = app.start("What now?")
            assert (await person.shown())[1] == "I attack."
            first = (await meeting.proxy.until_prompts(session))["prompts"][0]["calls"][0]["call"]
            await meeting.proxy.until(
                session, lambda told: [one["call"] for one in told["prompts"][0]["calls"]] not in ([], [first])
            )
            person.say("I flee.")
            assert (await asked).text == "I flee."
            assert speaker.asked == 1

    async def test_it_goes_and_comes_back(self, meeting: Link, forward: Link, service: Standin, session: str) -> None:
        speaker = Speaker(service, reply_of(TextPart("I attack.")))
        async with reviewer(meeting, session) as person:
            asked = Talker(forward, "openai", session).start("What now?")
            await person.shown()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            await meeting.proxy.until_prompts(session, 0)
            person.say("I flee.")
            await meeting.proxy.until_listening(session)
            assert (await Talker(forward, "openai", session).say("What now?")).text == "I flee."
            assert speaker.asked == 1

    @pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.__name__.removesuffix("Voice"))
    async def test_it_is_told_that_its_call_is_alive(
        self, start_proxy: Any, proxy_authority: Path, service: Standin, session: str, kind: type[Voice]
    ) -> None:
        """While the service thinks and while the person does: the reply goes on from there."""
        timing = {"heartbeat_after_s": 0.2, "heartbeat_every_s": 0.2}
        proxy = start_proxy(config={**CONFIG, "timing": timing})
        gate = Gate()
        service.handler = gated(gate, Speaker(service, reply_of(TextPart("I attack."))))
        async with reviewer(Link(proxy), session) as person:
            app = kind(Link(proxy, proxy_authority), session, streamed=True, patience_s=2.0)
            asked = await told(app, "What now?")
            await asyncio.sleep(2.5)
            gate.open()
            await person.shown()
            await asyncio.sleep(2.5)
            person.say("/send")
            assert (await asked).text == "I attack."
            await app.close()


class TestTheServiceFails:
    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    async def test_the_app_is_told_at_once(
        self, meeting: Link, forward: Link, service: Standin, session: str, *, streamed: bool
    ) -> None:
        def fail(request: Received, writer: Writer) -> None:
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}
            whole(writer, json.dumps(error).encode(), 429)

        service.handler = fail
        async with reviewer(meeting, session) as person:
            with pytest.raises(anthropic.RateLimitError, match=r"Slow down\."):
                await Talker(forward, "anthropic", session, streamed).say("What now?")
            with pytest.raises(openai.RateLimitError, match=r"Slow down\."):
                await Talker(forward, "openai", session, streamed).say("What now?")
            assert person.listening is not None and not person.listening.done()

    async def test_a_stream_that_is_cut(self, meeting: Link, forward: Link, service: Standin, session: str) -> None:
        def cut(request: Received, writer: Writer) -> None:
            writer.start(200, [("Content-Type", "text/event-stream")])
            writer.send(openai_chunks("ab", session)[0])
            writer.end()

        service.handler = cut
        async with reviewer(meeting, session) as person:
            with pytest.raises(openai.InternalServerError, match="ended before"):
                await Talker(forward, "openai", session, streamed=True).say("What now?")
            assert person.listening is not None and not person.listening.done()


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_the_person_speaks_another_dialect(
    meeting: Link, forward: Link, service: Standin, session: str, dialect: Any
) -> None:
    """With its history: what it quotes of a prompt has the draft in it."""
    speaker = Speaker(service, reply_of(TextPart(TEXT)))
    async with reviewer(meeting, session, dialect) as person:
        app = Talker(forward, "anthropic" if dialect == "openai" else "openai", session)
        for number, (answer, heard) in enumerate([("/send", TEXT), ("I flee.", "I flee."), ("/pass", TEXT)]):
            asked = app.start(f"{number}?")
            prompt, draft = await person.shown()
            assert prompt.endswith(f"{number}?") and draft == TEXT
            person.say(answer)
            assert (await asked).text == heard
        assert speaker.asked == 3
    told = (await meeting.proxy.sessions())[session]
    assert (told["turns"], told["unsolicited"]) == (3, 0)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.__name__.removesuffix("Voice"))
async def test_at_the_meeting_point_a_source_makes_the_draft(
    meeting: Link, session: str, kind: type[Voice], *, streamed: bool
) -> None:
    session = f"meet-{session}"
    app = kind(meeting, session, streamed=streamed)
    assert (await (await told(app, "hello"))).text == "Polly wants a cracker."
    async with reviewer(meeting, session) as person:
        for answer, heard in (("/send", "Polly wants a cracker."), ("Hush.", "Hush.")):
            asked = await told(app, f"{answer}?")
            assert (await person.shown())[1] == "Polly wants a cracker."
            person.say(answer)
            said = await asked
            assert said.text == heard and said.model in ("", session) and said.finish == app.finishes[0]
    await app.close()
