"""Forms of HTTP that SDKs rarely use, and proxies and scripts do: versions, pipelining, reuse, expectations."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from tests.e2e.clients import Link, Talker
from tests.e2e.proxy import Proxy
from tests.e2e.wire import RawClient, RawReply, chat, request, trusting


def content(reply: RawReply) -> str:
    assert reply.status == 200, reply.body
    return str(reply.json()["choices"][0]["message"]["content"])


async def answer(link: Link, session: str, *words: str) -> list[str]:
    """A person joins, and answers so many prompts. Gives them."""
    person = Talker(link, "openai", session, api_key="sk-human")
    seen = [(await person.say("/join")).text]
    for number, one in enumerate(words, 1):
        waiting = person.start(one)
        if number == len(words):
            await link.proxy.until_listening(session)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        else:
            seen.append((await waiting).text)
    return seen


async def ask(client: RawClient, sent: bytes, *, head_only: bool = False) -> RawReply:
    return await asyncio.to_thread(client.ask, sent, head_only=head_only)


@pytest.mark.parametrize("streamed", [False, True])
async def test_http_1_0(at_meeting: Link, session: str, *, streamed: bool) -> None:
    """It knows no chunks: the reply ends with the connection, or says how long it is."""
    with RawClient(at_meeting.proxy.meeting_address) as client:
        sent = request(body=chat(session, stream=streamed), version="HTTP/1.0")
        asked = asyncio.create_task(ask(client, sent))
        assert await answer(at_meeting, session, "old friend") == ["hi"]
        reply = await asked
        assert reply.header("transfer-encoding") is None
        if streamed:
            assert b'old friend"' in reply.body
            assert reply.body.endswith(b"data: [DONE]\n\n")
        else:
            assert content(reply) == "old friend"


async def test_expect_100_continue(at_meeting: Link, session: str) -> None:
    body = chat(session, "patient")
    with RawClient(at_meeting.proxy.meeting_address) as client:
        head = request("POST", "/v1/chat/completions", "Expect: 100-continue", f"Content-Length: {len(body)}")
        client.send(head)
        go_on = await asyncio.to_thread(client.until, b"\r\n\r\n")
        assert go_on.startswith(b"HTTP/1.1 100 ")
        asked = asyncio.create_task(ask(client, body))
        assert await answer(at_meeting, session, "thanks") == ["patient"]
        assert content(await asked) == "thanks"


async def test_one_connection_for_many_calls(at_meeting: Link, session: str) -> None:
    with RawClient(at_meeting.proxy.meeting_address) as client:

        async def game() -> None:
            for turn in range(5):
                assert content(await ask(client, request(body=chat(session, f"turn {turn}")))) == f"answer {turn}"
                assert (await ask(client, request("GET", "/health"))).status == 200
                assert (await ask(client, request("HEAD", "/health"), head_only=True)).status == 200
                assert (await ask(client, request(body=b"{"))).status == 400

        playing = asyncio.create_task(game())
        prompts = await answer(at_meeting, session, *(f"answer {turn}" for turn in range(5)))
        assert prompts == [f"turn {turn}" for turn in range(5)]
        await playing


async def test_pipelined_calls_are_answered_in_their_order(at_meeting: Link, session: str) -> None:
    with RawClient(at_meeting.proxy.meeting_address) as client:
        calls = [request(body=chat(session, f"turn {turn}")) for turn in range(3)]
        client.send(b"".join([*calls, request("GET", "/health")]))
        prompts = await answer(at_meeting, session, "one", "two", "three")
        assert prompts == ["turn 0", "turn 1", "turn 2"]
        replies = [await asyncio.to_thread(client.reply) for _ in range(4)]
    assert [content(reply) for reply in replies[:3]] == ["one", "two", "three"]
    assert replies[3].json()["status"] == "ok"


async def test_body_in_pieces(at_meeting: Link, session: str) -> None:
    """Nothing happens before a call is here whole."""
    body = chat(session, "slow")
    with RawClient(at_meeting.proxy.meeting_address) as client:
        sent = request(body=body)
        client.send(sent[:40])
        client.send(sent[40:-5])
        assert session not in await at_meeting.proxy.sessions()
        asked = asyncio.create_task(ask(client, sent[-5:]))
        assert await answer(at_meeting, session, "but steady") == ["slow"]
        assert content(await asked) == "but steady"


async def test_host_is_the_one_that_the_client_names(at_meeting: Link, session: str) -> None:
    """In sessions called ``hosted``: see ``rules``."""
    with RawClient(at_meeting.proxy.meeting_address) as client:
        sent = request(body=chat(f"hosted-{session}"), host="castle.example:8000")
        asked = asyncio.create_task(ask(client, sent))
        await at_meeting.proxy.until_held(f"hosted-{session} at castle.example")
        await at_meeting.proxy.close_session(f"hosted-{session} at castle.example")
        assert (await asked).status == 503


def test_head_of_a_call_path(proxy: Proxy) -> None:
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(request("HEAD", "/v1/chat/completions"), head_only=True).status == 405
        assert client.ask(request("GET", "/health")).status == 200


class Http2Client:
    """One HTTP/2 connection, over TLS through the proxy or in plain text with prior knowledge."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http2.initiate_connection()
        self.replies: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def ask(self, host: str, body: bytes) -> int:
        """Send a call; gives its stream."""
        stream = self._http2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":path", "/v1/chat/completions"), (":authority", host), (":scheme", "https")]
        self._http2.send_headers(stream, [*fields, ("content-type", "application/json")])
        self._http2.send_data(stream, body, end_stream=True)
        self._connection.sendall(self._http2.data_to_send())
        self.replies[stream] = b""
        return stream

    def reset(self, stream: int) -> None:
        """Give a call up, and keep the connection."""
        self._http2.reset_stream(stream)
        self._connection.sendall(self._http2.data_to_send())

    def say_good_bye(self) -> None:
        """GOAWAY without an error: no new calls, but those that are under way go on."""
        self._connection.sendall(b"\x00\x00\x08\x07" + bytes(5 + 8))  # the library would hear nothing after it

    def wait_for(self, stream: int) -> bytes:
        """Read until a reply is whole."""
        while stream not in self.ended:
            for event in self._http2.receive_data(self._connection.recv(65536)):
                match event:
                    case h2.events.DataReceived(stream_id=int(number), data=bytes(data)):
                        self.replies[number] += data
                    case h2.events.StreamEnded(stream_id=int(number)):
                        self.ended.add(number)
                    case h2.events.ConnectionTerminated():
                        raise EOFError("the connection ended")
                    case _:
                        pass
            self._connection.sendall(self._http2.data_to_send())
        return self.replies[stream]


def http2_tls(authority: Path) -> ssl.SSLContext:
    context = trusting(authority)
    context.set_alpn_protocols(["h2"])
    return context


async def test_stream_that_was_reset_is_not_shown(
    at_meeting: Link, proxy: Proxy, proxy_authority: Path, session: str
) -> None:
    """A call given up over HTTP/2, while its connection lives: its prompt costs nobody an answer to another one."""
    person = Talker(at_meeting, "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening(session)
    tls = http2_tls(proxy_authority)
    with RawClient(proxy.forward_address, through=("api.openai.com", 443), tls=tls) as raw:
        client = Http2Client(raw.socket)
        first = client.ask("api.openai.com", chat(session, "given up"))
        assert (await shown).text == "given up"
        second = client.ask("api.openai.com", chat(session, "wanted"))
        await proxy.until_prompts(session, 2)
        client.reset(first)
        shown = person.start("for the first")
        assert (await shown).text == "wanted"
        shown = person.start("for the second")
        reply = await asyncio.to_thread(client.wait_for, second)
    assert json.loads(reply)["choices"][0]["message"]["content"] == "for the second"
    await proxy.until_listening(session)
    await proxy.close_session(session)
    await asyncio.gather(shown, return_exceptions=True)


async def test_connection_that_ends_ends_all_its_calls(
    proxy: Proxy, proxy_authority: Path, session: str, at_meeting: Link
) -> None:
    person = Talker(at_meeting, "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening(session)
    tls = http2_tls(proxy_authority)
    with RawClient(proxy.forward_address, through=("api.openai.com", 443), tls=tls) as raw:
        client = Http2Client(raw.socket)
        for number in range(5):
            client.ask("api.openai.com", chat(session, f"question {number}"))
        assert (await shown).text.startswith("question ")
        await proxy.until_prompts(session, 5)
    told = await proxy.until_prompts(session, 0)
    assert {prompt["state"] for prompt in told["prompts"]} == {"open"}
    await proxy.close_session(session)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_good_bye_ends_no_call(at_meeting: Link, proxy: Proxy, session: str, *, stream: bool) -> None:
    """The AWS SDK for JavaScript says it as soon as it has the head of a streamed reply."""
    session = f"paced-{session}"
    with RawClient(proxy.meeting_address) as raw:
        client = Http2Client(raw.socket)
        call = client.ask("127.0.0.1", chat(session, "still there?", stream=stream))
        await proxy.until_held(session)
        client.say_good_bye()
        assert await answer(at_meeting, session, "for as long as it takes") == ["still there?"]
        reply = await asyncio.to_thread(client.wait_for, call)
    assert b"takes" in reply and (b"[DONE]" in reply) == stream
    await proxy.close_session(session)


def started(command: list[str | bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("version", ["--http2", "--http1.1", "--http1.0"])
async def test_curl_in_every_version(at_meeting: Link, session: str, version: str) -> None:
    command = ("curl", "-sS", "--noproxy", "*", version, f"{at_meeting.proxy.meeting}/v1/chat/completions")
    with started([*command, "-d", chat(session, "from curl")]) as process:
        try:
            assert await answer(at_meeting, session, "to curl") == ["from curl"]
            out, _ = await asyncio.to_thread(process.communicate)
        finally:
            process.kill()
    assert json.loads(out)["choices"][0]["message"]["content"] == "to curl"


async def test_http_2_without_tls(at_meeting: Link, session: str) -> None:
    """From the first byte on, as the AWS SDK for JavaScript speaks to an endpoint without TLS."""
    async with httpx.AsyncClient(base_url=at_meeting.proxy.meeting, http1=False, http2=True, trust_env=False) as client:
        listed = await client.get("/v1/models")
        assert (listed.http_version, listed.status_code) == ("HTTP/2", 200)
        body = {"model": session, "messages": [{"role": "user", "content": "Who goes there?"}]}
        asked = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await at_meeting.proxy.until_held(session)
        assert (await answer(at_meeting, session, "A friend.")) == ["Who goes there?"]
        reply = await asked
        assert (reply.http_version, reply.status_code) == ("HTTP/2", 200)
        assert reply.json()["choices"][0]["message"]["content"] == "A friend."
