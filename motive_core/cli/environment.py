"""The environment of an app that is to go by the forward proxy: the proxy, and every CA variable that a stack looks at.

Owns the names, and how they are taken back. No I/O but that of a bundle which holds roots of the user's own. What each
stack looks at was found by running it, or is cited; what goes to hosts that are tunnelled (git, pip, cargo) needs no
variable, since it sees the real certificates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from motive_core.certificates import read_certificates, write_together
from motive_core.cli.layout import NODE_PRELOAD

PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
"""Both spellings: curl takes ``http_proxy`` in lower case only, others the upper case only. What a user has in
``ALL_PROXY`` is for other schemes: these come first wherever both are known."""

CA_VARIABLES: Final[Mapping[str, str]] = {
    "SSL_CERT_FILE": "OpenSSL, and so Python's ssl, httpx, Ruby; Go (not on macOS), Rust's native roots, Bun",
    "NIX_SSL_CERT_FILE": "OpenSSL of Nix, which looks there first",
    "REQUESTS_CA_BUNDLE": "requests, botocore",
    "CURL_CA_BUNDLE": "curl, requests",
    "AWS_CA_BUNDLE": "the AWS SDKs and their CLI",
    "NODE_EXTRA_CA_CERTS": "Node, Bun",
    "DENO_CERT": "Deno",
    "CODEX_CA_CERTIFICATE": "Codex",
    "HTTPLIB2_CA_CERTS": "httplib2, as Google's API client has it",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "gRPC, as Google's clients for Vertex AI have it",
}
"""Each names a file that takes the place of a stack's own roots (of Node's: is added to them)."""

BEFORE: Final = "MOTIVE_ENV_BEFORE"
"""What the variables were before, as JSON (null for one that was not set), so that they can be given back."""

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_NO_PROXY: Final = ("NO_PROXY", "no_proxy")


def environment(proxy: str, bundle: Path, env: Mapping[str, str], *, is_local: bool = True) -> dict[str, str]:
    """What is to be set over ``env``, which is one without an earlier setting (``restored``).

    ``NO_PROXY`` stays what it is. Without one, calls to this machine go by the proxy, too: so an app that asks Ollama
    at ``127.0.0.1:11434`` can be taken over. For a proxy on another machine (not ``is_local``) they would be calls to
    that one, so they are kept from it.
    """
    made = dict.fromkeys(PROXY_VARIABLES, proxy) | dict.fromkeys(CA_VARIABLES, str(bundle))
    # fetch() of Node goes by the proxy variables with this one from 22.21 and 24.5 on; see node_proxy.cjs for the rest.
    made["NODE_USE_ENV_PROXY"] = "1"
    made["NODE_OPTIONS"] = " ".join(filter(None, (env.get("NODE_OPTIONS", "").strip(), _preload(NODE_PRELOAD))))
    made["AIOHTTP_TRUST_ENV"] = "True"  # LiteLLM's: without it, its aiohttp looks at no proxy variable
    if not is_local:
        for name in _NO_PROXY:
            listed = [one.strip() for one in env.get(name, "").split(",") if one.strip()]
            made[name] = ",".join([*listed, *(one for one in _LOCAL if one not in listed)])
    before = {name: env.get(name) for name in made}
    return made | {BEFORE: json.dumps(before, sort_keys=True)}


def restored(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what was set here."""
    before = undo(env)
    kept = {name: value for name, value in env.items() if name not in before}
    return kept | {name: value for name, value in before.items() if value is not None}


def undo(env: Mapping[str, str]) -> dict[str, str | None]:
    """What gives a shell back what it had: None for a variable that is to be unset. Empty if nothing was set here."""
    try:
        told = json.loads(env[BEFORE])
        before = {str(name): None if value is None else str(value) for name, value in told.items()}
    except (KeyError, ValueError, AttributeError):
        return {}
    return before | {BEFORE: None}


def bundle_for(bundle: Path, env: Mapping[str, str]) -> Path:
    """The bundle, or one beside it that holds what ``env`` has the app trust by now, too: a company's own roots, say.
    Raises ``OSError``."""
    known = read_certificates(bundle)
    more: list[Path] = []
    for name in CA_VARIABLES:
        path = Path(env.get(name) or bundle)
        if path == bundle or path in more or not path.is_file():
            continue
        try:
            found = read_certificates(path)
        except OSError:
            continue  # then the app could not use it either
        if not found <= known:
            more.append(path)
            known |= found
    if not more:
        return bundle
    digest = hashlib.sha256("\0".join(str(path.absolute()) for path in more).encode()).hexdigest()[:12]
    together = bundle.with_name(f"{bundle.stem}-{digest}.pem")
    write_together(together, (*more, bundle))
    return together


def goes_by(host: str, env: Mapping[str, str]) -> bool:
    """Whether calls to a host go by the proxy, as most clients read ``NO_PROXY``: a name stands for its subdomains."""
    for entry in no_proxy(env):
        name = entry.lower().removeprefix("*").removeprefix(".").partition(":")[0]
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return False
    return True


def no_proxy(env: Mapping[str, str]) -> list[str]:
    """The entries of both spellings."""
    listed = ",".join(env.get(name, "") for name in _NO_PROXY)
    return [*dict.fromkeys(entry.strip() for entry in listed.split(",") if entry.strip())]


def passed_by(hosts: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """Those of the hosts (globs are left out) that ``NO_PROXY`` keeps from the proxy."""
    exact = [host.rpartition(":")[0] or host for host in hosts if "*" not in host and "?" not in host]
    return [host for host in exact if not goes_by(host, env)]


def _preload(path: Path) -> str:
    """As Node splits ``NODE_OPTIONS``: by spaces, but for those in double quotes, in which a backslash escapes."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'--require="{escaped}"' if any(character in ' "\\\t' for character in str(path)) else f"--require={path}"
