"""What the real service said to a call that passed, as its flow has it.

Owns which flows these are. What passed has passed: nothing is changed, and nobody waits.
"""

from __future__ import annotations

from mitmproxy import http

from motive_core.console import CallLog, Overheard
from motive_shell.notes import EXCHANGE, STATE


def overhear(flow: http.HTTPFlow, log: CallLog) -> None:
    """Keep the reply of a flow that is over, if its call passed."""
    if flow.metadata.get(STATE) == "passed":
        log.overheard(flow.metadata[EXCHANGE], _said(flow))


def _said(flow: http.HTTPFlow) -> Overheard:
    response, error = flow.response, flow.error
    if response is None:
        return Overheard(None, problem=f"The real service did not answer: {error.msg if error is not None else '?'}")
    return Overheard(
        response.status_code,
        response.headers.get("content-type", ""),
        response.headers.get("content-encoding", ""),
        response.raw_content or b"",
        f"It was cut off: {error.msg}" if error is not None else "",
    )
