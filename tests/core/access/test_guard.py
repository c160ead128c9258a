"""Who is admitted to the meeting point, and as whom."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.access import ANYBODY, Guard
from motive_core.config import Config, Hashed
from motive_core.dialects import RequestHead
from motive_core.errors import AuthenticationError, MotiveError, PermissionDeniedError
from tests.core.access.heads import head

TOKEN = "the-token"
ALICE, GAME = "sk-alice-0001", "sk-game-0002"
ACCESS: dict[str, Any] = {
    "keys": [
        {"name": "alice", "key": ALICE, "role": "answerer"},
        {"name": "game", "key": Hashed.of(GAME).written, "sessions": ["npc-*", "lobby"], "role": "asker"},
    ],
    "valid_keys": "plain-1,plain-2",
}


def guard(**access: Any) -> Guard:
    return Guard(Config.model_validate({"access": access}), Hashed.of(TOKEN))


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


SIGNED = f"AWS4-HMAC-SHA256 Credential={ALICE}/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0"


class TestKeys:
    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": f"Bearer {ALICE}"},
            {"authorization": f"bearer  {ALICE}\t"},
            {"authorization": basic(f"anybody:{ALICE}")},
            {"authorization": basic(f"{ALICE}:")},
            {"authorization": SIGNED},
            {"x_api_key": ALICE},
            {"x_api_key": f" {ALICE} "},
            {"x_goog_api_key": ALICE},
            {"api_key": ALICE},
            {"x_motive_key": ALICE},
            {"x_motive_key": ALICE, "authorization": "Bearer sk-of-the-vendor"},
            {"x_api_key": "sk-of-the-vendor", "authorization": f"Bearer {ALICE}"},
            {"x_api_key": ALICE, "authorization": f"Bearer {ALICE}"},
        ],
        ids=str,
    )
    def test_a_key_is_found_wherever_clients_put_theirs(self, headers: dict[str, str]) -> None:
        caller = guard(**ACCESS).admit(head(**headers))
        assert (caller.rank, caller.name, caller.role, caller.credential) == (
            "client",
            "alice",
            "answerer",
            "key:alice",
        )

    @pytest.mark.parametrize("query", [f"key={ALICE}", f"alt=sse&key={ALICE}", f"%6bey={ALICE}&alt=sse"])
    def test_a_key_in_the_query(self, query: str) -> None:
        assert guard(**ACCESS).admit(head(path=f"/v1beta/models/m:generateContent?{query}")).name == "alice"

    def test_the_configured_header(self) -> None:
        ours = guard(**ACCESS, header="X-Our-Key")
        assert ours.admit(head(x_our_key=ALICE)).name == "alice"
        with pytest.raises(AuthenticationError):
            ours.admit(head(x_motive_key=ALICE))

    def test_a_key_without_a_name_gets_one_that_tells_nothing(self) -> None:
        caller = guard(**ACCESS).admit(head(x_api_key="plain-2"))
        assert caller.name == Hashed.of("plain-2").digest.hex()[:8]
        assert (caller.sessions, caller.role) == (None, None)

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": "Bearer"},
            {"authorization": "Bearer "},
            {"authorization": ALICE},
            {"authorization": f"Basic {ALICE}"},
            {"authorization": basic(ALICE)},
            {"authorization": basic(f"{ALICE}:other")},
            {"authorization": f"Digest {ALICE}"},
            {"authorization": f"Bearer {ALICE} {ALICE}"},
            {"authorization": f"Bearer {ALICE}, Bearer {ALICE}"},
            {"authorization": f"Bearer {ALICE}\xa0"},
            {"authorization": f"Bearer {ALICE}\u3000"},
            {"x_api_key": f"{ALICE}, {ALICE}"},
            {"x_api_key": f"wrong, {ALICE}"},
            {"x_api_key": f"{ALICE},"},
            {"x_api_key": ALICE.upper()},
            {"x_api_key": ALICE[:-1]},
            {"x_api_key": f"{ALICE}\x00"},
            {"x_api_key": f"{ALICE}\x0b"},
            {"x_api_key": ALICE.replace("a", "\uff41")},
            {"x_api_key": ALICE.replace("a", "\u0430")},
            {"x_api_key": f"{ALICE}\udcff"},
            {"x_api_key": Hashed.of(ALICE).written},
            {"x_api_key": Hashed.of(ALICE).digest.hex()},
            {"x_api_key": TOKEN},
            {"x_api_key": "*"},
            {"x-api-key_": ALICE},
            {"cookie": f"key={ALICE}"},
        ],
        ids=str,
    )
    def test_anything_else_is_no_key(self, headers: dict[str, str]) -> None:
        with pytest.raises(AuthenticationError) as raised:
            guard(**ACCESS).admit(head(**headers))
        assert raised.value.code == "invalid_api_key"
        assert ALICE not in raised.value.message and not raised.value.retryable

    @given(st.text(max_size=40), st.sampled_from(["authorization", "x-api-key", "x-motive-key"]), st.text(max_size=40))
    def test_no_text_is_a_key_by_chance(self, value: str, name: str, query: str) -> None:
        with pytest.raises(AuthenticationError):
            guard(**ACCESS).admit(head(path=f"/v1/models?key={query}", **{name: value}))

    def test_two_keys_are_nobodys(self) -> None:
        with pytest.raises(AuthenticationError) as raised:
            guard(**ACCESS).admit(head(x_api_key=ALICE, authorization=f"Bearer {GAME}"))
        assert raised.value.code == "two_keys"

    def test_very_many_keys_are_none(self) -> None:
        for count in (50, 5000):
            query = "&".join(["key=wrong"] * count)
            with pytest.raises(AuthenticationError):
                guard(**ACCESS).admit(head(path=f"/v1/models?{query}&key={ALICE}"))

    def test_without_keys_nobody_is_asked(self) -> None:
        assert guard().admit(head()) is ANYBODY
        assert guard(**ACCESS, require_key=False).admit(head(x_api_key=ALICE)) is ANYBODY

    def test_every_known_key_is_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However early one fits: the time tells nothing."""
        compared: list[tuple[Hashed, Hashed]] = []
        equals = Hashed.equals

        def counted(one: Hashed, other: Hashed) -> bool:
            compared.append((one, other))
            return equals(one, other)

        monkeypatch.setattr(Hashed, "equals", counted)
        counts = set()
        for key in (ALICE, GAME, "plain-2", "wrong"):
            compared.clear()
            with contextlib.suppress(AuthenticationError):
                guard(**ACCESS).admit(head(x_api_key=key))
            counts.add(len(compared))
        assert counts == {4}


class TestSessions:
    @pytest.mark.parametrize(
        ("session", "may"),
        [("npc-guard", True), ("npc-", True), ("lobby", True), ("lobby2", False), ("NPC-x", False), ("x-npc-", False)],
    )
    def test_a_key_is_good_for_its_sessions(self, session: str, may: bool) -> None:
        caller = guard(**ACCESS).admit(head(x_api_key=GAME))
        assert caller.may_use(session) is may
        if not may:
            with pytest.raises(PermissionDeniedError) as raised:
                caller.check(session)
            assert (raised.value.code, session in raised.value.message) == ("session_not_allowed", False)

    def test_a_key_without_globs_is_good_for_all(self) -> None:
        guard(**ACCESS).admit(head(x_api_key=ALICE)).check("whatever")


class TestOperator:
    @pytest.mark.parametrize("path", ["/admin/sessions", "/metrics", "/console/x", "/%61dmin", "/admin%2Fsessions"])
    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("", {"authorization": f"Bearer {TOKEN}"}),
            ("", {"x_admin_token": TOKEN}),
            (f"?token={TOKEN}", {}),
            (f"?x=1&token={TOKEN}", {}),
        ],
    )
    def test_the_token_admits_the_operator(self, path: str, query: str, headers: dict[str, str]) -> None:
        for asked in (guard(), guard(**ACCESS)):
            assert asked.admit(head("GET", f"{path}{query}", **headers)).rank == "operator"

    @pytest.mark.parametrize("path", ["/admin", "/admin/", "/metrics", "/console/api/sessions", "/%61dmin/sessions"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"])
    @pytest.mark.parametrize(
        "headers", [{}, {"x_api_key": ALICE}, {"x_admin_token": ALICE}, {"x_api_key": TOKEN}, {"x_admin_token": ""}]
    )
    def test_nobody_else_is(self, path: str, method: str, headers: dict[str, str]) -> None:
        preflight = {"access_control_request_method": "DELETE"}
        for asked in (guard(), guard(**ACCESS)):
            with pytest.raises(AuthenticationError) as raised:
                asked.admit(head(method, path, **headers, **preflight))
            assert raised.value.code == "admin_token_needed"
            assert "access.admin_token" in raised.value.message

    @pytest.mark.parametrize("path", ["/console", "/console/", "/console/login", "/%63onsole"])
    def test_the_door_of_the_console_is_open(self, path: str) -> None:
        for asked in (guard(), guard(**ACCESS)):
            assert asked.admit(head("GET", path)).rank == "stranger"
            assert asked.admit(head("GET", path, x_admin_token=TOKEN)).rank == "operator"

    def test_a_cookie_of_the_console_is_good_there_only(self) -> None:
        asked = Guard(Config(), Hashed.of(TOKEN), lambda value: value == "good")
        cookie = "x=1; motive_console_8000=good"
        page = {"cookie": cookie, "host": "127.0.0.1"}
        assert asked.admit(head("GET", "/console/api/sessions", **page)).rank == "operator"
        assert asked.login_of(head("GET", "/console", **page)) == "good"
        own = {"origin": "http://127.0.0.1"}
        assert asked.admit(head("POST", "/console/api/take", **page, **own)).rank == "operator"
        for method, path, fields in [
            ("POST", "/console/api/take", page),  # no page says that it asks
            ("GET", "/admin/sessions", page),
            ("GET", "/metrics", page),
            ("GET", "/console/api/feed", {"cookie": "motive_console_8000=bad"}),
            ("GET", "/console/api/feed", {"cookie": "other=good"}),
            ("GET", "/console/api/feed", {}),
        ]:
            with pytest.raises(AuthenticationError):
                asked.admit(head(method, path, **fields))
        assert "cookie" in asked.own_secrets(head("GET", "/console", **page), forward=False)
        assert "cookie" not in asked.own_secrets(head("GET", "/v1/models", **page), forward=False)

    @pytest.mark.parametrize("origin", ["http://127.0.0.1:3000", "http://localhost", "null", "https://x", "127.0.0.1"])
    def test_pages_of_others_may_not_call_the_console(self, origin: str) -> None:
        asked = Guard(Config(), Hashed.of(TOKEN), lambda _: True)
        fields = {"cookie": "motive_console=x", "host": "127.0.0.1", "origin": origin}
        with pytest.raises(PermissionDeniedError):
            asked.admit(head("POST", "/console/api/take", **fields))

    def test_the_configuration_may_name_the_token(self) -> None:
        for named in ("mine", Hashed.of("mine").written):
            asked = guard(admin_token=named)
            assert asked.admit(head("GET", "/admin", x_admin_token="mine")).rank == "operator"
            with pytest.raises(AuthenticationError):
                asked.admit(head("GET", "/admin", x_admin_token=TOKEN))

    def test_the_token_is_no_key(self) -> None:
        with pytest.raises(AuthenticationError):
            guard(**ACCESS).admit(head(x_admin_token=TOKEN))


class TestEverybody:
    def test_a_preflight_has_no_key(self) -> None:
        origin = {"origin": "http://localhost:3000", "access_control_request_method": "POST"}
        assert guard(**ACCESS).admit(head("OPTIONS", **origin)).rank == "stranger"

    @pytest.mark.parametrize("path", ["/health", "/v1/health"])
    def test_health_may_be_asked(self, path: str) -> None:
        asked = guard(**ACCESS)
        assert asked.admit(head("GET", path)).rank == "stranger"
        assert asked.admit(head("GET", path, x_api_key="wrong")).rank == "stranger"
        assert asked.admit(head("GET", path, x_api_key=ALICE)).rank == "client"
        assert asked.admit(head("GET", path, x_admin_token=TOKEN)).rank == "operator"
        assert guard().admit(head("GET", path)).rank == "client"

    @pytest.mark.parametrize("path", ["/health/", "/health/x", "/%68ealth", "//health", "/x/v1/health", "/v1/healthy"])
    def test_nothing_beside_it(self, path: str) -> None:
        with pytest.raises(MotiveError):
            guard(**ACCESS).admit(head("GET", path))


class TestOwnSecrets:
    def test_they_go_no_further(self) -> None:
        asked = guard(**ACCESS)
        vendors = {"authorization": "Bearer sk-vendor", "x_api_key": "sk-vendor", "x_goog_api_key": "AIza"}
        mine = {"authorization": f"Bearer {GAME}"}
        for forward, always in ((False, {"x-motive-key", "x-admin-token"}), (True, {"x-motive-key"})):

            def own(head: RequestHead, asked: Guard = asked, *, forward: bool = forward) -> set[str]:
                return set(asked.own_secrets(head, forward=forward))

            assert own(head(**vendors)) == always
            assert own(head(**{**vendors, **mine})) == always | {"authorization"}
            assert own(head(path=f"/x?key={GAME}", x_api_key=ALICE)) == always | {"x-api-key", "?key"}
            assert own(head(authorization=f"Bearer {TOKEN}")) == always | {"authorization"}
            assert own(head(path=f"/x?token={TOKEN}", x_admin_token=TOKEN)) == always | {"?token", "x-admin-token"}
            assert own(head(x_api_key="sk-vendor"), guard(header="x-api-key")) == always - {"x-motive-key"}

    def test_an_apps_own_header_of_that_name_stays_by_the_forward_proxy(self) -> None:
        asked = guard(**ACCESS, header="X-Auth")
        assert set(asked.own_secrets(head(x_auth="of-the-app"), forward=True)) == set()
        assert set(asked.own_secrets(head(x_auth=GAME), forward=True)) == {"x-auth"}
        assert set(asked.own_secrets(head(x_auth="wrong"), forward=False)) == {"x-auth", "x-admin-token"}


class TestWithoutSecrets:
    @pytest.mark.parametrize("forward", [False, True])
    @pytest.mark.parametrize(
        ("headers", "place"),
        [
            ({"authorization": f"Bearer {ALICE}"}, "authorization"),
            ({"authorization": f"Bearer {TOKEN}"}, "authorization"),
            ({"authorization": SIGNED}, "authorization"),
            ({"x_api_key": ALICE}, "x-api-key"),
            ({"x_motive_key": "whatever"}, "x-motive-key"),
            ({"x_admin_token": TOKEN}, "x-admin-token"),
        ],
    )
    def test_ours_are_taken_out_and_others_stay(self, headers: dict[str, str], place: str, *, forward: bool) -> None:
        asked = head(**{"api_key": "sk-of-the-vendor", "x_other": "1", **headers})
        left = guard(**ACCESS).without_secrets(asked, forward=forward)
        assert asked.headers.keys() - left.headers.keys() == {place}
        assert (left.method, left.path, left.query) == (asked.method, asked.path, asked.query)

    def test_the_query(self) -> None:
        asked = head(path=f"/v1beta/models/m:generateContent?alt=sse&%6bey={ALICE}&token={TOKEN}&x=1")
        assert guard(**ACCESS).without_secrets(asked, forward=False).query == "alt=sse&x=1"

    def test_a_head_without_ours_is_the_same(self) -> None:
        asked = head(authorization="Bearer sk-of-the-vendor")
        assert guard(**ACCESS).without_secrets(asked, forward=True) == asked
