"""The operator's commands, as mitmproxy's prompt and mitmweb's command bar give them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import command, http, types
from mitmproxy.addons import view
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.exceptions import CommandError
from mitmproxy.test import taddons

from motive_shell import commands
from motive_shell.addon import Motive
from motive_shell.commands import MotiveCommands
from tests.addons.flows import CONFIG, Proxy
from tests.addons.test_addon import settle

TOOL = {
    "type": "function",
    "function": {
        "name": "attack",
        "parameters": {"type": "object", "properties": {"target": {"type": "string"}}, "required": ["target"]},
    },
}
SOURCES = """
sources:
  slow: {{kind: model, base_url: "http://127.0.0.1:{port}"}}
routes:
  - match: {{model: slow}}
    answer: slow
  - match: {{listener: forward}}
    answer: pair
    when: joined
  - match: {{listener: reverse, model: served}}
    answer: pair
    service: "https://llm.example/base"
  - match: {{listener: reverse}}
    answer: pair
"""
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "required": ["mood"]}},
}


class Prompt:
    """mitmproxy's prompt."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.manager: command.CommandManager = proxy.context.master.commands
        self.view: view.View = proxy.context.master.addons.get("view")

    async def held(self, text: str = "troll?", model: str = "npc", **fields: Any) -> http.HTTPFlow:
        """A call that waits, in the list and in focus."""
        flow = await self.proxy.call(text, model, agent="game", **fields)
        assert flow.intercepted
        return self.focus(flow)

    def focus(self, flow: http.HTTPFlow) -> http.HTTPFlow:
        self.view.add([flow])
        self.view.focus.flow = flow
        return flow

    def types(self, line: str) -> Any:
        return self.manager.execute(line)

    def completes(self, line: str) -> list[str]:
        """What the last word of a line may become."""
        *_, part = self.manager.parse_partial(line)[0]
        kind = types.CommandTypes.get(part.type)
        assert kind is not None
        return list(kind.completion(self.manager, part.type, part.value))

    def sessions(self) -> list[list[str]]:
        table: list[list[str]] = self.types("motive.sessions")
        return table[1:]


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a service that says nothing until its client goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def prompt(tmp_path: Path, silent: int) -> AsyncIterator[Prompt]:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG + SOURCES.format(port=silent))
    motive = Motive()
    with taddons.context(Proxyserver(), view.View(), motive, MotiveCommands(motive)) as context:
        context.configure(motive, motive_config=str(path))
        proxy = Proxy(motive, context)
        yield Prompt(proxy)
        proxy.runtime.gateway.shut_down()
        await proxy.runtime.gateway.close()


def reply_of(flow: http.HTTPFlow) -> Any:
    assert flow.response is not None and not flow.intercepted
    return json.loads(flow.response.content or b"")["choices"][0]["message"]


class TestReply:
    async def test_answers_the_flow_in_focus(self, prompt: Prompt) -> None:
        flow = await prompt.held()
        prompt.types('motive.reply @focus "I attack!\\nNow."')
        assert await prompt.proxy.finish(flow) == "I attack!\nNow."
        assert flow.comment.startswith("answered by operator for npc, ")
        assert flow.metadata["motive.source"] == "operator"
        assert flow.marked == ":speech_balloon:"

    async def test_takes_words_without_quotes(self, prompt: Prompt) -> None:
        flow = await prompt.held()
        prompt.types("motive.reply @focus I attack /join")
        assert await prompt.proxy.finish(flow) == "I attack /join"

    async def test_answers_what_has_waited_longest_in_a_session(self, prompt: Prompt) -> None:
        prompt.types("motive.join npc")
        first = await prompt.held("one", forward=True)
        second = await prompt.held("two", forward=True)
        prompt.types("motive.reply npc hello")
        assert second.intercepted
        assert await prompt.proxy.finish(first) == "hello"

    async def test_tells_whoever_was_shown_the_prompt(self, prompt: Prompt) -> None:
        player = await prompt.proxy.call("/join", agent="player")
        flow = await prompt.held()
        await prompt.proxy.finish(player)
        prompt.types("motive.reply @focus hello")
        assert await prompt.proxy.finish(flow) == "hello"
        late = await prompt.proxy.call("my answer", agent="player")
        assert "Too late" in await prompt.proxy.finish(late)

    async def test_is_an_error_where_the_app_wants_json(self, prompt: Prompt) -> None:
        flow = await prompt.held(response_format=FORMAT)
        with pytest.raises(CommandError, match="the app asked for JSON, and this is none"):
            prompt.types("motive.reply @focus hello")
        with pytest.raises(CommandError, match="'mood' is a required property"):
            prompt.types("""motive.reply @focus '{"x": 1}'""")
        assert flow.intercepted
        prompt.types("""motive.reply @focus '{"mood": "dark"}'""")
        assert await prompt.proxy.finish(flow) == '{"mood": "dark"}'

    async def test_to_a_flow_that_waits_for_nothing_is_an_error(self, prompt: Prompt) -> None:
        flow = await prompt.held()
        prompt.types("motive.reply @focus hello")
        await prompt.proxy.finish(flow)
        with pytest.raises(CommandError, match="holds no call"):
            prompt.types("motive.reply @focus again")

    async def test_to_who_listens_is_an_error(self, prompt: Prompt) -> None:
        prompt.focus(await prompt.proxy.call("/join", agent="player"))
        with pytest.raises(CommandError, match="waits for a prompt"):
            prompt.types("motive.reply @focus hello")

    async def test_to_nothing_says_what_was_meant(self, prompt: Prompt) -> None:
        with pytest.raises(CommandError, match="'nobody' is no session in which a call waits, and matches 0 flows"):
            prompt.types("motive.reply nobody hello")

    async def test_answers_a_call_that_a_source_works_on(self, prompt: Prompt) -> None:
        flow = await prompt.held(model="slow")
        assert flow.metadata["motive.source"] == "slow"
        prompt.types("motive.reply @focus hello")
        assert await prompt.proxy.finish(flow) == "hello"
        gateway = prompt.proxy.runtime.gateway
        assert not gateway.held and not gateway.answering._works
        assert flow.comment.startswith("answered by operator for slow, ")


class TestCall:
    async def test_calls_a_tool(self, prompt: Prompt) -> None:
        flow = await prompt.held(tools=[TOOL])
        prompt.types("""motive.call @focus attack '{"target": "a \\"troll\\"\\n"}'""")
        (call,) = reply_of(flow)["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"target": 'a "troll"\n'}
        assert call["function"]["name"] == "attack"
        assert json.loads(flow.response.content)["choices"][0]["finish_reason"] == "tool_calls"  # type: ignore

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("""attack '{"target": 7}'""", "target: 7 is not of type 'string'"),
            ("attack", "'target' is a required property"),
            ("attack nonsense", "are not JSON"),
            ("attack []", "must be a JSON object"),
            ("flee", "there is no tool 'flee' in this call; it offers: attack"),
        ],
    )
    async def test_that_does_not_fit_is_an_error(self, prompt: Prompt, line: str, why: str) -> None:
        flow = await prompt.held(tools=[TOOL])
        with pytest.raises(CommandError, match=why):
            prompt.types(f"motive.call @focus {line}")
        assert flow.intercepted and flow.response is None
        prompt.types("motive.reply @focus hello")
        assert await prompt.proxy.finish(flow) == "hello"


class TestFail:
    async def test_is_an_error_of_the_vendor(self, prompt: Prompt) -> None:
        flow = await prompt.held()
        prompt.types("motive.fail @focus 429 slow down")
        assert flow.response is not None and flow.response.status_code == 429
        assert "slow down" in (flow.response.text or "")
        await prompt.proxy.addon.response(flow)
        assert "by operator for npc" in flow.comment and flow.comment.startswith("failed (")

    async def test_of_another_status_is_an_error(self, prompt: Prompt) -> None:
        flow = await prompt.held()
        for status in ("200", "600", "abc"):
            with pytest.raises(CommandError, match=r"400 to 599|invalid literal"):
                prompt.types(f"motive.fail @focus {status} x")
        assert flow.intercepted


class TestPass:
    async def test_lets_the_real_service_answer(self, prompt: Prompt) -> None:
        await prompt.proxy.call("/join", agent="player")
        flow = prompt.focus(await prompt.proxy.call("hello", forward=True))
        assert flow.intercepted
        prompt.types("motive.pass @focus")
        assert (flow.intercepted, flow.response) == (False, None)

    async def test_at_the_meeting_point_is_an_error(self, prompt: Prompt) -> None:
        flow = await prompt.held()
        with pytest.raises(CommandError, match="no real service behind this call"):
            prompt.types("motive.pass @focus")
        assert flow.intercepted


class TestTakeover:
    async def test_of_a_passing_flow_holds_the_next_calls(self, prompt: Prompt) -> None:
        passed = prompt.focus(await prompt.proxy.call("hello", forward=True))
        assert not passed.intercepted
        prompt.types("motive.takeover @focus")
        held = prompt.focus(await prompt.proxy.call("hello again", forward=True))
        assert held.intercepted
        prompt.types("motive.reply @focus hi")
        assert await prompt.proxy.finish(held) == "hi"
        assert prompt.sessions() == [["npc", "you", "0", "", "1"]]
        prompt.types("motive.release @focus")
        assert not (await prompt.proxy.call("and again", forward=True)).intercepted

    async def test_by_name_may_come_before_the_first_call(self, prompt: Prompt) -> None:
        prompt.types("motive.join npc")
        assert prompt.sessions() == [["npc", "you", "0", "", "0"]]
        held = await prompt.proxy.call("hello", forward=True)
        assert held.intercepted
        assert [line[:3] for line in prompt.sessions()] == [["npc", "you", "1"]]
        prompt.types("motive.release npc")
        assert [line[1] for line in prompt.sessions()] == ["nobody"] or not prompt.sessions()

    async def test_a_person_may_join_beside_the_operator(self, prompt: Prompt) -> None:
        prompt.types("motive.join npc")
        held = await prompt.proxy.call("hello", forward=True)
        player = await prompt.proxy.call("/join", agent="player")
        assert await prompt.proxy.finish(player) == "hello"
        await prompt.proxy.call("hi", agent="player")
        assert await prompt.proxy.finish(held) == "hi"
        assert prompt.sessions()[0][1] == "you and a client"

    async def test_of_a_flow_without_a_session_is_an_error(self, prompt: Prompt) -> None:
        flow = prompt.focus(await prompt.proxy.call("hello", forward=True))
        flow.metadata.clear()
        with pytest.raises(CommandError, match="no session"):
            prompt.types("motive.takeover @focus")

    @pytest.mark.parametrize("name", ["''", f"'{'x' * 1000}'"])
    async def test_of_what_can_be_no_session_is_an_error(self, prompt: Prompt, name: str) -> None:
        with pytest.raises(CommandError):
            prompt.types(f"motive.join {name}")
        assert not prompt.sessions()

    async def test_release_of_what_is_not_taken_over_is_an_error(self, prompt: Prompt) -> None:
        with pytest.raises(CommandError, match="no open session, and no flow"):
            prompt.types("motive.release nobody")
        await prompt.held()
        with pytest.raises(CommandError, match="not taken over"):
            prompt.types("motive.release npc")

    async def test_over_the_limit_of_sessions_is_an_error(
        self, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await prompt.held()
        monkeypatch.setattr(prompt.proxy.runtime.gateway.operator, "_most_sessions", lambda: 1)
        with pytest.raises(CommandError, match="too many sessions"):
            prompt.types("motive.join another")
        prompt.types("motive.join npc")


class TestHelp:
    def names(self, prompt: Prompt) -> list[str]:
        return [name for name in prompt.manager.commands if name.startswith("motive.")]

    async def test_each_command_tells_what_it_does(self, prompt: Prompt) -> None:
        assert sorted(self.names(prompt)) == [
            f"motive.{name}" for name in ("call", "fail", "join", "pass", "release", "reply", "sessions", "takeover")
        ]
        for name in self.names(prompt):
            assert prompt.manager.commands[name].help
            assert prompt.manager.commands[name].signature_help()

    async def test_what_is_typed_is_completed(self, prompt: Prompt) -> None:
        await prompt.held(tools=[TOOL])
        assert prompt.completes("motive.join n") == ["npc"]
        assert {"npc", "@focus"} <= set(prompt.completes("motive.reply n"))
        assert {"npc", "@focus"} <= set(prompt.completes("motive.release n"))
        assert prompt.completes("motive.call @focus a") == ["attack"]
        assert "@focus" in prompt.completes("motive.takeover @")

    async def test_without_a_running_addon_commands_say_so(self) -> None:
        motive = Motive()
        with taddons.context(MotiveCommands(motive)) as context, pytest.raises(CommandError, match="not running"):
            context.master.commands.execute("motive.sessions")

    async def test_without_a_running_addon_one_can_type(self) -> None:
        motive = Motive()
        with taddons.context(view.View(), MotiveCommands(motive)) as context:
            manager = context.master.commands
            for line in ("motive.join n", "motive.reply n", "motive.call n t", "motive.release n"):
                *_, part = manager.parse_partial(line)[0]
                kind = types.CommandTypes.get(part.type)
                assert kind is not None
                assert "npc" not in kind.completion(manager, part.type, part.value)

    async def test_no_attribute_of_the_addon_is_a_property(self) -> None:
        """mitmproxy reads all of them when it loads it."""
        assert not [name for name, one in vars(commands.MotiveCommands).items() if isinstance(one, property)]


@pytest.mark.parametrize("how", ["pass", "resume"])
@pytest.mark.parametrize("host", ["", "elsewhere.example"])
async def test_a_request_that_was_edited_to_go_elsewhere_does(prompt: Prompt, how: str, host: str) -> None:
    prompt.types("motive.join served")
    flow = await prompt.held(model="served")
    if host:
        flow.request.host = host
    if how == "pass":
        prompt.types("motive.pass @focus")
    else:
        flow.resume()
        await settle()
    assert flow.response is None
    assert (flow.request.host, flow.request.path) == (
        (host, "/v1/chat/completions") if host else ("llm.example", "/base/v1/chat/completions")
    )


async def test_resume_still_lets_the_real_service_answer(prompt: Prompt) -> None:
    prompt.types("motive.join npc")
    flow = await prompt.proxy.call("hello", forward=True)
    flow.resume()
    await settle()
    assert flow.response is None and flow.comment.startswith("passed by operator for npc")


async def test_a_session_that_is_named_like_a_flow_gets_nothing_of_it(prompt: Prompt) -> None:
    other = await prompt.proxy.call("give me", "@focus", agent="other")
    prompt.view.add([other])
    flow = await prompt.held()
    prompt.types("motive.reply @focus 'the secret is 42'")
    await settle()
    assert (flow.intercepted, other.intercepted) == (False, True)
    prompt.types("motive.takeover @focus")
    prompt.types("motive.release @focus")
    await settle()
    assert other.intercepted


@pytest.mark.parametrize("line", ["motive.reply @focus", "motive.reply @focus ''", "motive.reply npc ' '"])
async def test_a_reply_needs_words(prompt: Prompt, line: str) -> None:
    flow = await prompt.held()
    with pytest.raises(CommandError, match="needs words"):
        prompt.types(line)
    assert flow.intercepted
