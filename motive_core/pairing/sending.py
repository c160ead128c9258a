"""An answer as the reply to a call.

Owns which of the endings of an exchange an answer is.
"""

from __future__ import annotations

from motive_core.errors import error_of
from motive_core.exchange import Exchange, Severed
from motive_core.ir import TextPart, ToolCallPart
from motive_core.session import CUT, Answer


def send(exchange: Exchange, answer: Answer) -> bool:
    """Tell this call the answer. Gives False if it had ended before."""
    if answer.failure is not None:
        status, message = answer.failure.status, answer.failure.message
        if status != CUT:
            return exchange.fail(error_of(status, message))
        if not message:
            return exchange.sever(reset=False)
        return exchange.spoil(exchange.reply_of((TextPart(message),), "stop"), Severed())
    if answer.reply is not None:
        return exchange.say(answer.reply)
    calls_tool = any(isinstance(part, ToolCallPart) for part in answer.parts)
    return exchange.answer(answer.parts, answer.finish or ("tool_calls" if calls_tool else "stop"))
