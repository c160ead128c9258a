"""Ollama's chat and completions, by the ``ollama`` SDK."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import ollama

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice

_REAL: Final = "https://ollama.com"
_LATEST: Final = ":latest"


class _OllamaVoice(Voice):
    """What both have in common. The SDK neither retries nor has a strict mode."""

    sdk = "ollama"
    finishes = ("stop", "stop")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.settings: dict[str, Any] = {}
        self.client = ollama.AsyncClient(
            self.link.proxy.meeting if self.link.authority is None else _REAL,
            timeout=self.patience_s,
            headers={"authorization": f"Bearer {self.api_key}"},
            **self.link.http_options(),
        )

    def demand(self, schema: dict[str, Any]) -> None:
        self.settings["format"] = schema

    async def models(self) -> list[str]:
        """Without the tag that every model has there."""
        listed = await self.client.list()
        return [(model.model or "").removesuffix(_LATEST) for model in listed.models]

    async def close(self) -> None:
        await self.client.close()  # type: ignore[no-untyped-call]


class OllamaChatVoice(_OllamaVoice):
    """The SDK drops the ids of tool calls, so results name the tool."""

    dialect = "ollama-chat"
    title = "Ollama chat"
    endpoint = "POST /api/chat"
    can = Can(call_ids=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []

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
        self.history.append({"role": "user", "content": _text(parts), "images": _images(parts)})

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        self.history += [{"role": "tool", "tool_name": call.name, "content": text} for call, text in results]

    async def send(self) -> Heard:
        call = {"model": self.model, "messages": list(self.history), **self.settings}
        message: dict[str, Any] = {"role": "assistant", "content": "", "thinking": "", "tool_calls": []}
        if self.streamed:
            last: Any = None
            async for last in await self.client.chat(stream=True, **call):
                _add(message, last.message)
        else:
            last = await self.client.chat(stream=False, **call)
            _add(message, last.message)
        self.history.append(message)
        functions = [one.function for one in message["tool_calls"]]
        calls = [Call("", one.name, one.arguments, one.arguments) for one in functions]
        return _heard(last, message["content"], message["thinking"], calls)


class OllamaGenerateVoice(_OllamaVoice):
    """There is no history: each call says what was added since the last one."""

    dialect = "ollama-generate"
    title = "Ollama completions"
    endpoint = "POST /api/generate"
    can = Can(tools="none", several="text", calls="text", call_ids=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._said: list[tuple[str | Picture, ...]] = []

    def set_system(self, text: str) -> None:
        self.settings["system"] = text

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        raise NotImplementedError

    def add_user(self, *parts: str | Picture) -> None:
        self._said.append(parts)

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        raise NotImplementedError

    async def send(self) -> Heard:
        call = {
            "model": self.model,
            "prompt": "\n\n".join([_text(parts) for parts in self._said]),
            "images": [image for parts in self._said for image in _images(parts)],
            **self.settings,
        }
        self._said.clear()
        if not self.streamed:
            reply = await self.client.generate(stream=False, **call)
            return _heard(reply, reply.response or "", reply.thinking or "", [])
        text = thinking = ""
        last: Any = None
        async for last in await self.client.generate(stream=True, **call):
            text += last.response or ""
            thinking += last.thinking or ""
        return _heard(last, text, thinking, [])


def _text(parts: Sequence[str | Picture]) -> str:
    return "".join([part for part in parts if isinstance(part, str)])


def _images(parts: Sequence[str | Picture]) -> list[bytes]:
    return [base64.b64decode(part.data) for part in parts if isinstance(part, Picture)]


def _add(message: dict[str, Any], said: Any) -> None:
    message["content"] += said.content or ""
    message["thinking"] += said.thinking or ""
    message["tool_calls"] += said.tool_calls or ()


def _heard(last: Any, text: str, thinking: str, calls: list[Call]) -> Heard:
    assert last.done
    return Heard(text, thinking, calls, last.done_reason, last.model, last.prompt_eval_count, last.eval_count)
