"""``motive mock``: a model that is none, for apps that take a base URL.

Owns the command line. Becomes mitmdump with the meeting point alone, and a configuration (``mock.yaml``) whose only
route answers by the source ``mock``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from motive_core.cli.launch import Launch, Listener, become, checked, host_argument, port_argument, split, url_of
from motive_core.cli.layout import MOCK_CONFIG
from motive_core.cli.settings import settings_of

PORT: Final = 8888
HOST: Final = "localhost"
"""In both families of addresses, since what Node makes of the name depends on its version."""


def parser() -> argparse.ArgumentParser:
    """The command line, up to the ``--`` that mitmdump's own arguments follow."""
    made = argparse.ArgumentParser(
        prog="motive mock",
        allow_abbrev=False,
        description="Start a model that is none: every call, in every dialect, is answered at once.",
        epilog="Arguments after -- go to mitmdump.",
    )
    made.add_argument("--port", type=port_argument, default=PORT, help=f"where it listens ({PORT}); 0 takes a free one")
    made.add_argument("--host", type=host_argument, default=HOST, help=f"address that it binds ({HOST})")
    what = made.add_mutually_exclusive_group()
    what.add_argument("--text", type=_text, help="what it says to everything; what it was told last, if not given")
    what.add_argument(
        "--config", type=Path, metavar="FILE", help="a configuration of your own, with routes that answer by sources"
    )
    return made


def launch_of(arguments: Sequence[str], env: Mapping[str, str]) -> tuple[Launch, dict[str, str]]:
    """What a command line asks for, and the environment for it. Raises ``LaunchError``."""
    own, extra = split(arguments)
    options = parser().parse_args(own)
    changed = {**env, "MOTIVE_PROXY_STORE_KIND": "memory"}
    if options.text is not None:
        changed |= {"MOTIVE_MOCK_SOURCE": "text", "MOTIVE_MOCK_TEXT": options.text}
    settings = settings_of(options.config or MOCK_CONFIG, changed)
    meeting = Listener("mock", options.host, options.port, "--port", "such as 0 for a free one")
    return Launch("mitmdump", None, meeting, settings.path, extra), changed


def main(arguments: Sequence[str]) -> NoReturn:
    """Become mitmdump. Raises ``LaunchError``."""
    launch, env = launch_of(arguments[1:], os.environ)
    launch = checked(launch)
    base = url_of(launch.meeting)
    sys.stdout.write(
        f"motive mock: {base}/v1 is the base URL for OpenAI's API and what is like it, {base} for others\n"
    )
    become(launch, env)


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it must say something")
    return text
