"""Who talks: a provider and a model, as a command line names them.

Owns the providers, where each of them is, and the environment variables that hold their keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from motive_core.upstream import Endpoint


class SideError(Exception):
    """No side is meant by this. The message is one plain line."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A vendor. ``keys`` are the variables that may hold its key, ``base_urls`` those that may hold its base URL; the
    first that is set counts. ``needs_key`` is false where a service may be used without."""

    dialect: str
    base_url: str | None
    keys: tuple[str, ...] = ()
    base_urls: tuple[str, ...] = ()
    default_model: str | None = None
    needs_key: bool = True


MOCK: Final = "mock"

PROVIDERS: Final[Mapping[str, Provider]] = {
    "openai": Provider("openai-chat", "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL",)),
    "anthropic": Provider(
        "anthropic-messages", "https://api.anthropic.com", ("ANTHROPIC_API_KEY",), ("ANTHROPIC_BASE_URL",)
    ),
    "google": Provider(
        "gemini",
        "https://generativelanguage.googleapis.com",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        ("GOOGLE_GEMINI_BASE_URL",),
    ),
    "cohere": Provider("cohere-chat", "https://api.cohere.com", ("CO_API_KEY", "COHERE_API_KEY"), ("CO_API_URL",)),
    "ollama": Provider("ollama-chat", "http://localhost:11434", ("OLLAMA_API_KEY",), ("OLLAMA_HOST",), needs_key=False),
    MOCK: Provider("openai-chat", None, (), (), "mock", needs_key=False),
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. ``endpoint`` is None for a mock that speaks by itself. It speaks ``dialect`` to
    the proxy, too."""

    provider: str
    model: str
    dialect: str
    endpoint: Endpoint | None

    @property
    def name(self) -> str:
        """As the command line had it."""
        return f"{self.provider}:{self.model}"


def side_of(
    named: str,
    env: Mapping[str, str],
    *,
    base_url: str | None = None,
    timeout_s: float = 120.0,
) -> Side:
    """The side that ``PROVIDER:MODEL`` names. ``base_url`` takes the place of the provider's. Raises ``SideError``."""
    name, _, model = named.partition(":")
    provider = PROVIDERS.get(name)
    if provider is None:
        raise SideError(f"{name!r} is no provider; known are {', '.join(PROVIDERS)}")
    model = model or provider.default_model or ""
    if not model:
        raise SideError(f"{name}: name the model, as {name}:MODEL")
    url = base_url or next((env[one] for one in provider.base_urls if env.get(one)), provider.base_url)
    if url is None:
        return Side(name, model, provider.dialect, None)
    if "://" not in url:
        url = f"http://{url}"  # as OLLAMA_HOST may be written
    key = next((env[one] for one in provider.keys if env.get(one)), None)
    if key is None and provider.needs_key and base_url is None:
        raise SideError(f"{name}: set {' or '.join(provider.keys)}")
    try:
        endpoint = Endpoint(
            base_url=url,
            dialect=provider.dialect,
            model=model,
            key=SecretStr(key) if key else None,
            first_token_timeout_s=timeout_s,
            idle_timeout_s=timeout_s,
        )
    except ValueError as error:
        raise SideError(f"{name}: {url!r} is no base URL") from error
    return Side(name, model, provider.dialect, endpoint)
