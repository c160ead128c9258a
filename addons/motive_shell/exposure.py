"""Whether other machines could use a listener of which nobody is asked for a key or a password.

Owns the one rule, and the words of its refusal. A listener is bound to this machine if every address of its host is;
the forward proxy is guarded by mitmproxy's ``proxyauth``, the meeting point by that or by keys. What reaches mitmproxy
by other ways than a port that anybody can connect to (WireGuard, local capture) has a guard of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Final

from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode, RegularMode, ReverseMode, Socks5Mode, TransparentMode, UpstreamMode

from motive_core.clients import address_of
from motive_core.config import Config

_OPEN_MODES: Final = (RegularMode, UpstreamMode, Socks5Mode, TransparentMode, ReverseMode)


def why_exposed(options: Options, config: Config) -> str | None:
    """Why mitmproxy must not listen as its options say; None if it may. May look up names."""
    listening = []
    for text in options.mode:
        try:
            mode = ProxyMode.parse(text)
        except ValueError:
            continue  # mitmproxy has words of its own for that
        listening.append((mode, mode.listen_host(options.listen_host)))
    return _why(listening, options, config)


def why_open(servers: Iterable[Any], options: Options, config: Config) -> str | None:
    """The same for the addresses that mitmproxy's server instances have bound."""
    return _why([(one.mode, str(address[0])) for one in servers for address in one.listen_addrs], options, config)


async def retreat(servers: Any, options: Options) -> None:
    """Let listeners that were given no address listen on this machine alone, as ``options`` has it by now: mitmproxy
    binds them while it loads the script, on every address. ``servers`` are its ``Servers``."""
    wide = {
        one.mode
        for one in servers
        if isinstance(one.mode, _OPEN_MODES)
        and one.mode.custom_listen_host is None
        and not all(is_loopback(str(address[0])) for address in one.listen_addrs)
    }
    if wide and is_loopback(options.listen_host):
        modes = [ProxyMode.parse(text) for text in options.mode]
        await servers.update([mode for mode in modes if mode not in wide])
        await servers.update(modes)


def narrow(options: Options) -> None:
    """Make this machine the default of where mitmproxy listens; its own is every address. WireGuard is used from
    elsewhere, and tells its clients this address."""
    if not options.listen_host and not any(text.startswith("wireguard") for text in options.mode):
        options.update(listen_host="127.0.0.1")


def _why(listening: Iterable[tuple[ProxyMode, str]], options: Options, config: Config) -> str | None:
    if config.access.allow_unauthenticated or getattr(options, "proxyauth", None):
        return None
    for mode, host in listening:
        if not isinstance(mode, _OPEN_MODES) or is_loopback(host):
            continue
        address = host or "every address"
        if not isinstance(mode, ReverseMode):
            return (
                f"the forward proxy would listen on {address}, for other machines, too, and ask nobody for a password: "
                f"set one by --set proxyauth=NAME:PASSWORD, or listen on 127.0.0.1{_AT_YOUR_OWN_RISK}"
            )
        if not config.access.key_is_required:
            return (
                f"the meeting point would listen on {address}, for other machines, too, and ask nobody for a key: name "
                f"keys in MOTIVE_PROXY_VALID_API_KEYS or under access.keys, or listen on 127.0.0.1{_AT_YOUR_OWN_RISK}"
            )
    return None


_AT_YOUR_OWN_RISK: Final = (
    "; to go on without, at your own risk, set MOTIVE_PROXY_ALLOW_UNAUTHENTICATED=true or access.allow_unauthenticated"
)


def is_loopback(host: str) -> bool:
    """Whether everything that this host stands for is this machine alone. A name that is unknown cannot be bound."""
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return True
    addresses = [address_of(str(address[0])) for *_, address in found]
    return all(address is not None and address.is_loopback for address in addresses)
