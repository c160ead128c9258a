"""The certificates that an app behind the forward proxy must trust: the proxy's own, and everybody else's.

Owns one file, a bundle of both, and what is read out of such files. Most clients take a CA file in the place of their
own roots (OpenSSL's ``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``, ``AWS_CA_BUNDLE``): with the proxy's certificate alone
they could reach no host whose TLS is not opened here. Knows nothing of mitmproxy but the name of its file.
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import certifi

from motive_core.log_lines import LogLine

logger = logging.getLogger(__name__)

CERTIFICATE: Final = "mitmproxy-ca-cert.pem"
BUNDLE: Final = "motive-ca-bundle.pem"

_SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, FreeBSD
)
"""Where systems have all their roots in one file. OpenSSL itself may know a folder of them only."""


def write_bundle(confdir: Path) -> Path:
    """Write the bundle beside mitmproxy's certificate; gives its path. If it can't be written, the log says so, and the
    certificate alone is given."""
    certificate = confdir / CERTIFICATE
    bundle = confdir / BUNDLE
    try:
        write_together(bundle, (system_roots(bundle), certificate))
    except OSError as error:
        logger.warning(LogLine("the bundle of certificates was not written", path=str(bundle), error=str(error)))
        return certificate
    return bundle


def bundle_of(confdir: Path) -> Path:
    """The bundle that is there, if it holds mitmproxy's certificate; else it is written. What else is in it is the
    proxy's to say, which wrote it: other apps read it, too."""
    bundle = confdir / BUNDLE
    try:
        if read_certificates(confdir / CERTIFICATE) <= read_certificates(bundle):
            return bundle
    except OSError:
        pass
    return write_bundle(confdir)


def write_together(target: Path, parts: Iterable[Path]) -> None:
    """Make ``target`` a file of all these PEM files, in their order; one that is right is left alone. Raises
    ``OSError``."""
    pem = b"\n".join(part.read_bytes().rstrip() for part in parts) + b"\n"
    if not (target.exists() and target.read_bytes() == pem):
        _replace(target, pem)


def system_roots(bundle: Path) -> Path:
    """The system's roots, which may hold a company's own; those of Mozilla where there are none.

    ``SSL_CERT_FILE`` comes first, unless it names the ``bundle`` that is to be made, or one that was made of it:
    whoever starts the proxy in a shell that is set up for apps has it so, and the bundle would grow at each start.
    """
    paths = ssl.get_default_verify_paths()
    for known in (paths.cafile, paths.openssl_cafile, *_SYSTEM_BUNDLES):
        if known and Path(known).is_file() and not _is_made_of(Path(known).resolve(), bundle.resolve()):
            return Path(known)
    return Path(certifi.where())


def _is_made_of(path: Path, bundle: Path) -> bool:
    return path.parent == bundle.parent and path.name.startswith(bundle.stem)


def read_certificates(path: Path) -> frozenset[bytes]:
    """Every certificate of authorities in a PEM file, as DER. Raises ``OSError`` for a file that cannot be read or has
    none."""
    return frozenset(_loaded(path).get_ca_certs(binary_form=True))


def validity(path: Path) -> tuple[float, float]:
    """From when and until when the certificate in a PEM file is valid, in Unix seconds. Raises ``OSError``."""
    told = _loaded(path).get_ca_certs()[0]
    return ssl.cert_time_to_seconds(str(told["notBefore"])), ssl.cert_time_to_seconds(str(told["notAfter"]))


def _loaded(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)  # an ``SSLError`` is an ``OSError``
    if not context.get_ca_certs():
        raise OSError(f"{path} holds no certificate of an authority")
    return context


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
