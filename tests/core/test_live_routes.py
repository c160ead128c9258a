"""Routes that are in force beside those of the file: their order, what the file takes over, and what is kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from motive_core.config import Config, Match, Route
from motive_core.errors import ConflictError
from motive_core.live_routes import MOST, LiveRoutes


def route(name: str, answer: str = "pair") -> Route:
    return Route(name=name, match=Match(model=name), answer=answer)


A, B, C, OWN = map(route, ("a", "b", "c", "own"))


def order(routes: LiveRoutes) -> list[str | None]:
    return [one.name for one in routes.in_force(Config())]


def made(*latest_first: Route, path: Path | None = None) -> LiveRoutes:
    routes = LiveRoutes(path)
    for one in reversed(latest_first):
        routes.put(f"id-{one.name}", one)
    return routes


class TestOrder:
    def test_the_latest_comes_first(self) -> None:
        routes = made(A, B)
        assert order(routes) == ["a", "b"]
        assert [one.id for one in routes.all] == ["id-a", "id-b"]

    def test_put_again_it_comes_first_and_keeps_its_id(self) -> None:
        routes = made(A, B)
        assert routes.put("new", B) == "id-b"
        assert order(routes) == ["b", "a"]

    def test_one_too_many_is_refused_and_none_is_lost(self) -> None:
        routes = made(*[route(f"r{number}") for number in range(MOST)])
        with pytest.raises(ConflictError) as raised:
            routes.put("x", A)
        assert raised.value.code == "too_many_routes"
        assert len(routes.all) == MOST
        assert routes.put("x", route("r7")) == "id-r7"


class TestSettled:
    def test_what_the_file_begins_with_is_its_own_matter(self) -> None:
        routes = made(A, B)
        routes.settle([A, B, OWN])
        assert routes.all == () and order(routes) == []

    def test_what_stands_behind_others_in_the_file_stays(self) -> None:
        routes = made(A)
        routes.settle([OWN, A])
        assert order(routes) == ["a"]

    def test_a_saved_one_keeps_its_place_before_an_older_one(self) -> None:
        routes = made(A, B, C)
        routes.settle([B, OWN])
        assert order(routes) == ["a", "b", "c"]
        assert [one.id for one in routes.all] == ["id-a", "id-c"]
        assert routes.before("id-a") == () and routes.before("id-c") == (B,)
        assert not routes.drop("id-b")
        routes.settle([B, OWN])
        assert order(routes) == ["a", "b", "c"]
        assert routes.drop("id-c")
        assert order(routes) == ["a"]

    def test_of_a_saved_one_the_file_decides(self) -> None:
        routes = made(A, B)
        routes.settle([A, OWN])
        routes.settle([OWN])
        assert order(routes) == ["b"]


class TestKept:
    def test_all_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "8000.routes.json"
        routes = made(A, B, path=path)
        routes.settle([A])
        assert LiveRoutes(path).all == routes.all
        again = LiveRoutes(path)
        again.settle([])
        assert order(again) == ["b"]
        assert path.stat().st_mode & 0o777 == 0o600
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    def test_one_that_cannot_be_read_leaves_the_others(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "routes.json"
        made(A, B, path=path)
        told = json.loads(path.read_text())
        told[0]["route"]["setting_of_tomorrow"] = 1
        path.write_text(json.dumps([*told, 7, None, {"id": "x"}]))
        assert order(LiveRoutes(path)) == ["b"]
        assert caplog.text.count("a live route not read") == 4

    @pytest.mark.parametrize("text", ["[{]", "7", "null", "\ud800", "[" * 100_000])
    def test_a_broken_file_is_put_aside(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "routes.json"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert LiveRoutes(path).all == ()
        assert [one.name for one in tmp_path.iterdir()] == ["routes.json.broken"]

    def test_where_it_cannot_be_written_it_is_in_force_all_the_same(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        assert order(made(A, path=tmp_path / "file" / "routes.json")) == ["a"]
        assert "live routes not written" in caplog.text


def test_one_that_the_configuration_does_not_allow_is_out_of_force_and_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    routes = made(A, route("played", "parrot"))
    assert order(routes) == ["a"]
    assert "live route not in force name='played'" in caplog.text
    config = Config.model_validate({"sources": {"parrot": {"kind": "mock"}}})
    assert [one.name for one in routes.in_force(config)] == ["a", "played"]
