"""The types of arguments of our commands: what mitmproxy reads and completes them by.

Owns how an argument is read. What it is looked up in, an addon gives: mitmproxy's own types know their master only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from mitmproxy import types
from mitmproxy.exceptions import CommandError
from mitmproxy.flow import Flow

if TYPE_CHECKING:
    from mitmproxy.command import CommandManager

ADDON: Final = "motive_commands"


class Session(str):
    """A session's id; it need not be open."""


class Target(str):
    """A session's id, or a flow."""


class Call(Flow):
    """A flow whose call waits: a flow, or the one of a session that has waited longest."""


class Tool(str):
    """A tool of a call."""


class JsonText(str):
    """JSON, with its backslashes as they stand: mitmproxy would read a ``str``'s."""


class Directory(Protocol):
    """What arguments are looked up in: the addon whose name is ``ADDON``. Asked while somebody types, so that it raises
    nothing, even before there is anything to look in."""

    def session_names(self) -> list[str]:
        """The ids of the open sessions."""
        ...

    def tool_names(self) -> list[str]:
        """The tools of the calls that wait."""
        ...

    def waiting_in(self, session: str) -> Flow | None:
        """The flow of the call that has waited longest in a session."""
        ...


def _directory(manager: CommandManager) -> Directory:
    return cast(Directory, manager.master.addons.get(ADDON))


class _TextType(types._BaseType):
    def parse(self, manager: CommandManager, typ: Any, s: str) -> str:
        return s

    def is_valid(self, manager: CommandManager, typ: Any, val: Any) -> bool:
        return isinstance(val, str)

    def completion(self, manager: CommandManager, t: Any, s: str) -> Sequence[str]:
        return []


class _SessionType(_TextType):
    typ = Session
    display = "session"

    def completion(self, manager: CommandManager, t: Any, s: str) -> Sequence[str]:
        return _directory(manager).session_names()


class _TargetType(_TextType):
    typ = Target
    display = "session|flow"

    def completion(self, manager: CommandManager, t: Any, s: str) -> Sequence[str]:
        return [*types._BaseFlowType.viewmarkers, *_directory(manager).session_names()]


class _CallType(types._FlowType):
    typ = Call
    display = "call"

    def completion(self, manager: CommandManager, t: Any, s: str) -> Sequence[str]:
        return [*self.valid_prefixes, *_directory(manager).session_names()]

    def parse(self, manager: CommandManager, t: Any, s: str) -> Flow:
        """Raises ``ValueError`` for what is no flow."""
        waiting = None if means_flow(s) else _directory(manager).waiting_in(s)
        return waiting if waiting is not None else flow_of(manager, s)


class _ToolType(_TextType):
    typ = Tool
    display = "tool"

    def completion(self, manager: CommandManager, t: Any, s: str) -> Sequence[str]:
        return _directory(manager).tool_names()


class _JsonType(_TextType):
    typ = JsonText
    display = "json"


def means_flow(spec: str) -> bool:
    """Whether this is mitmproxy's way of naming a flow. Apps name their sessions, and one may say ``@focus``: what is
    said to the flow in focus is not to go there."""
    return spec.startswith(("@", "~", "!", "("))


def flow_of(manager: CommandManager, spec: str) -> Flow:
    """The one flow that mitmproxy finds by this. Raises ``ValueError`` for none, and for several."""
    try:
        flows = cast(Sequence[Flow], manager.call_strings("view.flows.resolve", [spec]))
    except CommandError as error:
        raise ValueError(str(error)) from error
    if len(flows) != 1:
        raise ValueError(f"{spec!r} is no session in which a call waits, and matches {len(flows)} flows, not one")
    return flows[0]


def make_known() -> None:
    """Let commands have arguments of these types. mitmproxy has no other way to do that."""
    for one in (_SessionType, _TargetType, _CallType, _ToolType, _JsonType):
        types.CommandTypes.typemap[one.typ] = one()
