"""What mitmproxy is started with: its program, its listeners, its arguments.

Owns the checks that are better made before mitmproxy starts than told by it, and the way in which a process becomes
mitmproxy. Which settings win is the commands' business. Knows no flow, and imports nothing of mitmproxy.
"""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from motive_core.cli.errors import CommandError
from motive_core.cli.layout import entry

UNUSED_UPSTREAM: Final = "http://127.0.0.1:9"
"""A reverse listener must name an upstream. The real service of a call is chosen when it comes."""

_WEB_PORT: Final = 8081
"""mitmweb's own, unless its arguments say otherwise (mitmproxy 12.2.3, ``tools/web/webaddons.py``)."""


class LaunchError(CommandError):
    """Motive cannot be started like this. The message is one plain line that says what to do instead."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One of the two: its name, where it binds, and what sets its port."""

    title: str
    host: str
    port: int
    flag: str
    otherwise: str


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be started. ``extra`` goes to mitmproxy as it is. Without a ``forward`` proxy, there is the meeting
    point alone."""

    program: str
    forward: Listener | None
    meeting: Listener
    config: Path | None
    extra: tuple[str, ...]


def checked(launch: Launch) -> Launch:
    """The same, with every port one that can be bound right now. Raises ``LaunchError``.

    mitmproxy refuses two listeners on port 0 of one host (12.2.3, ``addons/proxyserver.py``), so free ports are chosen
    here. Both listeners are bound while this looks, so they never get the same one.
    """
    forward, meeting = launch.forward, launch.meeting
    if forward is not None and forward.port == meeting.port != 0:
        raise LaunchError(
            f"the {forward.title} and the {meeting.title} cannot both have port {meeting.port}; "
            f"change one of them by {forward.flag} or {meeting.flag}"
        )
    if launch.program == "mitmweb":
        for listener in _listeners(launch):
            if listener.port == web_port(launch.extra):
                raise LaunchError(
                    f"port {listener.port} of the {listener.title} is that of mitmweb's own page; "
                    f"change it by {listener.flag}, or mitmweb's by -- --web-port PORT"
                )
    with ExitStack() as held:
        return replace(
            launch,
            forward=replace(forward, port=_probe(forward, held)) if forward is not None else None,
            meeting=replace(meeting, port=_probe(meeting, held)),
        )


def mitmproxy_arguments(launch: Launch) -> list[str]:
    """mitmproxy's command line, without the program. The user's own arguments come last."""
    # What stands before the last colon is the host as it is (12.2.3, proxy/mode_specs.py): no brackets around IPv6.
    arguments = []
    if launch.forward is not None:
        arguments += ["--mode", f"regular@{launch.forward.host}:{launch.forward.port}"]
    arguments += ["--mode", f"reverse:{UNUSED_UPSTREAM}@{launch.meeting.host}:{launch.meeting.port}"]
    arguments += ["-s", str(entry())]
    if launch.config is not None:
        arguments += ["--set", f"motive_config={launch.config}"]
    if launch.program == "mitmweb" and not any("open" in one and "browser" in one for one in launch.extra):
        # It prints the address of its page; a browser that opens at every start is in the way. By --set, a line in
        # mitmproxy's own configuration still overrides it, but mitmproxy refuses to be told twice on a command line.
        arguments += ["--set", "web_open_browser=false"]
    return [*arguments, *launch.extra]


def _listeners(launch: Launch) -> Iterator[Listener]:
    if launch.forward is not None:
        yield launch.forward
    yield launch.meeting


def command_of(launch: Launch, before: str = "") -> list[str]:
    """The whole command. ``before`` is Python that runs in the process before mitmproxy does.

    By this interpreter, and not by mitmproxy's script: its first line names a folder, which may have been moved, and
    where a user installs for themselves it stands elsewhere.
    """
    code = f"import sys; {before}from mitmproxy.tools.main import {launch.program} as program; "
    code += f"sys.argv[0] = {launch.program!r}; sys.exit(program())"
    return [sys.executable, "-P", "-c", code, *mitmproxy_arguments(launch)]


def environment_of(env: Mapping[str, str]) -> dict[str, str]:
    """What mitmproxy is started with: without what would have its interpreter look for modules somewhere else. Without
    ``PYTHONUNBUFFERED``, who reads its output from a pipe or a file would see the addresses when it ends."""
    kept = {name: value for name, value in env.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def become(launch: Launch, env: Mapping[str, str]) -> NoReturn:
    """Let mitmproxy take the place of this process."""
    sys.stdout.flush()
    os.execve(sys.executable, command_of(launch), environment_of(env))


def web_port(extra: Sequence[str]) -> int:
    """The port of mitmweb's own page under these arguments of mitmweb."""
    port = str(_WEB_PORT)
    for argument, following in zip(extra, [*extra[1:], ""], strict=False):
        if argument == "--web-port":
            port = following
        elif argument.startswith("--web-port="):
            port = argument.removeprefix("--web-port=")
        elif argument == "--set" and following.startswith("web_port="):
            port = following.removeprefix("web_port=")
    return int(port) if port.isdecimal() else _WEB_PORT


def split(arguments: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """What stands before the first ``--``, and what after it."""
    if "--" not in arguments:
        return arguments, ()
    border = arguments.index("--")
    return arguments[:border], tuple(arguments[border + 1 :])


def url_of(listener: Listener) -> str:
    """Where clients of this machine find a listener, without a path."""
    host = "127.0.0.1" if listener.host in ("0.0.0.0", "::") else listener.host
    return f"http://[{host}]:{listener.port}" if ":" in host else f"http://{host}:{listener.port}"


def host_argument(text: str) -> str:
    """An address or name to bind. Brackets around an IPv6 address are taken off."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or any(character.isspace() or character in "@/[]," for character in host):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host; 0.0.0.0 or :: means every address of this machine")
    return host


def port_argument(text: str) -> int:
    """A port of the command line."""
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; it is 0 to 65535, and 0 takes a free one")
    return int(text)


def _probe(listener: Listener, held: ExitStack) -> int:
    """Bind, until ``held`` ends, what mitmproxy is going to bind; gives the port. Raises ``LaunchError``."""
    try:
        found = socket.getaddrinfo(listener.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise LaunchError(f"the host {listener.host!r} cannot be found; choose another by --host") from error
    port, bound, absent = listener.port, False, None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            probe = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            # As asyncio does: without it, a port would seem to be in use for a minute after the last run.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address[0], port, *address[2:]))
            probe.listen()
        except OSError as error:
            # A name may also stand for an address of a family that is switched off here; asyncio leaves that out.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise LaunchError(_why_not(listener, error)) from error
            absent = error
        else:
            port, bound = probe.getsockname()[1], True
    if absent is not None and not bound:
        raise LaunchError(_why_not(listener, absent)) from absent
    return port


def _why_not(listener: Listener, error: OSError) -> str:
    where = f"port {listener.port} of the {listener.title} on {listener.host}"
    instead = f"choose another by {listener.flag} PORT, {listener.otherwise}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is in use; {instead}"
        case errno.EACCES:
            return f"{where} is not open to this user; {instead}"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"{listener.host} is not an address of this machine; choose another by --host"
        case _:
            return f"{where} cannot be bound: {error.strerror}; {instead}"
