"""The small languages of a configuration: regexes, globs, host patterns and templates.

Owns what each of them means and what is refused at load. Knows no setting. Everything raises ``ValueError`` with a
reason that a person can act on; whoever reads the configuration says where.

Whether a regex matches is decided by Rust's engine (pydantic's default for patterns), in linear time whatever the text.
Python's backtracking one only reads named groups, out of a text that is known to match; for its sake regexes with such
groups must not repeat a choice without limit, which is what takes exponential time.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from pydantic_core import SchemaError, SchemaValidator, core_schema

MATCHED_CHARACTERS: Final = 100_000
"""How much of one text a regex sees: its first characters. What stands behind them cannot match."""

CAPTURED_CHARACTERS: Final = 10_000
"""The same for a regex with named groups. Few of those that are left take more than the square of this in steps."""

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]\w*)\}")
_REPEAT: Final = re.compile(r"(?:\*|\+|\?|\{(?P<least>\d+)(?P<comma>,)?(?P<most>\d*)\})\??")
_GROUP_HEAD: Final = re.compile(r"\((?:\?(?:P?<\w+>|[a-zA-Z-]*:|(?P<empty>[a-zA-Z-]+\)|#[^)]*\))))?")
_CLASS: Final = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_FEW: Final = 9
"""How often a choice may be repeated."""

_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")


class Matcher:
    """A regex. ``names`` are its named groups."""

    __slots__ = ("_linear", "_python", "names")

    def __init__(self, pattern: str) -> None:
        """Raises ``ValueError``. Both engines must understand it, so look-around and back-references are refused."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Python warns of what it may read otherwise in the future
                self._python = re.compile(pattern)
            self._linear = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
        except (re.error, Warning, RecursionError, OverflowError) as error:
            raise ValueError(f"not a valid regex: {error}") from None
        except SchemaError as error:
            raise ValueError(f"not a valid regex: {str(error).rpartition('error: ')[2].strip()}") from None
        self.names = tuple(self._python.groupindex)
        if self._python.flags & re.VERBOSE:
            raise ValueError("not a valid regex: the flag x is not supported")
        if self.names and _repeats_a_choice(pattern):
            raise ValueError(
                "not a valid regex: with named groups, what is repeated without limit must not hold a choice (|, ?, *, "
                "+), or a text could make it very slow; write [\\w ]+ in the place of (\\w+ ?)+"
            )

    def search(self, text: str) -> Mapping[str, str] | None:
        """The named groups of the first match, None if there is none. A group that took no part in it is empty.
        ``text`` is as ``visible`` gives it."""
        if self.names:
            text = text[:CAPTURED_CHARACTERS]
        if not self._linear.isinstance_python(text):
            return None
        if not self.names:
            return {}
        match = self._python.search(text)
        return match.groupdict(default="") if match is not None else None


def _repeats_a_choice(pattern: str) -> bool:
    """Whether a group that may repeat more than a few times holds an alternative or a repeat of its own: ``(a+)+``. It
    is known to be a valid regex, without the flag x."""
    has_choice = [False]  # of the whole, and of each group that is open
    position = 0
    while position < len(pattern):
        inner = False
        match pattern[position]:
            case "\\":
                position += 2
            case "[":
                found = _CLASS.match(pattern, position)
                position = found.end() if found is not None else position + 1
            case "(":
                head = _GROUP_HEAD.match(pattern, position)
                assert head is not None
                position = head.end()
                if head["empty"] is None:
                    has_choice.append(False)
                continue
            case ")":
                inner = has_choice.pop()
                position += 1
            case "|":
                has_choice[-1] = True
                position += 1
                continue
            case _:
                position += 1
        repeat = _REPEAT.match(pattern, position)
        if repeat is not None:
            position = repeat.end()
            if inner and _may_repeat_often(repeat):
                return True
        is_fixed = repeat is None or (repeat["least"] is not None and repeat["comma"] is None)
        has_choice[-1] |= inner or not is_fixed
    return False


def _may_repeat_often(repeat: re.Match[str]) -> bool:
    if repeat["least"] is None:
        return not repeat[0].startswith("?")
    most = repeat["most"] or ("" if repeat["comma"] else repeat["least"])
    return not most or int(most) > _FEW


def visible(text: str) -> str:
    """What regexes see of a text. To be called once for all of them: it costs more than they do."""
    return encodable(text[:MATCHED_CHARACTERS])


def encodable(text: str) -> str:
    """The same without lone surrogates, which JSON may carry and UTF-8 may not."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


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
