"""OpenAI Responses, by the ``openai`` SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice


class OpenAIResponsesVoice(Voice):
    """Without state at the service: the history is items, and those of a reply go back as they came. Streams go through
    the SDK's own accumulation."""

    dialect = "openai-responses"
    title = "OpenAI Responses"
    sdk = "openai"
    endpoint = "POST /v1/responses"
    can = Can(count=True)
    finishes = ("completed", "completed")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.client = openai.AsyncOpenAI(
            base_url=self.link.base_url("openai"),
            api_key=self.api_key,
            max_retries=0,
            timeout=self.patience_s,
            http_client=openai.DefaultAsyncHttpxClient(**self.link.http_options()),
            _strict_response_validation=True,
        )

    def set_system(self, text: str) -> None:
        self.settings["instructions"] = text

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        self.settings["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.schema,
                "strict": False,
            }
            for tool in tools
        ]

    def add_user(self, *parts: str | Picture) -> None:
        self.history.append({"role": "user", "content": [_content(part) for part in parts]})

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        self.history += [
            {"type": "function_call_output", "call_id": call.call_id, "output": text} for call, text in results
        ]

    def demand(self, schema: dict[str, Any]) -> None:
        self.settings["text"] = {"format": {"type": "json_schema", "name": "reply", "strict": True, "schema": schema}}

    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    async def count(self) -> int:
        counted = await self.client.responses.input_tokens.count(
            model=self.model, input=list(self.history), **self.settings
        )
        return counted.input_tokens

    async def send(self) -> Heard:
        call: dict[str, Any] = {"model": self.model, "input": list(self.history), "store": False, **self.settings}
        pieces: dict[int, int] = {}
        if self.streamed:
            async with self.client.responses.stream(**call) as stream:
                async for event in stream:
                    if event.type == "response.function_call_arguments.delta":
                        pieces[event.output_index] = pieces.get(event.output_index, 0) + bool(event.delta)
                reply: Any = await stream.get_final_response()
        else:
            reply = await self.client.responses.create(**call)
        heard = Heard(
            finish=reply.status,
            model=reply.model,
            input_tokens=reply.usage.input_tokens,
            output_tokens=reply.usage.output_tokens,
        )
        for index, item in enumerate(reply.output):
            match item.type:
                case "message":
                    heard.text += "".join([part.text for part in item.content])
                case "reasoning":
                    heard.reasoning += "".join([part.text for part in item.summary])
                case "function_call":
                    value = json.loads(item.arguments)
                    heard.calls.append(Call(item.call_id, item.name, item.arguments, value, pieces.get(index)))
            self.history.append(item.to_dict())
        return heard

    async def close(self) -> None:
        await self.client.close()


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    return {"type": "input_image", "image_url": f"data:image/png;base64,{part.data}", "detail": "auto"}
