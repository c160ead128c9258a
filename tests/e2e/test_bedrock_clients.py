"""AWS's SDK and Anthropic's for Bedrock, through a real proxy: passed on as they signed, taken over, retried, refused.

That they meet every other dialect is in ``test_matrix``.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anthropic
import pytest
from botocore.exceptions import ClientError

from motive_core.framing import event_frame
from tests.e2e.clients import Link
from tests.e2e.proxy import Proxy, held_calls
from tests.e2e.standin import Received, Standin, Writer, whole
from tests.e2e.voices import Voice
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.bedrock import BedrockConverseVoice, BedrockInvokeVoice, bedrock_client

HELLO: Any = [{"role": "user", "content": [{"text": "hi"}]}]
USAGE = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
HOST = "bedrock-runtime.us-east-1.amazonaws.com"

each_voice = pytest.mark.parametrize("kind", [BedrockConverseVoice, BedrockInvokeVoice])


def real_bedrock(request: Received, writer: Writer) -> None:
    """A model that says which path it was called by, in the way of that path."""
    path = request.target
    action = path.rpartition("/")[2]
    headers = [("Content-Type", "application/vnd.amazon.eventstream"), ("x-amzn-RequestId", "real")]
    if action == "converse":
        message = {"role": "assistant", "content": [{"text": path}]}
        body = {"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}}
        whole(writer, body)
    elif action == "converse-stream":
        writer.start(200, headers)
        writer.send(frame("messageStart", {"role": "assistant"}))
        for piece in (path[:4], path[4:]):
            writer.send(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}))
        writer.send(frame("contentBlockStop", {"contentBlockIndex": 0}))
        writer.send(frame("messageStop", {"stopReason": "end_turn"}))
        writer.send(frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}))
        writer.end()
    else:
        whole(writer, {"path": path})


def frame(name: str, told: Any) -> bytes:
    return event_frame(name, json.dumps({**told, "p": "abc"}).encode())


class Sent:
    """What a client of AWS's SDK sends, as it signed it."""

    def __init__(self, client: Any) -> None:
        self.requests: list[Any] = []
        client.meta.events.register("before-send.bedrock-runtime", self._keep)

    def _keep(self, request: Any, **_: Any) -> None:
        self.requests.append(request)


async def join(link: Link, session: str) -> tuple[Voice, asyncio.Task[Any]]:
    """A person sits down in a session at the meeting point."""
    person = AnthropicMessagesVoice(link, session, streamed=False, api_key="sk-person")
    person.add_user("/join")
    shown = asyncio.create_task(person.send())
    await link.proxy.until_listening(session)
    return person, shown


def say(person: Voice, words: str) -> asyncio.Task[Any]:
    person.add_user(words)
    return asyncio.create_task(person.send())


async def finish(link: Link, session: str, person: Voice, shown: asyncio.Task[Any]) -> None:
    await link.proxy.until_listening(session)
    await link.proxy.close_session(session)
    with pytest.raises(anthropic.InternalServerError, match="ended by the operator"):
        await shown
    await person.close()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_call_passes_as_it_was_signed_and_is_taken_over(
    at_meeting: Link, through_proxy: Link, service: Standin, session: str, *, streamed: bool
) -> None:
    service.handler = real_bedrock
    model = f"us.anthropic.{session}:0"
    app = BedrockConverseVoice(through_proxy, model, streamed=streamed)
    sent = Sent(app.client)
    app.add_user("hi — é")
    path = f"/model/us.anthropic.{session}%3A0/converse{'-stream' if streamed else ''}"
    assert (await app.send()).text == path
    (received,) = service.requests
    assert (received.host, received.method, received.target) == (HOST, "POST", path)
    assert received.body == sent.requests[0].body
    for name in ("Authorization", "X-Amz-Date", "amz-sdk-invocation-id", "User-Agent", "Content-Type"):
        value = sent.requests[0].headers[name]
        assert received.header(name) == (value.decode() if isinstance(value, bytes) else value)

    person, shown = await join(at_meeting, model)
    app.add_user("two")
    asked = asyncio.create_task(app.send())
    assert (await shown).text.endswith("two")
    shown = say(person, "I am no machine.\n\tReally.")
    heard = await asked
    assert (heard.text, heard.finish) == ("I am no machine.\n\tReally.", "end_turn")
    assert len(service.requests) == 1
    await finish(at_meeting, model, person, shown)
    app.add_user("three")
    assert (await app.send()).text == path
    await app.close()


APP = """
import sys, boto3
client = boto3.client("bedrock-runtime")
for line in sys.stdin:
    messages = [{"role": "user", "content": [{"text": line.strip()}]}]
    reply = client.converse(modelId=sys.argv[1], messages=messages)
    print(reply["output"]["message"]["content"][0]["text"], flush=True)
    events = client.converse_stream(modelId=sys.argv[1], messages=messages)["stream"]
    print("".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e), flush=True)
"""


async def test_an_app_that_has_only_environment_variables(
    at_meeting: Link, proxy: Proxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    service.handler = real_bedrock
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"HTTPS_PROXY": proxy.forward, "AWS_CA_BUNDLE": str(proxy_authority), "AWS_DEFAULT_REGION": "us-east-1"}
    env |= {"AWS_ACCESS_KEY_ID": "AKIDAPP", "AWS_SECRET_ACCESS_KEY": "secret"}
    app = started([sys.executable, "-c", APP, session], env)
    assert app.stdin is not None
    assert app.stdout is not None
    try:
        app.stdin.write(b"one\n")
        for action in ("converse", "converse-stream"):
            assert await asyncio.to_thread(app.stdout.readline) == f"/model/{session}/{action}\n".encode()
        person, shown = await join(at_meeting, session)
        app.stdin.write(b"two\n")
        for number in range(2):
            assert (await shown).text.endswith("two")
            shown = say(person, f"answer {number}")
            assert await asyncio.to_thread(app.stdout.readline) == f"answer {number}\n".encode()
        app.stdin.close()
        assert await asyncio.to_thread(app.wait) == 0
    finally:
        app.kill()
        app.wait()
        app.stdout.close()
    await finish(at_meeting, session, person, shown)


def started(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


async def test_bodies_of_other_vendors_are_for_the_real_service_to_judge(
    through_proxy: Link, at_meeting: Link, service: Standin, session: str
) -> None:
    """Titan's body at the path of InvokeModel: unknown here, so nobody takes it over; where there is no real service,
    it is refused."""
    service.handler = real_bedrock
    body = b'{ "inputText" :"hi"}'
    client = bedrock_client(through_proxy, "AKIDAPP")
    reply = await asyncio.to_thread(client.invoke_model, modelId=session, body=body)
    assert json.loads(reply["body"].read()) == {"path": f"/model/{session}/invoke"}
    assert service.requests[0].body == body
    client.close()

    client = bedrock_client(at_meeting, "AKIDAPP")
    for call in (client.invoke_model, client.invoke_model_with_response_stream):
        with pytest.raises(client.exceptions.ValidationException, match="only those of Anthropic's models"):
            await asyncio.to_thread(call, modelId=session, body=body)
    client.close()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_retry_goes_on_with_the_same_prompt(at_meeting: Link, session: str, *, streamed: bool) -> None:
    """The SDK gives up reading, and sends the same call again: it is shown once, and answered."""
    person, shown = await join(at_meeting, session)
    client = bedrock_client(at_meeting, "AKIDAPP", retries={"total_max_attempts": 9}, read_timeout=1)
    sent = Sent(client)
    call = client.converse_stream if streamed else client.converse
    asked = asyncio.create_task(asyncio.to_thread(call, modelId=session, messages=HELLO))
    assert (await shown).text == "hi"
    told = await at_meeting.proxy.until(session, lambda told: len(sent.requests) > 1 and held_calls(told))
    assert len(told["prompts"]) == 1
    shown = say(person, "There you are.")
    reply = await asked
    if streamed:
        deltas = [event["contentBlockDelta"]["delta"] for event in reply["stream"] if "contentBlockDelta" in event]
        assert "".join([delta["text"] for delta in deltas]) == "There you are."
    else:
        assert reply["output"]["message"]["content"] == [{"text": "There you are."}]
    assert len({request.headers["amz-sdk-invocation-id"] for request in sent.requests}) == 1
    told = await at_meeting.proxy.until_listening(session)
    assert not held_calls(told)
    client.close()
    await finish(at_meeting, session, person, shown)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_call_that_was_held_too_long_is_not_repeated(at_meeting: Link, session: str, *, streamed: bool) -> None:
    """In sessions called ``short`` a call is held for a moment: see ``rules``."""
    client = bedrock_client(at_meeting, "AKIDAPP", retries={"total_max_attempts": 3})
    call = client.converse_stream if streamed else client.converse
    with pytest.raises(client.exceptions.ModelTimeoutException) as caught:
        await asyncio.to_thread(call, modelId=f"short-{session}", messages=HELLO)
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 0
    client.close()


async def test_what_is_not_served_is_refused_in_the_words_of_aws(at_meeting: Link, session: str) -> None:
    client = bedrock_client(at_meeting, "AKIDAPP")
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1", "source": "INPUT", "content": []}
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="converse-stream"):
        await asyncio.to_thread(client.apply_guardrail, **guardrail)
    with pytest.raises(ClientError, match="ValidationException"):
        await asyncio.to_thread(client.converse, modelId=session, messages=[])
    client.close()


async def test_the_lists_of_the_control_plane(at_meeting: Link, session: str) -> None:
    person, shown = await join(at_meeting, session)
    client = bedrock_client(at_meeting, "AKIDAPP", "bedrock")
    profiles = await asyncio.to_thread(client.list_inference_profiles)
    assert session in [profile["inferenceProfileId"] for profile in profiles["inferenceProfileSummaries"]]
    model = await asyncio.to_thread(client.get_foundation_model, modelIdentifier=session)
    assert model["modelDetails"]["modelId"] == session
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        await asyncio.to_thread(client.get_foundation_model, modelIdentifier=f"{session}-x")
    client.close()
    await finish(at_meeting, session, person, shown)


@each_voice
async def test_a_name_with_a_role_and_signs_of_its_own(at_meeting: Link, session: str, kind: type[Voice]) -> None:
    """Spaces, slashes, letters that are not ASCII, and the role as a suffix: all of it in the path."""
    name = f"{session} zimmer/ü:0"
    app = kind(at_meeting, f"{name}@asker", streamed=True, api_key="AKIDAPP")
    person = kind(at_meeting, f"{name}@answerer", streamed=False, api_key="AKIDPERSON")
    shown = say(person, "/join")
    await at_meeting.proxy.until_listening(name)
    app.add_user("who?")
    asked = asyncio.create_task(app.send())
    assert (await shown).text == "who?"
    shown = say(person, "me")
    assert (await asked).text == "me"
    await at_meeting.proxy.until_listening(name)
    await at_meeting.proxy.close_session(name)
    with pytest.raises(Exception, match="ended by the operator"):
        await shown
    await app.close()
    await person.close()
