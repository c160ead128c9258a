"""A call of a client as the event of its session.

Owns what of a call the machine is told: who makes it, what it says, what of that is a command, what it demands of its
answer.
"""

from __future__ import annotations

from typing import Final

from motive_core.exchange import Exchange
from motive_core.ir import Tool
from motive_core.part_sizes import bytes_of
from motive_core.relay import CommandError, CommandReader, Relayed, drafted, fingerprint, join_of, request_key
from motive_core.routing import Answer as AnswerDecision
from motive_core.session import NO_TERMS, Answer, Arrive, Session, Terms, Wish, step

_CALLS_AT_ONCE: Final = 64
"""How many tool calls one answer may make."""


def arrival(
    exchange: Exchange,
    decision: AnswerDecision,
    said: Relayed,
    state: Session,
    *,
    retry: bool,
    commands: CommandReader,
    join_words: tuple[str, ...],
) -> Arrive:
    """What happens in a session of this state when the call comes. ``said`` are the words of its request."""
    request, headers = exchange.request, exchange.head.headers
    who = who_is(exchange)
    answer, refused, hint = Answer(said.words, said.digest), "", ""
    size_bytes = bytes_of(said.words) + bytes_of(said.context)
    if exchange.draft is not None:
        size_bytes += sum(bytes_of(choice.parts) for choice in exchange.draft.choices)
    wish: Wish = "say" if decision.role == "asker" else commands.wish(said.words)
    if decision.role != "asker":
        owed = next((prompt for prompt in state.prompts if prompt.prompt == state.owes), None)
        terms = owed.terms if owed is not None else NO_TERMS
        draft = owed.draft.reply if owed is not None and owed.draft is not None else None
        if wish == "help":
            hint = commands.help(terms)
        elif wish in ("say", "answer"):
            try:
                ids = (f"call_{exchange.exchange}{number:02d}" for number in range(_CALLS_AT_ONCE))
                answer = commands.answer(said.words, terms, ids, draft)
            except CommandError as error:
                refused = str(error)
    return Arrive(
        call=exchange.exchange,
        who=who,
        key=request_key(who, request, headers.get("idempotency-key", "")),
        digest=said.digest,
        words=said.words,
        answer=answer,
        rules=decision.rules,
        role=decision.role,
        join=join_of(said.words, join_words),
        wish=wish,
        asks=said.asks,
        shape=said.shape,
        context=said.context,
        quotes=said.quotes,
        replies_to=said.replies_to,
        retry=retry,
        refused=refused,
        hint=hint,
        terms=Terms(tuple(map(_as_terms, request.tools)), request.response_format),
        draft=drafted(exchange.draft) if exchange.draft is not None else None,
        size_bytes=size_bytes,
    )


def makes_prompt(state: Session, event: Arrive, now: float) -> bool:
    """Whether a new prompt would come of this call. A first client may turn out to be the one who answers."""
    known = {(prompt.prompt, prompt.created_at) for prompt in state.prompts}
    after, _ = step(state, event, now)
    return not after.provisional and any(
        live.call == event.call
        for prompt in after.prompts
        if (prompt.prompt, prompt.created_at) not in known
        for live in prompt.calls
    )


def _as_terms(tool: Tool) -> Tool:
    """A tool as far as an answer may call it. What a vendor's own one has beside that (credentials for another service,
    say) is nothing to a session, which is stored."""
    return Tool(tool.name, tool.description, tool.schema)


def who_is(exchange: Exchange) -> str:
    """By what a session tells this call's client from another."""
    user_agent = exchange.head.headers.get("user-agent", "")
    return fingerprint(exchange.listener, exchange.client_host, exchange.credential, user_agent)
