"""What ``motive doctor`` looks at: each check tells what it found, and what to do about it.

Owns the checks of this machine, its files and its shell, and of a proxy that runs. Knows neither the terminal nor how a
proxy is started.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from motive_core.certificates import BUNDLE, CERTIFICATE, read_certificates, system_roots, validity
from motive_core.cli.environment import CA_VARIABLES, PROXY_VARIABLES, passed_by
from motive_core.cli.errors import CommandError
from motive_core.cli.layout import NODE_PRELOAD, command
from motive_core.cli.proxies import (
    Address,
    address_of,
    ask_health,
    ask_health_at,
    check_interception,
    opened_host,
)
from motive_core.config import Config
from motive_core.routing import HostTable

type Mark = Literal["good", "note", "bad"]

PYTHONS: Final = ((3, 12), (3, 15))
MITMPROXYS: Final = ((12, 2, 3), (13,))
"""From, and below: as ``pyproject.toml`` has it."""

BASE_URLS: Final = (
    "OPENAI_BASE_URL",
    "AZURE_OPENAI_ENDPOINT",
    "ANTHROPIC_BASE_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "CO_API_URL",
    "OLLAMA_HOST",
    "GROQ_BASE_URL",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
)
_NODE_TIMEOUT_S: Final = 20.0
_SOON_S: Final = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` says what to do; what is ``good`` needs none."""

    mark: Mark
    what: str
    advice: str | None = None


def check_versions() -> Iterator[Finding]:
    """Python and mitmproxy."""
    python, shown = sys.version_info[:2], ".".join(map(str, sys.version_info[:3]))
    if PYTHONS[0] <= python < PYTHONS[1]:
        yield Finding("good", f"Python {shown}")
    else:
        yield Finding("bad", f"Python {shown}", "Motive needs 3.12, 3.13 or 3.14; ./run.sh finds one")
    try:
        found = version("mitmproxy")
    except PackageNotFoundError:
        yield Finding("bad", "mitmproxy is not installed", "install it anew: ./run.sh setup, or pip")
        return
    numbers = tuple(int(part) for part in found.split(".") if part.isdecimal())
    if MITMPROXYS[0] <= numbers < MITMPROXYS[1]:
        yield Finding("good", f"mitmproxy {found}")
    else:
        yield Finding("bad", f"mitmproxy {found}", "install 12.2.3 or a later 12: ./run.sh setup, or pip")


def check_certificates(confdir: Path, now: float) -> Iterator[Finding]:
    """mitmproxy's certificate, and the bundle of it and the system's roots. ``now`` is in Unix seconds."""
    certificate, bundle = confdir / CERTIFICATE, confdir / BUNDLE
    try:
        since, until = validity(certificate)
    except OSError as error:
        why = "is not there" if not certificate.exists() else f"cannot be read: {error}"
        yield Finding("bad", f"{certificate} {why}", f"{command('run')} makes it; or name its folder by --confdir")
        return
    if now < since:
        yield Finding("bad", f"the clock says {_day(now)}, before {certificate} was made", "set this machine's clock")
    elif now > until:
        yield Finding(
            "bad",
            f"{certificate} has expired on {_day(until)} (the clock says {_day(now)})",
            f"if the clock is right, delete {confdir / 'mitmproxy-*'} and start {command('run')}, which makes another",
        )
    elif until - now < _SOON_S:
        yield Finding("note", f"{certificate} expires on {_day(until)}", f"delete it then, and start {command('run')}")
    else:
        yield Finding("good", f"{certificate} is valid until {_day(until)}")
    yield from _check_bundle(certificate, bundle)


def _check_bundle(certificate: Path, bundle: Path) -> Iterator[Finding]:
    again = f"{command('run')} writes it at its start"
    try:
        held = read_certificates(bundle)
        own = read_certificates(certificate)
        roots = read_certificates(system_roots(bundle))
    except OSError as error:
        yield Finding("bad", f"{bundle} cannot be read: {error}", again)
        return
    if not own <= held:
        yield Finding("bad", f"{bundle} does not hold the proxy's own certificate: it is of another one", again)
    elif not roots <= held:
        what = f"{bundle} lacks {len(roots - held)} of the system's {len(roots)} roots"
        yield Finding("note", what, again)
    else:
        yield Finding("good", f"{bundle} holds it and the system's {len(roots)} roots")


def check_proxy(address: Address, config: Config, confdir: Path) -> Iterator[Finding]:
    """A proxy that runs: what it says of itself, and a real call to an LLM host through it."""
    told = ask_health(address)
    where = f"the forward proxy at {address.shown}"
    yield from _check_health(where, told)
    host = opened_host(config.hosts)
    if host is None:
        yield Finding("note", "no host of the table is a full name, so none was called")
        return
    try:
        check_interception(address, host, confdir / CERTIFICATE)
    except CommandError as error:
        yield Finding("bad", str(error), "see `hosts` in config.yaml, and --confdir; then restart the proxy")
    else:
        yield Finding("good", f"a call to https://{host} was opened by the proxy and answered by Motive")


def check_meeting(url: str) -> Iterator[Finding]:
    """The meeting point at this URL."""
    try:
        told = ask_health_at(url)
    except CommandError as error:
        yield Finding("bad", str(error), "look at the proxy's log; a firewall may be in the way")
    else:
        yield from _check_health(f"the meeting point at {url}/v1", told)


def _check_health(where: str, told: Mapping[str, Any]) -> Iterator[Finding]:
    status = told["status"]
    if status == "ok":
        yield Finding("good", f"{where} is well")
        return
    reasons = [f"{one.get('what')}: {one.get('why')}" for one in told.get("reasons", ()) if isinstance(one, dict)]
    yield Finding("note", f"{where} is {status}", "; ".join(reasons) or "its log says why")


def check_shell(env: Mapping[str, str], address: Address, config: Config, *, is_up: bool) -> Iterator[Finding]:
    """What the variables of this shell do to apps that are started from it. ``address`` is that of the proxy."""
    named = {name: env[name] for name in PROXY_VARIABLES if env.get(name)}
    ours = {name for name, value in named.items() if _is_at(value, address)}
    for name in sorted(named.keys() - ours):
        yield Finding(
            "note",
            f"{name} of this shell points to {_shown(named[name])}, not to Motive",
            f"`{command('exec')}` starts an app without it, and the proxy itself does not go by it",
        )
    if not named:
        how = f"`{command('exec -- APP')}`, or {_set_up()}"
        yield Finding("good", f"this shell sends nothing by a proxy: use {how}")
    if ours and not is_up:
        yield Finding(
            "bad",
            f"{', '.join(sorted(ours))} of this shell point to {address.shown}, where no proxy runs",
            f"start {command('run')}, or {_set_up(' --unset')}",
        )
    elif ours:
        yield Finding("good", f"apps of this shell go by {address.shown}")
    yield from _check_no_proxy(env, config)
    yield from _check_base_urls(env, address, config)


def check_trust(env: Mapping[str, str], address: Address, confdir: Path) -> Iterator[Finding]:
    """The CA variables of this shell: whether they name files that are there, and the proxy's certificate if its apps
    go by the proxy."""
    ours = any(_is_at(env.get(name, ""), address) for name in PROXY_VARIABLES)
    with suppress(OSError):  # has been told
        own = read_certificates(confdir / CERTIFICATE)
        for name, who in CA_VARIABLES.items():
            given = env.get(name)
            if given is None:
                if ours:
                    yield Finding("note", f"{name} is not set ({who})", _set_up())
                continue
            try:
                held = read_certificates(Path(given))
            except OSError as error:
                if not Path(given).is_dir():
                    yield Finding("bad", f"{name}={given} cannot be read: {error}", f"unset {name}, or name another")
                continue
            if ours and not own <= held:
                yield Finding("bad", f"{name}={given} lacks the proxy's certificate ({who})", _set_up())


def _check_no_proxy(env: Mapping[str, str], config: Config) -> Iterator[Finding]:
    passed = passed_by((*config.hosts, *config.extra_hosts), env)
    if passed:
        yield Finding(
            "note",
            f"NO_PROXY of this shell keeps calls to {', '.join(passed)} from the proxy",
            "if apps that call these are to be taken over, take them out of NO_PROXY and no_proxy",
        )


def _check_base_urls(env: Mapping[str, str], address: Address, config: Config) -> Iterator[Finding]:
    hosts = HostTable(config)
    for name in BASE_URLS:
        if not (given := env.get(name, "").strip()):
            continue
        try:
            parsed = urlsplit(given if "://" in given else f"http://{given}")
            host, port = parsed.hostname or "", parsed.port or (443 if parsed.scheme == "https" else 80)
        except ValueError:
            yield Finding("bad", f"{name} is no URL", f"correct it, or unset {name}")
            continue
        meets = address.is_local and host in ("localhost", "127.0.0.1", "::1") and port == config.proxy.port
        if not meets and not hosts.matches(host, port):
            yield Finding(
                "note",
                f"{name} points to {host}:{port}, which is neither the meeting point nor in the table of hosts",
                f"calls there pass untouched; to take them over, add {host} to extra_hosts in config.yaml",
            )


def check_node(env: Mapping[str, str], address: Address) -> Iterator[Finding]:
    """Whether the Node of this shell goes by a proxy."""
    node = shutil.which("node", path=env.get("PATH", ""))
    if node is None:
        return
    plain = {name: value for name, value in env.items() if name != "NODE_OPTIONS"}
    try:
        told = subprocess.run(
            [node, "--version"], env=plain, capture_output=True, text=True, timeout=_NODE_TIMEOUT_S, check=True
        ).stdout.strip()
        numbers = tuple(int(part) for part in told.removeprefix("v").split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        yield Finding("note", f"{node} does not tell its version: {error}")
        return
    if knows_proxies(numbers):
        yield Finding("good", f"Node {told} knows the proxy variables")
        return
    ours = any(_is_at(env.get(name, ""), address) for name in PROXY_VARIABLES)
    if ours and NODE_PRELOAD.name not in env.get("NODE_OPTIONS", ""):
        yield Finding("bad", f"fetch() of Node {told} goes by no proxy variable", _set_up())
    else:
        adds = f"`{command('exec')}` and `{command('env')}` add what is needed"
        yield Finding("good", f"Node {told} knows no proxy variable; {adds}")


def knows_proxies(numbers: tuple[int, ...]) -> bool:
    """Whether Node of this version goes by the proxy variables, if ``NODE_USE_ENV_PROXY`` is set."""
    return (22, 21) <= numbers < (23,) or numbers >= (24, 5)


def _is_at(url: str, address: Address) -> bool:
    try:
        other = address_of(url) if url else None
    except CommandError:
        return False
    if other is None or other.port != address.port:
        return False
    return other.host == address.host or (other.is_local and address.is_local)


def _set_up(more: str = "") -> str:
    return f'eval "$({command(f"env{more}")})"'


def _shown(url: str) -> str:
    return f"...@{url.rpartition('@')[2]}" if "@" in url else url


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
