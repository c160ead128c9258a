"""AWS's SDK as the ``bedrock_agent`` source uses it: one agent's turn, asked and read in a thread of the caller's.

The one file that needs the extra ``bedrock``; to be imported where the extra may be missing, and nowhere else. Owns the
client, its connections, and what the SDK's exceptions mean. Knows no event loop and no IR.

The SDK is blocking, and it cannot be told to stop: a turn's connection is remembered in its ``Line``, which another
thread may cut. Sources: ``botocore/httpsession.py``, ``botocore/endpoint.py`` (the event ``before-send``), 1.44.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from contextvars import ContextVar
from typing import Any, Final

import boto3
import botocore.session
from botocore import exceptions as aws
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config
from botocore.eventstream import ParserError
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from motive_core.errors import UpstreamError
from motive_core.sources.bedrock_agent_errors import (
    Fault,
    bad_parameters,
    cut_off,
    no_credentials,
    no_region,
    silent,
    told_fault,
    unreadable,
)

_LENGTH_BYTES: Final = 4
"""A frame begins with its length, which counts these, too."""
_HOOK: Final = "before-send.bedrock-agent-runtime.InvokeAgent"
_CREDENTIALS: Final = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.ProfileNotFound,
    aws.ConfigNotFound,
    aws.ConfigParseError,
    aws.InvalidConfigError,
    aws.MetadataRetrievalError,
    aws.UnknownCredentialError,
    aws.InfiniteLoopConfigError,
    aws.SSOError,
    aws.TokenRetrievalError,
)
_SAID: Final = (
    aws.BotoCoreError,
    aws.ClientError,
    ResponseParserError,
    ParserError,
    HTTPError,
    OSError,
    ValueError,  # of its parsers, where what came is no reply
)
"""What the SDK, and what it is made of, are known to raise."""
_UNREADABLE: Final = (AttributeError, KeyError, TypeError)
"""What its parser raises, beside these, for JSON of another shape than its model's."""
_UNREACHABLE: Final = (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.SSLError)


class Line:
    """The connection of one turn. ``lock`` is that of all lines of one client: a connection is reused."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._connection: Any = None
        self.is_cut = False

    def take(self, connection: Any) -> None:
        """This connection is this turn's from now on. In the turn's thread."""
        with self._lock:
            connection.line = self
            self._connection = connection
            if self.is_cut:
                _shut(connection)

    def cut(self) -> None:
        """End the turn: whoever waits for a byte of it stops. In any thread, at any time."""
        with self._lock:
            self.is_cut = True
            # A connection that serves another turn by now is not this one's any more.
            if self._connection is not None and self._connection.line is self:
                _shut(self._connection)


def _shut(connection: Any) -> None:
    if connection.sock is not None:
        with suppress(OSError):  # it has ended by itself
            connection.sock.shutdown(socket.SHUT_RDWR)


_LINE: Final[ContextVar[Line | None]] = ContextVar("line", default=None)
"""The line of the turn that a thread asks for."""


class _Cuttable:
    """What both kinds of connections have in common: they tell their turn's line that they are its."""

    line: Line | None = None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # a mixin of connections
        self._tell()

    def request(self, *args: Any, **more: Any) -> Any:
        if getattr(self, "sock", None) is not None:  # it was kept from a turn before
            self._tell()
        return super().request(*args, **more)  # type: ignore[misc]  # as above

    def _tell(self) -> None:
        if (line := _LINE.get()) is not None:
            line.take(self)


# botocore has no types, so to mypy each base is Any.
class _Plain(_Cuttable, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _Tls(_Cuttable, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _PlainPool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Plain


class _TlsPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Tls


class _Wire(URLLib3Session):  # type: ignore[misc]
    """The SDK's own HTTP, with connections that can be cut."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # A version of the SDK that has no such member would leave a turn that is given up to its time-out.
        manager = getattr(self, "_manager", None)
        if manager is not None:
            manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class _Frames:
    """The body of an event stream. It raises ``ProtocolError`` where it ends within a frame: botocore's reader would
    take what is complete for all of it (``EventStreamBuffer``)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *arguments: Any, **more: Any) -> Iterator[bytes]:
        """The bytes as they come."""
        length, left = bytearray(), 0
        for data in self._raw.stream(*arguments, **more):
            yield data
            place = 0
            while place < len(data):
                if left:
                    taken = min(left, len(data) - place)
                    left -= taken
                else:
                    taken = min(_LENGTH_BYTES - len(length), len(data) - place)
                    length += data[place : place + taken]
                    if len(length) == _LENGTH_BYTES:
                        left = max(0, int.from_bytes(length, "big") - _LENGTH_BYTES)
                        length.clear()
                place += taken
        if left or length:
            raise ProtocolError("the stream ended within a frame")


class Runtime:
    """A client of the service. ``region``, ``profile`` and ``endpoint_url`` are None where the SDK's own chain decides.

    Proxies that the environment names are not used: ours is most often one of them. The SDK never asks a second time:
    a turn is not idempotent, and only its caller can tell whether the agent has begun it. May be made in any thread,
    and reads files. Raises ``Fault``.
    """

    def __init__(
        self,
        *,
        region: str | None,
        profile: str | None,
        endpoint_url: str | None,
        connect_timeout_s: float,
        read_timeout_s: float,
        connections: int,
    ) -> None:
        self._lock = threading.Lock()
        config = Config(
            connect_timeout=connect_timeout_s,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": 1},
            proxies={},
            max_pool_connections=connections,
        )
        try:
            core = botocore.session.Session(profile=profile)
            session = boto3.Session(botocore_session=core, region_name=region)
            self._client = session.client("bedrock-agent-runtime", endpoint_url=endpoint_url, config=config)
            bundle = core.get_config_variable("ca_bundle")
        except _SAID as error:
            raise fault_of(error) from None
        self._wire = _Wire(
            verify=bundle or True,
            proxies={},
            timeout=(connect_timeout_s, read_timeout_s),
            max_pool_connections=connections,
        )
        self._client.meta.events.register(_HOOK, self._send)

    def _send(self, request: Any, **_more: Any) -> Any:
        response = self._wire.send(request)
        if response.status_code == 200:
            response.raw = _Frames(response.raw)
        return response

    def line(self) -> Line:
        """The line of a new turn."""
        return Line(self._lock)

    def turn(self, line: Line, params: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], bool]) -> None:
        """Ask for one turn, and tell each event of it as the service's model has it, until ``tell`` wants no more.

        Blocks until then. Raises ``Fault``; it means nothing if the line was cut.
        """
        _LINE.set(line)
        try:
            reply = self._client.invoke_agent(**params)
        except _SAID as error:
            raise fault_of(error) from None
        try:
            with closing(reply["completion"]) as stream:
                for event in stream:
                    if not tell(event):
                        return
        except (*_SAID, *_UNREADABLE) as error:
            raise fault_of(error, begun=True) from None

    def close(self) -> None:
        """Close connections that no turn uses."""
        self._wire.close()
        self._client.close()


def fault_of(error: Exception, *, begun: bool = False) -> Fault:
    """What an exception of the SDK means. ``begun``: the reply had begun."""
    match error:
        case aws.ClientError():
            told = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code, message = str(told.get("Code", "")), str(told.get("Message", ""))
            return told_fault(code, message, status if isinstance(status, int) else None, begun=begun)
        case _ if isinstance(error, _CREDENTIALS):
            return Fault(no_credentials(), may_repeat=False)
        case aws.NoRegionError() | aws.InvalidRegionError():
            return Fault(no_region(), may_repeat=False)
        case aws.ParamValidationError():
            return Fault(bad_parameters(), may_repeat=False)
        case _ if isinstance(error, _UNREACHABLE):
            return Fault(UpstreamError("The agent's service cannot be reached."), may_repeat=not begun)
        case aws.ReadTimeoutError() | ReadTimeoutError() | TimeoutError():
            return Fault(silent(), may_repeat=False)
        case ParserError() | ResponseParserError() | ValueError() | AttributeError() | KeyError() | TypeError():
            return Fault(unreadable(), may_repeat=False)
        case _:
            return Fault(cut_off(), may_repeat=False)
