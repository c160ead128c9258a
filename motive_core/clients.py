"""Where a client is: its address, seen through proxies that we trust, and what counts as one client for limits.

Owns which of several addresses is believed. Knows no credential.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

FORWARDED_HEADER: Final = "x-forwarded-for"

type Address = IPv4Address | IPv6Address

_HOPS: Final = 32
"""How many addresses of a header are looked at, from its end. Nobody has so many proxies of their own."""
_NETWORK_BITS: Final = 64
"""An IPv6 client has that many bits of addresses to choose from at will (RFC 6177, RFC 8981)."""


class TrustedProxies:
    """The proxies whose word is taken for who called them. ``networks`` are addresses or CIDR blocks."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [_unmapped(ip_network(network, strict=False)) for network in networks]

    def client_of(self, peer: str, forwarded_for: str | None) -> str:
        """The address of a client. ``peer`` is that of its connection, ``forwarded_for`` the value of
        ``X-Forwarded-For``, several joined by commas.

        Each trusted proxy appends whom it was called by, so the list is read from its end, up to the first address that
        is not a trusted proxy's. What stands before it was written by strangers. What is no address ends the reading,
        too: nobody vouches for what is behind it.
        """
        if not self._networks or forwarded_for is None or not self._trusts(address_of(peer)):
            return peer
        found = peer
        for hop in forwarded_for.rsplit(",", _HOPS)[-1 : -_HOPS - 1 : -1]:
            address = _address_of_hop(hop.strip())
            if address is None:
                break
            found = str(address)
            if not self._trusts(address):
                break
        return found

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def address_of(host: str) -> Address | None:
    """An address of a socket: an IPv4 one that came by IPv6 is itself again. None for what is no address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4096)  # addresses are few, and each call names one
def limited_as(client_host: str, key_name: str | None = None) -> str:
    """What counts as one client for limits: the name of its key if it has shown one of ours, else its address.

    A credential that nobody has checked is not asked: whoever makes up a new one for each call would be a new client
    each time. An IPv6 client counts as its /64 network for the same reason.
    """
    if key_name is not None:
        return f"key {key_name}"
    address = address_of(client_host)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _NETWORK_BITS), strict=False))
    return str(address) if address is not None else client_host


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A block of IPv4 addresses in IPv6's writing as what it is, since addresses are compared so."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return network
    return ip_network((mapped, network.prefixlen - 96), strict=False)


def _address_of_hop(text: str) -> Address | None:
    """An address of the header. Some proxies write a port behind it: ``192.0.2.7:4711``, ``[2001:db8::1]:4711``."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return address_of(text)
