"""Fast dispatch calls the same hooks in the same order as mitmproxy does, with the same log and the same exceptions.

Whatever is compared is run twice, with and without it: random chains of fake addons that raise, halt and change the
chain while it is walked; mitmproxy's default addons with real flows; and a real mitmdump whose script is reloaded.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import http.client
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mitmproxy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy import addonmanager, eventsequence, hooks, options
from mitmproxy.master import Master
from mitmproxy.proxy import server_hooks
from mitmproxy.test import taddons, tflow
from mitmproxy.tools.dump import DumpMaster

from motive_shell import fast_dispatch
from motive_shell.fast_dispatch import FastDispatch
from tests.addons.dispatch_worlds import (
    CHANGES,
    EVENTS,
    OUTCOMES,
    Fake,
    Hook,
    Node,
    Step,
    describe,
    make_event,
    own_class,
    run_world,
)

# Random chains

hook_plans = st.builds(
    Hook,
    outcome=st.sampled_from(OUTCOMES) | st.just("return"),
    change=st.none() | st.sampled_from(CHANGES),
    target=st.integers(0, 9),
)
# Updates and configuration are what changes lead to, so theirs stop there.
quiet_plans = st.builds(Hook, outcome=st.sampled_from(OUTCOMES))
hook_tables = st.fixed_dictionaries(
    {},
    optional={event: quiet_plans if event in ("update", "configure", "add_log") else hook_plans for event in EVENTS},
)
leaves = st.builds(Node, hooks=hook_tables, kind=st.sampled_from(("class", "own", "own", "module")))
nodes = st.recursive(
    leaves,
    lambda below: st.builds(
        Node,
        hooks=hook_tables,
        below=st.lists(below, max_size=3).map(tuple),
        kind=st.sampled_from(("class", "own", "module")),
    ),
    max_leaves=5,
)
chains = st.lists(nodes, min_size=1, max_size=5).map(tuple)
step_plans = st.builds(
    Step,
    how=st.sampled_from(("trigger_event", "handle_lifecycle", "handle_lifecycle", "trigger", "change")),
    event=st.sampled_from(("request", *EVENTS)),
    change=st.sampled_from(CHANGES),
    target=st.integers(0, 9),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chain=chains, steps=st.lists(step_plans, min_size=1, max_size=8).map(tuple))
def test_a_random_chain_is_walked_as_mitmproxy_walks_it(chain: tuple[Node, ...], steps: tuple[Step, ...]) -> None:
    stock = asyncio.run(run_world(chain, steps, fast=False))
    fast = asyncio.run(run_world(chain, steps, fast=True))
    assert fast == stock


EVERY_WAY = tuple(Step(how, event) for event in EVENTS for how in ("trigger_event", "handle_lifecycle", "trigger"))


@pytest.mark.parametrize("kind", ["class", "own", "module"])
@pytest.mark.parametrize("where", ["top", "below"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_outcome_of_a_hook_is_handled_alike(outcome: str, where: str, kind: str) -> None:
    calm = Node(dict.fromkeys(EVENTS, Hook("return")))
    subject = Node(dict.fromkeys(EVENTS, Hook(outcome)), kind=kind)
    chain = (calm, subject, calm) if where == "top" else (calm, Node({}, (calm, subject, calm), kind), calm)
    stock = asyncio.run(run_world(chain, EVERY_WAY, fast=False))
    fast = asyncio.run(run_world(chain, EVERY_WAY, fast=True))
    assert fast == stock
    assert ("fake1", "request", "HTTPFlow") in stock.trace


@pytest.mark.parametrize("how", ["trigger_event", "handle_lifecycle", "trigger"])
@pytest.mark.parametrize("where", ["top", "below"])
@pytest.mark.parametrize("target", range(8))
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_during_an_event_is_seen_alike(change: str, target: int, where: str, how: str) -> None:
    calm = Node(dict.fromkeys(EVENTS, Hook("return")))
    silent = Node({}, kind="own")
    changing = Node({"request": Hook("return", change, target)}, (calm,), kind="own")
    subject = changing if where == "top" else Node({}, (changing, calm), kind="own")
    chain = (calm, silent, subject, silent, Node({}), calm)
    # Before it, a first event for the plan to be made from.
    steps = (Step(how, "response"), Step(how), Step(how), Step(how, "client_connected"))
    stock = asyncio.run(run_world(chain, steps, fast=False))
    fast = asyncio.run(run_world(chain, steps, fast=True))
    assert fast == stock


@pytest.mark.parametrize("by", ["options", "register", "add", "by_hand", "reinstall"])
async def test_a_hook_put_onto_an_addon_of_mitmproxys_own_is_called_after_the_next_change(by: str) -> None:
    with taddons.context() as context:
        manager = context.master.addons
        dispatch = FastDispatch(manager)
        assert dispatch.install()
        own: Any = own_class()("own")
        manager.add(own)
        await manager.handle_lifecycle(make_event("request"))
        calls: list[object] = []
        own.request = calls.append
        match by:
            case "options":
                context.options.update(showhost=True)
            case "register":
                manager.register(Fake("sub-addon"))
            case "add":
                manager.add(Fake("addon"))
            case "by_hand":
                manager.chain.insert(0, Fake("addon"))
            case _:
                dispatch.uninstall()
                dispatch.install()
        await manager.handle_lifecycle(make_event("request"))
    assert len(calls) == 1


# Built-in addons


def hook_names() -> set[str]:
    return set(hooks.all_hooks)


def test_no_addon_of_mitmproxys_own_gives_itself_a_hook_at_run_time() -> None:
    """What is remembered of them rests on it. ``ScriptLoader`` has sub-addons from the start."""
    root = Path(mitmproxy.__file__).parent
    names = hook_names() | {"addons"}
    sources = [path for package in ("addons", "tools") for path in (root / package).rglob("*.py")]
    assert len(sources) > 40
    written = {
        f"{path.relative_to(root).as_posix()} {ast.unparse(node)}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del) and node.attr in names
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    # A ReplayHandler is a connection handler, no addon.
    assert written == {"addons/script.py self.addons", "addons/clientplayback.py self.done"}


def record_calls(master: Master, trace: list[tuple[str, ...]]) -> None:
    """Wrap every hook that every addon has, so that each call leaves a line."""

    def wrap(addon: object, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            trace.append((type(addon).__name__, name, *(describe(arg) for arg in args)))
            return hook(*args)

        return call

    for addon in addonmanager.traverse(master.addons.chain):
        for name in hook_names():
            hook = getattr(addon, name, None)
            if callable(hook):
                setattr(addon, name, wrap(addon, name, hook))


async def run_default_addons(tmp_path: Path, fast: bool) -> list[tuple[str, ...]]:
    opts = options.Options(confdir=str(tmp_path))
    master = DumpMaster(opts, with_termlog=False, with_dumper=False)
    trace: list[tuple[str, ...]] = []
    record_calls(master, trace)
    if fast:
        assert FastDispatch(master.addons).install()
    opts.update(anticache=True, stickycookie=".", server=False)
    try:
        for flow in (
            tflow.tflow(),
            tflow.tflow(resp=True),
            tflow.tflow(err=True),
            tflow.tflow(ws=True),
            tflow.ttcpflow(),
            tflow.tudpflow(),
            tflow.tdnsflow(resp=True),
        ):
            for event in eventsequence.iterate(flow):
                await master.addons.handle_lifecycle(event)
        client = tflow.tclient_conn()
        await master.addons.handle_lifecycle(server_hooks.ClientConnectedHook(client))
        await master.addons.handle_lifecycle(server_hooks.ClientDisconnectedHook(client))
        master.addons.trigger(hooks.UpdateHook([tflow.tflow()]))
        logging.getLogger("mitmproxy").info("for the add_log event")
        await asyncio.sleep(0)
        await master.running()
    finally:
        await master.done()
        master.addons.get("errorcheck").finish()
    return trace


async def test_the_default_addons_get_the_same_calls(tmp_path: Path) -> None:
    stock = await run_default_addons(tmp_path, fast=False)
    fast = await run_default_addons(tmp_path, fast=True)
    assert fast == stock
    assert ("AntiCache", "request", "HTTPFlow") in stock
    assert ("ModifyHeaders", "responseheaders", "HTTPFlow") in stock


async def test_an_addon_that_comes_later_gets_the_update_of_each_flow_event() -> None:
    calls: list[str] = []

    class Late:
        def request(self, flow: object) -> None:
            calls.append("request")

        def update(self, flows: list[object]) -> None:
            calls.append(f"update {len(flows)}")

    with taddons.context() as context:
        assert FastDispatch(context.master.addons).install()
        await context.master.addons.handle_lifecycle(make_event("request"))
        context.master.addons.add(Late())
        await context.master.addons.handle_lifecycle(make_event("request"))
    assert calls == ["request", "update 1"]


# Installing


async def test_uninstall_restores_the_manager_exactly() -> None:
    with taddons.context() as context:
        manager = context.master.addons
        before = dict(vars(manager))
        dispatch = FastDispatch(manager)
        assert [dispatch.installed, dispatch.install(), dispatch.installed] == [False, True, True]
        assert vars(manager) != before
        for _ in range(2):
            dispatch.uninstall()
            assert not dispatch.installed
            assert vars(manager) == before


async def test_a_second_instance_finds_the_first_one_in_place_and_can_uninstall_it() -> None:
    with taddons.context() as context:
        manager = context.master.addons
        before = dict(vars(manager))
        assert FastDispatch(manager).install()
        installed = dict(vars(manager))
        second = FastDispatch(manager)
        assert second.installed
        assert second.install()
        assert vars(manager) == installed
        second.uninstall()
        assert vars(manager) == before


async def test_another_patch_of_the_dispatch_is_left_in_place() -> None:
    with taddons.context() as context:
        manager = context.master.addons

        async def traced(event: hooks.Hook) -> None:
            raise NotImplementedError

        vars(manager)["trigger_event"] = traced
        dispatch = FastDispatch(manager)
        assert not dispatch.install()
        assert not dispatch.installed
        assert vars(manager)["trigger_event"] is traced


async def test_a_subclass_of_the_manager_keeps_its_dispatch() -> None:
    class Traced(addonmanager.AddonManager):
        async def trigger_event(self, event: hooks.Hook) -> None:
            raise NotImplementedError

    with taddons.context() as context:
        assert not FastDispatch(Traced(context.master)).install()  # type: ignore[no-untyped-call]


def test_the_installed_mitmproxy_is_a_tested_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FastDispatch.supported()
    monkeypatch.setattr(mitmproxy.version, "VERSION", "12.2.4")
    assert not FastDispatch.supported()


# A real process

SCRIPT = """
import os
from pathlib import Path

from mitmproxy import ctx, http

from motive_shell.fast_dispatch import FastDispatch

HERE = Path(__file__).parent


class Answer:
    def load(self, loader):
        self.dispatch = FastDispatch(ctx.master.addons)
        assert self.dispatch.install()

    def running(self):
        port = ctx.master.addons.get("proxyserver").listen_addrs()[0][1]
        (HERE / "port.new").write_text(str(port))
        os.replace(HERE / "port.new", HERE / "port")

    def request(self, flow):
        flow.response = http.Response.make(200, f"VERSION fast={self.dispatch.installed}")


addons = [Answer()]
"""

DEADLINE_S = 60.0


def poll[T](probe: Callable[[], T | None], process: subprocess.Popen[str]) -> T:
    """The first result of ``probe`` that is not ``None``; the pause only keeps the poll from taking the CPU."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        result = probe()
        if result is not None:
            return result
        time.sleep(0.02)
    raise AssertionError("not in time")


@contextlib.contextmanager
def mitmdump(script: Path) -> Iterator[subprocess.Popen[str]]:
    addons = str(Path(fast_dispatch.__file__).parents[1])
    arguments = ["-q", "--listen-host", "127.0.0.1", "--listen-port", "0", "-s", str(script)]
    settings_ = ["--set", f"confdir={script.parent}", "--set", "connection_strategy=lazy"]
    with subprocess.Popen(
        [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", *arguments, *settings_],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": addons},
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def ask(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", "http://constant.test/")
        return connection.getresponse().read().decode()


def test_a_reloaded_script_answers_at_once_through_fast_dispatch(tmp_path: Path) -> None:
    script = tmp_path / "answer.py"
    script.write_text(SCRIPT.replace("VERSION", "one"))
    port_file = tmp_path / "port"
    with mitmdump(script) as process:
        port = poll(lambda: int(port_file.read_text()) if port_file.exists() else None, process)
        assert ask(port) == "one fast=True"

        script.write_text(SCRIPT.replace("VERSION", "two"))
        # Far enough ahead for any file system's clock.
        later = time.time() + 10
        os.utime(script, (later, later))

        def second() -> str | None:
            answer = ask(port)
            return None if answer == "one fast=True" else answer

        assert poll(second, process) == "two fast=True"
        process.terminate()
        assert process.communicate(timeout=DEADLINE_S)[0] == ""
