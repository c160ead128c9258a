"""What a person sees when the proxy is up: where it listens, where the certificate is, what to paste.

Owns the text. The addresses are those that are bound, not those that were asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mitmproxy.proxy.mode_specs import ReverseMode

from motive_core.cli.layout import command

_TRUST: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Where Python, Go and Rust programs, requests, curl, the AWS SDKs and Node look for certificates."""
_BASE_URLS: Final = (
    "ANTHROPIC_BASE_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "CO_API_URL",
    "OLLAMA_HOST",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
)
"""Where the vendors' SDKs look for another address of their service, without a path."""


def announce(servers: Iterable[Any], certificate: Path, bundle: Path, token: str | None, once: str = "") -> str:
    """The lines to show. ``servers`` are mitmproxy's running server instances; ``bundle`` holds the proxy's
    ``certificate`` and all others that an app trusts. ``token`` is the admin token, if it may be shown; ``once`` logs
    in to the console, once."""
    meeting: list[str] = []
    forward: list[str] = []
    for server in servers:
        target = meeting if isinstance(server.mode, ReverseMode) else forward
        target += [_authority(address) for address in server.listen_addrs]
    lines = ["Motive is up."]
    for address in meeting:
        link = f"http://{address}/admin/sessions{f'?token={token}' if token is not None else ''}"
        lines += [
            f"  console        http://{address}/console{f'/login?once={once}' if once else ''}",
            f"  meeting point  http://{address}/v1",
            f"  its sessions   {link}",
        ]
    for address in forward:
        lines.append(f"  forward proxy  http://{address}")
    lines.append(f"  admin token    {token if token is not None else 'the one that the configuration names'}")
    lines.append(f"  certificate    {certificate}")
    if meeting:
        lines += [
            "",
            "  An app that takes a base URL (its model name is the session's id):",
            f"    export OPENAI_BASE_URL=http://{meeting[0]}/v1",
            *[f"    export {name}=http://{meeting[0]}" for name in _BASE_URLS],
        ]
    if forward:
        lines += [
            "",
            f"  An app as it is, by `{command('exec -- APP')}`, or by hand:",
            f"    export HTTPS_PROXY=http://{forward[0]}",
        ]
        lines += [f"    export {name}={bundle}" for name in _TRUST]
    return "\n".join(lines)


def addresses(servers: Iterable[Any]) -> list[str]:
    """Where the listeners are, as URLs without a path."""
    return [f"http://{_authority(address)}" for server in servers for address in server.listen_addrs]


def silent(servers: Iterable[Any]) -> str | None:
    """What is wrong with the listeners: those that do not listen. None if all do."""
    down = [
        f"{server.mode.full_spec}: {server.last_exception or 'stopped'}" for server in servers if not server.is_running
    ]
    return f"not listening: {'; '.join(down)}" if down else None


def _authority(address: tuple[Any, ...]) -> str:
    """An address as it stands in a URL; one that means every interface is shown as this machine."""
    host, port = str(address[0]), address[1]
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
