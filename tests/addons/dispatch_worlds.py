"""Two worlds to compare: a real ``AddonManager`` with a chain of fake addons, with and without fast dispatch.

A chain and what happens to it are plain data, so that the same can be built and run in each world. The fakes raise,
halt, wait, and change the chain while it is walked; what they were called with, what was logged and what was raised is
written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from mitmproxy import addonmanager, exceptions, hooks, log
from mitmproxy.master import Master
from mitmproxy.proxy import server_hooks
from mitmproxy.proxy.layers.http import _hooks as http_hooks
from mitmproxy.test import taddons, tflow

from motive_shell import fast_dispatch
from motive_shell.fast_dispatch import FastDispatch

EVENTS = ("request", "response", "client_connected", "update", "running", "configure", "add_log")
OUTCOMES = (
    "return",
    "await",
    "return_awaitable",
    "raise",
    "await_then_raise",
    "halt",
    "await_then_halt",
    "options_error",
    "wrong_signature",
    "module",
    "not_callable",
    "falsy",
)
CHANGES = (
    "add",
    "insert",
    "replace",
    "remove",
    "remove_again_by_hand",
    "register_below",
    "hang_below",
    "drop_below",
    "set_hook",
    "delete_hook",
    "set_class_hook",
    "nested_update",
    "set_option",
    "clear",
)


@dataclass(frozen=True)
class Hook:
    """What an addon does at an event: at its first call it makes ``change`` to addon number ``target``."""

    outcome: str
    change: str | None = None
    target: int = 0


@dataclass(frozen=True)
class Node:
    hooks: dict[str, Hook]
    below: tuple[Node, ...] | None = None
    kind: str = "class"


@dataclass(frozen=True)
class Step:
    how: str
    event: str = "request"
    change: str = "add"
    target: int = 0


class Pending:
    """An awaitable that is no coroutine: dropping it unawaited, as a sync trigger does, warns of nothing."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def __await__(self) -> Generator[Any]:
        yield from asyncio.sleep(0).__await__()
        self._note("awaited")


class Fake:
    """A script's addon. Its hooks are set on the instance."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __eq__(self, other: object) -> bool:
        """Addons may be dataclasses: equal, and yet two of them."""
        return type(self) is type(other)

    __hash__ = object.__hash__


def own_class() -> type[Fake]:
    """A class like those of mitmproxy's own addons; fresh, because a change may put a hook onto it."""
    return type("OwnFake", (Fake,), {"__module__": "mitmproxy.addons.fake"})


DISPATCH = (addonmanager.__file__, fast_dispatch.__file__)


class Records(logging.Handler):
    """What was logged, with each traceback; the frames of the dispatch itself, one or several, count as one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[object, ...]] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        frames = traceback.extract_tb(record.exc_info[2]) if record.exc_info else []
        places = ["dispatch" if frame.filename in DISPATCH else f"{frame.name}:{frame.lineno}" for frame in frames]
        self.seen.append(
            (
                record.name,
                record.levelname,
                record.funcName,
                record.getMessage(),
                type(error),
                [place for place, _ in itertools.groupby(places)],
            )
        )


class World:
    """A manager with fake addons, and the trace of what was called."""

    def __init__(self, master: Master, chain: tuple[Node, ...]) -> None:
        self.master = master
        self.manager = master.addons
        self.trace: list[tuple[object, ...]] = []
        self.nodes: list[Any] = []
        self.changed: set[tuple[str, str]] = set()
        self.made = 0
        for node in chain:
            self.manager.chain.append(self.manager.register(self.build(node)))

    def build(self, node: Node) -> Any:
        self.made += 1
        name = f"fake{self.made}"
        if node.kind == "module":
            addon: Any = ModuleType(name)
            addon.name = name
        elif node.kind == "own":
            addon = own_class()(name)
        else:
            addon = Fake(name)
        self.nodes.append(addon)
        for event, hook in node.hooks.items():
            setattr(addon, event, self.make_hook(name, event, hook))
        if node.below is not None:
            addon.addons = [self.build(child) for child in node.below]
        return addon

    def make_hook(self, name: str, event: str, hook: Hook) -> object:
        fixed = {"module": logging, "not_callable": "text", "falsy": 0}
        if hook.outcome in fixed:
            return fixed[hook.outcome]

        def note(what: str = "") -> None:
            self.trace.append((name, event, what))

        def begin(args: tuple[object, ...]) -> None:
            note(", ".join(describe(arg) for arg in args))
            # Once only: an addon that inserts another before itself would otherwise be visited for ever.
            if hook.change is not None and (name, event) not in self.changed:
                self.changed.add((name, event))
                self.change(hook.change, hook.target)

        def plain(*args: object) -> Pending | str | None:
            begin(args)
            match hook.outcome:
                case "return_awaitable":
                    return Pending(note)
                case "raise":
                    raise ValueError(f"{name} {event}")
                case "halt":
                    raise exceptions.AddonHalt
                case "options_error":
                    raise exceptions.OptionsError(f"{name} {event}")
            return "ignored"

        async def waiting(*args: object) -> None:
            begin(args)
            await asyncio.sleep(0)
            note("resumed")
            if hook.outcome == "await_then_raise":
                raise ValueError(f"{name} {event}")
            if hook.outcome == "await_then_halt":
                raise exceptions.AddonHalt

        if hook.outcome == "wrong_signature":
            return lambda: note("called without arguments")
        return waiting if hook.outcome.startswith("await") else plain

    def change(self, change: str, target: int) -> None:
        addon: Any = self.nodes[target % len(self.nodes)] if self.nodes else Fake("nobody")
        manager = self.manager
        own = isinstance(addon, Fake) and type(addon) is not Fake
        late = self.make_hook(f"late {addon.name}", "request", Hook("return"))
        leaf = Node(dict.fromkeys(("request", "update", "client_connected"), Hook("return")))
        match change:
            case "add":
                manager.add(self.build(leaf))
            case "insert":
                manager.chain.insert(0, self.build(leaf))
            case "replace":
                manager.chain[-1:] = [self.build(leaf)]
            case "remove":
                manager.remove(addon)
            case "remove_again_by_hand":
                manager.chain.remove(addon)
            case "register_below" | "hang_below":
                child = self.build(leaf)
                if change == "register_below":
                    manager.register(child)
                if hasattr(addon, "addons"):
                    addon.addons.append(child)
                elif not own:
                    # The documented difference: not for an addon of mitmproxy's own.
                    addon.addons = [child]
            case "drop_below":
                getattr(addon, "addons", []).clear()
            case "set_hook":
                # The documented difference again.
                if getattr(addon, "request", None) or not own:
                    addon.request = late
            case "delete_hook":
                vars(addon).pop("request", None)
            case "set_class_hook":
                if own:
                    type(addon).request = late
                    manager.register(self.build(leaf))
            case "nested_update":
                manager.trigger(hooks.UpdateHook([]))
            case "set_option":
                self.master.options.update(showhost=not self.master.options.showhost)
            case "clear":
                manager.clear()

    async def run(self, step: Step) -> None:
        self.trace.append(("step", step.how, step.event))
        if step.how == "change":
            self.change(step.change, step.target)
            return
        event = make_event(step.event)
        if step.how == "trigger":
            self.manager.trigger(event)
        elif step.how == "handle_lifecycle":
            await self.manager.handle_lifecycle(event)
        else:
            await self.manager.trigger_event(event)


def describe(arg: object) -> str:
    if isinstance(arg, list):
        return f"[{', '.join(describe(item) for item in arg)}]"
    if isinstance(arg, set | frozenset):
        return str(sorted(arg))
    return type(arg).__name__


def make_event(name: str) -> hooks.Hook:
    match name:
        case "request":
            return http_hooks.HttpRequestHook(tflow.tflow())
        case "response":
            return http_hooks.HttpResponseHook(tflow.tflow(resp=True))
        case "client_connected":
            return server_hooks.ClientConnectedHook(tflow.tclient_conn())
        case "update":
            return hooks.UpdateHook([tflow.tflow()])
        case "running":
            return hooks.RunningHook()
        case "configure":
            return hooks.ConfigureHook({"showhost"})
        case _:
            return log.AddLogHook(log.LogEntry("text", "info"))


@dataclass
class Outcome:
    trace: list[tuple[object, ...]] = field(default_factory=list)
    records: list[tuple[object, ...]] = field(default_factory=list)
    raised: list[tuple[type[BaseException], str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@contextlib.contextmanager
def recorded() -> Iterator[Records]:
    records = Records()
    logger = logging.getLogger(addonmanager.__name__)
    logger.addHandler(records)
    try:
        yield records
    finally:
        logger.removeHandler(records)


async def run_world(chain: tuple[Node, ...], steps: tuple[Step, ...], fast: bool) -> Outcome:
    master = taddons.context(loadcore=False).master
    # Each record would come back as an add_log event, also those of an add_log hook that raises.
    master._legacy_log_events.uninstall()
    outcome = Outcome()
    with recorded() as records:
        world = World(master, chain)
        if fast:
            assert FastDispatch(master.addons).install()
        for step in steps:
            try:
                await world.run(step)
            except Exception as error:  # noqa: BLE001 - what is raised is what is compared
                outcome.raised.append((type(error), str(error)))
    outcome.trace = world.trace
    outcome.records = records.seen
    outcome.left = [str(master.addons), *sorted(master.addons.lookup)]
    return outcome
