"""A mitmproxy script for the tests: the names of the real services lead to the stand-in.

Owns name resolution in the proxy under test, and nothing else: addresses, certificates, SNI and the reuse of
connections are those of the real names. An address in digits is left as it is.
"""

import os
import socket
from typing import Any

_TLS_PORT = int(os.environ["STANDIN_TLS_PORT"])
_PLAIN_PORT = int(os.environ["STANDIN_PLAIN_PORT"])
_resolve = socket.getaddrinfo


def _is_name(host: object) -> bool:
    """Whether this is a name that has to be resolved; ``127.1`` and ``::1`` are not."""
    return isinstance(host, str) and host != "localhost" and ":" not in host and any(map(str.isalpha, host))


def _getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    if not _is_name(host):
        return _resolve(host, port, *args, **kwargs)
    target = _TLS_PORT if int(port) == 443 else _PLAIN_PORT
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", target))]


socket.getaddrinfo = _getaddrinfo
