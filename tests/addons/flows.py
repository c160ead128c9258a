"""The addon in mitmproxy's own test context, and flows that come in by either listener."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils

from motive_shell.addon import Motive
from motive_shell.runtime import Runtime

FORWARD = ProxyMode.parse("regular@8080")
REVERSE = ProxyMode.parse("reverse:http://127.0.0.1:9@8000")

CONFIG = """
extra_hosts: ["llm.example"]
timing: {rejoin_window_s: 0.2}
"""


@dataclass
class Proxy:
    """An addon at work, without sockets."""

    addon: Motive
    context: taddons.context

    @property
    def runtime(self) -> Runtime:
        runtime = self.addon._runtime
        assert runtime is not None
        return runtime

    async def call(self, text: str, model: str = "npc", *, forward: bool = False, **fields: Any) -> http.HTTPFlow:
        """A chat call comes in; gives its flow as the hooks left it."""
        flow = chat_flow(text, model, forward=forward, **fields)
        await self.addon.request(flow)
        return flow

    async def finish(self, flow: http.HTTPFlow) -> str:
        """mitmproxy sends the reply of a flow; gives its text."""
        assert not flow.intercepted
        assert flow.response is not None and flow.response.content is not None
        await self.addon.response(flow)
        reply = json.loads(flow.response.content)
        content = reply["choices"][0]["message"]["content"]
        assert isinstance(content, str)
        return content


def flow_of(
    method: str, path: str, body: bytes = b"", *, forward: bool = False, host: str = "", **headers: str
) -> http.HTTPFlow:
    """A flow whose request is complete; header names are written with underscores."""
    host = host or ("llm.example" if forward else "127.0.0.1")
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = tutils.treq(
        method=method.encode(),
        scheme=b"https" if forward else b"http",
        host=host,
        port=443 if forward else 8000,
        authority=b"",
        path=path.encode(),
        headers=http.Headers([(b"host", host.encode()), *fields]),
        content=body,
    )
    flow = tflow.tflow(req=request)
    flow.client_conn.proxy_mode = FORWARD if forward else REVERSE
    flow.client_conn.sockname = ("127.0.0.1", 8080 if forward else 8000)
    return flow


def chat_flow(text: str, model: str = "npc", *, forward: bool = False, agent: str = "", **fields: Any) -> http.HTTPFlow:
    """A flow with a chat call. ``agent`` is its User-Agent."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return flow_of(
        "POST", "/v1/chat/completions", json.dumps(body).encode(), forward=forward, user_agent=agent or "agent"
    )
