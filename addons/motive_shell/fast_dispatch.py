"""Fast dispatch: mitmproxy's hooks called as mitmproxy calls them, without asking every built-in addon each time.

mitmproxy offers each event to each of its own addons, more than 30, though most of them do not have that hook, and
pays a coroutine, a generator and a context manager for each: on a busy ``mitmdump -q`` that is half of the time.
``FastDispatch`` replaces four methods of one ``AddonManager`` instance by ones that first leave out who has nothing
to say.

What is remembered, for each event name, is only which entries of the chain may be left out: mitmproxy's *own* addons
that have neither the hook nor sub-addons. Everything else is looked up at each event, as mitmproxy does it: a script's
addons, and what hangs below ``ScriptLoader``, may gain, lose and replace hooks and sub-addons at any moment. What is
remembered is dropped when the chain is another one, when an addon is registered (a script that loads or reloads
registers itself) and when options change.

So one difference remains. A hook that somebody puts, at run time, onto one of mitmproxy's own addons which did not
have it is first called after the next such change. mitmproxy itself never does that.

Equal otherwise: order; an exception ends its own entry of the chain and is logged with the same record; ``AddonHalt``
ends the event; ``OptionsError`` passes; what a hook returns is awaited; ``UpdateHook`` follows each event of a flow.

This patches a private part, so ``TESTED_VERSIONS`` names the versions for which equal behaviour was tested.
Knows nothing of Motive.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from types import ModuleType
from typing import Any, Final

from mitmproxy import addonmanager, exceptions, flow, hooks, version

TESTED_VERSIONS: Final = frozenset({"12.2.3"})
"""Versions of mitmproxy for which the tests of equal behaviour were run."""

_REPLACED: Final = ("handle_lifecycle", "trigger_event", "trigger", "register")
# What the replaced methods call in mitmproxy, and what stands in for it here.
_RELIED_ON: Final = (*_REPLACED, "invoke_addon", "invoke_addon_sync", "_iter_hooks")


class FastDispatch:
    """Fast dispatch for one manager.

    The state of being installed is the manager's, not this object's: after a script reload another instance finds the
    first one still in place, leaves it there, and can uninstall it.
    """

    def __init__(self, manager: addonmanager.AddonManager) -> None:
        self._manager = manager
        self._chain: list[Any] = []
        self._plans: dict[str, tuple[int, ...]] = {}

    @staticmethod
    def supported() -> bool:
        """Whether the running mitmproxy is one of ``TESTED_VERSIONS``."""
        return version.VERSION in TESTED_VERSIONS

    @property
    def installed(self) -> bool:
        """Whether the manager dispatches through a ``FastDispatch``, this one or another."""
        return _is_fast(vars(self._manager).get("trigger_event"))

    def install(self) -> bool:
        """Take over the manager's dispatch; do nothing if that is done already.

        Returns whether it is installed now. It refuses (``False``) a manager whose dispatch is not mitmproxy's own,
        because a subclass or another patch would silently lose its say.
        """
        if self.installed:
            return True
        if not _is_stock(self._manager):
            return False
        self._plans = {}
        for name in _REPLACED:
            setattr(self._manager, name, getattr(self, name))
        return True

    def uninstall(self) -> None:
        """Give the manager its own methods back; events under way run to their end. Does nothing if not installed."""
        for name in _REPLACED:
            if _is_fast(vars(self._manager).get(name)):
                delattr(self._manager, name)

    # What stands in for the manager's methods. The names are theirs.

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        """Trigger an event of a connection or a flow, and an update if it was a flow."""
        args = event.args()
        message = args[0]
        await self._dispatch(event.name, args)
        if isinstance(message, flow.Flow):
            await self._dispatch(hooks.UpdateHook.name, ([message],))

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Trigger an event across all addons."""
        try:
            await self._dispatch(event.name, event.args())
        finally:
            self._forget_after(event)

    def trigger(self, event: hooks.Hook) -> None:
        """Trigger an event across all addons, none of which may answer it asynchronously."""
        try:
            for entry in self._entries(event.name):
                try:
                    with addonmanager.safecall():
                        self._manager.invoke_addon_sync(entry, event)
                except exceptions.AddonHalt:
                    return
        finally:
            self._forget_after(event)

    def register(self, addon: Any) -> Any:
        """Register an addon that is about to join the chain, or somebody's sub-addons."""
        try:
            return addonmanager.AddonManager.register(self._manager, addon)
        finally:
            self._plans = {}

    async def _dispatch(self, name: str, args: Sequence[Any]) -> None:
        for entry in self._entries(name):
            # safecall costs more than most hooks, so it is entered only for an exception.
            try:
                hook = _find_hook(entry, name)
                if hook is not None:
                    result = hook(*args)
                    if result is not None and inspect.isawaitable(result):
                        await result
                if hasattr(entry, "addons"):
                    for addon in addonmanager.traverse(entry.addons):
                        hook = _find_hook(addon, name)
                        if hook is not None:
                            result = hook(*args)
                            if result is not None and inspect.isawaitable(result):
                                await result
            except exceptions.AddonHalt:
                return
            except Exception as error:  # noqa: BLE001 - safecall decides what to log and what to raise
                with addonmanager.safecall():
                    invoke_addon(error)

    def _entries(self, name: str) -> Iterator[Any]:
        """The entries of the chain that may answer to the event, in order.

        mitmproxy's own loop stands on the list itself: what a hook appends to the chain still sees the event, and a
        removal, which makes a new list, changes nothing for the event under way.
        """
        chain = self._manager.chain
        if chain != self._chain:
            self._chain = list(chain)
            self._plans = {}
        seen = self._chain
        plans = self._plans
        plan = plans.get(name)
        if plan is None:
            plan = plans[name] = tuple(index for index, entry in enumerate(chain) if _may_answer(entry, name))
        for index in plan:
            yield chain[index]
            if chain != seen or plans is not self._plans:
                yield from islice(chain, index + 1, None)
                return

    def _forget_after(self, event: hooks.Hook) -> None:
        if isinstance(event, hooks.ConfigureHook):
            self._plans = {}


def invoke_addon(error: Exception) -> None:
    """Raise ``error`` anew, from a frame with the name at which ``safecall`` cuts a traceback: what is logged then
    begins with the addon's own frame, as it does without fast dispatch."""
    assert error.__traceback__ is not None
    raise error.with_traceback(error.__traceback__.tb_next)


def _may_answer(entry: object, name: str) -> bool:
    own = type(entry).__module__.startswith("mitmproxy.")
    return not own or hasattr(entry, "addons") or bool(getattr(entry, name, None))


def _find_hook(addon: Any, name: str) -> Callable[..., Any] | None:
    func = getattr(addon, name, None)
    if not func:
        return None
    if callable(func):
        return func  # type: ignore[no-any-return]
    if isinstance(func, ModuleType):
        # `from mitmproxy import log` in a script is no hook.
        return None
    raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")


def _is_fast(method: object) -> bool:
    return isinstance(getattr(method, "__self__", None), FastDispatch)


def _is_stock(manager: addonmanager.AddonManager) -> bool:
    stock = addonmanager.AddonManager
    return all(
        name not in vars(manager) and getattr(type(manager), name) is getattr(stock, name) for name in _RELIED_ON
    )
