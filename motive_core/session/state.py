"""The values of a session: its state, the events that reach it and the commands that it gives.

Owns only data, frozen and JSON-serialisable, so that a store can compare and swap it. Times are seconds of one clock
that the caller chooses; ids come in with events. What the words of a call say is opaque here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from motive_core.ir import FinishReason, Part, Reply, ResponseFormat, Tool

type Words = tuple[Part, ...]
type Role = Literal["asker", "answerer"]
type Join = Literal["no", "word", "first"]
"""``word``: the whole message is a join word. ``first``: it begins with one, and goes on."""

type Outcome = Literal["answered", "passed", "failed", "expired", "closed"]

type ErrorKind = Literal["superseded", "session_full", "queue_full", "hold_timeout", "idle", "answerer_left", "closed"]

type NoticeKind = Literal["paired", "waiting", "late", "refused", "undelivered", "idle", "left", "help", "unowed"]

type Wish = Literal["say", "answer", "leave", "pass", "help"]
"""What the author of a message wants: to say something; to answer, by a command, which no asker would write; to give
the answerer's seat up; that the real service answers the prompt that it owes; to be told what it can write."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the route that a call came by says about deadlines and policies. All ``_s`` are seconds.

    ``when_joined``: while no answerer is present, its calls pass to the real service. ``can_pass``: there is a real
    service behind this call; where there is none, a policy of ``pass`` means ``error``. ``fallback`` is a reply that
    the route has for this. ``keep_limit_bytes``: as much the session may keep of what was said. ``review_timeout_s`` is
    how long a call whose prompt has a draft is held in the place of ``hold_timeout_s``.
    """

    when_joined: bool = False
    can_pass: bool = False
    hold_timeout_s: float = 590.0
    handshake_timeout_s: float = 590.0
    turn_timeout_s: float = 590.0
    rejoin_window_s: float = 10.0
    retry_window_s: float = 120.0
    queue_limit: int = 100
    keep_limit_bytes: int = 128 * 1024 * 1024
    twins: Literal["attach", "queue"] = "attach"
    on_timeout: Literal["pass", "fallback", "error"] = "error"
    on_lost: Literal["pass", "fallback", "error", "wait"] = "wait"
    on_full: Literal["pass", "fallback", "error"] = "error"
    on_idle: Literal["error", "notice"] = "error"
    review_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call that is held: it ends exactly once, at ``deadline`` at the latest."""

    call: str
    arrived_at: float
    deadline: float
    rules: Rules


@dataclass(frozen=True, slots=True)
class Seat:
    """Who sits in a role. ``until`` is the time to which it counts as present with no live call; ``said`` and the
    keys are digests of what it sent, for telling it from a client that looks the same. ``away`` is set once its
    absence has been acted on. ``shown`` is the digest of the last prompt that it was shown (answerers only).
    ``yields_at`` is the time from which a newcomer may take the seat of an asker with no live call: well before
    ``until``, for an app is often started again as another client, yet must find its session as it was."""

    who: str
    until: float
    shape: str = ""
    asks: bool = False
    said: tuple[str, ...] = ()
    first_key: str = ""
    last_key: str = ""
    away: bool = False
    shown: str = ""
    yields_at: float = 0.0


CUT: Final = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that an answer is: its HTTP status, and what it says. The status ``CUT`` is a connection that ends in
    the middle of the reply, after about half of the words."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the answerer said, as the parts of a reply; or the error that it wants told in the place of one; or a whole
    ``reply``, which has the parts in it, where more than they is known. ``finish`` is why it ends there, if that is
    not what its parts say. ``by`` names the operator who gave it, and is empty for anybody else's. ``size_bytes`` is
    the memory that it takes, by estimate, as everywhere here. ``live``: it is being said, and has no words yet; the
    whole one comes by ``Said``."""

    parts: Words
    digest: str
    failure: Failure | None = None
    size_bytes: int = 0
    reply: Reply | None = None
    finish: FinishReason | None = None
    live: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a call of the asker demands of its answer. Opaque here, as the words are."""

    tools: tuple[Tool, ...] = ()
    response_format: ResponseFormat | None = None


NO_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing that the asker said, and all calls that carry it (a retry and its original share one prompt).

    ``shown``: ``no``, ``sending`` (handed to the call ``shown_by``, not known to have arrived) or ``yes``.
    ``sending`` are the calls that the answer was handed to, ``delivered`` those that it is known to have reached.
    ``orphaned_at`` is since when it has no live call. It is open while ``outcome`` is None. ``draft``, where there is
    one, answers it if the answerer says nothing else; it counts in ``size_bytes``.
    """

    prompt: str
    who: str
    key: str
    digest: str
    words: Words
    context: Words
    quotes: tuple[str, ...]
    rules: Rules
    created_at: float
    terms: Terms = NO_TERMS
    draft: Answer | None = None
    calls: tuple[LiveCall, ...] = ()
    shown: Literal["no", "sending", "yes"] = "no"
    shown_by: str = ""
    answer: Answer | None = None
    sending: tuple[str, ...] = ()
    delivered: tuple[str, ...] = ()
    orphaned_at: float | None = None
    outcome: Outcome | None = None
    closed_at: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unsolicited:
    """Words of the answerer that answered nothing."""

    at: float
    words: Words
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """The whole state. A fresh one has all defaults.

    ``provisional``: the asker is only the first client; who asks is decided when the second one comes.
    ``owes`` is the prompt that the answerer was shown and has not answered (it may be closed by now, or answered by
    the operator: then its author will be told so). ``shown`` and ``answered`` are digests of the latest prompts shown
    and answers given. ``taken_by``: the operator answers here, with or without an answerer beside it; it has no seat.
    It is what the operator took it over by, a page, say, and empty where it did not.
    """

    asker: Seat | None = None
    answerer: Seat | None = None
    provisional: bool = False
    prompts: tuple[Prompt, ...] = ()
    listening: LiveCall | None = None
    owes: str = ""
    shown: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    unsolicited: tuple[Unsolicited, ...] = ()
    undelivered: tuple[Answer, ...] = ()
    turns: int = 0
    next_prompt: int = 1
    taken_by: str = ""


@dataclass(frozen=True, slots=True)
class Arrive:
    """A call comes in.

    ``who`` is its fingerprint, ``key`` a digest of who and body (less what SDKs vary), ``shape`` one of dialect, system
    prompt and tools. ``asks``: it has tools, a response format or a system prompt. ``digest`` is that of its relayed
    ``words``; ``quotes`` are digests of the earlier messages that it carries, ``replies_to`` that of the last assistant
    message among them, if any. ``answer`` is what its words amount to as a reply; ``refused`` says why they cannot be
    one (a tool call that does not fit, say). ``hint`` is what an author is told who asks for help. ``retry``: the
    client marked it as a retry. ``terms``: what it demands of its answer. ``draft``: that of the prompt that it may
    become. ``size_bytes`` is the memory that its words, its context and its draft take.
    """

    call: str
    who: str
    key: str
    digest: str
    words: Words
    answer: Answer
    rules: Rules = Rules()
    role: Role | None = None
    join: Join = "no"
    wish: Wish = "say"
    asks: bool = False
    shape: str = ""
    context: Words = ()
    quotes: tuple[str, ...] = ()
    replies_to: str = ""
    retry: bool = False
    refused: str = ""
    hint: str = ""
    terms: Terms = NO_TERMS
    draft: Answer | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Gone:
    """The client of a held call went away."""

    call: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The reply to a call was handed to its client."""

    call: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The reply to a call did not reach its client, or not whole."""

    call: str


@dataclass(frozen=True, slots=True)
class Released:
    """The operator let the real service answer this call."""

    call: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The operator answers this prompt, whoever is in the session. Without effect if it does not wait any more, and if
    the session has no room for so long an answer."""

    prompt: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Said:
    """The answer of this prompt that was live is whole. Without effect if it has none."""

    prompt: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Passed:
    """The operator wants the real service to answer this prompt. Without effect where there is none, and if its app is
    away."""

    prompt: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The operator is there to answer, until it gives the session back. ``by`` is not empty."""

    by: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The operator is not there any more. Without effect if it took the session over by something else than ``by``,
    where that is not empty."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process restarted: every live call is gone."""


@dataclass(frozen=True, slots=True)
class Close:
    """The operator ends the session."""


type Event = (
    Arrive
    | Gone
    | Delivered
    | Failed
    | Released
    | Answered
    | Said
    | Passed
    | TakenOver
    | GivenBack
    | Tick
    | Restarted
    | Close
)


@dataclass(frozen=True, slots=True)
class SendPrompt:
    """Answer the answerer's call with this prompt; ``context``: with what came before it, too."""

    call: str
    prompt: Prompt
    context: bool


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """Answer the asker's call with what the answerer said."""

    call: str
    prompt: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class SendNotice:
    """Answer a call with a word of ours, in a successful reply."""

    call: str
    kind: NoticeKind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SendError:
    """End a call with an error."""

    call: str
    kind: ErrorKind


@dataclass(frozen=True, slots=True)
class PassThrough:
    """Let the real service answer a call."""

    call: str


@dataclass(frozen=True, slots=True)
class FallBack:
    """Answer a call with what its route has for it when nobody does, in the place of the error ``kind``."""

    call: str
    kind: ErrorKind


type Command = SendPrompt | SendAnswer | SendNotice | SendError | PassThrough | FallBack
