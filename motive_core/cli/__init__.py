"""The command line: ``motive COMMAND``, also ``python -m motive_core`` and ``./run.sh COMMAND``.

Owns the list of commands. Each of them is one file with ``main(arguments) -> status``, which is imported only when it
is asked for; it may become another process. Commands start mitmproxy, and import nothing of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from motive_core.cli.errors import CommandError

USAGE_STATUS: Final = 2
_KILLED: Final = 128
"""What a shell adds to the number of the signal that ended a command."""


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the command line. ``file`` is the module here that has its ``main``, and gets the word with what
    follows it."""

    word: str
    summary: str
    file: str


COMMANDS: Final = (
    Command("run", "start mitmdump with Motive: a forward proxy and the meeting point", "run"),
    Command("web", "the same under mitmweb", "run"),
    Command("tui", "the same under mitmproxy's terminal interface", "run"),
    Command("mock", "start a model that is none, for apps that take a base URL", "mock"),
    Command("converse", "let two models talk with each other through the proxy", "converse"),
    Command("exec", "start an unmodified app behind the forward proxy", "exec"),
    Command("env", "print what sets a shell up for such apps", "env"),
    Command("doctor", "look for what is wrong, and say what to do", "doctor"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (those of the process if None) ask for; gives the exit status."""
    try:
        status = _run(*[*(sys.argv[1:] if arguments is None else arguments)] or ["--help"])
        sys.stdout.flush()
    except CommandError as error:
        sys.stderr.write(f"motive: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _KILLED + signal.SIGINT
    except BrokenPipeError:
        # Who reads has left, as `| head` does. Python would complain of it once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _KILLED + signal.SIGPIPE
    return status


def _run(word: str, *rest: str) -> int:
    if word in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    command = next((one for one in COMMANDS if one.word == word), None)
    if command is None:
        sys.stderr.write(f"motive: there is no command {word!r}\n{usage()}")
        return USAGE_STATUS
    return int(import_module(f"motive_core.cli.{command.file}").main([word, *rest]))


def usage() -> str:
    """What ``motive help`` shows."""
    width = max(len(command.word) for command in COMMANDS)
    lines = [f"  {command.word:{width}}  {command.summary}" for command in COMMANDS]
    return "\n".join(
        ["Usage: motive COMMAND [OPTIONS]", "", *lines, "", "`motive COMMAND --help` shows its options.", ""]
    )
