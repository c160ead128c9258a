"""The Gemini API, by the ``google-genai`` SDK."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Sequence
from typing import Any, Final

import httpx
from google import genai
from google.genai import types

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice

_REAL: Final = "https://generativelanguage.googleapis.com"
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For what the SDK makes beside the client that is used: loading the usual authorities takes 20 ms."""


class GeminiVoice(Voice):
    """A function is never called by the SDK itself. What a stream said goes into the history in the parts that it came
    in, as the SDK's own chats do it."""

    dialect = "gemini"
    title = "Google Gemini"
    sdk = "google-genai"
    endpoint = "POST /v1beta/models/{model}:generateContent, POST /v1beta/models/{model}:streamGenerateContent"
    can = Can(image_out="native", count=True)
    finishes = ("STOP", "STOP")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []
        self.settings: dict[str, Any] = {"automatic_function_calling": {"disable": True}}
        self._http = httpx.AsyncClient(**self.link.http_options())
        self._sync_http = httpx.Client(trust_env=False, verify=_NO_TLS)
        self.client = genai.Client(
            api_key=self.api_key,
            http_options=types.HttpOptions(
                base_url=self.link.proxy.meeting if self.link.authority is None else _REAL,
                timeout=int(self.patience_s * 1000),
                httpx_client=self._sync_http,
                httpx_async_client=self._http,
                async_client_args={"ssl": _NO_TLS},
            ),
        )

    def set_system(self, text: str) -> None:
        self.settings["system_instruction"] = text

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        declarations = [
            types.FunctionDeclaration(name=tool.name, description=tool.description, parameters_json_schema=tool.schema)
            for tool in tools
        ]
        self.settings["tools"] = [types.Tool(function_declarations=declarations)]

    def add_user(self, *parts: str | Picture) -> None:
        self.history.append(types.Content(role="user", parts=[_part(part) for part in parts]))

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(id=call.call_id, name=call.name, response={"output": text})
            )
            for call, text in results
        ]
        self.history.append(types.Content(role="user", parts=parts))

    def demand(self, schema: dict[str, Any]) -> None:
        self.settings |= {"response_mime_type": "application/json", "response_json_schema": schema}

    async def models(self) -> list[str]:
        return [(model.name or "").removeprefix("models/") async for model in await self.client.aio.models.list()]

    async def count(self) -> int:
        found = await self.client.aio.models.count_tokens(model=self.model, contents=list(self.history))
        return found.total_tokens or 0

    async def send(self) -> Heard:
        call: dict[str, Any] = {
            "model": self.model,
            "contents": list(self.history),
            "config": types.GenerateContentConfig(**self.settings),
        }
        heard, said = Heard(), list[types.Part]()
        if self.streamed:
            async for chunk in await self.client.aio.models.generate_content_stream(**call):
                said += _hear(heard, chunk)
        else:
            said += _hear(heard, await self.client.aio.models.generate_content(**call))
        self.history.append(types.Content(role="model", parts=said))
        return heard

    async def close(self) -> None:
        await self._http.aclose()
        self._sync_http.close()


def _part(part: str | Picture) -> types.Part:
    if isinstance(part, str):
        return types.Part(text=part)
    return types.Part.from_bytes(data=base64.b64decode(part.data), mime_type="image/png")


def _hear(heard: Heard, reply: types.GenerateContentResponse) -> list[types.Part]:
    """Take what a reply, or a chunk of one, says; gives its parts."""
    heard.model = reply.model_version or heard.model
    if (usage := reply.usage_metadata) is not None:
        heard.input_tokens, heard.output_tokens = usage.prompt_token_count, usage.candidates_token_count
    (candidate,) = reply.candidates or []
    if candidate.finish_reason is not None:
        heard.finish = candidate.finish_reason.value
    parts = (candidate.content.parts if candidate.content is not None else None) or []
    for part in parts:
        if part.text is not None:
            if part.thought:
                heard.reasoning += part.text
            else:
                heard.text += part.text
        if part.inline_data is not None and part.inline_data.data is not None:
            heard.pictures.append(base64.b64encode(part.inline_data.data).decode())
        if (call := part.function_call) is not None:
            heard.calls.append(Call(call.id or "", call.name or "", call.args, call.args))
    return parts
