"""What a paired call is compared with: a mitmproxy script that answers every request with a constant."""

from mitmproxy import http

REPLY = b'{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}'


def request(flow: http.HTTPFlow) -> None:
    """See the module."""
    flow.response = http.Response.make(200, REPLY, {"content-type": "application/json"})
