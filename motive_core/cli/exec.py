"""``motive exec -- COMMAND...``: starts an unmodified app behind the forward proxy.

Owns which proxy that is, and how the app is run: in the place of this process where the proxy runs already, else as a
child, whose signals and status are passed on, beside a proxy that lives as long as it does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from motive_core.certificates import CERTIFICATE, bundle_of
from motive_core.cli.environment import bundle_for, environment, passed_by, restored
from motive_core.cli.errors import CommandError
from motive_core.cli.own import OwnProxy
from motive_core.cli.proxies import (
    AbsentError,
    Address,
    StrangerError,
    address_of,
    ask_health,
    check_interception,
    meeting_of,
    opened_host,
)
from motive_core.cli.settings import Settings, add_proxy_options, configured, settings_of

_NOT_FOUND: Final = 127
_NOT_RUNNABLE: Final = 126
_SIGNALLED: Final = 128
_PASSED_ON: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
_FROM_TERMINAL: Final = frozenset({"SIGINT", "SIGQUIT", "SIGWINCH"})
"""What a terminal sends to all processes in the foreground, so to the app by itself, too."""


def parser() -> argparse.ArgumentParser:
    """The command line, with the app's in ``app``."""
    made = argparse.ArgumentParser(
        prog="motive exec",
        usage="motive exec [OPTIONS] -- COMMAND...",
        allow_abbrev=False,
        description="Start an app behind the forward proxy: the one that runs, else one of its own for as long as the "
        "app runs.",
    )
    add_proxy_options(made)
    made.add_argument("--own", action="store_true", help="start a proxy of its own, even if one runs")
    made.add_argument("--log", type=Path, metavar="FILE", help="where the log of a proxy of its own shall stay")
    made.add_argument("--quiet", action="store_true", help="say nothing but what went wrong")
    made.add_argument("app", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the app; gives its status. Raises ``CommandError``."""
    made = parser()
    options = made.parse_args(arguments[1:])
    app = options.app[1:] if options.app[:1] == ["--"] else options.app
    if not app:
        made.error("which command? motive exec -- COMMAND...")
    if options.own and options.proxy is not None:
        made.error("--own and --proxy exclude each other")
    env = restored(os.environ)
    if (status := _missing(app[0], env)) is not None:
        return status
    settings = settings_of(options.config, env)
    confdir = options.confdir.expanduser().absolute()
    say: Callable[[str], object] = (lambda _: None) if options.quiet else (lambda text: sys.stderr.write(f"{text}\n"))
    if passed := passed_by(settings.config.hosts, env):
        say(f"motive: NO_PROXY keeps calls to {', '.join(passed)} from the proxy")
    address = None if options.own else running(settings, options.proxy)
    if address is not None:
        told = ask_health(address)
        if (host := opened_host(settings.config.hosts)) is not None:
            check_interception(address, host, confdir / CERTIFICATE)
        say(_introduction(address, meeting_of(told, address.port)))
        return _become(app, _surrounded(address, confdir, env))
    with OwnProxy(settings, confdir, env, options.log) as own:
        say(_introduction(own.forward, own.meeting))
        return _run(app, _surrounded(own.forward, confdir, env))


def running(settings: Settings, given: str | None) -> Address | None:
    """The forward proxy that was given, else that of the configuration if it runs.

    Raises ``CommandError`` for one that was given and is not there, and for one that wants a password.
    """
    if given is not None:
        address = address_of(given)
        ask_health(address)
        return address
    address = configured(settings)
    try:
        status = ask_health(address)["status"]
    except (AbsentError, StrangerError):
        return None
    return address if status != "closing" else None


def _introduction(address: Address, meeting: str | None) -> str:
    joined = f"; join its sessions at {meeting}/v1" if meeting is not None else ""
    return f"motive: the app's calls go by {address.shown}{joined}"


def _surrounded(address: Address, confdir: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of the app."""
    try:
        bundle = bundle_for(bundle_of(confdir), env)
    except OSError as error:
        raise CommandError(f"the certificates in {confdir} cannot be read: {error}") from error
    return {**env, **environment(address.url, bundle, env, is_local=address.is_local)}


def _missing(program: str, env: Mapping[str, str]) -> int | None:
    """The status for a program that cannot be started, as shells have it; None if it can."""
    if shutil.which(program, path=env.get("PATH", os.defpath)) is not None:
        return None
    found = "/" in program and Path(program).exists()
    sys.stderr.write(f"motive: {program}: {'cannot be run' if found else 'no such command'}\n")
    return _NOT_RUNNABLE if found else _NOT_FOUND


def _become(app: Sequence[str], env: Mapping[str, str]) -> int:
    sys.stderr.flush()
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)  # Python ignores them, and the app would, too
    try:
        os.execvpe(app[0], [*app], dict(env))
    except OSError as error:
        return _not_started(app[0], error)


def _run(app: Sequence[str], env: Mapping[str, str]) -> int:
    with _Signals() as signals:
        try:
            process = subprocess.Popen(app, env=dict(env))
        except OSError as error:
            return _not_started(app[0], error)
        signals.pass_on_to(process)
        status = process.wait()
    return status if status >= 0 else _SIGNALLED - status


def _not_started(program: str, error: OSError) -> int:
    sys.stderr.write(f"motive: {program}: {error.strerror or error}\n")
    return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE


class _Signals:
    """Passes on what this process is sent, from the moment on at which the app is there."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for name in _PASSED_ON:
            if (number := getattr(signal, name, None)) is not None:
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on_to(self, process: subprocess.Popen[bytes]) -> None:
        """From now on to this one, and what came before."""
        self._process = process
        while self._early:
            process.send_signal(self._early.pop(0))

    def _came(self, number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name in _FROM_TERMINAL and _is_in_foreground():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def _is_in_foreground() -> bool:
    with _terminal() as terminal:
        return terminal is not None and os.tcgetpgrp(terminal) == os.getpgrp()


@contextmanager
def _terminal() -> Iterator[int | None]:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        yield None
        return
    try:
        yield terminal
    finally:
        os.close(terminal)
