"""The ten wire dialects, as the soak's clients speak them.

Owns how a call is written and how strictly its reply is read: as the vendors' SDKs do it, or more so. Nothing of the
product is used for either, so that both can prove it wrong. Knows no connection and no session.
"""

from __future__ import annotations

import abc
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

from botocore.eventstream import EventStreamBuffer

type Marks = Literal["stainless", "aws", "none"]
"""How a retry is marked: by a count of retries, by a number of attempts, or not at all."""


class WireError(Exception):
    """A reply is not what the dialect says that it is."""


class SpokenError(Exception):
    """A reply with status 200 that ends as an error, in the dialect's form: its head was out before. The message is
    the error's."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange of a client's history: what it said, and the reply."""

    said: str
    heard: str


def must(condition: object, what: str, told: object = "") -> None:
    """Raises ``WireError`` unless the condition holds."""
    if not condition:
        raise WireError(f"{what}: {str(told)[:400]}")


def loaded(data: str | bytes) -> Any:
    """A JSON value. Raises ``WireError``."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise WireError(f"not JSON ({error}): {data[:400]!r}") from None


class Wire(abc.ABC):
    """One dialect. ``marks`` is how its SDK marks retries, ``quotes`` whether its calls carry a history."""

    name: ClassVar[str]
    marks: ClassVar[Marks] = "none"
    quotes: ClassVar[bool] = True
    agent: ClassVar[str]
    whole_type: ClassVar[str] = "application/json"
    stream_type: ClassVar[str] = "text/event-stream"

    def headers(self, key: str, agent: str, attempt: int) -> dict[str, str]:
        """Header fields of a call. ``attempt`` counts from 0."""
        headers = {"user-agent": agent, "content-type": "application/json", **self.credential(key)}
        if self.marks == "stainless":
            headers["x-stainless-retry-count"] = str(attempt)
        elif self.marks == "aws":
            headers["amz-sdk-request"] = f"attempt={attempt + 1}; max=9"
        return headers

    def credential(self, key: str) -> dict[str, str]:
        """The header field with the key."""
        return {"authorization": f"Bearer {key}"}

    @abc.abstractmethod
    def target(self, model: str, *, streamed: bool) -> str:
        """Path and query of a call."""

    @abc.abstractmethod
    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        """The body of a call that says ``words`` after these turns."""

    def read(self, headers: Mapping[str, str], body: bytes, *, streamed: bool) -> str:
        """What a successful reply says. Raises ``WireError``, ``SpokenError``."""
        kind = headers.get("content-type", "").partition(";")[0].strip()
        must(kind == (self.stream_type if streamed else self.whole_type), "content type", kind)
        try:
            if streamed:
                return self.read_stream(body)
            told = loaded(body)
            self.check(told)
            return self.read_whole(told)
        except (KeyError, IndexError, TypeError) as error:
            raise WireError(f"{type(error).__name__} {error} in {body[:2000]!r}") from None

    def check(self, told: Any) -> None:
        """Raises ``SpokenError`` if this is no reply or event, but an error in its place."""
        if told.get("error") or isinstance(told.get("message"), str):
            raise SpokenError(str(self.error(told)))

    @abc.abstractmethod
    def read_whole(self, told: Any) -> str:
        """What a reply in one piece says. May raise ``KeyError`` and the like where something is missing."""

    @abc.abstractmethod
    def read_stream(self, body: bytes) -> str:
        """What a streamed reply says. May raise ``KeyError`` and the like where something is missing."""

    def until_done(self, body: bytes) -> list[Any]:
        """The chunks of a stream that ends by ``[DONE]``, as OpenAI's do."""
        chunks: list[Any] = []
        for _, data in events(body):
            must(not chunks or chunks[-1] is not None, "more after the end", data)
            chunk = None if data == "[DONE]" else loaded(data)
            if chunk is not None:
                self.check(chunk)
            chunks.append(chunk)
        must(chunks and chunks.pop() is None, "the end", body[-200:])
        return chunks

    def message(self, body: bytes) -> str:
        """What an error says. Raises ``WireError``."""
        told = loaded(body)
        try:
            return str(self.error(told))
        except (KeyError, TypeError) as error:
            raise WireError(f"{type(error).__name__} {error} in {body[:2000]!r}") from None

    def error(self, told: Any) -> Any:
        """The message in an error's envelope."""
        return told["error"]["message"]


def events(body: bytes) -> Iterator[tuple[str, str]]:
    """The events of an SSE stream that ends where it should: name and data. Comments and blank lines are skipped."""
    text = body.decode("utf-8").replace("\r\n", "\n")
    must(text.endswith("\n\n"), "the stream ends in the middle of an event", text[-200:])
    for block in text.split("\n\n"):
        name, data = "", []
        for line in block.split("\n"):
            if not line or line.startswith(":"):
                continue
            field, colon, value = line.partition(": ")
            must(colon and field in ("event", "data"), "a field that SDKs don't take", line)
            if field == "event":
                name = value
            else:
                data.append(value)
        if data:
            yield name, "\n".join(data)


def messages(turns: Sequence[Turn], words: str) -> list[dict[str, Any]]:
    """A conversation as most dialects write it."""
    said = [
        pair
        for turn in turns
        for pair in ({"role": "user", "content": turn.said}, {"role": "assistant", "content": turn.heard})
    ]
    return [*said, {"role": "user", "content": words}]


class OpenAIChat(Wire):
    """Chat Completions."""

    name = "openai-chat"
    marks = "stainless"
    agent = "AsyncOpenAI/Python 3.52.0"

    def target(self, model: str, *, streamed: bool) -> str:
        return "/v1/chat/completions"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        usage = {"stream_options": {"include_usage": True}} if streamed else {}
        return {"model": model, "messages": messages(turns, words), "stream": streamed, **usage}

    def read_whole(self, told: Any) -> str:
        must(told["object"] == "chat.completion" and told["id"] and told["model"] and told["usage"], "a member", told)
        (choice,) = told["choices"]
        must(choice["finish_reason"] == "stop" and choice["message"]["role"] == "assistant", "choice", choice)
        return str(choice["message"]["content"])

    def read_stream(self, body: bytes) -> str:
        chunks = self.until_done(body)
        text, usages = "", 0
        finishes: list[str] = []
        for chunk in chunks:
            must(chunk["object"] == "chat.completion.chunk" and chunk["id"], "a member", chunk)
            usages += chunk.get("usage") is not None
            for choice in chunk["choices"]:
                must(not finishes, "more after the end", chunk)
                text += choice["delta"].get("content") or ""
                if choice["finish_reason"]:
                    finishes.append(choice["finish_reason"])
        must(finishes == ["stop"] and usages == 1, "finish and usage", (finishes, usages))
        return text


class OpenAIResponses(Wire):
    """Responses."""

    name = "openai-responses"
    marks = "stainless"
    agent = "OpenAI/Python 3.52.0"

    def target(self, model: str, *, streamed: bool) -> str:
        return "/v1/responses"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        return {"model": model, "input": messages(turns, words), "stream": streamed, "store": False}

    def read_whole(self, told: Any) -> str:
        must(told["object"] == "response" and told["status"] == "completed" and told["usage"], "a member", told)
        (item,) = told["output"]
        must(item["type"] == "message" and item["role"] == "assistant", "item", item)
        return "".join(part["text"] for part in item["content"] if part["type"] == "output_text")

    def read_stream(self, body: bytes) -> str:
        text, whole, done = "", None, False
        for number, (name, data) in enumerate(events(body)):
            told = loaded(data)
            must(told["type"] == name and told["sequence_number"] == number and not done, "event", told)
            if name == "response.output_text.delta":
                text += told["delta"]
            elif name == "response.output_text.done":
                whole = told["text"]
            elif name == "response.completed":
                must(self.read_whole(told["response"]) == text, "the whole is not its deltas", told)
                done = True
            elif name == "error":
                raise SpokenError(told["message"])
            elif name == "response.failed":
                raise SpokenError(told["response"]["error"]["message"])
            else:
                must(name != "response.incomplete", "the end", told)
        must(done and whole == text, "the end", (done, whole))
        return text


class OpenAICompletions(Wire):
    """Completions, the old ones: no history."""

    name = "openai-completions"
    marks = "stainless"
    quotes = False
    agent = "OpenAI/Python 3.52.0"

    def target(self, model: str, *, streamed: bool) -> str:
        return "/v1/completions"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        return {"model": model, "prompt": words, "max_tokens": 512, "stream": streamed}

    def read_whole(self, told: Any) -> str:
        must(told["object"] == "text_completion" and told["id"], "a member", told)
        (choice,) = told["choices"]
        must(choice["finish_reason"] == "stop", "choice", choice)
        return str(choice["text"])

    def read_stream(self, body: bytes) -> str:
        chunks = self.until_done(body)
        text = ""
        finishes: list[str] = []
        for chunk in chunks:
            must(chunk["object"] == "text_completion", "a member", chunk)
            for choice in chunk["choices"]:
                text += choice["text"]
                if choice["finish_reason"]:
                    finishes.append(choice["finish_reason"])
        must(finishes == ["stop"], "finish", finishes)
        return text


class AnthropicMessages(Wire):
    """Messages."""

    name = "anthropic-messages"
    marks = "stainless"
    agent = "AsyncAnthropic/Python 2.11.0"

    def credential(self, key: str) -> dict[str, str]:
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}

    def target(self, model: str, *, streamed: bool) -> str:
        return "/v1/messages"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        return {"model": model, "max_tokens": 512, "messages": messages(turns, words), "stream": streamed}

    def read_whole(self, told: Any) -> str:
        must(told["type"] == "message" and told["role"] == "assistant" and told["id"] and told["usage"], "member", told)
        must(told["stop_reason"] == "end_turn", "stop reason", told)
        return "".join(block["text"] for block in told["content"] if block["type"] == "text")

    def read_stream(self, body: bytes) -> str:
        return self.read_events(events(body))

    def read_events(self, told_events: Iterator[tuple[str, str]]) -> str:
        """The text of its events, which must come in their order."""
        text, state, stop = "", "begin", None
        for name, data in told_events:
            told = loaded(data)
            must(told["type"] == name, "an event that is not what it says", told)
            self.check(told)
            if name == "ping":
                continue
            if name == "message_start":
                must(state == "begin" and told["message"]["id"], "order", told)
                state = "message"
            elif name == "content_block_start":
                must(state == "message", "order", told)
                state, text = "block", text + told["content_block"]["text"]
            elif name == "content_block_delta":
                must(state == "block" and told["delta"]["type"] == "text_delta", "order", told)
                text += told["delta"]["text"]
            elif name == "content_block_stop":
                must(state == "block", "order", told)
                state = "message"
            elif name == "message_delta":
                must(state == "message", "order", told)
                state, stop = "stopping", told["delta"]["stop_reason"]
            else:
                must(name == "message_stop" and state == "stopping", "order", told)
                state = "end"
        must(state == "end" and stop == "end_turn", "the end", (state, stop))
        return text

    def error(self, told: Any) -> Any:
        must(told["type"] == "error" and told["error"]["type"], "envelope", told)
        return told["error"]["message"]


class Gemini(Wire):
    """GenerateContent."""

    name = "gemini"
    agent = "google-genai-sdk/3.4.0 gl-python/3.13"

    def credential(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key}

    def target(self, model: str, *, streamed: bool) -> str:
        method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        return f"/v1beta/models/{quote(model)}:{method}"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        roles = {"user": "user", "assistant": "model"}
        contents = [{"role": roles[one["role"]], "parts": [{"text": one["content"]}]} for one in messages(turns, words)]
        return {"contents": contents, "generationConfig": {"maxOutputTokens": 512}}

    def read_whole(self, told: Any) -> str:
        (candidate,) = told["candidates"]
        must(candidate["finishReason"] == "STOP" and told["usageMetadata"], "candidate", told)
        return self._text(candidate)

    @staticmethod
    def _text(candidate: Any) -> str:
        must(candidate["content"]["role"] == "model", "role", candidate)
        return "".join(part["text"] for part in candidate["content"].get("parts", ()))

    def read_stream(self, body: bytes) -> str:
        text = ""
        finishes: list[str] = []
        for _, data in events(body):
            told = loaded(data)
            self.check(told)
            (candidate,) = told["candidates"]
            text += self._text(candidate)
            if "finishReason" in candidate:
                finishes.append(candidate["finishReason"])
        must(finishes == ["STOP"], "finish", finishes)
        return text


class OllamaChat(Wire):
    """``/api/chat``."""

    name = "ollama-chat"
    agent = "ollama-python/0.6.0 (x86_64 linux) Python/3.13.0"
    stream_type = "application/x-ndjson"

    def target(self, model: str, *, streamed: bool) -> str:
        return "/api/chat"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        return {"model": model, "messages": messages(turns, words), "stream": streamed}

    def _said(self, told: Any) -> str:
        must(told["message"]["role"] == "assistant", "role", told)
        return str(told["message"]["content"])

    def read_whole(self, told: Any) -> str:
        must(told["done"] is True and told["done_reason"] == "stop" and told["created_at"], "a member", told)
        return self._said(told)

    def read_stream(self, body: bytes) -> str:
        must(body.endswith(b"\n"), "the end", body[-100:])
        *lines, last = [loaded(line) for line in body[:-1].split(b"\n")]
        for line in (*lines, last):
            self.check(line)
            must(line["done"] is (line is last), "line", line)
        must(last["done"] is True and last["done_reason"] == "stop", "the end", last)
        return "".join(self._said(line) for line in (*lines, last))

    def error(self, told: Any) -> Any:
        return told["error"]


class OllamaGenerate(OllamaChat):
    """``/api/generate``: no history."""

    name = "ollama-generate"
    quotes = False

    def target(self, model: str, *, streamed: bool) -> str:
        return "/api/generate"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        return {"model": model, "prompt": words, "stream": streamed}

    def _said(self, told: Any) -> str:
        return str(told["response"])


class CohereChat(Wire):
    """Chat, version 2."""

    name = "cohere-chat"
    agent = "cohere/7.3.1"

    def credential(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}", "x-client-name": "soak"}

    def target(self, model: str, *, streamed: bool) -> str:
        return "/v2/chat"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        return {"model": model, "messages": messages(turns, words), "stream": streamed}

    def read_whole(self, told: Any) -> str:
        must(told["finish_reason"] == "COMPLETE" and told["id"] and told["usage"], "a member", told)
        must(told["message"]["role"] == "assistant", "role", told)
        return "".join(part["text"] for part in told["message"]["content"] if part["type"] == "text")

    def read_stream(self, body: bytes) -> str:
        text = ""
        names: list[str] = []
        for name, data in events(body):
            if data == "[DONE]":
                must(names[-1] == "message-end", "the end", names)
                continue
            told = loaded(data)
            must(told["type"] == name, "an event that is not what it says", told)
            names.append(name)
            if name == "content-delta":
                text += told["delta"]["message"]["content"]["text"]
            elif name == "message-end":
                if told["delta"].get("error"):
                    raise SpokenError(told["delta"]["error"])
                must(told["delta"]["finish_reason"] == "COMPLETE", "finish", told)
        must(names[0] == "message-start" and names[-1] == "message-end", "order", names)
        return text

    def error(self, told: Any) -> Any:
        return told["message"]


_SIGNED: Final = (
    "AWS4-HMAC-SHA256 Credential={}/20261121/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=5eed"
)


class _Bedrock(Wire):
    stream_type = "application/vnd.amazon.eventstream"

    def credential(self, key: str) -> dict[str, str]:
        return {"authorization": _SIGNED.format(key)}

    @staticmethod
    def frames(body: bytes) -> Iterator[tuple[str, Any]]:
        """The events of a stream, their checksums verified."""
        buffer = EventStreamBuffer()
        buffer.add_data(body)
        total = 0
        for event in buffer:
            total += event.prelude.total_length
            if event.headers[":message-type"] != "event":
                raise SpokenError(loaded(event.payload)["message"])
            if event.headers[":event-type"] == "ping":
                continue  # the SDKs pass over events that they don't know
            yield event.headers[":event-type"], loaded(event.payload)
        must(total == len(body), "the stream ends in the middle of a frame", (total, len(body)))

    def error(self, told: Any) -> Any:
        return told["message"]


class BedrockConverse(_Bedrock):
    """Converse."""

    name = "bedrock-converse"
    marks = "aws"
    agent = "Boto3/1.44.5 md/Botocore#1.44.5"

    def target(self, model: str, *, streamed: bool) -> str:
        return f"/model/{quote(model, safe='')}/converse{'-stream' if streamed else ''}"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        said = [{"role": one["role"], "content": [{"text": one["content"]}]} for one in messages(turns, words)]
        return {"messages": said, "inferenceConfig": {"maxTokens": 512}}

    def read_whole(self, told: Any) -> str:
        must(told["stopReason"] == "end_turn" and told["usage"] and told["metrics"], "a member", told)
        must(told["output"]["message"]["role"] == "assistant", "role", told)
        return "".join(block["text"] for block in told["output"]["message"]["content"])

    def read_stream(self, body: bytes) -> str:
        text = ""
        names: list[str] = []
        for name, told in self.frames(body):
            names.append(name)
            if name == "contentBlockDelta":
                text += told["delta"]["text"]
            elif name == "messageStop":
                must(told["stopReason"] == "end_turn", "finish", told)
        must(names[0] == "messageStart" and names[-2:] == ["messageStop", "metadata"], "order", names)
        return text


class BedrockInvoke(_Bedrock):
    """InvokeModel with Anthropic's bodies, by Anthropic's SDK."""

    name = "bedrock-invoke"
    marks = "stainless"
    agent = "AsyncAnthropicBedrock/Python 2.11.0"

    def target(self, model: str, *, streamed: bool) -> str:
        return f"/model/{quote(model)}/invoke{'-with-response-stream' if streamed else ''}"

    def body(self, model: str, turns: Sequence[Turn], words: str, *, streamed: bool) -> dict[str, Any]:
        version = {"anthropic_version": "bedrock-2023-05-31"}
        return {"max_tokens": 512, "messages": messages(turns, words), **version}

    def read_whole(self, told: Any) -> str:
        return AnthropicMessages().read_whole(told)

    def read_stream(self, body: bytes) -> str:
        def told() -> Iterator[tuple[str, str]]:
            for name, frame in self.frames(body):
                must(name == "chunk", "event type", name)
                data = base64.b64decode(frame["bytes"], validate=True).decode()
                yield loaded(data)["type"], data

        return AnthropicMessages().read_events(told())


WIRES: Final[tuple[Wire, ...]] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAICompletions(),
    AnthropicMessages(),
    Gemini(),
    OllamaChat(),
    OllamaGenerate(),
    CohereChat(),
    BedrockConverse(),
    BedrockInvoke(),
)
