"""The settings: their names, types, bounds and defaults.

Owns the shape of ``config.yaml``. Every model is frozen and refuses keys that it does not know. Does no I/O; where a
value comes from is not its business. The descriptions are the text of ``docs/config.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from motive_core.config.access import Access
from motive_core.config.commands import Commands
from motive_core.config.defaults import BACKGROUND, CORS_ORIGINS, HOSTS
from motive_core.config.heartbeats import HEARTBEAT_CLIENTS, HeartbeatClient
from motive_core.config.rate_limits import RateLimits
from motive_core.config.store import Store
from motive_core.settings.patterns import Matcher, check_template
from motive_core.settings.types import (
    Count,
    DialectGlob,
    DialectName,
    Glob,
    HeaderName,
    HostGlob,
    JoinWord,
    Kind,
    Level,
    Network,
    Origin,
    Port,
    Rate,
    Regex,
    Seconds,
    SecondsOrNone,
    Section,
    Service,
    Size,
    Template,
    Text,
    split_list,
)
from motive_core.sources import AnySource

DEFAULT_CONFIG_NAME: Final = "config.yaml"

AnswerName = Annotated[str, Field(min_length=1), Kind("`pair`, `review`, `pass`, `reject` or a source")]
PolicyName = Annotated[str, Field(min_length=1), Kind("`pass`, `fallback`, `error` or a source")]
SourceName = Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$"), Kind("name")]

SESSION_PLACEHOLDERS: Final = ("model", "host", "client", "credential")
REPLY_PLACEHOLDERS: Final = ("title", "title_json", "words", "words_json")


class Proxy(Section):
    """Where the two listeners are."""

    host: Text = Field(default="127.0.0.1", description="Address that both listeners bind.")
    port: Port = Field(
        default=8000, description="The meeting point, where an app points its base URL; 0 takes a free port."
    )
    forward_port: Port = Field(
        default=8080, description="The forward proxy, where HTTPS_PROXY points; 0 takes a free port."
    )


class Log(Section):
    """What is logged."""

    level: Level = Field(default="info", description="The least severe records that are shown.")
    debug: bool = Field(default=False, description="Show everything, mitmproxy's line for each connection included.")
    as_json: bool = Field(default=False, alias="json", description="One JSON object a line.")


class Limits(Section):
    """What is refused."""

    max_sessions: Count = Field(default=1000, description="Sessions that may be open at once; the next one gets a 429.")
    max_held: Count = Field(
        default=10000,
        description="Calls of apps that may be held at once; the next one gets a 503, or passes to its service from "
        "the forward proxy. Who answers is always let in, since that ends calls.",
    )
    max_held_per_client: Count | None = Field(
        default=None, description="The same for one client (see `rate_limits`), with a 429. Null: up to `max_held`."
    )
    session_limit_bytes: Size = Field(
        default=134217728,
        description="What one session may keep of what both sides said. Over it, what is kept for retries goes first; "
        "then a prompt gets what one over `queue_limit` gets.",
    )
    body_limit_bytes: Size = Field(
        default=33554432,
        description="Largest body of a call, unpacked: bytes, or with a unit, as `32MiB`; over it, a 413.",
    )


class Timing(Section):
    """How long things take. All in seconds; fractions are allowed."""

    handshake_timeout_s: Seconds = Field(
        default=590, description="How long the first call of a session waits for the other side to come."
    )
    turn_timeout_s: Seconds = Field(
        default=590,
        description="How long an answerer that was shown a prompt may take. Just below the 600 s at which the vendors' "
        "SDKs give up by themselves, and retry.",
    )
    hold_timeout_s: Seconds | None = Field(
        default=None,
        description="How long any one call is held, from its own arrival. Null: as long as a turn may take.",
    )
    rejoin_window_s: SecondsOrNone = Field(
        default=10, description="How long an answerer that lost its call counts as still there."
    )
    retry_window_s: SecondsOrNone = Field(
        default=120, description="How long an answer, or a prompt without a call, is kept for a retry to fetch it."
    )
    heartbeat_after_s: Seconds | None = Field(
        default=10,
        description="From when on a held call that streams shows signs of life; earlier if its client would not wait "
        "as long. Null: never, for any call.",
    )
    heartbeat_every_s: Seconds = Field(default=10, description="How often it does then, at least.")
    session_ttl_s: Seconds = Field(default=3600, description="How long a session without calls lives.")
    head_timeout_s: Seconds = Field(
        default=30,
        description="How long the head of a request may take, from its first byte on. A connection to the meeting "
        "point from which none has come after twice that is closed. Read at the start only.",
    )
    cleanup_interval_s: Seconds = Field(default=30, description="How often idle sessions are looked for.")


class Match(Section):
    """What a route takes. Every condition that is given must hold; none at all takes every call."""

    listener: Literal["forward", "reverse"] | None = Field(
        default=None, description="The forward proxy, or the meeting point (reverse)."
    )
    dialect: DialectGlob | None = Field(default=None, description="The wire dialect.")
    host: HostGlob | None = Field(default=None, description="The host that was called, with or without a port.")
    path: Glob | None = Field(default=None, description="The path that was called, without its query.")
    model: Glob | None = Field(default=None, description="The model that was asked for, without a role suffix.")
    header: Mapping[HeaderName, Regex] = Field(
        default={}, description="Request headers, each with a regex that its value must match."
    )
    credential: Glob | None = Field(
        default=None, description="The credential's identity as logs and `/admin/sessions` show it, never the secret."
    )
    client: Network | None = Field(default=None, description="The address of the client.")
    system: Regex | None = Field(default=None, description="All system and developer text of the call.")
    message: Regex | None = Field(default=None, description="The text of any other message of the call.")
    tool: Glob | None = Field(default=None, description="The name of any tool that the call offers.")

    @property
    def regexes(self) -> tuple[str, ...]:
        """All regexes, whose named groups a template may use."""
        return tuple(regex for regex in (self.system, self.message, *self.header.values()) if regex is not None)

    @model_validator(mode="after")
    def _groups_are_distinct(self) -> Match:
        names = [name for regex in self.regexes for name in Matcher(regex).names]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the group {name!r} stands in two regexes of one match")
            if name in SESSION_PLACEHOLDERS:
                raise ValueError(f"a group cannot be called {name!r}, which a template has by itself")
        return self


class Route(Section):
    """What happens to the calls that match. The first route that matches decides.

    Settings without a default of their own follow from whether there is a real service behind a call: always for one
    that came by the forward proxy, at the meeting point where ``service`` or ``services`` names it.
    """

    match: Match = Field(default=Match(), description="What the route takes; empty for everything.")
    name: Text | None = Field(default=None, description="What logs call it. Null: its place in the list.")
    session: Template = Field(
        default="{model}",
        description="The session's id. `{model}`, `{host}`, `{client}`, `{credential}` and the named groups of the "
        "match's regexes are replaced.",
    )
    answer: AnswerName = Field(
        default="pair",
        description="`pair`: the other client of the session answers. `review`: the service does, and the other client "
        "sees its reply first. `pass`: the real service does. `reject`: a 403. Else one of `sources`, by its name.",
    )
    draft: SourceName | None = Field(
        default=None,
        description="For `review`: the one of `sources` that is the service, joined or not. Null: the app's real one.",
    )
    review_timeout_s: Seconds = Field(
        default=300, description="For `review`: how long a reply waits for the other client, until it goes on as it is."
    )
    when: Literal["joined", "always"] | None = Field(
        default=None,
        description="`joined`: calls pass to the real service while nobody is there to answer. `always`: they are "
        "held. Null: `joined` if there is a real service.",
    )
    role: Literal["asker", "answerer"] | None = Field(
        default=None, description="The role of the clients that come by this route, unless they name one themselves."
    )
    service: Service | None = Field(
        default=None, description="The real service behind a call at the meeting point, if not that of `services`."
    )
    on_timeout: PolicyName | None = Field(
        default=None,
        description="What ends a call that nobody answered in time: the real service's reply (`pass`), the words of "
        "`fallback`, an `error`, or one of `sources`. Null: `pass` if there is a real service, else `error`.",
    )
    on_lost: PolicyName | None = Field(
        default=None,
        description="What becomes of open prompts when the answerer leaves: the same, or they `wait`. Null: `pass` if "
        "there is a real service, else `wait`.",
    )
    on_full: PolicyName = Field(
        default="error",
        description="What ends a prompt over `queue_limit`, or a call over a limit of held calls or sessions: as "
        "`on_timeout`.",
    )
    on_exit: Literal["pass", "error"] = Field(
        default="error",
        description="What ends a held call when the proxy exits. `pass`: the real service's reply, if it comes within "
        "two seconds.",
    )
    fallback: Text | None = Field(
        default=None, description="What a call is answered by a policy of `fallback`, as it stands."
    )
    on_idle: Literal["error", "notice"] = Field(
        default="error", description="What ends the call of an answerer that got no prompt in time."
    )
    twins: Literal["attach", "queue"] = Field(
        default="attach", description="Whether equal calls of one asker share a prompt, or are one each."
    )
    queue_limit: Count = Field(default=100, description="Prompts that may be open in a session at once.")
    background: Literal["answer", "pass"] = Field(
        default="answer",
        description="Who answers the background calls of a session that somebody has joined: Motive, or the real "
        "service. While nobody has, they pass like all others.",
    )
    relay_system: bool | None = Field(
        default=None, description="Show the answerer the app's system prompt. Null: if there is a real service."
    )
    relay_context: bool | None = Field(
        default=None,
        description="Show an answerer who joins what was said before, and the app's tools. Null: if there is a real "
        "service.",
    )
    pace_tokens_per_s: Rate | None = Field(
        default=None, description="Speak streamed replies at this pace, as a model would. Null: at once."
    )
    heartbeats: Literal["auto", "stream", "off"] = Field(
        default="auto",
        description="Which held calls show signs of life. `auto`: those that stream, and others as `heartbeat_clients` "
        "says. `stream`: only those that stream. `off`: none, so that every error has its own status.",
    )
    hold_timeout_s: Seconds | None = Field(default=None, description="Instead of that of `timing`.")
    handshake_timeout_s: Seconds | None = Field(default=None, description="Instead of that of `timing`.")
    turn_timeout_s: Seconds | None = Field(default=None, description="Instead of that of `timing`.")
    rejoin_window_s: SecondsOrNone | None = Field(default=None, description="Instead of that of `timing`.")
    retry_window_s: SecondsOrNone | None = Field(default=None, description="Instead of that of `timing`.")

    @field_validator("session")
    @classmethod
    def _session_is_known(cls, template: str, info: ValidationInfo) -> str:
        match = info.data.get("match")
        if match is None:
            return template
        groups = [name for regex in match.regexes for name in Matcher(regex).names]
        return check_template(template, [*SESSION_PLACEHOLDERS, *groups])

    @field_validator("service")
    @classmethod
    def _service_is_needed(cls, service: str | None, info: ValidationInfo) -> str | None:
        match = info.data.get("match")
        if service is not None and match is not None and match.listener == "forward":
            raise ValueError("a call by the forward proxy goes to the service that it names")
        return service


class BackgroundMatch(Section):
    """How a background call is recognised. Every condition that is given must hold, and one must be given."""

    message: Regex | None = Field(
        default=None,
        description="The last message of the call, which must be the user's. Begin with `\\A`: what is said in "
        "the middle of an ordinary message must not match.",
    )
    system: Regex | None = Field(default=None, description="All system and developer text of the call.")
    header: Mapping[HeaderName, Regex] = Field(default={}, description="Request headers.")
    field: Mapping[Text, Regex] = Field(
        default={},
        description="Fields of the body beyond those that the dialect defines, by path, as `metadata.task`. Texts, "
        "numbers and booleans can match.",
    )

    max_tokens: Count | None = Field(
        default=None, description="The most tokens that the call leaves for a reply, if it says so: so many, or fewer."
    )

    @property
    def regexes(self) -> tuple[str, ...]:
        """All regexes, whose named groups a template may use."""
        found = (self.message, self.system, *self.header.values(), *self.field.values())
        return tuple(regex for regex in found if regex is not None)

    @model_validator(mode="after")
    def _is_a_condition(self) -> BackgroundMatch:
        if not self.regexes:
            raise ValueError("a condition is wanted: message, system, header or field")
        return self


class Background(Section):
    """A call that an app makes by itself, and what it is answered: it never becomes a turn."""

    name: Text = Field(description="What logs call it.")
    match: BackgroundMatch = Field(description="How it is recognised.")
    reply: str = Field(
        description="The answer. `{title}` is a title made from the first words of the conversation, `{words}` all of "
        "the message that it was made from (the named group `words`, if a regex has it), `{title_json}` and "
        "`{words_json}` the same as JSON strings; named groups of the regexes are replaced, too. Where the call wants "
        "a JSON object of another shape, it gets that."
    )

    @field_validator("reply")
    @classmethod
    def _reply_is_known(cls, template: str, info: ValidationInfo) -> str:
        match = info.data.get("match")
        if match is None:
            return template
        groups = [name for regex in match.regexes for name in Matcher(regex).names]
        return check_template(template, [*REPLY_PLACEHOLDERS, *groups])


def default_routes() -> tuple[Route, ...]:
    """The routes of a file that has none."""
    return (
        Route(
            name="forward proxy",
            match=Match(listener="forward"),
            answer="pair",
            when="joined",
            on_timeout="pass",
            on_lost="pass",
            relay_system=True,
            relay_context=True,
        ),
        Route(
            name="meeting point",
            match=Match(listener="reverse"),
            answer="pair",
            when="always",
            on_timeout="error",
            on_lost="wait",
            relay_system=False,
            relay_context=False,
        ),
    )


def default_background() -> tuple[Background, ...]:
    """The background calls of a file that does not say."""
    return tuple(map(Background.model_validate, BACKGROUND))


class Config(Section):
    """The whole configuration."""

    proxy: Proxy = Field(default=Proxy(), description="Where the two listeners are. Read at the start only.")
    log: Log = Field(default=Log(), description="What is logged.")
    limits: Limits = Field(default=Limits(), description="What is refused.")
    rate_limits: RateLimits = Field(
        default=RateLimits(), description="How many calls one client may make at the meeting point."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Addresses of proxies before this one: what they say in `X-Forwarded-For` is the client's address "
        "for routes, limits and logs. From anybody else the header counts for nothing.",
    )
    timing: Timing = Field(default=Timing(), description="How long things take.")
    sources: Mapping[SourceName, AnySource] = Field(
        default={},
        description="What answers calls by itself, by a name for routes. A kind without needed settings can be named "
        "by a route as it is, as `answer: mock`.",
    )
    store: Store = Field(default=Store(), description="What outlives the process. Read at the start only.")
    access: Access = Field(default=Access(), description="Who may call the meeting point, and who is the operator.")
    join_words: tuple[JoinWord, ...] = Field(
        default=("ping", "/join"),
        description="Messages by which a client takes the answerer's seat. One that begins with a slash may have more "
        "words behind it.",
    )
    commands: Commands = Field(default=Commands(), description="What an answerer may write, beside an answer.")
    cors_origins: Annotated[tuple[Origin, ...], BeforeValidator(split_list)] = Field(
        default=CORS_ORIGINS,
        description="Globs of web origins whose pages may call the meeting point from a browser; all others get a 403. "
        "`*` lets every page that you open play a model, or an app.",
    )
    hosts: tuple[HostGlob, ...] = Field(
        default=HOSTS, description="Hosts in which TLS is opened; every other connection is tunnelled untouched."
    )
    extra_hosts: tuple[HostGlob, ...] = Field(default=(), description="Added to `hosts`.")
    services: Mapping[DialectName, Service] = Field(
        default={}, description="By dialect, the real service of calls at the meeting point that are passed on."
    )
    fast_dispatch: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="A faster way through mitmproxy's hooks. `auto`: in versions that it was tested with. Read at the "
        "start only.",
    )
    background: tuple[Background, ...] = Field(
        default_factory=default_background,
        description="Calls that apps make by themselves: titles, tags and the like.",
    )
    extra_background: tuple[Background, ...] = Field(default=(), description="Asked before `background`.")
    heartbeat_clients: tuple[HeartbeatClient, ...] = Field(
        default=HEARTBEAT_CLIENTS, description="What clients stand while they wait."
    )
    extra_heartbeat_clients: tuple[HeartbeatClient, ...] = Field(
        default=(), description="Asked before `heartbeat_clients`."
    )
    routes: tuple[Route, ...] = Field(
        default_factory=default_routes,
        description="What happens to a call; the first that matches decides. A call that none matches passes to its "
        "service from the forward proxy, and gets a 404 at the meeting point.",
    )

    @model_validator(mode="after")
    def _a_command_is_no_join_word(self) -> Config:
        for word in self.commands.words:
            if word.lower() in self.join_words:
                raise ValueError(f"{word!r} is both a command and a join word")
        return self

    @property
    def answered_models(self) -> tuple[str, ...]:
        """Models that sources answer at the meeting point, for lists: those that routes name. A route that takes any
        model is there by the name of its source."""
        named = (
            route.answer if route.match.model is None else route.match.model
            for route in self.routes
            if route.answer in self.sources and route.match.listener != "forward"
        )
        return tuple(name for name in named if not set(name) & set("*?"))

    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be told to the operator, though it is no error."""
        return self._warnings
