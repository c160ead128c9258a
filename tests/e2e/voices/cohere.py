"""Cohere's Chat API, by the ``cohere`` SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cohere
import httpx

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice

_REAL = "https://api.cohere.com"


class CohereVoice(Voice):
    """The SDK gives streams as events and does not put them together, so that is done here. It raises no exception for
    an error in a stream: the finish reason tells it."""

    dialect = "cohere-chat"
    title = "Cohere Chat v2"
    sdk = "cohere"
    endpoint = "POST /v2/chat"
    can = Can()
    finishes = ("COMPLETE", "TOOL_CALL")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []
        self.settings: dict[str, Any] = {}
        self._http = httpx.AsyncClient(timeout=self.patience_s, **self.link.http_options())
        self.client = cohere.AsyncClientV2(
            self.api_key,
            base_url=_REAL if self.link.authority is not None else self.link.proxy.meeting,
            timeout=self.patience_s,
            max_retries=0,
            httpx_client=self._http,
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
        self.history += [
            {
                "role": "tool",
                "tool_call_id": call.call_id,
                "content": [{"type": "document", "document": {"data": text}}],
            }
            for call, text in results
        ]

    def demand(self, schema: dict[str, Any]) -> None:
        self.settings["response_format"] = {"type": "json_object", "json_schema": schema}

    async def models(self) -> list[str]:
        return [model.name or "" for model in (await self.client.models.list(page_size=1000)).models]

    async def send(self) -> Heard:
        call = {"model": self.model, "messages": list(self.history), **self.settings}
        if self.streamed:
            heard, message = await self._streamed(call)
        else:
            heard, message = await self._whole(call)
        self.history.append(message)
        return heard

    async def _whole(self, call: dict[str, Any]) -> tuple[Heard, dict[str, Any]]:
        reply: Any = await self.client.chat(**call)
        heard = Heard(finish=reply.finish_reason)
        _count(heard, reply.usage)
        for item in reply.message.content or ():
            if item.type == "text":
                heard.text += item.text
            else:
                heard.reasoning += item.thinking
        for one in reply.message.tool_calls or ():
            arguments = one.function.arguments
            heard.calls.append(Call(one.id, one.function.name, arguments, json.loads(arguments)))
        return heard, reply.message.model_dump(exclude_none=True)

    async def _streamed(self, call: dict[str, Any]) -> tuple[Heard, dict[str, Any]]:
        heard = Heard()
        items: dict[int, dict[str, Any]] = {}
        calls: dict[int, dict[str, Any]] = {}
        pieces: dict[int, int] = {}
        event: Any
        async for event in self.client.chat_stream(**call):
            match event.type:
                case "content-start":
                    items[event.index] = event.delta.message.content.model_dump(exclude_none=True)
                case "content-delta":
                    said = event.delta.message.content
                    kind = "thinking" if said.thinking is not None else "text"
                    items[event.index][kind] += getattr(said, kind)
                case "tool-call-start":
                    calls[event.index] = event.delta.message.tool_calls.model_dump(exclude_none=True)
                    pieces[event.index] = 0
                case "tool-call-delta":
                    arguments = event.delta.message.tool_calls.function.arguments
                    calls[event.index]["function"]["arguments"] += arguments
                    pieces[event.index] += bool(arguments)
                case "message-end":
                    if event.delta.error is not None:
                        raise RuntimeError(event.delta.error)
                    heard.finish = event.delta.finish_reason
                    _count(heard, event.delta.usage)
                case _:
                    pass
        heard.text = "".join([item.get("text", "") for item in items.values()])
        heard.reasoning = "".join([item.get("thinking", "") for item in items.values()])
        for index, one in calls.items():
            arguments = one["function"]["arguments"]
            value = json.loads(arguments)
            heard.calls.append(Call(one["id"], one["function"]["name"], arguments, value, pieces[index]))
        message = {"role": "assistant", "content": list(items.values()), "tool_calls": list(calls.values())}
        return heard, {key: value for key, value in message.items() if value}

    async def close(self) -> None:
        await self._http.aclose()


def _count(heard: Heard, usage: Any) -> None:
    heard.input_tokens, heard.output_tokens = int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{part.data}"}}
