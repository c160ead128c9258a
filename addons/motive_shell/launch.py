"""``python -m motive_shell.launch run|web|tui``: becomes mitmproxy, with Motive and its two listeners.

Owns what mitmproxy is started with: which host and ports win (flag, then environment, then configuration file), and the
checks that are better made before mitmproxy starts than told by it. Knows no flow, and imports nothing of mitmproxy:
this process is replaced by it.
"""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from motive_core.config import DEFAULT_CONFIG_NAME, load_config
from motive_core.errors import ConfigError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final[Mapping[str, str]] = {"run": "mitmdump", "web": "mitmweb", "tui": "mitmproxy"}

UNUSED_UPSTREAM: Final = "http://127.0.0.1:9"
"""A reverse listener must name an upstream. The real service of a call is chosen when it comes."""

_WEB_PORT: Final = 8081
"""mitmweb's own, unless its arguments say otherwise (mitmproxy 12.2.3, ``tools/web/webaddons.py``)."""


class LaunchError(Exception):
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
    """What is to be started. ``extra`` goes to mitmproxy as it is."""

    program: str
    forward: Listener
    meeting: Listener
    config: Path | None
    extra: tuple[str, ...]


def parser() -> argparse.ArgumentParser:
    """The command line, up to the ``--`` that mitmproxy's own arguments follow."""
    made = argparse.ArgumentParser(
        prog="run.sh",
        allow_abbrev=False,
        description="Start Motive in mitmproxy, with two listeners.",
        epilog="Arguments after -- go to mitmproxy.",
    )
    made.add_argument("command", choices=tuple(PROGRAMS), help="mitmdump, mitmweb, or mitmproxy in the terminal")
    made.add_argument("--host", type=_host, help="address that both listeners bind")
    made.add_argument("--port", type=_port, help="port of the meeting point; 0 takes a free one")
    made.add_argument(
        "--forward-port", type=_port, metavar="PORT", help="port of the forward proxy; 0 takes a free one"
    )
    made.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration file; {DEFAULT_CONFIG_NAME} if not given"
    )
    return made


def launch_of(arguments: Sequence[str], env: Mapping[str, str], folder: Path = REPOSITORY) -> Launch:
    """What a command line asks for. ``folder`` holds the configuration file that is read if none is named, and
    ``.env``; neither need exist.

    Raises ``LaunchError``. A malformed command line ends the process with status 2.
    """
    own, extra = _split(arguments)
    options = parser().parse_args(own)
    path: Path | None = options.config
    if path is None and (folder / DEFAULT_CONFIG_NAME).exists():
        path = folder / DEFAULT_CONFIG_NAME
    try:
        proxy = load_config(path, env, folder / ".env").proxy
        host = options.host if options.host is not None else _host(proxy.host)
    except ConfigError as error:
        raise LaunchError(str(error)) from error
    except argparse.ArgumentTypeError as error:
        raise LaunchError(f"proxy.host: {error}") from error
    forward_port = options.forward_port if options.forward_port is not None else proxy.forward_port
    port = options.port if options.port is not None else proxy.port
    return Launch(
        PROGRAMS[options.command],
        Listener(
            "forward proxy", host, forward_port, "--forward-port", "MOTIVE_PROXY_FORWARD_PORT or proxy.forward_port"
        ),
        Listener("meeting point", host, port, "--port", "MOTIVE_PROXY_PORT or proxy.port"),
        path.absolute() if path is not None else None,
        extra,
    )


def checked(launch: Launch) -> Launch:
    """The same, with every port one that can be bound right now. Raises ``LaunchError``.

    mitmproxy refuses two listeners on port 0 of one host (12.2.3, ``addons/proxyserver.py``), so free ports are chosen
    here. Both listeners are bound while this looks, so they never get the same one.
    """
    forward, meeting = launch.forward, launch.meeting
    if forward.port == meeting.port != 0:
        raise LaunchError(
            f"the {forward.title} and the {meeting.title} cannot both have port {meeting.port}; "
            f"change one of them by {forward.flag} or {meeting.flag}"
        )
    if launch.program == "mitmweb":
        for listener in (forward, meeting):
            if listener.port == web_port(launch.extra):
                raise LaunchError(
                    f"port {listener.port} of the {listener.title} is that of mitmweb's own page; "
                    f"change it by {listener.flag}, or mitmweb's by -- --web-port PORT"
                )
    with ExitStack() as held:
        return replace(
            launch,
            forward=replace(forward, port=_probe(forward, held)),
            meeting=replace(meeting, port=_probe(meeting, held)),
        )


def mitmproxy_arguments(launch: Launch) -> list[str]:
    """mitmproxy's command line, without the program. The user's own arguments come last."""
    # What stands before the last colon is the host as it is (12.2.3, proxy/mode_specs.py): no brackets around IPv6.
    arguments = [
        *("--mode", f"regular@{launch.forward.host}:{launch.forward.port}"),
        *("--mode", f"reverse:{UNUSED_UPSTREAM}@{launch.meeting.host}:{launch.meeting.port}"),
        *("-s", str(REPOSITORY / "addons" / "motive.py")),
    ]
    if launch.config is not None:
        arguments += ["--set", f"motive_config={launch.config}"]
    if launch.program == "mitmweb" and not any("open" in one and "browser" in one for one in launch.extra):
        # It prints the address of its page; a browser that opens at every start is in the way. By --set, a line in
        # mitmproxy's own configuration still overrides it, but mitmproxy refuses to be told twice on a command line.
        arguments += ["--set", "web_open_browser=false"]
    return [*arguments, *launch.extra]


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


def main() -> NoReturn:
    """Become mitmproxy, or end with one line that says why not."""
    try:
        launch = checked(launch_of(sys.argv[1:], os.environ))
    except LaunchError as error:
        sys.stderr.write(f"motive: {error}\n")
        sys.exit(1)
    # By this interpreter, and not by the first line of the script: that names a folder, which may have been moved.
    script = Path(sys.executable).with_name(launch.program)
    os.execv(sys.executable, [sys.executable, "-P", str(script), *mitmproxy_arguments(launch)])


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    if "--" not in arguments:
        return arguments, ()
    border = arguments.index("--")
    return arguments[:border], tuple(arguments[border + 1 :])


def _host(text: str) -> str:
    """An address or name to bind. Brackets around an IPv6 address are taken off."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or any(character.isspace() or character in "@/[]," for character in host):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host; 0.0.0.0 or :: means every address of this machine")
    return host


def _port(text: str) -> int:
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


if __name__ == "__main__":
    main()
