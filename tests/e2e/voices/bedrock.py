"""Amazon Bedrock: Converse by ``boto3``, InvokeModel by ``anthropic.AsyncAnthropicBedrock``."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from typing import Any, Final

import anthropic
import boto3
from botocore.config import Config

from tests.e2e.clients import Link
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.base import Call, Can, Heard, Picture, ToolSpec, Voice

REGION: Final = "us-east-1"
RUNTIME: Final = f"https://bedrock-runtime.{REGION}.amazonaws.com"


@cache
def aws_session() -> boto3.Session:
    """One for all: it has read the models of the services, which takes longer than a conversation."""
    return boto3.Session(region_name=REGION)


def bedrock_client(link: Link, api_key: str, service: str = "bedrock-runtime", **settings: Any) -> Any:
    """A client of AWS's SDK, which does not retry unless ``settings`` say so. Behind the forward proxy, it calls the
    real host."""
    config = {
        "retries": {"total_max_attempts": 1},
        "read_timeout": 30,
        "connect_timeout": 10,
        "proxies": {},
        **settings,
    }
    options: dict[str, Any] = {"endpoint_url": link.proxy.meeting}
    if link.authority is not None:
        config["proxies"] = {"https": link.proxy.forward}
        options = {"verify": str(link.authority)}
    return aws_session().client(
        service, aws_access_key_id=api_key, aws_secret_access_key="secret", config=Config(**config), **options
    )


class BedrockConverseVoice(Voice):
    """The SDK has no accumulation of its own for streams: what it gives is put together as AWS's examples do."""

    dialect = "bedrock-converse"
    title = "Amazon Bedrock Converse"
    sdk = "boto3"
    endpoint = "POST /model/{model}/converse, POST /model/{model}/converse-stream"
    can = Can(count=True)
    finishes = ("end_turn", "tool_use")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.client = bedrock_client(self.link, self.api_key, read_timeout=self.patience_s)

    def set_system(self, text: str) -> None:
        self.settings["system"] = [{"text": text}]

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        specs = [
            {"name": tool.name, "description": tool.description, "inputSchema": {"json": tool.schema}} for tool in tools
        ]
        self.settings["toolConfig"] = {"tools": [{"toolSpec": spec} for spec in specs]}

    def add_user(self, *parts: str | Picture) -> None:
        self.history.append({"role": "user", "content": [_content(part) for part in parts]})

    def add_results(self, results: Sequence[tuple[Call, str]]) -> None:
        blocks = [{"toolResult": {"toolUseId": call.call_id, "content": [{"text": text}]}} for call, text in results]
        self.history.append({"role": "user", "content": blocks})

    def demand(self, schema: dict[str, Any]) -> None:
        described = {"name": "reply", "schema": json.dumps(schema)}
        text_format = {"type": "json_schema", "structure": {"jsonSchema": described}}
        self.settings["outputConfig"] = {"textFormat": text_format}

    async def models(self) -> list[str]:
        """Of the control plane, which is another client in this SDK."""
        client = bedrock_client(self.link, self.api_key, "bedrock")
        listed = await asyncio.to_thread(client.list_foundation_models)
        client.close()
        return [model["modelId"] for model in listed["modelSummaries"]]

    async def count(self) -> int:
        asked = {"converse": {"messages": list(self.history)}}
        counted = await asyncio.to_thread(self.client.count_tokens, modelId=self.model, input=asked)
        return int(counted["inputTokens"])

    async def send(self) -> Heard:
        call = {"modelId": self.model, "messages": list(self.history), **self.settings}
        return await asyncio.to_thread(self._streamed if self.streamed else self._whole, call)

    def _whole(self, call: dict[str, Any]) -> Heard:
        reply = self.client.converse(**call)
        return self._heard(reply["output"]["message"]["content"], reply["stopReason"], reply["usage"], {})

    def _streamed(self, call: dict[str, Any]) -> Heard:
        blocks: dict[int, dict[str, Any]] = {}
        pieces: dict[int, int] = {}
        inputs: dict[int, str] = {}
        finish, usage = "", {}
        with closing(self.client.converse_stream(**call)["stream"]) as stream:
            for event in stream:
                if "contentBlockStart" in event:
                    told = event["contentBlockStart"]
                    blocks[told["contentBlockIndex"]] = {"toolUse": dict(told["start"]["toolUse"])}
                elif "contentBlockDelta" in event:
                    index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
                    if "text" in delta:
                        block = blocks.setdefault(index, {"text": ""})
                        block["text"] += delta["text"]
                    elif "reasoningContent" in delta:
                        block = blocks.setdefault(index, {"reasoningContent": {"reasoningText": {"text": ""}}})
                        for key, value in delta["reasoningContent"].items():
                            told = block["reasoningContent"]["reasoningText"]
                            told[key] = told.get(key, "") + value
                    else:
                        inputs[index] = inputs.get(index, "") + delta["toolUse"]["input"]
                        pieces[index] = pieces.get(index, 0) + 1
                elif "messageStop" in event:
                    finish = event["messageStop"]["stopReason"]
                elif "metadata" in event:
                    usage = event["metadata"]["usage"]
        for index, text in inputs.items():
            blocks[index]["toolUse"]["input"] = json.loads(text)
        return self._heard([blocks[index] for index in sorted(blocks)], finish, usage, pieces)

    def _heard(self, content: list[Any], finish: str, usage: dict[str, Any], pieces: dict[int, int]) -> Heard:
        self.history.append({"role": "assistant", "content": content})
        heard = Heard(finish=finish, input_tokens=usage["inputTokens"], output_tokens=usage["outputTokens"])
        for index, block in enumerate(content):
            if "text" in block:
                heard.text += block["text"]
            elif "reasoningContent" in block:
                heard.reasoning += block["reasoningContent"]["reasoningText"]["text"]
            else:
                use = block["toolUse"]
                heard.calls.append(
                    Call(use["toolUseId"], use["name"], json.dumps(use["input"]), use["input"], pieces.get(index))
                )
        return heard

    async def close(self) -> None:
        self.client.close()


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    return {"image": {"format": "png", "source": {"bytes": base64.b64decode(part.data)}}}


class BedrockInvokeVoice(AnthropicMessagesVoice):
    """Anthropic's own SDK for Bedrock."""

    dialect = "bedrock-invoke"
    title = "Amazon Bedrock InvokeModel (Anthropic)"
    sdk = "anthropic (AnthropicBedrock)"
    endpoint = "POST /model/{model}/invoke, POST /model/{model}/invoke-with-response-stream"
    can = Can(models=False)

    def _client(self) -> Any:
        return anthropic.AsyncAnthropicBedrock(
            base_url=self.link.proxy.meeting if self.link.authority is None else RUNTIME,
            aws_access_key=self.api_key,
            aws_secret_key="secret",
            aws_region=REGION,
            max_retries=0,
            timeout=self.patience_s,
            http_client=anthropic.DefaultAsyncHttpxClient(**self.link.http_options()),
            _strict_response_validation=True,
        )
