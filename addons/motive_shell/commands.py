"""The operator's commands, for mitmproxy's prompt and mitmweb's command bar.

Owns their names, arguments and help, which mitmproxy takes from the docstrings. What they do is the gateway's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from mitmproxy import command, ctx, http, types
from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import CommandError
from mitmproxy.flow import Flow
from mitmproxy.log import ALERT

from motive_core.errors import MotiveError
from motive_core.exchange import Exchange
from motive_core.operating import Operator, SessionLine
from motive_shell.addon import Motive
from motive_shell.command_types import ADDON, Call, JsonText, Session, Target, Tool, flow_of, make_known, means_flow
from motive_shell.notes import SESSION, SOURCE
from motive_shell.runtime import Runtime

logger = logging.getLogger(__name__)

_NO_ARGUMENTS: Final = JsonText("{}")


def _command[F: Callable[..., Any]](name: str) -> Callable[[F], F]:
    """mitmproxy's decorator, typed."""
    return cast(Callable[[F], F], command.command(name))


class MotiveCommands:
    """See the module. ``motive`` is the addon whose calls these are about."""

    name = ADDON

    def __init__(self, motive: Motive) -> None:
        self._motive = motive

    def load(self, loader: Loader) -> None:
        """Make the types of our arguments known."""
        make_known()

    # What there is

    @_command("motive.sessions")
    def sessions(self) -> types.Data:
        """
        List the sessions: who answers in each, how many calls wait there and since when, and how many were answered.
        """
        head = ["session", "answered by", "waiting", "longest", "turns"]
        return [head, *map(_row, self._lines())]  # type: ignore[return-value]

    # Sessions

    @_command("motive.join")
    def join(self, session: Session) -> None:
        """
        Take a session over by its name: from its next call on, its calls are held for you, until you give it back by
        motive.release.
        """
        self._take_over(session)

    @_command("motive.takeover")
    def takeover(self, flow: Flow) -> None:
        """
        Take over the session of a flow, be it one that passed: from its next call on, its calls are held for you, until
        you give it back by motive.release.
        """
        self._take_over(_session_of(flow))
        if (source := flow.metadata.get(SOURCE)) in self._runtime().config.sources:
            logger.log(ALERT, f"(This flow was answered by {source}. Calls that their route gives to it still are.)")

    @_command("motive.release")
    def release(self, target: Target) -> None:
        """
        Give a session back that you took over, by its name or by a flow of it. Unless somebody else answers there, its
        next call goes to the real service.
        """
        session = str(target)
        if means_flow(session) or not any(line.session == session and line.taken_over for line in self._lines()):
            session = self._session_named(session)
        self._do(self._operator().give_back(session))
        logger.log(ALERT, f"Session {session} is given back.")

    # One call

    @_command("motive.reply")
    def reply(self, call: Call, *text: str) -> None:
        """
        Answer a held call with a text, whoever else is there to answer it. The call is a flow (@focus) or a session's
        name, for the one that has waited longest there. \\n in the text is a new line.
        """
        exchange = self._held(call)
        words = " ".join(text)
        if not words.strip():
            raise CommandError("An answer needs words.")
        self._do(self._operator().say(exchange, words))

    @_command("motive.call")
    def call_tool(self, call: Call, tool: Tool, arguments: JsonText = _NO_ARGUMENTS) -> None:
        """
        Answer a held call with a call of one of the app's tools. The arguments are a JSON object, in single quotes, and
        must fit the tool's JSON Schema.
        """
        self._do(self._operator().call(self._held(call), tool, arguments))

    @_command("motive.fail")
    def fail(self, call: Call, status: int, *text: str) -> None:
        """
        Answer a held call with an error of this status, 400 to 599, as the app's vendor has it.
        """
        self._do(self._operator().fail(self._held(call), status, " ".join(text)))

    @_command("motive.pass")
    def let_pass(self, call: Call) -> None:
        """
        Let the real service answer a held call, as Resume does; and one that shows signs of life already, too.
        """
        self._do(self._operator().let_pass(self._held(call)))

    # What arguments are looked up in: see ``Directory``

    def session_names(self) -> list[str]:
        """The ids of the open sessions."""
        return [line.session for line in self._lines()] if self._motive.runtime() is not None else []

    def tool_names(self) -> list[str]:
        """The tools of the calls that wait."""
        runtime = self._motive.runtime()
        held = runtime.gateway.held.values() if runtime is not None else ()
        return sorted({tool.name for one in held if one.ending is None for tool in one.request.tools})

    def waiting_in(self, session: str) -> Flow | None:
        """The flow of the call that has waited longest in a session."""
        runtime = self._motive.runtime()
        exchange = runtime.gateway.operator.waiting_in(session) if runtime is not None else None
        return runtime.holds.flow_of(exchange) if runtime is not None and exchange is not None else None

    # How

    def _runtime(self) -> Runtime:
        runtime = self._motive.runtime()
        if runtime is None:
            raise CommandError("Motive is not running.")
        return runtime

    def _operator(self) -> Operator:
        return self._runtime().gateway.operator

    def _lines(self) -> list[SessionLine]:
        operator, lines = self._operator(), list[SessionLine]()

        async def ask() -> None:
            lines.extend(await operator.sessions())

        self._do(ask())
        return lines

    def _take_over(self, session: str) -> None:
        self._do(self._operator().take_over(session))
        logger.log(ALERT, f"Session {session} is yours until motive.release: its next calls are held for you.")

    def _session_named(self, spec: str) -> str:
        """The session that a name or a flow means."""
        if not means_flow(spec) and spec in self.session_names():
            return spec
        try:
            return _session_of(flow_of(ctx.master.commands, spec))
        except ValueError:
            raise CommandError(f"{spec!r} is no open session, and no flow.") from None

    def _held(self, flow: Flow) -> Exchange:
        exchange = self._runtime().holds.held(flow)
        if exchange is None:
            raise CommandError("This flow holds no call that waits for an answer.")
        return exchange

    def _do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that is done at once, unless the store takes its time. Raises ``CommandError`` if it cannot
        be done."""
        problems: list[str] = []
        is_late = False

        async def doing() -> None:
            try:
                await work
            except MotiveError as error:
                problems.append(str(error))
                if is_late:
                    logger.error(f"motive: {error}")

        self._runtime().gateway.spawn(doing())
        is_late = True
        if problems:
            raise CommandError(problems[0])


def _session_of(flow: Flow) -> str:
    """The session that a flow's call came to. Raises ``CommandError`` if there is none to take over."""
    session = flow.metadata.get(SESSION)
    if not isinstance(flow, http.HTTPFlow) or not isinstance(session, str):
        raise CommandError("This flow has come to no session: it is no LLM call, or its route lets it pass.")
    return session


def _row(line: SessionLine) -> list[str]:
    who = [*(["you"] if line.taken_over else []), *(["a client"] if line.answerer else [])]
    longest = f"{line.waiting_s:.0f} s" if line.waiting else ""
    return [line.session, " and ".join(who) or "nobody", str(line.waiting), longest, str(line.turns)]
