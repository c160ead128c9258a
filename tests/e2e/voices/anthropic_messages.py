"""Anthropic Messages, by the ``anthropic`` SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anthropic

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice


class AnthropicMessagesVoice(Voice):
    """Streams go through the SDK's own accumulation, and the raw events beside it tell how many deltas there were."""

    dialect = "anthropic-messages"
    title = "Anthropic Messages"
    sdk = "anthropic"
    endpoint = "POST /v1/messages"
    can = Can(count=True)
    finishes = ("end_turn", "tool_use")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.client = self._client()

    def _client(self) -> Any:
        return anthropic.AsyncAnthropic(
            base_url=self.link.base_url("anthropic"),
            api_key=self.api_key,
            max_retries=0,
            timeout=self.patience_s,
            http_client=anthropic.DefaultAsyncHttpxClient(**self.link.http_options()),
            _strict_response_validation=True,
        )

    def set_system(self, text: str) -> None:
        self.settings["system"] = text

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        self.settings["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in tools
        ]

    def add_user(self, *parts: str | Picture) -> None:
        self.history.append({"role": "user", "content": [_content(part) for part in parts]})

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        blocks = [{"type": "tool_result", "tool_use_id": call.call_id, "content": text} for call, text in results]
        self.history.append({"role": "user", "content": blocks})

    def demand(self, schema: dict[str, Any]) -> None:
        self.settings["output_config"] = {"format": {"type": "json_schema", "schema": schema}}

    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    async def count(self) -> int:
        found = await self.client.messages.count_tokens(model=self.model, messages=list(self.history), **self.settings)
        return int(found.input_tokens)

    async def send(self) -> Heard:
        call: dict[str, Any] = {
            "model": self.model,
            "max_tokens": 1024,
            "messages": list(self.history),
            **self.settings,
        }
        pieces: dict[int, int] = {}
        if self.streamed:
            async with self.client.messages.stream(**call) as stream:
                async for event in stream:
                    if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                        pieces[event.index] = pieces.get(event.index, 0) + bool(event.delta.partial_json)
                message = await stream.get_final_message()
        else:
            message = await self.client.messages.create(**call)
        self.history.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        heard = Heard(
            finish=message.stop_reason or "",
            model=message.model,
            input_tokens=message.usage.input_tokens,
            output_tokens=message.usage.output_tokens,
        )
        for index, block in enumerate(message.content):
            if block.type == "text":
                heard.text += block.text
            elif block.type == "thinking":
                heard.reasoning += block.thinking
            elif block.type == "tool_use":
                heard.calls.append(Call(block.id, block.name, json.dumps(block.input), block.input, pieces.get(index)))
        return heard

    async def close(self) -> None:
        await self.client.close()


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": part.data}}
