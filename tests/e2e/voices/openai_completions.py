"""OpenAI's legacy completions, by the ``openai`` SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openai

from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice


class OpenAICompletionsVoice(Voice):
    """There is no history: each call's prompt is what was added since the last one.

    The SDK's own model of a choice wants a finish reason in every chunk, which the API has in the last one only: so
    streams are read as the SDK reads them by default, whole replies in its strict way.
    """

    dialect = "openai-completions"
    title = "OpenAI Completions (legacy)"
    sdk = "openai"
    endpoint = "POST /v1/completions"
    can = Can(
        image_in="none",
        tools="none",
        several="text",
        system="none",
        json_schema="none",
        calls="text",
        call_ids=False,
        reasoning="text",
    )
    finishes = ("stop", "stop")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._said: list[str] = []
        self.client = openai.AsyncOpenAI(
            base_url=self.link.base_url("openai"),
            api_key=self.api_key,
            max_retries=0,
            timeout=self.patience_s,
            http_client=openai.DefaultAsyncHttpxClient(**self.link.http_options()),
            _strict_response_validation=not self.streamed,
        )

    def set_system(self, text: str) -> None:
        raise NotImplementedError

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        raise NotImplementedError

    def add_user(self, *parts: str | Picture) -> None:
        self._said.append("".join([part for part in parts if isinstance(part, str)]))

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        raise NotImplementedError

    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    async def send(self) -> Heard:
        prompt = "\n\n".join(self._said)
        self._said.clear()
        call: dict[str, Any] = {"model": self.model, "prompt": prompt, "max_tokens": 1024}
        if not self.streamed:
            reply: Any = await self.client.completions.create(**call)
            (choice,) = reply.choices
            usage = reply.usage
            return Heard(
                choice.text, "", [], choice.finish_reason, reply.model, usage.prompt_tokens, usage.completion_tokens
            )
        heard = Heard()
        chunks: Any = await self.client.completions.create(**call, stream=True, stream_options={"include_usage": True})
        async for chunk in chunks:
            heard.model = chunk.model
            if chunk.usage is not None:
                heard.input_tokens, heard.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            for choice in chunk.choices:
                heard.text += choice.text
                heard.finish = choice.finish_reason or heard.finish
        return heard

    async def close(self) -> None:
        await self.client.close()
