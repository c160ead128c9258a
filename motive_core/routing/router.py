"""What is to be done with a call: the first route that takes it decides.

Owns the roles that clients name, the ids of sessions, and how a route's settings and defaults become rules. Knows
neither sessions nor sockets; the same facts always get the same decision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from motive_core.config import Config, Route, fill
from motive_core.config.sources import RESERVED
from motive_core.errors import BadRequestError, MotiveError, NotFoundError, PermissionDeniedError
from motive_core.exchange import Policy
from motive_core.routing.matching import CallFacts, Conditions, Texts
from motive_core.session import Role, Rules

ROLE_HEADER: Final = "x-motive-role"
ROLES: Final[tuple[Role, ...]] = ("asker", "answerer")

SESSION_ID_CHARACTERS: Final = 256
"""The longest id of a session. It is shown in logs, in ``/admin/sessions`` and in a header of each reply."""

# C0, DEL, C1, the Unicode line separators, and what UTF-8 cannot encode.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Pass:
    """The real service answers: the one at ``service``, or the one that the request names."""

    route: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A source answers, in this session and by these rules. ``service`` is where the call goes if it is passed on after
    all, None for the one that the request names; ``role`` is None if it is to be found out."""

    session: str
    rules: Rules
    role: Role | None
    relay_system: bool
    relay_context: bool
    pace_tokens_per_s: float | None
    background: Literal["answer", "pass"]
    heartbeats: Literal["auto", "stream", "off"]
    fallback: str | None
    stand_ins: Mapping[Policy, str]
    passes_at_exit: bool
    service: str | None
    route: str
    source: str


@dataclass(frozen=True, slots=True)
class Reject:
    """The call ends with this error."""

    error: MotiveError
    route: str | None = None


type Decision = Pass | Answer | Reject


class Router:
    """The routes of a configuration, compiled."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._routes = [(Conditions(route.match), route, index) for index, route in enumerate(config.routes)]

    def decide(self, facts: CallFacts) -> Decision:
        """What is to be done with this call. Never raises: what cannot be decided is rejected, or passed on if it came
        by the forward proxy and named no role."""
        forward = facts.listener == "forward"
        model, suffix = split_model(facts.request.model)
        texts = Texts(facts.request)
        for conditions, route, index in self._routes:
            groups = conditions.check(facts, model, texts)
            if groups is None:
                continue
            name = route.name or f"routes.{index}"
            service = None if forward else route.service or self._config.services.get(facts.dialect)
            if route.answer == "reject":
                return Reject(PermissionDeniedError("This call is refused by a route.", code="rejected"), name)
            if route.answer == "pass":
                return self._passed(facts, name, service)
            try:
                named = named_role(facts.headers.get(ROLE_HEADER), suffix)
            except BadRequestError as error:
                return Reject(error, name)
            if facts.bound_role is not None and named not in (None, facts.bound_role):
                message = f"This key is for the role {facts.bound_role}, and the call names the role {named}."
                return Reject(PermissionDeniedError(message, code="role_not_allowed"), name)
            role = named or facts.bound_role or route.role or ("asker" if forward else None)
            values = {
                # Ollama's name for a model without a tag; its own clients add it, others that talk to it may.
                "model": model.removesuffix(":latest"),
                "host": facts.host,
                "client": facts.client_host,
                "credential": facts.credential or "",
                **groups,
            }
            try:
                session = session_id(fill(route.session, values))
            except BadRequestError as error:
                return Pass(name) if forward else Reject(error, name)
            return self._answered(route, name, session, role, service, can_pass=forward or service is not None)
        if forward:
            return Pass()
        return Reject(NotFoundError("No route takes this call.", code="no_route"))

    def _passed(self, facts: CallFacts, name: str, service: str | None) -> Decision:
        if facts.listener == "forward" or service is not None:
            return Pass(name, service)
        message = f"No real service is known for {facts.dialect}: name one under services in the configuration."
        return Reject(NotFoundError(message, code="no_service"), name)

    def _answered(
        self, route: Route, name: str, session: str, role: Role | None, service: str | None, *, can_pass: bool
    ) -> Answer:
        timing = self._config.timing
        is_real, can_pass = can_pass, can_pass or route.draft is not None
        reviews = route.answer == "review" and can_pass
        turn_timeout_s = route.turn_timeout_s or timing.turn_timeout_s
        rules = Rules(
            when_joined=can_pass and route.answer in ("pair", "review") and route.when != "always",
            can_pass=can_pass,
            hold_timeout_s=route.hold_timeout_s or timing.hold_timeout_s or turn_timeout_s,
            handshake_timeout_s=route.handshake_timeout_s or timing.handshake_timeout_s,
            turn_timeout_s=turn_timeout_s,
            rejoin_window_s=_or(route.rejoin_window_s, timing.rejoin_window_s),
            retry_window_s=_or(route.retry_window_s, timing.retry_window_s),
            queue_limit=route.queue_limit,
            keep_limit_bytes=self._config.limits.session_limit_bytes,
            twins=route.twins,
            on_timeout=_policy(route.on_timeout or ("pass" if can_pass else "error")),
            on_lost=_lost_policy(route.on_lost or ("pass" if can_pass else "wait")),
            on_full="pass" if reviews else _policy(route.on_full),
            on_idle=route.on_idle,
            review_timeout_s=route.review_timeout_s if reviews else None,
        )
        return Answer(
            session=session,
            rules=rules,
            role=role,
            relay_system=can_pass if route.relay_system is None else route.relay_system,
            relay_context=can_pass if route.relay_context is None else route.relay_context,
            pace_tokens_per_s=route.pace_tokens_per_s,
            background=route.background,
            heartbeats=route.heartbeats,
            fallback=route.fallback,
            stand_ins=_stand_ins(route),
            passes_at_exit=is_real and route.on_exit == "pass",
            service=service,
            route=name,
            source=route.answer,
        )


def _policy(word: str) -> Literal["pass", "fallback", "error"]:
    """A policy as the session knows it: that a source answers is, to it, what the route has for this."""
    match word:
        case "pass":
            return "pass"
        case "error":
            return "error"
        case _:
            return "fallback"


def _lost_policy(word: str) -> Literal["pass", "fallback", "error", "wait"]:
    return "wait" if word == "wait" else _policy(word)


def _stand_ins(route: Route) -> dict[Policy, str]:
    """The sources that a route's policies name."""
    named: dict[Policy, str | None] = {
        "timeout": route.on_timeout,
        "lost": route.on_lost,
        "full": route.on_full,
        "pass": route.draft,
    }
    return {policy: word for policy, word in named.items() if word is not None and word not in RESERVED}


def _or(own: float | None, general: float) -> float:
    """Zero is a value, too."""
    return general if own is None else own


def split_model(model: str) -> tuple[str, Role | None]:
    """A model without its role suffix, and that role. Only ``@asker`` and ``@answerer`` are one: the ids of Vertex AI
    have an ``@`` of their own (``claude-opus-4@20250514``)."""
    name, at, suffix = model.rpartition("@")
    for role in ROLES:
        if at and suffix == role:
            return name, role
    return model, None


def named_role(header: str | None, suffix: Role | None) -> Role | None:
    """The role that a client names by header or by suffix. Raises ``BadRequestError`` for a word that is none, and if
    the two disagree."""
    if header is None:
        return suffix
    word = header.strip().lower()
    for role in ROLES:
        if word == role:
            if suffix not in (None, role):
                raise BadRequestError(
                    f"The header names the role {role}, the model's suffix {suffix}.", param=ROLE_HEADER
                )
            return role
    raise BadRequestError("The header X-Motive-Role must be asker or answerer.", param=ROLE_HEADER)


def session_id(text: str) -> str:
    """The id of a session, white space around it aside. Raises ``BadRequestError`` for what cannot be one."""
    text = text.strip()
    if not text:
        raise BadRequestError("The call names no session: its model is empty.", code="no_session", param="model")
    if len(text) > SESSION_ID_CHARACTERS:
        message = f"The session's id would have {len(text)} characters; {SESSION_ID_CHARACTERS} are the limit."
        raise BadRequestError(message, code="bad_session", param="model")
    if _UNPRINTABLE.search(text) is not None:
        raise BadRequestError("The session's id would hold control characters.", code="bad_session", param="model")
    return text
