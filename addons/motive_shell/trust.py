"""The certificates that an app behind the forward proxy must trust: the proxy's own, and everybody else's.

Owns one file, a bundle of both. Most clients take a CA file in the place of their own roots (OpenSSL's
``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``, ``AWS_CA_BUNDLE``): with the proxy's certificate alone they could reach no
host whose TLS is not opened here.
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from pathlib import Path
from typing import Final

import certifi
from mitmproxy.master import Master

from motive_core.log_lines import LogLine

logger = logging.getLogger(__name__)

CERTIFICATE: Final = "mitmproxy-ca-cert.pem"
BUNDLE: Final = "motive-ca-bundle.pem"


def has_certificates(master: Master) -> bool:
    """Whether mitmproxy can show certificates yet (12.2.3, ``addons/tlsconfig.py``)."""
    tlsconfig = master.addons.get("tlsconfig")
    return tlsconfig is None or getattr(tlsconfig, "certstore", None) is not None


def make_certificates(master: Master) -> None:
    """Let mitmproxy make its certificate authority, or read the one that it has, now."""
    tlsconfig = master.addons.get("tlsconfig")
    if tlsconfig is not None and not has_certificates(master):
        tlsconfig.running()


def write_bundle(confdir: Path) -> Path:
    """Write the bundle beside mitmproxy's certificate; gives its path. If it can't be written, the log says so, and the
    certificate alone is given."""
    certificate = confdir / CERTIFICATE
    bundle = confdir / BUNDLE
    try:
        pem = _roots().rstrip() + b"\n" + certificate.read_bytes()
        if not (bundle.exists() and bundle.read_bytes() == pem):
            _replace(bundle, pem)
    except OSError as error:
        logger.warning(LogLine("the bundle of certificates was not written", path=str(bundle), error=str(error)))
        return certificate
    return bundle


def _roots() -> bytes:
    """The system's roots, which may hold a company's own; those of Mozilla where there are none."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path or certifi.where()).read_bytes()


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: another proxy may be starting, and apps read it at any time."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
