"""The section ``access``: who may call the meeting point, and who is the operator.

Owns the shape of the section and what its settings demand of each other. Every secret in it is kept as a digest.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from motive_core.config.hashed import Secret
from motive_core.settings.patterns import split_host
from motive_core.settings.types import Glob, Kind, Section, check_key_header, split_list

DEFAULT_KEY_HEADER: Final = "x-motive-key"


def _check_name(pattern: str) -> str:
    if split_host(pattern)[1] is not None:
        raise ValueError("a name is wanted, without a port")
    return pattern


HostNameGlob = Annotated[str, Field(min_length=1), AfterValidator(_check_name), Kind("host glob")]
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@+-]{1,64}$"), Kind("name")]
KeyHeader = Annotated[str, AfterValidator(check_key_header), Kind("header")]


class Key(Section):
    """A key, and what it is good for."""

    name: KeyName = Field(
        description="What logs, `/admin/sessions` and the `credential` of a route's match call it: as `key:NAME`."
    )
    key: Secret = Field(
        description="The key as it is, or `sha256:` and its digest, which `python -m motive_core.access hash` prints."
    )
    sessions: tuple[Glob, ...] = Field(
        default=("*",), min_length=1, description="Globs of the ids of the sessions that it may use."
    )
    role: Literal["asker", "answerer"] | None = Field(
        default=None, description="The role of whoever has it, as if `X-Motive-Role` said so. Null: any."
    )


class Access(Section):
    """Who may call the meeting point, and who is the operator."""

    require_key: bool | None = Field(
        default=None,
        description="Whether calls at the meeting point must present one of the keys. Null: if there are any.",
    )
    header: KeyHeader = Field(
        default=DEFAULT_KEY_HEADER,
        description="A header that a key may stand in, beside those that the vendors' SDKs have for theirs.",
    )
    keys: tuple[Key, ...] = Field(default=(), description="The keys.")
    valid_keys: Annotated[tuple[Secret, ...], BeforeValidator(split_list)] = Field(
        default=(), description="More keys, for any session and role; in one text, commas separate them."
    )
    admin_token: Secret | None = Field(
        default=None,
        description="What the operator's paths (`/admin`, `/metrics`, `/console`) ask for: a secret, or `sha256:` and "
        "its digest. Null: a new one at each start, which the proxy then shows.",
    )
    hosts: tuple[HostNameGlob, ...] = Field(
        default=(),
        description="Names under which the operator's paths are served, beside addresses and `localhost`.",
    )
    allow_unauthenticated: bool = Field(
        default=False,
        description="Listen where other machines can connect though a listener asks nobody for a key or a password. At "
        "your own risk.",
    )

    @property
    def key_is_required(self) -> bool:
        """Whether calls at the meeting point must present a key."""
        return bool(self.keys or self.valid_keys) if self.require_key is None else self.require_key

    @model_validator(mode="after")
    def _is_consistent(self) -> Access:
        secrets = [key.key for key in self.keys] + list(dict.fromkeys(self.valid_keys))
        names = [key.name for key in self.keys]
        if self.require_key and not secrets:
            raise ValueError(
                "a key is required of everybody, but there is none: name some under access.keys, or in "
                "MOTIVE_PROXY_VALID_API_KEYS"
            )
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two keys have the name {name}")
        if len(set(secrets)) < len(secrets):
            raise ValueError("the same key stands in two places")
        if self.admin_token in secrets:
            raise ValueError("the admin token must not be one of the keys: whoever has that would be the operator")
        return self
