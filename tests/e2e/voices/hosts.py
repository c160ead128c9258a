"""Hosts that are compatible with OpenAI, by the SDKs of their own: Azure OpenAI, Mistral, Groq."""

from __future__ import annotations

import json
from typing import Any

import groq
import httpx
import openai
from mistralai.client import Mistral

from tests.e2e.voices.base import Call, Heard, Picture
from tests.e2e.voices.openai_chat import OpenAIChatVoice


class AzureOpenAIVoice(OpenAIChatVoice):
    """The model is a deployment, and stands in the path."""

    title = "Azure OpenAI"
    endpoint = "POST /openai/deployments/{deployment}/chat/completions"

    def make_client(self) -> Any:
        endpoint = self.link.proxy.meeting if self.link.authority is None else "https://myres.openai.azure.com"
        return openai.AsyncAzureOpenAI(
            azure_endpoint=endpoint,
            api_version="2024-10-21",
            api_key=self.api_key,
            max_retries=0,
            timeout=self.patience_s,
            http_client=openai.DefaultAsyncHttpxClient(**self.link.http_options()),
            _strict_response_validation=True,
        )


class GroqVoice(OpenAIChatVoice):
    """Its reasoning has a name of its own; usage comes in the last chunk, under ``x_groq``."""

    title = "Groq"
    sdk = "groq"
    endpoint = "POST /openai/v1/chat/completions"
    reasoning_field = "reasoning"

    def make_client(self) -> Any:
        return groq.AsyncGroq(
            base_url=self.link.proxy.meeting if self.link.authority is None else "https://api.groq.com",
            api_key=self.api_key,
            max_retries=0,
            timeout=self.patience_s,
            http_client=httpx.AsyncClient(**self.link.http_options()),
            _strict_response_validation=True,
        )

    async def models(self) -> list[str]:
        return [model.id for model in (await self.client.models.list()).data]

    async def _streamed(self) -> Heard:
        heard = Heard()
        said: dict[int, tuple[str, str, list[str]]] = {}
        chunks = await self.client.chat.completions.create(
            model=self.model, messages=list(self.history), stream=True, **self.settings
        )
        async for chunk in chunks:
            heard.model = chunk.model
            if chunk.x_groq is not None and chunk.x_groq.usage is not None:
                usage = chunk.x_groq.usage
                heard.input_tokens, heard.output_tokens = usage.prompt_tokens, usage.completion_tokens
            for choice in chunk.choices:
                heard.text += choice.delta.content or ""
                heard.reasoning += choice.delta.reasoning or ""
                heard.finish = choice.finish_reason or heard.finish
                for one in choice.delta.tool_calls or ():
                    if one.id:
                        said[one.index] = (one.id, one.function.name, [])
                    if one.function.arguments:
                        said[one.index][2].append(one.function.arguments)
        for call_id, name, pieces in said.values():
            text = "".join(pieces)
            heard.calls.append(Call(call_id, name, text, json.loads(text), len(pieces)))
        return heard


class MistralVoice(OpenAIChatVoice):
    """Reasoning is a chunk of the content; a stream tells each tool call at once, and its usage in the last chunk."""

    title = "Mistral"
    sdk = "mistralai"

    def make_client(self) -> Any:
        # Mistral's SDK is built on the same HTTP client as OpenAI's; without the second one it would make its own.
        self._http = openai.DefaultAsyncHttpxClient(**self.link.http_options())
        self._sync_http = openai.DefaultHttpxClient(**self.link.http_options())
        return Mistral(
            api_key=self.api_key,
            server_url=self.link.proxy.meeting if self.link.authority is None else "https://api.mistral.ai",
            timeout_ms=int(self.patience_s * 1000),
            client=self._sync_http,
            async_client=self._http,
        )

    def add_user(self, *parts: str | Picture) -> None:
        self.history.append({"role": "user", "content": [_chunk(part) for part in parts]})

    async def models(self) -> list[str]:
        return [model.id for model in (await self.client.models.list_async()).data]

    async def send(self) -> Heard:
        heard = await (self._streamed() if self.streamed else self._whole())
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": heard.reasoning}]}
        content = [thinking] if heard.reasoning else []
        message: dict[str, Any] = {"role": "assistant", "content": [*content, {"type": "text", "text": heard.text}]}
        if heard.calls:
            message["tool_calls"] = [
                {"id": one.call_id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
                for one in heard.calls
            ]
        self.history.append(message)
        return heard

    async def _whole(self) -> Heard:
        reply = await self.client.chat.complete_async(model=self.model, messages=list(self.history), **self.settings)
        (choice,) = reply.choices
        heard = Heard("", "", [], choice.finish_reason, reply.model)
        heard.input_tokens, heard.output_tokens = reply.usage.prompt_tokens, reply.usage.completion_tokens
        _hear(heard, choice.message)
        return heard

    async def _streamed(self) -> Heard:
        heard = Heard()
        events = await self.client.chat.stream_async(model=self.model, messages=list(self.history), **self.settings)
        async for event in events:
            chunk = event.data
            heard.model = chunk.model
            if chunk.usage is not None:
                heard.input_tokens, heard.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            for choice in chunk.choices:
                _hear(heard, choice.delta)
                heard.finish = choice.finish_reason or heard.finish
        return heard

    async def close(self) -> None:
        await self._http.aclose()
        self._sync_http.close()


def _hear(heard: Heard, message: Any) -> None:
    """Take what a message or a delta says."""
    for chunk in [message.content] if isinstance(message.content, str) else message.content or ():
        if isinstance(chunk, str):
            heard.text += chunk
        elif chunk.type == "thinking":
            heard.reasoning += "".join([one.text for one in chunk.thinking])
        else:
            heard.text += chunk.text
    for call in message.tool_calls or ():
        arguments = call.function.arguments
        heard.calls.append(Call(call.id, call.function.name, arguments, json.loads(arguments), 1))


def _chunk(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": f"data:image/png;base64,{part.data}"}
