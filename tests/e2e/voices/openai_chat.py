"""OpenAI Chat Completions, by the ``openai`` SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice


class OpenAIChatVoice(Voice):
    """``reasoning_content`` is how compatible hosts tell reasoning; the SDK passes it on."""

    dialect = "openai-chat"
    title = "OpenAI Chat Completions"
    sdk = "openai"
    endpoint = "POST /v1/chat/completions"
    can = Can()
    finishes = ("stop", "tool_calls")
    reasoning_field = "reasoning_content"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.client = self.make_client()

    def make_client(self) -> Any:
        """The SDK's client; those of compatible hosts have others."""
        return openai.AsyncOpenAI(
            base_url=self.link.base_url("openai"),
            api_key=self.api_key,
            max_retries=0,
            timeout=self.patience_s,
            http_client=openai.DefaultAsyncHttpxClient(**self.link.http_options()),
            _strict_response_validation=True,
        )

    def set_system(self, text: str) -> None:
        self.history.insert(0, {"role": "system", "content": text})

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        self.settings["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in tools
        ]

    def add_user(self, *parts: str | Picture) -> None:
        self.history.append({"role": "user", "content": [_content(part) for part in parts]})

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        self.history += [{"role": "tool", "tool_call_id": call.call_id, "content": text} for call, text in results]

    def demand(self, schema: dict[str, Any]) -> None:
        self.settings["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": schema},
        }

    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    async def send(self) -> Heard:
        heard = await (self._streamed() if self.streamed else self._whole())
        message: dict[str, Any] = {"role": "assistant", "content": heard.text or None}
        if heard.reasoning:
            message[self.reasoning_field] = heard.reasoning
        if heard.calls:
            message["tool_calls"] = [
                {"id": one.call_id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
                for one in heard.calls
            ]
        self.history.append(message)
        return heard

    async def _whole(self) -> Heard:
        reply: Any = await self.client.chat.completions.create(
            model=self.model, messages=list(self.history), **self.settings
        )
        (choice,) = reply.choices
        return Heard(
            choice.message.content or "",
            getattr(choice.message, self.reasoning_field, None) or "",
            [
                Call(one.id, one.function.name, one.function.arguments, json.loads(one.function.arguments))
                for one in choice.message.tool_calls or ()
            ],
            choice.finish_reason,
            reply.model,
            reply.usage.prompt_tokens,
            reply.usage.completion_tokens,
        )

    async def _streamed(self) -> Heard:
        heard = Heard()
        said: dict[int, tuple[str, str, list[str]]] = {}
        chunks: Any = await self.client.chat.completions.create(
            model=self.model,
            messages=list(self.history),
            stream=True,
            stream_options={"include_usage": True},
            **self.settings,
        )
        async for chunk in chunks:
            heard.model = chunk.model
            if chunk.usage is not None:
                heard.input_tokens, heard.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            for choice in chunk.choices:
                heard.text += choice.delta.content or ""
                heard.reasoning += getattr(choice.delta, "reasoning_content", "")
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

    async def close(self) -> None:
        await self.client.close()


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{part.data}"}}
