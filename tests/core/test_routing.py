"""Routing: which route takes a call, who the client says it is, the session's id, and what rules apply."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from motive_core.config import Config
from motive_core.errors import BadRequestError, NotFoundError, PermissionDeniedError
from motive_core.ir import ChatRequest, Message, TextPart, Tool
from motive_core.routing import Answer, CallFacts, Decision, HostTable, Pass, Reject, Router, credential_identity
from motive_core.session import Rules

REAL = "https://real.example"


def say(role: str, text: str) -> Message:
    return Message(role, (TextPart(text),))  # type: ignore[arg-type]


def facts(*messages: Message, model: str = "npc", tools: tuple[str, ...] = (), **fields: Any) -> CallFacts:
    """A call at the meeting point, unless ``fields`` say otherwise."""
    request = ChatRequest("openai-chat", model, messages or (say("user", "hi"),), tools=tuple(map(Tool, tools)))
    known: dict[str, Any] = {
        "listener": "reverse",
        "dialect": "openai-chat",
        "host": "127.0.0.1",
        "port": 8000,
        "path": "/v1/chat/completions",
        "headers": {},
        "client_host": "192.0.2.7",
        "credential": None,
        "request": request,
    }
    return CallFacts(**(known | fields))


def decide(call: CallFacts, *routes: Mapping[str, Any], **settings: Any) -> Decision:
    return Router(Config.model_validate({"routes": routes, **settings})).decide(call)


def answered(call: CallFacts, *routes: Mapping[str, Any], **settings: Any) -> Answer:
    decision = decide(call, *routes, **settings)
    assert isinstance(decision, Answer)
    return decision


class TestBuiltInRoutes:
    def test_the_forward_proxy(self) -> None:
        decision = Router(Config()).decide(facts(listener="forward", host="api.openai.com", port=443))
        assert decision == Answer(
            session="npc",
            rules=Rules(when_joined=True, can_pass=True, on_timeout="pass", on_lost="pass"),
            role="asker",
            relay_system=True,
            relay_context=True,
            pace_tokens_per_s=None,
            background="answer",
            heartbeats="auto",
            fallback=None,
            stand_ins={},
            source="pair",
            passes_at_exit=False,
            service=None,
            route="forward proxy",
        )

    def test_the_meeting_point(self) -> None:
        decision = Router(Config()).decide(facts())
        assert decision == Answer(
            session="npc",
            rules=Rules(),
            role=None,
            relay_system=False,
            relay_context=False,
            pace_tokens_per_s=None,
            background="answer",
            heartbeats="auto",
            fallback=None,
            stand_ins={},
            source="pair",
            passes_at_exit=False,
            service=None,
            route="meeting point",
        )

    def test_the_meeting_point_holds_even_with_a_service(self) -> None:
        config = Config.model_validate({"services": {"openai-chat": REAL}})
        decision = Router(config).decide(facts())
        assert isinstance(decision, Answer)
        assert (decision.rules.when_joined, decision.rules.can_pass, decision.service) == (False, True, REAL)
        assert (decision.rules.on_timeout, decision.rules.on_lost) == ("error", "wait")

    def test_no_route(self) -> None:
        assert decide(facts(listener="forward")) == Pass()
        decision = decide(facts(), {"match": {"model": "other"}})
        assert isinstance(decision, Reject)
        assert isinstance(decision.error, NotFoundError)
        assert decision.error.code == "no_route"


class TestMatch:
    @pytest.mark.parametrize(
        ("match", "call"),
        [
            ({}, facts()),
            ({"listener": "reverse"}, facts()),
            ({"dialect": "openai-*"}, facts()),
            ({"host": "127.0.0.1"}, facts()),
            ({"host": "*.example:443"}, facts(host="API.Example.", port=443)),
            ({"host": "::1"}, facts(host="[::1]")),
            ({"path": "*/chat/completions"}, facts()),
            ({"model": "np?"}, facts()),
            ({"model": "npc"}, facts(model="npc@asker")),
            ({"header": {"X-Team": "^red$"}}, facts(headers={"x-team": "red"})),
            ({"credential": "bearer:*"}, facts(credential="bearer:123456789abc")),
            ({"client": "192.0.2.7"}, facts()),
            ({"client": "192.0.2.99/24"}, facts()),
            ({"client": "192.0.2.0/24"}, facts(client_host="::ffff:192.0.2.7")),
            ({"client": "fe80::/10"}, facts(client_host="fe80::1%eth0")),
            ({"system": "guard"}, facts(say("system", "You are"), say("developer", "a guard"), say("user", "x"))),
            ({"message": "troll"}, facts(say("user", "a troll"), say("assistant", "b"), say("user", "c"))),
            ({"message": "troll"}, facts(say("tool", "a troll"))),
            ({"tool": "get_*"}, facts(tools=("put_it", "get_it"))),
            ({"model": "npc", "client": "192.0.2.7", "system": "a"}, facts(say("system", "a"))),
        ],
    )
    def test_what_holds(self, match: Mapping[str, Any], call: CallFacts) -> None:
        assert answered(call, {"match": match}).route == "routes.0"

    @pytest.mark.parametrize(
        ("match", "call"),
        [
            ({"listener": "forward"}, facts()),
            ({"dialect": "anthropic-messages"}, facts()),
            ({"host": "*.example"}, facts(host="example")),
            ({"host": "127.0.0.1:8001"}, facts()),
            ({"path": "/chat"}, facts()),
            ({"model": "NPC"}, facts()),
            ({"model": "n"}, facts()),
            ({"header": {"x-team": "^red$"}}, facts(headers={"x-team": "reddish"})),
            ({"header": {"x-team": ".*"}}, facts()),
            ({"credential": "*"}, facts()),
            ({"client": "192.0.2.8"}, facts()),
            ({"client": "192.0.2.0/24"}, facts(client_host="")),
            ({"client": "::/0"}, facts()),
            ({"system": "hi"}, facts()),
            ({"message": "guard"}, facts(say("system", "a guard"), say("user", "x"))),
            ({"message": "ab"}, facts(say("user", "a"), say("user", "b"))),
            ({"tool": "*"}, facts()),
            ({"model": "npc", "tool": "a"}, facts(tools=("b",))),
        ],
    )
    def test_what_does_not(self, match: Mapping[str, Any], call: CallFacts) -> None:
        assert isinstance(decide(call, {"match": match}), Reject)

    def test_the_first_route_wins(self) -> None:
        routes: list[dict[str, Any]] = [{"match": {"model": "x"}}, {"name": "second"}, {"name": "third"}]
        assert answered(facts(), *routes).route == "second"

    def test_a_long_conversation_is_seen_from_its_start(self) -> None:
        filler = [say("user", "x" * 100_000) for _ in range(10)]
        route = {"match": {"message": "troll"}}
        assert isinstance(decide(facts(say("user", "a troll"), *filler), route), Answer)
        assert isinstance(decide(facts(*filler, say("user", "a troll")), route), Reject)

    def test_a_hostile_prompt_is_decided(self) -> None:
        """For a backtracking engine this text is out of reach of this regex."""
        call = facts(say("system", "a" * 200_000), say("user", "a" * 200_000))
        match = {"system": "(a+)+b", "message": "(a|aa)+b"}
        assert isinstance(decide(call, {"match": match}), Reject)


class TestSession:
    def test_named_groups_and_facts(self) -> None:
        call = facts(
            say("system", "You are alice, a guard."),
            say("user", "say it in room 7"),
            headers={"x-team": "red"},
            credential="bearer:1",
            host="llm.example",
        )
        route = {
            "match": {
                "system": r"You are (?P<npc>\w+), a guard",
                "message": r"room (?P<room>\d+)(?P<none>x)?",
                "header": {"X-Team": "(?P<team>.*)"},
            },
            "session": "{npc}/{room}{none}/{team}/{model}/{host}/{client}/{credential}/{ }",
        }
        assert answered(call, route).session == "alice/7/red/npc/llm.example/192.0.2.7/bearer:1/{ }"

    def test_what_is_put_in_is_no_template(self) -> None:
        assert answered(facts(model="{host}"), {}).session == "{host}"

    @pytest.mark.parametrize("model", ["llama3.2", "llama3.2:latest", "llama3.2:latest@asker"])
    def test_the_tag_that_ollamas_clients_add_is_no_other_session(self, model: str) -> None:
        assert answered(facts(model=model), {}).session == "llama3.2"

    @pytest.mark.parametrize(
        "model", ["", " ", ":latest", "@asker", "a\nb", "a\x00", "a\x7fb", "a\u2028b", "a\ud800", "x" * 257]
    )
    def test_what_is_no_id(self, model: str) -> None:
        decision = decide(facts(model=model), {})
        assert isinstance(decision, Reject)
        assert isinstance(decision.error, BadRequestError)
        assert decision.error.param == "model"
        assert decide(facts(model=model, listener="forward"), {}) == Pass("routes.0")

    @pytest.mark.parametrize("model", ["x" * 256, "vendor/model:free", "Zoë ☃", "claude-opus-4@20250514"])
    def test_what_is_one(self, model: str) -> None:
        assert answered(facts(model=f" {model} "), {}).session == model


class TestRole:
    @pytest.mark.parametrize(
        ("fields", "route", "role", "session"),
        [
            ({}, {}, None, "npc"),
            ({"listener": "forward"}, {}, "asker", "npc"),
            ({"headers": {"x-motive-role": " Answerer"}}, {}, "answerer", "npc"),
            ({"headers": {"x-motive-role": "answerer"}, "listener": "forward"}, {}, "answerer", "npc"),
            ({"model": "npc@answerer"}, {}, "answerer", "npc"),
            ({"model": "npc@asker"}, {"role": "answerer"}, "asker", "npc"),
            ({"model": "npc@asker", "headers": {"x-motive-role": "asker"}}, {}, "asker", "npc"),
            ({"model": "a@b@asker"}, {}, "asker", "a@b"),
            ({"model": "npc@Asker"}, {}, None, "npc@Asker"),
            ({"model": "npc@guard"}, {}, None, "npc@guard"),
            ({}, {"role": "answerer"}, "answerer", "npc"),
            ({"listener": "forward"}, {"role": "answerer"}, "answerer", "npc"),
        ],
    )
    def test_where_it_comes_from(
        self, fields: dict[str, Any], route: Mapping[str, Any], role: str | None, session: str
    ) -> None:
        decision = answered(facts(**fields), route)
        assert (decision.role, decision.session) == (role, session)

    @pytest.mark.parametrize(
        "fields",
        [
            {"headers": {"x-motive-role": "model"}},
            {"headers": {"x-motive-role": ""}},
            {"headers": {"x-motive-role": "model"}, "listener": "forward"},
            {"headers": {"x-motive-role": "asker"}, "model": "npc@answerer"},
        ],
    )
    def test_a_bad_one(self, fields: dict[str, Any]) -> None:
        decision = decide(facts(**fields), {})
        assert isinstance(decision, Reject)
        assert isinstance(decision.error, BadRequestError)
        assert decision.error.param == "x-motive-role"

    def test_the_request_is_left_as_it_was(self) -> None:
        call = facts(model="npc@asker")
        answered(call, {})
        assert call.request.model == "npc@asker"


class TestAnswers:
    def test_pass(self) -> None:
        route = {"answer": "pass", "name": "out"}
        assert decide(facts(listener="forward"), route) == Pass("out")
        assert decide(facts(), {**route, "service": REAL}) == Pass("out", REAL)
        assert decide(facts(), route, services={"openai-chat": REAL}) == Pass("out", REAL)

    def test_pass_without_a_service(self) -> None:
        decision = decide(facts(), {"answer": "pass"}, services={"anthropic-messages": REAL})
        assert isinstance(decision, Reject)
        assert decision.error.code == "no_service"

    def test_pass_looks_at_no_role(self) -> None:
        call = facts(listener="forward", headers={"x-motive-role": "nonsense"})
        assert decide(call, {"answer": "pass"}) == Pass("routes.0")

    def test_reject(self) -> None:
        decision = decide(facts(listener="forward"), {"answer": "reject"})
        assert isinstance(decision, Reject)
        assert isinstance(decision.error, PermissionDeniedError)
        assert decision.route == "routes.0"


class TestRules:
    def test_with_a_real_service(self) -> None:
        for decision in (
            answered(facts(listener="forward"), {}),
            answered(facts(), {"service": REAL}),
            answered(facts(), {}, services={"openai-chat": REAL}),
        ):
            assert decision.rules == Rules(when_joined=True, can_pass=True, on_timeout="pass", on_lost="pass")
            assert (decision.relay_system, decision.relay_context, decision.background) == (True, True, "answer")

    def test_without_one(self) -> None:
        for route in ({}, {"when": "joined"}):
            decision = answered(facts(), route)
            assert decision.rules == Rules()
            assert (decision.relay_system, decision.relay_context, decision.background) == (False, False, "answer")

    @pytest.mark.parametrize("settings", [{}, {"review_timeout_s": 9}, {"when": "always"}])
    def test_of_a_review(self, settings: dict[str, Any]) -> None:
        decision = answered(facts(listener="forward"), {"answer": "review", **settings})
        assert decision.rules == Rules(
            when_joined=settings.get("when") != "always",
            can_pass=True,
            on_timeout="pass",
            on_lost="pass",
            on_full="pass",
            review_timeout_s=settings.get("review_timeout_s", 300),
        )
        assert (decision.source, decision.stand_ins) == ("review", {})

    def test_of_a_review_by_a_source(self) -> None:
        route = {"answer": "review", "draft": "mock", "on_exit": "pass"}
        decision = answered(facts(), route, sources={"mock": {"kind": "mock"}})
        assert decision.rules.can_pass and decision.rules.when_joined and not decision.passes_at_exit
        assert (decision.stand_ins, decision.relay_context) == ({"pass": "mock"}, True)

    def test_of_a_review_that_nothing_is_behind(self) -> None:
        """It is a meeting of two."""
        assert answered(facts(), {"answer": "review"}).rules == Rules()

    def test_the_routes_own_service_comes_first(self) -> None:
        decision = answered(facts(), {"service": "http://own.example/"}, services={"openai-chat": REAL})
        assert decision.service == "http://own.example"

    def test_a_forwarded_call_goes_to_the_service_that_it_names(self) -> None:
        decision = answered(facts(listener="forward"), {"service": REAL}, services={"openai-chat": REAL})
        assert decision.service is None

    def test_everything_a_route_says(self) -> None:
        decision = answered(
            facts(listener="forward"),
            {
                "when": "always",
                "on_timeout": "error",
                "on_lost": "wait",
                "on_full": "pass",
                "on_idle": "notice",
                "twins": "queue",
                "queue_limit": 7,
                "background": "answer",
                "relay_system": False,
                "relay_context": False,
                "pace_tokens_per_s": 30,
                "hold_timeout_s": 1,
                "handshake_timeout_s": 2,
                "turn_timeout_s": 3,
                "rejoin_window_s": 0,
                "retry_window_s": 0,
            },
        )
        assert decision.rules == Rules(
            when_joined=False,
            can_pass=True,
            hold_timeout_s=1,
            handshake_timeout_s=2,
            turn_timeout_s=3,
            rejoin_window_s=0,
            retry_window_s=0,
            queue_limit=7,
            twins="queue",
            on_timeout="error",
            on_lost="wait",
            on_full="pass",
            on_idle="notice",
        )
        assert (decision.relay_system, decision.relay_context, decision.background) == (False, False, "answer")
        assert decision.pace_tokens_per_s == 30

    @pytest.mark.parametrize(
        ("route", "timing", "hold_timeout_s"),
        [
            ({}, {}, 590),
            ({}, {"turn_timeout_s": 5}, 5),
            ({"turn_timeout_s": 4}, {"turn_timeout_s": 5}, 4),
            ({"turn_timeout_s": 4}, {"hold_timeout_s": 6}, 6),
            ({"hold_timeout_s": 3}, {"hold_timeout_s": 6}, 3),
        ],
    )
    def test_how_long_a_call_is_held(
        self, route: Mapping[str, Any], timing: Mapping[str, Any], hold_timeout_s: float
    ) -> None:
        assert answered(facts(), route, timing=timing).rules.hold_timeout_s == hold_timeout_s

    def test_timing_of_the_configuration(self) -> None:
        timing = {"handshake_timeout_s": 1, "turn_timeout_s": 2, "rejoin_window_s": 3, "retry_window_s": 4}
        rules = answered(facts(), {}, timing=timing).rules
        assert (rules.handshake_timeout_s, rules.turn_timeout_s) == (1, 2)
        assert (rules.rejoin_window_s, rules.retry_window_s) == (3, 4)


class TestHosts:
    @pytest.mark.parametrize(
        ("host", "port"),
        [
            ("api.openai.com", 443),
            ("API.OpenAI.com.", 8443),
            ("eu.api.openai.com", 443),
            ("contoso.openai.azure.com", 443),
            ("contoso.services.ai.azure.com", 443),
            ("api.anthropic.com", 443),
            ("us-central1-aiplatform.googleapis.com", 443),
            ("aiplatform.us.rep.googleapis.com", 443),
            ("bedrock-runtime.eu-west-1.amazonaws.com", 443),
            ("bedrock-runtime-fips.us-east-1.amazonaws.com", 443),
            ("bedrock-agent-runtime.us-east-1.api.aws", 443),
            ("localhost", 11434),
            ("127.0.0.1", 11434),
        ],
    )
    def test_what_is_opened(self, host: str, port: int) -> None:
        assert HostTable(Config()).matches(host, port)

    @pytest.mark.parametrize(
        ("host", "port"),
        [
            ("example.com", 443),
            ("api.openai.com.example.com", 443),
            ("xapi.openai.com", 443),
            ("openai.com", 443),
            ("googleapis.com", 443),
            ("storage.googleapis.com", 443),
            ("s3.amazonaws.com", 443),
            ("localhost", 443),
            ("", 443),
        ],
    )
    def test_what_is_not(self, host: str, port: int) -> None:
        assert not HostTable(Config()).matches(host, port)

    def test_hosts_of_ones_own(self) -> None:
        table = HostTable(Config.model_validate({"hosts": ["[::1]:80"], "extra_hosts": ["LLM?.example", "*:9"]}))
        assert table.matches("::1", 80)
        assert table.matches("[::1]", 80)
        assert not table.matches("::1", 81)
        assert table.matches("llm1.example", 1)
        assert not table.matches("llm.example", 1)
        assert table.matches("anything", 9)

    def test_what_is_remembered_stays_right(self) -> None:
        table = HostTable(Config.model_validate({"hosts": ["a*"]}))
        for _ in range(2):
            for number in range(5000):
                assert not table.matches(f"b{number}", 1)
            assert table.matches("a", 1)


def jwt(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2ln"


class TestCredential:
    SECRET = "sk-proj-0123456789abcdef"

    @pytest.mark.parametrize(
        ("name", "value", "kind"),
        [
            ("authorization", f"Bearer {SECRET}", "bearer"),
            ("authorization", f"bearer   {SECRET} ", "bearer"),
            ("authorization", f"Basic {SECRET}", "basic"),
            ("authorization", SECRET, "authorization"),
            ("authorization", f"Token {SECRET}", "authorization"),
            ("x-api-key", SECRET, "x-api-key"),
            ("api-key", SECRET, "api-key"),
            ("x-goog-api-key", SECRET, "x-goog-api-key"),
        ],
    )
    def test_a_digest_and_never_the_secret(self, name: str, value: str, kind: str) -> None:
        identity = credential_identity({name: value})
        assert identity is not None
        prefix, _, digest = identity.partition(":")
        assert prefix == kind
        assert len(bytes.fromhex(digest)) == 6
        assert identity == credential_identity({name: value})
        assert identity != credential_identity({name: value.replace("sk-", "sk_")})

    @pytest.mark.parametrize(
        "headers",
        [{}, {"authorization": ""}, {"authorization": "Bearer "}, {"authorization": "Bearer"}, {"api-key": " "}],
    )
    def test_none(self, headers: Mapping[str, str]) -> None:
        assert credential_identity(headers) is None

    def test_googles_key_in_the_query_is_the_same_credential(self) -> None:
        identity = credential_identity({"x-goog-api-key": "AIza/+ü"})
        assert credential_identity({}, "alt=sse&key=AIza%2F%2B%C3%BC") == identity
        assert credential_identity({"authorization": "Bearer a"}, "key=b") == credential_identity(
            {"authorization": "Bearer a"}
        )
        assert credential_identity({}, "key=&monkey=1") is None

    def test_authorization_comes_first(self) -> None:
        both = credential_identity({"authorization": "Bearer a", "x-api-key": "b"})
        assert both == credential_identity({"authorization": "Bearer a"})
        assert credential_identity({"authorization": "Bearer ", "x-api-key": "b"}) == credential_identity(
            {"x-api-key": "b"}
        )

    @pytest.mark.parametrize("algorithm", ["AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"])
    def test_a_signature_is_known_by_its_key(self, algorithm: str) -> None:
        value = (
            f"{algorithm} Credential=AKIAEXAMPLE/20261121/us-east-1/bedrock/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature=0123456789abcdef"
        )
        assert credential_identity({"authorization": value}) == "sigv4:AKIAEXAMPLE"

    def test_what_is_no_access_key_id_of_aws_may_be_a_secret(self) -> None:
        value = "AWS4-HMAC-SHA256 Credential=sk-our-key/20261121/us-east-1/bedrock/aws4_request, Signature=0"
        identity = credential_identity({"authorization": value})
        assert identity is not None and identity.startswith("sigv4:") and "sk-our-key" not in identity

    def test_an_expiring_token_is_known_by_its_subject(self) -> None:
        def identity(**claims: object) -> str | None:
            return credential_identity({"authorization": f"Bearer {jwt(claims)}"})

        first = identity(iss="https://issuer.example", sub="alice", exp=1)
        assert first is not None
        assert first.startswith("jwt:")
        assert first == identity(iss="https://issuer.example", sub="alice", exp=2, jti="x")
        assert first != identity(iss="https://issuer.example", sub="bob", exp=1)
        assert first != identity(iss="https://other.example", sub="alice", exp=1)
        assert "alice" not in first

    @pytest.mark.parametrize(
        "token",
        [
            jwt({"sub": "a"}),
            jwt({"exp": 1}),
            jwt({"exp": 1, "sub": 7}),
            jwt([1]),
            "a.b.c",
            "a.!.c",
            "a.b",
            f"a.{'W' * 9999}.c",
        ],
    )
    def test_any_other_token_is_known_by_itself(self, token: str) -> None:
        identity = credential_identity({"authorization": f"Bearer {token}"})
        assert identity is not None
        assert identity.startswith("bearer:")

    def test_what_no_encoding_can_hold(self) -> None:
        assert credential_identity({"x-api-key": "a\udcff"}) is not None
