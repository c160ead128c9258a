"""``motive run|web|tui``: becomes mitmproxy, with Motive and its two listeners.

Owns the command line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from motive_core.cli.launch import Launch, become, checked, host_argument, port_argument, split
from motive_core.cli.settings import listeners_of, settings_of
from motive_core.config import DEFAULT_CONFIG_NAME

PROGRAMS: Final[Mapping[str, str]] = {"run": "mitmdump", "web": "mitmweb", "tui": "mitmproxy"}


def parser() -> argparse.ArgumentParser:
    """The command line, up to the ``--`` that mitmproxy's own arguments follow."""
    made = argparse.ArgumentParser(
        prog="motive",
        allow_abbrev=False,
        description="Start Motive in mitmproxy, with two listeners.",
        epilog="Arguments after -- go to mitmproxy.",
    )
    made.add_argument("command", choices=tuple(PROGRAMS), help="mitmdump, mitmweb, or mitmproxy in the terminal")
    made.add_argument("--host", type=host_argument, help="address that both listeners bind")
    made.add_argument("--port", type=port_argument, help="port of the meeting point; 0 takes a free one")
    made.add_argument(
        "--forward-port", type=port_argument, metavar="PORT", help="port of the forward proxy; 0 takes a free one"
    )
    made.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration file; {DEFAULT_CONFIG_NAME} if not given"
    )
    return made


def launch_of(arguments: Sequence[str], env: Mapping[str, str], folder: Path | None = None) -> Launch:
    """What a command line asks for. See ``settings_of`` for the ``folder``.

    Raises ``LaunchError``. A malformed command line ends the process with status 2.
    """
    own, extra = split(arguments)
    options = parser().parse_args(own)
    settings = settings_of(options.config, env, folder)
    forward, meeting = listeners_of(settings, options.host, options.port, options.forward_port)
    return Launch(PROGRAMS[options.command], forward, meeting, settings.path, extra)


def main(arguments: Sequence[str]) -> NoReturn:
    """Become mitmproxy. Raises ``LaunchError``."""
    become(checked(launch_of(arguments, os.environ)), os.environ)
