"""Whether a route takes a call.

Owns the conditions of a route, compiled, and the texts of a call that they look at. Knows nothing of what follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

from motive_core.config import MATCHED_CHARACTERS, Match, Matcher, glob_regex, normal_host, split_host, visible
from motive_core.ir import ChatRequest
from motive_core.session import Role

type Listener = Literal["forward", "reverse"]

_SYSTEM_ROLES: Final = ("system", "developer")

_MATCHED_IN_ALL: Final = 10 * MATCHED_CHARACTERS
"""How much text of all messages together a ``message`` regex sees, oldest first: what is found there stays found while
the conversation grows."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What routes decide by. ``headers`` have lower-case names; ``path`` has no query; ``client_host`` no port;
    ``credential`` is its identity, see ``credential_identity``; ``bound_role`` is the role that its key is bound to."""

    listener: Listener
    dialect: str
    host: str
    port: int
    path: str
    headers: Mapping[str, str]
    client_host: str
    credential: str | None
    request: ChatRequest
    bound_role: Role | None = None


class Texts:
    """The texts of one call, put together when a route first asks."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request

    @cached_property
    def system(self) -> str:
        """All system and developer text, as far as regexes see it."""
        return visible("\n\n".join(found.text for found in self._request.messages if found.role in _SYSTEM_ROLES))

    @cached_property
    def messages(self) -> tuple[str, ...]:
        """The text of each other message, oldest first, as far as regexes see it."""
        seen: list[str] = []
        left = _MATCHED_IN_ALL
        for message in self._request.messages:
            if message.role not in _SYSTEM_ROLES and left > 0:
                text = visible(message.text)[:left]
                seen.append(text)
                left -= len(text)
        return tuple(seen)


class Conditions:
    """The ``match`` of one route, compiled."""

    def __init__(self, match: Match) -> None:
        self._listener = match.listener
        self._dialect = glob_regex(match.dialect) if match.dialect is not None else None
        host: str | None = None
        self._port: int | None = None
        if match.host is not None:
            host, self._port = split_host(match.host)
        self._host = glob_regex(host) if host is not None else None
        self._path = glob_regex(match.path) if match.path is not None else None
        self._model = glob_regex(match.model) if match.model is not None else None
        self._credential = glob_regex(match.credential) if match.credential is not None else None
        self._client = ip_network(match.client, strict=False) if match.client is not None else None
        self._tool = glob_regex(match.tool) if match.tool is not None else None
        self._headers = tuple((name, Matcher(regex)) for name, regex in match.header.items())
        self._system = Matcher(match.system) if match.system is not None else None
        self._message = Matcher(match.message) if match.message is not None else None

    def check(self, facts: CallFacts, model: str, texts: Texts) -> Mapping[str, str] | None:
        """The named groups of the regexes if all conditions hold, else None. ``model`` is without a role suffix. What
        is cheap is asked first."""
        if not self._holds_for_head(facts, model):
            return None
        groups: dict[str, str] = {}
        for name, regex in self._headers:
            found = regex.search(visible(facts.headers[name])) if name in facts.headers else None
            if found is None:
                return None
            groups |= found
        if self._system is not None:
            found = self._system.search(texts.system)
            if found is None:
                return None
            groups |= found
        if self._message is not None:
            found = next((hit for text in texts.messages if (hit := self._message.search(text)) is not None), None)
            if found is None:
                return None
            groups |= found
        return groups

    def _holds_for_head(self, facts: CallFacts, model: str) -> bool:
        if self._listener not in (None, facts.listener) or self._port not in (None, facts.port):
            return False
        for glob, value in (
            (self._dialect, facts.dialect),
            (self._host, normal_host(facts.host)),
            (self._path, facts.path),
            (self._model, model),
            (self._credential, facts.credential),
        ):
            if glob is not None and (value is None or glob.fullmatch(value) is None):
                return False
        if self._client is not None:
            address = address_of(facts.client_host)
            if address is None or address not in self._client:
                return False
        tool = self._tool
        return tool is None or any(tool.fullmatch(offered.name) for offered in facts.request.tools)


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """An address of a socket: an IPv4 one that came by IPv6 is itself again. None for what is no address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
