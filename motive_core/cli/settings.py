"""The configuration as a command finds it, and the two listeners that it names.

Owns the order (flag, then environment, then configuration file), and the options that choose a proxy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from motive_core.cli.launch import LaunchError, Listener, host_argument
from motive_core.cli.layout import dotenv_of, settings_folder
from motive_core.cli.proxies import Address
from motive_core.config import DEFAULT_CONFIG_NAME, Config, load_config
from motive_core.errors import ConfigError

CONFDIR: Final = Path("~/.mitmproxy")
"""mitmproxy's own default."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``path`` is None where there is no file and everything has its default, variables aside."""

    path: Path | None
    config: Config


def settings_of(named: Path | None, env: Mapping[str, str], folder: Path | None = None) -> Settings:
    """Read the configuration. ``folder`` holds the file that is read if none is ``named``, and ``.env``; neither need
    exist. Raises ``LaunchError``."""
    given = folder if folder is not None else settings_folder(env)
    dotenv = given / ".env" if folder is not None else dotenv_of(given)
    path = named
    if path is None and (given / DEFAULT_CONFIG_NAME).exists():
        path = given / DEFAULT_CONFIG_NAME
    try:
        config = load_config(path, env, dotenv)
    except ConfigError as error:
        raise LaunchError(str(error)) from error
    return Settings(path.absolute() if path is not None else None, config)


def listeners_of(
    settings: Settings, host: str | None = None, port: int | None = None, forward_port: int | None = None
) -> tuple[Listener, Listener]:
    """The forward proxy and the meeting point; what is given overrides the configuration. Raises ``LaunchError``."""
    proxy = settings.config.proxy
    if host is None:
        try:
            host = host_argument(proxy.host)
        except argparse.ArgumentTypeError as error:
            raise LaunchError(f"proxy.host: {error}") from error
    return (
        Listener(
            "forward proxy",
            host,
            forward_port if forward_port is not None else proxy.forward_port,
            "--forward-port",
            "MOTIVE_PROXY_FORWARD_PORT or proxy.forward_port",
        ),
        Listener(
            "meeting point",
            host,
            port if port is not None else proxy.port,
            "--port",
            "MOTIVE_PROXY_PORT or proxy.port",
        ),
    )


def configured(settings: Settings) -> Address:
    """Where the configuration has the forward proxy."""
    forward, _ = listeners_of(settings)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(forward.host, forward.host)
    return Address(host, forward.port)


def add_proxy_options(made: argparse.ArgumentParser) -> None:
    """The options that choose a proxy, which several commands have."""
    made.add_argument("--proxy", metavar="URL", help="the forward proxy; the configuration's if not given")
    made.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration file; {DEFAULT_CONFIG_NAME} if not given"
    )
    made.add_argument(
        "--confdir",
        type=Path,
        default=CONFDIR,
        metavar="FOLDER",
        help=f"mitmproxy's folder of certificates ({CONFDIR})",
    )
