"""Settings of the critique source: which service each model is at, by the file and by the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from motive_core.config import Config, load_config
from motive_core.dialects.base import RequestHead
from motive_core.errors import BadRequestError, ConfigError, UnavailableError
from motive_core.ir import ChatRequest, Choice, Message, Reply, TextPart
from motive_core.sources import Call, World
from motive_core.sources.critique import Critique, CritiqueSource, Step
from motive_core.upstream import Endpoint, Http, HttpUpstream

ENVIRONMENT = {
    "OPENAI_BASE_URL": "http://localhost:1/v1",
    "OPENAI_API_KEY": "sk-env",
    "PRIMARY_MODEL_NAME": "first",
    "CRITIQUE_MODEL_NAME": "second",
    "CRITIQUE_SYSTEM_PROMPT": "Judge.",
}
ROUTE = "routes: [{answer: critique}]\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "motive.yaml"


def load(path: Path, text: str, env: Mapping[str, str] = ENVIRONMENT) -> Config:
    path.write_text(text)
    return load_config(path, env)


def critique(config: Config, name: str = "critique") -> Critique:
    source = config.sources[name]
    assert isinstance(source, Critique)
    return source


class TestEnvironment:
    def test_a_route_is_enough(self, path: Path) -> None:
        source = critique(load(path, ROUTE))
        assert source.base_url == "http://localhost:1/v1"
        assert source.key is not None and source.key.get_secret_value() == "sk-env"
        assert source.primary_model == "first"
        assert source.judges == (Step(model="second", system_prompt="Judge."),)

    def test_without_anything_there_is_no_critic(self, path: Path) -> None:
        source = critique(load(path, ROUTE, {}))
        assert (source.judges, source.service) == ((), None)

    def test_without_a_source_nothing_is_read(self, path: Path) -> None:
        assert load(path, "proxy: {port: 1}").sources == {}

    def test_what_the_file_has_comes_first(self, path: Path) -> None:
        entry = "sources: {critique: {critique_model: mine, primary_model: own, critique_system_prompt: Look.}}\n"
        source = critique(load(path, entry + ROUTE))
        assert (source.primary_model, source.judges) == ("own", (Step(model="mine", system_prompt="Look."),))

    def test_its_key_does_not_go_to_a_service_of_the_file(self, path: Path) -> None:
        entry = "sources: {critique: {base_url: 'http://elsewhere/v1'}}\n"
        source = critique(load(path, entry + ROUTE))
        assert (source.base_url, source.key) == ("http://elsewhere/v1", None)

    def test_a_key_alone_is_openais(self, path: Path) -> None:
        source = critique(load(path, ROUTE, {"OPENAI_API_KEY": "sk-env"}))
        assert source.service == "https://api.openai.com/v1"

    def test_a_wrong_one_is_named_without_its_value(self, path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load(path, ROUTE, {"OPENAI_BASE_URL": "sk-oops"})
        assert caught.value.where == "OPENAI_BASE_URL" and "sk-oops" not in str(caught.value)


class TestLogLevel:
    @pytest.mark.parametrize(
        ("env", "level"),
        [
            ({"LOG_LEVEL": "WARNING"}, "warning"),
            ({"LOG_LEVEL": "warning", "MOTIVE_PROXY_LOG_LEVEL": "error"}, "error"),
            ({"LOG_LEVEL": " "}, "debug"),
        ],
    )
    def test_it_is_ours_if_there_is_none_of_our_own(self, path: Path, env: dict[str, str], level: str) -> None:
        config = load(path, "log: {level: debug}", env)
        assert (config.log.level, config.warnings) == (level, ())

    def test_one_that_we_do_not_know_is_warned_of(self, path: Path) -> None:
        config = load(path, "", {"LOG_LEVEL": "trace"})
        assert config.log.level == "info"
        assert config.warnings == (
            "the environment variable LOG_LEVEL does not count: it is none of debug, info, warning, error, critical",
        )


@pytest.mark.parametrize(
    ("entry", "where", "why"),
    [
        ("key: k, dialect: cohere-chat", "sources.critique", "a key needs the base_url that it is for"),
        ("primary: base_url", "sources.critique", "there is neither a base_url nor a key"),
        ("steps: [{model: m, key: k}]", "sources.critique.steps.0", "key is for a step with a base_url"),
        ("steps: [{dialect: gemini}]", "sources.critique.steps.0", "dialect is for a step with a base_url"),
        ("steps: [{mode: improve}]", "sources.critique.steps.0.mode", "'refine' or 'feedback'"),
        ("steps: [{timeout_s: 0}]", "sources.critique.steps.0.timeout_s", "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(path: Path, entry: str, where: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path, f"sources: {{critique: {{{entry}}}}}\n", {})
    assert caught.value.where == where and why in caught.value.why


class Recorder:
    """Stands for the app's own service."""

    async def ask(self, request: ChatRequest) -> Reply:
        return Reply("", "", (Choice((TextPart("own"),)),))


REQUEST = ChatRequest("openai-chat", "app", (Message("user", (TextPart("Hi"),)),))


def call(own: Any = None, **headers: str) -> Call:
    return Call(REQUEST, RequestHead("POST", "h", 80, "/v1/chat/completions", headers=headers), "e", "s", 0.0, own=own)


class Asked(Exception):
    """A base URL was asked."""


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> list[Endpoint]:
    """What would be asked over HTTP."""
    made: list[Endpoint] = []

    class Upstream(HttpUpstream):
        def __init__(self, endpoint: Endpoint, http: Http) -> None:
            super().__init__(endpoint, http)
            self._of = endpoint

        async def ask(self, request: ChatRequest, headers: Mapping[str, str] | None = None) -> Reply:
            made.append(self._of)
            return Reply("", "", (Choice((TextPart("there"),)),))

    monkeypatch.setattr("motive_core.sources.critique.HttpUpstream", Upstream)
    return made


async def answered(settings: Critique, own: Any) -> None:
    await settings.make(World(Http(), lambda: 0.0)).answer(call(own))


async def test_the_apps_own_service_comes_first(endpoints: list[Endpoint]) -> None:
    settings = Critique(base_url="http://there/v1", primary_model="first", critique_model="second")
    await answered(settings, Recorder())
    assert [(one.base_url, one.model) for one in endpoints] == [("http://there/v1", "second")]


async def test_without_one_the_base_url_does(endpoints: list[Endpoint]) -> None:
    settings = Critique(base_url="http://there/v1", primary_model="first", critique_model="second")
    await answered(settings, None)
    assert [(one.base_url, one.model) for one in endpoints] == [("http://there/v1", n) for n in ("first", "second")]


async def test_it_does_where_the_settings_say_so(endpoints: list[Endpoint]) -> None:
    await answered(Critique(base_url="http://there/v1", primary="base_url"), Recorder())
    assert [one.model for one in endpoints] == [None]


async def test_each_key_goes_to_its_own_base_url(endpoints: list[Endpoint]) -> None:
    settings = Critique.model_validate(
        {
            "base_url": "http://there/v1",
            "key": "sk-there",
            "steps": [
                {"model": "a"},
                {"model": "b", "base_url": "http://elsewhere"},
                {"model": "c", "base_url": "http://third", "key": "sk-third", "dialect": "anthropic-messages"},
            ],
        }
    )
    await answered(settings, None)
    keys = [one.key.get_secret_value() if one.key is not None else None for one in endpoints]
    assert list(zip([one.base_url for one in endpoints], keys, strict=True)) == [
        ("http://there/v1", "sk-there"),
        ("http://there/v1", "sk-there"),
        ("http://elsewhere", None),
        ("http://third", "sk-third"),
    ]


@pytest.mark.parametrize("settings", [Critique(), Critique(primary="own", base_url="http://there/v1")])
async def test_without_any_service_it_says_so(settings: Critique) -> None:
    with pytest.raises(UnavailableError, match="no service"):
        await answered(settings, None)


async def test_a_base_url_that_leads_back_is_noticed(endpoints: list[Endpoint]) -> None:
    source = Critique(base_url="http://there/v1").make(World(Http(), lambda: 0.0))
    assert isinstance(source, CritiqueSource)
    await source.answer(call())
    mark = endpoints[0].headers["x-motive-source"]
    with pytest.raises(BadRequestError, match="leads back"):
        await source.answer(call(**{"x-motive-source": mark}))
    await source.answer(call(**{"x-motive-source": "another"}))
