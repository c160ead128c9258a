"""The console against a real proxy, with real SDKs as the apps: a person sits down and plays the model."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.clients import Link, Talker, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.console import browser, link_of
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.standin import Standin

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city"],
        },
    },
}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202e\U0001f600"


async def test_a_person_takes_over_a_passing_app_and_hands_it_back(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str
) -> None:
    app = Talker(through_proxy, "openai", session, history=[{"role": "system", "content": "You are a baker."}])
    async with browser(proxy) as page, page.feed() as feed:
        assert (await anext(feed)).event == "reset"
        assert (await app.say("one")).text == f"real {session}"
        told = await page.until(session, lambda told: told["latest_state"] == "passed")
        assert (told["taken"], told["answerer"], told["listener"], told["dialect"]) == (
            False,
            "",
            "forward",
            "openai-chat",
        )
        seen = await page.ask("call", id=told["latest"])
        assert seen["request"]["system"][0]["parts"] == [{"kind": "text", "text": "You are a baker."}]
        assert seen["app"].startswith("AsyncOpenAI/")

        await page.do("take", session=session)
        passed = len(service.requests)
        asked = app.start("two")
        [prompt] = await page.waits(session)
        assert [one["new"] for one in prompt["request"]["messages"]] == [False, False, True]
        assert prompt["can_pass"]
        await page.do("answer", session=session, prompt=prompt["prompt"], text="I am no machine.\n\tReally.")
        assert (await asked).text == "I am no machine.\n\tReally."
        assert len(service.requests) == passed

        asked = app.start("three")
        [prompt] = await page.waits(session)
        await page.do("pass", session=session, prompt=prompt["prompt"])
        assert (await asked).text == f"real {session}"

        await page.do("hand-back", session=session)
        assert (await app.say("four")).text == f"real {session}"
        told = await page.until(session, lambda told: told["calls"] == 4)
        assert not told["taken"]
        turns = (await page.ask("transcript", session=session))["turns"]
        by = [turn["answered_by"] for turn in turns]
        assert by == ["the real service", "Ann", "the real service", "the real service"]
        assert turns[1]["answer"] == [{"kind": "text", "text": "I am no machine.\n\tReally."}]


async def test_tool_calls_are_checked_and_arrive(proxy: Proxy, at_meeting: Link, session: str) -> None:
    async with browser(proxy) as page, openai_client(at_meeting) as client:
        asked = asyncio.ensure_future(
            client.chat.completions.create(
                model=session,
                messages=[{"role": "user", "content": "Weather?"}],
                tools=[WEATHER],  # type: ignore[list-item]
            )
        )
        [prompt] = await page.waits(session)
        assert prompt["request"]["tools"][0]["signature"] == "weather(city: string, days?: integer)  Tells the weather."
        fields = {"session": session, "prompt": prompt["prompt"]}
        for arguments, why in [('{"days": 1}', "required"), ("{", "not JSON"), ('{"city": 7}', "city")]:
            reply = await page.act("answer", **fields, calls=[{"name": "weather", "arguments": arguments}])
            assert reply.status_code == 422
            assert why in reply.json()["error"]["message"]
        assert not asked.done()
        calls = [{"name": "weather", "arguments": json.dumps({"city": city})} for city in ("Rome", "Oslo")]
        await page.do("answer", **fields, text="Let me see.", calls=calls)
        message = (await asked).choices[0].message
        assert message.content == "Let me see."
        assert message.tool_calls is not None
        assert [one.function.arguments for one in message.tool_calls if one.type == "function"] == [  # in their order
            '{"city": "Rome"}',
            '{"city": "Oslo"}',
        ]


async def test_commands_and_errors(proxy: Proxy, at_meeting: Link, session: str) -> None:
    app = Talker(at_meeting, "openai", session)
    async with browser(proxy) as page:
        asked = app.start("one")
        [prompt] = await page.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        help_text = await page.act("answer", **fields, text="/help")
        assert (help_text.status_code, help_text.json()["error"]["code"]) == (422, "help")
        assert (await page.act("answer", **fields, text=" ")).status_code == 422
        assert (await page.act("fail", **fields, status=200, message="")).status_code == 400
        assert (await page.act("pass", **fields)).json()["error"]["code"] == "no_service"
        await page.do("fail", **fields, status=429, message="Too fast.")
        with pytest.raises(openai.RateLimitError, match="Too fast"):
            await asked


async def test_the_first_of_two_people_wins_and_the_other_is_told(proxy: Proxy, at_meeting: Link, session: str) -> None:
    app = Talker(at_meeting, "openai", session)
    async with browser(proxy, "Ann") as ann, browser(proxy, "Bob") as bob:
        asked = app.start("one")
        [prompt] = await ann.waits(session)
        fields = {"session": session, "prompt": prompt["prompt"]}
        await bob.do("writing", **fields)
        assert (await ann.ask("session", name=session))["writing"] == {prompt["prompt"]: "Bob"}
        replies = await asyncio.gather(*(one.act("answer", **fields, text=f"by {one.by}") for one in (ann, bob)))
        assert sorted(reply.status_code for reply in replies) == [200, 409]
        won, lost = sorted(replies, key=lambda reply: reply.status_code)
        winner = json.loads(won.request.content)["by"]
        assert (await asked).text == f"by {winner}"
        assert lost.json()["error"]["message"].startswith(f"{winner} answered this call")


async def test_parallel_calls_are_answered_in_any_order(proxy: Proxy, at_meeting: Link, session: str) -> None:
    async with browser(proxy) as page:
        apps = [Talker(at_meeting, "openai", session, extra={"tools": [WEATHER]}) for _ in range(3)]
        asked = []
        for number, app in enumerate(apps):
            asked.append(app.start(f"from {number}"))
            await page.waits(session, number + 1)
        for left, number in enumerate((2, 0, 1)):
            prompts = await page.waits(session, 3 - left)
            shown = [await page.ask("call", id=one["call"]) for one in prompts]
            at = [one["title"] for one in shown].index(f"from {number}")
            told = await page.ask("session", name=session, prompt=prompts[at]["prompt"])
            assert ["request" in one for one in told["prompts"]] == [index == at for index in range(len(prompts))]
            await page.do("answer", session=session, prompt=prompts[at]["prompt"], text=f"to {number}")
            assert (await asked[number]).text == f"to {number}"


async def test_words_of_apps_are_only_words(proxy: Proxy, through_proxy: Link, session: str) -> None:
    app = Talker(through_proxy, "openai", session, history=[{"role": "system", "content": HOSTILE}])
    async with browser(proxy) as page:
        await app.say(HOSTILE)
        reply = await page.client.get("/console/api/sessions", params={"words": "onerror"})
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert [one["session"] for one in reply.json()["sessions"]] == [session]
        told = await page.client.get("/console/api/transcript", params={"session": session, "form": "markdown"})
        assert told.headers["content-type"].startswith("text/markdown")
        assert all(line.startswith((">", "#", "**", "(")) or not line for line in told.text.splitlines())


class TestTheDoor:
    async def test_the_link_is_good_once_and_leaves_a_cookie(self, start_proxy: StartProxy) -> None:
        proxy = start_proxy()
        link = link_of(proxy)
        async with browser(proxy, enters=False) as page, browser(proxy, enters=False) as other:
            first = await page.client.get("/", headers={"accept": "text/html"})
            assert (first.status_code, first.headers["location"]) == (303, "/console")
            door = await page.client.get("/console")
            assert (door.status_code, "admin token" in door.text) == (401, True)
            assert "script-src 'self'" in door.headers["content-security-policy"]
            assert "unsafe" not in door.headers["content-security-policy"]
            assert "set-cookie" not in (await page.client.head(link)).headers  # who only looks does not use it up
            entered = await page.client.get(link)
            assert entered.status_code == 200
            cookie = entered.headers["set-cookie"]
            for flag in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age="):
                assert flag in cookie
            value = cookie.partition("=")[2].partition(";")[0]
            assert value not in (*proxy.admin.values(), link)
            assert "<title>Motive</title>" in (await page.client.get("/console")).text
            assert (await page.client.get(link)).status_code == 200  # who is in stays in
            assert (await other.client.get(link)).status_code == 401
            assert value not in proxy.log
            assert value not in "".join(path.read_text("utf-8", "replace") for path in proxy.folder.rglob("*.json"))

            assert (await page.client.post("/console/logout")).status_code == 401  # no page said that it asks
            assert (await page.client.post("/console/logout", headers=page.origin)).status_code == 200
            assert (await page.client.get("/console/api/sessions", headers={"cookie": cookie})).status_code == 401

    async def test_the_feed_ends_with_the_login(self, proxy: Proxy, at_meeting: Link, session: str) -> None:
        async with browser(proxy) as page, page.feed() as feed:
            await anext(feed)
            assert (await page.client.post("/console/logout", headers=page.origin)).status_code == 200
            asked = Talker(at_meeting, "openai", session, options={"max_retries": 0}).start("secret words")
            told = [event async for event in feed]
        assert not any("secret words" in json.dumps(event.data) for event in told)
        await proxy.close_session(session)
        with pytest.raises(openai.APIError):
            await asked

    async def test_programs_push_nobody_out(self, proxy: Proxy) -> None:
        async with browser(proxy) as page, httpx.AsyncClient(base_url=proxy.meeting, trust_env=False) as program:
            for _ in range(110):
                assert (await program.get("/console", headers=proxy.admin)).status_code == 200
            assert not program.cookies
            assert (await page.client.get("/console/api/sessions")).status_code == 200

    @pytest.mark.parametrize("site", ["same-site", "cross-site"])
    async def test_pages_of_others_fetch_nothing_that_names_no_origin(self, proxy: Proxy, site: str) -> None:
        async with browser(proxy) as page:
            for name in ("feed", "sessions"):
                reply = await page.client.get(f"/console/api/{name}", headers={"sec-fetch-site": site})
                assert reply.status_code == 403
            assert (await page.client.get("/console", headers={"sec-fetch-site": site})).status_code == 200
            own = await page.client.get("/console/api/sessions", headers={"sec-fetch-site": "same-origin"})
            assert own.status_code == 200

    async def test_by_http2(self, proxy: Proxy, session: str) -> None:
        async with httpx.AsyncClient(base_url=proxy.meeting, http1=False, http2=True, trust_env=False) as client:
            entered = await client.post("/console/login", headers={"origin": proxy.meeting, **proxy.admin})
            assert entered.status_code == 200
            writing = {"session": session, "prompt": "p", "by": "Ann"}
            for origin, status in ((proxy.meeting, 200), (proxy.meeting[:-1], 403), ("http://127.0.0.1", 403)):
                reply = await client.post("/console/api/writing", json=writing, headers={"origin": origin})
                assert reply.status_code == status

    async def test_the_cookie_is_in_no_saved_flow(self, start_proxy: StartProxy, tmp_path: Path) -> None:
        saved, har = tmp_path / "flows.mitm", tmp_path / "flows.har"
        proxy = start_proxy(options=("-w", str(saved), "--set", f"hardump={har}"))
        async with browser(proxy, enters=False) as page:
            reply = await page.client.get(link_of(proxy))
            assert "HttpOnly" in reply.headers["set-cookie"]
            await page.enter()
            values = list(page.client.cookies.values())
            assert (await page.client.get("/console/api/sessions")).status_code == 200
        proxy.terminate()
        texts = [saved.read_bytes().decode("latin-1"), har.read_text("utf-8")]
        for text in texts:
            assert "/console/login" in text
            assert not any(value in text for value in [*values, reply.headers["set-cookie"]])

    async def test_who_is_not_logged_in_gets_nothing(self, proxy: Proxy) -> None:
        async with browser(proxy, enters=False) as page:
            for path in ("sessions", "calls", "session?name=x", "feed", "transcript?session=x", "raw?id=x"):
                assert (await page.client.get(f"/console/api/{path}")).status_code == 401
            for path in ("take", "answer", "fail", "pass", "hand-back"):
                assert (await page.act(path, session="x")).status_code == 401
            wrong = await page.client.post("/console/login", headers={**page.origin, "x-admin-token": "wrong"})
            assert wrong.status_code == 401
            assert (await page.client.get("/console/login?once=wrong")).status_code == 401
            assert (await page.client.get("/console/static/console.js")).status_code == 401

    @pytest.mark.parametrize("origin", ["http://localhost:3000", "http://evil.example", "null", ""])
    async def test_pages_of_others_may_do_nothing_with_the_cookie(self, proxy: Proxy, origin: str) -> None:
        async with browser(proxy) as page:
            headers = {"origin": origin} if origin else {}
            reply = await page.client.post("/console/api/take", json={"session": "x"}, headers=headers)
            assert reply.status_code == (403 if origin else 401)
            told = await page.client.get("/console/api/sessions", headers=headers)
            assert "access-control-allow-origin" not in told.headers
            assert told.status_code == (403 if origin else 200)

    async def test_no_other_name_and_no_other_path_opens(self, proxy: Proxy) -> None:
        async with browser(proxy) as page:
            rebound = await page.client.get("/console", headers={"host": "evil.example"})
            assert rebound.status_code == 403
            [name] = page.client.cookies
            cookie = {"cookie": f"{name}={page.client.cookies[name]}"}
            assert (await page.client.get("/admin/sessions", headers=cookie)).status_code == 401

    async def test_the_name_behind_the_forward_proxy(self, proxy: Proxy) -> None:
        async with httpx.AsyncClient(proxy=proxy.forward, base_url="http://motive.internal", trust_env=False) as client:
            assert (await client.get("/console")).status_code == 401
            headers = {"origin": "http://motive.internal", **proxy.admin}
            assert (await client.post("/console/login", headers=headers)).status_code == 200
            assert (await client.get("/console/api/sessions")).status_code == 200


class TestTheFeed:
    async def test_what_was_missed_is_told(self, proxy: Proxy, through_proxy: Link, session: str) -> None:
        app = Talker(through_proxy, "openai", session)
        async with browser(proxy) as page:
            async with page.feed() as feed:
                last = (await anext(feed)).number
            await app.say("one")
            await app.say("two")
            async with page.feed(last) as feed:
                assert (await anext(feed)).event == "hello"
                told = await anext(feed)
            assert told.event == "changes"
            assert [row["calls"] for row in told.data["sessions"] if row["session"] == session] == [2]
            assert sum(row["session"] == session for row in told.data["calls"]) == 2
            async with page.feed("0000.7") as feed:  # of another process
                assert (await anext(feed)).event == "reset"

    async def test_a_call_is_on_the_page_at_once(self, proxy: Proxy, at_meeting: Link, session: str) -> None:
        app = Talker(at_meeting, "openai", session)
        async with browser(proxy) as page, page.feed() as feed:
            await anext(feed)
            began = time.monotonic()
            asked = app.start("one")
            waiting: dict[str, Any] = {}
            async for told in feed:
                rows = [row for row in told.data.get("sessions", ()) if row["session"] == session]
                if rows and rows[0]["waiting"]:
                    waiting = rows[0]["waiting"][0]
                    break
            assert time.monotonic() - began < 2.0  # 200 ms are the goal; the machine has other work
            assert told.data["waiting"] >= 1
            await page.do("answer", session=session, prompt=waiting["prompt"], text="yes")
            assert (await asked).text == "yes"


async def test_a_restart_with_a_prompt_that_waits(start_proxy: StartProxy, session: str) -> None:
    modes = (f"regular@127.0.0.1:{free_port()}", f"reverse:http://127.0.0.1:9@127.0.0.1:{free_port()}")
    proxy = start_proxy(modes=modes)
    app = Talker(Link(proxy), "openai", session, options={"max_retries": 6})
    async with browser(proxy) as page:
        asked = app.start("one")
        [prompt] = await page.waits(session)
        await page.do("answer", session=session, prompt=prompt["prompt"], text="here")
        assert (await asked).text == "here"
        asked = app.start("two")
        [prompt] = await page.waits(session)
        cookies = dict(page.client.cookies)
        proxy.terminate()
        proxy.start()
        assert dict(page.client.cookies) == cookies
        told = await page.until(session, lambda told: told["prompts"] and told["taken"])
        [again] = told["prompts"]
        assert again["prompt"] == prompt["prompt"]  # so that a draft is found again
        await page.do("answer", session=session, prompt=again["prompt"], text="back")
        assert (await asked).text == "back"
        turns = await page.until_turn(session, 2)
        assert [(turn["said"][0]["text"], turn["answer"], turn["answered_by"]) for turn in turns] == [
            ("one", [{"kind": "text", "text": "here"}], "Ann"),
            ("two", [{"kind": "text", "text": "back"}], "Ann"),
        ]
