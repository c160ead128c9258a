"""The guard: asks everybody who comes to the meeting point who they are.

Owns the order of the questions: pages first, then the operator's token or a client's key. Keeps no secret, but their
digests. Every secret that is shown is compared with every one that is known, to the end, so that the time that it takes
tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_plus

from motive_core.access.caller import ANYBODY, Caller
from motive_core.access.operators import is_console, is_open, is_operators
from motive_core.access.pages import Pages, is_preflight
from motive_core.access.presented import KEY_HEADERS, TOKEN_HEADER, presented_keys, presented_logins, presented_tokens
from motive_core.config import Config, Hashed, glob_regex
from motive_core.dialects import RequestHead
from motive_core.errors import AuthenticationError

HEALTH_PATHS: Final = ("/health", "/v1/health")
"""What everybody may ask: a load balancer has no key."""

_OWN_PREFIX: Final = "x-motive-"
_MOST_SHOWN: Final = 16
_STRANGER: Final = Caller("stranger")
_NAME_DIGITS: Final = 8

_READING: Final = ("GET", "HEAD")

_WHERE_THE_TOKEN_IS: Final = (
    "The operator's paths need the admin token. The proxy shows it when it starts, unless access.admin_token or "
    "MOTIVE_PROXY_ADMIN_TOKEN says what it is. Send it as 'Authorization: Bearer TOKEN' or 'X-Admin-Token: TOKEN', or "
    "open the link that the proxy shows."
)


@dataclass(frozen=True, slots=True)
class _Known:
    secret: Hashed
    caller: Caller


class Guard:
    """``token`` is the admin token that holds if the configuration names none. ``is_login`` says whether a cookie is
    one that the console gave out to the operator."""

    def __init__(self, config: Config, token: Hashed, is_login: Callable[[str], bool] = lambda _: False) -> None:
        self._is_login = is_login
        access = config.access
        self.pages = Pages(config)
        self._header = access.header
        self._own_headers = [TOKEN_HEADER] if access.header in KEY_HEADERS else [TOKEN_HEADER, access.header]
        self._is_asked = access.key_is_required
        self._operator = _Known(access.admin_token or token, Caller("operator"))
        self._keys = [
            _Known(
                key.key,
                Caller(
                    "client",
                    key.name,
                    None if "*" in key.sessions else tuple(map(glob_regex, key.sessions)),
                    key.role,
                ),
            )
            for key in access.keys
        ] + [_Known(secret, Caller("client", _name_of(secret))) for secret in dict.fromkeys(access.valid_keys)]

    @property
    def asks_for_keys(self) -> bool:
        """Whether a key is asked of clients."""
        return self._is_asked

    def admit(self, head: RequestHead) -> Caller:
        """Who has sent a request to the meeting point. Raises ``PermissionDeniedError`` for a page that may not call
        it, ``AuthenticationError`` for anybody else who may not."""
        self.pages.check(head)
        if is_operators(head.path):
            try:
                return self._admit_operator(head)
            except AuthenticationError:
                if is_open(head.path):
                    return _STRANGER
                raise
        if is_preflight(head):
            return _STRANGER  # browsers send no credential with it
        if not self._is_asked:
            return ANYBODY
        try:
            return self._admit_client(head)
        except AuthenticationError:
            if head.path not in HEALTH_PATHS:
                raise
        try:
            return self._admit_operator(head)
        except AuthenticationError:
            return _STRANGER

    def own_secrets(self, head: RequestHead, *, forward: bool) -> Iterable[str]:
        """Where a request has secrets of ours, which must go no further: names of headers, and of parameters of the
        query behind a ``?``. A header that is ours is named without a look; by the forward proxy (``forward``), only
        its name can tell that it is."""
        tokens = (place for place, _ in self._known(presented_tokens(head), (self._operator,)))
        keys = (place for place, _ in self._known(presented_keys(head, self._header), self._keys)) if self._keys else ()
        own = self._own_headers
        found = {*(name for name in own if not forward or name.startswith(_OWN_PREFIX)), *tokens, *keys}
        return {*found, "cookie"} if not forward and is_console(head.path) else found

    def login_of(self, head: RequestHead) -> str | None:
        """The cookie by which the operator is logged in to the console. A browser sends it with whatever any page asks
        of it: something is changed only for a page that is named, and was found to be the console's own."""
        if not is_console(head.path) or (head.method not in _READING and "origin" not in head.headers):
            return None
        return next((login for login in presented_logins(head) if self._is_login(login)), None)

    def without_secrets(self, head: RequestHead, *, forward: bool) -> RequestHead:
        """A head that has no secret of ours any more: for whoever may send its fields on."""
        places = set(self.own_secrets(head, forward=forward))
        if not places:
            return head
        headers = {name: value for name, value in head.headers.items() if name not in places}
        fields = [one for one in head.query.split("&") if f"?{unquote_plus(one.partition('=')[0])}" not in places]
        return replace(head, headers=headers, query="&".join(fields))

    def _admit_client(self, head: RequestHead) -> Caller:
        shown = list(presented_keys(head, self._header))
        callers = list(dict.fromkeys(caller for _, caller in self._known(shown, self._keys)))
        if len(callers) == 1:
            return callers[0]
        if callers:
            raise AuthenticationError("Two different keys were presented; send one.", code="two_keys")
        if any(secret for _, secret in shown):
            raise AuthenticationError("The key that was presented is not one of this proxy's.", code="invalid_api_key")
        message = (
            "This proxy asks for one of its keys: send it as your client sends an API key (Authorization: Bearer, "
            f"x-api-key, x-goog-api-key, api-key), or in the header {self._header}."
        )
        raise AuthenticationError(message, code="invalid_api_key")

    def _admit_operator(self, head: RequestHead) -> Caller:
        if not self._known(presented_tokens(head), (self._operator,)) and self.login_of(head) is None:
            raise AuthenticationError(_WHERE_THE_TOKEN_IS, code="admin_token_needed")
        return self._operator.caller

    @staticmethod
    def _known(shown: Iterable[tuple[str, str]], known: Sequence[_Known]) -> list[tuple[str, Caller]]:
        """Where a known secret stands, and whose it is."""
        given = [(place, Hashed.of(secret)) for place, secret in shown if secret]
        if len(given) > _MOST_SHOWN:
            return []
        return [(place, one.caller) for place, secret in given for one in known if one.secret.equals(secret)]


def _name_of(secret: Hashed) -> str:
    """A name for a key that has none: the same as long as the key is."""
    return secret.digest.hex()[:_NAME_DIGITS]
