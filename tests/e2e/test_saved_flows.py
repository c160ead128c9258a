"""Files of flows and HAR: the call as it came and its reply as the client got it, however it was answered.

The clients here read bytes, since those are what is compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader

from tests.e2e.clients import Link, Talker, finish, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy, free_port, held_calls
from tests.e2e.standin import Standin
from tests.e2e.test_mitmweb import PASSWORD
from tests.e2e.test_operator import Desk, at_desk

URL: Final = "https://api.openai.com/v1/chat/completions"


def config(service: Standin) -> dict[str, Any]:
    other = f"http://127.0.0.1:{service.env['STANDIN_PLAIN_PORT']}/v1"
    return {
        "timing": {"heartbeat_after_s": 0.3, "heartbeat_every_s": 0.3},
        "sources": {"parrot": {"kind": "mock", "text": "Polly."}, "other": {"kind": "model", "base_url": other}},
        "routes": [
            {"match": {"listener": "forward", "model": "mocked-*"}, "answer": "parrot"},
            {"match": {"listener": "forward", "model": "modelled-*"}, "answer": "other"},
            {"match": {"listener": "forward", "model": "quiet-*"}, "answer": "pair", "heartbeats": "off"},
            {"match": {"listener": "forward"}, "answer": "pair", "when": "joined"},
            {"match": {"listener": "reverse"}, "answer": "pair"},
        ],
    }


@dataclass
class Saving:
    """A proxy that saves what passes it, and the one app behind it."""

    proxy: Proxy
    client: httpx.AsyncClient
    session: str
    heard: dict[str, bytes]

    async def asks(self, model: str, *, stream: bool = False) -> None:
        """A call, to its end."""
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"to {model}"}]}
        reply = await self.client.post(URL, json=body)
        assert reply.status_code == 200, reply.text
        self.heard[model] = reply.content

    def start(self, model: str, *, stream: bool = False) -> asyncio.Task[None]:
        return asyncio.create_task(self.asks(model, stream=stream))

    @property
    def folder(self) -> Path:
        return self.proxy.folder

    def saved(self) -> dict[str, http.HTTPFlow]:
        """The flows of the file that are the app's, by model. The proxy must have ended."""
        with (self.folder / "flows").open("rb") as file:
            flows = [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
        return {json.loads(flow.request.content or b"")["model"]: flow for flow in flows if flow.request.url == URL}

    def in_har(self) -> dict[str, dict[str, Any]]:
        """The same of the HAR."""
        entries = json.loads((self.folder / "calls.har").read_text("utf-8"))["log"]["entries"]
        return {
            json.loads(entry["request"]["postData"]["text"])["model"]: entry
            for entry in entries
            if entry["request"]["url"] == URL
        }

    def check(self, states: dict[str, str], sources: dict[str, str]) -> None:
        """Every call of the app is saved, and is what it was."""
        flows, entries = self.saved(), self.in_har()
        assert flows.keys() == entries.keys() == self.heard.keys() == states.keys()
        for model, heard in self.heard.items():
            flow, entry = flows[model], entries[model]
            assert json.loads(flow.request.content or b"")["messages"][0]["content"] == f"to {model}"
            assert flow.request.headers["authorization"] == "Bearer sk-app"
            assert flow.response is not None and flow.response.content == heard, model
            content = entry["response"]["content"]
            text = content["text"].encode()
            assert (base64.b64decode(text) if content.get("encoding") == "base64" else text) == heard, model
            assert flow.metadata["motive.state"] == states[model], model
            assert flow.metadata["motive.source"] == sources[model], model
            assert flow.metadata["motive.session"] == model


OPTIONS: Final = ("--set", "save_stream_file=flows", "--set", "hardump=calls.har")


async def saving(proxy: Proxy, authority: Path, session: str) -> AsyncIterator[Saving]:
    async with http_client(Link(proxy, authority), headers={"authorization": "Bearer sk-app"}) as client:
        yield Saving(proxy, client, session, {})


@pytest.fixture
async def dump(start_proxy: StartProxy, proxy_authority: Path, service: Standin, session: str) -> AsyncIterator[Saving]:
    proxy = start_proxy(config=config(service), options=OPTIONS)
    async for made in saving(proxy, proxy_authority, session):
        yield made


async def person_in(proxy: Proxy, session: str) -> tuple[Talker, asyncio.Task[Any]]:
    person = Talker(Link(proxy), "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening(session)
    return person, shown


async def answered(saving: Saving, model: str, *, stream: bool, waits: bool) -> None:
    """A person answers a call; ``waits``: after it has shown signs of life."""
    person, shown = await person_in(saving.proxy, model)
    asked = saving.start(model, stream=stream)
    await shown
    if waits:
        await asyncio.sleep(0.8)  # longer than it takes to the first sign of life
    listening = person.start(f"answer for {model} 世界")
    await asked
    await finish(saving.proxy, model, listening)


async def test_every_way_to_answer_is_saved_as_it_was(dump: Saving) -> None:
    names = ("passed", "passed-stream", "whole", "quick", "late", "mocked-x", "mocked-s", "modelled-x", "modelled-s")
    models = {name: f"{name}-{dump.session}" for name in names}
    for name in ("passed", "passed-stream"):
        await dump.asks(models[name], stream=name.endswith("stream"))
    await answered(dump, models["whole"], stream=False, waits=False)
    await answered(dump, models["quick"], stream=True, waits=False)
    await answered(dump, models["late"], stream=True, waits=True)
    assert dump.heard[models["late"]].startswith(b":")  # a sign of life
    for name in ("mocked-x", "mocked-s", "modelled-x", "modelled-s"):
        await dump.asks(models[name], stream=name.endswith("s"))
    assert b"real modelled-x" in dump.heard[models["modelled-x"]]
    dump.proxy.terminate()
    state = {"passed": "passed", "passed-stream": "passed"}
    source = {"passed": "service", "passed-stream": "service", "mocked": "parrot", "modelled": "other"}
    dump.check(
        {model: state.get(name, "answered") for name, model in models.items()},
        {model: source.get(name, source.get(name.partition("-")[0], "pair")) for name, model in models.items()},
    )
    flows = dump.saved()
    assert flows[models["mocked-s"]].comment.startswith(f"answered by parrot for {models['mocked-s']}, ")
    assert flows[models["late"]].comment.startswith(f"answered for {models['late']}, ")


async def test_a_call_that_waits_at_the_end_is_saved_as_it_came(dump: Saving) -> None:
    """Promoted, and on its way to the origin or not: never the envelope."""
    model = f"late-{dump.session}"
    await person_in(dump.proxy, model)
    asked = dump.start(model, stream=True)
    await dump.proxy.until(model, held_calls)
    await asyncio.sleep(0.8)  # longer than it takes to the first sign of life
    dump.proxy.terminate()
    await asked
    flow = dump.saved()[model]
    assert flow.response is not None and flow.response.content == dump.heard[model]
    assert b"shutting down" in dump.heard[model]


@pytest.fixture
async def web(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin, session: str
) -> AsyncIterator[tuple[Desk, Saving]]:
    port = free_port()
    proxy = start_proxy(
        program="mitmweb",
        config=config(service),
        options=(
            *OPTIONS,
            *("--set", f"web_port={port}", "--set", "web_host=127.0.0.1"),
            *("--set", "web_open_browser=false", "--set", f"web_password={PASSWORD}"),
        ),
    )
    async with at_desk(proxy, port) as desk:
        async for made in saving(proxy, proxy_authority, session):
            yield desk, made


def waits(model: str, promoted: bool, flow: dict[str, Any]) -> bool:
    """Whether this is the flow of a call that is held: paused, or promoted by now and with its own request back."""
    is_held = flow["comment"].startswith(f"held for {model}") and flow["request"]["method"] == "POST"
    return bool(is_held) and flow["intercepted"] != promoted


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "promoted"])
async def test_what_was_edited_is_saved_as_it_was_sent(
    web: tuple[Desk, Saving], service: Standin, session: str, stream: bool
) -> None:
    desk, saving = web
    model = session if stream else f"quiet-{session}"
    await desk.types("motive.join", model)
    asked = saving.start(model, stream=stream)
    flow = await desk.until_flow(partial(waits, model, stream))
    body = json.loads(await desk.body(flow))
    body["messages"].append({"role": "user", "content": "and this"})
    await desk.edit(flow, content=json.dumps(body))
    await desk.types("motive.pass", model)
    await asked
    assert service.requests[-1].json() == body
    await desk.until_flow(lambda one: one["comment"].startswith(f"passed for {model}") or "passed by" in one["comment"])
    saving.proxy.terminate()
    saving.check({model: "passed"}, {model: "service"})
    assert json.loads(saving.saved()[model].request.content or b"") == body


async def test_what_the_operator_answers_is_saved_too(web: tuple[Desk, Saving], session: str) -> None:
    desk, saving = web
    for model, stream in ((f"quiet-{session}", False), (session, True)):
        await desk.types("motive.join", model)
        asked = saving.start(model, stream=stream)
        await desk.until_flow(partial(waits, model, stream))
        await desk.types("motive.reply", model, "by hand")
        await asked
    saving.proxy.terminate()
    models = (session, f"quiet-{session}")
    saving.check(dict.fromkeys(models, "answered"), dict.fromkeys(models, "operator"))
