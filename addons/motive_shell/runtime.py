"""What outlives a reload of the script: the gateway, the origin, and the tasks that serve them.

Owns their life: made once a master, started when mitmproxy runs, stopped when it exits. Knows no hook.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from mitmproxy import ctx, hooks, http, version
from mitmproxy.master import Master
from mitmproxy.options import Options
from starlette.applications import Starlette

from motive_core.config import Config, ConfigFile, Route
from motive_core.console import console_routes
from motive_core.errors import ConfigError
from motive_core.gateway import Gateway
from motive_core.incoming import steady_clock
from motive_core.origin import OriginServer, Streams, make_app
from motive_shell.connections import Connections
from motive_shell.descriptors import open_files_allowed, too_few_for
from motive_shell.exposure import why_exposed
from motive_shell.holds import Holds
from motive_shell.logs import apply_logging
from motive_shell.services import Services
from motive_shell.store import open_archive, open_live_routes, open_logins, open_store
from motive_shell.uploads import UploadGuard

logger = logging.getLogger(__name__)

_CONFIG_POLL_S: Final = 1.0
_UNFETCHED_S: Final = 30.0
_SWEEP_KILLED_S: Final = 1.0
_TELL_WAITING_S: Final = 4.0
_TOLD_AT_ONCE: Final = 100
"""Each is shown anew by the UI, and sent to each page that is open."""
_COLLECT_AT_MOST: Final = 100
"""With more calls and connections than these, to look through all that lives would keep them waiting for too long."""

_runtimes: WeakKeyDictionary[Master, Runtime] = WeakKeyDictionary()
"""A reload of the script makes new addon objects; this module stays, and with it what must not be lost."""


class Runtime:
    """One a master. Raises ``ConfigError`` if the configuration is wrong at the start."""

    def __init__(self, options: Options, path: Path | None, env: Mapping[str, str], dotenv: Path) -> None:
        self.config_file = ConfigFile(path, env, dotenv)
        self.config_file.check = _check_exposure
        clock = steady_clock()
        self._store = store = open_store(self.config_file.config, options.mode, env, clock)
        self.gateway = Gateway(
            self.config_file.config,
            backend=store.backend if store is not None else None,
            kept=store.kept if store is not None else None,
            clock=clock,
            versions={"mitmproxy": version.VERSION},
            logins=open_logins(self.config_file.config, options.mode, env, clock),
            live_routes=open_live_routes(self.config_file.config, options.mode, env),
            archive=open_archive(self.config_file.config, options.mode, env),
        )
        self.gateway.save_route = self._save_route
        self.streams = Streams(self.gateway.clock)
        self.origin = OriginServer(self._make_app, self.streams)
        self.holds = Holds(self.gateway)
        self.services = Services(self.gateway.spawn)
        self.originals: dict[str, http.Request] = {}
        """Requests that went to the origin, by flow id, to be put back when it answers."""
        self.connections = Connections(self.config.timing.head_timeout_s)
        self.gathers_writes = False
        """Whether connections that are made from now on gather what is written to them."""
        self.is_guarded = False
        """Whether it was seen that no listener is open to strangers."""
        self._tasks: list[asyncio.Task[None]] = []
        self.gateway.health_checks.watch("config", lambda: self.config_file.problem)
        self._uploads = UploadGuard(options, self.gateway)
        self._open_files: int | None = None
        apply_logging(self.config)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.gateway.config

    def _make_app(self, secret: str) -> Starlette:
        routes = console_routes(self.gateway.console, self.gateway.logins)
        return make_app(self.gateway, self.gateway.refusals.not_served, secret, routes)

    @property
    def started(self) -> bool:
        """Whether the origin serves."""
        return self.origin.address is not None

    async def start(self) -> None:
        """Start the origin and the periodic work. To be called once, in the loop that serves."""
        await self.gateway.restore()
        await self.origin.start()
        self._uploads.install()
        self._open_files = open_files_allowed()
        if (why := self._too_few_files()) is not None:
            logger.warning(why)
        self.gateway.health_checks.watch("open files", self._too_few_files)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._poll_config(), name="motive config"),
            loop.create_task(self._clean_up(), name="motive clean-up"),
            loop.create_task(self._sweep_killed(), name="motive killed flows"),
        ]
        if ctx.master.addons.get("view") is not None:  # mitmdump shows no list of flows
            self._tasks.append(loop.create_task(self._tell_waiting(ctx.master), name="motive waiting flows"))

    def _too_few_files(self) -> str | None:
        return too_few_for(self.config.limits.max_held, self._open_files)

    async def stop(self) -> None:
        """Stop the periodic work, the origin and the store. Held calls must have been ended before: what became of
        each of them is to be stored."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.origin.stop()
        await self.gateway.close()
        self.close()
        # What thousands of connections left behind need not be collected: the system takes it all, at once.
        gc.freeze()

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()

    def _take(self, config: Config) -> None:
        self.gateway.configure(config)
        apply_logging(config)

    def _save_route(self, route: Route, behind: Sequence[Route]) -> str:
        """See ``Gateway.save_route``. Whatever else has changed in the file comes into force, too."""
        self._take(self.config_file.save(route, behind))
        return str(self.config_file.path)

    async def _poll_config(self) -> None:
        while True:
            await asyncio.sleep(_CONFIG_POLL_S)
            try:
                config = self.config_file.poll()
                if config is not None:
                    self._take(config)
                    logger.info("configuration reloaded")
                self.gateway.health_checks.look()
            except Exception:
                logger.exception("configuration not reloaded")

    async def _sweep_killed(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_KILLED_S)
            self.holds.sweep_killed()

    async def _tell_waiting(self, master: Master) -> None:
        while True:
            await asyncio.sleep(_TELL_WAITING_S)
            if flows := self.holds.tell_waiting(_TOLD_AT_ONCE):
                master.addons.trigger(hooks.UpdateHook(flows))

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(self.config.timing.cleanup_interval_s)
            try:
                self.streams.expire(_UNFETCHED_S)
                await self.gateway.sweep()
                give_memory_back(max(len(self.connections), len(self.holds)))
            except Exception:
                logger.exception("clean-up failed")


def give_memory_back(busy: int) -> None:
    """Return freed memory to the system, while there are so many calls and connections. Those that ended are garbage in
    cycles, which Python collects only when much more of it has come: what a busy hour left would stay until the next
    one. And glibc keeps what large bodies and many calls at once have taken, for as long as anything lives behind it;
    other C libraries are not asked."""
    if busy <= _COLLECT_AT_MOST:
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _keep_what_is_loaded(master: Master) -> None:
    """What was imported until now lives as long as the process does: let no collection look at it. Not where a client
    is there already, since its connection would be kept with it."""
    if not getattr(master.addons.get("proxyserver"), "connections", ()):
        gc.collect()
        gc.freeze()


def _check_exposure(config: Config) -> None:
    """Raises ``ConfigError`` for a configuration that would leave an open listener without a guard."""
    if why := why_exposed(ctx.options, config):
        raise ConfigError("access", why)


def runtime_of(master: Master, path: Path | None, dotenv: Path) -> Runtime:
    """The runtime of a master, made at the first call. Raises ``ConfigError``."""
    runtime = _runtimes.get(master)
    if runtime is None:
        _keep_what_is_loaded(master)
        runtime = _runtimes[master] = Runtime(master.options, path, os.environ, dotenv)
    return runtime
