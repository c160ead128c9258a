"""The addon: mitmproxy's hooks, and what each of them means for an LLM call.

Owns the order of the hooks of a flow: arrival, hold, resume, delivery, loss. What a call is and how it is answered is
the gateway's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mitmproxy import connection, ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.log import ALERT
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import layer, layers, server_hooks
from mitmproxy.proxy.mode_specs import ReverseMode, UpstreamMode

from motive_core.access import ANYBODY, Rank, is_preflight
from motive_core.certificates import CERTIFICATE, write_bundle
from motive_core.config import DEFAULT_CONFIG_NAME
from motive_core.dialects import RequestHead
from motive_core.errors import AuthenticationError, BadRequestError, ConfigError, MotiveError, UnavailableError
from motive_core.gateway import shutting_down
from motive_core.log_lines import LogLine
from motive_core.refusals import error_reply, side_of, spoken_by
from motive_shell import fast_messages, goaway
from motive_shell.banner import addresses, announce, silent
from motive_shell.connections import ask_for_no_password, deepen_backlogs, lift_connection_limit
from motive_shell.exposure import is_loopback, narrow, retreat, why_exposed, why_open
from motive_shell.fast_dispatch import FastDispatch
from motive_shell.fast_writes import gather_writes
from motive_shell.first_words import watched
from motive_shell.flows import ROLE_HEADER, FlowPort, incoming_of, listener_of, peer_of, respond, withdraw
from motive_shell.framing import HeadBounds, frame, mend, without_trailers
from motive_shell.heads import head_of
from motive_shell.logs import keep_secrets
from motive_shell.notes import note_passed
from motive_shell.overhearing import overhear
from motive_shell.runtime import Runtime, runtime_of
from motive_shell.site import LONGEST_TARGET, refusal, to_console, to_origin, wants_console, without_cookie
from motive_shell.trust import has_certificates, make_certificates

logger = logging.getLogger(__name__)

_DRAIN_S: Final = 1.5
_CUT_S: Final = 0.5
_LISTENING_OPTIONS: Final = frozenset({"mode", "listen_host", "proxyauth"})
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"
_ENDLESS: Final = ("text/event-stream", "application/x-ndjson", "multipart/x-mixed-replace")
_STREAMED_UPLOAD_BYTES: Final = 1024 * 1024
_REPOSITORY: Final = Path(__file__).resolve().parents[2]


class Motive:
    """See the module. Holds nothing of its own: a reload of the script makes a new one."""

    name = "motive"

    def __init__(self) -> None:
        self._runtime: Runtime | None = None

    def runtime(self) -> Runtime | None:
        """What this addon runs; None before it is configured."""
        return self._runtime

    def _configured(self) -> Runtime:
        # No property: mitmproxy reads every attribute of an addon when it loads it.
        assert self._runtime is not None
        return self._runtime

    # Life

    def load(self, loader: Loader) -> None:
        """Set what held calls need of mitmproxy."""
        loader.add_option(
            "motive_config", str, "", "Motive's configuration file. Default: config.yaml beside the addon."
        )
        # Eager connects to the upstream server of a reverse listener before the request is known; there is none.
        # A streamed reply that is passed on would not be kept for the views otherwise.
        ctx.options.update(connection_strategy="lazy", keep_host_header=True, store_streamed_bodies=True)
        narrow(ctx.options)

    def configure(self, updated: set[str]) -> None:
        """Read the configuration, and refuse options that would break holding.

        Raises ``OptionsError`` while mitmproxy runs, which takes the option back. At its start that would be shown with
        a traceback; there a logged error ends it, in one line.
        """
        try:
            self._configure(updated)
        except exceptions.OptionsError as error:
            if self._runtime is not None and self._runtime.started:
                raise
            logger.error(str(error))

    def _configure(self, updated: set[str]) -> None:
        if self._runtime is None:
            given = ctx.options.motive_config
            path = Path(given).expanduser() if given else _REPOSITORY / DEFAULT_CONFIG_NAME
            try:
                self._runtime = runtime_of(ctx.master, path if given or path.exists() else None, _REPOSITORY / ".env")
            except ConfigError as error:
                raise exceptions.OptionsError(f"motive: {error}") from error
        for option in ("stream_large_bodies", "body_size_limit"):
            if option in updated and getattr(ctx.options, option):
                raise exceptions.OptionsError(
                    f"motive: {option} must not be set: a call has to be read whole before it can be held, "
                    "and its size is limited by limits.body_limit_bytes in the configuration"
                )
        if not updated.isdisjoint(_LISTENING_OPTIONS) and (why := why_exposed(ctx.options, self._runtime.config)):
            raise exceptions.OptionsError(f"motive: {why}")

    def running(self) -> asyncio.Task[None] | None:
        """Start serving. Gives the task, which mitmproxy awaits; a coroutine would end its script watcher."""
        if self._runtime is None or self._runtime.started:
            return None
        return asyncio.get_running_loop().create_task(self._start(), name="motive start")

    async def _start(self) -> None:
        master = ctx.master
        # mitmproxy makes its certificates after this hook, and listens already: no client must wait for them, and the
        # bundle is made of them.
        make_certificates(master)
        await self._configured().start()
        keep_secrets(master.addons.get("dumper"))
        proxyserver = master.addons.get("proxyserver")
        if proxyserver is not None:
            await retreat(proxyserver.servers, ctx.options)
        deepen_backlogs(master)
        goaway.install()
        HeadBounds(self._configured().config.timing.head_timeout_s, refusal).install()
        mode = self._configured().config.fast_dispatch
        dispatch = FastDispatch(master.addons)
        if mode == "on" or (mode == "auto" and dispatch.supported()):
            dispatch.install()
            fast_messages.install()
            self._configured().gathers_writes = True
        if proxyserver is not None:
            # Asked by options before; a name may have led to another address since.
            if why := why_open(proxyserver.servers, ctx.options, self._configured().config):
                logger.error(f"motive: {why}")
                master.shutdown()
                return
            self._configured().is_guarded = True
            self._announce(proxyserver.servers)
        for warning in self._configured().config.warnings:
            logger.warning(warning)

    def _announce(self, servers: Iterable[Any]) -> None:
        confdir = Path(ctx.options.confdir).expanduser()
        bundle, gateway = write_bundle(confdir), self._configured().gateway
        token = gateway.admin_token if gateway.config.access.admin_token is None else None
        logger.log(ALERT, announce(servers, confdir / CERTIFICATE, bundle, token, gateway.logins.once))
        gateway.listeners = lambda: addresses(servers)
        gateway.health_checks.watch("listeners", lambda: silent(servers))

    def done(self) -> asyncio.Task[None] | None:
        """At exit, end every call with an error first. At a reload of the script, nothing ends."""
        if self._runtime is None or not ctx.master.should_exit.is_set():
            return None
        return asyncio.get_running_loop().create_task(self._stop(self._runtime), name="motive stop")

    async def _stop(self, runtime: Runtime) -> None:
        runtime.gateway.shut_down()
        if not await runtime.holds.drained(_DRAIN_S):
            # Notices at a pace, and what real services say: nobody else ends these.
            runtime.holds.cut(shutting_down())
        if not await runtime.holds.drained(_CUT_S):
            logger.warning(LogLine("calls left behind at exit", count=len(runtime.holds)))
        await runtime.stop()

    # Connections

    def client_connected(self, client: connection.Client) -> None:
        """See ``connections``. mitmproxy may have bound an address, for a moment, that it was not to listen on."""
        if self._runtime is None:  # its configuration is wrong: the process is about to end
            client.error = "Motive does not start."
            return
        ready = self._configured().is_guarded or is_loopback(client.sockname[0])
        if not ready or not has_certificates(ctx.master):
            client.error = "Motive is starting."  # without them, each request would be an error, and end the process
            return
        lift_connection_limit(ctx.master, client)
        if isinstance(client.proxy_mode, ReverseMode) and self._configured().gateway.guard.asks_for_keys:
            ask_for_no_password(ctx.master, client)
        if self._configured().gathers_writes:
            gather_writes(ctx.master, client, client)
        self._configured().connections.came(ctx.master, client)

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """See ``fast_writes``."""
        if self._configured().gathers_writes:
            gather_writes(ctx.master, data.client, data.server)

    async def client_disconnected(self, client: connection.Client) -> None:
        """Its held calls are over."""
        if self._runtime is None:
            return
        self._configured().connections.left(client)
        await self._configured().holds.client_gone(client)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Open TLS for LLM hosts only; every other connection is tunnelled untouched."""
        if isinstance(data.context.client.proxy_mode, ReverseMode):
            return
        address = data.context.server.address
        sni, port = data.client_hello.sni, address[1] if address else 443
        hosts = self._configured().gateway.hosts
        if not ((sni and hosts.matches(sni, port)) or (address and hosts.matches(address[0], port))):
            data.ignore_connection = True

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """What goes to another host is not parsed, even if it is HTTP without TLS. Asked before mitmproxy decides.

        At the meeting point, a client may begin with HTTP/2 right away, without TLS to agree on it: so does the AWS SDK
        for JavaScript (RFC 9113, section 3.3). mitmproxy knows HTTP/2 by what TLS agreed on only.
        """
        context = nextlayer.context
        if isinstance(context.client.proxy_mode, ReverseMode):
            if context.client.alpn is None and nextlayer.data_client().startswith(_HTTP2_PREFACE):
                context.client.alpn = b"h2"
            return
        if context.client.tls_established:
            return
        address = context.server.address
        if address is None or self._configured().gateway.hosts.matches(address[0], address[1]):
            return
        if not starts_like_tls_record(nextlayer.data_client()):  # else the client hello tells more
            nextlayer.layer = layers.TCPLayer(context, ignore=True)

    # Flows

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Refuse or mend what could be read in two ways, and keep secrets from going on; let a large upload that is no
        LLM call go as it comes, rather than gather it first."""
        self._configured().connections.asked(flow.client_conn)
        if flow.is_replay:
            return
        if (fault := mend(flow.request)) is not None:
            error = BadRequestError(fault, code="bad_head")
            refusals = self._configured().gateway.refusals
            respond(flow, *refusals.not_admitted(head_of(flow.request), error, peer_of(flow)))
            return
        request = flow.request
        if listener_of(flow) == "reverse":
            self._tell_of_password(flow)
            return
        if not isinstance(flow.client_conn.proxy_mode, UpstreamMode):  # there it is for the next proxy
            request.headers.pop("proxy-authorization", None)
        if flow.response is not None or request.stream:
            return
        size = request.headers.get("content-length", "")
        large = size.isdecimal() and int(size) >= _STREAMED_UPLOAD_BYTES
        if not large or not self._is_llm_host(request):
            return
        head, gateway = head_of(request), self._configured().gateway
        if gateway.dialect_of(head) is None:
            request.headers.pop(ROLE_HEADER, None)
            withdraw(request, gateway.guard.own_secrets(head, forward=True))
            request.stream = True

    def _tell_of_password(self, flow: http.HTTPFlow) -> None:
        """At a meeting point that asks for no keys, mitmproxy asks for its ``proxyauth``: say so in the caller's
        dialect."""
        challenge = flow.response.headers.get("www-authenticate") if flow.response is not None else None
        if challenge is None:
            return
        error = AuthenticationError("This proxy asks for mitmproxy's proxyauth, as Basic.", code="password_needed")
        refusals = self._configured().gateway.refusals
        status, headers, body = refusals.not_admitted(head_of(flow.request), error, peer_of(flow))
        respond(flow, status, {**headers, "www-authenticate": challenge}, body)

    async def request(self, flow: http.HTTPFlow) -> None:
        """A request is here: if it is an LLM call, the gateway decides."""
        if flow.response is not None or flow.error is not None or flow.is_replay or flow.request.stream:
            return
        runtime, request = self._configured(), flow.request
        gateway, caller = runtime.gateway, ANYBODY
        frame(request)
        forward = listener_of(flow) == "forward"
        if forward and not self._is_llm_host(request):
            return
        head = head_of(request)
        request.headers.pop(ROLE_HEADER, None)
        withdraw(request, gateway.guard.own_secrets(head, forward=forward))
        if not forward:
            if wants_console(head):
                respond(flow, *to_console())
                return
            try:
                caller = gateway.guard.admit(head)
            except MotiveError as error:
                # Guesses are counted, so that there are not too many of them.
                refusal = gateway.refusals.flood(head, peer_of(flow), ANYBODY)
                respond(flow, *(refusal or gateway.refusals.not_admitted(head, error, peer_of(flow))))
                return
            if is_preflight(head):
                respond(flow, 204, gateway.guard.pages.preflight(head), b"")
                return
        dialect = gateway.dialect_of(head)
        if not forward and dialect is None and caller.rank != "operator":
            refusal = gateway.refusals.flood(head, peer_of(flow), caller)
            if refusal is not None:
                respond(flow, *refusal)
                return
        if caller.rank != "client":
            self._serve(flow, head, caller.rank)
            return
        if "upgrade" in head.headers and (refusal := gateway.refusals.upgrade(head)) is not None:
            respond(flow, *refusal)
            return
        if dialect is None:
            if (side := gateway.kept_by(head) if forward else side_of(head)) is not None:
                respond(flow, *await gateway.serve(incoming_of(flow, head, gateway, caller), side))
            elif not forward:
                self._serve(flow, head, caller.rank)
            return
        port = FlowPort(
            flow,
            runtime.origin,
            runtime.streams,
            runtime.services,
            runtime.connections,
            can_stream=runtime.started and request.http_version != "HTTP/1.0" and request.method != "HEAD",
        )
        incoming = incoming_of(flow, head, gateway, caller)
        exchange = await gateway.accept(incoming, dialect, port)
        if exchange is not None:
            await runtime.holds.take(port, exchange)
        elif flow.response is None:
            note_passed(flow, dialect, incoming.exchange)

    def _serve(self, flow: http.HTTPFlow, head: RequestHead, rank: Rank) -> None:
        """A request for the proxy itself."""
        runtime = self._configured()
        if not (head.method.isascii() and head.method.isalpha() and head.path.startswith("/")):
            respond(flow, *runtime.gateway.refusals.not_served(head, 405))
        elif len(flow.request.data.path) > LONGEST_TARGET:
            respond(flow, *runtime.gateway.refusals.not_served(head, 414))
        elif runtime.started:
            login = runtime.gateway.guard.login_of(head)
            runtime.originals[flow.id] = to_origin(flow, runtime.origin, rank, login)
        else:
            error = UnavailableError("The proxy is starting.", code="starting", retry_after_s=1.0)
            respond(flow, *error_reply(spoken_by(head), error, flow.id))

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Pass what a service says on as it comes."""
        assert flow.response is not None
        if flow.is_replay and self._configured().services.head(flow):
            return
        self._configured().holds.speaks(flow)
        original = self._configured().originals.pop(flow.id, None)
        if original is not None:
            flow.request = original
        if self._configured().holds.is_promoted(flow) or original is not None:
            # The origin ends its connection after each reply; the client's may live on.
            flow.response.headers.pop("connection", None)
            kind = flow.response.headers.get("content-type", "")
            flow.response.stream = original is None or kind == "text/event-stream"
            if original is not None and "set-cookie" in flow.response.headers:
                flow.response.stream = without_cookie(flow.response)
        elif flow.response.raw_content is None and (self._is_llm_host(flow.request) or _goes_on(flow.response)):
            flow.response.stream = watched(flow)

    async def response(self, flow: http.HTTPFlow) -> None:
        """A reply is complete and goes out."""
        without_trailers(flow)
        await self._configured().holds.delivered(flow)
        overhear(flow, self._configured().gateway.console.log)

    async def error(self, flow: http.HTTPFlow) -> None:
        """A flow ended without a whole reply."""
        original = self._configured().originals.pop(flow.id, None)
        if original is not None:
            flow.request = original
        await self._configured().holds.failed(flow)
        overhear(flow, self._configured().gateway.console.log)

    def _is_llm_host(self, request: http.Request) -> bool:
        hosts = self._configured().gateway.hosts
        return hosts.matches(request.host, request.port) or hosts.matches(request.pretty_host, request.port)


def _goes_on(response: http.Response) -> bool:
    """Whether a reply of whatever host, by plain HTTP, may have no end: mitmproxy would gather it first. All others are
    left whole, for other addons."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() in _ENDLESS
