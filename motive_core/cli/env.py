"""``motive env``: prints what sets a shell up for apps behind the forward proxy, or back to what it was.

Owns the syntax of the shells.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from motive_core.certificates import CERTIFICATE, bundle_of
from motive_core.cli.environment import bundle_for, environment, restored, undo
from motive_core.cli.errors import CommandError
from motive_core.cli.layout import command
from motive_core.cli.proxies import AbsentError, StrangerError, address_of, ask_health
from motive_core.cli.settings import add_proxy_options, configured, settings_of

type Line = Callable[[str, str | None], str]


def _sh(name: str, value: str | None) -> str:
    if value is None:
        return f"unset {name}"
    return f"export {name}='{value.replace("'", "'\\''")}'"


def _fish(name: str, value: str | None) -> str:
    if value is None:
        return f"set -e {name}"
    return f"set -gx {name} '{value.replace('\\', '\\\\').replace("'", "\\'")}'"


def _powershell(name: str, value: str | None) -> str:
    if value is None:
        return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
    return f"$Env:{name} = '{value.replace("'", "''")}'"


SHELLS: Final[Mapping[str, Line]] = {"sh": _sh, "fish": _fish, "powershell": _powershell}
_HOW: Final[Mapping[str, str]] = {
    "sh": 'eval "$({command})"',
    "fish": "{command} --shell fish | source",
    "powershell": "{command} --shell powershell | Out-String | Invoke-Expression",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="motive env",
        allow_abbrev=False,
        description="Print what sets a shell up for apps behind the forward proxy.",
        epilog="\n".join(["use:", *(f"  {how.format(command=command('env'))}" for how in _HOW.values())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_proxy_options(made)
    made.add_argument("--shell", choices=tuple(SHELLS), default="sh", help="whose syntax (sh, which bash and zsh have)")
    made.add_argument("--unset", action="store_true", help="print what gives the shell back what it had before")
    return made


def main(arguments: Sequence[str]) -> int:
    """Print the lines. Raises ``CommandError``."""
    options = parser().parse_args(arguments[1:])
    line = SHELLS[options.shell]
    if options.unset:
        _print(undo(os.environ), line)
        return 0
    env = restored(os.environ)
    settings = settings_of(options.config, env)
    address = address_of(options.proxy) if options.proxy is not None else configured(settings)
    confdir = options.confdir.expanduser().absolute()
    if not (confdir / CERTIFICATE).exists():
        raise CommandError(f"there is no {confdir / CERTIFICATE} yet; start {command('run')}, which makes it")
    try:
        ask_health(address)
    except (AbsentError, StrangerError) as error:
        sys.stderr.write(f"motive: {error}; apps will reach nothing until it is started\n")
    try:
        bundle = bundle_for(bundle_of(confdir), env)
    except OSError as error:
        raise CommandError(f"the certificates in {confdir} cannot be read: {error}") from error
    # What an earlier one set and this one does not is taken back.
    _print({**undo(os.environ), **environment(address.url, bundle, env, is_local=address.is_local)}, line)
    return 0


def _print(variables: Mapping[str, str | None], line: Line) -> None:
    # As bytes: an environment may hold some that are no text.
    sys.stdout.buffer.write(os.fsencode("".join(f"{line(name, value)}\n" for name, value in variables.items())))
    sys.stdout.flush()
