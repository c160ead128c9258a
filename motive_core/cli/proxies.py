"""A running proxy as a command meets it: whether it is one of Motive's, how it is, and whether it opens TLS.

Owns the questions, asked over HTTP as an app would ask them. Knows no process.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from motive_core.cli.errors import CommandError

ASK_TIMEOUT_S: Final = 10.0
_LONGEST_REPLY_BYTES: Final = 1024 * 1024
_UPGRADE: Final = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "bW90aXZlIGRvY3Rvcg==",
}
"""A call that Motive answers itself, with 426, whatever the routes say: no service hears of it."""
_UPGRADE_PATH: Final = "/v1/responses"
_UPGRADE_STATUS: Final = 426


class AbsentError(CommandError):
    """Nobody listens there."""


class StrangerError(CommandError):
    """Somebody listens there, and it is not Motive."""


class PasswordError(CommandError):
    """The proxy asks for a password."""


class InterceptionError(CommandError):
    """A call through the proxy was not opened by it as an app needs it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a proxy is. ``credentials`` are name and password, if it asks for them."""

    host: str
    port: int
    credentials: str | None = None

    @property
    def url(self) -> str:
        """As it stands in ``HTTPS_PROXY``, with its credentials."""
        return self._url(f"{self.credentials}@" if self.credentials else "")

    @property
    def shown(self) -> str:
        """The same for people: without credentials."""
        return self._url("")

    def _url(self, before: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{before}{host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What shows the credentials."""
        if self.credentials is None:
            return {}
        name, _, password = self.credentials.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}".encode()
        return {"proxy-authorization": f"Basic {base64.b64encode(pair).decode()}"}

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return all(str(address[0]).startswith("127.") or address[0] == "::1" for *_, address in found)


def address_of(url: str) -> Address:
    """Read a proxy's URL; the scheme may be left out. Raises ``CommandError``."""
    given = url if "://" in url else f"http://{url}"
    try:
        parsed = urlsplit(given)
        port = parsed.port or 80
    except ValueError:
        parsed, port = urlsplit("http://"), 0
    if parsed.scheme != "http" or not parsed.hostname or parsed.path not in ("", "/"):
        raise CommandError(f"{_without_credentials(url)!r} is not the URL of a proxy, such as http://127.0.0.1:8080")
    credentials = parsed.netloc.rpartition("@")[0] or None
    return Address(parsed.hostname, port, credentials)


def ask_health(address: Address) -> Mapping[str, Any]:
    """What the proxy says of itself, by the way of apps (``http://motive.internal/health``).

    Raises ``AbsentError``, ``StrangerError`` or ``PasswordError``.
    """
    with closing(HTTPConnection(address.host, address.port, timeout=ASK_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", "http://motive.internal/health", headers=address.headers)
            response = connection.getresponse()
            body = response.read(_LONGEST_REPLY_BYTES)
        except ConnectionRefusedError as error:
            raise AbsentError(f"no proxy listens at {address.shown}") from error
        except TimeoutError as error:
            raise StrangerError(f"what listens at {address.shown} does not answer") from error
        except (HTTPException, OSError) as error:
            raise _unreachable(address, error) from error
    if response.status == 407:
        raise PasswordError(
            f"the proxy at {address.shown} asks for a password: give --proxy http://NAME:PASSWORD@{address.shown[7:]}"
        )
    return _told(body, f"what listens at {address.shown} is not Motive's forward proxy")


def ask_health_at(url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """The same at a meeting point, whose URL has no path. Raises ``AbsentError`` or ``StrangerError``."""
    return _told(*_ask(url, "/health", headers or {}))


def is_operator_at(url: str, token: str) -> bool:
    """Whether the meeting point at this URL is one that knows this admin token. Raises ``CommandError``."""
    parsed = urlsplit(url)
    with closing(HTTPConnection(parsed.hostname or "", parsed.port, timeout=ASK_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", "/admin/sessions", headers={"x-admin-token": token})
            return connection.getresponse().status == 200
        except (HTTPException, OSError) as error:
            raise AbsentError(f"nobody answers at {url}") from error


def check_interception(address: Address, host: str, certificate: Path) -> None:
    """Make a call to an LLM host through the proxy, as an app would: the TLS must be the proxy's, by the authority in
    the file ``certificate``, and the answer Motive's. Raises ``InterceptionError``."""
    try:
        trusted = ssl.create_default_context(cafile=certificate)
    except OSError as error:
        raise InterceptionError(f"the certificate {certificate} cannot be read: {error}") from error
    connection = HTTPSConnection(address.host, address.port, timeout=ASK_TIMEOUT_S, context=trusted)
    connection.set_tunnel(host, 443, address.headers)
    with closing(connection):
        try:
            connection.request("GET", _UPGRADE_PATH, headers=_UPGRADE)
            status = connection.getresponse().status
        except ssl.SSLCertVerificationError as error:
            raise InterceptionError(
                f"the certificate for {host} that came through {address.shown} is not by {certificate} "
                f"({error.verify_message}): the proxy has another folder of certificates (--confdir), or does not open "
                f"{host}"
            ) from error
        except (HTTPException, OSError) as error:
            raise InterceptionError(
                f"a call to {host} through {address.shown} failed: {error} (what is wanted there is the forward proxy, "
                "not the meeting point)"
            ) from error
    if status != _UPGRADE_STATUS:
        raise InterceptionError(f"a call to {host} through {address.shown} was answered with {status}, not by Motive")


def opened_host(hosts: Iterable[str]) -> str | None:
    """A host of the table by its full name, on the usual port."""
    return next((host for host in hosts if not any(character in host for character in "*?:")), None)


def meeting_of(told: Mapping[str, Any], port: int) -> str | None:
    """Where the meeting point is, if the proxy tells: the listener with this port, else the one that is not the
    forward proxy."""
    listeners = told.get("listeners")
    urls = [one for one in listeners if isinstance(one, str)] if isinstance(listeners, list) else []
    return next((url for url in urls if not url.endswith(f":{port}")), None)


def _ask(url: str, path: str, headers: Mapping[str, str]) -> tuple[bytes, str]:
    parsed = urlsplit(url)
    with closing(HTTPConnection(parsed.hostname or "", parsed.port, timeout=ASK_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path, headers=dict(headers))
            body = connection.getresponse().read(_LONGEST_REPLY_BYTES)
        except ConnectionRefusedError as error:
            raise AbsentError(f"nobody listens at {url}") from error
        except (HTTPException, OSError) as error:
            raise StrangerError(f"what listens at {url} does not speak HTTP ({error})") from error
    return body, f"what listens at {url} is not Motive's meeting point"


def _told(body: bytes, otherwise: str) -> Mapping[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("status") not in ("ok", "degraded", "closing"):
        raise StrangerError(otherwise)
    return told


def _unreachable(address: Address, error: Exception) -> CommandError:
    if isinstance(error, socket.gaierror):
        return AbsentError(f"the host of the proxy {address.shown} cannot be found")
    return StrangerError(f"what listens at {address.shown} is not a proxy ({error})")


def _without_credentials(url: str) -> str:
    before, _, after = url.rpartition("@")
    return f"...@{after}" if before else url
