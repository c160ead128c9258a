"""A chat UI's own tasks (titles, tags, follow-ups) never become a turn, even together with the first message."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.clients import Link, Talker, finish, openai_client
from tests.e2e.standin import Standin

# As Open WebUI 0.6 sends them, from its DEFAULT_*_PROMPT_TEMPLATE; one user message, with the chat in it.
TASKS: dict[str, tuple[str, str]] = {
    "title": (
        "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"
        "### Guidelines:\n- The title should clearly represent the main theme or subject of the conversation.\n"
        '### Output:\nJSON format: { "title": "your concise title here" }\n'
        "### Chat History:\n<chat_history>\nUSER: hello\nASSISTANT: hi\n</chat_history>",
        "title",
    ),
    "tags": (
        "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along with 1-3 more "
        "specific subtopic tags.\n\n### Guidelines:\n- Start with high-level domains\n\n### Output:\n"
        'JSON format: { "tags": ["tag1", "tag2", "tag3"] }\n\n### Chat History:\n<chat_history>\nUSER: hello\n'
        "ASSISTANT: hi\n</chat_history>",
        "tags",
    ),
    "follow-ups": (
        "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next in this "
        "conversation as a **user**, based on the chat history, to help continue or deepen the discussion.\n"
        "### Guidelines:\n- Write all follow-up questions from the user's point of view, directed to the assistant.\n"
        '### Output:\nJSON format: { "follow_ups": ["Question 1?", "Question 2?", "Question 3?"] }\n'
        "### Chat History:\n<chat_history>\nUSER: hello\nASSISTANT: hi\n</chat_history>",
        "follow_ups",
    ),
}


async def task_reply(client: Any, model: str, task: str, *, streamed: bool) -> Any:
    """What a chat UI reads out of the reply to one of its tasks."""
    words, field = TASKS[task]
    call = {"model": model, "messages": [{"role": "user", "content": words}], "stream": streamed}
    reply = await client.chat.completions.create(**call)
    if streamed:
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in reply if chunk.choices])
    else:
        text = reply.choices[0].message.content
    # Open WebUI takes the outermost braces (utils/misc.py and Chat.svelte, JSON between the first and last brace).
    return json.loads(text[text.index("{") : text.rindex("}") + 1])[field]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_tasks_with_the_first_message_are_no_turns(at_meeting: Link, session: str, *, streamed: bool) -> None:
    proxy = at_meeting.proxy
    person = Talker(at_meeting, "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening(session)
    async with openai_client(at_meeting, api_key="sk-ui") as client:
        tasks = [asyncio.create_task(task_reply(client, session, task, streamed=streamed)) for task in TASKS]
        ui = Talker(at_meeting, "openai", session, streamed, api_key="sk-ui")
        asked = ui.start("hello")
        assert (await shown).text == "hello"
        replies = await asyncio.gather(*tasks)
        tasks = [asyncio.create_task(task_reply(client, session, task, streamed=streamed)) for task in TASKS]
        await asyncio.gather(*tasks)
        told = (await proxy.sessions())[session]
        assert len(told["prompts"]) == 1
    assert isinstance(replies[0], str)
    assert replies[0]
    assert isinstance(replies[1], list)
    assert isinstance(replies[2], list)
    shown = person.start("hi")
    assert (await asked).text == "hi"
    await finish(proxy, session, shown)


async def test_tasks_of_the_person_are_no_answers(at_meeting: Link, session: str) -> None:
    """The person sits at a chat UI, too: its title request must not answer the app."""
    proxy = at_meeting.proxy
    person = Talker(at_meeting, "openai", session, api_key="sk-ui")
    shown = person.start("/join")
    await proxy.until_listening(session)
    asked = Talker(at_meeting, "anthropic", session, api_key="sk-app").start("question")
    await shown
    async with openai_client(at_meeting, api_key="sk-ui") as client:
        assert await task_reply(client, session, "title", streamed=False)
    assert not asked.done()
    shown = person.start("answer")
    assert (await asked).text == "answer"
    await finish(proxy, session, shown)


async def test_task_alone_opens_no_session(at_meeting: Link, session: str) -> None:
    async with openai_client(at_meeting) as client:
        assert await task_reply(client, session, "title", streamed=False)
    assert session not in await at_meeting.proxy.sessions()


async def test_task_of_an_app_that_nobody_took_over_passes(through_proxy: Link, service: Standin, session: str) -> None:
    words, _ = TASKS["title"]
    assert (await Talker(through_proxy, "openai", session).say(words)).text == f"real {session}"
    assert service.requests[0].json()["messages"][0]["content"] == words
