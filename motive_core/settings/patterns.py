"""The small languages of a configuration: regexes, globs, host patterns and templates.

Owns what each of them means and what is refused at load. Knows no setting. Everything raises ``ValueError`` with a
reason that a person can act on; whoever reads the configuration says where.

Whether a regex matches is decided by Rust's engine, in linear time whatever the text. Its named groups are read by an
engine of our own, in linear time too. Both mean what Python's does.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from motive_core.linear import LinearRegex, encodable, tokens
from motive_core.settings.captures import Captures

MATCHED_CHARACTERS: Final = 100_000
"""How much of one text a regex sees: its first characters. What stands behind them cannot match."""

CAPTURED_CHARACTERS: Final = 10_000
"""The same for a regex with named groups: some 100 ms for what people write, a second at worst."""

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]\w*)\}")
_FEW: Final = 9
"""How often a choice may be repeated."""

_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")


class Matcher:
    """A regex. ``names`` are its named groups."""

    __slots__ = ("_captures", "_linear", "names")

    def __init__(self, pattern: str) -> None:
        """Raises ``ValueError``. Rust's engine and Python's must understand it, so look-around and back-references are
        refused."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Python warns of what it may read otherwise in the future
                python = re.compile(pattern)
        except (re.error, Warning, RecursionError, OverflowError) as error:
            raise ValueError(f"not a valid regex: {error}") from None
        self._linear = LinearRegex(pattern)
        self.names = tuple(python.groupindex)
        if python.flags & re.VERBOSE:
            raise ValueError("not a valid regex: the flag x is not supported")
        if self.names and _repeats_a_choice(pattern):
            raise ValueError(
                "not a valid regex: with named groups, what is repeated without limit must not hold a choice (|, ?, *, "
                "+), or a text could make it very slow; write [\\w ]+ in the place of (\\w+ ?)+"
            )
        self._captures = Captures(python) if self.names else None

    def search(self, text: str) -> Mapping[str, str] | None:
        """The named groups of the first match, None if there is none. A group that took no part in it is empty.
        ``text`` is as ``visible`` gives it."""
        if self._captures is not None:
            text = text[:CAPTURED_CHARACTERS]
        if not self._linear.matches(text):
            return None
        return self._captures.search(text) if self._captures is not None else {}


def _repeats_a_choice(pattern: str) -> bool:
    """Whether a group that may repeat more than a few times holds an alternative or a repeat of its own: ``(a+)+``. It
    is known to be a valid regex, without the flag x."""
    has_choice = [False]  # of the whole, and of each group that is open
    inner = False  # of the group that has just ended
    for token in tokens(pattern):
        match token.kind:
            case "open":
                has_choice.append(False)
            case "close":
                inner = has_choice.pop()
                has_choice[-1] |= inner
                continue
            case "or":
                has_choice[-1] = True
            case "repeat":
                if inner and (token.most is None or token.most > _FEW):
                    return True
                has_choice[-1] |= token.least != token.most
        inner = False
    return False


def visible(text: str) -> str:
    """What regexes see of a text. To be called once for all of them: it costs more than they do."""
    return encodable(text[:MATCHED_CHARACTERS])


def check_regex(pattern: str) -> str:
    """The regex as it is. Raises ``ValueError`` if it is none."""
    Matcher(pattern)
    return pattern


def glob_regex(glob: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """A glob as a regex for ``fullmatch``: ``*`` is any text, ``?`` any character, everything else itself."""
    return re.compile(fnmatch.translate(glob.replace("[", "[[]")), re.IGNORECASE if ignore_case else 0)


def normal_host(host: str) -> str:
    """A host name or address as it is compared: lower-case, no brackets, no trailing dot."""
    return host.strip("[]").rstrip(".").lower()


def split_host(pattern: str) -> tuple[str, int | None]:
    """A host pattern as a glob and a port, None for any. IPv6 addresses may stand in brackets, and must if there is a
    port. Raises ``ValueError``."""
    if "/" in pattern or "@" in pattern or pattern != pattern.strip():
        raise ValueError("a host name or glob is wanted, such as api.example.com or *.example.com:8443, and no URL")
    if pattern.count(":") > 1 and not pattern.startswith("["):
        return normal_host(pattern), None
    found = _HOST_AND_PORT.fullmatch(pattern)
    host = normal_host(found["host"]) if found is not None else ""
    if found is None or not host:
        raise ValueError("a host name or glob is wanted, with or without a port")
    if found["port"] is None:
        return host, None
    if not 0 < int(found["port"]) < 65536:
        raise ValueError("the port must be between 1 and 65535")
    return host, int(found["port"])


def check_host(pattern: str) -> str:
    """The host pattern as it is. Raises ``ValueError`` if it is none."""
    split_host(pattern)
    return pattern


def check_network(network: str) -> str:
    """The address or CIDR block as it is. Raises ``ValueError`` if it is none."""
    try:
        ip_network(network, strict=False)
    except ValueError:
        raise ValueError("an IP address or a CIDR block is wanted, such as 192.0.2.7 or 192.0.2.0/24") from None
    return network


def check_service(url: str) -> str:
    """The base URL of a service, without a trailing slash. Raises ``ValueError`` if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("a base URL is wanted, such as https://api.example.com")
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ValueError("a base URL has no query, no fragment and no credentials")
    return url.rstrip("/")


def check_origin(origin: str) -> str:
    """An origin as a browser sends it (RFC 6454, section 6.2), or ``*``. Raises ``ValueError`` if it is none."""
    if origin in ("*", "null"):
        return origin
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
        raise ValueError("an origin is wanted, such as https://example.com (no path, no trailing slash), or *")
    return origin


def placeholders(template: str) -> list[str]:
    """The names that a template has in braces. Braces around anything else stand for themselves."""
    return _PLACEHOLDER.findall(template)


def check_template(template: str, known: Collection[str]) -> str:
    """The template as it is. Raises ``ValueError`` if it names something that is not known."""
    for name in placeholders(template):
        if name not in known:
            raise ValueError(f"unknown placeholder {{{name}}}; known here: {', '.join(sorted(known))}")
    return template


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with its placeholders replaced. What is put in is not looked at again."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)
