"""The operator in a real mitmweb: commands, what the list shows, and requests that are edited while they are held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.e2e.clients import Link, Talker, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.console import browser
from tests.e2e.proxy import DEADLINE_S, Proxy, free_port
from tests.e2e.standin import Standin, whole
from tests.e2e.terminal import TerminalProxy
from tests.e2e.test_mitmweb import PASSWORD, Web
from tests.e2e.test_responses_state import Person, ask, message, real_service

TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "attack",
        "parameters": {"type": "object", "properties": {"target": {"type": "string"}}, "required": ["target"]},
    },
}
LATELY: Final[dict[str, Any]] = {
    "timing": {"heartbeat_after_s": 0.3, "heartbeat_every_s": 0.3},
    "routes": [
        {"match": {"listener": "forward"}, "answer": "pair", "when": "joined"},
        {"match": {"listener": "reverse", "model": "mocked-*"}, "answer": "mock"},
        {"match": {"listener": "reverse"}, "answer": "pair"},
    ],
}
"""Held calls that stream are promoted almost at once."""


class Desk(Web):
    """mitmweb, with its command bar."""

    async def types(self, command: str, *arguments: str) -> Any:
        """A command's value; an error of it is an ``AssertionError``."""
        told = (await self.client.post(f"/commands/{command}", json={"arguments": arguments})).raise_for_status().json()
        assert "error" not in told, told["error"]
        return told["value"]

    async def until_flow(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first flow for which this holds, once there is one."""
        flows: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    flows = (await self.client.get("/flows")).raise_for_status().json()
                    if (found := next(filter(condition, flows), None)) is not None:
                        return found
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError([(flow["comment"], flow["intercepted"]) for flow in flows]) from None

    async def held(self, session: str) -> dict[str, Any]:
        return await self.until_flow(lambda flow: flow["comment"].startswith(f"held for {session}, "))

    async def promoted(self, session: str) -> dict[str, Any]:
        """A flow that shows signs of life. For the moment in which its reply begins, it shows the request that fetches
        that."""
        return await self.until_flow(
            lambda one: (
                one["comment"].startswith(f"held for {session}")
                and not one["intercepted"]
                and one["request"]["host"] == "api.openai.com"
            )
        )

    async def edit(self, flow: dict[str, Any], **request: Any) -> None:
        (await self.client.put(f"/flows/{flow['id']}", json={"request": request})).raise_for_status()

    async def body(self, flow: dict[str, Any], part: str = "request") -> bytes:
        return (await self.client.get(f"/flows/{flow['id']}/{part}/content.data")).raise_for_status().content


@asynccontextmanager
async def at_desk(proxy: Proxy, port: int) -> AsyncIterator[Desk]:
    token = "x" * 32
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {PASSWORD}", "x-xsrftoken": token},
        cookies={"_mitmproxy_xsrf": token},
        trust_env=False,
    ) as client:
        yield Desk(proxy, client)


@pytest.fixture
async def desk(start_proxy: StartProxy) -> AsyncIterator[Desk]:
    port = free_port()
    proxy = start_proxy(
        program="mitmweb",
        config=LATELY,
        options=(
            *("--set", f"web_port={port}", "--set", "web_host=127.0.0.1"),
            *("--set", "web_open_browser=false", "--set", f"web_password={PASSWORD}"),
        ),
    )
    async with at_desk(proxy, port) as made:
        yield made


@pytest.fixture
def app(desk: Desk, proxy_authority: Path, session: str) -> Talker:
    return Talker(Link(desk.proxy, proxy_authority), "openai", session)


class TestCommands:
    async def test_take_over_a_passing_app_answer_it_and_give_it_back(
        self, desk: Desk, app: Talker, service: Standin, session: str
    ) -> None:
        assert (await app.say("one")).text == f"real {session}"
        passed = await desk.until_flow(lambda flow: flow["comment"] == f"passed for {session}")
        await desk.types("motive.takeover", f"@{passed['id']}")
        asked = app.start("two")
        flow = await desk.held(session)
        assert flow["marked"] and flow["intercepted"]
        await desk.types("motive.reply", f"@{flow['id']}", "by hand:\\n世界")
        assert (await asked).text == "by hand:\n世界"
        answered = await desk.until_flow(lambda one: one["id"] == flow["id"] and not one["intercepted"])
        assert answered["comment"].startswith(f"answered by operator for {session}, ")
        (line,) = (await desk.types("motive.sessions"))[1:]
        assert line == [session, "you", "0", "", "1"]
        await desk.types("motive.release", session)
        assert (await app.say("three")).text == f"real {session}"
        assert len(service.requests) == 2

    async def test_a_tool_call_must_fit(self, desk: Desk, app: Talker, session: str) -> None:
        app.extra = {"tools": [TOOL]}
        await desk.types("motive.join", session)
        asked = app.start("troll?")
        await desk.held(session)
        with pytest.raises(AssertionError, match="target: 7 is not of type 'string'"):
            await desk.types("motive.call", session, "attack", '{"target": 7}')
        await desk.types("motive.call", session, "attack", '{"target": "the \\"troll\\""}')
        ((_, name, arguments),) = (await asked).calls
        assert (name, arguments) == ("attack", {"target": 'the "troll"'})

    async def test_an_error_is_the_vendors(self, desk: Desk, app: Talker, session: str) -> None:
        await desk.types("motive.join", session)
        asked = app.start("troll?")
        await desk.held(session)
        await desk.types("motive.fail", session, "429", "slow", "down")
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await asked

    async def test_a_pass_goes_to_the_real_service(self, desk: Desk, app: Talker, session: str) -> None:
        await desk.types("motive.join", session)
        asked = app.start("troll?")
        flow = await desk.held(session)
        await desk.types("motive.pass", f"@{flow['id']}")
        assert (await asked).text == f"real {session}"
        await desk.until_flow(lambda one: one["comment"].startswith(f"passed for {session}"))

    async def test_a_streamed_call_that_shows_signs_of_life_is_answered_too(
        self, desk: Desk, app: Talker, session: str
    ) -> None:
        app.streamed = True
        await desk.types("motive.join", session)
        for how in ("reply", "pass"):
            asked = app.start("troll?")
            await desk.promoted(session)
            await desk.types(f"motive.{how}", session, *(["by hand"] if how == "reply" else []))
            assert (await asked).text == ("by hand" if how == "reply" else f"real {session}")
        async with browser(desk.proxy) as page:  # which shows what the service said, too
            told = await page.until(session, lambda told: told["latest_took_s"] is not None)
            call = await page.ask("call", id=told["latest"])
        assert (call["state"], call["reply"]) == ("passed", [{"kind": "text", "text": f"real {session}"}])

    async def test_commands_are_listed_with_their_help(self, desk: Desk) -> None:
        commands = (await desk.client.get("/commands")).raise_for_status().json()
        assert "JSON Schema" in commands["motive.call"]["help"]
        assert commands["motive.reply"]["signature_help"] == "motive.reply call *text"

    async def test_an_unknown_flow_is_an_error(self, desk: Desk) -> None:
        with pytest.raises(AssertionError, match="no session in which a call waits"):
            await desk.types("motive.reply", "~u nowhere", "hello")


async def test_the_list_tells_how_long_a_call_waits(desk: Desk, app: Talker, session: str) -> None:
    """Its pages are told by themselves."""
    await desk.types("motive.join", session)
    url = str(desk.client.base_url).replace("http", "ws") + "/updates"
    socket = await websocket_connect(HTTPRequest(url, headers={"authorization": f"Bearer {PASSWORD}"}))
    asked = app.start("troll?")
    comments = []
    async with asyncio.timeout(DEADLINE_S):
        while not any(f"held for {session}, {seconds} s" in comments for seconds in range(2, 9)):
            told = await socket.read_message()
            assert told is not None
            update = json.loads(told)
            if update["type"].startswith("flows/") and "flow" in update["payload"]:
                comments.append(update["payload"]["flow"]["comment"])
    socket.close()
    await desk.types("motive.reply", session, "done")
    assert (await asked).text == "done"


class TestEdits:
    async def test_what_is_edited_goes_to_the_real_service(
        self, desk: Desk, app: Talker, service: Standin, session: str
    ) -> None:
        await desk.types("motive.join", session)
        asked = app.start("troll?")
        flow = await desk.held(session)
        body = json.loads(await desk.body(flow))
        body["messages"][0]["content"] = "dragon? 世界"
        headers = [[name, value] for name, value in flow["request"]["headers"]]
        await desk.edit(flow, content=json.dumps(body), headers=[*headers, ["x-edited", "yes"]])
        await desk.press("resume", flow)
        assert (await asked).text == f"real {session}"
        (received,) = service.requests
        assert received.json()["messages"] == [{"role": "user", "content": "dragon? 世界"}]
        assert received.header("x-edited") == "yes"
        assert received.header("content-length") == str(len(received.body))

    async def test_so_does_what_is_edited_in_a_call_that_shows_signs_of_life(
        self, desk: Desk, app: Talker, service: Standin, session: str
    ) -> None:
        app.streamed = True
        await desk.types("motive.join", session)
        asked = app.start("troll?")
        flow = await desk.promoted(session)
        body = json.loads(await desk.body(flow))
        body["messages"][0]["content"] = "dragon?"
        await desk.edit(flow, content=json.dumps(body))
        await desk.types("motive.pass", session)
        assert (await asked).text == f"real {session}"
        (received,) = service.requests
        assert received.json()["messages"] == [{"role": "user", "content": "dragon?"}]

    async def test_a_draft_is_asked_of_what_is_edited(
        self, desk: Desk, app: Talker, service: Standin, session: str
    ) -> None:
        async with browser(desk.proxy) as page:
            await app.say("Hello.")
            await desk.types("motive.join", session)
            asked = app.start("troll?")
            [prompt] = await page.waits(session)
            flow = await desk.held(session)
            body = json.loads(await desk.body(flow))
            body["messages"][-1]["content"] = "dragon?"
            await desk.edit(flow, content=json.dumps(body))
            await page.do("draft", session=session, prompt=prompt["prompt"])
            await page.until(session, lambda told: told["drafts"] and told["drafts"][0]["done"])
            assert service.requests[-1].json()["messages"][-1]["content"] == "dragon?"
            own = await desk.until_flow(lambda one: one["comment"].startswith("asked by Motive"))
            assert (own["marked"], own["intercepted"]) == ("", False)
            assert (await desk.held(session))["intercepted"]
            await page.do("answer", session=session, prompt=prompt["prompt"], text="/send")
            assert (await asked).text == f"real {session}"

    async def test_a_conversation_that_it_only_names_goes_with_it(
        self, desk: Desk, proxy_authority: Path, service: Standin, session: str
    ) -> None:
        service.handler = real_service
        person = Person(Link(desk.proxy), session)
        await desk.proxy.until_listening(session)
        async with openai_client(Link(desk.proxy, proxy_authority)) as client:
            call: dict[str, Any] = {"model": session, "streamed": False}
            _, first = await person.answer(client, "Cold.", input="one", **call)
            asked = asyncio.create_task(ask(client, input="two", previous_response_id=first.id, **call))
            flow = await desk.until_flow(
                lambda one: one["comment"].startswith(f"held for {session}") and one["intercepted"]
            )
            body = json.loads(await desk.body(flow))
            body["input"] = "three"
            await desk.edit(flow, content=json.dumps(body))
            await desk.press("resume", flow)
            assert (await asked).output_text == f"real {session}"
        (received,) = service.requests
        assert received.json()["input"] == [
            message("user", "one"),
            message("assistant", "Cold."),
            message("user", "three"),
        ]
        assert "previous_response_id" not in received.json()
        await desk.proxy.close_session(session)

    async def test_another_place_is_where_it_goes(self, desk: Desk, service: Standin, session: str) -> None:
        """Even from the meeting point, behind which there is none."""
        asked = Talker(Link(desk.proxy), "openai", session).start("troll?")
        flow = await desk.held(session)
        headers = [[name, value] for name, value in flow["request"]["headers"] if name.lower() != "host"]
        await desk.edit(
            flow, scheme="https", host="api.openai.com", port=443, headers=[*headers, ["Host", "api.openai.com"]]
        )
        await desk.press("resume", flow)
        assert (await asked).text == f"real {session}"
        assert service.requests[0].host == "api.openai.com"

    async def test_what_is_no_call_any_more_is_the_services_to_judge(
        self, desk: Desk, proxy_authority: Path, service: Standin, session: str
    ) -> None:
        service.handler = lambda request, writer: whole(writer, {"got": request.body.decode()}, 400)
        await desk.types("motive.join", session)
        async with http_client(Link(desk.proxy, proxy_authority)) as client:
            call = {"model": session, "messages": [{"role": "user", "content": "x"}]}
            asked = asyncio.create_task(client.post("https://api.openai.com/v1/chat/completions", json=call))
            flow = await desk.held(session)
            await desk.edit(flow, content="nonsense")
            await desk.press("resume", flow)
            assert (await asked).json() == {"got": "nonsense"}


async def test_the_console_has_the_commands_too(tmp_path: Path, confdir: Path, session: str) -> None:
    proxy = TerminalProxy(tmp_path, confdir)
    with proxy:
        app = Talker(Link(proxy), "openai", session)
        asked = app.start("troll?")
        await proxy.until_held(session)
        proxy.types(':motive.reply "~comment held" "by hand"\r')
        assert (await asked).text == "by hand"
        asked = app.start("dragon?")
        await proxy.until_prompts(session)
        proxy.types(f":motive.fail {session} 429 slow down\r")
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await asked
        proxy.types(":motive.sessions\r")
        proxy.wait_for(lambda: "answered by" in proxy.log, "no list of sessions")
