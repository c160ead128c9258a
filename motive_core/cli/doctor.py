"""``motive doctor``: looks for what keeps apps from being taken over, and says what to do.

Owns the order of the checks, and how they are shown. Where no proxy runs, it starts one of its own for them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from motive_core.cli import checks
from motive_core.cli.checks import Finding, Mark
from motive_core.cli.environment import restored
from motive_core.cli.errors import CommandError
from motive_core.cli.launch import Launch, LaunchError, checked
from motive_core.cli.own import OwnProxy
from motive_core.cli.proxies import AbsentError, Address, StrangerError, address_of, ask_health, meeting_of
from motive_core.cli.settings import Settings, add_proxy_options, configured, listeners_of, settings_of

_SIGNS: Final[Mapping[Mark, tuple[str, str, str]]] = {
    "good": ("✓", "ok", "green"),
    "note": ("!", "!", "yellow"),
    "bad": ("✗", "x", "red"),
}
"""By mark: the sign, the one for a terminal that cannot show it, and its colour."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="motive doctor",
        allow_abbrev=False,
        description="Look for what keeps apps from being taken over, and say what to do. Ends with status 1 if "
        "something does.",
    )
    add_proxy_options(made)
    return made


def main(arguments: Sequence[str]) -> int:
    """Show every finding; gives 1 if one is bad."""
    options = parser().parse_args(arguments[1:])
    report = Report(Console(soft_wrap=True, highlight=False))
    env, confdir = dict(os.environ), options.confdir.expanduser().absolute()
    report.show(checks.check_versions())
    try:
        settings = settings_of(options.config, env)
        given = address_of(options.proxy) if options.proxy is not None else None
        address = given or configured(settings)
    except CommandError as error:
        report.show([Finding("bad", str(error), "correct it; docs/config.md tells every setting")])
        return report.status
    report.show(_settings(settings))
    with ExitStack() as stack:
        tested = _proxy(report, settings, address, confdir, stack, may_start=given is None)
        report.show(checks.check_certificates(confdir, time.time()))
        if tested is not None:
            asked, meeting = tested
            report.attempt(lambda: checks.check_proxy(asked, settings.config, confdir))
            if meeting is not None:
                report.show(checks.check_meeting(meeting))
        is_up = tested is not None and tested[0] == address
        report.show(checks.check_shell(env, address, settings.config, is_up=is_up))
        report.show(checks.check_trust(env, address, confdir))
        report.show(checks.check_node(env, address))
    report.conclude()
    return report.status


class Report:
    """What is shown, as it is found."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._counts: dict[Mark, int] = {"good": 0, "note": 0, "bad": 0}

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self._counts["bad"] else 0

    def show(self, findings: Iterable[Finding]) -> None:
        """Show each of them."""
        for finding in findings:
            self._counts[finding.mark] += 1
            sign, plain, colour = _SIGNS[finding.mark]
            shown = sign if _can_show(self._console, sign) else plain
            self._console.print(Text.assemble((shown, colour), " ", finding.what))
            if finding.advice is not None:
                self._console.print(Text(f"    {finding.advice}", "bold" if finding.mark == "bad" else ""))

    def attempt(self, check: Callable[[], Iterable[Finding]]) -> None:
        """The same for a check that may fail by itself."""
        try:
            self.show(check())
        except CommandError as error:
            self.show([Finding("bad", str(error))])

    def conclude(self) -> None:
        """The last line."""
        bad, notes = self._counts["bad"], self._counts["note"]
        if bad:
            text = f"{bad} {'thing is' if bad == 1 else 'things are'} wrong"
        else:
            text = "nothing is wrong" + (f", but see {notes} {'note' if notes == 1 else 'notes'}" if notes else "")
        self._console.print(Text(f"\n{text}", "red" if bad else "green"))


def _settings(settings: Settings) -> Iterable[Finding]:
    yield Finding("good", f"the configuration is valid: {settings.path or 'no file, so all defaults'}")
    for warning in settings.config.warnings:
        yield Finding("note", warning)


def _proxy(
    report: Report, settings: Settings, address: Address, confdir: Path, stack: ExitStack, *, may_start: bool
) -> tuple[Address, str | None] | None:
    """The proxy to be tested and its meeting point: the one that runs, else one of our own."""
    try:
        told = ask_health(address)
    except AbsentError as error:
        if not may_start:
            report.show([Finding("bad", str(error), "start it")])
            return None
        report.show([*_free(settings)])
    except StrangerError as error:
        report.show([Finding("bad", str(error), _elsewhere(settings))])
        if not may_start:
            return None
    except CommandError as error:
        report.show([Finding("bad", str(error))])
        return None
    else:
        report.show([Finding("good", f"Motive runs at {address.shown}")])
        return address, meeting_of(told, address.port)
    try:
        own = stack.enter_context(OwnProxy(settings, confdir, restored(os.environ)))
    except CommandError as error:
        report.show([Finding("bad", str(error), "what the log says is to be mended first")])
        return None
    report.show([Finding("good", "a proxy can be started; what follows was tested with one on free ports")])
    return own.forward, own.meeting


def _free(settings: Settings) -> Iterable[Finding]:
    """Whether the ports of a proxy that does not run could be bound."""
    forward, meeting = listeners_of(settings)
    try:
        checked(Launch("mitmdump", forward, meeting, None, ()))
    except LaunchError as error:
        yield Finding("bad", str(error))
    else:
        yield Finding("good", f"no proxy runs; ports {forward.port} and {meeting.port} of {forward.host} are free")


def _elsewhere(settings: Settings) -> str:
    forward, _ = listeners_of(settings)
    return f"end it, or choose another port for Motive by {forward.flag} PORT, {forward.otherwise}"


def _can_show(console: Console, sign: str) -> bool:
    try:
        sign.encode(getattr(sys.stdout, "encoding", None) or console.encoding)
    except UnicodeEncodeError:
        return False
    return True
