"""The configuration: what is read from file and environment, what is refused and where, and reading it again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from motive_core.config import Config, ConfigFile, Route, load_config
from motive_core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

type Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Reads a text as a configuration file, in this environment and no other."""

    def read(text: str, env: Mapping[str, str] | None = None, dotenv: str | None = None) -> Config:
        path, dotenv_path = tmp_path / "config.yaml", tmp_path / ".env"
        path.write_text(text, "utf-8")
        if dotenv is not None:
            dotenv_path.write_text(dotenv, "utf-8")
        return load_config(path, env or {}, dotenv_path)

    return read


def refused(load: Load, text: str, env: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(text, env)
    return raised.value


class TestDefaults:
    def test_without_a_file(self) -> None:
        config = load_config(None, {})
        assert config == Config()
        assert (config.proxy.host, config.proxy.port, config.proxy.forward_port) == ("127.0.0.1", 8000, 8080)
        assert (config.timing.turn_timeout_s, config.timing.hold_timeout_s) == (590, None)
        assert config.join_words == ("ping", "/join")
        assert config.warnings == ()

    @pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "null\n"])
    def test_an_empty_file(self, load: Load, text: str) -> None:
        assert load(text) == Config()

    def test_the_shipped_file_states_them(self) -> None:
        assert load_config(ROOT / "config.yaml", {}) == Config()

    def test_the_shipped_file_leaves_out_the_long_tables_only(self) -> None:
        stated = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))
        assert set(Config.model_fields) - set(stated) == {"background", "heartbeat_clients"}
        for section in ("proxy", "log", "limits", "timing"):
            model = type(getattr(Config(), section))
            assert set(stated[section]) == {field.alias or name for name, field in model.model_fields.items()}

    def test_the_example_in_the_shipped_file_works(self, load: Load) -> None:
        lines = (ROOT / "config.yaml").read_text("utf-8").splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("#  - match: "))
        route = [line.removeprefix("#") for line in lines[start : start + 3]]
        first = load("\n".join(["routes:", *route])).routes[0]
        assert (first.session, first.match.system) == ("npc-{npc}", r"You are (?P<npc>\w+), a guard")

    def test_a_setting_without_a_value_is_left_out(self, load: Load) -> None:
        assert load("routes:\n#  - match: {}\nproxy:\n") == Config()

    def test_no_routes_are_no_routes(self, load: Load) -> None:
        assert load("routes: []").routes == ()

    def test_nothing_can_be_changed(self) -> None:
        config = Config()
        with pytest.raises(ValidationError):
            config.proxy.port = 1  # type: ignore[misc]


class TestValues:
    def test_all_sections(self, load: Load) -> None:
        config = load(
            """
            proxy: {host: "::1", port: 0, forward_port: 9}
            log: {level: WARNING, debug: yes, json: true}
            limits: {max_sessions: 5, body_limit_bytes: 1 MiB}
            timing: {turn_timeout_s: 1.5, rejoin_window_s: 0}
            join_words: [Hello, /Sit]
            cors_origins: [https://chat.example]
            hosts: [llm.example]
            extra_hosts: ["*.llm.example:8443"]
            services: {openai-chat: http://127.0.0.1:9000/base/}
            fast_dispatch: off
            """
        )
        assert (config.proxy.host, config.proxy.port, config.proxy.forward_port) == ("::1", 0, 9)
        assert (config.log.level, config.log.debug, config.log.as_json) == ("warning", True, True)
        assert (config.limits.max_sessions, config.limits.body_limit_bytes) == (5, 1048576)
        assert (config.timing.turn_timeout_s, config.timing.rejoin_window_s) == (1.5, 0)
        assert config.join_words == ("hello", "/sit")
        assert config.services == {"openai-chat": "http://127.0.0.1:9000/base"}
        assert config.fast_dispatch == "off"

    @pytest.mark.parametrize("written", ["4.10", "on", "1:30", "2024-08-06", "0x10", "1_000", "~x", "nullable"])
    def test_words_stay_as_written(self, load: Load, written: str) -> None:
        route = load(f"routes: [{{match: {{model: {written}}}}}]").routes[0]
        assert route.match.model == written

    @pytest.mark.parametrize(
        ("written", "size"), [("7", 7), ("32MiB", 2**25), ("32 MB", 32_000_000), ("1kib", 1024), ("2GB", 2 * 10**9)]
    )
    def test_sizes(self, load: Load, written: str, size: int) -> None:
        assert load(f"limits: {{body_limit_bytes: {written}}}").limits.body_limit_bytes == size

    def test_anchors_and_merges(self, load: Load) -> None:
        config = load(
            """
            routes:
              - &guard {session: "npc", answer: pair, match: {model: a}}
              - {<<: *guard, match: {model: b}}
            """
        )
        assert [(route.session, route.match.model) for route in config.routes] == [("npc", "a"), ("npc", "b")]

    def test_a_byte_order_mark_is_no_part_of_the_file(self, load: Load) -> None:
        assert load("\ufeffproxy: {port: 1}").proxy.port == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "where", "why"),
        [
            ("proxy: {prot: 1}", "proxy.prot", "unknown key; did you mean port?"),
            ("prxy: {port: 1}", "prxy", "unknown key; did you mean proxy?"),
            ("log: {as_json: true}", "log.as_json", "unknown key"),
            ("warnings: [x]", "warnings", "unknown key"),
            ("proxy: {port: 65536}", "proxy.port", "less than or equal to 65535"),
            ("proxy: {port: true}", "proxy.port", "valid integer"),
            ("proxy: {port: }", "proxy.port", "given is null"),
            ("proxy: 8000", "proxy", "a mapping is wanted"),
            ("proxy: [8000]", "proxy", "a mapping is wanted"),
            ("join_words: ping", "join_words", "a list is wanted"),
            ("join_words: [' ']", "join_words.0", "must not be empty"),
            ("routes: {match: {}}", "routes", "a list is wanted"),
            ("timing: {turn_timeout_s: 0}", "timing.turn_timeout_s", "greater than 0"),
            ("timing: {turn_timeout_s: .inf}", "timing.turn_timeout_s", "number"),
            ("timing: {turn_timeout_s: inf}", "timing.turn_timeout_s", "finite"),
            ("timing: {retry_window_s: -1}", "timing.retry_window_s", "greater than or equal to 0"),
            ("limits: {body_limit_bytes: 32M}", "limits.body_limit_bytes", "32MiB or 32MB; given is '32M'"),
            ("limits: {body_limit_bytes: 0}", "limits.body_limit_bytes", "greater than or equal to 1"),
            ("log: {level: loud}", "log.level", "'debug', 'info'"),
            ("fast_dispatch: maybe", "fast_dispatch", "'auto', 'on' or 'off'"),
            ("hosts: ['https://api.example.com']", "hosts.0", "no URL"),
            ("extra_hosts: [a, 'b:0']", "extra_hosts.1", "between 1 and 65535"),
            ("cors_origins: ['https://a.example/']", "cors_origins.0", "no trailing slash"),
            ("services: {opnai: https://a.example}", "services.opnai.[key]", "no such dialect; known are anthropic-"),
            ("services: {openai-chat: a.example}", "services.openai-chat", "base URL is wanted"),
            ("routes: [{match: {system: '('}}]", "routes.0.match.system", "not a valid regex"),
            ("routes: [{}, {match: {header: {X-A: '['}}}]", "routes.1.match.header.X-A", "not a valid regex"),
            ("routes: [{match: {system: '(?=a)'}}]", "routes.0.match.system", "look-around"),
            ("routes: [{match: {client: 10.0.0.0/33}}]", "routes.0.match.client", "CIDR"),
            ("routes: [{match: {dialect: gopher*}}]", "routes.0.match.dialect", "no such dialect"),
            ("routes: [{match: {listener: both}}]", "routes.0.match.listener", "'forward' or 'reverse'"),
            ("routes: [{match: {modle: x}}]", "routes.0.match.modle", "did you mean model?"),
            ("routes: [{session: 'a-{npc}'}]", "routes.0.session", "unknown placeholder {npc}; known here: client,"),
            ("routes: [{session: ''}]", "routes.0.session", "at least 1 character"),
            (
                "routes: [{match: {system: '(?P<model>a)'}}]",
                "routes.0.match",
                "a group cannot be called 'model'",
            ),
            (
                "routes: [{match: {system: '(?P<a>x)', message: '(?P<a>y)'}}]",
                "routes.0.match",
                "the group 'a' stands in two regexes",
            ),
            (
                "routes: [{match: {listener: forward}, service: 'https://a.example'}]",
                "routes.0.service",
                "goes to the service that it names",
            ),
            ("routes: [{pace_tokens_per_s: 0}]", "routes.0.pace_tokens_per_s", "greater than 0"),
            ("routes: [{draft: mock}]", "routes.0.draft", "this is for `answer: review`"),
            ("routes: [{review_timeout_s: 9}]", "routes.0.review_timeout_s", "this is for `answer: review`"),
            ("routes: [{answer: review, on_lost: wait}]", "routes.0.on_lost", "this is for `answer: pair`"),
            ("routes: [{answer: review, draft: mok}]", "routes.0.draft", "'mok' is not the name of a source"),
            ("sources: {review: {kind: mock}}", "sources.review", "another meaning"),
            ("commands: {say: /send}", "commands", "two commands are called '/send'"),
            ("background: [{name: a, match: {}, reply: x}]", "background.0.match", "a condition is wanted"),
            ("background: [{name: a, match: {message: x}}]", "background.0.reply", "is missing"),
            ("background: [{name: a, match: {message: x}, reply: '{who}'}]", "background.0.reply", "placeholder {who}"),
        ],
    )
    def test_the_path_and_the_reason_are_named(self, load: Load, text: str, where: str, why: str) -> None:
        error = refused(load, text)
        assert error.where == where
        assert why in error.why

    @pytest.mark.parametrize(
        "setting", ["answer: pass", "answer: review", "when: joined", "on_timeout: pass", "background: pass"]
    )
    def test_nothing_can_pass_where_there_is_no_service(self, load: Load, setting: str) -> None:
        route = f"match: {{listener: reverse}}, {setting}"
        error = refused(load, f"routes: [{{{route}}}]")
        assert error.where == f"routes.0.{setting.partition(':')[0]}"
        assert "no real service" in error.why
        load(f"routes: [{{{route}}}]\nservices: {{openai-chat: https://a.example}}")
        load(f"routes: [{{{route}, service: https://a.example}}]")

    def test_a_draft_by_a_source_needs_no_service(self, load: Load) -> None:
        review = "match: {listener: reverse}, answer: review, when: joined, draft: mock"
        assert load(f"routes: [{{{review}}}]").sources["mock"].kind == "mock"
        assert refused(load, f"routes: [{{{review}, on_exit: pass}}]").where == "routes.0.on_exit"

    def test_further_errors_are_counted(self, load: Load) -> None:
        error = refused(load, "proxy: {port: x, host: ''}\nnope: 1")
        assert "2 more" in error.why

    def test_a_long_value_is_cut(self, load: Load) -> None:
        assert len(refused(load, f"proxy: {{port: '{'x' * 1000}'}}").why) < 200


class TestText:
    @pytest.mark.parametrize(
        ("text", "where", "why"),
        [
            (
                "proxy:\n  port: 1\n  port: 2\n",
                "line 3, column 3",
                "'port' stands twice in one mapping, first in line 2",
            ),
            ("proxy: {}\nlog: {}\nproxy: {}\n", "line 3, column 1", "first in line 1"),
            ("proxy:\n\tport: 1\n", "line 2, column 1", "a tab; YAML indents by spaces"),
            ("proxy: {port: 1\nlog: {}\n", "line 2", "expected"),
            ("a: b: c\n", "line 1, column 5", "mapping values are not allowed"),
            ("? [a]\n: b\n", "line 1", "a key must be a plain word"),
            ("proxy: !!python/object:os.system {}\n", "line 1", "could not determine a constructor"),
            ("a: 1\nb: \x00\n", "line 2", "does not allow"),
        ],
    )
    def test_the_place_is_named(self, load: Load, text: str, where: str, why: str) -> None:
        error = refused(load, text)
        assert error.where.startswith(f"config.yaml, {where}")
        assert why in error.why

    @pytest.mark.parametrize("text", ["- proxy\n", "proxy\n", "!!int 5\n", "~: 1\n"])
    def test_it_must_be_a_mapping(self, load: Load, text: str) -> None:
        refused(load, text)

    def test_it_must_not_be_nested_without_end(self, load: Load) -> None:
        assert "nested too deeply" in refused(load, "routes: &a [*a]").why
        assert "nested too deeply" in refused(load, "[" * 1500).why

    def test_it_must_be_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_bytes(b"proxy: {host: \xff}")
        with pytest.raises(ConfigError, match="not UTF-8"):
            load_config(path, {})

    def test_it_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            load_config(tmp_path / "none.yaml", {})
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(tmp_path, {})


class TestReferences:
    @pytest.mark.parametrize(
        ("written", "env", "port"),
        [
            ("${PORT:-8001}", {}, 8001),
            ("${PORT:-8001}", {"PORT": ""}, 8001),
            ("${PORT:-8001}", {"PORT": "9"}, 9),
            ("${PORT}", {"PORT": "9"}, 9),
            ("'${PORT}'", {"PORT": "9"}, 9),
            ("80${PORT}${PORT}", {"PORT": "1"}, 8011),
        ],
    )
    def test_numbers(self, load: Load, written: str, env: Mapping[str, str], port: int) -> None:
        assert load(f"proxy:\n  port: {written}", env).proxy.port == port

    @pytest.mark.parametrize(
        ("written", "env", "model"),
        [
            ("npc-${WHO}", {"WHO": "bob"}, "npc-bob"),
            ("${A}${B:-b}", {"A": "${B}"}, "${B}b"),
            ("${A:-npc-{model}-x}", {}, "npc-{model}-x"),
            ("$${A}", {}, "${A}"),
            ("$A $ {A} $", {}, "$A $ {A} $"),
            ("${V}", {"V": "1.10"}, "1.10"),
            ("${V}", {"V": "a: b"}, "a: b"),
        ],
    )
    def test_texts(self, load: Load, written: str, env: Mapping[str, str], model: str) -> None:
        text = yaml.safe_dump({"routes": [{"match": {"model": written}}]})
        assert load(text, env).routes[0].match.model == model

    def test_null(self, load: Load) -> None:
        text = "timing: {hold_timeout_s: '${HOLD:-null}'}"
        assert load(text).timing.hold_timeout_s is None
        assert load(text, {"HOLD": "5"}).timing.hold_timeout_s == 5

    def test_booleans(self, load: Load) -> None:
        assert load("log: {debug: '${DEBUG:-true}'}").log.debug is True
        assert load("log: {debug: '${DEBUG:-true}'}", {"DEBUG": "off"}).log.debug is False

    def test_a_missing_variable(self, load: Load) -> None:
        error = refused(load, "routes: [{}, {match: {header: {X-Key: 'a${KEY}'}}}]")
        assert (error.where, error.why) == (
            "routes.1.match.header.X-Key",
            "the variable KEY is not set, and there is no default",
        )

    @pytest.mark.parametrize("written", ["${", "${}", "${1A}", "${A", "${A:}", "${A-b}"])
    def test_a_broken_one(self, load: Load, written: str) -> None:
        error = refused(load, yaml.safe_dump({"proxy": {"host": written}}), {"A": "x"})
        assert error.where == "proxy.host"
        assert "must begin a reference" in error.why

    def test_within_braces_it_needs_quotes(self, load: Load) -> None:
        assert refused(load, "proxy: {port: ${PORT:-1}}").where == "config.yaml, line 1, column 16"
        assert load("proxy: {port: '${PORT:-1}'}").proxy.port == 1

    def test_keys_and_comments_are_left_alone(self, load: Load) -> None:
        assert load("# ${NOPE}\nproxy: {port: 1}").proxy.port == 1


class TestVariables:
    def test_they_override_the_file(self, load: Load) -> None:
        config = load(
            "proxy: {host: 10.0.0.1, port: 1, forward_port: 2}\ntiming: {turn_timeout_s: 3}\nlimits: {}\n",
            {
                "MOTIVE_PROXY_HOST": "0.0.0.0",
                "MOTIVE_PROXY_PORT": "9000",
                "MOTIVE_PROXY_LOG_LEVEL": "DEBUG",
                "MOTIVE_PROXY_DEBUG": "1",
                "MOTIVE_PROXY_HANDSHAKE_TIMEOUT_SECONDS": "1",
                "MOTIVE_PROXY_TURN_TIMEOUT_SECONDS": "2.5",
                "MOTIVE_PROXY_SESSION_TTL_SECONDS": "3",
                "MOTIVE_PROXY_CLEANUP_INTERVAL_SECONDS": "4",
                "MOTIVE_PROXY_MAX_SESSIONS": "5",
                "MOTIVE_PROXY_MAX_PAYLOAD_SIZE": "6MiB",
            },
        )
        assert (config.proxy.host, config.proxy.port, config.proxy.forward_port) == ("0.0.0.0", 9000, 2)
        assert (config.log.level, config.log.debug) == ("debug", True)
        timing = config.timing
        assert (timing.handshake_timeout_s, timing.turn_timeout_s) == (1, 2.5)
        assert (timing.session_ttl_s, timing.cleanup_interval_s) == (3, 4)
        assert (config.limits.max_sessions, config.limits.body_limit_bytes) == (5, 6 * 2**20)
        assert config.warnings == ()

    def test_without_a_file(self) -> None:
        assert load_config(None, {"MOTIVE_PROXY_FORWARD_PORT": "1"}).proxy.forward_port == 1

    def test_an_empty_one_counts_as_unset(self, load: Load) -> None:
        assert load("proxy: {port: 1}", {"MOTIVE_PROXY_PORT": " "}).proxy.port == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("MOTIVE_PROXY_PORT", "eighty"),
            ("MOTIVE_PROXY_FORWARD_PORT", "99999"),
            ("MOTIVE_PROXY_LOG_LEVEL", "loud"),
            ("MOTIVE_PROXY_DEBUG", "perhaps"),
            ("MOTIVE_PROXY_TURN_TIMEOUT_SECONDS", "-1"),
            ("MOTIVE_PROXY_MAX_PAYLOAD_SIZE", "lots"),
        ],
    )
    def test_a_bad_one_is_named(self, load: Load, name: str, value: str) -> None:
        error = refused(load, "proxy: {port: 1}", {name: value})
        assert error.where == name
        assert repr(value) in error.why or repr(value.lower()) in error.why

    def test_a_bad_section_of_the_file_is_still_the_files(self, load: Load) -> None:
        assert refused(load, "proxy: 5", {"MOTIVE_PROXY_PORT": "1"}).where == "proxy"

    def test_an_unknown_one_is_warned_of(self, load: Load) -> None:
        config = load("", {"MOTIVE_PROXY_PROT": "1", "MOTIVE_PROXY_XYZZY": "1", "MOTIVE_PYTHON": "x"})
        assert config.warnings == (
            "the environment variable MOTIVE_PROXY_PROT is not one of Motive's; did you mean MOTIVE_PROXY_PORT?",
            "the environment variable MOTIVE_PROXY_XYZZY is not one of Motive's",
        )

    def test_dotenv_is_under_the_environment(self, load: Load) -> None:
        dotenv = "MOTIVE_PROXY_PORT=1\nexport MOTIVE_PROXY_FORWARD_PORT='2'\nWHO=bob\nMOTIVE_PROXY_NOPE=1\nLONE\n"
        config = load("routes: [{session: '${WHO}'}]", {"MOTIVE_PROXY_PORT": "3"}, dotenv)
        assert (config.proxy.port, config.proxy.forward_port) == (3, 2)
        assert config.routes[0].session == "bob"
        assert "MOTIVE_PROXY_NOPE" in config.warnings[0]

    def test_dotenv_sees_nothing_of_this_process(self, load: Load) -> None:
        assert os.environ["PATH"]
        route = load("routes: [{match: {model: '${WHO}'}}]", {}, "WHO=$PATH-${PATH}\n").routes[0]
        assert route.match.model == "$PATH-${PATH}"

    def test_a_bad_dotenv_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        path.write_bytes(b"A=\xff\n")
        with pytest.raises(ConfigError, match="not UTF-8") as raised:
            load_config(None, {}, path)
        assert raised.value.where == str(path)


class TestConfigFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text("proxy: {port: 1}", "utf-8")
        return path

    @staticmethod
    def put(path: Path, text: str) -> None:
        """In one step, as editors do: a new inode, so that no clock is needed to see it."""
        new = path.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(path)

    def test_nothing_new(self, path: Path) -> None:
        file = ConfigFile(path, {})
        assert file.config.proxy.port == 1
        assert file.poll() is None

    def test_a_new_one(self, path: Path) -> None:
        file = ConfigFile(path, {"MOTIVE_PROXY_MAX_SESSIONS": "7"})
        self.put(path, "routes: []")
        config = file.poll()
        assert config is not None
        assert config is file.config
        assert (config.routes, config.limits.max_sessions) == ((), 7)
        assert file.poll() is None

    def test_one_that_says_the_same(self, path: Path) -> None:
        file = ConfigFile(path, {})
        self.put(path, "# a comment\nproxy: {port: 1}")
        assert file.poll() is None

    def test_a_bad_one_is_told_once(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        file = ConfigFile(path, {})
        self.put(path, "proxy: {port: x}")
        with caplog.at_level(logging.WARNING):
            assert file.poll() is None
            assert file.poll() is None
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "proxy.port" in record.getMessage()
        assert file.config.proxy.port == 1
        self.put(path, "limits: {max_sessions: 3}")
        config = file.poll()
        assert config is not None
        assert config.limits.max_sessions == 3

    def test_one_that_is_gone_comes_back(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        file = ConfigFile(path, {})
        path.unlink()
        assert file.poll() is None
        assert file.config.proxy.port == 1
        assert caplog.records == []
        self.put(path, "routes: []")
        assert file.poll() is not None

    def test_an_empty_one_is_given_time(self, path: Path) -> None:
        """An editor that writes in place empties the file first."""
        file = ConfigFile(path, {})
        path.write_text("", "utf-8")
        assert file.poll() is None
        path.write_text("routes: []", "utf-8")
        config = file.poll()
        assert config is not None
        assert config.routes == ()

    def test_one_that_stays_empty_is_all_defaults(self, path: Path) -> None:
        file = ConfigFile(path, {})
        path.write_text("", "utf-8")
        assert file.poll() is None
        assert file.poll() == Config()
        assert file.poll() is None

    def test_half_of_one_is_read_again(self, path: Path) -> None:
        file = ConfigFile(path, {})
        path.write_text("proxy: {port: 1}\nroutes: [{ses", "utf-8")
        assert file.poll() is None
        path.write_text("proxy: {port: 1}\nroutes: [{session: a}]", "utf-8")
        config = file.poll()
        assert config is not None
        assert config.routes == (Route(session="a"),)

    def test_what_needs_a_new_start_is_told(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        file = ConfigFile(path, {})
        self.put(path, "proxy: {port: 2}")
        with caplog.at_level(logging.WARNING):
            assert file.poll() is not None
        assert [record.getMessage() for record in caplog.records] == [
            "configuration: a change of proxy takes effect at the next start"
        ]

    def test_dotenv_is_watched_too(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        file = ConfigFile(None, {}, dotenv)
        assert file.poll() is None
        dotenv.write_text("MOTIVE_PROXY_MAX_SESSIONS=2\n", "utf-8")
        config = file.poll()
        assert config is not None
        assert config.limits.max_sessions == 2

    def test_a_bad_one_at_the_start(self, path: Path) -> None:
        self.put(path, "proxy: {port: x}")
        with pytest.raises(ConfigError):
            ConfigFile(path, {})
